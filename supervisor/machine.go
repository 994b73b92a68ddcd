package supervisor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/devside/devside/supervisor/crash"
	"github.com/devside/devside/supervisor/policy"
	"github.com/devside/devside/supervisor/probe"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// A fact is something that happened to a server.
type fact any

type (
	// startAsked: a person, a client's autostart or a restore wants it up.
	startAsked struct {
		epoch int           // number of the Group's start that asks
		force bool          // restart what runs
		why   status.Reason // what a restart that no person asked for is for
		asked bool          // a person asked for that, too: no budget applies
		// because is the file that why is about.
		because status.Because
	}
	// fileChanged: the server can't pick up by itself what is in this file now,
	// or it may be what held it.
	fileChanged struct{ because status.Because }
	// portElapsed: it is time to look whether the port that held the server is
	// free; portIs is what was seen.
	portElapsed struct{ run int }
	portIs      struct {
		run   int
		taken bool
	}
	stopAsked struct{ message string }
	// dependencyIs is the last news of something in depends_on.
	dependencyIs struct {
		name string
		is   dependency
	}
	// spawned and spawnFailed answer the action spawn.
	spawned struct {
		run int
		pid int
	}
	spawnFailed struct {
		run     int
		problem status.Problem
	}
	probed struct {
		run int
		err error
	}
	liveProbed struct {
		run int
		err error
	}
	withinElapsed  struct{ run int }     // the run's readiness is late
	overdueElapsed struct{ request int } // the person's start is late, counted from its first spawn
	waitElapsed    struct{ request int } // the same, counted from the asking
	backoffElapsed struct{ run int }
	// budgetElapsed: a restart that the budget did not allow is allowed now.
	budgetElapsed struct{ run int }
	// costs is what the tree costs the machine; guessed: for so many of its
	// processes as well as can be told.
	costs struct {
		run     int
		share   int64
		guessed int
	}
	exited struct{ run int } // the leader ended; not reaped yet
	// sitesAre: what the output of a run that goes on says is wrong now.
	sitesAre struct {
		run   int
		sites []crash.Site
	}
	// crashSites: where a run broke that had ended. Told after its end: nothing
	// waits for it.
	crashSites struct {
		run   int
		sites []crash.Site
	}
	// gone: the tree is gone and the leader reaped.
	gone struct {
		run    int
		end    ending
		left   string // who is still there and why; empty: nobody
		spared string // who was left alone on purpose; empty: nobody
	}
)

// ending is how a run ended.
type ending struct {
	exit  crash.Exit
	cause crash.Cause
	lines []string        // the last ones it printed
	taken *status.Problem // the port it could not bind has another holder
}

// dependency is what a server needs to know of something it waits for.
type dependency struct {
	up       bool
	external bool // checked by devside, not started by it
	// epoch is the last start that the dependency has taken note of: what it
	// says of an older one is stale news to who waits in a newer one.
	epoch int
	// ended says why it won't come up by itself; empty while it may.
	ended string
	// late says why it is not up though its time has passed.
	late string
	// cause is what keeps it from being up; zero while it is, or may soon be.
	cause cause
}

// cause is the first thing in a chain of dependencies that fails by itself,
// and how: postgres, "connection refused on localhost:5432".
type cause struct{ name, why string }

// An action is something the actor must do.
type action any

type (
	spawn   struct{ run int } // start the process; answer spawned or spawnFailed
	endTree struct {          // stop the tree: signal, grace, kill; answer gone
		run   int
		force bool // kill at once
	}
	hurry struct{ run int } // end the grace of the stop under way
	look  struct{ run int } // begin probing; answer probed, liveProbed
	after struct {          // send the fact back when the time has passed
		d time.Duration
		f fact
	}
	lookAtPort struct { // answer portIs
		run, number int
	}
	happened struct{ event status.Event }
)

// sickness is why a server is unhealthy, by its own account.
type sickness struct {
	why, hint string
	field     string // where the problem is shown, if not at the probe
}

// machine is everything there is to know about one server in order to decide.
// It is a value: step returns the next one.
type machine struct {
	conf    spec.Server
	state   status.State
	since   time.Time
	message string // why the state is as it is
	hint    string

	run      int     // number of the current or last start
	request  int     // number of the last start by a person
	epoch    int     // of the Group's last start that concerned this server
	spawns   int     // in this request
	overdue  bool    // the request has taken longer than `within`
	timed    bool    // an overdueElapsed of the request is still to come
	again    bool    // start again once stopped
	liveness bool    // the stop under way is a failed liveness probe's: it counts as a crash
	ended    bool    // the leader of the current run has ended
	alive    bool    // a tree of the current run may exist
	own      ownStop // what the stop under way is for, when nobody asked for it

	deps    map[string]dependency
	history policy.History
	health  policy.Health
	live    policy.Health
	memory  policy.Memory // of this run

	pid        int
	spawnedAt  time.Time
	waited     time.Duration // for dependencies, before this run
	readyAt    time.Time     // of this run; zero: not yet
	readyMs    *int64
	failing    string // what the probe said last; empty: it passed
	failed     string // what it said when it failed last
	sick       sickness
	restarts   int
	why        status.Reason  // why the current run is a restart; empty: it is none
	because    status.Because // the file that why is about
	held       crash.Cause    // what keeps it in blocked or crash-loop, as far as its end tells
	crashes    int
	restartsBy counts[status.Reason] // every start that was a restart, also those that somebody asked for
	crashesBy  counts[string]        // by cause
	lastExit   *status.Exit
	retryAt    time.Time // in backoff
	left       string
	spared     string
	problems   map[status.Code]status.Problem
	sites      []status.Problem // crash-site; replaced as a whole, never changed
	broke      int              // the run that crashed, until another is ready; 0: none
	starts     []time.Duration  // how long the last ones took, newest last; replaced, never changed
}

func newMachine(conf spec.Server, now time.Time) machine {
	return machine{conf: conf, state: status.Stopped, since: now, deps: map[string]dependency{}, problems: map[status.Code]status.Problem{}}
}

// step decides what a fact leads to. rnd is in [0,1): the jitter of a back-off.
func (m machine) step(f fact, now time.Time, rnd float64) (machine, []action) {
	m.deps, m.problems = maps.Clone(m.deps), maps.Clone(m.problems)
	s := stepper{machine: m, now: now, rnd: rnd}
	switch f := f.(type) {
	case startAsked:
		s.startAsked(f)
	case stopAsked:
		s.stopAsked(f)
	case dependencyIs:
		s.deps[f.name] = f.is
		s.dependencyChanged()
	case spawned:
		if f.run == s.run {
			s.spawned(f)
		}
	case spawnFailed:
		if f.run == s.run {
			s.spawnFailed(f)
		}
	case probed:
		if f.run == s.run && !s.ended {
			s.probed(f.err)
		}
	case liveProbed:
		if f.run == s.run && !s.ended {
			s.liveProbed(f.err)
		}
	case withinElapsed:
		if f.run == s.run && s.state == status.Starting && !s.ended {
			s.notReady()
		}
	case overdueElapsed:
		if f.request == s.request {
			s.timed = false
		}
		if f.request == s.request && s.state != status.Ready {
			s.overdue = true
			if s.state == status.Starting && s.spawns == 1 && !s.ended {
				s.notReady() // the same moment as withinElapsed of its only run
			}
		}
	case waitElapsed:
		if f.request == s.request && s.state == status.Waiting {
			s.waitedLong()
		}
	case backoffElapsed:
		if f.run == s.run && s.state == status.Backoff && !s.alive {
			s.restarts++
			s.tryRestart()
		}
	case budgetElapsed:
		if f.run == s.run && s.state == status.Backoff && !s.alive {
			s.configured()
		}
	case costs:
		if f.run == s.run && s.alive && !s.ended {
			s.costs(f)
		}
	case fileChanged:
		s.fileChanged(f.because)
	case portElapsed:
		if p, waits := s.heldByPort(); waits && f.run == s.run {
			s.do(lookAtPort{s.run, p})
		}
	case portIs:
		if p, waits := s.heldByPort(); waits && f.run == s.run {
			s.portIs(p, f.taken)
		}
	case sitesAre:
		if f.run == s.run && s.alive && !s.ended {
			s.place(f.sites)
		}
	case crashSites:
		if f.run == s.broke {
			s.place(f.sites)
		}
	case exited:
		if f.run == s.run && s.alive && !s.ended {
			s.exited()
		}
	case gone:
		if f.run == s.run && s.alive {
			s.gone(f)
		}
	}
	return s.machine, s.actions
}

// stepper is a machine in the middle of one step.
type stepper struct {
	machine
	now     time.Time
	rnd     float64
	actions []action
}

func (s *stepper) do(a action) { s.actions = append(s.actions, a) }

// enter changes the state. Every change of state goes through here.
func (s *stepper) enter(state status.State, message, hint string) {
	if s.state != state {
		s.state, s.since = state, s.now
	}
	s.message, s.hint = message, hint
}

func (s *stepper) say(kind status.Kind, message string) {
	s.do(happened{status.Event{Kind: kind, Server: s.conf.Name, At: s.now, Message: message}})
}

func (s *stepper) raise(p status.Problem) {
	if old, ok := s.problems[p.Code]; ok {
		p.Since = old.Since
	}
	s.problems[p.Code] = p
}

func (s *stepper) problem(c status.Code, message, hint string) status.Problem {
	p := status.NewProblem(c, s.conf.Name, message, s.now)
	p.Hint = hint
	return p
}

func (s *stepper) startAsked(f startAsked) {
	s.epoch = f.epoch
	switch s.state {
	case status.Starting, status.Ready, status.Unhealthy:
		if f.force {
			s.ask()
			s.again, s.why = true, f.why
			s.stop("restarting")
			return
		}
		s.join()
	case status.Stopping:
		s.ask()
		s.again, s.liveness, s.own, s.why = true, false, "", f.why
	case status.Backoff:
		s.ask()
		if s.alive { // its tree is still being cleaned up
			s.again = true
			return
		}
		s.tryStart()
	default:
		s.ask()
		s.because = f.because
		if f.why == status.ReasonConfiguration && !f.asked {
			s.configured()
			return
		}
		s.why = f.why
		if f.why == status.ReasonConfiguration {
			s.sayRestart("restarts")
		}
		s.tryStart()
	}
}

// join lets a start wait for a run that is there already, for as long as a new
// one would have had: a run that devside has begun by itself, or that was ready
// once, has nobody who would end the wait.
func (s *stepper) join() {
	if s.state == status.Ready || s.overdue || s.timed {
		return
	}
	s.request++
	s.lateAfterWithin()
}

// lateAfterWithin ends the wait for the request when it has taken too long.
func (s *stepper) lateAfterWithin() {
	s.timed = true
	s.do(after{s.conf.Ready.Within, overdueElapsed{s.request}})
}

// ask begins a start by a person: what was held against the server is
// forgotten, but for the crashes of the last hour.
func (s *stepper) ask() {
	s.anew()
	s.why, s.because = "", status.Because{}
	s.history = s.history.Reset()
	clear(s.problems)
}

// tryStart spawns if every dependency is up, and waits for them otherwise. It
// gives up when one of them won't come up by itself.
func (s *stepper) tryStart() {
	if why, ended := s.blockedBy(); ended {
		s.enter(status.Stopped, why, "")
		s.raise(s.dependencyDown(why))
		return
	}
	s.tryRestart()
}

// tryRestart is tryStart for an automatic restart: a dependency that a person
// has stopped meanwhile does not keep the server down.
func (s *stepper) tryRestart() {
	if missing := s.missing(); len(missing) > 0 {
		if s.state != status.Waiting {
			s.do(after{s.conf.Ready.Within, waitElapsed{s.request}})
		}
		s.enter(status.Waiting, "waiting for "+strings.Join(missing, ", "), "")
		s.explainWait()
		return
	}
	s.spawn()
}

func (s *stepper) spawn() {
	delete(s.problems, status.DependencyDown)
	s.run++
	s.spawns++
	if s.why != "" {
		s.restartsBy = s.restartsBy.plus(s.why)
	}
	if s.spawns == 1 {
		s.lateAfterWithin()
	}
	s.alive, s.ended, s.liveness, s.again, s.own = true, false, false, false, ""
	s.memory = policy.Memory{}
	delete(s.problems, status.MemoryWarning)
	s.pid, s.readyMs, s.readyAt, s.spawnedAt, s.retryAt, s.left, s.failing, s.failed = 0, nil, time.Time{}, s.now, time.Time{}, "", "", ""
	s.spared, s.held = "", crash.Cause{}
	s.health = policy.NewHealth(policy.Readiness, s.conf.Ready.Failures).WithErrorRate(s.conf.Ready.ErrorRate)
	if s.conf.Live != nil {
		s.live = policy.NewHealth(policy.Liveness, s.conf.Live.Failures)
	}
	s.waited = 0
	if s.state == status.Waiting {
		s.waited = s.now.Sub(s.since)
	}
	s.enter(status.Starting, "", "")
	s.do(spawn{s.run})
}

// missing names what is not up but may still come up, in the order of depends_on.
func (s *stepper) missing() []string {
	var out []string
	for _, name := range s.conf.DependsOn {
		if d := s.deps[name]; !d.up && !s.hasEnded(d) {
			out = append(out, name)
		}
	}
	return out
}

// hasEnded reports that a dependency won't come up by itself, and that this is
// news of the start we are part of.
func (s *stepper) hasEnded(d dependency) bool { return d.ended != "" && d.epoch >= s.epoch }

// blockedBy reports a dependency that won't come up by itself.
func (s *stepper) blockedBy() (string, bool) {
	for _, name := range s.conf.DependsOn {
		if d := s.deps[name]; !d.up && s.hasEnded(d) {
			return fmt.Sprintf("%s did not become ready: %s", name, d.ended), true
		}
	}
	return "", false
}

// waitedLong: what devside only checks has had as long to come up as the
// server itself has. The server goes on waiting; whoever asked for it is
// told. (What devside starts has bounds of its own.)
func (s *stepper) waitedLong() {
	for _, name := range s.missing() {
		if s.deps[name].external {
			s.overdue = true
			s.explainWait()
			return
		}
	}
}

// explainWait names, while the server waits, what is the matter: the first
// dependency that has trouble, and what that comes from.
func (s *stepper) explainWait() {
	for _, name := range s.missing() {
		why := s.deps[name].late
		if c := s.deps[name].cause; c != (cause{}) && !s.stale(s.deps[name]) {
			why = c.behind(name)
		}
		if why != "" {
			s.message = fmt.Sprintf("waiting for %s: %s", name, why)
			s.raise(s.dependencyDown(s.message))
			return
		}
	}
	delete(s.problems, status.DependencyDown)
}

// behind says why the named dependency is not up.
func (c cause) behind(name string) string {
	if c.name == name {
		return c.why
	}
	return fmt.Sprintf("%s is down: %s", c.name, c.why)
}

// dependencyDown names the cause, or at least the dependency that is missing.
func (s *stepper) dependencyDown(why string) status.Problem {
	p := s.problem(status.DependencyDown, why, "")
	p.Other = s.cause().name
	for _, name := range s.conf.DependsOn {
		if p.Other == "" && !s.deps[name].up {
			p.Other = name
		}
	}
	return p
}

// cause is what keeps the first dependency that is down from being up; zero,
// if all are up or nothing is known of why they are not.
func (m machine) cause() cause {
	for _, name := range m.conf.DependsOn {
		if d := m.deps[name]; !d.up && d.cause != (cause{}) && !m.stale(d) {
			return d.cause
		}
	}
	return cause{}
}

// stale: the dependency has not heard yet of the start that waits for it.
func (m machine) stale(d dependency) bool {
	return m.state == status.Waiting && d.ended != "" && d.epoch < m.epoch
}

func (s *stepper) dependencyChanged() {
	switch s.state {
	case status.Waiting:
		s.tryStart()
	case status.Unhealthy:
		s.unhealthy(s.sick) // it may be because of that
	case status.Stopped:
		s.afterDependency()
	}
}

// afterDependency starts what was given up for a dependency, once all that it
// needs is up after all: whoever asked for it wants it, and has mended what was
// in its way. A dependency that comes and goes has bounds of its own.
func (s *stepper) afterDependency() {
	_, gaveUp := s.problems[status.DependencyDown]
	if !gaveUp || slices.ContainsFunc(s.conf.DependsOn, func(name string) bool { return !s.deps[name].up }) {
		return
	}
	s.anew()
	clear(s.problems)
	s.why, s.because = status.ReasonMended, status.Because{}
	s.say(status.HappenedRestart, s.conf.Name+" starts: what it depends on is up")
	s.spawn()
}

func (s *stepper) spawned(f spawned) {
	s.pid = f.pid
	if s.state != status.Starting {
		return
	}
	s.say(status.HappenedStart, fmt.Sprintf("%s started (pid %d)", s.conf.Name, f.pid))
	s.do(look{s.run})
	s.do(after{s.conf.Ready.Within, withinElapsed{s.run}})
}

// spawnFailed: what can't be executed is blocked at once, and never a crash.
func (s *stepper) spawnFailed(f spawnFailed) {
	s.alive, s.ended = false, false
	s.pid, s.spawnedAt = 0, time.Time{}
	if s.state == status.Stopping {
		s.stopped()
		return
	}
	p := f.problem
	p.Server, p.Since = s.conf.Name, s.now
	s.raise(p)
	s.enter(status.Blocked, p.Message, p.Hint)
	s.do(happened{status.Event{Kind: status.HappenedProblem, Server: s.conf.Name, At: s.now, Message: p.Message, Code: p.Code}})
	s.awaitPort()
}

func (s *stepper) probed(err error) {
	s.failing = ""
	if err != nil {
		s.failing = err.Error()
		s.failed = s.failing
	}
	var foreign *ForeignError
	if errors.As(err, &foreign) {
		s.raise(foreign.Problem)
	} else {
		delete(s.problems, status.PortTaken)
	}
	switch s.state {
	case status.Starting, status.Ready, status.Unhealthy:
	default:
		return
	}
	health, verdict := s.health.Observe(err == nil || s.slowStart(err))
	s.health = health
	switch {
	case verdict == policy.NowReady && s.readyAt.IsZero():
		s.becomeReady()
	case verdict == policy.NowReady && s.memory.High:
		s.tooHigh()
	case verdict == policy.NowReady:
		s.healthyAgain()
	case verdict == policy.NotReady:
		s.unhealthy(sickness{why: "it is no longer ready: " + s.failing})
	case verdict == policy.Unsteady:
		s.unsteady()
	case s.state == status.Unhealthy && s.readyAt.IsZero():
		s.notReady() // tells the newest reason
	}
}

// unsteady: readiness was never lost, but too many probes fail.
func (s *stepper) unsteady() {
	failed, of := s.health.Recent()
	s.unhealthy(sickness{why: fmt.Sprintf("%d of its last %d probes failed, more than %v%%; the last one: %s", failed, of, 100*s.conf.Ready.ErrorRate, s.failed),
		hint: "it is not restarted for this; `ready: {error_rate: 5%}` allows more"})
}

// slowStart: the first answer of a server was right and came too late. It is
// ready then; one that goes on like that becomes unhealthy.
func (s *stepper) slowStart(err error) bool {
	var slow *probe.SlowError
	return s.readyAt.IsZero() && errors.As(err, &slow)
}

func (s *stepper) becomeReady() {
	s.readyAt = s.now
	ms := s.now.Sub(s.spawnedAt).Milliseconds()
	s.readyMs = &ms
	s.overdue = false
	warning, warned := s.problems[status.MemoryWarning]
	clear(s.problems)
	s.mended()
	if warned { // of this run: it is as true as before
		s.raise(warning)
	}
	s.judgeStart(s.now.Sub(s.spawnedAt))
	s.enter(status.Ready, "", "")
	s.say(status.HappenedReady, fmt.Sprintf("%s is ready after %s", s.conf.Name, seconds(ms)))
}

// judgeStart says when a start took longer than those before it. One without its
// caches had everything to make anew.
func (s *stepper) judgeStart(took time.Duration) {
	if s.because.Rule == status.RuleLockfile || s.because.Rule == status.RuleAsked {
		return
	}
	if usual, slow := policy.SlowStart(s.starts, took); slow {
		s.raise(s.problem(status.SlowStart, fmt.Sprintf("%s took %s to become ready, usually it takes %s", s.conf.Name,
			seconds(took.Milliseconds()), seconds(usual.Milliseconds())), "its log says when it did what; other programs may have kept the machine busy"))
	}
	s.starts = policy.KeepStart(s.starts, took)
}

func (s *stepper) healthyAgain() {
	delete(s.problems, status.NotHealthy)
	s.mended()
	s.overdue = false
	s.enter(status.Ready, "", "")
	s.say(status.HappenedReady, s.conf.Name+" is ready again")
}

// notReady: the readiness probe has not passed within its time. The process
// stays and probing goes on.
func (s *stepper) notReady() {
	why := fmt.Sprintf("not ready within %v", s.conf.Ready.Within)
	if s.failing != "" {
		why += ": " + s.failing
	}
	s.unhealthy(sickness{why: why, hint: "see its log; servers that need longer take `ready: {within: 60s}`"})
}

// unhealthy says why, and, where readiness is lost, names a dependency that is
// down: that may be the reason, whatever the server's own probe says.
func (s *stepper) unhealthy(sick sickness) {
	s.sick = sick
	why := sick.why
	if c := s.cause(); c != (cause{}) && !s.health.Passing() {
		if slices.Contains(s.conf.DependsOn, c.name) {
			why += fmt.Sprintf("; its dependency %s is down: %s", c.name, c.why)
		} else {
			why += fmt.Sprintf("; %s, which its dependencies need, is down: %s", c.name, c.why)
		}
	}
	s.enter(status.Unhealthy, why, sick.hint)
	p := s.problem(status.NotHealthy, s.conf.Name+" is unhealthy: "+why, sick.hint)
	if sick.field != "" {
		p.Field = sick.field
	}
	s.raise(p)
}

// liveProbed: only this probe restarts, by the policy of a crash.
func (s *stepper) liveProbed(err error) {
	if s.conf.Live == nil || (s.state != status.Ready && s.state != status.Unhealthy) {
		return
	}
	var slow *probe.SlowError
	live, verdict := s.live.Observe(err == nil || errors.As(err, &slow)) // a slow answer is an answer
	s.live = live
	if verdict != policy.NotLive {
		return
	}
	s.failing = err.Error()
	s.liveness = true
	s.stop("its liveness probe failed: " + s.failing)
}

func (s *stepper) stopAsked(f stopAsked) {
	s.again = false
	switch s.state {
	case status.Starting, status.Ready, status.Unhealthy:
		s.stop(f.message)
	case status.Stopping:
		s.liveness, s.own = false, ""
	case status.Backoff:
		if s.alive { // the tree of the crashed run is still being cleaned up
			s.enter(status.Stopping, f.message, "")
			return
		}
		s.stopped()
	case status.Waiting, status.Blocked, status.CrashLoop:
		s.stopped()
	case status.Stopped:
		clear(s.problems)
	}
}

// stop ends the tree of the current run; a run whose spawn is still under way
// is ended when it is answered.
func (s *stepper) stop(message string) {
	s.enter(status.Stopping, message, "")
	s.do(endTree{run: s.run})
}

func (s *stepper) stopped() {
	clear(s.problems)
	s.mended()
	s.pid, s.spawnedAt = 0, time.Time{}
	message, said := s.left, s.conf.Name+" stopped"
	if s.spared != "" {
		message = strings.TrimPrefix(message+"; "+s.spared, "; ")
		said += "; " + s.spared
	}
	s.enter(status.Stopped, message, "")
	s.say(status.HappenedStop, said)
}

// exited: the leader ended by itself. What it left behind is ended before
// anything is decided.
func (s *stepper) exited() {
	s.ended = true
	if s.state == status.Stopping {
		return // the ladder is at work already
	}
	s.enter(status.Backoff, "ended; cleaning up what it left", "")
	s.do(endTree{run: s.run})
}

func (s *stepper) gone(f gone) {
	readyFor := time.Duration(0)
	if !s.readyAt.IsZero() {
		readyFor = s.now.Sub(s.readyAt)
	}
	s.alive, s.pid, s.left, s.spared = false, 0, f.left, f.spared
	s.lastExit = exitOf(f.end, s.now)
	asked := s.state == status.Stopping && !s.liveness
	switch {
	case asked && s.own != "":
		s.ownStopEnded()
	case asked && s.again:
		s.restarted()
	case asked:
		s.stopped()
	case s.again: // asked for while the crashed run was cleaned up
		s.tryStart()
	default:
		s.crashed(f.end, readyFor)
	}
}

func (s *stepper) restarted() {
	if s.why == status.ReasonFile {
		s.restarts++
		s.sayRestart("restarts")
		s.tryRestart()
		return
	}
	if s.why == "" {
		s.why = status.ReasonAsked
	}
	s.say(status.HappenedRestart, s.conf.Name+" restarts because it was asked to")
	s.tryStart()
}

// crashed: it ended, or its liveness failed, and nobody asked.
func (s *stepper) crashed(end ending, readyFor time.Duration) {
	what := "ended with " + end.exit.String()
	if end.exit.Signal != "" {
		what = "was " + end.exit.String()
	}
	if s.liveness {
		what = "failed its liveness probe: " + s.failing
	}
	ended := policy.Ended{Code: end.exit.Code, Signal: end.exit.Signal, ReadyFor: readyFor, NotLive: s.liveness}
	if !s.liveness && !end.cause.Mendable {
		ended.Unmendable = end.cause.Text
	}
	history, decision := s.history.Crashed(s.conf.Restart, ended, s.now, s.rnd)
	s.history = history
	s.spawnedAt = time.Time{}
	if decision.Action == policy.Stay && ended.Signal == "" && ended.Code == 0 && !s.liveness {
		clear(s.problems)
		s.mended()
		s.enter(status.Stopped, "it ended by itself with exit status 0", "")
		s.say(status.HappenedStop, s.conf.Name+" ended by itself with exit status 0")
		return
	}
	s.crashes++
	s.crashesBy = s.crashesBy.plus(causeOf(s.liveness, end.cause))
	s.broke = s.run
	why := what
	if end.cause.Text != "" {
		why += ": " + end.cause.Text
	}
	event := status.Event{Kind: status.HappenedCrash, Server: s.conf.Name, At: s.now, Message: s.conf.Name + " " + why, Exit: s.lastExit}
	s.do(happened{event})
	p := s.problem(status.Crashed, s.conf.Name+" "+why, "see its log")
	p.Lines = end.lines
	switch decision.Action {
	case policy.Stay:
		s.raise(p)
		s.enter(status.Stopped, why, "")
	case policy.CrashLoop:
		p = s.problem(status.CrashLooping, fmt.Sprintf("%s keeps crashing and is held: %s; last it %s", s.conf.Name, decision.Reason, why), "mend it, then reset it or start it")
		p.Lines = end.lines
		s.raise(p)
		s.held = end.cause
		s.enter(status.CrashLoop, p.Message, p.Hint)
		s.do(happened{status.Event{Kind: status.HappenedProblem, Server: s.conf.Name, At: s.now, Message: p.Message, Code: p.Code}})
	case policy.Blocked:
		p.Message += "; a restart can't mend that"
		p.Hint = "mend it, then start it again"
		if end.taken != nil {
			p = *end.taken
			p.Server, p.Since = s.conf.Name, s.now
		}
		s.raise(p)
		s.held = end.cause
		s.enter(status.Blocked, p.Message, p.Hint)
		s.awaitPort()
	case policy.Restart:
		s.raise(p)
		s.why, s.because = status.ReasonCrash, status.Because{}
		if s.liveness {
			s.why = status.ReasonLiveness
		}
		s.backoff(decision, why)
	}
}

func (s *stepper) backoff(d policy.Decision, why string) {
	if d.Delay == 0 {
		s.restarts++
		s.say(status.HappenedRestart, s.conf.Name+" restarts at once: it "+why)
		s.tryRestart()
		return
	}
	s.retryAt = s.now.Add(d.Delay)
	s.enter(status.Backoff, fmt.Sprintf("%s; restart in %s", why, d.Delay.Round(100*time.Millisecond)), "")
	s.say(status.HappenedRestart, fmt.Sprintf("%s restarts in %s: it %s", s.conf.Name, d.Delay.Round(100*time.Millisecond), why))
	s.do(after{d.Delay, backoffElapsed{s.run}})
}

func exitOf(e ending, at time.Time) *status.Exit {
	x := &status.Exit{At: at, Signal: e.exit.SignalName(), Cause: string(e.cause.Code)}
	if x.Signal == "" {
		x.Code = &e.exit.Code
	}
	return x
}

// startOutcome says how a start that is waited for stands. done is false while
// it is under way.
func (m machine) startOutcome() (r Result, done bool) {
	r = Result{Name: m.conf.Name, State: m.state, PID: m.pid, ReadyMs: m.readyMs, Message: m.message, Hint: m.hint}
	switch m.state {
	case status.Ready:
		r.OK, r.Message, r.Hint = true, "", ""
		return r, true
	case status.Blocked, status.CrashLoop, status.Stopped:
		r.Code = m.failureCode()
		return r, true
	case status.Waiting:
		if m.overdue || m.late() {
			r.Code = CodeDependencyFailed
			return r, true
		}
	case status.Starting, status.Unhealthy, status.Backoff:
		if m.state == status.Unhealthy && !m.readyAt.IsZero() { // it was ready, and is up
			if r.OK = m.health.Passing(); !r.OK {
				r.Code = CodeNotReady
			}
			return r, true
		}
		if m.overdue {
			r.Code = CodeNotReady
			if m.state == status.Backoff {
				r.Code = CodeCrashed
			}
			if r.Message == "" {
				r.Message = fmt.Sprintf("not ready within %v", m.conf.Ready.Within)
			}
			return r, true
		}
	}
	return r, false
}

// late reports that a dependency which devside starts has had its time.
func (m machine) late() bool {
	return slices.ContainsFunc(m.conf.DependsOn, func(name string) bool {
		d := m.deps[name]
		return !d.up && !d.external && d.late != ""
	})
}

// failureCode names why a server that is down is down: its most telling problem.
func (m machine) failureCode() string {
	if _, memory := m.problems[status.MemoryLimit]; m.state == status.CrashLoop && !memory {
		return string(status.CrashLooping)
	}
	for _, e := range status.Catalogue {
		if _, ok := m.problems[e.Code]; !ok {
			continue
		}
		if e.Code == status.DependencyDown {
			return CodeDependencyFailed
		}
		return string(e.Code)
	}
	return CodeStopped
}

// stopOutcome says how a stop that is waited for stands. One that somebody's
// later start has overtaken is over, too: waiting for the next stop could take
// for ever.
func (m machine) stopOutcome() (r Result, done bool) {
	r = Result{Name: m.conf.Name, State: m.state}
	switch {
	case m.state == status.Stopping:
		return r, false
	case m.state != status.Stopped:
		r.PID, r.Code, r.Message = m.pid, CodeNotStopped, "somebody asked for it to be started again while it was being stopped"
	case m.left != "":
		r.Code, r.Message = CodeNotStopped, m.left
	default:
		r.OK, r.Message = true, m.spared
	}
	return r, true
}

// snapshot is the machine as others see it.
func (m machine) snapshot() Snapshot {
	s := Snapshot{
		Overdue: m.overdue, Wanted: m.wanted(), Stop: m.conf.Stop, Held: m.held, Starts: m.starts,
		RestartsBy: m.restartsBy, CrashesBy: m.crashesBy,
	}
	s.Server = status.Server{
		Name: m.conf.Name, State: m.state, Since: m.since, PID: m.pid, ReadyMs: m.readyMs, WaitedMs: m.waited.Milliseconds(),
		Restarts: m.restarts, Crashes: m.crashes, LastExit: m.lastExit, Message: m.message,
		Run: m.run, DependsOn: m.conf.DependsOn, StartedAt: m.spawnedAt, RestartReason: m.why, Ports: []status.Port{}, Problems: []status.Code{},
	}
	if m.pid == 0 {
		s.StartedAt = time.Time{}
	}
	for _, e := range status.Catalogue { // in the catalogue's order, so that it is stable
		if p, ok := m.problems[e.Code]; ok {
			s.Details = append(s.Details, p)
		}
	}
	s.Details = append(s.Details, m.sites...)
	return s
}

// wanted reports whether the server would run or come up by itself if nothing
// happened to devside: what is to be started again when it does.
func (m machine) wanted() bool {
	if m.state == status.Stopping {
		return m.again || m.liveness || m.own == ownRestart
	}
	return m.state.Active()
}

// asDependency is what dependents are told of this server. One that is
// unhealthy but passes its probe is up: it fails now and then, or uses too much.
func (m machine) asDependency() dependency {
	d := dependency{up: m.state == status.Ready || m.state == status.Unhealthy && m.health.Passing(), epoch: m.epoch}
	switch m.state {
	case status.Stopped, status.Blocked, status.CrashLoop:
		d.ended = m.message
		if d.ended == "" {
			d.ended = "it is " + string(m.state)
		}
	case status.Unhealthy, status.Backoff, status.Starting, status.Waiting:
		if !d.up && (m.overdue || m.state == status.Unhealthy || m.state == status.Waiting && m.late()) {
			d.late = m.message
			if d.late == "" {
				d.late = fmt.Sprintf("not ready within %v", m.conf.Ready.Within)
			}
		}
	}
	d.cause = m.causeFor(d)
	return d
}

// causeFor is what dependents are told to be the cause, if this server is not
// up: what it waits for itself, or else what is the matter with it.
func (m machine) causeFor(d dependency) cause {
	if d.up {
		return cause{}
	}
	_, down := m.problems[status.DependencyDown]
	if c := m.cause(); c != (cause{}) && (down || m.state == status.Waiting || m.state == status.Unhealthy) {
		return c
	}
	why := d.ended
	if why == "" {
		why = d.late
	}
	if why == "" {
		return cause{}
	}
	return cause{m.conf.Name, why}
}

func seconds(ms int64) string {
	if ms < 1000 {
		return fmt.Sprintf("%d ms", ms)
	}
	return fmt.Sprintf("%.1f s", float64(ms)/1000)
}

// needs lists what a server waits for, without repetition.
func needs(conf spec.Server) []string {
	out := slices.Clone(conf.DependsOn)
	slices.Sort(out)
	return slices.Compact(out)
}
