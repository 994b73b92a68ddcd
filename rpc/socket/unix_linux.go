package socket

import (
	"context"
	"errors"
	"fmt"
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

// checkPeer refuses a connection whose other end is not our own user.
func checkPeer(c net.Conn) error {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("check the peer: %T is no unix socket", c)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return fmt.Errorf("check the peer: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return fmt.Errorf("check the peer: %w", err)
	}
	if credErr != nil {
		return fmt.Errorf("check the peer: %w", credErr)
	}
	return allow(int(cred.Uid), int(cred.Pid))
}

// allow is checkPeer's decision.
func allow(uid, pid int) error {
	if uid != os.Geteuid() {
		return fmt.Errorf("%w: pid %d of uid %d", ErrStranger, pid, uid)
	}
	return nil
}
