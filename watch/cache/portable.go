package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// portable is the tree of systems other than Linux: os.Root keeps every path
// below the root, whatever is exchanged, and each folder on the way is opened
// by its own name and compared with what was looked at. It refuses the same
// targets. What is weaker than on Linux:
//
//   - A rename takes paths here, not descriptors. If a folder on the way is
//     exchanged for a link to elsewhere inside the root at that very moment,
//     something else is moved. It has not the identity of what was looked at,
//     so it is never deleted; but it may stay in the trash, which the refusal
//     says, if its place can't be reached again.
//   - A file system mounted below a target is recognised by its device number
//     when the trash is emptied, so the target is moved and then kept. A mount
//     of the same device is not recognised.
//   - Windows shows neither owner nor device, and an entry of the trash is
//     known by its random name only.
//   - A folder of the trash is removed child by child, and each child at once:
//     Close waits for it. Names that are not UTF-8 can't be removed.
type portable struct {
	root *os.Root
	dev  uint64
}

func openPortable(root string) (tree, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	info, err := r.Lstat(".")
	if err != nil {
		r.Close()
		return nil, err
	}
	dev, _, _ := identify(info)
	return &portable{root: r, dev: dev}, nil
}

func (p *portable) close() { p.root.Close() }

func (p *portable) free() (int64, error) { return freeBytes(p.root.Name()) }

// step opens a folder by its own name, and nothing that is exchanged for it.
func (p *portable) step(in *os.Root, name string) (*os.Root, fs.FileInfo, error) {
	info, err := in.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if !info.IsDir() {
		return nil, nil, refusal("a part of its path is a link or a file, where a folder should be")
	}
	if dev, _, _ := identify(info); dev != p.dev {
		return nil, nil, refusal("another file system is mounted on the way to it")
	}
	next, err := in.OpenRoot(name)
	if err != nil {
		return nil, nil, err
	}
	if now, err := next.Stat("."); err != nil || !os.SameFile(now, info) {
		next.Close()
		return nil, nil, refusal("its path keeps changing while it is looked at")
	}
	return next, info, nil
}

// folder opens a folder below the root, step by step.
func (p *portable) folder(whole string) (*os.Root, error) {
	at, err := p.root.OpenRoot(".")
	if err != nil || whole == "." {
		return at, err
	}
	for part := range strings.SplitSeq(whole, "/") {
		next, _, err := p.step(at, part)
		at.Close()
		if err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

// seen is a target that was looked at, in a folder that is held.
type seen struct {
	p      *portable
	path   string // below the root
	parent *os.Root
	name   string // in parent
	info   fs.FileInfo
	repo   bool
}

func (p *portable) find(whole string) (found, error) {
	parent, err := p.folder(path.Dir(whole))
	if err != nil {
		return nil, err
	}
	s := &seen{p: p, path: whole, parent: parent, name: path.Base(whole)}
	if s.info, err = parent.Lstat(s.name); err == nil && s.info.IsDir() {
		s.repo, err = s.holdsGit()
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *seen) holdsGit() (bool, error) {
	_, err := s.parent.Lstat(path.Join(s.name, ".git"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return false, nil
	}
	return err == nil, err
}

func (s *seen) facts() facts {
	dev, _, owner := identify(s.info)
	f := facts{owner: owner, elsewhere: dev != s.p.dev, repo: s.repo}
	switch mode := s.info.Mode(); {
	case mode.IsDir():
		f.kind = folder
	case mode.IsRegular():
		f.kind = file
	case mode&(fs.ModeSymlink|fs.ModeIrregular) != 0: // irregular: a junction of Windows
		f.kind = link
	}
	return f
}

func (s *seen) close() { s.parent.Close() }

func (s *seen) count(ctx context.Context) (tally, error) {
	return s.p.measure(ctx, s.parent, s.name, false)
}

func (s *seen) move(ctx context.Context) (string, tally, error) {
	trash, err := s.p.trash(true)
	if errors.Is(err, syscall.ENOSPC) {
		return s.inPlace(ctx)
	}
	if err != nil {
		return "", tally{}, err
	}
	defer trash.Close()
	_, inode, _ := identify(s.info)
	name := newTrash(inode)
	to := path.Join(homeName, trashName, name)
	if err := s.openUp(); err != nil {
		return "", tally{}, err
	}
	err = s.p.root.Rename(s.path, to)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EXDEV):
		return s.inPlace(ctx)
	case err != nil:
		return "", tally{}, err
	}
	if now, err := trash.Lstat(name); err == nil && os.SameFile(now, s.info) {
		return name, tally{}, nil
	}
	return "", tally{}, s.putBack(to)
}

// openUp makes a folder movable that its owner may not write to: moving it
// changes its "..". What could not be seen in it before is looked at now.
func (s *seen) openUp() error {
	if !s.info.IsDir() || s.info.Mode().Perm()&0o700 == 0o700 {
		return nil
	}
	if err := s.parent.Chmod(s.name, 0o700); err != nil {
		return err
	}
	var err error
	if s.repo, err = s.holdsGit(); err != nil {
		return err
	}
	return judge(s.facts(), os.Geteuid())
}

// putBack undoes a move of something else than what was looked at.
func (s *seen) putBack(from string) error {
	_, err := s.p.root.Lstat(s.path)
	if err == nil {
		err = fs.ErrExist
	} else if errors.Is(err, fs.ErrNotExist) {
		err = s.p.root.Rename(from, s.path)
	}
	if err != nil {
		return refusal(fmt.Sprintf("something else took its place while it was moved, and lies unharmed in %s: %s", from, plainError(err)))
	}
	return refusal("something else took its place while it was moved, and was put back")
}

func (s *seen) inPlace(ctx context.Context) (string, tally, error) {
	if now, err := s.parent.Lstat(s.name); err != nil || !os.SameFile(now, s.info) {
		return "", tally{}, errors.Join(err, errMoved)
	}
	t, err := s.p.removeTree(ctx, s.parent, s.name)
	if err != nil {
		return "", t, refusal("it can't be moved away, and not all of it could be removed where it is: " + plainError(err))
	}
	return "", t, nil
}

// trash opens the folder where things lie until they are removed.
func (p *portable) trash(create bool) (*os.Root, error) {
	home, err := p.own(p.root, homeName, create)
	if err != nil {
		return nil, err
	}
	defer home.Close()
	if create {
		ignoreIn(home)
	}
	return p.own(home, trashName, create)
}

// own opens a folder that is devside's, and nobody else's to look into.
func (p *portable) own(in *os.Root, name string, create bool) (*os.Root, error) {
	if create {
		if err := in.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	dir, info, err := p.step(in, name)
	if why := refusal(""); errors.As(err, &why) {
		return nil, refusal(fmt.Sprintf("a link, a file or a mount is where devside's own folder %s should be; remove it", name))
	}
	if err != nil {
		return nil, err
	}
	_, _, owner := identify(info)
	switch uid := os.Geteuid(); {
	case owner >= 0 && uid > 0 && owner != uid:
		err = refusal(fmt.Sprintf("devside's own folder %s belongs to another user (uid %d)", name, owner))
	case owner >= 0 && info.Mode().Perm() != 0o700:
		err = dir.Chmod(".", 0o700)
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// ignoreIn does what ignoreForGit does.
func ignoreIn(home *os.Root) {
	f, err := home.OpenFile(".gitignore", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return
	}
	_, err = f.WriteString(ignoreAll)
	if errors.Join(err, f.Close()) != nil {
		_ = home.Remove(".gitignore")
	}
}

func (p *portable) leftovers() ([]string, error) {
	trash, err := p.trash(false)
	if err != nil {
		return nil, err
	}
	defer trash.Close()
	entries, err := fs.ReadDir(trash.FS(), ".")
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (p *portable) discard(ctx context.Context, name string) (tally, error) {
	trash, err := p.trash(false)
	if err != nil {
		return tally{}, err
	}
	defer trash.Close()
	info, err := trash.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return tally{}, nil
	case err != nil:
		return tally{}, err
	}
	if _, inode, _ := identify(info); inode != inodeOf(name) {
		return tally{}, errMoved
	}
	mounts, err := mountPoints()
	if err != nil || mounted(mounts, p.root.Name(), filepath.Join(p.root.Name(), homeName, trashName, name)) {
		return tally{}, errors.Join(err, errMounted)
	}
	return p.removeTree(ctx, trash, name)
}

// removeTree measures a tree and removes it. os.Root follows no link below the
// name it is given.
func (p *portable) removeTree(ctx context.Context, in *os.Root, name string) (tally, error) {
	t, err := p.measure(ctx, in, name, true)
	if err != nil {
		return tally{}, err
	}
	info, err := in.Lstat(name)
	if err != nil {
		return tally{}, err
	}
	if !info.IsDir() {
		return t, in.Remove(name)
	}
	dir, _, err := p.step(in, name)
	if err != nil {
		return tally{}, err
	}
	defer dir.Close()
	entries, err := fs.ReadDir(dir.FS(), ".")
	for _, e := range entries {
		if ctx.Err() != nil {
			return tally{}, errLeft
		}
		err = errors.Join(err, dir.RemoveAll(e.Name()))
	}
	return t, errors.Join(err, in.Remove(name))
}

// measure counts a tree, and fails where another file system begins. For a
// removal it gives the owner the rights that it takes.
func (p *portable) measure(ctx context.Context, in *os.Root, at string, open bool) (t tally, err error) {
	err = fs.WalkDir(in.FS(), at, func(name string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return errLeft
		}
		var info fs.FileInfo
		if err == nil {
			info, err = d.Info()
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if dev, _, _ := identify(info); dev != p.dev {
			return errMounted
		}
		switch mode := info.Mode(); {
		case mode.IsDir() && open && mode.Perm()&0o700 != 0o700:
			return in.Chmod(name, mode.Perm()|0o700)
		case mode.IsDir():
		case mode.IsRegular():
			t.bytes += info.Size()
			t.files++
		default:
			t.files++
		}
		return nil
	})
	return t, err
}

var (
	errMounted = errors.New("a file system is mounted on it or below it")
	errMoved   = errors.New("it was moved or exchanged meanwhile")
	errLeft    = errors.New("it was left before its end")
)
