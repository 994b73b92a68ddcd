//go:build linux

package proc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

func TestStartGivesArgumentsEnvironmentAndSession(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	in, inW, _ := os.Pipe()
	out, outW, _ := os.Pipe()
	defer out.Close()
	words := []string{"$(touch pwned)", "; rm -rf x", "a b", "*", ""}
	p, err := r.Start(Command{
		Argv: self(append([]string{"report"}, words...)...), Dir: dir,
		Env:   []string{"A=1", Marker + "=old", "B=two words"},
		Stdin: in, Stdout: outW, Marker: "run-1",
	})
	_, _ = in.Close(), outW.Close()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = inW.WriteString("typed")
	_ = inW.Close()
	var got reported
	if err := json.NewDecoder(out).Decode(&got); err != nil {
		t.Fatal(err)
	}
	waitExited(t, p)
	rep := p.Stop(context.Background(), StopPlan{Grace: patience})

	if !slices.Equal(got.Args, words) {
		t.Errorf("arguments %q, want %q", got.Args, words)
	}
	if want := []string{"A=1", "B=two words", Marker + "=run-1"}; !slices.Equal(got.Env, want) {
		t.Errorf("environment %q, want %q", got.Env, want)
	}
	real, _ := filepath.EvalSymlinks(dir)
	if got.Dir != real || got.Stdin != "typed" {
		t.Errorf("dir %q stdin %q", got.Dir, got.Stdin)
	}
	if got.PID != p.PID() || got.Session != got.PID || got.Group != got.PID {
		t.Errorf("pid %d session %d group %d, want all %d", got.PID, got.Session, got.Group, p.PID())
	}
	if rep.Exit.Code != 0 || rep.Exit.Signal != 0 || rep.Exit.MaxRSS == 0 || len(rep.Left) != 0 {
		t.Errorf("report %+v", rep)
	}
}

func TestRELIABILITY005StartErrorsAreTyped(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := write("plain", "#!/bin/sh\n", 0o644)
	noInterpreter := write("no-interpreter", "#!/no/such/interpreter\n", 0o755)
	noBang := write("no-bang", "just text\n", 0o755)
	file := write("file", "", 0o644)
	env := []string{"PATH=/usr/bin:/bin"}
	_, before, _ := visit(step{pid: os.Getpid()})
	for _, tt := range []struct {
		name string
		c    Command
		kind StartKind
		path string
	}{
		{"empty", Command{Dir: dir}, NotFound, `""`},
		{"not in PATH", Command{Argv: []string{"no-such-program"}, Dir: dir, Env: env}, NotFound, "no-such-program"},
		{"missing file", Command{Argv: []string{"./missing"}, Dir: dir}, NotFound, dir + "/missing"},
		{"below a file", Command{Argv: []string{"./file/x"}, Dir: dir}, NotFound, dir + "/file/x"},
		{"no x bit", Command{Argv: []string{plain}, Dir: dir}, NotExecutable, plain},
		{"a directory", Command{Argv: []string{dir}, Dir: dir}, NotExecutable, dir},
		{"missing interpreter", Command{Argv: []string{noInterpreter}, Dir: dir}, NotFound, noInterpreter},
		{"no #! line", Command{Argv: []string{noBang}, Dir: dir}, ExecFormat, noBang},
		{"missing dir", Command{Argv: []string{"sh"}, Dir: dir + "/none", Env: env}, BadDir, dir + "/none"},
		{"dir is a file", Command{Argv: []string{"sh"}, Dir: file, Env: env}, BadDir, file},
		{"relative dir", Command{Argv: []string{"sh"}, Dir: "here", Env: env}, BadDir, `"here"`},
		{"NUL in an argument", Command{Argv: []string{"sh", "a\x00b"}, Dir: dir, Env: env}, OtherFailure, "/usr/bin/sh"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := r.Start(tt.c)
			var se *StartError
			if p != nil || !errors.As(err, &se) {
				t.Fatalf("got %v, %v", p, err)
			}
			if se.Kind != tt.kind || se.Path != tt.path || se.Error() == "" {
				t.Errorf("kind %s path %s: %v; want %s %s", se.Kind, se.Path, err, tt.kind, tt.path)
			}
		})
	}
	if _, after, _ := visit(step{pid: os.Getpid()}); len(after) > len(before) {
		t.Errorf("failed starts left children: %v before, %v after", before, after)
	}
}

func TestStartErrorOfAFullMachine(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE} {
		if e := startError("/bin/true", "/", errno); e.Kind != Resources || !errors.Is(e, errno) {
			t.Errorf("%v: %+v", errno, e)
		}
	}
	if e := startError("/bin/true", "/", syscall.EACCES); e.Kind != NotExecutable {
		t.Errorf("EACCES: %+v", e)
	}
}

func TestStartAfterClose(t *testing.T) {
	tr, err := NewTracker(zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	tr.Close()
	tr.Close()
	if _, err := tr.Start(Command{Argv: []string{"/bin/true"}, Dir: "/"}); err == nil {
		t.Error("a closed tracker started a process")
	}
}

func TestLookPath(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []struct {
		name string
		mode os.FileMode
	}{{"a/tool", 0o755}, {"b/tool", 0o755}, {"a/denied", 0o644}, {"b/both", 0o755}, {"a/both", 0o644}, {"c/only", 0o755}} {
		path := filepath.Join(dir, f.name)
		_ = os.MkdirAll(filepath.Dir(path), 0o755)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), f.mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(filepath.Join(dir, "c"))
	path := "PATH=" + dir + "/a:" + dir + "/b"
	for _, tt := range []struct {
		name, cmd, dir string
		env            []string
		want           string
		kind           StartKind
	}{
		{"first match", "tool", dir, []string{path}, dir + "/a/tool", ""},
		{"the last PATH counts", "tool", dir, []string{path, "PATH=" + dir + "/b"}, dir + "/b/tool", ""},
		{"past one without x", "both", dir, []string{path}, dir + "/b/both", ""},
		{"only one without x", "denied", dir, []string{path}, "", NotExecutable},
		{"slash: relative to dir", "./tool", dir + "/b", nil, dir + "/b/tool", ""},
		{"slash: up", "../a/tool", dir + "/b", nil, dir + "/a/tool", ""},
		{"absolute", dir + "/a/tool", "", nil, dir + "/a/tool", ""},
		{"slash in no dir", "./tool", "", nil, "", BadDir},
		{"never our working directory", "only", dir, []string{"PATH=.:" + dir + "/a"}, "", NotFound},
		{"relative entry", "only", dir, []string{"PATH=c"}, "", NotFound},
		{"empty entry", "only", dir + "/c", []string{"PATH=:" + dir + "/a"}, "", NotFound},
		{"no PATH", "tool", dir, []string{"HOME=/"}, "", NotFound},
		{"empty name", "", dir, []string{path}, "", NotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := LookPath(tt.cmd, tt.dir, tt.env)
			var se *StartError
			if errors.As(err, &se) != (tt.kind != "") || (se != nil && se.Kind != tt.kind) || got != tt.want {
				t.Errorf("got %q, %v; want %q, kind %q", got, err, tt.want, tt.kind)
			}
		})
	}
	if _, err := LookPath("only", dir, []string{"PATH=c"}); !errors.Is(err, errRelativePath) {
		t.Errorf("the error of a relative entry is %v", err)
	}
}

func TestExitedIsToldByEventAndTheLeaderStays(t *testing.T) {
	r := newRig(t)
	p, _ := r.start("exit", "7")
	if e, ok := p.ExitStatus(); ok && e.Code != 7 {
		t.Errorf("status %+v", e)
	}
	waitExited(t, p)
	if r.reapOne(p.PID()) {
		t.Error("the reaper took the leader")
	}
	info, err := Inspect(p.PID())
	if err != nil || !info.Zombie() {
		t.Fatalf("after Exited the leader must be a zombie: %+v %v", info, err)
	}
	if p.Identity().Alive() {
		t.Error("a zombie counts as alive")
	}
	if err := p.Identity().Signal(syscall.SIGTERM); !errors.Is(err, ErrGone) {
		t.Errorf("signal to a zombie: %v", err)
	}
	if e, ok := p.ExitStatus(); !ok || e.Code != 7 || e.Signal != 0 {
		t.Errorf("status %+v %v", e, ok)
	}
	if tree := p.Tree(); len(tree) != 0 {
		t.Errorf("tree %v", tree)
	}
	rep := p.Stop(context.Background(), StopPlan{Grace: patience})
	if rep.Exit.Code != 7 || rep.Signalled != 0 || rep.Killed != 0 {
		t.Errorf("report %+v", rep)
	}
	requireGone(t, []int{p.PID()})
}

func TestExitBySignal(t *testing.T) {
	r := newRig(t)
	p, _ := r.start("die", strconv.Itoa(int(syscall.SIGKILL)))
	waitExited(t, p)
	if e, _ := p.ExitStatus(); e.Code != -1 || e.Signal != syscall.SIGKILL || e.CoreDumped {
		t.Errorf("status %+v", e)
	}
}

func TestStopPolite(t *testing.T) {
	r := newRig(t)
	p, out := r.start("sleep")
	out.next()
	rep := p.Stop(context.Background(), StopPlan{Grace: patience})
	if rep.Signalled != 1 || rep.Killed != 0 || rep.Exit.Signal != syscall.SIGTERM || len(rep.Left)+len(rep.Spared) != 0 {
		t.Errorf("report %+v", rep)
	}
	requireGone(t, []int{p.PID()})
	again := p.Stop(context.Background(), StopPlan{})
	if again.Took != rep.Took || again.Signalled != 1 {
		t.Errorf("the second stop reports %+v, the first %+v", again, rep)
	}
	if u, err := p.Usage(); err != nil || u.Processes != 0 {
		t.Errorf("usage after the end: %+v %v", u, err)
	}
}

func TestStopSendsTheSignalAskedFor(t *testing.T) {
	r := newRig(t)
	p, out := r.start("sleep")
	out.next()
	if rep := p.Stop(context.Background(), StopPlan{Signal: syscall.SIGINT, Grace: patience}); rep.Exit.Code != 2 && rep.Exit.Signal != syscall.SIGINT {
		t.Errorf("report %+v", rep)
	}
}

func TestStopContinuesAStoppedProcess(t *testing.T) {
	r := newRig(t)
	p, out := r.start("sleep")
	out.next()
	if err := p.Identity().Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "stopped", func() (bool, string) {
		info, err := Inspect(p.PID())
		return info.State == 'T', fmt.Sprint(info, err)
	})
	if rep := p.Stop(context.Background(), StopPlan{Grace: patience}); rep.Killed != 0 {
		t.Errorf("report %+v", rep)
	}
}

func TestStopKillsAfterTheGrace(t *testing.T) {
	r := newRig(t)
	p, out := r.start("stubborn")
	out.next()
	rep := p.Stop(context.Background(), StopPlan{Grace: 100 * time.Millisecond})
	if rep.Signalled != 1 || rep.Killed != 1 || rep.Exit.Signal != syscall.SIGKILL || rep.Took < 100*time.Millisecond {
		t.Errorf("report %+v", rep)
	}
}

func TestStopEndsTheGraceEarly(t *testing.T) {
	for name, hasten := range map[string]func(p *Process) Report{
		"context": func(p *Process) Report {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			return p.Stop(ctx, StopPlan{Grace: time.Hour})
		},
		"hurry": func(p *Process) Report {
			c := make(chan struct{})
			close(c)
			return p.Stop(context.Background(), StopPlan{Grace: time.Hour, Hurry: c})
		},
		"a second caller": func(p *Process) Report {
			c := make(chan Report)
			go func() { c <- p.Stop(context.Background(), StopPlan{Grace: time.Hour}) }()
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			a, b := p.Stop(ctx, StopPlan{Grace: time.Hour}), <-c
			if a.Took != b.Took {
				return Report{}
			}
			return a
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			p, out := r.start("stubborn")
			out.next()
			if rep := hasten(p); rep.Killed != 1 || rep.Exit.Signal != syscall.SIGKILL {
				t.Errorf("report %+v", rep)
			}
		})
	}
}

func TestEDGE4WholeTreeIsFoundAndEnded(t *testing.T) {
	r := newRig(t)
	p, out := r.start("tree")
	pids := out.pids(treeSize)
	// The two whose parents end are ours a moment later.
	eventually(t, "whole tree", func() (bool, string) {
		got := treePIDs(p)
		return slices.Equal(got, pids), fmt.Sprintf("%v, want %v", got, pids)
	})
	if tree := p.Tree(); tree[0] != p.Identity() {
		t.Errorf("the leader is not first: %v", tree)
	}
	if u, err := p.Usage(); err != nil || u.Processes != treeSize || u.RSS == 0 {
		t.Errorf("usage %+v %v", u, err)
	}
	rep := p.Stop(context.Background(), StopPlan{Grace: 50 * time.Millisecond})
	if rep.Signalled != treeSize || rep.Killed < treeSize-1 || len(rep.Left) != 0 {
		t.Errorf("report %+v", rep)
	}
	requireGone(t, pids)
}

func TestEDGE4LeaderGoneGrandchildStays(t *testing.T) {
	r := newRig(t)
	p, out := r.start("leave")
	pids := out.pids(1)
	waitExited(t, p)
	if got := treePIDs(p); !slices.Equal(got, pids) {
		t.Fatalf("tree %v, want %v", got, pids)
	}
	rep := p.Stop(context.Background(), StopPlan{Grace: 50 * time.Millisecond})
	if rep.Exit.Code != 3 || rep.Signalled != 1 || rep.Killed != 1 {
		t.Errorf("report %+v", rep)
	}
	requireGone(t, append(pids, p.PID()))
}

func TestEDGE4ShellWrapper(t *testing.T) {
	r := newRig(t)
	exe := self()[0]
	// A shell that stays, as npm's does, above a process that ignores SIGTERM.
	p, out := r.startArgv([]string{"/bin/sh", "-c", exe + " " + child + " stubborn; exit 4"}, "run-shell-0001")
	pids := append(out.pids(1), p.PID())
	p.Stop(context.Background(), StopPlan{Grace: 50 * time.Millisecond})
	requireGone(t, pids)
}

// A sibling of the leader is no descendant of it, and no orphan: its parent is
// whichever of our threads forked the leader.
func TestEDGE4ASiblingOfTheLeaderIsFoundAndEnded(t *testing.T) {
	r := newRig(t)
	var all []int
	for range 5 { // other threads, as it comes
		p, out := r.start("siblings")
		pids := out.pids(2)
		sibling := pids[0]
		if sibling == p.PID() {
			sibling = pids[1]
		}
		if info, err := Inspect(sibling); err != nil || info.Parent != os.Getpid() || info.Session == p.PID() {
			t.Fatalf("no sibling: %+v %v", info, err)
		}
		if got := treePIDs(p); !slices.Equal(got, pids) {
			t.Errorf("tree %v, want %v", got, pids)
		}
		if rep := p.Stop(context.Background(), StopPlan{Grace: 20 * time.Millisecond}); rep.Signalled != 2 || rep.Killed < 1 || len(rep.Left) != 0 { // a busy leader needs longer than that
			t.Errorf("report %+v", rep)
		}
		all = append(all, pids...)
	}
	eventually(t, "reaped", func() (bool, string) {
		left := slices.DeleteFunc(slices.Clone(all), func(pid int) bool { return !exists(pid) })
		return len(left) == 0, fmt.Sprint(left)
	})
}

func TestOrphansOfTwoServersAreToldApart(t *testing.T) {
	r := newRig(t)
	a, outA := r.start("orphans")
	b, outB := r.start("orphans")
	pidsA, pidsB := outA.pids(2), outB.pids(2)
	for p, pids := range map[*Process][]int{a: pidsA, b: pidsB} {
		eventually(t, "tree", func() (bool, string) {
			got := treePIDs(p)
			return slices.Equal(got, pids), fmt.Sprintf("%v, want %v", got, pids)
		})
	}
	a.Stop(context.Background(), StopPlan{Grace: 20 * time.Millisecond})
	requireGone(t, pidsA)
	if got := treePIDs(b); !slices.Equal(got, pidsB) {
		t.Errorf("the other server's tree is %v, was %v", got, pidsB)
	}
}

func TestFingerprintIsSetForTheChildAlone(t *testing.T) {
	r := newRig(t)
	var before, after unix.Rlimit
	_ = unix.Prlimit(0, unix.RLIMIT_MSGQUEUE, nil, &before)
	p, out := r.start("sleep")
	q, outQ := r.start("sleep")
	out.next()
	outQ.next()
	_ = unix.Prlimit(0, unix.RLIMIT_MSGQUEUE, nil, &after)
	if before != after {
		t.Errorf("our own limit was %+v and is %+v", before, after)
	}
	d, err := openDir(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if v, ok := d.print(p.PID()); !ok || v != p.print || !r.prints.foreign(v) || p.print == q.print || v >= before.Cur {
		t.Errorf("fingerprint %d %v, want %d, the other's is %d, ours %d", v, ok, p.print, q.print, before.Cur)
	}
	// What prlimit may not tell of another user's process stands in a file.
	if v, ok := d.print(-1); !ok || v != p.print {
		t.Errorf("by file: %d %v, want %d", v, ok, p.print)
	}
}

func TestEDGE3ZombieIsSkippedAndItsParentNamed(t *testing.T) {
	r := newRig(t)
	p, out := r.start("zombie")
	zombie := out.pids(1)[0]
	if info, err := Inspect(zombie); err != nil || !info.Zombie() || info.Parent != p.PID() {
		t.Fatalf("no zombie: %+v %v", info, err)
	}
	if got := treePIDs(p); !slices.Equal(got, []int{p.PID()}) {
		t.Errorf("tree %v", got)
	}
	rep := p.Stop(context.Background(), StopPlan{Grace: patience})
	if rep.Signalled != 1 || len(rep.Left) != 0 {
		t.Errorf("report %+v", rep)
	}
	log := r.log.String()
	for _, want := range []string{`"pid":` + strconv.Itoa(zombie), `"parent":` + strconv.Itoa(p.PID()), `"parentName":"` + shortName() + `"`, "zombie"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %s:\n%s", want, log)
		}
	}
	requireGone(t, []int{zombie, p.PID()})
}

func TestStopEndsTwoHundredSleepers(t *testing.T) {
	r := newRig(t)
	p, out := r.start("bomb")
	out.pids(1)
	pids := treePIDs(p)
	if len(pids) != 201 {
		t.Fatalf("%d processes in the tree, want 201", len(pids))
	}
	rep := p.Stop(context.Background(), StopPlan{Grace: patience})
	if rep.Signalled != 201 || rep.Killed != 0 || len(rep.Left) != 0 {
		t.Errorf("report %+v", rep)
	}
	requireGone(t, pids)
}

// A process that ignores SIGTERM, starts its successor in a session of its own,
// and ends: nobody of it lives longer than a few milliseconds.
func TestStopCatchesARunner(t *testing.T) {
	r := newRig(t)
	script := filepath.Join(t.TempDir(), "runner")
	const body = "#!/bin/sh\ntrap '' TERM\n[ $1 -lt 2000 ] && exec setsid -f $0 $(($1+1))\n"
	if err := os.WriteFile(script, []byte(body), 0o755); err != nil {
		t.Fatal(err)
	}
	marker := fmt.Sprintf("runner%d", time.Now().UnixNano())
	p, _ := r.startArgv([]string{script, "0"}, marker)
	waitExited(t, p)
	rep := p.Stop(context.Background(), StopPlan{Grace: 20 * time.Millisecond})
	for _, s := range snapshot(os.Geteuid(), newPrints(), nil) {
		if s.marker == marker && !s.zombie() {
			t.Errorf("pid %d still runs after %+v", s.pid, rep)
			if id, err := Identify(s.pid); err == nil {
				_ = id.Signal(syscall.SIGKILL)
			}
		}
	}
	if rep.Killed == 0 || len(rep.Left) != 0 {
		t.Errorf("report %+v\n%s", rep, r.log)
	}
}

// What forks faster than it is looked for: every scan finds newcomers, and all
// of them have left everything but their fingerprint.
func TestEDGE4StopCatchesWhatForksWhileItIsKilled(t *testing.T) {
	for name, start := range map[string]func(*rig) (*Process, *lines){
		"forker": func(r *rig) (*Process, *lines) { return r.start("forker") },
		"hydra":  startHydra,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			p, out := start(r)
			out.next() // it is at it
			rep := p.Stop(context.Background(), StopPlan{Grace: 50 * time.Millisecond})
			for _, s := range snapshot(os.Geteuid(), newPrints(), nil) {
				if s.parent != os.Getpid() || s.zombie() || s.session == r.session {
					continue
				}
				t.Errorf("pid %d still runs after %+v: %q", s.pid, rep, CommandLine(s.pid))
				if id, err := Identify(s.pid); err == nil {
					_ = id.Signal(syscall.SIGKILL)
				}
			}
			if rep.Killed == 0 || len(rep.Left) != 0 {
				t.Errorf("report %+v\n%s", rep, r.log)
			}
			t.Logf("%d were asked to end and %d killed in %v", rep.Signalled, rep.Killed, rep.Took.Round(time.Millisecond))
		})
	}
}

// startHydra starts what has two successors for each that ends, nine times over,
// without its environment and each in a session of its own. It is a shell's
// script, because a Go program minds SIGTERM until it says that it does not.
func startHydra(r *rig) (*Process, *lines) {
	const body = "#!/bin/sh\ntrap '' TERM\n[ $2 ] && echo $$\n[ $1 -gt 0 ] || exec sleep 60\n" +
		"for i in 1 2; do env -i PATH=$PATH setsid $0 $(($1-1)) & done\n"
	script := filepath.Join(r.TempDir(), "hydra")
	if err := os.WriteFile(script, []byte(body), 0o755); err != nil {
		r.Fatal(err)
	}
	return r.startArgv([]string{script, "9", "first"}, fmt.Sprintf("hydra%d", time.Now().UnixNano()))
}

func TestStopLetsTheLeaderCleanUp(t *testing.T) {
	r := newRig(t)
	file := filepath.Join(t.TempDir(), "done")
	p, out := r.start("clean-up", file)
	out.pids(2)
	rep := p.Stop(context.Background(), StopPlan{Grace: patience})
	if b, err := os.ReadFile(file); err != nil || string(b) != "done\n" {
		t.Errorf("the clean-up did not finish: %q %v; %+v", b, err, rep)
	}
}

func TestNoDescriptorLeaks(t *testing.T) {
	r := newRig(t)
	count := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	run := func() {
		p, err := r.Start(Command{Argv: []string{"/bin/true"}, Dir: "/"})
		if err != nil {
			t.Fatal(err)
		}
		waitExited(t, p)
		p.Identity().Alive()
		p.Tree()
		p.Stop(context.Background(), StopPlan{})
	}
	run()
	before := count()
	for range 500 {
		run()
	}
	// The reaper may be looking at a zombie right now, with a descriptor of its own.
	eventually(t, "as many descriptors as before", func() (bool, string) {
		after := count()
		return after <= before, fmt.Sprintf("%d descriptors before 500 starts, %d after", before, after)
	})
	if n := len(r.leaders); n != 0 {
		t.Errorf("%d leaders in the table", n)
	}
}

func TestReaperStealsNoStatus(t *testing.T) {
	r := newRig(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // orphans come and go meanwhile
		for {
			select {
			case <-stop:
				return
			default:
			}
			p, err := r.Start(Command{Argv: []string{"/bin/sh", "-c", "setsid true & setsid true &"}, Dir: "/", Env: os.Environ()})
			if err != nil {
				t.Error(err)
				return
			}
			<-p.Exited()
			p.Stop(context.Background(), StopPlan{})
		}
	})
	for i := range 200 {
		cmd := exec.Command("/bin/sh", "-c", "exit "+strconv.Itoa(i%3))
		err := cmd.Start()
		if err == nil {
			r.reap()
			err = cmd.Wait()
		}
		var ee *exec.ExitError
		if i%3 == 0 && err != nil || i%3 != 0 && (!errors.As(err, &ee) || ee.ExitCode() != i%3) {
			t.Errorf("run %d: %v", i, err)
		}
	}
	close(stop)
	wg.Wait()

	// Also while it certainly is a zombie; with a session of its own; and when it
	// was forked in the moment in which this process has a fingerprint.
	for _, how := range []string{"plain", "own session", "fingerprint"} {
		cmd := exec.Command("/bin/sh", "-c", "exit 5")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: how == "own session"}
		if how == "fingerprint" {
			r.prints.set(r.prints.next(func(uint64) bool { return false }))
		}
		err := cmd.Start()
		r.prints.set(0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
			t.Fatal(err)
		}
		if r.reapOne(cmd.Process.Pid) {
			t.Errorf("%s: reaped", how)
		}
		var ee *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &ee) || ee.ExitCode() != 5 {
			t.Errorf("%s: %v", how, err)
		}
	}
}

func TestReaperReapsAdoptedOrphans(t *testing.T) {
	r := newRig(t)
	p, out := r.start("orphans")
	pids := out.pids(2)
	orphan := pids[0]
	if orphan == p.PID() {
		orphan = pids[1]
	}
	eventually(t, "adopted", func() (bool, string) {
		info, err := Inspect(orphan)
		return info.Parent == os.Getpid(), fmt.Sprint(info, err)
	})
	id, err := Identify(orphan)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "reaped", func() (bool, string) {
		info, err := Inspect(orphan)
		return errors.Is(err, ErrGone), fmt.Sprint(info, err)
	})
	if !p.Identity().Alive() {
		t.Error("the leader ended, too")
	}
}

// Orphans are looked for in the main thread's list of children alone.
func TestAdoptedOrphansAreInTheMainThreadsList(t *testing.T) {
	r := newRig(t)
	var wg sync.WaitGroup
	for range 8 { // forks from several threads
		wg.Go(func() {
			p, err := r.Start(Command{Argv: self("orphans"), Dir: "/"})
			if err != nil {
				t.Error(err)
				return
			}
			eventually(t, "orphan in the list", func() (bool, string) {
				got := treePIDs(p)
				return len(got) == 2, fmt.Sprint(got)
			})
			p.Stop(context.Background(), StopPlan{Signal: syscall.SIGKILL})
		})
	}
	wg.Wait()
}

func TestUsageAddsUpTheTree(t *testing.T) {
	r := newRig(t)
	p, out := r.start("alloc", "64")
	out.next()
	u, err := p.Usage()
	if err != nil || u.Processes != 1 || u.RSS < 64<<20 || u.RSS > 1<<30 {
		t.Errorf("usage %+v %v", u, err)
	}
	before := u.CPU
	rep := p.Stop(context.Background(), StopPlan{Grace: patience})
	if before < 0 || rep.Exit.MaxRSS < 64<<20 {
		t.Errorf("cpu %v, largest %d", before, rep.Exit.MaxRSS)
	}
}

func TestStopSparesWhatWasOpenedForThePerson(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	link := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.Symlink(self()[0], path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	firefox, chrome, mine := link("firefox"), link("chrome"), link("my-viewer")
	// In sessions of their own: two to spare and a browser that a test drives.
	// In the leader's: a browser that is part of the server.
	script := fmt.Sprintf(`
setsid %[1]s %[4]s sleep &
setsid %[3]s %[4]s sleep &
setsid %[2]s %[4]s sleep --headless=new &
%[1]s %[4]s sleep &
wait`, firefox, chrome, mine, child)
	p, out := r.startArgv([]string{"/bin/sh", "-c", script}, "run-spare-0001")
	pids := out.pids(4)
	rep := p.Stop(context.Background(), StopPlan{Grace: patience, Spare: []string{"my-viewer"}})
	var names []string
	for _, s := range rep.Spared {
		names = append(names, s.Name)
		if !s.Alive() || s.Why == "" {
			t.Errorf("%s was not spared: %+v", s.Name, s)
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"firefox", "my-viewer"}) || len(rep.Left) != 0 || rep.Signalled != 3 {
		t.Errorf("spared %v, report %+v", names, rep)
	}
	alive := 0
	for _, pid := range pids {
		if exists(pid) {
			alive++
		}
	}
	if alive != 2 {
		t.Errorf("%d of %v live, want the two spared", alive, pids)
	}
	for _, s := range rep.Spared {
		_ = s.Signal(syscall.SIGKILL)
		eventually(t, "reaped", func() (bool, string) { return !exists(s.PID), s.Name })
	}
}

func TestIdentity(t *testing.T) {
	r := newRig(t)
	p, out := r.start("sleep")
	out.next()
	id, err := Identify(p.PID())
	if err != nil || id != p.Identity() || !id.Alive() {
		t.Fatalf("%v %v, want %v", id, err, p.Identity())
	}
	info, err := Inspect(p.PID())
	if err != nil || info.Identity != id || info.Parent != os.Getpid() || info.Session != id.PID || info.Group != id.PID ||
		info.UID != os.Geteuid() || info.Zombie() || info.Name != shortName() {
		t.Errorf("%+v %v", info, err)
	}
	if age := time.Since(info.Started); age < -time.Second || age > patience {
		t.Errorf("started %v ago", age)
	}
	if got := CommandLine(p.PID()); !strings.HasSuffix(got, child+" sleep") {
		t.Errorf("command line %q", got)
	}
	if err := id.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	waitExited(t, p)
	if rep := p.Stop(context.Background(), StopPlan{}); rep.Exit.Signal != syscall.SIGTERM {
		t.Errorf("%+v", rep)
	}
	if id.Alive() || !errors.Is(id.Signal(syscall.SIGTERM), ErrGone) {
		t.Error("the ended process can be signalled")
	}
	if _, err := Inspect(p.PID()); !errors.Is(err, ErrGone) {
		t.Errorf("inspect: %v", err)
	}
	if _, err := Identify(p.PID()); !errors.Is(err, ErrGone) {
		t.Errorf("identify: %v", err)
	}
	if got := CommandLine(p.PID()); got != "" {
		t.Errorf("command line %q", got)
	}
}

// TestRELIABILITY001ForeignProcessIsNotSignalled makes every kind of stale
// identity of a living process: none may reach it.
func TestRELIABILITY001ForeignProcessIsNotSignalled(t *testing.T) {
	r := newRig(t)
	p, out := r.start("sleep")
	out.next()
	good := p.Identity()
	ticks, inode, _ := strings.Cut(good.Start, ".")
	for name, id := range map[string]Identity{
		"another start":     {good.PID, "1" + good.Start, good.Boot},
		"another inode":     {good.PID, ticks + ".1" + inode, good.Boot},
		"another boot":      {good.PID, good.Start, "0" + good.Boot},
		"no start":          {good.PID, "", good.Boot},
		"no boot":           {good.PID, good.Start, ""},
		"no pid":            {0, good.Start, good.Boot},
		"a group":           {-good.PID, good.Start, good.Boot},
		"a thread":          {threadOf(t, good.PID), good.Start, good.Boot},
		"another process":   {os.Getpid(), good.Start, good.Boot},
		"all processes":     {-1, good.Start, good.Boot},
		"a pid of nobody's": {1 << 30, good.Start, good.Boot},
	} {
		if inode == "" && name == "another inode" {
			continue // this kernel's pidfds have no inode
		}
		if err := id.Signal(syscall.SIGKILL); !errors.Is(err, ErrGone) {
			t.Errorf("%s: %v, want ErrGone", name, err)
		}
		if id.Alive() {
			t.Errorf("%s: alive", name)
		}
	}
	if !good.Alive() {
		t.Fatal("the process was hit")
	}
	if older := (Identity{good.PID, ticks, good.Boot}); !older.Alive() {
		t.Error("an identity without inode, as an older kernel writes it, is not known again")
	}
}

func threadOf(t *testing.T, pid int) int {
	t.Helper()
	tid := 0
	eventually(t, "second thread", func() (bool, string) {
		names, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		for _, n := range names {
			if v, _ := strconv.Atoi(n.Name()); v != pid {
				tid = v
			}
		}
		return tid != 0, fmt.Sprint(names)
	})
	return tid
}

// TestRELIABILITY001ReusedPID gives the pid of an ended process to another one,
// in a pid namespace of its own. That needs root; without, the same comparison
// is made by TestRELIABILITY001ForeignProcessIsNotSignalled alone, and here by
// an identity of the same pid and an earlier start.
func TestRELIABILITY001ReusedPID(t *testing.T) {
	argv := self("reuse")
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
	out, err := cmd.Output()
	if errors.Is(err, syscall.EPERM) {
		old, err := Identify(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		ticks, _ := parseStart(old.Start)
		old.Start = startString(ticks-1, 0)
		if err := old.Signal(syscall.SIGKILL); !errors.Is(err, ErrGone) || old.Alive() {
			t.Fatalf("an earlier process of our pid was taken for us: %v", err)
		}
		return
	}
	if err != nil || string(out) != "kept\n" {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestStopReportsWhatItMayNotEnd(t *testing.T) {
	// Another user's process: as root, one of ours, seen by a child that gives
	// root up; else any process of another user.
	var foreign int
	if os.Geteuid() == 0 {
		r := newRig(t)
		p, out := r.start("sleep")
		foreign = out.pids(1)[0]
		defer func() {
			if !p.Identity().Alive() {
				t.Error("the foreign process ended")
			}
		}()
	} else {
		for _, pid := range allPIDs() {
			if info, err := Inspect(pid); err == nil && info.UID != os.Geteuid() && !info.Zombie() {
				foreign = pid
				break
			}
		}
		if foreign == 0 {
			t.Log("nobody else has a process here")
			return
		}
	}
	argv := self("other-user", strconv.Itoa(foreign))
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	var rep Report
	if err != nil || json.Unmarshal(out, &rep) != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(rep.Left) != 1 || rep.Left[0].PID != foreign || !strings.Contains(rep.Left[0].Why, "uid 0") && os.Geteuid() == 0 || rep.Signalled+rep.Killed != 0 {
		t.Errorf("report %+v", rep)
	}
}

func TestEndDescendants(t *testing.T) {
	argv := self("guardian")
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	var got struct {
		Report   Report
		PIDs     []int
		Children []int
	}
	if err != nil || json.Unmarshal(out, &got) != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(got.PIDs) != treeSize || len(got.Children) != 0 || got.Report.Killed < treeSize-1 || len(got.Report.Left) != 0 {
		t.Errorf("%+v", got)
	}
	requireGone(t, got.PIDs)
}

func TestSweepEndsWhatADeadHubLeft(t *testing.T) {
	r := newRig(t) // also takes in what the dead hub leaves
	prefix := fmt.Sprintf("hub%d", time.Now().UnixNano())
	hub, out := r.start("hub", prefix)
	bystander, bystanderOut := r.start("stubborn")
	bystanderOut.next()

	var marks []Mark
	var pids []int
	for len(marks) < 2 || len(pids) < 2*treeSize {
		line := out.next()
		if !strings.HasPrefix(line, "{") {
			pid, err := strconv.Atoi(line)
			if err != nil {
				t.Fatal(line)
			}
			pids = append(pids, pid)
			continue
		}
		m := Mark{MarkerPrefix: prefix + "-"}
		if err := json.Unmarshal([]byte(line), &m.Leader); err != nil {
			t.Fatal(err)
		}
		marks = append(marks, m)
	}
	if err := hub.Identity().Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitExited(t, hub)

	other := marks[0]
	other.Leader.Boot = "another boot"
	short := Mark{Leader: Identity{PID: 1 << 30, Start: "1", Boot: marks[0].Leader.Boot}, MarkerPrefix: ""}
	if rep := Sweep(context.Background(), []Mark{other, short}, StopPlan{}, zerolog.Nop()); rep.Signalled+rep.Killed != 0 {
		t.Fatalf("void marks ended %+v", rep)
	}

	// What has left session, marker and ancestry is beyond a sweep: of each tree
	// two processes, which only hub or guardian can find. Wait until they have.
	leaders := []int{marks[0].Leader.PID, marks[1].Leader.PID}
	var beyond []int
	eventually(t, "orphans", func() (bool, string) {
		beyond = nil
		for _, pid := range pids {
			info, err := readSuspect(pid, os.Geteuid(), newPrints(), nil)
			if err == nil && info.parent == os.Getpid() && !slices.Contains(leaders, pid) &&
				!slices.Contains(leaders, info.session) && info.marker == "" {
				beyond = append(beyond, pid)
			}
		}
		return len(beyond) == 4, fmt.Sprint(beyond)
	})

	rep := Sweep(context.Background(), marks, StopPlan{Grace: 50 * time.Millisecond}, zerolog.Nop())
	if rep.Signalled != 8 || rep.Killed < 6 || len(rep.Left) != 0 { // a busy leader needs longer than that
		t.Errorf("report %+v", rep)
	}
	if !bystander.Identity().Alive() {
		t.Error("another hub's server was ended")
	}
	for _, pid := range pids {
		id, err := Identify(pid)
		if lives := err == nil && id.Alive(); lives != slices.Contains(beyond, pid) {
			t.Errorf("pid %d lives: %v", pid, lives)
		}
	}
	for _, pid := range beyond {
		id, err := Identify(pid)
		if err == nil {
			err = id.Signal(syscall.SIGKILL)
		}
		if err != nil {
			t.Error(err)
		}
	}
	eventually(t, "reaped", func() (bool, string) {
		left := slices.DeleteFunc(slices.Clone(pids), func(pid int) bool { return !exists(pid) || slices.Contains(leaders, pid) })
		return len(left) == 0, fmt.Sprint(left)
	})
}
