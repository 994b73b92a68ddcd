package sidecar

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/devside/devside/rpc/sidecar/fakeeditor"
	"github.com/rs/zerolog"
)

func TestIdentifyKnowsAncestorsOnly(t *testing.T) {
	id, ok := identify(os.Getppid())
	if !ok || id == "" {
		t.Fatalf("our parent: %q %v", id, ok)
	}
	if again, ok := identify(os.Getppid()); !ok || again != id {
		t.Errorf("our parent again: %q %v, want %q", again, ok, id)
	}
	for _, pid := range []int{os.Getpid(), 0, -1, 1 << 30} {
		if id, ok := identify(pid); ok {
			t.Errorf("pid %d is no ancestor: %q", pid, id)
		}
	}
}

// TestANamedPipeIsNotOpened: a configuration that is a pipe would block the
// folder for ever.
func TestANamedPipeIsNotOpened(t *testing.T) {
	inSession(t, func(l *lab) {
		if err := os.Remove(filepath.Join(l.root, "devside.yaml")); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(filepath.Join(l.root, "devside.yaml"), 0o600); err != nil {
			t.Fatal(err)
		}
		l.open()
		l.Await("that it can't be read", func(s *fakeeditor.State) bool {
			d := s.Diagnostics[l.uri]
			return len(d) == 1 && strings.Contains(d[0].Message, "can't be read")
		})
	})
}

// TestOnARealSocketPair runs a session without a bubble, on what VS Code gives
// its servers for stdio.
func TestOnARealSocketPair(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "socket")
		if ends[i], err = net.FileConn(file); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	root := newRoot(t, config)
	hub := newFakeHub(t)
	hub.alive = true
	code := make(chan int, 1)
	go func() {
		code <- Run(t.Context(), Options{RWC: ends[1], Version: "0", Log: zerolog.Nop(), Dial: hub.dial})
	}()
	e := fakeeditor.Start(t, ends[0])
	e.Initialize(map[string]any{"processId": os.Getppid(), "rootUri": pathToURI(root)})
	for range 500 {
		e.Send("devside/status", nil)
	}
	e.Do("devside/status", nil, nil)
	e.Shutdown()
	select {
	case got := <-code:
		if got != ExitOK {
			t.Errorf("exit code %d", got)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Run did not return")
	}
	hub.die()
}
