package supervisor

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devside/devside/supervisor/probe"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

var refusedDB = dependency{external: true, late: "connection refused on localhost:5432", cause: cause{"postgres", "connection refused on localhost:5432"}}

// HEALTH-2: a failing dependency is named as the cause.
func TestHEALTH2TheCauseIsNamed(t *testing.T) {
	needsDB := conf("api", dependsOn("postgres"))
	lost := []fact{startAsked{}, dependencyIs{"postgres", dependency{external: true, up: true}}, spawned{1, 7}, probed{1, nil}}
	failing := probed{1, errors.New("GET /health answered 500")}
	waitsForDB := dependency{cause: refusedDB.cause}
	gaveUp := dependency{ended: "its port is taken", epoch: 2, cause: cause{"api", "its port is taken"}}
	for _, c := range []struct {
		name          string
		conf          spec.Server
		facts         []fact
		state         status.State
		message       string
		code          status.Code
		other, passes string // passes: the cause that dependents are told
	}{
		{"at once", needsDB, []fact{dependencyIs{"postgres", refusedDB}, startAsked{}},
			status.Waiting, "waiting for postgres: connection refused on localhost:5432", status.DependencyDown, "postgres", "postgres"},
		{"while it waits", needsDB, []fact{startAsked{}, dependencyIs{"postgres", refusedDB}},
			status.Waiting, "waiting for postgres: connection refused on localhost:5432", status.DependencyDown, "postgres", "postgres"},
		{"nothing is known yet", needsDB, []fact{startAsked{}}, status.Waiting, "waiting for postgres", "", "", ""},
		{"the second of two", conf("api", dependsOn("cache", "postgres")), []fact{startAsked{}, dependencyIs{"postgres", refusedDB}},
			status.Waiting, "waiting for postgres: connection refused on localhost:5432", status.DependencyDown, "postgres", "postgres"},
		{"behind a server", conf("web", dependsOn("api")), []fact{startAsked{}, dependencyIs{"api", waitsForDB}},
			status.Waiting, "waiting for api: postgres is down: connection refused on localhost:5432", status.DependencyDown, "postgres", "postgres"},
		{"a server by itself", conf("web", dependsOn("api")), []fact{startAsked{}, dependencyIs{"api", dependency{late: "not ready within 10s", cause: cause{"api", "not ready within 10s"}}}},
			status.Waiting, "waiting for api: not ready within 10s", status.DependencyDown, "api", "api"},
		{"it is there again", needsDB, []fact{startAsked{}, dependencyIs{"postgres", refusedDB}, dependencyIs{"postgres", dependency{external: true, up: true}}},
			status.Starting, "", "", "", ""},
		{"a server that has not heard of the start", conf("web", dependsOn("api")), []fact{dependencyIs{"api", dependency{ended: "it is stopped", epoch: 1, cause: cause{"api", "it is stopped"}}}, startAsked{epoch: 2}},
			status.Waiting, "waiting for api", "", "", ""},
		{"a server that gave up for it", conf("web", dependsOn("api")), []fact{startAsked{epoch: 2}, dependencyIs{"api", dependency{ended: "postgres did not become ready: no", epoch: 2, cause: refusedDB.cause}}},
			status.Stopped, "api did not become ready: postgres did not become ready: no", status.DependencyDown, "postgres", ""},
		{"and which is up after all", conf("web", dependsOn("api")), []fact{startAsked{epoch: 2}, dependencyIs{"api", gaveUp}, dependencyIs{"api", dependency{up: true}}},
			status.Starting, "", "", "", ""},
		{"one of two of which is", conf("web", dependsOn("api", "auth")), []fact{startAsked{epoch: 2}, dependencyIs{"api", gaveUp}, dependencyIs{"auth", gaveUp}, dependencyIs{"api", dependency{up: true}}},
			status.Stopped, "api did not become ready: its port is taken", status.DependencyDown, "api", ""},
		{"after a person has stopped it", conf("web", dependsOn("api")), []fact{startAsked{epoch: 2}, dependencyIs{"api", gaveUp}, stopAsked{}, dependencyIs{"api", dependency{up: true}}},
			status.Stopped, "api did not become ready: its port is taken", "", "", ""},
		{"readiness is lost after it went", needsDB, append(lost[:4:4], dependencyIs{"postgres", refusedDB}, failing, failing, failing),
			status.Unhealthy, "it is no longer ready: GET /health answered 500; its dependency postgres is down: connection refused on localhost:5432", status.NotHealthy, "", "postgres"},
		{"readiness is lost before that is known", needsDB, append(lost[:4:4], failing, failing, failing, dependencyIs{"postgres", refusedDB}),
			status.Unhealthy, "it is no longer ready: GET /health answered 500; its dependency postgres is down: connection refused on localhost:5432", status.NotHealthy, "", "postgres"},
		{"and it comes back first", needsDB, append(lost[:4:4], failing, failing, failing, dependencyIs{"postgres", refusedDB}, dependencyIs{"postgres", dependency{external: true, up: true}}),
			status.Unhealthy, "it is no longer ready: GET /health answered 500", status.NotHealthy, "", "api"},
		{"never ready since it went", needsDB, append(lost[:3:3], failing, dependencyIs{"postgres", refusedDB}, withinElapsed{1}),
			status.Unhealthy, "not ready within 10s: GET /health answered 500; its dependency postgres is down: connection refused on localhost:5432", status.NotHealthy, "", "postgres"},
		{"what its dependency needs went", conf("web", dependsOn("api")), []fact{startAsked{}, dependencyIs{"api", dependency{up: true}}, spawned{1, 7}, probed{1, nil}, dependencyIs{"api", waitsForDB}, failing, failing, failing},
			status.Unhealthy, "it is no longer ready: GET /health answered 500; postgres, which its dependencies need, is down: connection refused on localhost:5432", status.NotHealthy, "", "postgres"},
		{"a ready server is ready", needsDB, append(lost[:4:4], dependencyIs{"postgres", refusedDB}), status.Ready, "", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlay(c.conf).feed(c.facts...)
			p.want(t, c.state)
			if p.m.message != c.message {
				t.Errorf("message %q, want %q", p.m.message, c.message)
			}
			if got := problems(p.m); got != string(c.code) {
				t.Errorf("problems %q, want %q", got, c.code)
			}
			if found := p.m.problems[c.code]; c.code != "" && (found.Other != c.other || !strings.Contains(found.Message, c.message)) {
				t.Errorf("%+v", found)
			}
			if got := p.m.asDependency().cause.name; got != c.passes && c.state != status.Stopped {
				t.Errorf("dependents are told %q, want %q", got, c.passes)
			}
		})
	}
}

// Servers wait for a database through one another: each names it, and starts
// when it is there.
func TestHEALTH2EveryServerThatWaitsNamesTheCause(t *testing.T) {
	servers := []spec.Server{conf("web", dependsOn("bff")), conf("bff", dependsOn("api")), conf("api", dependsOn("postgres"))}
	bubble(t, servers, func(t *testing.T, r *room, g *Group) {
		g.External("postgres", false, "connection refused on localhost:5432")
		began := time.Now()
		results, _ := g.Start(t.Context(), []string{"web", "bff", "api"}, StartOptions{})
		for _, result := range results {
			if result.OK || result.Code != CodeDependencyFailed || !strings.Contains(result.Message, "connection refused on localhost:5432") {
				t.Errorf("%+v", result)
			}
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("the start was answered after %v, want within", took)
		}
		for _, s := range g.Snapshots() {
			if s.State != status.Waiting || len(s.Details) != 1 || s.Details[0].Code != status.DependencyDown || s.Details[0].Other != "postgres" {
				t.Errorf("%s is %s: %s; %+v", s.Name, s.State, s.Message, s.Details)
			}
		}
		g.External("postgres", true, "")
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := states(g); got != "web=ready bff=ready api=ready" {
			t.Errorf("with the database there: %s", got)
		}
		for _, s := range g.Snapshots() {
			if len(s.Details) > 0 {
				t.Errorf("%s: %+v", s.Name, s.Details)
			}
		}
	})
}

// HEALTH-3: over 1 % of the probes failing is told, restarts nothing, and keeps
// nobody from starting.
func TestHEALTH3ProbesThatFailNowAndThenMakeUnhealthy(t *testing.T) {
	p := newPlay(conf("api", func(s *spec.Server) { s.Ready.ErrorRate = 0.01 })).up()
	for i := range 102 {
		var err error
		if i == 40 || i == 80 {
			err = fmt.Errorf("probe %d timed out", i)
		}
		p.feed(probed{1, err})
		if _, ends := did[endTree](p); ends {
			t.Fatal("it is restarted")
		}
		if i == 41 || i == 81 {
			p.want(t, status.Ready)
		}
	}
	p.want(t, status.Unhealthy)
	if want := "2 of its last 100 probes failed, more than 1%; the last one: probe 80 timed out"; p.m.message != want || problems(p.m) != "unhealthy" {
		t.Errorf("%q, problems %q", p.m.message, problems(p.m))
	}
	if d := p.m.asDependency(); !d.up || d.late != "" || d.cause != (cause{}) {
		t.Errorf("dependents are told %+v", d)
	}
	if r, done := p.m.startOutcome(); !done || !r.OK {
		t.Errorf("a start of it is answered %+v, %v", r, done)
	}
	for range 100 {
		p.feed(probed{1, nil})
	}
	p.want(t, status.Ready)
	if problems(p.m) != "" {
		t.Errorf("problems %q", problems(p.m))
	}
}

func TestAStartOfAServerThatLostItsReadinessIsAnswered(t *testing.T) {
	failing := probed{1, errors.New("it answered 503")}
	p := newPlay(conf("api")).up().feed(failing, failing, failing, startAsked{})
	p.want(t, status.Unhealthy)
	if r, done := p.m.startOutcome(); !done || r.OK || r.Code != CodeNotReady || !strings.Contains(r.Message, "it answered 503") {
		t.Errorf("%+v, %v", r, done)
	}
	if p.m.asDependency().up {
		t.Error("it is up for its dependents")
	}
}

// HEALTH-3: an answer that takes too long.
func TestHEALTH3SlowAnswersMakeUnhealthyAndRestartNothing(t *testing.T) {
	slow := &probe.SlowError{What: "GET http://localhost:4000/", Took: 1200 * time.Millisecond, Bound: time.Second}
	p := newPlay(conf("api", func(s *spec.Server) { s.Live = &spec.Probe{Failures: 1} }))
	p.feed(startAsked{}, spawned{1, 7}, probed{1, slow})
	p.want(t, status.Ready) // the first answer warms it up
	p.feed(probed{1, slow}, probed{1, slow}, liveProbed{1, slow})
	p.want(t, status.Ready)
	p.feed(probed{1, slow}, liveProbed{1, slow})
	p.want(t, status.Unhealthy)
	if want := "it is no longer ready: GET http://localhost:4000/ took 1.2s, more than 1s"; p.m.message != want {
		t.Errorf("%q", p.m.message)
	}
	p.feed(probed{1, nil})
	p.want(t, status.Ready)
}

// Two reasons to be unhealthy: what is left of them is told, until none is.
func TestUnsteadyAndOverItsMemoryAtOnce(t *testing.T) {
	high, low := costs{run: 1, share: 170 * mb}, costs{run: 1, share: 50 * mb}
	p := newPlay(conf("api", dependsOn("postgres"), func(s *spec.Server) {
		s.Ready.ErrorRate, s.Memory = 0.1, spec.Memory{Kill: 200 * mb}
	}))
	p.feed(startAsked{}, dependencyIs{"postgres", dependency{external: true, up: true}}, spawned{1, 7}, probed{1, nil})
	for i := range 21 {
		var err error
		if i%4 == 2 {
			err = errors.New("it answered 503")
		}
		p.feed(probed{1, err})
	}
	says := func(want string) {
		t.Helper()
		p.want(t, status.Unhealthy)
		if !strings.Contains(p.m.message, want) {
			t.Fatalf("it says %q, want …%s…", p.m.message, want)
		}
	}
	says("5 of its last 20 probes failed")
	p.feed(high)
	says("5 of its last 20 probes failed")
	for range 20 {
		p.feed(probed{1, nil})
	}
	says("its memory is over 80 %")
	p.feed(dependencyIs{"postgres", refusedDB}) // which does not use its memory
	if says("its memory is over 80 %"); strings.Contains(p.m.message, "postgres") || p.m.problems[status.NotHealthy].Field != "memory.kill" {
		t.Errorf("%q, %+v", p.m.message, p.m.problems)
	}
	for i := range 28 {
		var err error
		if i%4 == 2 {
			err = errors.New("it answered 502")
		}
		p.feed(probed{1, err})
	}
	says("the last one: it answered 502")
	p.feed(low)
	says("the last one: it answered 502")
	for range 20 {
		p.feed(probed{1, nil})
	}
	p.want(t, status.Ready)
	p.feed(high)
	says("its memory is over 80 %")
	p.feed(low)
	p.want(t, status.Ready)
}
