package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/devside/devside/rpc/sidecar/fakeeditor"
	"github.com/devside/devside/rpc/socket"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

// sidecarProcess is `devside --stdio` as an editor runs it.
type sidecarProcess struct {
	*fakeeditor.Editor
	cmd   *exec.Cmd
	ended chan struct{}
}

// pipes are a child's standard input and output as one stream.
type pipes struct {
	io.Reader
	io.WriteCloser
}

// startSidecar runs the real binary in dir with an editor at its other end.
// The test's end closes the connection and waits for the process.
func startSidecar(t *testing.T, dir, home string, patience time.Duration) *sidecarProcess {
	t.Helper()
	s := &sidecarProcess{}
	var in io.WriteCloser
	var out *os.File
	s.cmd, in, out, s.ended = startStdio(t, dir, home)
	s.Editor = fakeeditor.Start(t, pipes{out, in})
	s.SetPatience(patience)
	return s
}

// startStdio runs the real binary as a session. ended is closed at its end,
// which the test's end waits for: whoever has the other end of its streams
// closes them before.
func startStdio(t *testing.T, dir, home string) (cmd *exec.Cmd, in io.WriteCloser, out *os.File, ended chan struct{}) {
	t.Helper()
	cmd = exec.Command(filepath.Join(binaries(t), "devside"), "--stdio", "--allow-root")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DEVSIDE_HOME="+home)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	// A pipe of our own: with StdoutPipe, Wait would have to wait for the reader.
	out, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = theirs
	if err := errors.Join(cmd.Start(), theirs.Close()); err != nil {
		t.Fatal(err)
	}
	ended = make(chan struct{})
	go func() {
		cmd.Wait() // its exit code is looked at by those who want it
		close(ended)
	}()
	t.Cleanup(func() {
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Errorf("the sidecar (pid %d) did not end", cmd.Process.Pid)
			cmd.Process.Kill()
			<-ended
		}
		out.Close()
	})
	return cmd, in, out, ended
}

// exitCode waits for the end of the sidecar.
func (s *sidecarProcess) exitCode(t *testing.T) int {
	t.Helper()
	select {
	case <-s.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the sidecar did not end")
	}
	return s.cmd.ProcessState.ExitCode()
}

// initialize introduces the editor with the project's folder.
func (s *sidecarProcess) initialize(dir string, options map[string]any) {
	s.Initialize(map[string]any{
		"rootUri": "file://" + filepath.ToSlash(dir), "initializationOptions": options,
		"capabilities": map[string]any{"window": map[string]any{"workDoneProgress": false}},
	})
}

var trusted = map[string]any{"trusted": true}

// startResult is the result of devside/start and its kin.
type startResult struct {
	Servers []struct {
		Name  string
		OK    bool
		State status.State
		PID   int
		Error *struct{ Code, Message, Hint string }
	}
}

func (r startResult) String() string {
	b, _ := json.Marshal(r)
	return string(b)
}

func (s *sidecarProcess) start(t *testing.T, names ...string) startResult {
	t.Helper()
	var r startResult
	params := map[string]any{}
	if len(names) > 0 {
		params["servers"] = names
	}
	s.Do("devside/start", params, &r)
	return r
}

func (s *sidecarProcess) mustStart(t *testing.T, names ...string) {
	t.Helper()
	r := s.start(t, names...)
	for _, server := range r.Servers {
		if !server.OK {
			t.Fatalf("start: %s", r)
		}
	}
}

func (s *sidecarProcess) status(t *testing.T) status.Project {
	t.Helper()
	var p status.Project
	s.Do("devside/status", map[string]any{}, &p)
	return p
}

// awaitStatus waits until a status for which the condition holds was pushed.
func (s *sidecarProcess) awaitStatus(what string, condition func(p status.Project) bool) {
	s.Await(what, func(st *fakeeditor.State) bool {
		raw := st.Last("devside/didChangeStatus")
		var p status.Project
		return raw != nil && json.Unmarshal(raw, &p) == nil && condition(p)
	})
}

func allReady(p status.Project) bool {
	return len(p.Servers) > 0 && p.Summary.Ready == len(p.Servers)
}

// demoProject is a folder with a devside.yaml of the demo's two servers.
func demoProject(t *testing.T) (dir string, ports [2]int) {
	t.Helper()
	dir = realDir(t)
	demo := filepath.Join(binaries(t), "demo")
	for i := range ports {
		n, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = n
	}
	yaml := fmt.Sprintf(`version: 1
servers:
  frontend:
    command: [%q, frontend]
    port: %d
    env: {API_URL: "http://127.0.0.1:%d"}
    depends_on: [api]
    ready: {http: /}
  api:
    command: [%q, api]
    port: %d
    ready: {http: /api/health}
    stop: {grace: 1s}
    restart: {delay: 0s}
`, demo, ports[0], ports[1], demo, ports[1])
	if err := os.WriteFile(filepath.Join(dir, "devside.yaml"), []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, ports
}

// homeDir is a DEVSIDE_HOME. At the test's end it waits until every hub in it
// has ended: an answer to shutdown comes a little earlier.
func homeDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() {
		runs, err := filepath.Glob(filepath.Join(dir, "run", "*"))
		if err != nil {
			t.Error(err)
		}
		for _, run := range runs {
			await(t, "the end of the hub", func() (string, bool) {
				lock, err := socket.Lock(state.Paths{Run: run})
				if err != nil {
					return err.Error(), false
				}
				return "", lock.Close() == nil
			})
		}
	})
	return dir
}

// realDir is t.TempDir without links in it.
func realDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// inside lists the processes whose working directory is in dir: a project's
// servers and everything they have started, however far it has gone.
func inside(t *testing.T, dir string) map[proc.Identity]string {
	t.Helper()
	found := map[proc.Identity]string{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		cwd, err := os.Readlink(filepath.Join("/proc", e.Name(), "cwd"))
		if err != nil || (cwd != dir && !strings.HasPrefix(cwd, dir+"/")) {
			continue
		}
		id, err := proc.Identify(pid)
		if err != nil {
			continue
		}
		found[id] = proc.CommandLine(pid)
	}
	return found
}

// servers is inside without the sidecar itself.
func servers(t *testing.T, dir string) map[proc.Identity]string {
	t.Helper()
	found := inside(t, dir)
	for id, command := range found {
		if strings.Contains(command, "--stdio") {
			delete(found, id)
		}
	}
	return found
}

// gone waits until none of these processes is alive.
func gone(t *testing.T, ids map[proc.Identity]string) {
	t.Helper()
	if len(ids) == 0 {
		t.Fatal("there were no processes to begin with")
	}
	await(t, "the end of what ran", func() (string, bool) {
		var alive []string
		for id, command := range ids {
			if id.Alive() {
				alive = append(alive, fmt.Sprintf("%v %s", id, command))
			}
		}
		return strings.Join(alive, "; "), len(alive) == 0
	})
}

// await looks again and again, and says at its deadline what it saw last.
func await(t *testing.T, what string, look func() (string, bool)) {
	t.Helper()
	// Not t.Context: some wait while the test is being cleaned up.
	// A memory restart alone takes three measurements and a stop: on a busy
	// machine 20 s were seen.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		saw, ok := look()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("still waiting for %s; last seen: %s", what, saw)
		}
	}
}

// portsFree checks that nobody listens any more.
func portsFree(t *testing.T, ports ...int) {
	t.Helper()
	for _, p := range ports {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err == nil {
			c.Close()
			t.Errorf("port %d is still listened on", p)
		} else if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Error(err)
		}
	}
}

// hubAndGuardian are the two processes behind a session.
func hubAndGuardian(t *testing.T, s *sidecarProcess) (hub, guardian proc.Identity) {
	t.Helper()
	pid := s.status(t).HubPID
	info, err := proc.Inspect(pid)
	if err != nil {
		t.Fatal(err)
	}
	guardian, err = proc.Identify(info.Parent)
	if err != nil {
		t.Fatal(err)
	}
	if c := proc.CommandLine(info.Parent); !strings.Contains(c, "__guardian") {
		t.Fatalf("the hub's parent is %q", c)
	}
	return info.Identity, guardian
}

func fakeKind(params json.RawMessage) status.Kind {
	var e status.Event
	if json.Unmarshal(params, &e) != nil {
		return ""
	}
	return e.Kind
}
