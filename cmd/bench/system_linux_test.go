package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// someBench is a run whose servers are this test binary.
func someBench(t *testing.T) *bench {
	t.Helper()
	exe := someProgram(t)
	b, err := newBench(setting{devside: "/bin/false", exe: exe, plan: quickPlan, log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		left, err := b.sweep(context.Background())
		if len(left) > 0 || err != nil {
			t.Errorf("left: %v (%v)", left, err)
		}
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func someBaseline(t *testing.T, b *bench, n int, like server) *baseline {
	t.Helper()
	servers, err := someServers(n, like)
	if err != nil {
		t.Fatal(err)
	}
	l, err := b.newBaseline(servers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestBareStartsRestartsAndStops(t *testing.T) {
	b, ctx := someBench(t), within(t)
	l := someBaseline(t, b, 3, server{})
	if took, err := l.start(ctx, b); err != nil || took <= 0 {
		t.Fatalf("started after %v: %v", took, err)
	}
	for _, s := range l.servers {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err != nil {
			t.Fatalf("a server that says its port is open: %v", err)
		}
		conn.Close()
	}
	before := l.pids["b1"]
	if took, err := l.crash(ctx, b, "b1"); err != nil || took <= 0 {
		t.Fatalf("started again after %v: %v", took, err)
	}
	if l.pids["b1"] == before {
		t.Error("the new process has the old one's pid")
	}
	if took, err := l.stop(ctx); err != nil || took <= 0 {
		t.Fatalf("stopped after %v: %v", took, err)
	}
	all, err := marked(l.mark)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(all)
	if len(all) != 1 || all[0].pid != l.cmd.Process.Pid {
		t.Errorf("after a stop %d processes are left, want the parent", len(all))
	}
	if _, err := l.start(ctx, b); err != nil {
		t.Errorf("a second start: %v", err)
	}
}

func TestBareChain(t *testing.T) {
	b, ctx := someBench(t), within(t)
	const each = 20 * time.Millisecond
	l := someBaseline(t, b, 3, server{after: each})
	took, err := l.chain(ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	if took < 3*each {
		t.Errorf("3 servers that open one after the other, each after %v, were open after %v", each, took)
	}
}

func TestBareEndsWithItsInput(t *testing.T) {
	b, ctx := someBench(t), within(t)
	servers, err := someServers(2, server{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := b.startedBaseline(servers)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.opens(ctx, b, time.Now()); err != nil {
		t.Error(err)
	}
	if err := l.close(); err != nil {
		t.Error(err)
	}
	all, err := marked(l.mark)
	closeAll(all)
	if len(all) > 0 || err != nil {
		t.Errorf("%d processes are left (%v)", len(all), err)
	}
}

func TestBareRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for in, want := range map[string]string{
		"x\n":                "read the servers",
		"[]\nfly\n":          "is no order",
		"[]\nstart 0\n":      "no such server",
		"[[\"a\"]]\nstart -": "no such server",
	} {
		if err := bare(strings.NewReader(in), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", in, err, want)
		}
	}
	if err := bare(strings.NewReader(""), io.Discard); err != nil {
		t.Errorf("no input: %v", err)
	}
}

func TestAServerThatCannotListenSaysWhy(t *testing.T) {
	b, ctx := someBench(t), within(t)
	holder, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	l, err := b.newBaseline([]server{{port: holder.Addr().(*net.TCPAddr).Port}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.start(ctx, b)
	if err == nil || !strings.Contains(err.Error(), "b0 could not open its port: bind: address already in use") {
		t.Errorf("error %v", err)
	}
	if err := l.close(); err != nil {
		t.Error(err)
	}
}

func TestServersThatDoNotOpenAreNotAwaitedForever(t *testing.T) {
	b := someBench(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := b.ear.hear(ctx, []string{"b0"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestHTTPServer(t *testing.T) {
	b, ctx := someBench(t), within(t)
	l := someBaseline(t, b, 1, server{http: true})
	if _, err := l.start(ctx, b); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", l.servers[0].port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(conn)
	for range 2 { // the connection stays open
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, len(httpAnswer))
		if _, err := io.ReadFull(r, answer); err != nil || string(answer) != httpAnswer {
			t.Fatalf("answered %q (%v)", answer, err)
		}
	}
}

func TestAFamilyIgnoresTERM(t *testing.T) {
	b, ctx := someBench(t), within(t)
	l := someBaseline(t, b, 1, server{family: true})
	if _, err := l.start(ctx, b); err != nil {
		t.Fatal(err)
	}
	all, err := marked(l.mark)
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(all)
	var children []witness
	sessions := map[int]bool{}
	for _, w := range all {
		if parent, err := parentOf(w.pid); err == nil && parent == l.pids["b0"] {
			children = append(children, w)
			sid, _, _ := syscall.RawSyscall(syscall.SYS_GETSID, uintptr(w.pid), 0, 0)
			sessions[int(sid)] = true
		}
	}
	if len(children) != 2 || len(sessions) != 2 {
		t.Fatalf("%d children in %d sessions, want 2 in 2", len(children), len(sessions))
	}
	// The leader ends, its children do not: that is what they are for.
	if _, err := l.stop(ctx); err != nil {
		t.Fatal(err)
	}
	for _, w := range children {
		if !w.alive() {
			t.Errorf("child %d has ended", w.pid)
		}
		if err := w.signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := awaitEnds(short, children); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("children that ignore SIGTERM: %v", err)
	}
	p := &project{side: side{mark: l.mark}}
	if left, _, err := p.gone(ctx, 20*time.Millisecond); left != 3 || err != nil {
		t.Errorf("%d processes are left (%v), want the parent and two children", left, err)
	}
	for _, w := range children {
		if err := w.signal(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
	if _, err := awaitEnds(ctx, children); err != nil {
		t.Error(err)
	}
}

func TestSweepEndsWhatIsLeftAndSaysWhat(t *testing.T) {
	b, ctx := someBench(t), within(t)
	l := someBaseline(t, b, 1, server{stubborn: true})
	if _, err := l.start(ctx, b); err != nil {
		t.Fatal(err)
	}
	w, err := see(l.pids["b0"], l.mark)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if s := describe(w.pid); !strings.Contains(s, serverRole+" b0") {
		t.Errorf("it is described as %q", s)
	}
	if err := l.cmd.Process.Kill(); err != nil { // our own child
		t.Fatal(err)
	}
	l.cmd.Wait()
	l.cmd.Process = nil
	left, err := b.killLeft(ctx)
	if err != nil || len(left) != 1 || !strings.Contains(left[0], fmt.Sprint(w.pid)) {
		t.Errorf("swept %q (%v), want process %d", left, err, w.pid)
	}
	if w.alive() {
		t.Error("it is still there")
	}
}

func TestOnlyProcessesOfTheRunAreHeld(t *testing.T) {
	b := someBench(t)
	if _, err := see(os.Getppid(), b.mark); !errors.Is(err, errNotOurs) {
		t.Errorf("a process without the mark: %v", err)
	}
	if _, err := see(1<<22+1, b.mark); err == nil {
		t.Error("a pid that nobody can have is held")
	}
	all, err := marked(b.mark)
	closeAll(all)
	if len(all) > 0 || err != nil {
		t.Errorf("%d processes carry a mark that was given to none (%v)", len(all), err)
	}
}

func TestASignalToAnEndedProcessIsNoError(t *testing.T) {
	b, ctx := someBench(t), within(t)
	l := someBaseline(t, b, 1, server{})
	if _, err := l.start(ctx, b); err != nil {
		t.Fatal(err)
	}
	all, err := l.hold()
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(all)
	if _, err := l.stop(ctx); err != nil {
		t.Fatal(err)
	}
	if all[0].alive() {
		t.Error("it is alive after its end")
	}
	if err := all[0].signal(syscall.SIGTERM); err != nil {
		t.Errorf("signal an ended process: %v", err)
	}
	if _, err := l.hold(); err == nil {
		t.Error("a process that has ended is held by its number")
	}
}

func TestMeasuresOfAProcess(t *testing.T) {
	self := os.Getpid()
	before, err := cpuTime(self)
	if err != nil {
		t.Fatal(err)
	}
	x := 1
	for range 20_000_000 {
		x = x*3 + 1
	}
	after, err := cpuTime(self)
	if err != nil || after <= before || x == 0 {
		t.Errorf("processor time went from %v to %v (%v)", before, after, err)
	}
	bytes, err := pss(self)
	if err != nil || bytes < 1<<20 || bytes > 1<<30 {
		t.Errorf("this test takes %d bytes (%v)", bytes, err)
	}
	if parent, err := parentOf(self); err != nil || parent != os.Getppid() {
		t.Errorf("parent %d (%v), want %d", parent, err, os.Getppid())
	}
	const nobody = 1<<22 + 1 // above the greatest pid there can be
	if _, err := cpuTime(nobody); err == nil {
		t.Error("a process that does not exist has used processor time")
	}
	if _, err := pss(nobody); err == nil {
		t.Error("a process that does not exist takes memory")
	}
	if _, err := parentOf(nobody); err == nil {
		t.Error("a process that does not exist has a parent")
	}
	if m := machine(); m.Kernel == "" || m.Cores < 1 || m.Load == "unknown" {
		t.Errorf("the machine is %+v", m)
	}
}

func TestHop(t *testing.T) {
	b, ctx := someBench(t), within(t)
	h, err := b.newHop(100)
	if err != nil {
		t.Fatal(err)
	}
	var filler string
	if _, err := h.call(ctx, "devside/status", struct{}{}, &filler); err != nil || len(filler) != 100 {
		t.Errorf("answered %q (%v)", filler, err)
	}
	if took, err := h.pipeline(ctx, "devside/status", 1000, 64); err != nil || took <= 0 {
		t.Errorf("1000 requests took %v (%v)", took, err)
	}
	if err := h.close(); err != nil {
		t.Error(err)
	}
}

func TestPortsAreFreeAndDifferent(t *testing.T) {
	ports, err := freePorts(20)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(ports)
	if n := len(slices.Compact(ports)); n != 20 {
		t.Errorf("%d different ports of 20", n)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := tryPort(l.Addr().(*net.TCPAddr).Port); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a port that is held: %v", err)
	}
}

func TestBothSidesGetTheSameEnvironment(t *testing.T) {
	t.Setenv("DEV_PORT_D0", "1")
	t.Setenv("DEVSIDE_HOME", "/nowhere")
	t.Setenv(earVariable, "/nowhere")
	b := someBench(t)
	env := b.environment("m")
	for _, v := range []string{"DEV_PORT_D0=1", "DEVSIDE_HOME=/nowhere", earVariable + "=/nowhere"} {
		if slices.Contains(env, v) {
			t.Errorf("%s is passed on", v)
		}
	}
	for _, v := range []string{markVariable + "=m", earVariable + "=" + filepath.Join(b.dir, "ear")} {
		if !slices.Contains(env, v) {
			t.Errorf("%s is missing", v)
		}
	}
}

// TestAMeasurementThatFailsIsReported: the rest is measured, and the exit code
// says that something is missing.
func TestAMeasurementThatFailsIsReported(t *testing.T) {
	tries := 0
	chosen := []measurement{
		{rows: []string{"bad"}, make: func(context.Context, *bench) ([]row, error) { tries++; return nil, errors.New("it broke") }},
		{rows: []string{"good", "other"}, make: func(context.Context, *bench) ([]row, error) {
			return []row{{Name: "good", What: "a good one", Devside: []float64{3}, Goal: goal{atMost, 1}}, {Name: "other", What: "not asked for"}}, nil
		}},
	}
	exe := someProgram(t)
	var out, log strings.Builder
	// Not this test binary as devside: it would run the tests.
	s := setting{devside: "/bin/false", exe: exe, plan: quickPlan, log: &log}
	path := filepath.Join(t.TempDir(), "figures.json")
	code := measure(within(t), s, chosen, options{only: []string{"bad", "good"}, json: path}, &out)
	if code != exitFailed || tries != attempts {
		t.Errorf("exit %d after %d tries", code, tries)
	}
	if !strings.Contains(out.String(), "a good one") || strings.Contains(out.String(), "not asked for") || !strings.Contains(out.String(), "failed: measure bad: it broke") {
		t.Errorf("the table is\n%s", out.String())
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	// A goal that is missed is no failure.
	if code := measure(within(t), s, chosen[1:], options{}, io.Discard); code != exitDone {
		t.Errorf("exit %d for a goal that was missed", code)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if code := measure(cancelled, s, chosen[1:], options{}, io.Discard); code != exitFailed {
		t.Errorf("exit %d after an interrupt", code)
	}
}
