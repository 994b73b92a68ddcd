package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/devside/devside/supervisor/status"
)

// lensTitles are the titles over the servers of a devside.yaml.
func (s *sidecarProcess) lensTitles(uri string) string {
	var lenses []struct{ Command struct{ Title string } }
	s.Do("textDocument/codeLens", map[string]any{"textDocument": map[string]any{"uri": uri}}, &lenses)
	var titles []string
	for _, l := range lenses {
		titles = append(titles, l.Command.Title)
	}
	return strings.Join(titles, "|")
}

// stranger is a process that listens on a port and is none of devside's, from
// another folder. It has no children: the demo's API would leave its own.
func stranger(t *testing.T, port int) (*exec.Cmd, chan error) {
	t.Helper()
	cmd := exec.Command(filepath.Join(binaries(t), "demo"), "frontend")
	cmd.Dir, cmd.Env = realDir(t), append(os.Environ(), fmt.Sprintf("PORT=%d", port), "API_URL=http://127.0.0.1:1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended already, if all is well
	await(t, "the stranger's port", func() (string, bool) {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return err.Error(), false
		}
		return "", c.Close() == nil
	})
	return cmd, ended
}

// TestAQuickFixStopsWhoHoldsAPort: with the real binary, hub and processes. A
// stranger has the port of a server; the editor is offered to stop it, does, and
// the server starts. The fix for a process that has gone meanwhile stops nobody.
func TestAQuickFixStopsWhoHoldsAPort(t *testing.T) {
	dir, ports := demoProject(t)
	uri := "file://" + filepath.Join(dir, "devside.yaml")
	first, ended := stranger(t, ports[1])
	s := startSidecar(t, dir, homeDir(t), 60*time.Second)
	s.Initialize(map[string]any{"rootUri": "file://" + dir, "initializationOptions": trusted, "capabilities": map[string]any{
		"textDocument": map[string]any{"codeLens": map[string]any{}, "codeAction": map[string]any{}, "hover": map[string]any{}}}})
	if r := s.start(t, "api"); r.Servers[0].Error == nil || r.Servers[0].Error.Code != string(status.PortTaken) {
		t.Fatalf("start beside a stranger: %s", r)
	}
	stop := func() (command map[string]any, title string) {
		t.Helper()
		place := map[string]any{"line": 10, "character": 11}
		var actions []map[string]any
		s.Do("textDocument/codeAction", map[string]any{"textDocument": map[string]any{"uri": uri},
			"range": map[string]any{"start": place, "end": place}, "context": map[string]any{"diagnostics": []any{}}}, &actions)
		for _, a := range actions {
			if title, _ := a["title"].(string); strings.HasPrefix(title, "Stop ") {
				return map[string]any{"command": a["command"], "arguments": a["arguments"]}, title
			}
		}
		t.Fatalf("no action stops the holder: %v", actions)
		return nil, ""
	}
	s.awaitStatus("the problem", func(p status.Project) bool { return len(p.Problems) == 1 })
	command, title := stop()
	if !strings.Contains(title, fmt.Sprintf("(pid %d, user ", first.Process.Pid)) || !strings.HasSuffix(title, fmt.Sprintf("on port %d", ports[1])) {
		t.Errorf("the action is called %q, the stranger is %d", title, first.Process.Pid)
	}

	// The one that was shown goes, another takes its place: it is left alone.
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-ended
	second, ended := stranger(t, ports[1])
	var freed struct {
		Freed bool
		Why   string
	}
	s.Do("workspace/executeCommand", command, &freed)
	if freed.Freed || !strings.Contains(freed.Why, fmt.Sprintf("(pid %d)", second.Process.Pid)) {
		t.Errorf("an action for a process that has gone: %+v", freed)
	}
	s.start(t, "api") // sees the second
	s.awaitStatus("the second stranger", func(p status.Project) bool {
		return len(p.Problems) == 1 && p.Problems[0].Holder != nil && p.Problems[0].Holder.PID == second.Process.Pid
	})
	command, _ = stop()
	s.Do("workspace/executeCommand", command, &freed)
	if !freed.Freed {
		t.Errorf("not freed: %s", freed.Why)
	}
	<-ended
	s.mustStart(t)
	s.awaitStatus("all ready", allReady)
	await(t, "lenses", func() (string, bool) {
		titles := s.lensTitles(uri)
		return titles, titles == fmt.Sprintf("ready http://localhost:%d|start|stop|restart|logs|ready http://localhost:%d|start|stop|restart|logs", ports[0], ports[1])
	})
	var hover struct{ Contents struct{ Value string } }
	s.Do("textDocument/hover", map[string]any{"textDocument": map[string]any{"uri": uri}, "position": map[string]any{"line": 8, "character": 3}}, &hover)
	if !strings.Contains(hover.Contents.Value, fmt.Sprintf("ports %d (listening)", ports[1])) {
		t.Errorf("hover %q", hover.Contents.Value)
	}
	ran := servers(t, dir)
	s.Shutdown()
	if code := s.exitCode(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	gone(t, ran)
}
