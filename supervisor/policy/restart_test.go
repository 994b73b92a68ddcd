package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/devside/devside/supervisor/spec"
	"pgregory.net/rapid"
)

// defaults is the policy of DESIGN §3.
func defaults() spec.Restart {
	return spec.Restart{
		On: spec.OnFailure, Delay: spec.DefaultDelay, MaxDelay: spec.DefaultMaxDelay,
		ResetAfter: spec.DefaultResetAfter, MaxInARow: spec.DefaultMaxInARow, MaxPerHour: spec.DefaultMaxPerHour,
	}
}

var epoch = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// noJitter is the rnd for which a delay is exactly the nominal one.
const noJitter = 0.5

func TestRestartDelays(t *testing.T) {
	with := func(change func(*spec.Restart)) spec.Restart {
		r := defaults()
		r.MaxInARow, r.MaxPerHour = 100, 100
		if change != nil {
			change(&r)
		}
		return r
	}
	s := func(seconds ...float64) []time.Duration {
		var out []time.Duration
		for _, x := range seconds {
			out = append(out, time.Duration(x*float64(time.Second)))
		}
		return out
	}
	for name, test := range map[string]struct {
		policy spec.Restart
		ready  []time.Duration // of each run that then crashes
		want   []time.Duration
	}{
		"never ready":            {with(nil), s(0, 0, 0, 0, 0, 0, 0, 0), s(2, 4, 8, 16, 32, 60, 60, 60)},
		"ready under 10 s":       {with(nil), s(9.9, 9.9), s(2, 4)},
		"ready 10 s":             {with(nil), s(10, 0, 0), s(0, 2, 4)},
		"only the first at once": {with(nil), s(10, 10, 10), s(0, 2, 4)},
		"falls back after 60 s":  {with(nil), s(0, 0, 60, 0), s(2, 4, 0, 2)},
		"59 s are not enough":    {with(nil), s(0, 0, 59, 0), s(2, 4, 8, 16)},
		"twice the last delay":   {with(nil), s(0, 0, 0, 0, 0, 63, 119, 120), s(2, 4, 8, 16, 32, 60, 60, 0)},
		"own base and cap": {with(func(r *spec.Restart) { r.Delay, r.MaxDelay = 3*time.Second, 10*time.Second }),
			s(0, 0, 0, 0), s(3, 6, 10, 10)},
		"cap below the base": {with(func(r *spec.Restart) { r.Delay = 5 * time.Minute }), s(0, 0), s(60, 60)},
		"no overflow": {with(func(r *spec.Restart) { r.Delay, r.MaxDelay = 1<<61, 1<<62+1 }), []time.Duration{0, 0, 0},
			[]time.Duration{1 << 61, 1 << 62, 1<<62 + 1}},
		"delay is zero":                {with(func(r *spec.Restart) { r.DelayIsZero = true }), s(0, 0, 0), s(0, 0, 0)},
		"a reset_after of 0 and ready": {with(func(r *spec.Restart) { r.ResetAfter = 0 }), s(0, 0, 1, 8), s(2, 4, 8, 16)},
	} {
		t.Run(name, func(t *testing.T) {
			var h History
			now := epoch
			for i, ready := range test.ready {
				now = now.Add(ready)
				var d Decision
				h, d = h.Crashed(test.policy, Ended{Code: 1, ReadyFor: ready}, now, noJitter)
				if d.Action != Restart || d.Delay != test.want[i] {
					t.Fatalf("crash %d after %v ready: got %+v, want a restart in %v", i+1, ready, d, test.want[i])
				}
				now = now.Add(min(d.Delay, 24*time.Hour))
			}
		})
	}
}

func TestJitterIsATenth(t *testing.T) {
	for rnd, want := range map[float64]time.Duration{
		0: 1800 * time.Millisecond, 0.5: 2 * time.Second, 1: 2200 * time.Millisecond, -3: 1800 * time.Millisecond, 7: 2200 * time.Millisecond,
	} {
		_, d := History{}.Crashed(defaults(), Ended{Code: 1}, epoch, rnd)
		if d.Delay != want {
			t.Errorf("rnd %v: delay %v, want %v", rnd, d.Delay, want)
		}
	}
}

func TestWhatRestarts(t *testing.T) {
	for name, test := range map[string]struct {
		on   spec.RestartOn
		ex   Ended
		want Action
	}{
		"failure, exit 1":             {spec.OnFailure, Ended{Code: 1}, Restart},
		"failure, signal":             {spec.OnFailure, Ended{Signal: "SIGKILL"}, Restart},
		"failure, exit 0":             {spec.OnFailure, Ended{}, Stay},
		"failure, exit 0 but hung":    {spec.OnFailure, Ended{NotLive: true}, Restart},
		"failure, can't be mended":    {spec.OnFailure, Ended{Code: 1, Unmendable: "port 3000 is already in use"}, Blocked},
		"failure, exit 0, unmendable": {spec.OnFailure, Ended{Unmendable: "whatever"}, Stay},
		"always, exit 0":              {spec.OnAlways, Ended{}, Restart},
		"always, exit 1":              {spec.OnAlways, Ended{Code: 1}, Restart},
		"always, can't be mended":     {spec.OnAlways, Ended{Code: 1, Unmendable: "x"}, Blocked},
		"never, exit 1":               {spec.OnNever, Ended{Code: 1}, Stay},
		"never, unmendable":           {spec.OnNever, Ended{Code: 1, Unmendable: "x"}, Stay},
		"never, hung":                 {spec.OnNever, Ended{NotLive: true}, Stay},
	} {
		r := defaults()
		r.On = test.on
		h, d := History{}.Crashed(r, test.ex, epoch, noJitter)
		if d.Action != test.want {
			t.Errorf("%s: %+v, want %s", name, d, test.want)
		}
		if d.Reason == "" {
			t.Errorf("%s: no reason given", name)
		}
		if counted := h.InARow == 1 && len(h.Automatic) == 1; counted != (test.want == Restart) {
			t.Errorf("%s: history %+v after %s", name, h, d.Action)
		}
		if test.want == Blocked && d.Reason != test.ex.Unmendable {
			t.Errorf("%s: reason %q", name, d.Reason)
		}
	}
}

// The server of the audit crashes 61 s after each start: longer than the
// reset, so that the row never fills. The hour stops it at its 11th crash.
func TestRELIABILITY004CrashEvery61Seconds(t *testing.T) {
	var h History
	now := epoch
	for crash := 1; ; crash++ {
		now = now.Add(61 * time.Second)
		var d Decision
		h, d = h.Crashed(defaults(), Ended{Code: 1, ReadyFor: 61 * time.Second}, now, noJitter)
		if d.Action == Restart {
			if crash > 10 {
				t.Fatalf("crash %d was followed by a restart: %+v", crash, d)
			}
			now = now.Add(d.Delay)
			continue
		}
		if d.Action != CrashLoop || crash != 11 {
			t.Fatalf("crash %d: %+v, want the crash loop at the 11th", crash, d)
		}
		if took := now.Sub(epoch); took > 12*time.Minute {
			t.Fatalf("it took %v", took)
		}
		if !strings.Contains(d.Reason, "10 automatic restarts within an hour") {
			t.Fatalf("reason %q", d.Reason)
		}
		return
	}
}

// A server that crashes at once is started 5 times in about a minute, then held;
// whatever a person does, no more than 10 automatic restarts fall in an hour.
func TestSECURITY006CrashLoopIsBounded(t *testing.T) {
	var h History
	now := epoch
	crash := func() Decision {
		var d Decision
		h, d = h.Crashed(defaults(), Ended{Code: 1}, now, noJitter)
		now = now.Add(d.Delay)
		return d
	}
	var delays []time.Duration
	d := crash()
	for ; d.Action == Restart; d = crash() {
		delays = append(delays, d.Delay)
	}
	want := []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second}
	if !slices.Equal(delays, want) || d.Action != CrashLoop {
		t.Fatalf("delays %v, then %+v; want %v, then the crash loop", delays, d, want)
	}
	if !strings.Contains(d.Reason, "5 automatic restarts in a row") {
		t.Errorf("reason %q", d.Reason)
	}

	// One attempt after a file changed leads straight back.
	if d = crash(); d.Action != CrashLoop {
		t.Fatalf("after one attempt: %+v", d)
	}
	// A person resets it: 5 more, which fill the hour.
	h = h.Reset()
	for range 5 {
		if d = crash(); d.Action != Restart {
			t.Fatalf("after the reset: %+v", d)
		}
	}
	h = h.Reset()
	if d = crash(); d.Action != CrashLoop || !strings.Contains(d.Reason, "within an hour") {
		t.Fatalf("the 11th automatic restart of the hour: %+v", d)
	}
	// An hour later there is room again.
	now = now.Add(time.Hour)
	if d = crash(); d.Action != Restart || d.Delay != 2*time.Second {
		t.Fatalf("an hour later: %+v", d)
	}
}

func TestDelayIsZeroStillCounts(t *testing.T) {
	r := defaults()
	r.DelayIsZero = true
	var h History
	for n := 1; n <= r.MaxInARow; n++ {
		var d Decision
		h, d = h.Crashed(r, Ended{Code: 1}, epoch, noJitter)
		if d.Action != Restart || d.Delay != 0 {
			t.Fatalf("restart %d: %+v", n, d)
		}
	}
	if _, d := h.Crashed(r, Ended{Code: 1}, epoch, noJitter); d.Action != CrashLoop {
		t.Fatalf("got %+v", d)
	}
}

func TestALongGoodRunStartsANewRow(t *testing.T) {
	var h History
	now := epoch
	for range 5 {
		h, _ = h.Crashed(defaults(), Ended{Code: 1}, now, noJitter)
	}
	if got := h.FallsBackAfter(defaults()); got != 64*time.Second {
		t.Errorf("after a delay of 32 s the step falls back after %v", got)
	}
	now = now.Add(2 * time.Hour)
	h, d := h.Crashed(defaults(), Ended{Code: 1, ReadyFor: 2 * time.Hour}, now, noJitter)
	if d.Action != Restart || d.Delay != 0 || h.InARow != 1 || len(h.Automatic) != 1 {
		t.Fatalf("%+v, %+v", h, d)
	}
}

func TestMendedIsCounted(t *testing.T) {
	var h History
	now := epoch
	var delays []time.Duration
	for {
		var d Decision
		h, d = h.Mended(defaults(), now, noJitter)
		if d.Action == CrashLoop {
			break
		}
		delays = append(delays, d.Delay)
		now = now.Add(d.Delay)
		if h, d = h.Crashed(defaults(), Ended{Code: 1, Unmendable: "port 1 is already in use"}, now, noJitter); d.Action != Blocked {
			t.Fatalf("got %+v", d)
		}
		if len(delays) > 100 {
			t.Fatal("blocked and mended for ever")
		}
	}
	if want := []time.Duration{0, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second}; !slices.Equal(delays, want) {
		t.Fatalf("delays %v, want %v", delays, want)
	}
}

func TestOwnRestartsHaveABudget(t *testing.T) {
	var h History
	for _, step := range []struct {
		at      time.Duration
		allowed bool
		retry   time.Duration
	}{
		{0, true, 0},
		{time.Minute, true, 0},
		{2 * time.Minute, true, 0},
		{3 * time.Minute, false, 7 * time.Minute},
		{10*time.Minute - 1, false, 1},
		{10 * time.Minute, true, 0},
		{10*time.Minute + 1, false, time.Minute - 1},
	} {
		next, allowed, retry := h.OwnRestart(epoch.Add(step.at))
		if allowed != step.allowed || retry != step.retry {
			t.Fatalf("at %v: %v, %v; want %v, %v", step.at, allowed, retry, step.allowed, step.retry)
		}
		h = next
	}
	if h.InARow != 0 || len(h.Automatic) != 0 {
		t.Errorf("own restarts were counted as crashes: %+v", h)
	}
	if h, d := h.Crashed(defaults(), Ended{Code: 1}, epoch, noJitter); d.Action != Restart || len(h.Own) == 0 {
		t.Errorf("the budgets are not apart: %+v %+v", h, d)
	}
}

// A clock that was a year ahead when the history was saved must not hold the
// server for a year.
func TestTimesInTheFutureCountAsNow(t *testing.T) {
	h := History{}
	for range 10 {
		h.Automatic = append(h.Automatic, epoch.AddDate(1, 0, 0))
	}
	before := slices.Clone(h.Automatic)
	if _, d := h.Crashed(defaults(), Ended{Code: 1}, epoch, noJitter); d.Action != CrashLoop {
		t.Fatalf("got %+v", d)
	}
	if !slices.Equal(before, h.Automatic) {
		t.Fatal("Crashed changed the history it was called on")
	}
	h.Automatic = within(h.Automatic, perHour, epoch, epoch)
	if _, d := h.Crashed(defaults(), Ended{Code: 1}, epoch.Add(time.Hour), noJitter); d.Action != Restart {
		t.Fatalf("an hour later: %+v", d)
	}
}

func drawPolicy(t *rapid.T) spec.Restart {
	return spec.Restart{
		On:          rapid.SampledFrom([]spec.RestartOn{spec.OnFailure, spec.OnAlways}).Draw(t, "on"),
		Delay:       time.Duration(rapid.Int64Range(1, int64(5*time.Minute)).Draw(t, "delay")),
		MaxDelay:    time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "max_delay")),
		ResetAfter:  time.Duration(rapid.Int64Range(0, int64(10*time.Minute)).Draw(t, "reset_after")),
		MaxInARow:   rapid.IntRange(1, 20).Draw(t, "max_in_a_row"),
		MaxPerHour:  rapid.IntRange(1, 30).Draw(t, "max_per_hour"),
		DelayIsZero: rapid.Bool().Draw(t, "delay is zero"),
	}
}

// Whatever a server does, and however often a person resets it or does not wait
// for a delay, no hour holds more than max_per_hour automatic restarts.
func TestNeverMoreThanMaxPerHour(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawPolicy(t)
		var h History
		var made []time.Time // automatic restarts that really happened
		now := epoch
		for range rapid.IntRange(1, 120).Draw(t, "crashes") {
			ready := time.Duration(rapid.Int64Range(0, int64(12*time.Minute)).Draw(t, "ready"))
			now = now.Add(ready)
			old := slices.Clone(h.Automatic)
			next, d := h.Crashed(r, Ended{Code: 1, ReadyFor: ready}, now, rapid.Float64Range(0, 1).Draw(t, "rnd"))
			if !slices.Equal(old, h.Automatic) {
				t.Fatal("Crashed changed the history it was called on")
			}
			h = next
			if len(h.Automatic) > r.MaxPerHour {
				t.Fatalf("the history grows: %d entries", len(h.Automatic))
			}
			switch impatient := rapid.Bool().Draw(t, "a person starts it"); {
			case impatient:
				h = h.Reset()
			case d.Action == Restart:
				now = now.Add(d.Delay)
				made = append(made, now)
			default:
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Minute)).Draw(t, "held")))
			}
		}
		for i := range made {
			if j := i + r.MaxPerHour; j < len(made) && made[j].Sub(made[i]) < time.Hour {
				t.Fatalf("%d restarts within %v", r.MaxPerHour+1, made[j].Sub(made[i]))
			}
		}
	})
}

// Without a run that is long enough, delays only grow (jitter aside), and the
// crash loop comes after max_in_a_row restarts at the latest.
func TestARowGrowsAndEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := drawPolicy(t)
		var h History
		now := epoch
		last := time.Duration(-1)
		for n := 0; ; n++ {
			ready := time.Duration(rapid.Int64Range(0, int64(max(h.FallsBackAfter(r), 1)-1)).Draw(t, "ready"))
			now = now.Add(ready)
			var d Decision
			h, d = h.Crashed(r, Ended{Signal: "SIGSEGV", ReadyFor: ready}, now, noJitter)
			if d.Action == CrashLoop {
				return
			}
			if d.Action != Restart || n >= r.MaxInARow {
				t.Fatalf("after %d restarts: %+v", n, d)
			}
			if d.Delay < last || d.Delay > max(r.MaxDelay, 0) {
				t.Fatalf("delay %v after %v, cap %v", d.Delay, last, r.MaxDelay)
			}
			last = d.Delay
			now = now.Add(d.Delay)
		}
	})
}
