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
	script, err := filepath.Abs(filepath.Join("testdata", "clients", "emacs.el"))
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{"shutdown", "kill-emacs"} {
		t.Run(end, func(t *testing.T) {
			t.Setenv("DEVSIDE_END", end)
			mendsAPort(t, "emacs", "--batch", "-Q", "-l", script)
		})
	}
}
