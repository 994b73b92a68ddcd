package logs

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
)

const (
	// mask stands where a secret stood.
	mask = "[redacted]"
	// shortestSecret is the length below which a value is taken for a word.
	shortestSecret = 6
	// longestPiece bounds what is held back of a stream: a longer value is looked
	// for in pieces.
	longestPiece = 1 << 10
	// keptBuffer is what a stream keeps of a buffer after a flood.
	keptBuffer = 4 << 10
	// shiftTable is the number of pairs of bytes that are told apart.
	shiftTable = 1 << 12
)

// Secrets are values that must not be seen, such as a run's from its env files.
// The nil Secrets hides nothing.
type Secrets struct {
	values   [][]byte // the longest first
	shortest int
	longest  int
	first    [256]bool // some value begins with this byte
	// shift is how far a window of the shortest value's length can be moved on
	// when it ends with a pair of bytes (Wu and Manber, 1994): most bytes are
	// never looked at.
	shift [shiftTable]uint8
}

// NewSecrets returns secrets of these values, or nil if none is long enough. Of
// a value of several lines every line is one, too: programs print them apart.
func NewSecrets(values []string) *Secrets {
	s := &Secrets{shortest: longestPiece}
	for _, v := range values {
		s.add(strings.Trim(v, "\r\n"))
		if strings.Contains(v, "\n") {
			for line := range strings.Lines(v) {
				s.add(strings.TrimSpace(line))
			}
		}
	}
	if len(s.values) == 0 {
		return nil
	}
	slices.SortFunc(s.values, func(a, b []byte) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), bytes.Compare(a, b))
	})
	s.values = slices.CompactFunc(s.values, bytes.Equal)
	s.longest = len(s.values[0])
	for i := range s.shift {
		s.shift[i] = uint8(min(s.shortest-1, 255))
	}
	for _, v := range s.values {
		s.first[v[0]] = true
		for i := 1; i < s.shortest; i++ {
			at := &s.shift[pair(v[i-1], v[i])]
			*at = min(*at, uint8(min(s.shortest-1-i, 255)))
		}
	}
	return s
}

func (s *Secrets) add(v string) {
	if len(v) < shortestSecret {
		return
	}
	for len(v) > longestPiece+shortestSecret {
		s.values = append(s.values, []byte(v[:longestPiece]))
		v = v[longestPiece:]
	}
	s.values = append(s.values, []byte(v))
	s.shortest = min(s.shortest, len(v))
}

func pair(a, b byte) int { return (int(a)<<4 ^ int(b)) & (shiftTable - 1) }

// String returns text without the secrets.
func (s *Secrets) String(text string) string {
	if s == nil {
		return text
	}
	if out, _, changed := s.scan([]byte(text), true, nil); changed {
		return string(out)
	}
	return text
}

// scan looks for the secrets in b. Where it finds any it appends b without them
// to out. hold is where the end of b begins that could be the beginning of a
// secret; with final, nothing more comes, and that is len(b).
func (s *Secrets) scan(b []byte, final bool, out []byte) (_ []byte, hold int, changed bool) {
	from, i := 0, 0 // b[:from] is in out
	found := func(n int) {
		out = append(append(out, b[from:i]...), mask...)
		i += n
		from, changed = i, true
	}
	// A value that begins here ends within b, so that pairs tell enough.
	for tail := len(b) - s.longest; i <= tail; {
		last := i + s.shortest - 1
		if skip := s.shift[pair(b[last-1], b[last])]; skip > 0 {
			i += int(skip)
		} else if n := s.at(b[i:]); n > 0 {
			found(n)
		} else {
			i++
		}
	}
	hold = len(b)
	for i < len(b) {
		if !s.first[b[i]] {
			i++
			continue
		}
		n, begun := s.at(b[i:]), s.begins(b[i:])
		if begun && !final {
			hold = i // also where a shorter value ends here
			break
		}
		if n == 0 && begun && len(b)-i >= shortestSecret {
			n = len(b) - i // cut short, and still most of it
		}
		if n > 0 {
			found(n)
		} else {
			i++
		}
	}
	if changed {
		out = append(out, b[from:hold]...)
	}
	return out, hold, changed
}

// at is the length of the secret that b begins with.
func (s *Secrets) at(b []byte) int {
	if !s.first[b[0]] {
		return 0
	}
	for _, v := range s.values {
		if bytes.HasPrefix(b, v) {
			return len(v)
		}
	}
	return 0
}

// begins reports whether all of b is the beginning of a longer secret.
func (s *Secrets) begins(b []byte) bool {
	for _, v := range s.values {
		if len(v) > len(b) && bytes.HasPrefix(v, b) {
			return true
		}
	}
	return false
}

// hider hides secrets in one stream, wherever its blocks end.
type hider struct {
	secrets *Secrets
	held    []byte // the end of what came, that could be the beginning of a secret
	work    []byte
	out     []byte
}

func (s *Secrets) hider() *hider { return &hider{secrets: s} }

// write passes a block on without the secrets, and without what could be the
// beginning of one: that waits for what comes next, however long.
func (h *hider) write(block []byte, emit func([]byte)) {
	b := block
	if len(h.held) > 0 {
		h.work = append(append(h.work[:0], h.held...), block...)
		b = h.work
	}
	out, hold, changed := h.secrets.scan(b, false, h.out[:0])
	if !changed {
		out = b[:hold]
	} else {
		h.out = out
	}
	if len(out) > 0 {
		emit(out)
	}
	h.held = append(h.held[:0], b[hold:]...)
	if len(block) < quietRead { // after a flood its buffers go
		h.work, h.out = small(h.work), small(h.out)
	}
}

// end passes on what was held.
func (h *hider) end(emit func([]byte)) {
	out, _, changed := h.secrets.scan(h.held, true, nil)
	if !changed {
		out = h.held
	}
	if len(out) > 0 {
		emit(out)
	}
	h.held = nil
}

func small(b []byte) []byte {
	if cap(b) > keptBuffer {
		return nil
	}
	return b
}
