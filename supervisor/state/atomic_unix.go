//go:build unix

package state

import (
	"path/filepath"

	"github.com/google/renameio/v2"
)

// replaceFile writes data to a new file beside path and renames it over: a
// reader sees the old or the new content, and a planted link is replaced
// instead of followed.
func replaceFile(path string, data []byte) error {
	return renameio.WriteFile(path, data, 0o600,
		renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o600))
}
