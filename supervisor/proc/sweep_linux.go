package proc

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// EndDescendants ends everything that has this process as ancestor, which
// must be a subreaper, so that nothing has got away: the servers of the bequest
// by their own plans, whatever else there is by the plan rest. It is the
// guardian's last act: it reaps whatever child has ended, so have the status of
// children of your own first.
func EndDescendants(ctx context.Context, bequest []Bequest, rest StopPlan, log zerolog.Logger) Report {
	e := newEstate(bequest, rest)
	reports := make([]Report, len(e.plans))
	var ladders sync.WaitGroup
	for i, plan := range e.plans {
		ladders.Go(func() {
			reports[i] = e.ladder(log, plan, func(share int) bool { return share == i }).run(ctx)
		})
	}
	ladders.Wait()
	// What lost its last clue while the ladders ran was nobody's for a moment.
	total := e.ladder(log, e.plans[0], func(int) bool { return true }).run(ctx)
	spared := map[int]bool{}
	for _, s := range total.Spared {
		spared[s.PID] = true
	}
	for _, r := range reports {
		total.Signalled += r.Signalled
		total.Killed += r.Killed
		total.Took += r.Took
		for _, s := range r.Spared {
			if !spared[s.PID] {
				total.Spared = append(total.Spared, s)
			}
		}
	}
	total.Exit = Exit{Code: -1}
	_, children, _ := visit(step{pid: e.self})
	for _, pid := range children {
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
	}
	return total
}

// estate is what a dead hub left below this process, in shares: one for each
// plan, since most servers have the same. The first is of what no server of the
// bequest can be shown to have started.
type estate struct {
	self    int
	bequest []Bequest
	plans   []StopPlan
	share   []int // of each bequest
}

func newEstate(bequest []Bequest, rest StopPlan) *estate {
	e := &estate{self: os.Getpid(), bequest: bequest, plans: []StopPlan{rest}}
	for _, b := range bequest {
		i := slices.IndexFunc(e.plans, func(p StopPlan) bool {
			return p.Signal == b.Plan.Signal && p.Grace == b.Plan.Grace && slices.Equal(p.Spare, b.Plan.Spare)
		})
		if i < 0 {
			i = len(e.plans)
			e.plans = append(e.plans, b.Plan)
		}
		e.share = append(e.share, i)
	}
	// What a server opened for the person loses its parent, and that clue, when
	// the server ends: all lists count for what is nobody's.
	for _, plan := range e.plans[1:] {
		e.plans[0].Spare = append(slices.Clone(e.plans[0].Spare), plan.Spare...)
	}
	return e
}

// ladder is a stop of the shares that mine names.
func (e *estate) ladder(log zerolog.Logger, plan StopPlan, mine func(share int) bool) *ladder {
	l := newLadder(log, plan, func(seen known) sighting {
		_, children, err := visit(step{pid: e.self})
		var todo []step
		for _, pid := range children {
			todo = append(todo, step{pid: pid, parent: e.self})
		}
		found := walk(todo, sighting{err: err})
		found.members = e.divide(found.members, seen, mine)
		return found
	})
	// A server may be a program that is spared elsewhere.
	l.inside = func(s stat) bool {
		return slices.ContainsFunc(e.bequest, func(b Bequest) bool { return b.Leader.PID > 0 && b.Leader.PID == s.session })
	}
	return l
}

// divide returns the members of some shares. Whose a process is decides how it
// is asked to end, and not whether: all of them are our descendants.
func (e *estate) divide(members []stat, seen known, mine func(share int) bool) []stat {
	shares := make(map[int]int, len(members))
	var out []stat
	for _, s := range members { // parents stand before their children
		share, below := shares[s.parent]
		if !below || share == 0 {
			share = e.shareOf(s)
		}
		shares[s.pid] = share
		if start, ok := seen[s.pid]; mine(share) || ok && start == s.start {
			out = append(out, s)
		}
	}
	return out
}

func (e *estate) shareOf(s stat) int {
	marker, read := "", false
	for i, b := range e.bequest {
		if b.Leader.PID > 0 && b.Leader.PID == s.session {
			return e.share[i]
		}
		if b.MarkerPrefix == "" || s.zombie() {
			continue
		}
		if !read {
			marker, read = markerOf(s), true
		}
		if strings.HasPrefix(marker, b.MarkerPrefix) {
			return e.share[i]
		}
	}
	return 0
}

// markerOf reads the marker of a process that still is the one that was seen.
func markerOf(s stat) string {
	d, err := openDir(s.pid)
	if err != nil {
		return ""
	}
	defer d.close()
	if now, err := d.stat(); err != nil || now.start != s.start {
		return ""
	}
	marker, _ := d.marker()
	return marker
}

// Sweep ends what a dead hub left behind when its guardian died with it: among
// the processes of our user, those that carry the marker of a start in the
// ledger, its leader if it is still the same process, the leader's session, and
// all below them. This process and its ancestors are never touched. Every mark
// of another boot is void.
//
// A ledger is a file, and can name anybody. So its word is not enough: a leader
// must also lead a session, as all of ours do, and carry the marker or, when it
// has cleared its environment, a fingerprint. A process that we did not start
// has neither.
func Sweep(ctx context.Context, marks []Mark, plan StopPlan, log zerolog.Logger) Report {
	marks = believable(marks)
	if len(marks) == 0 {
		return Report{Exit: Exit{Code: -1}}
	}
	uid, prints := os.Geteuid(), newPrints()
	l := newLadder(log, plan, func(seen known) sighting {
		all := snapshot(uid, prints, cages(marks))
		return sighting{members: claim(all, marks, seen, os.Getpid())}
	})
	l.inside = func(s stat) bool {
		return slices.ContainsFunc(marks, func(m Mark) bool { return m.leads(s.session) })
	}
	r := l.run(ctx)
	r.Exit = Exit{Code: -1}
	return r
}

// believable drops the marks that can't match a process that runs now, and a
// prefix that is too short to be a marker's. A mark without leader stands for
// all starts of a hub: one may have died before the ledger knew its leader.
func believable(marks []Mark) []Mark {
	var out []Mark
	for _, m := range marks {
		if len(m.MarkerPrefix) < minMarkerPrefix {
			m.MarkerPrefix = ""
		}
		known := m.Leader.PID > 0 && m.Leader.Start != "" && m.Leader.Boot == bootID()
		if known || (m.Leader == Identity{} && m.MarkerPrefix != "") {
			out = append(out, m)
		}
	}
	return out
}

// cages names the cgroups of the marks' hubs. Such a name has a marker in it,
// so that nobody else's has it.
func cages(marks []Mark) []string {
	var out []string
	for _, m := range marks {
		name := cgroupPrefix + strings.TrimSuffix(m.MarkerPrefix, ":")
		if m.MarkerPrefix != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// leads reports whether the number is that of the mark's leader. 0, which a mark
// without leader has, is the session of what was started outside our pid
// namespace.
func (m Mark) leads(session int) bool { return m.Leader.PID > 0 && m.Leader.PID == session }

// suspect is a process as Sweep sees it.
type suspect struct {
	stat
	ours    bool // its effective user is ours
	marker  string
	marked  bool // it has one
	printed bool // it has a fingerprint
	caged   bool // it is in the cgroup of a mark's hub
}

// startedBy reports whether a process that a mark calls its leader can be it.
func (s suspect) startedBy(m Mark) bool {
	if s.session != s.pid {
		return false
	}
	if s.marked {
		return m.MarkerPrefix != "" && strings.HasPrefix(s.marker, m.MarkerPrefix)
	}
	return s.printed
}

// snapshot reads every process, and the marker of those of our user.
func snapshot(uid int, prints prints, cages []string) []suspect {
	var all []suspect
	for _, pid := range allPIDs() {
		if s, err := readSuspect(pid, uid, prints, cages); err == nil {
			all = append(all, s)
		}
	}
	return all
}

func readSuspect(pid, uid int, prints prints, cages []string) (suspect, error) {
	d, err := openDir(pid)
	if err != nil {
		return suspect{}, err
	}
	defer d.close()
	var s suspect
	if s.stat, err = d.stat(); err != nil {
		return s, err
	}
	owner, err := d.uid()
	if err != nil {
		return s, err
	}
	if s.ours = owner == uid; s.ours {
		s.marker, s.marked = d.marker()
		if v, ok := d.print(pid); ok {
			s.printed = prints.foreign(v)
		}
		s.caged = slices.ContainsFunc(cages, d.caged)
	}
	return s, nil
}

// claim decides which processes the marks mean, parents before children.
func claim(all []suspect, marks []Mark, seen known, self int) []stat {
	byPID, below := map[int]suspect{}, map[int][]suspect{}
	for _, s := range all {
		byPID[s.pid] = s
		below[s.parent] = append(below[s.parent], s)
	}
	// Ourselves and all above us. The pid 0 ends the walk; a parent outside our
	// pid namespace is shown as 0, too.
	never := map[int]bool{}
	for pid := self; pid != 0 && !never[pid]; pid = byPID[pid].parent {
		never[pid] = true
	}

	sessions := map[int]bool{}
	marked := func(s suspect) bool {
		isLeader := slices.ContainsFunc(marks, func(m Mark) bool {
			return m.leads(s.pid) && sameStart(startString(s.start, 0), m.Leader.Start) && s.startedBy(m)
		})
		carries := slices.ContainsFunc(marks, func(m Mark) bool {
			return m.MarkerPrefix != "" && strings.HasPrefix(s.marker, m.MarkerPrefix)
		})
		inLeaders := slices.ContainsFunc(marks, func(m Mark) bool { return m.leads(s.session) })
		// A session's number is not given to a new process while the session has
		// members, so the leader, or one member that is marked, vouches for all.
		if inLeaders && (carries || isLeader) {
			sessions[s.session] = true
		}
		return isLeader || carries || s.caged
	}
	roots := map[int]bool{}
	for _, s := range all {
		start, known := seen[s.pid]
		if s.ours && (marked(s) || known && start == s.start) {
			roots[s.pid] = true
		}
	}

	var out []stat
	taken := map[int]bool{}
	var take func(s suspect)
	take = func(s suspect) {
		if taken[s.pid] || never[s.pid] || !s.ours {
			return
		}
		taken[s.pid] = true
		out = append(out, s.stat)
		for _, child := range below[s.pid] {
			take(child)
		}
	}
	// The topmost first, so that parents stand before their children.
	for _, s := range all {
		if parent, ok := byPID[s.parent]; ok && roots[parent.pid] && !never[parent.pid] && parent.ours {
			continue
		}
		if roots[s.pid] || sessions[s.session] {
			take(s)
		}
	}
	for _, s := range all {
		if roots[s.pid] || sessions[s.session] {
			take(s)
		}
	}
	return out
}
