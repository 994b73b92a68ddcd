package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/devside/devside/supervisor/spec"
)

// serve answers with a handler on a port of the kernel's choice.
func serve(t *testing.T, h http.HandlerFunc) (port int) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port
}

// raw answers each connection with the same bytes and leaves it open until the
// test ends, or closes it.
func raw(t *testing.T, answer string, hold bool) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				if _, err := conn.Read(make([]byte, 4096)); err != nil {
					return
				}
				io.WriteString(conn, answer) //nolint:errcheck // the probe may have gone
				if hold {
					<-over
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); close(over); conns.Wait() })
	return l.Addr().(*net.TCPAddr).Port
}

func httpOn(port int, p spec.Probe) (spec.Probe, Target) {
	p.Kind = spec.ProbeHTTP
	if p.HTTP == "" {
		p.HTTP = "/health"
	}
	return p, Target{Ports: []int{port}}
}

// 200 and 204 are healthy, nothing else is unless the config says so; and a
// redirect is never followed, wherever it leads.
func TestRELIABILITY003OnlyTheExpectedStatusIsHealthy(t *testing.T) {
	followed := false
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { followed = true })
	port := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var code int
		fmt.Sscanf(r.URL.Path, "/%d", &code)
		if code >= 300 && code < 400 {
			w.Header().Set("Location", fmt.Sprintf("http://127.0.0.1:%d/", elsewhere))
		}
		w.WriteHeader(code)
	})
	for _, test := range []struct {
		code    int
		healthy []int
		want    string
	}{
		{200, nil, ""},
		{204, nil, ""},
		{201, nil, "answered 201"},
		{206, nil, "answered 206"},
		{301, nil, "answered 301, a redirect, which is not followed"},
		{302, nil, "answered 302, a redirect, which is not followed"},
		{304, nil, "answered 304"},
		{307, nil, "answered 307, a redirect, which is not followed"},
		{308, nil, "answered 308, a redirect, which is not followed"},
		{400, nil, "answered 400"},
		{401, nil, "answered 401"},
		{404, nil, "answered 404"},
		{429, nil, "answered 429"},
		{500, nil, "answered 500"},
		{503, nil, "answered 503"},
		{302, []int{302}, ""},
		{401, []int{200, 401}, ""},
		{204, []int{200}, "answered 204"},
	} {
		p, target := httpOn(port, spec.Probe{HTTP: fmt.Sprintf("/%d", test.code), Status: test.healthy})
		err := look(t, p, target)
		if test.want != "" {
			test.want = fmt.Sprintf("GET http://localhost:%d/%d %s", port, test.code, test.want)
		}
		wantError(t, err, test.want)
	}
	if followed {
		t.Error("a redirect was followed")
	}
}

func TestHTTPRequest(t *testing.T) {
	seen := make(chan *http.Request, 1)
	port := serve(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r })
	// A proxy in the environment is not asked.
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("ALL_PROXY", "http://127.0.0.1:1")
	for _, test := range []struct{ http, host, uri string }{
		{"/api/health?deep=1#top", fmt.Sprintf("localhost:%d", port), "/api/health?deep=1"},
		{"/with space/é", fmt.Sprintf("localhost:%d", port), "/with%20space/%C3%A9"},
		{fmt.Sprintf("http://127.0.0.1:%d", port), fmt.Sprintf("127.0.0.1:%d", port), "/"},
		{fmt.Sprintf("http://LOCALHOST:%d/x", port), fmt.Sprintf("LOCALHOST:%d", port), "/x"},
	} {
		p, target := httpOn(port, spec.Probe{HTTP: test.http})
		wantError(t, look(t, p, target), "")
		r := <-seen
		if r.Method != http.MethodGet || r.Host != test.host || r.RequestURI != test.uri || !r.Close {
			t.Errorf("%s: %s %s, host %s, close %v", test.http, r.Method, r.RequestURI, r.Host, r.Close)
		}
	}
}

func TestHTTPS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer s.Close()
	p, target := httpOn(0, spec.Probe{HTTP: strings.Replace(s.URL, "127.0.0.1", "localhost", 1)})
	wantError(t, look(t, p, target), "")
}

func TestHTTPDefaultPorts(t *testing.T) {
	for url, where := range map[string]string{"http://localhost/": "port 80", "https://[::1]/": "port 443"} {
		p, err := newHTTP(spec.Probe{HTTP: url}, Target{})
		if err != nil || p.(*httpProbe).where != where {
			t.Errorf("%s: %+v, %v", url, p, err)
		}
	}
}

func TestHTTPJSON(t *testing.T) {
	port := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Query().Get("body")) })
	long := strings.Repeat("x", 100)
	for _, test := range []struct {
		body string
		json map[string]string
		want string
	}{
		{`{"status":"ok"}`, map[string]string{"status": "ok"}, ""},
		{`{"status":"ok","n":1,"up":true,"err":null,"f":1.50}`, map[string]string{"status": "ok", "n": "1", "up": "true", "err": "null", "f": "1.50"}, ""},
		{`{"status":"down"}`, map[string]string{"status": "ok"}, `answered 200, but "status" is "down", not "ok"`},
		{`{"status":{"db":"ok"}}`, map[string]string{"status": "ok"}, `"status" is "{\"db\":\"ok\"}", not "ok"`},
		{`{"status":"` + long + `"}`, map[string]string{"status": "ok"}, `x…", not "ok"`},
		{`{}`, map[string]string{"b": "1", "a": "1"}, `"a" is missing`},
		{`["ok"]`, map[string]string{"status": "ok"}, "did not answer with a JSON object"},
		{`<html>`, map[string]string{"status": "ok"}, "did not answer with a JSON object"},
		{``, map[string]string{"status": "ok"}, "did not answer with a JSON object"},
		{`null`, map[string]string{"status": "ok"}, `"status" is missing`},
	} {
		p, target := httpOn(port, spec.Probe{HTTP: "/?body=" + escape(test.body), JSON: test.json})
		wantError(t, look(t, p, target), test.want)
	}
}

func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}

func TestHTTPLatency(t *testing.T) {
	port := serve(t, func(http.ResponseWriter, *http.Request) {})
	p, target := httpOn(port, spec.Probe{Latency: 1})
	err := look(t, p, target)
	var slow *SlowError
	if !errors.As(err, &slow) || slow.Bound != 1 || slow.Took <= 0 {
		t.Fatalf("got %v", err)
	}
	wantError(t, err, fmt.Sprintf("GET http://localhost:%d/health took ", port))
	p.Latency = time.Hour
	wantError(t, look(t, p, target), "")
	// A wrong answer is a failure, not a slow one.
	p.Latency, p.Status = 1, []int{204}
	if err := look(t, p, target); errors.As(err, &slow) {
		t.Errorf("got %v", err)
	}
}

func TestHTTPBadAnswers(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	assert := map[string]string{"status": "ok"}
	for _, test := range []struct {
		name   string
		answer string
		hold   bool
		json   map[string]string
		want   string
	}{
		{"closed at once", "", false, nil, "was not answered: the connection was closed"},
		{"closed in the header", ok + "Content-Le", false, nil, "was not answered: malformed MIME header"},
		{"no HTTP", "220 mail.example ESMTP\r\n\r\n", false, nil, "was not answered: malformed HTTP"},
		{"never answers", "", true, nil, "did not answer within"},
		{"never ends its header", ok + "X: ", true, nil, "did not answer within"},
		{"a header without end", ok + "X: " + strings.Repeat("x", 2*maxAnswer), true, nil, "the connection was closed"},
		{"interim answers", "HTTP/1.1 103 Early Hints\r\n\r\n" + ok + "Content-Length: 0\r\n\r\n", false, nil, ""},
		{"interim answers without end", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100), true, nil, "1xx answers without end"},
		{"switching protocols", "HTTP/1.1 101 Switching Protocols\r\n\r\n", true, nil, "answered 101"},
		{"a stream that never ends", ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", true, nil, ""},
		{"a body that is promised", ok + "Content-Length: 100\r\n\r\nshort", true, nil, ""},
		{"JSON in chunks", ok + "Transfer-Encoding: chunked\r\n\r\n8\r\n{\"status\r\n7\r\n\":\"ok\"}\r\n0\r\n\r\n", false, assert, ""},
		{"JSON up to the end", ok + "\r\n{\"status\":\"ok\"}", false, assert, ""},
		{"JSON that never ends", ok + "Content-Length: 100\r\n\r\n{", true, assert, "did not finish its answer in time"},
		{"JSON cut off", ok + "Content-Length: 100\r\n\r\n{", false, assert, "did not finish its answer: unexpected EOF"},
		{"JSON without bounds", ok + "\r\n{\"x\":\"" + strings.Repeat("x", maxBody), true, assert, "answered more than 64 KiB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, target := httpOn(raw(t, test.answer, test.hold), spec.Probe{JSON: test.json, Timeout: 300 * time.Millisecond})
			wantError(t, look(t, p, target), test.want)
		})
	}
}

func TestHTTPRefused(t *testing.T) {
	port := closedPort(t)
	p, target := httpOn(port, spec.Probe{})
	wantError(t, look(t, p, target), fmt.Sprintf("connection refused on port %d", port))
}

// A look that is cancelled in the middle ends at once: its server is stopped.
func TestHTTPCancelled(t *testing.T) {
	arrived := make(chan struct{})
	port := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	p, target := httpOn(port, spec.Probe{Timeout: time.Hour})
	made, err := New(p, target)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan error, 1)
	go func() { got <- made.Look(ctx) }()
	<-arrived
	cancel()
	select {
	case err := <-got:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(within):
		t.Fatal("it still looks")
	}
}

// Each look is a connection of its own, and none stays open.
func TestHTTPKeepsNoConnection(t *testing.T) {
	const looks = 20
	closed := make(chan struct{}, looks)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, strings.Repeat("x", 1000))
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	s.Start()
	defer s.Close()
	p, target := httpOn(s.Listener.Addr().(*net.TCPAddr).Port, spec.Probe{})
	made, err := New(p, target)
	if err != nil {
		t.Fatal(err)
	}
	for range looks {
		if err := made.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for n := range looks {
		select {
		case <-closed:
		case <-time.After(within):
			t.Fatalf("%d of %d connections were closed", n, looks)
		}
	}
}

// BenchmarkHTTP against BenchmarkNetHTTP: the reason for not using the client.
func BenchmarkHTTP(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"status":"ok"}`) }))
	defer s.Close()
	p, err := New(spec.Probe{Kind: spec.ProbeHTTP, HTTP: "/"}, Target{Ports: []int{s.Listener.Addr().(*net.TCPAddr).Port}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Look(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNetHTTP(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"status":"ok"}`) }))
	defer s.Close()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	b.ReportAllocs()
	for b.Loop() {
		answer, err := client.Get(s.URL)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
}
