//go:build unix

package watch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// stingy is the system with a limit on watches, which can be raised.
type stingy struct {
	source
	mu   sync.Mutex
	room int
	lose bool
}

func (s *stingy) add(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.room == 0 {
		return fmt.Errorf("add %s: %w", dir, syscall.ENOSPC)
	}
	if err := s.source.add(dir); err != nil {
		return err
	}
	s.room--
	return nil
}

func (s *stingy) take() news {
	n := s.source.take()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lose {
		n = news{lost: true, err: errors.New("queue overflow")}
	}
	return n
}

func (s *stingy) set(room int, lose bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room, s.lose = room, lose
}

func limitOf(t *testing.T, s *stage) *Limit {
	t.Helper()
	select {
	case l := <-s.limits:
		return l
	case <-time.After(patience):
		t.Fatal("nothing was said of a limit")
		return nil
	}
}

func write(t *testing.T, s *stage, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func told(t *testing.T, s *stage, want string) {
	t.Helper()
	if got, err := s.next(); err != nil || got != want {
		t.Errorf("told %q, %v; want %q", got, err, want)
	}
}

func TestWithTooFewWatchesTheTargetsArePolledUntilThereIsRoom(t *testing.T) {
	s := begin(t, t.TempDir())
	write(t, s, "a/b/c/x.yaml", "1")
	few := &stingy{room: 2}
	s.w.poll = 20 * time.Millisecond
	s.w.open = func() (source, error) {
		real, err := openSystem()
		few.source = real
		return few, err
	}
	s.run(t)
	if err := s.set("a/b/c:x.yaml"); err != nil {
		t.Fatal(err)
	}
	l := limitOf(t, s)
	if l == nil || !errors.Is(l.Err, syscall.ENOSPC) || !strings.Contains(l.Hint, "max_user_watches") {
		t.Fatalf("%+v", l)
	}
	write(t, s, "a/b/c/x.yaml", "2")
	told(t, s, "changed:a/b/c/x.yaml")
	few.set(100, false)
	if l := limitOf(t, s); l != nil {
		t.Fatalf("with room again: %+v", l)
	}
	write(t, s, "a/b/c/x.yaml", "3")
	told(t, s, "changed:a/b/c/x.yaml")
}

func TestWithoutAnInstanceTheTargetsArePolledUntilThereIsOne(t *testing.T) {
	s := begin(t, t.TempDir())
	write(t, s, "x.yaml", "1")
	s.w.poll = 20 * time.Millisecond
	refusals := make(chan struct{}, 100)
	allow := make(chan struct{})
	s.w.open = func() (source, error) {
		select {
		case <-allow:
			return openSystem()
		case refusals <- struct{}{}:
		default:
		}
		return nil, fmt.Errorf("inotify: %w", syscall.EMFILE)
	}
	s.run(t)
	if l := limitOf(t, s); l == nil || !strings.Contains(l.Hint, "max_user_instances") {
		t.Fatalf("%+v", l)
	}
	if err := s.set(".:x.yaml"); err != nil {
		t.Fatal(err)
	}
	write(t, s, "x.yaml", "2")
	told(t, s, "changed:x.yaml")
	close(allow)
	if l := limitOf(t, s); l != nil {
		t.Fatalf("%+v", l)
	}
	write(t, s, "x.yaml", "3")
	told(t, s, "changed:x.yaml")
}

func TestAfterLostEventsEverythingIsLookedAt(t *testing.T) {
	s := begin(t, t.TempDir())
	write(t, s, "a/x.yaml", "1")
	write(t, s, "b/deep/er/y.go", "package y")
	lossy := &stingy{room: 1000}
	s.w.open = func() (source, error) {
		real, err := openSystem()
		lossy.source = real
		return lossy, err
	}
	s.run(t)
	if err := s.set("a:x.yaml", "b:**/*.go"); err != nil {
		t.Fatal(err)
	}
	if err := s.still(); err != nil {
		t.Fatal(err)
	}
	lossy.set(1000, true)
	write(t, s, "a/x.yaml", "2")
	write(t, s, "b/deep/er/y.go", "package z")
	told(t, s, "changed:a/x.yaml changed:b/deep/er/y.go")
}

func TestSetAndRunTellWhenTheyCantWork(t *testing.T) {
	s := begin(t, filepath.Join(t.TempDir(), "gone"))
	if err := s.w.Run(t.Context()); err == nil {
		t.Error("a root that is not there was watched")
	}
	if err := s.set("a:x"); err == nil {
		t.Error("targets were taken after the end")
	}
	s = begin(t, t.TempDir())
	s.run(t)
	if err := s.set("..:x"); err == nil {
		t.Error("a target outside the root was taken")
	}
}
