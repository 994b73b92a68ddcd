package hub

import "time"

// holds decides how long a hub lives: while somebody holds it, and then until
// the latest of (departure + that client's linger). It is pure: the time is
// given.
type holds struct {
	holders map[int]time.Duration // linger by client
	starts  int                   // starts from terminals that are under way
	lease   bool                  // a start from a terminal: holds until all is stopped again
	until   time.Time
	fresh   bool // nobody has held yet: until is the patience for the first
}

// maxLinger keeps an absurd wish from overflowing; a window reload takes
// seconds.
const maxLinger = 24 * time.Hour

// lingerOf is what a client asked for, as far as it makes sense.
func lingerOf(ms int64) time.Duration {
	return time.Duration(min(max(ms, 0), maxLinger.Milliseconds())) * time.Millisecond
}

func newHolds(until time.Time) holds {
	return holds{holders: map[int]time.Duration{}, until: until, fresh: true}
}

func (h *holds) join(client int, linger time.Duration, now time.Time) {
	h.holders[client] = linger
	h.met(now)
}

// met: the first that was waited for has come.
func (h *holds) met(now time.Time) {
	if h.fresh {
		h.until, h.fresh = now, false
	}
}

func (h *holds) leave(client int, now time.Time) {
	linger, held := h.holders[client]
	if !held {
		return
	}
	delete(h.holders, client)
	h.extend(now.Add(linger))
}

// beginStart takes the lease: it can't end before the start has, since nothing
// may run yet.
func (h *holds) beginStart(now time.Time) {
	h.starts++
	h.lease = true
	h.met(now)
}

func (h *holds) endStart(stopped bool, now time.Time) {
	h.starts--
	h.rest(stopped, now)
}

// rest ends the lease when all servers are stopped again and no start is under
// way. One that is held in crash-loop or blocked is not stopped: why it is so,
// and what it printed, is still to be looked at.
func (h *holds) rest(stopped bool, now time.Time) {
	if h.lease && h.starts == 0 && stopped {
		h.lease = false
		h.extend(now)
	}
}

func (h *holds) extend(t time.Time) {
	if t.After(h.until) {
		h.until = t
	}
}

// others counts the holders but one, and the lease.
func (h *holds) others(client int) int {
	n := len(h.holders)
	if _, held := h.holders[client]; held {
		n--
	}
	if h.lease {
		n++
	}
	return n
}

// expires is how long the hub may still live: 0 means that its time is over.
func (h *holds) expires(now time.Time) time.Duration {
	if len(h.holders) > 0 || h.lease {
		return time.Hour // looked at again then, or when something changes
	}
	return max(0, h.until.Sub(now))
}
