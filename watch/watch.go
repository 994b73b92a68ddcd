// Package watch tells which of a project's named files have changed: it turns
// what the operating system says of directories into settled batches of real
// changes.
//
// It watches the directories that the named files lie in, never a file (most
// editors replace a file, and a watch of the old one is silent for ever), and
// no source tree that a pattern did not ask for. It never believes an event:
// an event only says where to look, and what counts is whether the content
// differs from what it was. So a touch is nothing, a save in three steps is one
// change, and lost events cost a look at everything and no change. It never
// runs anything, follows no name out of the project but through links that the
// project itself has, and knows nothing of servers.
//
// One goroutine (Run) owns what is watched and what is known of the files;
// another only empties the system's queue, which holds 16,384 events on Linux.
// On macOS a watched directory costs a descriptor for each file in it: name no
// file in a large one there.
//
// Start reading at Run, then plan.go (what to watch for), files.go (what is
// known) and settle.go (when to tell).
package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/rs/zerolog"
)

// Target is one file to watch, by its name, or several, by a pattern.
type Target struct {
	Dir     string // slash-separated, relative to the root; "." or "" is the root
	Pattern string // a name or a doublestar pattern, relative to Dir: next.config.*, src/**/*.go
	// Settle is how long it must be quiet before a change is told; 0: DefaultSettle.
	Settle time.Duration
}

// Kind is what happened to a file.
type Kind string

const (
	Created Kind = "created"
	Changed Kind = "changed"
	Removed Kind = "removed"
)

// Change is one file whose content is not what it was.
type Change struct {
	Path string // slash-separated, relative to the root
	Kind Kind
	// Was and Is name the content before and now, to be compared; empty: there
	// was, or is, no such file.
	Was, Is string
}

// Merge adds a later batch: what has changed and come back is no change.
func (b Batch) Merge(later Batch) Batch {
	all := map[string]Change{}
	for _, c := range b.Changes {
		all[c.Path] = c
	}
	for _, c := range later.Changes {
		if first, twice := all[c.Path]; twice {
			c.Was = first.Was
		}
		switch {
		case c.Was == c.Is:
			delete(all, c.Path)
			continue
		case c.Was == "":
			c.Kind = Created
		case c.Is == "":
			c.Kind = Removed
		default:
			c.Kind = Changed
		}
		all[c.Path] = c
	}
	merged := Batch{Git: b.Git || later.Git}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		merged.Changes = append(merged.Changes, all[name])
	}
	return merged
}

// Batch is what has changed since the last one, by path.
type Batch struct {
	Changes []Change
	Git     bool // git was at work meanwhile: a checkout, a merge, a rebase
}

// Limit says that the system refuses to watch more, and that the targets are
// looked at every PollEvery instead.
type Limit struct {
	Err  error
	Hint string // what to do
}

// DefaultSettle is well above the largest pause inside a git checkout of 2,000
// files (17.5 ms), and below what a person notices.
const DefaultSettle = 150 * time.Millisecond

// PollEvery is the time between two looks where events can't be had.
const PollEvery = 2 * time.Second

// Options say what to watch and whom to tell. The functions are called from
// Run's goroutine and must not wait.
type Options struct {
	Root    string // real path
	Changed func(Batch)
	Limited func(*Limit) // nil: no longer
	Log     zerolog.Logger
}

// Watcher watches one project.
type Watcher struct {
	o    Options
	asks chan ask
	open func() (source, error)
	poll time.Duration

	// Only Run's goroutine touches what follows.
	source  source
	plan    *plan // replaced, never changed
	files   files
	settle  settle
	limit   *Limit
	watched map[string]identity // directories, relative to the root
	aliases map[string][]string // of a watched one, the other paths that lead to it
	ended   chan struct{}
}

type ask struct {
	targets []Target
	done    chan error
}

// source is the operating system, or a test's.
type source interface {
	add(dir string) error // absolute
	remove(dir string)
	// wake has a token when news has come or an error is to be looked at.
	wake() <-chan struct{}
	take() news
	close()
}

// New returns a watcher that watches nothing yet. Run makes it work.
func New(o Options) *Watcher {
	if o.Limited == nil {
		o.Limited = func(*Limit) {}
	}
	return &Watcher{o: o, asks: make(chan ask), open: openSystem, poll: PollEvery, plan: &plan{}, ended: make(chan struct{}), watched: map[string]identity{}}
}

// Set replaces the targets. When it returns, every change from then on is told;
// what a target was before is forgotten unless it was one before, too.
func (w *Watcher) Set(ctx context.Context, targets []Target) error {
	a := ask{targets: targets, done: make(chan error, 1)}
	select {
	case w.asks <- a:
	case <-w.ended:
		return errors.New("watch: it has ended")
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-a.done:
		return err
	case <-w.ended:
		return errors.New("watch: it has ended")
	}
}

// Run watches until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	defer close(w.ended)
	root, err := os.OpenRoot(w.o.Root)
	if err != nil {
		return fmt.Errorf("watch %s: %w", w.o.Root, err)
	}
	defer root.Close() //nolint:errcheck // only read from
	w.files = newFiles(w.o.Root)
	if w.source, err = w.open(); err != nil {
		w.source = deaf{}
		w.limited(err)
	}
	defer func() { w.source.close() }()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(w.due(time.Now()))
		select {
		case <-ctx.Done():
			return nil
		case a := <-w.asks:
			a.done <- w.set(a.targets)
		case <-w.source.wake():
			w.heard(w.source.take(), time.Now())
		case <-timer.C:
			w.tell(time.Now())
		}
	}
}

// set makes these the targets. The directories are watched before the files are
// read, so that no change falls in between.
func (w *Watcher) set(targets []Target) error {
	plan, err := newPlan(targets)
	if err != nil {
		return err
	}
	w.plan = &plan
	w.arm()
	w.files.rebase(w.plan)
	w.catchUp(time.Now())
	return nil
}

// catchUp watches the directories that were found by reading, and has those
// looked at again that were not watched while they were read.
func (w *Watcher) catchUp(now time.Time) {
	for _, dir := range w.arm() {
		w.files.doubt(dir)
		w.settle.touch(now, w.plan.longest) // what is being written now is read when it is done
	}
}

// heard takes news: what concerns a target starts or prolongs the quiet time.
func (w *Watcher) heard(n news, now time.Time) {
	if n.err != nil && !n.lost {
		w.o.Log.Warn().Err(n.err).Msg("watch files")
	}
	if n.lost {
		w.o.Log.Warn().Msg("more files changed at once than the system could tell: everything is looked at")
		w.files.doubtAll()
		w.settle.touch(now, w.plan.longest)
	}
	for name := range n.paths {
		rel, ok := w.relative(name)
		if !ok {
			continue
		}
		if w.plan.isGit(rel) {
			w.settle.git = true
			continue
		}
		w.touched(rel, now)
		for _, dir := range w.aliases[path.Dir(rel)] {
			w.touched(path.Join(dir, path.Base(rel)), now)
		}
	}
}

// touched takes an event at a path.
func (w *Watcher) touched(rel string, now time.Time) {
	dir, quiet, ok := w.plan.concerns(rel)
	if !ok {
		return
	}
	w.settle.touch(now, quiet)
	w.files.doubt(dir)
	if path.Base(rel) == ".gitignore" {
		w.files.doubtAll() // what is ignored below it is another matter now
	}
}

func (w *Watcher) relative(name string) (string, bool) {
	rel, err := filepath.Rel(w.o.Root, name)
	if err != nil || !filepath.IsLocal(rel) {
		return "", false
	}
	return filepath.ToSlash(rel), true
}

// due is how long until tell has something to do.
func (w *Watcher) due(now time.Time) time.Duration {
	wait := time.Hour
	if w.limit != nil && !w.plan.empty() {
		wait = w.poll
	}
	if d, pending := w.settle.wait(now); pending {
		wait = min(wait, d)
	}
	return wait
}

// tell looks at what is in doubt once it is quiet, and tells what has changed.
func (w *Watcher) tell(now time.Time) {
	if _, pending := w.settle.wait(now); pending {
		if !w.settle.over(now, w.gitAtWork()) {
			return
		}
	} else if w.limit == nil {
		return
	} else {
		w.files.doubtAll()
	}
	git := w.settle.git
	w.settle = settle{}
	if w.limit != nil {
		w.reopen()
	}
	for _, dir := range w.arm() { // one that was replaced
		w.files.doubt(dir)
	}
	changes := w.files.look(w.plan)
	w.catchUp(now)
	if len(changes) > 0 {
		w.o.Changed(Batch{Changes: changes, Git: git})
	}
}

// reopen asks the system again for what it has refused.
func (w *Watcher) reopen() {
	if _, is := w.source.(deaf); !is {
		return
	}
	if s, err := w.open(); err == nil {
		w.source = s
		clear(w.watched)
	}
}

// gitAtWork reports whether git holds its index: in the middle of a checkout
// half of the files are old.
func (w *Watcher) gitAtWork() bool {
	for _, lock := range w.plan.gitLocks {
		if _, err := os.Lstat(filepath.Join(w.o.Root, filepath.FromSlash(lock))); err == nil {
			return true
		}
	}
	return false
}

// limited says once that the system refuses, and has everything polled.
func (w *Watcher) limited(err error) {
	if w.limit != nil {
		return
	}
	w.limit = &Limit{Err: err, Hint: limitHint(err)}
	w.o.Log.Warn().Err(err).Str("hint", w.limit.Hint).Msgf("files are looked at every %v instead of being watched", w.poll)
	w.o.Limited(w.limit)
}

// arm brings what is watched in line with the plan and with what is on disk: a
// directory that was replaced has another identity and is watched anew. It
// returns those that were not watched before.
func (w *Watcher) arm() (added []string) {
	want := map[string]identity{}
	see := func(dir string) {
		if id, ok := identify(w.absolute(dir)); ok {
			want[dir] = id
		}
	}
	for dir := range w.plan.dirs {
		see(dir)
	}
	w.files.eachTree(w.plan, see)
	for dir, id := range w.watched {
		if want[dir] != id {
			w.source.remove(w.absolute(dir))
			delete(w.watched, dir)
		}
	}
	held := map[identity]string{} // a link and its target are one directory
	for dir, id := range w.watched {
		held[id] = dir
	}
	w.aliases = map[string][]string{}
	for dir, id := range want {
		if _, is := w.watched[dir]; is {
			continue
		}
		if first, is := held[id]; is {
			w.aliases[first] = append(w.aliases[first], dir)
			continue
		}
		err := w.source.add(w.absolute(dir))
		switch {
		case err == nil:
			w.watched[dir], held[id] = id, dir
			added = append(added, dir)
		case limitHint(err) != "":
			w.limited(err)
			return added
		}
		// Else it has gone; its parent tells when it is back.
	}
	if _, is := w.source.(deaf); w.limit != nil && !is {
		w.limit = nil
		w.o.Log.Info().Msg("files are watched again")
		w.o.Limited(nil)
	}
	return added
}

func (w *Watcher) absolute(rel string) string {
	return filepath.Join(w.o.Root, filepath.FromSlash(rel))
}
