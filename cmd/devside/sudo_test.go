package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestSECURITY004WhoCalledSudo(t *testing.T) {
	ann := account{name: "ann", home: "/home/ann", uid: 1000, gid: 1000, groups: []int{1000, 27}}
	lookup := func(uid string) (account, error) {
		switch uid {
		case "1000":
			return ann, nil
		case "1001":
			return account{name: "alias of root"}, nil
		}
		return account{}, errors.New("unknown userid")
	}
	for _, test := range []struct {
		uid, gid string
		gets     int    // gid
		refused  string // part of the reason; "not sudo": errNotSudo
	}{
		{uid: "1000", gid: "1000", gets: 1000},
		{uid: "1000", gets: 1000},
		{uid: "1000", gid: "27", gets: 27}, // newgrp
		{refused: "not sudo"},
		{gid: "1000", refused: "not sudo"},
		{uid: "0", gid: "0", refused: "not sudo"},
		{uid: "00", gid: "0", refused: "not sudo"},
		{uid: "1000", gid: "0", refused: "not in the group 0"},
		{uid: "1000", gid: "x", refused: `SUDO_GID: "x" is no id`},
		{uid: "4711", gid: "4711", refused: "find user 4711"},
		{uid: "1001", refused: "answers with 0"},
		{uid: "ann", refused: `"ann" is no id`},
		{uid: "-1", refused: "is no id"},
		{uid: "+1000", refused: "is no id"},
		{uid: " 1000", refused: "is no id"},
		{uid: "4294967295", refused: "is no id"},
		{uid: "4294967296", refused: "is no id"},
	} {
		t.Run(test.uid+":"+test.gid, func(t *testing.T) {
			vars := map[string]string{"SUDO_UID": test.uid, "SUDO_GID": test.gid, "SUDO_USER": "mallory"}
			who, err := sudoCaller(func(k string) string { return vars[k] }, lookup)
			switch {
			case test.refused == "not sudo":
				if !errors.Is(err, errNotSudo) {
					t.Errorf("%+v, %v", who, err)
				}
			case test.refused != "":
				if err == nil || errors.Is(err, errNotSudo) || !strings.Contains(err.Error(), test.refused) {
					t.Errorf("%+v, %v, want %q", who, err, test.refused)
				}
			case err != nil || who.uid != 1000 || who.gid != test.gets || who.name != "ann":
				t.Errorf("%+v, %v", who, err)
			}
		})
	}
}

func TestTheCallersEnvironmentHasNothingOfRoots(t *testing.T) {
	got := callerEnviron([]string{
		"HOME=/root", "USER=root", "LOGNAME=root", "USERNAME=root", "MAIL=/var/mail/root", "SUDO_UID=1000", "SUDO_GID=1000", "SUDO_USER=ann",
		"SUDO_COMMAND=/usr/bin/devside", "XDG_RUNTIME_DIR=/run/user/0", "XDG_STATE_HOME=/root/s", "XDG_CONFIG_HOME=/root/c", "XDG_CACHE_HOME=/root/h",
		"PATH=/usr/bin", "TERM=xterm", "DEVSIDE_HOME=/srv/d", "NODE_ENV=test",
	}, account{name: "ann", home: "/home/ann"})
	slices.Sort(got)
	want := []string{"DEVSIDE_HOME=/srv/d", "HOME=/home/ann", "LOGNAME=ann", "NODE_ENV=test", "PATH=/usr/bin", "TERM=xterm", "USER=ann"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}

// asSudo is a terminal of root's in which ann has called sudo.
func asSudo(t *testing.T) *terminal {
	term := newTerminal(t, twoServers)
	term.app.euid = func() int { return 0 }
	vars := map[string]string{"SUDO_UID": "1000", "SUDO_GID": "1000"}
	term.app.getenv = func(name string) string { return vars[name] }
	term.app.doors.account = func(string) (account, error) {
		return account{name: "ann", home: "/home/ann", uid: 1000, gid: 1000, groups: []int{1000}}, nil
	}
	return term
}

func TestSECURITY004UnderSudoEveryCommandBecomesTheCallerFirst(t *testing.T) {
	for _, args := range [][]string{
		{"status"}, {"start"}, {"stop"}, {"up"}, {"logs"}, {"check"}, {"trust"}, {"ports"}, {"reload"}, {"restart"}, {"reset"}, {"--stdio"}, {"frobnicate"}, {},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			term := asSudo(t)
			term.app.getwd = func() (string, error) { t.Error("it has looked for the project before"); return "", errors.New("no") }
			type gone struct{}
			var became account
			var env []string
			term.app.doors.become = func(who account, environ []string, say func()) error {
				became, env = who, environ
				say()
				panic(gone{}) // as exec does, it does not return
			}
			func() {
				defer func() {
					if r := recover(); r != (gone{}) {
						t.Errorf("it went on as root: %v", r)
					}
				}()
				term.app.run(term.ctx, args)
			}()
			if became.uid != 1000 || !slices.Contains(env, "HOME=/home/ann") {
				t.Errorf("it became %+v with %q", became, env)
			}
			term.wants(term.err, "devside: runs as ann (uid 1000), who called sudo, and not as root; --allow-root keeps root")
		})
	}
}

func TestUnderSudoNothingIsSaidToAProgram(t *testing.T) {
	term := asSudo(t)
	term.app.doors.become = func(_ account, _ []string, say func()) error { say(); return errors.New("stop here") }
	term.run(exitRoot, "status", "--output", "json")
	if strings.Contains(term.err.String(), "runs as") {
		t.Errorf("%s", term.err)
	}
}

func TestSECURITY004WhoCantBecomeTheCallerIsRefused(t *testing.T) {
	term := asSudo(t)
	term.app.doors.become = func(account, []string, func()) error { return errors.New("set the groups: not permitted") }
	term.run(exitRoot, "status")
	term.wants(term.err, "refused to run as root", "can't become the user who called sudo: set the groups: not permitted", "hint: ")
	if fmt.Sprint(term.audited) != "[devside status]" {
		t.Errorf("the audit log has %q", term.audited)
	}
}

func TestSECURITY004UnderSudoRootCanBeKept(t *testing.T) {
	term := asSudo(t)
	term.app.doors.become = func(account, []string, func()) error { t.Error("it became somebody"); return nil }
	term.run(exitOK, "status", "--allow-root")
	term.run(exitOK, "version")
}
