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
