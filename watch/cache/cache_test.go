package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

// patience bounds every wait of a test. Machines that run these are busy.
const patience = time.Minute

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == childMark {
		os.Exit(runChild(os.Args[2], os.Args[3:]))
	}
	goleak.VerifyTestMain(m)
}

// childMark is the first argument that turns the test binary into a helper.
const childMark = "cache-test-child"

// ways runs a test with each way to reach into a project that this system has.
// The portable one is Linux's only in tests.
func ways(t *testing.T, test func(t *testing.T, open func(string) (tree, error))) {
	for name, open := range trees {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

// project makes files below a new folder. A name that ends in / is a folder.
func project(t testing.TB, files ...string) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	makeFiles(t, root, files...)
	return root
}

func makeFiles(t testing.TB, root string, files ...string) {
	t.Helper()
	for _, name := range files {
		at := filepath.Join(root, filepath.FromSlash(name))
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(at, 0o755))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(at), 0o755))
		must(t, os.WriteFile(at, []byte(name), 0o644))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func opened(t testing.TB, root string, openTree func(string) (tree, error)) *Remover {
	t.Helper()
	r, err := open(root, zerolog.Nop(), openTree, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// remove removes one target and gives why it was refused, or "".
func remove(t testing.TB, r *Remover, target Target) string {
	t.Helper()
	res := r.Remove(t.Context(), []Target{target}, false)
	freed := drain(t, res)
	for _, f := range freed {
		if f.Failed != "" {
			t.Errorf("%s: %s", f.Path, f.Failed)
		}
	}
	switch {
	case len(res.Refused) == 1 && len(res.Removed) == 0:
		return res.Refused[0].Why
	case len(res.Refused) == 0 && len(res.Removed) == 1 && len(freed) == 1:
		return ""
	}
	t.Fatalf("%+v, freed %+v", res, freed)
	return ""
}

// drain waits for the background.
func drain(t testing.TB, res Result) []Removed {
	t.Helper()
	var all []Removed
	deadline := time.After(patience)
	for {
		select {
		case f, more := <-res.Freed:
			if !more {
				return all
			}
			all = append(all, f)
		case <-deadline:
			t.Fatalf("the space is not free after %v; so far %+v", patience, all)
		}
	}
}

// listing is everything below root, but devside's own folder.
func listing(t testing.TB, root string) []string {
	t.Helper()
	var names []string
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		if path == filepath.Join(root, homeName) {
			return fs.SkipDir
		}
		rel, err := filepath.Rel(root, path)
		names = append(names, filepath.ToSlash(rel))
		return err
	}))
	return names
}

func trashOf(t testing.TB, root string) []string {
	t.Helper()
	at := filepath.Join(root, homeName, trashName)
	if info, err := os.Stat(at); err != nil || !info.IsDir() {
		return nil
	}
	entries, err := os.ReadDir(at)
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestACacheIsRemovedAndNothingElse(t *testing.T) {
	ways(t, func(t *testing.T, open func(string) (tree, error)) {
		root := project(t, "frontend/.next/a/b/c.js", "frontend/.next/d", "frontend/.next/empty/", "frontend/src/page.tsx",
			"frontend/node_modules/.cache/x", "frontend/node_modules/react/index.js", "frontend/a.tsbuildinfo", "keep")
		must(t, os.Symlink("../src", filepath.Join(root, "frontend/.next/link")))
		r := opened(t, root, open)
		all := []string{".next", "node_modules/.cache", "a.tsbuildinfo", "dist"}
		var targets []Target
		for _, p := range all {
			targets = append(targets, Target{Dir: "frontend", Path: p, Declared: all})
		}
		res := r.Remove(t.Context(), targets, false)
		freed := drain(t, res)
		slices.SortFunc(freed, func(a, b Removed) int { return strings.Compare(a.Path, b.Path) })
		want := []Removed{
			{Path: "frontend/.next", Files: 3, Bytes: int64(len("frontend/.next/a/b/c.js") + len("frontend/.next/d"))},
			{Path: "frontend/a.tsbuildinfo", Files: 1, Bytes: int64(len("frontend/a.tsbuildinfo"))},
			{Path: "frontend/node_modules/.cache", Files: 1, Bytes: int64(len("frontend/node_modules/.cache/x"))},
		}
		if diff := cmp.Diff(want, freed); diff != "" {
			t.Errorf("freed:\n%s", diff)
		}
		if len(res.Removed) != 3 || len(res.Refused) != 0 {
			t.Errorf("removed %+v, refused %+v", res.Removed, res.Refused)
		}
		left := []string{"frontend", "frontend/node_modules", "frontend/node_modules/react", "frontend/node_modules/react/index.js",
			"frontend/src", "frontend/src/page.tsx", "keep"}
		if diff := cmp.Diff(left, listing(t, root)); diff != "" {
			t.Errorf("left:\n%s", diff)
		}
		if names := trashOf(t, root); len(names) != 0 {
			t.Errorf("the trash still holds %q", names)
		}
		if res.FreeBytes <= 0 || res.DiskLow != (res.FreeBytes < leastFree) {
			t.Errorf("%d bytes free, low: %v", res.FreeBytes, res.DiskLow)
		}
	})
}

func TestADryRunCountsAndChangesNothing(t *testing.T) {
	ways(t, func(t *testing.T, open func(string) (tree, error)) {
		root := project(t, ".next/a", ".next/b/c", "src/x")
		before := listing(t, root)
		r := opened(t, root, open)
		res := r.Remove(t.Context(), []Target{declared(".", ".next"), declared(".", "src"), declared(".", "dist")}, true)
		want := []Removed{{Path: ".next", Files: 2, Bytes: int64(len(".next/a") + len(".next/b/c"))}}
		if diff := cmp.Diff(want, res.Removed); diff != "" {
			t.Errorf("removed:\n%s", diff)
		}
		if diff := cmp.Diff(want, drain(t, res)); diff != "" {
			t.Errorf("freed:\n%s", diff)
		}
		if len(res.Refused) != 1 || res.Refused[0].Path != "src" {
			t.Errorf("refused %+v", res.Refused)
		}
		if diff := cmp.Diff(before, listing(t, root)); diff != "" {
			t.Errorf("a dry run changed:\n%s", diff)
		}
		if _, err := os.Lstat(filepath.Join(root, homeName)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a dry run made %s: %v", homeName, err)
		}
	})
}

func TestOpenWritesNothing(t *testing.T) {
	root := project(t, "src/x")
	opened(t, root, openTree)
	if _, err := os.Lstat(filepath.Join(root, homeName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s was made: %v", homeName, err)
	}
}

// PERF-004: what a restart waits for is a rename. With the background at a
// stand, the cache is away all the same.
func TestPERF004ACacheIsAwayBeforeItsSpaceIsFree(t *testing.T) {
	root := project(t, ".next/a", ".next/b")
	r := opened(t, root, openTree)
	gate := make(chan struct{})
	for range workers {
		r.queue.add(func(context.Context) { <-gate })
	}
	res := r.Remove(t.Context(), []Target{declared(".", ".next")}, false)
	if _, err := os.Lstat(filepath.Join(root, ".next")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf(".next is still there: %v", err)
	}
	if names := trashOf(t, root); len(names) != 1 || !isTrash(names[0]) {
		t.Errorf("in the trash is %q", names)
	}
	select {
	case f := <-res.Freed:
		t.Errorf("%+v is free while the background stands", f)
	default:
	}
	close(gate)
	if freed := drain(t, res); len(freed) != 1 || freed[0].Files != 2 {
		t.Errorf("freed %+v", freed)
	}
}

func TestCloseLeavesTheRestToTheNextOpen(t *testing.T) {
	ways(t, func(t *testing.T, open func(string) (tree, error)) {
		root := project(t, ".next/a", ".next/b", "dist/c")
		r := opened(t, root, open)
		for range workers { // the background is busy until the end
			r.queue.add(func(ctx context.Context) { <-ctx.Done() })
		}
		res := r.Remove(t.Context(), []Target{declared(".", ".next"), declared(".", "dist")}, false)
		r.queue.close()
		for _, f := range drain(t, res) {
			if f.Failed == "" {
				t.Errorf("%+v did not hear that it was left", f)
			}
		}
		if names := trashOf(t, root); len(names) != 2 {
			t.Fatalf("in the trash is %q", names)
		}
		awaitEmptyTrash(t, root, opened(t, root, open))
	})
}

// awaitEmptyTrash waits until a new Remover's sweep has ended: its background
// has no goroutine then.
func awaitEmptyTrash(t testing.TB, root string, r *Remover) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); r.queue.wg.Wait() }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("the sweep has not ended; in the trash is %q", trashOf(t, root))
	}
	if names := trashOf(t, root); len(names) != 0 {
		t.Errorf("in the trash is still %q", names)
	}
}

func TestASweepLeavesWhatIsNotOurs(t *testing.T) {
	ways(t, func(t *testing.T, open func(string) (tree, error)) {
		stranger, single := newTrash(1), newTrash(2) // they say other inodes than they have
		root := project(t, ".devside/trash/docs/a", ".devside/trash/"+stranger+"/b", ".devside/trash/"+single, ".devside/other")
		r := opened(t, root, open)
		done := make(chan struct{})
		go func() { defer close(done); r.queue.wg.Wait() }()
		<-done
		for _, name := range []string{"trash/docs/a", "trash/" + stranger + "/b", "trash/" + single, "other"} {
			if _, err := os.Lstat(filepath.Join(root, homeName, filepath.FromSlash(name))); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestACancelledRemovalSaysSo(t *testing.T) {
	root := project(t, ".next/a")
	r := opened(t, root, openTree)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	res := r.Remove(ctx, []Target{declared(".", ".next")}, false)
	if len(res.Refused) != 1 || !strings.Contains(res.Refused[0].Why, "not reached") {
		t.Errorf("%+v", res)
	}
	drain(t, res)
}

func TestNothingIsRemovedAfterClose(t *testing.T) {
	ways(t, func(t *testing.T, open func(string) (tree, error)) {
		root := project(t, ".next/a")
		r := opened(t, root, open)
		r.Close()
		res := r.Remove(t.Context(), []Target{declared(".", ".next")}, false)
		drain(t, res)
		if len(res.Refused) != 1 || res.Refused[0].Why != "devside is ending" || len(res.Removed) != 0 {
			t.Errorf("%+v", res)
		}
		if _, err := os.Lstat(root + "/.next/a"); err != nil {
			t.Error(err)
		}
		r.Close() // a second one does nothing
	})
}

func TestARemovalDuringCloseIsLeftForTheNextOpen(t *testing.T) {
	root := project(t, ".next/a")
	r, err := Open(root, zerolog.Nop())
	must(t, err)
	r.queue.close()
	freed := drain(t, r.Remove(t.Context(), []Target{declared(".", ".next")}, false))
	if len(freed) != 1 || freed[0].Failed == "" {
		t.Errorf("freed %+v", freed)
	}
	r.tree.close()
	awaitEmptyTrash(t, root, opened(t, root, openTree))
}

func TestARootThatIsNotThereCantBeOpened(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none"), zerolog.Nop()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	ways(t, func(t *testing.T, open func(string) (tree, error)) {
		if _, err := open(filepath.Join(project(t, "file"), "file")); err == nil {
			t.Error("a file was opened as a root")
		}
	})
}

// static are the hostile cases that hold still: each is refused, and nothing
// is lost.
func TestSECURITY002HostileProjects(t *testing.T) {
	type hostile struct {
		name   string
		files  []string
		plant  func(t *testing.T, root, outside string)
		target Target
		why    string
	}
	symlink := func(from, to string) func(*testing.T, string, string) {
		return func(t *testing.T, root, outside string) {
			must(t, os.Symlink(strings.ReplaceAll(from, "OUTSIDE", outside), filepath.Join(root, filepath.FromSlash(to))))
		}
	}
	cases := []hostile{
		{name: "the cache is a link out of the project", plant: symlink("OUTSIDE", ".next"), target: declared(".", ".next"), why: "it is a link"},
		{name: "the cache is a link inside the project", files: []string{"src/a"}, plant: symlink("src", ".next"), target: declared(".", ".next"), why: "it is a link"},
		{name: "the cache is a link that leads nowhere", plant: symlink("none", ".next"), target: declared(".", ".next"), why: "it is a link"},
		{name: "the cache is a link to the project", plant: symlink(".", ".next"), target: declared(".", ".next"), why: "it is a link"},
		{name: "the folder above is a link out of the project", plant: symlink("OUTSIDE", "node_modules"), target: declared(".", "node_modules/.cache"), why: "a part of its path is a link"},
		{name: "the folder above is a link inside the project", files: []string{"src/.cache/a", "frontend/"}, plant: symlink("../src", "frontend/node_modules"),
			target: declared("frontend", "node_modules/.cache"), why: "a part of its path is a link"},
		{name: "a link further above, inside the project", files: []string{"src/node_modules/.cache/a"}, plant: symlink("src", "frontend"),
			target: declared("frontend", "node_modules/.cache"), why: "a part of its path is a link"},
		{name: "a link further above, out of the project", plant: symlink("OUTSIDE", "frontend"), target: declared("frontend", "a/.cache"), why: "a part of its path is a link"},
		{name: "the server's folder is a link", plant: symlink("OUTSIDE", "frontend"), target: declared("frontend", ".cache"), why: "a part of its path is a link"},
		{name: "a magic link", plant: symlink("/proc/self/cwd", "frontend"), target: declared("frontend", ".cache"), why: "a part of its path is a link"},
		{name: "a file on the way", files: []string{"node_modules"}, target: declared(".", "node_modules/.cache"), why: "a file, where a folder should be"},
		{name: "a repository of its own", files: []string{"build/.git/HEAD", "build/work"}, target: declared(".", "build"), why: "it holds a .git"},
		{name: "a further work tree", files: []string{"build/.git", "build/work"}, target: declared(".", "build"), why: "it holds a .git"},
		{name: "the sources", files: []string{"src/a"}, target: declared(".", "src"), why: "src is protected"},
		{name: "the repository", files: []string{".git/HEAD", ".git/objects/a"}, target: declared(".", ".git"), why: ".git"},
		{name: "what was not declared", files: []string{".next/a"}, target: Target{Path: ".next", Declared: []string{".nuxt"}}, why: "not declared"},
		{name: "the trash itself", files: []string{".devside/trash/a"}, target: declared(".", ".devside/trash"), why: "protected"},
		{name: "devside's folder is a link", files: []string{".next/a"}, plant: symlink("OUTSIDE", ".devside"), target: declared(".", ".next"), why: "devside's own folder"},
		{name: "devside's folder is a link inside the project", files: []string{".next/a", "docs/b"}, plant: symlink("docs", ".devside"), target: declared(".", ".next"), why: "devside's own folder"},
		{name: "devside's folder is a file", files: []string{".next/a", ".devside"}, target: declared(".", ".next"), why: "devside's own folder"},
		{name: "the trash is a link", files: []string{".next/a", ".devside/"}, plant: symlink("OUTSIDE", ".devside/trash"), target: declared(".", ".next"), why: "devside's own folder"},
		{name: "the trash is a file", files: []string{".next/a", ".devside/trash"}, target: declared(".", ".next"), why: "devside's own folder"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ways(t, func(t *testing.T, open func(string) (tree, error)) {
				outside := project(t, ".cache/victim", "a/.cache/victim", "victim", newTrash(0)+"/victim")
				root := project(t, c.files...)
				if c.plant != nil {
					c.plant(t, root, outside)
				}
				before := append(listing(t, root), listing(t, outside)...)
				trash := trashOf(t, root)
				r := opened(t, root, open) // with its sweep
				why := remove(t, r, c.target)
				if why == "" || !strings.Contains(why, c.why) {
					t.Errorf("refused because %q, want something of %q", why, c.why)
				}
				if diff := cmp.Diff(before, append(listing(t, root), listing(t, outside)...)); diff != "" {
					t.Errorf("it changed:\n%s", diff)
				}
				if diff := cmp.Diff(trash, trashOf(t, root)); diff != "" {
					t.Errorf("the trash changed:\n%s", diff)
				}
			})
		})
	}
}

func TestTheProjectMayBeReachedByALink(t *testing.T) {
	root := project(t, ".next/a")
	name := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(root, name))
	if why := remove(t, opened(t, name, openTree), declared(".", ".next")); why != "" {
		t.Error(why)
	}
}

func TestAProjectThatWasExchangedIsLeftAlone(t *testing.T) {
	ways(t, func(t *testing.T, open func(string) (tree, error)) {
		above := project(t, "app/.next/a", "other/.next/b")
		r := opened(t, filepath.Join(above, "app"), open)
		must(t, os.Rename(filepath.Join(above, "app"), filepath.Join(above, "old")))
		must(t, os.Rename(filepath.Join(above, "other"), filepath.Join(above, "app")))
		if why := remove(t, r, declared(".", ".next")); !strings.Contains(why, "moved or replaced") {
			t.Errorf("refused because %q", why)
		}
		if diff := cmp.Diff([]string{"app", "app/.next", "app/.next/b", "old", "old/.next", "old/.next/a"}, listing(t, above)); diff != "" {
			t.Error(diff)
		}
	})
}

// repository writes what git would.
func repository(t *testing.T, dir string, tracked ...string) {
	t.Helper()
	makeFiles(t, dir, "HEAD")
	must(t, os.WriteFile(filepath.Join(dir, "index"), encodeIndex(t, 2, tracked...), 0o644))
}

func TestSECURITY002WhatGitTracksIsRefused(t *testing.T) {
	const yes, no, unknown = "git tracks it", "", "can't be told whether git tracks it"
	for _, c := range []struct {
		name string
		git  func(t *testing.T, above string) // the project is above/app
		why  string
	}{
		{"no repository", func(*testing.T, string) {}, no},
		{"other files are tracked", func(t *testing.T, above string) { repository(t, above+"/app/.git", ".nextfile", "next", "src/.next") }, no},
		{"a file in it is", func(t *testing.T, above string) { repository(t, above+"/app/.git", ".next/deep/in/it", "src/a") }, yes},
		{"a file of its name is", func(t *testing.T, above string) { repository(t, above+"/app/.git", ".next") }, yes},
		{"one of its name in other letters is", func(t *testing.T, above string) { repository(t, above+"/app/.git", ".NEXT/a") }, yes},
		{"nothing was added yet", func(t *testing.T, above string) { makeFiles(t, above, "app/.git/HEAD") }, no},
		{"the repository is above the root", func(t *testing.T, above string) { repository(t, above+"/.git", "app/.next/a") }, yes},
		{"it is above, and tracks others", func(t *testing.T, above string) { repository(t, above+"/.git", ".next/a", "app2/.next/a") }, no},
		{"the nearest one counts", func(t *testing.T, above string) {
			repository(t, above+"/.git", "app/.next/a")
			repository(t, above+"/app/.git", "src/a")
		}, no},
		{"a further work tree", func(t *testing.T, above string) {
			repository(t, above+"/main/.git/worktrees/app", ".next/a")
			must(t, os.WriteFile(above+"/app/.git", []byte("gitdir: "+filepath.ToSlash(above)+"/main/.git/worktrees/app\n"), 0o644))
		}, yes},
		{"a submodule", func(t *testing.T, above string) {
			repository(t, above+"/.git/modules/app", ".next/a")
			repository(t, above+"/.git", "app")
			must(t, os.WriteFile(above+"/app/.git", []byte("gitdir: ../.git/modules/app\n"), 0o644))
		}, yes},
		{"a submodule that tracks others", func(t *testing.T, above string) {
			repository(t, above+"/.git/modules/app", "src/a")
			must(t, os.WriteFile(above+"/app/.git", []byte("gitdir: ../.git/modules/app\r\n"), 0o644))
		}, no},
		{"an empty .git hides one above", func(t *testing.T, above string) {
			repository(t, above+"/.git", "app/.next/a")
			makeFiles(t, above, "app/.git/")
		}, unknown},
		{"a .git file that says something else", func(t *testing.T, above string) { makeFiles(t, above, "app/.git") }, unknown},
		{"a .git file that is too long", func(t *testing.T, above string) {
			must(t, os.WriteFile(above+"/app/.git", []byte("gitdir: "+strings.Repeat("x", largestLink)), 0o644))
		}, unknown},
		{"a .git file that leads nowhere", func(t *testing.T, above string) {
			must(t, os.WriteFile(above+"/app/.git", []byte("gitdir: ../none\n"), 0o644))
		}, unknown},
		{"a .git that is a link", func(t *testing.T, above string) {
			repository(t, above+"/elsewhere", "src/a")
			must(t, os.Symlink("../elsewhere", above+"/app/.git"))
		}, unknown},
		{"an index that is a link", func(t *testing.T, above string) {
			repository(t, above+"/app/.git", "src/a")
			must(t, os.Rename(above+"/app/.git/index", above+"/index"))
			must(t, os.Symlink("../../index", above+"/app/.git/index"))
		}, unknown},
		{"an index that is a folder", func(t *testing.T, above string) { makeFiles(t, above, "app/.git/HEAD", "app/.git/index/x") }, unknown},
		{"a damaged index", func(t *testing.T, above string) {
			repository(t, above+"/app/.git", "src/a")
			must(t, os.Truncate(above+"/app/.git/index", 50))
		}, unknown},
		{"an index that is too large", func(t *testing.T, above string) {
			repository(t, above+"/app/.git", "src/a")
			must(t, os.Truncate(above+"/app/.git/index", largestIndex+1))
		}, unknown},
		{"a split index", func(t *testing.T, above string) {
			repository(t, above+"/app/.git")
			must(t, os.WriteFile(above+"/app/.git/index", withExtension(encodeIndex(t, 2), "link", strings.Repeat("x", 20)), 0o644))
		}, unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			above := project(t, "app/.next/a", "app/src/a")
			c.git(t, above)
			r := opened(t, above+"/app", openTree)
			why := remove(t, r, declared(".", ".next"))
			if why != c.why && (c.why == "" || !strings.Contains(why, c.why)) {
				t.Errorf("refused because %q, want %q", why, c.why)
			}
			_, err := os.Lstat(above + "/app/.next/a")
			if kept := err == nil; kept != (c.why != "") {
				t.Errorf("it is still there: %v", kept)
			}
		})
	}
}

func TestAnIndexIsReadOnceForEachOfItsStates(t *testing.T) {
	root := project(t, ".next/a", "dist/a")
	repository(t, root+"/.git", "src/a")
	r := opened(t, root, openTree)
	ask := func(below string) bool {
		t.Helper()
		err := r.git.tracked(filepath.Join(root, below))
		return err != nil
	}
	if ask(".next") || ask("dist") || ask(".next") {
		t.Fatal("something is tracked")
	}
	if n := len(r.git.known[filepath.Join(root, ".git/index")].tracked); n != 2 {
		t.Errorf("%d answers are remembered", n)
	}
	// git writes a new file and renames it over the old one.
	must(t, os.WriteFile(root+"/.git/index.lock", encodeIndex(t, 2, ".next/a", "src/a"), 0o644))
	must(t, os.Rename(root+"/.git/index.lock", root+"/.git/index"))
	if !ask(".next") || ask("dist") {
		t.Error("an index of an earlier state was believed")
	}
	for i := range mostVerdicts + 10 {
		ask(fmt.Sprint("dist/", i))
	}
	if n := len(r.git.known[filepath.Join(root, ".git/index")].tracked); n > mostVerdicts {
		t.Errorf("%d answers are remembered", n)
	}
}

func TestSHA256RepositoriesAreRead(t *testing.T) {
	// An index as git writes it in a repository of the other format: the same,
	// with hashes of 32 bytes.
	root := project(t, ".next/a")
	makeFiles(t, root, ".git/HEAD")
	must(t, os.WriteFile(root+"/.git/index", sha256Index(".next/a"), 0o644))
	if why := remove(t, opened(t, root, openTree), declared(".", ".next")); !strings.Contains(why, "git tracks it") {
		t.Errorf("refused because %q", why)
	}
	must(t, os.WriteFile(root+"/.git/index", sha256Index("src/page.tsx"), 0o644))
	if why := remove(t, opened(t, root, openTree), declared(".", ".next")); why != "" {
		t.Error(why)
	}
}
