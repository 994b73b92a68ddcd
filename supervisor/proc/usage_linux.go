package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Usage adds up what the living members use, without their Share.
func (p *Process) Usage() (Usage, error) {
	m := p.tracker.Measure([]*Process{p}, nil)[0]
	return m.Usage, m.Err
}

// Measure adds up what each of these trees uses, in one pass: our own children
// are listed once for all of them, and each orphan is read once. exact is asked
// for each tree, with what the pass has found of it, whether to read its Share
// as well; nil: of none. What only a cgroup still finds is not measured: it is
// looked for when nothing else of a tree lives.
func (t *Tracker) Measure(trees []*Process, exact func(i int, u Usage) bool) []Measured {
	out := make([]Measured, len(trees))
	strays := t.strays(trees)
	for i, p := range trees {
		select {
		case <-p.stopped:
			continue // reaped: the pid says nothing any more
		default:
		}
		todo := append(p.first(), strays[i]...)
		found := walk(todo, sighting{})
		out[i].Err = found.err
		out[i].add(found.members)
		if exact != nil && exact(i, out[i].Usage) {
			out[i].share(found.members)
		}
	}
	return out
}

// first is where the walk of a tree begins: at its leader, while that lives.
func (p *Process) first() []step {
	select {
	case <-p.exited:
		return nil // a zombie has no children
	default:
	}
	start, _ := parseStart(p.id.Start)
	return []step{{pid: p.id.PID, parent: p.tracker.self, start: start}}
}

// strays finds the orphans of ours that belong to one of the trees, by tree.
func (t *Tracker) strays(trees []*Process) map[int][]step {
	out := map[int][]step{}
	children := t.adopted()
	threads := map[int]bool{} // that orphans of these trees may be children of
	for _, p := range trees {
		if !threads[p.forker] {
			threads[p.forker] = true
			children = append(children, t.childrenOf(p.forker)...)
		}
	}
	for _, pid := range children {
		t.mu.Lock()
		leader := t.leaders[pid] != nil
		t.mu.Unlock()
		if leader {
			continue
		}
		s, c, ok := t.stray(pid)
		if !ok {
			continue
		}
		for i, p := range trees {
			if c.of(p.id.PID, p.marker, p.print) {
				out[i] = append(out[i], step{pid: pid, parent: t.self, start: s.start})
				break
			}
		}
	}
	return out
}

// stray reads one of our children that is no leader. What is in our session was
// not started by a server.
func (t *Tracker) stray(pid int) (stat, clues, bool) {
	d, err := openDir(pid)
	if err != nil {
		return stat{}, clues{}, false
	}
	defer d.close()
	s, err := d.stat()
	if err != nil || s.parent != t.self || s.session == t.session {
		return stat{}, clues{}, false
	}
	return s, d.clues(s), true
}

func (u *Usage) add(members []stat) {
	for _, s := range members {
		if s.zombie() {
			continue
		}
		u.Processes++
		u.RSS += s.rss * int64(os.Getpagesize())
		u.CPU += time.Duration(s.ticks) * (time.Second / ticksPerSecond)
	}
}

// share adds the members' parts of what they share. One that has ended since
// the walk holds nothing any more.
func (m *Measured) share(members []stat) {
	m.Exact = true
	for _, s := range members {
		if s.zombie() {
			continue
		}
		n, guessed, err := shareOf(s)
		switch {
		case errors.Is(err, ErrGone):
		case err != nil:
			m.Err = errors.Join(m.Err, fmt.Errorf("read the memory of pid %d: %w", s.pid, err))
		default:
			m.Share += n
			if guessed {
				m.Guessed++
			}
		}
	}
}

// shareOf reads what one process costs the machine, or what comes nearest to it
// of what everybody may read.
func shareOf(s stat) (n int64, guessed bool, err error) {
	d, err := openDir(s.pid)
	if err != nil {
		return 0, false, err
	}
	defer d.close()
	if now, err := d.stat(); err != nil || now.start != s.start {
		return 0, false, ErrGone
	}
	buf := make([]byte, 4096)
	b, err := d.read("smaps_rollup", buf, len(buf))
	if err == nil {
		n, err = sumKB(b, "Pss:", "SwapPss:")
		return n, false, err
	}
	// ErrGone: it has ended, or the kernel has no such file. One that has ended
	// and is not reaped has a status without memory.
	if !errors.Is(err, ErrGone) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
		return 0, false, err
	}
	if b, err = d.read("status", buf, 64<<10); err != nil {
		return 0, false, err
	}
	if !bytes.Contains(b, []byte("\nRssAnon:")) {
		return 0, false, ErrGone
	}
	n, err = sumKB(b, "RssAnon:", "RssShmem:", "VmSwap:")
	return n, true, err
}

// sumKB adds up lines such as "Pss:    1234 kB", and returns bytes. The first
// of the names must be there.
func sumKB(b []byte, names ...string) (int64, error) {
	var sum int64
	first := false
	for len(b) > 0 {
		line, rest, _ := bytes.Cut(b, []byte{'\n'})
		b = rest
		for i, name := range names {
			v, ok := bytes.CutPrefix(line, []byte(name))
			if !ok {
				continue
			}
			n, err := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(v, []byte("kB")))), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("parse %q: not a number of kB", line)
			}
			sum += n << 10
			first = first || i == 0
		}
	}
	if !first {
		return 0, fmt.Errorf("parse: no line %q", names[0])
	}
	return sum, nil
}
