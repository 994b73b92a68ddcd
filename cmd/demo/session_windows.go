package main

import "syscall"

// ownSession takes a child out of its parent's console group: the nearest that
// Windows has to a session.
func ownSession() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
