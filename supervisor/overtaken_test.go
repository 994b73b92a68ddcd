package supervisor

import (
	"testing"
	"testing/synctest"
	"time"

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
		g.Apply(t.Context(), []spec.Server{next})
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
