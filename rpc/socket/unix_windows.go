package socket

import (
	"context"
	"net"
)

const noFollow = 0

func listenUnix(path string) (net.Listener, error) {
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}

// checkPeer can't be asked of an AF_UNIX socket on Windows: the folder's ACL,
// inherited from the user's profile, is what keeps others out.
func checkPeer(net.Conn) error { return nil }

// PeerPID is not known on Windows.
func PeerPID(net.Conn) int { return 0 }
