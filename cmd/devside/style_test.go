package main

import (
	"strings"
	"testing"
	"unicode"

	"github.com/devside/devside/supervisor/status"
)

func TestLogText(t *testing.T) {
	for _, test := range []struct{ in, plain, coloured string }{
		{"hello", "hello", "hello"},
		{"tab\tstays", "tab\tstays", "tab\tstays"},
		{"héllo ✓", "héllo ✓", "héllo ✓"},
		{"\x1b[31mred\x1b[0m", "red", "\x1b[31mred\x1b[0m\x1b[0m"},
		{"\x1b[38;5;196mred", "red", "\x1b[38;5;196mred\x1b[0m"},
		{"\x1b[>4;2mkeys", "keys", "keys"}, // changes what the keyboard sends
		{"\x1b[4:3mcurly", "curly", "\x1b[4:3mcurly\x1b[0m"},
		{"\x1b[2J\x1b[Hwiped", "wiped", "wiped"},
		{"\x1b[?25lhidden", "hidden", "hidden"},
		{"\x1b]0;title\x07text", "text", "text"},
		{"\x1b]52;c;c2VjcmV0\x1b\\text", "text", "text"},
		{"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link", "link"},
		{"\x1bPq...\x1b\\text", "text", "text"},
		{"\x1b(Btext", "text", "text"},
		{"\x1bctext", "text", "text"},
		{"10%\r50%\r100%", "100%", "100%"},
		{"done\r", "done", "done"},
		{"bell\x07 and \x00nul", "bell and nul", "bell and nul"},
		{"c1 \u009b31m", "c1 31m", "c1 31m"},
		{"cut \x1b[31", "cut ", "cut "},
		{"cut \x1b", "cut ", "cut "},
		{"cut \x1b]0;x", "cut ", "cut "},
		{"bad \x1b[3\x01x", "bad x", "bad x"},
	} {
		if got := logText(test.in, false); got != test.plain {
			t.Errorf("%q without colour: %q, want %q", test.in, got, test.plain)
		}
		if got := logText(test.in, true); got != test.coloured {
			t.Errorf("%q in colour: %q, want %q", test.in, got, test.coloured)
		}
	}
}

func FuzzLogText(f *testing.F) {
	for _, s := range []string{"", "\x1b[31mx", "\x1b]0;t\x07", "\x1b[", "a\rb", "\xff\x1b", "\x1b\x1b[m"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range logText(s, false) {
			if unicode.IsControl(r) && r != '\t' {
				t.Fatalf("%q keeps the control character %q", s, r)
			}
		}
		if got := logText(s, true); strings.ContainsAny(strings.ReplaceAll(got, "\x1b[", ""), "\x1b\x07\r\n") {
			t.Fatalf("%q in colour is %q", s, got)
		}
		for _, r := range visible(s) {
			if !unicode.IsPrint(r) && r != '\t' {
				t.Fatalf("%q made visible has %q", s, r)
			}
		}
	})
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain":           "plain",
		"a\x1b[31m":       `a\x1b[31m`,
		"right\u202eleft": `right\u202eleft`, // Trojan source
		"bad \xff":        `bad \xff`,
		"line\nline":      `line\nline`,
	} {
		if got := visible(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
	if got := words([]string{"npm", "run dev", "", "a\x07", "$HOME"}); got != `npm "run dev" "" "a\a" "$HOME"` {
		t.Error(got)
	}
}

func TestAmounts(t *testing.T) {
	for ms, want := range map[int64]string{0: "0s", 59_999: "59s", 192_000: "3m12s", 7_500_000: "2h05m", 100 * 3600 * 1000: "4d4h"} {
		if got := age(ms); got != want {
			t.Errorf("age %d: %s, want %s", ms, got, want)
		}
	}
	for ms, want := range map[int64]string{3: "3 ms", 1234: "1.2 s", 12_345: "12s"} {
		if got := took(ms); got != want {
			t.Errorf("took %d: %s, want %s", ms, got, want)
		}
	}
	for n, want := range map[int64]string{0: "-", 1: "1 KB", 2048: "2 KB", 120 << 20: "120 MB", 3 << 29: "1.5 GB"} {
		if got := size(n); got != want {
			t.Errorf("size %d: %s, want %s", n, got, want)
		}
	}
	if got := count(1, "server") + ", " + count(2, "server"); got != "1 server, 2 servers" {
		t.Error(got)
	}
}

func TestServersKeepTheirColours(t *testing.T) {
	st := style{colour: true}
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"}
	p := newPrefixes(st, names)
	if p.of("a") == p.of("b") || p.colour["a"] != p.colour["k"] {
		t.Errorf("%v", p.colour)
	}
	again := newPrefixes(st, names)
	for _, n := range names {
		if p.of(n) != again.of(n) {
			t.Errorf("%s changed its colour", n)
		}
	}
	p.add("a")
	p.add("longer")
	if got := newPrefixes(style{}, []string{"api", "worker"}).of("api"); got != "api    | " {
		t.Errorf("%q", got)
	}
}

func TestTableMeasuresWhatIsSeen(t *testing.T) {
	st := style{colour: true}
	got := table([][]cell{{plain("NAME"), plain("X")}, {{"é", st.paint(red, "é")}, plain("y")}})
	if want := "NAME  X\n\x1b[31mé\x1b[0m     y\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if table(nil) != "" {
		t.Error("a table of nothing")
	}
}

func TestEveryStateHasAColour(t *testing.T) {
	for _, s := range status.States {
		if stateColours[s] == "" {
			t.Errorf("state %s has none", s)
		}
	}
	for _, sev := range []status.Severity{status.Error, status.Warning, status.Information} {
		if got := (style{colour: true}).severity(sev); !strings.Contains(got, string(sev)) || !strings.HasPrefix(got, "\x1b[") {
			t.Errorf("%q", got)
		}
	}
}

func TestWhenThereIsColour(t *testing.T) {
	for _, test := range []struct {
		tty, flag bool
		env       map[string]string
		output    string
		want      bool
	}{
		{true, false, nil, outputText, true},
		{false, false, nil, outputText, false},
		{true, true, nil, outputText, false},
		{true, false, map[string]string{"NO_COLOR": "1"}, outputText, false},
		{true, false, map[string]string{"TERM": "dumb"}, outputText, false},
		{true, false, nil, outputJSON, false},
	} {
		a := &app{outTTY: test.tty, noColor: test.flag, output: test.output, getenv: func(n string) string { return test.env[n] }}
		if got := a.style().colour; got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}
