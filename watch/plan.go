package watch

import (
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

// plan says what to watch for. It is made of the targets and never changed.
type plan struct {
	names   map[string]time.Duration   // files by path
	shallow map[string][]glob          // patterns of names, by directory
	trees   []tree                     // patterns that reach below their directory
	dirs    map[string]bool            // to be watched where they exist, with all above them
	parts   map[string]map[string]bool // by directory, what of it leads to a target
	longest time.Duration              // of all settle times

	gitLocks []string // paths whose existence says that git is at work
}

type glob struct {
	pattern string
	settle  time.Duration
}

// tree is a directory below which files match a pattern.
type tree struct {
	dir     string
	pattern string // relative to dir
	depth   int    // how far below dir a match can lie; 0: as far as it goes
	settle  time.Duration
}

func newPlan(targets []Target) (plan, error) {
	p := plan{names: map[string]time.Duration{}, shallow: map[string][]glob{}, dirs: map[string]bool{}, parts: map[string]map[string]bool{}}
	for _, t := range targets {
		if err := p.add(t); err != nil {
			return plan{}, err
		}
	}
	if !p.empty() {
		// What git does to the targets comes in bursts, with its lock around them.
		p.gitLocks = []string{".git/index.lock"}
		p.watchDir(".")
		p.dirs[".git"] = true
	}
	return p, nil
}

func (p *plan) empty() bool { return len(p.names)+len(p.shallow)+len(p.trees) == 0 }

func (p *plan) add(t Target) error {
	quiet := t.Settle
	if quiet <= 0 {
		quiet = DefaultSettle
	}
	if !doublestar.ValidatePattern(t.Pattern) || t.Pattern == "" {
		return fmt.Errorf("watch %q: it is no pattern", t.Pattern)
	}
	p.longest = max(p.longest, quiet)
	base, rest := doublestar.SplitPattern(path.Clean(t.Pattern))
	dir := path.Join(t.Dir, base)
	if !local(dir) {
		return fmt.Errorf("watch %q below %q: it is outside the project", t.Pattern, t.Dir)
	}
	switch {
	case !hasMeta(rest):
		name := path.Join(dir, rest)
		if !local(name) {
			return fmt.Errorf("watch %q below %q: it is outside the project", t.Pattern, t.Dir)
		}
		p.names[name] = max(p.names[name], quiet)
		p.watchDir(path.Dir(name))
		p.part(path.Dir(name), path.Base(name))
	case !strings.Contains(rest, "/"):
		p.shallow[dir] = append(p.shallow[dir], glob{rest, quiet})
		p.watchDir(dir)
	default:
		depth := strings.Count(rest, "/") + 1
		if strings.Contains(rest, "**") {
			depth = 0
		}
		p.trees = append(p.trees, tree{dir, rest, depth, quiet})
		p.watchDir(dir)
	}
	return nil
}

func local(p string) bool { return p != ".." && !strings.HasPrefix(p, "../") && !path.IsAbs(p) }

func hasMeta(pattern string) bool { return strings.ContainsAny(pattern, `*?[{\`) }

// watchDir has a directory watched, and each above it for its coming, going and
// being replaced.
func (p *plan) watchDir(dir string) {
	for {
		p.dirs[dir] = true
		if dir == "." {
			return
		}
		up := path.Dir(dir)
		p.part(up, path.Base(dir))
		dir = up
	}
}

func (p *plan) part(dir, name string) {
	if p.parts[dir] == nil {
		p.parts[dir] = map[string]bool{}
	}
	p.parts[dir][name] = true
}

// isGit reports whether a path is one that git touches whenever it is at work.
func (p *plan) isGit(rel string) bool { return strings.HasPrefix(rel, ".git/") }

// concerns reports which directory to look at because of an event at a path,
// and how long it must be quiet before.
func (p *plan) concerns(rel string) (dir string, quiet time.Duration, ok bool) {
	dir, name := path.Dir(rel), path.Base(rel)
	if q, is := p.names[rel]; is {
		quiet, ok = q, true
	}
	for _, g := range p.shallow[dir] {
		if match(g.pattern, name) {
			quiet, ok = max(quiet, g.settle), true
		}
	}
	for _, t := range p.trees {
		if below, is := t.inside(rel); is && !t.tooDeep(below) {
			quiet, ok = max(quiet, t.settle), true
		}
	}
	if !ok && p.parts[dir][name] { // a directory on the way to a target
		return rel, p.longest, true
	}
	return dir, quiet, ok
}

// inside returns a path relative to the tree's directory.
func (t tree) inside(rel string) (string, bool) {
	if t.dir == "." {
		return rel, true
	}
	return strings.CutPrefix(rel, t.dir+"/")
}

func (t tree) tooDeep(below string) bool {
	return t.depth > 0 && strings.Count(below, "/")+1 > t.depth
}

// match reports whether a name matches a pattern that was validated.
func match(pattern, name string) bool { return doublestar.MatchUnvalidated(pattern, name) }

// matches reports whether a file is a target.
func (p *plan) matches(rel string) bool {
	if _, is := p.names[rel]; is {
		return true
	}
	dir, name := path.Dir(rel), path.Base(rel)
	for _, g := range p.shallow[dir] {
		if match(g.pattern, name) {
			return true
		}
	}
	return p.inTree(rel)
}

// inTree reports whether a file matches the pattern of a tree.
func (p *plan) inTree(rel string) bool {
	for _, t := range p.trees {
		if below, is := t.inside(rel); is && match(t.pattern, below) {
			return true
		}
	}
	return false
}
