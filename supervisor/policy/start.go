package policy

import (
	"slices"
	"time"
)

const (
	// keptStarts is how many starts of a server are remembered, and leastStarts
	// how many must be known before one is called slow.
	keptStarts, leastStarts = 10, 3
	// A start is slow that takes slowTimes as long as the median of those before
	// it, and at least slowBy longer: a second more or less is what a busy
	// machine makes of any start.
	slowTimes = 2
	slowBy    = 2 * time.Second
)

// SlowStart reports whether a start took unusually long, beside the earlier ones
// of the same server, and what is usual.
func SlowStart(earlier []time.Duration, took time.Duration) (usual time.Duration, slow bool) {
	if len(earlier) < leastStarts {
		return 0, false
	}
	sorted := slices.Sorted(slices.Values(earlier))
	usual = sorted[len(sorted)/2]
	return usual, took > slowTimes*usual && took-usual >= slowBy
}

// KeepStart returns a new list with one more start, without the oldest that are
// too many.
func KeepStart(earlier []time.Duration, took time.Duration) []time.Duration {
	all := append(slices.Clone(earlier), took)
	return all[max(0, len(all)-keptStarts):]
}
