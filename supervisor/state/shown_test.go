package state

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

func TestWhatAnEditorShowsOutlivesItsSession(t *testing.T) {
	dir := t.TempDir()
	p := Paths{Run: filepath.Join(dir, "run"), Logs: filepath.Join(dir, "logs")}
	s := NewShown(p, os.Getpid())
	if got, err := s.Load(); got != nil || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	want := []string{"file:///a.js", "file:///b.js"}
	if err := s.Save(want); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(s.file()); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if got, err := NewShown(p, os.Getpid()).Load(); !slices.Equal(got, want) || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := NewShown(p, os.Getppid()).Load(); got != nil || err != nil {
		t.Errorf("another editor's: %v, %v", got, err)
	}
	if err := s.Save(nil); err != nil {
		t.Error(err)
	}
	if err := s.Save(nil); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(p.Logs, shownPrefix+"*")); len(left) > 0 {
		t.Errorf("%v", left)
	}
	if err := NewShown(p, 0).Save(want); err != nil {
		t.Error(err)
	}
	if err := s.Save(slices.Repeat(want, mostShown)); err != nil {
		t.Error(err)
	}
	if got, err := s.Load(); len(got) != mostShown || err != nil {
		t.Errorf("%d, %v", len(got), err)
	}
	damaged := s.file()
	if err := os.WriteFile(damaged, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Load(); got != nil || err == nil {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := os.Stat(damaged); err == nil {
		t.Error("it is still there")
	}
}

func TestTheListsOfEditorsThatHaveEndedAreRemoved(t *testing.T) {
	dir := t.TempDir()
	p := Paths{Run: filepath.Join(dir, "run"), Logs: filepath.Join(dir, "logs")}
	const never = 1<<22 + 1 // above Linux's largest pid
	if err := NewShown(p, never).Save([]string{"file:///a.js"}); err != nil {
		t.Fatal(err)
	}
	if err := NewShown(p, os.Getppid()).Save([]string{"file:///b.js"}); err != nil {
		t.Fatal(err)
	}
	if _, err := NewShown(p, os.Getpid()).Load(); err != nil {
		t.Error(err)
	}
	left, _ := filepath.Glob(filepath.Join(p.Logs, shownPrefix+"*"))
	if len(left) != 1 || left[0] != NewShown(p, os.Getppid()).file() {
		t.Errorf("%v", left)
	}
}
