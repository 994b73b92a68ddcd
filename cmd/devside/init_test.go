package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/watch/cache"
	"github.com/devside/devside/watch/rule"
)

// TestAFileIsWrittenWholeAndNeverInThePlaceOfAnother.
func TestAFileIsWrittenWholeAndNeverInThePlaceOfAnother(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := writeNew(root, "a", []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := writeNew(root, "a", []byte("two")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("in the place of another: %v", err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := writeNew(root, "link", []byte("two")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("in the place of a link: %v", err)
	}
	if err := renameNew(root, "a", "link"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("renamed into the place of a link: %v", err)
	}
	if err := renameNew(root, "a", "b"); err != nil {
		t.Error(err)
	}
	if err := writeNew(root, "no/where", nil); err == nil {
		t.Error("a file in a folder that is not there")
	}
	text, err := os.ReadFile(filepath.Join(dir, "b"))
	info, err2 := os.Stat(filepath.Join(dir, "b"))
	if err := errors.Join(err, err2); err != nil || string(text) != "one" || info.Mode().Perm() != 0o644 {
		t.Errorf("%q, %v, %v", text, info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestThePresetsCachesCanBeRemoved: what a preset declares, watch/cache accepts.
func TestThePresetsCachesCanBeRemoved(t *testing.T) {
	n := 0
	for _, p := range spec.Presets {
		for _, c := range p.Caches {
			n++
			if err := cache.Check(cache.Target{Dir: "web", Path: c, Declared: p.Caches}); err != nil {
				t.Errorf("%s: %s: %v", p.Name, c, err)
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d caches", n)
	}
}

// TestThePresetsLockfilesAreKnown: watch/rule can read what a preset names.
func TestThePresetsLockfilesAreKnown(t *testing.T) {
	for _, p := range spec.Presets {
		for _, name := range p.Lockfiles {
			if _, ok := rule.KindOf(name); !ok {
				t.Errorf("%s: %s", p.Name, name)
			}
		}
	}
}
