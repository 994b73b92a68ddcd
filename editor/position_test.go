package editor

import (
	"strings"
	"testing"
	"unicode/utf16"

	"go.lsp.dev/protocol"

	"github.com/devside/devside/supervisor/spec"
)

func span(l1, c1, l2, c2 int) spec.Range {
	return spec.Range{Start: spec.Position{Line: l1, Column: c1}, End: spec.Position{Line: l2, Column: c2}}
}

func at(l1, c1, l2, c2 uint32) protocol.Range {
	return protocol.Range{Start: protocol.Position{Line: l1, Character: c1}, End: protocol.Position{Line: l2, Character: c2}}
}

func TestRangeMapsCodePointsToUTF16(t *testing.T) {
	for _, test := range []struct {
		name, text string
		in         spec.Range
		want       protocol.Range
	}{
		{"ASCII", "port: 3000\n", span(1, 7, 1, 11), at(0, 6, 0, 10)},
		{"an emoji is two units", "# 🚀 x: 1", span(1, 5, 1, 6), at(0, 5, 0, 6)},
		{"a range that holds an emoji", "a🚀b", span(1, 1, 1, 4), at(0, 0, 0, 4)},
		{"é is one unit", "é: é", span(1, 4, 1, 5), at(0, 3, 0, 4)},
		{"a combining mark is a code point", "e\u0301: x", span(1, 5, 1, 6), at(0, 4, 0, 5)},
		{"a tab is one unit", "\tport: 1", span(1, 2, 1, 6), at(0, 1, 0, 5)},
		{"CRLF", "a: 1\r\nb: 22\r\n", span(2, 4, 2, 6), at(1, 3, 1, 5)},
		{"the CR of a CRLF is not in its line", "a: 1\r\nb", span(1, 4, 1, 9), at(0, 3, 0, 4)},
		{"a lone CR ends a line", "a: 1\rb: 2", span(2, 1, 2, 2), at(1, 0, 1, 1)},
		{"a byte order mark takes no column", "\uFEFFport: 1", span(1, 1, 1, 5), at(0, 0, 0, 4)},
		{"a byte that is no UTF-8 is one unit", "a\xffb: 1", span(1, 3, 1, 4), at(0, 2, 0, 3)},
		{"several lines", "a:\n  b: 1\n  c: 2\n", span(1, 1, 3, 7), at(0, 0, 2, 6)},
		{"past the end of the line", "ab\ncd", span(1, 2, 1, 99), at(0, 1, 0, 2)},
		{"past the end of the text", "ab\ncd", span(2, 1, 99, 1), at(1, 0, 1, 2)},
		{"wholly past the end widens to the last word", "ab\ncd", span(9, 9, 9, 9), at(1, 0, 1, 2)},
		{"end before start", "ab cd\nef", span(1, 4, 1, 1), at(0, 3, 0, 5)},
		{"unknown", "ab cd", spec.Range{}, at(0, 0, 0, 2)},
		{"empty widens to the word", "key: some-word.js, x", span(1, 8, 1, 8), at(0, 5, 0, 17)},
		{"empty after a word", "api:", span(1, 4, 1, 4), at(0, 0, 0, 3)},
		{"empty between blanks widens to the line", "  [ ]  ", span(1, 4, 1, 4), at(0, 2, 0, 5)},
		{"empty on a blank line takes its end", "a\n\nb", span(2, 1, 2, 1), at(1, 0, 2, 0)},
		{"nothing to underline", "", span(1, 1, 1, 1), at(0, 0, 0, 0)},
		{"emoji inside the widened word's line", "🚀 port", span(1, 4, 1, 4), at(0, 3, 0, 7)},
		{"negative", "ab", span(-1, -5, 1, 3), at(0, 0, 0, 2)},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := NewText(test.text).Range(test.in); got != test.want {
				t.Errorf("Range(%v) in %q = %v, want %v", test.in, test.text, got, test.want)
			}
		})
	}
}

func TestLine(t *testing.T) {
	text := NewText("  a: 🚀  \r\n\r\nlast")
	for line, want := range map[int]protocol.Range{
		-1: at(0, 2, 0, 7), 0: at(0, 2, 0, 7), 1: at(1, 0, 2, 0), 2: at(2, 0, 2, 4), 7: at(2, 0, 2, 4),
	} {
		if got := text.Line(line); got != want {
			t.Errorf("Line(%d) = %v, want %v", line, got, want)
		}
	}
}

// FuzzRange holds the invariant of Text: whatever is asked, the answer lies
// inside the text, in order, at the border of a code point.
func FuzzRange(f *testing.F) {
	f.Add("a: 🚀\r\nb", 1, 4, 2, 1)
	f.Add("\uFEFF", 1, 1, 1, 1)
	f.Add("a\xff\rb", 3, 3, 0, 0)
	f.Fuzz(func(t *testing.T, text string, l1, c1, l2, c2 int) {
		got := NewText(text).Range(span(l1, c1, l2, c2))
		lines := splitLikeLSP(strings.TrimPrefix(text, bom))
		for _, p := range []protocol.Position{got.Start, got.End} {
			if int(p.Line) >= len(lines) {
				t.Fatalf("%v: line outside %d lines", got, len(lines))
			}
			units := utf16.Encode([]rune(lines[p.Line]))
			if int(p.Character) > len(units) {
				t.Fatalf("%v: character outside %q", got, lines[p.Line])
			}
			if int(p.Character) < len(units) && units[p.Character]&0xFC00 == 0xDC00 {
				t.Fatalf("%v: inside a surrogate pair of %q", got, lines[p.Line])
			}
		}
		if got.End.Line < got.Start.Line || got.End.Line == got.Start.Line && got.End.Character < got.Start.Character {
			t.Fatalf("%v ends before it starts", got)
		}
	})
}

// splitLikeLSP is another way to the same lines, as a judge.
func splitLikeLSP(text string) []string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	return strings.Split(strings.ReplaceAll(text, "\r", "\n"), "\n")
}
