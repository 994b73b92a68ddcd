//go:build linux || darwin

package rpc

import (
	"io"
	"syscall"
)

// direct writes to a descriptor that does not block, without ever waiting.
type direct struct {
	conn  syscall.RawConn
	write func(fd uintptr) bool // made once: it is used for every answer
	b     []byte
	n     int
}

// newDirect returns nil where rwc has no descriptor.
func newDirect(rwc io.ReadWriteCloser) *direct {
	sc, ok := rwc.(syscall.Conn)
	if !ok {
		return nil
	}
	conn, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	d := &direct{conn: conn}
	d.write = func(fd uintptr) bool {
		n, err := syscall.Write(int(fd), d.b)
		if err == nil {
			d.n = n
		}
		return true // one try: to wait for room is the writer's business
	}
	return d
}

// try writes what the socket has room for and returns how much that was. What
// is wrong, if anything, the writer finds out when it writes the rest.
func (d *direct) try(b []byte) int {
	d.b, d.n = b, 0
	if err := d.conn.Write(d.write); err != nil {
		d.n = 0
	}
	d.b = nil
	return d.n
}
