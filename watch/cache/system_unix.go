//go:build unix

package cache

import (
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// openSafely neither follows a link nor waits for the other end of a pipe.
const openSafely = unix.O_NOFOLLOW | unix.O_NONBLOCK

// identify gives device, inode and owner of what Lstat saw.
func identify(info fs.FileInfo) (device, inode uint64, owner int) {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Dev), uint64(s.Ino), int(s.Uid)
	}
	return 0, 0, -1
}

func freeBytes(path string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
