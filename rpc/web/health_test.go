package web

import (
	"fmt"
	"strings"
	"testing"

	"github.com/devside/devside/supervisor/status"
)

// of makes a project of "name state" words; "+" after a state: it has been ready
// in this run, "!": it has crashed and is not restarted.
func of(words string) *status.Project {
	st := &status.Project{}
	f := strings.Fields(words)
	for i := 0; i < len(f); i += 2 {
		s := status.Server{Name: f[i], State: status.State(strings.TrimRight(f[i+1], "+!"))}
		if strings.HasSuffix(f[i+1], "+") {
			s.ReadyMs = new(int64)
		}
		if strings.HasSuffix(f[i+1], "!") {
			s.Problems, s.Message = []status.Code{status.Crashed}, "ended with exit status 1"
		}
		st.Servers = append(st.Servers, s)
	}
	return st
}

func TestHEALTH1WhatEachStateMeansToEachCheck(t *testing.T) {
	for _, c := range []struct {
		state string
		want  string // of liveness, readiness, startup: y or n
	}{
		{"stopped", "nnn"}, {"stopped!", "nnn"}, {"waiting", "ynn"}, {"starting", "ynn"}, {"ready+", "yyy"},
		{"unhealthy", "ynn"}, {"unhealthy+", "yny"}, {"backoff", "nnn"}, {"crash-loop", "nnn"}, {"blocked", "nnn"},
		{"stopping", "ynn"}, {"stopping+", "yny"},
	} {
		got := ""
		for _, check := range []check{liveness, readiness, startup} {
			r := judge(check, of("api "+c.state), []string{"api"})
			got += map[bool]string{true: "y", false: "n"}[r.OK]
			if len(r.Servers) != 1 || !r.Servers[0].Counts || r.OK != r.Servers[0].OK || r.Reason == "" {
				t.Errorf("%s %s: %+v", check, c.state, r)
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.state, got, c.want)
		}
	}
	for _, s := range status.States {
		if words[s] == "" {
			t.Errorf("there is no sentence for %s", s)
		}
	}
}

func TestHEALTH1TheWholeProject(t *testing.T) {
	for _, c := range []struct {
		servers string
		check   check
		ok      bool
		reason  string
	}{
		{"", liveness, true, "devside runs"},
		{"", readiness, false, "no server has been started"},
		{"api stopped web stopped", liveness, true, "devside runs"},
		{"api stopped web stopped", readiness, false, "no server has been started"},
		{"api stopped web stopped", startup, false, "no server has been started"},
		{"api ready+ web ready+", readiness, true, "all 2 servers pass"},
		{"api ready+ web stopped", readiness, true, "the server passes; not started: web"},
		{"api ready+ web stopped!", readiness, false, "web is stopped: ended with exit status 1"},
		{"api ready+ web stopped!", liveness, false, "web is stopped: ended with exit status 1"},
		{"api ready+ web starting", readiness, false, "web is starting"},
		{"api ready+ web starting", liveness, true, "all 2 servers pass"},
		{"api backoff web waiting", readiness, false, "api has ended and is to be restarted"},
		{"api unhealthy+ web ready+", startup, true, "all 2 servers pass"},
	} {
		r := judge(c.check, of(c.servers), nil)
		if r.OK != c.ok || r.Reason != c.reason {
			t.Errorf("%s of %q: %v, %q; want %v, %q", c.check, c.servers, r.OK, r.Reason, c.ok, c.reason)
		}
	}
}

func TestHEALTH1NamedServers(t *testing.T) {
	st := of("api ready+ web starting db ready+")
	if r := judge(readiness, st, []string{"api", "db"}); !r.OK || len(r.Servers) != 2 {
		t.Errorf("%+v", r)
	}
	r := judge(readiness, st, []string{"api", "nobody"})
	if r.OK || fmt.Sprint(r.Known) != "[api web db]" || r.Reason != `there is no server named "nobody"` || len(r.Servers) != 0 {
		t.Errorf("%+v", r)
	}
}
