package editor

import (
	"slices"
	"strings"

	"go.lsp.dev/protocol"
)

// spot is a place in devside.yaml where something is being typed. It is told
// from the indentation and the brackets around it: while somebody types, the
// text is hardly ever valid YAML.
type spot struct {
	path    []string       // the keys around it: servers, api, ready
	value   bool           // a value of the last of them is typed, else a key below it
	entry   bool           // … in a list
	dash    bool           // … whose dash is still to be written
	flow    bool           // between brackets
	typed   string         // so far
	at      protocol.Range // of that
	beside  []string       // keys, or entries, that stand there already
	follows string         // the rest of the line
}

// spotAt finds the spot of a position. ok is false in comments, and where the
// text says too little.
func (t Text) spotAt(p protocol.Position) (s spot, ok bool) {
	n, offset := t.offset(p)
	line := t.lines[n]
	head := line[:offset]
	if commentStart(head) >= 0 {
		return spot{}, false
	}
	l := readLine(line)
	blank := strings.TrimSpace(line) == ""
	if blank {
		l = yamlLine{indent: len(head), dashAt: -1}
	}
	s.follows = line[offset:]
	typed := func(from int) {
		s.typed = line[from:offset]
		s.at = protocol.Range{Start: t.position(n, from), End: t.position(n, offset)}
	}
	indent, dashed := l.indent, false
	if l.dashAt >= 0 {
		indent, dashed = l.dashAt, true
	}
	above := t.above(n, indent, dashed)
	switch {
	case l.dashAt >= 0 && offset <= l.dashAt, !blank && offset < l.indent && l.dashAt < 0:
		return spot{}, false // before what stands on the line
	case l.hasKey && offset >= l.valueAt:
		// In the value of `key: value`.
		s.path, s.value = append(above, l.key), true
		from := l.valueAt
		for from < offset && (line[from] == ' ' || line[from] == '\t') {
			from++
		}
		typed(from)
		return s.between(t, n, from, offset)
	case l.hasKey && offset > l.keyEnd:
		return spot{}, false // between key and colon
	case l.dashAt >= 0 && !l.hasKey:
		s.path, s.value, s.entry = above, true, true
		typed(min(l.indent, offset))
		s.beside = t.entries(n, l.dashAt)
		return s.between(t, n, min(l.indent, offset), offset)
	}
	s.path = above
	typed(min(l.indent, offset))
	s.beside = t.keysBeside(n, l.indent)
	return s, true
}

// yamlLine is one line in block style.
type yamlLine struct {
	indent  int // bytes before its content: behind a dash
	dashAt  int // byte of the dash; -1: none
	hasKey  bool
	key     string
	keyEnd  int  // byte behind the key
	valueAt int  // byte behind the colon
	nothing bool // blank, or a comment
}

func readLine(line string) yamlLine {
	l := yamlLine{dashAt: -1}
	skip := func() {
		for l.indent < len(line) && (line[l.indent] == ' ' || line[l.indent] == '\t') {
			l.indent++
		}
	}
	skip()
	for l.indent < len(line) && line[l.indent] == '-' && (l.indent+1 == len(line) || line[l.indent+1] == ' ') {
		if l.dashAt < 0 {
			l.dashAt = l.indent
		}
		l.indent++
		skip()
	}
	rest := line[l.indent:]
	if rest == "" || rest[0] == '#' {
		l.nothing = l.dashAt < 0
		return l
	}
	if end, colon := keyIn(rest); colon >= 0 {
		l.hasKey, l.key = true, strings.Trim(rest[:end], `"'`)
		l.keyEnd, l.valueAt = l.indent+end, l.indent+colon+1
	}
	return l
}

// keyIn finds a key at the beginning of a text, and its colon; -1: none.
func keyIn(s string) (end, colon int) {
	if strings.IndexByte("{[]},&*!|>%@`", s[0]) >= 0 {
		return 0, -1
	}
	i := 0
	if s[0] == '"' || s[0] == '\'' {
		if i = strings.IndexByte(s[1:], s[0]); i < 0 {
			return 0, -1
		}
		i += 2
	}
	for ; i < len(s); i++ {
		switch {
		case s[i] == ':' && (i+1 == len(s) || s[i+1] == ' ' || s[i+1] == '\t'):
			return len(strings.TrimRight(s[:i], " \t")), i
		case s[i] == '#' && i > 0 && s[i-1] == ' ':
			return 0, -1
		}
	}
	return 0, -1
}

// commentStart is where a comment begins in the beginning of a line; -1: nowhere.
func commentStart(head string) int {
	var quote byte
	for i := 0; i < len(head); i++ {
		switch c := head[i]; {
		case quote == '"' && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case (c == '"' || c == '\'') && (i == 0 || strings.IndexByte(" \t,:[{", head[i-1]) >= 0):
			quote = c
		case c == '#' && (i == 0 || head[i-1] == ' ' || head[i-1] == '\t'):
			return i
		}
	}
	return -1
}

// above is the keys that a line with this indentation stands below, outermost
// first. A list may have the indentation of its key: dashed says that the line
// begins with a dash.
func (t Text) above(n, indent int, dashed bool) []string {
	var path []string
	for n--; n >= 0 && (indent > 0 || dashed); n-- {
		l := readLine(t.lines[n])
		if l.nothing {
			continue
		}
		own := l.indent
		if l.dashAt >= 0 {
			own = l.dashAt
			if l.hasKey && l.indent < indent { // deeper than the key behind the dash
				path = append(path, l.key)
			}
			if own < indent || own == indent && !dashed {
				indent, dashed = own, true
			}
			continue
		}
		if own < indent || own == indent && dashed && l.hasKey {
			if l.hasKey {
				path = append(path, l.key)
			}
			indent, dashed = own, false
		}
	}
	slices.Reverse(path)
	return path
}

// around calls look with the lines before and behind one, as far as they stand
// in the same map or list: until one that is indented less.
func (t Text) around(n, indent int, look func(l yamlLine, line string)) {
	for _, step := range []int{-1, 1} {
		for i := n + step; i >= 0 && i < len(t.lines); i += step {
			l := readLine(t.lines[i])
			if l.nothing {
				continue
			}
			own := l.indent
			if l.dashAt >= 0 && l.dashAt <= indent {
				own = l.dashAt
			}
			if own < indent {
				if l.dashAt >= 0 && l.indent == indent && step < 0 { // `- number: 1` begins the map
					look(l, t.lines[i])
				}
				break
			}
			look(l, t.lines[i])
		}
	}
}

func (t Text) keysBeside(n, indent int) (keys []string) {
	t.around(n, indent, func(l yamlLine, _ string) {
		if l.hasKey && l.indent == indent {
			keys = append(keys, l.key)
		}
	})
	return keys
}

func (t Text) entries(n, dashAt int) (entries []string) {
	t.around(n, dashAt, func(l yamlLine, line string) {
		if l.dashAt == dashAt && !l.hasKey {
			entries = append(entries, plainValue(line[l.indent:]))
		}
	})
	return entries
}

// plainValue is a value without its quotes and the comment behind it.
func plainValue(s string) string {
	if i := commentStart(s); i >= 0 {
		s = s[:i]
	}
	return strings.Trim(strings.TrimSpace(s), `"'`)
}

// level is one open bracket.
type level struct {
	list   bool
	key    string // of a map: whose value is being read
	beside []string
	from   int // of what is being read
}

// between refines a spot in the value of a line that has brackets in it: to the
// innermost that is open at the cursor.
func (s spot) between(t Text, n, from, offset int) (spot, bool) {
	line := t.lines[n]
	if from >= len(line) || line[from] != '{' && line[from] != '[' {
		// A bracket further on has an anchor or a tag before it, or is text.
		return s, !strings.ContainsAny(s.typed, "{[")
	}
	var open []*level
	var there *level // the innermost at the cursor
	var path []string
	var quote byte
	for i := from; i <= len(line); i++ {
		if i == offset {
			if len(open) == 0 {
				return spot{}, false // behind the last bracket
			}
			there = open[len(open)-1]
			for _, l := range open {
				if !l.list && l.key != "" {
					path = append(path, l.key)
				}
			}
			at := there.from
			for at < offset && (line[at] == ' ' || line[at] == '\t') {
				at++
			}
			s.typed = line[at:offset]
			s.at = protocol.Range{Start: t.position(n, at), End: t.position(n, offset)}
			s.value, s.entry = there.list || there.key != "", there.list
		}
		if i == len(line) {
			break
		}
		var top *level
		if len(open) > 0 {
			top = open[len(open)-1]
		}
		finish := func() {
			if text := plainValue(line[top.from:i]); top.list && text != "" && (top != there || i < offset || top.from > offset) {
				top.beside = append(top.beside, text)
			}
		}
		switch c := line[i]; {
		case quote == '"' && c == '\\':
			i++
			if i == offset { // behind a backslash: nothing can be said
				return spot{}, false
			}
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case (c == '"' || c == '\'') && top != nil && strings.TrimSpace(line[top.from:i]) == "":
			quote = c
		case c == '{' || c == '[':
			open = append(open, &level{list: c == '[', from: i + 1})
		case top == nil:
		case c == '}' || c == ']':
			finish()
			open = open[:len(open)-1]
			if len(open) > 0 {
				open[len(open)-1].from = i + 1
			}
		case c == ',':
			finish()
			top.key, top.from = "", i+1
		case c == ':' && !top.list && top.key == "" && (i+1 == len(line) || line[i+1] == ' '):
			key := strings.Trim(strings.TrimSpace(line[top.from:i]), `"'`)
			if i < offset || top != there || top.from > offset {
				top.beside = append(top.beside, key)
			}
			top.key, top.from = key, i+1
		}
	}
	s.flow, s.beside = true, there.beside
	s.path = append(slices.Clone(s.path), path...)
	return s, true
}

// keyOfPath finds the description of a path of keys; ok is false when it has none.
func keyOfPath(path []string) (at string, ok bool) {
	for _, name := range path {
		switch {
		case name != "*" && known(join(at, name)):
			at = join(at, name)
		case known(join(at, "*")):
			at = join(at, "*")
		default:
			return "", false
		}
	}
	return at, true
}
