//go:build unix

package main

import "syscall"

// ownSession takes a child out of its parent's session and group.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
