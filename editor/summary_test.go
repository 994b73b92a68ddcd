package editor

import (
	"testing"

	"github.com/devside/devside/supervisor/status"
)

func TestSummary(t *testing.T) {
	for want, st := range map[string]*status.Project{
		"devside":                     nil,
		"devside: no servers":         {},
		"devside 2/2":                 {Servers: []status.Server{{Name: "a", State: status.Ready}, {Name: "b", State: status.Ready}}},
		"devside 1/2":                 {Servers: []status.Server{{Name: "a", State: status.Ready}, {Name: "b", State: status.Stopped}}},
		"devside 0/2: b starting":     {Servers: []status.Server{{Name: "a", State: status.Stopped}, {Name: "b", State: status.Starting}}},
		"devside 1/3: c crash-loop":   {Servers: []status.Server{{Name: "a", State: status.Ready}, {Name: "b", State: status.Backoff}, {Name: "c", State: status.CrashLoop}}},
		"devside 0/1: not trusted":    {Trust: status.Trust{State: status.Untrusted}, Servers: []status.Server{{Name: "a", State: status.Blocked}}},
		"devside 0/2: a blocked":      {Servers: []status.Server{{Name: "a", State: status.Blocked}, {Name: "b", State: status.Blocked}}},
		"devside 0/1: only unhealthy": {Servers: []status.Server{{Name: "only", State: status.Unhealthy}}},
	} {
		if got := Summary(st); got != want {
			t.Errorf("Summary = %q, want %q", got, want)
		}
	}
}
