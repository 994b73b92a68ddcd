package supervisor

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/devside/devside/supervisor/crash"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

var saved = status.Because{File: "api/.env", Rule: "env file"}

func restartEvents(p *play) (out []string) {
	for _, a := range p.acts {
		if h, ok := a.(happened); ok && h.event.Kind == status.HappenedRestart {
			out = append(out, fmt.Sprintf("%s %q %q", h.event.Message, h.event.Because.File, h.event.Because.Rule))
		}
	}
	return out
}

// held is an api that a syntax error blocks.
func heldPlay() *play {
	p := newPlay(conf("api")).up()
	return p.feed(exited{p.m.run}, gone{run: p.m.run, end: ending{
		exit: crash.Exit{Code: 1}, cause: crash.Cause{Code: crash.SyntaxError, Text: "Unexpected identifier", File: "main.js"}}})
}

func TestAChangedFileRestartsWhatRunsAndSaysWhy(t *testing.T) {
	p := newPlay(conf("api")).up().feed(fileChanged{saved})
	p.want(t, status.Stopping)
	p.feed(fileChanged{status.Because{File: "other"}}) // once for a burst
	p.feed(gone{run: 1})
	p.want(t, status.Starting)
	if got := restartEvents(p); len(got) != 1 || got[0] != `api restarts because api/.env changed "api/.env" "env file"` {
		t.Errorf("%q", got)
	}
	if s := p.m.snapshot(); s.Run != 2 || s.RestartReason != status.ReasonFile || s.Restarts != 1 || s.Crashes != 0 {
		t.Errorf("%+v", s.Server)
	}
}

func TestAChangedFileLeavesWhatNeedsNothing(t *testing.T) {
	for name, p := range map[string]*play{
		"stopped":  newPlay(conf("api")),
		"waiting":  newPlay(conf("api", dependsOn("db"))).feed(startAsked{}),
		"stopping": newPlay(conf("api")).up().feed(stopAsked{}),
	} {
		was := p.m.state
		p.feed(fileChanged{saved})
		if p.m.state != was || len(p.acts) != 0 || p.m.again {
			t.Errorf("%s: %s, %v", name, p.m.state, p.acts)
		}
	}
	p := newPlay(conf("api")).up().feed(stopAsked{}, fileChanged{saved}, gone{run: 1})
	p.want(t, status.Stopped)
}

func TestAChangedFileEndsTheWaitForARestart(t *testing.T) {
	p := newPlay(conf("api")).up().dies(1)
	p.want(t, status.Backoff)
	p.feed(fileChanged{saved})
	p.want(t, status.Starting)
	run := p.m.run
	p.feed(backoffElapsed{run - 1}) // of the wait that has ended
	if p.m.run != run || p.m.restarts != 1 {
		t.Errorf("run %d, %d restarts", p.m.run, p.m.restarts)
	}
}

func TestAttemptsAreOneForEachChangeAndBounded(t *testing.T) {
	p := heldPlay()
	p.want(t, status.Blocked)
	if p.m.snapshot().Held.File != "main.js" {
		t.Errorf("%+v", p.m.snapshot().Held)
	}
	for n := range 10 {
		p.feed(fileChanged{saved})
		p.want(t, status.Starting)
		p.feed(spawned{p.m.run, 7}, exited{p.m.run}, gone{run: p.m.run, end: ending{
			exit: crash.Exit{Code: 1}, cause: crash.Cause{Code: crash.SyntaxError, Text: "Unexpected identifier"}}})
		p.want(t, status.Blocked)
		if p.m.run != n+2 {
			t.Fatalf("attempt %d: run %d", n, p.m.run)
		}
	}
	p.feed(fileChanged{saved})
	p.want(t, status.Blocked)
	if !strings.Contains(p.m.message, "not tried again") {
		t.Errorf("%q", p.m.message)
	}
	p.now = p.now.Add(time.Hour)
	p.feed(fileChanged{saved})
	p.want(t, status.Starting)
}

func TestAnAttemptOutOfACrashLoopLeadsBackToIt(t *testing.T) {
	p := newPlay(conf("api", func(s *spec.Server) { s.Restart.MaxInARow = 1 })).up().dies(1).feed(backoffElapsed{1}).dies(1)
	p.want(t, status.CrashLoop)
	p.feed(fileChanged{saved})
	p.want(t, status.Starting)
	p.dies(1)
	p.want(t, status.CrashLoop)
}

func TestAPortThatHoldsAServerIsLookedAtUntilItIsFree(t *testing.T) {
	taken := status.NewProblem(status.PortTaken, "api", "port 4000 is taken", t0)
	taken.Port = 4000
	p := newPlay(conf("api")).feed(startAsked{}, spawnFailed{1, taken})
	if a, ok := did[after](p); !ok || a.d != portPause || a.f != fact(portElapsed{1}) {
		t.Errorf("%+v", p.acts)
	}
	p.feed(portElapsed{1})
	if a, ok := did[lookAtPort](p); !ok || a.number != 4000 {
		t.Errorf("%+v", p.acts)
	}
	p.feed(portIs{1, true})
	if _, ok := did[after](p); !ok {
		t.Errorf("it is not looked at again: %+v", p.acts)
	}
	p.feed(portElapsed{1}, portIs{1, false})
	p.want(t, status.Starting)
	if s := p.m.snapshot(); s.RestartReason != status.ReasonMended || len(s.Details) != 0 {
		t.Errorf("%+v", s)
	}
	p.feed(portIs{1, false}, portElapsed{1}) // of the look before
	if p.m.run != 2 {
		t.Errorf("run %d", p.m.run)
	}
	for p.m.state != status.CrashLoop { // somebody takes the port each time
		if p.m.run > 20 {
			t.Fatalf("run %d: %s", p.m.run, p.m.state)
		}
		p.feed(spawnFailed{p.m.run, taken}, portElapsed{p.m.run}, portIs{p.m.run, false}, backoffElapsed{p.m.run})
	}
	if p.m.run != 6 {
		t.Errorf("held in run %d, after more or less than 5 restarts in a row", p.m.run)
	}
}

func TestWhatIsHeldStartsWhenItsEntryChanges(t *testing.T) {
	c := conf("api", func(s *spec.Server) { s.Restart.On = spec.OnFailure; s.EnvFiles = []string{"no.env"} })
	bubble(t, []spec.Server{c}, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		if s, _ := g.Snapshot("api"); s.State != status.Blocked {
			t.Fatalf("%+v", s.Server)
		}
		g.FileChanged("api", saved)
		time.Sleep(time.Second)
		if s, _ := g.Snapshot("api"); s.State != status.Blocked || s.Run != 2 {
			t.Errorf("%+v", s.Server)
		}
		next := conf("api")
		changes := g.Apply(t.Context(), []spec.Server{next}, Change{Asked: true, Because: status.Because{File: "devside.yaml", Rule: "configuration"}})
		time.Sleep(time.Second)
		if s, _ := g.Snapshot("api"); s.State != status.Ready || len(changes.Restarted) != 1 {
			t.Errorf("%+v, %+v", s.Server, changes)
		}
		g.FileChanged("nobody", saved)
	})
}

func TestHowLongAStartWaitedIsToldWithItsRun(t *testing.T) {
	p := newPlay(conf("web", dependsOn("api"))).feed(startAsked{})
	p.want(t, status.Waiting)
	p.now = p.now.Add(2 * time.Second)
	p.feed(dependencyIs{"api", dependency{up: true}}) // 3 s after the start was asked for
	if got := p.m.snapshot().WaitedMs; got != 3000 {
		t.Errorf("waited %d ms", got)
	}
	p.feed(spawned{1, 7}, probed{1, nil}, fileChanged{saved}, gone{run: 1})
	if got := p.m.snapshot().WaitedMs; got != 0 {
		t.Errorf("a restart that waited for nothing: %d ms", got)
	}
}
