package project

import (
	"time"

	"github.com/devside/devside/supervisor"
	"github.com/devside/devside/supervisor/port"
	"github.com/devside/devside/supervisor/status"
)

// This file is what rpc/web needs of a project: a look that holds up nobody, and
// where it is to listen.

// Meter is told what is measured, where it happens. Its methods must not wait.
type Meter interface {
	supervisor.Meter
	// Killed: a process that devside did not start was ended.
	Killed()
	// Changed: so many files that are watched for have changed.
	Changed(files int)
}

// unmeasured is the Meter of a project without one.
type unmeasured struct{ supervisor.Unmeasured }

func (unmeasured) Killed()     {}
func (unmeasured) Changed(int) {}

// picture is all that a status is made of. Nothing of it is ever changed.
type picture struct {
	sequence uint64
	view     *view
	servers  []supervisor.Snapshot
	problems []status.Problem // visible or not
}

// see keeps a picture for Glance, and returns its problems.
func (p *Project) see(servers []supervisor.Snapshot) []status.Problem {
	seen := picture{p.sequence.Load(), p.view.Load(), servers, nil}
	seen.problems = p.allProblems(seen.view, servers)
	p.glance.Store(&seen)
	return seen.problems
}

// Glance is the project as the loop has seen it last, which is some milliseconds
// after it was so. Servers are those of Status, in its order.
type Glance struct {
	Status  *status.Project
	Servers []supervisor.Snapshot
}

// Glance looks without taking a lock that a server waits for, and does not count
// as a look: a Prometheus that asks for it all day changes nothing.
func (p *Project) Glance() Glance {
	seen := p.glance.Load()
	return Glance{p.statusOf(*seen, time.Now()), seen.servers}
}

// WantsHTTP is the address at which the configuration wants the HTTP side to
// listen; empty: nowhere. A project that is not trusted may open no port.
func (p *Project) WantsHTTP() (address string, trusted bool) {
	v := p.view.Load()
	return v.loaded.Project.HTTP, v.trusted()
}

// ListensHTTP takes down where the HTTP side listens: its base URL, or empty.
func (p *Project) ListensHTTP(url string) { p.update(func(v *view) { v.http = url }) }

// PortTaken reports whether a port is taken, or some server's of this project.
func (p *Project) PortTaken(number int) bool {
	if p.group.Spoken(number) {
		return true
	}
	taken, _, err := port.Taken(number)
	return err == nil && taken
}

// PortAfter returns the next free port that is no server's of this project.
func (p *Project) PortAfter(after int) (int, error) { return port.Next(after, p.group.Spoken) }
