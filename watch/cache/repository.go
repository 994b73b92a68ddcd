package cache

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

const (
	// largestIndex is the index of about two million files; one beyond it is
	// not read, and so nothing of its repository is removed.
	largestIndex = 256 << 20
	// largestLink bounds a .git file: "gitdir: " and a path.
	largestLink = 8 + longestPath + 2
	// mostVerdicts bounds what is remembered of one state of an index.
	mostVerdicts = 1000
)

// repositories knows which paths git tracks. It reads the index itself: git
// would run what the repository's configuration names (core.fsmonitor).
//
// What it can't know: a work tree whose repository lies elsewhere without a
// .git in it (core.worktree, GIT_DIR).
type repositories struct {
	mu    sync.Mutex
	known map[string]verdicts // by the path of the index
}

// verdicts are answers of one index in one state. git replaces an index by
// renaming a new file over it, so that each has an identity of its own.
type verdicts struct {
	index   fs.FileInfo
	tracked map[string]bool
}

// tracked refuses a path that git tracks, or below which it tracks anything.
// whole is absolute, and no part of it is a link.
func (r *repositories) tracked(whole string) error {
	top, index, err := findIndex(filepath.Dir(whole))
	if err != nil || index == "" {
		return err
	}
	below, err := filepath.Rel(top, whole)
	if err != nil {
		return refusal("its place in the git repository can't be told")
	}
	yes, err := r.ask(index, filepath.ToSlash(below))
	switch {
	case errors.Is(err, fs.ErrNotExist): // nothing was ever added
		return nil
	case err != nil:
		return refusal(fmt.Sprintf("it can't be told whether git tracks it: %s: %s", index, plainError(err)))
	case yes:
		return refusal("git tracks it, or something in it")
	}
	return nil
}

// findIndex finds the repository that a folder belongs to, as git does:
// the nearest .git of the folder or one above it, which may be far above the
// project. What is no repository is not passed over: it could hide the one
// above.
func findIndex(dir string) (top, index string, err error) {
	for {
		at := filepath.Join(dir, ".git")
		info, err := os.Lstat(at)
		switch {
		case err == nil:
			gitDir, err := gitDirectory(at, info)
			if err == nil {
				_, err = os.Lstat(filepath.Join(gitDir, "HEAD"))
			}
			if err != nil {
				return "", "", refusal(fmt.Sprintf("it can't be told whether git tracks it: %s is no repository that devside can read", at))
			}
			return dir, filepath.Join(gitDir, "index"), nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", "", refusal(fmt.Sprintf("it can't be told whether git tracks it: %s can't be read", at))
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", "", nil
		}
		dir = up
	}
}

// gitDirectory follows the .git file of a submodule or a further work tree.
func gitDirectory(at string, info fs.FileInfo) (string, error) {
	if info.IsDir() {
		return at, nil
	}
	f, info, err := openRegular(at)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info.Size() > largestLink {
		return "", errors.New("it is too large")
	}
	text, err := io.ReadAll(io.LimitReader(f, largestLink))
	if err != nil {
		return "", err
	}
	to, ok := bytes.CutPrefix(text, []byte("gitdir: "))
	dir := filepath.FromSlash(strings.TrimRight(string(to), "\r\n"))
	if !ok || dir == "" {
		return "", errors.New("it names no folder")
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(filepath.Dir(at), dir)
	}
	return dir, nil
}

// openRegular opens a regular file and nothing else: no link, and no pipe that
// would be waited for.
func openRegular(path string) (*os.File, fs.FileInfo, error) {
	before, err := os.Lstat(path)
	if err != nil {
		return nil, nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, nil, errors.New("it is no regular file")
	}
	f, err := os.OpenFile(path, os.O_RDONLY|openSafely, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// ask looks a path up in an index.
func (r *repositories) ask(index, below string) (bool, error) {
	f, info, err := openRegular(index)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if info.Size() > largestIndex {
		return false, fmt.Errorf("it is larger than %d MB", largestIndex>>20)
	}
	if yes, known := r.remembered(index, info, below); known {
		return yes, nil
	}
	yes, err := lookUp(f, info.Size(), below)
	if err == nil {
		r.remember(index, info, below, yes)
	}
	return yes, err
}

func lookUp(f io.ReadSeeker, size int64, below string) (yes bool, err error) {
	want := []byte(below)
	for _, newHash := range []func() hash.Hash{sha1.New, sha256.New} { // the two formats of a repository
		if _, err = f.Seek(0, io.SeekStart); err != nil {
			return false, err
		}
		yes = false
		err = scanIndex(f, size, newHash, func(name []byte) { yes = yes || atOrBelow(name, want) })
		if err == nil {
			return yes, nil
		}
	}
	return false, err
}

// atOrBelow compares without regard to letter case: on a file system that has
// none, Dist is dist.
func atOrBelow(name, path []byte) bool {
	if len(name) < len(path) || !bytes.EqualFold(name[:len(path)], path) {
		return false
	}
	return len(name) == len(path) || name[len(path)] == '/'
}

func (r *repositories) remembered(index string, now fs.FileInfo, below string) (yes, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.known[index]
	if v.index == nil || !sameState(v.index, now) {
		return false, false
	}
	yes, known = v.tracked[below]
	return yes, known
}

func (r *repositories) remember(index string, info fs.FileInfo, below string, yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.known[index]
	if v.index == nil || !sameState(v.index, info) || len(v.tracked) >= mostVerdicts {
		v = verdicts{index: info, tracked: map[string]bool{}}
	}
	if r.known == nil {
		r.known = map[string]verdicts{}
	}
	v.tracked[below] = yes
	r.known[index] = v
}

func sameState(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// plainError drops the operation and the paths of a file error: they were said.
func plainError(err error) string {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return p.Err.Error()
	case errors.As(err, &l):
		return l.Err.Error()
	}
	return err.Error()
}
