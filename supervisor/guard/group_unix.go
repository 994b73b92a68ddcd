//go:build unix

package guard

import "syscall"

// ownGroup keeps a terminal's Ctrl-C from the hub: the guardian gets it, and
// asks.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
