package hub

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

func TestHello(t *testing.T) {
	l := open(t, config(server("api", "serve")))
	c := l.dial()
	c.refused("devside/status", nil, wire.CodeNotInitialized, "hello-first")
	c.refused(wire.Leave, nil, wire.CodeNotInitialized, "hello-first")
	c.refused(wire.Hurry, nil, wire.CodeNotInitialized, "hello-first")
	c.refused("devside/nonsense", nil, wire.CodeNotInitialized, "hello-first")
	c.refused(wire.Hello, nil, wire.CodeInvalidParams, "invalid-params")
	c.refused(wire.Hello, json.RawMessage(`{"protocol":"one"}`), wire.CodeInvalidParams, "invalid-params")

	p := l.hello(wire.Holder)
	p.Protocol = 99
	e, data := c.refused(wire.Hello, p, wire.CodeProtocolMismatch, "protocol-mismatch")
	if data.Version != "1.2.3" || data.PID != os.Getpid() || data.Hint == "" || !strings.Contains(e.Message, "protocol 99") {
		t.Errorf("a mismatch does not say who is here: %v %+v", e, data)
	}
	p = l.hello(wire.Holder)
	p.Root = "/elsewhere"
	c.refused(wire.Hello, p, wire.CodeInvalidParams, "wrong-root")
	p = l.hello("king")
	if _, data := c.refused(wire.Hello, p, wire.CodeInvalidParams, "invalid-params"); len(data.Known) != 3 {
		t.Errorf("the known roles are %v", data.Known)
	}

	var res wire.HelloResult
	c.must(wire.Hello, l.hello(wire.Holder), &res)
	if want := (wire.HelloResult{Protocol: wire.Protocol, Version: "1.2.3", Root: l.root, PID: os.Getpid()}); res != want {
		t.Errorf("hello is answered %+v, want %+v", res, want)
	}
	c.refused(wire.Hello, l.hello(wire.Holder), wire.CodeInvalidRequest, "hello-twice")
	// The members a newer client has are no fault.
	more, err := json.Marshal(l.hello(wire.Visitor))
	if err != nil {
		t.Fatal(err)
	}
	l.dial().must(wire.Hello, json.RawMessage(strings.Replace(string(more), "{", `{"novel":1,`, 1)), nil)
	if p := c.status(); p.Root != l.root || len(p.Servers) != 1 {
		t.Errorf("status: %+v", p)
	}
}

// TestNothingIsToldBeforeHello: not a status, not an event, however much there
// is to tell.
func TestNothingIsToldBeforeHello(t *testing.T) {
	l := open(t, config(server("api", "serve")))
	stranger := l.dial()
	c := l.join(wire.Holder)
	c.start()
	c.awaitState("api", status.Ready)
	stranger.refused("devside/status", nil, wire.CodeNotInitialized, "hello-first") // and what came before it
	if got := stranger.last(); got != "nothing" {
		t.Errorf("before hello, a client is told %s", got)
	}
}

func TestAConnectionThatDoesNotSayHelloIsClosed(t *testing.T) {
	l := open(t, config(server("api", "serve")), func(o *Options) { o.patience.hello = 50 * time.Millisecond })
	c := l.join(wire.Holder)
	silent := l.dial()
	silent.awaitClosed()
	l.log.await(t, "did not say hello")
	c.status() // whoever did say it stays
}

func TestNotificationsAreNotRequests(t *testing.T) {
	l := open(t, config(server("api", "serve")))
	c := l.dial()
	if err := c.Notify(wire.Hello, l.hello(wire.Holder)); err != nil {
		t.Fatal(err)
	}
	c.refused("devside/status", nil, wire.CodeNotInitialized, "hello-first")
}

// TestAPipelinedHelloComesFirst: a client that does not wait for the answer to
// its hello is still trusted, holds, and lets go, in that order.
func TestAPipelinedHelloComesFirst(t *testing.T) {
	for range 10 {
		l := open(t, config(server("api", "serve")))
		p := l.peer()
		p.write(frame(1, wire.Hello, l.hello(wire.Holder)) + frame(2, "devside/start", nil) + frame(3, "devside/status", nil))
		if r := p.answer(2); r.Error != nil {
			t.Fatalf("a start right after hello: %+v", r.Error)
		}
		p.write(frame(4, wire.Leave, nil))
		p.answer(4)
		if err := l.awaitEnd(); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		l := open(t, config(server("api", "serve")), func(o *Options) { o.patience.leave = deadline })
		p := l.peer()
		p.write(frame(1, wire.Hello, l.hello(wire.Holder)) + frame(2, wire.Leave, nil))
		var res wire.LeaveResult
		if r := p.answer(2); json.Unmarshal(r.Result, &res) != nil || !res.Last || !res.Stopped {
			t.Fatalf("a leave right after hello: %+v", r)
		}
		if err := l.awaitEnd(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestATrustedClientVouchesWhileItIsConnected(t *testing.T) {
	l := open(t, config(server("api", "serve")))
	other := l.join(wire.Holder, distrusted)
	other.refused("devside/start", nil, wire.CodeUntrusted, "untrusted")
	c := l.join(wire.Visitor)
	other.start() // it vouches for the project, whoever asks
	other.forget()
	c.close()
	await(other, "the project untrusted again", wire.DidChangeStatus, func(p status.Project) bool { return p.Trust.State == status.Untrusted })
	other.refused("devside/restart", nil, wire.CodeUntrusted, "untrusted")
	other.state("api", status.Ready) // what runs is left as it is
}

// TestNothingStartsBeforeTrust and what is trusted is what was shown.
func TestNothingStartsBeforeTrust(t *testing.T) {
	l := open(t, config(server("api", "serve")))
	c := l.join(wire.Holder, distrusted)
	_, data := c.refused("devside/start", nil, wire.CodeUntrusted, "untrusted")
	shown := c.status().Trust
	if data.Hash == "" || data.Hash != shown.Hash || data.Hint == "" || shown.State != status.Untrusted || len(shown.Commands) != 1 {
		t.Errorf("refused with %+v, shown %+v", data, shown)
	}
	c.state("api", status.Stopped)
	if _, d := c.refused("devside/trust", wire.TrustParams{Hash: "0"}, wire.CodeInvalidParams, "hash-changed"); d.Hash != shown.Hash {
		t.Errorf("a wrong hash is answered %+v", d)
	}
	c.refused("devside/start", nil, wire.CodeUntrusted, "untrusted")
	var res wire.TrustResult
	c.must("devside/trust", wire.TrustParams{Hash: data.Hash}, &res)
	if !res.Trusted {
		t.Error("not trusted")
	}
	c.start()
}

// TestAClientThatComesTooLateSeesAHubThatHasGone: no error, which it would
// have to take for an answer, but the end of the connection.
func TestAClientThatComesTooLateSeesAHubThatHasGone(t *testing.T) {
	h := &Hub{asks: make(chan func()), done: make(chan struct{}), o: Options{Root: "/r"}}
	close(h.done)
	late := wire.HelloParams{Protocol: wire.Protocol, Root: "/r", Role: wire.Starter}
	for method, params := range map[string]any{wire.Hello: late, wire.Quit: nil, wire.Leave: nil, "devside/start": nil} {
		a, b := net.Pipe()
		s := newSession(h, 1, a)
		if method != wire.Hello {
			s.greeted, s.hello = true, late
			close(s.welcomed)
		}
		s.conn = rpc.New(a, s, rpc.Options{})
		c := rpc.New(b, nil, rpc.Options{})
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		if err := c.Call(ctx, method, params, nil); !errors.Is(err, rpc.ErrClosed) {
			t.Errorf("%s: %v", method, err)
		}
		c.Close()
		for _, conn := range []*rpc.Conn{s.conn, c} {
			if err := conn.Wait(ctx); err != nil {
				t.Errorf("%s: %v", method, err)
			}
		}
		cancel()
	}
}
