package probe

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/devside/devside/supervisor/spec"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv("PROBE_TEST_HELPER"); mode != "" {
		helper(mode)
		return
	}
	goleak.VerifyTestMain(m)
}

// within is how long a test waits for something that should come.
const within = 10 * time.Second

func look(t *testing.T, p spec.Probe, target Target) error {
	t.Helper()
	made, err := New(p, target)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return made.Look(ctx)
}

// listen takes a port of the kernel's choice and accepts on it until the test ends.
func listen(t *testing.T, addr string) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().(*net.TCPAddr).Port
}

// closedPort is a port that nobody listens on.
func closedPort(t *testing.T) int {
	t.Helper()
	// An outgoing connection has the number, so that nobody listens there while
	// the test runs: a listener that was closed has given it to the next one.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); l.Close() })
	return conn.LocalAddr().(*net.TCPAddr).Port
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("got %v", err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want …%s…", err, want)
	}
}
