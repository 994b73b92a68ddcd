package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain makes the test binary be each of the demo's programs, and a devside
// to drive: they are told apart as the real ones are, by their first word.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case apiName, webName, childMode:
			os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
		case "--stdio":
			os.Exit(runFake())
		}
	}
	goleak.VerifyTestMain(m)
}

// testBound bounds each wait of a test.
const testBound = 30 * time.Second

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testBound)
	t.Cleanup(cancel)
	return ctx
}

func self(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// demoFolders counts what a run of the demo may have left in the temporary folder.
func demoFolders(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(os.TempDir(), "devside-demo-*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestDriveFindsADevsideThatWorks(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	if code := drive(testContext(t), newScreen(&out), self(t), self(t), patience); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &out)
	}
	for _, want := range []string{
		"1. Introduce ourselves", "-> devside/start", "ready in 1 ms", `"Hello from the API, pid `,
		"* devside/didHappen  api was ended by SIGKILL", "went with it", "api restarts because .env changed", "the frontend still is", "port-taken", "^^^^^", "exit code 0",
		"gone: devside", "All 8 steps passed",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("escape sequences in output that is no terminal's")
	}
	if left := demoFolders(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestDriveFindsWhatIsWrong(t *testing.T) {
	for _, test := range []struct{ fault, want string }{
		{faultLeakChild, "still runs beside the new one"},
		{faultNoRestart, "await devside/didChangeStatus"},
		{faultBlind, "await devside/didHappen"},
		{faultWrongLine, "await textDocument/publishDiagnostics"},
		{faultExitCode, "exit code 1, not 0"},
		{faultSaysReady, "should have been answered port-taken"},
		{faultStrayLine, "without CR LF"},
		{faultAnswersTwice, "answered already"},
		{faultDies, "devside has ended"},
		{faultMute, "no answer"},
	} {
		t.Run(test.fault, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			t.Setenv(faultVariable, test.fault)
			ctx := testContext(t)
			var out bytes.Buffer
			quick := bounds{demo: testBound, answer: testBound, end: time.Second}
			if slices.Contains([]string{faultMute, faultNoRestart, faultBlind, faultWrongLine}, test.fault) {
				quick.answer = 2 * time.Second // what never comes is waited for
			}
			code := drive(ctx, newScreen(&out), self(t), self(t), quick)
			if code != 1 || !strings.Contains(out.String(), "FAILED") || !strings.Contains(out.String(), test.want) {
				t.Errorf("exit code %d, want 1 and %q\n%s", code, test.want, &out)
			}
			if strings.Contains(out.String(), "All 8 steps") {
				t.Error("says that all passed")
			}
			if left := demoFolders(t); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			for _, w := range witnessesOf(out.String()) {
				if !w.gone() {
					t.Errorf("%s (pid %d) still runs\n%s", w.what, w.pid, &out)
				}
			}
		})
	}
}

// witnessesOf finds every process that a run's output names.
func witnessesOf(out string) []witness {
	var ws []witness
	for line := range strings.Lines(out) {
		for _, mark := range []string{"pid ", "child "} {
			_, after, ok := strings.Cut(line, mark)
			if !ok {
				continue
			}
			digits := after[:len(after)-len(strings.TrimLeft(after, "0123456789"))]
			pid, err := strconv.Atoi(digits)
			if err != nil || pid == os.Getpid() {
				continue
			}
			if start, running := startOf(pid); running {
				ws = append(ws, witness{what: strings.TrimSpace(line), pid: pid, start: start})
			}
		}
	}
	return ws
}

func TestDriveEndsWhenInterrupted(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancelCause(testContext(t))
	var out bytes.Buffer
	s := newScreen(writerFunc(func(p []byte) (int, error) {
		if bytes.Contains(p, []byte("kill -9")) {
			cancel(errors.New("Ctrl-C"))
		}
		return out.Write(p)
	}))
	if code := drive(ctx, s, self(t), self(t), patience); code != 1 || !strings.Contains(out.String(), "Ctrl-C") {
		t.Fatalf("exit code %d\n%s", code, &out)
	}
	if left := demoFolders(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestDriveWithoutADevside(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	missing := filepath.Join(t.TempDir(), "devside")
	if code := drive(testContext(t), newScreen(&out), missing, self(t), patience); code != 1 || !strings.Contains(out.String(), "start devside") {
		t.Errorf("exit code %d\n%s", code, &out)
	}
	if left := demoFolders(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestCommandLine(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "devside")
	for _, test := range []struct {
		args []string
		code int
		err  string
	}{
		{[]string{"bogus"}, 64, "usage: demo"},
		{[]string{"drive", "--bogus"}, 64, "usage: demo"},
		{[]string{"drive", "extra"}, 64, ""},
		{[]string{"--help"}, 0, "usage: demo"},
		{[]string{"--devside", missing}, 64, "make build"},
		{[]string{"drive", "--devside", missing}, 64, "make build"},
	} {
		var out, stderr bytes.Buffer
		if code := run(test.args, &out, &stderr); code != test.code || !strings.Contains(stderr.String(), test.err) {
			t.Errorf("%q: exit code %d, want %d; %s", test.args, code, test.code, &stderr)
		}
		if out.Len() > 0 {
			t.Errorf("%q wrote to standard output: %s", test.args, &out)
		}
	}
	t.Setenv("PORT", "no port")
	var stderr bytes.Buffer
	if code := run([]string{webName}, io.Discard, &stderr); code != 1 || !strings.Contains(stderr.String(), "demo frontend: ") {
		t.Errorf("a bad port: exit code %d, %s", code, &stderr)
	}
}

// serverUnderTest runs one of the servers as a process, as devside does.
type serverUnderTest struct {
	cmd   *exec.Cmd
	url   string
	lines *bufio.Scanner
}

func startServer(t *testing.T, mode string, env ...string) *serverUnderTest {
	t.Helper()
	cmd := exec.Command(self(t), mode)
	cmd.Env = append(os.Environ(), append(env, "PORT=0")...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &serverUnderTest{cmd: cmd, lines: bufio.NewScanner(out)}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may have ended
		cmd.Wait()         //nolint:errcheck // killed
	})
	for s.lines.Scan() {
		if _, after, ok := strings.Cut(s.lines.Text(), "listening on "); ok {
			s.url, _, _ = strings.Cut(after, " ")
			return s
		}
	}
	t.Fatalf("%s did not listen", mode)
	return nil
}

func TestServers(t *testing.T) {
	ctx := testContext(t)
	api := startServer(t, apiName, runVariable+"=secret")
	h, err := getHealth(ctx, api.url)
	if err != nil {
		t.Fatal(err)
	}
	if h.Status != "ok" || h.PID != api.cmd.Process.Pid || h.Run != "secret" || h.Child == 0 {
		t.Errorf("health %+v", h)
	}
	child := see("the child", h.Child)
	t.Cleanup(func() {
		if err := child.kill(); err != nil {
			t.Error(err)
		}
	})
	if child.gone() {
		t.Fatal("the API has no child")
	}
	web := startServer(t, webName, "API_URL="+api.url)
	want := fmt.Sprintf("The API says: %s, pid %d", greeting, h.PID)
	if page, err := get(ctx, web.url); err != nil || !strings.Contains(page, want) {
		t.Errorf("page %q, %v", page, err)
	}
	if _, err := get(ctx, web.url+"\x7f"); err == nil {
		t.Error("a bad URL is no error")
	}
	if _, err := get(ctx, api.url+"/nothing"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a missing page: %v", err)
	}
	// Asked politely, both end, and the page says so when the API has gone.
	endPolitely(t, api.cmd)
	if page, err := get(ctx, web.url); err != nil || !strings.Contains(page, "the API does not answer") {
		t.Errorf("page without the API: %q, %v", page, err)
	}
	endPolitely(t, web.cmd)
	if child.gone() {
		t.Error("the child ended with the API: it shows nothing")
	}
}

func endPolitely(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if runtime.GOOS == "windows" {
		return // no signal asks politely there
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %v", cmd.Args[1:], err)
	}
}

func TestReadMessageIsStrict(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"Content-Length: 17\r\n\r\n{\"jsonrpc\":\"2.0\"}", ""},
		{"X: y\r\nContent-Length: 17\r\n\r\n{\"jsonrpc\":\"2.0\"}", ""},
		{"Content-Length: 17\n\n{\"jsonrpc\":\"2.0\"}", "without CR LF"},
		{"Content-Length: x\r\n\r\n", "no length"},
		{"Content-Length: -1\r\n\r\n", "a message of -1 bytes"},
		{"Content-Length: 99999999\r\n\r\n", "a message of 99999999 bytes"},
		{"\r\n{}", "a message of -1 bytes"},
		{"Hello\r\n\r\n", "no header"},
		{"Content-Length: 2\r\n\r\n{", "EOF"},
		{"Content-Length: 2\r\n\r\n{]", "no JSON-RPC"},
		{"Content-Length: 2\r\n\r\n{}", `jsonrpc is ""`},
		{"", "EOF"},
	} {
		_, err := readMessage(bufio.NewReader(strings.NewReader(test.in)))
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%q: %v, want %q", test.in, err, test.want)
		}
	}
}

func TestClientFindsAnswersThatWereNotAsked(t *testing.T) {
	for _, body := range []string{
		`{"jsonrpc":"2.0","id":7,"result":null}`,
		`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"bad"}}`,
	} {
		r, w := io.Pipe()
		c := newClient(r, io.Discard)
		if _, err := fmt.Fprintf(w, "Content-Length: %d\r\n\r\n%s", len(body), body); err != nil {
			t.Fatal(err)
		}
		<-c.ended
		if err := c.call(testContext(t), "x", nil, nil); err == nil {
			t.Errorf("%s: accepted", body)
		}
	}
}

func TestClientReportsErrors(t *testing.T) {
	r, w := io.Pipe()
	c := newClient(r, writerFunc(func(p []byte) (int, error) {
		go func() {
			body := `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no such server","data":{"code":"unknown-server","hint":"the servers are a, b"}}}`
			fmt.Fprintf(w, "Content-Length: %d\r\n\r\n%s", len(body), body)
		}()
		return len(p), nil
	}))
	err := c.call(testContext(t), "devside/start", map[string]any{}, nil)
	if err == nil || !strings.Contains(err.Error(), "no such server (-32602); hint: the servers are a, b") {
		t.Errorf("%v", err)
	}
	if err := c.call(testContext(t), "x", func() {}, nil); err == nil {
		t.Error("params that can't be encoded are no error")
	}
	if err := c.notify("x", func() {}); err == nil {
		t.Error("params that can't be encoded are no error")
	}
	w.Close() //nolint:errcheck // ends the reader
	<-c.ended
}

func TestConfigText(t *testing.T) {
	text, line := configText(`/tmp/a "b"/demo`, "n", 4000, 4001)
	if got := strings.Split(text, "\n")[line]; got != "    port: 4001" {
		t.Errorf("line %d is %q", line, got)
	}
	if !strings.Contains(text, `command: ["/tmp/a \"b\"/demo","api"]`) {
		t.Errorf("the command is not quoted:\n%s", text)
	}
}

func TestSquiggle(t *testing.T) {
	st := &stage{yaml: "version: 1\nport: 4000\n"}
	var d diagnostic
	d.Severity, d.Code, d.Message = 1, "port-taken", "taken"
	d.Range.Start, d.Range.End = position{1, 6}, position{1, 10}
	want := "devside.yaml:2:7: error, port-taken\ntaken\n  | port: 4000\n  |       ^^^^"
	if got := st.squiggle(d); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	d.Range.Start.Line, d.Range.End.Line, d.Severity = 9, 9, 7
	if got := st.squiggle(d); got != "devside.yaml:10:7: , port-taken\ntaken" {
		t.Errorf("a line that is not there: %s", got)
	}
}

func TestRemoveTreeFollowsNoLink(t *testing.T) {
	outside := t.TempDir()
	kept := filepath.Join(outside, "kept")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "x")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700),
		os.WriteFile(filepath.Join(dir, "a", "b", "f"), nil, 0o600),
		os.Symlink(outside, filepath.Join(dir, "a", "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := removeTree(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("followed a link: %v", err)
	}
	if err := removeTree(dir); err == nil {
		t.Error("a folder that is not there is no error")
	}
}

func TestWitnessKillsOnlyWhatItSaw(t *testing.T) {
	cmd := exec.Command(self(t), childMode)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := see("a child", cmd.Process.Pid)
	if runtime.GOOS == "linux" {
		other := w
		other.start = "1"
		if !other.gone() {
			t.Error("another process with the same pid counts as the one seen")
		}
		if err := other.kill(); err == nil {
			t.Fatal("a process was ended that is not the one seen")
		}
	}
	if w.gone() {
		t.Fatal("it runs, and counts as gone")
	}
	if err := w.kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() //nolint:errcheck // killed
	if !w.gone() {
		t.Error("it has ended, and counts as running")
	}
	if err := w.kill(); err == nil {
		t.Error("a process that has ended was ended again")
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var tl tail
	for i := range 3000 {
		fmt.Fprintf(&tl, "line %d\n", i)
	}
	if got := tl.String(); len(got) > tailBytes || !strings.HasSuffix(got, "line 2999") {
		t.Errorf("%d bytes, ending in %q", len(got), got[len(got)-20:])
	}
}

func TestFreePorts(t *testing.T) {
	a, b, err := freePorts()
	if err != nil || a == b {
		t.Fatalf("%d, %d, %v", a, b, err)
	}
	l, err := net.Listen("tcp", loopback(a))
	if err != nil {
		t.Fatal(err)
	}
	l.Close() //nolint:errcheck // it was free: that is all
}
