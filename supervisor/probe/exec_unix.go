//go:build unix

package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

func canExec() error { return nil }

// run starts the command with w as its output, which it closes, and waits for
// its end. ended is how it ended, empty for exit status 0. Before it is reaped,
// so while its pid is certain, its group is killed.
func (e *execProbe) run(ctx context.Context, w *os.File) (ended string, err error) {
	cmd := exec.Cmd{
		Path: e.path, Args: e.argv, Dir: e.dir, Env: e.env,
		Stdout: w, Stderr: w,
		// Not a session: that is how proc tells servers' processes from ours.
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}
	err = cmd.Start()
	w.Close() //nolint:errcheck // the child has its own
	if err != nil {
		var path *os.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return "", err
	}
	kill := func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } //nolint:errcheck // nobody left is fine
	waitErr := await(ctx, cmd.Process.Pid, kill)
	kill()
	reap(cmd.Process.Pid, func() { err = cmd.Wait() })
	var status *exec.ExitError
	switch {
	case waitErr != nil:
		return "", waitErr
	case err == nil:
		return "", nil
	case !errors.As(err, &status):
		return "", err
	}
	if ws, ok := status.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return "killed by " + ws.Signal().String(), nil
	}
	return fmt.Sprintf("exit status %d", status.ExitCode()), nil
}
