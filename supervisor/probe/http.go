package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/devside/devside/supervisor/spec"
)

const (
	// maxBody is as much of a body as is read: health endpoints answer with a
	// few hundred bytes.
	maxBody = 64 << 10
	// maxAnswer bounds all that is read of an answer, its header included.
	maxAnswer = 2 * maxBody
	// maxInterim is how many 1xx answers are skipped before the answer.
	maxInterim = 5
	// drainPatience is how long the rest of a short body is waited for, which
	// only spares the server a broken pipe in its log.
	drainPatience = 100 * time.Millisecond
)

// defaultStatus is what counts as healthy: a redirect (to a login, say) does
// not (RELIABILITY-003).
var defaultStatus = []int{http.StatusOK, http.StatusNoContent}

// httpProbe makes one GET a look, by hand on a connection of its own. net/http's
// client would do, with its redirects, proxies and kept connections switched
// off; this takes two thirds of its CPU time (230 against 360 µs a look, which
// counts at 200 servers and a look a second), and has nothing to switch off.
type httpProbe struct {
	what    string // "GET http://localhost:4000/api/health"
	request string // as it is sent
	server  string // host name, for TLS; empty: plain
	where   string // "port 4000", or host:port
	addrs   addresses
	status  []int
	json    map[string]string
	latency time.Duration
}

func newHTTP(p spec.Probe, t Target) (Probe, error) {
	raw := p.HTTP
	if strings.HasPrefix(raw, "/") {
		if len(t.Ports) == 0 {
			return nil, errNoPort
		}
		raw = fmt.Sprintf("http://localhost:%d%s", t.Ports[0], raw)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, err
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%q is neither a path nor an http or https URL", p.HTTP)
	case !isLoopback(u.Hostname()):
		return nil, fmt.Errorf("%q is not on this machine", u.Hostname())
	case u.User != nil:
		return nil, errors.New("the URL holds a password, which is not sent")
	}
	return httpOf(u, p)
}

// newHTTPDependency is the probe of a service that devside does not start, and
// that may be anywhere. Its URL can hold secrets: what is shown is without user,
// password and query.
func newHTTPDependency(d spec.Dependency) (Probe, error) {
	u, err := url.Parse(d.Target)
	if err != nil {
		return nil, errors.New("the URL can't be read") // err would quote it
	}
	h, err := httpOf(u, spec.Probe{})
	if err != nil {
		return nil, errors.New("the URL can't be used")
	}
	h.where = d.Addr
	h.what = "GET " + (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	return h, nil
}

// httpOf is the probe of one URL.
func httpOf(u *url.URL, p spec.Probe) (*httpProbe, error) {
	port, secure := u.Port(), u.Scheme == "https"
	if port == "" {
		port = "80"
		if secure {
			port = "443"
		}
	}
	h := &httpProbe{status: p.Status, json: p.JSON, latency: p.Latency, addrs: split(net.JoinHostPort(u.Hostname(), port))}
	h.where = "port " + port
	if len(h.status) == 0 {
		h.status = defaultStatus
	}
	if secure {
		h.server = u.Hostname()
	}
	shown := *u
	shown.Fragment = ""
	h.what = "GET " + shown.String()
	h.request = "GET " + u.RequestURI() + " HTTP/1.1\r\n" +
		"Host: " + u.Host + "\r\n" +
		"User-Agent: devside-probe\r\n" +
		"Accept: */*\r\n"
	if u.User != nil {
		password, _ := u.User.Password()
		h.request += "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)) + "\r\n"
	}
	h.request += "Connection: close\r\n\r\n"
	return h, nil
}

func (h *httpProbe) Look(ctx context.Context) error {
	began := time.Now()
	conn, err := h.addrs.dial(ctx)
	if err != nil {
		return dialError(err, h.where)
	}
	defer conn.Close()
	stop, err := bind(ctx, conn)
	if err != nil {
		return err
	}
	defer stop()
	if h.server != "" {
		conn = tls.Client(conn, tlsFor(h.server))
	}
	answer, err := h.ask(conn)
	if err != nil {
		return h.askError(ctx, err, time.Since(began))
	}
	defer answer.Body.Close()
	if err := h.judge(answer); err != nil {
		return err
	}
	if took := time.Since(began); h.latency > 0 && took > h.latency {
		return &SlowError{What: h.what, Took: took, Bound: h.latency}
	}
	if h.json == nil {
		finish(conn, answer)
	}
	return nil
}

// ask sends the request and reads the header of the answer.
func (h *httpProbe) ask(conn net.Conn) (*http.Response, error) {
	if _, err := io.WriteString(conn, h.request); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(io.LimitReader(conn, maxAnswer), 1<<10)
	for range maxInterim {
		answer, err := http.ReadResponse(r, &http.Request{Method: http.MethodGet})
		if err != nil || answer.StatusCode >= 200 || answer.StatusCode == http.StatusSwitchingProtocols {
			return answer, err
		}
	}
	return nil, errors.New("it sends 1xx answers without end")
}

func (h *httpProbe) askError(ctx context.Context, err error, after time.Duration) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Canceled
	case timedOut(err):
		return fmt.Errorf("%s did not answer within %v", h.what, after.Round(time.Millisecond))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("%s was not answered: the connection was closed", h.what)
	case tlsProblem(err) != "":
		return fmt.Errorf("%s was not answered: %s", h.what, tlsProblem(err))
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("%s was not answered: %w", h.what, err)
}

// judge says what is wrong with an answer.
func (h *httpProbe) judge(answer *http.Response) error {
	code := answer.StatusCode
	if !slices.Contains(h.status, code) {
		if code >= 300 && code < 400 {
			return fmt.Errorf("%s answered %d, a redirect, which is not followed", h.what, code)
		}
		return fmt.Errorf("%s answered %d", h.what, code)
	}
	if h.json == nil {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxBody+1))
	switch {
	case len(body) > maxBody:
		return fmt.Errorf("%s answered more than %d KiB, which is not read", h.what, maxBody>>10)
	case timedOut(err):
		return fmt.Errorf("%s did not finish its answer in time", h.what)
	case err != nil:
		return fmt.Errorf("%s did not finish its answer: %w", h.what, err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return fmt.Errorf("%s did not answer with a JSON object", h.what)
	}
	for _, name := range slices.Sorted(maps.Keys(h.json)) {
		if err := compare(members[name], h.json[name]); err != nil {
			return fmt.Errorf("%s answered %d, but %q %w", h.what, code, name, err)
		}
	}
	return nil
}

// shown is as much of a member as an error shows.
const shown = 60

// compare holds a member against what the config says: a string against its
// content, anything else against its text ("true", "1", "null").
func compare(member json.RawMessage, want string) error {
	if member == nil {
		return errors.New("is missing")
	}
	text := string(member)
	var s string
	if json.Unmarshal(member, &s) == nil && text != "null" {
		text = s
	}
	if text == want {
		return nil
	}
	if len(text) > shown {
		text = text[:shown] + "…"
	}
	return fmt.Errorf("is %q, not %q", text, want)
}

// finish takes the rest of a short body, without insisting: a body may be a
// stream that never ends, and the probe has passed.
func finish(conn net.Conn, answer *http.Response) {
	if answer.Body == http.NoBody || conn.SetReadDeadline(time.Now().Add(drainPatience)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, answer.Body, maxBody)
}
