package cache

import (
	"errors"
	"slices"
	"strings"
)

// mounted reports whether a file system is mounted on a path, anywhere below
// it, or on a folder between it and the root.
func mounted(mounts []string, root, whole string) bool {
	return slices.ContainsFunc(mounts, func(m string) bool {
		return m == whole || isBelow(m, whole) || isBelow(m, root) && isBelow(whole, m)
	})
}

func isBelow(path, folder string) bool {
	return strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/") && path != folder
}

// parseMounts reads the mount points out of /proc/self/mountinfo. Its fifth
// field is the mount point, with blanks and backslashes as \ooo.
func parseMounts(text string) ([]string, error) {
	var points []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			return nil, errors.New("read /proc/self/mountinfo: a line has no mount point")
		}
		points = append(points, unescape(fields[4]))
	}
	return points, nil
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && isOctal(s[i+1:i+4]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isOctal(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '7' })
}
