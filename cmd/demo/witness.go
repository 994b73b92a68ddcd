package main

import (
	"errors"
	"fmt"
	"os"
)

// witness is a process that was seen, so that its end can be told apart from
// another process that got its number later.
type witness struct {
	what  string // "api", "the API's child", "the hub"
	pid   int
	start string // when it was started, as the system says it; empty: it doesn't
	ours  bool   // it told us so itself; see stage.recognised
}

func see(what string, pid int) witness {
	start, _ := startOf(pid)
	return witness{what: what, pid: pid, start: start}
}

// gone reports whether the process has ended. A zombie has: it only waits for
// its parent to look.
func (w witness) gone() bool {
	start, running := startOf(w.pid)
	return !running || start != w.start
}

// kill ends the process if it is still the one that was seen: the handle is
// taken first, so that what is verified after it is what is signalled. The
// caller has recognised it as the demo's own.
func (w witness) kill() error {
	p, err := os.FindProcess(w.pid)
	if err != nil {
		return fmt.Errorf("find pid %d: %w", w.pid, err)
	}
	defer p.Release() //nolint:errcheck // only forgets it
	if w.gone() {
		return fmt.Errorf("end %s (pid %d): it is not running any more", w.what, w.pid)
	}
	if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end %s (pid %d): %w", w.what, w.pid, err)
	}
	return nil
}
