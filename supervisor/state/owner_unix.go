//go:build unix

package state

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// ownedByUs refuses what another user owns: its owner could replace what we
// put there.
func ownedByUs(info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%w: its owner can't be read", ErrUnsafe)
	}
	if int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: it belongs to uid %d, we are uid %d", ErrUnsafe, st.Uid, os.Geteuid())
	}
	return nil
}
