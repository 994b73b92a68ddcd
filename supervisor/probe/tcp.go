package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/devside/devside/supervisor/spec"
)

// loopback are the addresses that a local server may listen on: Node's
// listen(port) takes both, listen('localhost') whichever the resolver names
// first, and Python and PHP IPv4.
var loopback = []string{"127.0.0.1", "::1"}

var errNoPort = errors.New("the server has no port")

// addresses are where one server may answer. The one that did is asked first
// the next time.
type addresses []string

// onLoopback are the addresses of a port on this machine.
func onLoopback(port int) addresses {
	a := make(addresses, 0, len(loopback))
	for _, host := range loopback {
		a = append(a, net.JoinHostPort(host, strconv.Itoa(port)))
	}
	return a
}

// split takes localhost apart, whatever the resolver makes of it.
func split(addr string) addresses {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addresses{addr}
	}
	if n, err := strconv.Atoi(port); err == nil && (host == "" || strings.EqualFold(host, "localhost")) {
		return onLoopback(n)
	}
	return addresses{addr}
}

// dial connects to the first address that accepts. If none does, it returns the
// error of the one that was asked first.
func (a addresses) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1} // closed within seconds: four system calls less
	var firstErr error
	for i, addr := range a {
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			a[0], a[i] = a[i], a[0]
			return conn, nil
		}
		if firstErr == nil {
			firstErr = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, firstErr
}

// tcpProbe passes when a connection is accepted; it sends nothing.
type tcpProbe struct {
	where string // for people: a port's number or host:port
	addrs addresses
}

func newTCP(p spec.Probe, t Target) (Probe, error) {
	switch {
	case p.TCP != "":
		return &tcpProbe{p.TCP, split(p.TCP)}, nil
	case len(t.Ports) == 0:
		return nil, errNoPort
	}
	return &tcpProbe{fmt.Sprintf("port %d", t.Ports[0]), onLoopback(t.Ports[0])}, nil
}

func (p *tcpProbe) Look(ctx context.Context) error {
	conn, err := p.addrs.dial(ctx)
	if err != nil {
		return dialError(err, p.where)
	}
	conn.Close() //nolint:errcheck // nothing was sent
	return nil
}

// dialError says in plain words why there is no connection.
func dialError(err error, where string) error {
	var dns *net.DNSError
	switch {
	case refused(err):
		return fmt.Errorf("connection refused on %s", where)
	case timedOut(err):
		return fmt.Errorf("no connection to %s in time", where)
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.As(err, &dns):
		return fmt.Errorf("connect to %s: the name %s is unknown", where, dns.Name)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // without the addresses, which where names
	}
	return fmt.Errorf("connect to %s: %w", where, err)
}

func timedOut(err error) bool {
	var ne net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &ne) && ne.Timeout()
}

// isLoopback reports whether a host is this machine by its name alone.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
