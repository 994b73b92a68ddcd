package probe

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The hub is a child subreaper: what a command leaves becomes its child, and
// would stay a zombie for ever if nobody reaped it.
func TestExecLeavesNoZombie(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0); err != nil {
			t.Error(err)
		}
	})
	addr, accept := hanging(t)
	wait, acceptWait := hanging(t)
	p, target := command(t, "fork="+addr+" fork="+addr+" hang="+wait+" exit=0")
	p.Timeout = time.Hour
	got := start(t.Context(), t, p, target)
	accept()
	accept()
	acceptWait().Close()
	if err := <-got; err != nil {
		t.Error(err)
	}
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("a child is left: %v", err)
	}
}
