package editor

import (
	"testing"

	"github.com/devside/devside/supervisor/status"
)

func TestServerText(t *testing.T) {
	ms := int64(1240)
	for _, test := range []struct {
		in   status.Server
		want string
	}{
		{status.Server{State: status.Stopped}, "api: stopped"},
		{status.Server{State: status.Starting}, "api: starting"},
		{status.Server{State: status.Stopping}, "api: stopping"},
		{status.Server{State: status.Waiting}, "api: waiting"},
		{status.Server{State: status.Waiting, DependsOn: []string{"db", "cache"}}, "api: waiting for db, cache"},
		{status.Server{State: status.Ready}, "api: ready"},
		{status.Server{State: status.Ready, ReadyMs: &ms}, "api: ready in 1.2 s"},
		{status.Server{State: status.Backoff}, "api: ended by itself"},
		{status.Server{State: status.Backoff, RestartInMs: 4000}, "api: ended by itself, starts again in 4.0 s"},
		{status.Server{State: status.Blocked, Message: "port 3000 is taken"}, "api: blocked: port 3000 is taken"},
		{status.Server{State: status.CrashLoop}, "api: crash-loop"},
	} {
		test.in.Name = "api"
		if got := ServerText(test.in); got != test.want {
			t.Errorf("ServerText(%s) = %q, want %q", test.in.State, got, test.want)
		}
	}
}

func TestMilliseconds(t *testing.T) {
	for ms, want := range map[int64]string{-5: "0 ms", 0: "0 ms", 999: "999 ms", 1000: "1.0 s", 59_999: "59.9 s", 60_000: "1 min 0 s", 125_400: "2 min 5 s"} {
		if got := Milliseconds(ms); got != want {
			t.Errorf("Milliseconds(%d) = %q, want %q", ms, got, want)
		}
	}
}

func snapshot(servers ...status.Server) *status.Project { return &status.Project{Servers: servers} }

func TestProgressCountsTheServersConcerned(t *testing.T) {
	type step struct {
		in      *status.Project
		message string
		percent uint32
		changed bool
	}
	server := func(name string, state status.State, run int) status.Server {
		return status.Server{Name: name, State: state, Run: run}
	}
	for _, test := range []struct {
		name  string
		names []string
		fresh bool
		first *status.Project
		steps []step
	}{
		{"all", nil, false, nil, []step{
			{snapshot(server("a", status.Starting, 1), server("b", status.Waiting, 0)), "a: starting, b: waiting", 0, true},
			{snapshot(server("a", status.Starting, 1), server("b", status.Waiting, 0)), "", 0, false},
			{snapshot(server("a", status.Ready, 1), server("b", status.Starting, 1)), "a: ready, b: starting", 50, true},
			{snapshot(server("a", status.Backoff, 1), server("b", status.Starting, 1)), "a: ended by itself", 50, true}, // never falls
			{snapshot(server("a", status.Ready, 2), server("b", status.Ready, 1)), "a: ready, b: ready", 100, true},
		}},
		{"one of two", []string{"b"}, false, snapshot(server("a", status.Ready, 1), server("b", status.Stopped, 0)), []step{
			{snapshot(server("a", status.Backoff, 1), server("b", status.Stopped, 0)), "", 0, false},
			{snapshot(server("a", status.Backoff, 1), server("b", status.Ready, 1)), "b: ready", 100, true},
		}},
		{"a restart counts only what began after it", nil, true, snapshot(server("a", status.Ready, 3)), []step{
			{snapshot(server("a", status.Ready, 3)), "", 0, false},
			{snapshot(server("a", status.Stopping, 3)), "a: stopping", 0, true},
			{snapshot(server("a", status.Ready, 4)), "a: ready", 100, true},
		}},
		{"a restart whose first snapshot comes late", nil, true, nil, []step{
			{snapshot(server("a", status.Ready, 3)), "a: ready", 0, true},
			{snapshot(server("a", status.Ready, 4)), "a: ready", 100, true},
		}},
		{"no servers", nil, false, nil, []step{{snapshot(), "", 0, false}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := NewProgress(test.names, test.fresh, test.first)
			for i, s := range test.steps {
				var got step
				p, got.message, got.percent, got.changed = p.Next(s.in)
				if got.message != s.message || got.percent != s.percent || got.changed != s.changed {
					t.Errorf("step %d: got %q %d %v, want %q %d %v", i, got.message, got.percent, got.changed, s.message, s.percent, s.changed)
				}
			}
		})
	}
}
