package rpc

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// maxDepth is how deep a message may nest. It is encoding/json's own limit, so
// that whatever passes here can be decoded by a handler.
const maxDepth = 10_000

// scanner walks a JSON text once: it checks all of it, with the grammar of
// encoding/json, and gives its caller the raw bytes of the members of the
// outermost object. Nothing is decoded or copied, so a message's params cost
// one pass however large they are.
type scanner struct {
	b []byte
	i int
}

// errSyntax says where a text stops being JSON.
type errSyntax struct {
	offset int
	why    string
}

func (e *errSyntax) Error() string { return fmt.Sprintf("%s at byte %d", e.why, e.offset) }

func (s *scanner) bad() error {
	if s.i >= len(s.b) {
		return &errSyntax{len(s.b), "unexpected end"}
	}
	return &errSyntax{s.i, fmt.Sprintf("unexpected %q", s.b[s.i])}
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

// peek skips white space and returns the next byte, 0 at the end. (A 0 byte
// in the text is no valid start of anything either.)
func (s *scanner) peek() byte {
	s.space()
	if s.i >= len(s.b) {
		return 0
	}
	return s.b[s.i]
}

// value checks one value; depth counts the containers around it.
func (s *scanner) value(depth int) error {
	switch c := s.peek(); {
	case c == '"':
		return s.text()
	case c == '{':
		return s.object(depth+1, nil)
	case c == '[':
		return s.array(depth + 1)
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	}
	return s.bad()
}

// object checks an object and calls member, if there is one, with the raw key
// (quotes included) and the raw value of each of its members.
func (s *scanner) object(depth int, member func(key, value []byte)) error {
	if depth > maxDepth {
		return &errSyntax{s.i, "nested too deep"}
	}
	s.i++ // {
	if s.peek() == '}' {
		s.i++
		return nil
	}
	for {
		if s.peek() != '"' {
			return s.bad()
		}
		key := s.i
		if err := s.text(); err != nil {
			return err
		}
		keyEnd := s.i
		if s.peek() != ':' {
			return s.bad()
		}
		s.i++
		s.space()
		value := s.i
		if err := s.value(depth); err != nil {
			return err
		}
		if member != nil {
			// The capacities end with the values: an append by whoever gets
			// them must not write into what follows.
			member(s.b[key:keyEnd:keyEnd], s.b[value:s.i:s.i])
		}
		switch s.peek() {
		case ',':
			s.i++
		case '}':
			s.i++
			return nil
		default:
			return s.bad()
		}
	}
}

func (s *scanner) array(depth int) error {
	if depth > maxDepth {
		return &errSyntax{s.i, "nested too deep"}
	}
	s.i++ // [
	if s.peek() == ']' {
		s.i++
		return nil
	}
	for {
		if err := s.value(depth); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.i++
		case ']':
			s.i++
			return nil
		default:
			return s.bad()
		}
	}
}

// text checks a string. Invalid UTF-8 is left to encoding/json, which replaces it.
func (s *scanner) text() error {
	s.i++ // the opening quote
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return nil
		case c < 0x20:
			return s.bad()
		case c == '\\':
			if err := s.escape(); err != nil {
				return err
			}
		default:
			s.i++
		}
	}
	return s.bad()
}

func (s *scanner) escape() error {
	s.i++ // the backslash
	if s.i >= len(s.b) {
		return s.bad()
	}
	switch s.b[s.i] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i++
		return nil
	case 'u':
		s.i++
		for range 4 {
			if s.i >= len(s.b) || !isHex(s.b[s.i]) {
				return s.bad()
			}
			s.i++
		}
		return nil
	}
	return s.bad()
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func (s *scanner) literal(word string) error {
	for k := range len(word) {
		if s.i >= len(s.b) || s.b[s.i] != word[k] {
			return s.bad()
		}
		s.i++
	}
	return nil
}

func (s *scanner) number() error {
	if s.b[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.b) && s.b[s.i] == '0' {
		s.i++ // no digit may follow a leading zero
	} else if !s.digits() {
		return s.bad()
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if !s.digits() {
			return s.bad()
		}
	}
	if s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if !s.digits() {
			return s.bad()
		}
	}
	return nil
}

// digits skips digits and reports whether there was one.
func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && '0' <= s.b[s.i] && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}

// unquote returns what a checked JSON string says. Nearly every string on the
// wire has no escape and is what stands between its quotes.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "" // not reached: the scanner has checked it
	}
	return s
}

// isNull reports whether a checked value is null.
func isNull(raw []byte) bool { return len(raw) == 4 && raw[0] == 'n' }
