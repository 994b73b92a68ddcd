package watch

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

const (
	// mostHashed is the largest file whose content is compared: lockfiles have
	// up to some 10 MB. Of a larger one, size and time count.
	mostHashed = 16 << 20
	// racy is how old a file's time must be when it is read for the time to say
	// later that nothing was written since: kernels stamp files with the time of
	// their last tick.
	racy = 50 * time.Millisecond
	// mostDirs bounds the directories of all trees together.
	mostDirs = 50_000
)

// sig is what is known of one file.
type sig struct {
	size  int64
	time  time.Time
	id    identity
	racy  bool // written at about the time it was read
	hash  [sha256.Size]byte
	large bool // not hashed
}

// files is what is known of the targets, and which of it is in doubt.
type files struct {
	root    string
	flat    map[string]sig            // of names and of patterns in one directory, by path
	deep    map[string]map[string]sig // of trees: by directory, by name
	ignores map[string][]gitignore.Pattern

	all      bool            // everything is in doubt
	doubts   map[string]bool // directories to look at
	previous *plan           // of the last rebase or look
}

func newFiles(root string) files {
	return files{root: root, flat: map[string]sig{}, deep: map[string]map[string]sig{}, ignores: map[string][]gitignore.Pattern{}, doubts: map[string]bool{}}
}

func (f *files) doubt(dir string) { f.doubts[dir] = true }

func (f *files) doubtAll() { f.all = true }

// rebase takes what targets are now for what they were, but for those that were
// targets before: what has happened to them is still to be told.
func (f *files) rebase(p *plan) {
	old := *f
	*f = newFiles(f.root)
	f.readFlat(p)
	for _, t := range p.trees {
		f.readTree(p, t.dir)
	}
	if old.previous != nil {
		was := func(name string) bool { return old.previous.matches(name) }
		keep(f.flat, old.flat, was)
		for dir, names := range f.deep {
			keep(names, old.deep[dir], func(name string) bool { return was(path.Join(dir, name)) })
		}
		for name, s := range old.flat {
			if p.matches(name) {
				f.flat[name] = s
			}
		}
		for dir, names := range old.deep {
			for name, s := range names {
				if f.deep[dir] != nil && p.inTree(path.Join(dir, name)) {
					f.deep[dir][name] = s
				}
			}
		}
		f.all, f.doubts = old.all, old.doubts
	}
	f.previous = p
}

// keep puts what was known before in the place of what is now.
func keep(now, before map[string]sig, was func(string) bool) {
	for name := range now {
		if !was(name) {
			continue
		}
		if s, known := before[name]; known {
			now[name] = s
		} else {
			delete(now, name) // it has come since
		}
	}
}

// look compares what is in doubt with what is known, and returns what differs.
func (f *files) look(p *plan) []Change {
	var changes []Change
	flat := f.flat
	f.flat = map[string]sig{}
	for name, s := range flat {
		f.flat[name] = s
	}
	f.readFlat(p)
	diff(flat, f.flat, "", &changes)

	dirs := f.doubts
	all := f.all
	f.all, f.doubts = false, map[string]bool{}
	for _, t := range p.trees {
		above := func(dir string) bool { return dir == "." || dir == t.dir || strings.HasPrefix(t.dir, dir+"/") }
		if all || slices.ContainsFunc(sortedKeys(dirs), above) {
			f.again(p, t.dir, &changes)
			continue
		}
		for _, dir := range sortedKeys(dirs) {
			if _, in := t.inside(dir + "/"); in {
				f.again(p, dir, &changes)
			}
		}
	}
	f.previous = p
	slices.SortFunc(changes, func(a, b Change) int { return cmp.Compare(a.Path, b.Path) })
	return slices.CompactFunc(changes, func(a, b Change) bool { return a.Path == b.Path })
}

// diff tells what is in after and was not in before, is no longer, or differs.
func diff(before, after map[string]sig, dir string, changes *[]Change) {
	for name, s := range after {
		old, was := before[name]
		switch {
		case !was:
			*changes = append(*changes, Change{path.Join(dir, name), Created, "", s.content()})
		case !s.same(old):
			*changes = append(*changes, Change{path.Join(dir, name), Changed, old.content(), s.content()})
		}
	}
	for name, s := range before {
		if _, is := after[name]; !is {
			*changes = append(*changes, Change{path.Join(dir, name), Removed, s.content(), ""})
		}
	}
}

// content names what is in a file: two with the same name are the same.
func (s sig) content() string {
	if s.large {
		return fmt.Sprintf("%d bytes of %v", s.size, s.time)
	}
	return hex.EncodeToString(s.hash[:])
}

func (s sig) same(old sig) bool {
	if s.large || old.large {
		return s.large == old.large && s.size == old.size && s.time.Equal(old.time)
	}
	return s.hash == old.hash
}

// readFlat reads the named files, and those of a directory that match a
// pattern, into f.flat.
func (f *files) readFlat(p *plan) {
	before := f.flat
	f.flat = map[string]sig{}
	read := func(name string) {
		if s, ok := f.read(name, before[name]); ok {
			f.flat[name] = s
		}
	}
	for name := range p.names {
		read(name)
	}
	for dir, globs := range p.shallow {
		entries, err := os.ReadDir(f.absolute(dir))
		if err != nil {
			continue // it is not there
		}
		for _, e := range entries {
			if !junk(e.Name()) && slices.ContainsFunc(globs, func(g glob) bool { return match(g.pattern, e.Name()) }) {
				read(path.Join(dir, e.Name()))
			}
		}
	}
}

// again reads one directory of a tree anew, with what has come below it, and
// forgets what has gone.
func (f *files) again(p *plan, dir string, changes *[]Change) {
	before := map[string]map[string]sig{}
	for d, names := range f.deep {
		if d == dir || strings.HasPrefix(d, dir+"/") || dir == "." {
			before[d] = names
		}
	}
	for d := range before {
		delete(f.deep, d)
	}
	f.readTreeWith(p, dir, before)
	for d, names := range before {
		diff(names, f.deep[d], d, changes)
	}
	for d, names := range f.deep {
		if _, known := before[d]; !known && (d == dir || strings.HasPrefix(d, dir+"/") || dir == ".") {
			diff(nil, names, d, changes)
		}
	}
}

func (f *files) readTree(p *plan, dir string) { f.readTreeWith(p, dir, nil) }

// readTreeWith reads a directory and those below it that are not ignored.
// Links to directories are not followed: a link up would have no end.
func (f *files) readTreeWith(p *plan, dir string, before map[string]map[string]sig) {
	todo := []string{dir}
	for len(todo) > 0 {
		dir := todo[0]
		todo = todo[1:]
		if _, done := f.deep[dir]; done || len(f.deep) >= mostDirs {
			continue
		}
		entries, err := os.ReadDir(f.absolute(dir))
		if err != nil {
			continue
		}
		f.ignores[dir] = f.readIgnore(dir)
		ignored := gitignore.NewMatcher(f.ignoresOf(dir))
		names := map[string]sig{}
		f.deep[dir] = names
		for _, e := range entries {
			full := path.Join(dir, e.Name())
			if e.Name() == ".git" || ignored.Match(strings.Split(full, "/"), e.IsDir()) {
				continue
			}
			if e.IsDir() {
				if p.reaches(full) {
					todo = append(todo, full)
				}
				continue
			}
			if junk(e.Name()) || !p.inTree(full) {
				continue
			}
			if s, ok := f.read(full, before[dir][e.Name()]); ok {
				names[e.Name()] = s
			}
		}
	}
}

// reaches reports whether a file below a directory can match the pattern of a
// tree.
func (p *plan) reaches(dir string) bool {
	return slices.ContainsFunc(p.trees, func(t tree) bool {
		below, is := t.inside(dir)
		return is && !t.tooDeep(below+"/x")
	})
}

// mostIgnore bounds what is read of a .gitignore.
const mostIgnore = 1 << 20

func (f *files) readIgnore(dir string) []gitignore.Pattern {
	file, err := openRegular(f.absolute(path.Join(dir, ".gitignore")))
	if err != nil {
		return nil
	}
	defer file.Close() //nolint:errcheck // only read from
	text, err := io.ReadAll(io.LimitReader(file, mostIgnore))
	if err != nil {
		return nil
	}
	var domain []string
	if dir != "." {
		domain = strings.Split(dir, "/")
	}
	var out []gitignore.Pattern
	for line := range bytes.Lines(text) {
		l := strings.TrimRight(string(line), "\r\n")
		if l != "" && !strings.HasPrefix(l, "#") {
			out = append(out, gitignore.ParsePattern(l, domain))
		}
	}
	return out
}

// ignoresOf are the patterns that hold in a directory, those of its parents
// first.
func (f *files) ignoresOf(dir string) []gitignore.Pattern {
	var chain []string
	for d := dir; ; d = path.Dir(d) {
		chain = append(chain, d)
		if d == "." {
			break
		}
	}
	var out []gitignore.Pattern
	for _, d := range slices.Backward(chain) {
		if _, read := f.ignores[d]; !read {
			f.ignores[d] = f.readIgnore(d)
		}
		out = append(out, f.ignores[d]...)
	}
	return out
}

// read looks at one file. Only a regular one counts; before is what was known
// of it, which saves the reading where nothing was written since.
func (f *files) read(name string, before sig) (sig, bool) {
	file, err := openRegular(f.absolute(name))
	if err != nil {
		return sig{}, false
	}
	defer file.Close() //nolint:errcheck // only read from
	info, err := file.Stat()
	if err != nil {
		return sig{}, false
	}
	s := sig{size: info.Size(), time: info.ModTime(), id: identityOf(info), large: info.Size() > mostHashed}
	if s.large {
		return s, true
	}
	if s.size == before.size && s.time.Equal(before.time) && s.id == before.id && !before.racy && !before.large && before.id != (identity{}) {
		return before, true
	}
	s.racy = time.Since(s.time) < racy
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(file, mostHashed)); err != nil {
		return sig{}, false
	}
	h.Sum(s.hash[:0])
	return s, true
}

// openRegular opens a regular file, and never waits for the other end of a pipe.
func openRegular(name string) (*os.File, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fs.ErrInvalid
	}
	return os.OpenFile(name, os.O_RDONLY|nonBlock, 0)
}

// eachTree names every directory of every tree.
func (f *files) eachTree(p *plan, see func(dir string)) {
	if len(p.trees) == 0 {
		return
	}
	for dir := range f.deep {
		see(dir)
	}
}

func (f *files) absolute(rel string) string { return filepath.Join(f.root, filepath.FromSlash(rel)) }

// junk are names that editors use for a moment beside the file that is saved. A
// pattern such as .env* does not mean them.
func junk(name string) bool {
	switch {
	case name == "4913", strings.HasSuffix(name, "~"), strings.HasPrefix(name, ".#"),
		strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#"),
		strings.HasPrefix(name, ".tmp"), strings.HasSuffix(name, ".tmp"),
		strings.HasPrefix(name, "sed") && len(name) == 9 && !strings.Contains(name, "."):
		return true
	}
	ext := path.Ext(name)
	return len(ext) == 4 && strings.HasPrefix(ext, ".sw")
}

func sortedKeys(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
