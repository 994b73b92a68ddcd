//go:build ignore

// Make runs the programs of the corpus again and writes what they print.
//
//	go run make.go [-cache folder] [case ...]
//
// A case is a txtar file beside this one. Its comment has lines `key: value`:
//
//	what: for people
//	tool: the tool's version; written by make
//	npm: packages with versions, installed beside the program
//	build: a command that runs before, and must succeed; as often as needed
//	run: the command, split at spaces; $PORT is a free port
//	env: NAME=value, as often as needed
//	dir: the server's folder below the root; default: the root
//	until: a regular expression; the program runs on, and is ended when a line matches
//	get: a path to ask for once that line was there; then until the next one
//	poll: a path to ask for until the answer is 200
//	write: NAME; the file `after/NAME` is put in its place, and what is printed
//	  from there on is another output
//	keep: files that the program's build made and that the test needs
//	exit: the status it ended with; written by make; absent while it runs
//	doc: where the output is from, of a case that was not made here
//
// until, get, poll and write are steps, done in their order. Outputs are kept as
// they came, with the folder of the run named /app, the home folder /home/ann
// and the port 3000. Both streams come through one pipe, so that they keep their
// order; of two pipes, as devside reads them, they have none, and what that
// changes is tested in monitor_test.go.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// Each step of a program that runs on must be done within this time.
const patience = 3 * time.Minute

// quiet is how long nothing must be printed before a step counts as done.
const quiet = 1500 * time.Millisecond

func main() {
	base, _ := os.UserCacheDir()
	cache := flag.String("cache", filepath.Join(base, "devside-corpus"), "where packages are installed and programs run")
	flag.Parse()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() { // what runs is in a group of its own, and would go on
		<-stop
		if p := group.Load(); p != 0 {
			syscall.Kill(-int(p), syscall.SIGKILL)
		}
		os.Exit(130)
	}()
	cases := flag.Args()
	if len(cases) == 0 {
		names, _ := filepath.Glob("*.txtar")
		for _, name := range names {
			cases = append(cases, strings.TrimSuffix(name, ".txtar"))
		}
	}
	failed := false
	for _, name := range cases {
		if err := remake(name, *cache); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			failed = true
		} else {
			fmt.Println(name)
		}
	}
	if failed {
		os.Exit(1)
	}
}

// group is the process group that runs now; 0: none.
var group atomic.Int64

type line struct{ key, value string }

func remake(name, cache string) error {
	archive, err := txtar.ParseFile(name + ".txtar")
	if err != nil {
		return err
	}
	var header []line
	var argv, env, npm, keep []string
	dir := "."
	for _, text := range strings.Split(strings.TrimSpace(string(archive.Comment)), "\n") {
		key, value, ok := strings.Cut(text, ": ")
		if !ok {
			return fmt.Errorf("no key and value: %q", text)
		}
		switch key {
		case "doc":
			return nil
		case "exit", "tool":
			continue
		case "npm":
			npm = strings.Fields(value)
		case "run":
			argv = strings.Fields(value)
		case "env":
			env = append(env, value)
		case "dir":
			dir = value
		case "keep":
			keep = strings.Fields(value)
		}
		header = append(header, line{key, value})
	}
	root, err := prepare(cache, npm)
	if err != nil {
		return err
	}
	defer clean(root, npm)
	var files []txtar.File
	for _, f := range archive.Files {
		if f.Name == "sites" || strings.HasPrefix(f.Name, "sites ") {
			files = append(files, f)
			continue
		}
		if f.Name == "output" || strings.HasPrefix(f.Name, "output ") || slices.Contains(keep, f.Name) {
			continue
		}
		files = append(files, f)
		if strings.HasPrefix(f.Name, "after/") {
			continue
		}
		if err := write(root, f.Name, f.Data); err != nil {
			return err
		}
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], "$PORT", port)
	}
	for _, l := range header {
		if l.key != "build" {
			continue
		}
		b := runner{root: root, port: port}
		if err := b.start(strings.Fields(l.value), filepath.Join(root, filepath.FromSlash(dir)), env); err != nil {
			return err
		}
		if code, err := b.wait(); err != nil || code != 0 {
			return fmt.Errorf("%s: exit status %d, %v\n%s", l.value, code, err, bytes.Join(b.outputs(), nil))
		}
	}
	r := runner{root: root, port: port}
	if err := r.start(argv, filepath.Join(root, filepath.FromSlash(dir)), append(env, "PORT="+port)); err != nil {
		return err
	}
	defer r.end()
	running := false
	for _, step := range header {
		switch step.key {
		case "until":
			running = true
			pattern, err := regexp.Compile(step.value)
			if err != nil {
				return err
			}
			if err := r.until(pattern); err != nil {
				return err
			}
		case "get":
			if _, err := get(port, step.value); err != nil {
				return err
			}
		case "poll":
			for deadline := time.Now().Add(patience); ; time.Sleep(quiet) {
				code, err := get(port, step.value)
				if code == http.StatusOK {
					break
				}
				if time.Now().After(deadline) {
					return fmt.Errorf("%s is answered %d, %v:\n%s", step.value, code, err, bytes.Join(r.outputs(), nil))
				}
			}
		case "write":
			r.cut()
			i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "after/"+step.value })
			if i < 0 {
				return fmt.Errorf("no file after/%s", step.value)
			}
			if err := write(root, step.value, archive.Files[i].Data); err != nil {
				return err
			}
		}
	}
	if running {
		r.end()
	} else {
		code, err := r.wait()
		if err != nil {
			return err
		}
		header = append(header, line{"exit", strconv.Itoa(code)})
	}
	if v := version(root, argv, npm); v != "" {
		header = slices.Insert(header, 1, line{"tool", v})
	}
	for _, name := range keep {
		data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		files = append(files, txtar.File{Name: name, Data: bytes.ReplaceAll(data, []byte(root), []byte("/app"))})
	}
	for i, text := range r.outputs() {
		name := "output"
		if i > 0 {
			name = fmt.Sprintf("output %d", i+1)
		}
		files = append(files, txtar.File{Name: name, Data: text})
	}
	slices.SortStableFunc(files, func(a, b txtar.File) int { return rank(a.Name) - rank(b.Name) })
	archive.Comment = nil
	for _, l := range header {
		archive.Comment = fmt.Appendf(archive.Comment, "%s: %s\n", l.key, l.value)
	}
	archive.Files = files
	return os.WriteFile(name+".txtar", txtar.Format(archive), 0o644)
}

func rank(name string) int {
	for i, prefix := range []string{"output", "sites"} {
		if name == prefix || strings.HasPrefix(name, prefix+" ") {
			return i + 1
		}
	}
	return 0
}

// prepare makes a folder with the packages installed.
func prepare(cache string, npm []string) (string, error) {
	root := filepath.Join(cache, fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(npm, " "))))[:12])
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return "", err
	}
	clean(root, npm)
	if _, err := os.Stat(filepath.Join(root, "node_modules")); err == nil || len(npm) == 0 {
		return root, nil
	}
	cmd := exec.Command("npm", append([]string{"install", "--no-audit", "--no-fund", "--no-save"}, npm...)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm install: %w\n%s", err, out)
	}
	return root, nil
}

// clean removes all of the program and leaves the packages.
func clean(root string, npm []string) {
	entries, _ := os.ReadDir(root)
	for _, e := range entries {
		if e.Name() != "node_modules" || len(npm) == 0 {
			os.RemoveAll(filepath.Join(root, e.Name()))
		}
	}
}

func write(root, name string, data []byte) error {
	path := filepath.Join(root, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

func get(port, path string) (code int, err error) {
	response, err := (&http.Client{Timeout: patience}).Get("http://127.0.0.1:" + port + path)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

type runner struct {
	root, port string
	cmd        *exec.Cmd
	exited     chan error

	mu    sync.Mutex
	parts [][]string // lines of each output
	seen  int        // lines of the last that until has looked at
	last  time.Time
}

func (r *runner) start(argv []string, dir string, env []string) error {
	r.cmd = exec.Command(argv[0], argv[1:]...)
	if local := filepath.Join(r.root, "node_modules", ".bin", argv[0]); !strings.Contains(argv[0], "/") {
		if _, err := os.Stat(local); err == nil {
			r.cmd = exec.Command(local, argv[1:]...)
		}
	}
	r.cmd.Dir = dir
	r.cmd.Env = append(os.Environ(), "FORCE_COLOR=1", "BROWSER=none", "PYTHONUNBUFFERED=1", "NEXT_TELEMETRY_DISABLED=1", "NODE_ENV=", "LC_ALL=C.UTF-8",
		"GOFLAGS=-mod=mod", "GO111MODULE=on", "PWD="+dir)
	r.cmd.Env = append(r.cmd.Env, env...)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := r.cmd.StdinPipe() // held open: some watchers end with it
	if err != nil {
		return err
	}
	_ = stdin
	pr, pw, err := os.Pipe() // one for both, so that lines keep their order
	if err != nil {
		return err
	}
	r.cmd.Stdout, r.cmd.Stderr = pw, pw
	if err := r.cmd.Start(); err != nil {
		return err
	}
	pw.Close()
	group.Store(int64(r.cmd.Process.Pid))
	r.parts, r.last, r.exited = [][]string{nil}, time.Now(), make(chan error, 1)
	go func() {
		in := bufio.NewReader(pr)
		for {
			text, err := in.ReadString('\n')
			if text != "" {
				r.mu.Lock()
				n := len(r.parts) - 1
				r.parts[n] = append(r.parts[n], strings.TrimSuffix(text, "\n"))
				r.last = time.Now()
				r.mu.Unlock()
			}
			if err != nil {
				break
			}
		}
		r.exited <- r.cmd.Wait()
	}()
	return nil
}

func (r *runner) wait() (int, error) {
	select {
	case err := <-r.exited:
		group.Store(0)
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			return 0, err
		}
		r.cmd = nil
		if exit == nil {
			return 0, nil
		}
		if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return exit.ExitCode(), nil
	case <-time.After(patience):
		return 0, errors.New("it goes on running; printed so far:\n" + string(bytes.Join(r.outputs(), nil)))
	}
}

// end ends the program's process group.
func (r *runner) end() {
	if r.cmd == nil {
		return
	}
	syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL)
	<-r.exited
	r.cmd = nil
	group.Store(0)
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]")

func (r *runner) until(pattern *regexp.Regexp) error {
	deadline := time.Now().Add(patience)
	matched := false
	for time.Now().Before(deadline) {
		r.mu.Lock()
		lines := r.parts[len(r.parts)-1]
		for ; r.seen < len(lines); r.seen++ {
			matched = matched || pattern.MatchString(escapes.ReplaceAllString(lines[r.seen], ""))
		}
		settled := time.Since(r.last) > quiet
		r.mu.Unlock()
		if matched && settled {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("nothing that it printed matches %s:\n%s", pattern, bytes.Join(r.outputs(), nil))
}

func (r *runner) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parts, r.seen = append(r.parts, nil), 0
}

func (r *runner) outputs() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all [][]byte
	for _, lines := range r.parts {
		text := strings.Join(lines, "\n") + "\n"
		if len(lines) == 0 {
			text = ""
		}
		text = strings.ReplaceAll(text, r.root, "/app")
		text = strings.ReplaceAll(text, strings.TrimPrefix(r.root, "/"), "app")
		text = strings.ReplaceAll(text, os.Getenv("HOME"), "/home/ann")
		text = strings.ReplaceAll(text, r.port, "3000")
		all = append(all, []byte(text))
	}
	return all
}

// version says what made the output.
func version(root string, argv, npm []string) string {
	if len(npm) > 0 {
		return "" // the npm line says it
	}
	for _, args := range [][]string{{"--version"}, {"version"}} {
		out, err := exec.Command(argv[0], args...).Output()
		if first, _, _ := strings.Cut(string(out), "\n"); err == nil && first != "" {
			return first
		}
	}
	return ""
}
