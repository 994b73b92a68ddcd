package policy

import (
	"fmt"
	"strings"
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

// HEALTH-3: over 1 % of the probes failing.
func TestHEALTH3MoreThanTheRateOfProbesFails(t *testing.T) {
	passes := func(n int) string { return strings.Repeat("+", n) }
	for _, test := range []struct {
		name    string
		rate    float64
		results string
		want    string // each change of state and the number of the result that made it
	}{
		{"one failure in twenty", 0.01, passes(20) + "-" + passes(19), "R1"},
		{"two among few", 0.01, passes(20) + "-" + passes(20) + "-" + passes(20), "R1"},
		{"one in a hundred is no more than 1 %", 0.01, passes(50) + "-" + passes(150), "R1"},
		{"two in a hundred", 0.01, passes(50) + "-" + passes(49) + "-+-", "R1 U102"},
		{"two in two hundred are 1 %", 0.01, passes(120) + "-" + passes(100) + "-", "R1"},
		{"three in two hundred", 0.01, passes(60) + "-" + passes(80) + "-" + passes(60), "R1 U143"},
		{"one in two hundred comes and goes", 0.01, strings.Repeat("-"+passes(200), 10), "R2"},
		{"told once, and over after a hundred passes", 0.01, passes(50) + "-" + passes(50) + "-" + passes(99) + "-" + passes(100), "R1 U103 R302"},
		{"forgotten then", 0.01, passes(50) + "-" + passes(50) + "-" + passes(100) + "-" + passes(98) + "-" + passes(5), "R1 U103 R202 U303"},
		{"an outage is told as such, and not again", 0.01, passes(150) + "---+" + passes(300), "R1 U153 R154"},
		{"an outage while unsteady", 0.01, passes(100) + "-+-+" + "---" + "+" + passes(150), "R1 U104 U107 R108"},
		{"before the first pass nothing counts", 0.01, strings.Repeat("-", 150) + passes(150), "R151"},
		{"a tenth", 0.1, passes(19) + "-+-+-+-+", "R1 U25"},
		{"half a percent", 0.005, passes(199) + "-+-+", "R1 U203"},
		{"less than can be remembered", 0.0001, passes(256) + "-+", "R1 U258"},
		{"off", 1, strings.Repeat("+-", 300), "R1"},
		{"not set", 0, strings.Repeat("+-", 300), "R1"},
	} {
		h := NewHealth(Readiness, 3).WithErrorRate(test.rate)
		var changes []string
		for i, c := range test.results {
			var v Verdict
			h, v = h.Observe(c == '+')
			if letter := map[Verdict]string{NowReady: "R", NotReady: "U", Unsteady: "U"}[v]; letter != "" {
				changes = append(changes, fmt.Sprint(letter, i+1))
			}
			if v == Unsteady && !h.Passing() || v == NotReady && h.Passing() {
				t.Errorf("%s: %s, passing %v", test.name, v, h.Passing())
			}
		}
		if got := strings.Join(changes, " "); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	live := NewHealth(Liveness, 3).WithErrorRate(0.01)
	for i := range 600 {
		var v Verdict
		if live, v = live.Observe(i%2 == 0); v != Unchanged {
			t.Fatalf("a liveness probe that fails now and then gave %s", v)
		}
	}
}

func TestTheWindowCountsTheLastResults(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, mostProbes).Draw(t, "most")
		results := rapid.SliceOfN(rapid.Bool(), 0, 3*mostProbes).Draw(t, "results")
		var w window
		for i, failed := range results {
			w = w.with(failed, most)
			last := results[max(0, i+1-most) : i+1]
			want := 0
			for _, f := range last {
				if f {
					want++
				}
			}
			if w.failed != want || w.size != len(last) {
				t.Fatalf("after %d: %d of %d failed, want %d of %d", i+1, w.failed, w.size, want, len(last))
			}
		}
	})
}
