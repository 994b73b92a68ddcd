package hub

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

func TestEveryVerbIsServed(t *testing.T) {
	var named []string
	for _, v := range wire.Verbs {
		named = append(named, v.Name)
		if verbs[v.Name] == nil {
			t.Errorf("%s is in wire.Verbs and not served", v.Name)
		}
	}
	for name := range verbs {
		if !slices.Contains(named, name) {
			t.Errorf("%s is served and not in wire.Verbs", name)
		}
	}
}

func TestBadParamsAreRefused(t *testing.T) {
	l := open(t, config(server("api", "serve")))
	c := l.join(wire.Visitor, lingering(0))
	for _, v := range wire.Verbs {
		if v.Name == "quit" {
			continue // frozen: taken from any version, with whatever it says
		}
		e, _ := c.refused("devside/"+v.Name, json.RawMessage(`{"nonsense":1}`), wire.CodeInvalidParams, "invalid-params")
		if !strings.Contains(e.Message, "nonsense") {
			t.Errorf("%s: the error does not name the member: %v", v.Name, e)
		}
	}
	for _, c2 := range []struct{ verb, params string }{
		{"start", `{"servers":"api"}`},
		{"start", `{"servers":[1]}`},
		{"stop", `{"wait":"no"}`},
		{"restart", `[]`},
		{"logs", `{"server":"api","lines":"all"}`},
		{"logs", `{"server":"api","since":"yesterday"}`},
		{"trust", `{"hash":7}`},
		{"unfollow", `{"token":{}}`},
	} {
		c.refused("devside/"+c2.verb, json.RawMessage(c2.params), wire.CodeInvalidParams, "invalid-params")
	}
	for _, method := range []string{"devside/nonsense", "nonsense", "initialize", "status"} {
		c.refused(method, nil, wire.CodeMethodNotFound, "unknown-method")
	}
	for _, verb := range []string{"start", "stop", "restart", "reset"} {
		_, data := c.refused("devside/"+verb, wire.StartParams{Servers: []string{"api", "apo"}}, wire.CodeInvalidParams, "unknown-server")
		if !slices.Equal(data.Known, []string{"api"}) {
			t.Errorf("%s: the known servers are %v", verb, data.Known)
		}
	}
	if _, data := c.refused("devside/logs", wire.LogsParams{Server: "apo"}, wire.CodeInvalidParams, "unknown-server"); !slices.Equal(data.Known, []string{"api"}) {
		t.Errorf("logs: the known servers are %v", data.Known)
	}
	c.state("api", status.Stopped) // none of it has started anything
}

func TestStartRestartStop(t *testing.T) {
	l := open(t, config(server("api", "serve"), server("web", "serve", "depends_on: [api]\n"), server("bad", "crash", "restart: {on: never}\n")))
	c := l.join(wire.Holder)
	ran := c.start("web")
	if len(ran) != 2 || ran[0].Name != "api" || ran[1].Name != "web" || ran[1].State != status.Ready || ran[1].PID == 0 || ran[1].ReadyMs == nil {
		t.Fatalf("start of web: %+v", ran)
	}
	if again := c.start("web"); again[1].PID != ran[1].PID {
		t.Errorf("a start of what runs started it again: %+v", again)
	}
	fresh := c.allOK("devside/restart", wire.StartParams{Servers: []string{"web"}})
	if s := c.server("api"); s.PID != ran[0].PID {
		t.Errorf("a restart of web restarted api, too")
	}
	if w := fresh[len(fresh)-1]; w.Name != "web" || w.PID == ran[1].PID {
		t.Errorf("restart of web: %+v", fresh)
	}
	var res wire.StartResult
	c.must("devside/start", wire.StartParams{Servers: []string{"bad"}}, &res)
	if len(res.Servers) != 1 || res.Servers[0].OK || res.Servers[0].Error == nil || res.Servers[0].Error.Message == "" {
		t.Errorf("a server that crashes is not an error, and not ok: %+v", res)
	}
	c.allOK("devside/stop", wire.StartParams{})
	p := c.status()
	for _, name := range []string{"api", "web"} {
		if s, _ := p.Server(name); s.State != status.Stopped || s.PID != 0 {
			t.Errorf("after stop: %+v", s)
		}
	}
	var none wire.StartResult
	c.must("devside/start", json.RawMessage(`{"servers":[]}`), &none)
	if none.Servers == nil || len(none.Servers) != 0 {
		t.Errorf("a start of no server: %+v", none)
	}
}

func TestWithoutWaitingTheAnswerComesAtOnce(t *testing.T) {
	l := open(t, config(server("slow", "never"), server("tough", "stubborn", "stop: {grace: 60s}\n")))
	c := l.join(wire.Holder)
	no := false
	ran := c.allOK("devside/start", wire.StartParams{Servers: []string{"slow"}, Wait: &no})
	if len(ran) != 1 || ran[0].State == status.Ready {
		t.Errorf("start without waiting: %+v", ran)
	}
	c.awaitState("slow", status.Starting)
	c.start("tough")
	c.allOK("devside/stop", wire.StartParams{Wait: &no})
	c.awaitState("tough", status.Stopping)
	c.must(wire.Hurry, nil, nil)
	c.awaitState("tough", status.Stopped)
	c.awaitState("slow", status.Stopped)
}

func TestResetStartsWhatWasHeld(t *testing.T) {
	port := freePort(t)
	l := open(t, config(server("api", "serve", on(port)), server("other", "serve")))
	c := l.join(wire.Holder)
	squatter, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		t.Fatal(err)
	}
	defer squatter.Close()
	var res wire.StartResult
	c.must("devside/start", wire.StartParams{Servers: []string{"api"}}, &res)
	if r := res.Servers[0]; r.OK || r.State != status.Blocked || r.Error == nil || r.Error.Code != string(status.PortTaken) || r.Error.Hint == "" {
		t.Fatalf("a start on a taken port: %+v %+v", r, r.Error)
	}
	squatter.Close()
	ran := c.allOK("devside/reset", wire.StartParams{})
	if len(ran) != 1 || ran[0].Name != "api" || ran[0].State != status.Ready {
		t.Errorf("reset: %+v", ran)
	}
	c.state("other", status.Stopped) // it was not held
}

func TestPorts(t *testing.T) {
	port := freePort(t)
	l := open(t, config(server("api", "serve", on(port)), server("none", "serve")))
	c := l.join(wire.Holder)
	var res wire.PortsResult
	c.must("devside/ports", nil, &res)
	if len(res) != 1 || res[0].Port != port || res[0].Server != "api" || res[0].Holder != nil {
		t.Errorf("a free port: %+v", res)
	}
	pid := c.start("api")[0].PID
	c.must("devside/ports", wire.PortsParams{}, &res)
	if len(res) != 1 || res[0].Holder == nil || res[0].Holder.PID != pid || res[0].Holder.Server != "api" {
		t.Errorf("a port of ours: %+v", res)
	}
}

func TestReload(t *testing.T) {
	l := open(t, config(server("api", "serve"), server("old", "serve")))
	c := l.join(wire.Holder)
	pid := c.start("api")[0].PID
	var res wire.ReloadResult
	c.must("devside/reload", nil, &res)
	if !res.Valid || res.Added == nil || len(res.Added)+len(res.Changed)+len(res.Removed)+len(res.Restarted) != 0 {
		t.Errorf("a reload of the same: %+v", res)
	}
	l.write("version: 1\nservers: {api: {nonsense: 1}}\n")
	c.must("devside/reload", nil, &res)
	if res.Valid || res.Changed == nil {
		t.Errorf("a reload of a broken configuration: %+v", res)
	}
	if s := c.server("api"); s.PID != pid || s.State != status.Ready {
		t.Errorf("after it: %+v", s)
	}
	l.write(config(server("api", "serve", "stop: {grace: 1s}\n"), server("new", "serve")))
	c.must("devside/reload", nil, &res)
	want := wire.ReloadResult{Valid: true, Added: []string{"new"}, Changed: []string{"api"}, Removed: []string{"old"}, Restarted: []string{"api"}}
	if fmt.Sprint(res) != fmt.Sprint(want) {
		t.Errorf("a reload of another: %+v, want %+v", res, want)
	}
	c.awaitEvent(status.HappenedReload)
}

func TestAConfigurationWithErrorsStartsNothing(t *testing.T) {
	l := open(t, "version: 1\nservers:\n  api: {nonsense: 1}\n")
	c := l.join(wire.Holder)
	e, data := c.refused("devside/start", nil, wire.CodeConfigInvalid, string(status.ConfigInvalid))
	if !strings.Contains(e.Message, "devside.yaml:3") || data.Hint == "" {
		t.Errorf("the error does not say where: %v %+v", e, data)
	}
	l.shut()
	open(t, "").join(wire.Holder).refused("devside/start", nil, wire.CodeConfigInvalid, string(status.ConfigInvalid))
}

// TestTwoClientsSeeEachOthersChanges: state and events go to everybody.
func TestTwoClientsSeeEachOthersChanges(t *testing.T) {
	l := open(t, config(server("api", "serve")))
	a, b := l.join(wire.Holder), l.join(wire.Visitor)
	a.start()
	for _, c := range []*client{a, b} {
		c.awaitState("api", status.Ready)
		if e := c.awaitEvent(status.HappenedReady); e.Root != l.root || e.Server != "api" || e.At.IsZero() {
			t.Errorf("the event: %+v", e)
		}
	}
	b.allOK("devside/stop", wire.StartParams{})
	a.awaitState("api", status.Stopped)
}

// TestStatusesArePacedAndTheNewestWins: at most ten a second however often the
// state changes, and the last one is the last state.
func TestStatusesArePacedAndTheNewestWins(t *testing.T) {
	l := open(t, config(server("api", "serve")))
	c, other := l.join(wire.Holder), l.join(wire.Visitor)
	began := time.Now()
	const changes = 200
	for range changes { // each is a new sequence number
		other.must("devside/reload", nil, nil)
	}
	final := other.status().Sequence
	await(c, "the last state", wire.DidChangeStatus, func(p status.Project) bool { return p.Sequence >= final })
	most := int(time.Since(began)/statusEvery) + 2 // one at once, and one whose wait began before
	c.mu.Lock()
	defer c.mu.Unlock()
	n, last := 0, uint64(0)
	for _, told := range c.told {
		if told.method != wire.DidChangeStatus {
			continue
		}
		var p status.Project
		if err := json.Unmarshal(told.params, &p); err != nil {
			t.Fatal(err)
		}
		if p.Sequence <= last {
			t.Errorf("status %d after %d", p.Sequence, last)
		}
		n, last = n+1, p.Sequence
	}
	if n > most {
		t.Errorf("%d statuses, at most %d are due", n, most)
	}
}

// TestACancelledStartIsTakenBack: it is answered -32800, and what it had begun
// is stopped; what ran before is not.
func TestACancelledStartIsTakenBack(t *testing.T) {
	l := open(t, config(server("api", "serve"), server("web", "never", "depends_on: [api]\n")))
	c := l.join(wire.Holder)
	before := c.start("api")[0].PID
	p := l.peer()
	p.write(frame(1, wire.Hello, l.hello(wire.Visitor)))
	p.answer(1)
	p.write(frame(2, "devside/start", wire.StartParams{Servers: []string{"web"}}))
	c.awaitState("web", status.Starting)
	p.write(frame(0, "$/cancelRequest", map[string]int{"id": 2}))
	if r := p.answer(2); r.Error == nil || r.Error.Code != wire.CodeCancelled {
		t.Errorf("answered %+v", r)
	}
	c.forget()
	c.awaitState("web", status.Stopped)
	if s := c.server("api"); s.PID != before || s.State != status.Ready {
		t.Errorf("what ran before: %+v", s)
	}
}

// TestACancelledStopGoesOn: only its answer is given up.
func TestACancelledStopGoesOn(t *testing.T) {
	l := open(t, config(server("tough", "stubborn", "stop: {grace: 60s}\n")))
	c := l.join(wire.Holder)
	c.start()
	p := l.peer()
	p.write(frame(1, wire.Hello, l.hello(wire.Visitor)))
	p.answer(1)
	p.write(frame(2, "devside/stop", nil))
	c.awaitState("tough", status.Stopping)
	p.write(frame(0, "$/cancelRequest", map[string]int{"id": 2}))
	if r := p.answer(2); r.Error == nil || r.Error.Code != wire.CodeCancelled {
		t.Errorf("answered %+v", r)
	}
	c.state("tough", status.Stopping)
	c.must(wire.Hurry, nil, nil)
	c.awaitState("tough", status.Stopped)
}

// TestAClientThatVanishesInTheMiddleOfAStart leaves the hub and the start as
// they are for those who hold.
func TestAClientThatVanishesInTheMiddleOfAStart(t *testing.T) {
	l := open(t, config(server("web", "never")))
	c := l.join(wire.Holder)
	p := l.peer()
	p.write(frame(1, wire.Hello, l.hello(wire.Holder)))
	p.answer(1)
	p.write(frame(2, "devside/start", nil))
	c.awaitState("web", status.Starting)
	p.Close()
	c.state("web", status.Starting)
	c.allOK("devside/stop", wire.StartParams{})
	c.state("web", status.Stopped)
}

// TestClientsKilledInTheMiddleOfAFrame, or that talk nonsense, harm nobody.
func TestClientsKilledInTheMiddleOfAFrame(t *testing.T) {
	l := open(t, config(server("api", "serve")))
	c := l.join(wire.Holder)
	c.start()
	whole := frame(2, "devside/stop", nil)
	for _, rest := range []string{whole[:5], whole[:len(whole)-3], "Content-Length: 99999999999\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "\x00\xff\r\n\r\n"} {
		p := l.peer()
		p.write(frame(1, wire.Hello, l.hello(wire.Holder)))
		p.answer(1)
		p.write(rest)
		p.Close()
	}
	c.state("api", status.Ready) // half a stop is none
	var res wire.LeaveResult
	// Whoever has gone holds no more; the hub takes note one after the other.
	for over := time.After(deadline); !res.Last; {
		select {
		case <-over:
			t.Fatal("clients that have gone still hold")
		default:
			c.must(wire.Leave, nil, &res)
		}
	}
	if err := l.awaitEnd(); err != nil {
		t.Error(err)
	}
}

func TestTheFailureOfAVerbIsAnError(t *testing.T) {
	if _, ok := toWire(os.ErrPermission).(*rpc.Error); ok { //nolint:errorlint // the very type
		t.Error("an unknown error has a code of ours")
	}
}

func TestPortsAreFreedAndGiven(t *testing.T) {
	port := freePort(t)
	l := open(t, config(server("api", "serve", on(port)), server("dumb", "serve")))
	c := l.join(wire.Holder)
	var started wire.StartResult
	c.must("devside/start", wire.StartParams{Servers: []string{"api"}}, &started)
	var ports wire.PortsResult
	c.must("devside/ports", nil, &ports)
	h := ports[0].Holder
	if h == nil || h.Server != "api" || h.Started.IsZero() {
		t.Fatalf("%+v", h)
	}
	var freed wire.FreePortResult
	c.must("devside/freePort", wire.FreePortParams{Port: port, Holder: wire.HolderName{PID: h.PID, StartTime: "another"}}, &freed)
	if freed.Freed || freed.Why == "" {
		t.Errorf("on a stale identity: %+v", freed)
	}
	c.must("devside/freePort", wire.FreePortParams{Port: port, Holder: wire.HolderName{PID: h.PID, StartTime: h.StartTime}}, &freed)
	if !freed.Freed {
		t.Errorf("%+v", freed)
	}
	var next wire.NextPortResult
	c.must("devside/nextPort", wire.NextPortParams{Server: "api"}, &next)
	if next.Port == 0 || next.Port == port {
		t.Errorf("%+v", next)
	}
	for params, code := range map[wire.NextPortParams]string{{Server: "nobody"}: "unknown-server", {Server: "dumb"}: "no-port"} {
		c.refused("devside/nextPort", params, wire.CodeInvalidParams, code)
	}
}

// TestNoListIsNull: in no answer of any verb, and in nothing that is told.
func TestNoListIsNull(t *testing.T) {
	idle := open(t, "")
	c := idle.join(wire.Holder)
	check := func(what string, raw json.RawMessage) {
		t.Helper()
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatalf("%s: %v in %s", what, err, raw)
		}
		if at := nulls(v, ""); len(at) > 0 {
			t.Errorf("%s: null at %v in %s", what, at, raw)
		}
	}
	call := func(verb string, params any) {
		t.Helper()
		var raw json.RawMessage
		c.must("devside/"+verb, params, &raw)
		check(verb, raw)
	}
	for _, verb := range []string{"status", "stop", "ports", "reload", "quit"} {
		call(verb, nil)
	}
	if err := idle.awaitEnd(); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	l := open(t, config(server("api", "serve", on(port)), server("web", "serve", "depends_on: [api]\n"), server("bad", "crash", "restart: {on: never}\n")))
	c = l.join(wire.Holder)
	call("status", nil)
	call("logs", wire.LogsParams{Server: "api"})
	for _, verb := range []string{"start", "status", "ports", "restart", "reset", "reload", "stop", "status"} {
		call(verb, nil)
	}
	call("logs", wire.LogsParams{Server: "api", Follow: true})
	call("unfollow", wire.UnfollowParams{Token: "log-1-1"})
	p := c.status()
	call("trust", wire.TrustParams{Hash: p.Trust.Hash})
	c.awaitEvent(status.HappenedTrust)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.told {
		check(n.method, n.params)
	}
}

// nulls lists the places of nulls.
func nulls(v any, at string) []string {
	var out []string
	switch v := v.(type) {
	case nil:
		out = append(out, at)
	case []any:
		for _, e := range v {
			out = append(out, nulls(e, at+"[]")...)
		}
	case map[string]any:
		for k, e := range v {
			out = append(out, nulls(e, at+"."+k)...)
		}
	}
	return out
}
