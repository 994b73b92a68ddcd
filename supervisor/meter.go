package supervisor

import (
	"maps"
	"time"

	"github.com/devside/devside/supervisor/crash"
)

// Meter is told what is measured, where it happens. Its methods are called by
// actors and probes, from several goroutines: they must not wait.
type Meter interface {
	// Started: a server was ready for the first time in a run, so long after its
	// process was started.
	Started(took time.Duration)
	// Probed: a readiness or liveness probe of a server came to an end. ok: it
	// passed.
	Probed(server string, took time.Duration, ok bool)
}

// Unmeasured is the Meter of a Host without one.
type Unmeasured struct{}

// Started does nothing.
func (Unmeasured) Started(time.Duration) {}

// Probed does nothing.
func (Unmeasured) Probed(string, time.Duration, bool) {}

// counts says how often something happened, by what it was. A value is never
// changed once it is published.
type counts[K comparable] map[K]int

// plus returns the counts with one more of k.
func (c counts[K]) plus(k K) counts[K] {
	out := make(counts[K], len(c)+1)
	maps.Copy(out, c)
	out[k]++
	return out
}

// Causes of a crash in Snapshot.CrashesBy, beside the codes of package crash.
const (
	CauseLiveness = "liveness" // its liveness probe failed
	CauseUnknown  = "unknown"
)

func causeOf(liveness bool, c crash.Cause) string {
	switch {
	case liveness:
		return CauseLiveness
	case c.Code == "":
		return CauseUnknown
	}
	return string(c.Code)
}
