package supervisor

import (
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devside/devside/supervisor/crash"
	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

func TestRestartsAndCrashesAreCountedByWhy(t *testing.T) {
	p := newPlay(conf("api", func(s *spec.Server) { s.Live = &spec.Probe{Failures: 1} })).up()
	before := p.m.snapshot()
	if len(before.RestartsBy) != 0 || len(before.CrashesBy) != 0 {
		t.Errorf("before anything: %v %v", before.RestartsBy, before.CrashesBy)
	}
	// A person's restart, a crash of a known cause, a failed liveness probe.
	p.feed(startAsked{force: true}, exited{1}, gone{run: 1, end: ending{exit: crash.Exit{Signal: "SIGTERM"}}}).up()
	asked := p.m.snapshot()
	p.now = p.now.Add(10 * time.Second)
	p.feed(exited{2}, gone{run: 2, end: ending{exit: crash.Exit{Code: 1}, cause: crash.Cause{Code: crash.OutOfMemory, Mendable: true}}})
	p.feed(spawned{3, 103}, probed{run: 3})
	p.now = p.now.Add(10 * time.Second)
	p.feed(liveProbed{3, fmt.Errorf("503")}, gone{run: 3, end: ending{exit: crash.Exit{Code: 0}}})
	p.feed(backoffElapsed{3})
	s := p.m.snapshot()
	if want := map[status.Reason]int{status.ReasonAsked: 1, status.ReasonCrash: 1, status.ReasonLiveness: 1}; !maps.Equal(s.RestartsBy, want) {
		t.Errorf("restarts %v, want %v (%s, run %d)", s.RestartsBy, want, s.State, s.Run)
	}
	if want := map[string]int{string(crash.OutOfMemory): 1, CauseLiveness: 1}; !maps.Equal(s.CrashesBy, want) {
		t.Errorf("crashes %v, want %v", s.CrashesBy, want)
	}
	if s.Restarts != 2 {
		t.Errorf("%d restarts that nobody asked for, want 2", s.Restarts)
	}
	if len(before.RestartsBy) != 0 || len(asked.RestartsBy) != 1 || len(asked.CrashesBy) != 0 {
		t.Errorf("a snapshot has changed: %v, %v %v", before.RestartsBy, asked.RestartsBy, asked.CrashesBy)
	}
	next := newMachine(conf("api"), p.now)
	next.inherit(s)
	if n := next.snapshot(); !maps.Equal(n.RestartsBy, s.RestartsBy) || !maps.Equal(n.CrashesBy, s.CrashesBy) {
		t.Errorf("under a new configuration: %v %v", n.RestartsBy, n.CrashesBy)
	}
}

// notes is a Meter that writes down.
type notes struct {
	mu      sync.Mutex
	started []time.Duration
	passed  map[string]int
	failed  map[string]int
}

func (n *notes) Started(took time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.started = append(n.started, took)
}

func (n *notes) Probed(server string, _ time.Duration, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ok {
		n.passed[server]++
	} else {
		n.failed[server]++
	}
}

func TestAMeterIsToldOfStartsAndProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, n := newRoom(), &notes{passed: map[string]int{}, failed: map[string]int{}}
		r.meter = n
		r.healthy["api"] = 2 * time.Second
		g := NewGroup(r.host(), func(string) *logs.Log { return logs.New(0) }, func() {})
		api := conf("api")
		api.Ready.HTTP = "api"
		g.Apply(t.Context(), []spec.Server{api}, Change{})
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		time.Sleep(15 * time.Second)
		r.last("api").die(proc.Exit{Code: 1})
		time.Sleep(15 * time.Second)
		synctest.Wait()
		g.StopAll(t.Context(), StopOptions{})
		g.Close()
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.started) != 2 { // not once more each time that a probe passes
			t.Fatalf("starts: %v", n.started)
		}
		for _, took := range n.started {
			if took < 2*time.Second || took > 3*time.Second {
				t.Errorf("a start took %v, the server was healthy after 2 s", took)
			}
		}
		if n.failed["api"] == 0 || n.passed["api"] < 2 {
			t.Errorf("passed %v, failed %v", n.passed, n.failed)
		}
	})
}
