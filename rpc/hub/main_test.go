package hub

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/socket"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/project"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

// modeVariable makes the test binary play a server.
const modeVariable = "HUB_TEST_SERVER"

func TestMain(m *testing.M) {
	if mode := os.Getenv(modeVariable); mode != "" {
		os.Exit(play(mode))
	}
	goleak.VerifyTestMain(m)
}

// childLife ends a server that nobody ended.
const childLife = 2 * time.Minute

// play is one of the servers. What is sent to a server's port it prints.
func play(mode string) int {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	switch mode {
	case "serve", "stubborn":
		if port := os.Getenv("PORT"); port != "" {
			l, err := net.Listen("tcp", "127.0.0.1:"+port)
			if err != nil {
				fmt.Println(err)
				return 1
			}
			go echo(l)
		}
		fmt.Println("up")
	case "crash":
		fmt.Println("going down")
		return 3
	case "never":
		fmt.Println("not yet")
	case "chatter":
		go func() {
			out := bufio.NewWriter(os.Stdout)
			for i := 0; ; i++ {
				fmt.Fprintf(out, "up %d %s\n", i, strings.Repeat("x", 60))
			}
		}()
	}
	life := time.After(childLife)
	for {
		select {
		case <-term:
			if mode != "stubborn" {
				return 0
			}
		case <-life:
			return 4
		}
	}
}

func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			io.Copy(os.Stdout, c)
			c.Close()
		}()
	}
}

// deadline is how long a test waits for what must happen. It only shows in a
// run that fails.
const deadline = 40 * time.Second

// server is one entry of a configuration.
func server(name, mode string, more ...string) string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("  %s:\n    command: [%q]\n    env: {%s: %s, GORACE: atexit_sleep_ms=0}\n    ready: {log: \"^up\", within: 60s}\n", name, exe, modeVariable, mode) +
		strings.Join(append([]string{""}, more...), "    ") + "\n"
}

func config(servers ...string) string { return "version: 1\nservers:\n" + strings.Join(servers, "") }

// lab is a hub on a real socket with a real project.
type lab struct {
	t       *testing.T
	root    string
	home    string
	paths   state.Paths
	project *project.Project
	log     *logBuffer
	life    chan struct{}
	cancel  context.CancelFunc
	ended   chan struct{}
	err     error // of Run; read after ended
}

// open runs a hub of a new project.
func open(t *testing.T, yaml string, change ...func(*Options)) *lab {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.MkdirTemp("", "hub") // short: a socket's path is
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	l := &lab{t: t, root: root, home: home}
	l.write(yaml)
	l.run(change...)
	return l
}

func (l *lab) write(yaml string) {
	l.t.Helper()
	if yaml == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(l.root, "devside.yaml"), []byte(yaml), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// run starts the hub; it ends with the test at the latest.
func (l *lab) run(change ...func(*Options)) {
	l.t.Helper()
	t := l.t
	getenv := func(key string) string {
		if key == state.HomeVariable {
			return l.home
		}
		return ""
	}
	var err error
	if l.paths, err = state.Locate(l.root, getenv); err != nil {
		t.Fatal(err)
	}
	if err := l.paths.Make(); err != nil {
		t.Fatal(err)
	}
	l.log, l.life, l.ended = newLogBuffer(), make(chan struct{}), make(chan struct{})
	log := zerolog.New(l.log)
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.project, err = project.Open(ctx, project.Options{Root: l.root, Paths: l.paths, Protocol: wire.Protocol, Log: log, Getenv: getenv})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := socket.Listen(l.paths)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Root: l.root, Version: "1.2.3", Project: l.project, Listener: listener, Life: l.life, Log: log}
	for _, f := range change {
		f(&o)
	}
	go func() {
		defer close(l.ended)
		l.err = Run(ctx, o)
		l.project.Hurry() // a stubborn server of a test that has failed
		l.project.Close(context.WithoutCancel(ctx), l.err != nil || ctx.Err() != nil)
	}()
	t.Cleanup(l.shut)
}

// shut ends the hub as SIGTERM does.
func (l *lab) shut() {
	l.t.Helper()
	l.cancel()
	hurry := time.NewTicker(20 * time.Millisecond) // whatever is stubborn
	defer hurry.Stop()
	over := time.After(deadline)
	for {
		select {
		case <-l.ended:
			return
		case <-hurry.C:
			l.project.Hurry()
		case <-over:
			l.t.Errorf("the hub did not end; its log: %s", l.log)
			return
		}
	}
}

// awaitEnd waits until the hub has ended by itself.
func (l *lab) awaitEnd() error {
	l.t.Helper()
	select {
	case <-l.ended:
	case <-time.After(deadline):
		l.t.Fatalf("the hub did not end; its log: %s", l.log)
	}
	return l.err
}

// alive checks that the hub lives.
func (l *lab) alive() {
	l.t.Helper()
	select {
	case <-l.ended:
		l.t.Fatalf("the hub has ended: %v; its log: %s", l.err, l.log)
	default:
	}
}

// logBuffer keeps a log and wakes who waits for a text in it.
type logBuffer struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{}
}

func newLogBuffer() *logBuffer { return &logBuffer{more: make(chan struct{})} }

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.more)
	l.more = make(chan struct{})
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) await(t *testing.T, text string) {
	t.Helper()
	over := time.After(deadline)
	for {
		l.mu.Lock()
		found, more := strings.Contains(l.b.String(), text), l.more
		l.mu.Unlock()
		if found {
			return
		}
		select {
		case <-more:
		case <-over:
			t.Fatalf("%q did not come up in the log: %s", text, l)
		}
	}
}

// client is a client as cmd and the sidecar are: an rpc.Conn that keeps what
// the hub tells it.
type client struct {
	t *testing.T
	*rpc.Conn
	raw net.Conn

	mu   sync.Mutex
	told []note
	more chan struct{}
}

type note struct {
	method string
	params json.RawMessage
}

func (c *client) Accept(m rpc.Message) (rpc.Work, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = append(c.told, note{m.Method, bytes.Clone(m.Params)})
	close(c.more)
	c.more = make(chan struct{})
	return nil, nil
}

// dial connects and says nothing.
func (l *lab) dial() *client {
	l.t.Helper()
	raw, err := net.Dial("unix", l.paths.Socket())
	if err != nil {
		l.t.Fatal(err)
	}
	c := &client{t: l.t, raw: raw, more: make(chan struct{})}
	c.Conn = rpc.New(raw, c, rpc.Options{Log: zerolog.Nop()})
	l.t.Cleanup(c.close)
	return c
}

func (c *client) close() {
	c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if err := c.Wait(ctx); err != nil {
		c.t.Errorf("the client's connection: %v", err)
	}
}

// hello is what a trusted client of a role says.
func (l *lab) hello(role wire.Role) wire.HelloParams {
	return wire.HelloParams{
		Protocol: wire.Protocol, Version: "1.2.3", Root: l.root, Role: role, Client: "test", PID: os.Getpid(),
		Env: []string{"PATH=" + os.Getenv("PATH")}, Trusted: true,
	}
}

// join connects and is accepted.
func (l *lab) join(role wire.Role, change ...func(*wire.HelloParams)) *client {
	l.t.Helper()
	p := l.hello(role)
	for _, f := range change {
		f(&p)
	}
	c := l.dial()
	var res wire.HelloResult
	c.must(wire.Hello, p, &res)
	return c
}

func lingering(d time.Duration) func(*wire.HelloParams) {
	return func(p *wire.HelloParams) { p.LingerMs = d.Milliseconds() }
}

func distrusted(p *wire.HelloParams) { p.Trusted = false }

// ask calls a method, within the deadline.
func (c *client) ask(method string, params, result any) error {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	return c.Call(ctx, method, params, result)
}

func (c *client) must(method string, params, result any) {
	c.t.Helper()
	if err := c.ask(method, params, result); err != nil {
		data, _ := socket.ErrorData(err)
		c.t.Fatalf("%s: %v (%+v); last told: %s", method, err, data, c.last())
	}
}

// refused calls a method that must be answered with an error.
func (c *client) refused(method string, params any, code int64, dataCode string) (*rpc.Error, wire.ErrorData) {
	c.t.Helper()
	err := c.ask(method, params, nil)
	var e *rpc.Error
	if !errors.As(err, &e) {
		c.t.Fatalf("%s: %v, want an error with code %d", method, err, code)
	}
	data, _ := socket.ErrorData(err)
	if e.Code != code || data.Code != dataCode {
		c.t.Errorf("%s: error %d %q (%+v), want %d with data.code %q", method, e.Code, e.Message, data, code, dataCode)
	}
	return e, data
}

func (c *client) last() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.told) == 0 {
		return "nothing"
	}
	n := c.told[len(c.told)-1]
	return fmt.Sprintf("%d messages, the last %s %.2000s", len(c.told), n.method, n.params)
}

// await waits until a notification fits.
func await[P any](c *client, what, method string, fits func(P) bool) P {
	c.t.Helper()
	over := time.After(deadline)
	seen := 0
	for {
		c.mu.Lock()
		fresh, more := c.told[seen:], c.more
		seen = len(c.told)
		c.mu.Unlock()
		for _, n := range fresh {
			var p P
			if n.method != method {
				continue
			}
			if err := json.Unmarshal(n.params, &p); err != nil {
				c.t.Fatalf("%s: %v in %s", method, err, n.params)
			}
			if fits(p) {
				return p
			}
		}
		select {
		case <-more:
		case <-c.Done():
			c.t.Fatalf("the connection ended before %s: %v; %s", what, c.Err(), c.last())
		case <-over:
			c.t.Fatalf("did not see %s; told %s", what, c.last())
		}
	}
}

// awaitState waits until a status shows a server in a state.
func (c *client) awaitState(name string, want status.State) status.Server {
	c.t.Helper()
	var found status.Server
	await(c, name+" "+string(want), wire.DidChangeStatus, func(p status.Project) bool {
		s, _ := p.Server(name)
		found = s
		return s.State == want
	})
	return found
}

func (c *client) awaitEvent(kind status.Kind) wire.DidHappenParams {
	c.t.Helper()
	return await(c, "event "+string(kind), wire.DidHappen, func(p wire.DidHappenParams) bool { return p.Kind == kind })
}

// forget drops what the client was told, so that only what is new is awaited.
func (c *client) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = nil
}

func (c *client) status() status.Project {
	c.t.Helper()
	var p status.Project
	c.must("devside/status", nil, &p)
	return p
}

func (c *client) server(name string) status.Server {
	c.t.Helper()
	p := c.status()
	s, ok := p.Server(name)
	if !ok {
		c.t.Fatalf("there is no server %s: %+v", name, p.Servers)
	}
	return s
}

// start starts servers that must come up.
func (c *client) start(names ...string) []wire.ServerResult {
	c.t.Helper()
	return c.allOK("devside/start", wire.StartParams{Servers: names})
}

func (c *client) allOK(method string, p wire.StartParams) []wire.ServerResult {
	c.t.Helper()
	var res wire.StartResult
	c.must(method, p, &res)
	if len(res.Servers) == 0 {
		c.t.Fatalf("%s: nothing came out", method)
	}
	for _, s := range res.Servers {
		if !s.OK {
			c.t.Fatalf("%s: %s is %s: %+v", method, s.Name, s.State, s.Error)
		}
	}
	return res.Servers
}

func (c *client) state(name string, want status.State) {
	c.t.Helper()
	if s := c.server(name); s.State != want {
		c.t.Errorf("%s is %s (%s), want %s", name, s.State, s.Message, want)
	}
}

// awaitClosed waits until the hub has closed the connection.
func (c *client) awaitClosed() {
	c.t.Helper()
	select {
	case <-c.Done():
	case <-time.After(deadline):
		c.t.Fatalf("the connection is still open; told %s", c.last())
	}
}

// peer is a client that sends what it likes, in the order it likes.
type peer struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (l *lab) peer() *peer {
	l.t.Helper()
	c, err := net.Dial("unix", l.paths.Socket())
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	return &peer{l.t, c, bufio.NewReader(c)}
}

func (p *peer) write(s string) {
	p.t.Helper()
	p.SetWriteDeadline(time.Now().Add(deadline))
	if _, err := io.WriteString(p.Conn, s); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

func frame(id int, method string, params any) string {
	m := map[string]any{"jsonrpc": "2.0", "method": method}
	if id != 0 {
		m["id"] = id
	}
	if params != nil {
		m["params"] = params
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(b), b)
}

type reply struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    int64          `json:"code"`
		Message string         `json:"message"`
		Data    wire.ErrorData `json:"data"`
	} `json:"error"`
}

func (p *peer) next() (reply, error) {
	var r reply
	p.SetReadDeadline(time.Now().Add(deadline))
	h, err := textproto.NewReader(p.r).ReadMIMEHeader()
	if err != nil {
		return r, err
	}
	n, err := strconv.Atoi(h.Get("Content-Length"))
	if err != nil {
		return r, err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(p.r, b); err != nil {
		return r, err
	}
	return r, json.Unmarshal(b, &r)
}

// until reads until a message fits.
func (p *peer) until(what string, fits func(reply) bool) reply {
	p.t.Helper()
	for {
		r, err := p.next()
		if err != nil {
			p.t.Fatalf("read until %s: %v", what, err)
		}
		if fits(r) {
			return r
		}
	}
}

// answer reads until the answer to a request.
func (p *peer) answer(id int) reply {
	p.t.Helper()
	return p.until(fmt.Sprint("the answer to ", id), func(r reply) bool { return r.Method == "" && r.ID == id })
}

// freePort is one that the kernel chose.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func on(port int) string { return fmt.Sprintf("port: %d\n", port) }

// printLines makes a server with a port print lines.
func printLines(t *testing.T, port int, lines ...string) {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, strings.Join(lines, "\n")+"\n"); err != nil {
		t.Fatal(err)
	}
}
