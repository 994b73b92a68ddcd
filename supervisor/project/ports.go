package project

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/devside/devside/supervisor"
	"github.com/devside/devside/supervisor/port"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// owned reports whether one of the processes has one of the listeners open.
func owned(listeners []port.Listener, pids []int) bool {
	return slices.ContainsFunc(listeners, func(l port.Listener) bool { return port.Owned(l, pids) })
}

const (
	// freeGrace is how long a process that a person wants off a port may take to
	// end by itself: the default grace of a server.
	freeGrace = spec.DefaultGrace
	// freePatience is how long its port may stay taken after that (PERF-002: the
	// kernel frees it with the process; only a copy of the socket keeps it).
	freePatience = 500 * time.Millisecond
	freePause    = 25 * time.Millisecond
)

// FreePort ends the process that listens on a port, if it still is the one that
// was shown: pid and startTime, as a Holder has them. why says in plain words
// what stood against it. One of our own servers is stopped as such.
func (p *Project) FreePort(ctx context.Context, number, pid int, startTime string) (freed bool, why string, err error) {
	taken, listeners, err := port.Taken(number)
	switch {
	case err != nil:
		return false, "", fmt.Errorf("look at port %d: %w", number, err)
	case !taken:
		return true, "", nil
	}
	h := p.holderOf(listeners)
	if why := refusal(number, h, pid, startTime); why != "" {
		p.refuse(number, h, why)
		return false, why, nil
	}
	if h.Server != "" {
		if _, err := p.Stop(ctx, []string{h.Server}, supervisor.StopOptions{Message: fmt.Sprintf("port %d was asked for", number)}); err != nil {
			return false, "", err
		}
	} else if why, err := p.endHolder(ctx, number, *h); why != "" || err != nil {
		return false, why, err
	}
	return p.awaitFree(ctx, number)
}

// refusal says why the holder of a port is not ended; empty: it may be.
func refusal(number int, h *status.Holder, pid int, startTime string) string {
	switch {
	case h == nil:
		return fmt.Sprintf("port %d is taken by a process that can't be seen: it is bound, and does not listen", number)
	case h.PID == 0:
		return fmt.Sprintf("port %d belongs to %s, whose processes are not ours to end", number, h.User)
	case h.PID != pid || h.StartTime != startTime:
		return fmt.Sprintf("port %d is held by %s (pid %d) now, which is not the process that was shown", number, h.Name, h.PID)
	case h.Server == "" && (h.PID == 1 || ourselves(h.PID)):
		return fmt.Sprintf("%s (pid %d) is devside itself, or what it runs under", h.Name, h.PID)
	}
	return ""
}

// ourselves reports whether a process is this one, one above it, or another
// devside: its program is our own.
func ourselves(pid int) bool {
	for at, steps := os.Getpid(), 0; at > 0 && steps < 100; steps++ {
		if at == pid {
			return true
		}
		info, err := proc.Inspect(at)
		if err != nil {
			break
		}
		at = info.Parent
	}
	return proc.SameProgram(pid)
}

func (p *Project) refuse(number int, h *status.Holder, why string) {
	p.happened(status.Event{Kind: status.HappenedSecurity, Act: status.ActKillRefused, At: time.Now(), Process: h,
		Message: fmt.Sprintf("port %d is not freed: %s", number, why)})
}

// endHolder ends a process that is none of ours. It is the same process, and
// still listens there, when it is signalled.
func (p *Project) endHolder(ctx context.Context, number int, h status.Holder) (why string, err error) {
	id, err := proc.Identify(h.PID)
	if errors.Is(err, proc.ErrGone) || err == nil && id.Start != h.StartTime {
		return "", nil // it has ended by itself
	}
	if err != nil {
		return "", err
	}
	moved := errors.New("it does not listen there any more")
	killed, err := proc.End(ctx, id, proc.StopPlan{Signal: syscall.SIGTERM, Grace: freeGrace}, func() error {
		listeners, err := port.Listeners(number)
		if err != nil {
			return err
		}
		if !owned(listeners, []int{h.PID}) {
			return moved
		}
		return nil
	})
	switch {
	case errors.Is(err, moved):
		why = fmt.Sprintf("%s (pid %d) does not listen on port %d any more", h.Name, h.PID, number)
	case errors.Is(err, proc.ErrGone):
		return "", nil
	case errors.Is(err, syscall.EPERM):
		why = fmt.Sprintf("%s (pid %d) may not be signalled: it runs with other rights", h.Name, h.PID)
	case err != nil:
		why = err.Error()
	}
	if why != "" {
		p.refuse(number, &h, why)
		return why, nil
	}
	how := "asked to end"
	if killed {
		how = "killed, since it did not end when it was asked to"
	}
	p.happened(status.Event{Kind: status.HappenedSecurity, Act: status.ActKilled, At: time.Now(), Process: &h,
		Message: fmt.Sprintf("port %d was freed: %s (pid %d) was %s", number, h.Name, h.PID, how)})
	return "", nil
}

// awaitFree looks whether a port is free, and gives whoever still has the
// socket a moment.
func (p *Project) awaitFree(ctx context.Context, number int) (freed bool, why string, err error) {
	deadline := time.NewTimer(freePatience)
	defer deadline.Stop()
	for {
		taken, listeners, err := port.Taken(number)
		if err != nil {
			return false, "", fmt.Errorf("look at port %d: %w", number, err)
		}
		if !taken || len(listeners) == 0 {
			return true, "", nil
		}
		pause := time.NewTimer(freePause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return false, "", context.Cause(ctx)
		case <-deadline.C:
			pause.Stop()
			who := "a process that can't be seen"
			if h := p.holderOf(listeners); h != nil && h.PID != 0 {
				who = fmt.Sprintf("%s (pid %d)", h.Name, h.PID)
			}
			return false, fmt.Sprintf("port %d is held by %s now", number, who), nil
		}
	}
}

// NextPort finds the next free port for a server in the place of its first one.
// The server uses it from its next start on; with write it is put into
// devside.yaml instead, where nothing else changes.
func (p *Project) NextPort(ctx context.Context, server string, write bool) (int, error) {
	number, err := p.group.FindPort(server)
	if err != nil {
		return 0, err
	}
	if !write {
		p.group.UsePort(server, number)
		return number, nil
	}
	if err := p.writePort(server, number); err != nil {
		return 0, err
	}
	p.Reload(ctx)
	return number, nil
}

// RefusedError says why devside.yaml was not changed, and what to do instead.
type RefusedError struct{ Why, Hint string }

func (e *RefusedError) Error() string { return e.Why }

// writePort edits devside.yaml: through a descriptor of the root, by a new file
// in the place of the old one, so that nobody reads half of it.
func (p *Project) writePort(server string, number int) error {
	p.applying.Lock()
	defer p.applying.Unlock()
	info, err := p.root.Lstat(spec.FileName)
	if errors.Is(err, fs.ErrNotExist) {
		return &RefusedError{"edit " + spec.FileName + ": there is none: the servers were found in other files", "write one, with the servers in it"}
	}
	if err != nil {
		return fmt.Errorf("edit %s: %w", spec.FileName, err)
	}
	if !info.Mode().IsRegular() {
		return &RefusedError{"edit " + spec.FileName + ": it is a link or no file", "change the port by hand"}
	}
	text, err := p.readFile(spec.FileName)
	if err != nil {
		return fmt.Errorf("edit %s: %w", spec.FileName, err)
	}
	edited, err := spec.SetPort(string(text), server, number)
	var refused *spec.EditError
	if errors.As(err, &refused) {
		return &RefusedError{err.Error(), refused.Hint}
	}
	if err != nil {
		return err
	}
	return replaceInRoot(p.root, spec.FileName, info, []byte(edited))
}

// replaceInRoot puts a file in the place of the one that info describes, with
// its rights, if that is still the same.
func replaceInRoot(root *os.Root, name string, info fs.FileInfo, data []byte) (err error) {
	var unique [8]byte
	rand.Read(unique[:]) //nolint:errcheck // never fails since Go 1.24
	tmp := "." + name + "." + hex.EncodeToString(unique[:])
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("edit %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("edit %s: %w", name, err), root.Remove(tmp))
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(info.Mode().Perm()), f.Sync(), f.Close()); err != nil {
		return err
	}
	now, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if !os.SameFile(now, info) || !now.ModTime().Equal(info.ModTime()) || now.Size() != info.Size() {
		return errors.New("it was changed by somebody else at the same time")
	}
	return root.Rename(tmp, name)
}
