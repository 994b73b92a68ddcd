package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/devside/devside/supervisor/spec"
	"pgregory.net/rapid"
)

// limits of the tests, in bytes that are easy to read.
var limits = spec.Memory{Warn: 1000, Restart: 1500, Kill: 2000}

func TestRELIABILITY006WhatASampleCallsFor(t *testing.T) {
	off := func(change func(*spec.Memory)) spec.Memory {
		l := limits
		change(&l)
		return l
	}
	const fine, restart, kill = MemoryFine, MemoryRestart, MemoryKill
	for _, c := range []struct {
		name    string
		limits  spec.Memory
		samples []int64
		want    []MemoryAction
		warned  bool
		high    bool
	}{
		{"under all", limits, []int64{0, 999, 1000}, []MemoryAction{fine, fine, fine}, false, false},
		{"over warn", limits, []int64{1001}, []MemoryAction{fine}, true, false},
		{"a little below warn again", limits, []int64{1001, 950}, []MemoryAction{fine, fine}, true, false},
		{"a tenth below warn again", limits, []int64{1001, 900}, []MemoryAction{fine, fine}, false, false},
		{"over restart, twice", limits, []int64{1501, 1501, 1400, 1501, 1501}, []MemoryAction{fine, fine, fine, fine, fine}, true, false},
		{"over restart, three times in a row", limits, []int64{1501, 1502, 1501, 1501}, []MemoryAction{fine, fine, restart, restart}, true, false},
		{"at the limit is not over it", limits, []int64{1500, 1500, 1500, 1500}, []MemoryAction{fine, fine, fine, fine}, true, false},
		{"over kill, once", limits, []int64{2001}, []MemoryAction{kill}, true, true},
		{"over 80 % of kill", off(func(l *spec.Memory) { l.Restart = 0 }), []int64{1601}, []MemoryAction{fine}, true, true},
		{"a little below that again", off(func(l *spec.Memory) { l.Restart = 0 }), []int64{1601, 1500}, []MemoryAction{fine, fine}, true, true},
		{"a tenth below that again", off(func(l *spec.Memory) { l.Restart = 0 }), []int64{1601, 1440}, []MemoryAction{fine, fine}, true, false},
		{"warn is off", off(func(l *spec.Memory) { l.Warn = 0 }), []int64{1400}, []MemoryAction{fine}, false, false},
		{"restart is off", off(func(l *spec.Memory) { l.Restart = 0 }), []int64{1900, 1900, 1900, 1900}, []MemoryAction{fine, fine, fine, fine}, true, true},
		{"kill is off", off(func(l *spec.Memory) { l.Kill = 0 }), []int64{9000, 9000, 9000}, []MemoryAction{fine, fine, restart}, true, false},
		{"all are off", spec.Memory{}, []int64{9000, 9000, 9000, 9000}, []MemoryAction{fine, fine, fine, fine}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m Memory
			var got []MemoryAction
			for _, s := range c.samples {
				var a MemoryAction
				m, a = m.Observe(c.limits, s)
				got = append(got, a)
			}
			if !slices.Equal(got, c.want) || m.Warned != c.warned || m.High != c.high {
				t.Errorf("%q, warned %v, high %v; want %q, %v, %v", got, m.Warned, m.High, c.want, c.warned, c.high)
			}
		})
	}
}

func TestATreeThatBreathesAroundALimitIsWarnedOfOnce(t *testing.T) {
	var m Memory
	raised := 0
	for i := range 100 {
		before := m.Warned
		m, _ = m.Observe(limits, []int64{1010, 990, 910, 1005}[i%4])
		if m.Warned && !before {
			raised++
		}
	}
	if raised != 1 {
		t.Errorf("raised %d times", raised)
	}
}

func TestMemoryRestartsHaveAPauseAndShareTheBudget(t *testing.T) {
	var h History
	for _, step := range []struct {
		at      time.Duration
		forced  bool
		allowed bool
		retry   time.Duration
		why     string
	}{
		{0, false, true, 0, ""},
		{time.Minute, false, false, 9 * time.Minute, "less than 10 minutes ago"},
		{2 * time.Minute, true, true, 0, ""}, // what can't wait needs the budget only
		{3 * time.Minute, true, true, 0, ""},
		{4 * time.Minute, true, false, 6 * time.Minute, "3 times within 10 minutes"},
		{10 * time.Minute, false, false, 3 * time.Minute, "less than 10 minutes ago"}, // since the last one, forced or not
		{10 * time.Minute, true, true, 0, ""},
		{20*time.Minute - 1, false, false, 1, "less than 10 minutes ago"},
		{20 * time.Minute, false, true, 0, ""},
	} {
		next, d := h.MemoryRestarted(epoch.Add(step.at), step.forced)
		if d.Allowed != step.allowed || d.Retry != step.retry || !strings.Contains(d.Reason, step.why) || (d.Reason == "") != step.allowed {
			t.Fatalf("at %v: %+v; want %+v", step.at, d, step)
		}
		h = next
	}
	if h.InARow != 0 || len(h.Automatic) != 0 {
		t.Errorf("they count as crashes: %+v", h)
	}
	if again := h.Reset(); len(again.Own) == 0 || len(again.Memory) == 0 {
		t.Error("a person's start gives the budget back")
	}
}

func TestConfigurationAndMemoryShareOneBudget(t *testing.T) {
	var h History
	for range ownBudget {
		h, _, _ = h.OwnRestart(epoch)
	}
	if _, d := h.MemoryRestarted(epoch.Add(time.Minute), false); d.Allowed || d.Retry != 9*time.Minute {
		t.Errorf("%+v", d)
	}
}

func TestTheClockSetBackDoesNotHoldAServerForLonger(t *testing.T) {
	h := History{Memory: []time.Time{epoch.AddDate(1, 0, 0)}}
	if _, d := h.MemoryRestarted(epoch, false); d.Allowed || d.Retry != memoryPause {
		t.Errorf("%+v", d)
	}
}

func TestNear(t *testing.T) {
	for _, c := range []struct {
		limits spec.Memory
		share  int64
		want   bool
	}{
		{limits, 0, false}, {limits, 800, false}, {limits, 801, true}, {limits, 1000, true},
		{limits, 1001, false}, {limits, 1200, false}, {limits, 1201, true}, {limits, 1500, true},
		{limits, 1501, true}, {limits, 1700, true}, {limits, 9000, true}, // something is done about it
		{spec.Memory{Warn: 1000}, 1001, false}, {spec.Memory{Warn: 1000}, 801, true},
		{spec.Memory{Kill: 2000}, 1250, false}, {spec.Memory{Kill: 2000}, 1300, true}, // 80 % of it is one, too
		{spec.Memory{}, 1 << 40, false},
	} {
		if got := Near(c.limits, c.share); got != c.want {
			t.Errorf("%d with %+v: %v", c.share, c.limits, got)
		}
	}
}

func TestWhenTheShareIsReadBeforeItsTime(t *testing.T) {
	for _, c := range []struct {
		name                string
		known, most, likely int64
		want                bool
	}{
		{"far from all", 400, 500, 500, false},
		{"near, but what is resident rules it out", 900, 990, 990, false},
		{"what is resident says over, the share may be", 900, 1100, 900, true},
		{"... but most of it was shared a moment ago", 500, 1100, 500, false},
		{"grown over warn since", 500, 1100, 1100, true},
		{"never read, and over warn", 0, 1100, 1100, true},
		{"over warn as before", 1050, 1100, 1100, false},
		{"over warn, and restart may be reached", 1050, 1600, 1300, true},
		{"over restart: each sample counts", 1600, 1600, 1550, true},
		{"over kill", 1600, 2500, 2500, true},
	} {
		if got := NeedsShare(limits, c.known, c.most, c.likely); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if NeedsShare(spec.Memory{}, 0, 1<<40, 1<<40) {
		t.Error("needed although there is no limit")
	}
}

// Whatever a tree does, an action needs its limit to be exceeded, and no two
// graceful restarts are less than ten minutes apart.
func TestNoActionWithoutALimitExceeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m Memory
		var h History
		now, last := epoch, time.Time{}
		for range rapid.IntRange(1, 60).Draw(t, "samples") {
			now = now.Add(time.Duration(rapid.IntRange(1, 120).Draw(t, "seconds")) * time.Second)
			share := rapid.Int64Range(0, 2500).Draw(t, "share")
			var a MemoryAction
			m, a = m.Observe(limits, share)
			if a == MemoryRestart && share <= limits.Restart || a == MemoryKill && share <= limits.Kill {
				t.Fatalf("%q at %d", a, share)
			}
			if a == MemoryFine {
				continue
			}
			next, d := h.MemoryRestarted(now, a == MemoryKill)
			h = next
			if !d.Allowed {
				if d.Retry <= 0 || d.Retry > 10*time.Minute {
					t.Fatalf("refused for %v", d.Retry)
				}
				continue
			}
			if a == MemoryRestart && !last.IsZero() && now.Sub(last) < memoryPause {
				t.Fatalf("restarted again after %v", now.Sub(last))
			}
			last, m = now, Memory{}
			if len(h.Own) > ownBudget {
				t.Fatalf("%d within ten minutes", len(h.Own))
			}
		}
	})
}

func TestTheNextSample(t *testing.T) {
	at := time.Date(2026, 11, 23, 9, 0, 7, 0, time.UTC)
	if next := NextSample(true, at); next != at.Add(time.Second) {
		t.Errorf("closely: %v", next)
	}
	for _, late := range []time.Duration{0, time.Second, 7 * time.Second} {
		if next := NextSample(false, at.Add(late)); next != at.Add(8*time.Second) {
			t.Errorf("at %v: %v; all that nobody looks at are measured in one pass", at.Add(late), next)
		}
	}
	if next := NextSample(false, at.Add(8*time.Second)); next != at.Add(23*time.Second) {
		t.Errorf("%v", next)
	}
}
