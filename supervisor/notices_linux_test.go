package supervisor

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/probe"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// tellNotify is a child that says READY=1 as systemd-notify does: it lives
// until it was heard, which it knows by a descriptor that the listener closes.
func tellNotify() error {
	conn, err := net.Dial("unixgram", os.Getenv(probe.NotifyVariable))
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("READY=1")); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) {
		sent = unix.Sendmsg(int(fd), []byte("BARRIER=1"), unix.UnixRights(int(w.Fd())), nil, 0)
	})
	w.Close()
	if err != nil || sent != nil {
		return fmt.Errorf("%v, %v", err, sent)
	}
	r.Read(make([]byte, 1)) //nolint:errcheck // its end is the answer
	return nil
}

func init() {
	again := func(name string, session bool, args ...string) *exec.Cmd {
		cmd := exec.Command(name, append([]string{child}, args...)...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: session}
		return cmd
	}
	children = map[string]func(args []string) error{
		"tell":  func([]string) error { return tellNotify() },
		"leave": func([]string) error { return again(self(), true, "tell").Start() },
		"hang": func(args []string) error { // tells when the test hangs up
			conn, err := net.Dial("tcp", args[0])
			if err != nil {
				return err
			}
			io.Copy(io.Discard, conn) //nolint:errcheck // its end is what counts
			return tellNotify()
		},
		"itself stays": func([]string) error { return tellNotify() },
		"child stays":  func([]string) error { return again(self(), false, "tell").Run() }, // as a shell's
		"daemon stays": func([]string) error { return again(self(), true, "leave").Run() }, // whose parents have gone
		"late stays":   func(args []string) error { return again(args[0], true, "hang", args[1]).Start() },
		"never stays":  func([]string) error { return nil },
	}
}

// notifying is a group of one server, api, that runs this binary for real.
type notifying struct {
	*Group
	dir string
}

func newNotifying(t *testing.T, args ...string) notifying {
	t.Helper()
	r := newRoom()
	h := r.host()
	h.Root, h.Start, h.NewProbe, h.Measure = t.TempDir(), launcher(t), probe.New, nil // the room measures fakes only
	dir := t.TempDir()
	h.Notify = func(server string) (*probe.Notify, error) { return probe.ListenNotify(dir, server) }
	g := notifying{NewGroup(h, func(string) *logs.Log { return logs.New(0) }, func() {}), dir}
	g.Apply(t.Context(), []spec.Server{conf("api", func(s *spec.Server) {
		s.Command = append([]string{self(), child}, args...)
		s.Ready = spec.Probe{Kind: spec.ProbeNotify, Within: patience, Every: time.Hour, Timeout: time.Second, Failures: 3}
		s.Stop.Spare = []string{"picture-viewer"}
	})}, Change{})
	t.Cleanup(func() {
		g.StopAll(context.Background(), StopOptions{})
		g.Close()
	})
	return g
}

func (g notifying) start(t *testing.T) Result {
	t.Helper()
	results, _ := g.Start(t.Context(), []string{"api"}, StartOptions{Env: os.Environ()})
	return results[0]
}

func (g notifying) log(t *testing.T) *logs.Log {
	t.Helper()
	l, err := g.Log("api")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAServerSaysByNotifyThatItIsReady(t *testing.T) {
	for _, how := range []string{"itself stays", "child stays", "daemon stays"} {
		t.Run(how, func(t *testing.T) {
			g := newNotifying(t, how)
			if r := g.start(t); !r.OK {
				t.Fatalf("%+v; its log: %s", r, text(g.log(t)))
			}
			g.StopAll(t.Context(), StopOptions{})
			if left, err := os.ReadDir(g.dir); err != nil || len(left) > 0 {
				t.Errorf("left after the stop: %v, %v", left, err)
			}
		})
	}
}

// awaitSaid waits until devside has said something in the server's log.
func awaitSaid(t *testing.T, l *logs.Log, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	lines, follower, err := l.LinesThenFollow(logs.Query{})
	if err != nil {
		t.Fatal(err)
	}
	defer follower.Close()
	for !slices.ContainsFunc(lines, func(l logs.Line) bool { return strings.Contains(l.Text, want) }) {
		if lines, _, err = follower.Next(ctx); err != nil {
			t.Fatalf("nobody said %q: %v; the log has %s", want, err, text(l))
		}
	}
}

func TestAStrangersNoticeDoesNotCount(t *testing.T) {
	g := newNotifying(t, "never stays")
	results, _ := g.Start(t.Context(), []string{"api"}, StartOptions{Env: os.Environ(), NoWait: true})
	if !results[0].OK {
		t.Fatalf("%+v", results[0])
	}
	awaitStarted(t, g.Group)
	conn, err := net.Dial("unixgram", filepath.Join(g.dir, "notify-api.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("READY=1")); err != nil {
		t.Fatal(err)
	}
	awaitSaid(t, g.log(t), fmt.Sprintf("a notice from pid %d did not count: it is no process of this server's", os.Getpid()))
	if s, _ := g.Snapshot("api"); s.State != status.Starting {
		t.Errorf("the server is %s (%s)", s.State, s.Message)
	}
}

func awaitStarted(t *testing.T, g *Group) {
	t.Helper()
	over := time.After(patience)
	for {
		if s, _ := g.Snapshot("api"); s.PID != 0 {
			return
		}
		select {
		case <-over:
			s, _ := g.Snapshot("api")
			t.Fatalf("it did not start: %+v", s)
		case <-time.After(time.Millisecond):
		}
	}
}

// A process of the run before that lives on has the same address.
func TestALateNoticeOfAnOlderRunDoesNotCount(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	spared := filepath.Join(t.TempDir(), "picture-viewer")
	if err := os.Symlink(self(), spared); err != nil {
		t.Fatal(err)
	}
	g := newNotifying(t, "late stays", spared, l.Addr().String())
	g.Start(t.Context(), []string{"api"}, StartOptions{Env: os.Environ(), NoWait: true})
	old, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	g.StopAll(t.Context(), StopOptions{})
	g.Start(t.Context(), []string{"api"}, StartOptions{Env: os.Environ(), NoWait: true})
	next, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	old.Close()
	awaitSaid(t, g.log(t), "did not count: it is no process of this server's")
	if s, _ := g.Snapshot("api"); s.State != status.Starting {
		t.Errorf("the server is %s (%s)", s.State, s.Message)
	}
	next.Close() // the same from this run counts
	if r := g.start(t); !r.OK {
		t.Errorf("%+v; its log: %s", r, text(g.log(t)))
	}
}

func TestTheSocketForNotifyGoesToWhoAsksForIt(t *testing.T) {
	with := environment([]string{"NOTIFY_SOCKET=/run/systemd/notify", "A=1"}, nil, conf("api"), nil, "/", newTraceID())
	if slices.ContainsFunc(with, func(kv string) bool { return strings.HasPrefix(kv, "NOTIFY_SOCKET=") }) {
		t.Errorf("the client's own is passed on: %v", with)
	}
	h := newRoom().host()
	s := newServer(h, conf("api"), logs.New(0), 0, nil)
	if env, err := s.listenNotify([]string{"A=1"}); err != nil || len(env) != 1 {
		t.Errorf("%v, %v", env, err)
	}
	s.conf.Ready.Kind = spec.ProbeNotify
	if _, err := s.listenNotify(nil); err == nil {
		t.Error("there is no socket to be had, and it starts")
	}
	dir := t.TempDir()
	s.host.Notify = func(server string) (*probe.Notify, error) { return probe.ListenNotify(dir, server) }
	env, err := s.listenNotify([]string{"NOTIFY_SOCKET=/mine", "A=1"})
	if want := []string{"A=1", "NOTIFY_SOCKET=" + filepath.Join(dir, "notify-api.sock")}; err != nil || !slices.Equal(env, want) {
		t.Errorf("%v, %v; want %v", env, err, want)
	}
	s.closeNotify()
	s.closeNotify()
}

func TestWhoBelongs(t *testing.T) {
	p := &fakeProcess{room: newRoom(), id: proc.Identity{PID: 1 << 30}}
	if err := belongs(p, os.Getpid()); err != errStranger {
		t.Errorf("a stranger: %v", err)
	}
	me, err := proc.Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	p.id = me
	if err := belongs(p, os.Getpid()); err != nil {
		t.Errorf("a member: %v", err)
	}
}
