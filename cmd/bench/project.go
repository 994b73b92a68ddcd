package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// project is a temporary project with its devside.yaml, and devside's state
// beside it.
type project struct {
	side
	b    *bench
	root string
	home string // DEVSIDE_HOME
}

// settings are what a project says beside its servers.
type settings struct {
	chain bool   // each server depends on the one before
	extra string // lines of every server, indented as its keys are
}

// newProject writes a project.
func (b *bench) newProject(servers []server, set settings) (*project, error) {
	b.projects++
	name := fmt.Sprintf("p%d", b.projects)
	p := &project{side: newSide("d", servers), b: b, root: filepath.Join(b.dir, name), home: filepath.Join(b.dir, name+"-home")}
	p.mark = b.mark + name + "."
	text := configText(b.exe, p.servers, set)
	err := errors.Join(os.Mkdir(p.root, 0o700), os.Mkdir(p.home, 0o700))
	if err == nil {
		err = os.WriteFile(filepath.Join(p.root, "devside.yaml"), []byte(text), 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("write a project: %w", err)
	}
	return p, nil
}

// configText is a project's devside.yaml. Words are written as JSON, which is
// YAML.
func configText(exe string, servers []server, set settings) string {
	var t strings.Builder
	t.WriteString("version: 1\nservers:\n")
	for i, s := range servers {
		argv, _ := json.Marshal(append([]string{exe}, s.argv()...)) // strings always encode
		fmt.Fprintf(&t, "  %s:\n    command: %s\n    port: %d\n", s.name, argv, s.port)
		if set.chain && i > 0 {
			fmt.Fprintf(&t, "    depends_on: [%s]\n", servers[i-1].name)
		}
		for line := range strings.Lines(set.extra) {
			t.WriteString("    " + line)
		}
	}
	return t.String()
}

// command is devside in the project's folder, with its state and our mark.
func (p *project) command(args ...string) *exec.Cmd {
	if os.Geteuid() == 0 {
		args = append(args, "--allow-root")
	}
	cmd := exec.Command(p.b.devside, args...)
	cmd.Dir = p.root
	cmd.Env = append(p.b.environment(p.mark), "DEVSIDE_HOME="+p.home)
	return cmd
}

// session is an editor's session: devside --stdio and this program as its
// client.
type session struct {
	*client
	p       *project
	cmd     *exec.Cmd
	began   time.Time // before the exec
	first   timing    // initialize
	stderr  tail
	toClose []*os.File
	exited  chan error
}

// open starts devside --stdio and initializes the session.
func (p *project) open(ctx context.Context) (*session, error) {
	s := &session{p: p, cmd: p.command("--stdio"), exited: make(chan error, 1)}
	s.cmd.Stderr = &s.stderr
	// What devside leaves behind could hold its standard error open.
	s.cmd.WaitDelay = time.Second
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, inR.Close(), inW.Close())
	}
	s.cmd.Stdin, s.cmd.Stdout = inR, outW
	s.toClose = []*os.File{inW, outR}
	s.began = time.Now()
	err = s.cmd.Start()
	err = errors.Join(err, inR.Close(), outW.Close())
	s.client = newClient(outR, inW)
	if s.cmd.Process == nil {
		return nil, errors.Join(fmt.Errorf("start devside: %w", err), s.closePipes())
	}
	go func() { s.exited <- s.cmd.Wait() }()
	if err == nil {
		s.first, err = s.call(ctx, "initialize", map[string]any{
			"processId": os.Getpid(), "rootUri": (&url.URL{Scheme: "file", Path: p.root}).String(),
			"capabilities": map[string]any{}, "initializationOptions": map[string]any{"trusted": true},
		}, nil)
	}
	if err == nil {
		err = s.notify("initialized", struct{}{})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open a session: %w; devside said: %s", err, s.stderr.String()), s.drop())
	}
	return s, nil
}

func (s *session) closePipes() error {
	var err error
	for _, f := range s.toClose {
		err = errors.Join(err, ignoreClosed(f.Close()))
	}
	<-s.ended
	return err
}

// endPatience bounds how long devside may take to end after exit: an editor
// kills it after 2 s at the latest, and this is no place to find that out.
const endPatience = 15 * time.Second

// close shuts the session down as an editor does.
func (s *session) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), endPatience)
	defer cancel()
	_, err := s.call(ctx, "shutdown", nil, nil)
	if err == nil {
		err = s.notify("exit", nil)
	}
	return errors.Join(err, s.awaitExit(ctx), s.closePipes())
}

// drop ends the session as an editor that dies: by the end of its input.
func (s *session) drop() error {
	ctx, cancel := context.WithTimeout(context.Background(), endPatience)
	defer cancel()
	err := s.toClose[0].Close()
	var status *exec.ExitError
	if e := s.awaitExit(ctx); !errors.As(e, &status) { // an exit status is expected
		err = errors.Join(err, e)
	}
	return errors.Join(err, s.closePipes())
}

func (s *session) awaitExit(ctx context.Context) error {
	select {
	case err := <-s.exited:
		if err != nil {
			return fmt.Errorf("end devside --stdio: %w", err)
		}
		return nil
	case <-ctx.Done():
		err := s.cmd.Process.Kill() // our own child, not reaped
		<-s.exited
		return errors.Join(errors.New("end devside --stdio: it did not end, and was killed"), err)
	}
}

// serverResult is what start and stop say of one server.
type serverResult struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	State string `json:"state"`
	Error *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

type startResult struct {
	Servers []serverResult `json:"servers"`
}

// all is an error if not all servers have come to a state. One that stopped,
// and whose port somebody else took at once, has stopped.
func (r startResult) all(state string, count int) error {
	for _, s := range r.Servers {
		if s.State != state {
			why := "no reason given"
			if s.Error != nil {
				why = fmt.Sprintf("%s (%s)", s.Error.Message, s.Error.Code)
			}
			return fmt.Errorf("server %s is %s, not %s: %s", s.Name, s.State, state, why)
		}
	}
	if len(r.Servers) != count {
		return fmt.Errorf("the answer is about %d servers, not %d", len(r.Servers), count)
	}
	return nil
}

// projectStatus is what is needed of devside/status.
type projectStatus struct {
	HubPID  int            `json:"hubPid"`
	Servers []serverStatus `json:"servers"`
}

type serverStatus struct {
	Name  string    `json:"name"`
	State string    `json:"state"`
	Since time.Time `json:"since"`
	PID   int       `json:"pid"`
}

// started is a start, seen from outside.
type started struct {
	open     time.Duration // until the last port accepted
	answered time.Duration // until the answer to the request
	news     map[string]event
	answer   time.Time
}

// start starts all servers.
func (s *session) start(ctx context.Context) (started, error) {
	req, err := s.ask("devside/start", struct{}{})
	if err != nil {
		return started{}, err
	}
	hearing, cancel := context.WithCancel(ctx)
	defer cancel()
	var res startResult
	var t timing
	answered := make(chan error, 1)
	go func() {
		var err error
		if t, err = req.wait(ctx, &res); err == nil {
			err = res.all("ready", len(s.p.names))
		}
		if err != nil {
			cancel() // what did not start opens no port
		}
		answered <- err
	}()
	news, hearErr := s.p.b.ear.hear(hearing, s.p.names)
	if hearErr != nil && hearing.Err() == nil {
		return started{}, hearErr
	}
	if err := <-answered; err != nil {
		return started{}, fmt.Errorf("start: %w; devside said: %s", err, s.stderr.String())
	}
	s.p.heard(news)
	return started{open: last(news).Sub(req.asked), answered: t.took(), news: news, answer: t.answered}, nil
}

// stop stops all servers and measures until their ports are free, and until
// the answer.
func (s *session) stop(ctx context.Context) (free, answered time.Duration, err error) {
	all, err := s.p.hold()
	if err != nil {
		return 0, 0, err
	}
	defer closeAll(all)
	req, err := s.ask("devside/stop", struct{}{})
	if err != nil {
		return 0, 0, err
	}
	end, err := s.p.free(ctx, all)
	if err != nil {
		return 0, 0, err
	}
	var res startResult
	t, err := req.wait(ctx, &res)
	if err == nil {
		err = res.all("stopped", len(s.p.names))
	}
	return end.Sub(req.asked), t.took(), err
}

func (s *session) status(ctx context.Context) (projectStatus, timing, error) {
	var st projectStatus
	t, err := s.call(ctx, "devside/status", struct{}{}, &st)
	return st, t, err
}

// settled waits until a server is ready with the pid that it told.
func (s *session) settled(ctx context.Context, name string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		st, _, err := s.status(ctx)
		if err != nil {
			return err
		}
		var state string
		for _, sv := range st.Servers {
			if sv.Name == name {
				state = sv.State
				if state == "ready" && sv.PID == s.p.pids[name] {
					return nil
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("await server %s to be ready: it is %s: %w", name, state, context.Cause(ctx))
		}
	}
}

// regained waits until the session has a hub again, after it lost one.
func (s *session) regained(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, _, err := s.status(ctx)
		var refused *rpcError
		if !errors.As(err, &refused) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("await a new hub: %w", err)
		}
	}
}

// pair is the hub and its guardian.
func (s *session) pair(ctx context.Context) (hub, guardian witness, err error) {
	st, _, err := s.status(ctx)
	if err != nil {
		return hub, guardian, err
	}
	parent, err := parentOf(st.HubPID)
	if err != nil {
		return hub, guardian, fmt.Errorf("find the guardian: %w", err)
	}
	if hub, err = see(st.HubPID, s.p.mark); err != nil {
		return hub, guardian, fmt.Errorf("hold the hub: %w", err)
	}
	if guardian, err = see(parent, s.p.mark); err != nil {
		hub.close()
		return hub, guardian, fmt.Errorf("hold the guardian: %w", err)
	}
	return hub, guardian, nil
}

// gone waits until no process of the project is left, and returns how many are
// when patience has run out.
func (p *project) gone(ctx context.Context, patience time.Duration) (left int, took time.Duration, err error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		all, err := marked(p.mark)
		if err != nil {
			return 0, 0, err
		}
		closeAll(all)
		if len(all) == 0 {
			return 0, time.Since(begin), nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return len(all), time.Since(begin), nil
		}
	}
}

// up is `devside up` at work.
type up struct {
	cmd    *exec.Cmd
	began  time.Time
	stderr tail
}

// up starts `devside up`.
func (p *project) up() (*up, error) {
	u := &up{cmd: p.command("up", "--trust")}
	u.cmd.Stderr = &u.stderr
	u.cmd.WaitDelay = time.Second
	u.began = time.Now()
	if err := u.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start devside up: %w", err)
	}
	return u, nil
}

// interrupt ends it as Ctrl-C does, and waits.
func (u *up) interrupt() error {
	if err := u.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return fmt.Errorf("interrupt devside up: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- u.cmd.Wait() }()
	t := time.NewTimer(endPatience)
	defer t.Stop()
	select {
	case err := <-exited:
		var status *exec.ExitError
		if errors.As(err, &status) && status.ExitCode() == exitInterrupted {
			return nil
		}
		return fmt.Errorf("interrupt devside up: %w; it said: %s", err, u.stderr.String())
	case <-t.C:
		err := u.cmd.Process.Kill()
		<-exited
		return errors.Join(errors.New("interrupt devside up: it did not end, and was killed"), err)
	}
}

// exitInterrupted is what devside up exits with after Ctrl-C.
const exitInterrupted = 130
