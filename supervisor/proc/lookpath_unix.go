//go:build unix

package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// runnable reports whether the kernel would let us execute the file. Root may
// execute what has any x bit, so the kernel is asked, not the mode.
func runnable(path string, _ []string) (string, error) {
	if err := regular(path); err != nil {
		return "", err
	}
	if err := unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS); err != nil {
		return "", fmt.Errorf("it is not executable: %w", fs.ErrPermission)
	}
	return path, nil
}

func isNotDir(err error) bool { return errors.Is(err, syscall.ENOTDIR) }
