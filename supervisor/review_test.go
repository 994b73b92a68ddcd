package supervisor

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devside/devside/supervisor/policy"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

func TestALivenessProbeThatFailsRestarts(t *testing.T) {
	live := func(s *spec.Server) {
		s.Live = &spec.Probe{Kind: spec.ProbeHTTP, HTTP: "api-live", Every: 5 * time.Second, Timeout: time.Second, Failures: 3}
	}
	bubble(t, []spec.Server{conf("api", live)}, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		r.set(func() { r.sick["api"] = true }) // readiness alone restarts nothing
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := states(g); got != "api=unhealthy" || len(r.runs["api"]) != 1 {
			t.Fatalf("%s, %d runs", got, len(r.runs["api"]))
		}
		r.set(func() { r.sick["api-live"] = true; r.sick["api"] = false })
		time.Sleep(17 * time.Second)
		r.set(func() { r.sick["api-live"] = false })
		time.Sleep(5 * time.Second)
		synctest.Wait()
		s, _ := g.Snapshot("api")
		if s.State != status.Ready || s.Run != 2 || s.Crashes != 1 || s.Restarts != 1 {
			t.Errorf("%+v", s.Server)
		}
	})
}

func TestAServerThatMayNotStartIsBlockedAndAnAgreementLeavesThat(t *testing.T) {
	at := func(s *spec.Server) { s.Restart.DelayIsZero, s.Restart.Delay = true, 0 }
	bubble(t, []spec.Server{conf("api", at)}, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		r.set(func() { r.deny["api"] = true })
		r.last("api").die(proc.Exit{Code: 1})
		synctest.Wait()
		s, _ := g.Snapshot("api")
		if s.State != status.Blocked || !slices.Contains(s.Problems, status.NotTrusted) || len(r.runs["api"]) != 1 {
			t.Fatalf("%+v, %d runs", s.Server, len(r.runs["api"]))
		}
		r.set(func() { r.deny["api"] = false })
		if results, _ := g.Start(t.Context(), []string{"api"}, StartOptions{}); !results[0].OK {
			t.Errorf("%+v", results[0])
		}
	})
}

func TestMemoryIsMeasuredAtOnePaceHoweverOftenAServerBecomesReady(t *testing.T) {
	bubble(t, []spec.Server{conf("api")}, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		for range 5 {
			for _, sick := range []bool{true, false} {
				r.set(func() { r.sick["api"] = sick })
				time.Sleep(30 * time.Second)
			}
		}
		synctest.Wait()
		r.set(func() { r.asked = 0 })
		time.Sleep(4 * policy.SampleEvery)
		synctest.Wait()
		if r.asked > 5 {
			t.Errorf("measured %d times in %v", r.asked, 4*policy.SampleEvery)
		}
	})
}

func TestAServerThatIsLateIsMeasuredToo(t *testing.T) {
	bubble(t, []spec.Server{conf("api")}, func(t *testing.T, r *room, g *Group) {
		r.sick["api"] = true
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if s, _ := g.Snapshot("api"); s.MemoryBytes == 0 {
			t.Errorf("%+v", s.Server)
		}
	})
}

func TestApplyDoesNotRestartWhatIsOnlyWrittenDifferently(t *testing.T) {
	servers := []spec.Server{conf("api", dependsOn("db", "web")), conf("web"), conf("db")}
	bubble(t, servers, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		next := slices.Clone(servers)
		next[0].Text, next[0].DependsOn, next[0].Origin = "serve", []string{"web", "db"}, spec.Origin{File: "devside.yaml", Key: "servers.api"}
		next[0].Ready.Default = true
		if c := g.Apply(t.Context(), next, Change{}); len(c.Changed) != 0 || len(r.runs["api"]) != 1 {
			t.Errorf("%+v, %d runs", c, len(r.runs["api"]))
		}
	})
}

func TestApplyGoesOnWhenNobodyWaitsForItAndNeverRunsTwo(t *testing.T) {
	servers := []spec.Server{conf("api")}
	bubble(t, servers, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		r.last("api").slow = 3 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		next := slices.Clone(servers)
		next[0].Dir = "elsewhere"
		began := time.Now()
		g.Apply(ctx, next, Change{})
		if took := time.Since(began); took < 3*time.Second {
			t.Errorf("replaced after %v, while the old run was still ending", took)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := states(g); got != "api=ready" || len(r.runs["api"]) != 2 {
			t.Errorf("%s, %d runs", got, len(r.runs["api"]))
		}
	})
}

func TestAStartDuringApplyWaitsAndStartsTheNewOne(t *testing.T) {
	servers := []spec.Server{conf("api"), conf("old")}
	bubble(t, servers, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		r.last("api").slow = 3 * time.Second
		next := slices.Clone(servers[:1])
		next[0].Dir = "elsewhere"
		applied := make(chan struct{})
		go func() {
			defer close(applied)
			g.Apply(t.Context(), next, Change{})
		}()
		time.Sleep(time.Second)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		g.Start(short, []string{"old"}, StartOptions{}) // gives up first
		results, _ := g.Start(t.Context(), []string{"api"}, StartOptions{})
		<-applied
		if len(results) != 1 || !results[0].OK || len(r.runs["api"]) != 2 || !strings.HasSuffix(r.last("api").launch.Dir, "elsewhere") {
			t.Errorf("%+v, %d runs", results, len(r.runs["api"]))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if p := r.last("old"); p != nil {
			select {
			case <-p.exited:
			default:
				t.Error("what the configuration no longer has still runs, and nobody owns it")
			}
		}
	})
}

func TestAStopOfWhatWasRemovedMeanwhileEnds(t *testing.T) {
	servers := []spec.Server{conf("web", dependsOn("api")), conf("api")}
	bubble(t, servers, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"web"}, StartOptions{})
		r.last("web").slow = 2 * time.Second
		applied := make(chan struct{})
		go func() {
			defer close(applied)
			g.Apply(t.Context(), nil, Change{})
		}()
		for range 20 { // through the whole replacement
			for _, res := range g.StopAll(t.Context(), StopOptions{}) {
				if !res.OK {
					t.Errorf("%+v", res)
				}
			}
			time.Sleep(200 * time.Millisecond)
		}
		<-applied
		if got := states(g); got != "" {
			t.Error(got)
		}
	})
}

func TestHurryAlsoConcernsWhatIsToBeStoppedNext(t *testing.T) {
	patient := func(s *spec.Server) { s.Stop.Grace = time.Minute }
	bubble(t, []spec.Server{conf("web", dependsOn("api"), patient), conf("api", patient)}, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"web"}, StartOptions{})
		r.last("web").slow, r.last("api").slow = time.Hour, time.Hour
		time.AfterFunc(2*time.Second, g.Hurry)
		began := time.Now()
		g.StopAll(t.Context(), StopOptions{})
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("it took %v", took)
		}
		// A hurry of yesterday does not shorten the next stop.
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		r.last("api").slow = 10 * time.Second
		began = time.Now()
		g.StopAll(t.Context(), StopOptions{})
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("the next stop took %v", took)
		}
	})
}

func TestNothingStartsAfterTheLastStop(t *testing.T) {
	bubble(t, []spec.Server{conf("api")}, func(t *testing.T, r *room, g *Group) {
		g.StopAll(t.Context(), StopOptions{Last: true})
		if results, begun := g.Start(t.Context(), []string{"api"}, StartOptions{}); len(results) != 0 || len(begun) != 0 {
			t.Errorf("%+v, %v", results, begun)
		}
		if r.last("api") != nil {
			t.Error("it was started")
		}
	})
}

func TestAStartThatNobodyWaitsForIsAnsweredAtOnce(t *testing.T) {
	bubble(t, []spec.Server{conf("api")}, func(t *testing.T, r *room, g *Group) {
		r.healthy["api"] = 5 * time.Second
		began := time.Now()
		results, begun := g.Start(t.Context(), []string{"api"}, StartOptions{NoWait: true})
		if !results[0].OK || results[0].State != status.Starting || len(begun) != 1 || time.Since(began) != 0 {
			t.Errorf("%+v, %v after %v", results, begun, time.Since(began))
		}
	})
}

func TestWhatStandsInTheWayIsDescribed(t *testing.T) {
	for want, h := range map[string]status.Holder{
		"server web (pid 9)":     {PID: 9, Name: "node", Server: "web"},
		"a process of user ann":  {User: "ann"},
		"node (pid 9, user ann)": {PID: 9, Name: "node", User: "ann"},
		"node (pid 9)":           {PID: 9, Name: "node"},
	} {
		if got := describe(h); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if p := portTaken("api", 4000, nil); !strings.Contains(p.Message, "a process that can't be seen") || p.Hint == "" {
		t.Errorf("%+v", p)
	}
	if p := portTaken("api", 4000, &status.Holder{User: "ann"}); !strings.Contains(p.Hint, "not ours to stop") {
		t.Errorf("%+v", p)
	}
}
