package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"

	"github.com/devside/devside/supervisor/state"
)

// Kept is the listener of a hub that outlives its files: who cleans up a home
// may remove the lock and the socket of a hub that lives. Without them nobody
// finds it, and the next client would start a second one.
type Kept struct {
	paths state.Paths
	lock  *os.File // only Mend and Close touch it

	mu       sync.Mutex
	listener net.Listener
	closed   bool
}

// Keep listens for the hub that holds the lock.
func Keep(p state.Paths, lock *os.File) (*Kept, error) {
	l, err := Listen(p)
	if err != nil {
		return nil, err
	}
	return &Kept{paths: p, lock: lock, listener: l}, nil
}

// Mend makes the folder, the lock and the socket again if one of them is gone,
// and reports whether it had to. ErrLocked: somebody else has the project's
// lock now. It is called by one goroutine at a time.
func (k *Kept) Mend() (mended bool, err error) {
	lockGone := isGone(sameFile(k.lock, k.paths.Lock()))
	_, err = os.Lstat(k.paths.Socket())
	if !lockGone && !isGone(err) {
		return false, nil
	}
	if err := k.paths.Make(); err != nil {
		return false, err
	}
	if lockGone {
		lock, err := Lock(k.paths)
		if err != nil {
			return false, err
		}
		k.lock.Close() //nolint:errcheck // a lock on a file without a name excludes nobody
		k.lock = lock
	}
	l, err := Listen(k.paths)
	if err != nil {
		return false, err
	}
	k.mu.Lock()
	old, closed := k.listener, k.closed
	k.listener = l
	k.mu.Unlock()
	if closed {
		old = l
	}
	if err := old.Close(); err != nil {
		return true, fmt.Errorf("close the socket that was removed: %w", err)
	}
	return true, nil
}

// isGone: the file has been removed, or another one has its name.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errReplaced) }

// Accept takes the next connection, of whichever socket is the current one.
func (k *Kept) Accept() (net.Conn, error) {
	for {
		l, _ := k.current()
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			if now, closed := k.current(); now != l && !closed {
				continue
			}
		}
		return c, err
	}
}

func (k *Kept) current() (l net.Listener, closed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.listener, k.closed
}

// Close ends Accept. The lock stays: it ends with the process.
func (k *Kept) Close() error {
	k.mu.Lock()
	l := k.listener
	k.closed = true
	k.mu.Unlock()
	return l.Close()
}

// Addr is the socket's.
func (k *Kept) Addr() net.Addr {
	l, _ := k.current()
	return l.Addr()
}
