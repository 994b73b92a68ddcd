//go:build e2e && linux

package main

import (
	"path/filepath"
	"testing"
)

// TestE2EEmacs: with eglot, as it comes with Emacs 29, or from Debian's elpa-eglot
// before. "shutdown" ends the session by eglot-shutdown, "kill-emacs" leaves it to
// Emacs, which says nothing and closes the pipes.
func TestE2EEmacs(t *testing.T) {
	for _, end := range []string{"shutdown", "kill-emacs"} {
		t.Run(end, func(t *testing.T) {
			t.Setenv("DEVSIDE_END", end)
			mendsAPort(t, emacs(t, "eglot.el")...)
		})
	}
}

// TestE2ELspMode: with lsp-mode, from Debian's elpa-lsp-mode.
func TestE2ELspMode(t *testing.T) {
	mendsAPort(t, emacs(t, "lsp-mode.el")...)
}

// emacs is a command that runs a script of testdata/clients.
func emacs(t *testing.T, script string) []string {
	t.Helper()
	clients, err := filepath.Abs(filepath.Join("testdata", "clients"))
	if err != nil {
		t.Fatal(err)
	}
	return []string{"emacs", "--batch", "-Q", "-l", filepath.Join(clients, "emacs.el"), "-l", filepath.Join(clients, script)}
}
