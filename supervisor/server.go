package supervisor

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	mrand "math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/devside/devside/supervisor/crash"
	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/policy"
	"github.com/devside/devside/supervisor/port"
	"github.com/devside/devside/supervisor/probe"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// Host is what the servers of one project share: how to start a process, how
// to look at ports, and where to tell what happened. Its functions are called
// from the actors' goroutines and must not wait for one.
type Host struct {
	Root   string // real path of the project
	Marker string // what the marker variable of every process begins with
	Log    zerolog.Logger

	Start func(Launch) (Process, error)
	// MayStart is asked before every start, automatic ones included; nil: it
	// may.
	MayStart func(spec.Server) *status.Problem
	Taken    func(port int) (bool, []port.Listener, error)
	NextPort func(after int, avoid func(int) bool) (int, error)
	// Listening is a cheap look, some milliseconds old, at whether anybody
	// listens on a port; nil, or not known: connect and see.
	Listening func(port int) (listening, known bool)
	HolderOf  func([]port.Listener) *status.Holder
	// Owned reports whether one of the processes has one of the listeners open;
	// nil: it can't be found out.
	Owned    func(l []port.Listener, pids []int) bool
	NewProbe func(spec.Probe, probe.Target) (probe.Probe, error)
	// Notify makes the socket of a server's next run, for `ready: notify`.
	Notify   func(server string) (*probe.Notify, error)
	ReadFile func(name string) ([]byte, error) // an env file, by its path relative to the root
	// Files are the root's, for the lines that an error names. It must follow no
	// link out of the root; nil: no error is placed.
	Files fs.FS
	// OOMKills counts the system's so far: as of now, or as of some moment of the
	// last second; nil: not known.
	OOMKills func(now bool) (uint64, error)
	Happened func(status.Event)
	// Starts are how long the last starts of a server took under an earlier hub,
	// newest last; nil: nothing is known.
	Starts func(server string) []time.Duration
	// Prepare is called right before a server's process is started, when the one
	// before has gone; nil: nothing is to be done then.
	Prepare func(server string)
	// Measure adds up what trees use, in one pass; see proc.Tracker.Measure. nil:
	// nothing is measured.
	Measure func(trees []Process, exact func(i int, u proc.Usage) bool) []proc.Measured
	// Meter is told how long starts and probes take; nil: nobody is.
	Meter Meter
}

// Server is one server's actor.
type Server struct {
	host    Host
	conf    spec.Server
	log     *logs.Log
	box     *mailbox
	changed func(Snapshot, dependency)
	lend    func(server string, after int) (int, error) // see Group.lend

	// Only the actor's goroutine touches what follows.
	m          machine
	env        []string      // of the client that asked last
	runEnv     []string      // the whole environment of the current run
	secrets    *logs.Secrets // of the current run, or the last one
	process    Process
	began      logs.Cursor        // where the current run's output begins
	notify     *probe.Notify      // of the current run; nil unless it is `ready: notify`
	cancelRun  context.CancelFunc // ends probes and readers of the current run
	hurry      chan struct{}      // closed: the stop under way has no grace left
	traceID    string
	ports      []int // of this run
	other      int   // that a person has put in the place of the first; 0: none
	usage      proc.Usage
	usageAt    time.Time
	shown      shown    // of usage
	oomKills   uint64   // of the system, when this run was looked at last
	told       Snapshot // what was published last
	toldDep    dependency
	toldOnce   bool
	starts     []chan Result
	stops      []chan Result
	background sync.WaitGroup // everything the actor started
}

// Facts for the actor alone.
type (
	askStart struct {
		fact  startAsked
		env   []string
		brief bool // answer once it is taken note of
		done  chan Result
	}
	askStop struct {
		fact stopAsked
		done chan Result
	}
	askHurry struct{}
	// portGiven: a person has put another port in the place of the first.
	portGiven struct{ number int }
	// measured is what the tree of a run uses.
	measured struct {
		run   int
		usage proc.Usage
		at    time.Time
	}
)

// newServer returns an actor for a configuration. run is the number of the
// last start that the server had under another one.
func newServer(host Host, conf spec.Server, log *logs.Log, run int, changed func(Snapshot, dependency)) *Server {
	s := &Server{host: host, conf: conf, log: log, box: newMailbox(), changed: changed, m: newMachine(conf, time.Now())}
	s.m.run = run
	if host.Starts != nil {
		s.m.starts = host.Starts(conf.Name)
	}
	return s
}

// run is the actor. It returns when ctx has ended and the server is stopped;
// the caller stops it first.
func (s *Server) run(ctx context.Context) {
	defer s.background.Wait()
	for {
		select {
		case <-s.box.wake:
		case <-ctx.Done():
			return
		}
		for _, f := range s.box.take() {
			s.handle(ctx, f)
		}
	}
}

func (s *Server) handle(ctx context.Context, f fact) {
	switch f := f.(type) {
	case askStart:
		s.env = f.env
		if f.done != nil && !f.brief {
			s.starts = append(s.starts, f.done)
		}
		s.step(ctx, f.fact)
		if f.done != nil && f.brief {
			r, done := s.m.startOutcome()
			r.OK = r.OK || !done
			f.done <- r
		}
	case askStop:
		if f.done != nil {
			s.stops = append(s.stops, f.done)
		}
		s.step(ctx, f.fact)
	case askHurry:
		s.endGrace()
	case portGiven:
		s.other = f.number
		s.publish()
	case measured:
		s.measured(ctx, f)
	case gone:
		if f.run == s.m.run {
			s.release()
		}
		s.step(ctx, f)
	default:
		s.step(ctx, f)
	}
}

// step lets the machine decide, does what it says, and publishes. An action
// that is answered at once is answered before the next fact is looked at.
func (s *Server) step(ctx context.Context, f fact) {
	queue := []fact{f}
	before := s.m.state
	for len(queue) > 0 {
		now := time.Now()
		m, actions := s.m.step(queue[0], now, mrand.Float64())
		queue = queue[1:]
		if m.readyAt != s.m.readyAt && !m.readyAt.IsZero() {
			s.host.Meter.Started(m.readyAt.Sub(m.spawnedAt))
		}
		s.m = m
		for _, a := range actions {
			if answer := s.do(ctx, a); answer != nil {
				queue = append(queue, answer)
			}
		}
	}
	if s.m.state != before {
		s.host.Log.Info().Str("server", s.conf.Name).Str("state", string(s.m.state)).Int("run", s.m.run).
			Int("pid", s.m.pid).Str("trace", s.traceID).Msg(s.m.message)
	}
	s.publish()
	s.settle()
}

func (s *Server) do(ctx context.Context, a action) fact {
	switch a := a.(type) {
	case spawn:
		return s.spawn(ctx, a.run)
	case endTree:
		s.endTree(ctx, a.run, a.force)
	case hurry:
		s.endGrace()
	case look:
		s.look(ctx, a.run)
	case lookAtPort:
		s.background.Go(func() {
			taken, _, err := s.host.Taken(a.number)
			s.box.put(portIs{a.run, taken || err != nil})
		})
	case after:
		s.later(a.d, a.f)
	case happened:
		a.event.TraceID = s.traceID
		s.log.Say(s.m.run, a.event.At, a.event.Message)
		s.host.Happened(a.event)
	}
	return nil
}

// later sends a fact when the time has passed. The machine ignores what comes
// too late, so that no timer needs to be taken back.
func (s *Server) later(d time.Duration, f fact) {
	time.AfterFunc(d, func() { s.box.put(f) })
}

// publish hands the newest snapshot on, and the news to those who depend on it,
// if there is any: most probes change nothing, and whoever is told of a change
// looks at the whole project.
func (s *Server) publish() {
	snap, dep := s.snapshot(), s.m.asDependency()
	was, is := s.told, snap
	was.process, is.process = nil, nil // compared by identity, below
	if s.toldOnce && dep == s.toldDep && s.told.process == snap.process && reflect.DeepEqual(was, is) {
		return
	}
	s.told, s.toldDep, s.toldOnce = snap, dep, true
	s.changed(snap, dep)
}

func (s *Server) snapshot() Snapshot {
	snap := s.m.snapshot()
	snap.TraceID = s.traceID
	snap.MemoryBytes, snap.PSSBytes, snap.CPUPercent = s.shown.rss, s.shown.share, s.shown.cpu
	snap.history = s.m.history
	if s.process != nil {
		snap.Identity, snap.process = s.process.Identity(), s.process
	}
	for i := range s.conf.Ports {
		number := s.wanted(i)
		if i < len(s.ports) {
			number = s.ports[i] // of this run
		}
		snap.Ports = append(snap.Ports, status.Port{Number: number, Listening: s.m.state == status.Ready})
	}
	snap.URL = url(snap.Ports)
	if s.m.state == status.Backoff && !s.m.retryAt.IsZero() {
		snap.RestartInMs = max(0, time.Until(s.m.retryAt).Milliseconds())
	}
	for _, p := range snap.Details {
		if !slices.Contains(snap.Problems, p.Code) { // of crash-site there may be several
			snap.Problems = append(snap.Problems, p.Code)
		}
	}
	return snap
}

// url is where a person would look: the first port.
func url(ports []status.Port) string {
	if len(ports) == 0 {
		return ""
	}
	return fmt.Sprintf("http://localhost:%d", ports[0].Number)
}

// settle answers those who wait and can be answered.
func (s *Server) settle() {
	if r, done := s.m.startOutcome(); done {
		answer(&s.starts, r)
	}
	if r, done := s.m.stopOutcome(); done {
		answer(&s.stops, r)
	}
}

func answer(waiting *[]chan Result, r Result) {
	for _, c := range *waiting {
		c <- r // buffered: one answer each
	}
	*waiting = nil
}

// spawn starts the process. What is in the way is found out before.
func (s *Server) spawn(ctx context.Context, run int) fact {
	fail := func(p status.Problem) fact {
		s.givePorts()
		s.closeNotify()
		return spawnFailed{run: run, problem: p}
	}
	s.traceID = newTraceID()
	if s.host.MayStart != nil {
		if p := s.host.MayStart(s.conf); p != nil {
			return fail(*p)
		}
	}
	if taken := s.takePorts(run); taken != nil {
		return fail(*taken)
	}
	env, secrets, err := s.environment()
	if err != nil {
		p := status.NewProblem(status.CannotStart, s.conf.Name, err.Error(), time.Now())
		p.Field, p.Hint = "env_file", "create the file, or take it out of env_file"
		return fail(p)
	}
	if env, err = s.listenNotify(env); err != nil {
		return fail(status.NewProblem(status.CannotStart, s.conf.Name, fmt.Sprintf("%s can't be started with `ready: notify`: %v", s.conf.Name, err), time.Now()))
	}
	s.runEnv, s.secrets = env, secrets
	if s.host.Prepare != nil {
		s.host.Prepare(s.conf.Name)
	}
	s.began = s.log.End()
	process, err := s.host.Start(Launch{
		Argv: spec.Expand(s.conf.Command, lookup(env)), Dir: s.dir(), Env: env,
		Marker: fmt.Sprintf("%s:%s:%d", s.host.Marker, s.conf.Name, run), Log: s.log, Run: run, Secrets: secrets,
	})
	if err != nil {
		p := startProblem(s.conf, err)
		p.Message = secrets.String(p.Message) // a command may have been put together from one
		return fail(p)
	}
	s.process = process
	s.usage, s.shown, s.usageAt = proc.Usage{}, shown{}, time.Time{}
	s.oomKills, _ = s.countOOMKills(false)
	s.background.Go(func() {
		select {
		case <-process.Exited():
			s.box.put(exited{run})
		case <-ctx.Done():
		}
	})
	return spawned{run: run, pid: process.Identity().PID}
}

// release lets go of what the run that is gone had.
func (s *Server) release() {
	if s.cancelRun != nil {
		s.cancelRun()
	}
	s.givePorts()
	s.closeNotify()
	s.process, s.cancelRun, s.hurry = nil, nil, nil
	s.usage, s.shown = proc.Usage{}, shown{}
}

// takePorts settles on the ports of a run: those of the configuration, or,
// where it says so, the next free one in the place of a port that is taken.
func (s *Server) takePorts(run int) *status.Problem {
	s.givePorts()
	for i, p := range s.conf.Ports {
		want := s.wanted(i)
		taken := s.taken(want)
		if taken == nil {
			s.ports = append(s.ports, want)
			continue
		}
		if p.OnConflict == spec.Fail {
			taken.Hint = fmt.Sprintf("%s may not have another port (on_conflict: fail): make %d free, or change its `port:`", s.conf.Name, want)
		}
		if p.OnConflict != spec.Next {
			return taken
		}
		number, err := s.lend(s.conf.Name, want)
		if err != nil {
			taken.Message += fmt.Sprintf("; no other was found: %v", err)
			return taken
		}
		s.log.Say(run, time.Now(), fmt.Sprintf("%s; it gets port %d", taken.Message, number))
		s.host.Log.Info().Str("server", s.conf.Name).Int("port", want).Int("instead", number).Msg("the port is taken")
		s.ports = append(s.ports, number)
	}
	return nil
}

// wanted is the i-th port of the configuration, or what a person has put in the
// place of the first.
func (s *Server) wanted(i int) int {
	if i == 0 {
		return cmp.Or(s.other, s.conf.Ports[0].Number)
	}
	return s.conf.Ports[i].Number
}

// givePorts gives the ports of the last run back: without a run, a server's
// ports are those of its configuration.
func (s *Server) givePorts() {
	s.ports = nil
	s.lend(s.conf.Name, 0) //nolint:errcheck // giving back does not fail
}

// taken describes who holds a port we want, or returns nil.
func (s *Server) taken(number int) *status.Problem {
	taken, listeners, err := s.host.Taken(number)
	if err != nil {
		s.host.Log.Warn().Err(err).Int("port", number).Msg("look at the port")
		return nil // the server finds out itself
	}
	if !taken {
		return nil
	}
	return portTaken(s.conf.Name, number, s.host.HolderOf(listeners))
}

// startProblem turns a failed start into what the user is told.
func startProblem(conf spec.Server, err error) status.Problem {
	code, message, hint := status.CannotStart, fmt.Sprintf("%s can't be started: %v", conf.Name, err), ""
	var se *proc.StartError
	if errors.As(err, &se) {
		switch se.Kind {
		case proc.NotFound:
			code = status.CommandMissing
			message = fmt.Sprintf("the command %q was not found", se.Path)
			hint = "install it, or correct `command:`; it is looked for in the PATH of the editor or terminal that started the server"
		case proc.NotExecutable:
			message, hint = fmt.Sprintf("%s is not executable", se.Path), "make it executable (chmod +x), or name the program that runs it"
		case proc.BadDir:
			message, hint = fmt.Sprintf("the folder %s can't be entered: %v", se.Path, se.Err), "correct `dir:`"
		case proc.ExecFormat:
			message, hint = fmt.Sprintf("%s is not a program this system can run", se.Path), "a script needs a first line such as #!/usr/bin/env node"
		case proc.Resources:
			message, hint = fmt.Sprintf("the system has no room for another process: %v", se.Err), "end something, then start it again"
		}
	}
	p := status.NewProblem(code, conf.Name, message, time.Now())
	p.Hint = hint
	if se != nil && se.Kind == proc.BadDir {
		p.Field = "dir"
	}
	return p
}

// endTree runs the stop ladder beside the actor and reports back. force: there
// is no time for a polite signal.
func (s *Server) endTree(ctx context.Context, run int, force bool) {
	process, ports := s.process, slices.Clone(s.ports)
	if s.cancelRun != nil {
		s.cancelRun() // no probe of ours should meet a server that is going
	}
	if process == nil {
		s.box.put(gone{run: run})
		return
	}
	s.hurry = make(chan struct{})
	oomKills, alone := s.oomKills, ended(process)
	plan := proc.StopPlan{Signal: stopSignal(s.conf), Grace: s.conf.Stop.Grace, Spare: s.conf.Stop.Spare, Hurry: s.hurry}
	if force {
		plan.Signal, plan.Grace = syscall.SIGKILL, 0
	}
	s.background.Go(func() {
		// Not ctx: what is being stopped is stopped, whoever goes meanwhile.
		report := process.Stop(context.WithoutCancel(ctx), plan)
		end := s.ending(report, alone && s.oomKilled(oomKills))
		s.box.put(gone{run: run, end: end, left: s.leftover(report, ports), spared: spared(report)})
		if alone {
			s.tellWhereItBroke(run, end.exit)
		}
	})
}

// lastLines is how much of a crashed server's output a problem shows.
const lastLines = 20

// ended reports whether the leader has ended by itself.
func ended(p Process) bool {
	select {
	case <-p.Exited():
		return true
	default:
		return false
	}
}

// countOOMKills returns false where they are not counted.
func (s *Server) countOOMKills(now bool) (uint64, bool) {
	if s.host.OOMKills == nil {
		return 0, false
	}
	n, err := s.host.OOMKills(now)
	return n, err == nil
}

// oomKilled reports whether the kernel has ended some process for lack of
// memory since it was asked last.
func (s *Server) oomKilled(last uint64) bool {
	n, known := s.countOOMKills(true)
	return known && n > last
}

// ending classifies how a run ended. oom: it ended by itself, and the kernel
// has ended something for lack of memory at about that time.
func (s *Server) ending(r proc.Report, oom bool) ending {
	e := ending{exit: crash.Exit{Code: r.Exit.Code, OOM: oom}}
	if r.Exit.Signal != 0 {
		e.exit.Signal = proc.SignalName(r.Exit.Signal)
	}
	lines := s.log.Tail(crash.Lines)
	e.cause = crash.Classify(e.exit, lines)
	e.lines = lines[max(0, len(lines)-lastLines):]
	if e.cause.Code == crash.AddressInUse && e.cause.Port != 0 {
		e.taken = s.taken(e.cause.Port)
	}
	return e
}

// leftover says who is still there after a stop, by pid, name and why; and who
// holds a port that should be free.
func (s *Server) leftover(r proc.Report, ports []int) string {
	var left []string
	for _, l := range r.Left {
		left = append(left, fmt.Sprintf("%s (pid %d) is still there: %s", l.Name, l.PID, l.Why))
	}
	for _, number := range ports {
		if p := s.stillHeld(number); p != nil {
			left = append(left, p.Message)
		}
	}
	return strings.Join(left, "; ")
}

// spared names what was left alone on purpose: whoever looks for what still
// runs after a stop should find it here.
func spared(r proc.Report) string {
	var left []string
	for _, l := range r.Spared {
		left = append(left, fmt.Sprintf("%s (pid %d) was left: %s", l.Name, l.PID, l.Why))
	}
	return strings.Join(left, "; ")
}

func stopSignal(conf spec.Server) syscall.Signal {
	if sig, err := proc.ParseSignal(conf.Stop.Signal); err == nil {
		return sig
	}
	return syscall.SIGTERM
}

// look probes the server until its run ends: at once and closely until it is
// ready, then at the probe's own pace.
func (s *Server) look(ctx context.Context, run int) {
	target := probe.Target{Ports: s.ports, Dir: s.dir(), Env: s.runEnv, Log: s.log, Run: run}
	if s.notify != nil {
		target.Notices = s.notify.Notices
		s.hear(ctx, run)
	}
	ctx, s.cancelRun = context.WithCancel(ctx)
	s.readErrors(ctx, run, s.began)
	s.watch(ctx, s.conf.Ready, target, true, func(err error) fact { return probed{run, err} })
	if s.conf.Live != nil {
		s.watch(ctx, *s.conf.Live, target, false, func(err error) fact { return liveProbed{run, err} })
	}
}

// watch runs one probe until ctx ends. gate: it decides whether a start has
// come to its end.
func (s *Server) watch(ctx context.Context, conf spec.Probe, target probe.Target, gate bool, tell func(error) fact) {
	p, err := s.host.NewProbe(conf, target)
	if err != nil {
		s.box.put(tell(err))
		return
	}
	process := s.process
	secrets := s.secrets // what a probe prints or gets as an answer may hold one
	s.background.Go(func() {
		began, passed, owned, wait, news := time.Now(), !gate, !gate, time.Duration(0), probe.News(p)
		if !gate {
			wait = conf.Every
		}
		for looks := 0; sleep(ctx, wait, news); looks++ {
			err := s.unbound(conf, target, passed, looks)
			if err == nil {
				asked := time.Now()
				err = once(ctx, p, conf.Timeout)
				if ctx.Err() == nil {
					s.host.Meter.Probed(s.conf.Name, time.Since(asked), err == nil)
				}
			}
			var slow *probe.SlowError
			answered := err == nil || errors.As(err, &slow)
			if answered && !owned {
				if foreign := s.foreign(process, target.Ports); foreign != nil {
					err, answered = foreign, false
				}
			}
			if ctx.Err() != nil {
				return
			}
			owned = answered || !gate // asked again when readiness was lost
			s.box.put(tell(hide(secrets, err)))
			passed = passed || answered
			if conf.Kind == spec.ProbeNone {
				return // there is nothing to look at again
			}
			wait = policy.NextProbe(max(time.Since(began), 1)) // 0 is for the first, made already
			if passed {
				wait = policy.ProbeEvery(conf.Every, mrand.Float64())
			}
		}
	})
}

// hide returns an error whose text has no secret in it.
func hide(secrets *logs.Secrets, err error) error {
	if err == nil || secrets == nil || secrets.String(err.Error()) == err.Error() {
		return err
	}
	return &hidden{secrets.String(err.Error()), err}
}

// hidden is an error that says less than the one it stands for.
type hidden struct {
	text string
	err  error
}

func (e *hidden) Error() string { return e.text }
func (e *hidden) Unwrap() error { return e.err }

// lookAnyway is how often a starting server is probed although nobody listens
// on its port: a port can be answered for without a listener of this system.
const lookAnyway = 8

// unbound says that nobody listens yet on the port that a probe would connect
// to. One look at the system's table serves all starting servers; a connection
// for each, every few milliseconds, would take the processor from them.
func (s *Server) unbound(conf spec.Probe, target probe.Target, passed bool, looks int) error {
	own := len(target.Ports) > 0 && (conf.Kind == spec.ProbeTCP && conf.TCP == "" || conf.Kind == spec.ProbeHTTP && strings.HasPrefix(conf.HTTP, "/"))
	if passed || !own || s.host.Listening == nil || looks%lookAnyway == lookAnyway-1 {
		return nil
	}
	if listening, known := s.host.Listening(target.Ports[0]); known && !listening {
		return fmt.Errorf("nothing listens on port %d yet", target.Ports[0])
	}
	return nil
}

func once(ctx context.Context, p probe.Probe, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return p.Look(ctx)
}

// sleep waits for the time to pass, or for news, and reports whether that came
// before ctx ended.
func sleep(ctx context.Context, d time.Duration, news <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-news:
		return true
	case <-ctx.Done():
		return false
	}
}

// endGrace ends the grace of the stop under way, if there is one.
func (s *Server) endGrace() {
	if s.hurry != nil {
		close(s.hurry)
		s.hurry = nil
	}
}

// measured takes what the tree uses. Only what it costs the machine decides
// anything; resident memory is for show.
func (s *Server) measured(ctx context.Context, f measured) {
	if f.run != s.m.run || s.process == nil {
		return // of an older run
	}
	cpu := s.shown.cpu
	if !s.usageAt.IsZero() && f.usage.CPU >= s.usage.CPU && f.at.After(s.usageAt) {
		cpu = 100 * float64(f.usage.CPU-s.usage.CPU) / float64(f.at.Sub(s.usageAt))
	}
	s.usage, s.usageAt = f.usage, f.at
	s.shown = s.shown.next(f.usage, cpu)
	if n, known := s.countOOMKills(false); known {
		s.oomKills = n
	}
	if f.usage.Exact {
		s.step(ctx, costs{run: f.run, share: f.usage.Share, guessed: f.usage.Guessed})
		return
	}
	s.publish()
}

func newTraceID() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // never fails since Go 1.24
	return hex.EncodeToString(b[:])
}
