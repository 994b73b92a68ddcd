package logs

import (
	"strings"
	"testing"
	"time"
)

func TestSilentServersCostNothing(t *testing.T) {
	b := NewBudget(0)
	var logs []*Log
	for range 200 {
		logs = append(logs, NewIn(b))
	}
	if used := b.Used(); used != 0 {
		t.Errorf("200 silent logs hold %d bytes", used)
	}
	for _, l := range logs {
		write(l, Stdout, 1, "listening on port 3000\n")
	}
	if used := b.Used(); used > 2<<20 {
		t.Errorf("200 logs of one line hold %d bytes", used)
	}
}

func TestBudgetIsSharedFairly(t *testing.T) {
	b := NewBudget(0)
	flood := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 600))
	pour := func(l *Log) {
		for i := range 20 {
			l.Write(Stdout, 1, epoch.Add(time.Duration(i)*time.Second), flood)
		}
	}
	quiet := NewIn(b)
	write(quiet, Stdout, 1, "said once\n")
	var logs []*Log
	for range 60 {
		l := NewIn(b)
		pour(l)
		logs = append(logs, l)
		if used := b.Used(); used > DefaultBudget {
			t.Fatalf("%d logs hold %d bytes", len(logs), used)
		}
	}
	small, large := 1<<30, 0
	for _, l := range logs {
		small, large = min(small, len(l.ring)), max(large, len(l.ring))
	}
	if small < DefaultBudget/60/4 || large > 8*small {
		t.Errorf("rings of %d to %d bytes", small, large)
	}
	if used := b.Used(); used < DefaultBudget/2 {
		t.Errorf("only %d bytes are used", used)
	}
	if got := texts(all(t, quiet)); len(got) != 1 || got[0] != "said once" {
		t.Errorf("the quiet log holds %q", got)
	}
	for _, l := range logs {
		if got := all(t, l); len(got) < 100 || len(got[0].Text) != 99 {
			t.Fatalf("%d lines are left, the first is %q", len(got), got[0].Text)
		}
		l.Close()
	}
	if used := b.Used(); used != cost(len(quiet.ring), len(quiet.blocks)) {
		t.Errorf("after closing, %d bytes are used", used)
	}
}

// When even halving has an end, a server still gets its first few KiB.
func TestNoServerIsMute(t *testing.T) {
	b := NewBudget(1)
	for range 3 {
		l := b.New(0)
		write(l, Stdout, 1, "hello\n", strings.Repeat("x", 2*minRing), "\nbye\n")
		if got := l.Tail(1); len(got) != 1 || got[0] != "bye" {
			t.Errorf("%q", got)
		}
		if len(l.ring) != minRing {
			t.Errorf("a ring of %d bytes", len(l.ring))
		}
	}
}

// Any number of writes of a few bytes don't grow the index without end.
func TestIndexIsBounded(t *testing.T) {
	l := New(0)
	for i := range 100_000 {
		l.Write(Stdout, 1, epoch.Add(time.Duration(i)*time.Second), []byte("ab\n"))
	}
	if used := l.budget.Used(); used > DefaultLimit+DefaultLimit/2 {
		t.Errorf("%d bytes are used", used)
	}
	if got := all(t, l); len(got) != MaxLines || got[0].Text != "ab" {
		t.Errorf("%d lines", len(got))
	}
}

func TestLimits(t *testing.T) {
	for in, want := range map[int]int{0: DefaultLimit, -1: DefaultLimit, 1: minRing, 5000: 5000, 1 << 40: maxLimit} {
		if got := clampLimit(in); got != want {
			t.Errorf("limit %d became %d, want %d", in, got, want)
		}
	}
}

func TestManyStreams(t *testing.T) {
	l := New(0)
	for i := range 300 {
		l.Write(strings.Repeat("s", i+1), 1, epoch, []byte("x\n"))
	}
	if got := all(t, l); len(got) != 300 {
		t.Errorf("%d lines", len(got))
	}
}
