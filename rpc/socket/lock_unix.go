//go:build unix

package socket

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock is flock(2). The library for it keeps its descriptor to itself, and
// ours must be handed on to the hub.
func tryLock(f *os.File) (bool, error) { return flock(f, unix.LOCK_EX) }

func tryShare(f *os.File) (bool, error) { return flock(f, unix.LOCK_SH) }

func flock(f *os.File, how int) (bool, error) {
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, unix.EINTR):
			return false, err
		}
	}
}
