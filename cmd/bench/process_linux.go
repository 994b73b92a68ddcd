package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// witness is a process of this run, held by a descriptor: the number of one
// that has ended may be somebody else's, the descriptor never is.
type witness struct {
	pid int
	fd  int
}

// errNotOurs says that a process does not carry this run's mark.
var errNotOurs = errors.New("it is no process of this run")

// see holds a process whose environment carries the mark.
func see(pid int, mark string) (witness, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return witness{}, fmt.Errorf("hold process %d: %w", pid, err)
	}
	w := witness{pid, fd}
	// Looked at after the descriptor was opened: what carries the mark now is
	// what the descriptor holds, or has ended.
	if !carries(pid, mark) {
		w.close()
		return witness{}, fmt.Errorf("hold process %d: %w", pid, errNotOurs)
	}
	return w, nil
}

func (w witness) close() {
	unix.Close(w.fd) //nolint:errcheck // a descriptor that is only waited on
}

// signal does nothing to a process that has ended.
func (w witness) signal(sig syscall.Signal) error {
	err := unix.PidfdSendSignal(w.fd, sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// alive reports whether the process has not ended. One that is not reaped yet
// has.
func (w witness) alive() bool {
	p := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n == 0
}

// awaitEnds waits until all of them have ended, and returns the moment.
func awaitEnds(ctx context.Context, all []witness) (time.Time, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return time.Time{}, err
	}
	defer unix.Close(ep) //nolint:errcheck // only waited on
	for _, w := range all {
		ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(w.fd)}
		if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, w.fd, &ev); err != nil {
			return time.Time{}, err
		}
	}
	events := make([]unix.EpollEvent, 64)
	for left := len(all); left > 0; {
		// Bounded, so that the end of ctx is seen.
		n, err := unix.EpollWait(ep, events, 50)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return time.Time{}, err
		}
		left -= max(n, 0)
		if left > 0 && ctx.Err() != nil {
			return time.Time{}, fmt.Errorf("await the end of %d processes: %d still run: %w", len(all), left, context.Cause(ctx))
		}
	}
	return time.Now(), nil
}

// carries reports whether a process has the mark in its environment. A mark
// ends with the name of a project, or with the run's, to find all of it.
func carries(pid int, mark string) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	for v := range bytes.SplitSeq(env, []byte{0}) {
		if bytes.HasPrefix(v, []byte(markVariable+"="+mark)) {
			return true
		}
	}
	return false
}

// marked finds every process that carries the mark, but for this one. What has
// ended and was not reaped has no environment any more.
func marked(mark string) ([]witness, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var out []witness
	for _, d := range dirs {
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil || pid == os.Getpid() || !carries(pid, mark) {
			continue
		}
		w, err := see(pid, mark)
		switch {
		case err == nil:
			out = append(out, w)
		case errors.Is(err, unix.ESRCH), errors.Is(err, errNotOurs): // it has ended meanwhile
		default:
			return out, err
		}
	}
	return out, nil
}

// describe names a process for whoever looks for the reason of its being there.
func describe(pid int) string {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return fmt.Sprintf("process %d, which has ended", pid)
	}
	words := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
	return fmt.Sprintf("process %d (%s)", pid, strings.Join(words[:min(len(words), 4)], " "))
}

// cpuTime is the processor time that a process has used, user and system.
func cpuTime(pid int) (time.Duration, error) {
	// The clock of another process, as clock_getcpuclockid(3) numbers it: exact
	// to the nanosecond, where /proc counts ticks of 10 ms.
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
		return 0, fmt.Errorf("read the processor time of %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// pss is a process's memory in bytes, what it shares divided by the sharers.
func pss(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("read the memory of %d: smaps_rollup has no Pss", pid)
}

// peakRSS is the most memory that a process has had at once.
func peakRSS(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmHWM:" {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("read the memory of %d: its status has no VmHWM", pid)
}

// parentOf is a process's parent.
func parentOf(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "PPid:" {
			return strconv.Atoi(f[1])
		}
	}
	return 0, fmt.Errorf("read the parent of %d: it has none", pid)
}

// machine describes the machine for the table's head.
func machine() machineInfo {
	m := machineInfo{OS: runtime.GOOS, Cores: runtime.NumCPU(), Go: runtime.Version(), CPU: "unknown", Load: "unknown"}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(text), " ")
	}
	return m
}
