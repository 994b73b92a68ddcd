package proc

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rs/zerolog"
)

// EndStrays ends the strays of a project, with what they have started there,
// and returns them. A process is one only if all of this holds: it is our
// user's; its working directory is the project's root or below; a pattern is in
// its command line, or it was started by one of which that is true; it is
// neither this process nor an ancestor or descendant of it, nor a hub or
// guardian or anything below one; and it is nothing that a person works in.
func EndStrays(ctx context.Context, of Strays, plan StopPlan, log zerolog.Logger) []Stray {
	root := filepath.Clean(of.Root)
	if len(of.Patterns) == 0 || !filepath.IsAbs(root) || root == "/" {
		return nil // everybody works somewhere below /
	}
	of.Root = root
	var found []Stray
	l := newLadder(log, plan, func(seen known) sighting {
		members, strays := of.find(everybody(os.Geteuid()), seen, os.Getpid())
		for _, s := range strays {
			if !slices.ContainsFunc(found, func(f Stray) bool { return f.PID == s.PID && f.Start == s.Start }) {
				found = append(found, s)
			}
		}
		return sighting{members: members}
	})
	report := l.run(ctx)
	for i := range found {
		same := func(left Left) bool { return left.PID == found[i].PID && sameStart(left.Start, found[i].Start) }
		for _, left := range append(report.Left, report.Spared...) {
			if same(left) {
				found[i].Left = left.Why
			}
		}
	}
	return found
}

// resident is a process as EndStrays sees it. Of another user's, and of a
// zombie, only its place among the others and its arguments are known.
type resident struct {
	stat
	ours   bool // its effective user is ours
	argv   []string
	names  []string // the short one and the file it runs
	folder string
}

func everybody(uid int) []resident {
	var all []resident
	for _, pid := range allPIDs() {
		if r, err := readResident(pid, uid); err == nil {
			all = append(all, r)
		}
	}
	return all
}

func readResident(pid, uid int) (resident, error) {
	d, err := openDir(pid)
	if err != nil {
		return resident{}, err
	}
	defer d.close()
	var r resident
	if r.stat, err = d.stat(); err != nil {
		return r, err
	}
	r.argv = d.arguments()
	owner, err := d.uid()
	if err != nil {
		return r, err
	}
	if r.ours = owner == uid; r.ours && !r.zombie() {
		r.names, r.folder = []string{r.name, d.file()}, d.folder()
		if len(r.argv) > 0 {
			r.names = append(r.names, r.argv[0])
		}
	}
	return r, nil
}

// find decides which processes are strays, parents before children. What was
// found before stays one whatever it has become.
func (of Strays) find(all []resident, seen known, self int) (members []stat, strays []Stray) {
	byPID, below := map[int]resident{}, map[int][]resident{}
	for _, r := range all {
		byPID[r.pid] = r
		below[r.parent] = append(below[r.parent], r)
	}
	never := map[int]bool{}
	for pid := self; pid != 0 && !never[pid]; pid = byPID[pid].parent {
		never[pid] = true
	}
	var protect func(pid int)
	protect = func(pid int) {
		never[pid] = true
		for _, child := range below[pid] {
			if !never[child.pid] {
				protect(child.pid)
			}
		}
	}
	for _, child := range below[self] {
		protect(child.pid)
	}
	for _, r := range all {
		if of.Supervises != nil && of.Supervises(r.argv) && r.pid != self {
			protect(r.pid)
		}
	}

	may := func(r resident) bool {
		return r.ours && !never[r.pid] && !r.zombie() && of.contains(r.folder) && !personal(r.names, r.argv)
	}
	taken := map[int]bool{}
	var take func(r resident, pattern string)
	take = func(r resident, pattern string) {
		if taken[r.pid] {
			return
		}
		taken[r.pid] = true
		members = append(members, r.stat)
		strays = append(strays, Stray{
			Identity: Identity{PID: r.pid, Start: startString(r.start, 0), Boot: bootID()}, Name: readable(r.name), Pattern: pattern,
		})
		for _, child := range below[r.pid] {
			if may(child) {
				take(child, of.pattern(child))
			}
		}
	}
	matching := func(r resident) bool { return of.pattern(r) != "" && may(r) }
	for _, r := range all {
		// One whose parent matches, too, is taken with it: pids wrap, and parents
		// stand before their children.
		if matching(r) && !matching(byPID[r.parent]) {
			take(r, of.pattern(r))
		}
	}
	for _, r := range all {
		if start, ok := seen[r.pid]; ok && start == r.start {
			take(r, of.pattern(r))
		}
	}
	return members, strays
}

// pattern returns the pattern that a command line has in it; empty: none.
func (of Strays) pattern(r resident) string {
	for _, p := range of.Patterns {
		if matches(r.argv, p) {
			return p
		}
	}
	return ""
}

func (of Strays) contains(folder string) bool {
	return folder == of.Root || strings.HasPrefix(folder, of.Root+"/")
}
