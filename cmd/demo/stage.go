package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// stage is one run of the demo: its folder, the devside it drives, and every
// process that it has seen.
type stage struct {
	screen   *screen
	bounds   bounds
	devside  string
	exe      string // this program
	dir      string // temporary; holds the two below
	project  string
	home     string // DEVSIDE_HOME
	yaml     string
	portLine int // of the frontend's port, from 0
	apiPort  int
	webPort  int
	nonce    string

	cmd    *exec.Cmd
	stdin  io.Closer
	stdout io.Closer // our end
	client *client
	stderr tail
	exited chan struct{} // closed when devside has ended

	apiURL    string
	apiHealth health
	thief     net.Listener // holds the frontend's port
	seen      []witness
}

// newStage writes the project.
func newStage(s *screen, devside, exe string, b bounds) (_ *stage, err error) {
	st := &stage{screen: s, bounds: b, devside: devside, exe: exe, nonce: rand.Text()}
	if st.apiPort, st.webPort, err = freePorts(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "devside-demo-")
	if err != nil {
		return nil, err
	}
	if st.dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, errors.Join(err, removeTree(dir))
	}
	st.project, st.home = filepath.Join(st.dir, "shop"), filepath.Join(st.dir, "home")
	st.yaml, st.portLine = configText(exe, st.nonce, st.apiPort, st.webPort)
	err = errors.Join(os.Mkdir(st.project, 0o700), os.Mkdir(st.home, 0o700))
	if err == nil {
		err = errors.Join(os.WriteFile(filepath.Join(st.project, "devside.yaml"), []byte(st.yaml), 0o600),
			os.WriteFile(filepath.Join(st.project, envName), []byte("GREETING=Hello\n"), 0o600))
	}
	if err != nil {
		return nil, errors.Join(err, removeTree(st.dir))
	}
	s.line("\n   project  %s (temporary)\n%s", st.project, s.paint("2", indent(st.yaml, "   | ")))
	return st, nil
}

func indent(text, by string) string {
	return by + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+by)
}

// configText is the project's devside.yaml, and the line of the frontend's
// port. Words are written as JSON, which is YAML.
func configText(exe, nonce string, apiPort, webPort int) (text string, portLine int) {
	argv := func(mode string) string {
		b, _ := json.Marshal([]string{exe, mode}) // strings always encode
		return string(b)
	}
	text = fmt.Sprintf(`version: 1
servers:
  api:
    command: %s
    port: %d
    env: {%s: %s}
    env_file: [%s]
    ready: {http: /api/health}
    restart: {delay: 200ms}
    stop: {grace: 300ms}
  frontend:
    command: %s
    port: %d
    env: {API_URL: "http://127.0.0.1:%d"}
    ready: {http: /}
    depends_on: [api]
`, argv(apiName), apiPort, runVariable, nonce, envName, argv(webName), webPort, apiPort)
	before, _, _ := strings.Cut(text, fmt.Sprintf("port: %d\n", webPort))
	return text, strings.Count(before, "\n")
}

// freePorts lets the kernel choose two ports. They are let go of again: devside
// finds its servers' ports free.
func freePorts() (a, b int, err error) {
	first, err := net.Listen("tcp", loopback(0))
	if err != nil {
		return 0, 0, err
	}
	second, err := net.Listen("tcp", loopback(0))
	if err != nil {
		return 0, 0, errors.Join(err, first.Close())
	}
	a, b = first.Addr().(*net.TCPAddr).Port, second.Addr().(*net.TCPAddr).Port
	return a, b, errors.Join(first.Close(), second.Close())
}

// launch starts devside as an editor does.
func (st *stage) launch() error {
	st.cmd = exec.Command(st.devside, "--stdio", "--allow-root")
	st.cmd.Dir = st.project
	st.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(e string) bool {
		// They would change the project's ports and waits.
		return strings.HasPrefix(e, "DEV_")
	}), "DEVSIDE_HOME="+st.home)
	st.cmd.Stderr = &st.stderr
	// What devside leaves behind could hold its standard error open.
	st.cmd.WaitDelay = time.Second
	in, err := st.cmd.StdinPipe()
	if err != nil {
		return err
	}
	// Not StdoutPipe: Wait would close it under the reader.
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	st.cmd.Stdout = w
	st.screen.asked("%s --stdio", st.devside)
	if err := errors.Join(st.cmd.Start(), w.Close()); err != nil {
		return errors.Join(fmt.Errorf("start devside: %w", err), r.Close())
	}
	st.stdin, st.stdout, st.client, st.exited = in, r, newClient(r, in), make(chan struct{})
	st.see("devside", st.cmd.Process.Pid)
	go func() {
		st.cmd.Wait() //nolint:errcheck // the exit code is in ProcessState
		close(st.exited)
	}()
	return nil
}

// waitExit waits for devside's end.
func (st *stage) waitExit(ctx context.Context) (int, error) {
	t := time.NewTimer(st.bounds.end)
	defer t.Stop()
	select {
	case <-st.exited:
		return st.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-t.C:
		return 0, fmt.Errorf("devside has not ended %v after exit", st.bounds.end)
	}
}

// see remembers a process, so that its end is looked for.
func (st *stage) see(what string, pid int) {
	st.remember(see(what, pid))
}

// vouch remembers a process that has proved to be the demo's own.
func (st *stage) vouch(what string, pid int) {
	w := see(what, pid)
	w.ours = true
	st.remember(w)
}

func (st *stage) remember(w witness) {
	if w.pid == 0 || w.gone() {
		return
	}
	if i := slices.IndexFunc(st.seen, func(o witness) bool { return o.pid == w.pid && o.start == w.start }); i >= 0 {
		st.seen[i].ours = st.seen[i].ours || w.ours
		return
	}
	st.seen = append(st.seen, w)
}

// seeHub remembers the hub, and its parent, the guardian.
func (st *stage) seeHub(pid int) {
	st.see("the hub", pid)
	if parent := parentOf(pid); parent > 1 && runs(parent, st.devside) && parent != os.Getpid() {
		st.see("its guardian", parent)
	}
}

// recognised reports whether a process is the demo's to end: it runs one of the
// two programs of the demo, or has proved itself with the run's own value. What
// devside says of a pid is not enough: devside is what is being judged.
func (st *stage) recognised(w witness) bool {
	return w.pid != os.Getpid() && (w.ours || runs(w.pid, st.devside) || runs(w.pid, st.exe))
}

// isGone reports whether the last process seen with this pid has ended.
func (st *stage) isGone(pid int) bool {
	for _, w := range slices.Backward(st.seen) {
		if w.pid == pid {
			return w.gone()
		}
	}
	return true
}

// awaitGone waits until every process seen has ended, and returns those that
// have not. There is no event for the end of another's process on every
// system, so it looks again and again.
func (st *stage) awaitGone(ctx context.Context) []witness {
	ctx, cancel := context.WithTimeout(ctx, st.bounds.end)
	defer cancel()
	tick := time.NewTicker(goneEvery)
	defer tick.Stop()
	for {
		left := slices.DeleteFunc(slices.Clone(st.seen), witness.gone)
		if len(left) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return left
		}
	}
}

// ownFile reports whether a URI is that of the project's devside.yaml.
func (st *stage) ownFile(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && u.Scheme == "file" && path.Base(u.Path) == "devside.yaml"
}

// squiggle shows a diagnostic as an editor would.
func (st *stage) squiggle(d diagnostic) string {
	lines := strings.Split(st.yaml, "\n")
	from, to := d.Range.Start, d.Range.End
	severity := [...]string{"", "error", "warning", "information", "hint"}
	name := ""
	if d.Severity > 0 && d.Severity < len(severity) {
		name = severity[d.Severity]
	}
	out := fmt.Sprintf("devside.yaml:%d:%d: %s, %s\n%s", from.Line+1, from.Character+1, name, d.Code, d.Message)
	if from.Line >= len(lines) || to.Line != from.Line || to.Character <= from.Character {
		return out
	}
	mark := strings.Repeat(" ", from.Character) + strings.Repeat("^", to.Character-from.Character)
	return out + "\n  | " + lines[from.Line] + "\n  | " + mark
}

// clean ends what still runs, whatever has failed, and removes the folder.
func (st *stage) clean() error {
	var errs []error
	if st.thief != nil {
		errs = append(errs, st.thief.Close())
	}
	if st.cmd != nil && st.cmd.Process != nil {
		errs = append(errs, st.cleanProcesses())
	}
	return errors.Join(append(errs, removeTree(st.dir))...)
}

// cleanProcesses lets devside stop its servers as it does when an editor dies,
// and only then ends what is left.
func (st *stage) cleanProcesses() error {
	if err := st.stdin.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), st.bounds.end)
	defer cancel()
	select {
	case <-st.exited:
	case <-ctx.Done():
		// The servers are not its children: they are looked for below.
		if err := st.cmd.Process.Kill(); err != nil {
			return err
		}
		<-st.exited
	}
	// Somebody may hold its standard output still: that must not hold us.
	errs := []error{st.stdout.Close()}
	<-st.client.ended
	for _, w := range st.awaitGone(context.Background()) {
		if !st.recognised(w) {
			errs = append(errs, fmt.Errorf("%s (pid %d) is not recognised as the demo's own: it is left alone", w.what, w.pid))
			continue
		}
		st.screen.line("ending %s (pid %d), which was left", w.what, w.pid)
		errs = append(errs, w.kill())
	}
	for _, w := range st.awaitGone(context.Background()) {
		errs = append(errs, fmt.Errorf("%s (pid %d) runs on", w.what, w.pid))
	}
	return errors.Join(errs...)
}

// removeTree removes a folder and what is in it, from the leaves up, through a
// handle of the folder: a link in it is removed and never followed.
func removeTree(dir string) error {
	r, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	var paths []string
	err = fs.WalkDir(r.FS(), ".", func(p string, _ fs.DirEntry, err error) error {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if p != "." {
			paths = append(paths, p)
		}
		return nil
	})
	for _, p := range slices.Backward(paths) {
		if e := r.Remove(p); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return errors.Join(err, r.Close(), os.Remove(dir))
}

// tailBytes is how much of devside's log a failure shows.
const tailBytes = 8 << 10

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	data []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p...)
	if n := len(t.data) - tailBytes; n > 0 {
		t.data = append([]byte(nil), t.data[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.data))
}
