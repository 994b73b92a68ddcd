package hub

import (
	"math"
	"testing"
	"time"
)

func TestHowLongAHubLives(t *testing.T) {
	t0 := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	const forever = time.Hour
	for _, c := range []struct {
		name string
		do   func(h *holds)
		now  int // seconds
		want time.Duration
	}{
		{"a new hub waits for its first holder", func(*holds) {}, 3, 7 * time.Second},
		{"and no longer", func(*holds) {}, 10, 0},
		{"a holder holds", func(h *holds) { h.join(1, 0, at(1)) }, 500, forever},
		{"the last one leaves without linger", func(h *holds) { h.join(1, 0, at(1)); h.leave(1, at(2)) }, 2, 0},
		{"the last one leaves with linger", func(h *holds) { h.join(1, 10*time.Second, at(1)); h.leave(1, at(2)) }, 5, 7 * time.Second},
		{"one of two leaves", func(h *holds) { h.join(1, 0, at(1)); h.join(2, 0, at(1)); h.leave(1, at(2)) }, 3, forever},
		{"the latest departure plus linger counts", func(h *holds) {
			h.join(1, 30*time.Second, at(1))
			h.join(2, 0, at(1))
			h.leave(1, at(2))
			h.leave(2, at(3))
		}, 4, 28 * time.Second},
		{"who comes and goes takes nothing from another's linger", func(h *holds) {
			h.join(1, 30*time.Second, at(1))
			h.leave(1, at(2))
			h.join(2, 0, at(3))
			h.leave(2, at(4))
		}, 4, 28 * time.Second},
		{"who never held leaves nothing behind", func(h *holds) { h.leave(9, at(100)) }, 20, 0},
		{"leaving twice is leaving once", func(h *holds) { h.join(1, 5*time.Second, at(1)); h.leave(1, at(2)); h.leave(1, at(50)) }, 8, 0},
		{"a terminal's start holds", func(h *holds) { h.join(1, 0, at(1)); h.beginStart(at(1)); h.endStart(false, at(1)); h.leave(1, at(2)) }, 900, forever},
		{"until all is stopped", func(h *holds) { h.beginStart(at(1)); h.endStart(false, at(1)); h.rest(true, at(3)) }, 3, 0},
		{"which takes nothing from a linger", func(h *holds) {
			h.join(1, 30*time.Second, at(1))
			h.leave(1, at(2))
			h.beginStart(at(3))
			h.endStart(false, at(4))
			h.rest(true, at(5))
		}, 6, 26 * time.Second},
		{"not longer than a start that came to nothing", func(h *holds) { h.beginStart(at(1)); h.endStart(true, at(20)) }, 20, 0},
		{"while a start is under way, nothing need run yet", func(h *holds) { h.beginStart(at(1)); h.rest(true, at(20)) }, 900, forever},
		{"a start that fails does not end another's lease", func(h *holds) { h.beginStart(at(1)); h.beginStart(at(1)); h.endStart(true, at(20)) }, 900, forever},
		{"without a lease nothing ends", func(h *holds) { h.rest(true, at(50)) }, 10, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHolds(at(10))
			c.do(&h)
			if got := h.expires(at(c.now)); got != c.want {
				t.Errorf("expires after %v, want %v", got, c.want)
			}
		})
	}
}

func TestOthersCountsHoldersAndTheLease(t *testing.T) {
	h := newHolds(time.Time{})
	h.join(1, 0, time.Time{})
	h.join(2, 0, time.Time{})
	if n := h.others(1); n != 1 {
		t.Errorf("beside client 1: %d", n)
	}
	if n := h.others(7); n != 2 {
		t.Errorf("beside a visitor: %d", n)
	}
	h.beginStart(time.Time{})
	if n := h.others(1); n != 2 {
		t.Errorf("with a lease: %d", n)
	}
}

func TestLingerOf(t *testing.T) {
	for _, c := range []struct {
		ms   int64
		want time.Duration
	}{{0, 0}, {-1, 0}, {math.MinInt64, 0}, {1500, 1500 * time.Millisecond}, {math.MaxInt64, maxLinger}} {
		if got := lingerOf(c.ms); got != c.want {
			t.Errorf("linger of %d ms: %v, want %v", c.ms, got, c.want)
		}
	}
}
