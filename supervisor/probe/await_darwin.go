package probe

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// await waits for a child's end without reaping it, by the kernel queue's note
// of its exit. When ctx ends it calls kill, and still waits.
func await(ctx context.Context, pid int, kill func()) error {
	queue, err := unix.Kqueue()
	if err != nil {
		kill()
		return fmt.Errorf("watch for its end: %w", err)
	}
	defer unix.Close(queue) //nolint:errcheck // nothing was written
	watch := []unix.Kevent_t{{Ident: uint64(pid), Filter: unix.EVFILT_PROC, Flags: unix.EV_ADD, Fflags: unix.NOTE_EXIT}}
	if _, err := unix.Kevent(queue, watch, nil, nil); err != nil {
		// ESRCH: it has ended already, and is a zombie until it is reaped.
		kill()
		if err == unix.ESRCH {
			return nil
		}
		return fmt.Errorf("watch for its end: %w", err)
	}
	ended := make(chan error, 1)
	go func() {
		events := make([]unix.Kevent_t, 1)
		for {
			n, err := unix.Kevent(queue, nil, events, nil)
			if err == unix.EINTR {
				continue
			}
			if n > 0 || err != nil {
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

// reap reaps the leader. There are no subreapers: launchd takes the others.
func reap(_ int, leader func()) { leader() }
