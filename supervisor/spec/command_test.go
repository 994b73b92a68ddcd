package spec

import (
	"reflect"
	"strings"
	"testing"
)

func TestSplitWords(t *testing.T) {
	tests := []struct {
		text string
		want []string
	}{
		{"npm run dev", []string{"npm", "run", "dev"}},
		{"  a\tb  c ", []string{"a", "b", "c"}},
		{`node -e "console.log(1)"`, []string{"node", "-e", "console.log(1)"}},
		{`a 'b c' "d e" f\ g`, []string{"a", "b c", "d e", "f g"}},
		{`a "" ''`, []string{"a", "", ""}},
		{`a b"c"'d'`, []string{"a", "bcd"}},
		{`a "x\"y\\z\n"`, []string{"a", `x"y\z\n`}},
		{"a \\\n b", []string{"a", "b"}},
		{`a $HOME/x ${HOME}y`, []string{"a", "$HOME/x", "${HOME}y"}},
		{`a $A"b"`, []string{"a", "${A}b"}},
		{`a "$A"b`, []string{"a", "${A}b"}},
		{`a "$A"-b`, []string{"a", "$A-b"}},
		{`a '$HOME' \$HOME "\$HOME"`, []string{"a", "$$HOME", "$$HOME", "$$HOME"}},
		{`a $ b$`, []string{"a", "$$", "b$$"}},
		{`a '*' "?" \*`, []string{"a", "*", "?", "*"}},
		{`a --x=1 b=c`, []string{"a", "--x=1", "b=c"}},
		{`a b#c {d} [e`, []string{"a", "b#c", "{d}", "[e"}},
		{`größe 😀`, []string{"größe", "😀"}},
		{"a x~ ~'/y'", nil},
	}
	for _, tt := range tests {
		words, problem, _ := splitWords(tt.text, "")
		if !reflect.DeepEqual(words, tt.want) || (problem == "") != (tt.want != nil) {
			t.Errorf("%q: %q %s, expected %q", tt.text, words, problem, tt.want)
		}
	}
	for text, want := range map[string]string{
		"":                           "the command is empty",
		"# a":                        "the command is empty",
		"a\x00b":                     "NUL",
		strings.Repeat("a", 8<<10+1): "8 KiB",
		"a 'b":                       "can't be split into words",
		"coproc a":                   "a shell statement",
		"time a":                     "a shell statement",
		"a $\"x\"":                   `$"…"`,
		"a \"$(b)\"":                 "a command substitution",
		"a \"${b#c}\"":               "a parameter expansion",
		"a $@":                       "the special parameter $@",
		"a $$":                       "the special parameter $$",
		"a ${b[1]}":                  "a parameter expansion",
		"a ${#b}":                    "a parameter expansion",
		"a @(b|c)":                   "a glob (@(…))",
		"a{1..3}":                    "a brace expansion",
		"a |& b":                     "a pipe (|&)",
		"a;":                         "a semicolon",
		"((a))":                      "arithmetic",
	} {
		words, problem, hint := splitWords(text, "use a shell")
		if words != nil || hint == "" || !strings.Contains(problem, want) {
			t.Errorf("%.40q: %q %q, expected %q", text, words, problem, want)
		}
	}
}

func TestExpand(t *testing.T) {
	env := lookup("A", "x y", "B", "$A", "AB", "z", "EMPTY", "")
	tests := []struct{ in, want []string }{
		{[]string{"$A", "${A}"}, []string{"x y", "x y"}},
		{[]string{"c", "$AB", "${A}B", "-$A-"}, []string{"c", "z", "x yB", "-x y-"}},
		{[]string{"c", "$B"}, []string{"c", "$A"}},
		{[]string{"c", "$NOPE", "${NOPE}x", "$EMPTY"}, []string{"c", "", "x", ""}},
		{[]string{"c", "$$A", "$$$A", "a$", "$ b", "$1", "${A", "${A-b}", "${}"}, []string{"c", "$A", "$x y", "a$", "$ b", "$1", "${A", "${A-b}", "${}"}},
		{[]string{"bash", "-c", "echo $A $$", "$A"}, []string{"bash", "-c", "echo $A $$", "x y"}},
		{[]string{"/bin/sh", "-c", "$A"}, []string{"/bin/sh", "-c", "$A"}},
		{[]string{"node", "-c", "$A"}, []string{"node", "-c", "x y"}},
		{nil, []string{}},
	}
	for _, tt := range tests {
		if got := Expand(tt.in, env); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %q, expected %q", tt.in, got, tt.want)
		}
	}
	if got := Expand([]string{"$A"}, nil); got[0] != "" {
		t.Errorf("without an environment: %q", got)
	}
}

func TestNearest(t *testing.T) {
	for typed, want := range map[string]string{
		"prot": "port", "ports": "port", "Port": "port", "comand": "command", "commnad": "command", "dependsOn": "depends_on",
		"depends": "depends_on", "env-file": "env_file", "environment": "env", "healthcheck": "ready", "xyzzy": "", "p": "", "": "",
		"portable_thing": "port", strings.Repeat("port", 30): "", "stpo": "stop", "cwd": "dir",
	} {
		if got := nearestKey(typed, KeysBelow("servers.*")); got != want {
			t.Errorf("%q: %q, expected %q", typed, got, want)
		}
	}
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"ab", "ba", 1}, {"abc", "acb", 1}, {"kitten", "sitting", 3}, {"é", "e", 1}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("%q, %q: %d, expected %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]string{"0": "0s", "10s": "10s", "1m30s": "1m30s", "150ms": "150ms", "1.5h": "1h30m", "2m": "2m", "24h": "24h"} {
		if d, problem, _ := parseDuration(text); problem != "" || durationText(d) != want {
			t.Errorf("%q: %s %s, expected %s", text, durationText(d), problem, want)
		}
	}
	for _, text := range []string{"", "10", "1.5", "s", "10 s", "1d", "-1s", "+1s", "25h", "99999999999999999h", "1h1", "1us"} {
		if d, problem, hint := parseDuration(text); problem == "" || hint == "" {
			t.Errorf("%q is %s", text, d)
		}
	}
	for text, want := range map[string]int64{"0": 0, "1B": 1, "1KB": 1 << 10, "512MB": 512 << 20, "1GB": 1 << 30, "1.5GB": 3 << 29, "1GiB": 1 << 30, "2 TB": 2 << 40} {
		if n, problem, _ := parseSize(text); problem != "" || n != want {
			t.Errorf("%q: %d %s, expected %d", text, n, problem, want)
		}
	}
	for _, text := range []string{"", "1", "1.5", "1G", "1gb", "GB", "-1GB", "1e9B", "99999999999999TB", "1 0GB"} {
		if n, problem, hint := parseSize(text); problem == "" || hint == "" {
			t.Errorf("%q is %d", text, n)
		}
	}
	for n, want := range map[int64]string{1: "1B", 1 << 10: "1KB", 512 << 20: "512MB", 3 << 29: "1.5GB"} {
		if got := sizeText(n); got != want {
			t.Errorf("%d: %s, expected %s", n, got, want)
		}
	}
	if got := quote(strings.Repeat("é", 100)); len([]rune(got)) != 63 {
		t.Errorf("quote is %d long", len([]rune(got)))
	}
}

func TestParseEnvFile(t *testing.T) {
	vars, issues := ParseEnvFile("\ufeff# comment\r\n" +
		"A=b\n" +
		"  export B = two words  # not this\n" +
		"exportC=x\n" +
		"EMPTY=\n" +
		"HASH=a#b\n" +
		"ONLY= # nothing\n" +
		"S='it $A \\n # \"x\"' # c\n" +
		"D=\"a\\nb\\t\\\"\\\\\\$ \\q # $A `id` $(id)\"\n" +
		"M=\"one\n  two # still\n\nthree\" # c\n" +
		"K=`a'\"b`\n" +
		"J={\"x\":1}\n" +
		"A=again\n" +
		"no equals sign\n" +
		"1A=x\n" +
		"=x\n" +
		"T='a' b\n" +
		"X=\xff\n" +
		"Z=\"never closed\nNOT=seen")
	want := []EnvVar{
		{"A", "b", 2}, {"B", "two words", 3}, {"exportC", "x", 4}, {"EMPTY", "", 5}, {"HASH", "a#b", 6}, {"ONLY", "", 7},
		{"S", `it $A \n # "x"`, 8}, {"D", "a\nb\t\"\\$ \\q # $A `id` $(id)", 9}, {"M", "one\n  two # still\n\nthree", 10},
		{"K", `a'"b`, 14}, {"J", `{"x":1}`, 15}, {"A", "again", 16}, {"NOT", "seen", 23},
	}
	if !reflect.DeepEqual(vars, want) {
		t.Errorf("variables:\n%+v\nexpected:\n%+v", vars, want)
	}
	var lines []int
	for _, i := range issues {
		lines = append(lines, i.Range.Start.Line)
		if i.Message == "" || i.Hint == "" || i.Severity != Error {
			t.Errorf("issue %+v", i)
		}
	}
	if !reflect.DeepEqual(lines, []int{17, 18, 19, 20, 21, 22}) {
		t.Errorf("issues on lines %v: %v", lines, issues)
	}
	if vars, issues := ParseEnvFile(""); vars != nil || issues != nil {
		t.Errorf("empty: %v %v", vars, issues)
	}
}
