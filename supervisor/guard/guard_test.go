//go:build linux

package guard

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/devside/devside/supervisor/proc"
)

// child is the first argument that turns the test binary into one of the
// programs below.
const child = "guard-test-child"

// lifetime bounds every child, so that a failed test leaves nothing for long.
const lifetime = time.Minute

// patience bounds every wait of a test. Machines that run these are busy.
const patience = 20 * time.Second

// self is this binary, by an absolute path.
func self() string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return exe
}

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == child {
		os.Exit(runChild(os.Args[2], os.Args[3:]))
	}
	goleak.VerifyTestMain(m)
}

func runChild(mode string, args []string) int {
	ended := time.After(lifetime)
	switch mode {
	case "guardian": // its standard output is what the hub is given as ready
		lock, err := os.OpenFile(args[1], os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil || syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			return 1
		}
		err = Run(context.Background(), Options{
			Exe: self(), Args: []string{child, args[0]}, Lock: lock, Ready: os.Stdout, Stderr: os.Stderr, Log: zerolog.Nop(),
		})
		fmt.Fprintln(os.Stderr, err)
		return 0
	case "orderly":
		say("ready")
		return 0
	case "failing":
		return 3
	case "waiting": // as a hub does: it ends when its guardian has
		say("ready", os.Getpid())
		if _, err := os.NewFile(LifeFD, "life").Read(make([]byte, 1)); err != io.EOF {
			fmt.Fprintln(os.Stderr, "the guardian's pipe:", err)
			return 1
		}
		say("saw the end, lock free:", free("/proc/self/fd/4"))
		return 0
	case "describing":
		for _, fd := range []int{ReadyFD, LockFD, LifeFD} {
			syscall.CloseOnExec(fd) // as a hub does
		}
		server := exec.Command(self(), child, "descriptors")
		out, err := server.Output()
		if err != nil {
			return 1
		}
		var of description
		if err := json.Unmarshal(out, &of.Server); err != nil {
			return 1
		}
		of.Hub = descriptors()
		text, err := json.Marshal(of)
		if err != nil {
			return 1
		}
		say(string(text))
		return 0
	case "descriptors":
		json.NewEncoder(os.Stdout).Encode(descriptors()) //nolint:errcheck // the reader sees
		return 0
	case "tree": // starts servers, in sessions of their own
		polite := spawn("server")
		stubborn := spawn("parent")
		say(polite, stubborn)
	case "wills": // servers that are stopped in ways of their own; args: a folder with links to this program
		say(spawnAs(self(), "interrupted", args[0]), spawnAs(args[0]+"/gpg-agent", "server"), spawnAs(self(), "opener", args[0]))
	case "interrupted": // ends only when it is interrupted, and takes its time
		signal.Ignore(syscall.SIGTERM)
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGINT)
		fmt.Println(os.Getpid())
		<-c
		<-time.After(100 * time.Millisecond)
		if err := os.WriteFile(args[0]+"/interrupted", nil, 0o600); err != nil {
			return 1
		}
		return 0
	case "opener": // does not end, and has opened something for the person
		signal.Ignore(syscall.SIGTERM)
		fmt.Println(os.Getpid(), spawnAs(args[0]+"/picture-viewer", "server"))
		<-ended
		return 1
	case "server":
	case "parent": // its child is in yet another session, and does not end when it is asked to
		fmt.Println(os.Getpid(), spawn("stubborn"))
		<-ended
		return 0
	case "stubborn":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	}
	if mode == "server" || mode == "stubborn" {
		fmt.Println(os.Getpid())
	}
	<-ended
	return 1
}

// free reports whether nobody has the lock; asking frees it again.
func free(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer f.Close() //nolint:errcheck // only to lock
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

// say writes a line to where the guardian's caller reads.
func say(words ...any) { fmt.Fprintln(os.NewFile(ReadyFD, "ready"), words...) }

// spawn starts one of these programs and returns the line that it prints.
func spawn(mode string) string { return spawnAs(self(), mode) }

func spawnAs(exe, mode string, args ...string) string {
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(exe, append([]string{child, mode}, args...)...)
	cmd.Stdout = w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	w.Close() //nolint:errcheck // the child has it
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		panic(err)
	}
	return strings.TrimSpace(line)
}

type description struct{ Hub, Server map[string]string }

// descriptors is what this process has open beyond the three standard ones.
func descriptors() map[string]string {
	out := map[string]string{}
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		to, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && e.Name() > "2" {
			out[e.Name()] = to
		}
	}
	return out
}

// running is a guardian in this process.
type running struct {
	t     *testing.T
	lock  *os.File
	ready *bufio.Reader
	ended chan error

	bequest atomic.Pointer[[]proc.Bequest] // set before the hub is killed
}

func guardian(t *testing.T, ctx context.Context, exe string, args ...string) *running {
	t.Helper()
	lock, err := os.OpenFile(filepath.Join(t.TempDir(), "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Close()    //nolint:errcheck // closed already where the hub has it
		r.Close()    //nolint:errcheck // only read from
		lock.Close() //nolint:errcheck // the test's
	})
	if err := r.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	g := &running{t: t, lock: lock, ready: bufio.NewReader(r), ended: make(chan error, 1)}
	go func() {
		g.ended <- Run(ctx, Options{Exe: exe, Args: append([]string{child}, args...), Lock: lock, Ready: w, Stderr: os.Stderr, Log: zerolog.Nop(), Bequest: g.left})
	}()
	return g
}

func (g *running) left() []proc.Bequest {
	if b := g.bequest.Load(); b != nil {
		return *b
	}
	return nil
}

// line is the next one that the hub says.
func (g *running) line() string {
	g.t.Helper()
	line, err := g.ready.ReadString('\n')
	if err != nil {
		g.t.Fatalf("the hub said %q: %v", line, err)
	}
	return strings.TrimSpace(line)
}

// end is what Run returned.
func (g *running) end() error {
	g.t.Helper()
	select {
	case err := <-g.ended:
		return err
	case <-time.After(patience):
		g.t.Fatalf("the guardian has not ended within %v", patience)
		return nil
	}
}

// awaitEnd waits for the end of a process that nobody tells us of.
func awaitEnd(t *testing.T, id proc.Identity) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for id.Alive() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%v has not ended within %v", id, patience)
		}
	}
}

// identities reads pids.
func identities(t *testing.T, words string) []proc.Identity {
	t.Helper()
	var ids []proc.Identity
	for _, word := range strings.Fields(words) {
		var pid int
		if _, err := fmt.Sscan(word, &pid); err != nil {
			t.Fatalf("%q: %v", words, err)
		}
		id, err := proc.Identify(pid)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func TestAHubThatEndsInOrderEndsTheGuardian(t *testing.T) {
	g := guardian(t, t.Context(), self(), "orderly")
	if got := g.line(); got != "ready" {
		t.Errorf("the hub said %q", got)
	}
	if err := g.end(); err != nil {
		t.Error(err)
	}
	if line, err := g.ready.ReadString('\n'); err != io.EOF {
		t.Errorf("somebody still has the ready pipe: %q, %v", line, err)
	}
}

func TestHowAHubFailedIsReturned(t *testing.T) {
	if err := guardian(t, t.Context(), self(), "failing").end(); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("%v", err)
	}
	missing := filepath.Join(t.TempDir(), "nope")
	if err := guardian(t, t.Context(), missing).end(); err == nil || !strings.HasPrefix(err.Error(), "start the hub: ") {
		t.Errorf("%v", err)
	}
}

func TestAHubIsToldWhenTheGuardianIsAskedToEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g := guardian(t, ctx, self(), "waiting")
	g.line()
	cancel()
	if got := g.line(); got != "saw the end, lock free: false" {
		t.Errorf("the hub said %q", got)
	}
	if err := g.end(); err != nil {
		t.Error(err)
	}
	if free(g.lock.Name()) {
		t.Error("the lock is free before the guardian has ended")
	}
}

func TestAHubIsToldWhenTheGuardianIsKilledAndHasTheLockUntilItEnds(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // only read from
	if err := r.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(t.TempDir(), "lock")
	cmd := exec.Command(self(), child, "guardian", "waiting", lock)
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close() //nolint:errcheck // the guardian has it
	lines := bufio.NewReader(r)
	line, err := lines.ReadString('\n')
	pid, found := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if err != nil || !found {
		t.Fatalf("%q, %v", line, err)
	}
	hub := identities(t, pid)[0]
	info, err := proc.Inspect(hub.PID)
	if err != nil || info.Group != hub.PID {
		t.Errorf("the hub is in group %d, where a terminal's Ctrl-C reaches it: %v", info.Group, err)
	}
	cmd.Process.Kill() //nolint:errcheck // it lives, we have not waited for it
	cmd.Wait()         //nolint:errcheck // killed
	if line, err = lines.ReadString('\n'); line != "saw the end, lock free: false\n" {
		t.Errorf("the hub said %q, %v", line, err)
	}
	if rest, err := io.ReadAll(lines); err != nil || len(rest) != 0 {
		t.Errorf("it does not end: %q, %v", rest, err)
	}
	awaitEnd(t, hub) // its descriptors close one after the other
	if !free(lock) {
		t.Error("the lock is held although both are gone")
	}
}

func TestTheHubGetsItsDescriptorsAndItsServersNone(t *testing.T) {
	g := guardian(t, t.Context(), self(), "describing")
	var of description
	if err := json.Unmarshal([]byte(g.line()), &of); err != nil {
		t.Fatal(err)
	}
	if err := g.end(); err != nil {
		t.Error(err)
	}
	if of.Hub["4"] != g.lock.Name() || !strings.HasPrefix(of.Hub["3"], "pipe:") || !strings.HasPrefix(of.Hub["5"], "pipe:") || of.Hub["3"] == of.Hub["5"] {
		t.Errorf("the hub has %v", of.Hub)
	}
	for fd, to := range of.Server {
		if to == of.Hub["3"] || to == of.Hub["4"] || to == of.Hub["5"] {
			t.Errorf("a server has the hub's descriptor %s (%s)", fd, to)
		}
	}
}

func TestNothingRemainsOfAHubThatIsKilled(t *testing.T) {
	g := guardian(t, t.Context(), self(), "tree")
	tree := identities(t, g.line())
	if len(tree) != 3 {
		t.Fatalf("the tree is %v", tree)
	}
	info, err := proc.Inspect(tree[0].PID)
	if err != nil {
		t.Fatal(err)
	}
	hub, err := proc.Identify(info.Parent)
	if err != nil {
		t.Fatal(err)
	}
	if err := hub.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := g.end(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("%v", err)
	}
	for _, id := range tree {
		if id.Alive() {
			t.Errorf("%v is still there", id)
		}
	}
}

func TestEachServerOfADeadHubIsStoppedByItsOwnPlan(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"gpg-agent", "picture-viewer"} {
		if err := os.Symlink(self(), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	g := guardian(t, t.Context(), self(), "wills", dir)
	ids := identities(t, g.line())
	if len(ids) != 4 {
		t.Fatalf("the tree is %v", ids)
	}
	interrupted, agent, opener, viewer := ids[0], ids[1], ids[2], ids[3]
	defer viewer.Signal(syscall.SIGKILL) //nolint:errcheck // the test's own
	g.bequest.Store(&[]proc.Bequest{
		{Leader: interrupted, Plan: proc.StopPlan{Signal: syscall.SIGINT, Grace: time.Hour}},
		{Leader: agent, Plan: proc.StopPlan{Signal: syscall.SIGTERM, Grace: time.Hour}},
		{Leader: opener, Plan: proc.StopPlan{Signal: syscall.SIGTERM, Grace: 0, Spare: []string{"picture-viewer"}}},
	})
	info, err := proc.Inspect(interrupted.PID)
	if err != nil {
		t.Fatal(err)
	}
	hub, err := proc.Identify(info.Parent)
	if err != nil {
		t.Fatal(err)
	}
	if err := hub.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := g.end(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "interrupted")); err != nil {
		t.Errorf("the one that ends on SIGINT was not interrupted, or not waited for: %v", err)
	}
	for _, id := range []proc.Identity{interrupted, agent, opener} {
		if id.Alive() {
			t.Errorf("%v is still there", id)
		}
	}
	if !viewer.Alive() {
		t.Error("what the server's stop spares was ended")
	}
}
