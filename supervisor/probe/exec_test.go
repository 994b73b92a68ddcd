//go:build unix

package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/devside/devside/supervisor/spec"
)

// helper is this binary as a probe's command: words of the mode, done in turn.
func helper(mode string) {
	for _, word := range strings.Fields(mode) {
		verb, arg, _ := strings.Cut(word, "=")
		switch verb {
		case "say":
			fmt.Println(arg)
		case "flood":
			for range 100_000 {
				fmt.Fprintln(os.Stderr, "a line of a flood that nobody wants to keep")
			}
		case "deaf":
			signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		case "hang": // on a connection, whose end tells the test of ours
			conn, err := net.Dial("tcp", arg)
			if err != nil {
				os.Exit(99)
			}
			io.Copy(io.Discard, conn) //nolint:errcheck // until the test closes it
		case "fork", "escape":
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), "PROBE_TEST_HELPER=deaf hang="+arg+" die") // at once, without writing coverage
			child.Stdout = os.Stdout
			child.SysProcAttr = &syscall.SysProcAttr{Setsid: verb == "escape"}
			if err := child.Start(); err != nil {
				os.Exit(98)
			}
		case "die":
			syscall.Kill(os.Getpid(), syscall.SIGKILL) //nolint:errcheck // it ends here
			select {}
		case "exit":
			code, _ := strconv.Atoi(arg)
			os.Exit(code)
		}
	}
}

// command is a probe that runs the helper.
func command(t *testing.T, mode string) (spec.Probe, Target) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return spec.Probe{Kind: spec.ProbeExec, Exec: []string{self, "-health"}, Timeout: within},
		Target{Dir: t.TempDir(), Env: []string{"PROBE_TEST_HELPER=" + mode, "GOCOVERDIR=" + t.TempDir()}}
}

func TestExec(t *testing.T) {
	for mode, want := range map[string]string{
		"exit=0":                     "",
		"say=fine":                   "",
		"exit=3":                     ": exit status 3",
		"say=one say=two exit=1":     ": exit status 1: two",
		"say=\x1b[31mred\x07 exit=1": ": exit status 1: red",
		"flood say=last exit=4":      ": exit status 4: last",
		"die":                        ": killed by killed",
	} {
		p, target := command(t, mode)
		err := look(t, p, target)
		wantError(t, err, want)
		if err != nil && len(err.Error()) > 500 {
			t.Errorf("%s: an error of %d bytes", mode, len(err.Error()))
		}
	}
}

func TestExecFindsItsCommand(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"bin/check": 0o755, "bin/data": 0o644, "here": 0o755, "rel/only": 0o755} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\npwd\nexit 7\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	target := Target{Dir: dir, Env: []string{"PATH=/none", "PATH=rel::" + dir + "/bin"}}
	for argv0, want := range map[string]string{
		"check":       "check: exit status 7: " + real,
		"./here":      "./here: exit status 7: " + real,
		"bin/check":   "bin/check: exit status 7: " + real,
		dir + "/here": "here: exit status 7: " + real,
		"./nowhere":   "run ./nowhere: no such file",
		"./bin/data":  "run ./bin/data: permission denied",
	} {
		wantError(t, look(t, spec.Probe{Kind: spec.ProbeExec, Exec: []string{argv0}}, target), want)
	}
	for _, argv0 := range []string{"only", "data", "here"} {
		_, err := New(spec.Probe{Kind: spec.ProbeExec, Exec: []string{argv0}}, target)
		wantError(t, err, argv0+" is not in the server's PATH")
	}
}

// hanging listens for helpers that hang, and tells when one has come and gone.
func hanging(t *testing.T) (addr string, accept func() net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String(), func() net.Conn {
		t.Helper()
		if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		conn, err := l.Accept()
		if err != nil {
			t.Fatalf("the helper did not come: %v", err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
}

func gone(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || timedOut(err) {
		t.Fatalf("the process still lives: %v", err)
	}
}

// start begins a look in the background.
func start(ctx context.Context, t *testing.T, p spec.Probe, target Target) <-chan error {
	t.Helper()
	made, err := New(p, target)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() { got <- made.Look(ctx) }()
	return got
}

// overdue is a context whose deadline passes when the test says so.
type overdue struct {
	context.Context
	passed chan struct{}
}

func (o overdue) Done() <-chan struct{} { return o.passed }

func (o overdue) Err() error {
	select {
	case <-o.passed:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// At the time-out the whole group is killed, also what ignores signals.
func TestExecTimeout(t *testing.T) {
	addr, accept := hanging(t)
	p, target := command(t, "deaf fork="+addr+" hang="+addr)
	p.Timeout = time.Hour
	ctx := overdue{t.Context(), make(chan struct{})}
	got := start(ctx, t, p, target)
	one, two := accept(), accept()
	close(ctx.passed)
	wantError(t, <-got, "did not end in time")
	gone(t, one)
	gone(t, two)
}

// What the command leaves in its group is killed, too, when it ended well.
func TestExecLeavesNoGroup(t *testing.T) {
	addr, accept := hanging(t)
	wait, acceptWait := hanging(t)
	p, target := command(t, "fork="+addr+" hang="+wait+" exit=0")
	p.Timeout = time.Hour
	got := start(t.Context(), t, p, target)
	child := accept()
	acceptWait().Close() // the command goes on, and ends
	if err := <-got; err != nil {
		t.Error(err)
	}
	gone(t, child)
}

// A cancelled look kills the command and says no more than that.
func TestExecCancelled(t *testing.T) {
	addr, accept := hanging(t)
	p, target := command(t, "deaf fork="+addr+" hang="+addr)
	p.Timeout = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := start(ctx, t, p, target)
	one, two := accept(), accept()
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	gone(t, one)
	gone(t, two)
	if err := <-start(ctx, t, p, target); !errors.Is(err, context.Canceled) {
		t.Errorf("then %v", err)
	}
}

// What left the group and holds the output does not hold the probe.
func TestExecDoesNotWaitForWhatLeftTheGroup(t *testing.T) {
	addr, accept := hanging(t)
	p, target := command(t, "escape="+addr+" say=done exit=5")
	wantError(t, look(t, p, target), "exit status 5: done")
	accept().Close()
}
