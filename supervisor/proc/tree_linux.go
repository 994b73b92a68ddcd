package proc

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"sync"
)

// known are the members found so far that have not ended, with their start:
// once seen in the tree, a process stays a member whatever it does to its
// session, environment and parent.
type known map[int]uint64

// sighting is one scan. restless says that something ended or moved while the
// scan ran, so that it may have missed what that left behind.
type sighting struct {
	members  []stat // zombies included, parents before their children
	restless bool
	err      error
}

// step is one process to look at: it counts only if it still has that start
// (0: any) and that parent (0: any).
type step struct {
	pid, parent int
	start       uint64
}

// scan finds the living tree of one leader by walking down: from the leader,
// from the known, and from those orphans of ours that are its. It costs what
// the tree costs, however many processes the machine has.
func (t *Tracker) scan(p *Process, seen known) sighting {
	var out sighting
	select {
	case <-p.stopped:
		return out // reaped: the pid says nothing any more
	default:
	}
	var todo []step
	select {
	case <-p.exited: // a zombie has no children
	default:
		start, _ := parseStart(p.id.Start)
		todo = append(todo, step{pid: p.id.PID, parent: t.self, start: start})
	}
	for pid, start := range seen {
		if pid != p.id.PID {
			todo = append(todo, step{pid: pid, start: start})
		}
	}
	orphans, restless := t.orphans(p, seen)
	out.restless = restless
	todo = append(todo, orphans...)
	out = walk(todo, out)
	if more := p.caged(out.members); len(more) > 0 {
		out = walk(more, out)
	}
	return out
}

// walk visits the steps and everything below them.
func walk(todo []step, out sighting) sighting {
	visited := map[int]bool{}
	for _, s := range out.members {
		visited[s.pid] = true
	}
	for i := 0; i < len(todo); i++ {
		next := todo[i]
		if visited[next.pid] {
			continue
		}
		s, children, err := visit(next)
		if errors.Is(err, ErrGone) {
			out.restless = true
			continue
		}
		if err != nil {
			out.err = err
			continue
		}
		visited[next.pid] = true
		out.members = append(out.members, s)
		for _, child := range children {
			todo = append(todo, step{pid: child, parent: next.pid})
		}
	}
	return out
}

// visit reads one process and its children through one descriptor, so that
// both are of the same process.
func visit(want step) (stat, []int, error) {
	d, err := openDir(want.pid)
	if err != nil {
		return stat{}, nil, err
	}
	defer d.close()
	s, err := d.stat()
	if err != nil {
		return stat{}, nil, err
	}
	if (want.start != 0 && s.start != want.start) || (want.parent != 0 && s.parent != want.parent) {
		return stat{}, nil, ErrGone // or adopted by us meanwhile: the next scan sees
	}
	if !childLists() {
		return s, childrenByScan(s.pid), nil
	}
	children, err := d.children(s)
	if errors.Is(err, ErrGone) {
		return stat{}, nil, err
	}
	return s, children, err
}

// orphans returns those of our adopted children that belong to the leader's
// tree. Other leaders are not orphans; what is in our own session was not
// started by a server. A leader can also have made siblings (CLONE_PARENT):
// their parent is the thread of ours that forked the leader.
func (t *Tracker) orphans(p *Process, seen known) (steps []step, restless bool) {
	for _, pid := range append(t.adopted(), t.childrenOf(p.forker)...) {
		t.mu.Lock()
		leader := t.leaders[pid] != nil
		t.mu.Unlock()
		if _, ok := seen[pid]; ok || leader {
			continue
		}
		s, mine, err := t.attribute(p, pid)
		if err != nil {
			restless = true
			continue
		}
		if mine {
			steps = append(steps, step{pid: pid, parent: t.self, start: s.start})
		}
	}
	return steps, restless
}

// attribute says whether an orphan is of this leader's tree.
func (t *Tracker) attribute(p *Process, pid int) (stat, bool, error) {
	d, err := openDir(pid)
	if err != nil {
		return stat{}, false, err
	}
	defer d.close()
	s, err := d.stat()
	if err != nil {
		return stat{}, false, err
	}
	if s.parent != t.self || s.session == t.session {
		return s, false, nil
	}
	if s.session == p.id.PID {
		return s, true, nil
	}
	return s, d.clues(s).of(p.id.PID, p.marker, p.print), nil
}

// clues is what an orphan carries of its origin.
type clues struct {
	session int
	marker  string
	marked  bool
	print   uint64
}

// clues reads them.
func (d dir) clues(s stat) clues {
	c := clues{session: s.session}
	c.marker, c.marked = d.marker()
	c.print, _ = d.print(s.pid)
	return c
}

// of decides whether an orphan comes from the start with this leader, marker
// and fingerprint. A marker is worth more than a fingerprint, which may be used
// again after 65,536 starts; one of another start rules this start out.
func (c clues) of(leader int, marker string, print uint64) bool {
	switch {
	case c.session == leader:
		return true
	case c.marked:
		return marker != "" && c.marker == marker
	}
	return print != 0 && c.print == print
}

// Tree returns the living members, the leader first if it lives.
func (p *Process) Tree() []Identity {
	ids := []Identity{}
	for _, s := range p.tracker.scan(p, nil).members {
		if s.zombie() {
			continue
		}
		if id, err := Identify(s.pid); err == nil && sameStart(id.Start, startString(s.start, 0)) {
			ids = append(ids, id)
		}
	}
	return ids
}

// parseStart returns the ticks in Identity.Start.
func parseStart(s string) (uint64, error) {
	for i := range len(s) {
		if s[i] == '.' {
			s = s[:i]
			break
		}
	}
	return strconv.ParseUint(s, 10, 64)
}

// childLists reports whether the kernel has /proc/PID/task/TID/children, which
// is a build option (CONFIG_PROC_CHILDREN) that a few go without.
var childLists = sync.OnceValue(func() bool {
	self := strconv.Itoa(os.Getpid())
	_, err := os.Stat("/proc/" + self + "/task/" + self + "/children")
	return err == nil
})

// childrenByScan looks through every process instead.
func childrenByScan(parent int) []int {
	var pids []int
	for _, pid := range allPIDs() {
		d, err := openDir(pid)
		if err != nil {
			continue
		}
		s, err := d.stat()
		d.close()
		if err == nil && s.parent == parent {
			pids = append(pids, pid)
		}
	}
	return pids
}

// allPIDs lists every process that /proc shows us, in order.
func allPIDs() []int {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}
