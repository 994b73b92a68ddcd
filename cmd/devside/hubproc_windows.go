package main

import "syscall"

const noFollow = 0

func ownSession() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// closeOnExec has nothing to do: descriptors are not inherited by number.
func closeOnExec(int) {}
