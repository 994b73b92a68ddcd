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
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain lets the test binary be what the bench binary is: it starts itself
// as servers and as the bare parent.
func TestMain(m *testing.M) {
	if role, ok := roleOf(os.Args); ok {
		os.Exit(role(os.Args[2:]))
	}
	if code, ok := fakeDevside(os.Args[1:]); ok {
		os.Exit(code)
	}
	// A process of a race build waits a second before it ends, else.
	os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0")
	goleak.VerifyTestMain(m)
}

// fakeDevside lets this test binary be a small devside: it runs the project's
// servers with the bare parent and answers what the bench asks. It is no
// supervisor: what is killed around it is left, which the bench must find.
func fakeDevside(args []string) (code int, ok bool) {
	if len(args) == 0 {
		return 0, false
	}
	switch args[0] {
	case "--stdio":
		return fakeSession(), true
	case "up":
		return fakeUp(), true
	case "version":
		fmt.Println("devside fake (protocol 1)")
		return 0, true
	case "__fakeGuardian":
		return fakeGuardian(), true
	case "__fakeHub":
		io.Copy(io.Discard, os.Stdin)
		return 0, true
	}
	return 0, false
}

// fakeGuardian has a hub for a child, and ends with its input.
func fakeGuardian() int {
	hub := exec.Command("/proc/self/exe", "__fakeHub")
	in, err := hub.StdinPipe()
	if err != nil || hub.Start() != nil {
		return 1
	}
	fmt.Println(hub.Process.Pid)
	io.Copy(io.Discard, os.Stdin)
	in.Close()
	hub.Wait()
	return 0
}

type fakeServer struct {
	name  string
	argv  []string
	port  int
	since time.Time
	ready bool
}

type fakeProject struct {
	servers []*fakeServer
	chain   bool
	parent  *bareParent
	mark    string
	mu      sync.Mutex // one request, or changed file, at a time
}

func openFake() (*fakeProject, error) {
	text, err := os.ReadFile("devside.yaml")
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &fakeProject{mark: os.Getenv(markVariable), chain: strings.Contains(string(text), "depends_on")}
	p.parent = newBareParent(exe, null)
	for line := range strings.Lines(string(text)) {
		words, ok := strings.CutPrefix(strings.TrimSpace(line), "command: ")
		if !ok {
			continue
		}
		s := &fakeServer{since: time.Now()}
		if err := json.Unmarshal([]byte(words), &s.argv); err != nil {
			return nil, err
		}
		read, err := readServer(s.argv[2:])
		if err != nil {
			return nil, err
		}
		s.name, s.port = read.name, read.port
		p.servers = append(p.servers, s)
		p.parent.argvs = append(p.parent.argvs, s.argv[1:])
	}
	return p, nil
}

// watch restarts everything a while after the watched file was written.
func (p *fakeProject) watch() {
	var last []byte
	for {
		time.Sleep(time.Millisecond)
		text, err := os.ReadFile(changedFile)
		if err != nil || len(text) == 0 || bytes.Equal(text, last) {
			continue
		}
		last = text
		time.Sleep(changeSettle)
		p.mu.Lock()
		p.stop()
		p.start()
		p.mu.Unlock()
	}
}

func (s *fakeServer) await() {
	for range 100_000 {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err == nil {
			conn.Close()
			s.since, s.ready = time.Now(), true
			return
		}
		time.Sleep(200 * time.Microsecond)
	}
}

func (p *fakeProject) start() {
	for i, s := range p.servers {
		p.parent.start(i)
		if p.chain {
			s.await()
		}
	}
	for _, s := range p.servers {
		if !p.chain {
			s.await()
		}
	}
}

// stop ends the servers, and after the grace of every project that has
// stubborn ones all that is left of them.
func (p *fakeProject) stop() {
	kill := func() {
		all, _ := marked(p.mark)
		for _, w := range all {
			if s := describe(w.pid); strings.Contains(s, serverRole) || strings.Contains(s, childRole) {
				w.signal(syscall.SIGKILL)
			}
			w.close()
		}
	}
	late := time.AfterFunc(stubbornGrace, kill)
	p.parent.stop()
	if !late.Stop() {
		kill()
		return
	}
	kill()
}

func (p *fakeProject) states(state string) []map[string]any {
	p.parent.mu.Lock()
	defer p.parent.mu.Unlock()
	out := []map[string]any{}
	for i, s := range p.servers {
		m := map[string]any{"name": s.name, "ok": true, "state": state, "since": s.since}
		for pid, place := range p.parent.running {
			if place == i {
				m["pid"] = pid
			}
		}
		out = append(out, m)
	}
	return out
}

func fakeSession() int {
	p, err := openFake()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	guardian := exec.Command("/proc/self/exe", "__fakeGuardian")
	life, _ := guardian.StdinPipe()
	said, _ := guardian.StdoutPipe()
	if err := guardian.Start(); err != nil {
		return 1
	}
	var hub int
	fmt.Fscan(said, &hub)
	end := func(code int) int {
		p.stop()
		life.Close()
		guardian.Wait()
		return code
	}
	go p.watch()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "up 1\n") }))
	defer web.Close()
	in := bufio.NewReader(os.Stdin)
	for {
		body, err := readFrame(in)
		if err != nil {
			return end(1)
		}
		var m message
		if json.Unmarshal(body, &m) != nil {
			return end(1)
		}
		var result any
		p.mu.Lock()
		switch m.Method {
		case "exit":
			return end(0)
		case "devside/restart", "devside/clearCaches":
			p.stop()
			if m.Method == "devside/clearCaches" {
				os.RemoveAll(cacheDir)
			}
			p.start()
		case "devside/start":
			p.start()
			result = map[string]any{"servers": p.states("ready")}
		case "devside/stop":
			p.stop()
			result = map[string]any{"servers": p.states("stopped")}
		case "devside/status":
			result = map[string]any{"hubPid": hub, "servers": p.states("ready")}
		case "devside/dashboard":
			result = map[string]any{"url": web.URL}
		case "shutdown":
			p.stop()
		}
		p.mu.Unlock()
		if m.ID == nil {
			continue
		}
		raw, _ := json.Marshal(result)
		answer := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":%s}`, *m.ID, raw)
		fmt.Printf("Content-Length: %d\r\n\r\n%s", len(answer), answer)
	}
}

func fakeUp() int {
	p, err := openFake()
	if err != nil {
		return 1
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt)
	p.start()
	<-c
	p.stop()
	return exitInterrupted
}

// smallPlan does everything once, with few servers.
var smallPlan = plan{runs: 1, crowd: [3]int{2, 3, 4}, flood: 2000, cached: 1001, idle: 50 * time.Millisecond, settle: time.Millisecond,
	requests: 20, pipeline: 200, patience: patience, late: 5 * time.Second, orphans: 5 * time.Second}

func fakeSetting(t *testing.T, log io.Writer) setting {
	exe := someProgram(t)
	return setting{devside: exe, exe: exe, plan: smallPlan, log: log}
}

// TestEveryRowIsMeasured makes the whole table, against the fake.
func TestEveryRowIsMeasured(t *testing.T) {
	var log strings.Builder
	b, err := newBench(fakeSetting(t, &log))
	if err != nil {
		t.Fatal(err)
	}
	kills := []string{"left-sidecar", "left-hub", "left-guardian", "left-both"}
	chosen := slices.DeleteFunc(slices.Clone(measurements), func(m measurement) bool { return slices.Contains(kills, m.rows[0]) })
	rows, failed := b.all(t.Context(), chosen)
	if err := b.close(); err != nil {
		t.Error(err)
	}
	for _, err := range failed {
		t.Error(err)
	}
	if t.Failed() {
		t.Log(log.String())
	}
	var names []string
	for _, r := range rows {
		names = append(names, r.Name)
		want := smallPlan.runs
		switch r.Name {
		case "crash1", "crash50":
			want *= 2
		}
		if len(r.Devside) != want {
			t.Errorf("%s has %d samples, want %d", r.Name, len(r.Devside), want)
		}
		if len(r.Bare) != 0 && len(r.Bare) != want {
			t.Errorf("%s has %d bare samples, want %d", r.Name, len(r.Bare), want)
		}
		if (r.Goal.Kind == timesBare || r.Goal.Kind == barePlus) && len(r.Bare) == 0 {
			t.Errorf("%s has nothing to compare with", r.Name)
		}
		if r.What == "" {
			t.Errorf("%s does not say what it is", r.Name)
		}
		if v := r.devside(); v < 0 && r.Name != "lag50" && r.Name != "stubborn" {
			t.Errorf("%s took %v", r.Name, v)
		}
	}
	if want := allRows(chosen); !slices.Equal(names, want) {
		t.Errorf("measured %v\nwant %v", names, want)
	}
}

// TestAProcessThatIsLeftIsFound: the fake leaves its servers behind when it is
// killed.
func TestAProcessThatIsLeftIsFound(t *testing.T) {
	for name, kill := range map[string]func(context.Context, *session) error{
		"left-sidecar": killSidecar, "left-hub": killHub, "left-guardian": killGuardian, "left-both": killBoth,
	} {
		t.Run(name, func(t *testing.T) {
			s := fakeSetting(t, io.Discard)
			s.plan.orphans, s.plan.late = 200*time.Millisecond, 200*time.Millisecond
			b, err := newBench(s)
			if err != nil {
				t.Fatal(err)
			}
			rows, err := leftAfter(name, "a kill", kill)(within(t), b)
			if err == nil || !strings.Contains(err.Error(), "are left") {
				t.Errorf("error %v", err)
			}
			// Three leaders, each with two children.
			if len(rows) != 1 || rows[0].devside() < 9 {
				t.Errorf("counted %+v, want at least 9", rows)
			}
			if met, ok := rows[0].met(); met || !ok {
				t.Error("the goal is met")
			}
			left, err := b.sweep(t.Context())
			if name == "left-sidecar" && len(left) < 9 {
				t.Errorf("swept %q (%v)", left, err)
			}
			all, err := marked(b.mark)
			closeAll(all)
			if len(all) > 0 || err != nil {
				t.Errorf("%d processes are left after the sweep (%v)", len(all), err)
			}
			if err := b.close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestADevsideThatDoesNotSpeakIsReported(t *testing.T) {
	s := fakeSetting(t, io.Discard)
	s.devside = "/bin/false"
	b, err := newBench(s)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	p, err := b.newProject(nil, settings{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.open(within(t)); err == nil || !strings.Contains(err.Error(), "open a session") {
		t.Errorf("error %v", err)
	}
	u, err := p.up()
	if err != nil {
		t.Fatal(err)
	}
	if err := u.interrupt(); err == nil {
		t.Error("up that fails is no error")
	}
	s.devside = filepath.Join(t.TempDir(), "nothing")
	b.setting = s
	if _, err := p.open(within(t)); err == nil {
		t.Error("a devside that does not exist is no error")
	}
	if _, err := p.up(); err == nil {
		t.Error("a devside that does not exist is no error")
	}
}

func TestAnInterruptLeavesNothing(t *testing.T) {
	b, err := newBench(fakeSetting(t, io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	var running int
	_, failed := b.all(ctx, []measurement{{rows: []string{"start10"}, make: func(ctx context.Context, b *bench) ([]row, error) {
		s, err := b.readyProject(ctx, 2)
		if err != nil {
			return nil, err
		}
		all, err := marked(b.mark)
		closeAll(all)
		if err != nil {
			return nil, err
		}
		running = len(all)
		cancel(errors.New("enough"))
		_, _, err = s.status(ctx) // answered or not, whichever comes first
		return nil, errors.Join(err, context.Cause(ctx), s.close())
	}}})
	if running < 5 || len(failed) == 0 {
		t.Errorf("%d processes ran, errors %v", running, failed)
	}
	all, err := marked(b.mark)
	closeAll(all)
	if len(all) > 0 || err != nil {
		t.Errorf("%d processes are left (%v)", len(all), err)
	}
	if err := b.close(); err != nil {
		t.Error(err)
	}
}
