//go:build e2e

package cache

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// manyRemovals are made while parts of their path are exchanged.
const manyRemovals = 100_000

func TestE2ESECURITY002TheLongRace(t *testing.T) {
	const cases = 7
	raceAll(t, openTree, manyRemovals/cases+1, false)
}

// git runs the real one, with no configuration but ours.
func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=e2e", "-c", "user.email=e2e@localhost", "-c", "protocol.file.allow=always"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// What the real git writes is understood: a tracked cache is refused, one that
// is not is removed, and what can't be read is refused.
func TestE2ESECURITY002TheRealGit(t *testing.T) {
	const tracked, unknown = "git tracks it", "can't be told"
	for _, c := range []struct {
		name string
		init []string
		make func(t *testing.T, root string) (project string) // root holds .next/a, dist/a, src/a; only dist is tracked
		want string                                           // for dist
		free string                                           // for .next
	}{
		{name: "a plain repository", want: tracked},
		{name: "nothing was added", make: func(t *testing.T, root string) string {
			must(t, os.Remove(root+"/.git/index"))
			return root
		}},
		{name: "index version 4", make: func(t *testing.T, root string) string {
			git(t, root, "update-index", "--index-version", "4")
			return root
		}, want: tracked},
		{name: "with extensions", make: func(t *testing.T, root string) string {
			git(t, root, "update-index", "--untracked-cache")
			git(t, root, "commit", "-qm", "x")
			git(t, root, "status")
			return root
		}, want: tracked},
		{name: "intent to add", make: func(t *testing.T, root string) string {
			git(t, root, "add", "-N", "-f", ".next/a")
			return root
		}, want: tracked, free: tracked},
		{name: "a split index", make: func(t *testing.T, root string) string {
			git(t, root, "update-index", "--split-index")
			return root
		}, want: unknown, free: unknown},
		{name: "a sparse index", make: func(t *testing.T, root string) string {
			git(t, root, "commit", "-qm", "x")
			git(t, root, "sparse-checkout", "init", "--cone", "--sparse-index")
			return root
		}, want: "-", free: unknown}, // dist is not checked out
		{name: "hashes of 32 bytes", init: []string{"--object-format=sha256"}, want: tracked},
		{name: "a further work tree", make: func(t *testing.T, root string) string {
			git(t, root, "commit", "-qm", "x")
			other := filepath.Join(project(t), "other")
			git(t, root, "worktree", "add", "-q", other)
			makeFiles(t, other, ".next/a")
			return other
		}, want: tracked},
		{name: "a submodule", make: func(t *testing.T, root string) string {
			git(t, root, "commit", "-qm", "x")
			above := project(t)
			git(t, above, "init", "-q")
			git(t, above, "submodule", "--quiet", "add", root, "sub")
			makeFiles(t, above, "sub/.next/a")
			return above + "/sub"
		}, want: tracked},
		{name: "a repository above", make: func(t *testing.T, root string) string {
			makeFiles(t, root, "apps/web/dist/a", "apps/web/.next/a")
			git(t, root, "add", "-f", "apps/web/dist")
			return root + "/apps/web"
		}, want: tracked},
		{name: "a hook that git would run", make: func(t *testing.T, root string) string {
			must(t, os.WriteFile(root+"/hook", []byte("#!/bin/sh\ntouch "+root+"/ran\n"), 0o755))
			git(t, root, "config", "core.fsmonitor", root+"/hook")
			t.Cleanup(func() {
				if _, err := os.Lstat(root + "/ran"); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the repository's hook was run: %v", err)
				}
			})
			return root
		}, want: tracked},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := project(t, ".next/a", "dist/a", "src/a")
			git(t, root, append([]string{"init", "-q"}, c.init...)...)
			git(t, root, "add", "dist", "src")
			at := root
			if c.make != nil {
				at = c.make(t, root)
			}
			r := opened(t, at, openTree)
			for path, want := range map[string]string{"dist": c.want, ".next": c.free} {
				if want == "-" {
					continue
				}
				why := remove(t, r, declared(".", path))
				if want == "" && why != "" || !strings.Contains(why, want) {
					t.Errorf("%s: refused because %q, want %q", path, why, want)
				}
			}
		})
	}
}
