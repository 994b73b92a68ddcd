//go:build e2e && linux

package main

import (
	"os"
	"path/filepath"
	"testing"
)

// debianALE is where the package vim-ale puts ALE.
const debianALE = "/usr/share/vim-ale"

// TestE2EVimALE: with Vim and ALE, which ends a server with SIGTERM and never says
// shutdown. ALE shows no status, so "ready" only means that the diagnostic is gone.
func TestE2EVimALE(t *testing.T) {
	if _, err := os.Stat(debianALE); err != nil {
		t.Fatalf("ALE is missing (.ci/run installs vim-ale): %v", err)
	}
	script, err := filepath.Abs(filepath.Join("testdata", "clients", "ale.vim"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("DEVSIDE_ALE", debianALE)
	mendsAPort(t, "vim", "-N", "-u", "NONE", "-i", "NONE", "-n", "-es", "-S", script)
}
