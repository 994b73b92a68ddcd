package hub

import (
	"testing"
	"time"
	"unsafe"
)

// A linger is as long as was asked for, whatever the clock on the wall does.
func TestALingerDoesNotFollowAClockThatIsSet(t *testing.T) {
	for _, set := range []time.Duration{time.Hour, -time.Hour} {
		now := time.Now()
		h := newHolds(now)
		h.join(1, 10*time.Second, now)
		h.leave(1, now)
		later := now.Add(4 * time.Second)
		// As in supervisor/policy: only the wall clock's part of the time.
		(*struct {
			wall uint64
			ext  int64
			loc  *time.Location
		})(unsafe.Pointer(&later)).wall += uint64(int64(set/time.Second)) << 30
		if later.Round(0).Sub(now.Round(0)) != 4*time.Second+set {
			t.Fatalf("the clock shows %v", later)
		}
		if left := h.expires(later); left != 6*time.Second {
			t.Errorf("the clock set by %v: %v are left", set, left)
		}
	}
}
