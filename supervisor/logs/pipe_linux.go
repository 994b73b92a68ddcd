package logs

import (
	"os"

	"golang.org/x/sys/unix"
)

// resizePipe sets how much a pipe holds, and reports whether it could.
func resizePipe(pipe *os.File, size int) bool {
	conn, err := pipe.SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	err = conn.Control(func(fd uintptr) {
		_, err := unix.FcntlInt(fd, unix.F_SETPIPE_SZ, size)
		ok = err == nil
	})
	return ok && err == nil
}
