package socket

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/state"
)

// The test binary plays devside's own: it is its own launcher and guardian.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case LaunchCommand, GuardianCommand, "hold", "knock":
			if err := play(os.Args[1], os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	goleak.VerifyTestMain(m)
}

// protocolVariable makes the played hub speak another protocol version, and
// heldVariable makes it refuse to quit.
const (
	protocolVariable = "TEST_PROTOCOL"
	heldVariable     = "TEST_HELD"
)

func play(role string, args []string) error {
	switch role {
	case LaunchCommand:
		if os.Getenv("TEST_LAUNCH") == "fail" {
			_, err := fmt.Fprintln(os.NewFile(3, "ready"), SaidError+"no room")
			return err
		}
		if os.Getenv("TEST_LAUNCH") == "die" {
			return nil
		}
		cmd := exec.Command(os.Args[0], append([]string{GuardianCommand}, args...)...)
		cmd.ExtraFiles = []*os.File{os.NewFile(3, "ready")}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		return cmd.Start()
	case GuardianCommand:
		return playHub(args[1], os.NewFile(3, "ready"))
	case "hold": // takes the lock, says so, and waits to be killed
		paths, err := state.Locate(args[0], os.Getenv)
		if err != nil {
			return err
		}
		lock, err := Lock(paths)
		if err != nil {
			return err
		}
		fmt.Println("held")
		_, err = bufio.NewReader(os.Stdin).ReadString('\n')
		return errors.Join(err, lock.Close())
	case "knock": // connects to a socket and reads until the other end closes
		c, err := net.Dial("unix", args[0])
		if err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 1))
		fmt.Println(err)
		return nil
	}
	return nil
}

func playHub(root string, ready *os.File) error {
	paths, err := state.Locate(root, os.Getenv)
	if err != nil {
		return err
	}
	lock, err := Lock(paths)
	if errors.Is(err, ErrLocked) {
		_, err := fmt.Fprintln(ready, SaidLocked)
		return err
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	l, err := Listen(paths)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(ready, SaidReady); err != nil {
		return err
	}
	ready.Close()
	protocol := wire.Protocol
	if os.Getenv(protocolVariable) != "" {
		protocol = 99
	}
	quit := make(chan *rpc.Conn, 1)
	time.AfterFunc(30*time.Second, func() { l.Close() }) // a test that forgot us
	go func() {
		conn := <-quit
		conn.Close() // once its answer is written
		l.Close()
	}()
	for {
		c, err := Accept(l, func(error) {})
		if err != nil {
			return nil
		}
		var conn *rpc.Conn
		made := make(chan struct{})
		conn = rpc.New(c, rpc.HandlerFunc(func(m rpc.Message) (rpc.Work, error) {
			switch m.Method {
			case wire.Hello:
				var p wire.HelloParams
				if err := json.Unmarshal(m.Params, &p); err != nil {
					return nil, err
				}
				if p.Protocol != protocol {
					return nil, Mismatch("0.0.1", p.Protocol)
				}
				return rpc.Answer(wire.HelloResult{Protocol: protocol, Root: p.Root, PID: os.Getpid()}), nil
			case wire.Quit:
				if os.Getenv(heldVariable) != "" {
					return rpc.Answer(wire.QuitResult{Why: "held"}), nil
				}
				return func(context.Context) (any, error) {
					return rpc.Reply{Result: wire.QuitResult{Quit: true}, Sent: func() { <-made; quit <- conn }}, nil
				}, nil
			}
			return nil, errors.New("unknown")
		}), rpc.Options{Name: "test", Log: zerolog.Nop()})
		close(made)
	}
}

func paths(t *testing.T, root string) state.Paths {
	t.Helper()
	p, err := state.Locate(root, os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Make(); err != nil {
		t.Fatal(err)
	}
	return p
}

func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv(state.HomeVariable, dir)
	return dir
}

func options(root string) Options {
	return Options{Root: root, Start: true, Exe: os.Args[0], Getenv: os.Getenv, Log: zerolog.Nop(),
		Hello: wire.HelloParams{Role: wire.Holder, Client: "test"}}
}

func ctx(t *testing.T) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return c
}

// quit ends the played hub and waits until its lock is free.
func quit(t *testing.T, root string, conn *rpc.Conn) {
	t.Helper()
	var res wire.QuitResult
	if err := conn.Call(ctx(t), wire.Quit, nil, &res); err != nil || !res.Quit {
		t.Fatalf("quit: %+v, %v", res, err)
	}
	conn.Close()
	awaitLock(t, paths(t, root)).Close()
}

func awaitLock(t *testing.T, p state.Paths) *os.File {
	t.Helper()
	var wait time.Duration
	for c := ctx(t); ; {
		f, err := Lock(p)
		if err == nil {
			return f
		}
		if !errors.Is(err, ErrLocked) {
			t.Fatal(err)
		}
		if err := pause(c, &wait); err != nil {
			t.Fatalf("the lock did not become free: %v", err)
		}
	}
}

func TestTheLockExcludesAndIsPrivate(t *testing.T) {
	home(t)
	p := paths(t, "/srv/shop")
	f, err := Lock(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(p); !errors.Is(err, ErrLocked) {
		t.Errorf("a second lock: %v", err)
	}
	if info, _ := f.Stat(); info.Mode().Perm() != 0o600 {
		t.Errorf("SECURITY-007: mode %04o", info.Mode().Perm())
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Lock(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(p.Lock()); err != nil {
		t.Errorf("the lock file was unlinked: %v", err)
	}
	again.Close()
}

func TestALockBehindALinkIsRefused(t *testing.T) {
	home(t)
	p := paths(t, "/srv/shop")
	target := filepath.Join(t.TempDir(), "target")
	if err := os.Symlink(target, p.Lock()); err != nil {
		t.Fatal(err)
	}
	if f, err := Lock(p); err == nil {
		f.Close()
		t.Error("a link was locked")
	}
	if _, err := os.Lstat(target); err == nil {
		t.Error("the link's target was made")
	}
}

func TestRELIABILITY002TheLockIsFreeWhenItsOwnerIsKilled(t *testing.T) {
	home(t)
	p := paths(t, "/srv/shop")
	owner := exec.Command(os.Args[0], "hold", "/srv/shop")
	in, err := owner.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "held\n" {
		t.Fatalf("the owner said %q, %v", line, err)
	}
	if _, err := Lock(p); !errors.Is(err, ErrLocked) {
		t.Fatalf("with an owner: %v", err)
	}
	if err := owner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	owner.Wait()
	f, err := Lock(p)
	if err != nil {
		t.Fatalf("after SIGKILL of the owner: %v", err)
	}
	f.Close()
}

func TestSECURITY007TheSocketIsPrivateAndAStaleOneIsReplaced(t *testing.T) {
	home(t)
	p := paths(t, "/srv/shop")
	for range 2 { // the first one is left behind as by a SIGKILL
		l, err := Listen(p)
		if err != nil {
			t.Fatal(err)
		}
		if info, _ := os.Lstat(p.Socket()); info.Mode().Perm() != 0o600 {
			t.Errorf("mode %04o", info.Mode().Perm())
		}
		l.Close()
	}
	if _, err := dial(ctx(t), p); !errors.Is(err, ErrNoHub) {
		t.Errorf("dialing a dead hub: %v", err)
	}
	os.Remove(p.Socket())
	if _, err := dial(ctx(t), p); !errors.Is(err, ErrNoHub) {
		t.Errorf("dialing nobody: %v", err)
	}
}

func TestALongPathIsReachedThroughItsDirectory(t *testing.T) {
	t.Setenv(state.HomeVariable, filepath.Join(t.TempDir(), strings.Repeat("long", 30)))
	p := paths(t, "/srv/shop")
	if len(p.Socket()) <= maxSocketPath {
		t.Fatalf("the path has only %d bytes", len(p.Socket()))
	}
	l, err := Listen(p)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan error, 1)
	go func() {
		c, err := Accept(l, func(err error) { t.Error(err) })
		if err == nil {
			c.Close()
		}
		accepted <- err
	}()
	c, err := dial(ctx(t), p)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := <-accepted; err != nil {
		t.Error(err)
	}
}

func TestSECURITY007AStrangerIsRefused(t *testing.T) {
	if err := allow(os.Geteuid()+1, 7); !errors.Is(err, ErrStranger) {
		t.Errorf("another uid: %v", err)
	}
	if err := allow(os.Geteuid(), 7); err != nil {
		t.Errorf("our own uid: %v", err)
	}
	if os.Geteuid() != 0 {
		return // only root can play another user; the rest is above
	}
	dir, err := os.MkdirTemp("/tmp", "stranger") // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(dir, "knock")
	if err := copyFile(os.Args[0], self); err != nil {
		t.Fatal(err)
	}
	l, err := listenUnix(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "s"), 0o666); err != nil {
		t.Fatal(err)
	}
	refused := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := Accept(l, func(err error) { refused <- err }); err == nil {
			c.Close()
			t.Error("a stranger was accepted")
		}
	}()
	cmd := exec.Command(self, "knock", filepath.Join(dir, "s"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = dir
	out, err := cmd.Output() // a binary that counts coverage complains on stderr that it can't write it
	if err != nil || strings.TrimSpace(string(out)) != "EOF" {
		t.Errorf("the stranger saw %q, %v", out, err)
	}
	select {
	case err := <-refused:
		if !errors.Is(err, ErrStranger) || !strings.Contains(err.Error(), "65534") {
			t.Errorf("refused because %v", err)
		}
	case <-ctx(t).Done():
		t.Error("nothing was refused")
	}
	l.Close()
	<-done
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

func TestConnectWithoutAHub(t *testing.T) {
	home(t)
	o := options("/srv/shop")
	o.Start = false
	if _, _, err := Connect(ctx(t), o); !errors.Is(err, ErrNoHub) {
		t.Errorf("%v, want %v", err, ErrNoHub)
	}
}

func TestConnectStartsOneHubHoweverManyAsk(t *testing.T) {
	home(t)
	const clients = 12
	conns := make([]*rpc.Conn, clients)
	pids := make([]int, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			conn, res, err := Connect(ctx(t), options("/srv/shop"))
			if err != nil {
				t.Error(err)
				return
			}
			conns[i], pids[i] = conn, res.PID
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for i, pid := range pids {
		if pid != pids[0] {
			t.Errorf("client %d is at hub %d, client 0 at %d", i, pid, pids[0])
		}
		if i > 0 {
			conns[i].Close()
		}
	}
	quit(t, "/srv/shop", conns[0])
}

func TestAnOldHubThatNobodyHoldsMakesRoom(t *testing.T) {
	home(t)
	t.Setenv(protocolVariable, "old")
	old := startOld(t)
	t.Setenv(protocolVariable, "")
	conn, res, err := Connect(ctx(t), options("/srv/shop"))
	if err != nil {
		t.Fatal(err)
	}
	if res.PID == old.PID || res.Protocol != wire.Protocol {
		t.Errorf("connected to %+v; the old hub was %v", res, old)
	}
	quit(t, "/srv/shop", conn)
}

func TestAnOldHubThatIsHeldIsNamed(t *testing.T) {
	home(t)
	t.Setenv(protocolVariable, "old")
	t.Setenv(heldVariable, "yes")
	old := startOld(t)
	_, _, err := Connect(ctx(t), options("/srv/shop"))
	var e *rpc.Error
	if !errors.As(err, &e) || e.Code != wire.CodeProtocolMismatch || !strings.Contains(e.Message, "0.0.1") {
		t.Errorf("%v", err)
	}
	if d, ok := ErrorData(err); !ok || d.Code != "protocol-mismatch" || d.Hint == "" || d.PID == 0 {
		t.Errorf("data %+v, %v", d, ok)
	}
	if err := old.Signal(syscall.SIGKILL); err != nil { // it would not quit
		t.Error(err)
	}
	awaitLock(t, paths(t, "/srv/shop")).Close()
}

// startOld starts a hub of another protocol version.
func startOld(t *testing.T) proc.Identity {
	t.Helper()
	o := options("/srv/shop")
	if _, err := o.launch(ctx(t), paths(t, "/srv/shop")); err != nil {
		t.Fatal(err)
	}
	c, err := dial(ctx(t), paths(t, "/srv/shop"))
	if err != nil {
		t.Fatal(err)
	}
	conn := rpc.New(c, nil, rpc.Options{Log: zerolog.Nop()})
	defer conn.Close()
	err = conn.Call(ctx(t), wire.Hello, wire.HelloParams{Protocol: wire.Protocol}, nil)
	d, ok := ErrorData(err)
	if !ok || d.PID == 0 {
		t.Fatalf("the old hub said %v", err)
	}
	id, err := proc.Identify(d.PID)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestAHubThatCantStartSaysWhy(t *testing.T) {
	for how, want := range map[string]string{"fail": "no room", "die": "ended before it listened"} {
		t.Run(how, func(t *testing.T) {
			home(t)
			t.Setenv("TEST_LAUNCH", how)
			_, _, err := Connect(ctx(t), options("/srv/shop"))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q in it", err, want)
			}
		})
	}
}

func TestConnectGivesUpWhenItsContextEnds(t *testing.T) {
	home(t)
	lock, err := Lock(paths(t, "/srv/shop")) // somebody owns the project and does not listen
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	c, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, _, err := Connect(c, options("/srv/shop")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
