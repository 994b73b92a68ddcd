//go:build !linux

package port

import (
	"context"
	"errors"
	"net"
	"strconv"
	"syscall"

	"github.com/devside/devside/supervisor/status"
)

func listeners([]int) ([]Listener, error) { return nil, errUnsupported }

func holderOf(l []Listener, _ []int) *status.Holder {
	if len(l) == 0 {
		return nil
	}
	return &status.Holder{User: UserName(l[0].UID)}
}

func opens(int, uint32) bool { return false }

// closed returns the range that IANA names for outgoing connections, which
// macOS and Windows use.
func closed() []span { return []span{{49152, 65535}} }

// bound listens for a moment: the standard library has no bind without it.
func bound(t try, port int) (bool, error) {
	network := "tcp4"
	if t.addr[0] == ':' {
		network = "tcp6"
	}
	if t.dual {
		network = "tcp"
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), network, net.JoinHostPort(t.addr, strconv.Itoa(port)))
	if err == nil {
		return false, l.Close()
	}
	return errors.Is(err, syscall.EADDRINUSE), nil
}
