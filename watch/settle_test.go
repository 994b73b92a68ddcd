package watch

import (
	"testing"
	"time"
)

var t0 = time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)

func TestWhenItIsQuiet(t *testing.T) {
	const ms = time.Millisecond
	touch := func(at, quiet time.Duration) func(*settle) {
		return func(s *settle) { s.touch(t0.Add(at), quiet) }
	}
	for _, c := range []struct {
		name    string
		touches []func(*settle)
		at      time.Duration
		git     bool
		over    bool
		wait    time.Duration // afterwards
	}{
		{"at once", []func(*settle){touch(0, 150*ms)}, 0, false, false, 150 * ms},
		{"a moment before", []func(*settle){touch(0, 150*ms)}, 149 * ms, false, false, ms},
		{"quiet", []func(*settle){touch(0, 150*ms)}, 150 * ms, false, true, 0},
		{"each touch begins anew", []func(*settle){touch(0, 150*ms), touch(100*ms, 150*ms)}, 150 * ms, false, false, 100 * ms},
		{"the longest of those touched", []func(*settle){touch(0, 500*ms), touch(10*ms, 50*ms)}, 300 * ms, false, false, 210 * ms},
		{"never quiet", []func(*settle){touch(0, 150*ms), touch(1900*ms, 150*ms), touch(1999*ms, 150*ms)}, 2 * time.Second, false, true, 0},
		{"a settle time above the bound", []func(*settle){touch(0, 5*time.Second)}, 4 * time.Second, false, false, time.Second},
		{"git at work", []func(*settle){touch(0, 150*ms)}, 200 * ms, true, false, heldPause},
		{"git at work for ever", []func(*settle){touch(0, 150*ms)}, mostHeld, true, true, 0},
	} {
		var s settle
		if _, pending := s.wait(t0); pending {
			t.Fatal("the zero value waits for something")
		}
		for _, touch := range c.touches {
			touch(&s)
		}
		now := t0.Add(c.at)
		if over := s.over(now, c.git); over != c.over {
			t.Errorf("%s: over %v, want %v", c.name, over, c.over)
		}
		if wait, pending := s.wait(now); wait != c.wait || !pending {
			t.Errorf("%s: %v to wait, want %v", c.name, wait, c.wait)
		}
		if c.git && !s.git {
			t.Errorf("%s: git was at work, and is not said to have been", c.name)
		}
	}
}
