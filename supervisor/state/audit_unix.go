//go:build unix

package state

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const auditFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// tryLockAudit takes the lock of an open audit log, if nobody has it.
func tryLockAudit(f *os.File) (bool, error) {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
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
