package policy

import (
	"testing"
	"time"
)

func TestAStartIsSlowBesideTheEarlierOnes(t *testing.T) {
	s := func(all ...float64) (out []time.Duration) {
		for _, x := range all {
			out = append(out, time.Duration(x*float64(time.Second)))
		}
		return out
	}
	for _, c := range []struct {
		earlier []time.Duration
		took    float64
		slow    bool
	}{
		{nil, 100, false},
		{s(1, 1), 100, false},
		{s(1, 1, 1), 2.9, false}, // less than 2 s more
		{s(1, 1, 1), 3.1, true},
		{s(10, 10, 10), 19, false}, // less than twice
		{s(10, 10, 10), 21, true},
		{s(1, 1, 60, 1, 1), 5, true}, // one that was slow makes nothing usual
		{s(60, 60, 60, 1), 70, false},
	} {
		if usual, slow := SlowStart(c.earlier, s(c.took)[0]); slow != c.slow || slow && usual != s(1)[0] && usual != s(10)[0] {
			t.Errorf("%v after %v: slow %t, usual %v", c.took, c.earlier, slow, usual)
		}
	}
	var kept []time.Duration
	for i := range 15 {
		before := kept
		kept = KeepStart(kept, time.Duration(i))
		if len(before) > 0 && before[0] == kept[0] && len(before) == keptStarts {
			t.Error("the oldest is kept")
		}
	}
	if len(kept) != keptStarts || kept[0] != 5 || kept[9] != 14 {
		t.Errorf("%v", kept)
	}
}
