package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/socket"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

func TestUsageErrorsSayWhatToDo(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, `hint: "devside --help" lists the commands; an editor runs "devside --stdio"`},
		{[]string{"stauts"}, `did you mean "devside status"`},
		{[]string{"frobnicate"}, `"frobnicate" is not a command`},
		{[]string{"--frobnicate"}, "unknown flag: --frobnicate"},
		{[]string{"status", "api"}, "hint:"},
		{[]string{"status", "--output", "xml"}, "--output takes text or json"},
		{[]string{"version", "-o", "xml"}, "--output takes text or json"},
		{[]string{"logs", "-n", "x"}, `invalid argument "x" for "-n, --lines" flag`},
		{[]string{"logs", "-n", "0"}, "-n takes 1 to 10000"},
		{[]string{"logs", "--since", "yesterday"}, "--since takes a duration"},
		{[]string{"status", "--root", "/does/not/exist"}, "no such file or directory"},
		{[]string{"start", "nobody"}, "the servers are api, web"},
		{[]string{"stop", "nobody"}, "the servers are api, web"},
		{[]string{"up", "nobody"}, "the servers are api, web"},
		{[]string{"--stdio", "--root", "/does/not/exist"}, "no such file or directory"},
	} {
		term := newTerminal(t, twoServers)
		term.run(exitUsage, test.args...)
		term.wants(term.err, "devside: ", "hint: ", test.want)
		if strings.Contains(term.err.String(), "strconv") {
			t.Errorf("%q: Go's own words: %s", test.args, term.err)
		}
		if term.out.String() != "" {
			t.Errorf("%q: wrote to standard output: %s", test.args, term.out)
		}
	}
}

func TestSECURITY004RootIsRefused(t *testing.T) {
	for _, args := range [][]string{
		{"status"}, {"start"}, {"stop"}, {"up"}, {"logs"}, {"check"}, {"trust"}, {"ports"}, {"reload"}, {"restart"}, {"reset"}, {"frobnicate"}, {},
	} {
		term := newTerminal(t, twoServers)
		term.app.euid = func() int { return 0 }
		term.run(exitRoot, args...)
		term.wants(term.err, "devside: refused to run as root", "hint: ", "--allow-root", "DEVSIDE_ALLOW_ROOT=1")
		if len(term.audited) != 1 {
			t.Errorf("%q: the audit log has %q", args, term.audited)
		}
	}
	for _, args := range [][]string{{"version"}, {"help"}, {"--help"}, {"status", "--help"}, {"completion", "bash"}, {"status", "--allow-root"}} {
		term := newTerminal(t, twoServers)
		term.app.euid = func() int { return 0 }
		term.run(exitOK, args...)
		if len(term.audited) != 0 {
			t.Errorf("%q: the audit log has %q", args, term.audited)
		}
	}
	term := newTerminal(t, twoServers)
	term.app.euid = func() int { return 0 }
	term.app.getenv = func(name string) string { return map[string]string{"DEVSIDE_ALLOW_ROOT": "1"}[name] }
	term.run(exitOK, "status")
}

func TestSECURITY004RootIsRefusedToAnEditor(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.app.euid = func() int { return 0 }
	var got stdio
	term.app.doors.serve = func(_ context.Context, s stdio) int { got = s; return exitRoot }
	term.run(exitRoot, "--stdio")
	if got.refused == nil || !strings.Contains(got.refused.Error(), "refused to run as root") {
		t.Errorf("the session was told %v", got.refused)
	}
	var hinted interface{ Hint() string }
	if !errors.As(got.refused, &hinted) || !strings.Contains(hinted.Hint(), "--allow-root") {
		t.Errorf("the session has no hint to pass on")
	}
	term.wants(term.err, "devside: refused to run as root", "hint: ")
	if term.out.String() != "" {
		t.Errorf("standard output is the protocol's: %s", term.out)
	}
}

func TestStdioTakesFlags(t *testing.T) {
	term := newTerminal(t, twoServers)
	var got stdio
	term.app.doors.serve = func(_ context.Context, s stdio) int { got = s; return exitOK }
	term.run(exitOK, "--stdio", "--clientProcessId=123", "--trust", "--allow-root", "--root", term.root+"/.")
	if got.refused != nil || !got.trusted || !got.allowRoot || got.root != term.root {
		t.Errorf("%+v", got)
	}
	term.app.doors.serve = func(context.Context, stdio) int { return 1 }
	term.run(1, "--stdio")
}

func TestDebugLogIsAskedForByTheEnvironment(t *testing.T) {
	for _, test := range []struct{ value, want string }{{"1", "x"}, {"", ""}} {
		term := newTerminal(t, "")
		term.app.getenv = func(string) string { return test.value }
		log := term.app.dialing(term.root, wire.Visitor, "status").log
		log.Debug().Msg("x")
		if got := term.err.String(); strings.Contains(got, "x") != (test.want != "") {
			t.Errorf("DEV_DEBUG=%q logged %q", test.value, got)
		}
	}
}

func TestRootIsTheNearestFolderWithAConfig(t *testing.T) {
	term := newTerminal(t, twoServers)
	deep := filepath.Join(term.root, "a", "b")
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(term.root, link); err != nil {
		t.Fatal(err)
	}
	bare, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ wd, flag, want string }{
		{deep, "", term.root},
		{term.root, "", term.root},
		{filepath.Join(link, "a"), "", term.root},
		{bare, "", bare},
		{bare, link, term.root},
		{term.root, deep, deep},
	} {
		a := &app{getwd: func() (string, error) { return test.wd, nil }, rootFlag: test.flag}
		if got, err := a.findRoot(); err != nil || got != test.want {
			t.Errorf("in %s with --root %q: %s, %v, want %s", test.wd, test.flag, got, err, test.want)
		}
	}
	a := &app{getwd: func() (string, error) { return "", os.ErrNotExist }}
	if _, err := a.findRoot(); err == nil {
		t.Error("a working directory that is gone is no error")
	}
	a.rootFlag = filepath.Join(term.root, "devside.yaml")
	if _, err := a.findRoot(); err == nil || !strings.Contains(err.Error(), "not a folder") {
		t.Errorf("a file as the root: %v", err)
	}
}

// hintedError is what other packages return: an error that says what to do.
type hintedError struct{}

func (hintedError) Error() string { return "find the home directory: no entry" }
func (hintedError) Hint() string  { return "set DEVSIDE_HOME" }

func TestErrorsBecomeExitCodes(t *testing.T) {
	data := func(code, hint string, known ...string) wire.ErrorData {
		return wire.ErrorData{Code: code, Hint: hint, Known: known}
	}
	raw, err := json.Marshal(data("unknown-server", "", "api", "web"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		err  error
		code int
		hint string
	}{
		{&failure{code: 3, what: "x", hint: "h"}, exitConfig, "h"},
		{errInterrupted, exitInterrupted, ""},
		{fmt.Errorf("ask: %w", context.Canceled), exitInterrupted, ""},
		{rpc.Errorf(wire.CodeUntrusted, data("untrusted", "?"), "x"), exitUntrusted, "devside trust"},
		{rpc.Errorf(wire.CodeRootRefused, data("root-refused", "no root"), "x"), exitRoot, "no root"},
		{rpc.Errorf(wire.CodeConfigInvalid, data("config-invalid", ""), "x"), exitConfig, "devside check"},
		{rpc.Errorf(wire.CodeConfigInvalid, data("config-invalid", "see line 3"), "x"), exitConfig, "see line 3"},
		{rpc.Errorf(wire.CodeInvalidParams, json.RawMessage(raw), "x"), exitUsage, "the servers are api, web"},
		{rpc.Errorf(wire.CodeInvalidParams, data("unknown-server", ""), "x"), exitUsage, "has no servers"},
		{rpc.Errorf(wire.CodeCancelled, nil, "x"), exitInterrupted, ""},
		{rpc.Errorf(wire.CodeProtocolMismatch, data("protocol-mismatch", "close it"), "x"), exitHub, "close it"},
		{rpc.Errorf(wire.CodeInternal, nil, "x"), exitHub, ""},
		{fmt.Errorf("connect: %w", socket.ErrNoHub), exitHub, "devside up"},
		{fmt.Errorf("call: %w", rpc.ErrClosed), exitHub, "devside status"},
		{fmt.Errorf("connect: %w", socket.ErrStranger), exitHub, "somebody else"},
		{fmt.Errorf("locate: %w", hintedError{}), exitHub, "set DEVSIDE_HOME"},
		{errors.New("something"), exitHub, ""},
	} {
		f := explain(test.err)
		if f.code != test.code || !strings.Contains(f.hint, test.hint) || f.what == "" {
			t.Errorf("%v: exit code %d, hint %q, text %q; want %d, %q", test.err, f.code, f.hint, f.what, test.code, test.hint)
		}
	}
	if explainNil(nil) != nil {
		t.Error("no error became one")
	}
}

func TestFailureIsMadeVisible(t *testing.T) {
	out := newBuffer()
	(&failure{what: "bad \x1b[31mname", also: []string{"a\x07b"}, hint: "h\r"}).report(out)
	want := "devside: bad \\x1b[31mname\na\\ab\nhint: h\\r\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestVersion(t *testing.T) {
	term := newTerminal(t, "")
	term.run(exitOK, "version")
	term.wants(term.out, "devside dev (protocol 1, go1.")
	term = newTerminal(t, "")
	term.run(exitOK, "version", "--output", "json")
	var v versionInfo
	if err := json.Unmarshal([]byte(term.out.String()), &v); err != nil || v.Protocol != wire.Protocol || v.OS == "" || v.Go == "" {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestStatusOfARunningProject(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.hub = newFakeHub(t, ready("api", 4121), at("web", status.Blocked))
	p := status.NewProblem(status.PortTaken, "web", "port 4001 is taken by node (pid 99)", testNow)
	p.Hint = "stop it"
	term.hub.status.Problems = []status.Problem{p}
	term.hub.status.Dependencies = []status.Dependency{{Name: "postgres", Target: "localhost:5432", Up: true, Checked: testNow},
		{Name: "redis", Target: "localhost:6379", Checked: testNow, Message: "refused"}}
	term.run(exitOK, "status")
	want := `NAME  STATE    PORT  PID   UPTIME  MEMORY  RESTARTS
api   ready    4000  4121  3m12s   120 MB  0
web   blocked  -     -     -       -       0
depends on postgres (localhost:5432): up
depends on redis (localhost:6379): down, refused

web: error port-taken: port 4001 is taken by node (pid 99)
  hint: stop it
`
	if term.out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", term.out, want)
	}
	if d := term.hub.dialled; d.role != wire.Visitor || d.start || d.root != term.root {
		t.Errorf("dialled as %+v", d)
	}
	term.out = newBuffer()
	term.app.out = term.out
	term.run(exitOK, "status", "-o", "json")
	var got status.Project
	if err := json.Unmarshal([]byte(term.out.String()), &got); err != nil || len(got.Servers) != 2 || got.HubPID != 7 {
		t.Errorf("%+v, %v", got, err)
	}
	term.hub.on("status", nil, rpc.Errorf(wire.CodeInternal, nil, "broken"))
	term.run(exitHub, "status")
}

func TestStatusWithoutAHub(t *testing.T) {
	term := newTerminal(t, twoServers+"dependencies:\n  postgres: {postgres: \"postgres://u:secret@localhost:5432/app\"}\n")
	term.run(exitOK, "status")
	term.wants(term.out, "api   stopped  4000", "web   stopped  4001", "postgres (localhost:5432): not checked", "not trusted yet", "hint: ")
	if strings.Contains(term.out.String(), "secret") {
		t.Error("a password is shown")
	}
	term = newTerminal(t, "version: 1\nservers:\n  api: {command: x, prot: 1}\n")
	term.run(exitOK, "status")
	term.wants(term.out, "error config-invalid: devside.yaml:3:", `unknown key "prot"`, "hint: ")
	term = newTerminal(t, "")
	term.run(exitOK, "status")
	term.wants(term.out, "there is nothing to run in "+term.root, "hint: ")
}

func TestStatusWithoutAHubHasTheWiresShape(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.run(exitOK, "status", "--output", "json")
	if strings.Contains(term.out.String(), "null") {
		t.Errorf("a list is null: %s", term.out)
	}
	var p status.Project
	if err := json.Unmarshal([]byte(term.out.String()), &p); err != nil || p.Root != term.root || p.Trust.Hash == "" || p.Trust.State != status.Untrusted {
		t.Fatalf("%+v, %v", p, err)
	}
	term.trusted = p.Trust.Hash
	if st, err := term.app.status(t.Context()); err != nil || st.Trust.State != status.Trusted {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestCheck(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.run(exitOK, "check")
	if got := term.out.String(); got != "devside.yaml is valid: 2 servers (api, web)\n" {
		t.Errorf("%q", got)
	}
	term = newTerminal(t, strings.Replace(twoServers, "4001", "4000", 1))
	term.run(exitConfig, "check")
	term.wants(term.out, "devside.yaml:5:11: error: port 4000", "devside.yaml:8:11: error: ", "  hint: ")
	term.wants(term.err, "devside: 2 errors in the configuration")
	term = newTerminal(t, strings.Replace(twoServers, "4001", "4000", 1))
	term.run(exitConfig, "check", "-o", "json")
	var res checkResult
	if err := json.Unmarshal([]byte(term.out.String()), &res); err != nil || res.Valid || len(res.Issues) != 2 ||
		res.Issues[0].Line != 5 || res.Issues[0].Column != 11 || res.Issues[0].Code != "port-clash" {
		t.Errorf("%+v, %v", res, err)
	}
	term = newTerminal(t, "")
	term.run(exitOK, "check", "-o", "json")
	term.wants(term.out, `"valid": true`, `"issues": []`, `"servers": []`)
	term = newTerminal(t, "")
	term.run(exitOK, "check")
	term.wants(term.out, "there is nothing to run")
}

func TestCheckSaysWhereServersWereFound(t *testing.T) {
	term := newTerminal(t, "")
	write := func(dir string) {
		if err := os.MkdirAll(filepath.Join(term.root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(term.root, dir, "package.json"), []byte(`{"scripts":{"dev":"vite"}}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("web")
	term.run(exitOK, "check")
	term.wants(term.out, "no devside.yaml; found in web/package.json: 1 server (web)")
	write("api")
	term.run(exitOK, "check")
	term.wants(term.out, "no devside.yaml; found in 2 files: 2 servers (api, web)")
}

func TestTrustShowsWhatWouldRun(t *testing.T) {
	term := newTerminal(t, `version: 1
servers:
  web:
    command: [node, "two words", "\x1b[8mhidden", ""]
    env_file: [.env]
    ready: {exec: [curl, x]}
`)
	term.run(exitUntrusted, "trust")
	term.wants(term.out, `command   node "two words" "\x1b[8mhidden" ""`, "folder    .", "env files .env", "probe     ", "hash ")
	term.wants(term.err, "nobody agreed", "hint: ", "devside trust --hash ")
	if strings.Contains(term.out.String(), "\x1b") {
		t.Error("an escape sequence reached the terminal")
	}
	if term.trusted != "" {
		t.Error("trusted without a yes")
	}
}

func TestTrustShowsScripts(t *testing.T) {
	term := newTerminal(t, "version: 1\nservers:\n  web: {command: npm run dev}\n")
	err := os.WriteFile(filepath.Join(term.root, "package.json"), []byte(`{"scripts":{"predev":"echo pre","dev":"vite \u001b[8m"}}`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	term.run(exitUntrusted, "trust")
	term.wants(term.out, "script    ", "echo pre", `vite \x1b[8m`)
}

func TestTrustAsksOnATerminal(t *testing.T) {
	for _, test := range []struct {
		typed string
		code  int
	}{{"y\n", exitOK}, {"YES\n", exitOK}, {"n\n", exitUntrusted}, {"\n", exitUntrusted}, {"y", exitUntrusted}, {"", exitUntrusted}, {"yep\n", exitUntrusted}} {
		term := newTerminal(t, twoServers)
		term.app.inTTY, term.app.in = true, strings.NewReader(test.typed)
		term.run(test.code, "trust")
		term.wants(term.err, "let these run? [y/N] ")
		if (term.trusted != "") != (test.code == exitOK) {
			t.Errorf("%q: remembered %q", test.typed, term.trusted)
		}
	}
}

func TestTrustCanBeInterrupted(t *testing.T) {
	term := newTerminal(t, twoServers)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // a test's
	defer w.Close() //nolint:errcheck // a test's
	term.app.inTTY, term.app.in = true, r
	code := term.begin("trust")
	term.err.await(t, "[y/N]")
	term.stop(errInterrupted)
	term.awaitExit(code, exitInterrupted)
	if term.trusted != "" {
		t.Error("trusted without a yes")
	}
}

func TestTrustInScripts(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.run(exitUntrusted, "trust", "--output", "json")
	var shown status.Trust
	if err := json.Unmarshal([]byte(term.out.String()), &shown); err != nil || shown.Hash == "" || len(shown.Commands) != 2 {
		t.Fatalf("%+v, %v", shown, err)
	}
	term.run(exitUntrusted, "trust", "--hash", "0000")
	term.wants(term.err, "what would run has the hash "+shown.Hash+", not 0000")
	term.run(exitOK, "trust", "--hash", shown.Hash)
	if term.trusted != shown.Hash {
		t.Errorf("remembered %q", term.trusted)
	}
	term.run(exitOK, "trust")
	term.wants(term.out, "is trusted already")
	term.run(exitOK, "trust", "-o", "json")
	term.wants(term.out, `"trusted": true`)

	term = newTerminal(t, twoServers)
	term.run(exitOK, "trust", "--yes")
	term.wants(term.out, "is trusted now")
	term = newTerminal(t, twoServers)
	term.app.doors.remember = func(string, string) error { return errors.New("disk full") }
	term.run(exitHub, "trust", "--yes")
	term = newTerminal(t, "version: 1\nservers: 7\n")
	term.run(exitConfig, "trust", "--yes")
}

func TestTrustTellsARunningHub(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.hub = newFakeHub(t)
	term.hub.on("trust", wire.TrustResult{Trusted: true}, nil)
	term.run(exitOK, "trust", "--yes")
	if term.trusted != "" {
		t.Error("wrote beside a hub that owns the state")
	}
	term.hub.on("trust", wire.TrustResult{}, nil)
	term.run(exitUntrusted, "trust", "--yes")
	term.hub.on("trust", nil, rpc.Errorf(wire.CodeInternal, nil, "broken"))
	term.run(exitHub, "trust", "--yes")

	// A hub that has not read the file since it changed is told to.
	other := rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{Code: "other-hash"}, "the commands have another hash")
	term.hub.on("trust", nil, other)
	term.hub.answers["reload"] = func(context.Context, json.RawMessage) (any, error) {
		term.hub.on("trust", wire.TrustResult{Trusted: true}, nil)
		return wire.ReloadResult{Valid: true}, nil
	}
	term.run(exitOK, "trust", "--yes")
	term.hub.on("trust", nil, other)
	term.hub.on("reload", nil, rpc.Errorf(wire.CodeInternal, nil, "broken"))
	term.run(exitHub, "trust", "--yes")
}

func TestPorts(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.app.doors.listeners = func([]int) (map[int]*status.Holder, error) {
		return map[int]*status.Holder{4001: {PID: 99, Name: "node", User: "ann", Command: "node x.js"}}, nil
	}
	term.run(exitOK, "ports")
	want := "PORT  SERVER  HELD BY\n4000  api     free\n4001  web     node (pid 99, user ann): node x.js\n"
	if term.out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", term.out, want)
	}
	term.app.doors.listeners = func([]int) (map[int]*status.Holder, error) { return nil, errors.New("no netlink") }
	term.run(exitHub, "ports")

	term = newTerminal(t, twoServers)
	term.hub = newFakeHub(t)
	term.hub.on("ports", wire.PortsResult{{Port: 4000, Server: "api", Holder: &status.Holder{PID: 5, Name: "node", Server: "api"}},
		{Port: 9229, Holder: &status.Holder{User: "bob"}}}, nil)
	term.run(exitOK, "ports")
	term.wants(term.out, "4000  api     api: node (pid 5)", "9229  -       a process that can't be seen from here (user bob)")
	term.run(exitOK, "ports", "-o", "json")
	term.wants(term.out, `"port": 4000`)

	term = newTerminal(t, "version: 1\nservers: {a: {command: x}}\n")
	term.run(exitOK, "ports")
	term.wants(term.out, "no server of this project has a port")
}

func TestFree(t *testing.T) {
	held := &status.Holder{PID: 99, StartTime: "7.1", Name: "node", User: "ann", Started: testNow}
	fresh := func() *terminal {
		term := newTerminal(t, twoServers)
		term.app.doors.listeners = func(ports []int) (map[int]*status.Holder, error) {
			if ports[0] != 4001 {
				return nil, nil
			}
			return map[int]*status.Holder{4001: held}, nil
		}
		term.hub = newFakeHub(t)
		term.hub.on("freePort", wire.FreePortResult{Freed: true}, nil)
		return term
	}
	term := fresh()
	term.run(exitOK, "free", "4001", "--yes")
	term.wants(term.out, "port 4001 is free")
	if want := `freePort {"port":4001,"holder":{"pid":99,"startTime":"7.1"}}`; !slices.Contains(term.hub.calls, want) {
		t.Errorf("asked the hub %q, want %q", term.hub.calls, want)
	}
	term = fresh()
	term.run(exitStart, "free", "4001") // no terminal to ask on
	term.wants(term.out, "node (pid 99, user ann")
	term.wants(term.err, "--yes")
	if len(term.hub.calls) != 0 {
		t.Errorf("asked the hub %q without a yes", term.hub.calls)
	}
	term = fresh()
	term.app.inTTY, term.app.in = true, strings.NewReader("y\n")
	term.run(exitOK, "free", "4001")
	term = fresh()
	term.app.inTTY, term.app.in = true, strings.NewReader("n\n")
	term.run(exitStart, "free", "4001")
	term = fresh()
	term.run(exitOK, "free", "4002")
	term.wants(term.out, "nobody listens on port 4002")
	term.run(exitOK, "free", "4002", "-o", "json")
	term.wants(term.out, `"freed": true`)
	term.hub.on("freePort", wire.FreePortResult{Why: "it belongs to bob"}, nil)
	term.run(exitStart, "free", "4001", "--yes")
	term.wants(term.err, "it belongs to bob")
	term.run(exitStart, "free", "4001", "--yes", "-o", "json")
	term.wants(term.out, `"why": "it belongs to bob"`)
	term.run(exitUsage, "free", "70000")
	term.run(exitUsage, "free", "web")
}

func TestNextPort(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.run(exitHub, "next-port", "web")
	term.wants(term.err, "--write")
	term.run(exitUsage, "next-port", "nobody")
	term.hub = newFakeHub(t)
	term.hub.on("nextPort", wire.NextPortResult{Port: 4002}, nil)
	term.run(exitOK, "next-port", "web")
	term.wants(term.out, "web gets port 4002", "devside restart web")
	term.run(exitOK, "next-port", "web", "--write")
	term.wants(term.out, "devside.yaml: web has port 4002 now")
	term.run(exitOK, "next-port", "web", "-o", "json")
	term.wants(term.out, `"port": 4002`)
	term.hub.on("nextPort", nil, rpc.Errorf(wire.CodeRequestFailed, wire.ErrorData{Code: "not-written", Hint: "by hand"}, "edit devside.yaml: shared"))
	term.run(exitHub, "next-port", "web", "--write")
	term.wants(term.err, "edit devside.yaml: shared", "by hand")
}

func TestHTTP(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.run(exitHub, "http")
	term.wants(term.err, "nothing of this project runs", "devside up --http 9000")
	term.hub = newFakeHub(t)
	term.hub.on("dashboard", wire.DashboardResult{URL: "http://127.0.0.1:9001", Token: "hush"}, nil)
	term.run(exitOK, "http")
	term.wants(term.out, "http://127.0.0.1:9001/metrics\nhttp://127.0.0.1:9001/health/readiness\n")
	term.run(exitOK, "http", "9001", "-o", "json")
	term.wants(term.out, `"url": "http://127.0.0.1:9001"`)
	if strings.Contains(term.out.String()+term.err.String(), "hush") {
		t.Error("the token is shown")
	}
	for _, args := range [][]string{{"http", "0.0.0.0:9000"}, {"http", "example.com:80"}, {"up", "--http", "192.0.2.1:9000"}, {"start", "--http", "x"}, {"--stdio", "--http", "0.0.0.0:1"}} {
		term.run(exitUsage, args...)
	}
	term.hub.on("dashboard", nil, rpc.Errorf(wire.CodeRequestFailed, wire.ErrorData{Code: "cannot-listen", Hint: "another one"}, "listen on 127.0.0.1:80: permission denied"))
	term.run(exitHub, "http", "127.0.0.1:80")
	term.wants(term.err, "permission denied", "another one")
}

func TestStart(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.app.allowRoot, term.app.errTTY = true, true
	term.hub = newFakeHub(t, ready("api", 4121))
	release := make(chan any, 1)
	term.hub.hold("start", release)
	code := term.begin("start", "--trust", "--allow-root", "api")
	term.hub.awaitCall("start")
	term.hub.send(wire.DidChangeStatus, term.hub.set(at("api", status.Starting)))
	term.err.await(t, "api: starting")
	term.hub.set(ready("api", 4121))
	release <- wire.StartResult{Servers: []wire.ServerResult{{Name: "api", OK: true, State: status.Ready, PID: 4121, ReadyMs: ms(312)}}}
	term.awaitExit(code, exitOK)
	if got := term.out.String(); got != "api  ready  in 312 ms  pid 4121  http://127.0.0.1:4000\n" {
		t.Errorf("%q", got)
	}
	d := term.hub.dialled
	if d.role != wire.Starter || !d.start || !d.trusted || len(d.args) != 1 || len(d.env) != 1 || d.client != "devside start" {
		t.Errorf("dialled as %+v", d)
	}
	if !term.hub.made(`start {"servers":["api"]}`) {
		t.Errorf("calls: %q", term.hub.calls)
	}
}

func TestStartWithoutWaiting(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.hub = newFakeHub(t)
	term.hub.on("start", wire.StartResult{Servers: []wire.ServerResult{}}, nil)
	term.run(exitOK, "start", "--no-wait")
	if !term.hub.made(`start {"wait":false}`) {
		t.Errorf("calls: %q", term.hub.calls)
	}
	term.wants(term.out, "no server was concerned")
}

func TestStartRefusals(t *testing.T) {
	term := newTerminal(t, "version: 1\nservers:\n  api: {prot: 1}\n")
	term.hub = newFakeHub(t)
	term.run(exitConfig, "start")
	term.wants(term.err, "devside.yaml:3:", "hint: ")
	if len(term.hub.calls) > 0 {
		t.Error("a hub was asked for nothing")
	}
	term = newTerminal(t, "")
	term.run(exitConfig, "start")
	term.wants(term.err, "there is nothing to run")
	term = newTerminal(t, twoServers)
	term.hub = newFakeHub(t)
	term.hub.on("start", nil, rpc.Errorf(wire.CodeUntrusted, wire.ErrorData{Code: "untrusted", Hash: "abc"}, "the project is not trusted"))
	term.run(exitUntrusted, "start")
	term.wants(term.err, "devside: the project is not trusted", "hint: ", "devside trust")
}

func TestStartCanBeInterrupted(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.hub = newFakeHub(t)
	term.hub.hold("start", nil)
	code := term.begin("start")
	term.hub.awaitCall("start")
	term.stop(errInterrupted)
	term.awaitExit(code, exitInterrupted)
	term.wants(term.err, "devside: interrupted")
}

func TestStartExitCodes(t *testing.T) {
	bad := func(name, code, hint string) wire.ServerResult {
		return wire.ServerResult{Name: name, State: status.Blocked, Error: &wire.ServerError{Code: code, Message: "because", Hint: hint}}
	}
	good := wire.ServerResult{Name: "web", OK: true, State: status.Ready}
	for _, test := range []struct {
		servers []wire.ServerResult
		code    int
		want    string
	}{
		{[]wire.ServerResult{good}, exitOK, ""},
		{nil, exitOK, ""},
		{[]wire.ServerResult{good, bad("api", "port-taken", "free it")}, exitStart, "1 of 2 servers did not start\nhint: free it"},
		{[]wire.ServerResult{bad("api", "crashed", "")}, exitStart, `hint: "devside logs api" shows`},
		{[]wire.ServerResult{bad("api", "not-ready", "")}, exitHealth, "1 of 1 server did not become ready in time"},
		{[]wire.ServerResult{bad("api", "not-ready", ""), bad("web", "crashed", "look")}, exitStart, "2 of 2 servers did not start\nhint: look"},
		{[]wire.ServerResult{bad("api", "untrusted", "")}, exitUntrusted, "devside trust"},
		{[]wire.ServerResult{bad("api", "config-invalid", "")}, exitConfig, ""},
		{[]wire.ServerResult{bad("api", "cancelled", "")}, exitInterrupted, ""},
		{[]wire.ServerResult{bad("api", "not-stopped", "")}, exitStart, "did not stop"},
		{[]wire.ServerResult{{Name: "api", State: status.Stopped}}, exitStart, ""},
	} {
		for _, output := range []string{outputText, outputJSON} {
			term := newTerminal(t, twoServers)
			term.hub = newFakeHub(t)
			term.hub.on("restart", wire.StartResult{Servers: test.servers}, nil)
			term.run(test.code, "restart", "-o", output)
			if output == outputText {
				term.wants(term.err, test.want)
				continue
			}
			var res wire.StartResult
			if err := json.Unmarshal([]byte(term.out.String()), &res); err != nil || len(res.Servers) != len(test.servers) {
				t.Errorf("%s, %v", term.out, err)
			}
		}
	}
}

func TestStop(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.run(exitOK, "stop")
	term.wants(term.out, "nothing of this project runs")
	term.run(exitOK, "stop", "-o", "json", "api")
	term.wants(term.out, `"name": "api"`, `"ok": true`, `"state": "stopped"`)
	term.hub = newFakeHub(t)
	term.hub.on("stop", wire.StartResult{Servers: []wire.ServerResult{{Name: "api", OK: true, State: status.Stopped}}}, nil)
	term.run(exitOK, "stop", "api")
	term.wants(term.out, "api  stopped")
	if d := term.hub.dialled; d.role != wire.Visitor || d.start {
		t.Errorf("dialled as %+v", d)
	}
}

func TestReload(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.run(exitOK, "reload")
	term.wants(term.out, "nothing runs, so there is nothing to reload")
	term.hub = newFakeHub(t)
	term.hub.on("reload", wire.ReloadResult{Valid: true, Added: []string{"a"}, Changed: []string{"b", "c"}, Restarted: []string{"b"}}, nil)
	term.run(exitOK, "reload")
	term.wants(term.out, "added a; changed b, c; restarted b\n")
	term.hub.on("reload", wire.ReloadResult{Valid: true}, nil)
	term.run(exitOK, "reload")
	term.wants(term.out, "nothing has changed")
	term.hub.on("reload", wire.ReloadResult{}, nil)
	term.run(exitConfig, "reload")
	term.run(exitConfig, "reload", "-o", "json")
	term.wants(term.out, `"valid": false`)
	term.hub.on("reload", nil, rpc.Errorf(wire.CodeInternal, nil, "broken"))
	term.run(exitHub, "reload")
}

func TestShellCompletionOffersServers(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.run(exitOK, "__complete", "start", "api", "")
	if got := term.out.String(); !strings.HasPrefix(got, "web\n") || strings.Contains(got, "api") {
		t.Errorf("%q", got)
	}
	term = newTerminal(t, "")
	term.app.getwd = func() (string, error) { return "", os.ErrNotExist }
	term.run(exitOK, "__complete", "start", "")
}

// failingWriter is output that nobody takes.
type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestOutputThatCannotBeWritten(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"version", "-o", "json"}, {"status"}, {"check"}, {"trust", "--yes"}, {"stop"}} {
		term := newTerminal(t, twoServers)
		term.app.out = failingWriter{errors.New("disk full")}
		term.run(exitHub, args...)
		term.wants(term.err, "devside: write the answer: disk full")
		term = newTerminal(t, twoServers)
		term.app.out = failingWriter{fmt.Errorf("write: %w", syscall.EPIPE)}
		term.run(exitOK, args...) // devside status | head
	}
}

func TestSecondSignalHurries(t *testing.T) {
	sig := make(chan os.Signal)
	ctx, hurry := countSignals(sig)
	sig <- os.Interrupt
	select {
	case <-ctx.Done():
	case <-time.After(testBound):
		t.Fatal("the first signal ends nothing")
	}
	if !errors.Is(context.Cause(ctx), errInterrupted) {
		t.Errorf("the cause is %v", context.Cause(ctx))
	}
	select {
	case <-hurry:
		t.Fatal("the first signal hurries")
	default:
	}
	sig <- os.Interrupt
	select {
	case <-hurry:
	case <-time.After(testBound):
		t.Fatal("the second signal does not hurry")
	}
}
