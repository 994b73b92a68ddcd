package watch

import "time"

const (
	// mostUnsettled bounds how long changes are gathered while files keep
	// changing (DESIGN §8).
	mostUnsettled = 2 * time.Second
	// mostHeld bounds how long a batch waits for git: an index.lock that a
	// crashed git left stays for ever.
	mostHeld = 30 * time.Second
	// heldPause is how soon git is looked at again while it is at work. Its
	// lock goes with an event where .git is watched; elsewhere there is none.
	heldPause = 50 * time.Millisecond
)

// settle decides when it is quiet. It is given the time and reads no clock. The
// zero value waits for nothing.
type settle struct {
	first, last time.Time     // touches; zero: none
	quiet       time.Duration // the longest that any touched target asks for
	held        time.Time     // not looked at before; git was at work
	git         bool
}

// touch says that a target may have changed.
func (s *settle) touch(now time.Time, quiet time.Duration) {
	if s.first.IsZero() {
		s.first = now
	}
	s.last = now
	s.quiet = max(s.quiet, quiet)
}

// wait is how long until it is worth looking; pending: something was touched.
func (s *settle) wait(now time.Time) (d time.Duration, pending bool) {
	if s.first.IsZero() {
		return 0, false
	}
	at := s.last.Add(s.quiet)
	if most := s.first.Add(max(mostUnsettled, s.quiet)); most.Before(at) {
		at = most
	}
	if s.held.After(at) {
		at = s.held
	}
	return max(0, at.Sub(now)), true
}

// over reports whether the touches may be looked at. While git is at work they
// wait, for a while.
func (s *settle) over(now time.Time, gitAtWork bool) bool {
	if d, _ := s.wait(now); d > 0 {
		return false
	}
	if gitAtWork {
		s.git = true
		if now.Sub(s.first) < mostHeld {
			s.held = now.Add(heldPause)
			return false
		}
	}
	return true
}
