package web

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor"
	"github.com/devside/devside/supervisor/project"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is a real project with its HTTP side.
type lab struct {
	t      *testing.T
	root   string
	paths  state.Paths
	p      *project.Project
	server *Server
	end    func() // once
}

const patience = 20 * time.Second

// newLab runs a project whose devside.yaml has these lines after its servers.
func newLab(t *testing.T, lines string) *lab {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, root: filepath.Join(dir, "shop")}
	if err := os.Mkdir(l.root, 0o700); err != nil {
		t.Fatal(err)
	}
	l.configure(lines)
	getenv := func(name string) string {
		if name == state.HomeVariable {
			return filepath.Join(dir, "state")
		}
		return ""
	}
	if l.paths, err = state.Locate(l.root, getenv); err != nil {
		t.Fatal(err)
	}
	if err := l.paths.Make(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	meter := NewMeter()
	l.p, err = project.Open(ctx, project.Options{Root: l.root, Paths: l.paths, Protocol: wire.Protocol, Log: zerolog.Nop(), Getenv: getenv, Meter: meter})
	if err != nil {
		t.Fatal(err)
	}
	l.server = New(Options{Project: l.p, Meter: meter, Version: "v1.2.3", Log: zerolog.Nop(), KeepToken: l.paths.KeepHTTPToken})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.server.Run(ctx)
	}()
	closed := false
	l.end = func() {
		if !closed {
			closed = true
			cancel()
			<-ended
			l.p.Close(context.Background(), false)
		}
	}
	t.Cleanup(l.end)
	return l
}

func (l *lab) configure(lines string) {
	l.t.Helper()
	text := "version: 1\nservers:\n  api:\n    command: [sleep, \"1000\"]\n" + lines
	if err := os.WriteFile(filepath.Join(l.root, "devside.yaml"), []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) trust() {
	l.t.Helper()
	if !l.p.Trust(l.p.Status().Trust.Hash) {
		l.t.Fatal("the project is not trusted")
	}
}

// await waits for a status.
func (l *lab) await(what string, is func(*status.Project) bool) *status.Project {
	l.t.Helper()
	sub := l.p.Subscribe()
	defer sub.Close()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		st := l.p.Status()
		if is(st) {
			return st
		}
		select {
		case <-sub.News:
		case <-late.C:
			l.t.Fatalf("still waiting for %s: HTTP is %q", what, st.HTTP)
		}
	}
}

func (l *lab) serve(address string) (url, token string) {
	l.t.Helper()
	url, token, err := l.server.Serve(l.t.Context(), address)
	if err != nil {
		l.t.Fatal(err)
	}
	return url, token
}

// get asks with these headers ("Name: value"), on a connection of its own.
func (l *lab) get(url string, headers ...string) (*http.Response, string) {
	l.t.Helper()
	r, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	r.Close = true
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
		if name == "Host" {
			r.Host = value
		}
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		l.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return answer, string(body)
}

func hostPort(url string) string { return strings.TrimPrefix(url, "http://") }

func closedTo(t *testing.T, url string) {
	t.Helper()
	if c, err := net.Dial("tcp", hostPort(url)); err == nil {
		c.Close()
		t.Errorf("%s is still open", url)
	}
}

func TestNothingListensUntilItIsAskedFor(t *testing.T) {
	l := newLab(t, "")
	l.trust()
	if st := l.p.Status(); st.HTTP != "" {
		t.Errorf("it listens at %s", st.HTTP)
	}
	if _, err := os.Stat(l.paths.HTTPToken()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a token: %v", err)
	}
}

func TestWhatTheConfigurationWantsIsServedOnceItIsTrusted(t *testing.T) {
	l := newLab(t, "http: 127.0.0.1:0\n")
	// A change that the HTTP side has seen for sure: it has asked for what comes after.
	l.server.Rewrite(t.Context())
	if st := l.p.Status(); st.HTTP != "" {
		t.Fatalf("a project that nobody trusts listens at %s", st.HTTP)
	}
	l.trust()
	first := l.await("HTTP", func(st *status.Project) bool { return st.HTTP != "" }).HTTP
	if answer, body := l.get(first + "/health/liveness"); answer.StatusCode != http.StatusOK {
		t.Errorf("%s %s", answer.Status, body)
	}
	l.configure("http: \"[::1]:0\"\n")
	second := l.await("HTTP at ::1", func(st *status.Project) bool { return strings.HasPrefix(st.HTTP, "http://[::1]:") }).HTTP
	closedTo(t, first)
	if answer, body := l.get(second + "/metrics"); answer.StatusCode != http.StatusOK || !strings.Contains(body, "devside_server_up{server=\"api\"} 0") {
		t.Errorf("%s %s", answer.Status, body)
	}
	l.configure("")
	l.await("no HTTP", func(st *status.Project) bool { return st.HTTP == "" })
	closedTo(t, second)
}

func TestAClientsWishComesBeforeTheConfigurations(t *testing.T) {
	l := newLab(t, "http: 127.0.0.1:0\n")
	url, _ := l.serve("[::1]:0") // also of a project that is not trusted: it is a person who asks
	if !strings.HasPrefix(url, "http://[::1]:") {
		t.Errorf("it listens at %s", url)
	}
	l.trust()
	if again, _ := l.serve(""); again != url {
		t.Errorf("asked without an address it moved from %s to %s", url, again)
	}
	if st := l.await("the same", func(st *status.Project) bool { return st.Trust.State == status.Trusted }); st.HTTP != url {
		t.Errorf("it listens at %q, not at %s", st.HTTP, url)
	}
}

func TestAPortThatIsTakenIsPassedOver(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	l := newLab(t, "")
	url, _ := l.serve(taken.Addr().String())
	if hostPort(url) == taken.Addr().String() {
		t.Fatalf("it listens at %s, which is taken", url)
	}
	if answer, _ := l.get(url + "/metrics"); answer.StatusCode != http.StatusOK {
		t.Error(answer.Status)
	}
}

func TestAPortOfAServerIsPassedOverThoughItIsFree(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	_, number, _ := net.SplitHostPort(address)
	l := newLab(t, "  web:\n    command: [sleep, \"1000\"]\n    port: "+number+"\n")
	if url, _ := l.serve(address); hostPort(url) == address {
		t.Errorf("it listens at %s, which is web's", url)
	}
}

func TestAnAddressThatCantBeHadIsAnErrorAndChangesNothing(t *testing.T) {
	l := newLab(t, "")
	// A documentation address: it is nobody's here.
	const nobodys = "192.0.2.1:0"
	if url, _, err := l.server.Serve(t.Context(), nobodys); err == nil {
		t.Fatalf("it listens at %s", url)
	}
	url, _ := l.serve("127.0.0.1:0")
	_, number, _ := net.SplitHostPort(hostPort(url))
	for _, address := range []string{nobodys, "192.0.2.1:" + number} {
		if _, _, err := l.server.Serve(t.Context(), address); err == nil {
			t.Errorf("it listens at %s now", address)
		}
	}
	if again, _ := l.serve(""); again != url {
		t.Errorf("it listened at %s, and now at %s", url, again)
	}
	if answer, _ := l.get(url + "/metrics"); answer.StatusCode != http.StatusOK {
		t.Error(answer.Status)
	}
}

func TestThePortStaysWhenOnlyTheNameOfTheAddressIsAnother(t *testing.T) {
	l := newLab(t, "")
	url, _ := l.serve("127.0.0.1:0")
	_, number, _ := net.SplitHostPort(hostPort(url))
	if again, _ := l.serve("localhost:" + number); again != url {
		t.Errorf("asked for localhost it moved from %s to %s", url, again)
	}
	if other, _ := l.serve("[::1]:" + number); other != "http://[::1]:"+number {
		t.Errorf("asked for ::1 it moved from %s to %s", url, other)
	}
	closedTo(t, url)
}

func TestSECURITY003TheTokenIsPrivateAndGoesWithTheHub(t *testing.T) {
	l := newLab(t, "")
	url, token := l.serve("127.0.0.1:0")
	if len(token) != 64 {
		t.Errorf("the token has %d hexadecimal digits, not 256 bits", len(token))
	}
	look := func() {
		t.Helper()
		info, err := os.Stat(l.paths.HTTPToken())
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("its mode is %v", info.Mode())
		}
		if text, err := os.ReadFile(l.paths.HTTPToken()); err != nil || strings.TrimSpace(string(text)) != token {
			t.Errorf("the file does not have the token: %v", err)
		}
	}
	look()
	if err := os.Remove(l.paths.HTTPToken()); err != nil {
		t.Fatal(err)
	}
	l.server.Rewrite(t.Context())
	look()
	if answer, body := l.get(url + "/"); answer.StatusCode != http.StatusUnauthorized || strings.Contains(body, token) || answer.Header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("without the token: %s %s", answer.Status, body)
	}
	if answer, _ := l.get(url+"/", "Authorization: Bearer "+token); answer.StatusCode != http.StatusNotFound {
		t.Errorf("with the token: %s", answer.Status)
	}
	if other := newLab(t, ""); other.server.token == token {
		t.Error("two hubs have the same token")
	}
	l.end()
	closedTo(t, url)
	if _, err := os.Stat(l.paths.HTTPToken()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the token is still there: %v", err)
	}
	if _, _, err := l.server.Serve(t.Context(), ""); !errors.Is(err, ErrEnded) {
		t.Errorf("asked after its end: %v", err)
	}
}

func TestSECLISTEveryAnswerHasTheHeadersAndNoneOfCORS(t *testing.T) {
	l := newLab(t, "")
	url, token := l.serve("127.0.0.1:0")
	for _, c := range []struct {
		path    string
		headers []string
		want    int
	}{
		{"/metrics", nil, 200},
		{"/health/readiness", nil, 503},
		{"/health/readiness?server=nobody", nil, 404},
		{"/nothing", []string{"Authorization: Bearer " + token}, 404},
		{"/nothing", nil, 401},
		{"/metrics", []string{"Origin: https://evil.example"}, 403},
		{"/metrics", []string{"Host: evil.example"}, 421},
	} {
		answer, _ := l.get(url+c.path, c.headers...)
		if answer.StatusCode != c.want {
			t.Errorf("%s %v: %s, want %d", c.path, c.headers, answer.Status, c.want)
		}
		for name, value := range secure {
			if answer.Header.Get(name) != value {
				t.Errorf("%s %v: %s is %q", c.path, c.headers, name, answer.Header.Get(name))
			}
		}
		for name := range answer.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s %v has %s", c.path, c.headers, name)
			}
		}
	}
	_, body := l.get(url + "/metrics")
	for _, want := range []string{`reason="host"} 1`, `reason="origin"} 1`, `reason="token"} 1`} {
		if !strings.Contains(body, "devside_http_refused_total{"+want) {
			t.Errorf("the refusals are not counted: no %s", want)
		}
	}
}

// TestSECLISTARefusedPageIsInTheAuditLog, once for many requests.
func TestSECLISTARefusedPageIsInTheAuditLog(t *testing.T) {
	l := newLab(t, "")
	url, _ := l.serve("127.0.0.1:0")
	for range 20 {
		l.get(url+"/metrics", "Host: evil.example", "Origin: http://evil.example")
		l.get(url+"/metrics", "Origin: https://other.example")
		l.get(url + "/no-token")
	}
	l.end()
	text, err := os.ReadFile(l.paths.Audit())
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), `"client-refused"`); n != 1 || !strings.Contains(string(text), `host \"evil.example\", from the page \"http://evil.example\", was refused`) {
		t.Errorf("%d refusals in the audit log, want 1:\n%s", n, text)
	}
}

func TestHEALTH1OfARealProject(t *testing.T) {
	l := newLab(t, "")
	l.trust()
	url, _ := l.serve("127.0.0.1:0")
	ask := func(path string, status int) (r Report) {
		t.Helper()
		answer, body := l.get(url + path)
		if err := json.Unmarshal([]byte(body), &r); err != nil || answer.StatusCode != status || r.OK != (status == 200) {
			t.Errorf("%s: %s, %v, %s", path, answer.Status, err, body)
		}
		return r
	}
	if r := ask("/health/readiness", 503); r.Reason != "no server has been started" {
		t.Errorf("%+v", r)
	}
	if _, _, err := l.p.Start(t.Context(), nil, supervisor.StartOptions{Env: os.Environ()}); err != nil {
		t.Fatal(err)
	}
	// What is told is what was published last, milliseconds ago.
	l.await("the picture", func(*status.Project) bool { return l.p.Glance().Servers[0].State == status.Ready })
	for _, check := range []string{"liveness", "readiness", "startup"} {
		if r := ask("/health/"+check+"?server=api", 200); r.Servers[0].State != status.Ready {
			t.Errorf("%+v", r)
		}
	}
	if r := ask("/health/startup?server=nobody", 404); fmt.Sprint(r.Known) != "[api]" {
		t.Errorf("%+v", r)
	}
	_, body := l.get(url + "/metrics")
	for _, want := range []string{`devside_server_state{server="api",state="ready"} 1`, "dev_manager_startup_duration_seconds_count 1", `devside_probe_duration_seconds_count{server="api"} 1`} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("no %s in a scrape", want)
		}
	}
}

// TestSilentAndManyConnections: one that never speaks is closed, and one more
// than there are places for at once, so that whoever comes later is served.
func TestSilentAndManyConnections(t *testing.T) {
	l := newLab(t, "")
	l.server.o.headerPatience = 50 * time.Millisecond
	l.server.o.connections = 3
	url, _ := l.serve("127.0.0.1:0")
	dial := func(send string) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", hostPort(url))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, send); err != nil {
			t.Fatal(err)
		}
		return c
	}
	closes := func(c net.Conn) {
		t.Helper()
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a connection is not closed")
		}
	}
	for _, say := range []string{"", "GET /metrics HTTP/1.1\r\nHost: ", "G"} { // nothing, and less than a request
		closes(dial(say))
	}
	// Of four that are held by answers that they wait for, one is closed at once.
	var open []net.Conn
	for range 3 {
		c := dial("GET /health/liveness HTTP/1.1\r\nHost: " + hostPort(url) + "\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	c, err := net.Dial("tcp", hostPort(url))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	closes(c)
	for _, c := range open {
		c.Close()
	}
	// Their places are free when the server has seen that they have gone.
	for deadline := time.Now().Add(patience); ; {
		answer, err := http.Get(url + "/health/liveness")
		if err == nil {
			answer.Body.Close()
			http.DefaultClient.CloseIdleConnections()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	// A head that is too long is no request.
	long := dial("GET /metrics HTTP/1.1\r\nHost: " + hostPort(url) + "\r\nX: " + strings.Repeat("x", 1<<16) + "\r\n\r\n")
	if r, err := http.ReadResponse(bufio.NewReader(long), nil); err == nil && r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a head of 64 KB was answered %s", r.Status)
	}
}
