//go:build unix

package socket

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// checkPeer refuses a connection whose other end is not our own user.
func checkPeer(c net.Conn) error {
	uid, pid, err := peer(c)
	if err != nil {
		return fmt.Errorf("check the peer: %w", err)
	}
	return allow(uid, pid)
}

// PeerPID is the process at the other end, by the kernel's word; 0: not known.
func PeerPID(c net.Conn) int {
	_, pid, err := peer(c)
	if err != nil {
		return 0
	}
	return pid
}

func peer(c net.Conn) (uid, pid int, err error) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return 0, 0, fmt.Errorf("%T is no unix socket", c)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return 0, 0, err
	}
	var peerErr error
	err = raw.Control(func(fd uintptr) { uid, pid, peerErr = peerOf(int(fd)) })
	return uid, pid, errors.Join(err, peerErr)
}

// allow is checkPeer's decision.
func allow(uid, pid int) error {
	if uid != os.Geteuid() {
		return &StrangerError{UID: uid, PID: pid}
	}
	return nil
}
