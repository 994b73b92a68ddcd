package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/devside/devside/supervisor/spec"
)

// RELIABILITY-006: warn at a threshold, restart with grace at the next, end at
// the last. What is compared is what a tree costs the machine (PSS and swap):
// the sum of resident memory counts what processes share in each of them, 1.5
// times as much as there is for a node parent with three forks.
const (
	// overInARow is how many samples in a row must be over the limit for a
	// graceful restart: a build step that needs much for a moment is none.
	overInARow = 3
	// fallsBack is how far below a threshold a tree must come again for what was
	// said of it to be taken back: one that breathes around it says it once.
	fallsBack = 0.9
	// highShare of the last limit is unhealthy (HEALTH-3).
	highShare = 0.8
	// memoryPause is the least time between two graceful restarts for memory: a
	// server that needs its limit just to run would be restarted for ever.
	memoryPause = 10 * time.Minute
)

// Pace of the measurements: a walk over a tree is cheap, but 200 of them every
// second for nobody are not.
const (
	// SampleEvery is how often a tree is measured that nobody looks at.
	SampleEvery = 15 * time.Second
	// SampleClosely is how often it is while somebody does, or a limit is near.
	SampleClosely = time.Second
	// nearShare of a threshold is near it. At 10 MB/s, from there to 1 GB are 20
	// seconds: more than the slow pace.
	nearShare = 0.8
)

// MemoryAction is what a sample calls for.
type MemoryAction string

const (
	MemoryFine    MemoryAction = ""
	MemoryRestart MemoryAction = "restart" // with grace
	MemoryKill    MemoryAction = "kill"    // at once
)

// Memory follows the memory of one run. It is a value: Observe returns the
// changed one. The zero value is a new run.
type Memory struct {
	Warned bool // it was over warn, and has not fallen back since
	High   bool // the same of 80 % of kill
	over   int  // samples in a row over restart
}

// Observe takes what a tree costs the machine, in bytes. A limit of 0 is none.
func (m Memory) Observe(l spec.Memory, share int64) (Memory, MemoryAction) {
	m.Warned = exceeds(share, l.Warn, 1, m.Warned)
	m.High = exceeds(share, l.Kill, highShare, m.High)
	if over(share, l.Restart) {
		m.over++
	} else {
		m.over = 0
	}
	switch {
	case over(share, l.Kill):
		return m, MemoryKill
	case m.over >= overInARow:
		return m, MemoryRestart
	}
	return m, MemoryFine
}

func over(share, limit int64) bool { return limit > 0 && share > limit }

// exceeds reports whether a part of a limit is exceeded, or was and has not
// been left by enough.
func exceeds(share, limit int64, part float64, before bool) bool {
	if before {
		part *= fallsBack
	}
	return limit > 0 && float64(share) > part*float64(limit)
}

// Near reports whether a tree that costs this much is to be measured closely:
// it is short of a threshold, or over one at which something is done.
func Near(l spec.Memory, share int64) bool {
	return slices.ContainsFunc(thresholds(l), func(t int64) bool {
		return near(share, t) && (share <= t || acts(l, t))
	})
}

// NeedsShare reports whether a decision may hang on the exact share, which is
// dear to read. known is what it was when it was read last (0: never), most
// what it can be at most by what was read cheaply since, and likely what it
// will turn out to be.
func NeedsShare(l spec.Memory, known, most, likely int64) bool {
	return slices.ContainsFunc(thresholds(l), func(t int64) bool {
		return most > t && near(likely, t) && (known <= t || acts(l, t))
	})
}

func near(share, threshold int64) bool { return float64(share) > nearShare*float64(threshold) }

// acts: every sample over this threshold counts, not only the first.
func acts(l spec.Memory, threshold int64) bool { return threshold == l.Restart || threshold == l.Kill }

func thresholds(l spec.Memory) []int64 {
	all := []int64{l.Warn, l.Restart, int64(highShare * float64(l.Kill)), l.Kill}
	return slices.DeleteFunc(all, func(t int64) bool { return t == 0 })
}

// NextSample is when a tree is measured next that was measured now. Those that
// nobody looks at share a grid, so that one pass serves them all.
func NextSample(closely bool, now time.Time) time.Time {
	if closely {
		return now.Add(SampleClosely)
	}
	return now.Truncate(SampleEvery).Add(SampleEvery)
}

// OwnDecision is the answer to a restart that devside wants for a reason of its
// own.
type OwnDecision struct {
	Allowed bool
	Retry   time.Duration // when refused: until it is allowed
	Reason  string        // when refused, in plain words
}

// MemoryRestarted asks for a restart because of memory. forced is for one that
// can't wait: it only has to be within the budget.
func (h History) MemoryRestarted(now time.Time, forced bool) (History, OwnDecision) {
	pause := within(h.Memory, memoryPause, now, now)
	if len(pause) > 0 && !forced {
		return h, OwnDecision{Retry: pause[len(pause)-1].Add(memoryPause).Sub(now), Reason: "it was restarted for that less than 10 minutes ago"}
	}
	next, allowed, retry := h.OwnRestart(now)
	if !allowed {
		return h, OwnDecision{Retry: retry, Reason: fmt.Sprintf("it was restarted %d times within 10 minutes", ownBudget)}
	}
	next.Memory = append(pause, now)
	return next, OwnDecision{Allowed: true}
}
