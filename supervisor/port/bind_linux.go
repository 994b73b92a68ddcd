package port

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// bound reports whether the address can't be bound because somebody has it. The
// socket never listens, so nobody can connect to it by mistake. SO_REUSEADDR is
// what servers set: with it, connections of an earlier server that are still
// winding down (TIME_WAIT) are no obstacle.
func bound(t try, port int) (bool, error) {
	addr := netip.MustParseAddr(t.addr)
	family := unix.AF_INET6
	var sa unix.Sockaddr = &unix.SockaddrInet6{Port: port, Addr: addr.As16()}
	if addr.Is4() {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: addr.As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return false, fmt.Errorf("set SO_REUSEADDR: %w", err)
	}
	if family == unix.AF_INET6 {
		only := 1
		if t.dual {
			only = 0
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only); err != nil {
			return false, fmt.Errorf("set IPV6_V6ONLY: %w", err)
		}
	}
	switch err := unix.Bind(fd, sa); {
	case err == nil:
		return false, nil
	case errors.Is(err, unix.EADDRINUSE):
		return true, nil
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.EADDRNOTAVAIL):
		return false, nil // nobody has it; whether we may have it is another question
	default:
		return false, fmt.Errorf("bind: %w", err)
	}
}
