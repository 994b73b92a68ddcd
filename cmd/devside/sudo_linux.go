package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// becomeUser gives up root for ever and starts this program again as the user:
// a new program has nothing left of root in its memory, its environment or its
// capabilities, and the kernel lets its user look at it. It returns only where
// that can't be done, and then the process must end: it may be half-way.
func becomeUser(who account, environ []string, say func()) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("become %s: find devside's own binary: %w", who.name, err)
	}
	if err := dropTo(who); err != nil {
		return fmt.Errorf("become %s: %w", who.name, err)
	}
	if err := unix.Access(exe, unix.X_OK); err != nil {
		return fmt.Errorf("become %s: they may not run %s: %w", who.name, exe, err)
	}
	say()
	return fmt.Errorf("become %s: run %s: %w", who.name, exe, syscall.Exec(exe, os.Args, environ))
}

// dropTo sets the ids of every thread, groups first: afterwards nobody may.
func dropTo(who account) error {
	// A set-uid program's caller has chosen the variables: sudo leaves no other
	// id than root's.
	if r, e, s := unix.Getresuid(); r != 0 || e != 0 || s != 0 {
		return fmt.Errorf("not all of this process is root's: uids %d, %d, %d", r, e, s)
	}
	if err := syscall.Setgroups(who.groups); err != nil {
		return fmt.Errorf("set the groups: %w", err)
	}
	if err := syscall.Setresgid(who.gid, who.gid, who.gid); err != nil {
		return fmt.Errorf("set the group: %w", err)
	}
	if err := syscall.Setresuid(who.uid, who.uid, who.uid); err != nil {
		return fmt.Errorf("set the user: %w", err)
	}
	return dropped(who)
}

// dropped checks that nothing of root is left and that there is no way back.
func dropped(who account) error {
	if r, e, s := unix.Getresuid(); r != who.uid || e != who.uid || s != who.uid {
		return fmt.Errorf("the uids are %d, %d, %d", r, e, s)
	}
	if r, e, s := unix.Getresgid(); r != who.gid || e != who.gid || s != who.gid {
		return fmt.Errorf("the gids are %d, %d, %d", r, e, s)
	}
	groups, err := syscall.Getgroups()
	if err != nil {
		return err
	}
	for _, g := range groups {
		if !slices.Contains(who.groups, g) {
			return fmt.Errorf("the group %d is left", g)
		}
	}
	// Whoever still has CAP_SETUID could come back.
	if syscall.Setresuid(-1, 0, -1) == nil || syscall.Setresgid(-1, 0, -1) == nil && who.gid != 0 {
		return errors.New("root can be had back")
	}
	return nil
}
