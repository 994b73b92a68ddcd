//go:build linux

package proc

import (
	"context"
	"errors"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// stranger starts a process that no Tracker knows, as a shell would.
func stranger(t *testing.T, mode string) (Identity, *exec.Cmd) {
	t.Helper()
	cmd := exec.Command(self()[0], self(mode)[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // ended already, mostly
		cmd.Wait()         //nolint:errcheck // killed
	})
	one := make([]byte, 1)
	if _, err := out.Read(one); err != nil { // it has set itself up
		t.Fatal(err)
	}
	id, err := Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return id, cmd
}

func TestEndAsksAProcessThenKillsIt(t *testing.T) {
	yes := func() error { return nil }
	id, _ := stranger(t, "sleep")
	killed, err := End(t.Context(), id, StopPlan{Grace: patience}, yes)
	if err != nil || killed || id.Alive() {
		t.Errorf("a polite one: killed %v, %v, alive %v", killed, err, id.Alive())
	}
	id, _ = stranger(t, "stubborn")
	killed, err = End(t.Context(), id, StopPlan{Grace: time.Millisecond}, yes)
	if err != nil || !killed || id.Alive() {
		t.Errorf("a stubborn one: killed %v, %v, alive %v", killed, err, id.Alive())
	}
	if _, err := End(t.Context(), id, StopPlan{}, yes); !errors.Is(err, ErrGone) {
		t.Errorf("one that has ended: %v", err)
	}
	id, cmd := stranger(t, "sleep")
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if killed, err = End(t.Context(), id, StopPlan{Grace: patience}, yes); err != nil || killed {
		t.Errorf("a stopped one: killed %v, %v", killed, err)
	}
	id, _ = stranger(t, "stubborn")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if killed, err = End(gone, id, StopPlan{Grace: patience}, yes); !errors.Is(err, context.Canceled) || killed || !id.Alive() {
		t.Errorf("cancelled: killed %v, %v, alive %v", killed, err, id.Alive())
	}
}

func TestEndSignalsNobodyElse(t *testing.T) {
	id, _ := stranger(t, "sleep")
	no := errors.New("it does not hold the port any more")
	if _, err := End(t.Context(), id, StopPlan{Grace: patience}, func() error { return no }); !errors.Is(err, no) {
		t.Errorf("%v, want the refusal", err)
	}
	asked := false
	other := id
	other.Start += "0" // whoever had this pid before
	if _, err := End(t.Context(), other, StopPlan{Grace: patience}, func() error { asked = true; return nil }); !errors.Is(err, ErrGone) || asked {
		t.Errorf("another identity: %v, asked %v", err, asked)
	}
	if !id.Alive() {
		t.Error("it was ended all the same")
	}
}
