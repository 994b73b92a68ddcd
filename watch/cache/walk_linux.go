package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// walker visits a tree and removes it, or only counts. It holds one folder open
// at a time and goes back up by "..", whose identity it compares: so neither
// the depth of a tree nor its width costs descriptors, and a folder that is
// moved away under it ends the walk instead of leading it astray.
type walker struct {
	open   opener
	remove bool
	met    tally
	kept   int   // entries that could not be removed or looked at
	first  error // why, for the first of them
}

// mostPasses bounds how often a folder is read again that still holds
// something when all that was read is gone: somebody writes into it, or the
// file system skipped entries while others were removed.
const mostPasses = 5

// subfolder is one that was read and not entered yet.
type subfolder struct {
	name   string
	passes int
}

// level is a folder on the way from the top to where the walker is.
type level struct {
	sub  subfolder // its name in the one above
	id   identity
	subs []subfolder
	kept int // of walker.kept when it was entered
}

// entry visits what is called name in dir, if it is what it should be.
func (w *walker) entry(ctx context.Context, dir int, name string, want identity) error {
	var s unix.Stat_t
	err := unix.Fstatat(dir, name, &s, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return fmt.Errorf("look at it: %w", err)
	case identityOf(&s) != want:
		return errMoved
	case kindOf(s.Mode) == folder:
		again := true
		for sub := (subfolder{name: name}); again && err == nil; sub.passes++ {
			again, err = w.walk(ctx, dir, sub, want)
		}
	default:
		w.single(dir, name, &s)
	}
	if err == nil && w.kept > 0 {
		err = fmt.Errorf("%d could not be reached: %w", w.kept, w.first)
	}
	return err
}

// walk visits a folder without recursion. It asks for another pass as leave
// does.
func (w *walker) walk(ctx context.Context, dir int, top subfolder, want identity) (again bool, err error) {
	here, first, err := w.enter(ctx, dir, top, &want)
	if err != nil {
		return false, err
	}
	defer func() { unix.Close(here) }()
	levels := []level{first}
	for {
		if ctx.Err() != nil {
			return false, errLeft
		}
		at := &levels[len(levels)-1]
		if n := len(at.subs); n > 0 {
			sub := at.subs[n-1]
			at.subs = at.subs[:n-1]
			fd, next, err := w.enter(ctx, here, sub, nil)
			if err != nil {
				w.keep(sub.name, err)
				continue
			}
			unix.Close(here)
			here, levels = fd, append(levels, next)
			continue
		}
		done := *at
		if levels = levels[:len(levels)-1]; len(levels) == 0 {
			return w.leave(dir, done), nil
		}
		above := &levels[len(levels)-1]
		fd, err := up(here, above.id)
		if err != nil {
			return false, err
		}
		unix.Close(here)
		here = fd
		if w.leave(here, done) {
			done.sub.passes++
			above.subs = append(above.subs, done.sub)
		}
	}
}

// leave removes a folder that was emptied. It asks for another pass if
// something is in it that nothing is known of.
func (w *walker) leave(dir int, done level) (again bool) {
	if !w.remove || w.kept > done.kept { // what is kept below keeps it, too
		return false
	}
	err := unix.Unlinkat(dir, done.sub.name, unix.AT_REMOVEDIR)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return false
	case errors.Is(err, unix.ENOTEMPTY) && done.sub.passes < mostPasses:
		return true
	}
	w.keep(done.sub.name, err)
	return false
}

// enter opens a folder and reads all of it: files are dealt with, folders are
// remembered. Where it is known which folder it must be, want says so.
func (w *walker) enter(ctx context.Context, dir int, sub subfolder, want *identity) (int, level, error) {
	l := level{sub: sub, kept: w.kept}
	fd, err := w.openFolder(dir, sub.name)
	if err != nil {
		return -1, l, err
	}
	s, err := stat(fd)
	if l.id = identityOf(&s); err == nil && want != nil && l.id != *want {
		err = errMoved
	}
	if err == nil && w.remove && s.Mode&0o700 != 0o700 {
		err = unix.Fchmod(fd, s.Mode&0o777|0o700)
	}
	if err == nil && !w.remove { // is there a way back?
		var back int
		if back, err = unix.Openat(fd, "..", holdFolder|unix.O_CLOEXEC, 0); err == nil {
			unix.Close(back)
		}
	}
	if err == nil {
		err = w.read(ctx, fd, &l)
	}
	if err != nil {
		unix.Close(fd)
		return -1, l, err
	}
	return fd, l, nil
}

// openFolder opens a folder for reading. One that its owner may not read is opened
// up first, through a descriptor of that very folder.
func (w *walker) openFolder(dir int, name string) (int, error) {
	fd, err := w.open(dir, name, readFolder)
	if !w.remove || !errors.Is(err, unix.EACCES) {
		return fd, err
	}
	hold, err := w.open(dir, name, holdFolder)
	if err != nil {
		return -1, err
	}
	defer unix.Close(hold)
	if err := openUp(hold); err != nil {
		return -1, err
	}
	return w.open(dir, name, readFolder)
}

// openUp gives the owner of a folder that is only held the right to change it:
// fchmod wants a descriptor that is open for reading, and fchmodat2 is younger
// than openat2.
func openUp(fd int) error {
	err := os.Chmod("/proc/self/fd/"+strconv.Itoa(fd), 0o700)
	if errors.Is(err, fs.ErrPermission) {
		return unix.EACCES
	}
	return err
}

// up opens the folder above, if it is still the one that the walk came by.
func up(here int, want identity) (int, error) {
	fd, err := unix.Openat(here, "..", holdFolder|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("go back up: %w", err)
	}
	if s, err := stat(fd); err != nil || identityOf(&s) != want {
		unix.Close(fd)
		return -1, errors.Join(err, errMoved)
	}
	return fd, nil
}

// read deals with the entries of a folder.
func (w *walker) read(ctx context.Context, fd int, l *level) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return err
		}
		_, _, names := unix.ParseDirent(buf[:n], -1, nil)
		for _, name := range names {
			if ctx.Err() != nil {
				return errLeft
			}
			if err := w.see(fd, name, l); err != nil {
				return err
			}
		}
	}
}

func (w *walker) see(fd int, name string, l *level) error {
	var s unix.Stat_t
	err := unix.Fstatat(fd, name, &s, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT): // a tree in use, while it is counted
	case err != nil:
		return err
	case kindOf(s.Mode) == folder:
		l.subs = append(l.subs, subfolder{name: name})
	default:
		w.single(fd, name, &s)
	}
	return nil
}

// single deals with what is no folder. A link is removed or counted itself.
func (w *walker) single(dir int, name string, s *unix.Stat_t) {
	if w.remove {
		err := unix.Unlinkat(dir, name, 0)
		if errors.Is(err, unix.ENOENT) {
			return
		}
		if err != nil {
			w.keep(name, err)
			return
		}
	}
	w.met.files++
	if kindOf(s.Mode) == file {
		w.met.bytes += s.Size
	}
}

func (w *walker) keep(name string, err error) {
	if w.kept++; w.first == nil {
		w.first = fmt.Errorf("%s: %w", strconv.Quote(name), onTheWay(err))
	}
}

// readNames lists a folder.
func readNames(fd int) ([]string, error) {
	var names []string
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return names, err
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}
