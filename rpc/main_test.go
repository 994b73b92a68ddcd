package rpc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/devside/devside/rpc/wire"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(childRole); role != "" {
		os.Exit(child(role))
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must happen. It only shows in a
// run that fails.
const patience = 60 * time.Second

// pair returns the two ends of a unix socket.
func pair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	dir, err := os.MkdirTemp("", "rpc") // t.TempDir's paths can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			c = nil
		}
		accepted <- c
	}()
	if a, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b = <-accepted; b == nil {
		t.Fatal("accept failed")
	}
	return a, b
}

// peer is a client that sends what it likes, and reads frames with a reader
// that is not the one under test.
type peer struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func newPeer(t testing.TB, c net.Conn) *peer {
	t.Cleanup(func() { c.Close() })
	return &peer{t, c, bufio.NewReader(c)}
}

func frame(body string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body) }

func (p *peer) raw(s string) {
	p.t.Helper()
	p.SetWriteDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(p.Conn, s); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

func (p *peer) send(format string, args ...any) {
	p.t.Helper()
	p.raw(frame(fmt.Sprintf(format, args...)))
}

// reply is any message, its members raw.
type reply struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
	Result  json.RawMessage `json:"result"`
	Error   *errorObject    `json:"error"`
}

func (r reply) String() string {
	if r.Error != nil {
		return fmt.Sprintf("%s: error %d %s", r.ID, r.Error.Code, r.Error.Message)
	}
	return fmt.Sprintf("%s: %s%s", r.ID, r.Method, r.Result)
}

func (p *peer) read() (reply, error) {
	p.SetReadDeadline(time.Now().Add(patience))
	h, err := textproto.NewReader(p.r).ReadMIMEHeader()
	if err != nil {
		return reply{}, err
	}
	n, err := strconv.Atoi(h.Get("Content-Length"))
	if err != nil {
		return reply{}, err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(p.r, b); err != nil {
		return reply{}, err
	}
	var r reply
	if err := json.Unmarshal(b, &r); err != nil {
		return reply{}, fmt.Errorf("%w in %s", err, b)
	}
	return r, nil
}

func (p *peer) next() reply {
	p.t.Helper()
	r, err := p.read()
	if err != nil {
		p.t.Fatalf("read: %v", err)
	}
	if r.JSONRPC != "2.0" {
		p.t.Fatalf("message without jsonrpc 2.0: %s", r)
	}
	return r
}

// want reads one answer.
func (p *peer) want(id string, code int64, result string) {
	p.t.Helper()
	r := p.next()
	got := int64(0)
	if r.Error != nil {
		got = r.Error.Code
	}
	if string(r.ID) != id || got != code || string(r.Result) != result {
		p.t.Fatalf("got %s, want id %s, code %d, result %s", r, id, code, result)
	}
}

// ended reads to the end.
func (p *peer) ended() {
	p.t.Helper()
	p.SetReadDeadline(time.Now().Add(patience))
	if _, err := p.r.ReadByte(); errors.Is(err, os.ErrDeadlineExceeded) || err == nil {
		p.t.Fatalf("the connection lives, or says more: %v", err)
	}
}

// lab is a handler whose requests each show one thing.
type lab struct {
	mu    sync.Mutex
	notes []string // notifications, in order

	started chan string   // "block" works that run
	ended   chan error    // causes of the contexts of those that ended
	release chan struct{} // lets "block" works end
}

func newLab() *lab {
	return &lab{started: make(chan string, 1000), ended: make(chan error, 1000), release: make(chan struct{})}
}

type badJSON struct{}

func (badJSON) MarshalJSON() ([]byte, error) { panic("no JSON today") }

func (l *lab) Accept(m Message) (Work, error) {
	if m.Notification {
		switch m.Method {
		case "note":
			l.mu.Lock()
			l.notes = append(l.notes, string(m.Params))
			l.mu.Unlock()
			return nil, nil
		case "panic":
			panic("in a notification")
		}
		return nil, Errorf(wire.CodeMethodNotFound, nil, "unknown method %s", m.Method)
	}
	switch m.Method {
	case "echo": // on its own goroutine
		return func(context.Context) (any, error) { return m.Params, nil }, nil
	case "ping": // from the read loop
		return Answer("pong"), nil
	case "notes":
		l.mu.Lock()
		defer l.mu.Unlock()
		return Answer(append([]string{}, l.notes...)), nil
	case "block", "stubborn":
		return func(ctx context.Context) (any, error) {
			l.started <- m.Method
			select {
			case <-ctx.Done():
			case <-l.release:
				return "released", nil
			}
			l.ended <- context.Cause(ctx)
			if m.Method == "stubborn" {
				return "done all the same", nil
			}
			return nil, ctx.Err()
		}, nil
	case "big":
		var n int
		if err := json.Unmarshal(m.Params[1:len(m.Params)-1], &n); err != nil {
			return nil, err
		}
		return Answer(strings.Repeat("x", n)), nil
	case "panic":
		panic("in Accept")
	case "panicInWork":
		return func(context.Context) (any, error) { panic("in work") }, nil
	case "panicInResult":
		return Answer(badJSON{}), nil
	case "panicInError":
		return nil, Errorf(1, badJSON{}, "an error whose data panics")
	case "nilError":
		var e *Error
		return nil, e
	case "nothing":
		return nil, nil
	case "channel":
		return Answer(make(chan int)), nil
	case "fail":
		return nil, errors.New("plain")
	case "failWork":
		return func(context.Context) (any, error) {
			return nil, fmt.Errorf("outer: %w", Errorf(wire.CodeUntrusted, wire.ErrorData{Code: "untrusted", Hash: "h"}, "not trusted"))
		}, nil
	case "deadline":
		return func(ctx context.Context) (any, error) {
			ctx, cancel := context.WithDeadline(ctx, time.Unix(0, 0))
			defer cancel()
			return nil, ctx.Err()
		}, nil
	case "goexit":
		return func(context.Context) (any, error) { runtime.Goexit(); return nil, nil }, nil
	case "null":
		return Answer(nil), nil
	}
	return nil, Errorf(wire.CodeMethodNotFound, nil, "unknown method %s", m.Method)
}

// serve runs a connection for a raw peer, and sees it end with the test.
func serve(t testing.TB, h Handler, o Options) (*peer, *Conn) {
	t.Helper()
	a, b := pair(t)
	c := New(b, h, o)
	t.Cleanup(func() { finish(t, c) })
	return newPeer(t, a), c
}

func finish(t testing.TB, c *Conn) {
	t.Helper()
	c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Wait(ctx); err != nil {
		t.Errorf("wait for the connection's goroutines: %v", err)
	}
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func receive[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not happen", what)
		panic("not reached")
	}
}
