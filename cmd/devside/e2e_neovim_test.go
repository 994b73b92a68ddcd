//go:build e2e && linux

package main

import (
	"path/filepath"
	"testing"
)

// TestE2ENeovim: with Neovim's own LSP client, no plug-in and no screen.
func TestE2ENeovim(t *testing.T) {
	script, err := filepath.Abs(filepath.Join("testdata", "clients", "neovim.lua"))
	if err != nil {
		t.Fatal(err)
	}
	mendsAPort(t, "nvim", "--headless", "-u", "NONE", "-i", "NONE", "-n", "-c", "luafile "+script)
}
