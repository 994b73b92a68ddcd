//go:build unix

package main

import "syscall"

const noFollow = syscall.O_NOFOLLOW

// ownSession takes the guardian out of the terminal and the process group of
// whoever needed a hub first.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

func closeOnExec(fd int) { syscall.CloseOnExec(fd) }
