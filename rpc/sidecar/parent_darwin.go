package sidecar

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// maxAncestors bounds the walk to an ancestor: an editor is rarely more than
// five processes away.
const maxAncestors = 64

// zombie is SZOMB of sys/proc.h.
const zombie = 5

// identify finds pid among our ancestors and tells it from a later process with
// the same number by its start time. A zombie is gone.
func identify(pid int) (string, bool) {
	at := os.Getppid()
	for range maxAncestors {
		info, err := unix.SysctlKinfoProc("kern.proc.pid", at)
		if err != nil || info.Proc.P_stat == zombie || at <= 1 && pid != at {
			return "", false
		}
		if at == pid {
			return fmt.Sprintf("%d@%d.%d", pid, info.Proc.P_starttime.Sec, info.Proc.P_starttime.Usec), true
		}
		at = int(info.Eproc.Ppid)
	}
	return "", false
}
