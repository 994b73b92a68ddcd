package policy

import (
	"math"
	"time"
)

const (
	// probeShare is the pause between two probes of a starting server as a part
	// of the time it has taken so far: readiness is seen at most 5 % late, and
	// 10 s of waiting cost about 120 probes.
	probeShare = 20
	// minProbePause keeps a server that starts in no time from being probed
	// without end: with it the lag stays under 10 ms for the first 200 ms,
	// where most servers become ready.
	minProbePause = 5 * time.Millisecond
	// maxProbePause bounds the lag of a slow start (reached after 5 s) to what
	// a person does not notice after having waited that long.
	maxProbePause = 250 * time.Millisecond
)

// NextProbe is the pause before the next probe of a server that is not ready
// yet, elapsed after its start (PERF-005). The first is made at once.
func NextProbe(elapsed time.Duration) time.Duration {
	if elapsed <= 0 {
		return 0
	}
	return min(max(elapsed/probeShare, minProbePause), maxProbePause)
}

// ProbeEvery is the pause before the next probe of a server that was ready
// before: every, moved by up to a tenth, so that the probes of 200 servers
// started together spread. rnd is a random number in [0, 1).
func ProbeEvery(every time.Duration, rnd float64) time.Duration {
	return max(jitter(every, rnd), minProbePause)
}

// Role says what a probe's results are for.
type Role string

const (
	Readiness Role = "readiness" // marks the server, never restarts it
	Liveness  Role = "liveness"  // restarts it
)

// Verdict is what a probe's result changed.
type Verdict string

const (
	Unchanged Verdict = ""
	NowReady  Verdict = "ready"       // readiness: the first pass, or it is well again
	NotReady  Verdict = "unhealthy"   // readiness was lost
	Unsteady  Verdict = "unsteady"    // readiness: too many probes fail, though never enough in a row
	NotLive   Verdict = "live-failed" // liveness: restart, by the policy of a crash
)

const (
	// fewestProbes is how many results there must be before their rate of
	// failures says anything: of fewer, one failed one is no rate.
	fewestProbes = 20
	// mostProbes is how many results are remembered, two for each that the
	// smallest rate needs. (spec does not take a smaller one.)
	mostProbes = 512
)

// Health follows the results of one probe of one run. It is a value: Observe
// returns the changed one. A new run begins with a new one.
type Health struct {
	role     Role
	limit    int     // failures in a row that count
	rate     float64 // the part of the probes that may fail; 0, or 1 and more: any
	failures int     // in a row, so far
	passes   int     // in a row, so far
	ready    bool
	unsteady bool
	recent   window
}

// NewHealth begins with a server that is not ready. limit is how many failures
// in a row count (spec.Probe.Failures); at least one.
func NewHealth(role Role, limit int) Health {
	return Health{role: role, limit: max(limit, 1)}
}

// WithErrorRate bounds the part of the probes that may fail (HEALTH-3: 0.01).
func (h Health) WithErrorRate(rate float64) Health {
	h.rate = rate
	return h
}

// Failures is how many probes in a row failed last.
func (h Health) Failures() int { return h.failures }

// Passing reports whether readiness is there, though probes may have failed
// more often than they should.
func (h Health) Passing() bool { return h.ready }

// Well reports whether the probe has nothing against the server.
func (h Health) Well() bool { return h.ready && !h.unsteady }

// Recent says how many of the last probes failed, of those that the rate of
// failures is judged by.
func (h Health) Recent() (failed, of int) { return h.recent.failed, h.recent.size }

// Observe takes one result. For readiness, failures before the first pass
// change nothing (the start's time limit is the caller's timer), one pass makes
// ready, and limit failures in a row take it back. For liveness, limit failures
// in a row give NotLive, once until the next pass; probing it is to begin when
// the server is ready for the first time.
//
// A ready server of whose last probes more than the rate have failed is
// Unsteady. So that this neither comes of one failure nor flickers:
//
//   - as many probes are needed that one failure alone stays within the rate
//     (100 for 1 %), at least 20; twice as many are remembered;
//   - it is over when that many in a row have passed;
//   - it is judged when a probe passes: failures in a row may be about to take
//     readiness back, which is told as that, and when it returns, counting
//     begins anew.
func (h Health) Observe(pass bool) (Health, Verdict) {
	switch {
	case h.role == Liveness && pass:
		h.failures = 0
	case h.role == Liveness:
		if h.failures++; h.failures == h.limit {
			return h, NotLive
		}
	case pass:
		return h.passed()
	default:
		return h.failed()
	}
	return h, Unchanged
}

func (h Health) passed() (Health, Verdict) {
	h.failures = 0
	if !h.ready {
		h.ready, h.unsteady, h.recent = true, false, window{}
		return h, NowReady
	}
	h.recent = h.recent.with(false, h.remembered())
	h.passes++
	switch {
	case h.unsteady && h.passes >= h.needed():
		h.unsteady, h.recent = false, window{}
		return h, NowReady
	case !h.unsteady && h.over():
		h.unsteady = true
		return h, Unsteady
	}
	return h, Unchanged
}

func (h Health) failed() (Health, Verdict) {
	h.failures++
	h.passes = 0
	if !h.ready {
		return h, Unchanged
	}
	if h.failures >= h.limit {
		h.ready, h.unsteady = false, false
		return h, NotReady
	}
	h.recent = h.recent.with(true, h.remembered())
	return h, Unchanged
}

func (h Health) over() bool {
	return h.rate > 0 && h.recent.size >= h.needed() && float64(h.recent.failed) > h.rate*float64(h.recent.size)
}

// needed is how many results the rate is judged by at least.
func (h Health) needed() int {
	if h.rate <= 0 {
		return fewestProbes
	}
	return min(max(fewestProbes, int(math.Ceil(1/h.rate))), mostProbes/2)
}

func (h Health) remembered() int { return 2 * h.needed() }

// window is the last results of a probe: a ring of bits, 1 for a failure.
type window struct {
	bits   [mostProbes / 64]uint64
	at     int // where the next result goes
	size   int // results in it
	failed int // among them
}

// with adds a result, in the place of the oldest of most.
func (w window) with(failed bool, most int) window {
	word, bit := w.at/64, uint64(1)<<(w.at%64)
	if w.size < most {
		w.size++
	} else if w.bits[word]&bit != 0 {
		w.failed--
	}
	w.bits[word] &^= bit
	if failed {
		w.bits[word] |= bit
		w.failed++
	}
	w.at = (w.at + 1) % most
	return w
}
