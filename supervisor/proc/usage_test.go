//go:build linux

package proc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

const mb = 1 << 20

func all(int, Usage) bool { return true }

// shareChild holds pages that it shares with a child of its own.
func shareChild(size string, parent bool) int {
	n, _ := strconv.Atoi(size)
	fd := 3 // that the parent left open
	if parent {
		var err error
		if fd, err = unix.MemfdCreate("shared", 0); err != nil {
			fmt.Println(err)
			return 1
		}
		if err := unix.Ftruncate(fd, int64(n)*mb); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	pages, err := unix.Mmap(fd, 0, n*mb, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for i := 0; i < len(pages); i += 4096 {
		pages[i]++
	}
	if parent {
		attr := &syscall.ProcAttr{Files: []uintptr{0, 1, 2, uintptr(fd)}}
		if _, err := syscall.ForkExec("/proc/self/exe", self("shared", size), attr); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	say()
	linger()
	return int(pages[0])
}

// shareOfChild reads, as a user who may not, what another process holds.
func shareOfChild(arg string) int {
	pid, _ := strconv.Atoi(arg)
	s, err := readStat(pid)
	if err == nil && unix.Geteuid() == 0 {
		err = syscall.Setuid(65534)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	var m Measured
	m.share([]stat{s})
	if m.Err != nil {
		fmt.Println(m.Err)
		return 1
	}
	_ = json.NewEncoder(os.Stdout).Encode(m.Usage)
	return 0
}

func TestSharedPagesCountOnceInTheShare(t *testing.T) {
	r := newRig(t)
	p, out := r.start("share", "64")
	out.pids(2)
	m := r.Measure([]*Process{p}, all)[0]
	if m.Err != nil || !m.Exact || m.Processes != 2 || m.Guessed != 0 {
		t.Fatalf("%+v", m)
	}
	if m.RSS < 128*mb || m.Share < 64*mb || m.Share > 120*mb {
		t.Errorf("resident %d MB, share %d MB; of 64 MB that two processes share", m.RSS/mb, m.Share/mb)
	}
}

func TestTheShareIsReadWhereItIsAskedFor(t *testing.T) {
	r := newRig(t)
	small, out := r.start("sleep")
	out.next()
	large, out := r.start("alloc", "64")
	out.next()
	got := r.Measure([]*Process{small, large}, func(i int, u Usage) bool {
		if u.Exact || u.Share != 0 || u.Processes != 1 {
			t.Errorf("asked with %+v", u)
		}
		return u.RSS > 64*mb
	})
	if got[0].Exact || got[0].Share != 0 || got[0].RSS == 0 {
		t.Errorf("the small one: %+v", got[0])
	}
	if !got[1].Exact || got[1].Share < 64*mb || got[1].Share > 200*mb {
		t.Errorf("the large one: %+v", got[1])
	}
}

func TestOnePassKeepsTheOrphansOfManyTreesApart(t *testing.T) {
	r := newRig(t)
	var trees []*Process
	for range 3 {
		p, out := r.start("orphans")
		out.pids(2)
		trees = append(trees, p)
	}
	ended, out := r.start("sleep")
	out.next()
	ended.Stop(context.Background(), StopPlan{Signal: syscall.SIGKILL})
	trees = append(trees, ended)
	eventually(t, "each has its orphan", func() (bool, string) {
		got := r.Measure(trees, all)
		return got[0].Processes == 2 && got[1].Processes == 2 && got[2].Processes == 2 && got[3].Processes == 0, fmt.Sprintf("%+v", got)
	})
}

func TestWhatMayNotBeReadIsGuessedAndCounted(t *testing.T) {
	r := newRig(t)
	p, out := r.start("secret", "64")
	out.next()
	cmd := exec.Command(self()[0], self("share-of", strconv.Itoa(p.PID()))[1:]...)
	b, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	var u Usage
	if err := json.Unmarshal(b, &u); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	if u.Guessed != 1 || u.Share < 64*mb || u.Share > 200*mb {
		t.Errorf("%+v", u)
	}
}

func TestAMemberThatHasEndedHoldsNothing(t *testing.T) {
	r := newRig(t)
	p, out := r.start("sleep")
	out.next()
	s, err := readStat(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	other := s
	other.start++
	if n, _, err := shareOf(other); !errors.Is(err, ErrGone) {
		t.Errorf("another process with its pid: %d, %v", n, err)
	}
	if err := p.Identity().Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitExited(t, p) // a zombie, which has a status without memory
	if n, _, err := shareOf(s); !errors.Is(err, ErrGone) {
		t.Errorf("a zombie: %d, %v", n, err)
	}
	var m Measured
	m.share([]stat{s})
	if m.Err != nil || m.Share != 0 || m.Guessed != 0 {
		t.Errorf("%+v", m)
	}
}

func TestLinesInKilobytes(t *testing.T) {
	const rollup = "5621-7ffd ---p 00000000 00:00 0    [rollup]\nRss:        1804 kB\nPss:         320 kB\nPss_Dirty:   116 kB\nSwap:          9 kB\nSwapPss:       4 kB\n"
	for _, c := range []struct {
		text string
		want int64
		err  string
	}{
		{rollup, 324 << 10, ""},
		{strings.Split(rollup, "SwapPss")[0], 320 << 10, ""}, // kernels without swap
		{"Pss: 1 kB", 1 << 10, ""},
		{"", 0, "no line"}, {"Rss: 4 kB\nSwapPss: 4 kB\n", 0, "no line"},
		{"Pss: many kB\n", 0, "not a number"},
	} {
		got, err := sumKB([]byte(c.text), "Pss:", "SwapPss:")
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %d, %v", c.text, got, err)
		}
	}
}

// BenchmarkMeasure is PERF-003: the cost of one sample over so many trees,
// against a bare read of one file for each of them.
func BenchmarkMeasure(b *testing.B) {
	for _, kind := range []struct {
		name, file string
		exact      func(int, Usage) bool
	}{{"resident", "stat", nil}, {"share", "smaps_rollup", all}} {
		for _, n := range []int{1, 10, 50, 200} {
			b.Run(fmt.Sprintf("%s-%d", kind.name, n), func(b *testing.B) { benchMeasure(b, n, kind.file, kind.exact) })
		}
	}
}

func benchMeasure(b *testing.B, n int, file string, exact func(int, Usage) bool) {
	t, err := NewTracker(zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	defer t.Close()
	var trees []*Process
	for range n {
		p, err := t.Start(Command{Argv: []string{"/bin/sleep", "600"}, Dir: "/", Marker: "bench-measure"})
		if err != nil {
			b.Fatal(err)
		}
		defer p.Stop(context.Background(), StopPlan{Signal: syscall.SIGKILL})
		trees = append(trees, p)
	}
	buf := make([]byte, 4096)
	compare(b, func() time.Duration {
		began := time.Now()
		for _, p := range trees {
			fd, err := unix.Open("/proc/"+strconv.Itoa(p.PID())+"/"+file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := readAll(fd, buf, len(buf)); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(began)
	}, func() time.Duration {
		began := time.Now()
		for _, m := range t.Measure(trees, exact) {
			if m.Err != nil || m.Processes != 1 {
				b.Fatal(m)
			}
		}
		return time.Since(began)
	})
}
