//go:build linux

package project

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/devside/devside/supervisor"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

// child is the first argument that turns the test binary into one of the
// programs below.
const child = "project-test-child"

// lifetime bounds every child, so that a failed test leaves nothing for long.
const lifetime = time.Minute

// patience bounds every wait of a test. Machines that run these are busy.
const patience = 20 * time.Second

// self is this binary, by an absolute path.
func self() string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return exe
}

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == child {
		os.Exit(runChild(os.Args[2], os.Args[3:]))
	}
	if filepath.Base(os.Args[0]) == "npm" { // started through a link, see fakeNPM
		if len(os.Args) > 1 && os.Args[1] == "install" {
			os.Exit(install())
		}
		os.Exit(runChild("serve", nil))
	}
	goleak.VerifyTestMain(m)
}

// install writes the marker that $INSTALL is, or fails.
func install() int {
	text := os.Getenv("INSTALL")
	if text == "fail" || os.Getenv("DEVSIDE_X") != "" {
		fmt.Fprintln(os.Stderr, "npm error no")
		return 9
	}
	if err := os.WriteFile(filepath.Join("node_modules", ".package-lock.json"), []byte(text), 0o600); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func runChild(mode string, args []string) int {
	ended := time.After(lifetime)
	switch mode {
	case "serve":
		serve()
	case "stubborn": // does not end when it is asked to
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		serve()
	case "family": // has a child in a session of its own that does not end when it is asked to
		cmd := exec.Command(self(), child, "grandchild", args[0])
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
			return 1
		}
		serve()
	case "grandchild":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
		if err := os.WriteFile(args[0], []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
			return 1
		}
	case "sees": // says whether a file is there as it begins
		if _, err := os.Stat(args[0]); err == nil {
			fmt.Println("it is there")
		} else {
			fmt.Println("it is not there")
		}
		serve()
	case "toucher": // changes a file as soon as it answers
		serve()
		for i := 0; ; i++ {
			if err := os.WriteFile(args[0], []byte(fmt.Sprint(time.Now().UnixNano())), 0o600); err != nil {
				return 1
			}
			<-time.After(50 * time.Millisecond)
		}
	case "parses": // ends with a syntax error while a file has one
		if text, err := os.ReadFile(args[0]); err != nil || string(text) == "bad" {
			fmt.Printf("%s:1\nbad\n^^^\n\nSyntaxError: Unexpected identifier\n    at node:internal\n", args[0])
			return 1
		}
		serve()
	case "raises": // ends as Python does while a file is bad
		if text, err := os.ReadFile(args[0]); err != nil || string(text) == "bad" {
			fmt.Printf("Traceback (most recent call last):\n  File %q, line 1, in <module>\n    bad\nRuntimeError: no\n", args[0])
			return 1
		}
		serve()
	case "late": // says after four seconds that it is ready
		serve()
		<-time.After(4 * time.Second)
		if err := os.WriteFile(args[0], nil, 0o600); err != nil {
			return 1
		}
	case "touch": // shows that it ran
		if err := os.WriteFile(args[0], nil, 0o600); err != nil {
			return 1
		}
		serve()
	case "hold", "hold-stubborn": // listens where it is told to
		if mode == "hold-stubborn" {
			signal.Ignore(syscall.SIGTERM)
		}
		l, err := net.Listen("tcp", args[0])
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer l.Close() //nolint:errcheck // ends with us
		fmt.Println("up")
	case "silent": // never listens
	case "exit":
		code, _ := strconv.Atoi(args[0])
		fmt.Println("Error: something is wrong")
		return code
	case "strays":
		return straysHub(args[0], args[1])
	case "tell": // what should stay a secret, and end
		fmt.Println("Error: the token is " + os.Getenv("API_TOKEN") + " they say")
		return 3
	case "hub":
		return runHub(args[0], args[1])
	}
	<-ended
	return 1
}

// serve answers on $PORT in the background.
func serve() {
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }) //nolint:errcheck // a test's server
	mux.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) { os.Exit(3) })
	mux.HandleFunc("/say", func(_ http.ResponseWriter, r *http.Request) { fmt.Println(r.FormValue("text")) })
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(os.Environ()) }) //nolint:errcheck // a test's server
	go func() {
		err := http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), mux)
		fmt.Fprintln(os.Stderr, err)
		os.Exit(4)
	}()
}

// runHub is a hub that starts everything and is then killed.
func runHub(root, home string) int {
	paths := state.Paths{Run: filepath.Join(home, "run"), Logs: filepath.Join(home, "logs")}
	p, err := Open(context.Background(), Options{Root: root, Paths: paths, Log: zerolog.Nop(), Getenv: noEnv})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	p.Vouch(1)
	results, _, err := p.Start(context.Background(), nil, supervisor.StartOptions{Env: os.Environ()})
	p.store.Flush()
	fmt.Println("started", len(results), err)
	<-time.After(lifetime)
	return 0
}

func noEnv(string) string { return "" }

// fixture is a project in a folder of its own.
type fixture struct {
	t     *testing.T
	root  string
	home  string
	paths state.Paths
	log   *buffer

	watched bool // files are watched; otherwise only requests find out what has changed
	*Project
}

// buffer is a log that several goroutines write.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newFixture makes the folder; open opens the project.
func newFixture(t *testing.T, config string) *fixture {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	f := &fixture{t: t, root: root, home: home, log: &buffer{}, paths: state.Paths{Run: filepath.Join(home, "run"), Logs: filepath.Join(home, "logs")}}
	if err := f.paths.Make(); err != nil {
		t.Fatal(err)
	}
	if config != "" {
		f.write("devside.yaml", config)
	}
	return f
}

func (f *fixture) write(name, text string) {
	f.t.Helper()
	path := filepath.Join(f.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) open() *fixture {
	f.t.Helper()
	p, err := Open(f.t.Context(), Options{Root: f.root, Paths: f.paths, Protocol: 1, Log: zerolog.New(f.log), Getenv: noEnv, unwatched: !f.watched})
	if err != nil {
		f.t.Fatal(err)
	}
	f.Project = p
	f.t.Cleanup(f.close)
	return f
}

func (f *fixture) close() { f.end(false) }

func (f *fixture) end(keep bool) {
	if f.Project != nil {
		f.Project.Close(context.Background(), keep)
		f.Project = nil
	}
	if f.t.Failed() && f.log.String() != "" {
		f.t.Log(f.log)
	}
}

// opened is an open project that a client vouches for.
func opened(t *testing.T, config string) *fixture {
	t.Helper()
	f := newFixture(t, config).open()
	f.Vouch(1)
	return f
}

// server is one entry below `servers:`.
func server(name string, port int, args []string, more ...string) string {
	argv, err := json.Marshal(append([]string{self(), child}, args...))
	if err != nil {
		panic(err)
	}
	text := fmt.Sprintf("  %s:\n    command: %s\n", name, argv)
	if port > 0 {
		text += fmt.Sprintf("    port: %d\n", port)
	}
	for _, m := range more {
		text += "    " + m + "\n"
	}
	return text
}

func config(servers ...string) string {
	return "version: 1\nservers:\n" + strings.Join(servers, "")
}

var serving = []string{"serve"}

// freePort is one that nobody listens on now.
func freePort(t *testing.T) int {
	t.Helper()
	l, n := listener(t)
	l.Close() //nolint:errcheck // it was only to know the number
	return n
}

func listener(t *testing.T) (net.Listener, int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() }) //nolint:errcheck // closed already by some
	return l, l.Addr().(*net.TCPAddr).Port
}

// start starts servers and fails unless all are ready.
func (f *fixture) start(names ...string) {
	f.t.Helper()
	results, _, err := f.Start(f.t.Context(), names, f.asks())
	if err != nil {
		f.t.Fatal(err)
	}
	for _, r := range results {
		if !r.OK {
			f.t.Fatalf("%+v", r)
		}
	}
}

func (f *fixture) asks() supervisor.StartOptions { return supervisor.StartOptions{Env: os.Environ()} }

// await waits until the status is as wanted.
func (f *fixture) await(what string, is func(*status.Project) bool) *status.Project {
	f.t.Helper()
	sub := f.Subscribe()
	defer sub.Close()
	deadline := time.After(patience)
	for {
		st := f.Status()
		if is(st) {
			return st
		}
		select {
		case <-sub.News:
		case <-deadline:
			text, _ := json.MarshalIndent(f.Status(), "", "  ")
			f.t.Fatalf("%s: not within %v; last: %s\n%s", what, patience, text, f.log)
		}
	}
}

func (f *fixture) server(name string) status.Server {
	f.t.Helper()
	s, ok := f.Status().Server(name)
	if !ok {
		f.t.Fatalf("no server %s in %+v", name, f.Status())
	}
	return s
}

// get asks a server, and returns what it answered.
func get(t *testing.T, port int, path string) (string, error) {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// crashIt lets a server end with exit status 3.
func crashIt(t *testing.T, port int) {
	t.Helper()
	if answer, err := get(t, port, "/crash"); err == nil {
		t.Fatalf("it did not crash, but answered %q", answer)
	}
}

func has(problems []status.Problem, c status.Code, server string) bool {
	for _, p := range problems {
		if p.Code == c && p.Server == server {
			return true
		}
	}
	return false
}
