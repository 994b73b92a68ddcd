// Package rule says what follows when files of a project change: which servers
// are restarted, whose caches go first, which dependencies are stale, and when
// the configuration is read again.
//
// It only computes: it opens no file, reads no clock and starts nothing. What
// has changed, what lockfiles and install markers say, and the time come in as
// arguments; the state is a value that is returned changed. It knows nothing of
// how a server is restarted, nor of devside's configuration: project turns that
// into the plain values here.
//
// A lockfile alone never restarts a server where its package manager leaves a
// marker when it has installed: after a git checkout the lockfile is new and
// the packages are not, and a cache that is built then is wrong. The packages
// that both name are compared, never bytes or times.
//
// Start reading at State.Next, then Install in lockfile.go.
package rule

import (
	"cmp"
	"path"
	"slices"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

// Config is what the rules are about. Paths are slash-separated and relative to
// the project's root.
type Config struct {
	Files     []string // that the configuration was read from, or would be
	Servers   []Server
	Lockfiles []Lockfile
}

// Server is one server.
type Server struct {
	Name    string
	Dir     string
	Restart []string // patterns below Dir: a change restarts it
	Env     []string // env files it starts with
	Caches  bool     // a lockfile clears its caches
	Lock    bool     // a lockfile restarts it
	Mends   []string // files that may mend it while it is held
}

// Lockfile is one lockfile and the servers it concerns.
type Lockfile struct {
	Path    string
	Manager Manager
	Servers []string
}

// LockfileRule is the Rule of what a lockfile led to.
const LockfileRule = "lockfile"

// Because says why something is done.
type Because struct {
	File string // that changed
	Rule string // "restart next.config.*", "env file", "lockfile"
}

// Restart is one server that is to be restarted, once.
type Restart struct {
	Server string
	Caches bool // its caches go before it starts
	Because
}

// Stale is a lockfile whose packages are not installed, and the servers that
// run on others.
type Stale struct {
	Lockfile
	Missing int // packages that are not installed, or not in this version
}

// Suspended is a rule that has restarted a server too often.
type Suspended struct {
	Server string
	Because
}

// Decision is what follows from a batch.
type Decision struct {
	Reload    *Because // read the configuration again
	Often     bool     // the configuration was written more than loopLimit times within loopWindow
	Restarts  []Restart
	Attempts  []Restart // start what is held: a file that may mend it has changed
	Stale     []Stale   // whole: what is not in it is stale no longer
	Suspended []Suspended
}

const (
	// loopWindow and loopLimit are the breaker: a server that writes a file it
	// is restarted for would never come up (DESIGN §8).
	loopWindow = time.Minute
	loopLimit  = 10
)

// State is what the rules remember. The zero value is for a project that was
// just opened; call Learn before Next.
type State struct {
	// installed is the digest of each lockfile's packages when they were acted
	// upon last, by path.
	installed map[string]string
	restarts  map[key][]time.Time
	suspended map[key]bool
	reloads   []time.Time // within loopWindow
}

// key is one rule of one server.
type key struct{ server, rule string }

// Learn takes what is installed now for what the servers run on, of lockfiles
// that were not known: at the beginning all of them, later those of a new server.
// known are states of lockfiles by path.
func (s State) Learn(known map[string]Install) State {
	next := s.clone()
	for file, in := range known {
		if _, is := next.installed[file]; !is && in.State != Outdated {
			next.installed[file] = in.Digest
		}
	}
	return next
}

// Resume lets the rules of a server act again that were suspended.
func (s State) Resume(server string) State {
	next := s.clone()
	for k := range next.suspended {
		if k.server == server {
			delete(next.suspended, k)
			delete(next.restarts, k)
		}
	}
	return next
}

func (s State) clone() State {
	next := State{installed: map[string]string{}, restarts: map[key][]time.Time{}, suspended: map[key]bool{}}
	for k, v := range s.installed {
		next.installed[k] = v
	}
	for k, v := range s.restarts {
		next.restarts[k] = v
	}
	for k, v := range s.suspended {
		next.suspended[k] = v
	}
	next.reloads = s.reloads
	return next
}

// Next decides what follows from a batch of changed files. installs is the
// state of every lockfile of the configuration by now, by path; held names the
// servers that wait for something to be mended.
func (s State) Next(c Config, changed []string, installs map[string]Install, held []string, now time.Time) (State, Decision) {
	next := s.clone()
	var d Decision
	for _, file := range changed {
		if slices.Contains(c.Files, file) {
			d.Reload = &Because{file, "configuration"}
			recent := recently(next.reloads, now)
			d.Often = len(recent) >= loopLimit
			next.reloads = append(recent, now)
			break
		}
	}
	for _, server := range c.Servers {
		if because, ok := server.because(changed); ok {
			next.restart(&d, Restart{Server: server.Name, Because: because}, now)
		}
		if i := slices.IndexFunc(changed, func(f string) bool { return slices.Contains(server.Mends, f) }); i >= 0 && slices.Contains(held, server.Name) {
			d.Attempts = append(d.Attempts, Restart{Server: server.Name, Because: Because{changed[i], "it may be mended"}})
		}
	}
	for _, lock := range c.Lockfiles {
		in, known := installs[lock.Path]
		if !known {
			continue
		}
		switch in.State {
		case Outdated:
			d.Stale = append(d.Stale, Stale{lock, in.Missing})
			// Whatever is installed next differs from what runs.
		case Installed, Unmarked:
			if was, ok := next.installed[lock.Path]; !ok || was != in.Digest {
				next.installed[lock.Path] = in.Digest
				next.lockfile(&d, c, lock, now)
			}
		}
	}
	slices.SortStableFunc(d.Restarts, func(a, b Restart) int { return cmp.Compare(a.Server, b.Server) })
	return next, d
}

// lockfile restarts whom a lockfile concerns.
func (s *State) lockfile(d *Decision, c Config, lock Lockfile, now time.Time) {
	for _, server := range c.Servers {
		if slices.Contains(lock.Servers, server.Name) && (server.Lock || server.Caches) {
			s.restart(d, Restart{Server: server.Name, Caches: server.Caches, Because: Because{lock.Path, LockfileRule}}, now)
		}
	}
}

// restart adds a restart, once for each server, unless its rule has gone round
// too often.
func (s *State) restart(d *Decision, r Restart, now time.Time) {
	k := key{r.Server, r.Rule}
	if s.suspended[k] {
		return
	}
	if i := slices.IndexFunc(d.Restarts, func(other Restart) bool { return other.Server == r.Server }); i >= 0 {
		d.Restarts[i].Caches = d.Restarts[i].Caches || r.Caches
		return
	}
	recent := recently(s.restarts[k], now)
	if len(recent) >= loopLimit {
		s.suspended[k] = true
		d.Suspended = append(d.Suspended, Suspended{r.Server, r.Because})
		return
	}
	s.restarts[k] = append(recent, now)
	d.Restarts = append(d.Restarts, r)
}

// because finds the first changed file that restarts the server.
func (s Server) because(changed []string) (Because, bool) {
	for _, file := range changed {
		if slices.Contains(s.Env, file) {
			return Because{file, "env file"}, true
		}
		for _, pattern := range s.Restart {
			if matches(s.Dir, pattern, file) {
				return Because{file, "restart " + pattern}, true
			}
		}
	}
	return Because{}, false
}

// recently returns a new slice of those times that lie within loopWindow.
func recently(times []time.Time, now time.Time) []time.Time {
	return slices.DeleteFunc(slices.Clone(times), func(t time.Time) bool { return now.Sub(t) >= loopWindow })
}

func matches(dir, pattern, file string) bool {
	ok, err := doublestar.Match(path.Join(escape(dir), pattern), file)
	return ok && err == nil
}

// escape keeps a directory's own name from being read as a pattern: Next.js
// projects have folders called [id].
func escape(dir string) string {
	var out []byte
	for i := range len(dir) {
		switch dir[i] {
		case '*', '?', '[', ']', '{', '}', '\\':
			out = append(out, '\\')
		}
		out = append(out, dir[i])
	}
	return string(out)
}
