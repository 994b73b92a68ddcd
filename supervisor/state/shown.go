package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/devside/devside/supervisor/proc"
)

// Shown keeps, for one editor, which files it shows diagnostics of. A session
// that dies leaves them on its editor's screen, where the next session of the
// same editor process takes back those that it does not know any more.
type Shown struct {
	paths Paths
	pid   int // of the editor
}

// NewShown returns what is kept for an editor process. Nothing is kept where it
// has said no pid.
func NewShown(p Paths, editor int) Shown { return Shown{p, editor} }

const (
	shownPrefix = "shown-"
	// mostShown bounds the list: nobody looks at more files with problems.
	mostShown = 1000
)

func (s Shown) file() string {
	return filepath.Join(s.paths.Logs, shownPrefix+strconv.Itoa(s.pid)+".json")
}

// Load returns the URIs that were kept last. What editors that have ended left
// is removed.
func (s Shown) Load() ([]string, error) {
	if s.pid <= 0 {
		return nil, nil
	}
	s.sweep()
	text, err := readBounded(s.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what the editor shows: %w", err)
	}
	var uris []string
	if err := json.Unmarshal(text, &uris); err != nil {
		return nil, errors.Join(fmt.Errorf("read what the editor shows: %w", err), os.Remove(s.file()))
	}
	return uris[:min(len(uris), mostShown)], nil
}

// Save keeps the URIs; without any, nothing is kept.
func (s Shown) Save(uris []string) error {
	if s.pid <= 0 {
		return nil
	}
	if len(uris) == 0 {
		if err := os.Remove(s.file()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget what the editor shows: %w", err)
		}
		return nil
	}
	text, err := json.Marshal(uris[:min(len(uris), mostShown)])
	if err == nil {
		err = s.paths.Make()
	}
	if err == nil {
		err = replaceFile(s.file(), text)
	}
	if err != nil {
		return fmt.Errorf("keep what the editor shows: %w", err)
	}
	return nil
}

// sweep removes the lists of editors that have ended.
func (s Shown) sweep() {
	names, err := filepath.Glob(filepath.Join(s.paths.Logs, shownPrefix+"*.json"))
	if err != nil { // the pattern is ours
		return
	}
	for _, name := range names {
		text := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(name), shownPrefix), ".json")
		pid, err := strconv.Atoi(text)
		if err != nil || pid == s.pid {
			continue
		}
		if _, err := proc.Inspect(pid); errors.Is(err, proc.ErrGone) {
			os.Remove(name) //nolint:errcheck // somebody else was quicker
		}
	}
}
