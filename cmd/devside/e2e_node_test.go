//go:build e2e && linux

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
)

// TestE2ENode: with vscode-languageserver-protocol in plain Node. It also looks at
// what an editor hides: that nothing is sent that was not declared, and what is
// answered to requests that nobody knows.
func TestE2ENode(t *testing.T) {
	clients, err := filepath.Abs(filepath.Join("testdata", "clients"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile(filepath.Join(clients, "package.json"))
	if err != nil {
		t.Fatal(err)
	}
	at := os.Getenv(projectVariable)
	if at == "" {
		t.Fatalf("%s is not set: the packages are kept beside the folder it names (`make e2e` does)", projectVariable)
	}
	sum := sha256.Sum256(list)
	packages := filepath.Join(at+"-clients", hex.EncodeToString(sum[:4]))
	if _, err := os.Stat(filepath.Join(packages, "prepared")); err != nil {
		if err := os.MkdirAll(packages, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(packages, "package.json"), list, 0o644); err != nil {
			t.Fatal(err)
		}
		npm(t, packages, "npm", "install", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
		if err := os.WriteFile(filepath.Join(packages, "prepared"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("DEVSIDE_PACKAGES", packages)
	mendsAPort(t, "node", filepath.Join(clients, "node.mjs"))
}
