package watch

import (
	"errors"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// news is what the system has said since the last look.
type news struct {
	paths map[string]bool // absolute, where something happened
	lost  bool            // the system has thrown events away
	err   error
}

// mostPaths bounds what a flood of events keeps in memory; beyond it everything
// is looked at anyway.
const mostPaths = 4096

// system is the operating system's watcher. Its goroutine does nothing but
// empty the queue, so that the kernel need not throw anything away.
type system struct {
	fs     *fsnotify.Watcher
	token  chan struct{}
	joined sync.WaitGroup

	mu      sync.Mutex
	pending news
}

func openSystem() (source, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	s := &system{fs: w, token: make(chan struct{}, 1)}
	s.joined.Go(s.drain)
	return s, nil
}

func (s *system) drain() {
	for {
		select {
		case e, open := <-s.fs.Events:
			if !open {
				return
			}
			if e.Op == fsnotify.Chmod {
				continue // also a touch
			}
			s.put(e.Name, nil)
		case err, open := <-s.fs.Errors:
			if !open {
				return
			}
			s.put("", err)
		}
	}
}

func (s *system) put(path string, err error) {
	s.mu.Lock()
	switch {
	case err != nil:
		s.pending.lost = s.pending.lost || errors.Is(err, fsnotify.ErrEventOverflow)
		s.pending.err = err
	case len(s.pending.paths) >= mostPaths:
		s.pending.lost = true
	default:
		if s.pending.paths == nil {
			s.pending.paths = map[string]bool{}
		}
		s.pending.paths[path] = true
	}
	s.mu.Unlock()
	select {
	case s.token <- struct{}{}:
	default:
	}
}

func (s *system) wake() <-chan struct{} { return s.token }

func (s *system) take() news {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.pending
	s.pending = news{}
	return n
}

func (s *system) add(dir string) error { return s.fs.Add(dir) }

// remove forgets a directory. One that has gone is forgotten already.
func (s *system) remove(dir string) { _ = s.fs.Remove(dir) }

func (s *system) close() {
	_ = s.fs.Close()
	s.joined.Wait()
}

// deaf is the source where the system has no watcher for us.
type deaf struct{}

func (deaf) add(string) error      { return nil }
func (deaf) remove(string)         {}
func (deaf) wake() <-chan struct{} { return nil }
func (deaf) take() news            { return news{} }
func (deaf) close()                {}
