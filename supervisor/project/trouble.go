package project

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

// This file is what a person is told when the state on disk can't be read or
// written. A log that nobody opens is not telling.

// stateFailed takes a failure of the store's. It never waits.
func (p *Project) stateFailed(err error) {
	p.o.Log.Error().Err(err).Msg("state")
	n, damaged := stateProblem(err, p.o.Paths.Run, time.Now())
	p.mu.Lock()
	if damaged {
		p.damaged = append(p.damaged, n)
	} else {
		p.unwritten = &n
	}
	p.mu.Unlock()
	p.happened(status.Event{Kind: status.HappenedProblem, At: n.Since, Message: n.Message, Code: n.Code})
	p.changed()
}

// stateMended takes the news that everything is on disk again.
func (p *Project) stateMended() {
	p.mu.Lock()
	p.unwritten = nil
	p.mu.Unlock()
	p.happened(status.Event{Kind: status.HappenedProblem, At: time.Now(), Message: "devside's state is on disk again", Code: status.StateFailed})
	p.changed()
}

// Rewrite puts everything on disk again, after somebody has removed it.
func (p *Project) Rewrite() {
	p.again.Store(true)
	p.update(func(v *view) {
		if v.stored != "" {
			p.store.PutTrust(state.Trust{Hash: v.stored, At: time.Now()})
		}
	})
	p.happened(status.Event{
		Kind: status.HappenedProblem, At: time.Now(), Code: status.StateFailed,
		Message: fmt.Sprintf("devside's folder %s was removed while it ran; it is there again, with what it has to hold", p.o.Paths.Run),
	})
}

// consequences are what a damaged file means to a person.
var consequences = map[string]string{
	"ledger.json":   "processes that a hub before this one left may still run",
	"snapshot.json": "what ran before is not known, so that nothing is started again",
	"starts.json":   "how long starts usually take is not known, so that a slow one is not told",
	"trust.json":    "whether somebody has agreed to the project's commands is not known, so that devside asks again",
}

// stateProblem puts a failure of the store's into words. A damaged file is told
// of as long as the hub lives; what can't be written, until it is.
func stateProblem(err error, dir string, now time.Time) (n status.Problem, damaged bool) {
	var d *state.DamagedError
	if errors.As(err, &d) {
		n = status.NewProblem(status.StateFailed, "", fmt.Sprintf("devside's file %s was damaged (%v) and is set aside: %s", d.File, d.Err, consequences[d.File]), now)
		n.Hint = fmt.Sprintf("it is kept as %s in %s", d.Aside, dir)
		return n, true
	}
	n = status.NewProblem(status.StateFailed, "", fmt.Sprintf("devside can't write its state (%v): if it were killed now, it would not know afterwards what ran and what was agreed to", err), now)
	n.Hint = writeHint(err, dir)
	return n, false
}

func writeHint(err error, dir string) string {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return "make room on the disk of " + dir
	}
	return "devside must be able to write in " + dir
}

// unmarked refuses every start while the marker is not on disk: nothing would
// find the server if the hub and its guardian were killed together. Once it is
// there servers start on a full disk, too.
func (p *Project) unmarked(server string) *status.Problem {
	if p.store.Marked() {
		return nil
	}
	err := p.store.Failing()
	if err == nil { // being written for the first time
		err = errors.New("it is not there yet")
	}
	n := status.NewProblem(status.CannotStart, server, fmt.Sprintf("%s is not started: devside can't write down that it is its own (%v), and would not find it again after being killed", server, err), time.Now())
	n.Field, n.Hint = "-", writeHint(err, p.o.Paths.Run)+", then start it again"
	return &n
}

// commands is spec.Commands, with an error where the machine had no means to
// look: a script that could not be opened for want of descriptors has not
// changed, and nobody is to be asked to agree to it without its text.
func (p *Project) commands(of *spec.Project) (status.Trust, error) {
	fsys := &wanting{fsys: p.root.FS()}
	t := spec.Commands(fsys, of)
	return t, fsys.err
}

// wanting is a file system that remembers when the machine lacked something.
type wanting struct {
	fsys fs.FS
	err  error // the first
}

func (w *wanting) note(err error) {
	for _, lack := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO} {
		if w.err == nil && errors.Is(err, lack) {
			w.err = err
		}
	}
}

func (w *wanting) Open(name string) (fs.File, error) {
	f, err := w.fsys.Open(name)
	w.note(err)
	return f, err
}

func (w *wanting) Stat(name string) (fs.FileInfo, error) {
	info, err := fs.Stat(w.fsys, name)
	w.note(err)
	return info, err
}

func (w *wanting) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(w.fsys, name)
	w.note(err)
	return entries, err
}
