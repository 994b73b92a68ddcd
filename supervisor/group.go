package supervisor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/policy"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// Group is the servers of one project: it starts them in the order of their
// dependencies, stops them in reverse, and passes news between them. It owns
// nothing that decides: the actors do. What it keeps is a table of actors and
// of the last snapshot each has published.
type Group struct {
	host    Host
	changed func() // something was published; must not wait
	newLog  func(server string) *logs.Log
	sampler *sampler

	ctx        context.Context // ends the actors; see Close
	cancel     context.CancelFunc
	background sync.WaitGroup

	mu       sync.Mutex
	members  map[string]*member
	logs     map[string]*logs.Log // also of servers that the configuration has no more: one may come back
	order    []string             // of the configuration
	external map[string]dependency
	epoch    int
	hurried  int            // calls of Hurry
	replaced chan struct{}  // closed when the Apply under way has ended; nil: none is
	last     bool           // nothing is started any more
	coming   []string       // servers that the Apply under way has stopped and will start again
	lent     map[int]string // ports that stand in for configured ones, and the server each was given to
	others   map[string]int // by server: the port that a person has put in the place of its first
}

// member is one actor and what it has published last.
type member struct {
	server *Server
	log    *logs.Log
	before int // the last run of an earlier hub
	cancel context.CancelFunc
	snap   Snapshot
	dep    dependency
	gone   chan struct{} // closed when the actor has ended
	env    []string      // of the last start
	asked  int           // its epoch; dep.epoch follows when the actor has taken note
}

// UnknownError says that no server has this name.
type UnknownError struct {
	Name  string
	Known []string
}

func (e *UnknownError) Error() string { return fmt.Sprintf("there is no server named %q", e.Name) }

// NewGroup returns a group without servers. Close ends it. newLog is asked once
// for the log of each server; runs are counted on from its last.
func NewGroup(host Host, newLog func(server string) *logs.Log, changed func()) *Group {
	if host.Meter == nil {
		host.Meter = Unmeasured{}
	}
	g := &Group{host: host, changed: changed, newLog: newLog, members: map[string]*member{}, logs: map[string]*logs.Log{}, external: map[string]dependency{}, lent: map[int]string{}, others: map[string]int{}}
	g.ctx, g.cancel = context.WithCancel(context.Background()) // outlives every request; Close ends it
	g.sampler = newSampler(host.Log, host.Measure, g.running)
	if host.Measure != nil {
		g.background.Go(func() { g.sampler.run(g.ctx) })
	}
	return g
}

// Close ends the actors. The caller has stopped the servers.
func (g *Group) Close() {
	g.cancel()
	g.background.Wait()
}

// Changes is what Apply did.
type Changes struct{ Added, Changed, Removed, Restarted []string }

// Change says why a configuration is applied.
type Change struct {
	Asked   bool           // a person asked for it: no budget of restarts applies
	Because status.Because // the file that was written
}

// Apply makes the group run this configuration: new servers appear, removed
// ones are stopped, changed ones are stopped and, if they were up, started
// again with the environment they had: within the budget of devside's own
// restarts, unless a person asked for it. What was held in blocked or crash-loop
// and has changed is started, too: that may have mended it. One Apply at a time,
// and it goes on when ctx has ended: two actors of one server must not both run it. A start
// that is asked for meanwhile waits.
func (g *Group) Apply(ctx context.Context, servers []spec.Server, why Change) Changes {
	ctx = context.WithoutCancel(ctx)
	replaced := make(chan struct{})
	g.mu.Lock()
	g.replaced = replaced
	old := &spec.Project{}
	for _, name := range g.order {
		old.Servers = append(old.Servers, g.members[name].server.conf)
	}
	g.mu.Unlock()
	var c Changes
	c.Added, c.Changed, c.Removed = spec.Diff(old, &spec.Project{Servers: servers})
	going := slices.Concat(c.Changed, c.Removed)
	env := map[string][]string{}
	for _, name := range c.Changed {
		if up, with := g.wanted(name); up {
			env[name] = with
			c.Restarted = append(c.Restarted, name)
		}
	}
	g.mu.Lock()
	g.coming = c.Restarted
	g.mu.Unlock()
	g.stopForGood(ctx, going)
	g.replace(servers, c)
	g.mu.Lock()
	g.replaced = nil
	g.mu.Unlock()
	close(replaced)
	for _, name := range c.Restarted {
		g.start([]string{name}, StartOptions{Env: env[name], why: status.ReasonConfiguration, asked: why.Asked, because: why.Because}, false)
	}
	g.mu.Lock()
	g.coming = nil
	g.mu.Unlock()
	g.changed()
	return c
}

// stopForGood stops servers whose actors are to be replaced: an actor that ended
// while its server runs would leave it to nobody. Only a restart of dependents
// can overtake the stop, since no other start is taken meanwhile.
func (g *Group) stopForGood(ctx context.Context, names []string) {
	for len(names) > 0 {
		var again []string
		for _, r := range g.Stop(ctx, names, StopOptions{Message: "its configuration changed"}) {
			if r.State != status.Stopped {
				again = append(again, r.Name)
			}
		}
		names = again
	}
}

// wanted reports whether a server runs, or will by itself, or would if nothing
// held it, or was told to a moment ago, and the environment of its last start.
func (g *Group) wanted(name string) (bool, []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.members[name]
	up := m.snap.State.Active() && m.snap.State != status.Stopping
	held := m.snap.State == status.Blocked || m.snap.State == status.CrashLoop
	return up || held || m.asked > m.dep.epoch, m.env
}

// replace puts new actors in the place of those that Apply has stopped.
func (g *Group) replace(servers []spec.Server, c Changes) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, name := range c.Removed {
		g.members[name].cancel()
		delete(g.members, name)
		delete(g.others, name)
	}
	g.order = g.order[:0:0]
	for _, conf := range servers {
		g.order = append(g.order, conf.Name)
		old, known := g.members[conf.Name]
		if known && !slices.Contains(c.Changed, conf.Name) {
			continue
		}
		m := &member{gone: make(chan struct{}), log: g.logOf(conf.Name)}
		m.before = m.log.LastRun()
		run := m.before
		if known {
			old.cancel()
			m.before, run = old.before, max(run, old.snap.Run)
		}
		m.server = newServer(g.host, conf, m.log, run, func(s Snapshot, d dependency) { g.published(m, s, d) })
		if known {
			m.server.m.inherit(old.snap)
		}
		m.server.lend = g.lend
		delete(g.others, conf.Name) // it was for another entry
		m.snap, m.dep = m.server.snapshot(), m.server.m.asDependency()
		g.members[conf.Name] = m
		var ctx context.Context
		ctx, m.cancel = context.WithCancel(g.ctx)
		g.background.Go(func() {
			defer close(m.gone)
			m.server.run(ctx)
		})
	}
	for _, conf := range servers {
		for _, name := range needs(conf) {
			if dep, ok := g.members[name]; ok {
				g.members[conf.Name].server.box.put(dependencyIs{name, dep.dep})
			} else if ext, ok := g.external[name]; ok {
				g.members[conf.Name].server.box.put(dependencyIs{name, ext})
			}
		}
	}
}

// logOf returns the log of a server, the one it had before if it had one. g.mu
// is held.
func (g *Group) logOf(name string) *logs.Log {
	l, ok := g.logs[name]
	if !ok {
		l = g.newLog(name)
		g.logs[name] = l
	}
	return l
}

// published keeps an actor's news and tells those who wait for it. It runs on
// the actor's goroutine.
func (g *Group) published(from *member, s Snapshot, d dependency) {
	g.mu.Lock()
	news := from.dep != d
	restarted := from.snap.Run > from.before && s.Run > from.snap.Run
	started := s.process != nil && from.snap.process != s.process
	from.snap, from.dep = s, d
	var tell []*Server
	if news && g.members[s.Name] == from {
		tell = g.dependents(s.Name)
	}
	if restarted && g.members[s.Name] == from && from.server.conf.Restart.Dependents {
		g.restartDependents(s.Name)
	}
	g.mu.Unlock()
	if started {
		g.sampler.poke()
	}
	for _, server := range tell {
		server.box.put(dependencyIs{s.Name, d})
	}
	g.changed()
}

// restartDependents restarts what runs and depends on a server that has been
// started anew: its `restart: {dependents: true}`. Each waits until it is ready.
// g.mu is held.
func (g *Group) restartDependents(name string) {
	if g.last {
		return
	}
	for _, server := range g.dependents(name) {
		m := g.members[server.conf.Name]
		switch m.snap.State {
		case status.Starting, status.Ready, status.Unhealthy:
			server.box.put(askStart{fact: startAsked{epoch: g.epoch, force: true, why: status.ReasonDependency}, env: m.env})
		}
	}
}

// dependents lists the actors that have name in depends_on. g.mu is held.
func (g *Group) dependents(name string) []*Server {
	var out []*Server
	for _, m := range g.members {
		if slices.Contains(m.server.conf.DependsOn, name) {
			out = append(out, m.server)
		}
	}
	return out
}

// External tells the servers about a dependency that devside only checks.
func (g *Group) External(name string, up bool, why string) {
	d := dependency{up: up, external: true, late: why}
	if !up {
		d.cause = cause{name, why}
	}
	g.mu.Lock()
	g.external[name] = d
	tell := g.dependents(name)
	g.mu.Unlock()
	for _, server := range tell {
		server.box.put(dependencyIs{name, d})
	}
}

// Snapshots returns the last snapshot of every server, in the order of the
// configuration.
func (g *Group) Snapshots() []Snapshot {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Snapshot, 0, len(g.order))
	for _, name := range g.order {
		s := g.members[name].snap
		s.Log = g.members[name].log
		s.Wanted = s.Wanted || slices.Contains(g.coming, name)
		out = append(out, s)
	}
	return out
}

// Snapshot returns one server's last snapshot.
func (g *Group) Snapshot(name string) (Snapshot, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m, ok := g.members[name]
	if !ok {
		return Snapshot{}, false
	}
	return m.snap, true
}

// running lists the trees to measure.
func (g *Group) running() []target {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []target
	for name, m := range g.members {
		if m.snap.process != nil {
			out = append(out, target{process: m.snap.process, run: m.snap.Run, server: name, limits: m.server.conf.Memory, box: m.server.box})
		}
	}
	return out
}

// Look says that somebody looks at what the servers use: for some seconds it is
// measured every second.
func (g *Group) Look() { g.sampler.look() }

// Tree is the processes of one server.
type Tree struct {
	Server  string
	Members []proc.Identity
}

// Trees walks the process trees of all servers that run.
func (g *Group) Trees() []Tree {
	var out []Tree
	for _, s := range g.Snapshots() {
		if s.process != nil {
			out = append(out, Tree{s.Name, s.process.Tree()})
		}
	}
	return out
}

// Log returns a server's output.
func (g *Group) Log(name string) (*logs.Log, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	m, ok := g.members[name]
	if !ok {
		return nil, &UnknownError{name, slices.Clone(g.order)}
	}
	return m.log, nil
}

// Names returns every server's name in the order of the configuration, or an
// UnknownError for the first of names that is none. nil means all.
func (g *Group) Names(names []string) ([]string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if names == nil {
		return slices.Clone(g.order), nil
	}
	for _, n := range names {
		if _, ok := g.members[n]; !ok {
			return nil, &UnknownError{n, slices.Clone(g.order)}
		}
	}
	return names, nil
}

func (g *Group) nodes() []policy.Node {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []policy.Node
	for _, name := range g.order {
		out = append(out, policy.Node{Name: name, DependsOn: g.members[name].server.conf.DependsOn})
	}
	return out
}

// StartOptions say how to start.
type StartOptions struct {
	Env    []string      // of the client that asks
	Force  bool          // restart the named ones that run
	NoWait bool          // answer when the start has been taken note of
	why    status.Reason // of a restart that is not for itself
	asked  bool          // a person asked for that, too

	because status.Because // the file that why is about
}

// Start starts servers and what they depend on, and waits until each has come
// to an end or ctx has ended. begun lists those that were down before: what a
// person who cancels the start wants undone.
func (g *Group) Start(ctx context.Context, names []string, o StartOptions) (results []Result, begun []string) {
	all, replaced := g.start(names, o, true)
	for replaced != nil {
		select {
		case <-replaced:
			all, replaced = g.start(names, o, true)
		case <-ctx.Done():
			for _, name := range names {
				results = append(results, g.cancelled(name))
			}
			return results, nil
		}
	}
	for _, name := range all {
		if name.down {
			begun = append(begun, name.name)
		}
		results = append(results, g.await(ctx, name))
	}
	return results, begun
}

// starting is one server that was told to start.
type starting struct {
	name string
	down bool // it was down before
	done chan Result
	gone chan struct{}
}

// start tells the actors. While an Apply is replacing them it does nothing but
// return what is closed when that has ended.
func (g *Group) start(names []string, o StartOptions, wait bool) ([]starting, chan struct{}) {
	if len(names) == 0 {
		return nil, nil
	}
	order, err := policy.StartOrder(g.nodes(), names)
	if err != nil { // spec refuses cycles, Names unknown names: only a race with Apply comes here
		g.host.Log.Warn().Err(err).Msg("start")
		return nil, nil
	}
	var out []starting
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.last || g.replaced != nil {
		return nil, g.replaced
	}
	g.epoch++
	for _, name := range order {
		m, ok := g.members[name]
		if !ok {
			continue // checked only
		}
		s := starting{name: name, down: !m.snap.State.Active(), gone: m.gone}
		if wait {
			s.done = make(chan Result, 1)
		}
		m.env, m.asked = o.Env, g.epoch
		asked := startAsked{epoch: g.epoch}
		if slices.Contains(names, name) {
			asked.force, asked.why, asked.asked, asked.because = o.Force, o.why, o.asked, o.because
		}
		m.server.box.put(askStart{asked, o.Env, o.NoWait, s.done})
		out = append(out, s)
	}
	return out, nil
}

func (g *Group) await(ctx context.Context, s starting) Result {
	select {
	case r := <-s.done:
		return r
	case <-ctx.Done():
	case <-s.gone: // its configuration was replaced, or the project closed
	}
	return g.cancelled(s.name)
}

func (g *Group) cancelled(name string) Result {
	r := Result{Name: name, Code: CodeCancelled, Message: "the start was cancelled"}
	if snap, ok := g.Snapshot(name); ok {
		r.State, r.PID = snap.State, snap.PID
	}
	return r
}

// StopOptions say how to stop.
type StopOptions struct {
	Message string // why, for the status
	Last    bool   // nothing is started any more
}

// Stop stops servers, dependents before what they depend on, and waits until
// all are down or ctx has ended. The stopping goes on in any case.
func (g *Group) Stop(ctx context.Context, names []string, o StopOptions) []Result {
	nodes := g.nodes()
	g.mu.Lock()
	g.last = g.last || o.Last
	hurried := g.hurried
	g.mu.Unlock()
	done := map[string]chan Result{}
	finished := map[string]chan struct{}{}
	if len(names) == 0 {
		return nil
	}
	levels, err := policy.StopOrder(nodes, names)
	if err != nil { // as in start
		g.host.Log.Warn().Err(err).Msg("stop")
		return nil
	}
	order := slices.Concat(levels...)
	for _, name := range order {
		done[name], finished[name] = make(chan Result, 1), make(chan struct{})
	}
	for _, name := range order {
		g.mu.Lock()
		m, ok := g.members[name]
		g.mu.Unlock()
		if !ok { // a configuration without it was applied meanwhile
			done[name] <- Result{Name: name, OK: true, State: status.Stopped}
			close(finished[name])
			continue
		}
		var before []chan struct{}
		for _, n := range nodes {
			if c, going := finished[n.Name]; going && slices.Contains(n.DependsOn, name) {
				before = append(before, c)
			}
		}
		g.background.Go(func() { g.stopAfter(m, before, o, hurried, done[name], finished[name]) })
	}
	var results []Result
	for _, name := range order {
		select {
		case r := <-done[name]:
			results = append(results, r)
		case <-ctx.Done():
			snap, _ := g.Snapshot(name)
			results = append(results, Result{Name: name, State: snap.State, PID: snap.PID, Code: CodeNotStopped, Message: "it is still being stopped"})
		}
	}
	return results
}

// stopAfter stops one server once those before it are down. hurried is how
// often Hurry had been called when the stop was asked for.
func (g *Group) stopAfter(m *member, before []chan struct{}, o StopOptions, hurried int, done chan Result, finished chan struct{}) {
	defer close(finished)
	for _, c := range before {
		select {
		case <-c:
		case <-m.gone:
		}
	}
	answer := make(chan Result, 1)
	m.server.box.put(askStop{stopAsked{o.Message}, answer})
	g.mu.Lock()
	hurry := g.hurried > hurried
	g.mu.Unlock()
	if hurry { // it was not this one's turn yet
		m.server.box.put(askHurry{})
	}
	select {
	case r := <-answer:
		done <- r
	case <-m.gone:
		done <- Result{Name: m.server.conf.Name, OK: true, State: status.Stopped}
	}
}

// FileChanged tells a server of a changed file that it can't pick up by itself,
// or that may be what holds it: what runs restarts, what waits for its next
// restart has it at once, and what is held has one attempt. What is stopped
// stays so. It does not wait.
func (g *Group) FileChanged(server string, because status.Because) {
	g.mu.Lock()
	m, ok := g.members[server]
	ok = ok && !g.last
	g.mu.Unlock()
	if ok { // an Apply that replaces the actor starts the new one, with the file as it is
		m.server.box.put(fileChanged{because})
	}
}

// Hurry ends the grace of every stop that is under way: what has not ended by
// itself is killed.
func (g *Group) Hurry() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hurried++
	for _, m := range g.members {
		m.server.box.put(askHurry{})
	}
}

// lend finds a free port after the one that a server can't have. It is the
// server's until it is given back (after is 0), and no port of the
// configuration, nor one lent to another server.
func (g *Group) lend(server string, after int) (int, error) {
	if after == 0 {
		g.mu.Lock()
		defer g.mu.Unlock()
		maps.DeleteFunc(g.lent, func(_ int, to string) bool { return to == server })
		return 0, nil
	}
	for {
		number, err := g.host.NextPort(after, g.Spoken)
		if err != nil {
			return 0, err
		}
		g.mu.Lock()
		_, lent := g.lent[number] // to another one, since it was looked at
		if !lent {
			g.lent[number] = server
		}
		g.mu.Unlock()
		if !lent {
			return number, nil
		}
	}
}

// Spoken reports whether a port is some server's of this project, running or
// not.
func (g *Group) Spoken(number int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, lent := g.lent[number]; lent {
		return true
	}
	for _, other := range g.others {
		if other == number {
			return true
		}
	}
	for _, m := range g.members {
		if slices.ContainsFunc(m.server.conf.Ports, func(p spec.Port) bool { return p.Number == number }) {
			return true
		}
	}
	return false
}

// FindPort returns the next free port after a server's first one, which no other
// server of the project has, nor may have.
func (g *Group) FindPort(server string) (int, error) {
	g.mu.Lock()
	m, ok := g.members[server]
	if !ok {
		defer g.mu.Unlock()
		return 0, &UnknownError{server, slices.Clone(g.order)}
	}
	if len(m.server.conf.Ports) == 0 {
		g.mu.Unlock()
		return 0, &NoPortError{server}
	}
	after := m.server.conf.Ports[0].Number
	if number := g.others[server]; number != 0 {
		after = number
	}
	g.mu.Unlock()
	return g.host.NextPort(after, g.Spoken)
}

// UsePort puts a port in the place of a server's first one, from its next start
// on and until its configuration changes.
func (g *Group) UsePort(server string, number int) {
	g.mu.Lock()
	m, ok := g.members[server]
	if ok {
		g.others[server] = number
	}
	g.mu.Unlock()
	if ok {
		m.server.box.put(portGiven{number})
	}
}

// NoPortError says that a server has no port.
type NoPortError struct{ Server string }

func (e *NoPortError) Error() string { return e.Server + " has no port in the configuration" }

// StopAll stops everything.
func (g *Group) StopAll(ctx context.Context, o StopOptions) []Result {
	all, _ := g.Names(nil)
	return g.Stop(ctx, all, o)
}
