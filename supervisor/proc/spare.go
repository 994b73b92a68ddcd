package proc

import (
	"path/filepath"
	"slices"
	"strings"
)

// opened is what a server opens for the person at the keyboard, by file name:
// ending it with the server would close the person's work. Agents serve every
// program of the user, not only the one that happened to start them.
var opened = []string{
	// browsers
	"chrome", "google-chrome", "google-chrome-stable", "chromium", "chromium-browser", "firefox", "firefox-bin",
	"firefox-esr", "librewolf", "brave", "brave-browser", "msedge", "microsoft-edge", "opera", "vivaldi", "vivaldi-bin",
	"epiphany", "Google Chrome", "Safari", "Firefox", "Microsoft Edge",
	// editors
	"code", "code-insiders", "codium", "vscodium", "cursor", "windsurf", "zed", "zed-editor", "subl", "sublime_text",
	"idea", "webstorm", "goland", "pycharm", "gvim", "emacs", "kate", "gedit", "gnome-text-editor",
	// agents
	"ssh-agent", "gpg-agent", "adb",
}

// worked are programs that a person works in at a terminal. They are spared
// where processes are chosen by their command line, which may name anything: an
// editor has the name of a file of the project in it.
var worked = []string{
	"vi", "vim", "nvim", "view", "vimdiff", "nano", "pico", "micro", "hx", "helix", "kak", "kakoune", "joe", "ne", "ed", "emacsclient", "emacs-nox", "emacs-gtk",
	"less", "more", "most", "man", "tail", "watch", "top", "htop", "btop",
	"tmux", "tmux: server", "tmux: client", "screen", "SCREEN", "zellij", "ssh", "mosh-client", "mosh-server", "script", "gdb", "lldb", "lazygit", "tig", "git",
}

// shells are spared where a person types into them: without a script to run.
var shells = []string{"sh", "bash", "dash", "zsh", "fish", "ksh", "mksh", "ash", "tcsh", "csh", "nu", "pwsh", "elvish", "xonsh"}

// personal decides whether a process that a pattern names is left alone: it is
// not what a server of an earlier session is. names are as in spared.
func personal(names, args []string) bool {
	if spared(names, args, worked, true) {
		return true
	}
	for _, n := range names {
		if base := strings.TrimPrefix(filepath.Base(n), "-"); slices.Contains(shells, base) {
			return typedInto(args)
		}
	}
	return false
}

// typedInto reports whether a shell has nothing to run but what is typed.
func typedInto(args []string) bool {
	for _, a := range args[min(1, len(args)):] {
		if !strings.HasPrefix(a, "-") || !strings.HasPrefix(a, "--") && strings.Contains(a, "c") {
			return false // a script, or -c
		}
	}
	return true
}

// automated are the arguments that make a browser a server's tool: Puppeteer
// and Playwright start theirs in a session of its own, too, and nobody sees it.
var automated = []string{
	"--headless", "-headless", "--remote-debugging-", "--enable-automation", "-marionette", "--marionette", "-juggler",
}

// spared decides whether a process is left alone. names are the short name and
// the file it runs; ownSession is whether it has left the leader's session:
// what stayed in it is part of the server, whatever it is called.
func spared(names, args, extra []string, ownSession bool) bool {
	if !ownSession {
		return false
	}
	listed := slices.ContainsFunc(names, func(n string) bool {
		// The kernel adds this to the link of a file that was replaced since,
		// which is what an update of a running browser does.
		base := strings.TrimSuffix(filepath.Base(n), " (deleted)")
		return n != "" && (slices.Contains(opened, base) || slices.Contains(extra, base))
	})
	if !listed {
		return false
	}
	return !slices.ContainsFunc(args, func(a string) bool {
		return slices.ContainsFunc(automated, func(p string) bool { return strings.HasPrefix(a, p) })
	})
}
