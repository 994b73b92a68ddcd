package supervisor

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// TestAStopThatAStartOvertakesIsAnswered when the start has put an end to it:
// the server may run for ever.
func TestAStopThatAStartOvertakesIsAnswered(t *testing.T) {
	bubble(t, []spec.Server{conf("api")}, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		first := r.last("api")
		first.slow = 3 * time.Second
		began := time.Now()
		time.AfterFunc(time.Second, func() { g.Start(t.Context(), []string{"api"}, StartOptions{NoWait: true}) })
		result := g.Stop(t.Context(), []string{"api"}, StopOptions{})[0]
		if took := time.Since(began); took != 3*time.Second || result.OK || result.Code != CodeNotStopped || result.State == status.Stopped {
			t.Errorf("%+v after %v", result, took)
		}
		synctest.Wait()
		if got := states(g); got != "api=ready" || r.last("api") == first {
			t.Errorf("%s, started %d times", got, len(r.runs["api"]))
		}
	})
}

// TestAnOvertakenStopLeavesNoRunToNobody: a new configuration takes the place
// of a server only when nothing of it runs.
func TestAnOvertakenStopLeavesNoRunToNobody(t *testing.T) {
	servers := []spec.Server{conf("api")}
	bubble(t, servers, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		r.last("api").slow = 3 * time.Second
		old := g.members["api"].server
		// As a restart of dependents does, whose look at the state is older than
		// the stop.
		time.AfterFunc(time.Second, func() { old.box.put(askStart{fact: startAsked{force: true}}) })
		next := conf("api")
		next.Env = map[string]string{"LOG_LEVEL": "debug"}
		g.Apply(t.Context(), []spec.Server{next}, Change{})
		time.Sleep(time.Second)
		synctest.Wait()
		if got := states(g); got != "api=ready" {
			t.Error(got)
		}
		if n := len(r.runs["api"]); n != 3 {
			t.Errorf("started %d times", n)
		}
		for _, p := range r.runs["api"][:len(r.runs["api"])-1] {
			select {
			case <-p.exited:
			default:
				t.Errorf("run %d still lives", p.launch.Run)
			}
		}
	})
}

// TestAStartThatJoinsARunIsAnsweredWithin: a run that was ready once, or that
// was begun by an automatic restart, may never be ready again.
func TestAStartThatJoinsARunIsAnsweredWithin(t *testing.T) {
	for name, lose := range map[string]func(r *room){
		"readiness lost": func(r *room) { r.set(func() { r.sick["api"] = true }) },
		"restarted by itself": func(r *room) {
			r.set(func() { r.sick["api"] = true })
			r.last("api").die(proc.Exit{Code: 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, []spec.Server{conf("api")}, func(t *testing.T, r *room, g *Group) {
				g.Start(t.Context(), []string{"api"}, StartOptions{})
				within := g.members["api"].server.conf.Ready.Within
				time.Sleep(within + time.Minute)
				lose(r)
				time.Sleep(time.Minute)
				synctest.Wait()
				for range 2 { // the second one is told at once what is known by then
					began := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
					defer cancel()
					results, _ := g.Start(ctx, []string{"api"}, StartOptions{})
					if took := time.Since(began); results[0].OK || results[0].Code != CodeNotReady || took > within {
						t.Errorf("%+v after %v", results[0], took)
					}
				}
				r.set(func() { r.sick["api"] = false })
				time.Sleep(time.Minute)
				results, _ := g.Start(t.Context(), []string{"api"}, StartOptions{})
				if !results[0].OK || len(r.runs["api"]) > 2 {
					t.Errorf("ready again: %+v, started %d times", results[0], len(r.runs["api"]))
				}
			})
		})
	}
}
