package supervisor

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/devside/devside/supervisor/crash"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

var t0 = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// conf is a server as spec would fill it in.
func conf(name string, change ...func(*spec.Server)) spec.Server {
	s := spec.Server{
		Name: name, Command: []string{"serve"}, Dir: ".",
		Ready: spec.Probe{Kind: spec.ProbeTCP, Within: 10 * time.Second, Every: 5 * time.Second, Timeout: 5 * time.Second, Failures: 3},
		Restart: spec.Restart{On: spec.OnFailure, Delay: 2 * time.Second, MaxDelay: time.Minute, ResetAfter: time.Minute,
			MaxInARow: 5, MaxPerHour: 10},
		Stop: spec.Stop{Signal: "SIGTERM", Grace: 5 * time.Second},
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

func dependsOn(names ...string) func(*spec.Server) {
	return func(s *spec.Server) { s.DependsOn = names }
}

// play feeds facts to a machine, a second apart, and lists what it did.
type play struct {
	m    machine
	now  time.Time
	acts []action
}

func newPlay(c spec.Server) *play { return &play{m: newMachine(c, t0), now: t0} }

func (p *play) feed(facts ...fact) *play {
	for _, f := range facts {
		p.m, p.acts = p.m.step(f, p.now, 0.5) // 0.5: no jitter
		p.now = p.now.Add(time.Second)
	}
	return p
}

// up brings the machine to ready in its next run.
func (p *play) up() *play {
	p.feed(startAsked{})
	return p.feed(spawned{run: p.m.run, pid: 100 + p.m.run}, probed{run: p.m.run})
}

func (p *play) dies(code int) *play {
	return p.feed(exited{p.m.run}, gone{run: p.m.run, end: ending{exit: crash.Exit{Code: code}, cause: crash.Cause{Mendable: true}}})
}

func did[T action](p *play) (T, bool) {
	for _, a := range p.acts {
		if x, ok := a.(T); ok {
			return x, true
		}
	}
	var none T
	return none, false
}

func (p *play) want(t *testing.T, s status.State) {
	t.Helper()
	if p.m.state != s {
		t.Fatalf("state is %s (%s), want %s", p.m.state, p.m.message, s)
	}
}

func problems(m machine) string {
	var codes []string
	for _, p := range m.snapshot().Details {
		codes = append(codes, string(p.Code))
	}
	return strings.Join(codes, " ")
}

func TestEachStateFollowsFromItsFacts(t *testing.T) {
	failing := errors.New("connection refused on port 4000")
	for _, c := range []struct {
		name  string
		conf  spec.Server
		facts []fact
		want  status.State
		codes string
	}{
		{"nothing asked", conf("api"), nil, status.Stopped, ""},
		{"asked", conf("api"), []fact{startAsked{}}, status.Starting, ""},
		{"spawned, probe fails", conf("api"), []fact{startAsked{}, spawned{1, 7}, probed{1, failing}}, status.Starting, ""},
		{"probe passes", conf("api"), []fact{startAsked{}, spawned{1, 7}, probed{1, failing}, probed{1, nil}}, status.Ready, ""},
		{"not ready in time", conf("api"), []fact{startAsked{}, spawned{1, 7}, probed{1, failing}, withinElapsed{1}}, status.Unhealthy, "unhealthy"},
		{"ready after all", conf("api"), []fact{startAsked{}, spawned{1, 7}, withinElapsed{1}, probed{1, nil}}, status.Ready, ""},
		{"readiness lost needs three failures", conf("api"), []fact{startAsked{}, spawned{1, 7}, probed{1, nil}, probed{1, failing}, probed{1, failing}}, status.Ready, ""},
		{"readiness lost", conf("api"), []fact{startAsked{}, spawned{1, 7}, probed{1, nil}, probed{1, failing}, probed{1, failing}, probed{1, failing}}, status.Unhealthy, "unhealthy"},
		{"readiness found again", conf("api"), []fact{startAsked{}, spawned{1, 7}, probed{1, nil}, probed{1, failing}, probed{1, failing}, probed{1, failing}, probed{1, nil}}, status.Ready, ""},
		{"command missing", conf("api"), []fact{startAsked{}, spawnFailed{1, status.NewProblem(status.CommandMissing, "", "no", t0)}}, status.Blocked, "command-missing"},
		{"port taken", conf("api"), []fact{startAsked{}, spawnFailed{1, status.NewProblem(status.PortTaken, "", "no", t0)}}, status.Blocked, "port-taken"},
		{"blocked, then started again", conf("api"), []fact{startAsked{}, spawnFailed{1, status.NewProblem(status.PortTaken, "", "no", t0)}, startAsked{}}, status.Starting, ""},
		{"stopped while starting", conf("api"), []fact{startAsked{}, spawned{1, 7}, stopAsked{}}, status.Stopping, ""},
		{"stopped", conf("api"), []fact{startAsked{}, spawned{1, 7}, stopAsked{}, exited{1}, gone{run: 1}}, status.Stopped, ""},
		{"started while stopping", conf("api"), []fact{startAsked{}, spawned{1, 7}, stopAsked{}, startAsked{}, gone{run: 1}}, status.Starting, ""},
		{"started while stopping, then stopped", conf("api"), []fact{startAsked{}, spawned{1, 7}, stopAsked{}, startAsked{}, stopAsked{}, gone{run: 1}}, status.Stopped, ""},
		{"stop of the blocked", conf("api"), []fact{startAsked{}, spawnFailed{1, status.NewProblem(status.PortTaken, "", "no", t0)}, stopAsked{}}, status.Stopped, ""},
		{"waits for what it needs", conf("web", dependsOn("api")), []fact{startAsked{}}, status.Waiting, ""},
		{"goes on when it is there", conf("web", dependsOn("api")), []fact{startAsked{}, dependencyIs{"api", dependency{up: true}}}, status.Starting, ""},
		{"waits for all", conf("web", dependsOn("api", "db")), []fact{startAsked{}, dependencyIs{"api", dependency{up: true}}}, status.Waiting, ""},
		{"what it needs has ended", conf("web", dependsOn("api")), []fact{startAsked{epoch: 2}, dependencyIs{"api", dependency{ended: "port 4000 is taken", epoch: 2}}}, status.Stopped, "dependency-down"},
		{"old news of an end", conf("web", dependsOn("api")), []fact{dependencyIs{"api", dependency{ended: "it is stopped", epoch: 1}}, startAsked{epoch: 2}}, status.Waiting, ""},
		{"what it needs is late", conf("web", dependsOn("api")), []fact{startAsked{}, dependencyIs{"api", dependency{late: "not ready within 10s"}}}, status.Waiting, "dependency-down"},
		{"stopped while waiting", conf("web", dependsOn("api")), []fact{startAsked{}, stopAsked{}}, status.Stopped, ""},
		{"exit 0 by itself", conf("api"), []fact{startAsked{}, spawned{1, 7}, exited{1}, gone{run: 1}}, status.Stopped, ""},
		{"a crash", conf("api"), []fact{startAsked{}, spawned{1, 7}, exited{1}, gone{run: 1, end: ending{exit: crash.Exit{Code: 1}, cause: crash.Cause{Mendable: true}}}}, status.Backoff, "crashed"},
		{"a crash and its back-off", conf("api"), []fact{startAsked{}, spawned{1, 7}, exited{1}, gone{run: 1, end: ending{exit: crash.Exit{Signal: "SIGKILL"}, cause: crash.Cause{Mendable: true}}}, backoffElapsed{1}}, status.Starting, "crashed"},
		{"what a restart can't mend", conf("api"), []fact{startAsked{}, spawned{1, 7}, exited{1}, gone{run: 1, end: ending{exit: crash.Exit{Code: 1}, cause: crash.Cause{Code: "module-not-found", Text: "module express was not found"}}}}, status.Blocked, "crashed"},
		{"stop asked during the clean-up of a crash", conf("api"), []fact{startAsked{}, spawned{1, 7}, exited{1}, stopAsked{}, gone{run: 1, end: ending{exit: crash.Exit{Code: 1}}}}, status.Stopped, ""},
		{"start asked during the clean-up of a crash", conf("api"), []fact{startAsked{}, spawned{1, 7}, exited{1}, startAsked{}, gone{run: 1, end: ending{exit: crash.Exit{Code: 1}}}}, status.Starting, ""},
		{"never restarted", conf("api", func(s *spec.Server) { s.Restart.On = spec.OnNever }), []fact{startAsked{}, spawned{1, 7}, exited{1}, gone{run: 1, end: ending{exit: crash.Exit{Code: 1}, cause: crash.Cause{Mendable: true}}}}, status.Stopped, "crashed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlay(c.conf).feed(c.facts...)
			p.want(t, c.want)
			if got := problems(p.m); got != c.codes {
				t.Errorf("problems are %q, want %q", got, c.codes)
			}
		})
	}
}

func TestLateFactsAreIgnored(t *testing.T) {
	late := []fact{
		spawned{1, 9}, spawnFailed{1, status.NewProblem(status.CannotStart, "", "no", t0)}, probed{1, nil}, probed{1, errors.New("x")},
		liveProbed{1, errors.New("x")}, withinElapsed{1}, backoffElapsed{1}, exited{1}, gone{run: 1}, overdueElapsed{1}, waitElapsed{1},
		costs{run: 1, share: 1 << 40}, budgetElapsed{1},
	}
	p := newPlay(conf("api", limited, func(s *spec.Server) { s.Live = &spec.Probe{Failures: 1} })).up()
	p.feed(stopAsked{}, gone{run: 1}).up()
	if p.m.run != 2 {
		t.Fatalf("run %d", p.m.run)
	}
	for _, f := range late {
		before := p.m
		after, acts := before.step(f, p.now, 0)
		if !reflect.DeepEqual(before, after) || len(acts) != 0 {
			t.Errorf("%T of run 1 changed run 2: %+v, %v", f, after, acts)
		}
	}
}

func TestRELIABILITY005WhatCantBeExecutedIsBlockedAndNeverACrash(t *testing.T) {
	p := newPlay(conf("api")).feed(startAsked{}, spawnFailed{1, status.NewProblem(status.CommandMissing, "", "the command \"nope\" was not found", t0)})
	p.want(t, status.Blocked)
	s := p.m.snapshot()
	if s.Crashes != 0 || s.Restarts != 0 || s.LastExit != nil || s.PID != 0 {
		t.Errorf("it was counted: %+v", s.Server)
	}
	r, done := p.m.startOutcome()
	if !done || r.OK || r.Code != "command-missing" || r.Message == "" {
		t.Errorf("the start came out as %+v, %v", r, done)
	}
	for range 3 {
		p.feed(startAsked{}, spawnFailed{p.m.run + 1, status.NewProblem(status.CommandMissing, "", "no", t0)})
	}
	p.feed(startAsked{})
	p.want(t, status.Starting) // however often: no crash loop
}

func TestCrashesInARowEndInACrashLoopAndAPersonLeavesIt(t *testing.T) {
	p := newPlay(conf("api")).feed(startAsked{})
	delays := []time.Duration{}
	for range 5 {
		p.feed(spawned{p.m.run, 7}).dies(1)
		p.want(t, status.Backoff)
		a, ok := did[after](p)
		if !ok {
			t.Fatal("no timer for the restart")
		}
		delays = append(delays, a.d)
		p.feed(a.f)
		p.want(t, status.Starting)
	}
	want := []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second}
	if !reflect.DeepEqual(delays, want) {
		t.Errorf("delays %v, want %v", delays, want)
	}
	p.feed(spawned{p.m.run, 7}).dies(1)
	p.want(t, status.CrashLoop)
	if s := p.m.snapshot(); s.Crashes != 6 || s.Restarts != 5 {
		t.Errorf("%d crashes, %d restarts", s.Crashes, s.Restarts)
	}
	p.feed(backoffElapsed{p.m.run})
	p.want(t, status.CrashLoop)
	p.feed(startAsked{})
	p.want(t, status.Starting)
}

func TestAnExpectedStopIsNeverACrash(t *testing.T) {
	p := newPlay(conf("api")).up()
	p.feed(startAsked{force: true}, exited{1}, gone{run: 1, end: ending{exit: crash.Exit{Signal: "SIGTERM"}}})
	p.want(t, status.Starting)
	if s := p.m.snapshot(); s.Crashes != 0 || s.Restarts != 0 {
		t.Errorf("a restart by a person counts: %+v", s.Server)
	}
}

func TestAfterTenSecondsOfReadyTheFirstRestartIsImmediate(t *testing.T) {
	p := newPlay(conf("api")).up()
	p.now = p.now.Add(10 * time.Second)
	p.dies(1)
	p.want(t, status.Starting)
	if p.m.run != 2 {
		t.Errorf("run %d", p.m.run)
	}
}

func TestOnlyALivenessProbeRestarts(t *testing.T) {
	p := newPlay(conf("api", func(s *spec.Server) { s.Live = &spec.Probe{Failures: 3} })).up()
	for range 10 {
		p.feed(probed{1, errors.New("503")})
	}
	p.want(t, status.Unhealthy)
	p.feed(liveProbed{1, errors.New("503")}, liveProbed{1, errors.New("503")})
	p.want(t, status.Unhealthy)
	p.feed(liveProbed{1, errors.New("503")})
	p.want(t, status.Stopping)
	if _, ok := did[endTree](p); !ok {
		t.Fatal("the tree is not ended")
	}
	p.feed(gone{run: 1, end: ending{exit: crash.Exit{Code: 0}}}) // it ends politely: a crash all the same
	if p.m.crashes != 1 || (p.m.state != status.Backoff && p.m.state != status.Starting) {
		t.Errorf("state %s after %d crashes", p.m.state, p.m.crashes)
	}
}

func TestAStopDuringALivenessRestartIsAStop(t *testing.T) {
	p := newPlay(conf("api", func(s *spec.Server) { s.Live = &spec.Probe{Failures: 1} })).up()
	p.feed(liveProbed{1, errors.New("503")}, stopAsked{}, gone{run: 1})
	p.want(t, status.Stopped)
	if p.m.crashes != 0 {
		t.Errorf("%d crashes", p.m.crashes)
	}
}

func TestAnAutomaticRestartIgnoresADependencyThatAPersonStopped(t *testing.T) {
	p := newPlay(conf("web", dependsOn("api"))).feed(dependencyIs{"api", dependency{up: true, epoch: 1}}, startAsked{epoch: 1}, spawned{1, 7}, probed{1, nil})
	p.feed(dependencyIs{"api", dependency{ended: "it is stopped", epoch: 1}})
	p.want(t, status.Ready) // a stop does not cascade
	p.dies(1)
	a, _ := did[after](p)
	p.feed(a.f)
	p.want(t, status.Starting)
}

func TestHowAStartThatIsWaitedForEnds(t *testing.T) {
	for _, c := range []struct {
		name  string
		conf  spec.Server
		facts []fact
		done  bool
		code  string
	}{
		{"starting", conf("api"), []fact{startAsked{}, spawned{1, 7}}, false, ""},
		{"ready", conf("api"), []fact{startAsked{}, spawned{1, 7}, probed{1, nil}}, true, ""},
		{"late", conf("api"), []fact{startAsked{}, spawned{1, 7}, probed{1, errors.New("x")}, withinElapsed{1}, overdueElapsed{1}}, true, CodeNotReady},
		{"in back-off when its time is over", conf("api"), []fact{startAsked{}, spawned{1, 7}, exited{1}, gone{run: 1, end: ending{exit: crash.Exit{Code: 1}, cause: crash.Cause{Mendable: true}}}, overdueElapsed{1}}, true, CodeCrashed},
		{"in back-off before", conf("api"), []fact{startAsked{}, spawned{1, 7}, exited{1}, gone{run: 1, end: ending{exit: crash.Exit{Code: 1}, cause: crash.Cause{Mendable: true}}}}, false, ""},
		{"ended by itself", conf("api"), []fact{startAsked{}, spawned{1, 7}, exited{1}, gone{run: 1}}, true, CodeStopped},
		{"what it needs ended", conf("web", dependsOn("api")), []fact{startAsked{}, dependencyIs{"api", dependency{ended: "x"}}}, true, CodeDependencyFailed},
		{"what it needs is late", conf("web", dependsOn("api")), []fact{startAsked{}, dependencyIs{"api", dependency{late: "x"}}}, true, CodeDependencyFailed},
		{"waiting", conf("web", dependsOn("api")), []fact{startAsked{}}, false, ""},
		{"what is only checked has had its time", conf("web", dependsOn("db")), []fact{dependencyIs{"db", dependency{external: true, late: "connection refused"}}, startAsked{}, waitElapsed{1}}, true, CodeDependencyFailed},
		{"what is only checked has time left", conf("web", dependsOn("db")), []fact{dependencyIs{"db", dependency{external: true, late: "connection refused"}}, startAsked{}}, false, ""},
		{"a server it needs has bounds of its own", conf("web", dependsOn("api")), []fact{startAsked{}, waitElapsed{1}}, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlay(c.conf).feed(c.facts...)
			r, done := p.m.startOutcome()
			if done != c.done || r.Code != c.code || (done && r.OK != (c.code == "")) {
				t.Errorf("%+v, done %v; want code %q, done %v", r, done, c.code, c.done)
			}
		})
	}
}

func TestWhatIsLeftAfterAStopIsSaid(t *testing.T) {
	p := newPlay(conf("api")).up().feed(stopAsked{}, gone{run: 1, left: "port 4000 is taken by node (pid 9)"})
	r, done := p.m.stopOutcome()
	if !done || r.OK || r.Code != CodeNotStopped || !strings.Contains(r.Message, "pid 9") {
		t.Errorf("%+v, %v", r, done)
	}
}

func TestTheCauseOfAPortInUseNamesItsHolder(t *testing.T) {
	taken := portTaken("api", 4000, &status.Holder{PID: 9, Name: "node", User: "ann"})
	p := newPlay(conf("api")).feed(startAsked{}, spawned{1, 7}, exited{1},
		gone{run: 1, end: ending{exit: crash.Exit{Code: 1}, cause: crash.Cause{Code: "address-in-use", Text: "port 4000 is already in use", Port: 4000}, taken: taken}})
	p.want(t, status.Blocked)
	if got := p.m.problems[status.PortTaken]; got.Holder == nil || got.Holder.PID != 9 || got.Server != "api" || !strings.Contains(got.Message, "node (pid 9, user ann)") {
		t.Errorf("%+v", got)
	}
}

func TestAStepChangesNoOlderMachine(t *testing.T) {
	p := newPlay(conf("api")).feed(startAsked{}, spawned{1, 7}, probed{1, errors.New("x")}, withinElapsed{1})
	before := fmt.Sprintf("%+v", p.m)
	p.m.step(probed{1, nil}, p.now, 0)
	p.m.step(dependencyIs{"x", dependency{up: true}}, p.now, 0)
	if after := fmt.Sprintf("%+v", p.m); after != before {
		t.Errorf("step changed its receiver:\n%s\n%s", before, after)
	}
}
