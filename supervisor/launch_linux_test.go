package supervisor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/proc"
)

// patience bounds every wait of a test. Machines that run these are busy.
const patience = 20 * time.Second

func launcher(t *testing.T) func(Launch) (Process, error) {
	t.Helper()
	tracker, err := proc.NewTracker(zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tracker.Close)
	return Launcher(tracker, zerolog.Nop())
}

func launch(t *testing.T, start func(Launch) (Process, error), log *logs.Log, args ...string) Process {
	t.Helper()
	p, err := start(Launch{
		Argv: append([]string{self(), child}, args...), Dir: t.TempDir(), Env: os.Environ(), Marker: "0123456789abcdef:api:1", Log: log, Run: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// awaitLine waits until a line is in the log.
func awaitLine(t *testing.T, l *logs.Log, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	lines, follower, err := l.LinesThenFollow(logs.Query{})
	if err != nil {
		t.Fatal(err)
	}
	defer follower.Close()
	for {
		if slices.ContainsFunc(lines, func(l logs.Line) bool { return l.Text == want }) {
			return
		}
		next, _, err := follower.Next(ctx)
		if err != nil {
			t.Fatalf("no line %q: %v; the log has %q", want, err, text(l))
		}
		lines = next
	}
}

func text(l *logs.Log) string {
	lines, err := l.Lines(logs.Query{})
	if err != nil {
		return err.Error()
	}
	var out []string
	for _, line := range lines {
		out = append(out, line.Stream+" "+line.Text)
	}
	slices.Sort(out) // two streams have no order
	return strings.Join(out, ", ")
}

func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
	}
}

func TestAllThatAServerPrintedIsInTheLogWhenItsStopReturns(t *testing.T) {
	log := logs.New(0)
	p := launch(t, launcher(t), log, "print")
	await(t, "its end", p.Exited())
	report := p.Stop(t.Context(), proc.StopPlan{Grace: time.Second})
	if got := text(log); got != "stderr two, stdout one, stdout three" {
		t.Errorf("the log has %s", got)
	}
	if report.Exit.Code != 7 || report.Exit.Signal != 0 {
		t.Errorf("%+v", report.Exit)
	}
}

func TestTheInputOfAServerStaysOpen(t *testing.T) {
	log := logs.New(0)
	p := launch(t, launcher(t), log, "reader")
	awaitLine(t, log, "up")
	report := p.Stop(t.Context(), proc.StopPlan{Signal: syscall.SIGTERM, Grace: patience})
	if got := text(log); got != "stdout asked to end, stdout up" || report.Exit.Code != 0 {
		t.Errorf("the log has %s; %+v", got, report.Exit)
	}
}

func TestAStopEndsAlthoughASparedProcessHoldsThePipe(t *testing.T) {
	spared := filepath.Join(t.TempDir(), "picture-viewer")
	if err := os.Symlink(self(), spared); err != nil {
		t.Fatal(err)
	}
	log := logs.New(0)
	p := launch(t, launcher(t), log, "opener", spared)
	awaitLine(t, log, "up")
	stopped := make(chan proc.Report, 1)
	done := make(chan struct{})
	go func() {
		stopped <- p.Stop(context.Background(), proc.StopPlan{Signal: syscall.SIGTERM, Grace: patience, Spare: []string{"picture-viewer"}})
		close(done)
	}()
	await(t, "the stop", done)
	report := <-stopped
	if len(report.Spared) != 1 || len(report.Left) != 0 {
		t.Fatalf("%+v", report)
	}
	if !report.Spared[0].Alive() {
		t.Error("what was spared is not alive")
	}
	if err := report.Spared[0].Signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

func TestAStartThatFailsLeavesNoDescriptor(t *testing.T) {
	start := launcher(t)
	one := func() {
		_, err := start(Launch{Argv: []string{"/nonexistent/serve"}, Dir: t.TempDir(), Log: logs.New(0), Run: 1})
		var se *proc.StartError
		if !errors.As(err, &se) || se.Kind != proc.NotFound {
			t.Fatalf("%v", err)
		}
	}
	one()
	before := descriptors(t)
	for range 20 {
		one()
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}
