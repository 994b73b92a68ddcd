package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// RemoveHalfWritten removes the files that a hub was writing when it was
// killed: nobody reads them, and each kill would add one. Only for the holder
// of the project's lock, before it writes: another's could be in use.
func (s *Store) RemoveHalfWritten() {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		s.report(fmt.Errorf("look for half-written files: %w", err))
		return
	}
	for _, e := range entries {
		if !halfWritten(e.Name()) || !e.Type().IsRegular() {
			continue
		}
		if err := os.Remove(filepath.Join(s.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.report(fmt.Errorf("remove a half-written file: %w", err))
		}
	}
}

// halfWritten reports whether this is what replaceFile calls a file that is not
// whole yet: a dot, the name, and a number.
func halfWritten(name string) bool {
	for _, file := range []string{ledgerFile, snapshotFile, trustFile} {
		number, ok := strings.CutPrefix(name, "."+file)
		if ok && number != "" && strings.Trim(number, "0123456789") == "" {
			return true
		}
	}
	return false
}
