package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/status"
)

func identify(t *testing.T, pid int) proc.Identity {
	t.Helper()
	id, err := proc.Identify(pid)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

const tough = "stop: {grace: 60s}\n"

func TestAHubThatNobodyWantsEnds(t *testing.T) {
	l := open(t, config(server("api", "serve")), func(o *Options) { o.patience.first = 30 * time.Millisecond })
	if err := l.awaitEnd(); err != nil {
		t.Error(err)
	}
}

// TestLeaveIsAnsweredWhenTheServersAreDown, for the last holder without
// linger; then the hub ends.
func TestLeaveIsAnsweredWhenTheServersAreDown(t *testing.T) {
	l := open(t, config(server("api", "serve"), server("web", "serve", "depends_on: [api]\n")), func(o *Options) { o.patience.leave = deadline })
	c := l.join(wire.Holder)
	var ran []proc.Identity
	for _, s := range c.start() {
		ran = append(ran, identify(t, s.PID))
	}
	var res wire.LeaveResult
	c.must(wire.Leave, nil, &res)
	for _, id := range ran {
		if id.Alive() {
			t.Errorf("when leave was answered, %v was alive", id)
		}
	}
	if !res.Last || !res.Stopped {
		t.Errorf("leave: %+v", res)
	}
	if err := l.awaitEnd(); err != nil {
		t.Error(err)
	}
	c.awaitClosed()
}

func TestLeaveOfOneOfTwo(t *testing.T) {
	l := open(t, config(server("api", "serve")))
	a, b := l.join(wire.Holder), l.join(wire.Holder)
	a.start()
	var res wire.LeaveResult
	a.must(wire.Leave, nil, &res)
	if res.Last || res.Stopped {
		t.Errorf("leave of one of two: %+v", res)
	}
	a.must(wire.Leave, nil, &res) // and again: it holds no more
	b.state("api", status.Ready)
	v := l.join(wire.Visitor)
	v.must(wire.Leave, nil, &res)
	if res.Last || res.Stopped {
		t.Errorf("leave of a visitor: %+v", res)
	}
	b.state("api", status.Ready)
}

func TestLeaveWithLinger(t *testing.T) {
	l := open(t, config(server("api", "serve")))
	a := l.join(wire.Holder, lingering(time.Hour))
	pid := a.start()[0].PID
	var res wire.LeaveResult
	a.must(wire.Leave, nil, &res)
	if !res.Last || res.Stopped {
		t.Errorf("leave with linger: %+v", res)
	}
	a.close()
	// A window that is reloaded finds its servers.
	b := l.join(wire.Holder, lingering(20*time.Millisecond))
	if s := b.server("api"); s.PID != pid || s.State != status.Ready {
		t.Errorf("after a reload of the window: %+v", s)
	}
	// The latest of the wishes counts; quit, with nobody holding, ends it all the same.
	b.must(wire.Leave, nil, &res)
	b.close()
	var quit wire.QuitResult
	l.join(wire.Visitor).must(wire.Quit, nil, &quit)
	if !quit.Quit {
		t.Errorf("quit while it only lingers: %+v", quit)
	}
	if err := l.awaitEnd(); err != nil {
		t.Error(err)
	}
}

// TestAStubbornServerDoesNotHoldUpLeave: it is answered in time, and the
// stopping goes on.
func TestAStubbornServerDoesNotHoldUpLeave(t *testing.T) {
	l := open(t, config(server("mule", "stubborn", tough)), func(o *Options) { o.patience.leave = 30 * time.Millisecond })
	c := l.join(wire.Holder)
	id := identify(t, c.start()[0].PID)
	var res wire.LeaveResult
	c.must(wire.Leave, nil, &res)
	if !res.Last || res.Stopped {
		t.Errorf("leave: %+v", res)
	}
	v := l.join(wire.Visitor) // looking is allowed
	v.state("mule", status.Stopping)
	v.must(wire.Leave, nil, &res) // and waits for the same stop, as long
	c.close()
	v.must(wire.Hurry, nil, nil)
	if err := l.awaitEnd(); err != nil {
		t.Error(err)
	}
	if id.Alive() {
		t.Errorf("%v is alive", id)
	}
}

// TestAHolderThatComesDuringTheStopKeepsTheHub, and what it starts meanwhile
// is not stopped by it.
func TestAHolderThatComesDuringTheStopKeepsTheHub(t *testing.T) {
	l := open(t, config(server("mule", "stubborn", tough), server("web", "serve", tough), server("front", "stubborn", tough, "depends_on: [web]\n")))
	a := l.join(wire.Holder)
	a.start()
	old := identify(t, a.server("web").PID)
	v := l.join(wire.Visitor)
	a.close()
	v.awaitState("front", status.Stopping)
	b := l.join(wire.Holder)
	p := l.peer()
	p.write(frame(1, wire.Hello, l.hello(wire.Visitor)))
	p.answer(1)
	// web still runs and is about to be stopped: a start of it must not be
	// answered with what is going.
	p.write(frame(2, "devside/start", wire.StartParams{Servers: []string{"web"}}))
	p.write(frame(3, "devside/start", wire.StartParams{Servers: []string{"web"}}) + frame(0, "$/cancelRequest", map[string]int{"id": 3}))
	if r := p.answer(3); r.Error == nil || r.Error.Code != wire.CodeCancelled {
		t.Errorf("a start that was cancelled before it began: %+v", r)
	}
	b.must(wire.Hurry, nil, nil)
	var res wire.StartResult
	if r := p.answer(2); r.Error != nil || json.Unmarshal(r.Result, &res) != nil {
		t.Fatalf("start during the stop: %+v", r)
	}
	if len(res.Servers) != 1 || !res.Servers[0].OK || res.Servers[0].PID == old.PID {
		t.Errorf("start during the stop: %+v", res)
	}
	b.state("web", status.Ready)
	b.state("mule", status.Stopped)
	l.alive()
}

// TestTheLeaseOfATerminal: what `devside start` started runs on when the
// terminal has gone, until all is stopped; whoever stops it is answered.
func TestTheLeaseOfATerminal(t *testing.T) {
	l := open(t, config(server("api", "serve"), server("web", "serve")))
	c := l.join(wire.Starter, lingering(0))
	c.start()
	var left wire.LeaveResult
	c.must(wire.Leave, nil, &left)
	if left.Last || left.Stopped {
		t.Errorf("leave under a lease: %+v", left)
	}
	c.close()
	v := l.join(wire.Visitor)
	v.state("api", status.Ready)
	var quit wire.QuitResult
	v.must(wire.Quit, nil, &quit)
	if quit.Quit || quit.Why == "" {
		t.Errorf("quit under a lease: %+v", quit)
	}
	v.allOK("devside/stop", wire.StartParams{Servers: []string{"api"}})
	v.state("web", status.Ready)
	v.allOK("devside/stop", wire.StartParams{})
	if err := l.awaitEnd(); err != nil {
		t.Error(err)
	}
}

// TestALeaseForNothingEnds with the start that failed.
func TestALeaseForNothingEnds(t *testing.T) {
	for _, params := range []wire.StartParams{{Servers: []string{"nobody"}}, {Servers: []string{"bad"}}} {
		l := open(t, config(server("bad", "crash", "restart: {on: never}\n")))
		h := l.join(wire.Holder)
		c := l.join(wire.Starter)
		c.ask("devside/start", params, nil) // whatever it says
		var res wire.LeaveResult
		h.must(wire.Leave, nil, &res)
		if !res.Last {
			t.Errorf("after a start of %v the lease goes on", params.Servers)
		}
		if err := l.awaitEnd(); err != nil {
			t.Error(err)
		}
	}
}

// TestWhatEndsTheHubIsAnswered: the end does not overtake the answer.
func TestWhatEndsTheHubIsAnswered(t *testing.T) {
	for i := range 10 {
		l := open(t, config(server("api", "serve")), func(o *Options) { o.patience.leave = deadline })
		a := l.join(wire.Holder)
		switch i % 2 {
		case 0:
			var res wire.LeaveResult
			a.must(wire.Leave, nil, &res)
			if !res.Last || !res.Stopped {
				t.Errorf("leave: %+v", res)
			}
		default:
			var res wire.QuitResult
			a.must(wire.Quit, nil, &res) // alone: its own hold does not count
			if !res.Quit {
				t.Errorf("quit: %+v", res)
			}
		}
		if err := l.awaitEnd(); err != nil {
			t.Error(err)
		}
	}
}

func TestQuit(t *testing.T) {
	l := open(t, config(server("mule", "stubborn", tough)))
	a := l.join(wire.Holder, lingering(time.Hour))
	a.start()
	stranger := l.dial() // of any version: it needs no hello
	var res wire.QuitResult
	stranger.must(wire.Quit, wire.QuitParams{}, &res)
	if res.Quit || res.Why == "" {
		t.Errorf("quit of a hub that is held: %+v", res)
	}
	l.alive()
	a.must(wire.Leave, nil, nil) // it lingers, but nothing holds
	stranger.must(wire.Quit, wire.QuitParams{}, &res)
	if !res.Quit {
		t.Errorf("quit of a hub that is not held: %+v", res)
	}
	// Somebody needs it after all.
	l.log.await(t, "nobody holds")
	b := l.join(wire.Holder)
	b.awaitState("mule", status.Stopping)
	b.must(wire.Hurry, nil, nil)
	b.awaitState("mule", status.Stopped)
	b.start()
	b.must(wire.Quit, nil, &res)
	if !res.Quit {
		t.Errorf("quit by the only holder: %+v", res)
	}
	b.must(wire.Hurry, nil, nil)
	l.shut()
}

// TestALostGuardianEndsTheHub, also where a client does not read.
func TestALostGuardianEndsTheHub(t *testing.T) {
	l := open(t, config(server("loud", "chatter")), func(o *Options) { o.patience.write = time.Hour })
	c := l.join(wire.Holder)
	id := identify(t, c.start()[0].PID)
	silent := l.peer()
	silent.write(frame(1, wire.Hello, l.hello(wire.Holder)))
	silent.answer(1)
	for i := range 20 {
		silent.write(frame(2+i, "devside/logs", wire.LogsParams{Server: "loud", Follow: true}))
	}
	c.status()
	close(l.life)
	if err := l.awaitEnd(); !errors.Is(err, ErrGuardianLost) {
		t.Errorf("Run returned %v", err)
	}
	c.awaitClosed()
	if id.Alive() {
		t.Errorf("%v is alive", id)
	}
}

func TestAHubThatIsToldToEndEnds(t *testing.T) {
	l := open(t, config(server("web", "never")))
	c := l.join(wire.Holder)
	started := make(chan error, 1)
	go func() { started <- c.ask("devside/start", nil, nil) }()
	c.awaitState("web", status.Starting)
	l.cancel()
	if err := l.awaitEnd(); err != nil {
		t.Error(err)
	}
	c.awaitClosed()
	<-started
}

// TestANewHubRestoresWhatRan for a client that held the one that was lost.
func TestANewHubRestoresWhatRan(t *testing.T) {
	l := open(t, config(server("api", "serve"), server("web", "serve", "depends_on: [api]\n"), server("idle", "serve")))
	c := l.join(wire.Holder)
	c.start("web")
	l.shut()
	l.run()
	v := l.join(wire.Visitor, func(p *wire.HelloParams) { p.Resume = true })
	v.state("api", status.Stopped) // a visitor resumes nothing
	c = l.join(wire.Holder, func(p *wire.HelloParams) { p.Resume = true })
	c.awaitState("api", status.Ready)
	c.awaitState("web", status.Ready)
	c.state("idle", status.Stopped)
	v.awaitEvent(status.HappenedRestore)
}

func TestTooManyClients(t *testing.T) {
	l := open(t, config(server("api", "serve")), func(o *Options) { o.patience.hello = time.Hour })
	c := l.join(wire.Holder)
	var many []net.Conn
	for range maxClients - 1 {
		raw, err := net.Dial("unix", l.paths.Socket())
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		many = append(many, raw)
	}
	extra := l.dial()
	extra.awaitClosed()
	l.log.await(t, "too many")
	c.status()
	many[0].Close()
	// Its place is free once the hub has seen it go.
	for over := time.After(deadline); ; {
		next := l.dial()
		if err := next.ask(wire.Hello, l.hello(wire.Visitor), nil); err == nil {
			break
		}
		select {
		case <-over:
			t.Fatal("no place came free")
		default:
		}
	}
}

// exhausted is a listener of a process that has no descriptors left, twice.
type exhausted struct {
	net.Listener
	fails chan struct{}
}

func (e *exhausted) Accept() (net.Conn, error) {
	select {
	case <-e.fails:
		return nil, fmt.Errorf("accept: %w", syscall.EMFILE)
	default:
		return e.Listener.Accept()
	}
}

// TestAFailureToAcceptIsNotTheEnd: a hub that ran out of descriptors takes
// clients again when there are some.
func TestAFailureToAcceptIsNotTheEnd(t *testing.T) {
	fails := make(chan struct{}, 2)
	fails <- struct{}{}
	fails <- struct{}{}
	l := open(t, config(server("api", "serve")), func(o *Options) { o.Listener = &exhausted{o.Listener, fails} })
	l.join(wire.Holder).status()
	l.log.await(t, "accept a client")
}
