package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

// coverVariable names a folder that the real binaries count their coverage
// into. GOCOVERDIR itself is taken by "go test -cover" for the test binary.
const coverVariable = "DEVSIDE_COVER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(coverVariable); dir != "" {
		if err := os.Setenv("GOCOVERDIR", dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if signal.Ignored(os.Interrupt) {
		// Run by a shell's background job: the programs under test would
		// inherit it, and one test is about Ctrl-C.
		signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if built.dir != "" {
		if err := os.RemoveAll(built.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}

// built is where the real binaries are, once a test has asked for them.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// binariesVariable names a folder with the binaries, for tests that run where
// there is no Go: compiled ones, as another user.
const binariesVariable = "DEVSIDE_TEST_BIN"

// binaries builds devside and demo, once, as `make build` does, and returns
// their folder. Where DEVSIDE_COVER names a folder they count their coverage
// into it.
func binaries(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv(binariesVariable); dir != "" {
		return dir
	}
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "devside-test-"); built.err != nil {
			return
		}
		args := []string{"build", "-trimpath", "-ldflags", "-X main.version=v0.0.0-test"}
		if os.Getenv(coverVariable) != "" {
			args = append(args, "-cover", "-coverpkg=../../...")
		}
		cmd := exec.Command("go", append(args, "-o", built.dir+string(filepath.Separator), ".", "../demo")...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build the binaries: %w\n%s", err, out)
		}
		// One script is run as another user.
		built.err = errors.Join(built.err, os.Chmod(built.dir, 0o755))
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir
}

// TestScripts runs the scripts in testdata against the real binary. Each has a
// DEVSIDE_HOME of its own, two ports that were free ($PORT1, $PORT2), and may
// run as root unless it unsets DEVSIDE_ALLOW_ROOT.
func TestScripts(t *testing.T) {
	bin := binaries(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("DEVSIDE_HOME", filepath.Join(env.WorkDir, ".devside"))
			env.Setenv("DEVSIDE_ALLOW_ROOT", "1")
			env.Setenv("TERM", "xterm")
			for _, name := range []string{"PORT1", "PORT2"} {
				port, err := freePort()
				if err != nil {
					return err
				}
				env.Setenv(name, strconv.Itoa(port))
			}
			// Whatever a script has left running, and however it ended.
			env.Defer(func() { endHubs(t, bin, env) })
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": cmdExits,
			"subst": cmdSubst,
			"await": cmdAwait,
			"hold":  cmdHold,

			"appears": cmdAppears,
		},
	})
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// endHubs stops what scripts left running in their work folder, and waits
// until their hubs have gone.
func endHubs(t *testing.T, bin string, env *testscript.Env) {
	found, err := filepath.Glob(filepath.Join(env.WorkDir, "*", "devside.yaml"))
	if err != nil {
		t.Error(err)
	}
	for _, config := range append(found, filepath.Join(env.WorkDir, "devside.yaml")) {
		if _, err := os.Stat(config); err == nil {
			endHub(t, filepath.Join(bin, "devside"), filepath.Dir(config), env.Getenv("DEVSIDE_HOME"))
		}
	}
}

func endHub(t *testing.T, devside, root, home string) {
	ctx, cancel := context.WithTimeout(context.Background(), testBound)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		cmd := exec.CommandContext(ctx, devside, "stop", "--root", root, "--allow-root")
		cmd.Env = append(os.Environ(), "DEVSIDE_HOME="+home)
		out, err := cmd.CombinedOutput()
		if bytes.Contains(out, []byte("nothing of this project runs")) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Errorf("%s: the hub does not end: %v\n%s", root, err, out)
			return
		}
	}
}

// cmdExits: exits CODE COMMAND ARGS... wants an exit code.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code command [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	var ee *exec.ExitError
	switch {
	case errors.As(err, &ee):
		code = ee.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// cmdSubst: subst FILE puts the environment into a file ($PORT1 and $PORT2).
func cmdSubst(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: subst file")
	}
	text := ts.ReadFile(args[0])
	for _, name := range []string{"PORT1", "PORT2", "WORK"} {
		text = strings.ReplaceAll(text, "$"+name, ts.Getenv(name))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// cmdAwait: await REGEXP COMMAND ARGS... runs a command until its output
// matches. What it waits for has no other sign that a script could see.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await regexp command [args...]")
	}
	re := regexp.MustCompile("(?m)" + args[0])
	ctx, cancel := context.WithTimeout(context.Background(), testBound)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	bin, err := exec.LookPath(filepath.Join(strings.Split(ts.Getenv("PATH"), string(os.PathListSeparator))[0], args[1]))
	ts.Check(err)
	var out []byte
	for {
		cmd := exec.CommandContext(ctx, bin, args[2:]...)
		cmd.Dir = ts.MkAbs(".")
		cmd.Env = []string{"DEVSIDE_HOME=" + ts.Getenv("DEVSIDE_HOME"), "DEVSIDE_ALLOW_ROOT=1", "GOCOVERDIR=" + os.Getenv("GOCOVERDIR")}
		if out, err = cmd.Output(); err == nil && re.Match(out) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("no %q; the last output was (%v)\n%s", args[0], err, out)
		}
	}
}

// cmdAppears: appears REGEXP FILE waits until a file that a background command
// writes matches.
func cmdAppears(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: appears regexp file")
	}
	re := regexp.MustCompile("(?m)" + args[0])
	deadline := time.After(testBound)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(ts.MkAbs(args[1]))
		if err == nil && re.Match(text) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			ts.Fatalf("no %q in %s (%v):\n%s", args[0], args[1], err, text)
		}
	}
}

// cmdHold: hold PORT listens on a port until the script ends.
func cmdHold(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hold port")
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", args[0]))
	ts.Check(err)
	ts.Defer(func() { l.Close() }) //nolint:errcheck // only listened
}

// TestDemo is `make demo`: the scripted client judges the real binary.
func TestDemo(t *testing.T) {
	bin := binaries(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "demo"), "--devside", filepath.Join(bin, "devside"))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it cleans up
	cmd.WaitDelay = testBound
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !bytes.Contains(out, []byte("steps passed")) {
		t.Errorf("the demo says nothing of its end:\n%s", out)
	}
	if runtime.GOOS == "linux" && !bytes.Contains(out, []byte("its guardian")) {
		t.Errorf("the demo did not find the hub's guardian:\n%s", out)
	}
}
