//go:build linux || darwin

package rpc

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// IgnoreSIGPIPE makes a write to a broken stdout or stderr an error, where Go
// would end the process without a clean-up, and its servers would live on. It
// is the first statement of main. The signal is taken, not ignored: children
// inherit what is ignored. What it returns undoes it.
func IgnoreSIGPIPE() (stop func()) {
	taken := make(chan os.Signal, 1) // never read: the runtime drops what does not fit
	signal.Notify(taken, unix.SIGPIPE)
	return func() { signal.Stop(taken) }
}
