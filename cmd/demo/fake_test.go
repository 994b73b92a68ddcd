package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The faults that a devside can be made to have, to see the demo find them.
const (
	faultVariable = "DEMO_FAULT"

	faultNone         = ""
	faultLeakChild    = "leak-child"    // leaves the API's child behind
	faultNoRestart    = "no-restart"    // does not bring a crashed server back
	faultWrongLine    = "wrong-line"    // puts the diagnostic elsewhere
	faultExitCode     = "exit-code"     // ends with 1
	faultSaysReady    = "says-ready"    // says ready, with a taken port
	faultStrayLine    = "stray-line"    // prints to the protocol's stream
	faultAnswersTwice = "answers-twice" // gives a second answer
	faultMute         = "mute"          // reads, and never answers
	faultBlind        = "blind"         // does not see that a file has changed
	faultDies         = "dies"          // ends in the middle, after a start
)

// fakeDevside is the least that can pass the demo: two servers from the demo's
// own devside.yaml, no supervision beyond the one crash.
type fakeDevside struct {
	fault string
	out   sync.Mutex

	mu      sync.Mutex
	servers map[string]*fakeServer
	quiet   bool // shutting down
	ending  sync.WaitGroup
}

type fakeServer struct {
	name, argv0, mode string
	port              int
	env               []string
	cmd               *exec.Cmd
	child             int
	log               []string
	state             string
	asked             bool // to stop
	gone              chan struct{}
}

var (
	serverLine  = regexp.MustCompile(`(?m)^  (api|frontend):$`)
	commandLine = regexp.MustCompile(`command: (\[.*\])`)
	portField   = regexp.MustCompile(`port: (\d+)`)
	envField    = regexp.MustCompile(`env: \{(\w+): "?([^"}]*)"?\}`)
)

func (f *fakeDevside) load(root string) error {
	text, err := os.ReadFile(filepath.Join(root, "devside.yaml"))
	if err != nil {
		return err
	}
	at := serverLine.FindAllStringSubmatchIndex(string(text), -1)
	for i, m := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		part := string(text[m[0]:end])
		var argv []string
		if err := json.Unmarshal([]byte(commandLine.FindStringSubmatch(part)[1]), &argv); err != nil {
			return err
		}
		port, err := strconv.Atoi(portField.FindStringSubmatch(part)[1])
		if err != nil {
			return err
		}
		env := envField.FindStringSubmatch(part)
		name := string(text[m[2]:m[3]])
		f.servers[name] = &fakeServer{name: name, argv0: argv[0], mode: argv[1], port: port, state: "stopped",
			env: append(os.Environ(), fmt.Sprintf("PORT=%d", port), env[1]+"="+env[2])}
	}
	return nil
}

// runFake is the fake's main.
func runFake() int {
	f := &fakeDevside{fault: os.Getenv(faultVariable), servers: map[string]*fakeServer{}}
	if err := f.load("."); err != nil {
		fmt.Fprintln(os.Stderr, "fake devside:", err)
		return 6
	}
	stop := make(chan struct{})
	defer close(stop)
	go f.watchEnv(stop)
	in := bufio.NewReader(os.Stdin)
	down := false
	for {
		m, err := readMessage(in)
		if err != nil {
			f.stopAll()
			return 1
		}
		switch {
		case m.Method == "exit" && down && f.fault != faultExitCode:
			return 0
		case m.Method == "exit":
			f.stopAll()
			return 1
		case m.ID == nil || m.Method == "" || f.fault == faultMute:
			continue
		}
		down = m.Method == "shutdown"
		result, err := f.answer(m)
		f.respond(*m.ID, result, err)
		if f.fault == faultAnswersTwice {
			f.respond(*m.ID, result, err)
		}
		if f.fault == faultDies && m.Method == "devside/start" {
			f.stopAll()
			return 3
		}
	}
}

func (f *fakeDevside) respond(id int, result any, err error) {
	m := map[string]any{"jsonrpc": "2.0", "id": id}
	if err != nil {
		m["error"] = map[string]any{"code": -32603, "message": err.Error(), "data": map[string]any{"code": "x", "hint": "y"}}
	} else {
		m["result"] = result
	}
	f.send(m)
}

func (f *fakeDevside) notify(method string, params any) {
	f.send(map[string]any{"jsonrpc": "2.0", "method": method, "params": params})
}

func (f *fakeDevside) send(m any) {
	body, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	f.out.Lock()
	defer f.out.Unlock()
	if f.fault == faultStrayLine {
		fmt.Println("a line that is no protocol")
	}
	fmt.Printf("Content-Length: %d\r\n\r\n%s", len(body), body)
}

func (f *fakeDevside) answer(m message) (any, error) {
	var p struct {
		Servers []string `json:"servers"`
		Server  string   `json:"server"`
	}
	if len(m.Params) > 0 {
		if err := json.Unmarshal(m.Params, &p); err != nil {
			return nil, err
		}
	}
	if p.Servers == nil {
		p.Servers = []string{apiName, webName}
	}
	switch m.Method {
	case "initialize":
		// A request that this client did not declare: it must say no and go on.
		f.send(map[string]any{"jsonrpc": "2.0", "id": 1, "method": "window/workDoneProgress/create", "params": map[string]any{"token": 1}})
		return map[string]any{"serverInfo": map[string]any{"name": "devside", "version": "fake"}}, nil
	case "devside/status":
		return f.status(), nil
	case "devside/start":
		return f.start(p.Servers)
	case "devside/stop":
		var out []any
		for _, n := range p.Servers {
			f.stop(f.servers[n])
			out = append(out, map[string]any{"name": n, "ok": true, "state": "stopped"})
		}
		return map[string]any{"servers": out}, nil
	case "devside/logs":
		f.mu.Lock()
		defer f.mu.Unlock()
		lines := []any{}
		for _, l := range f.servers[p.Server].log {
			lines = append(lines, map[string]any{"text": l})
		}
		return map[string]any{"lines": lines}, nil
	case "shutdown":
		f.stopAll()
		return nil, nil
	}
	return nil, errors.New("unknown method " + m.Method)
}

func (f *fakeDevside) status() any {
	f.mu.Lock()
	defer f.mu.Unlock()
	ready := 0
	servers := []any{}
	for _, n := range []string{apiName, webName} {
		s := f.servers[n]
		one := map[string]any{"name": n, "state": s.state, "url": "http://" + loopback(s.port)}
		if s.state == "ready" {
			ready++
			one["pid"] = s.cmd.Process.Pid
		}
		servers = append(servers, one)
	}
	return map[string]any{"servers": servers, "hubPid": os.Getpid(), "summary": map[string]any{"ready": ready, "total": 2}}
}

func (f *fakeDevside) start(names []string) (any, error) {
	var out []any
	for _, n := range names {
		s := f.servers[n]
		if l, err := net.Listen("tcp", loopback(s.port)); err != nil {
			if f.fault == faultSaysReady {
				out = append(out, map[string]any{"name": n, "ok": true, "state": "ready"})
				continue
			}
			out = append(out, map[string]any{"name": n, "ok": false, "state": "blocked",
				"error": map[string]any{"code": "port-taken", "message": "port is taken", "hint": "stop who holds it"}})
			f.publishTaken(s)
			continue
		} else if err := l.Close(); err != nil {
			return nil, err
		}
		f.publish([]any{})
		if err := f.spawn(s); err != nil {
			return nil, err
		}
		out = append(out, map[string]any{"name": n, "ok": true, "state": "ready", "pid": s.cmd.Process.Pid, "readyMs": 1})
	}
	return map[string]any{"servers": out}, nil
}

func (f *fakeDevside) publish(diagnostics []any) {
	wd, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	f.notify("textDocument/publishDiagnostics", map[string]any{"uri": fileURI(filepath.Join(wd, "devside.yaml")), "diagnostics": diagnostics})
}

func (f *fakeDevside) publishTaken(s *fakeServer) {
	text, err := os.ReadFile("devside.yaml")
	if err != nil {
		panic(err)
	}
	before, _, _ := strings.Cut(string(text), fmt.Sprintf("port: %d\n", s.port))
	line := strings.Count(before, "\n")
	if f.fault == faultWrongLine {
		line--
	}
	f.publish([]any{map[string]any{
		"range":    map[string]any{"start": map[string]any{"line": line, "character": 10}, "end": map[string]any{"line": line, "character": 15}},
		"severity": 1, "code": "port-taken", "source": "devside", "message": fmt.Sprintf("port %d is taken by demo (pid %d)", s.port, os.Getppid()),
	}})
}

func (f *fakeDevside) spawn(s *fakeServer) error {
	cmd := exec.Command(s.argv0, s.mode)
	cmd.Env = s.env
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		text := lines.Text()
		f.mu.Lock()
		s.log = append(s.log, text)
		f.mu.Unlock()
		if m := childLine.FindStringSubmatch(text); m != nil {
			s.child, _ = strconv.Atoi(m[1])
		}
		if strings.HasPrefix(text, "listening") {
			break
		}
	}
	go io.Copy(io.Discard, r) //nolint:errcheck // keeps the server from blocking
	f.mu.Lock()
	s.cmd, s.state, s.asked, s.gone = cmd, "ready", false, make(chan struct{})
	f.mu.Unlock()
	f.ending.Go(func() { f.watch(s, cmd, s.gone) })
	return nil
}

// watch reaps a server and brings it back if it ended by itself.
func (f *fakeDevside) watch(s *fakeServer, cmd *exec.Cmd, gone chan struct{}) {
	cmd.Wait() //nolint:errcheck // killed, or asked to end
	if s.child != 0 && f.fault != faultLeakChild {
		if p, err := os.FindProcess(s.child); err == nil {
			p.Kill() //nolint:errcheck // it may have ended
			for w, deadline := see("the child", s.child), time.Now().Add(testBound); !w.gone() && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond) // whoever adopted it reaps it
			}
		}
	}
	f.mu.Lock()
	crashed := !s.asked && !f.quiet
	s.state = "stopped"
	if crashed {
		s.state = "backoff"
	}
	f.mu.Unlock()
	close(gone)
	if !crashed {
		return
	}
	f.notify("devside/didHappen", map[string]any{"kind": "crash", "server": s.name, "message": s.name + " was ended by SIGKILL"})
	f.notify("devside/didChangeStatus", f.status())
	if f.fault == faultNoRestart {
		return
	}
	if err := f.spawn(s); err != nil {
		panic(err)
	}
	f.notify("devside/didChangeStatus", f.status())
}

// watchEnv restarts the API when its env file has changed.
func (f *fakeDevside) watchEnv(stop chan struct{}) {
	first, err := os.ReadFile(envName)
	if err != nil || f.fault == faultBlind {
		return
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-stop:
			return
		}
		if text, err := os.ReadFile(envName); err != nil || len(text) == 0 || bytes.Equal(text, first) {
			continue
		}
		s := f.servers[apiName]
		f.stop(s)
		f.notify("devside/didHappen", map[string]any{"kind": "restart", "server": apiName, "message": "api restarts because .env changed",
			"because": map[string]any{"file": envName, "rule": "env file"}})
		if err := f.spawn(s); err != nil {
			panic(err)
		}
		f.notify("devside/didChangeStatus", f.status())
		return // once
	}
}

func (f *fakeDevside) stop(s *fakeServer) {
	f.mu.Lock()
	running := s.state == "ready"
	s.asked = true
	cmd, gone := s.cmd, s.gone
	f.mu.Unlock()
	if !running {
		return
	}
	cmd.Process.Kill() //nolint:errcheck // it may have ended
	<-gone
}

func (f *fakeDevside) stopAll() {
	f.mu.Lock()
	f.quiet = true
	f.mu.Unlock()
	for _, s := range f.servers {
		f.stop(s)
	}
	f.ending.Wait()
}

// getHealth asks an API under test about itself.
func getHealth(ctx context.Context, base string) (health, error) {
	var h health
	body, err := get(ctx, base+"/api/health")
	if err != nil {
		return h, err
	}
	return h, json.Unmarshal([]byte(body), &h)
}
