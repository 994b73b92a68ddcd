package socket

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const noFollow = syscall.O_NOFOLLOW

// maxSocketPath is what sockaddr_un holds, less its final zero.
const maxSocketPath = 107

// throughDir calls use with a path for the socket that fits into a
// sockaddr_un: a long one is reached through its directory's descriptor.
func throughDir[T any](path string, use func(string) (T, error)) (T, error) {
	if len(path) <= maxSocketPath {
		return use(path)
	}
	var zero T
	fd, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return zero, &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	v, err := use("/proc/self/fd/" + strconv.Itoa(fd) + "/" + filepath.Base(path))
	return v, errors.Join(err, unix.Close(fd))
}

func listenUnix(path string) (net.Listener, error) {
	return throughDir(path, func(p string) (net.Listener, error) {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: p, Net: "unix"})
		if err != nil {
			return nil, err
		}
		// Unlinking on close would go through a descriptor that is closed by
		// then; the next hub removes a dead socket itself.
		l.SetUnlinkOnClose(false)
		return l, nil
	})
}

func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	return throughDir(path, func(p string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", p)
	})
}

// peerOf asks the kernel who connected, or listened.
func peerOf(fd int) (uid, pid int, err error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, 0, err
	}
	return int(cred.Uid), int(cred.Pid), nil
}
