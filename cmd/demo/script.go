package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bounds are the demo's. Each is far above what devside needs: when one is
// reached something is wrong, not slow.
type bounds struct {
	demo   time.Duration
	answer time.Duration // of one answer, or one notification
	end    time.Duration // until every process has gone
}

var patience = bounds{demo: 90 * time.Second, answer: 20 * time.Second, end: 10 * time.Second}

// goneEvery is the pace of the look at processes that are to end.
const goneEvery = 10 * time.Millisecond

// runVariable holds a value that is new for every run and known to the driver
// only: a process that tells it is the demo's own.
const runVariable = "DEMO_RUN"

// The two servers.
const (
	apiName = "api"
	webName = "frontend"

	envName = ".env" // of the API
)

// step is one act of the script.
type step struct {
	title string
	do    func(*stage, context.Context) error
}

var script = []step{
	{"Introduce ourselves, as an editor does", (*stage).hello},
	{"Start both servers", (*stage).start},
	{"Crash the API: kill -9", (*stage).crash},
	{"Save another .env for the API", (*stage).saveEnv},
	{"Take the frontend's port away", (*stage).takePort},
	{"Give it back", (*stage).givePortBack},
	{"Say goodbye", (*stage).goodbye},
	{"Look for what is left", (*stage).nothingLeft},
}

// drive plays the script and returns the exit code.
func drive(ctx context.Context, s *screen, devside, exe string, b bounds) int {
	ctx, cancel := context.WithTimeoutCause(ctx, b.demo, fmt.Errorf("the demo took more than %v", b.demo))
	defer cancel()
	s.line("%s", s.paint("1", "devside runs a small project, and this program plays the editor."))
	began := time.Now()
	st, err := newStage(s, devside, exe, b)
	if err != nil {
		s.line("FAILED to prepare: %v", err)
		return 1
	}
	failed := st.play(ctx)
	if err := st.clean(); err != nil {
		s.line("%s after the last step: %v", s.paint("31", "FAILED"), err)
		failed = true
	}
	if failed {
		return 1
	}
	s.line("\n%s", s.paint("32", fmt.Sprintf("All %d steps passed in %.1f s.", len(script), time.Since(began).Seconds())))
	return 0
}

// play does the steps until one fails.
func (st *stage) play(ctx context.Context) (failed bool) {
	for i, step := range script {
		st.screen.begin(step.title)
		if err := step.do(st, ctx); err != nil {
			st.screen.line("\n%s in step %d (%s): %v", st.screen.paint("31", "FAILED"), i+1, step.title, err)
			if text := st.stderr.String(); text != "" {
				st.screen.line("what devside wrote to its standard error:\n%s", text)
			}
			return true
		}
	}
	return false
}

// What devside answers, as far as the demo looks at it.
type (
	serverStatus struct {
		Name    string `json:"name"`
		State   string `json:"state"`
		PID     int    `json:"pid"`
		URL     string `json:"url"`
		ReadyMs *int64 `json:"readyMs"`
		Message string `json:"message"`
	}
	projectStatus struct {
		Servers []serverStatus `json:"servers"`
		HubPID  int            `json:"hubPid"`
		Summary struct {
			Ready int `json:"ready"`
			Total int `json:"total"`
		} `json:"summary"`
	}
	startResult struct {
		Servers []struct {
			Name    string `json:"name"`
			OK      bool   `json:"ok"`
			State   string `json:"state"`
			PID     int    `json:"pid"`
			ReadyMs *int64 `json:"readyMs"`
			Error   *struct {
				Code    string `json:"code"`
				Message string `json:"message"`
				Hint    string `json:"hint"`
			} `json:"error"`
		} `json:"servers"`
	}
	logsResult struct {
		Lines []struct {
			Text string `json:"text"`
		} `json:"lines"`
	}
	happening struct {
		Kind    string `json:"kind"`
		Server  string `json:"server"`
		Message string `json:"message"`
		Because struct {
			File string `json:"file"`
		} `json:"because"`
	}
	position struct {
		Line      int `json:"line"`
		Character int `json:"character"`
	}
	diagnostic struct {
		Range struct {
			Start position `json:"start"`
			End   position `json:"end"`
		} `json:"range"`
		Severity int    `json:"severity"`
		Code     string `json:"code"`
		Source   string `json:"source"`
		Message  string `json:"message"`
		Data     struct {
			Holder struct {
				PID int `json:"pid"`
			} `json:"holder"`
		} `json:"data"`
	}
	published struct {
		URI         string       `json:"uri"`
		Diagnostics []diagnostic `json:"diagnostics"`
	}
)

func (p projectStatus) server(name string) serverStatus {
	for _, s := range p.Servers {
		if s.Name == name {
			return s
		}
	}
	return serverStatus{Name: name, State: "unknown"}
}

// hello is `initialize`, with the trust that an editor's user gave.
func (st *stage) hello(ctx context.Context) error {
	if err := st.launch(); err != nil {
		return err
	}
	st.screen.asked("initialize  folder %s, trusted", st.project)
	var res struct {
		ServerInfo struct{ Name, Version string }
	}
	began := time.Now()
	err := st.call(ctx, "initialize", map[string]any{
		"processId":             os.Getpid(),
		"rootUri":               fileURI(st.project),
		"workspaceFolders":      []any{map[string]any{"uri": fileURI(st.project), "name": "shop"}},
		"capabilities":          map[string]any{},
		"initializationOptions": map[string]any{"trusted": true},
	}, &res)
	if err != nil {
		return err
	}
	if res.ServerInfo.Name != "devside" {
		return fmt.Errorf("serverInfo.name is %q", res.ServerInfo.Name)
	}
	st.screen.got("%s %s, after %s", res.ServerInfo.Name, res.ServerInfo.Version, since(began))
	return st.client.notify("initialized", map[string]any{})
}

// start is `devside/start`: the API, then the frontend that depends on it.
func (st *stage) start(ctx context.Context) error {
	res, err := st.startServers(ctx, nil)
	if err != nil {
		return err
	}
	if len(res.Servers) != 2 {
		return fmt.Errorf("%d servers in the answer, not 2", len(res.Servers))
	}
	if err := allReady(res); err != nil {
		return err
	}
	now, err := st.status(ctx)
	if err != nil {
		return err
	}
	if now.Summary.Ready != 2 {
		return fmt.Errorf("%d of %d are ready, not 2", now.Summary.Ready, now.Summary.Total)
	}
	st.seeHub(now.HubPID)
	for _, s := range now.Servers {
		st.see(s.Name, s.PID)
	}
	if err := st.checkPages(ctx, now); err != nil {
		return err
	}
	return st.findChild(ctx)
}

// childLine is what the API prints of its child.
var childLine = regexp.MustCompile(`child pid (\d+)`)

// findChild learns from the API's output which child it has started.
func (st *stage) findChild(ctx context.Context) error {
	var res logsResult
	st.screen.asked("devside/logs  api")
	if err := st.call(ctx, "devside/logs", map[string]any{"server": apiName, "lines": 20}, &res); err != nil {
		return err
	}
	found := 0
	for _, l := range res.Lines {
		st.screen.got("%s", l.Text)
		if m := childLine.FindStringSubmatch(l.Text); m != nil {
			found, _ = strconv.Atoi(m[1]) // digits
		}
	}
	if found == 0 {
		return errors.New("the API's output does not say which child it has")
	}
	if found != st.apiHealth.Child {
		return fmt.Errorf("the API's output names child %d, its health check %d", found, st.apiHealth.Child)
	}
	return nil
}

// crash kills the API and sees it come back, its old child gone.
func (st *stage) crash(ctx context.Context) error {
	old := st.apiHealth
	if err := st.askHealth(ctx); err != nil {
		return err
	}
	if st.apiHealth.Run != st.nonce || st.apiHealth.PID != old.PID {
		return fmt.Errorf("pid %d is not the demo's own API: it is left alone", old.PID)
	}
	mark := st.client.mark()
	st.screen.asked("kill -9 %d, which has just told that it is our API", old.PID)
	if err := see("the API", old.PID).kill(); err != nil {
		return err
	}
	err := st.await(ctx, mark, "devside/didHappen", func(raw json.RawMessage) bool {
		var h happening
		if json.Unmarshal(raw, &h) != nil || h.Kind != "crash" || h.Server != apiName {
			return false
		}
		st.screen.came("devside/didHappen  %s", h.Message)
		return true
	})
	if err != nil {
		return err
	}
	return st.apiIsBack(ctx, mark, old)
}

// apiIsBack sees the API come back after the mark, and what it was gone.
func (st *stage) apiIsBack(ctx context.Context, mark int, old health) error {
	var now projectStatus
	states := []string{}
	err := st.await(ctx, mark, "devside/didChangeStatus", func(raw json.RawMessage) bool {
		now = projectStatus{}
		if json.Unmarshal(raw, &now) != nil {
			return false
		}
		s := now.server(apiName)
		if s.PID == old.PID && s.State == "ready" {
			return false // from before
		}
		if len(states) == 0 || states[len(states)-1] != s.State {
			states = append(states, s.State)
		}
		return s.State == "ready" && s.PID != 0 && s.PID != old.PID
	})
	if err != nil {
		return err
	}
	api := now.server(apiName)
	st.see(apiName, api.PID)
	st.screen.came("devside/didChangeStatus  api %s, pid %d", strings.Join(states, ", "), api.PID)
	if err := st.checkPages(ctx, now); err != nil {
		return err
	}
	if !st.isGone(old.Child) {
		return fmt.Errorf("the old API's child %d still runs beside the new one", old.Child)
	}
	st.screen.saw("the old API's child %d, which ignores SIGTERM, went with it", old.Child)
	return nil
}

// saveEnv writes the API's env file, and sees the API restarted for it and the
// frontend left alone.
func (st *stage) saveEnv(ctx context.Context) error {
	before, err := st.status(ctx)
	if err != nil {
		return err
	}
	old, mark := st.apiHealth, st.client.mark()
	if err := os.WriteFile(filepath.Join(st.project, envName), []byte("GREETING=Good day\n"), 0o600); err != nil {
		return err
	}
	st.screen.saw("%s of the project has another line now", envName)
	err = st.await(ctx, mark, "devside/didHappen", func(raw json.RawMessage) bool {
		var h happening
		if json.Unmarshal(raw, &h) != nil || h.Kind != "restart" || h.Server != apiName || h.Because.File != envName {
			return false
		}
		st.screen.came("devside/didHappen  %s", h.Message)
		return true
	})
	if err != nil {
		return err
	}
	if err := st.apiIsBack(ctx, mark, old); err != nil {
		return err
	}
	now, err := st.status(ctx)
	if err != nil {
		return err
	}
	if was, is := before.server(webName).PID, now.server(webName).PID; was != is {
		return fmt.Errorf("the frontend was restarted, too: pid %d, then %d", was, is)
	}
	st.screen.saw("the frontend still is pid %d", now.server(webName).PID)
	return nil
}

// takePort stops the frontend, listens on its port, and wants to be named.
func (st *stage) takePort(ctx context.Context) error {
	st.screen.asked("devside/stop  frontend")
	var stopped startResult
	if err := st.call(ctx, "devside/stop", map[string]any{"servers": []string{webName}}, &stopped); err != nil {
		return err
	}
	if len(stopped.Servers) != 1 || !stopped.Servers[0].OK {
		return fmt.Errorf("the frontend did not stop: %+v", stopped)
	}
	st.screen.got("frontend stopped")
	l, err := net.Listen("tcp", loopback(st.webPort))
	if err != nil {
		return fmt.Errorf("stopped, but its port is not free: %w", err)
	}
	st.thief = l
	st.screen.saw("this program (pid %d) listens on port %d now", os.Getpid(), st.webPort)
	mark := st.client.mark()
	res, err := st.startServers(ctx, []string{webName})
	if err != nil {
		return err
	}
	for _, s := range res.Servers {
		if s.Name != webName {
			continue
		}
		if s.OK || s.Error == nil || s.Error.Code != "port-taken" {
			return errors.New("the frontend's start should have been answered port-taken")
		}
	}
	return st.await(ctx, mark, "textDocument/publishDiagnostics", func(raw json.RawMessage) bool {
		var p published
		if json.Unmarshal(raw, &p) != nil || !st.ownFile(p.URI) {
			return false
		}
		i := slices.IndexFunc(p.Diagnostics, func(d diagnostic) bool { return d.Code == "port-taken" })
		if i < 0 || !st.namesUs(p.Diagnostics[i]) {
			return false
		}
		st.screen.came("textDocument/publishDiagnostics\n%s", st.squiggle(p.Diagnostics[i]))
		return true
	})
}

// namesUs reports whether a port-taken diagnostic is right: on the frontend's
// port line, with this process as the holder.
func (st *stage) namesUs(d diagnostic) bool {
	us := d.Data.Holder.PID == os.Getpid() || strings.Contains(d.Message, "pid "+strconv.Itoa(os.Getpid()))
	return us && d.Source == "devside" && d.Range.Start.Line == st.portLine
}

// givePortBack frees the port, and wants the start to succeed and the
// diagnostic to go.
func (st *stage) givePortBack(ctx context.Context) error {
	mark := st.client.mark()
	if err := st.thief.Close(); err != nil {
		return err
	}
	st.thief = nil
	st.screen.saw("port %d is free again", st.webPort)
	res, err := st.startServers(ctx, []string{webName})
	if err != nil {
		return err
	}
	if err := allReady(res); err != nil {
		return err
	}
	now, err := st.status(ctx)
	if err != nil {
		return err
	}
	st.see(webName, now.server(webName).PID)
	err = st.await(ctx, mark, "textDocument/publishDiagnostics", func(raw json.RawMessage) bool {
		var p published
		return json.Unmarshal(raw, &p) == nil && st.ownFile(p.URI) &&
			!slices.ContainsFunc(p.Diagnostics, func(d diagnostic) bool { return d.Code == "port-taken" })
	})
	if err != nil {
		return err
	}
	st.screen.came("textDocument/publishDiagnostics  port-taken is cleared")
	return st.checkPages(ctx, now)
}

// goodbye is `shutdown` and `exit`.
func (st *stage) goodbye(ctx context.Context) error {
	began := time.Now()
	st.screen.asked("shutdown")
	if err := st.call(ctx, "shutdown", nil, nil); err != nil {
		return err
	}
	st.screen.got("done, after %s", since(began))
	st.screen.asked("exit")
	if err := st.client.notify("exit", nil); err != nil {
		return err
	}
	code, err := st.waitExit(ctx)
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("devside ended with exit code %d, not 0", code)
	}
	st.screen.got("exit code 0")
	return nil
}

// nothingLeft looks for every process and port of the demo.
func (st *stage) nothingLeft(ctx context.Context) error {
	if left := st.awaitGone(ctx); len(left) > 0 {
		var names []string
		for _, w := range left {
			names = append(names, fmt.Sprintf("%s (pid %d)", w.what, w.pid))
		}
		return fmt.Errorf("%v after the end there still run %s", st.bounds.end, strings.Join(names, ", "))
	}
	var names []string
	for _, w := range st.seen {
		names = append(names, fmt.Sprintf("%s %d", w.what, w.pid))
	}
	st.screen.saw("gone: %s", strings.Join(names, ", "))
	for _, port := range []int{st.apiPort, st.webPort} {
		l, err := net.Listen("tcp", loopback(port))
		if err != nil {
			return fmt.Errorf("port %d is not free: %w", port, err)
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	st.screen.saw("free: ports %d and %d", st.apiPort, st.webPort)
	return nil
}

// startServers asks for a start and shows the answer.
func (st *stage) startServers(ctx context.Context, names []string) (startResult, error) {
	var res startResult
	params := map[string]any{}
	if names != nil {
		params["servers"] = names
	}
	what := "everything"
	if names != nil {
		what = strings.Join(names, " ")
	}
	st.screen.asked("devside/start  %s", what)
	if err := st.call(ctx, "devside/start", params, &res); err != nil {
		return res, err
	}
	for _, s := range res.Servers {
		if s.PID != 0 {
			st.see(s.Name, s.PID)
		}
		switch {
		case s.Error != nil:
			st.screen.got("%-8s  %s, %s: %s", s.Name, s.State, s.Error.Code, s.Error.Message)
			if s.Error.Hint != "" {
				st.screen.saw("          hint: %s", s.Error.Hint)
			}
		case s.ReadyMs != nil:
			st.screen.got("%-8s  %s in %d ms, pid %d", s.Name, s.State, *s.ReadyMs, s.PID)
		default:
			st.screen.got("%-8s  %s, pid %d", s.Name, s.State, s.PID)
		}
	}
	return res, nil
}

func allReady(res startResult) error {
	for _, s := range res.Servers {
		if !s.OK || s.State != "ready" {
			return fmt.Errorf("%s is %s, not ready", s.Name, s.State)
		}
	}
	return nil
}

func (st *stage) status(ctx context.Context) (projectStatus, error) {
	var p projectStatus
	err := st.call(ctx, "devside/status", map[string]any{}, &p)
	return p, err
}

// checkPages gets both servers' pages by the URLs that devside gave: the
// frontend's must hold the API's words.
func (st *stage) checkPages(ctx context.Context, now projectStatus) error {
	for _, name := range []string{apiName, webName} {
		if s := now.server(name); s.URL == "" {
			return fmt.Errorf("the status gives no URL for %s", name)
		}
	}
	st.apiURL = now.server(apiName).URL
	if err := st.askHealth(ctx); err != nil {
		return err
	}
	if st.apiHealth.PID != now.server(apiName).PID {
		return fmt.Errorf("the status says that the API is pid %d, it says %d itself", now.server(apiName).PID, st.apiHealth.PID)
	}
	if st.apiHealth.Run == st.nonce {
		st.vouch(apiName, st.apiHealth.PID)
		st.vouch("the API's child", st.apiHealth.Child)
	}
	web := now.server(webName).URL
	body, err := get(ctx, web)
	if err != nil {
		return err
	}
	want := fmt.Sprintf("%s, pid %d", greeting, st.apiHealth.PID)
	if !strings.Contains(body, want) {
		return fmt.Errorf("get %s: the page does not hold %q: %s", web, want, body)
	}
	st.screen.saw("GET %s  %q", web, want)
	return nil
}

// askHealth asks the API about itself.
func (st *stage) askHealth(ctx context.Context) error {
	body, err := get(ctx, strings.TrimSuffix(st.apiURL, "/")+"/api/health")
	if err != nil {
		return err
	}
	st.apiHealth = health{}
	if err := json.Unmarshal([]byte(body), &st.apiHealth); err != nil {
		return fmt.Errorf("read the API's health: %w", err)
	}
	return nil
}

func get(ctx context.Context, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience.answer)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	t := &http.Transport{DisableKeepAlives: true}
	res, err := t.RoundTrip(req)
	if err != nil {
		return "", fmt.Errorf("get %s: %w", address, err)
	}
	defer res.Body.Close() //nolint:errcheck // only read from
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<16))
	if err != nil {
		return "", fmt.Errorf("get %s: %w", address, err)
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("get %s: %s", address, res.Status)
	}
	return string(body), nil
}

func (st *stage) call(ctx context.Context, method string, params, result any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, st.bounds.answer, fmt.Errorf("after %v", st.bounds.answer))
	defer cancel()
	return st.client.call(ctx, method, params, result)
}

func (st *stage) await(ctx context.Context, mark int, method string, ok func(json.RawMessage) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, st.bounds.answer, fmt.Errorf("after %v", st.bounds.answer))
	defer cancel()
	return st.client.await(ctx, mark, method, ok)
}

func since(t time.Time) string { return fmt.Sprintf("%d ms", time.Since(t).Milliseconds()) }

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func fileURI(path string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/…
	}
	return (&url.URL{Scheme: "file", Path: path}).String()
}
