package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/devside/devside/supervisor/crash"
	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/port"
	"github.com/devside/devside/supervisor/probe"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// memoryCgroup makes a memory cgroup with a limit of 64 MiB, of either version.
// It fails the test where that is not permitted and .ci/run, which is, runs it.
func memoryCgroup(t *testing.T) string {
	t.Helper()
	var failed error
	for _, c := range []struct{ root, limit string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
		{"/sys/fs/cgroup", "memory.max"},
	} {
		dir, err := os.MkdirTemp(c.root, "devside-test-")
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		t.Cleanup(func() { os.Remove(dir) }) //nolint:errcheck // its processes have ended
		if err := os.WriteFile(filepath.Join(dir, c.limit), []byte("67108864"), 0o600); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		return dir
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("no memory cgroup can be made: %v", failed)
	}
	t.Skipf("it needs root and a memory cgroup, which .ci/run has: %v", failed)
	return ""
}

// A server that its memory cgroup has no room for is killed by the kernel, for
// real, and its status says so.
func TestWhatTheKernelKilledForLackOfMemoryIsSaidToBe(t *testing.T) {
	dir := memoryCgroup(t)
	tracker, err := proc.NewTracker(zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tracker.Close)
	changed := make(chan struct{}, 1)
	g := NewGroup(Host{
		Root: t.TempDir(), Marker: "0123456789abcdef", Log: zerolog.Nop(),
		Start: Launcher(tracker, zerolog.Nop()), Taken: port.Taken, NewProbe: probe.New,
		OOMKills: func(bool) (uint64, error) { return proc.OOMKills() }, Happened: func(status.Event) {},
	}, func(string) *logs.Log { return logs.New(0) }, func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	t.Cleanup(g.Close)
	g.Apply(t.Context(), []spec.Server{{
		Name: "api", Command: []string{self(), child, "glutton", dir}, Dir: ".",
		Ready: spec.Probe{Kind: spec.ProbeNone, Within: patience}, Restart: spec.Restart{On: spec.OnNever},
		Stop: spec.Stop{Signal: "SIGTERM", Grace: time.Second},
	}}, Change{})
	g.Start(t.Context(), []string{"api"}, StartOptions{Env: os.Environ()})
	deadline := time.After(patience)
	for {
		snap, _ := g.Snapshot("api")
		if snap.LastExit != nil {
			if snap.LastExit.Signal != "SIGKILL" || snap.LastExit.Cause != string(crash.OutOfMemory) {
				t.Errorf("%+v: %s", snap.LastExit, snap.Message)
			}
			if !strings.Contains(snap.Message, "no memory left") {
				t.Errorf("the status says %q", snap.Message)
			}
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("it was not killed: %+v", snap.Server)
		}
	}
}
