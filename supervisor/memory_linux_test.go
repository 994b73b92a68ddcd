package supervisor

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/port"
	"github.com/devside/devside/supervisor/probe"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// growChild allocates some megabytes at each SIGUSR1, and says so.
func growChild(size string, terminated <-chan os.Signal, grow <-chan os.Signal, end <-chan time.Time) int {
	n, _ := strconv.Atoi(size)
	grown := 0
	fmt.Println("up")
	for {
		select {
		case <-grow:
			// Not Go's memory, of which the race detector keeps a shadow.
			pages, err := unix.Mmap(-1, 0, n<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
			if err != nil {
				fmt.Println(err)
				return 1
			}
			for i := 0; i < len(pages); i += 4096 {
				pages[i] = 1
			}
			grown++
			fmt.Println("grown", grown)
		case <-terminated:
			fmt.Println("asked to end")
			return 0
		case <-end:
			return 1
		}
	}
}

// shareChild holds pages that a second process, its child, maps as well.
func shareChild(size string, first bool, terminated <-chan os.Signal, end <-chan time.Time) int {
	n, _ := strconv.Atoi(size)
	fd := 3 // that the first one left open
	if first {
		var err error
		if fd, err = unix.MemfdCreate("shared", 0); err == nil {
			err = unix.Ftruncate(fd, int64(n)<<20)
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
	}
	pages, err := unix.Mmap(fd, 0, n<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for i := 0; i < len(pages); i += 4096 {
		pages[i]++
	}
	if first {
		attr := &syscall.ProcAttr{Files: []uintptr{0, 1, 2, uintptr(fd)}, Env: os.Environ()}
		if _, err := syscall.ForkExec(self(), []string{self(), child, "shared", size}, attr); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	fmt.Println("holds", n)
	select {
	case <-terminated:
	case <-end:
	}
	return int(pages[0] & 1)
}

// realGroup runs one server that is this binary, with real processes.
type realGroup struct {
	*Group
	t       *testing.T
	exact   atomic.Int64 // measurements that read the share
	changed chan struct{}
	log     *logs.Log
}

func newRealGroup(t *testing.T, memory spec.Memory, args ...string) *realGroup {
	t.Helper()
	tracker, err := proc.NewTracker(zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	r := &realGroup{t: t, changed: make(chan struct{}, 1), log: logs.New(0)}
	measure := Measurer(tracker)
	r.Group = NewGroup(Host{
		Root: t.TempDir(), Marker: "0123456789abcdef", Log: zerolog.Nop(),
		Start:    Launcher(tracker, zerolog.Nop()),
		Taken:    func(int) (bool, []port.Listener, error) { return false, nil, nil },
		NextPort: port.Next, HolderOf: func([]port.Listener) *status.Holder { return nil },
		NewProbe: probe.New, ReadFile: os.ReadFile, Happened: func(status.Event) {},
		Measure: func(trees []Process, exact func(int, proc.Usage) bool) []proc.Measured {
			got := measure(trees, exact)
			for _, m := range got {
				if m.Exact {
					r.exact.Add(1)
				}
			}
			return got
		},
	}, func(string) *logs.Log { return r.log }, func() {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	})
	t.Cleanup(func() {
		r.StopAll(context.Background(), StopOptions{Last: true})
		r.Close()
		tracker.Close()
	})
	c := conf("api", func(s *spec.Server) {
		s.Command, s.Memory = append([]string{self(), child}, args...), memory
		s.Ready = spec.Probe{Kind: spec.ProbeNone, Within: patience, Timeout: patience, Every: patience, Failures: 3}
		s.Stop.Grace = patience
	})
	r.Apply(t.Context(), []spec.Server{c}, Change{})
	if results, _ := r.Start(t.Context(), []string{"api"}, StartOptions{Env: os.Environ()}); !results[0].OK {
		t.Fatalf("%+v", results[0])
	}
	return r
}

// await waits for a state of the server.
func (r *realGroup) await(what string, is func(Snapshot) bool) Snapshot {
	r.t.Helper()
	deadline := time.After(2 * patience)
	look := time.NewTicker(lookedFor / 5) // so that it is measured every second
	defer look.Stop()
	for {
		r.Look()
		s, _ := r.Snapshot("api")
		if is(s) {
			return s
		}
		select {
		case <-r.changed:
		case <-look.C:
		case <-deadline:
			r.t.Fatalf("%s: not in time; %+v\n%+v\n%s", what, s.Server, s.Details, text(r.log))
		}
	}
}

// grow makes the running process allocate once more.
func (r *realGroup) grow() {
	r.t.Helper()
	s, _ := r.Snapshot("api")
	if err := s.Identity.Signal(syscall.SIGUSR1); err != nil {
		r.t.Fatal(err)
	}
}

func (r *realGroup) awaitRunLine(run int, want string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	lines, follower, err := r.log.LinesThenFollow(logs.Query{})
	if err != nil {
		r.t.Fatal(err)
	}
	defer follower.Close()
	for {
		for _, l := range lines {
			if l.Run == run && l.Text == want {
				return
			}
		}
		if lines, _, err = follower.Next(ctx); err != nil {
			r.t.Fatalf("no line %q of run %d: %v; the log has %q", want, run, err, text(r.log))
		}
	}
}

func problem(s Snapshot, c status.Code, part string) bool {
	for _, p := range s.Details {
		if p.Code == c && strings.Contains(p.Message, part) {
			return true
		}
	}
	return false
}

func TestRELIABILITY006AProcessThatAllocatesIsWarnedOfRestartedAndKilled(t *testing.T) {
	// The limits lie far enough apart for what a Go program needs for itself.
	r := newRealGroup(t, spec.Memory{Warn: 90 * mb, Restart: 190 * mb, Kill: 290 * mb}, "grow", "100")
	r.awaitRunLine(1, "up")
	r.grow()
	s := r.await("the warning", func(s Snapshot) bool { return problem(s, status.MemoryWarning, "more than its limit of 90 MB") })
	if s.State != status.Ready || s.Run != 1 || s.PSSBytes < 90*mb || s.MemoryBytes < 90*mb {
		t.Errorf("with a warning: %+v", s.Server)
	}

	r.awaitRunLine(1, "grown 1") // two signals at once are one
	r.grow()
	s = r.await("the restart", func(s Snapshot) bool { return s.Run == 2 && s.State == status.Ready })
	if s.RestartReason != status.ReasonMemory || s.Crashes != 0 || s.Restarts != 1 || !strings.Contains(text(r.log), "asked to end") {
		t.Errorf("after the restart: %+v\n%s", s.Server, text(r.log))
	}
	if !strings.Contains(text(r.log), "more than its limit of 190 MB: it is restarted") {
		t.Errorf("nobody was told:\n%s", text(r.log))
	}

	r.awaitRunLine(2, "up")
	r.grow()
	r.awaitRunLine(2, "grown 1")
	r.grow()
	s = r.await("the refusal of a second restart", func(s Snapshot) bool { return problem(s, status.MemoryLimit, "it is not restarted before") })
	if s.State != status.Ready || s.Run != 2 {
		t.Errorf("refused: %+v", s.Server)
	}

	r.awaitRunLine(2, "grown 2")
	r.grow()
	s = r.await("the kill", func(s Snapshot) bool { return s.Run == 3 && s.State == status.Ready })
	if s.LastExit == nil || s.LastExit.Signal != "SIGKILL" || s.Crashes != 0 || s.Restarts != 2 || !strings.Contains(text(r.log), "more than its limit of 290 MB: it is ended at once and started again") {
		t.Errorf("after the kill: %+v %+v\n%s", s.Server, s.LastExit, text(r.log))
	}
}

func TestPagesThatTwoProcessesShareRestartNothing(t *testing.T) {
	r := newRealGroup(t, spec.Memory{Restart: 240 * mb}, "share", "192")
	// What is resident is over the limit, and the share near it, so that each
	// measurement reads it.
	s := r.await("resident memory over the limit, measured more often than a restart needs", func(s Snapshot) bool {
		return s.MemoryBytes > 2*192*mb && r.exact.Load() > 4
	})
	if s.Run != 1 || s.State != status.Ready || len(s.Problems) != 0 || s.PSSBytes < 192*mb || s.PSSBytes > 240*mb {
		t.Errorf("%+v %+v", s.Server, s.Details)
	}
}
