//go:build linux

package project

import (
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/devside/devside/supervisor/status"
)

// A dependency's probe sends what the configuration says to where it says.
func TestNothingIsConnectedToBeforeTrust(t *testing.T) {
	l, db := listener(t)
	f := newFixture(t, config(server("api", freePort(t), serving))+
		fmt.Sprintf("dependencies:\n  db: {tcp: \"127.0.0.1:%d\", every: 100ms}\n", db)).open()
	accept := func(within time.Duration) error {
		if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		conn, err := l.Accept()
		if err == nil {
			conn.Close()
		}
		return err
	}
	if err := accept(300 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("somebody connected before the project is trusted: %v", err)
	}
	if deps := f.Status().Dependencies; len(deps) != 0 {
		t.Errorf("%+v", deps)
	}
	f.Vouch(1)
	if err := accept(patience); err != nil {
		t.Fatal(err)
	}
	f.await("it is up", func(st *status.Project) bool { return len(st.Dependencies) == 1 && st.Dependencies[0].Up })
	f.Vouch(-1) // whoever vouched has gone; what was started goes on
	if err := accept(patience); err != nil {
		t.Fatal(err)
	}
	f.write("devside.yaml", config(server("api", freePort(t), serving))+
		fmt.Sprintf("dependencies:\n  db: {tcp: \"127.0.0.1:%d\", every: 101ms}\n", db))
	f.Reload(t.Context())                     // nobody vouches for that one
	for accept(300*time.Millisecond) == nil { // what was under way
	}
	f.Vouch(1)
	if err := accept(patience); err != nil {
		t.Fatal(err)
	}
}
