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
// below the root, whatever is exchanged, and each part is looked at before it
// is used. It refuses the same targets. What is weaker than on Linux:
//
//   - A folder on the way that is exchanged for a link to elsewhere inside the
//     root, just after it was looked at, is followed (os.Root follows links
//     that stay inside). What was moved is compared with what was seen, so it
//     is never deleted; but it may stay in the trash, which the refusal says,
//     if its place can't be reached again.
//   - A file system mounted below a target is recognised by its device number
//     when the trash is emptied, so the target is moved and then kept. A mount
//     of the same device is not recognised.
//   - Windows shows neither owner nor device, and an entry of the trash is
//     known by its random name only.
//   - A folder of the trash is removed child by child, and each child at once:
//     Close waits for it.
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

// seen is a target that was looked at.
type seen struct {
	p    *portable
	path string
	info fs.FileInfo
	repo bool
}

func (p *portable) find(whole string) (found, error) {
	info, err := p.look(whole)
	if err != nil {
		return nil, err
	}
	s := &seen{p: p, path: whole, info: info}
	if info.IsDir() {
		_, err := p.root.Lstat(path.Join(whole, ".git"))
		if s.repo = err == nil; err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
	}
	return s, nil
}

// look walks a path part by part and gives what Lstat says of the last.
func (p *portable) look(whole string) (fs.FileInfo, error) {
	parts := strings.Split(whole, "/")
	for i := 1; ; i++ {
		info, err := p.root.Lstat(path.Join(parts[:i]...))
		if err != nil {
			return nil, err
		}
		if i == len(parts) {
			return info, nil
		}
		if !info.IsDir() {
			return nil, refusal("a part of its path is a link or a file, where a folder should be")
		}
		if dev, _, _ := identify(info); dev != p.dev {
			return nil, refusal("another file system is mounted on the way to it")
		}
	}
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

func (s *seen) close() {}

func (s *seen) count(ctx context.Context) (tally, error) { return s.p.measure(ctx, s.path, false) }

func (s *seen) move(ctx context.Context) (string, tally, error) {
	err := s.p.makeTrash()
	if errors.Is(err, syscall.ENOSPC) {
		return s.inPlace(ctx)
	}
	if err != nil {
		return "", tally{}, err
	}
	_, inode, _ := identify(s.info)
	name := newTrash(inode)
	to := inTrash(name)
	err = s.p.root.Rename(s.path, to)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EXDEV):
		return s.inPlace(ctx)
	case err != nil:
		return "", tally{}, err
	}
	if now, err := s.p.root.Lstat(to); err == nil && os.SameFile(now, s.info) {
		return name, tally{}, nil
	}
	return "", tally{}, s.putBack(to)
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
	t, err := s.p.removeTree(ctx, s.path)
	if err != nil {
		return "", t, refusal("it can't be moved away, and not all of it could be removed where it is: " + err.Error())
	}
	return "", t, nil
}

func inTrash(name string) string { return path.Join(homeName, trashName, name) }

func (p *portable) makeTrash() error {
	for _, dir := range []string{homeName, path.Join(homeName, trashName)} {
		if err := p.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := p.checkOwn(dir); err != nil {
			return err
		}
	}
	if f, err := p.root.OpenFile(path.Join(homeName, ".gitignore"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		_, err = f.WriteString(ignoreAll)
		if err = errors.Join(err, f.Close()); err != nil {
			_ = p.root.Remove(path.Join(homeName, ".gitignore"))
		}
	}
	return nil
}

// checkOwn makes sure that a folder is devside's, and nobody else's to look
// into.
func (p *portable) checkOwn(dir string) error {
	info, err := p.root.Lstat(dir)
	if err != nil {
		return err
	}
	dev, _, owner := identify(info)
	switch uid := os.Geteuid(); {
	case !info.IsDir():
		return refusal(fmt.Sprintf("a link or a file is where devside's own folder %s should be; remove it", dir))
	case owner >= 0 && uid > 0 && owner != uid:
		return refusal(fmt.Sprintf("devside's own folder %s belongs to another user (uid %d)", dir, owner))
	case dev != p.dev:
		return refusal(fmt.Sprintf("devside's own folder %s is on another file system", dir))
	case owner >= 0 && info.Mode().Perm() != 0o700:
		return p.root.Chmod(dir, 0o700)
	}
	return nil
}

// checkTrash looks at both folders again, before anything in them is touched.
func (p *portable) checkTrash() error {
	return errors.Join(p.checkOwn(homeName), p.checkOwn(path.Join(homeName, trashName)))
}

func (p *portable) leftovers() ([]string, error) {
	if err := p.checkTrash(); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(p.root.FS(), path.Join(homeName, trashName))
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (p *portable) discard(ctx context.Context, name string) (tally, error) {
	if err := p.checkTrash(); err != nil {
		return tally{}, err
	}
	at := inTrash(name)
	info, err := p.root.Lstat(at)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return tally{}, nil
	case err != nil:
		return tally{}, err
	}
	if _, inode, _ := identify(info); inode != inodeOf(name) {
		return tally{}, errMoved
	}
	return p.removeTree(ctx, at)
}

// removeTree measures a tree and removes it.
func (p *portable) removeTree(ctx context.Context, at string) (tally, error) {
	mounts, err := mountPoints()
	if err != nil || mounted(mounts, p.root.Name(), filepath.Join(p.root.Name(), filepath.FromSlash(at))) {
		return tally{}, errors.Join(err, errMounted)
	}
	t, err := p.measure(ctx, at, true)
	if err != nil {
		return tally{}, err
	}
	info, err := p.root.Lstat(at)
	if err != nil {
		return tally{}, err
	}
	if !info.IsDir() {
		return t, p.root.Remove(at)
	}
	entries, err := fs.ReadDir(p.root.FS(), at)
	for _, e := range entries {
		if ctx.Err() != nil {
			return tally{}, errLeft
		}
		err = errors.Join(err, p.root.RemoveAll(path.Join(at, e.Name())))
	}
	return t, errors.Join(err, p.root.Remove(at))
}

// measure counts a tree, and fails where another file system begins. For a
// removal it gives the owner the rights that it takes.
func (p *portable) measure(ctx context.Context, at string, open bool) (t tally, err error) {
	err = fs.WalkDir(p.root.FS(), at, func(name string, d fs.DirEntry, err error) error {
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
			return p.root.Chmod(name, mode.Perm()|0o700)
		case mode.IsDir():
		case mode.IsRegular():
			t.bytes += info.Size()
			fallthrough
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
