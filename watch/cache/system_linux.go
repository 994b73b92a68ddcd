package cache

import (
	"os"

	"golang.org/x/sys/unix"
)

func mountPoints() ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(text))
}

const (
	niceness = 10
	// ioprioBackground is the best-effort class (2), at its lowest level (7).
	// The idle class could wait for ever on a busy disk.
	ioprioBackground = 2<<13 | 7
	ioprioWhoProcess = 1
)

// giveWay lowers the priority of the calling thread. It matters to nobody
// whether that works.
func giveWay() {
	_ = unix.Setpriority(unix.PRIO_PROCESS, 0, niceness)
	_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, 0, ioprioBackground)
}
