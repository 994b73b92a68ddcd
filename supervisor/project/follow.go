package project

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/devside/devside/supervisor"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
	"github.com/devside/devside/watch"
	"github.com/devside/devside/watch/rule"
)

// follower acts upon files that change. Its goroutine (run) owns what the rules
// remember; the watcher, the loop and clients leave news in the box and wait
// for nothing.
type follower struct {
	p       *Project
	watcher *watch.Watcher
	wake    chan struct{}

	mu  sync.Mutex
	box news

	// Only run's goroutine touches what follows.
	state    rule.State
	watched  watched
	set      bool // the watcher has been told of watched.targets
	installs map[string]rule.Install
}

// news is what has come since the follower looked last.
type news struct {
	batch    watch.Batch
	retarget bool     // the configuration, or who is held, is another
	resume   []string // servers whose rules may act again
	limited  bool     // limit is news
	limit    *watch.Limit
	told     []chan struct{} // closed when all that came before was acted upon
}

func newFollower(p *Project) *follower {
	f := &follower{p: p, wake: make(chan struct{}, 1)}
	f.watcher = watch.New(watch.Options{
		Root: p.o.Root, Log: p.o.Log,
		Changed: func(b watch.Batch) {
			p.o.Meter.Changed(len(b.Changes))
			f.leave(func(n *news) { n.batch = n.batch.Merge(b) })
		},
		Limited: func(l *watch.Limit) { f.leave(func(n *news) { n.limited, n.limit = true, l }) },
	})
	return f
}

// leave puts news into the box. It never waits.
func (f *follower) leave(add func(*news)) {
	f.mu.Lock()
	add(&f.box)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// retarget has what is watched for made anew.
func (f *follower) retarget() { f.leave(func(n *news) { n.retarget = true }) }

// diskPause is how soon a disk that was nearly full is looked at again.
const diskPause = time.Minute

func (f *follower) run(ctx context.Context) {
	f.rules(ctx, nil)
	f.decide(ctx, watch.Batch{})
	disk := time.NewTicker(diskPause)
	defer disk.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-disk.C:
			if f.p.view.Load().diskLow != nil {
				f.p.caches.look()
			}
		case <-f.wake:
			f.mu.Lock()
			n := f.box
			f.box = news{}
			f.mu.Unlock()
			f.round(ctx, n)
		}
	}
}

func (f *follower) round(ctx context.Context, n news) {
	if n.limited {
		f.p.watchLimited(n.limit)
	}
	for _, server := range n.resume {
		f.state = f.state.Resume(server)
	}
	moved := slices.ContainsFunc(n.batch.Changes, func(c watch.Change) bool {
		return c.Kind != watch.Changed && slices.Contains(f.watched.lookouts, c.Path)
	})
	if n.retarget || moved {
		f.rules(ctx, n.batch.Changes)
	}
	f.decide(ctx, n.batch)
	for _, c := range n.told {
		close(c)
	}
}

// rules makes anew what is watched for. Lockfiles that were not known before are
// what the servers run on, but for those that have only just come.
func (f *follower) rules(ctx context.Context, changes []watch.Change) {
	v := f.p.view.Load()
	was := f.watched
	f.watched = watchedOf(v.loaded, v.files, f.p.heldServers(), f.p.root.FS(), f.p.o.Root)
	if !f.set || !reflect.DeepEqual(was.targets, f.watched.targets) {
		if err := f.watcher.Set(ctx, f.watched.targets); err != nil && ctx.Err() == nil {
			f.p.o.Log.Error().Err(err).Msg("watch files")
		}
		f.set = true
	}
	if f.installs != nil && reflect.DeepEqual(was.rules.Lockfiles, f.watched.rules.Lockfiles) {
		return
	}
	f.installs = map[string]rule.Install{}
	known := map[string]rule.Install{}
	for _, lock := range f.watched.rules.Lockfiles {
		in := f.install(lock.Path)
		f.installs[lock.Path] = in
		if !slices.ContainsFunc(changes, func(c watch.Change) bool { return c.Path == lock.Path }) {
			known[lock.Path] = in
		}
	}
	f.state = f.state.Learn(known)
}

// decide asks the rules what follows from a batch, and does it.
func (f *follower) decide(ctx context.Context, b watch.Batch) {
	var changed []string
	for _, c := range b.Changes {
		changed = append(changed, c.Path)
	}
	for _, lock := range f.watched.rules.Lockfiles {
		if slices.ContainsFunc(changed, func(file string) bool { return partOf(lock, file) }) {
			f.installs[lock.Path] = f.install(lock.Path)
		}
	}
	var held []string
	for _, s := range f.p.heldServers() {
		held = append(held, s.Name)
	}
	var d rule.Decision
	f.state, d = f.state.Next(f.watched.rules, changed, f.installs, held, time.Now())
	f.p.setStale(d.Stale)
	f.p.suspended(d.Suspended)
	done := map[string]bool{}
	if d.Reload != nil {
		for _, name := range f.p.reloadIfChanged(ctx, supervisor.Change{Asked: !d.Often, Because: becauseOf(*d.Reload)}).Restarted {
			done[name] = true
		}
	}
	for _, r := range d.Restarts {
		because := becauseOf(r.Because)
		if r.Caches {
			f.p.caches.owe(r.Server, because)
		}
		if f.restarts(r) && !done[r.Server] {
			done[r.Server] = true
			f.p.group.FileChanged(r.Server, because)
		}
	}
	for _, a := range d.Attempts {
		if !done[a.Server] {
			done[a.Server] = true
			f.p.group.FileChanged(a.Server, becauseOf(a.Because))
		}
	}
}

// restarts reports whether a server wants to be restarted for this, and not
// only to have its caches cleared before its next start.
func (f *follower) restarts(r rule.Restart) bool {
	i := slices.IndexFunc(f.watched.rules.Servers, func(s rule.Server) bool { return s.Name == r.Server })
	return i >= 0 && (r.Rule != rule.LockfileRule || f.watched.rules.Servers[i].Lock)
}

func becauseOf(b rule.Because) status.Because { return status.Because{File: b.File, Rule: b.Rule} }

// partOf reports whether a file is a lockfile or one of its markers.
func partOf(lock rule.Lockfile, file string) bool {
	if file == lock.Path {
		return true
	}
	kind, _ := rule.KindOf(lock.Path)
	return slices.ContainsFunc(kind.Markers, func(marker string) bool {
		ok, err := path.Match(path.Join(path.Dir(lock.Path), marker), file)
		return ok && err == nil
	})
}

// maxLockfile bounds what is read of a lockfile or a marker; those of large
// workspaces have some 10 MB.
const maxLockfile = 64 << 20

// install holds a lockfile against what is installed.
func (f *follower) install(file string) rule.Install {
	lock, err := f.p.readRegular(file, maxLockfile)
	if err != nil {
		return rule.Install{State: rule.Outdated} // it has just gone
	}
	kind, _ := rule.KindOf(file)
	dir, markers := path.Dir(file), map[string][]byte{}
	for _, pattern := range kind.Markers {
		found, err := fs.Glob(f.p.root.FS(), path.Join(dir, pattern))
		if err != nil {
			continue // the patterns are ours
		}
		for _, name := range found {
			text, err := f.p.readRegular(name, maxLockfile)
			if err != nil {
				continue
			}
			below := name
			if dir != "." {
				below = name[len(dir)+1:]
			}
			markers[below] = text
		}
	}
	return rule.Compare(file, lock, markers)
}

// heldServers are those in blocked or crash-loop.
func (p *Project) heldServers() []supervisor.Snapshot { return heldAmong(p.group.Snapshots()) }

func heldAmong(all []supervisor.Snapshot) (held []supervisor.Snapshot) {
	for _, s := range all {
		if s.State == status.Blocked || s.State == status.CrashLoop {
			held = append(held, s)
		}
	}
	return held
}

// holding is who is held, and why: what it mends decides what is watched for.
type holding struct {
	name string
	run  int
	why  string
}

// holdings is compared from change to change, by loop.
func holdings(all []supervisor.Snapshot) []holding {
	var out []holding
	for _, s := range heldAmong(all) {
		out = append(out, holding{s.Name, s.Run, fmt.Sprint(s.Held, s.Problems, sitesOf(s))})
	}
	return out
}

// sitesOf are the source files that the output of a server blames.
func sitesOf(s supervisor.Snapshot) (files []string) {
	for _, n := range s.Details {
		if n.Code == status.CrashSite && !slices.Contains(files, n.File) {
			files = append(files, n.File)
		}
	}
	return files
}

// reloadIfChanged reads the configuration again unless it is the one that was
// read last: a request to start has looked already.
func (p *Project) reloadIfChanged(ctx context.Context, why supervisor.Change) supervisor.Changes {
	v := p.view.Load()
	if p.stamp(v.files) == v.stamp && !v.loaded.Project.Detected {
		return supervisor.Changes{}
	}
	return p.reload(ctx, why).Changes
}

// setStale puts what is to be told of lockfiles whose packages are not
// installed in the place of what was told before.
func (p *Project) setStale(stale []rule.Stale) {
	var problems []status.Problem
	for _, s := range stale {
		kind, ok := rule.KindOf(s.Path)
		if !ok {
			continue
		}
		dir := path.Dir(s.Path)
		for _, server := range s.Servers {
			n := status.NewProblem(status.DependenciesStale, server, staleText(s), time.Now())
			n.File, n.Argv, n.Dir = s.Path, kind.Install, dir
			n.Hint = fmt.Sprintf("run `%s` in %s; %s restarts when it has finished", spec.Join(kind.Install), folderText(dir), server)
			problems = append(problems, n)
		}
	}
	same := func(a, b status.Problem) bool { return a.Server == b.Server && a.Message == b.Message }
	if slices.EqualFunc(problems, p.view.Load().stale, same) {
		return
	}
	p.update(func(v *view) { v.stale = problems })
}

func staleText(s rule.Stale) string {
	if s.Missing == 1 {
		return fmt.Sprintf("one package is not installed as %s says", s.Path)
	}
	return fmt.Sprintf("%d packages are not installed as %s says", s.Missing, s.Path)
}

func folderText(dir string) string {
	if dir == "." {
		return "the project's folder"
	}
	return dir
}

// suspended tells of rules that have restarted a server too often, until they
// are resumed.
func (p *Project) suspended(rules []rule.Suspended) {
	for _, s := range rules {
		n := status.NewProblem(status.WatchLoop, s.Server, fmt.Sprintf(
			"%s was restarted more than 10 times within a minute because %s changes (rule: %s); it is not restarted for that any more", s.Server, s.File, s.Rule), time.Now())
		n.File = s.File
		n.Hint = fmt.Sprintf("let nothing write %s while %s runs, then resume the rule (`devside resume %s`)", s.File, s.Server, s.Server)
		p.update(func(v *view) { v.loops = append(slices.Clone(v.loops), n) })
		p.happened(status.Event{Kind: status.HappenedProblem, Server: s.Server, At: n.Since, Message: n.Message, Code: n.Code, Because: &status.Because{File: s.File, Rule: s.Rule}})
	}
}

// Resume lets the watch rules of the named servers (nil: all) act again that
// were suspended, and names the servers that had one.
func (p *Project) Resume(names []string) ([]string, error) {
	names, err := p.group.Names(names)
	if err != nil {
		return nil, err
	}
	resumed := []string{}
	p.update(func(v *view) {
		v.loops = slices.DeleteFunc(slices.Clone(v.loops), func(n status.Problem) bool {
			if !slices.Contains(names, n.Server) {
				return false
			}
			if !slices.Contains(resumed, n.Server) {
				resumed = append(resumed, n.Server)
			}
			return true
		})
	})
	p.follower.leave(func(n *news) { n.resume = append(n.resume, resumed...) })
	return resumed, nil
}

// watchLimited tells that the system refuses to watch more, or no longer does.
func (p *Project) watchLimited(l *watch.Limit) {
	var n *status.Problem
	if l != nil {
		text := status.NewProblem(status.WatchLimit, "", fmt.Sprintf("the system refuses to watch more files (%v): they are looked at every %v instead", l.Err, watch.PollEvery), time.Now())
		text.Hint = l.Hint
		n = &text
	}
	p.update(func(v *view) { v.limit = n })
}
