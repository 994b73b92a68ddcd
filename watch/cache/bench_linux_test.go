package cache

import (
	"os"
	"testing"
	"time"
)

// BenchmarkPERF004 removes a cache of 100,000 files by a rename and, in the
// same run, as the audit proposes: in place. blocked-ms is what a restart waits
// for.
func BenchmarkPERF004(b *testing.B) {
	const files, each = 100_000, 100
	b.Run("moved", func(b *testing.B) {
		root := project(b)
		r := opened(b, root, openTree)
		var blocked, whole time.Duration
		for range b.N {
			b.StopTimer()
			bigTree(b, root+"/.next", files, each)
			b.StartTimer()
			start := time.Now()
			res := r.Remove(b.Context(), []Target{declared(".", ".next")}, false)
			blocked += time.Since(start)
			b.StopTimer()
			if freed := drain(b, res); len(freed) != 1 || freed[0].Files != files {
				b.Fatalf("freed %+v", freed)
			}
			whole += time.Since(start)
			b.StartTimer()
		}
		b.ReportMetric(float64(blocked.Microseconds())/float64(b.N)/1000, "blocked-ms")
		b.ReportMetric(float64(whole.Microseconds())/float64(b.N)/1000, "free-ms")
	})
	b.Run("in-place", func(b *testing.B) {
		root := project(b)
		var blocked time.Duration
		for range b.N {
			b.StopTimer()
			bigTree(b, root+"/.next", files, each)
			b.StartTimer()
			start := time.Now()
			must(b, os.RemoveAll(root+"/.next"))
			blocked += time.Since(start)
		}
		b.ReportMetric(float64(blocked.Microseconds())/float64(b.N)/1000, "blocked-ms")
	})
}
