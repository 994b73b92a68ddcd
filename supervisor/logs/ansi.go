package logs

import (
	"strings"
	"unicode/utf8"
)

// Control characters that begin or end sequences (ECMA-48), with their 8-bit
// forms as runes.
const (
	bel = 0x07
	esc = 0x1b
	del = 0x7f
	csi = 0x9b
	st  = 0x9c
)

// StripANSI returns text without escape sequences (CSI, OSC, DCS and their kin)
// and without control characters except tab: safe to show anywhere that treats
// text as text. A sequence that does not end hides nothing: what follows its
// introducer stays. Invalid UTF-8 becomes U+FFFD.
func StripANSI(text string) string {
	i := 0
	for i < len(text) && (text[i] >= ' ' || text[i] == '\t') && text[i] < del {
		i++
	}
	if i == len(text) {
		return text
	}
	var b strings.Builder
	b.Grow(len(text))
	b.WriteString(text[:i])
	for i < len(text) {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == esc || r >= 0x80 && r <= 0x9f:
			i += sequence(text[i:], r, n)
			continue
		case r == '\t' || r >= ' ' && r != del:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// sequence is the length of the escape sequence that text begins with; r is its
// first rune and n that rune's length.
func sequence(text string, r rune, n int) int {
	if r != esc {
		switch r {
		case csi:
			return n + control(text[n:])
		case 0x90, 0x98, 0x9d, 0x9e, 0x9f: // DCS, SOS, OSC, PM, APC
			return n + command(text[n:])
		}
		return n
	}
	if len(text) == 1 {
		return 1
	}
	switch c := text[1]; {
	case c == '[':
		return 2 + control(text[2:])
	case c == 'P' || c == 'X' || c == ']' || c == '^' || c == '_':
		return 2 + command(text[2:])
	case c >= ' ' && c <= '/': // nF: intermediates, then a final byte
		i := 1
		for i < len(text) && text[i] >= ' ' && text[i] <= '/' {
			i++
		}
		if i < len(text) && text[i] >= '0' && text[i] <= '~' {
			return i + 1
		}
		return 1
	case c >= '0' && c <= '~':
		return 2
	}
	return 1
}

// control is the length of what follows a CSI: parameters, intermediates and a
// final byte; 0 if it does not end so.
func control(text string) int {
	i := 0
	for i < len(text) && text[i] >= '0' && text[i] <= '?' {
		i++
	}
	for i < len(text) && text[i] >= ' ' && text[i] <= '/' {
		i++
	}
	if i < len(text) && text[i] >= '@' && text[i] <= '~' {
		return i + 1
	}
	return 0
}

// command is the length of what follows OSC, DCS and the like, with its
// terminator; 0 if there is none.
func command(text string) int {
	for i, r := range text {
		switch {
		case r == bel:
			return i + 1
		case r == st:
			return i + utf8.RuneLen(st)
		case r == esc:
			if i+1 < len(text) && text[i+1] == '\\' {
				return i + 2
			}
			return 0
		}
	}
	return 0
}
