//go:build !linux

package proc

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"syscall"

	"github.com/rs/zerolog"
)

// errUnsupported: what macOS and Windows offer (kqueue, kern.proc; job objects)
// has other guarantees, and nothing is signalled on a guess.
var errUnsupported = errors.New("supervising processes is not supported on " + runtime.GOOS + " yet")

// Tracker can't be made here; see NewTracker.
type Tracker struct{}

// Process can't be had here; see NewTracker.
type Process struct{}

// NewTracker fails: without verified handles, nothing is started that could
// not be stopped.
func NewTracker(zerolog.Logger) (*Tracker, error) {
	return nil, fmt.Errorf("track processes: %w", errUnsupported)
}

// Start fails.
func (t *Tracker) Start(c Command) (*Process, error) {
	return nil, &StartError{Kind: OtherFailure, Path: fmt.Sprint(c.Argv), Err: errUnsupported}
}

// UseCgroups has none to use.
func (t *Tracker) UseCgroups(string) {}

// Close has nothing to close.
func (t *Tracker) Close() {}

// PID returns 0.
func (p *Process) PID() int { return 0 }

// Identity returns nobody's identity.
func (p *Process) Identity() Identity { return Identity{} }

// Exited returns nil: there is nothing to wait for.
func (p *Process) Exited() <-chan struct{} { return nil }

// ExitStatus returns false.
func (p *Process) ExitStatus() (Exit, bool) { return Exit{Code: -1}, false }

// Tree returns nobody.
func (p *Process) Tree() []Identity { return nil }

// Measure fails for each.
func (t *Tracker) Measure(trees []*Process, _ func(int, Usage) bool) []Measured {
	out := make([]Measured, len(trees))
	for i := range out {
		out[i].Err = errUnsupported
	}
	return out
}

// Usage fails.
func (p *Process) Usage() (Usage, error) { return Usage{}, errUnsupported }

// Stop does nothing: there is no process.
func (p *Process) Stop(context.Context, StopPlan) Report { return Report{Exit: Exit{Code: -1}} }

// BecomeSubreaper fails: only Linux has child subreapers.
func BecomeSubreaper() error { return fmt.Errorf("become subreaper: %w", errUnsupported) }

// EndDescendants ends nobody, and says so in the log.
func EndDescendants(_ context.Context, _ []Bequest, _ StopPlan, log zerolog.Logger) Report {
	log.Warn().Err(errUnsupported).Msg("descendants not ended")
	return Report{Exit: Exit{Code: -1}}
}

// Sweep ends nobody. What a ledger names is reported as left.
func Sweep(_ context.Context, marks []Mark, _ StopPlan, log zerolog.Logger) Report {
	r := Report{Exit: Exit{Code: -1}}
	for _, m := range marks {
		r.Left = append(r.Left, Left{Identity: m.Leader, Why: errUnsupported.Error()})
	}
	log.Warn().Err(errUnsupported).Int("marks", len(marks)).Msg("leftovers not ended")
	return r
}

// EndStrays ends nobody, and says so in the log.
func EndStrays(_ context.Context, of Strays, _ StopPlan, log zerolog.Logger) []Stray {
	if len(of.Patterns) > 0 {
		log.Warn().Err(errUnsupported).Msg("strays not ended")
	}
	return nil
}

func identify(pid int) (Identity, error) {
	return Identity{}, fmt.Errorf("identify pid %d: %w", pid, errUnsupported)
}

func inspect(pid int) (Info, error) {
	return Info{}, fmt.Errorf("inspect pid %d: %w", pid, errUnsupported)
}

func commandLine(int) []string { return nil }

func oomKills() (uint64, error) { return 0, fmt.Errorf("count OOM kills: %w", errUnsupported) }

func end(_ context.Context, id Identity, _ StopPlan, _ func() error) (bool, error) {
	return false, fmt.Errorf("end pid %d: %w", id.PID, errUnsupported)
}

func sameProgram(int) bool { return false }

type handle struct{}

func openHandle(Identity) (handle, error)  { return handle{}, errUnsupported }
func (handle) ended() bool                 { return true }
func (handle) signal(syscall.Signal) error { return errUnsupported }
func (handle) close()                      {}
