package hub

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

// audited ends the hub and reads its audit log.
func (l *lab) audited() (out []state.AuditEntry) {
	l.t.Helper()
	l.shut()
	text, err := os.ReadFile(l.paths.Audit())
	if err != nil {
		l.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var e state.AuditEntry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			l.t.Fatalf("%q: %v", line, err)
		}
		out = append(out, e)
	}
	return out
}

// knock connects as another user, and returns what that one saw. The socket's
// folder lets only its owner in, so that it goes through with root's rights to
// files.
func knock(path string, uid int) (saw string, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for ever: the thread is another user's from now on
		const same = ^uintptr(0)
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, same, uintptr(uid), same); e != 0 {
			err = e
			return
		}
		syscall.RawSyscall(syscall.SYS_SETFSUID, 0, 0, 0)
		var c net.Conn
		if c, err = net.Dial("unix", path); err != nil {
			return
		}
		defer c.Close()
		var text []byte
		text, err = io.ReadAll(c)
		saw = string(text)
	}()
	<-done
	return saw, err
}

func TestSECURITY007AStrangerIsRefusedAndInTheAuditLog(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can play another user; TestSECURITY007… in rpc/socket has the decision")
	}
	l := open(t, config(server("api", "serve")))
	watcher := l.join(wire.Holder, distrusted)
	saw, err := knock(l.paths.Socket(), 65534)
	if err != nil || saw != "" {
		t.Errorf("the stranger saw %q, %v", saw, err)
	}
	if e := watcher.awaitEvent(status.HappenedSecurity); e.Act != status.ActClientRefused {
		t.Errorf("%+v", e)
	}
	got := l.audited()
	if len(got) != 1 || got[0].Act != status.ActClientRefused || got[0].Process.PID != os.Getpid() || got[0].Process.User != "nobody" || !strings.Contains(got[0].Message, "uid 65534") {
		t.Errorf("%+v", got)
	}
}

func TestSECLISTWhoVouchesIsInTheAuditLogOnce(t *testing.T) {
	l := open(t, config(server("api", "serve")))
	named := func(p *wire.HelloParams) { p.Client = "fake editor" }
	trusting, other := l.join(wire.Visitor, named), l.join(wire.Visitor, named, distrusted)
	for range 2 {
		for _, c := range []*client{trusting, other} {
			c.must(wire.MethodPrefix+"start", wire.StartParams{Servers: []string{"api"}}, nil)
		}
	}
	got := l.audited()
	if len(got) != 1 || got[0].Act != status.ActTrusted || got[0].Process == nil || got[0].Process.PID != os.Getpid() || !strings.Contains(got[0].Message, `"fake editor" vouches`) {
		t.Errorf("%+v", got)
	}
}
