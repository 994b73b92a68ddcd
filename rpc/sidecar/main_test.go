package sidecar

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/sidecar/fakeeditor"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

func TestMain(m *testing.M) {
	// Before any bubble: reading the model runs a process.
	if _, err := fakeeditor.LoadModel(); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// fakeHub is the hubs of every root: what Dial finds, and starts.
type fakeHub struct {
	t testing.TB

	mu      sync.Mutex
	changed chan struct{}
	alive   bool  // a hub runs, so that dialling without start finds it
	broken  error // no hub can be reached
	stuck   bool  // dialling takes for ever
	dials   []dialing
	conns   []*hubConn
	calls   []hubCall
	status  map[string]*status.Project // by root
	handle  map[string]func(ctx context.Context, params json.RawMessage) (any, error)
}

type dialing struct {
	hello wire.HelloParams
	start bool
	at    time.Time
}

// hubConn is the hub's side of one connection.
type hubConn struct {
	root string
	conn *rpc.Conn
}

// hubCall is one request a hub got.
type hubCall struct {
	root, method string
	params       string
}

func newFakeHub(t testing.TB) *fakeHub {
	return &fakeHub{t: t, changed: make(chan struct{}), status: map[string]*status.Project{},
		handle: map[string]func(context.Context, json.RawMessage) (any, error){}}
}

func (h *fakeHub) update(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
	close(h.changed)
	h.changed = make(chan struct{})
}

// await waits until a condition holds of the hub.
func (h *fakeHub) await(what string, condition func() bool) {
	h.t.Helper()
	timer := time.NewTimer(20 * time.Second)
	defer timer.Stop()
	for {
		h.mu.Lock()
		ok, changed := condition(), h.changed
		h.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			h.mu.Lock()
			defer h.mu.Unlock()
			h.t.Fatalf("still waiting for: %s; dials %+v, calls %+v", what, h.dials, h.calls)
		}
	}
}

// dialsSoFar lists the attempts to reach a hub.
func (h *fakeHub) dialsSoFar() []dialing {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.dials)
}

func (h *fakeHub) called(method string) []hubCall {
	return slices.DeleteFunc(slices.Clone(h.calls), func(c hubCall) bool { return c.method != method })
}

var errNoHub = errors.New("no hub runs")

func (h *fakeHub) dial(ctx context.Context, hello wire.HelloParams, start bool, handler rpc.Handler) (*rpc.Conn, wire.HelloResult, error) {
	var broken error
	var stuck bool
	h.update(func() {
		h.dials = append(h.dials, dialing{hello, start, time.Now()})
		broken, stuck = h.broken, h.stuck
		if broken == nil && !stuck && !h.alive {
			if !start {
				broken = errNoHub
			}
			h.alive = start
		}
	})
	if stuck {
		<-ctx.Done()
		return nil, wire.HelloResult{}, ctx.Err()
	}
	if broken != nil {
		return nil, wire.HelloResult{}, broken
	}
	ours, theirs := net.Pipe()
	c := &hubConn{root: hello.Root}
	h.update(func() {
		c.conn = rpc.New(ours, rpc.HandlerFunc(func(m rpc.Message) (rpc.Work, error) { return h.accept(hello.Root, m) }), rpc.Options{Name: "hub"})
		h.conns = append(h.conns, c)
	})
	return rpc.New(theirs, handler, rpc.Options{Name: "to hub"}), wire.HelloResult{Protocol: wire.Protocol, Root: hello.Root}, nil
}

func (h *fakeHub) accept(root string, m rpc.Message) (rpc.Work, error) {
	h.mu.Lock()
	handle, st := h.handle[m.Method], h.status[root]
	h.mu.Unlock()
	h.update(func() { h.calls = append(h.calls, hubCall{root, m.Method, string(m.Params)}) })
	if handle != nil {
		return func(ctx context.Context) (any, error) { return handle(ctx, m.Params) }, nil
	}
	switch m.Method {
	case "devside/status":
		if st == nil {
			st = project(root, 1)
		}
		return rpc.Answer(st), nil
	case wire.Leave:
		return rpc.Answer(wire.LeaveResult{Stopped: true, Last: true}), nil
	case "devside/start":
		return rpc.Answer(wire.StartResult{Servers: []wire.ServerResult{{Name: "api", OK: true, State: status.Ready}}}), nil
	case "devside/reload":
		return rpc.Answer(wire.ReloadResult{Valid: true}), nil
	}
	return nil, rpc.Errorf(wire.CodeMethodNotFound, nil, "hub: unknown method %s", m.Method)
}

// say sends a notification to every client of a root.
func (h *fakeHub) say(root, method string, params any) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		if c.root == root {
			_ = c.conn.Notify(method, params) // one that has ended hears nothing
		}
	}
}

// publish sends a snapshot, and answers devside/status with it.
func (h *fakeHub) publish(st *status.Project) {
	h.t.Helper()
	h.update(func() { h.status[st.Root] = st })
	h.say(st.Root, wire.DidChangeStatus, st)
}

// die ends the hub as SIGKILL does.
func (h *fakeHub) die() {
	var conns []*hubConn
	h.update(func() { conns, h.conns, h.alive = h.conns, nil, false })
	for _, c := range conns {
		if err := c.conn.Close(); err != nil {
			h.t.Error(err)
		}
	}
}

// project is a snapshot with the example's two servers.
func project(root string, sequence uint64, problems ...status.Problem) *status.Project {
	if problems == nil {
		problems = []status.Problem{}
	}
	servers := []status.Server{
		{Name: "api", State: status.Stopped, Ports: []status.Port{{Number: 4000}}, Problems: []status.Code{}},
		{Name: "web", State: status.Stopped, Ports: []status.Port{{Number: 3000}}, Problems: []status.Code{}},
	}
	return &status.Project{Root: root, Name: filepath.Base(root), Protocol: wire.Protocol, Sequence: sequence,
		Trust: status.Trust{State: status.Trusted, Commands: []status.TrustCommand{}}, Servers: servers,
		Dependencies: []status.Dependency{}, Summary: status.Summarize(servers), Problems: problems}
}

const config = `version: 1
servers:
  api:
    command: npm run dev
    port: 4000
  web:
    command: npm start
    port: 3000
`

// lab is one session with its editor and its hubs.
type lab struct {
	*fakeeditor.Editor
	t    *testing.T
	hub  *fakeHub
	root string // a folder with the example configuration
	uri  string // of its devside.yaml
	code chan int
	stop context.CancelFunc
}

// inSession runs a test on a session whose clock is the bubble's: what takes
// seconds takes none, and a goroutine that is left over fails.
func inSession(t *testing.T, test func(l *lab), options ...func(o *Options)) {
	t.Helper()
	root := newRoot(t, config)
	synctest.Test(t, func(t *testing.T) {
		l := startLab(t, root, options...)
		test(l)
		l.Close()
		l.exited()
		l.hub.die()
	})
}

func newRoot(t *testing.T, text string) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if text != "" {
		write(t, filepath.Join(root, "devside.yaml"), text)
	}
	return root
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func startLab(t *testing.T, root string, options ...func(o *Options)) *lab {
	t.Helper()
	ours, theirs := net.Pipe()
	l := &lab{t: t, hub: newFakeHub(t), root: root, uri: pathToURI(filepath.Join(root, "devside.yaml")), code: make(chan int, 1)}
	o := Options{RWC: theirs, Version: "1.2.3", Log: zerolog.Nop(), Dial: l.hub.dial, Getenv: func(string) string { return "" },
		Environ: []string{"PATH=/bin"}, Dir: root, Identify: func(int) (string, bool) { return "", false }}
	for _, option := range options {
		option(&o)
	}
	ctx, stop := context.WithCancel(t.Context())
	l.stop = stop
	l.Editor = fakeeditor.Start(t, ours)
	go func() { l.code <- Run(ctx, o) }()
	return l
}

// open initializes the session with the lab's folder.
func (l *lab) open(more ...map[string]any) {
	l.t.Helper()
	params := map[string]any{"workspaceFolders": []any{folderParam(l.root)}}
	for _, m := range more {
		for k, v := range m {
			params[k] = v
		}
	}
	l.Initialize(params)
}

func folderParam(path string) map[string]any {
	return map[string]any{"uri": pathToURI(path), "name": filepath.Base(path)}
}

// connect opens the session and waits until it holds a hub.
func (l *lab) connect(more ...map[string]any) {
	l.t.Helper()
	l.hub.update(func() { l.hub.alive = true })
	l.open(more...)
	l.Await("the first status", func(s *fakeeditor.State) bool { return s.Count(wire.DidChangeStatus) > 0 })
}

// exited waits for the end of Run. The code stays to be read.
func (l *lab) exited() int {
	l.t.Helper()
	timer := time.NewTimer(20 * time.Second)
	defer timer.Stop()
	select {
	case code := <-l.code:
		l.code <- code
		return code
	case <-timer.C:
		l.t.Fatal("Run did not return")
	}
	return -1
}

func (l *lab) wantExit(want int) {
	l.t.Helper()
	if got := l.exited(); got != want {
		l.t.Errorf("exit code %d, want %d", got, want)
	}
}

func (l *lab) wantError(r fakeeditor.Response, code int, data string) {
	l.t.Helper()
	if r.Err == nil || r.Err.Code != code || r.Err.DataCode() != data {
		l.t.Errorf("got %s %+v, want error %d with data.code %q", r.Result, r.Err, code, data)
	}
}

func (l *lab) document(method string, text string) {
	l.t.Helper()
	doc := map[string]any{"uri": l.uri}
	params := map[string]any{"textDocument": doc}
	switch method {
	case "didOpen":
		doc["languageId"], doc["version"], doc["text"] = "yaml", 1, text
	case "didChange":
		doc["version"] = 2
		params["contentChanges"] = []any{map[string]any{"text": text}}
	}
	l.Notify("textDocument/"+method, params)
}

// shows waits until the editor shows exactly these diagnostics of the lab's
// devside.yaml.
func (l *lab) shows(want ...string) {
	l.t.Helper()
	l.Await("diagnostics "+l.uri, func(s *fakeeditor.State) bool {
		got := []string{}
		for _, d := range s.Diagnostics[l.uri] {
			got = append(got, d.String())
		}
		return slices.Equal(got, want) && (len(want) > 0 || s.Published[l.uri] > 0)
	})
	l.CheckPlaces(l.uri)
}
