package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/port"
	"github.com/devside/devside/supervisor/probe"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// room is a system without processes: it starts fakes, and says what their
// probes see. Everything in it happens in a bubble's time.
type room struct {
	mu       sync.Mutex
	pid      int
	runs     map[string][]*fakeProcess
	fails    map[string]error // by server: the start fails
	healthy  map[string]time.Duration
	sick     map[string]bool
	taken    map[int]*status.Holder
	files    map[string]string
	targets  map[string][]int // by server: the ports that its probes were made for
	deny     map[string]bool  // by server: it may not start
	asked    int              // trees that were measured
	exact    int              // with their share
	passes   int              // in how many passes
	uses     map[string]proc.Usage
	unread   map[string]error // by server: it can't be measured
	events   []string
	messages []string // of the events
	order    []string // "start api", "stop web"
	changes  chan struct{}
	meter    Meter // nil: nothing is measured
}

type fakeProcess struct {
	room   *room
	name   string
	launch Launch
	id     proc.Identity
	began  time.Time
	exited chan struct{}
	once   sync.Once
	exit   proc.Exit
	slow   time.Duration // to end after the signal
	stops  int
	plan   proc.StopPlan // of the last stop
}

func newRoom() *room {
	return &room{pid: 100, runs: map[string][]*fakeProcess{}, fails: map[string]error{}, healthy: map[string]time.Duration{},
		sick: map[string]bool{}, taken: map[int]*status.Holder{}, files: map[string]string{}, targets: map[string][]int{}, deny: map[string]bool{}, uses: map[string]proc.Usage{}, unread: map[string]error{}, changes: make(chan struct{}, 1)}
}

func (r *room) host() Host {
	return Host{
		Root: "/srv/shop", Marker: "0123456789abcdef", Log: zerolog.Nop(), Meter: r.meter,
		Start: r.start,
		Taken: func(n int) (bool, []port.Listener, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			_, taken := r.taken[n]
			return taken, []port.Listener{{Port: n}}, nil
		},
		MayStart: func(c spec.Server) *status.Problem {
			r.mu.Lock()
			defer r.mu.Unlock()
			if !r.deny[c.Name] {
				return nil
			}
			p := status.NewProblem(status.NotTrusted, c.Name, "not agreed to", time.Now())
			return &p
		},
		NextPort: func(after int, avoid func(int) bool) (int, error) {
			for n := after + 1; n < after+10; n++ {
				r.mu.Lock()
				_, taken := r.taken[n]
				r.mu.Unlock()
				if !taken && !avoid(n) {
					return n, nil
				}
			}
			return 0, errors.New("none is free")
		},
		HolderOf: func(l []port.Listener) *status.Holder {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.taken[l[0].Port]
		},
		NewProbe: func(c spec.Probe, target probe.Target) (probe.Probe, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.targets[c.HTTP] = target.Ports
			return &fakeProbe{r, c.HTTP, time.Now()}, nil
		},
		ReadFile: func(name string) ([]byte, error) {
			if text, ok := r.files[name]; ok {
				return []byte(text), nil
			}
			return nil, os.ErrNotExist
		},
		Happened: func(e status.Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, string(e.Kind)+" "+e.Server)
			r.messages = append(r.messages, e.Message)
		},
		Measure: r.measure,
	}
}

func (r *room) start(l Launch) (Process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := strings.Split(l.Marker, ":")[1]
	if err := r.fails[name]; err != nil {
		return nil, err
	}
	r.pid++
	p := &fakeProcess{room: r, name: name, launch: l, began: time.Now(), exited: make(chan struct{}), id: proc.Identity{PID: r.pid, Start: fmt.Sprint(r.pid), Boot: "b"}}
	r.runs[name] = append(r.runs[name], p)
	r.order = append(r.order, "start "+name)
	return p, nil
}

func (p *fakeProcess) Identity() proc.Identity { return p.id }
func (p *fakeProcess) Exited() <-chan struct{} { return p.exited }
func (p *fakeProcess) Tree() []proc.Identity   { return []proc.Identity{p.id} }

// measure measures fakes.
func (r *room) measure(trees []Process, exact func(int, proc.Usage) bool) []proc.Measured {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.passes++
	out := make([]proc.Measured, len(trees))
	for i, t := range trees {
		p := t.(*fakeProcess)
		r.asked++
		u, ok := r.uses[p.name]
		if !ok {
			u = proc.Usage{RSS: 50 << 20, Share: 40 << 20}
		}
		u.CPU, u.Exact = time.Since(p.began)/10, exact(i, proc.Usage{RSS: u.RSS})
		if u.Exact {
			r.exact++
		} else {
			u.Share, u.Guessed = 0, 0
		}
		out[i] = proc.Measured{Usage: u, Err: r.unread[p.name]}
	}
	return out
}

// die ends the leader as if by itself.
func (p *fakeProcess) die(e proc.Exit) {
	p.once.Do(func() {
		p.exit = e
		close(p.exited)
	})
}

func (p *fakeProcess) Stop(ctx context.Context, plan proc.StopPlan) proc.Report {
	p.room.mu.Lock()
	p.stops++
	p.plan = plan
	p.room.order = append(p.room.order, "stop "+p.name)
	p.room.mu.Unlock()
	report := proc.Report{}
	select {
	case <-p.exited:
	case <-time.After(p.slow):
		p.die(proc.Exit{Code: -1, Signal: plan.Signal})
	case <-time.After(plan.Grace):
		p.die(proc.Exit{Code: -1, Signal: syscall.SIGKILL})
		report.Killed = 1
	case <-plan.Hurry:
		p.die(proc.Exit{Code: -1, Signal: syscall.SIGKILL})
		report.Killed = 1
	}
	report.Exit = p.exit
	return report
}

func (r *room) last(name string) *fakeProcess {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.runs[name]); n > 0 {
		return r.runs[name][n-1]
	}
	return nil
}

type fakeProbe struct {
	room *room
	name string
	made time.Time
}

func (p *fakeProbe) Look(context.Context) error {
	p.room.mu.Lock()
	defer p.room.mu.Unlock()
	after, ok := p.room.healthy[p.name]
	switch {
	case p.room.sick[p.name]:
		return errors.New("it answered 503")
	case ok && time.Since(p.made) < after:
		return errors.New("connection refused")
	}
	return nil
}

func (r *room) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// bubble runs a test of a group in virtual time, and closes the group.
func bubble(t *testing.T, servers []spec.Server, test func(t *testing.T, r *room, g *Group)) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom()
		g := NewGroup(r.host(), func(string) *logs.Log { return logs.New(0) }, func() {})
		for i := range servers {
			servers[i].Ready.HTTP = servers[i].Name
		}
		g.Apply(t.Context(), servers, Change{})
		defer func() { // of a test that failed, too: its bubble must come to an end
			g.StopAll(context.Background(), StopOptions{})
			g.Close()
		}()
		test(t, r, g)
	})
}

func states(g *Group) string {
	var out []string
	for _, s := range g.Snapshots() {
		out = append(out, s.Name+"="+string(s.State))
	}
	return strings.Join(out, " ")
}

func TestStartWaitsForDependenciesAndStopGoesBackwards(t *testing.T) {
	servers := []spec.Server{conf("web", dependsOn("api")), conf("api", dependsOn("db")), conf("db")}
	bubble(t, servers, func(t *testing.T, r *room, g *Group) {
		r.healthy["db"], r.healthy["api"] = time.Second, 2*time.Second
		began := time.Now()
		results, begun := g.Start(t.Context(), []string{"web"}, StartOptions{})
		took := time.Since(began)
		if len(results) != 3 || !results[0].OK || !results[1].OK || !results[2].OK {
			t.Fatalf("results %+v", results)
		}
		if results[0].Name != "db" || results[2].Name != "web" {
			t.Errorf("results are not in start order: %+v", results)
		}
		if !slices.Equal(begun, []string{"db", "api", "web"}) {
			t.Errorf("begun: %v", begun)
		}
		if took < 3*time.Second || took > 3500*time.Millisecond {
			t.Errorf("a chain of 1 s and 2 s took %v", took)
		}
		if results[1].ReadyMs == nil || *results[1].ReadyMs < 2000 {
			t.Errorf("api's own time: %v", results[1].ReadyMs)
		}
		r.order = nil
		for _, res := range g.StopAll(t.Context(), StopOptions{}) {
			if !res.OK {
				t.Errorf("%+v", res)
			}
		}
		if got := strings.Join(r.order, ", "); got != "stop web, stop api, stop db" {
			t.Errorf("stopped in the order: %s", got)
		}
	})
}

func TestAStopDoesNotCascade(t *testing.T) {
	bubble(t, []spec.Server{conf("web", dependsOn("api")), conf("api")}, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"web", "api"}, StartOptions{})
		g.Stop(t.Context(), []string{"api"}, StopOptions{})
		synctest.Wait()
		if got := states(g); got != "web=ready api=stopped" {
			t.Error(got)
		}
	})
}

func TestDependentsRestartOnlyWhereTheConfigurationAsks(t *testing.T) {
	for _, asked := range []bool{false, true} {
		servers := []spec.Server{conf("web", dependsOn("api")), conf("api", func(s *spec.Server) { s.Restart.Dependents = asked }), conf("other")}
		bubble(t, servers, func(t *testing.T, r *room, g *Group) {
			r.healthy["api"] = time.Second
			g.Start(t.Context(), []string{"web", "api", "other"}, StartOptions{Env: []string{"A=1"}})
			if n := len(r.runs["web"]); n != 1 {
				t.Errorf("the first start of api started web %d times", n)
			}
			time.Sleep(15 * time.Second)
			r.last("api").die(proc.Exit{Code: 1})
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if got := states(g); got != "web=ready api=ready other=ready" {
				t.Error(got)
			}
			want := 1
			if asked {
				want = 2
			}
			if len(r.runs["web"]) != want || len(r.runs["other"]) != 1 || len(r.runs["api"]) != 2 {
				t.Errorf("dependents %v: web was started %d times, other %d, api %d", asked, len(r.runs["web"]), len(r.runs["other"]), len(r.runs["api"]))
			}
			if web := r.last("web"); asked && (web.began.Sub(r.last("api").began) < time.Second || !slices.Contains(web.launch.Env, "A=1")) {
				t.Errorf("web did not wait for the new api, or lost its environment: %v, %v", web.began.Sub(r.last("api").began), web.launch.Env)
			}
		})
	}
}

func TestADependencyThatCantStartEndsWhoWaits(t *testing.T) {
	bubble(t, []spec.Server{conf("web", dependsOn("api")), conf("api", func(s *spec.Server) { s.Ports = []spec.Port{{Number: 4000}} })}, func(t *testing.T, r *room, g *Group) {
		r.taken[4000] = &status.Holder{PID: 9, Name: "node", User: "ann"}
		results, _ := g.Start(t.Context(), []string{"web"}, StartOptions{})
		if results[0].Code != "port-taken" || results[0].State != status.Blocked {
			t.Errorf("api: %+v", results[0])
		}
		if results[1].Code != CodeDependencyFailed || !strings.Contains(results[1].Message, "port 4000 is taken by node (pid 9, user ann)") {
			t.Errorf("web: %+v", results[1])
		}
		// And once it is free, a start of all works, whatever was said before.
		r.set(func() { delete(r.taken, 4000) })
		results, _ = g.Start(t.Context(), []string{"web"}, StartOptions{})
		if !results[0].OK || !results[1].OK {
			t.Errorf("after the port was freed: %+v", results)
		}
	})
}

func TestAStartThatIsLateIsAnsweredAndProbingGoesOn(t *testing.T) {
	bubble(t, []spec.Server{conf("api")}, func(t *testing.T, r *room, g *Group) {
		r.healthy["api"] = 25 * time.Second
		began := time.Now()
		results, _ := g.Start(t.Context(), []string{"api"}, StartOptions{})
		if took := time.Since(began); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("answered after %v", took)
		}
		if results[0].OK || results[0].Code != CodeNotReady || !strings.Contains(results[0].Message, "connection refused") {
			t.Errorf("%+v", results[0])
		}
		time.Sleep(16 * time.Second) // of the bubble
		synctest.Wait()
		if got := states(g); got != "api=ready" {
			t.Error(got)
		}
		if n := len(r.runs["api"]); n != 1 {
			t.Errorf("%d starts", n)
		}
	})
}

func TestPERF005TheProbeIsMadeAtOnceAndReadinessIsSeenSoon(t *testing.T) {
	for _, after := range []time.Duration{0, 30 * time.Millisecond, 700 * time.Millisecond, 4 * time.Second} {
		bubble(t, []spec.Server{conf("api")}, func(t *testing.T, r *room, g *Group) {
			r.healthy["api"] = after
			began := time.Now()
			g.Start(t.Context(), []string{"api"}, StartOptions{})
			lag := time.Since(began) - after
			if limit := max(10*time.Millisecond, after/10); lag < 0 || lag > limit {
				t.Errorf("ready after %v was seen %v later, want at most %v", after, lag, limit)
			}
		})
	}
}

func TestACrashIsRestartedByEventAndSaid(t *testing.T) {
	bubble(t, []spec.Server{conf("api")}, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		time.Sleep(15 * time.Second)
		r.last("api").die(proc.Exit{Code: -1, Signal: syscall.SIGKILL})
		synctest.Wait()
		s, _ := g.Snapshot("api")
		if s.State != status.Ready && s.State != status.Starting || s.Run != 2 || s.Crashes != 1 || s.Restarts != 1 {
			t.Fatalf("%+v", s.Server)
		}
		if s.LastExit == nil || s.LastExit.Signal != "SIGKILL" || s.LastExit.Code != nil {
			t.Errorf("last exit %+v", s.LastExit)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := states(g); got != "api=ready" {
			t.Error(got)
		}
		if got := strings.Join(r.events, ", "); got != "start api, ready api, crash api, restart api, start api, ready api" {
			t.Errorf("events: %s", got)
		}
		if n := r.runs["api"][0].stops; n != 1 {
			t.Errorf("the tree of the crashed run was cleaned up %d times", n)
		}
	})
}

func TestSECURITY006ACrashLoopIsHeldAndAResetLeavesIt(t *testing.T) {
	bubble(t, []spec.Server{conf("api")}, func(t *testing.T, r *room, g *Group) {
		go func() {
			for {
				if p := r.last("api"); p != nil {
					p.die(proc.Exit{Code: 1})
				}
				select {
				case <-t.Context().Done():
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		}()
		r.healthy["api"] = time.Hour
		time.Sleep(time.Hour)
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if got := states(g); got != "api=crash-loop" {
			t.Fatal(got)
		}
		if n := len(r.runs["api"]); n != 6 {
			t.Errorf("%d starts in 3 hours, want 1 and 5 restarts", n)
		}
	})
}

func TestACancelledStartSaysWhatItHadBegun(t *testing.T) {
	bubble(t, []spec.Server{conf("web", dependsOn("api")), conf("api")}, func(t *testing.T, r *room, g *Group) {
		r.healthy["api"] = time.Hour
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		results, begun := g.Start(ctx, []string{"web"}, StartOptions{})
		if len(results) != 2 || results[0].Code != CodeCancelled || results[1].Code != CodeCancelled {
			t.Errorf("%+v", results)
		}
		if !slices.Equal(begun, []string{"api", "web"}) {
			t.Errorf("begun %v", begun)
		}
		g.Stop(t.Context(), begun, StopOptions{})
		if got := states(g); got != "web=stopped api=stopped" {
			t.Error(got)
		}
	})
}

func TestAStopGoesOnWhenNobodyWaitsAnyMore(t *testing.T) {
	bubble(t, []spec.Server{conf("api")}, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		r.last("api").slow = 3 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		results := g.Stop(ctx, []string{"api"}, StopOptions{})
		if results[0].OK || results[0].State != status.Stopping {
			t.Errorf("%+v", results[0])
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if got := states(g); got != "api=stopped" {
			t.Error(got)
		}
	})
}

func TestHurryEndsTheGrace(t *testing.T) {
	bubble(t, []spec.Server{conf("api", func(s *spec.Server) { s.Stop.Grace = time.Minute })}, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		r.last("api").slow = time.Hour
		time.AfterFunc(2*time.Second, g.Hurry)
		began := time.Now()
		results := g.StopAll(t.Context(), StopOptions{})
		if took := time.Since(began); !results[0].OK || took != 2*time.Second {
			t.Errorf("%+v after %v", results[0], took)
		}
	})
}

func TestAPortStillHeldAfterAStopIsSaid(t *testing.T) {
	bubble(t, []spec.Server{conf("api", func(s *spec.Server) { s.Ports = []spec.Port{{Number: 4000}} })}, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		r.set(func() { r.taken[4000] = &status.Holder{PID: 9, Name: "docker-proxy", User: "root"} })
		results := g.StopAll(t.Context(), StopOptions{})
		if results[0].OK || results[0].Code != CodeNotStopped || !strings.Contains(results[0].Message, "docker-proxy (pid 9") {
			t.Errorf("%+v", results[0])
		}
		r.set(func() { clear(r.taken) })
	})
}

func TestApplyRestartsOnlyWhatChanged(t *testing.T) {
	servers := []spec.Server{conf("web"), conf("api"), conf("old"), conf("idle")}
	bubble(t, servers, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"web", "api", "old"}, StartOptions{Env: []string{"A=1"}})
		next := slices.Clone(servers[:2])
		next[1].Env = map[string]string{"LOG_LEVEL": "debug"}
		idle := servers[3]
		idle.Dir = "elsewhere"
		next = append(next, idle, conf("new"))
		c := g.Apply(t.Context(), next, Change{})
		want := Changes{Added: []string{"new"}, Changed: []string{"api", "idle"}, Removed: []string{"old"}, Restarted: []string{"api"}}
		if fmt.Sprint(c) != fmt.Sprint(want) {
			t.Errorf("changes %+v, want %+v", c, want)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := states(g); got != "web=ready api=ready idle=stopped new=stopped" {
			t.Error(got)
		}
		if len(r.runs["web"]) != 1 || len(r.runs["api"]) != 2 || len(r.runs["old"]) != 1 {
			t.Errorf("starts: web %d, api %d", len(r.runs["web"]), len(r.runs["api"]))
		}
		if p := r.last("api"); !slices.Contains(p.launch.Env, "LOG_LEVEL=debug") || !slices.Contains(p.launch.Env, "A=1") || p.launch.Run != 2 {
			t.Errorf("the new start: run %d, %v", p.launch.Run, p.launch.Env)
		}
	})
}

func TestUnknownNames(t *testing.T) {
	bubble(t, []spec.Server{conf("api")}, func(t *testing.T, r *room, g *Group) {
		_, err := g.Names([]string{"api", "nope"})
		var unknown *UnknownError
		if !errors.As(err, &unknown) || unknown.Name != "nope" || !slices.Equal(unknown.Known, []string{"api"}) {
			t.Errorf("%v", err)
		}
		if _, err := g.Log("nope"); !errors.As(err, &unknown) {
			t.Errorf("%v", err)
		}
		if results, _ := g.Start(t.Context(), []string{}, StartOptions{}); len(results) != 0 {
			t.Errorf("a start of nothing: %+v", results)
		}
		if results := g.Stop(t.Context(), []string{}, StopOptions{}); len(results) != 0 {
			t.Errorf("a stop of nothing: %+v", results)
		}
	})
}

func TestWhatIsOnlyCheckedIsWaitedFor(t *testing.T) {
	bubble(t, []spec.Server{conf("api", dependsOn("postgres"))}, func(t *testing.T, r *room, g *Group) {
		g.External("postgres", false, "connection refused on 127.0.0.1:5432")
		results, _ := g.Start(t.Context(), []string{"api"}, StartOptions{})
		if results[0].OK || results[0].Code != CodeDependencyFailed || !strings.Contains(results[0].Message, "5432") {
			t.Errorf("%+v", results[0])
		}
		if got := states(g); got != "api=waiting" {
			t.Error(got)
		}
		g.External("postgres", true, "")
		time.Sleep(time.Second)
		synctest.Wait()
		if got := states(g); got != "api=ready" {
			t.Error(got)
		}
	})
}

func TestMemoryAndCPUAreSampled(t *testing.T) {
	bubble(t, []spec.Server{conf("api")}, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		time.Sleep(20 * time.Second)
		synctest.Wait()
		s, _ := g.Snapshot("api")
		if s.MemoryBytes != 50<<20 || s.CPUPercent < 9 || s.CPUPercent > 11 {
			t.Errorf("%d bytes, %.1f %%", s.MemoryBytes, s.CPUPercent)
		}
		g.StopAll(t.Context(), StopOptions{})
		if s, _ := g.Snapshot("api"); s.MemoryBytes != 0 || s.PID != 0 || s.Identity.PID != 0 {
			t.Errorf("after the stop: %+v", s.Server)
		}
	})
}

func TestStartErrorsSayWhatToDo(t *testing.T) {
	for kind, want := range map[proc.StartKind]struct {
		code status.Code
		text string
	}{
		proc.NotFound:      {status.CommandMissing, `the command "serve" was not found`},
		proc.NotExecutable: {status.CannotStart, "is not executable"},
		proc.BadDir:        {status.CannotStart, "can't be entered"},
		proc.ExecFormat:    {status.CannotStart, "not a program"},
		proc.Resources:     {status.CannotStart, "no room for another process"},
		proc.OtherFailure:  {status.CannotStart, "can't be started"},
	} {
		t.Run(string(kind), func(t *testing.T) {
			bubble(t, []spec.Server{conf("api")}, func(t *testing.T, r *room, g *Group) {
				r.fails["api"] = &proc.StartError{Kind: kind, Path: "serve", Err: errors.New("why")}
				results, _ := g.Start(t.Context(), []string{"api"}, StartOptions{})
				s, _ := g.Snapshot("api")
				if results[0].Code != string(want.code) || !strings.Contains(results[0].Message, want.text) || s.State != status.Blocked || s.Crashes != 0 {
					t.Errorf("%+v, %s", results[0], s.State)
				}
			})
		})
	}
}

func TestAMissingEnvFileBlocks(t *testing.T) {
	bubble(t, []spec.Server{conf("api", func(s *spec.Server) { s.Dir = "backend"; s.EnvFiles = []string{".env"} })}, func(t *testing.T, r *room, g *Group) {
		results, _ := g.Start(t.Context(), []string{"api"}, StartOptions{})
		if results[0].Code != "cannot-start" || !strings.Contains(results[0].Message, "backend/.env") {
			t.Errorf("%+v", results[0])
		}
		r.files["backend/.env"] = "SECRET=s3cret\n"
		results, _ = g.Start(t.Context(), []string{"api"}, StartOptions{})
		if !results[0].OK || !slices.Contains(r.last("api").launch.Env, "SECRET=s3cret") {
			t.Errorf("%+v", results[0])
		}
	})
}
