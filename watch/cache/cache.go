// Package cache removes caches inside a project: a server's stale build output
// is out of the way at once, by one rename, and its space comes back in the
// background.
//
// It never removes what was not declared as a cache and named like one, what
// git tracks, a link or what a link leads to, anything outside the project's
// root or on another file system; and it never deletes what it has not looked
// at: what was moved is compared with what was opened. On Linux the kernel
// confines every path (openat2); see openStepwise for older kernels, and
// portable.go for what is weaker elsewhere.
// No program is run, git least of all.
//
// What is being removed lies in .devside/trash of the project. A crash leaves it
// there, and the next Open removes it. Start reading at Remover.Remove, then
// check in path.go and kernel.find in kernel_linux.go.
package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// leastFree is the free space below which a result says that the disk is low
// (EDGE-2 of the audit).
const leastFree = 5 << 30

// Target is one cache that should go.
type Target struct {
	Dir      string   // the server's folder, relative to the root, "." for the root itself
	Path     string   // what to remove, relative to Dir, with / between the parts
	Declared []string // the server's caches, relative to Dir; Path must be one of them
}

// Removed is one cache that is out of the way, or would be in a dry run.
type Removed struct {
	Path  string // relative to the root
	Files int64  // everything but folders
	Bytes int64  // the sizes of regular files, also of those that have another name elsewhere
	// Failed says in a sentence what could not be removed or counted. The
	// cache is out of the way nevertheless, and the next Open tries again.
	Failed string
}

// Refused is one cache that was left as it is.
type Refused struct {
	Path string // relative to the root, as far as it can be told
	Why  string // plain words: "it is …"
}

// Result is what became of the targets. A target where nothing is appears in
// neither list.
type Result struct {
	// Removed holds counts after a dry run only. For a removal they are known
	// when the space is free: see Freed.
	Removed []Removed
	Refused []Refused
	// Freed gives each of Removed again, complete, as soon as its space has
	// come back, and is closed after the last. It is buffered: nobody needs to
	// read it.
	Freed <-chan Removed
	// FreeBytes is what this user could still write before anything was
	// removed, and DiskLow that it is below 5 GB.
	FreeBytes int64
	DiskLow   bool
}

// Remover removes the caches of one project. It may be used by several
// goroutines.
type Remover struct {
	root  string // real path, for the lists of mounts and repositories only
	info  fs.FileInfo
	tree  tree
	git   repositories
	queue *queue
	log   zerolog.Logger

	mu      sync.Mutex
	closed  bool
	removes sync.WaitGroup // calls of Remove under way: they use the tree
}

// tree is the project's folder as this package reaches into it.
type tree interface {
	// find opens what is at path, clean and below the root, without following
	// a link or entering another file system. Nothing there is
	// fs.ErrNotExist.
	find(path string) (found, error)
	// discard removes one entry of the trash.
	discard(ctx context.Context, name string) (tally, error)
	// leftovers lists the entries of the trash.
	leftovers() ([]string, error)
	// free is the space that this user may write, in bytes.
	free() (int64, error)
	close()
}

// found is something that was opened and is held.
type found interface {
	facts() facts
	// move puts it into the trash and names it there. An empty name means that
	// it had to be removed where it was, which tally tells.
	move(ctx context.Context) (name string, t tally, err error)
	count(ctx context.Context) (tally, error)
	close()
}

// tally is what a walk met.
type tally struct{ files, bytes int64 }

// Open prepares for removals below root, and begins to remove, in the
// background, what a crash left in the trash.
func Open(root string, log zerolog.Logger) (*Remover, error) {
	return open(root, log, openTree, rest)
}

func open(root string, log zerolog.Logger, openTree func(string) (tree, error), rest time.Duration) (*Remover, error) {
	real, err := filepath.EvalSymlinks(root)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return nil, fmt.Errorf("find the project's root: %w", err)
	}
	info, err := os.Lstat(real)
	if err != nil {
		return nil, fmt.Errorf("find the project's root: %w", err)
	}
	t, err := openTree(real)
	if err != nil {
		return nil, fmt.Errorf("open the project's root: %w", err)
	}
	r := &Remover{root: real, info: info, tree: t, queue: newQueue(rest), log: log}
	r.sweep()
	return r, nil
}

// Close waits until the background has put down what it has in hand. What is
// left in the trash then is removed after the next Open. Everything that
// Remove is asked for from now on is refused.
func (r *Remover) Close() {
	r.mu.Lock()
	again := r.closed
	r.closed = true
	r.mu.Unlock()
	r.queue.close()
	r.removes.Wait()
	if !again {
		r.tree.close()
	}
}

// begin keeps the tree open until the caller calls r.removes.Done. A
// descriptor that is used after its end could be another folder's by then.
func (r *Remover) begin() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return refusal("devside is ending")
	}
	r.removes.Add(1)
	return nil
}

// sweep lists what a crash left before anything new can come to it, so that
// nothing is removed twice.
func (r *Remover) sweep() {
	names, err := r.tree.leftovers()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.log.Warn().Err(err).Msg("the trash of an earlier run can't be read, and is left")
	}
	for _, name := range names {
		if !isTrash(name) {
			r.log.Warn().Str("name", name).Msg("something that devside did not put there is in .devside/trash, and is left")
			continue
		}
		r.queue.add(func(ctx context.Context) {
			if t, err := r.tree.discard(ctx, name); err != nil && ctx.Err() == nil {
				r.log.Warn().Err(err).Int64("files", t.files).Msg("what an earlier run left in .devside/trash can't all be removed")
			}
		})
	}
}

// Remove takes the targets out of the way, one rename each, and returns; their
// space comes back in the background. With dryRun it only counts. It never
// fails as a whole: what it may not or can't remove is in Refused.
func (r *Remover) Remove(ctx context.Context, targets []Target, dryRun bool) Result {
	var res Result
	var mounts []string
	err := r.begin()
	if err == nil {
		defer r.removes.Done()
		if free, err := r.tree.free(); err == nil {
			res.FreeBytes, res.DiskLow = free, free < leastFree
		}
		mounts, err = r.ground()
	}
	freed := make(chan Removed, len(targets))
	res.Freed = freed
	var left atomic.Int64 // jobs under way, and this loop
	left.Store(1)
	release := func() {
		if left.Add(-1) == 0 {
			close(freed)
		}
	}
	defer release()
	for _, t := range targets {
		at := t.Where()
		var done Removed
		var name string
		why := err
		if why == nil {
			done, name, why = r.one(ctx, t, mounts, dryRun)
		}
		switch {
		case errors.Is(why, fs.ErrNotExist):
		case why != nil:
			res.Refused = append(res.Refused, Refused{Path: at, Why: sentence(why)})
		case name == "": // counted, or removed where it was
			res.Removed = append(res.Removed, done)
			freed <- done
		default:
			res.Removed = append(res.Removed, done)
			left.Add(1)
			r.queue.add(func(ctx context.Context) {
				defer release()
				freed <- r.discard(ctx, done, name)
			})
		}
	}
	return res
}

// Space is what this user can still write, in bytes, and whether that is below
// 5 GB. What can't be found out is not low.
func (r *Remover) Space() (free int64, low bool) {
	if err := r.begin(); err != nil {
		return 0, false
	}
	defer r.removes.Done()
	free, err := r.tree.free()
	return free, err == nil && free < leastFree
}

// ground is what must hold for any target: the root is where it was, and the
// mounts are known.
func (r *Remover) ground() ([]string, error) {
	now, err := os.Lstat(r.root)
	if err != nil || !os.SameFile(r.info, now) {
		return nil, refusal("the project's folder was moved or replaced while devside was running")
	}
	mounts, err := mountPoints()
	switch {
	case err != nil:
		return nil, refusal("it can't be told which file systems are mounted in the project")
	case mounted(mounts, r.root, filepath.Join(r.root, homeName)):
		return nil, refusal("a file system is mounted on devside's own folder .devside")
	}
	return mounts, nil
}

// one looks at one target and moves or counts it. name is its name in the
// trash.
func (r *Remover) one(ctx context.Context, t Target, mounts []string, dryRun bool) (done Removed, name string, err error) {
	done.Path, err = check(t)
	if err != nil {
		return done, "", err
	}
	if err := ctx.Err(); err != nil {
		return done, "", fmt.Errorf("it was not reached: %w", err)
	}
	f, err := r.tree.find(done.Path)
	if err != nil {
		return done, "", err
	}
	defer f.close()
	whole := filepath.Join(r.root, filepath.FromSlash(done.Path))
	if mounted(mounts, r.root, whole) {
		return done, "", refusal("a file system is mounted on it, below it or on the way to it")
	}
	if err := judge(f.facts(), os.Geteuid()); err != nil {
		return done, "", err
	}
	if err := r.git.tracked(whole); err != nil {
		return done, "", err
	}
	var met tally
	if dryRun {
		met, err = f.count(ctx)
		done.Failed = failure("not everything could be counted", err)
	} else if name, met, err = f.move(ctx); err != nil {
		return done, "", err
	}
	done.Files, done.Bytes = met.files, met.bytes
	return done, name, nil
}

// discard frees the space of what was moved away.
func (r *Remover) discard(ctx context.Context, done Removed, name string) Removed {
	met, err := r.tree.discard(ctx, name)
	done.Files, done.Bytes = met.files, met.bytes
	if err != nil && ctx.Err() != nil {
		done.Failed = "devside ended meanwhile: the rest is removed when it starts again"
		return done
	}
	if done.Failed = failure("not everything could be removed", err); err != nil {
		r.log.Warn().Err(err).Str("path", done.Path).Msg("a cache is out of the way, but can't all be removed")
	}
	return done
}

func failure(what string, err error) string {
	if err == nil {
		return ""
	}
	return what + ": " + plainError(err)
}

// refusal is a reason in words for the user.
type refusal string

func (r refusal) Error() string { return string(r) }

func sentence(err error) string {
	var r refusal
	if errors.As(err, &r) {
		return string(r)
	}
	return "it can't be moved away: " + plainError(err)
}

// kind tells what an entry is.
type kind int

const (
	other  kind = iota // a socket, a pipe, a device
	folder             //
	file               // a regular one
	link               //
)

// facts is what is known of something that was found.
type facts struct {
	kind      kind
	owner     int  // uid; -1 where there is none
	elsewhere bool // on another file system than the root
	repo      bool // holds a .git
}

// judge decides by what was found.
func judge(f facts, uid int) error {
	switch {
	case f.kind == link:
		return refusal("it is a link, and links are neither followed nor removed")
	case f.kind == other:
		return refusal("it is neither a folder nor a file")
	case f.elsewhere:
		return refusal("it is on another file system than the project")
	case f.owner >= 0 && uid > 0 && f.owner != uid:
		return refusal(fmt.Sprintf("it belongs to another user (uid %d)", f.owner))
	case f.repo:
		return refusal("it holds a .git: it is a repository of its own")
	}
	return nil
}

// Where is the path of a target for people, also when it is refused.
func (t Target) Where() string {
	if path.IsAbs(t.Path) || t.Dir == "" || t.Dir == "." || t.Path == "" {
		return t.Path
	}
	return strings.TrimSuffix(t.Dir, "/") + "/" + t.Path
}
