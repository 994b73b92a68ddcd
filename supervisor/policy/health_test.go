package policy

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestPERF005NextProbe(t *testing.T) {
	for elapsed, want := range map[time.Duration]time.Duration{
		-time.Second:           0,
		0:                      0,
		1:                      5 * time.Millisecond,
		50 * time.Millisecond:  5 * time.Millisecond,
		200 * time.Millisecond: 10 * time.Millisecond,
		time.Second:            50 * time.Millisecond,
		5 * time.Second:        250 * time.Millisecond,
		time.Hour:              250 * time.Millisecond,
	} {
		if got := NextProbe(elapsed); got != want {
			t.Errorf("NextProbe(%v) = %v, want %v", elapsed, got, want)
		}
	}
}

// In virtual time: whenever a server becomes ready, a probe sees it within 5 %
// of its start time (5 ms at least, 250 ms at most), at a bounded number of probes.
func TestPERF005ReadinessIsSeenSoon(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ready := time.Duration(rapid.Int64Range(0, int64(10*time.Second)).Draw(t, "ready after"))
		probes, at := 1, time.Duration(0)
		for at < ready {
			at += max(NextProbe(at), NextProbe(1))
			probes++
		}
		bound := min(max(ready/20, 5*time.Millisecond), 250*time.Millisecond)
		if lag := at - ready; lag > bound {
			t.Fatalf("ready after %v was seen %v late, bound %v", ready, lag, bound)
		}
		if ready <= 200*time.Millisecond && at-ready > 10*time.Millisecond {
			t.Fatalf("ready after %v was seen %v late", ready, at-ready)
		}
		if probes > 140 {
			t.Fatalf("%d probes for %v", probes, ready)
		}
	})
}

func TestProbeEvery(t *testing.T) {
	for _, test := range []struct {
		every time.Duration
		rnd   float64
		want  time.Duration
	}{
		{5 * time.Second, 0, 4500 * time.Millisecond},
		{5 * time.Second, 0.5, 5 * time.Second},
		{5 * time.Second, 1, 5500 * time.Millisecond},
		{0, 0.5, 5 * time.Millisecond}, // an unset pause is no busy loop
	} {
		if got := ProbeEvery(test.every, test.rnd); got != test.want {
			t.Errorf("ProbeEvery(%v, %v) = %v, want %v", test.every, test.rnd, got, test.want)
		}
	}
}

func TestHealth(t *testing.T) {
	// In results, + is a pass and - a failure; in want, what each changed:
	// . nothing, R ready, U unhealthy, L not live.
	for _, test := range []struct {
		name    string
		role    Role
		limit   int
		results string
		want    string
	}{
		{"ready at the first pass", Readiness, 3, "---+", "...R"},
		{"two failures are forgiven", Readiness, 3, "+--+--+", "R......"},
		{"three are not", Readiness, 3, "+---", "R..U"},
		{"unhealthy is said once", Readiness, 3, "+-----", "R..U.."},
		{"one pass mends", Readiness, 3, "+---+---+", "R..UR..UR"},
		{"a limit of one", Readiness, 1, "+-+-", "RURU"},
		{"no limit is a limit of one", Readiness, 0, "+-", "RU"},
		{"live fails at the third", Liveness, 3, "++---", "....L"},
		{"live without a pass", Liveness, 3, "---", "..L"},
		{"live fails once", Liveness, 2, "-----+--", ".L.....L"},
		{"live forgives", Liveness, 3, "--+--+", "......"},
	} {
		letters := map[Verdict]string{Unchanged: ".", NowReady: "R", NotReady: "U", NotLive: "L"}
		h := NewHealth(test.role, test.limit)
		got := ""
		for _, c := range test.results {
			var v Verdict
			h, v = h.Observe(c == '+')
			got += letters[v]
		}
		if got != test.want {
			t.Errorf("%s: %s gave %s, want %s", test.name, test.results, got, test.want)
		}
	}
}

func TestHealthCountsFailures(t *testing.T) {
	h := NewHealth(Readiness, 3)
	for want := 1; want <= 4; want++ {
		h, _ = h.Observe(false)
		if h.Failures() != want {
			t.Errorf("%d failures, want %d", h.Failures(), want)
		}
	}
	if h, _ = h.Observe(true); h.Failures() != 0 {
		t.Errorf("%d failures after a pass", h.Failures())
	}
}
