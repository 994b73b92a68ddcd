package watch

import (
	"io/fs"
	"os"
)

const nonBlock = 0

// identity names a directory by its path alone: the system holds a watched
// directory open, so that it can't be replaced unseen.
type identity struct{ path string }

func identify(path string) (identity, bool) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return identity{}, false
	}
	return identity{path}, true
}

func identityOf(info fs.FileInfo) identity { return identity{info.Name()} }

func limitHint(error) string { return "" }
