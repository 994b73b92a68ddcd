// Package supervisor runs servers: one actor a server, and the start and stop
// of many in the order of their dependencies.
//
// Everything mutable about a server belongs to its actor's goroutine; others
// send it facts and read the snapshots it publishes. What a fact leads to is
// decided by the machine (machine.go), which is given the time, starts nothing
// and can be tested as a table; the actor (server.go) does what the machine
// says. Each start of a server has a number, its run; a timer, an exit or a
// probe of an older run is late and ignored.
//
// It never runs a shell that the configuration did not name, never signals a
// process but through supervisor/proc, and never blocks one server on another.
//
// Start reading at machine.step, then Server, then Group.
package supervisor

import (
	"context"
	"time"

	"github.com/devside/devside/supervisor/crash"
	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/policy"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// Process is one started server: a *proc.Process, or a test's fake.
type Process interface {
	Identity() proc.Identity
	// Exited is closed when the leader has ended. It is not reaped then.
	Exited() <-chan struct{}
	// Stop ends the whole tree and reaps the leader. It is also what cleans up
	// after a leader that ended by itself.
	Stop(ctx context.Context, plan proc.StopPlan) proc.Report
	// Tree lists the processes of the tree, the leader first.
	Tree() []proc.Identity
}

// Snapshot is what a server's actor publishes. It is never changed afterwards.
type Snapshot struct {
	status.Server
	Details  []status.Problem // the problems whose codes are in Server.Problems
	Identity proc.Identity    // of the running leader; zero when none runs
	Overdue  bool             // the current start has taken longer than `within`
	Stop     spec.Stop        // how it is stopped, for the ledger
	Wanted   bool             // it runs and is to go on, or is on its way to run again
	Held     crash.Cause      // in blocked or crash-loop: why its last run ended
	Starts   []time.Duration  // how long its last ones took until it was ready, newest last
	Log      *logs.Log        // its output
	// RestartsBy counts every start that was a restart, by why, and CrashesBy
	// every crash, by its cause; see Causes. Since the hub started.
	RestartsBy map[status.Reason]int
	CrashesBy  map[string]int

	process Process        // that runs; nil: none
	history policy.History // for the actor that takes this one's place
}

// Result is how a start or stop of one server came out.
type Result struct {
	Name    string
	OK      bool
	State   status.State
	PID     int
	ReadyMs *int64
	Code    string // why it is not ok: a problem's code or one of the constants below
	Message string // why it is not ok; of a stop that is, what was left alone on purpose
	Hint    string
}

// Codes of a Result beside those of problems.
const (
	CodeNotReady         = "not-ready"
	CodeCrashed          = "crashed"
	CodeStopped          = "stopped"
	CodeDependencyFailed = "dependency-failed"
	CodeCancelled        = "cancelled"
	CodeNotStopped       = "not-stopped"
)
