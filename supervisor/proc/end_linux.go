package proc

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"
)

// end is End.
func end(ctx context.Context, id Identity, plan StopPlan, still func() error) (killed bool, err error) {
	h, err := openHandle(id)
	if err != nil {
		return false, fmt.Errorf("end pid %d: %w", id.PID, err)
	}
	defer h.close()
	if h.ended() {
		return false, fmt.Errorf("end pid %d: %w", id.PID, ErrGone)
	}
	// From here on the handle means this process and no other: what is found
	// out about its pid now is found out about the one that gets the signal.
	if err := still(); err != nil {
		return false, err
	}
	deaths, err := newObituary()
	if err != nil {
		return false, fmt.Errorf("end pid %d: %w", id.PID, err)
	}
	defer deaths.close()
	if err := deaths.add(h); err != nil {
		return false, fmt.Errorf("end pid %d: %w", id.PID, err)
	}
	if plan.Signal == 0 {
		plan.Signal = syscall.SIGTERM
	}
	for _, step := range []struct {
		signal   syscall.Signal
		patience time.Duration
	}{{plan.Signal, plan.Grace}, {syscall.SIGKILL, killPatience}} {
		if err := h.signal(step.signal); err != nil && !h.ended() {
			return killed, fmt.Errorf("end pid %d: %w", id.PID, err)
		}
		if step.signal != syscall.SIGKILL {
			_ = h.signal(syscall.SIGCONT) // one that is stopped would not see it
		} else {
			killed = true
		}
		if awaitEnd(ctx, h, deaths, step.patience, plan.Hurry) {
			return killed, nil
		}
		if ctx.Err() != nil { // whoever asked has thought better of it: nothing worse follows
			return killed, fmt.Errorf("end pid %d: it was sent %s, and does not have to end any more: %w", id.PID, SignalName(step.signal), context.Cause(ctx))
		}
	}
	return killed, fmt.Errorf("end pid %d: it did not end within %v of SIGKILL", id.PID, killPatience)
}

// awaitEnd waits until the process has ended. The end of ctx ends the wait.
func awaitEnd(ctx context.Context, h handle, deaths *obituary, patience time.Duration, hurry <-chan struct{}) bool {
	t := time.NewTimer(max(patience, 0))
	defer t.Stop()
	for !h.ended() {
		select {
		case <-deaths.c:
		case <-t.C:
			return h.ended()
		case <-ctx.Done():
			return h.ended()
		case <-hurry:
			return h.ended()
		}
	}
	return true
}

func sameProgram(pid int) bool {
	ours, err := os.Stat("/proc/self/exe")
	if err != nil {
		return false
	}
	theirs, err := os.Stat(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && os.SameFile(ours, theirs)
}
