package sidecar

import (
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
)

// uriToPath turns a file URI into a clean path of this system. It is our own
// because clients write the same file in several ways ("file:///c%3A/x",
// "file:///C:/x") and because a URI that is no file ("untitled:",
// "vscode-remote:") must be an error and never a panic.
func uriToPath(raw string) (string, error) {
	return uriToPathOn(runtime.GOOS, raw)
}

func uriToPathOn(goos, raw string) (string, error) {
	scheme, rest, ok := strings.Cut(raw, ":")
	if !ok || !strings.EqualFold(scheme, "file") {
		return "", fmt.Errorf("read URI %q: not a file", raw)
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, _, _ = strings.Cut(rest, "?")
	host := ""
	if after, found := strings.CutPrefix(rest, "//"); found {
		var path string
		if host, path, found = strings.Cut(after, "/"); !found {
			return "", fmt.Errorf("read URI %q: no path", raw)
		}
		rest = "/" + path
	}
	path, err := url.PathUnescape(rest)
	if err != nil {
		return "", fmt.Errorf("read URI %q: %w", raw, err)
	}
	if strings.ContainsRune(path, 0) {
		return "", fmt.Errorf("read URI %q: it holds a NUL", raw)
	}
	if goos == "windows" {
		return windowsPath(raw, host, path)
	}
	if host != "" && !strings.EqualFold(host, "localhost") {
		return "", fmt.Errorf("read URI %q: the file is on another host", raw)
	}
	if !strings.HasPrefix(path, "/") {
		return "", fmt.Errorf("read URI %q: no absolute path", raw)
	}
	return filepath.Clean(path), nil
}

// windowsPath takes "/c:/x" and, with a host, "/share/x". Drive letters become
// upper case, so that one file has one name.
func windowsPath(raw, host, path string) (string, error) {
	if host != "" && !strings.EqualFold(host, "localhost") {
		return `\\` + host + strings.ReplaceAll(path, "/", `\`), nil
	}
	path = strings.TrimPrefix(path, "/")
	if len(path) < 2 || path[1] != ':' || !isLetter(path[0]) {
		return "", fmt.Errorf("read URI %q: no drive", raw)
	}
	rest := strings.TrimSuffix(strings.ReplaceAll(path[2:], "/", `\`), `\`)
	if rest == "" {
		rest = `\`
	}
	return strings.ToUpper(path[:1]) + ":" + rest, nil
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// pathToURI turns an absolute path into a file URI.
func pathToURI(path string) string {
	path = filepath.ToSlash(path)
	if unc, ok := strings.CutPrefix(path, "//"); ok {
		host, rest, _ := strings.Cut(unc, "/")
		return "file://" + host + "/" + escapePath(rest)
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return "file://" + escapePath(path)
}

// escapePath escapes every byte that RFC 3986 does not allow to stand in a path
// by itself, and the colon, as VS Code does.
func escapePath(path string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(path) {
		switch c := path[i]; {
		case isLetter(c), '0' <= c && c <= '9', strings.IndexByte("/-._~", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

// below returns path relative to dir with slashes, when it is inside it. "" is
// dir itself. Both are clean.
func below(dir, path string) (string, bool) {
	if path == dir {
		return "", true
	}
	sep := string(filepath.Separator)
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(dir, sep)+sep)
	return filepath.ToSlash(rest), ok
}
