package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/spec"
)

func TestNone(t *testing.T) {
	if err := look(t, spec.Probe{Kind: spec.ProbeNone}, Target{}); err != nil {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, test := range []struct {
		p    spec.Probe
		t    Target
		want string
	}{
		{spec.Probe{Kind: spec.ProbeNotify}, Target{}, "make notify probe: there is no socket for it"},
		{spec.Probe{Kind: "smell"}, Target{}, "make smell probe: not supported"},
		{spec.Probe{Kind: spec.ProbeTCP}, Target{}, "make tcp probe: the server has no port"},
		{spec.Probe{Kind: spec.ProbeHTTP, HTTP: "/health"}, Target{}, "the server has no port"},
		{spec.Probe{Kind: spec.ProbeHTTP, HTTP: "health"}, Target{}, `"health" is neither a path`},
		{spec.Probe{Kind: spec.ProbeHTTP, HTTP: "ftp://localhost/"}, Target{}, "neither a path"},
		{spec.Probe{Kind: spec.ProbeHTTP, HTTP: "http://example.com/"}, Target{}, `"example.com" is not on this machine`},
		{spec.Probe{Kind: spec.ProbeHTTP, HTTP: "http://169.254.169.254/latest"}, Target{}, "not on this machine"},
		{spec.Probe{Kind: spec.ProbeHTTP, HTTP: "http://localhost.example.com/"}, Target{}, "not on this machine"},
		{spec.Probe{Kind: spec.ProbeHTTP, HTTP: "http://u:secret@localhost/"}, Target{}, "password, which is not sent"},
		{spec.Probe{Kind: spec.ProbeHTTP, HTTP: "/a\r\nX-Evil: 1"}, Target{Ports: []int{1}}, "invalid control character"},
		{spec.Probe{Kind: spec.ProbeLog, Log: "("}, Target{Log: logs.New(0)}, "missing closing )"},
		{spec.Probe{Kind: spec.ProbeLog, Log: "x"}, Target{}, "there is no log"},
		{spec.Probe{Kind: spec.ProbeExec}, Target{}, "the command is empty"},
		{spec.Probe{Kind: spec.ProbeExec, Exec: []string{"nowhere"}}, Target{Env: []string{"PATH=/none:bin"}}, "nowhere is not in the server's PATH"},
	} {
		_, err := New(test.p, test.t)
		wantError(t, err, test.want)
		if unsupported := errors.Is(err, ErrUnsupported); unsupported != strings.HasSuffix(test.want, "not supported") {
			t.Errorf("%v is ErrUnsupported: %v", err, unsupported)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

func TestTCP(t *testing.T) {
	port, closed := listen(t, "127.0.0.1:0"), closedPort(t)
	for _, test := range []struct {
		p     spec.Probe
		ports []int
		want  string
	}{
		{spec.Probe{}, []int{port}, ""},
		{spec.Probe{}, []int{port, closed}, ""}, // the first is PORT
		{spec.Probe{}, []int{closed, port}, fmt.Sprintf("connection refused on port %d", closed)},
		{spec.Probe{TCP: fmt.Sprintf("127.0.0.1:%d", port)}, nil, ""},
		{spec.Probe{TCP: fmt.Sprintf("localhost:%d", port)}, nil, ""},
		{spec.Probe{TCP: fmt.Sprintf(":%d", port)}, nil, ""},
		{spec.Probe{TCP: fmt.Sprintf("localhost:%d", closed)}, []int{port}, fmt.Sprintf("connection refused on localhost:%d", closed)},
		{spec.Probe{TCP: "no port"}, nil, "connect to no port: "},
	} {
		test.p.Kind = spec.ProbeTCP
		wantError(t, look(t, test.p, Target{Ports: test.ports}), test.want)
	}
}

// A server on ::1 alone is found, and asked there first from then on.
func TestBothFamilies(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Logf("this machine has no ::1 (%v): only the order is tested", err)
		a := onLoopback(listen(t, "127.0.0.1:0"))
		a[0], a[1] = a[1], a[0]
		conn, err := a.dial(t.Context())
		if err != nil || !strings.HasPrefix(a[0], "127.") {
			t.Fatalf("%v, %v", a, err)
		}
		conn.Close()
		return
	}
	l.Close()
	a := onLoopback(listen(t, "[::1]:0"))
	for range 2 {
		conn, err := a.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if a[0][0] != '[' || len(a) != 2 {
			t.Errorf("the next look asks %v", a)
		}
	}
}

func TestDialErrorInWords(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{context.DeadlineExceeded, "no connection to port 1 in time"},
		{context.Canceled, "context canceled"},
		{&net.DNSError{Err: "no such host", Name: "db.local"}, "connect to port 1: the name db.local is unknown"},
		{&net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{}, Err: errors.New("network is unreachable")}, "connect to port 1: network is unreachable"},
	} {
		if got := dialError(test.err, "port 1").Error(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

func TestCancelledLook(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	target := Target{Ports: []int{listen(t, "127.0.0.1:0")}, Log: logs.New(0)}
	for _, kind := range []spec.ProbeKind{spec.ProbeNone, spec.ProbeTCP, spec.ProbeHTTP} {
		p, err := New(spec.Probe{Kind: kind, HTTP: "/"}, target)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Look(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestLogLine(t *testing.T) {
	l := logs.New(0)
	now := time.Now()
	l.Write(logs.Stdout, 1, now, []byte("listening on 3000\n"))
	p, err := New(spec.Probe{Kind: spec.ProbeLog, Log: `listening on \d+$`}, Target{Log: l, Run: 2})
	if err != nil {
		t.Fatal(err)
	}
	notYet := `no line of the output matches "listening on \\d+$" yet`
	wantError(t, p.Look(t.Context()), notYet) // that was another run
	l.Say(2, now, "waiting, it prints: listening on 3000")
	wantError(t, p.Look(t.Context()), notYet) // that was not the server
	l.Write(logs.Stdout, 2, now, []byte("noise\n\x1b[32mlisten"))
	wantError(t, p.Look(t.Context()), notYet) // half a line
	l.Write(logs.Stderr, 2, now, []byte("noise\n"))
	l.Write(logs.Stdout, 2, now, []byte("ing on\x1b[0m 4000\n"))
	wantError(t, p.Look(t.Context()), "")
	// Once said, it stays said, however much is printed.
	l.Write(logs.Stdout, 2, now, []byte(strings.Repeat("noise\n", 1<<20)))
	wantError(t, p.Look(t.Context()), "")
}

// The line was printed and followed by more than one chunk before the first look.
func TestLogLineLongAgo(t *testing.T) {
	l := logs.New(0)
	l.Write(logs.Stdout, 1, time.Now(), []byte("ready\n"+strings.Repeat("noise\n", 50_000)))
	if err := look(t, spec.Probe{Kind: spec.ProbeLog, Log: "^ready$"}, Target{Log: l, Run: 1}); err != nil {
		t.Error(err)
	}
	if err := look(t, spec.Probe{Kind: spec.ProbeLog, Log: "^never$"}, Target{Log: l, Run: 1}); err == nil {
		t.Error("it passed")
	}
}

func BenchmarkTCP(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	p, err := New(spec.Probe{Kind: spec.ProbeTCP}, Target{Ports: []int{l.Addr().(*net.TCPAddr).Port}})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := p.Look(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
