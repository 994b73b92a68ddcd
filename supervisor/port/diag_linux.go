package port

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The kernel's sock_diag(7) lists listeners for any user in tens of
// microseconds, whatever the number of other sockets. /proc/net/tcp is the way
// for a sandbox that refuses it.

const (
	diagRequest = 56 // bytes of struct inet_diag_req_v2
	diagReply   = 72 // bytes of struct inet_diag_msg
	tcpListen   = 10 // TCP_LISTEN in net/tcp_states.h
)

// diagTimeout bounds a wait for the kernel's answer, which is there at once.
var diagTimeout = unix.Timeval{Sec: 2}

// diagTries: a dump that something changed meanwhile is made again.
const diagTries = 5

var errInterrupted = errors.New("the list changed while it was read")

func listeners(ports []int) ([]Listener, error) {
	found, err := byDiag(ports)
	if err != nil {
		var procErr error
		if found, procErr = byProc("/proc/net/tcp", "/proc/net/tcp6"); procErr != nil {
			return nil, fmt.Errorf("list listeners: %w", errors.Join(err, procErr))
		}
	}
	if len(ports) > 0 {
		found = slices.DeleteFunc(found, func(l Listener) bool { return !slices.Contains(ports, l.Port) })
	}
	return found, nil
}

func byDiag(ports []int) ([]Listener, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open sock_diag: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &diagTimeout); err != nil {
		return nil, fmt.Errorf("open sock_diag: %w", err)
	}
	only := 0
	if len(ports) == 1 {
		only = ports[0] // the kernel picks out one port itself
	}
	var all []Listener
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		var found []Listener
		for range diagTries {
			if found, err = dump(fd, family, only); !errors.Is(err, errInterrupted) {
				break
			}
		}
		if err != nil && !errors.Is(err, errInterrupted) {
			// Without IPv6 in the kernel there is no such table.
			if family == unix.AF_INET6 && errors.Is(err, unix.ENOENT) {
				continue
			}
			return nil, fmt.Errorf("ask sock_diag: %w", err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// dump asks for the listeners of one address family.
func dump(fd int, family byte, port int) ([]Listener, error) {
	native := binary.NativeEndian
	req := make([]byte, unix.SizeofNlMsghdr+diagRequest)
	native.PutUint32(req[0:], uint32(len(req)))
	native.PutUint16(req[4:], unix.SOCK_DIAG_BY_FAMILY)
	native.PutUint16(req[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := req[unix.SizeofNlMsghdr:]
	body[0], body[1] = family, unix.IPPROTO_TCP
	native.PutUint32(body[4:], 1<<tcpListen)
	binary.BigEndian.PutUint16(body[8:], uint16(port))
	if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	var found []Listener
	interrupted := false
	buf := make([]byte, 32<<10) // the kernel's own largest piece of a dump
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		more, done, torn, err := parseDump(buf[:n])
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
		interrupted = interrupted || torn
		if done {
			if interrupted {
				return found, errInterrupted
			}
			return found, nil
		}
	}
}

// parseDump reads the messages of one datagram.
func parseDump(b []byte) (found []Listener, done, torn bool, err error) {
	native := binary.NativeEndian
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(native.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return nil, false, false, errors.New("a message of impossible size")
		}
		kind, flags, body := native.Uint16(b[4:]), native.Uint16(b[6:]), b[unix.SizeofNlMsghdr:size]
		torn = torn || flags&unix.NLM_F_DUMP_INTR != 0
		switch kind {
		case unix.NLMSG_DONE:
			return found, true, torn, nil
		case unix.NLMSG_ERROR:
			if len(body) < 4 {
				return nil, false, false, errors.New("an error without number")
			}
			if errno := int32(native.Uint32(body)); errno != 0 {
				return nil, false, false, unix.Errno(-errno)
			}
		case unix.SOCK_DIAG_BY_FAMILY:
			if len(body) < diagReply {
				return nil, false, false, errors.New("a short message")
			}
			l := Listener{
				Port:  int(binary.BigEndian.Uint16(body[4:])),
				UID:   int(native.Uint32(body[64:])),
				Inode: native.Uint32(body[68:]),
			}
			if body[0] == unix.AF_INET {
				l.Addr = netip.AddrFrom4([4]byte(body[8:12]))
			} else {
				l.Addr = netip.AddrFrom16([16]byte(body[8:24]))
			}
			found = append(found, l)
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return found, false, torn, nil
}

// byProc reads the kernel's tables of all TCP sockets as text.
func byProc(files ...string) ([]Listener, error) {
	var all []Listener
	for _, name := range files {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) && strings.HasSuffix(name, "6") {
			continue // no IPv6 in the kernel
		}
		if err != nil {
			return nil, err
		}
		scan := bufio.NewScanner(f)
		for scan.Scan() {
			if l, ok := parseRow(scan.Text()); ok {
				all = append(all, l)
			}
		}
		err = scan.Err()
		_ = f.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
	}
	return all, nil
}

// parseRow reads one line of /proc/net/tcp; false for the heading and for
// sockets in another state. The fields are number, local address, remote
// address, state, queues, timer, retransmits, uid, timeout, inode.
func parseRow(line string) (Listener, bool) {
	f := strings.Fields(line)
	if len(f) < 10 || f[3] != fmt.Sprintf("%02X", tcpListen) {
		return Listener{}, false
	}
	host, number, ok := strings.Cut(f[1], ":")
	p, err1 := strconv.ParseUint(number, 16, 16)
	uid, err2 := strconv.ParseUint(f[7], 10, 32)
	inode, err3 := strconv.ParseUint(f[9], 10, 32)
	if !ok || err1 != nil || err2 != nil || err3 != nil || (len(host) != 8 && len(host) != 32) {
		return Listener{}, false
	}
	// Each group of eight digits is one word as this machine stores it.
	raw := make([]byte, 0, 16)
	for i := 0; i < len(host); i += 8 {
		word, err := strconv.ParseUint(host[i:i+8], 16, 32)
		if err != nil {
			return Listener{}, false
		}
		raw = binary.NativeEndian.AppendUint32(raw, uint32(word))
	}
	addr, _ := netip.AddrFromSlice(raw)
	return Listener{Port: int(p), Addr: addr, UID: int(uid), Inode: uint32(inode)}, true
}

// closed returns the spans that Next passes over, the outgoing range first.
func closed() []span {
	out := []span{readRange("/proc/sys/net/ipv4/ip_local_port_range")}
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); err == nil {
		if first, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			out = append(out, span{0, first - 1})
		}
	}
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_reserved_ports"); err == nil {
		out = append(out, parseSpans(string(b))...)
	}
	return out
}

// readRange falls back to Linux' own default.
func readRange(name string) span {
	b, err := os.ReadFile(name)
	if f := strings.Fields(string(b)); err == nil && len(f) == 2 {
		low, err1 := strconv.Atoi(f[0])
		high, err2 := strconv.Atoi(f[1])
		if err1 == nil && err2 == nil {
			return span{low, high}
		}
	}
	return span{32768, 60999}
}

// parseSpans reads "8080,9000-9010".
func parseSpans(s string) []span {
	var out []span
	for part := range strings.SplitSeq(strings.TrimSpace(s), ",") {
		a, b, isRange := strings.Cut(part, "-")
		low, err := strconv.Atoi(a)
		high := low
		if isRange && err == nil {
			high, err = strconv.Atoi(b)
		}
		if err == nil {
			out = append(out, span{low, high})
		}
	}
	return out
}
