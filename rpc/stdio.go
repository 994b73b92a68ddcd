package rpc

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// stdio is the protocol's own pair of files.
type stdio struct{ in, out *os.File }

func (s stdio) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s stdio) Write(b []byte) (int, error) { return s.out.Write(b) }

// Close ends a Read and a Write that are under way, where the files are pipes
// or sockets. A read of a terminal goes on until a line comes.
func (s stdio) Close() error { return errors.Join(s.in.Close(), s.out.Close()) }

// SetWriteDeadline fails where out is a terminal or a regular file.
func (s stdio) SetWriteDeadline(t time.Time) error { return s.out.SetWriteDeadline(t) }

// SyscallConn is out's, for direct writes.
func (s stdio) SyscallConn() (syscall.RawConn, error) { return s.out.SyscallConn() }
