// Package proc starts a server's process and answers for everything that comes
// of it: which processes belong to it, what they use, and that all of them are
// gone after a stop.
//
// It never signals a process it has not verified: a signal goes through a
// handle of the kernel to a process whose pid, start time and boot were
// compared after the handle was opened. It never kills by name, never starts a
// shell, never reaps a child that somebody else in this program waits for, and
// never reaps a server's leader before its tree is gone: until then the zombie
// keeps pid, session and group from being used again.
//
// A member of a server's tree is what its leader has as descendant, what is in
// the leader's session, what carries the marker variable of the start, and
// what carries the resource limit that was set for this start alone. The last
// two find what has left both session and ancestry. Where a cgroup can be had,
// what is in the start's own is a member, too.
//
// All of this is for Linux. Elsewhere the package builds, and NewTracker and
// whatever asks about a process fail with an error that says so.
//
// Start reading at Tracker.Start, then Process.Stop, then ladder.run, which is
// the order of a stop; tree_linux.go says who is a member.
package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// Marker is the variable that every process of a start inherits. Its value is
// new for each start.
const Marker = "DEVSIDE_RUN"

// ErrGone means that the process meant no longer exists. Another one may have
// its pid.
var ErrGone = errors.New("the process is gone")

// Identity names one process for ever: a pid is used again, the three together
// are not. Start and Boot are opaque: compare them, do not read them.
type Identity struct {
	PID   int    `json:"pid"`
	Start string `json:"start"`
	Boot  string `json:"boot"`
}

// String names the process for a log line.
func (id Identity) String() string { return fmt.Sprintf("pid %d (start %s)", id.PID, id.Start) }

// Identify returns the identity of the process that has this pid now. It fails
// with ErrGone when there is none; a zombie still has one.
func Identify(pid int) (Identity, error) { return identify(pid) }

// Alive reports whether the process still exists and is not a zombie. What
// can't be read counts as not alive.
func (id Identity) Alive() bool {
	h, err := openHandle(id)
	if err != nil {
		return false
	}
	defer h.close()
	return !h.ended()
}

// Signal sends sig to the process. It fails with ErrGone when the process has
// ended or its pid belongs to another one, which then gets no signal.
func (id Identity) Signal(sig syscall.Signal) error {
	h, err := openHandle(id)
	if err != nil {
		return fmt.Errorf("signal pid %d: %w", id.PID, err)
	}
	defer h.close()
	if h.ended() {
		return fmt.Errorf("signal pid %d: %w", id.PID, ErrGone)
	}
	if err := h.signal(sig); err != nil {
		return fmt.Errorf("signal pid %d: %w", id.PID, err)
	}
	return nil
}

// End ends one process that devside did not start and a person has chosen: the
// plan's signal, the grace, then SIGKILL, all by one handle of the kernel that
// was opened for this identity. still is asked with the handle in hand, right
// before the first signal; its error is returned, and nothing is signalled. End
// returns when the process has ended, killed: by SIGKILL. It fails with ErrGone
// when the process had ended before, and with ctx's error when that ends first:
// then nothing follows the signal that was sent. Only that process is ended, and nothing it
// has started.
func End(ctx context.Context, id Identity, plan StopPlan, still func() error) (killed bool, err error) {
	return end(ctx, id, plan, still)
}

// Info is what the kernel tells of a process. Name is the short one (15 bytes
// on Linux), with control characters replaced.
type Info struct {
	Identity
	Parent, Session, Group int
	UID                    int // effective
	State                  byte
	Name                   string
	Started                time.Time // by the wall clock now, to a hundredth of a second
}

// Zombie reports whether the process has ended and waits to be reaped.
func (i Info) Zombie() bool { return i.State == 'Z' || i.State == 'X' }

// Inspect reads what there is to know of a process, zombies included.
func Inspect(pid int) (Info, error) { return inspect(pid) }

// maxCommandLine bounds what is read of a command line: arguments can have two
// megabytes, and nobody reads more than this.
const maxCommandLine = 4096

// CommandLine returns the arguments joined by blanks, at most 4096 bytes, with
// control characters replaced; empty when they can't be read.
func CommandLine(pid int) string { return readable(strings.Join(commandLine(pid), " ")) }

// OOMKills counts the processes that the kernel has ended for lack of memory
// since it started, of the system and of every memory cgroup.
func OOMKills() (uint64, error) { return oomKills() }

// Command is what to start. Argv is given to the kernel as it is.
type Command struct {
	Argv                  []string
	Dir                   string   // absolute
	Env                   []string // the whole environment; a marker in it is replaced
	Stdin, Stdout, Stderr *os.File // nil: the null device. The caller closes its copies after Start
	Marker                string   // value of DEVSIDE_RUN; empty: none
}

// StartKind says why a process could not be started.
type StartKind string

const (
	NotFound      StartKind = "not-found"      // no such file, or its interpreter is missing
	NotExecutable StartKind = "not-executable" // it is there, but may not be run
	BadDir        StartKind = "bad-dir"        // the working directory can't be entered
	ExecFormat    StartKind = "exec-format"    // the kernel can't run it: no #! line, another architecture
	Resources     StartKind = "resources"      // no processes, memory or descriptors left; may pass
	OtherFailure  StartKind = "other"
)

// StartError is the error of every start that failed. No process is left then.
type StartError struct {
	Kind StartKind
	Path string // the file or directory at fault
	Err  error
}

func (e *StartError) Error() string { return fmt.Sprintf("start %s: %v", e.Path, e.Err) }
func (e *StartError) Unwrap() error { return e.Err }

// Exit is how a leader ended.
type Exit struct {
	Code       int            // exit status; -1 when a signal ended it or it has not ended
	Signal     syscall.Signal // 0: it exited
	CoreDumped bool
	MaxRSS     int64 // bytes, of the largest process among the leader and what it waited for
}

// StopPlan says how to stop a tree.
type StopPlan struct {
	Signal syscall.Signal  // first; 0: SIGTERM
	Grace  time.Duration   // from then to SIGKILL
	Hurry  <-chan struct{} // closed: the grace is over now. May be nil
	Spare  []string        // file names of programs to leave alone, beside the built-in list
}

// Report is what a stop did. After it, everything but Left and Spared is gone.
type Report struct {
	Exit      Exit   // of the leader
	Signalled int    // processes that got the plan's signal
	Killed    int    // processes that got SIGKILL
	Left      []Left // what could not be ended
	Spared    []Left // what was left alone on purpose
	Took      time.Duration
}

// Left is a process that lives on, and why.
type Left struct {
	Identity
	Name, Why string
}

// Usage is what a tree uses at one moment. CPU is the time used by the living
// members and by what they have waited for; it may fall when a member ends.
type Usage struct {
	RSS       int64 // bytes; pages shared between members count in each
	CPU       time.Duration
	Processes int
	// Share is what the tree costs the machine: of each page its part among
	// those who share it (PSS), and what of it is swapped out. Exact says that
	// it was read; it costs a hundred times as much as the rest.
	Share int64
	Exact bool
	// Guessed counts the members whose PSS the kernel does not tell us: another
	// user's, those that forbid it (PR_SET_DUMPABLE), or all of them, on a kernel
	// without /proc/PID/smaps_rollup. In their place stands what they hold that
	// is no file's: right for what a program has allocated, too much for what it
	// still shares with the process it was forked from.
	Guessed int
}

// Measured is the Usage of one tree of several. Err: it could not be read whole.
type Measured struct {
	Usage
	Err error
}

// Mark is what a ledger remembers of a start, for Sweep.
type Mark struct {
	Leader       Identity // zero: any start with this marker
	MarkerPrefix string   // of the marker's value; too short a prefix matches nothing
}

// Bequest is what a dead hub left of one server: who leads it, what its marker
// begins with, and how it is stopped.
type Bequest struct {
	Leader       Identity
	MarkerPrefix string
	Plan         StopPlan
}

// Strays says which processes are strays of a project: what an earlier session
// left that no ledger knows.
type Strays struct {
	Root     string   // the project's real path
	Patterns []string // see matches
	// Supervises reports whether a command line is that of a hub or guardian.
	// What lives below one is not a stray, whoever's project it belongs to.
	Supervises func(argv []string) bool
}

// Stray is one of them, and what became of it.
type Stray struct {
	Identity
	Name    string
	Pattern string // that it matches; empty: started by one that matches
	Left    string // why it is still there; empty: it was ended
}

// matches reports whether a pattern stands in a command line as whole words.
// The first word may lack its leading directories: "vite" is in "node
// /home/me/shop/node_modules/.bin/vite --port 3000", and not in "vim
// vite.config.ts" or "cat src/vite/index.ts". The pattern is text and nothing
// else: no letter of it has a meaning.
func matches(argv []string, pattern string) bool {
	line := strings.Join(argv, " ")
	for at := 0; pattern != ""; {
		i := strings.Index(line[at:], pattern)
		if i < 0 {
			return false
		}
		begin, end := at+i, at+i+len(pattern)
		if (begin == 0 || line[begin-1] == ' ' || line[begin-1] == '/') && (end == len(line) || line[end] == ' ') {
			return true
		}
		at = begin + 1
	}
	return false
}

// minMarkerPrefix is the shortest prefix that Sweep believes: a shorter one, or
// an empty one from a damaged ledger, would name other people's processes.
const minMarkerPrefix = 8

// markedEnv returns env without markers, with the new one at its end.
func markedEnv(env []string, marker string) []string {
	out := make([]string, 0, len(env)+1)
	for _, kv := range env {
		if !strings.HasPrefix(kv, Marker+"=") {
			out = append(out, kv)
		}
	}
	if marker != "" {
		out = append(out, Marker+"="+marker)
	}
	return out
}

// readable replaces what would move a terminal's cursor or break a log line:
// a process names itself.
func readable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// SameProgram reports whether a process runs the program that this one runs.
// What can't be read counts as another.
func SameProgram(pid int) bool { return sameProgram(pid) }
