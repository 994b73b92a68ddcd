// Package socket is how a client and the hub of a project find each other: the
// lock that says who is alive, the unix socket, the check of who is at its
// other end, the handshake, and starting a hub where there is none.
//
// It never trusts a file's existence: a hub lives if it holds the kernel lock
// and answers. It never talks to another user's process. It never lets two
// hubs of one project live at once: whoever does not get the lock is not one.
//
// Start reading at Connect.
package socket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/devside/devside/supervisor/state"
)

// ErrNoHub: nobody listens for this project.
var ErrNoHub = errors.New("no hub runs for this project")

// ErrLocked: another process owns the project.
var ErrLocked = errors.New("another devside owns this project")

// ErrStranger: the process at the other end belongs to another user.
var ErrStranger = errors.New("the other end belongs to another user")

// StrangerError is an ErrStranger with what the kernel says of the other end.
type StrangerError struct{ UID, PID int }

func (e *StrangerError) Error() string {
	return fmt.Sprintf("%v: pid %d of uid %d", ErrStranger, e.PID, e.UID)
}
func (e *StrangerError) Unwrap() error { return ErrStranger }

// Lock takes the project's kernel lock, without waiting. The lock lives until
// the last copy of the file's descriptor is closed, whoever holds it: that is
// how a guardian and its hub share it.
func Lock(p state.Paths) (*os.File, error) {
	f, err := os.OpenFile(p.Lock(), os.O_RDWR|os.O_CREATE|noFollow, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", p.Lock(), err)
	}
	fail := func(err error) (*os.File, error) {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", p.Lock(), err), f.Close())
	}
	ok, err := tryLock(f)
	if err != nil {
		return fail(err)
	}
	if !ok {
		return nil, errors.Join(ErrLocked, f.Close())
	}
	// Nobody of ours unlinks the file, but a cleaner of the home might: a lock
	// on an unlinked file excludes nobody.
	if err := sameFile(f, p.Lock()); err != nil {
		return fail(err)
	}
	if err := f.Chmod(0o600); err != nil {
		return fail(err)
	}
	return f, nil
}

// owned reports whether somebody holds the project's lock. It is a look, and
// no promise: it takes a shared lock for a moment, which can make a guardian
// that comes just then give up; whoever started that one tries again.
func owned(p state.Paths) bool {
	f, err := os.OpenFile(p.Lock(), os.O_RDONLY|noFollow, 0)
	if err != nil {
		return false // launching says what is wrong with it
	}
	defer f.Close() //nolint:errcheck // also gives the lock back
	free, err := tryShare(f)
	return err == nil && !free
}

var errReplaced = errors.New("the file was replaced meanwhile")

func sameFile(f *os.File, path string) error {
	held, err := f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(held, named) {
		return errReplaced
	}
	return nil
}

// Listen binds the project's socket. The caller holds the lock, so that a
// socket that is there already is a dead hub's.
func Listen(p state.Paths) (net.Listener, error) {
	if err := os.Remove(p.Socket()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen on %s: %w", p.Socket(), err)
	}
	l, err := listenUnix(p.Socket())
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", p.Socket(), err)
	}
	// The folder is 0700 already; the socket says so itself, too.
	if err := os.Chmod(p.Socket(), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", p.Socket(), err), l.Close())
	}
	return l, nil
}

// Accept takes the next client of our own user. A stranger is told nothing:
// its connection is closed, and refused is called with the reason.
func Accept(l net.Listener, refused func(error)) (net.Conn, error) {
	for {
		c, err := l.Accept()
		if err != nil {
			return nil, err
		}
		if err := checkPeer(c); err != nil {
			refused(errors.Join(err, c.Close()))
			continue
		}
		return c, nil
	}
}

// dial connects to the project's hub, if one listens.
func dial(ctx context.Context, p state.Paths) (net.Conn, error) {
	c, err := dialUnix(ctx, p.Socket())
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNoHub
	case err != nil:
		return nil, fmt.Errorf("connect to %s: %w", p.Socket(), err)
	}
	if err := checkPeer(c); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to %s: %w", p.Socket(), err), c.Close())
	}
	return c, nil
}

// retryFirst and retryMost space out the looks at a socket whose hub is just
// coming up or going down. A hub takes about 20 ms to come up; one that goes
// down may take its servers' grace.
const (
	retryFirst = 5 * time.Millisecond
	retryMost  = 100 * time.Millisecond
)

// pause waits a little longer each time.
func pause(ctx context.Context, d *time.Duration) error {
	*d = min(max(*d*2, retryFirst), retryMost)
	t := time.NewTimer(*d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
