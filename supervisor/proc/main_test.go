//go:build linux

package proc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// child is the first argument that turns the test binary into one of the
// misbehaving programs below. It is an argument, not a variable, because some
// of them run with an empty environment.
const child = "proc-test-child"

// lifetime bounds every child, so that a failed test leaves nothing for long.
const lifetime = time.Minute

// patience bounds every wait of a test. Machines that run these are busy.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == child {
		os.Exit(runChild(os.Args[2], os.Args[3:]))
	}
	goleak.VerifyTestMain(m)
}

func runChild(mode string, args []string) int {
	switch mode {
	case "sleep":
		say()
		linger()
	case "stubborn":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		say()
		linger()
	case "report":
		sid, _ := unix.Getsid(0)
		wd, _ := os.Getwd()
		in, _ := io.ReadAll(os.Stdin)
		_ = json.NewEncoder(os.Stdout).Encode(reported{
			Args: args, Env: os.Environ(), Dir: wd, PID: os.Getpid(), Session: sid, Group: unix.Getpgrp(), Stdin: string(in),
		})
	case "exit":
		code, _ := strconv.Atoi(args[0])
		return code
	case "die":
		sig, _ := strconv.Atoi(args[0])
		_ = unix.Kill(os.Getpid(), syscall.Signal(sig))
		linger()
	case "tree":
		// Six processes, each of which has left something of its leader.
		say()
		spawn(nil, false, "stubborn")           // in the leader's session
		spawn(os.Environ(), true, "stubborn")   // a session of its own, with the marker
		spawn(nil, true, "stubborn")            // ... without
		spawn(nil, false, "escape", "stubborn") // its parent has ended
		spawn(nil, true, "escape", "stubborn")  // ... and nothing else is left
		linger()
	case "escape":
		spawn(nil, true, args...)
	case "cleared":
		// What it leaves has nothing left of where it comes from.
		_ = unix.Setrlimit(unix.RLIMIT_MSGQUEUE, &unix.Rlimit{Cur: 4096, Max: 4096})
		spawn(nil, true, "escape", "stubborn")
		linger()
	case "opener": // args: a program that is spared
		attr := &syscall.ProcAttr{Files: []uintptr{0, 1, 2}, Env: os.Environ(), Sys: &syscall.SysProcAttr{Setsid: true}}
		if _, err := syscall.ForkExec(args[0], []string{args[0], child, "sleep"}, attr); err != nil {
			fmt.Println(err)
		}
		signal.Ignore(syscall.SIGTERM)
		say()
		linger()
	case "forker":
		// Forks as fast as it can and minds nothing: what it forks has left
		// session, marker and ancestry.
		signal.Ignore(syscall.SIGTERM)
		for range 500 {
			spawn(nil, true, "escape", "stubborn")
		}
		linger()
	case "siblings":
		// Its child's parent is ours, and the child has left session and marker.
		attr := &syscall.ProcAttr{Files: []uintptr{0, 1, 2}, Env: []string{}, Sys: &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_PARENT}}
		if _, err := syscall.ForkExec("/proc/self/exe", []string{os.Args[0], child, "stubborn"}, attr); err != nil {
			fmt.Println(err)
		}
		say()
		linger()
	case "orphans":
		// Leaves one process behind that has left session, marker and ancestry.
		say()
		spawn(nil, true, "escape", "stubborn")
		linger()
	case "leave":
		spawn(os.Environ(), false, "stubborn")
		return 3
	case "zombie":
		attr := &syscall.ProcAttr{Files: []uintptr{0, 1, 2}}
		pid, err := syscall.ForkExec(os.Args[0], []string{os.Args[0], child, "exit", "0"}, attr)
		if err != nil {
			return 1
		}
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println(pid)
		linger()
	case "bomb":
		for range 200 {
			cmd := exec.Command("sleep", "60")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := cmd.Start(); err != nil {
				fmt.Println(err)
				return 1
			}
		}
		say()
		linger()
	case "secret":
		_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
		return runChild("alloc", args)
	case "share", "shared":
		return shareChild(args[0], mode == "share")
	case "share-of":
		return shareOfChild(args[0])
	case "alloc":
		mb, _ := strconv.Atoi(args[0])
		block := make([]byte, mb<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		say()
		linger()
		_ = block[0]
	case "clean-up":
		// On SIGTERM starts a helper that needs a moment, and waits for it.
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		say()
		spawn(os.Environ(), false, "slow") // its end comes while the helper works
		<-c
		cmd := exec.Command("sh", "-c", "sleep 0.3; echo done > "+args[0])
		if err := cmd.Run(); err != nil {
			return 1
		}
	case "slow":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		say()
		<-c
		<-time.After(100 * time.Millisecond)
	case "hub":
		return hubChild(args[0])
	case "guardian":
		return guardianChild()
	case "cleaner": // args: root, pattern
		strays := EndStrays(context.Background(), Strays{
			Root: args[0], Patterns: args[1:], Supervises: func(argv []string) bool { return slices.Contains(argv, "pretend-hub") },
		}, StopPlan{Grace: 100 * time.Millisecond}, zerolog.Nop())
		_ = json.NewEncoder(os.Stdout).Encode(strays)
	case "sweeper": // args: marker
		_ = json.NewEncoder(os.Stdout).Encode(Sweep(context.Background(), []Mark{{MarkerPrefix: args[0] + ":"}}, StopPlan{Grace: 50 * time.Millisecond}, zerolog.Nop()))
	case "above": // has a child, and ends last
		spawn(os.Environ(), false, "stubborn", args[0])
		say()
		linger()
	case "reuse":
		return reuseChild()
	case "other-user":
		return otherUserChild(args[0])
	default:
		fmt.Println("unknown mode", mode)
		return 1
	}
	return 0
}

type reported struct {
	Args, Env           []string
	Dir, Stdin          string
	PID, Session, Group int
}

// say tells the test our pid, on a line of its own.
func say() { fmt.Println(os.Getpid()) }

func linger() { <-time.After(lifetime) }

// spawn starts this binary again, with our standard output, and does not wait.
func spawn(env []string, setsid bool, args ...string) {
	if env == nil {
		env = []string{}
	}
	attr := &syscall.ProcAttr{Files: []uintptr{0, 1, 2}, Env: env, Sys: &syscall.SysProcAttr{Setsid: setsid}}
	if _, err := syscall.ForkExec("/proc/self/exe", append([]string{os.Args[0], child}, args...), attr); err != nil {
		fmt.Println(err)
	}
}

// hubChild is a hub that starts two servers and waits to be killed.
func hubChild(prefix string) int {
	t, err := NewTracker(zerolog.Nop())
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for i := range 2 {
		p, err := t.Start(Command{
			Argv: []string{os.Args[0], child, "tree"}, Dir: "/", Env: os.Environ(),
			Stdout: os.Stdout, Marker: fmt.Sprintf("%s-%d", prefix, i),
		})
		if err != nil {
			fmt.Println(err)
			return 1
		}
		b, _ := json.Marshal(p.Identity())
		fmt.Println(string(b))
	}
	linger()
	return 0
}

// guardianChild starts a process with a tree, and ends all of it.
func guardianChild() int {
	if err := BecomeSubreaper(); err != nil {
		fmt.Println(err)
		return 1
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 1
	}
	cmd := exec.Command("/proc/self/exe", child, "tree")
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		return 1
	}
	_ = w.Close()
	lines := bufio.NewScanner(r)
	var pids []int
	for len(pids) < treeSize && lines.Scan() {
		pid, _ := strconv.Atoi(lines.Text())
		pids = append(pids, pid)
	}
	rep := EndDescendants(context.Background(), nil, StopPlan{Grace: 50 * time.Millisecond}, zerolog.Nop())
	_, children, _ := visit(step{pid: os.Getpid()})
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"report": rep, "pids": pids, "children": children})
	return 0
}

// reuseChild is the first process of a pid namespace of its own. It gives the
// pid of an ended process to another one, and answers "kept" when that one was
// left alone.
func reuseChild() int {
	fail := func(what string, err error) int {
		fmt.Println(what, err)
		return 1
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fail("mount:", err)
	}
	start := func() (int, error) {
		return syscall.ForkExec(os.Args[0], []string{os.Args[0], child, "sleep"}, &syscall.ProcAttr{Files: []uintptr{0, 2, 2}})
	}
	end := func(pid int) {
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
	}
	// A leader that has ended keeps its pid, and with it session and group, from
	// being given again until its tree is gone and it is reaped.
	t, err := NewTracker(zerolog.Nop())
	if err != nil {
		return fail("tracker:", err)
	}
	defer t.Close()
	leader, err := t.Start(Command{Argv: []string{os.Args[0], child, "exit", "0"}, Dir: "/", Marker: "reuse-leader"})
	if err != nil {
		return fail("leader:", err)
	}
	<-leader.Exited()
	for range 20 {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(leader.PID()-1)), 0o644); err != nil {
			return fail("ns_last_pid:", err)
		}
		next, err := start()
		if err != nil {
			return fail("start:", err)
		}
		end(next)
		if next == leader.PID() {
			return fail("leader:", errors.New("the pid of an un-reaped leader was given again"))
		}
	}
	leader.Stop(context.Background(), StopPlan{})

	pid, err := start()
	if err != nil {
		return fail("start:", err)
	}
	seen, err := readStat(pid)
	if err != nil {
		return fail("stat:", err)
	}
	old, err := Identify(pid)
	if err != nil {
		return fail("identify:", err)
	}
	if !old.Alive() {
		return fail("alive:", errors.New("the first process should be"))
	}
	end(pid)
	for range 1000 {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0o644); err != nil {
			return fail("ns_last_pid:", err)
		}
		next, err := start()
		if err != nil {
			return fail("start:", err)
		}
		now, err := readStat(next)
		if err != nil {
			return fail("stat:", err)
		}
		// Not if a thread of this program took the number; nor in the same hundredth
		// of a second: no machine gives out all pids in so short a time.
		if next != pid || now.start == seen.start {
			end(next)
			continue
		}
		defer end(next)
		if old.Alive() {
			return fail("alive:", errors.New("the newcomer passes for the old process"))
		}
		if err := old.Signal(syscall.SIGKILL); !errors.Is(err, ErrGone) {
			return fail("signal:", fmt.Errorf("%v, want ErrGone", err))
		}
		// A member, or the leader of a ledger, that was seen by a scan and whose pid
		// is another's by the time it is opened, or looked up again.
		stale := newLadder(zerolog.Nop(), StopPlan{Signal: syscall.SIGKILL}, func(known) sighting { return sighting{members: []stat{seen}} })
		if rep := stale.run(context.Background()); rep.Signalled+rep.Killed+len(rep.Left) != 0 {
			return fail("ladder:", fmt.Errorf("it went for the newcomer: %+v", rep))
		}
		if rep := Sweep(context.Background(), []Mark{{Leader: old, MarkerPrefix: "reuse-leader"}}, StopPlan{Signal: syscall.SIGKILL}, zerolog.Nop()); rep.Signalled+rep.Killed+len(rep.Left) != 0 {
			return fail("sweep:", fmt.Errorf("it went for the newcomer: %+v", rep))
		}
		if _, _, err := visit(step{pid: pid, start: seen.start}); !errors.Is(err, ErrGone) {
			return fail("visit:", fmt.Errorf("%v, want ErrGone", err))
		}
		var ws unix.WaitStatus
		if got, _ := unix.Wait4(next, &ws, unix.WNOHANG, nil); got != 0 {
			return fail("newcomer:", fmt.Errorf("it ended: %v", ws))
		}
		fmt.Println("kept")
		return 0
	}
	return fail("reuse:", errors.New("the pid was not given again"))
}

// otherUserChild gives up root where it has it, and tries to stop a process of
// another user.
func otherUserChild(arg string) int {
	pid, _ := strconv.Atoi(arg)
	if os.Geteuid() == 0 {
		if err := syscall.Setuid(65534); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	d, err := openDir(pid)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	s, err := d.stat()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	l := newLadder(zerolog.Nop(), StopPlan{}, func(known) sighting { return sighting{members: []stat{s}} })
	_ = json.NewEncoder(os.Stdout).Encode(l.run(context.Background()))
	return 0
}

const treeSize = 6

// self returns the argv that runs this binary as a child.
func self(args ...string) []string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return append([]string{exe, child}, args...)
}

// rig is a tracker, its log, and what the test's processes print.
type rig struct {
	*testing.T
	*Tracker
	log *logBuffer
}

func newRig(t *testing.T) *rig {
	t.Helper()
	buf := &logBuffer{}
	tr, err := NewTracker(zerolog.New(buf))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.Close)
	return &rig{T: t, Tracker: tr, log: buf}
}

// start starts a child and returns the lines it and its descendants print. It
// is stopped by force at the end of the test.
func (r *rig) start(args ...string) (*Process, *lines) {
	r.Helper()
	return r.startArgv(self(args...), fmt.Sprintf("run-%s-%d", r.Name(), len(r.leaders)))
}

func (r *rig) startArgv(argv []string, marker string) (*Process, *lines) {
	r.Helper()
	out, w, err := os.Pipe()
	if err != nil {
		r.Fatal(err)
	}
	p, err := r.Start(Command{Argv: argv, Dir: r.TempDir(), Env: os.Environ(), Stdout: w, Stderr: os.Stderr, Marker: marker})
	_ = w.Close()
	if err != nil {
		_ = out.Close()
		r.Fatal(err)
	}
	ls := &lines{t: r.T, c: make(chan string, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(ls.c)
		scan := bufio.NewScanner(out)
		for scan.Scan() {
			ls.c <- scan.Text()
		}
	}()
	r.Cleanup(func() {
		p.Stop(r.ended(), StopPlan{Signal: syscall.SIGKILL})
		_ = out.Close()
		<-done
	})
	return p, ls
}

// ended is a context that has ended: a stop with it has no grace.
func (r *rig) ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

type lines struct {
	t *testing.T
	c chan string
}

func (l *lines) next() string {
	l.t.Helper()
	select {
	case s, ok := <-l.c:
		if !ok {
			l.t.Fatal("the child closed its output")
		}
		return s
	case <-time.After(patience):
		l.t.Fatal("the child printed nothing")
	}
	return ""
}

// pids reads n pids, one a line.
func (l *lines) pids(n int) []int {
	l.t.Helper()
	var out []int
	for range n {
		s := l.next()
		pid, err := strconv.Atoi(s)
		if err != nil {
			l.t.Fatalf("a child said %q", s)
		}
		out = append(out, pid)
	}
	slices.Sort(out)
	return out
}

type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// eventually waits for a condition that no event tells of.
func eventually(t *testing.T, what string, now func() (ok bool, state string)) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, state := now()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not in time; last seen: %s", what, state)
		}
	}
}

// exists reports whether the pid is in use, a zombie's included.
func exists(pid int) bool {
	_, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid)))
	return err == nil
}

func requireGone(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		if info, err := Inspect(pid); err == nil {
			t.Errorf("pid %d is still there: state %c, parent %d, session %d", pid, info.State, info.Parent, info.Session)
		}
	}
}

func waitExited(t *testing.T, p *Process) {
	t.Helper()
	select {
	case <-p.Exited():
	case <-time.After(patience):
		info, err := Inspect(p.PID())
		t.Fatalf("the leader has not ended: %+v %v", info, err)
	}
}

func treePIDs(p *Process) []int {
	var out []int
	for _, id := range p.Tree() {
		out = append(out, id.PID)
	}
	slices.Sort(out)
	return out
}

// shortName is what the kernel calls this binary: the first 15 bytes.
func shortName() string {
	name := filepath.Base(self()[0])
	return name[:min(len(name), 15)]
}

func runSweeper(t *testing.T, argv []string) (rep Report) {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	if err != nil || json.Unmarshal(out, &rep) != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return rep
}
