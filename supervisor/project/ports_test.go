//go:build linux

package project

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/devside/devside/supervisor"
	"github.com/devside/devside/supervisor/port"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/status"
)

// thief is a process that has nothing to do with devside, and runs another
// program than we do: a copy of it. uid -1 is our own user.
func thief(t *testing.T, mode, addr string, uid int) proc.Identity {
	t.Helper()
	dir, err := os.MkdirTemp("", "devside-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // a temporary copy
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "thief")
	if err := copyFile(self(), program); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, child, mode, addr)
	cmd.Dir = dir
	if uid >= 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // ended already, mostly
		cmd.Wait()         //nolint:errcheck // killed
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "up\n" {
		t.Fatalf("the thief said %q, %v", line, err)
	}
	id, err := proc.Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read from
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// securityEvents takes the acts that a subscription has been told of.
func securityEvents(sub *Subscription) (acts []status.Act) {
	for _, e := range sub.Events() {
		if e.Kind == status.HappenedSecurity {
			acts = append(acts, e.Act)
		}
	}
	return acts
}

// shown is the holder of a port as `ports` and problems show it.
func (f *fixture) shown(number int) *status.Holder {
	f.t.Helper()
	_, listeners, err := port.Taken(number)
	if err != nil {
		f.t.Fatal(err)
	}
	h := f.holderOf(listeners)
	if h == nil {
		f.t.Fatalf("nobody holds %d", number)
	}
	return h
}

func TestEDGE1ThePortThatWasShownIsFreed(t *testing.T) {
	for _, mode := range []string{"hold", "hold-stubborn"} {
		t.Run(mode, func(t *testing.T) {
			number := freePort(t)
			id := thief(t, mode, fmt.Sprintf("127.0.0.1:%d", number), -1)
			f := opened(t, config(server("api", number, serving)))
			results, _, err := f.Start(t.Context(), nil, f.asks())
			if err != nil || results[0].OK || results[0].Code != string(status.PortTaken) {
				t.Fatalf("%+v, %v", results, err)
			}
			if want := fmt.Sprintf("`devside free %d`", number); !strings.Contains(results[0].Hint, want) || !strings.Contains(results[0].Message, "started ") {
				t.Errorf("%s; hint: %s", results[0].Message, results[0].Hint)
			}
			sub := f.Subscribe()
			defer sub.Close()
			h := f.shown(number)
			freed, why, err := f.FreePort(t.Context(), number, h.PID, h.StartTime)
			if err != nil || !freed || id.Alive() {
				t.Fatalf("freed %v, %q, %v; alive %v", freed, why, err, id.Alive())
			}
			if acts := securityEvents(sub); len(acts) != 1 || acts[0] != status.ActKilled {
				t.Errorf("told of %v", acts)
			}
			f.start("api")
		})
	}
}

func TestRELIABILITY001APortIsNotFreedOnAStaleIdentity(t *testing.T) {
	number := freePort(t)
	id := thief(t, "hold", fmt.Sprintf("127.0.0.1:%d", number), -1)
	f := opened(t, config(server("api", number, serving)))
	sub := f.Subscribe()
	defer sub.Close()
	h := f.shown(number)
	for _, c := range []struct {
		pid   int
		start string
	}{{h.PID, h.StartTime + "0"}, {h.PID, ""}, {h.PID + 1, h.StartTime}, {os.Getpid(), h.StartTime}, {1, h.StartTime}, {0, ""}} {
		freed, why, err := f.FreePort(t.Context(), number, c.pid, c.start)
		if err != nil || freed || !strings.Contains(why, "not the process that was shown") {
			t.Errorf("%+v: freed %v, %q, %v", c, freed, why, err)
		}
	}
	if !id.Alive() {
		t.Error("it was ended")
	}
	if acts := securityEvents(sub); len(acts) != 6 || acts[0] != status.ActKillRefused {
		t.Errorf("told of %v", acts)
	}
}

func TestDevsideItselfIsNotEndedForItsPort(t *testing.T) {
	_, number := listener(t) // in this process, which is the hub here
	f := opened(t, config(server("api", freePort(t), serving)))
	h := f.shown(number)
	freed, why, err := f.FreePort(t.Context(), number, h.PID, h.StartTime)
	if err != nil || freed || !strings.Contains(why, "devside itself") {
		t.Errorf("freed %v, %q, %v", freed, why, err)
	}
}

func TestAServersOwnPortIsFreedByAStop(t *testing.T) {
	number := freePort(t)
	f := opened(t, config(server("api", number, serving)))
	f.start("api")
	h := f.shown(number)
	if h.Server != "api" {
		t.Fatalf("%+v", h)
	}
	freed, why, err := f.FreePort(t.Context(), number, h.PID, h.StartTime)
	if s := f.server("api"); err != nil || !freed || s.State != status.Stopped || s.Crashes != 0 {
		t.Errorf("freed %v, %q, %v; %+v", freed, why, err, s)
	}
}

func TestAnotherUsersPortIsLeftAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("to start another user's process takes root, which .ci/run is")
	}
	number := freePort(t)
	id := thief(t, "hold", fmt.Sprintf("127.0.0.1:%d", number), 65534)
	f := opened(t, config(server("api", number, serving)))
	h := f.shown(number)
	if h.PID != 0 || h.Command != "" || h.User == "" {
		t.Errorf("shown of another user's process: %+v", h)
	}
	freed, why, err := f.FreePort(t.Context(), number, id.PID, id.Start)
	if err != nil || freed || !strings.Contains(why, h.User) || !id.Alive() {
		t.Errorf("freed %v, %q, %v; alive %v", freed, why, err, id.Alive())
	}
	results, _, err := f.Start(t.Context(), nil, f.asks())
	if err != nil || results[0].OK || !strings.Contains(results[0].Message, "a process of user "+h.User) {
		t.Errorf("%+v, %v", results, err)
	}
}

// A socket that is bound and does not listen is in no list: taken, by nobody
// that can be seen.
func TestABoundPortIsTakenByNobodyThatCanBeSeen(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd) //nolint:errcheck // a test's socket
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	number := sa.(*syscall.SockaddrInet4).Port
	f := opened(t, config(server("api", number, serving)))
	results, _, err := f.Start(t.Context(), nil, f.asks())
	if err != nil || results[0].Code != string(status.PortTaken) || !strings.Contains(results[0].Message, "can't be seen") {
		t.Errorf("%+v, %v", results, err)
	}
	freed, why, err := f.FreePort(t.Context(), number, 1, "1")
	if err != nil || freed || !strings.Contains(why, "can't be seen") {
		t.Errorf("freed %v, %q, %v", freed, why, err)
	}
}

// Somebody takes the port between the look before the start and the server's
// own attempt: on any address that the probe would reach.
func TestAPortThatWasStolenMakesNobodyReady(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "[::1]", "0.0.0.0", ""} {
		t.Run("on "+host, func(t *testing.T) {
			number := freePort(t)
			f := opened(t, config(server("api", number, []string{"silent"}, "ready: {tcp: , within: 60s}")))
			if _, _, err := f.Start(t.Context(), nil, supervisor.StartOptions{Env: os.Environ(), NoWait: true}); err != nil {
				t.Fatal(err)
			}
			f.await("it runs", func(p *status.Project) bool { return p.Servers[0].PID != 0 })
			id := thief(t, "hold", fmt.Sprintf("%s:%d", host, number), -1)
			st := f.await("the theft is seen", func(p *status.Project) bool { return has(p.Problems, status.PortTaken, "api") })
			if st.Servers[0].State != status.Starting {
				t.Errorf("%+v", st.Servers[0])
			}
			for _, p := range st.Problems {
				if p.Code == status.PortTaken && (p.Holder == nil || p.Holder.PID != id.PID || !strings.Contains(p.Message, "not by api itself")) {
					t.Errorf("%+v", p)
				}
			}
			h := f.shown(number)
			if freed, why, err := f.FreePort(t.Context(), number, h.PID, h.StartTime); err != nil || !freed {
				t.Fatalf("%q, %v", why, err)
			}
			f.await("the port is free again", func(p *status.Project) bool { return !has(p.Problems, status.PortTaken, "api") })
		})
	}
}

func TestOwnerAnyTakesSomebodyElsesListener(t *testing.T) {
	number := freePort(t)
	text := strings.Replace(config(server("api", number, []string{"silent"})), fmt.Sprintf("port: %d", number), fmt.Sprintf("port: {number: %d, owner: any}", number), 1)
	f := opened(t, text)
	if _, _, err := f.Start(t.Context(), nil, supervisor.StartOptions{Env: os.Environ(), NoWait: true}); err != nil {
		t.Fatal(err)
	}
	f.await("it runs", func(p *status.Project) bool { return p.Servers[0].PID != 0 })
	thief(t, "hold", fmt.Sprintf("127.0.0.1:%d", number), -1)
	f.await("it is ready", func(p *status.Project) bool { return p.Servers[0].State == status.Ready })
}

// Two listeners on one port (SO_REUSEPORT, or other addresses): ours is there.
func TestAServerBesideAnotherListenerIsReady(t *testing.T) {
	number := freePort(t)
	f := opened(t, config(server("api", number, serving)))
	f.start("api")
	l, err := net.Listen("tcp", fmt.Sprintf("[::1]:%d", number))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // a test's
	f.await("it is ready still", func(p *status.Project) bool { return p.Servers[0].State == status.Ready })
	if results, err := f.Stop(t.Context(), nil, supervisor.StopOptions{}); err != nil || results[0].OK || !strings.Contains(results[0].Message, "is taken by") {
		t.Errorf("a stop after which somebody listens there: %+v, %v", results, err)
	}
}

// An outgoing connection may have been given the number of a port whose server
// has just stopped: that is no leftover of it.
func TestAnOutgoingConnectionIsNoLeftover(t *testing.T) {
	number := freePort(t)
	f := opened(t, config(server("api", number, serving)))
	f.start("api")
	l, other := listener(t)
	defer l.Close() //nolint:errcheck // a test's
	if _, err := f.Stop(t.Context(), nil, supervisor.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: number}, Timeout: patience}
	conn, err := d.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", other))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test's
	if freed, why, err := f.awaitFree(t.Context(), number); err != nil || !freed {
		t.Errorf("%q, %v", why, err)
	}
}

func TestTheNextPortIsForThisSessionOfTheHub(t *testing.T) {
	number := freePort(t)
	thief(t, "hold", fmt.Sprintf("127.0.0.1:%d", number), -1)
	f := opened(t, config(server("api", number, serving), server("web", freePort(t), serving)))
	next, err := f.NextPort(t.Context(), "api", false)
	if err != nil || next == number || next == f.server("web").Ports[0].Number {
		t.Fatalf("%d, %v", next, err)
	}
	f.await("it is shown", func(p *status.Project) bool { return p.Servers[0].Ports[0].Number == next })
	f.start("api")
	if env, err := get(t, next, "/env"); err != nil || !strings.Contains(env, fmt.Sprintf("PORT=%d", next)) {
		t.Errorf("%q, %v", env, err)
	}
	again, err := f.NextPort(t.Context(), "api", false)
	if err != nil || again == next || again == number {
		t.Errorf("asked once more: %d, %v", again, err)
	}
	f.write("devside.yaml", config(server("api", number, serving, "env: {A: b}"), server("web", freePort(t), serving)))
	f.Reload(t.Context())
	if got := f.server("api").Ports[0].Number; got != number {
		t.Errorf("with another entry it has port %d, want that of the configuration", got)
	}
	var unknown *supervisor.UnknownError
	if _, err := f.NextPort(t.Context(), "db", false); !errors.As(err, &unknown) {
		t.Errorf("%v", err)
	}
}

func TestTheNextPortIsWrittenAndNothingElse(t *testing.T) {
	number := freePort(t)
	thief(t, "hold", fmt.Sprintf("127.0.0.1:%d", number), -1)
	text := "# ours\n" + strings.Replace(config(server("api", number, serving)), fmt.Sprintf("port: %d", number), fmt.Sprintf("port: %d # the API's", number), 1)
	f := opened(t, text)
	name := filepath.Join(f.root, "devside.yaml")
	if err := os.Chmod(name, 0o640); err != nil {
		t.Fatal(err)
	}
	before := f.Status().Trust.Hash
	next, err := f.NextPort(t.Context(), "api", true)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if want := strings.Replace(text, fmt.Sprint(number), fmt.Sprint(next), 1); err != nil || string(got) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(f.root); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
	if st := f.Status(); st.Trust.Hash != before || st.Servers[0].Ports[0].Number != next {
		t.Errorf("%+v", st)
	}
	f.start("api")
}

func TestTheNextPortIsNotWrittenWhereThatIsNotSafe(t *testing.T) {
	number := freePort(t)
	f := opened(t, config(server("api", number, serving)))
	name := filepath.Join(f.root, "devside.yaml")
	elsewhere := filepath.Join(t.TempDir(), "devside.yaml")
	if err := os.Rename(name, elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, name); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	var refused *RefusedError
	if _, err := f.NextPort(t.Context(), "api", true); !errors.As(err, &refused) || refused.Hint == "" {
		t.Errorf("through a link: %v", err)
	}
	if after, err := os.ReadFile(elsewhere); err != nil || string(after) != string(before) {
		t.Errorf("it was changed: %s, %v", after, err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, err := f.NextPort(t.Context(), "api", true); !errors.As(err, &refused) {
		t.Errorf("without a file: %v", err)
	}
	f.write("devside.yaml", config(server("api", number, serving, "nonsense: 1")))
	if _, err := f.NextPort(t.Context(), "api", true); !errors.As(err, &refused) || !strings.Contains(err.Error(), "errors") {
		t.Errorf("with errors in it: %v", err)
	}
	// A change by somebody else, between our reading and our writing.
	root, err := os.OpenRoot(f.root)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close() //nolint:errcheck // only a test's
	info, err := root.Lstat("devside.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f.write("devside.yaml", "# somebody else's\n")
	if err := os.Chtimes(name, time.Now(), info.ModTime().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := replaceInRoot(root, "devside.yaml", info, []byte("ours")); err == nil {
		t.Error("somebody else's change was overwritten")
	}
	if entries, err := os.ReadDir(f.root); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
