package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// killPatience is how long a process may take to end after SIGKILL while no
// other one ends. The kernel needs microseconds, unless the process waits for a
// device or a network file system; then nobody can say how long.
const killPatience = 2 * time.Second

// blindPause is the time between two looks where no event can be had, because
// there are no descriptors left to wait on.
const blindPause = 10 * time.Millisecond

// ladder is one stop under way: it finds the members with scan, and holds each
// by a verified handle from the first sight to the end. It is used by one
// goroutine.
type ladder struct {
	log    zerolog.Logger
	plan   StopPlan
	scan   func(known) sighting
	hurry  <-chan struct{}
	slay   func() error    // kills all of a cgroup, where there is one
	inside func(stat) bool // in the session of a server's leader: never spared

	leader  int                    // pid; 0: the members have none
	exited  <-chan struct{}        // closed when the leader has ended
	hold    func() (handle, error) // a handle of the leader: our own child needs no verification
	live    []*member
	byPID   map[int]*member
	gone    map[int]uint64 // ended members; a pid and start among them is no newcomer
	zombies map[int]bool   // seen
	spared  map[int]uint64
	missed  map[int]Left // found, but no handle could be had
	deaths  *obituary    // nil while the leader is the only member
	blind   bool         // some member's end gives no event
	// freezing: the grace is over, and whoever is found may do nothing any more.
	freezing bool
	report   Report
}

// member is one process of the tree that has not ended.
type member struct {
	stat
	id        Identity
	handle    handle
	signalled bool
	killed    bool
	hopeless  string // why it can't be ended; empty: it may yet
}

func newLadder(log zerolog.Logger, plan StopPlan, scan func(known) sighting) *ladder {
	if plan.Signal == 0 {
		plan.Signal = syscall.SIGTERM
	}
	return &ladder{
		log: log, plan: plan, scan: scan, inside: func(stat) bool { return false }, slay: func() error { return nil }, byPID: map[int]*member{}, gone: map[int]uint64{},
		zombies: map[int]bool{}, spared: map[int]uint64{}, missed: map[int]Left{},
	}
}

// run is the ladder.
func (l *ladder) run(ctx context.Context) Report {
	began := time.Now()
	defer l.close()
	_, _ = l.look() // over looks again, and minds what went wrong
	if l.plan.Signal == syscall.SIGKILL || !l.ask(ctx) {
		l.force()
	}
	for _, m := range l.live {
		l.report.Left = append(l.report.Left, Left{Identity: m.id, Name: readable(m.name), Why: m.hopeless})
	}
	for _, left := range l.missed {
		if left.Alive() {
			l.report.Left = append(l.report.Left, left)
		}
	}
	for _, left := range l.report.Left {
		l.log.Warn().Int("pid", left.PID).Str("name", left.Name).Str("why", left.Why).Msg("process left")
	}
	l.report.Took = time.Since(began)
	return l.report
}

// ask signals every member and waits for the tree to be gone; false when the
// grace is over first.
//
// While the leader lives, a newcomer gets no signal: it was started after the
// leader had its own, so it is part of the leader's way to end (a trap that runs
// "docker compose down"). When the leader has ended, it does.
func (l *ladder) ask(ctx context.Context) bool {
	grace := time.NewTimer(max(l.plan.Grace, 0))
	defer grace.Stop()
	l.signal()
	for {
		if l.over() {
			return true
		}
		if l.leaderEnded() {
			l.signal()
		}
		tick, stop := l.blindTick()
		select {
		case <-l.died():
		case <-tick:
		case <-grace.C:
			stop()
			return false
		case <-ctx.Done():
			stop()
			return false
		case <-l.plan.Hurry:
			stop()
			return false
		case <-l.hurry:
			stop()
			return false
		}
		stop()
		leaderLived := !l.leaderEnded()
		l.bury()
		if leaderLived && l.leaderEnded() {
			_, _ = l.look()
		}
	}
}

// force kills until two scans in a row find nobody. It gives up on what does
// not end within killPatience of the last progress.
//
// Everybody is stopped first, and each newcomer at first sight: what forks
// faster than a busy machine lets us look would else stay ahead, and a child
// whose parent is killed before it is seen has lost that clue.
func (l *ladder) force() {
	l.freezing = true
	for _, m := range l.live {
		_ = m.handle.signal(syscall.SIGSTOP) // whom it does not reach, SIGKILL does not either
	}
	patience := time.NewTimer(killPatience)
	defer patience.Stop()
	for {
		_, _ = l.look() // over looks again, and minds what went wrong
		l.bury()
		if l.kill() {
			patience.Reset(killPatience)
			// A spared process stays in the cgroup that it was started in.
			if len(l.spared) == 0 {
				if err := l.slay(); err != nil {
					l.log.Warn().Err(err).Msg("cgroup not killed")
				}
			}
		}
		if l.over() {
			return
		}
		if l.unkilled() {
			continue // newcomers, seen by over
		}
		tick, stop := l.blindTick()
		select {
		case <-l.died():
		case <-tick:
		case <-patience.C:
			for _, m := range l.live {
				if m.hopeless == "" {
					m.hopeless = fmt.Sprintf("did not end within %v of SIGKILL (state %s)", killPatience, currentState(m.stat))
				}
			}
		}
		stop()
		if l.bury() {
			patience.Reset(killPatience)
		}
	}
}

// over reports whether nobody is left but the hopeless: twice in a row, a scan
// that nothing disturbed found no newcomer. Newcomers it does find are members
// afterwards. After killPatience without such two scans it goes by what it has.
func (l *ladder) over() bool {
	l.bury()
	began := time.Now()
	for clean := 0; clean < 2; {
		if slices.ContainsFunc(l.live, func(m *member) bool { return m.hopeless == "" }) {
			return false
		}
		restless, err := l.look()
		if err == nil && !restless {
			clean++
			continue
		}
		clean = 0
		if time.Since(began) > killPatience {
			l.log.Warn().Err(err).Bool("restless", restless).Msg("it is not certain that nothing is left")
			return true
		}
		if err != nil { // out of descriptors or memory: give others time to free some
			pause := time.NewTimer(blindPause)
			<-pause.C
		}
	}
	return true
}

// look scans once and takes every newcomer in.
func (l *ladder) look() (restless bool, err error) {
	seen := known{}
	for _, m := range l.live {
		seen[m.pid] = m.start
	}
	found := l.scan(seen)
	restless, err = found.restless, found.err
	for _, s := range l.unspared(found.members) {
		if s.zombie() {
			// What it left when it ended is an orphan now, and was perhaps not
			// yet one when this scan began.
			restless = l.sawZombie(s) || restless
			continue
		}
		if m := l.byPID[s.pid]; m != nil && m.start == s.start {
			continue
		}
		if start, ok := l.gone[s.pid]; ok && start == s.start {
			continue // the scan is older than its end
		}
		if e := l.take(s); e != nil {
			err = errors.Join(err, e)
		}
	}
	return restless, err
}

// take opens a newcomer. One that has ended meanwhile is none.
func (l *ladder) take(s stat) error {
	id := Identity{PID: s.pid, Start: startString(s.start, 0), Boot: bootID()}
	open := func() (handle, error) { return openHandle(id) }
	if s.pid == l.leader {
		open = l.hold
	}
	h, err := open()
	if errors.Is(err, ErrGone) {
		return nil
	}
	if err != nil {
		l.missed[s.pid] = Left{Identity: id, Name: readable(s.name), Why: fmt.Sprintf("it could not be opened: %v", err)}
		return fmt.Errorf("open pid %d: %w", s.pid, err)
	}
	delete(l.missed, s.pid)
	id.Start = startString(s.start, pidfdInode(h.fd))
	if l.freezing {
		_ = h.signal(syscall.SIGSTOP)
	}
	m := &member{stat: s, id: id, handle: h}
	l.live = append(l.live, m)
	l.byPID[s.pid] = m
	if err := l.watch(m); err != nil {
		l.log.Warn().Err(err).Msg("stop without events")
		l.blind = true
	}
	return nil
}

// watch sees to it that died tells of the member's end. The leader's end is
// told anyway, which saves most stops the descriptors.
func (l *ladder) watch(m *member) error {
	if m.pid == l.leader && l.deaths == nil {
		return nil
	}
	if l.deaths == nil {
		var err error
		if l.deaths, err = newObituary(); err != nil {
			return err
		}
		if leader := l.byPID[l.leader]; leader != nil && leader != m {
			if err := l.deaths.add(leader.handle); err != nil {
				return err
			}
		}
	}
	return l.deaths.add(m.handle)
}

// sawZombie logs a zombie once, with the parent that has to reap it. It reports
// whether it is new.
func (l *ladder) sawZombie(s stat) bool {
	if l.zombies[s.pid] {
		return false
	}
	l.zombies[s.pid] = true
	if s.pid == l.leader {
		return false // ours to reap, at the end
	}
	if s.parent == os.Getpid() {
		return true // an orphan that we have adopted and shall reap
	}
	parent := ""
	if info, err := Inspect(s.parent); err == nil {
		parent = info.Name
	}
	l.log.Info().Int("pid", s.pid).Str("name", readable(s.name)).Int("parent", s.parent).Str("parentName", parent).
		Msg("zombie skipped: its parent has not reaped it")
	return true
}

// unspared takes out what a server opened for the person: the programs of the
// list with all below them, and with the rest of a session that they lead.
func (l *ladder) unspared(members []stat) []stat {
	for _, s := range members {
		l.considerSparing(s)
	}
	if len(l.spared) == 0 {
		return members
	}
	is := func(pid int) bool { _, ok := l.spared[pid]; return ok }
	below := map[int]bool{}
	var out []stat
	for _, s := range members { // parents stand before their children
		if is(s.pid) || is(s.session) || is(s.parent) || below[s.parent] {
			below[s.pid] = true
			continue
		}
		out = append(out, s)
	}
	return out
}

func (l *ladder) considerSparing(s stat) {
	if s.zombie() || l.inside(s) || l.byPID[s.pid] != nil {
		return
	}
	if start, ok := l.spared[s.pid]; ok && start == s.start {
		return
	}
	d, err := openDir(s.pid)
	if err != nil {
		return
	}
	defer d.close()
	now, err := d.stat()
	if err != nil || now.start != s.start || !spared([]string{now.name, d.file()}, d.arguments(), l.plan.Spare, true) {
		return
	}
	l.spared[s.pid] = s.start
	left := Left{
		Identity: Identity{PID: s.pid, Start: startString(s.start, 0), Boot: bootID()},
		Name:     readable(now.name), Why: "opened for the person",
	}
	if id, err := Identify(s.pid); err == nil && sameStart(id.Start, left.Start) {
		left.Identity = id
	}
	l.report.Spared = append(l.report.Spared, left)
	l.log.Info().Int("pid", s.pid).Str("name", left.Name).Msg("process spared")
}

// signal sends the plan's signal to everybody who has not had it, the oldest
// first. A stopped process would not see it before it is continued.
func (l *ladder) signal() {
	for _, m := range l.live {
		if m.signalled {
			continue
		}
		m.signalled = true
		if err := m.handle.signal(l.plan.Signal); err != nil {
			l.failed(m, l.plan.Signal, err)
			continue
		}
		l.report.Signalled++
		if m.state == 'T' {
			_ = m.handle.signal(syscall.SIGCONT)
		}
	}
}

// kill sends SIGKILL to everybody who has not had it. It reports whether there
// was one.
func (l *ladder) kill() (any bool) {
	for _, m := range l.live {
		if m.killed {
			continue
		}
		m.killed, any = true, true
		err := m.handle.signal(syscall.SIGKILL)
		switch {
		case err == nil:
			l.report.Killed++
		case errors.Is(err, unix.EPERM):
			m.hopeless = "not permitted: it belongs to another user"
			if info, e := Inspect(m.pid); e == nil {
				m.hopeless = fmt.Sprintf("not permitted: it belongs to uid %d", info.UID)
			}
		default:
			l.failed(m, syscall.SIGKILL, err)
		}
	}
	return any
}

// failed logs a signal that was not sent. A process that has ended first is
// what was wanted.
func (l *ladder) failed(m *member, sig syscall.Signal, err error) {
	if !errors.Is(err, ErrGone) {
		l.log.Warn().Err(err).Int("pid", m.pid).Str("name", readable(m.name)).Str("signal", SignalName(sig)).Msg("signal not sent")
	}
}

// bury forgets the members that have ended. It reports whether there was one.
func (l *ladder) bury() (any bool) {
	l.live = slices.DeleteFunc(l.live, func(m *member) bool {
		if !m.handle.ended() {
			return false
		}
		m.handle.close()
		delete(l.byPID, m.pid)
		// Its children were given to us before it counted as ended, so a scan
		// from now on sees them, and its zombie is no reason to look again.
		l.zombies[m.pid] = true
		l.gone[m.pid] = m.start
		any = true
		return true
	})
	return any
}

// leaderEnded: without a leader there is nobody whose clean-up is waited for.
func (l *ladder) leaderEnded() bool { return l.leader == 0 || l.byPID[l.leader] == nil }

func (l *ladder) unkilled() bool {
	return slices.ContainsFunc(l.live, func(m *member) bool { return !m.killed })
}

func (l *ladder) died() <-chan struct{} {
	if l.deaths == nil {
		return l.exited
	}
	return l.deaths.c
}

// blindTick is a channel that never speaks, unless there is no event to wait
// for.
func (l *ladder) blindTick() (<-chan time.Time, func()) {
	if !l.blind {
		return nil, func() {}
	}
	tick := time.NewTimer(blindPause)
	return tick.C, func() { tick.Stop() }
}

func (l *ladder) close() {
	for _, m := range l.live {
		m.handle.close()
	}
	if l.deaths != nil {
		l.deaths.close()
	}
}

// currentState reads the state again: what was seen first is old by now.
func currentState(s stat) string {
	d, err := openDir(s.pid)
	if err != nil {
		return "?"
	}
	defer d.close()
	if now, err := d.stat(); err == nil && now.start == s.start {
		return string(now.state)
	}
	return "?"
}
