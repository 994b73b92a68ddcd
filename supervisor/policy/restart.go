// Package policy holds the decisions of supervision: in which order servers
// start and stop, whether and when one that ended is started again, how probes
// are paced and what a row of their results means, and what the memory of a
// server calls for.
//
// It only computes. It reads no clock, draws no random number, starts no
// goroutine and does no I/O: times and randomness come in as arguments, and
// every state is a value that is returned changed, so the caller owns it.
// Whatever it is given, it never allows more than max_per_hour automatic
// restarts within any hour.
//
// Start reading at History.Crashed here, then Health in health.go, Memory in
// memory.go and Levels in order.go.
package policy

import (
	"fmt"
	"time"

	"github.com/devside/devside/supervisor/spec"
)

const (
	// immediateAfter is how long a server must have been ready for the first
	// restart to come at once: launchd's bound for a run that counts as one.
	immediateAfter = 10 * time.Second
	// perHour is the window of max_per_hour (SECURITY-006: at most 10 restarts
	// an hour). Neither uptime nor a person resets it, or a crash every 61 s
	// would go on for ever (RELIABILITY-004).
	perHour = time.Hour
	// jitterShare spreads the delays of servers that crashed together, by a
	// tenth each way: less than the doubling, so that delays still grow.
	jitterShare = 0.1
	// ownWindow and ownBudget bound the restarts that devside makes for reasons
	// of its own, which are no crashes: a leak or a config file rewritten in a
	// loop must not restart a server for ever either.
	ownWindow = 10 * time.Minute
	ownBudget = 3
)

// Action is what is to be done about a server that ended.
type Action string

const (
	Restart   Action = "restart"
	Stay      Action = "stay-stopped"
	CrashLoop Action = "crash-loop"
	Blocked   Action = "blocked"
)

// Decision is an Action with what a person is told about it.
type Decision struct {
	Action Action
	Delay  time.Duration // of a restart
	Reason string        // plain words, for status and log
}

// Ended says how a run of a server ended, and what it was worth.
type Ended struct {
	Code     int           // exit status; ignored when Signal is set
	Signal   string        // "SIGKILL"; empty when it exited
	ReadyFor time.Duration // how long this run was ready, in all
	// NotLive: its liveness probe failed and devside ended it. That is a
	// failure whatever the exit status says.
	NotLive bool
	// Unmendable says why a restart can't help ("port 3000 is already in use");
	// empty when it may.
	Unmendable string
}

func (e Ended) failed() bool { return e.NotLive || e.Signal != "" || e.Code != 0 }

// History is what the policy remembers of one server. The zero value is a
// server that never crashed. It is a value: methods return the changed one and
// leave theirs as it was. The fields are exported to be saved, not to be set.
type History struct {
	// InARow counts automatic restarts since the step last fell back.
	InARow int `json:"inARow,omitempty"`
	// Step counts those of them that were delayed: the exponent of the next delay.
	Step int `json:"step,omitempty"`
	// LastDelay is the delay before the last automatic restart.
	LastDelay time.Duration `json:"lastDelay,omitempty"`
	// Automatic holds when automatic restarts were due, within the last hour.
	Automatic []time.Time `json:"automatic,omitempty"`
	// Own holds devside's own restarts (memory, config) of the last 10 minutes.
	Own []time.Time `json:"own,omitempty"`
	// Memory holds those of Own that were for memory.
	Memory []time.Time `json:"memory,omitempty"`
	// Attempts holds the starts of the last hour that were made because a file
	// had changed that may have been what held the server.
	Attempts []time.Time `json:"attempts,omitempty"`
}

// Crashed decides what follows when a server ended without having been asked
// to. r must be complete (package spec fills in defaults). rnd is a random
// number in [0, 1) for the jitter.
func (h History) Crashed(r spec.Restart, ex Ended, now time.Time, rnd float64) (History, Decision) {
	if ex.ReadyFor > 0 && ex.ReadyFor >= h.FallsBackAfter(r) {
		h = h.Reset()
	}
	switch {
	case r.On == spec.OnNever:
		return h, Decision{Action: Stay, Reason: "restart.on is never"}
	case !ex.failed() && r.On != spec.OnAlways:
		return h, Decision{Action: Stay, Reason: "it ended by itself with exit status 0"}
	case ex.Unmendable != "":
		return h, Decision{Action: Blocked, Reason: ex.Unmendable}
	}
	return h.again(r, now, rnd, h.InARow == 0 && ex.ReadyFor >= immediateAfter)
}

// Mended decides when a blocked server starts again by itself because what
// blocked it is gone. It counts as an automatic restart: if the block was
// misjudged, the same would happen for ever.
func (h History) Mended(r spec.Restart, now time.Time, rnd float64) (History, Decision) {
	return h.again(r, now, rnd, h.InARow == 0)
}

// Attempt decides whether a server that is held starts once because a file has
// changed that may be what held it. The row of restarts stays as it is, so that
// the next crash leads straight back to where it is now. There is one attempt
// for each change, max_per_hour at most within an hour: a server that writes
// such a file as it crashes must not be started for ever.
func (h History) Attempt(r spec.Restart, now time.Time) (next History, allowed bool) {
	recent := within(h.Attempts, perHour, now, now)
	if len(recent) >= r.MaxPerHour {
		return h, false
	}
	h.Attempts = append(recent, now)
	return h, true
}

// FallsBackAfter is how long the running server must be ready for its next
// crash to be the first of a new row.
func (h History) FallsBackAfter(r spec.Restart) time.Duration {
	return max(r.ResetAfter, 2*h.LastDelay)
}

// Reset forgets the row of restarts: a person started the server or asked for
// the reset. The hour is not forgotten, nor is devside's own budget.
func (h History) Reset() History {
	h.InARow, h.Step, h.LastDelay = 0, 0, 0
	return h
}

func (h History) again(r spec.Restart, now time.Time, rnd float64, immediate bool) (History, Decision) {
	if h.InARow >= r.MaxInARow {
		return h, Decision{Action: CrashLoop,
			Reason: fmt.Sprintf("%s in a row did not help", restarts(h.InARow))}
	}
	var d time.Duration
	if !immediate {
		d = jitter(stepDelay(r, h.Step), rnd)
	}
	// The hour is counted where the restarts happen, not where they are decided.
	due := now.Add(d)
	recent := within(h.Automatic, perHour, now, due)
	if len(recent) >= r.MaxPerHour {
		return h, Decision{Action: CrashLoop,
			Reason: fmt.Sprintf("%s within an hour did not help", restarts(len(recent)))}
	}
	h.Automatic = append(recent, due)
	h.LastDelay = d
	h.InARow++
	if !immediate {
		h.Step++
	}
	return h, Decision{Action: Restart, Delay: d,
		Reason: fmt.Sprintf("automatic restart %d of at most %d in a row", h.InARow, r.MaxInARow)}
}

// OwnRestart asks the budget for a restart that devside makes for a reason of
// its own: memory over its limit, a changed configuration. When it is refused,
// retry is how long until the next one is allowed.
func (h History) OwnRestart(now time.Time) (next History, allowed bool, retry time.Duration) {
	recent := within(h.Own, ownWindow, now, now)
	if len(recent) >= ownBudget {
		return h, false, recent[0].Add(ownWindow).Sub(now)
	}
	h.Own = append(recent, now)
	return h, true, 0
}

// within returns a new slice of those times that lie less than window before
// the end. A time after now counts as now: a restored clock, or a person who
// did not wait for the delay, must not keep it in the window for longer.
func within(times []time.Time, window time.Duration, now, end time.Time) []time.Time {
	kept := make([]time.Time, 0, len(times)+1)
	for _, t := range times {
		if t.After(now) {
			t = now
		}
		if end.Sub(t) < window {
			kept = append(kept, t)
		}
	}
	return kept
}

// stepDelay is the delay of the step-th delayed restart in a row, from 0:
// delay, doubled with each step, max_delay at most.
func stepDelay(r spec.Restart, step int) time.Duration {
	if r.DelayIsZero {
		return 0
	}
	d := r.Delay
	for ; step > 0 && d > 0 && d < r.MaxDelay; step-- {
		if d > r.MaxDelay/2 {
			return r.MaxDelay
		}
		d *= 2
	}
	return min(d, r.MaxDelay)
}

// jitter moves d by up to a tenth, evenly for rnd in [0, 1).
func jitter(d time.Duration, rnd float64) time.Duration {
	rnd = min(max(rnd, 0), 1)
	return d + time.Duration(float64(d)*jitterShare*(2*rnd-1))
}

func restarts(n int) string {
	if n == 1 {
		return "1 automatic restart"
	}
	return fmt.Sprintf("%d automatic restarts", n)
}
