//go:build linux

package port

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/devside/devside/supervisor/proc"
	"golang.org/x/sys/unix"
)

// child is the first argument that turns the test binary into a process that
// listens: with "fork", its own child has the socket as well and prints.
const child = "port-test-child"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == child {
		os.Exit(listenChild(os.Args[2]))
	}
	os.Exit(m.Run())
}

func listenChild(mode string) int {
	if mode == "other-user" {
		if err := syscall.Setuid(65534); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer l.Close()
	worker := 0
	if mode == "fork" {
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			fmt.Println(err)
			return 1
		}
		cmd := exec.Command("sleep", "60")
		cmd.ExtraFiles = []*os.File{f}
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		runtime.LockOSThread() // the worker ends with the thread that started it
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
			return 1
		}
		worker = cmd.Process.Pid
	}
	fmt.Println(portOf(l), worker)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the test is over
	return 0
}

// startChild returns the child's pid, its port, and its worker's pid.
func startChild(t *testing.T, mode string) (pid, port, worker int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd := exec.CommandContext(ctx, exe, child, mode, "long "+strings.Repeat("é", 300))
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
		cancel()
	})
	if _, err := fmt.Fscan(out, &port, &worker); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, port, worker
}

func portOf(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// hold listens for the length of the test. The reference in the clean-up keeps
// the collector from closing the socket.
func hold(t *testing.T, network, addr string) int {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return portOf(l)
}

func TestTakenWhicheverAddressIsHeld(t *testing.T) {
	for _, tt := range []struct{ name, network, addr, seen string }{
		{"IPv4 loopback", "tcp4", "127.0.0.1:0", "127.0.0.1"},
		{"another loopback address", "tcp4", "127.0.0.2:0", "127.0.0.2"},
		{"IPv6 loopback", "tcp6", "[::1]:0", "::1"},
		{"IPv4 wildcard", "tcp4", "0.0.0.0:0", "0.0.0.0"},
		{"IPv6 wildcard", "tcp6", "[::]:0", "::"},
		{"dual", "tcp", ":0", "::"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := hold(t, tt.network, tt.addr)
			taken, ls, err := Taken(p)
			if err != nil || !taken || len(ls) != 1 {
				t.Fatalf("%v %+v %v", taken, ls, err)
			}
			l := ls[0]
			if l.Port != p || l.Addr != netip.MustParseAddr(tt.seen) || l.UID != os.Geteuid() || l.Inode == 0 {
				t.Errorf("%+v", l)
			}
			if !Owned(l, []int{1 << 30, os.Getpid()}) || Owned(l, []int{1 << 30}) || Owned(Listener{}, []int{os.Getpid()}) {
				t.Error("whose it is")
			}
		})
	}
}

func TestFreeAgain(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := portOf(l)
	// A connection that the server closes first leaves a TIME_WAIT behind.
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	_, _ = c.Read(make([]byte, 1))
	_ = c.Close()
	_ = l.Close()
	if taken, ls, err := Taken(p); taken || err != nil || len(ls) != 0 {
		t.Errorf("%v %+v %v", taken, ls, err)
	}
}

func TestTakenByASocketThatDoesNotListen(t *testing.T) {
	for name, sa := range map[string]unix.Sockaddr{
		"IPv4":             &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}},
		"another loopback": &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 2}},
		"IPv6":             &unix.SockaddrInet6{Addr: netip.MustParseAddr("::1").As16()},
	} {
		family := unix.AF_INET
		if name == "IPv6" {
			family = unix.AF_INET6
		}
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Bind(fd, sa); err != nil {
			t.Fatal(err)
		}
		got, err := unix.Getsockname(fd)
		if err != nil {
			t.Fatal(err)
		}
		p := 0
		switch a := got.(type) {
		case *unix.SockaddrInet4:
			p = a.Port
		case *unix.SockaddrInet6:
			p = a.Port
		}
		taken, ls, err := Taken(p)
		_ = unix.Close(fd)
		if !taken || len(ls) != 0 || err != nil {
			t.Errorf("%s: %v %+v %v", name, taken, ls, err)
		}
		if h := HolderOf(ls, nil); h != nil {
			t.Errorf("%s: holder %+v", name, h)
		}
	}
}

func TestTakenSharedByReuseport(t *testing.T) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}), err)
	}}
	a, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := lc.Listen(context.Background(), "tcp", a.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if taken, ls, err := Taken(portOf(a)); !taken || len(ls) != 2 || err != nil {
		t.Errorf("%v %+v %v", taken, ls, err)
	}
}

func TestTakenRefusesWhatIsNoPort(t *testing.T) {
	for _, p := range []int{-1, 0, 65536} {
		if taken, _, err := Taken(p); taken || err == nil {
			t.Errorf("%d: %v %v", p, taken, err)
		}
	}
}

func TestPrivilegedPortIsNotTaken(t *testing.T) {
	for _, tr := range tries {
		if inUse, err := bound(tr, 1); inUse || err != nil {
			t.Errorf("%+v: %v %v", tr, inUse, err)
		}
	}
}

func TestListenersOnlyOfThePortsAsked(t *testing.T) {
	a, b, c := hold(t, "tcp", "127.0.0.1:0"), hold(t, "tcp", "127.0.0.1:0"), hold(t, "tcp", "127.0.0.1:0")
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", a)) // a socket of the same port that does not listen
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ports := func(ls []Listener) (out []int) {
		for _, l := range ls {
			out = append(out, l.Port)
		}
		slices.Sort(out)
		return out
	}
	two, err := Listeners(b, a)
	want := []int{a, b}
	slices.Sort(want)
	if err != nil || !slices.Equal(ports(two), want) {
		t.Errorf("%+v %v, want %v", two, err, want)
	}
	all, err := Listeners()
	for _, p := range []int{a, b, c} {
		if err != nil || !slices.Contains(ports(all), p) {
			t.Errorf("%d is not among %v, %v", p, ports(all), err)
		}
	}
	if none, err := Listeners(conn.LocalAddr().(*net.TCPAddr).Port); err != nil || len(none) != 0 {
		t.Errorf("a connected socket counts as listener: %+v %v", none, err)
	}
}

func TestBothWaysToListTellTheSame(t *testing.T) {
	ours := []int{hold(t, "tcp4", "127.0.0.1:0"), hold(t, "tcp6", "[::1]:0"), hold(t, "tcp", ":0")}
	pick := func(ls []Listener, err error) []Listener {
		if err != nil {
			t.Fatal(err)
		}
		ls = slices.DeleteFunc(ls, func(l Listener) bool { return !slices.Contains(ours, l.Port) })
		slices.SortFunc(ls, func(a, b Listener) int { return a.Port - b.Port })
		return ls
	}
	a, b := pick(byDiag(nil)), pick(byProc("/proc/net/tcp", "/proc/net/tcp6"))
	if len(a) != 3 || !slices.Equal(a, b) {
		t.Errorf("sock_diag: %+v\n/proc/net: %+v", a, b)
	}
	if _, err := byProc("/no/such/file"); err == nil {
		t.Error("a missing table is no error")
	}
	if ls, err := byProc("/no/such/tcp6"); err != nil || len(ls) != 0 {
		t.Errorf("a kernel without IPv6: %v %v", ls, err)
	}
}

func TestEDGE1HolderIsNamed(t *testing.T) {
	pid, p, _ := startChild(t, "plain")
	_, ls, err := Taken(p)
	if err != nil || len(ls) != 1 {
		t.Fatal(ls, err)
	}
	id, err := proc.Identify(pid)
	if err != nil {
		t.Fatal(err)
	}
	exe, _ := os.Executable()
	name15 := filepath.Base(exe) // the kernel keeps 15 bytes of it
	name15 = name15[:min(len(name15), 15)]
	for name, hints := range map[string][]int{"hint": {1 << 30, pid}, "no hint": nil, "wrong hint": {os.Getpid()}} {
		h := HolderOf(ls, hints)
		if h == nil || h.PID != pid || h.StartTime != id.Start || h.Name != name15 || h.User != UserName(os.Geteuid()) {
			t.Fatalf("%s: %+v", name, h)
		}
		if !strings.Contains(h.Command, child+" plain long é") || len(h.Command) > maxCommand || !strings.HasSuffix(h.Command, "…") {
			t.Errorf("%s: command %q", name, h.Command)
		}
	}
}

func TestHolderIsTheProcessThatHandedTheSocketDown(t *testing.T) {
	pid, p, worker := startChild(t, "fork")
	ls, err := Listeners(p)
	if err != nil || len(ls) != 1 || !Owned(ls[0], []int{worker}) || !Owned(ls[0], []int{pid}) {
		t.Fatal(ls, err)
	}
	for _, hints := range [][]int{nil, {worker}, {pid}} {
		if h := HolderOf(ls, hints); h == nil || h.PID != pid {
			t.Errorf("hints %v: %+v, want pid %d", hints, h, pid)
		}
	}
}

func TestEDGE1HolderOfAnotherUserIsAUserOnly(t *testing.T) {
	var ls []Listener
	var hints []int
	if os.Geteuid() == 0 {
		pid, p, _ := startChild(t, "other-user")
		var err error
		if ls, err = Listeners(p); err != nil || len(ls) != 1 || ls[0].UID != 65534 {
			t.Fatal(ls, err)
		}
		hints = []int{pid}
	} else {
		ls = []Listener{{Port: 80, UID: 0, Inode: 1}}
	}
	for _, hints := range [][]int{nil, hints} {
		h := HolderOf(ls, hints)
		if h == nil || h.User != UserName(ls[0].UID) || h.PID != 0 || h.StartTime+h.Name+h.Command != "" {
			t.Errorf("hints %v: %+v", hints, h)
		}
	}
}

func TestHolderOutOfSight(t *testing.T) {
	h := HolderOf([]Listener{{UID: 4_000_000_000}, {UID: os.Geteuid(), Inode: 0}}, []int{os.Getpid()})
	if h == nil || h.PID != 0 || h.User != UserName(os.Geteuid()) {
		t.Errorf("%+v", h)
	}
	if h := HolderOf([]Listener{{UID: 4_000_000_000}}, nil); h == nil || h.User != "uid 4000000000" {
		t.Errorf("%+v", h)
	}
	if h := HolderOf(nil, []int{os.Getpid()}); h != nil {
		t.Errorf("%+v", h)
	}
}

func TestNext(t *testing.T) {
	r := closed()[0]
	start := r.low - 50
	p, err := Next(start, nil)
	if err != nil || p == start || r.has(p) || p < firstPort {
		t.Fatalf("%d %v", p, err)
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	q, err := Next(start, nil)
	if err != nil || q == p || r.has(q) {
		t.Errorf("%d %v while %d is held", q, err, p)
	}
	if q, err := Next(start, func(c int) bool { return c != p }); err == nil {
		t.Errorf("%d, with nothing allowed but a port that is held", q)
	}
	if inside, err := Next(r.low+10, nil); err != nil || r.has(inside) {
		t.Errorf("%d %v", inside, err)
	}
}

func TestCandidates(t *testing.T) {
	collect := func(after int, closed ...span) []int { return slices.Collect(candidates(after, closed)) }
	got := collect(3000, span{32768, 60999}, span{0, 1023}, span{3001, 3002}, span{3005, 3005})
	if len(got) < 97 || !slices.Equal(got[:3], []int{3003, 3004, 3006}) || got[96] != 3100 || got[97] != 32767 {
		t.Errorf("%v", got)
	}
	if got := collect(32760, span{32768, 60999}); got[6] != 32767 || got[7] != 32759 || slices.Contains(got, 32760) {
		t.Errorf("%v", got)
	}
	if got := collect(0, span{32768, 60999}); got[0] != 32767 {
		t.Errorf("%v", got)
	}
	if got := collect(65500, span{1, 60999}); len(got) != 35 || got[34] != 65535 {
		t.Errorf("%v", got)
	}
	if got := collect(70000); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestParseSpans(t *testing.T) {
	if got := parseSpans("8080,9000-9010,x,7-y,\n"); !slices.Equal(got, []span{{8080, 8080}, {9000, 9010}}) {
		t.Errorf("%v", got)
	}
	for text, want := range map[string]span{"1000\t2000\n": {1000, 2000}, "x\ty\n": {32768, 60999}, "": {32768, 60999}} {
		name := filepath.Join(t.TempDir(), "range")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := readRange(name); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestParseRow(t *testing.T) {
	// As a little-endian machine prints them; the test of both ways covers this one.
	for _, line := range []string{
		"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
		"   0: 0100007F:1F90 00000000:0000 01 00000000:00000000 00:00000000 00000000  1000        0 123 1 0 100 0 0 10 0",
		"   0: 0100007F 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 123 1",
		"   0: 0100:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 123 1",
		"   0: 0100007X:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 123 1",
		"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  x        0 123 1",
		"",
	} {
		if l, ok := parseRow(line); ok {
			t.Errorf("%q: %+v", line, l)
		}
	}
}

func FuzzParseDump(f *testing.F) {
	f.Add(make([]byte, 200))
	f.Add([]byte{16, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff})
	f.Add(append([]byte{88, 0, 0, 0, 20, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 10}, make([]byte, 70)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		found, _, _, err := parseDump(b)
		if err != nil && found != nil {
			t.Error("an error with listeners")
		}
	})
}

func TestParseDump(t *testing.T) {
	le := func(size, kind, flags byte, body ...byte) []byte {
		return append([]byte{size, 0, 0, 0, kind, 0, flags, 0, 0, 0, 0, 0, 0, 0, 0, 0}, body...)
	}
	if _, done, torn, err := parseDump(le(16, 3, unix.NLM_F_DUMP_INTR)); !done || !torn || err != nil {
		t.Error(done, torn, err)
	}
	if _, _, _, err := parseDump(le(20, 2, 0, 0xfe, 0xff, 0xff, 0xff)); !errors.Is(err, unix.ENOENT) {
		t.Error(err)
	}
	for name, b := range map[string][]byte{"too long": le(200, 3, 0), "too short": le(4, 3, 0), "no number": le(16, 2, 0), "half a message": le(20, 20, 0, 1, 2, 3, 4)} {
		if _, _, _, err := parseDump(b); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestShorten(t *testing.T) {
	for _, s := range []string{"short", strings.Repeat("a", maxCommand)} {
		if got := shorten(s); got != s {
			t.Errorf("%q", got)
		}
	}
	if got := shorten(strings.Repeat("é", 150)); len(got) > maxCommand || !strings.HasSuffix(got, "é…") {
		t.Errorf("%q, %s bytes", got, strconv.Itoa(len(got)))
	}
}

func BenchmarkListeners(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for b.Loop() {
		if ls, err := Listeners(portOf(l)); err != nil || len(ls) != 1 {
			b.Fatal(ls, err)
		}
	}
}

func BenchmarkTakenFree(b *testing.B) {
	p, err := Next(20000, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if taken, _, err := Taken(p); taken || err != nil {
			b.Fatal(taken, err)
		}
	}
}
