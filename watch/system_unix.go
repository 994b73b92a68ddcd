//go:build unix

package watch

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// nonBlock keeps the opening of what has become a named pipe from waiting.
const nonBlock = syscall.O_NONBLOCK

// identity names a file or directory for as long as it exists.
type identity struct{ dev, ino uint64 }

// identify returns the identity of the directory that a path leads to.
func identify(path string) (identity, bool) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return identity{}, false
	}
	return identityOf(info), true
}

func identityOf(info fs.FileInfo) identity {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return identity{uint64(s.Dev), s.Ino} //nolint:unconvert // Dev is narrower on macOS
	}
	return identity{}
}

// limitHint says what to raise when the system refuses to watch more; empty for
// other errors.
func limitHint(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC): // of inotify: not the disk
		return "raise fs.inotify.max_user_watches, for example: sudo sysctl fs.inotify.max_user_watches=524288"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "raise fs.inotify.max_user_instances, for example: sudo sysctl fs.inotify.max_user_instances=512; or the limit on open files (ulimit -n)"
	}
	return ""
}
