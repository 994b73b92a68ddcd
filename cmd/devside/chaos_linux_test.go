package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/sidecar/fakeeditor"
	"github.com/devside/devside/rpc/socket"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

// TestChaos does random things to a project of servers that misbehave. After
// each of them what devside says must come to agree with /proc, and at the end
// nothing may be left. CHAOS_STEPS and CHAOS_SEED set how long and what;
// without them it is a short run that does every kind of thing once, and
// CHAOS_JOURNAL names a file for all that was done and seen.
func TestChaos(t *testing.T) {
	steps, seed := 1+len(kinds), rand.Uint64()
	for name, to := range map[string]func(string) error{
		"CHAOS_STEPS": func(s string) (err error) { steps, err = strconv.Atoi(s); return err },
		"CHAOS_SEED":  func(s string) (err error) { seed, err = strconv.ParseUint(s, 10, 64); return err },
	} {
		if s := os.Getenv(name); s != "" {
			if err := to(s); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	t.Logf("%d steps; the same again: make chaos CHAOS_SEED=%d CHAOS_STEPS=%d", steps, seed, steps)
	fmt.Printf("chaos: seed %d, %d steps\n", seed, steps) // seen also when it hangs
	c := newChaos(t, seed)
	began := time.Now()
	for step := range steps {
		a := actionAt(seed, step)
		c.begin(step, a)
		said := c.do(a)
		c.say("%s (%v)", said, time.Since(c.began).Round(time.Millisecond))
		c.agree()
		if t.Failed() {
			return
		}
	}
	c.end()
	t.Logf("%d steps in %v; the slowest to agree: %s", steps, time.Since(began).Round(time.Second), c.slowest)
}

// chaosPatience bounds every wait of the test. Nothing needs more than a few
// seconds; the machine may be busy with anything.
const chaosPatience = 60 * time.Second

// chaos is a run of the test: the project, its clients, and what was done to it.
type chaos struct {
	t     *testing.T
	seed  uint64
	mark  string // among the arguments of every process of a server
	dir   string
	home  string
	paths state.Paths
	ports map[string]int

	editor *sidecarProcess // holds, and is asked for the status
	second *sidecarProcess // another one that holds; or nil
	slow   *slowClient     // or nil

	edits   map[string]int // by server: a number in its entry
	removed map[string]bool
	broken  bool
	leased  bool                    // a start from the command line may hold the hub
	thieves map[string]net.Listener // by server: the test listens on its port
	paused  map[proc.Identity]string

	journal  []string
	began    time.Time       // of the step
	last     *status.Project // what was agreed on last
	restores map[string]bool // servers that are to come back, since the hub was killed
	lost     int             // pid of the hub that was killed
	escaping bool            // its guardian was killed with it, see endEscaped
	hub      int
	sequence uint64
	slowest  string
	longest  time.Duration
}

func newChaos(t *testing.T, seed uint64) *chaos {
	home := homeDir(t)
	c := &chaos{
		t: t, seed: seed, dir: realDir(t), home: home, ports: map[string]int{}, edits: map[string]int{}, removed: map[string]bool{},
		thieves: map[string]net.Listener{}, paused: map[proc.Identity]string{}, restores: map[string]bool{},
		mark: strconv.FormatInt(1e11+rand.Int64N(9e11), 10), // twelve digits, see sleeper
	}
	var err error
	if c.paths, err = state.Locate(c.dir, c.getenv); err != nil {
		t.Fatal(err)
	}
	for _, m := range misbehavers {
		if c.ports[m.name], err = freePort(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if name := os.Getenv("CHAOS_JOURNAL"); name != "" {
			if err := os.WriteFile(name, []byte(strings.Join(c.journal, "\n")+"\n"), 0o600); err != nil {
				t.Error(err)
			}
		}
		if t.Failed() {
			t.Logf("the last steps:\n%s", strings.Join(c.journal[max(0, len(c.journal)-90):], "\n"))
			t.Logf("devside's own log ends with:\n%s", lastOf(c.paths.Log(), 40))
			// A start from the command line may still hold the hub.
			endHub(t, filepath.Join(binaries(t), "devside"), c.dir, c.home)
		}
		for _, f := range c.scan() {
			t.Errorf("left at the end: %v", f)
			f.id.Signal(syscall.SIGKILL) //nolint:errcheck // it may have ended
		}
	})
	t.Cleanup(func() {
		for _, l := range c.thieves {
			l.Close()
		}
		if c.slow != nil {
			c.slow.close()
		}
	})
	c.writeConfig()
	c.editor = c.newEditor()
	if st, err := c.status(); err != nil || len(st.Servers) != len(misbehavers) || len(st.Problems) > 0 {
		t.Fatalf("the project is not as it should be: %+v %v", st, err)
	}
	return c
}

func (c *chaos) getenv(name string) string {
	return map[string]string{state.HomeVariable: c.home}[name]
}

func (c *chaos) newEditor() *sidecarProcess {
	s := startSidecar(c.t, c.dir, c.home, chaosPatience)
	s.initialize(c.dir, trusted)
	return s
}

func (c *chaos) begin(step int, a action) {
	c.journal, c.began = append(c.journal, fmt.Sprintf("%4d %s", step, a)), time.Now()
}

// say adds to the journal what came of the step.
func (c *chaos) say(format string, args ...any) {
	c.journal = append(c.journal, "       "+fmt.Sprintf(format, args...))
}

// fatal ends the test: the journal says what led here.
func (c *chaos) fatal(format string, args ...any) {
	c.t.Helper()
	c.t.Fatalf("seed %d: "+format, append([]any{c.seed}, args...)...)
}

// The project's configuration.

func (c *chaos) writeConfig() {
	exe, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("version: 1\nservers:\n")
	for _, m := range misbehavers {
		if c.removed[m.name] {
			continue
		}
		fmt.Fprintf(&b, "  %s:\n    command: [%q, %s, %q, %s, %s]\n", m.name, exe, misbehaveWord, c.mark, m.name, m.name)
		fmt.Fprintf(&b, "    env: {EDIT: \"%d\"}\n    stop: {grace: 200ms}\n    restart: {delay: 200ms, max_delay: 500ms, max_per_hour: 50}\n", c.edits[m.name])
		port := strconv.Itoa(c.ports[m.name])
		switch {
		case m.name == "moving":
			fmt.Fprintf(&b, "    port: {number: %s, on_conflict: next}\n", port)
		case m.port:
			fmt.Fprintf(&b, "    port: %s\n", port)
		}
		extra := m.extra
		if m.name == "dependent" && c.removed["slow"] {
			extra = "depends_on: [polite]"
		}
		if m.name == "dependent" && c.removed["polite"] {
			extra = strings.ReplaceAll(strings.ReplaceAll(m.extra, ", polite", ""), "slow", "moving")
		}
		if extra == "" && m.port {
			extra = "ready: {tcp: PORT, within: 3s}"
		}
		if extra != "" {
			fmt.Fprintf(&b, "    %s\n", strings.ReplaceAll(extra, "PORT", port))
		}
	}
	c.writeFile(b.String())
}

// writeFile replaces the configuration as an editor does.
func (c *chaos) writeFile(text string) {
	name := filepath.Join(c.dir, "devside.yaml")
	if err := errors.Join(os.WriteFile(name+"~", []byte(text), 0o600), os.Rename(name+"~", name)); err != nil {
		c.t.Fatal(err)
	}
}

// Requests.

// call makes a request of the editor that may fail for reasons that this test
// brings about itself.
func (c *chaos) call(verb string, params map[string]any, result any) error {
	r := c.editor.Call(wire.MethodPrefix+verb, params)
	return c.result(verb, r.Result, r.Err, result)
}

func (c *chaos) result(verb string, raw json.RawMessage, failed *fakeeditor.Error, result any) error {
	if failed != nil {
		err := fmt.Errorf("%s: error %d %s", verb, failed.Code, failed.Message)
		if !tolerable(failed.Code) {
			c.t.Errorf("%v", err)
		}
		return err
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(raw, result); err != nil {
		c.t.Errorf("%s: result %s: %v", verb, raw, err)
	}
	return nil
}

// tolerable errors are those of a hub that was killed, a request that was
// cancelled, a server that was removed, and a new hub with a broken file.
func tolerable(code int) bool {
	return slices.Contains([]int{wire.CodeHubLost, wire.CodeCancelled, wire.CodeInvalidParams, wire.CodeConfigInvalid}, code)
}

func (c *chaos) ask(verb string, servers []string, wait bool) string {
	var r startResult
	if err := c.call(verb, request(servers, wait), &r); err != nil {
		return err.Error()
	}
	return brief(r)
}

func request(servers []string, wait bool) map[string]any {
	params := map[string]any{"wait": wait}
	if servers != nil {
		params["servers"] = servers
	}
	return params
}

func brief(r startResult) string {
	var all []string
	for _, s := range r.Servers {
		text := fmt.Sprintf("%s=%s", s.Name, s.State)
		if s.Error != nil {
			text += "(" + s.Error.Code + ")"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

// stop stops servers. When it is answered that they are stopped, nothing of
// what they were before may live.
func (c *chaos) stop(servers []string, wait bool) string {
	before := c.scan()
	var r startResult
	if err := c.call("stop", request(servers, wait), &r); err != nil {
		return err.Error()
	}
	if !wait {
		return brief(r)
	}
	for _, s := range r.Servers {
		if !s.OK {
			continue // it says who is left, and agree looks at that
		}
		for _, f := range before {
			if f.server == s.Name && f.id.Alive() {
				c.fatal("%s was said to be stopped, and %v was alive", s.Name, f)
			}
		}
	}
	return brief(r)
}

// calm stops everything and looks closer: nothing may live, and the hub must be
// as small as a new one.
func (c *chaos) calm() string {
	said := c.stop(nil, true)
	return said + "; " + c.footprint()
}

const (
	// calmDescriptors is what a hub without running servers has open: the
	// standard streams, lock, socket, pipes to the guardian, its log, the project,
	// /proc, Go's poller, one connection a client, some spare.
	calmDescriptors = 40
	// ofServer is what it keeps open for each server that it has started: the
	// file of its output and that file's index.
	ofServer = 2
	// calmMemory is more than a hub with full logs takes.
	calmMemory = 200 << 20
)

// footprint looks at descriptors and memory of a hub that has nothing to do.
func (c *chaos) footprint() string {
	st, err := c.status()
	if err != nil || st.HubPID == 0 {
		return "no hub"
	}
	for _, s := range st.Servers {
		if s.State != status.Stopped {
			return "not calm"
		}
	}
	id, err := proc.Identify(st.HubPID)
	if err != nil {
		return err.Error()
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", id.PID))
	if err != nil {
		return err.Error()
	}
	rss := residentOf(id.PID)
	if !id.Alive() {
		return "the hub has gone"
	}
	if len(fds) > calmDescriptors+ofServer*len(misbehavers) {
		c.t.Errorf("a hub without servers has %d descriptors open: %s", len(fds), describeFDs(id.PID, fds))
	}
	if rss > calmMemory {
		c.t.Errorf("a hub without servers has %d MB", rss>>20)
	}
	return fmt.Sprintf("%d descriptors, %d MB", len(fds), rss>>20)
}

// visit asks on a connection of its own, without starting a hub.
func (c *chaos) visit(method string, params, result any) error {
	ctx, cancel := context.WithTimeout(c.t.Context(), chaosPatience)
	defer cancel()
	conn, err := c.connect(ctx, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Call(ctx, method, params, result)
}

func (c *chaos) connect(ctx context.Context, h rpc.Handler) (*rpc.Conn, error) {
	if h == nil {
		h = rpc.HandlerFunc(func(rpc.Message) (rpc.Work, error) { return nil, nil })
	}
	conn, _, err := socket.Connect(ctx, socket.Options{
		Root: c.dir, Getenv: c.getenv, Log: zerolog.Nop(), Handler: h,
		Hello: wire.HelloParams{Version: version, Role: wire.Visitor, Client: "chaos", Env: os.Environ()},
	})
	return conn, err
}

// visited judges the end of a visit: it may fail as a call of the editor may.
func (c *chaos) visited(what string, err error) string {
	var told *rpc.Error
	switch {
	case err == nil:
		return what + " done"
	case errors.As(err, &told) && !tolerable(int(told.Code)):
		c.t.Errorf("%s: %v", what, err)
	case errors.As(err, &told), errors.Is(err, socket.ErrNoHub), errors.Is(err, rpc.ErrClosed):
	default:
		c.t.Errorf("%s: %v", what, err)
	}
	return fmt.Sprintf("%s: %v", what, err)
}

// twoAtOnce lets two clients ask for different things at the same time.
func (c *chaos) twoAtOnce(a action) string {
	verbs := []string{"start", "stop", "restart"}
	one, other := verbs[a.n%3], verbs[a.n/3%3]
	half := (len(a.servers) + 1) / 2
	pending := c.editor.Send(wire.MethodPrefix+one, request(a.servers, a.wait))
	err := c.visit(wire.MethodPrefix+other, request(a.servers[:half], true), nil)
	said := c.visited("the other's "+other, err)
	r := pending.Wait()
	var result startResult
	if err := c.result(one, r.Result, r.Err, &result); err != nil {
		return said + "; " + err.Error()
	}
	return said + "; " + one + " " + brief(result)
}

func (c *chaos) cancelledStart(a action) string {
	pending := c.editor.Send(wire.MethodPrefix+"start", request(a.servers, true))
	if a.n%2 == 0 {
		c.visited("status", c.visit(wire.MethodPrefix+"status", map[string]any{}, nil))
	}
	pending.Cancel()
	r := pending.Wait()
	var result startResult
	if err := c.result("start", r.Result, r.Err, &result); err != nil {
		return err.Error()
	}
	return "too late: " + brief(result)
}

func (c *chaos) hurry(a action) string {
	said := c.ask("stop", a.servers, false)
	return said + "; " + c.visited("hurry", c.visit(wire.Hurry, nil, nil))
}

// Signals.

// signalOne signals a process of one of the servers: the leader, or another.
func (c *chaos) signalOne(a action, sig syscall.Signal, leader bool) string {
	var all []found
	for _, f := range c.scan() {
		if f.leads() == leader {
			all = append(all, f)
		}
	}
	// Those of the named servers first.
	named := slices.DeleteFunc(slices.Clone(all), func(f found) bool { return !slices.Contains(a.servers, f.server) })
	if len(named) > 0 {
		all = named
	}
	if len(all) == 0 {
		return "nobody there"
	}
	f := all[a.n%len(all)]
	if err := f.id.Signal(sig); err != nil {
		return err.Error()
	}
	if sig == syscall.SIGSTOP {
		c.paused[f.id] = f.server
	}
	return fmt.Sprint(f)
}

func (c *chaos) resume() string {
	n := 0
	for id := range c.paused {
		if id.Signal(syscall.SIGCONT) == nil {
			n++
		}
	}
	clear(c.paused)
	return fmt.Sprintf("%d resumed", n)
}

// killDevside kills the hub, the guardian, or both, and notes what is to come
// back.
func (c *chaos) killDevside(a action) string {
	st, err := c.status()
	if err != nil {
		return err.Error()
	}
	info, err := proc.Inspect(st.HubPID)
	if err != nil {
		return err.Error()
	}
	guardian, err := proc.Identify(info.Parent)
	if err != nil {
		return err.Error()
	}
	for pid, word := range map[int]string{info.PID: "__hub", guardian.PID: "__guardian"} {
		if command := proc.CommandLine(pid); !strings.Contains(command, word) || !strings.Contains(command, c.dir) {
			c.fatal("pid %d should be the %s and is %q", pid, word, command)
		}
	}
	var victims []proc.Identity
	if a.kind != "kill guardian" {
		victims = append(victims, info.Identity)
	}
	if a.kind != "kill hub" {
		victims = append(victims, guardian)
	}
	if a.kind == "kill both" && a.n%2 == 0 { // neither sees the other go
		for _, id := range victims {
			id.Signal(syscall.SIGSTOP) //nolint:errcheck // killed next
		}
	}
	for _, id := range victims {
		if err := id.Signal(syscall.SIGKILL); err != nil {
			return err.Error()
		}
	}
	c.lost, c.leased, c.escaping = info.PID, false, len(victims) == 2
	c.noteRestores(a.restarting)
	return fmt.Sprintf("hub %d, guardian %d; to come back: %v", info.PID, guardian.PID, keys(c.restores))
}

// endEscaped ends what nothing leads to any more when hub and guardian have died
// at the same moment: what left session, marker and ancestry, where there are no
// cgroups. README names the limit.
func (c *chaos) endEscaped(hub int) {
	seen := c.scan()
	for _, f := range seen {
		led := f.parent == hub || slices.ContainsFunc(seen, func(other found) bool { return other.id.PID == f.parent })
		cgroup, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", f.id.PID))
		if err == nil && f.server == "stray" && f.part == "sleep" && !led && !strings.Contains(string(cgroup), "/devside-") {
			f.id.Signal(syscall.SIGKILL) //nolint:errcheck // it may have ended
		}
	}
}

// noteRestores remembers what ran when the hub was killed: what was ready when
// there was agreement last, and has not crashed or been stopped since, by what
// is on disk. A file with errors has no servers, and gets none back.
func (c *chaos) noteRestores(restarting []string) {
	clear(c.restores)
	if c.broken || c.last == nil {
		return
	}
	running := c.snapshot().Running
	for _, s := range c.last.Servers {
		up := s.State.Active() && s.State != status.Stopping && slices.Contains(running, s.Name)
		// What could block it is a port that the test has, or a dependency with one.
		again := s.State == status.Ready && s.Name != "crasher" && len(c.thieves) == 0 && slices.Contains(restarting, s.Name)
		if up || again {
			c.restores[s.Name] = true
		}
	}
}

// killRestarting kills the hub while it restarts servers.
func (c *chaos) killRestarting(a action) string {
	said := c.ask("restart", a.servers, false)
	for range a.n % 16 { // so that it is killed at one moment or another
		c.status() //nolint:errcheck // only to pass the time
	}
	return said + "; " + c.killDevside(action{kind: "kill hub", restarting: a.servers})
}

func (c *chaos) killSidecar() string {
	id, err := proc.Identify(c.editor.cmd.Process.Pid)
	if err != nil {
		c.fatal("%v", err)
	}
	if err := id.Signal(syscall.SIGKILL); err != nil {
		c.fatal("%v", err)
	}
	<-c.editor.ended
	c.editor.Close()
	c.editor = c.newEditor()
	clear(c.restores)
	return "killed"
}

// Ports.

func (c *chaos) steal(server string) string {
	if c.thieves[server] != nil {
		return "stolen already"
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", c.ports[server]))
	if err != nil {
		return err.Error()
	}
	c.thieves[server] = l
	return fmt.Sprintf("%s's port %d is stolen", server, c.ports[server])
}

func (c *chaos) giveBack() string {
	n := len(c.thieves)
	for _, l := range c.thieves {
		l.Close()
	}
	clear(c.thieves)
	return fmt.Sprintf("%d given back", n)
}

// The configuration.

func (c *chaos) edit(server string, remove bool) string {
	c.edits[server]++
	clear(c.removed)
	c.broken = false
	if remove {
		c.removed[server] = true
	}
	c.writeConfig()
	return c.reload()
}

func (c *chaos) breakConfig(n int) string {
	c.broken = true
	c.writeFile([]string{"version: 1\nservers: {polite: {command: x, prot: 3}}\n", "{{{", "", "version: 1\nservers:\n  a: {command: b}\n a"}[n%4])
	return c.reload()
}

func (c *chaos) mendConfig() string {
	c.broken = false
	clear(c.removed)
	c.writeConfig()
	return c.reload()
}

func (c *chaos) reload() string {
	var r wire.ReloadResult
	if err := c.call("reload", map[string]any{}, &r); err != nil {
		return err.Error()
	}
	if r.Valid == c.broken {
		c.t.Errorf("a file that is broken: %v was found valid: %v", c.broken, r.Valid)
	}
	return fmt.Sprintf("valid %v, added %v, changed %v, removed %v, restarted %v", r.Valid, r.Added, r.Changed, r.Removed, r.Restarted)
}

// Clients.

// leave lets everybody go: then nothing of the project may be left.
func (c *chaos) leave() string {
	if c.leased {
		c.visited("stop", c.visit(wire.MethodPrefix+"stop", map[string]any{}, nil))
		c.leased = false
	}
	for _, s := range []*sidecarProcess{c.second, c.editor} {
		if s != nil {
			s.Shutdown()
			if code := s.exitCode(c.t); code != 0 {
				c.t.Errorf("exit code %d of the sidecar", code)
			}
			s.Close()
		}
	}
	c.second = nil
	await(c.t, "the end of everything once everybody has left", func() (string, bool) {
		left := c.scan()
		devsides := c.devsides()
		return fmt.Sprint(left, devsides), len(left) == 0 && len(devsides) == 0
	})
	c.editor = c.newEditor()
	clear(c.restores)
	st, err := c.status()
	if err != nil {
		c.fatal("after everybody has left: %v", err)
	}
	for _, s := range st.Servers {
		if s.State != status.Stopped || begun(s) {
			c.t.Errorf("everybody had left, and %s is %s in run %d", s.Name, s.State, s.Run)
		}
	}
	return "everybody left and one came back"
}

func (c *chaos) toggleSecond() string {
	if c.second == nil {
		c.second = c.newEditor()
		var st status.Project
		r := c.second.Call(wire.MethodPrefix+"status", map[string]any{})
		if err := c.result("status", r.Result, r.Err, &st); err != nil {
			return err.Error()
		}
		return fmt.Sprintf("a second one sees hub %d", st.HubPID)
	}
	c.second.Shutdown()
	if code := c.second.exitCode(c.t); code != 0 {
		c.t.Errorf("exit code %d of the second sidecar", code)
	}
	c.second.Close()
	c.second = nil
	return "the second one left"
}

// slowClient asked for output and does not read it.
type slowClient struct {
	conn *rpc.Conn
	read chan struct{} // closed: it reads again
}

func (s *slowClient) close() {
	close(s.read)
	s.conn.Close()
}

func (c *chaos) toggleSlow() string {
	if c.slow != nil {
		c.slow.close()
		c.slow = nil
		return "the slow one left"
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), chaosPatience)
	defer cancel()
	s := &slowClient{read: make(chan struct{})}
	conn, err := c.connect(ctx, rpc.HandlerFunc(func(m rpc.Message) (rpc.Work, error) {
		if m.Method == wire.DidLog {
			<-s.read
		}
		return nil, nil
	}))
	if err != nil {
		return c.visited("connect", err)
	}
	s.conn, c.slow = conn, s
	err = conn.Call(ctx, wire.MethodPrefix+"logs", map[string]any{"server": "flood", "follow": true, "lines": 1}, nil)
	return c.visited("a slow one follows", err)
}

// look asks for everything at once that can be asked for.
func (c *chaos) look(a action) string {
	verbs, params := []string{"status", "ports", "logs", "logs", "status"}, []map[string]any{
		{}, {}, {"server": a.servers[0], "lines": 50}, {"server": a.servers[0], "grep": "(a|b)*c", "run": -1}, {},
	}
	var pending []*fakeeditor.Pending
	for i, verb := range verbs {
		pending = append(pending, c.editor.Send(wire.MethodPrefix+verb, params[i]))
	}
	for i, p := range pending {
		r := p.Wait()
		c.result(verbs[i], r.Result, r.Err, nil) //nolint:errcheck // judged there
	}
	return fmt.Sprintf("%d questions", len(pending))
}

func (c *chaos) commandLine(a action) string {
	lines := [][]string{
		{"status"}, {"status", "--output", "json"}, {"ports"}, {"logs", a.servers[0], "-n", "3"}, {"reload"},
		{"stop", a.servers[0]}, {"start", "--trust", a.servers[0]}, {"restart", "--trust", a.servers[0]},
	}
	args := lines[a.n%len(lines)]
	ctx, cancel := context.WithTimeout(c.t.Context(), chaosPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binaries(c.t), "devside"), append(args, "--root", c.dir, "--allow-root")...)
	cmd.Env = append(os.Environ(), "DEVSIDE_HOME="+c.home)
	out, err := cmd.CombinedOutput()
	c.leased = c.leased || args[0] == "start" || args[0] == "restart"
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		c.fatal("devside %v did not end: %s", args, out)
	case err == nil:
	case !errors.As(err, &exit):
		c.fatal("devside %v: %v", args, err)
	case exit.ExitCode() == exitUsage && strings.Contains(string(out), "there is no server"): // it was removed
	case exit.ExitCode() < 1 || exit.ExitCode() > exitHub:
		c.t.Errorf("devside %v: %v\n%s", args, err, out)
	}
	return fmt.Sprintf("devside %s: %v", strings.Join(args, " "), cmd.ProcessState)
}

// end brings everything in order, and wants every server that can be up to be
// up; then it ends the project, and wants nothing to be left.
func (c *chaos) end() {
	c.begin(-1, action{kind: "end"})
	c.say("%s; %s; %s", c.resume(), c.giveBack(), c.mendConfig())
	if c.slow != nil {
		c.slow.close()
		c.slow = nil
	}
	c.say("%s", c.stop(nil, true)) // what has lost a process gets it back
	var steady []string
	for _, m := range misbehavers {
		if m.steady {
			steady = append(steady, m.name)
		}
	}
	await(c.t, "every server that can be up", func() (string, bool) {
		var r startResult
		err := c.call("start", request(steady, true), &r)
		c.say("start: %s %v", brief(r), err)
		up := err == nil
		for _, s := range r.Servers {
			up = up && s.OK
		}
		return r.String(), up
	})
	await(c.t, "all the processes of every server", func() (string, bool) {
		seen := c.scan()
		for _, m := range misbehavers {
			mine := slices.DeleteFunc(slices.Clone(seen), func(f found) bool { return f.server != m.name })
			if m.steady && len(mine) != m.most {
				return fmt.Sprintf("%s should have %d: %v", m.name, m.most, mine), false
			}
		}
		return "", true
	})
	c.agree()
	c.say("%s", c.calm())
	c.agree()
	c.leased = true // whether or not
	c.say("%s", c.leave())
	c.editor.Shutdown()
	if code := c.editor.exitCode(c.t); code != 0 {
		c.t.Errorf("exit code %d of the last sidecar", code)
	}
	await(c.t, "the end of the last hub", func() (string, bool) {
		d := c.devsides()
		return fmt.Sprint(d), len(d) == 0
	})
	var ports []int
	for _, p := range c.ports {
		ports = append(ports, p)
	}
	portsFree(c.t, ports...)
	c.files(true)
}
