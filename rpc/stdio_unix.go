//go:build linux || darwin

package rpc

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// firstFree is the lowest descriptor the protocol's files may get: 0, 1 and 2
// mean something else even when they are closed.
const firstFree = 3

// Stdio takes descriptors 0 and 1 for the protocol. They become private files
// that no child inherits; descriptor 0 then reads nothing, and descriptor 1 is
// descriptor 2: whatever is printed by mistake goes to stderr. Where stderr is
// the same pipe as stdout (2>&1), both go nowhere, because one stray line ends
// a session. It is called once, before anything is started or printed.
func Stdio() (io.ReadWriteCloser, error) {
	in, err := take(0, "stdin")
	if err != nil {
		return nil, err
	}
	out, err := take(1, "stdout")
	if err != nil {
		in.Close()
		return nil, err
	}
	if err := redirectStandard(); err != nil {
		in.Close()
		out.Close()
		return nil, err
	}
	return stdio{in, out}, nil
}

// take makes a private file of a standard descriptor.
func take(fd int, name string) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("take %s: %w", name, err)
	}
	private, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, firstFree)
	if err != nil {
		return nil, fmt.Errorf("take %s: %w", name, err)
	}
	// Deadlines, and a Close that ends a read or a write, need a descriptor
	// that does not block. That is a property of the open file, which a
	// terminal or a regular file shares with the shell: those stay as they are.
	if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFIFO || kind == unix.S_IFSOCK {
		if err := unix.SetNonblock(private, true); err != nil {
			unix.Close(private)
			return nil, fmt.Errorf("take %s: %w", name, err)
		}
	}
	return os.NewFile(uintptr(private), name), nil
}

func redirectStandard() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("redirect stdin and stdout: %w", err)
	}
	defer null.Close()
	var out, err2 unix.Stat_t
	stderr := 2
	if err := unix.Fstat(1, &out); err != nil {
		return fmt.Errorf("redirect stdout: %w", err)
	}
	if unix.Fstat(2, &err2) != nil {
		stderr = int(null.Fd()) // there is no stderr
	} else if out.Dev == err2.Dev && out.Ino == err2.Ino && out.Mode&unix.S_IFMT != unix.S_IFCHR {
		stderr = int(null.Fd())
		if err := redirect(stderr, 2); err != nil {
			return fmt.Errorf("redirect stderr: %w", err)
		}
	}
	if err := redirect(int(null.Fd()), 0); err != nil {
		return fmt.Errorf("redirect stdin: %w", err)
	}
	if err := redirect(stderr, 1); err != nil {
		return fmt.Errorf("redirect stdout: %w", err)
	}
	return nil
}
