//go:build e2e && linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/devside/devside/supervisor/proc"
)

// clientPatience bounds each step of a real editor.
const clientPatience = 60 * time.Second

// realClient is an editor, or a script, that runs the real devside by itself. It
// says what it sees in lines of JSON, {"step": …}, on its standard output, and
// goes on after "ready" once the file DEVSIDE_GO_ON names is there.
type realClient struct {
	name  string
	cmd   *exec.Cmd
	steps chan clientStep
	goOn  string
}

// clientStep is one line of a client's.
type clientStep struct {
	Step    string // "diagnostic", "action", "ready"
	Code    string // of the diagnostic
	Message string
	Line    int // of the diagnostic, from 0
	Title   string
}

// startClient runs a client with folders of its own. It is killed at the end of
// the test if it still runs then; devside sees that as the editor's end.
func startClient(t *testing.T, dir, home string, argv ...string) *realClient {
	t.Helper()
	own := realDir(t)
	c := &realClient{name: filepath.Base(argv[0]), steps: make(chan clientStep, 100), goOn: filepath.Join(own, "go-on")}
	c.cmd = exec.Command(argv[0], argv[1:]...)
	c.cmd.Dir = own
	c.cmd.Env = append(os.Environ(), "DEVSIDE_HOME="+home, "HOME="+own, "XDG_CONFIG_HOME="+own, "XDG_DATA_HOME="+own, "XDG_CACHE_HOME="+own,
		"XDG_STATE_HOME="+own, "XDG_RUNTIME_DIR="+own, "TERM=dumb",
		"DEVSIDE_BINARY="+filepath.Join(binaries(t), "devside"), "DEVSIDE_ROOT="+dir, "DEVSIDE_GO_ON="+c.goOn)
	// A pipe and a file of our own: what the editor started may outlive it for a
	// moment, and must not be waited for with it.
	out, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	complaints, err := os.Create(filepath.Join(own, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	c.cmd.Stdout, c.cmd.Stderr = theirs, complaints
	if err := c.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", c.name, err)
	}
	theirs.Close()
	complaints.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(c.steps)
		lines := bufio.NewReader(out)
		for {
			line, err := lines.ReadBytes('\n')
			var s clientStep
			if json.Unmarshal(line, &s) == nil && s.Step != "" {
				c.steps <- s
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		if c.cmd.ProcessState == nil {
			_ = c.cmd.Process.Kill()
			_ = c.cmd.Wait()
		}
		out.Close()
		<-read
		if said, err := os.ReadFile(complaints.Name()); err != nil || t.Failed() {
			t.Logf("%s said on its standard error: %v\n%s", c.name, err, said)
		}
	})
	return c
}

// step waits for what the client says next, which must be this.
func (c *realClient) step(t *testing.T, want string) clientStep {
	t.Helper()
	select {
	case s, ok := <-c.steps:
		if !ok || s.Step != want {
			t.Fatalf("%s: waiting for %q, and it said %+v", c.name, want, s)
		}
		return s
	case <-time.After(clientPatience):
		t.Fatalf("%s: still waiting for %q", c.name, want)
		return clientStep{}
	}
}

// exitCode waits for the client's end.
func (c *realClient) exitCode(t *testing.T) int {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- c.cmd.Wait() }()
	select {
	case <-ended: // the exit code is looked at
	case <-time.After(clientPatience):
		_ = c.cmd.Process.Kill()
		<-ended
		t.Fatalf("%s did not end", c.name)
	}
	return c.cmd.ProcessState.ExitCode()
}

// oneServer is a project with one server, whose port is written on line 4, from 0, and
// held by a process that is none of devside's.
func oneServer(t *testing.T) (dir string, port int, holder *exec.Cmd, ended chan error) {
	t.Helper()
	dir = realDir(t)
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	yaml := fmt.Sprintf(`version: 1
servers:
  api:
    command: [%q, api]
    port: %d
    ready: {http: /api/health}
    stop: {grace: 1s}
`, filepath.Join(binaries(t), "demo"), port)
	if err := os.WriteFile(filepath.Join(dir, "devside.yaml"), []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	holder, ended = stranger(t, port)
	return dir, port, holder, ended
}

// mendsAPort is what every client does: it starts a server whose port is taken,
// sees the diagnostic where the port is written, applies the quick-fix that stops
// who holds it, sees the server ready and the diagnostic gone, and quits.
func mendsAPort(t *testing.T, argv ...string) {
	t.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil {
		t.Fatalf("%s is missing (.ci/run installs it): %v", argv[0], err)
	}
	dir, port, holder, ended := oneServer(t)
	began := time.Now()
	c := startClient(t, dir, homeDir(t), argv...)

	who := fmt.Sprintf("pid %d", holder.Process.Pid)
	if d := c.step(t, "diagnostic"); d.Code != "port-taken" || d.Line != 4 || !strings.Contains(d.Message, who) {
		t.Errorf("diagnostic %+v, want port-taken on line 4 by %s", d, who)
	}
	if a := c.step(t, "action"); !strings.HasPrefix(a.Title, "Stop ") || !strings.Contains(a.Title, who) {
		t.Errorf("quick-fix %+v, want one that stops %s", a, who)
	}
	c.step(t, "ready")
	select {
	case <-ended:
	case <-time.After(clientPatience):
		t.Fatalf("the quick-fix did not stop %s", who)
	}
	await(t, "an answer of the server", func() (string, bool) { // not all clients see that it is ready
		body, err := page(fmt.Sprintf("http://localhost:%d/api/health", port))
		return fmt.Sprintf("%q %v", body, err), err == nil && strings.Contains(body, "ok")
	})
	ran := inside(t, dir)
	if len(servers(t, dir)) == 0 {
		t.Errorf("no server runs in %s, but %v", dir, ran)
	}
	sidecar := children(t, c.cmd.Process.Pid)
	for id, command := range sidecar {
		ran[id] = command
	}
	if len(sidecar) == 0 {
		t.Errorf("%s has no devside of its own", c.name)
	}
	t.Logf("mended after %v", time.Since(began).Round(time.Millisecond))

	began = time.Now()
	if err := os.WriteFile(c.goOn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := c.exitCode(t); code != 0 {
		t.Errorf("%s: exit code %d", c.name, code)
	}
	gone(t, ran)
	portsFree(t, port)
	if left := inside(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	t.Logf("all down %v after it was told to quit", time.Since(began).Round(time.Millisecond))
}

// children are the processes that a process started and has not waited for.
func children(t *testing.T, pid int) map[proc.Identity]string {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	found := map[proc.Identity]string{}
	for _, task := range tasks {
		list, err := os.Open(task)
		if err != nil {
			continue // a thread that has ended
		}
		text, err := io.ReadAll(list)
		list.Close()
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(text)) {
			var child int
			if _, err := fmt.Sscan(field, &child); err != nil {
				t.Fatal(err)
			}
			if id, err := proc.Identify(child); err == nil {
				found[id] = proc.CommandLine(child)
			}
		}
	}
	return found
}
