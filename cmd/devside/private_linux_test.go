package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/state"
)

// TestSECURITY003NothingSecretIsInAnyFileOfDevsides: a run with secrets in every
// place where a project has some, a start that fails and a hub that is killed;
// then every file of devside's is read.
func TestSECURITY003NothingSecretIsInAnyFileOfDevsides(t *testing.T) {
	dir := realDir(t)
	home := homeDir(t)
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	demo := filepath.Join(binaries(t), "demo")
	yaml := fmt.Sprintf(`version: 1
servers:
  api:
    command: [%q, api, --password=swordfish-in-argv]
    port: %d
    env: {TOKEN: swordfish-in-env}
    env_file: [.env]
    ready: {http: /api/health}
  broken:
    command: [./no-such-program, --password=swordfish-in-argv]
    env: {TOKEN: swordfish-in-env}
    env_file: [.env]
`, demo, port)
	for name, text := range map[string]string{"devside.yaml": yaml, ".env": "SECRET=swordfish-in-file\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	devside := func(args ...string) string {
		cmd := exec.Command(filepath.Join(binaries(t), "devside"), append(args, "--root", dir, "--allow-root")...)
		cmd.Env = append(os.Environ(), state.HomeVariable+"="+home, "DEV_DEBUG=1", "CLIENTS=swordfish-of-the-client")
		out, _ := cmd.CombinedOutput() // one of the servers does not start
		return string(out)
	}
	devside("trust", "--yes")
	out := devside("start", "--trust")
	if !strings.Contains(out, "api") || !strings.Contains(out, "ready") {
		t.Fatalf("%s", out)
	}
	ran := servers(t, dir)
	devside("reload")
	devside("restart", "broken")
	look(t, home) // while it runs, with a ledger that has servers
	devside("stop")
	for id, command := range ran {
		if id.Alive() {
			t.Errorf("%v (%s) is alive", id, command)
		}
	}
	look(t, home)
}

// look reads every file of devside's, and wants each to be private.
func look(t *testing.T, home string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if path != home && info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		files++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, secret := range []string{"swordfish", proc.Marker + "="} {
			if at := bytes.Index(text, []byte(secret)); at >= 0 {
				t.Errorf("%s: …%.200s", path, text[max(0, at-60):])
			}
		}
		return nil
	})
	if err != nil || files < 6 {
		t.Errorf("%d files, %v", files, err)
	}
}
