package editor

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"go.lsp.dev/protocol"

	"github.com/devside/devside/supervisor/spec"
)

// bom may start a file on disk. An editor's document never holds it, so it
// takes no column.
const bom = "\uFEFF"

// Text maps the positions of spec (lines and code points from 1) to those of
// LSP (lines and UTF-16 units from 0) in one text. Whatever it is asked for,
// the answer lies inside the text.
type Text struct {
	raw    string
	lines  []string // without their line ends
	starts []int    // of each line in raw
}

// NewText splits a text at the line ends LSP knows: LF, CR LF and CR.
func NewText(text string) Text {
	text = strings.TrimPrefix(text, bom)
	t := Text{raw: text, lines: make([]string, 0, strings.Count(text, "\n")+1)}
	for {
		t.starts = append(t.starts, len(t.raw)-len(text))
		i := strings.IndexAny(text, "\r\n")
		if i < 0 {
			t.lines = append(t.lines, text)
			return t
		}
		t.lines = append(t.lines, text[:i])
		if strings.HasPrefix(text[i:], "\r\n") {
			i++
		}
		text = text[i+1:]
	}
}

// Range maps r. A range that is empty is widened to the word it touches, or
// else to its line, so that there is something to underline; it stays empty
// only where its line and all after it are empty.
func (t Text) Range(r spec.Range) protocol.Range {
	line, from := t.clamp(r.Start)
	last, to := t.clamp(r.End)
	if last < line || last == line && to < from {
		last, to = line, from
	}
	if last == line && to == from {
		return t.word(line, from)
	}
	return protocol.Range{Start: t.position(line, from), End: t.position(last, to)}
}

// Position maps a position of LSP back: to lines and code points from 1. One
// inside a pair of surrogates is that of its character.
func (t Text) Position(p protocol.Position) spec.Position {
	line, offset := t.offset(p)
	return spec.Position{Line: line + 1, Column: utf8.RuneCountInString(t.lines[line][:offset]) + 1}
}

// offset turns a position of LSP into a line index and a byte offset in that line.
func (t Text) offset(p protocol.Position) (line, offset int) {
	if int64(p.Line) >= int64(len(t.lines)) {
		last := len(t.lines) - 1
		return last, len(t.lines[last])
	}
	line = int(p.Line)
	units := uint32(0)
	for i, r := range t.lines[line] {
		width := uint32(1)
		if r > 0xFFFF {
			width = 2
		}
		if units+width > p.Character {
			return line, i
		}
		units += width
	}
	return line, len(t.lines[line])
}

// Exact maps r as it is, without widening what is empty.
func (t Text) Exact(r spec.Range) protocol.Range {
	line, from := t.clamp(r.Start)
	last, to := t.clamp(r.End)
	if last < line || last == line && to < from {
		last, to = line, from
	}
	return protocol.Range{Start: t.position(line, from), End: t.position(last, to)}
}

// Line returns the range of one line's text, counted from 0.
func (t Text) Line(line int) protocol.Range {
	line = min(max(line, 0), len(t.lines)-1)
	return t.wholeLine(line)
}

// clamp turns a position into a line index and a byte offset in that line.
func (t Text) clamp(p spec.Position) (line, offset int) {
	if p.Line < 1 {
		return 0, 0
	}
	if p.Line > len(t.lines) {
		last := len(t.lines) - 1
		return last, len(t.lines[last])
	}
	line = p.Line - 1
	rest := t.lines[line]
	for column := 1; column < p.Column && rest != ""; column++ {
		_, size := utf8.DecodeRuneInString(rest)
		rest = rest[size:]
	}
	return line, len(t.lines[line]) - len(rest)
}

// position counts the UTF-16 units before a byte offset of a line. A byte that
// is no UTF-8 counts as the one unit of U+FFFD, which is what an editor reads
// it as.
func (t Text) position(line, offset int) protocol.Position {
	units := 0
	for _, r := range t.lines[line][:offset] {
		units++
		if r > 0xFFFF {
			units++
		}
	}
	return protocol.Position{Line: uint32(line), Character: uint32(units)}
}

func (t Text) word(line, offset int) protocol.Range {
	text := t.lines[line]
	from, to := offset, offset
	for from > 0 {
		r, size := utf8.DecodeLastRuneInString(text[:from])
		if !inWord(r) {
			break
		}
		from -= size
	}
	for to < len(text) {
		r, size := utf8.DecodeRuneInString(text[to:])
		if !inWord(r) {
			break
		}
		to += size
	}
	if from == to {
		return t.wholeLine(line)
	}
	return protocol.Range{Start: t.position(line, from), End: t.position(line, to)}
}

// wholeLine leaves out the blanks at both ends of a line. Of a blank line it
// takes the line end, too, where there is one.
func (t Text) wholeLine(line int) protocol.Range {
	text := t.lines[line]
	from := len(text) - len(strings.TrimLeftFunc(text, unicode.IsSpace))
	to := len(strings.TrimRightFunc(text, unicode.IsSpace))
	if from < to {
		return protocol.Range{Start: t.position(line, from), End: t.position(line, to)}
	}
	end := t.position(line, len(text))
	if line+1 < len(t.lines) {
		end = protocol.Position{Line: uint32(line + 1)}
	}
	return protocol.Range{Start: t.position(line, 0), End: end}
}

func inWord(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) || strings.ContainsRune("_-.$", r)
}
