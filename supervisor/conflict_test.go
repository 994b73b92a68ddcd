package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

func ports(what spec.OnConflict, numbers ...int) func(*spec.Server) {
	return func(s *spec.Server) {
		for _, n := range numbers {
			s.Ports = append(s.Ports, spec.Port{Number: n, OnConflict: what})
		}
	}
}

// numbers lists a server's ports as its status has them.
func numbers(g *Group, name string) string {
	s, _ := g.Snapshot(name)
	var out []string
	for _, p := range s.Ports {
		out = append(out, fmt.Sprint(p.Number))
	}
	return strings.Join(out, " ")
}

func TestATakenPortBlocksUnlessTheNextOneIsAskedFor(t *testing.T) {
	for _, what := range []spec.OnConflict{"", spec.Ask, spec.Fail} {
		bubble(t, []spec.Server{conf("api", ports(what, 4000))}, func(t *testing.T, r *room, g *Group) {
			r.taken[4000] = &status.Holder{PID: 9, Name: "node", User: "ann"}
			results, _ := g.Start(t.Context(), []string{"api"}, StartOptions{})
			s, _ := g.Snapshot("api")
			if results[0].Code != "port-taken" || s.State != status.Blocked || s.Details[0].Holder.PID != 9 || s.Details[0].Port != 4000 {
				t.Errorf("%q: %+v, %+v", what, results[0], s.Details)
			}
			if r.last("api") != nil {
				t.Errorf("%q: it was started all the same", what)
			}
		})
	}
}

func TestTheNextFreePortIsThatOfTheWholeRun(t *testing.T) {
	servers := []spec.Server{conf("api", ports(spec.Next, 4000, 4005)), conf("web", ports(spec.Ask, 4001))}
	bubble(t, servers, func(t *testing.T, r *room, g *Group) {
		r.taken[4000] = &status.Holder{PID: 9, Name: "node", User: "ann"}
		r.taken[4002] = &status.Holder{PID: 10, Name: "node", User: "ann"}
		results, _ := g.Start(t.Context(), []string{"api"}, StartOptions{})
		if !results[0].OK {
			t.Fatalf("%+v", results[0])
		}
		// 4001 is web's, whether it runs or not, and 4002 is taken.
		s, _ := g.Snapshot("api")
		if numbers(g, "api") != "4003 4005" || s.URL != "http://localhost:4003" || !s.Ports[0].Listening {
			t.Errorf("ports %v, URL %s", s.Ports, s.URL)
		}
		if p := r.last("api"); !slices.Contains(p.launch.Env, "PORT=4003") {
			t.Errorf("environment %v", p.launch.Env)
		}
		if !slices.Equal(r.targets["api"], []int{4003, 4005}) {
			t.Errorf("probed at %v", r.targets["api"])
		}
		lines, err := g.members["api"].log.Lines(logs.Query{})
		if err != nil || !slices.ContainsFunc(lines, func(l logs.Line) bool {
			return strings.Contains(l.Text, "port 4000 is taken by node (pid 9, user ann); it gets port 4003")
		}) {
			t.Errorf("the log says %v, %v", lines, err)
		}

		g.StopAll(t.Context(), StopOptions{})
		if got := numbers(g, "api"); got != "4000 4005" {
			t.Errorf("stopped, its ports are %s", got)
		}
		r.set(func() { delete(r.taken, 4000) })
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		if got := numbers(g, "api"); got != "4000 4005" {
			t.Errorf("once its port is free, it has %s", got)
		}
	})
}

func TestTwoServersNeverGetTheSameNextPort(t *testing.T) {
	servers := []spec.Server{conf("a", ports(spec.Next, 4000)), conf("b", ports(spec.Next, 4001)), conf("c", ports(spec.Next, 4002, 4003))}
	bubble(t, servers, func(t *testing.T, r *room, g *Group) {
		for n := 4000; n < 4004; n++ {
			r.taken[n] = &status.Holder{User: "ann"}
		}
		for range 3 {
			g.Start(t.Context(), []string{"a", "b", "c"}, StartOptions{Force: true})
			all := strings.Fields(numbers(g, "a") + " " + numbers(g, "b") + " " + numbers(g, "c"))
			slices.Sort(all)
			if len(slices.Compact(slices.Clone(all))) != 4 || all[0] < "4004" {
				t.Fatalf("ports %v", all)
			}
		}
	})
}

func TestWithoutAFreePortTheConflictBlocks(t *testing.T) {
	bubble(t, []spec.Server{conf("api", ports(spec.Next, 4000))}, func(t *testing.T, r *room, g *Group) {
		for n := 4000; n < 4020; n++ {
			r.taken[n] = &status.Holder{User: "ann"}
		}
		results, _ := g.Start(t.Context(), []string{"api"}, StartOptions{})
		if results[0].Code != "port-taken" || !strings.Contains(results[0].Message, "none is free") {
			t.Errorf("%+v", results[0])
		}
		// A port that was lent for a start that failed is nobody's.
		r.set(func() {
			delete(r.taken, 4001)
			r.fails["api"] = &proc.StartError{Kind: proc.NotFound, Path: "serve", Err: errors.New("why")}
		})
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		if got := numbers(g, "api"); got != "4000" || len(g.lent) != 0 {
			t.Errorf("ports %s, lent %v", got, g.lent)
		}
	})
}
