package policy

import (
	"reflect"
	"testing"
	"time"
	"unsafe"
)

// jumped is t as a clock shows it that was set: its wall clock is off by d, its
// monotonic reading is not. There is no other way to make one than to write
// into it, see the comment on time.Time's fields.
func jumped(tb testing.TB, t time.Time, d time.Duration) time.Time {
	tb.Helper()
	const nsecBits = 30
	raw := (*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&t))
	before := t
	raw.wall += uint64(int64(d/time.Second)) << nsecBits
	if t.Sub(before) != 0 || t.Round(0).Sub(before.Round(0)) != d {
		tb.Fatalf("a jump of %v is one of %v, and %v by the monotonic clock", d, t.Round(0).Sub(before.Round(0)), t.Sub(before))
	}
	return t
}

// A server crashes again and again while somebody sets the clock an hour back
// and forth: every decision is the one that a steady clock leads to.
func TestAClockThatIsSetChangesNoDecision(t *testing.T) {
	for name, crashEvery := range map[string]time.Duration{"at once": 0, "every 61 s": 61 * time.Second, "every 7 min": 7 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			var steady, set History
			now := time.Now() // with a monotonic reading, as all that the supervisor has
			offset := time.Hour
			for i := range 40 {
				now = now.Add(crashEvery)
				offset = -offset
				shown := jumped(t, now, offset)
				end := Ended{Code: 1, ReadyFor: crashEvery}
				var a, b Decision
				steady, a = steady.Crashed(defaults(), end, now, noJitter)
				set, b = set.Crashed(defaults(), end, shown, noJitter)
				if !reflect.DeepEqual(a, b) {
					t.Fatalf("crash %d: %+v, with a steady clock %+v", i, b, a)
				}
				var aRetry, bRetry time.Duration
				var aOK, bOK bool
				steady, aOK, aRetry = steady.OwnRestart(now)
				set, bOK, bRetry = set.OwnRestart(shown)
				if aOK != bOK || aRetry != bRetry {
					t.Fatalf("own restart %d: %v %v, with a steady clock %v %v", i, bOK, bRetry, aOK, aRetry)
				}
				if a.Action == CrashLoop {
					steady, set = steady.Reset(), set.Reset()
				}
				now = now.Add(a.Delay)
			}
		})
	}
}
