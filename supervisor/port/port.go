// Package port answers who listens on a TCP port of this machine, whether that
// is one of ours, and which port is free instead.
//
// It never connects to a port, never listens on one, and never signals
// anybody. It never names another user's process, only the user. Its answers
// are of the moment: whoever acts on one checks again after having acted (a
// started server's listener with Owned).
//
// Start reading at Taken, then HolderOf. How listeners are found is in
// diag_linux.go.
package port

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os/user"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/devside/devside/supervisor/status"
)

// errUnsupported is what this package answers where the operating system has
// no way to list listeners without starting another program.
var errUnsupported = errors.New("listing listeners is not supported on this operating system")

// Listener is one socket in the LISTEN state. UID is the user who made it, and
// Inode what its descriptors in /proc/PID/fd are called by.
type Listener struct {
	Port  int
	Addr  netip.Addr // unspecified: every address; an unspecified IPv6 one mostly IPv4, too
	UID   int
	Inode uint32
}

// Listeners returns the sockets that listen on the given ports; without any,
// all that listen in this network namespace.
func Listeners(ports ...int) ([]Listener, error) { return listeners(ports) }

// Taken reports whether a server could not listen on the port, whichever
// address it uses, and who listens there. It may be taken with nobody
// listening: a socket that is bound and does not listen, or an outgoing
// connection that was given this port, has no row in any list. A port that may
// not be bound without privileges is not taken.
//
// Where listeners can't be listed, the port is only tried.
func Taken(port int) (bool, []Listener, error) {
	if port < 1 || port > 65535 {
		return false, nil, fmt.Errorf("look at port %d: no such port", port)
	}
	ls, err := Listeners(port)
	if err != nil && !errors.Is(err, errUnsupported) {
		return false, nil, err
	}
	if len(ls) > 0 {
		return true, ls, nil
	}
	for _, a := range tries {
		inUse, err := bound(a, port)
		if err != nil {
			return false, nil, fmt.Errorf("look at port %d: %w", port, err)
		}
		if inUse {
			return true, nil, nil
		}
	}
	return false, nil, nil
}

// try is an address to bind. A holder of one of them does not stop a bind of
// each of the others: one of ::1 leaves 127.0.0.1 and 0.0.0.0 free, and one of
// another loopback address only shows at the wildcards. The wildcards would do
// on Linux; on macOS they can be bound while a loopback address is held.
type try struct {
	addr string
	dual bool // an IPv6 socket that takes IPv4, too
}

var tries = []try{
	{addr: "127.0.0.1"}, {addr: "::1"}, {addr: "0.0.0.0"}, {addr: "::"}, {addr: "::", dual: true},
}

// maxCommand bounds a holder's command line in bytes: it is shown in a
// sentence.
const maxCommand = 200

// shorten cuts a text to at most maxCommand bytes, at a character's end.
func shorten(s string) string {
	if len(s) <= maxCommand {
		return s
	}
	const more = "…"
	cut := maxCommand - len(more)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + more
}

// UserName names a uid; "uid 1234" when nobody has it.
func UserName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return "uid " + strconv.Itoa(uid)
}

// HolderOf returns who holds the listeners, nil for none. hints are pids to
// look at first: those of our own servers. A holder that runs as another user
// is a user's name and nothing else; so is one whose process can't be found.
func HolderOf(l []Listener, hints []int) *status.Holder { return holderOf(l, hints) }

// Owned reports whether one of the processes has the listener open.
func Owned(l Listener, pids []int) bool {
	return l.Inode != 0 && slices.ContainsFunc(pids, func(pid int) bool { return opens(pid, l.Inode) })
}

// nextTries is how far Next looks: beyond that, a port is no longer "the next
// one" to a person.
const nextTries = 100

// firstPort is the lowest port that Next returns, whatever the machine allows:
// those below belong to well-known services.
const firstPort = 1024

// span is a range of ports, both ends included.
type span struct{ low, high int }

func (s span) has(p int) bool { return s.low <= p && p <= s.high }

// Next returns the first port above after that nobody holds and avoid (which
// may be nil) does not refuse. It passes over those that the kernel gives to
// outgoing connections, because one of these could be taken at any moment; when
// after is in that range, it looks below it.
func Next(after int, avoid func(int) bool) (int, error) {
	for p := range candidates(after, closed()) {
		if avoid != nil && avoid(p) {
			continue
		}
		taken, _, err := Taken(p)
		if err != nil {
			return 0, fmt.Errorf("find a port after %d: %w", after, err)
		}
		if !taken {
			return p, nil
		}
	}
	return 0, fmt.Errorf("find a port after %d: none is free", after)
}

// candidates yields the ports to try: first upwards from after, then downwards
// from the lower end of the outgoing range. The first of the closed spans is
// that range.
func candidates(after int, closed []span) iter.Seq[int] {
	open := func(p int) bool {
		return p >= firstPort && p <= 65535 && p != after &&
			!slices.ContainsFunc(closed, func(s span) bool { return s.has(p) })
	}
	return func(yield func(int) bool) {
		for p := after + 1; p <= after+nextTries; p++ {
			if open(p) && !yield(p) {
				return
			}
		}
		if len(closed) == 0 {
			return
		}
		for p := closed[0].low - 1; p >= closed[0].low-nextTries; p-- {
			if (p <= after || p > after+nextTries) && open(p) && !yield(p) {
				return
			}
		}
	}
}
