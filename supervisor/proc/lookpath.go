package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// errRelativePath says that the only match lies in a PATH entry that depends
// on the working directory: a repository could put any program there.
var errRelativePath = errors.New("it is only found through a relative entry of PATH, which is not used")

// LookPath finds the file that argv[0] means, by the rules of the child: its
// own PATH, and its own directory for a name with a slash. The working
// directory of this process plays no part. Errors are of type *StartError.
func LookPath(name, dir string, env []string) (string, error) {
	if name == "" {
		return "", &StartError{Kind: NotFound, Path: `""`, Err: errors.New("the command is empty")}
	}
	if strings.ContainsRune(name, '/') || (runtime.GOOS == "windows" && strings.ContainsRune(name, '\\')) {
		path := name
		if !filepath.IsAbs(path) {
			if !filepath.IsAbs(dir) {
				return "", &StartError{Kind: BadDir, Path: dir, Err: errors.New("the directory is not absolute")}
			}
			path = filepath.Join(dir, path)
		}
		found, err := runnable(path, env)
		if err != nil {
			return "", fileError(path, err)
		}
		return found, nil
	}

	path, set := lookupEnv(env, "PATH")
	if !set || path == "" {
		return "", &StartError{Kind: NotFound, Path: name, Err: errors.New("the environment has no PATH to look in")}
	}
	var denied, relative *StartError
	for _, entry := range filepath.SplitList(path) {
		if !filepath.IsAbs(entry) {
			if relative == nil {
				if _, err := runnable(filepath.Join(dir, entry, name), env); err == nil {
					relative = &StartError{Kind: NotFound, Path: name, Err: errRelativePath}
				}
			}
			continue
		}
		candidate := filepath.Join(entry, name)
		found, err := runnable(candidate, env)
		if err == nil {
			return found, nil
		}
		if denied == nil && errors.Is(err, fs.ErrPermission) {
			if info, statErr := os.Stat(candidate); statErr == nil && !info.IsDir() {
				denied = &StartError{Kind: NotExecutable, Path: candidate, Err: err}
			}
		}
	}
	switch {
	case denied != nil:
		return "", denied
	case relative != nil:
		return "", relative
	}
	return "", &StartError{Kind: NotFound, Path: name, Err: errors.New("not found in PATH")}
}

// fileError sorts the error of one named file.
func fileError(path string, err error) *StartError {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return &StartError{Kind: NotExecutable, Path: path, Err: err}
	case errors.Is(err, fs.ErrNotExist), isNotDir(err):
		return &StartError{Kind: NotFound, Path: path, Err: errors.New("no such file")}
	}
	return &StartError{Kind: OtherFailure, Path: path, Err: err}
}

// lookupEnv returns the value that a child would see: of several, the last.
func lookupEnv(env []string, key string) (string, bool) {
	for i := len(env) - 1; i >= 0; i-- {
		k, v, ok := strings.Cut(env[i], "=")
		if ok && (k == key || runtime.GOOS == "windows" && strings.EqualFold(k, key)) {
			return v, true
		}
	}
	return "", false
}

// regular refuses what can't be a program whatever its mode.
func regular(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("it is a directory: %w", fs.ErrPermission)
	}
	return nil
}
