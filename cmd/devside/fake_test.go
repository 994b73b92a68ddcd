package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/socket"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

// testBound bounds each wait of a test.
const testBound = 20 * time.Second

var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fakeHub answers as it is told.
type fakeHub struct {
	t       *testing.T
	took    func(method string, params json.RawMessage)
	dialled dialing

	mu      sync.Mutex
	calls   []string // "verb params"
	called  chan struct{}
	answers map[string]func(ctx context.Context, params json.RawMessage) (any, error)
	status  *status.Project
	done    chan struct{}
	closing sync.Once
}

func newFakeHub(t *testing.T, servers ...status.Server) *fakeHub {
	h := &fakeHub{t: t, done: make(chan struct{}), called: make(chan struct{}), answers: map[string]func(context.Context, json.RawMessage) (any, error){}}
	h.set(servers...)
	return h
}

// set makes what the hub's status is from now on; it is not changed any more.
func (h *fakeHub) set(servers ...status.Server) *status.Project {
	return h.setBroken([]status.Problem{}, servers...)
}

func (h *fakeHub) setBroken(problems []status.Problem, servers ...status.Server) *status.Project {
	p := &status.Project{
		Root: "/p", Name: "shop", Protocol: wire.Protocol, HubPID: 7,
		Trust:   status.Trust{State: status.Trusted, Commands: []status.TrustCommand{}},
		Servers: servers, Dependencies: []status.Dependency{}, Problems: problems, Summary: status.Summarize(servers),
	}
	h.mu.Lock()
	h.status = p
	h.mu.Unlock()
	return p
}

// on answers a verb.
func (h *fakeHub) on(verb string, result any, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answers[verb] = func(context.Context, json.RawMessage) (any, error) { return result, err }
}

// hold answers a verb when it is released, or cancelled.
func (h *fakeHub) hold(verb string, release <-chan any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answers[verb] = func(ctx context.Context, _ json.RawMessage) (any, error) {
		select {
		case r := <-release:
			return r, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-h.done:
			return nil, rpc.ErrClosed
		}
	}
}

func (h *fakeHub) Call(ctx context.Context, method string, params, result any) error {
	raw, err := json.Marshal(params)
	if err != nil {
		return err
	}
	verb := strings.TrimPrefix(method, wire.MethodPrefix)
	h.mu.Lock()
	h.calls = append(h.calls, verb+" "+string(raw))
	close(h.called)
	h.called = make(chan struct{})
	answer, ok := h.answers[verb]
	st := h.status
	h.mu.Unlock()
	var got any = st
	switch {
	case ok:
		if got, err = answer(ctx, raw); err != nil {
			return err
		}
	case verb == "logs":
		got = wire.LogsResult{Lines: []wire.LogLine{}, Token: "t"}
	case verb != "status":
		return rpc.Errorf(wire.CodeMethodNotFound, nil, "unknown method %s", method)
	}
	data, err := json.Marshal(got)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, result)
}

func (h *fakeHub) Done() <-chan struct{} { return h.done }

func (h *fakeHub) Close() error {
	h.closing.Do(func() { close(h.done) })
	return nil
}

// send is a notification of the hub's.
func (h *fakeHub) send(method string, params any) {
	h.t.Helper()
	raw, err := json.Marshal(params)
	if err != nil {
		h.t.Fatal(err)
	}
	h.took(method, raw)
}

// awaitCall waits until a verb has been called.
func (h *fakeHub) awaitCall(verb string) {
	h.t.Helper()
	deadline := time.After(testBound)
	for {
		h.mu.Lock()
		calls, called := slices.Clone(h.calls), h.called
		h.mu.Unlock()
		if slices.ContainsFunc(calls, func(c string) bool { return strings.HasPrefix(c, verb+" ") }) {
			return
		}
		select {
		case <-called:
		case <-deadline:
			h.t.Fatalf("%s was not called; calls: %q", verb, calls)
		}
	}
}

// called reports whether this very call was made.
func (h *fakeHub) made(call string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Contains(h.calls, call)
}

// buffer is output that can be awaited.
type buffer struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{}
}

func newBuffer() *buffer { return &buffer{more: make(chan struct{})} }

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.more)
	b.more = make(chan struct{})
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *buffer) await(t *testing.T, want string) {
	t.Helper()
	deadline := time.After(testBound)
	for {
		b.mu.Lock()
		text, more := b.b.String(), b.more
		b.mu.Unlock()
		if strings.Contains(text, want) {
			return
		}
		select {
		case <-more:
		case <-deadline:
			t.Fatalf("the output has no %q:\n%s", want, text)
		}
	}
}

// terminal is a run of the command line in a project of its own.
type terminal struct {
	audited  []string // commands that root was refused
	t        *testing.T
	app      *app
	root     string
	out, err *buffer
	hub      *fakeHub // nil: none runs
	ctx      context.Context
	stop     context.CancelCauseFunc
	hurry    chan struct{}
	stored   map[string][]wire.LogLine // the log files
	trusted  string
	waited   chan error // what upHub.wait returns
	attached bool
}

const twoServers = `version: 1
servers:
  api:
    command: [node, api.js]
    port: 4000
  web:
    command: [node, web.js]
    port: 4001
    depends_on: [api]
`

func newTerminal(t *testing.T, config string) *terminal {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if config != "" {
		if err := os.WriteFile(filepath.Join(root, "devside.yaml"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	term := &terminal{t: t, root: root, out: newBuffer(), err: newBuffer(), hurry: make(chan struct{}), waited: make(chan error, 1)}
	term.ctx, term.stop = context.WithCancelCause(t.Context())
	t.Cleanup(func() { term.stop(nil) })
	term.app = &app{
		in: strings.NewReader(""), out: term.out, err: term.err,
		getenv: func(string) string { return "" }, environ: func() []string { return []string{"A=b"} },
		getwd: func() (string, error) { return root, nil }, euid: func() int { return 1000 },
		now: func() time.Time { return testNow }, hurry: term.hurry,
	}
	term.app.doors = doors{
		dial: func(_ context.Context, d dialing) (hub, error) {
			if term.hub == nil {
				return nil, fmt.Errorf("dial: %w", socket.ErrNoHub)
			}
			term.hub.dialled, term.hub.took = d, d.took
			return term.hub, nil
		},
		foreground: func(_ context.Context, d dialing) (upHub, error) {
			if term.hub == nil {
				return upHub{}, errors.New("start a hub: no room")
			}
			term.hub.dialled, term.hub.took = d, d.took
			return upHub{hub: term.hub, attached: term.attached, wait: func() error { return <-term.waited }}, nil
		},
		serve:       func(context.Context, stdio) int { return exitOK },
		trustedHash: func(string) (string, error) { return term.trusted, nil },
		remember:    func(_, hash string) error { term.trusted = hash; return nil },
		account:     func(uid string) (account, error) { return account{}, errors.New("no user " + uid) },
		become:      func(account, []string, func()) error { return errors.New("not in a test") },
		auditRoot:   func(command string) { term.audited = append(term.audited, command) },
		listeners:   func([]int) (map[int]*status.Holder, error) { return nil, nil },
		logged:      func(string) ([]string, error) { return slices.Sorted(maps.Keys(term.stored)), nil },
		storedLog: func(_, server string, _ wire.LogsParams) ([]wire.LogLine, error) {
			return term.stored[server], nil
		},
	}
	return term
}

// run runs a command line and wants its exit code.
func (term *terminal) run(code int, args ...string) {
	term.t.Helper()
	if got := term.app.run(term.ctx, args); got != code {
		term.t.Errorf("devside %s: exit code %d, want %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), got, code, term.out, term.err)
	}
}

// begin runs a command line in the background.
func (term *terminal) begin(args ...string) <-chan int {
	code := make(chan int, 1)
	go func() { code <- term.app.run(term.ctx, args) }()
	return code
}

func (term *terminal) awaitExit(code <-chan int, want int) {
	term.t.Helper()
	select {
	case got := <-code:
		if got != want {
			term.t.Errorf("exit code %d, want %d\nstdout: %s\nstderr: %s", got, want, term.out, term.err)
		}
	case <-time.After(testBound):
		term.t.Fatalf("it has not ended\nstdout: %s\nstderr: %s", term.out, term.err)
	}
}

// wants looks for texts in the output.
func (term *terminal) wants(out *buffer, texts ...string) {
	term.t.Helper()
	for _, want := range texts {
		if !strings.Contains(out.String(), want) {
			term.t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func ms(n int64) *int64 { return &n }

func ready(name string, pid int) status.Server {
	return status.Server{Name: name, State: status.Ready, PID: pid, ReadyMs: ms(312), Run: 1, UptimeMs: 192_000, MemoryBytes: 120 << 20,
		URL: "http://127.0.0.1:4000", Ports: []status.Port{{Number: 4000, Listening: true}}, Problems: []status.Code{}}
}

func at(name string, st status.State) status.Server {
	return status.Server{Name: name, State: st, Ports: []status.Port{}, Problems: []status.Code{}}
}
