package editor

import (
	"slices"
	"strings"

	"go.lsp.dev/protocol"
)

// apply is the text after edits that do not overlap.
func (t Text) apply(edits ...protocol.TextEdit) string {
	edits = slices.Clone(edits)
	slices.SortStableFunc(edits, func(x, y protocol.TextEdit) int {
		return t.index(x.Range.Start) - t.index(y.Range.Start)
	})
	var b strings.Builder
	at := 0
	for _, e := range edits {
		b.WriteString(t.raw[at:max(at, t.index(e.Range.Start))])
		b.WriteString(e.NewText)
		at = max(at, t.index(e.Range.End))
	}
	return b.String() + t.raw[at:]
}

// index is the byte offset of a position in the whole text.
func (t Text) index(p protocol.Position) int {
	line, offset := t.offset(p)
	return t.starts[line] + offset
}

// at is the position of a byte offset of the whole text.
func (t Text) at(index int) protocol.Position {
	line, found := slices.BinarySearch(t.starts, index)
	if !found {
		line--
	}
	return t.position(line, min(index-t.starts[line], len(t.lines[line])))
}

// removal is what to delete so that the entry is gone that begins at from: a
// key with its value, or an entry of a list, with its whole lines where it has
// them for itself. ok is false where its end can't be told.
func (t Text) removal(from protocol.Position) (r protocol.Range, ok bool) {
	line, offset := t.offset(from)
	switch lead := strings.TrimLeft(t.lines[line][:offset], " \t"); {
	case lead == "":
		return t.block(line, offset, false), true
	case strings.TrimLeft(lead, " \t") == lead && strings.TrimSpace(lead) == "-":
		return t.block(line, len(t.lines[line][:offset])-len(lead), true), true
	}
	return t.flow(t.starts[line] + offset)
}

// block covers the lines of an entry in block style whose key, or dash, has
// this indentation. Blank lines and comments below it belong to what follows.
func (t Text) block(line, indent int, entry bool) protocol.Range {
	last := line
	for n := line + 1; n < len(t.lines); n++ {
		rest := strings.TrimLeft(t.lines[n], " \t")
		if rest == "" || rest[0] == '#' {
			continue
		}
		deep := len(t.lines[n]) - len(rest)
		list := !entry && deep == indent && (rest == "-" || strings.HasPrefix(rest, "- "))
		if deep <= indent && !list {
			break
		}
		last = n
	}
	if last+1 < len(t.lines) {
		return protocol.Range{Start: protocol.Position{Line: uint32(line)}, End: protocol.Position{Line: uint32(last + 1)}}
	}
	end := t.position(last, len(t.lines[last]))
	if line == 0 {
		return protocol.Range{End: end}
	}
	return protocol.Range{Start: t.position(line-1, len(t.lines[line-1])), End: end}
}

// flow covers an entry in flow style, such as of {a: 1, b: 2}, with the comma
// that parts it from the next or else from the one before.
func (t Text) flow(from int) (r protocol.Range, ok bool) {
	to, closed := flowEnd(t.raw, from)
	switch {
	case to < 0:
		return protocol.Range{}, false
	case !closed: // at a comma
		to++
		for to < len(t.raw) && (t.raw[to] == ' ' || t.raw[to] == '\t') {
			to++
		}
	default:
		for to > from && strings.IndexByte(" \t\r\n", t.raw[to-1]) >= 0 {
			to--
		}
		before := strings.TrimRight(t.raw[:from], " \t\r\n")
		if strings.HasSuffix(before, ",") {
			from = len(before) - 1
		}
	}
	return protocol.Range{Start: t.at(from), End: t.at(to)}, true
}

// flowEnd is where an entry in flow style ends: at a comma, or at the bracket
// that closes what it stands in. -1: neither follows, or a comment does.
func flowEnd(text string, from int) (end int, closed bool) {
	depth := 0
	var quote byte
	for i := from; i < len(text); i++ {
		switch c := text[i]; {
		case quote == '"' && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case (c == '"' || c == '\'') && (i == from || strings.IndexByte(" \t\r\n,:[{", text[i-1]) >= 0):
			quote = c
		case c == '#' && i > 0 && strings.IndexByte(" \t\r\n", text[i-1]) >= 0:
			return -1, false
		case c == '{' || c == '[':
			depth++
		case (c == '}' || c == ']') && depth > 0:
			depth--
		case c == '}' || c == ']':
			return i, true
		case c == ',' && depth == 0:
			return i, false
		}
	}
	return -1, false
}
