//go:build unix

package socket

import (
	"fmt"
	"net"
	"os"
)

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
	var uid, pid int
	var peerErr error
	if err := raw.Control(func(fd uintptr) { uid, pid, peerErr = peerOf(int(fd)) }); err != nil {
		return fmt.Errorf("check the peer: %w", err)
	}
	if peerErr != nil {
		return fmt.Errorf("check the peer: %w", peerErr)
	}
	return allow(uid, pid)
}

// allow is checkPeer's decision.
func allow(uid, pid int) error {
	if uid != os.Geteuid() {
		return fmt.Errorf("%w: pid %d of uid %d", ErrStranger, pid, uid)
	}
	return nil
}
