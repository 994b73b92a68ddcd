package spec

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// EnvVar is one variable of an env file.
type EnvVar struct {
	Name, Value string
	Line        int // from 1, of the name
}

// ParseEnvFile reads the text of an env file: KEY=value lines, an optional
// `export` in front, # comments, and values in single quotes, double quotes or
// backquotes, which may go over several lines. In double quotes \n, \r, \t,
// \", \\ and \$ mean what they do elsewhere. Nothing is expanded and nothing
// is executed. When a name stands twice the last one counts; both are
// returned. A line that can't be read is an issue (without File) and left out.
// No message holds a value.
func ParseEnvFile(text string) (vars []EnvVar, issues []Issue) {
	text = plainText(text)
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	lines := strings.Split(text, "\n")
	bad := func(line int, message, hint string) {
		issues = append(issues, Issue{Code: codeInvalid, Severity: Error, Range: lineRange(lines, line), Message: message, Hint: hint})
	}
	for n := 1; n <= len(lines); n++ {
		line := strings.TrimLeft(lines[n-1], " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		if !utf8.ValidString(line) || strings.ContainsRune(line, 0) {
			bad(n, "the line is not UTF-8 text", "save the file as UTF-8")
			continue
		}
		key, rest, ok := strings.Cut(line, "=")
		if after, found := strings.CutPrefix(key, "export"); found && strings.TrimLeft(after, " \t") != after {
			key = after
		}
		key = strings.TrimSpace(key)
		if !ok {
			bad(n, "the line is not KEY=value", "add =, or # in front of a comment")
			continue
		}
		if !isName(key) {
			bad(n, "what stands before = can't be the name of a variable", "use letters, digits and _, not beginning with a digit")
			continue
		}
		v := EnvVar{Name: key, Line: n}
		rest = strings.TrimLeft(rest, " \t")
		if rest == "" || strings.IndexByte("\"'`", rest[0]) < 0 {
			v.Value = unquotedValue(rest)
			vars = append(vars, v)
			continue
		}
		value, after, used, ok := quotedValue(rest, lines[n:])
		if !ok {
			bad(n, fmt.Sprintf("the value of %s opens a quote and does not close it", key), "close it")
			continue
		}
		after = strings.TrimSpace(after)
		n += used
		if after != "" && after[0] != '#' {
			bad(n, fmt.Sprintf("text follows the closing quote of %s", key), "put all of the value in quotes")
			continue
		}
		if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
			bad(v.Line, fmt.Sprintf("the value of %s is not UTF-8 text", key), "save the file as UTF-8")
			continue
		}
		v.Value = value
		vars = append(vars, v)
	}
	return vars, issues
}

// unquotedValue ends at a # that follows blank space.
func unquotedValue(s string) string {
	for i := range len(s) {
		if s[i] == '#' && (i == 0 || s[i-1] == ' ' || s[i-1] == '\t') {
			s = s[:i]
			break
		}
	}
	return strings.TrimRight(s, " \t")
}

// quotedValue reads a value that begins with its quote on first and may go on
// over the lines below. used is how many of those it took.
func quotedValue(first string, below []string) (value, after string, used int, ok bool) {
	quote := first[0]
	var b strings.Builder
	for line := first[1:]; ; {
		for i := 0; i < len(line); i++ {
			c := line[i]
			switch {
			case c == quote:
				return b.String(), line[i+1:], used, true
			case c == '\\' && quote == '"' && i+1 < len(line):
				i++
				if plain, ok := map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', '"': '"', '\\': '\\', '$': '$'}[line[i]]; ok {
					b.WriteByte(plain)
				} else {
					b.WriteByte('\\')
					b.WriteByte(line[i])
				}
			default:
				b.WriteByte(c)
			}
		}
		if used == len(below) {
			return "", "", 0, false
		}
		b.WriteByte('\n')
		line = below[used]
		used++
	}
}
