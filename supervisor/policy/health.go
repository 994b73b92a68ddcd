package policy

import "time"

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
	NowReady  Verdict = "ready"       // readiness: the first pass, or the first after NotReady
	NotReady  Verdict = "unhealthy"   // readiness was lost
	NotLive   Verdict = "live-failed" // liveness: restart, by the policy of a crash
)

// Health follows the results of one probe of one run. It is a value: Observe
// returns the changed one. A new run begins with a new one.
type Health struct {
	role     Role
	limit    int // failures in a row that count
	failures int // in a row, so far
	ready    bool
}

// NewHealth begins with a server that is not ready. limit is how many failures
// in a row count (spec.Probe.Failures); at least one.
func NewHealth(role Role, limit int) Health {
	return Health{role: role, limit: max(limit, 1)}
}

// Failures is how many probes in a row failed last.
func (h Health) Failures() int { return h.failures }

// Ready reports what the last verdict of a readiness probe was.
func (h Health) Ready() bool { return h.ready }

// Observe takes one result. For readiness, failures before the first pass
// change nothing (the start's time limit is the caller's timer), one pass makes
// ready, and limit failures in a row take it back. For liveness, limit failures
// in a row give NotLive, once until the next pass; probing it is to begin when
// the server is ready for the first time.
func (h Health) Observe(pass bool) (Health, Verdict) {
	if pass {
		h.failures = 0
		if h.role == Liveness || h.ready {
			return h, Unchanged
		}
		h.ready = true
		return h, NowReady
	}
	h.failures++
	switch {
	case h.role == Liveness && h.failures == h.limit:
		return h, NotLive
	case h.role == Readiness && h.ready && h.failures >= h.limit:
		h.ready = false
		return h, NotReady
	}
	return h, Unchanged
}
