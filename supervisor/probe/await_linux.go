package probe

import (
	"context"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// await waits for a child's end without reaping it. When ctx ends it calls
// kill, and still waits.
func await(ctx context.Context, pid int, kill func()) error {
	ended := make(chan error, 1)
	go func() {
		for {
			err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if !errors.Is(err, unix.EINTR) {
				ended <- err
				return
			}
		}
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		kill()
		return <-ended
	}
}

// reap reaps the leader of a group that was killed, and then those members that
// became our children by its end, as they do where we are a child subreaper.
// Nobody else would: proc reaps what servers leave.
//
// Once the leader is reaped, its id means this group only as long as a member
// is left, so that each look happens while no other goroutine can fork.
func reap(group int, leader func()) {
	syscall.ForkLock.RLock()
	leader()
	left := reapEnded(group)
	syscall.ForkLock.RUnlock()
	for left {
		if err := unix.Waitid(unix.P_PGID, group, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		syscall.ForkLock.RLock()
		left = reapEnded(group)
		syscall.ForkLock.RUnlock()
	}
}

// reapEnded reaps our zombies in the group, and reports whether others live.
func reapEnded(group int) (left bool) {
	for {
		pid, err := unix.Wait4(-group, nil, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return false
		case pid == 0:
			return true
		}
	}
}
