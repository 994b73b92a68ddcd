package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

// upTerminal is a terminal with `up` running in it, its start asked for.
func upTerminal(t *testing.T, args ...string) (*terminal, chan any, <-chan int) {
	t.Helper()
	term := newTerminal(t, twoServers)
	term.hub = newFakeHub(t, at("api", status.Stopped), at("web", status.Stopped))
	release := make(chan any, 1)
	term.hub.hold("start", release)
	term.hub.on("stop", wire.StartResult{Servers: []wire.ServerResult{}}, nil)
	code := term.begin(append([]string{"up"}, args...)...)
	term.hub.awaitCall("start")
	return term, release, code
}

var bothReady = wire.StartResult{Servers: []wire.ServerResult{
	{Name: "api", OK: true, State: status.Ready, PID: 1}, {Name: "web", OK: true, State: status.Ready, PID: 2}}}

func TestUpShowsWhatHappensUntilCtrlC(t *testing.T) {
	term, release, code := upTerminal(t)
	if !term.hub.made(`logs {"server":"api","follow":true}`) || !term.hub.made(`logs {"server":"web","follow":true}`) || !term.hub.made("start {}") {
		t.Errorf("calls: %q", term.hub.calls)
	}
	if d := term.hub.dialled; d.role != wire.Holder || d.client != "devside up" {
		t.Errorf("dialled as %+v", d)
	}
	term.hub.send(wire.DidChangeStatus, term.hub.set(at("api", status.Starting), at("web", status.Waiting)))
	term.out.await(t, "web | - waiting\n")
	term.hub.send(wire.DidLog, wire.DidLogParams{Server: "api", Lines: []wire.LogLine{logLine("listening", 0)}})
	term.out.await(t, "api | listening\n")
	term.hub.send(wire.DidChangeStatus, term.hub.set(ready("api", 1), ready("web", 2)))
	term.out.await(t, "api | - http://127.0.0.1:4000\n")
	release <- bothReady

	term.hub.send(wire.DidHappen, wire.DidHappenParams{Event: status.Event{Kind: status.HappenedCrash, Server: "api", Message: "in its output, too"}})
	term.hub.send(wire.DidHappen, wire.DidHappenParams{Event: status.Event{Kind: status.HappenedReload, Message: "the configuration was read again"}})
	term.out.await(t, "the configuration was read again\n")
	down := at("api", status.Backoff)
	down.Run, down.RestartInMs, down.Message = 1, 2000, "ended with code 1, starts again in 2 s"
	problem := status.NewProblem(status.Crashed, "api", "the server ended by itself", testNow)
	problem.Hint = "see its log"
	p := term.hub.setBroken([]status.Problem{problem}, down, ready("web", 2))
	term.hub.send(wire.DidChangeStatus, p)
	term.out.await(t, "api | warning crashed: the server ended by itself\napi | hint: see its log\n")
	term.hub.send(wire.DidChangeStatus, p)

	// What the output has just said is not said again, only what to do.
	problem = status.NewProblem(status.CannotStart, "api", "api.js is gone", testNow)
	problem.Hint = "bring it back"
	term.hub.send(wire.DidLog, wire.DidLogParams{Server: "api", Lines: []wire.LogLine{{Stream: "devside", Text: "api.js is gone"}}})
	term.out.await(t, "api | - api.js is gone\n")
	term.hub.send(wire.DidChangeStatus, term.hub.setBroken([]status.Problem{problem}, at("api", status.Blocked), ready("web", 2)))
	term.out.await(t, "api | error cannot-start\napi | hint: bring it back\n")

	term.stop(errInterrupted)
	term.out.await(t, "stopping")
	term.waited <- nil
	term.awaitExit(code, exitInterrupted)
	if !term.hub.made("stop {}") {
		t.Error("Ctrl-C stopped nothing")
	}
	if n := strings.Count(term.out.String(), "warning crashed"); n != 1 {
		t.Errorf("the problem is shown %d times", n)
	}
	if strings.Contains(term.out.String(), "in its output, too") {
		t.Error("what a server's output says is said twice")
	}
	select {
	case <-term.hub.done:
	default:
		t.Error("the hub is still held")
	}
}

func TestUpHurries(t *testing.T) {
	term, release, code := upTerminal(t)
	release <- bothReady
	term.hub.hold("stop", nil)
	term.stop(errInterrupted)
	term.hub.awaitCall("stop")
	close(term.hurry)
	term.awaitExit(code, exitInterrupted)
	term.hub.Close() //nolint:errcheck // a fake's; ends the call that nobody waits for

	// Where the hub can be hurried, it is, and its end awaited.
	term = newTerminal(t, twoServers)
	term.hub = newFakeHub(t)
	hurried := make(chan struct{})
	fg := upHub{hub: term.hub, wait: func() error { return <-term.waited }, hurry: func() { close(hurried) }}
	term.app.output = outputText
	u := &upRun{app: term.app, fg: fg, in: newInbox(), view: term.app.newLogView(nil, true), following: map[string]bool{}, said: map[string]string{}}
	stopping := make(chan any, 1)
	term.hub.hold("stop", stopping)
	ended := make(chan error, 1)
	go func() { ended <- u.end(t.Context()) }()
	close(term.hurry)
	<-hurried
	stopping <- wire.StartResult{}
	term.waited <- errors.New("the guardian failed")
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "the guardian failed") {
		t.Errorf("%v", err)
	}
}

func TestUpAttaches(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.attached = true
	term.hub = newFakeHub(t, ready("api", 1), ready("web", 2))
	term.hub.on("logs", wire.LogsResult{Lines: []wire.LogLine{logLine("from before", 0)}, Token: "t"}, nil)
	term.hub.on("start", bothReady, nil)
	code := term.begin("up")
	term.out.await(t, "api | from before\n")
	term.out.await(t, "attached, Ctrl-C leaves it running")
	term.hub.awaitCall("start")
	term.stop(errInterrupted)
	term.awaitExit(code, exitInterrupted)
	term.wants(term.out, "detached: the servers go on running", "devside stop")
	if term.hub.made("stop {}") {
		t.Error("what was running already was stopped")
	}
	if !term.hub.made(`logs {"server":"api","lines":10,"follow":true}`) {
		t.Errorf("calls: %q", term.hub.calls)
	}
}

func TestUpEndsWhenNothingStarted(t *testing.T) {
	term, release, code := upTerminal(t)
	term.waited <- nil
	problem := status.NewProblem(status.CommandMissing, "api", "node was not found", testNow)
	term.hub.setBroken([]status.Problem{problem}, at("api", status.Blocked), at("web", status.Stopped))
	release <- wire.StartResult{Servers: []wire.ServerResult{{Name: "api", State: status.Blocked,
		Error: &wire.ServerError{Code: "command-missing", Message: "node was not found", Hint: "install it"}}}}
	term.awaitExit(code, exitStart)
	term.wants(term.out, "api | error command-missing: node was not found")
	term.wants(term.err, "1 of 1 server did not start", "hint: install it")
}

func TestUpStaysWhenSomethingStarted(t *testing.T) {
	term, release, code := upTerminal(t)
	term.hub.set(ready("api", 1), at("web", status.Blocked))
	release <- wire.StartResult{Servers: []wire.ServerResult{{Name: "api", OK: true, State: status.Ready},
		{Name: "web", State: status.Blocked, Error: &wire.ServerError{Code: "port-taken", Message: "taken"}}}}
	term.out.await(t, "api | - http://127.0.0.1:4000\n")
	term.hub.send(wire.DidChangeStatus, term.hub.set(at("api", status.Stopped), at("web", status.Stopped)))
	term.waited <- nil
	term.awaitExit(code, exitOK)
	term.wants(term.out, "all servers are stopped")
}

func TestUpRefusals(t *testing.T) {
	term := newTerminal(t, "version: 1\nservers:\n  api: {prot: 1}\n")
	term.run(exitConfig, "up")
	term = newTerminal(t, "")
	term.run(exitConfig, "up")
	term = newTerminal(t, twoServers)
	term.run(exitHub, "up")
	term.wants(term.err, "start a hub: no room")

	term, _, code := upTerminal(t)
	close(term.waited)
	term.hub.Close() //nolint:errcheck // a fake's; the next one is lost, too
	term.awaitExit(code, exitHub)
	term.wants(term.out, "devside's hub was lost: starting again")

	term = newTerminal(t, twoServers)
	term.hub = newFakeHub(t, at("api", status.Stopped))
	term.hub.on("start", nil, rpc.Errorf(wire.CodeUntrusted, nil, "not trusted"))
	term.hub.on("stop", wire.StartResult{}, nil)
	term.waited <- nil
	term.run(exitUntrusted, "up")
}

func TestUpFollowsOnlyWhatIsConcerned(t *testing.T) {
	web := at("web", status.Stopped)
	web.DependsOn = []string{"api"}
	u := &upRun{wanted: []string{"web"}, now: &status.Project{Servers: []status.Server{at("api", status.Stopped), web, at("other", status.Stopped)}}}
	for name, want := range map[string]bool{"web": true, "api": true, "other": false} {
		if u.concerns(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func TestUpInJSON(t *testing.T) {
	term, release, code := upTerminal(t, "--output", "json")
	term.hub.send(wire.DidLog, wire.DidLogParams{Server: "api", Lines: []wire.LogLine{logLine("x", 0)}})
	term.hub.send(wire.DidHappen, wire.DidHappenParams{Event: status.Event{Kind: status.HappenedReady, Server: "api"}})
	term.hub.set(ready("api", 1))
	release <- bothReady
	term.out.await(t, `{"method":"devside/start","result":{`)
	term.out.await(t, `{"method":"devside/didHappen","params":{`)
	term.out.await(t, `{"method":"devside/didLog","params":{`)
	term.out.await(t, `{"method":"devside/didChangeStatus","params":{`)
	term.stop(errInterrupted)
	term.waited <- nil
	term.awaitExit(code, exitInterrupted)
	for line := range strings.Lines(term.out.String()) {
		if !strings.HasPrefix(line, `{"method":"devside/`) {
			t.Errorf("not a line of JSON: %s", line)
		}
	}
}
