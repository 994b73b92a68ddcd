package probe

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/spec"
)

func TestWhatANoticeChanges(t *testing.T) {
	yet := "it has not sent READY=1 to NOTIFY_SOCKET yet"
	for _, test := range []struct {
		name      string
		datagrams []string
		want      string
	}{
		{"nothing was said", nil, yet},
		{"ready", []string{"READY=1"}, ""},
		{"among others, as systemd's do", []string{"MAINPID=7\nREADY=1\nSTATUS=serving\nWATCHDOG=1\n"}, ""},
		{"not quite", []string{"READY=0", "READY", "XREADY=1", "READY=1 ", "ready=1", ""}, yet},
		{"a status", []string{"STATUS=migrating 3 of 7"}, yet + `; its status is "migrating 3 of 7"`},
		{"a status without content", []string{"STATUS=x", "STATUS="}, yet},
		{"a status to move the cursor", []string{"STATUS=\x1b[2Jgone\x07 \xff"}, yet + `; its status is "gone ?"`},
		{"a long status", []string{"STATUS=" + strings.Repeat("x", 3000)}, yet + `; its status is "` + strings.Repeat("x", maxStatus) + `…"`},
		{"reloading", []string{"READY=1", "RELOADING=1\nMONOTONIC_USEC=1"}, "it says that it is reloading"},
		{"reloaded", []string{"READY=1", "RELOADING=1", "READY=1"}, ""},
		{"stopping", []string{"READY=1", "STOPPING=1\nSTATUS=draining"}, `it says that it is stopping; its status is "draining"`},
	} {
		var s said
		for _, d := range test.datagrams {
			s = s.with([]byte(d))
		}
		got := ""
		if err := s.judge(); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// hearing is a socket that is listened to until the test ends.
func hearing(t *testing.T, dir string, belongs func(pid int) error) (*Notify, chan string) {
	t.Helper()
	n, err := ListenNotify(dir, "api")
	if err != nil {
		t.Fatal(err)
	}
	refused, done := make(chan string, 100), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		n.Serve(ctx, belongs, func(why string) { refused <- why })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n, refused
}

func everybody(int) error { return nil }

func speaker(t *testing.T, n *Notify) *net.UnixConn {
	t.Helper()
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.Address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func tell(t *testing.T, n *Notify, datagrams ...string) {
	t.Helper()
	conn := speaker(t, n)
	for _, d := range datagrams {
		if _, err := conn.Write([]byte(d)); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitNotice waits until a look says what it should.
func awaitNotice(t *testing.T, n *Notify, want string) {
	t.Helper()
	p, err := New(spec.Probe{Kind: spec.ProbeNotify}, Target{Notices: n.Notices})
	if err != nil {
		t.Fatal(err)
	}
	over := time.After(within)
	for {
		err := p.Look(t.Context())
		if want == "" && err == nil || err != nil && want != "" && strings.Contains(err.Error(), want) {
			return
		}
		select {
		case <-News(p):
		case <-over:
			t.Fatalf("the probe says %v, want …%s…", err, want)
		}
	}
}

func TestNotify(t *testing.T) {
	n, refused := hearing(t, t.TempDir(), func(pid int) error {
		if pid != os.Getpid() {
			t.Errorf("asked for pid %d, which has sent nothing", pid)
		}
		return nil
	})
	awaitNotice(t, n, "it has not sent READY=1")
	tell(t, n, "READY=1")
	awaitNotice(t, n, "")
	tell(t, n, "RELOADING=1")
	awaitNotice(t, n, "reloading")
	tell(t, n, strings.Repeat("x", maxNotice)+"\nREADY=1", "READY=1")
	awaitNotice(t, n, "")
	if why := <-refused; why != "a notice of more than 4096 bytes was not read" {
		t.Errorf("refused: %s", why)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (notifyProbe{n.Notices}).Look(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled look says %v", err)
	}
	if News(none{}) != nil {
		t.Error("a probe that must ask has news")
	}
}

func TestANoticeThatIsNotBelievedChangesNothingAndIsTold(t *testing.T) {
	var verdict atomic.Pointer[error]
	say := func(err error) { verdict.Store(&err) }
	n, refused := hearing(t, t.TempDir(), func(int) error { return *verdict.Load() })
	say(errors.New("it is a stranger"))
	tell(t, n, "READY=1")
	if why := <-refused; !strings.Contains(why, "did not count: it is a stranger") {
		t.Errorf("refused: %s", why)
	}
	awaitNotice(t, n, "it is a stranger")
	say(proc.ErrGone)
	tell(t, n, "READY=1")
	awaitNotice(t, n, "it had ended before it could be seen whose it was")
	say(nil)
	tell(t, n, "READY=1")
	awaitNotice(t, n, "")
}

// sd_notify_barrier: whoever waits for its descriptor to be closed is heard by then.
func TestPassedDescriptorsAreClosed(t *testing.T) {
	n, _ := hearing(t, t.TempDir(), everybody)
	conn := speaker(t, n)
	if _, err := conn.Write([]byte("READY=1")); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	passing := unix.UnixRights(slices.Repeat([]int{int(w.Fd())}, maxPassed)...)
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = unix.Sendmsg(int(fd), []byte("BARRIER=1"), passing, nil, 0) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := r.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 1)); err == nil || timedOut(err) {
		t.Fatalf("the descriptors are held: %v", err)
	}
	if err := n.now().judge(); err != nil {
		t.Errorf("after the barrier: %v", err)
	}
}

func TestAFloodOfNoticesCostsBoundedWork(t *testing.T) {
	var asked atomic.Int64
	n, _ := hearing(t, t.TempDir(), func(int) error { asked.Add(1); return errors.New("no") })
	conn := speaker(t, n)
	began, over := time.Now(), time.Now().Add(1500*time.Millisecond)
	if err := conn.SetWriteDeadline(over); err != nil {
		t.Fatal(err)
	}
	sent := 0
	for ; ; sent++ {
		if _, err := conn.Write([]byte("READY=1")); err != nil {
			if !timedOut(err) {
				t.Fatal(err)
			}
			break
		}
	}
	most := int64(time.Since(began)/time.Second+2) * noticesASecond
	if got := asked.Load(); got > most || got < noticesASecond-1 {
		t.Errorf("%d notices were sent and %d looked at, want at most %d", sent, got, most)
	}
}

func TestALongPathIsReachedThroughADescriptor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	n, _ := hearing(t, dir, everybody)
	if len(n.Address) > maxSocketPath {
		t.Fatalf("%s has %d bytes", n.Address, len(n.Address))
	}
	tell(t, n, "READY=1")
	awaitNotice(t, n, "")
}

func TestWhatALostHubLeftIsReplacedAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	left, err := ListenNotify(dir, "api")
	if err != nil {
		t.Fatal(err)
	}
	old := speaker(t, left)
	n, _ := hearing(t, dir, everybody)
	if _, err := old.Write([]byte("READY=1")); err != nil { // to the socket that has no name any more
		t.Fatal(err)
	}
	tell(t, n, "STATUS=new")
	awaitNotice(t, n, `READY=1 to NOTIFY_SOCKET yet; its status is "new"`)
	left.conn.Close()
	if _, err := old.Write([]byte("READY=1")); !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ENOTCONN) && !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("a notice of the run before: %v", err)
	}

	if err := os.WriteFile(filepath.Join(dir, "notify-web.sock"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := ListenNotify(dir, "web"); err == nil {
		n.Close()
		t.Error("a file that is no socket was replaced")
	}
	if _, err := ListenNotify(filepath.Join(dir, strings.Repeat("x", 120)), "web"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

func TestNotifyLeavesNothing(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	dir := t.TempDir()
	before := 0
	for i := range 3 {
		n, err := ListenNotify(dir, "api")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); n.Serve(ctx, everybody, func(string) {}) }()
		if i == 1 { // either ends it
			cancel()
			<-done
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		<-done
		cancel()
		if now := count(); i == 0 { // the poller's own are made once
			before = now
		} else if now != before {
			t.Errorf("%d descriptors, %d before", now, before)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left in the folder: %v, %v", entries, err)
	}
}
