package logs

import (
	"testing"
	"unicode/utf8"
)

func TestStripANSI(t *testing.T) {
	for in, want := range map[string]string{
		"":                           "",
		"plain, with\ttab":           "plain, with\ttab",
		"\x1b[31mred\x1b[0m":         "red",
		"\x1b[1;38;5;208mbold\x1b[m": "bold",
		"\x1b[2K\x1b[1Gline":         "line",
		"\x1b[?25lhidden\x1b[?25h":   "hidden",
		"\x1b[>4;1m\x1b[ qx":         "x",
		"\x1b]0;a title\x07text":     "text",
		"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\": "link",
		"\x1bP1$r0m\x1b\\text":                     "text",
		"\x1b_Ga=T;AAAA\x1b\\text":                 "text",
		"\x1b^pm\x1b\\\x1bXsos\x1b\\text":          "text",
		"\x1b(Btext\x1b)0":                         "text",
		"\x1b7save\x1b8\x1bM\x1b=":                 "save",
		"\x1bcreset":                               "reset",
		"bell\x07, null\x00, back\bspace":          "bell, null, backspace",
		"line\nfeed\rreturn\vtab\x7f":              "linefeedreturntab",
		"\u009b31mC1\u009b0m":                      "C1",
		"\u009d0;title\u009ctext":                  "text",
		"\u0090dcs\u009c\u0085text":                "text",
		"héllo wörld 日本 🙂":                         "héllo wörld 日本 🙂",
		"bad \xff byte":                            "bad \uFFFD byte",
		"raw \x9b31m byte":                         "raw \uFFFD31m byte", // no C1 in UTF-8
		// What does not end hides nothing.
		"\x1b]0;no end":         "0;no end",
		"\x1b]0;cut\x1b[31mred": "0;cutred",
		"\x1bPno end":           "no end",
		"\x1b[31":               "31",
		"\x1b[31\x1b[0mx":       "31x",
		"\x1b":                  "",
		"\x1b\x1b[0mx":          "x",
		"\x1b(":                 "(",
		"\x1bé":                 "é",
	} {
		if got := StripANSI(in); got != want {
			t.Errorf("StripANSI(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzStripANSI(f *testing.F) {
	for _, seed := range []string{"\x1b[31mred\x1b[0m", "\x1b]0;t\x07x", "\u009b1m", "\x1bP\x1b\\", "\xff\x1b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		out := StripANSI(in)
		for _, r := range out {
			if r < ' ' && r != '\t' || r >= 0x7f && r <= 0x9f {
				t.Fatalf("StripANSI(%q) = %q holds %q", in, out, r)
			}
		}
		if !utf8.ValidString(out) {
			t.Fatalf("StripANSI(%q) = %q is not UTF-8", in, out)
		}
		if again := StripANSI(out); again != out {
			t.Fatalf("StripANSI(%q) = %q, again %q", in, out, again)
		}
	})
}
