// Package probe looks once at one server, or at one dependency, and says
// whether it is well: by HTTP, by a TCP connection, by a command's exit status,
// by a line of its output, or by what it says itself through sd_notify(3).
//
// A probe decides nothing: how often it looks and what its answers mean is
// supervisor/policy. It never follows a redirect, never leaves loopback in order
// to look at a server, uses no proxy and nothing of its own environment, keeps no
// connection open, tells no password, and kills the whole process group of a
// command that it ran. What it reads of an answer is bounded.
//
// Start reading at New and NewDependency; the kinds are in http.go, tcp.go,
// exec.go, line.go and notify.go, and in postgres.go and redis.go.
package probe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/spec"
)

// Probe looks at one run of one server. One goroutine at a time calls Look.
type Probe interface {
	// Look returns nil if the probe passed. The error's text is for people:
	// "GET http://localhost:4000/api/health answered 500".
	Look(ctx context.Context) error
}

// ErrUnsupported says that this kind of probe can't be made (here).
var ErrUnsupported = errors.New("not supported")

// SlowError says that the answer was right and came too late. It makes a server
// unhealthy; for a liveness probe it is a pass, since a slow server must not be
// restarted.
type SlowError struct {
	What        string // "GET http://localhost:4000/api/health"
	Took, Bound time.Duration
}

func (e *SlowError) Error() string {
	return fmt.Sprintf("%s took %v, more than %v", e.What, e.Took.Round(time.Millisecond), e.Bound)
}

// Target is the run that a probe looks at.
type Target struct {
	Ports []int     // of the server, the first being PORT
	Dir   string    // absolute, for exec
	Env   []string  // the server's whole environment, for exec
	Log   *logs.Log // for log
	Run   int       // for log: lines of other runs don't count
	// Notices are those of the run, for notify.
	Notices *Notices
}

// New makes a probe. A probe that is not settable for this target is an error
// here, not at every look.
func New(p spec.Probe, t Target) (Probe, error) {
	timeout := p.Timeout
	if timeout <= 0 {
		timeout = spec.DefaultTimeout
	}
	made, err := ofKind(p, t)
	if err != nil {
		return nil, fmt.Errorf("make %s probe: %w", p.Kind, err)
	}
	return bounded{made, timeout}, nil
}

func ofKind(p spec.Probe, t Target) (Probe, error) {
	switch p.Kind {
	case spec.ProbeHTTP:
		return newHTTP(p, t)
	case spec.ProbeTCP:
		return newTCP(p, t)
	case spec.ProbeExec:
		return newExec(p, t)
	case spec.ProbeLog:
		return newLine(p, t)
	case spec.ProbeNotify:
		return newNotify(t)
	case spec.ProbeNone:
		return none{}, nil
	}
	return nil, ErrUnsupported
}

// NewDependency makes the probe of something the project needs, and that may be
// on another machine. No error's text holds its user, password or query.
func NewDependency(d spec.Dependency) Probe {
	made, err := ofDependency(d)
	if err != nil {
		made = broken{fmt.Errorf("%s can't be checked: %w", d.Name, err)}
	}
	return bounded{made, spec.DefaultTimeout}
}

func ofDependency(d spec.Dependency) (Probe, error) {
	switch d.Kind {
	case "postgres":
		return newPostgres(d)
	case "redis":
		return newRedis(d)
	case "http":
		return newHTTPDependency(d)
	}
	return &tcpProbe{d.Addr, split(d.Addr)}, nil
}

// broken is a probe that could not be made.
type broken struct{ err error }

func (b broken) Look(context.Context) error { return b.err }

// none passes: the command was executed, or there would be nothing to look at.
type none struct{}

func (none) Look(ctx context.Context) error { return ctx.Err() }

// bounded gives every look its time-out.
type bounded struct {
	Probe
	timeout time.Duration
}

func (b bounded) Look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	return b.Probe.Look(ctx)
}
