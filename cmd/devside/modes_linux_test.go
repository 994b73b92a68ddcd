package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/sidecar"
	"github.com/devside/devside/rpc/sidecar/fakeeditor"
	"github.com/devside/devside/rpc/socket"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/port"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/status"
)

// editors are the sessions of one project: the first acts, and all of them are
// to be told the same.
type editors struct {
	t    *testing.T
	dir  string
	port int
	all  []*fakeeditor.Editor
}

// modes are the ways in which the same story is told: a session in this process
// (which the race detector sees), two editors on one hub, and the built binary.
// The hub and the servers are real in all of them.
var modes = map[string]func(t *testing.T, dir, home string) []*fakeeditor.Editor{
	"in process": func(t *testing.T, dir, home string) []*fakeeditor.Editor {
		return []*fakeeditor.Editor{sessionHere(t, home)}
	},
	"two editors": func(t *testing.T, dir, home string) []*fakeeditor.Editor {
		return []*fakeeditor.Editor{startSidecar(t, dir, home, storyPatience).Editor, startSidecar(t, dir, home, storyPatience).Editor}
	},
	"built binary": func(t *testing.T, dir, home string) []*fakeeditor.Editor {
		return []*fakeeditor.Editor{startSidecar(t, dir, home, storyPatience).Editor}
	},
}

const storyPatience = time.Minute

// sessionHere runs a session in this process. Its hub is the built binary's.
func sessionHere(t *testing.T, home string) *fakeeditor.Editor {
	t.Helper()
	t.Setenv("DEVSIDE_HOME", home) // for what starts the hub, too
	exe := filepath.Join(binaries(t), "devside")
	ours, theirs := net.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- sidecar.Run(context.Background(), sidecar.Options{
			RWC: theirs, Version: version, Log: zerolog.Nop(), Getenv: os.Getenv, Environ: os.Environ(),
			ServerLog: func(root, server string) string { return serverLog(root, server, os.Getenv) },
			Taken: func(number int) bool {
				taken, _, err := port.Taken(number)
				return err == nil && taken
			},
			Dial: func(ctx context.Context, hello wire.HelloParams, start bool, h rpc.Handler) (*rpc.Conn, wire.HelloResult, error) {
				return socket.Connect(ctx, socket.Options{Root: hello.Root, Start: start, Exe: exe, Args: []string{"--allow-root"},
					Getenv: os.Getenv, Hello: hello, Handler: h, Log: zerolog.Nop()})
			},
		})
	}()
	t.Cleanup(func() {
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Error("the session did not end")
		}
	})
	e := fakeeditor.Start(t, ours)
	e.SetPatience(storyPatience)
	return e
}

// capable is what the editors of these stories declare.
var capable = map[string]any{
	"window":       map[string]any{"workDoneProgress": true},
	"textDocument": map[string]any{"documentLink": map[string]any{}, "codeAction": map[string]any{"codeActionLiteralSupport": map[string]any{"codeActionKind": map[string]any{"valueSet": []string{"quickfix"}}}}, "publishDiagnostics": map[string]any{"relatedInformation": true}},
}

// told has a project whose server breaks when main.js says so, and whose
// editors are at work.
func told(t *testing.T, mode func(*testing.T, string, string) []*fakeeditor.Editor) *editors {
	t.Helper()
	number, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	e := &editors{t: t, dir: realDir(t), port: number}
	e.write("server.js", `require('./main.js'); require('http').createServer((q, r) => r.end('ok')).listen(process.env.PORT);`+"\n")
	e.write("main.js", "// good\n")
	e.write(".env", "A=1\n")
	e.write("package.json", `{"name": "shop", "private": true}`)
	e.lock("1.0.0")
	e.install("1.0.0")
	e.configure("")
	e.all = mode(t, e.dir, homeDir(t))
	for _, ed := range e.all {
		ed.Answer("window/workDoneProgress/create", func(json.RawMessage) (any, *fakeeditor.Error) { return nil, nil })
		ed.Initialize(map[string]any{"rootUri": "file://" + e.dir, "initializationOptions": trusted, "capabilities": capable})
	}
	return e
}

func (e *editors) write(name, text string) {
	e.t.Helper()
	file := filepath.Join(e.dir, filepath.FromSlash(name))
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		e.t.Fatal(err)
	}
}

func (e *editors) configure(more string) {
	e.write("devside.yaml", fmt.Sprintf("version: 1\nservers:\n  api:\n    command: node server.js\n    port: %d\n    env_file: [.env]\n    stop: {grace: 1s}\n%s", e.port, more))
}

// written is the port that devside.yaml has now, and that it is to keep.
func (e *editors) written() int {
	e.t.Helper()
	text, err := os.ReadFile(filepath.Join(e.dir, "devside.yaml"))
	if err != nil {
		e.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "port: ")
	if _, err := fmt.Sscan(rest, &e.port); err != nil {
		e.t.Fatalf("%s: %v", text, err)
	}
	return e.port
}

const packages = `"node_modules/left": {"version": %q, "resolved": "x", "integrity": %q}`

func (e *editors) lock(v string) {
	e.write("package-lock.json", fmt.Sprintf(`{"name": "shop", "lockfileVersion": 3, "packages": {"": {"name": "shop"}, `+packages+`}}`, v, v))
}

func (e *editors) install(v string) {
	e.write("node_modules/.package-lock.json", fmt.Sprintf(`{"name": "shop", "lockfileVersion": 3, "packages": {`+packages+`}}`, v, v))
}

// shows waits until every editor shows exactly these diagnostics of a file:
// "line code", from 0.
func (e *editors) shows(file string, want ...string) {
	e.t.Helper()
	uri := "file://" + filepath.Join(e.dir, filepath.FromSlash(file))
	for _, ed := range e.all {
		ed.Await(fmt.Sprintf("%s with %q", file, want), func(s *fakeeditor.State) bool {
			var got []string
			for _, d := range s.Diagnostics[uri] {
				got = append(got, fmt.Sprintf("%d %s", d.Range.Start.Line, d.Code))
			}
			slices.Sort(got)
			return slices.Equal(got, want) && s.Published[uri] > 0
		})
		ed.CheckPlaces(uri)
	}
}

// is waits until every editor's status has the server in a state and run.
func (e *editors) is(state status.State, run int) {
	e.t.Helper()
	for _, ed := range e.all {
		ed.Await(fmt.Sprintf("api %s in run %d", state, run), func(s *fakeeditor.State) bool {
			var p status.Project
			if json.Unmarshal(s.Last(wire.DidChangeStatus), &p) != nil {
				return false
			}
			api, _ := p.Server("api")
			return api.State == state && api.Run == run
		})
	}
}

func (e *editors) start() wire.StartResult {
	e.t.Helper()
	var r wire.StartResult
	e.all[0].Do("devside/start", map[string]any{}, &r)
	return r
}

// fix runs the quick-fix of a title in a line of a file, as an editor would.
func (e *editors) fix(file string, line int, title string) {
	e.t.Helper()
	var actions []struct {
		Title   string
		Command *struct {
			Command   string
			Arguments []json.RawMessage
		}
	}
	from, to := map[string]any{"line": line, "character": 0}, map[string]any{"line": line + 1, "character": 0}
	e.all[0].Do("textDocument/codeAction", map[string]any{"textDocument": map[string]any{"uri": "file://" + filepath.Join(e.dir, file)},
		"range": map[string]any{"start": from, "end": to}, "context": map[string]any{"diagnostics": []any{}}}, &actions)
	for _, a := range actions {
		if strings.HasPrefix(a.Title, title) && a.Command != nil {
			e.all[0].Do("workspace/executeCommand", map[string]any{"command": a.Command.Command, "arguments": a.Command.Arguments}, nil)
			return
		}
	}
	e.t.Fatalf("no fix %q in %+v", title, actions)
}

// TestOneStoryInThreeModes goes through what an editor is told, with the same
// words in each mode.
func TestOneStoryInThreeModes(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			e := told(t, mode)

			// A port that somebody has, and the fix that takes another.
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", e.port))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if r := e.start(); r.Servers[0].Error == nil || r.Servers[0].Error.Code != string(status.PortTaken) {
				t.Fatalf("%+v", r)
			}
			e.shows("devside.yaml", "4 port-taken")
			e.fix("devside.yaml", 4, "Use the next free port for api, in devside.yaml")
			e.is(status.Ready, 2) // what is held is started when its entry changes
			e.shows("devside.yaml")
			if was := e.port; e.written() == was {
				t.Errorf("devside.yaml still has the port %d", was)
			}
			var links []struct{ Target string }
			e.all[0].Do("textDocument/documentLink", map[string]any{"textDocument": map[string]any{"uri": "file://" + filepath.Join(e.dir, "devside.yaml")}}, &links)
			if !slices.ContainsFunc(links, func(l struct{ Target string }) bool { return strings.HasSuffix(l.Target, "/servers/api.log") }) {
				t.Errorf("no link to the log: %v", links)
			}

			// A crash, at the line that broke, until it is mended.
			e.write("main.js", "// bad\nthrow new TypeError('no price');\n")
			e.all[0].Do("devside/restart", map[string]any{"wait": false}, nil)
			e.shows("main.js", "1 crash-site")
			e.write("main.js", "// good\n")
			e.fix("main.js", 1, "Restart")
			e.shows("main.js")
			e.shows("devside.yaml")
			var now status.Project
			e.all[0].Do("devside/status", map[string]any{}, &now)
			api, _ := now.Server("api")

			// An env file: restarted, and shown as a progress that says why.
			e.write(".env", "A=2\n")
			e.is(status.Ready, api.Run+1)
			for _, ed := range e.all {
				ed.Await("the progress of the restart", func(s *fakeeditor.State) bool {
					for _, p := range s.Progress {
						if strings.Contains(p[0].Title, "api restarts because .env changed") && p[len(p)-1].Kind == "end" {
							return true
						}
					}
					return false
				})
			}

			// A broken configuration changes nothing that runs.
			e.configure("    prot: 1\n")
			e.all[0].Notify("workspace/didChangeWatchedFiles", map[string]any{"changes": []any{map[string]any{"uri": "file://" + filepath.Join(e.dir, "devside.yaml"), "type": 2}}})
			e.shows("devside.yaml", "7 config-invalid")
			e.configure("")
			e.shows("devside.yaml")
			e.is(status.Ready, api.Run+1)

			// Packages that are not installed as the lockfile says.
			e.lock("2.0.0")
			e.shows("devside.yaml", "2 dependencies-stale")
			e.install("2.0.0")
			e.is(status.Ready, api.Run+2)
			e.shows("devside.yaml")

			// What is shown at the end is cleared.
			e.write("main.js", "throw new TypeError('at the end');\n")
			e.all[0].Do("devside/restart", map[string]any{"wait": false}, nil)
			e.shows("main.js", "0 crash-site")
			for _, ed := range slices.Backward(e.all) {
				ed.Shutdown()
				ed.Look(func(s *fakeeditor.State) {
					for uri, left := range s.Diagnostics {
						if len(left) > 0 {
							t.Errorf("%s still shows %v", uri, left)
						}
					}
				})
			}
		})
	}
}

// TestASessionAfterACrashTakesBackWhatItsEditorShows: a session that is killed
// leaves a crash site on its editor's screen; the next one of the same editor,
// which knows nothing of it, takes it back.
func TestASessionAfterACrashTakesBackWhatItsEditorShows(t *testing.T) {
	home := homeDir(t)
	var first *sidecarProcess
	e := told(t, func(t *testing.T, dir, _ string) []*fakeeditor.Editor {
		first = startSidecar(t, dir, home, storyPatience)
		return nil // initialized below, with the editor's pid
	})
	params := map[string]any{"processId": os.Getpid(), "rootUri": "file://" + e.dir, "initializationOptions": trusted, "capabilities": capable}
	e.all = []*fakeeditor.Editor{first.Editor}
	first.Answer("window/workDoneProgress/create", func(json.RawMessage) (any, *fakeeditor.Error) { return nil, nil })
	first.Initialize(params)
	e.write("main.js", "throw new TypeError('no price');\n")
	e.start()
	e.shows("main.js", "0 crash-site")
	await(t, "the list on disk", func() (string, bool) {
		names, err := filepath.Glob(filepath.Join(home, "state", "*", fmt.Sprintf("shown-%d.json", os.Getpid())))
		if err != nil || len(names) != 1 {
			return fmt.Sprint(names, err), false
		}
		text, err := os.ReadFile(names[0])
		return string(text), err == nil && strings.Contains(string(text), "main.js")
	})
	id, err := proc.Identify(first.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	kill(t, id)
	<-first.ended

	second := startSidecar(t, e.dir, home, storyPatience)
	e.all = []*fakeeditor.Editor{second.Editor}
	second.Initialize(params)
	e.shows("main.js")
	second.Shutdown()
	if names, _ := filepath.Glob(filepath.Join(home, "state", "*", "shown-*.json")); len(names) > 0 {
		t.Errorf("left: %v", names)
	}
}
