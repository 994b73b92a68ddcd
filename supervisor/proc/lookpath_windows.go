package proc

import (
	"io/fs"
	"path/filepath"
	"strings"
)

// runnable finds the file with one of the extensions that Windows runs.
func runnable(path string, env []string) (string, error) {
	exts := []string{".com", ".exe", ".bat", ".cmd"}
	if v, ok := lookupEnv(env, "PATHEXT"); ok && v != "" {
		exts = filepath.SplitList(strings.ToLower(v))
	}
	if ext := strings.ToLower(filepath.Ext(path)); ext != "" {
		for _, e := range exts {
			if e == ext {
				return path, regular(path)
			}
		}
	}
	for _, e := range exts {
		if regular(path+e) == nil {
			return path + e, nil
		}
	}
	return "", fs.ErrNotExist
}

func isNotDir(error) bool { return false }
