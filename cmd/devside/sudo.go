package main

import (
	"errors"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"
)

// Under sudo devside is not root but whoever called: every server would be
// root, too, and every file that it makes would be in that person's way. This
// file decides who that is; becomeUser in sudo_linux.go does it.

// account is a user as the user database has it.
type account struct {
	name, home string
	uid, gid   int
	groups     []int // gid included
}

// errNotSudo: nobody called sudo, or root did.
var errNotSudo = errors.New("sudo was not used by an ordinary user")

// sudoCaller returns who called sudo. sudo's word is believed where it agrees
// with the user database: a group that the user is not in is refused, since a
// variable can be set by anybody who becomes root some other way.
func sudoCaller(getenv func(string) string, lookup func(uid string) (account, error)) (account, error) {
	uid, gid := getenv("SUDO_UID"), getenv("SUDO_GID")
	if uid == "" {
		return account{}, errNotSudo
	}
	n, err := id(uid)
	if err != nil {
		return account{}, fmt.Errorf("SUDO_UID: %w", err)
	}
	if n == 0 {
		return account{}, errNotSudo
	}
	who, err := lookup(strconv.Itoa(n))
	if err != nil {
		return account{}, fmt.Errorf("find user %d, who called sudo: %w", n, err)
	}
	if who.uid != n {
		return account{}, fmt.Errorf("find user %d, who called sudo: the user database answers with %d", n, who.uid)
	}
	if gid != "" {
		g, err := id(gid)
		if err != nil {
			return account{}, fmt.Errorf("SUDO_GID: %w", err)
		}
		if !slices.Contains(who.groups, g) {
			return account{}, fmt.Errorf("SUDO_GID: %s is not in the group %d", who.name, g)
		}
		who.gid = g
	}
	return who, nil
}

// id reads a uid or gid. The largest is no id: setresuid takes it for "as it is".
func id(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 1<<32-1 {
		return 0, fmt.Errorf("%q is no id", s)
	}
	return int(n), nil
}

// lookupAccount reads the user database.
func lookupAccount(uid string) (account, error) {
	u, err := user.LookupId(uid)
	if err != nil {
		return account{}, err
	}
	a := account{name: u.Username, home: u.HomeDir}
	if a.uid, err = id(u.Uid); err != nil {
		return account{}, err
	}
	if a.gid, err = id(u.Gid); err != nil {
		return account{}, err
	}
	names, err := u.GroupIds()
	if err != nil {
		return account{}, fmt.Errorf("read the groups of %s: %w", u.Username, err)
	}
	a.groups = []int{a.gid}
	for _, name := range names {
		g, err := id(name)
		if err != nil {
			return account{}, fmt.Errorf("read the groups of %s: %w", u.Username, err)
		}
		if !slices.Contains(a.groups, g) {
			a.groups = append(a.groups, g)
		}
	}
	return a, nil
}

// callerEnviron is root's environment made the caller's: home and names are
// theirs, and what points into root's own folders, or says that there was a
// sudo, is gone.
func callerEnviron(environ []string, who account) []string {
	out := []string{}
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		switch {
		case slices.Contains([]string{"HOME", "USER", "LOGNAME", "USERNAME", "MAIL"}, name),
			strings.HasPrefix(name, "SUDO_"), strings.HasPrefix(name, "XDG_"):
		default:
			out = append(out, kv)
		}
	}
	return append(out, "HOME="+who.home, "USER="+who.name, "LOGNAME="+who.name)
}

// leaveRoot makes this process the caller's of sudo, where there is one. It
// returns only where it can't.
func (a *app) leaveRoot() error {
	who, err := sudoCaller(a.getenv, a.doors.account)
	if err != nil {
		return err
	}
	say := func() {
		if !a.json() {
			fmt.Fprintf(a.err, "devside: runs as %s (uid %d), who called sudo, and not as root; --allow-root keeps root\n", visible(who.name), who.uid)
		}
	}
	return a.doors.become(who, callerEnviron(a.environ(), who), say)
}
