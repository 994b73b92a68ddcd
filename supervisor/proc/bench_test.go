//go:build linux

package proc

import (
	"bufio"
	"context"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// The bare counterparts fork, exec and wait for the same program, no more.

func benchTracker(b *testing.B) *Tracker {
	b.Helper()
	t, err := NewTracker(zerolog.Nop())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(t.Close)
	return t
}

func bareStart(b *testing.B, argv ...string) int {
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Dir: "/", Env: os.Environ(), Files: []uintptr{0, 2, 2}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		b.Fatal(err)
	}
	return pid
}

func bareEnd(pid int, sig syscall.Signal) {
	_ = unix.Kill(pid, sig)
	_, _ = unix.Wait4(pid, nil, 0, nil)
}

// compare runs bare and ours in turn, so that a busy machine is busy for both,
// and reports both medians and their ratio. Each returns the time that counts.
func compare(b *testing.B, bare, ours func() time.Duration) {
	var bares, all []time.Duration
	for b.Loop() {
		bares = append(bares, bare())
		all = append(all, ours())
	}
	slices.Sort(bares)
	slices.Sort(all)
	m, n := bares[len(bares)/2], all[len(all)/2]
	b.ReportMetric(float64(n.Nanoseconds()), "ns/op")
	b.ReportMetric(float64(m.Nanoseconds()), "bare-ns/op")
	b.ReportMetric(float64(n)/float64(m), "x-bare")
}

func BenchmarkStart(b *testing.B) {
	t := benchTracker(b)
	compare(b, func() time.Duration {
		began := time.Now()
		pid := bareStart(b, "/bin/sleep", "60")
		took := time.Since(began)
		bareEnd(pid, unix.SIGKILL)
		return took
	}, func() time.Duration {
		began := time.Now()
		p, err := t.Start(Command{Argv: []string{"/bin/sleep", "60"}, Dir: "/", Env: os.Environ(), Marker: "bench-start"})
		took := time.Since(began)
		if err != nil {
			b.Fatal(err)
		}
		p.Stop(context.Background(), StopPlan{Signal: syscall.SIGKILL})
		return took
	})
}

func BenchmarkStopPolite(b *testing.B) {
	t := benchTracker(b)
	compare(b, func() time.Duration {
		pid := bareStart(b, "/bin/sleep", "60")
		began := time.Now()
		bareEnd(pid, unix.SIGTERM)
		return time.Since(began)
	}, func() time.Duration {
		p, err := t.Start(Command{Argv: []string{"/bin/sleep", "60"}, Dir: "/", Env: os.Environ(), Marker: "bench-stop"})
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		p.Stop(context.Background(), StopPlan{Grace: time.Minute})
		return time.Since(began)
	})
}

// BenchmarkStopFifty stops fifty at once.
func BenchmarkStopFifty(b *testing.B) {
	const many = 50
	t := benchTracker(b)
	compare(b, func() time.Duration {
		var pids []int
		for range many {
			pids = append(pids, bareStart(b, "/bin/sleep", "60"))
		}
		began := time.Now()
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGTERM)
		}
		for _, pid := range pids {
			_, _ = unix.Wait4(pid, nil, 0, nil)
		}
		return time.Since(began)
	}, func() time.Duration {
		var all []*Process
		for range many {
			p, err := t.Start(Command{Argv: []string{"/bin/sleep", "60"}, Dir: "/", Env: os.Environ(), Marker: "bench-fifty"})
			if err != nil {
				b.Fatal(err)
			}
			all = append(all, p)
		}
		began := time.Now()
		var wg sync.WaitGroup
		for _, p := range all {
			wg.Go(func() { p.Stop(context.Background(), StopPlan{Grace: time.Minute}) })
		}
		wg.Wait()
		return time.Since(began)
	})
}

func BenchmarkTreeWalk(b *testing.B) {
	t := benchTracker(b)
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	p, err := t.Start(Command{Argv: self("tree"), Dir: "/", Env: os.Environ(), Stdout: w, Marker: "bench-tree"})
	_ = w.Close()
	if err != nil {
		b.Fatal(err)
	}
	defer p.Stop(context.Background(), StopPlan{Signal: syscall.SIGKILL})
	for scan, n := bufio.NewScanner(r), 0; n < treeSize && scan.Scan(); n++ {
	}
	for b.Loop() {
		if u, err := p.Usage(); err != nil || u.Processes < treeSize-2 {
			b.Fatal(u, err)
		}
	}
}
