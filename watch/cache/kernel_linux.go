package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// confined lets the kernel walk a path: nothing above where it begins, no link
// in any part of it, no other mount.
const confined = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// mostTries bounds how often a walk is repeated that raced with a rename
// somewhere (the kernel then answers EAGAIN).
const mostTries = 50

// opener opens a path below a directory: confined, and never by a link.
type opener func(dir int, path string, flags int) (int, error)

// openIn is the opener of Linux 5.6 and later.
func openIn(dir int, path string, flags int) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_NOFOLLOW | unix.O_CLOEXEC), Resolve: confined}
	for try := 1; ; try++ {
		fd, err := unix.Openat2(dir, path, &how)
		if err == nil || try == mostTries || !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// openStepwise is the opener of kernels that have no openat2, or may not use
// it: it opens each folder on the way by its own name only. What it can't see
// is a mount of the same device (a bind mount), for which the list of mounts
// must do.
func openStepwise(dir int, path string, flags int) (int, error) {
	var first unix.Stat_t
	if err := unix.Fstat(dir, &first); err != nil {
		return -1, err
	}
	at := dir
	parts := strings.Split(path, "/")
	for i, part := range parts {
		how := holdFolder
		if i == len(parts)-1 {
			how = flags
		}
		fd, err := unix.Openat(at, part, how|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if at != dir {
			unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		if s, err := stat(fd); err != nil || s.Dev != first.Dev && kindOf(s.Mode) != link {
			unix.Close(fd)
			return -1, errors.Join(err, unix.EXDEV)
		}
		at = fd
	}
	return at, nil
}

const (
	holdFolder = unix.O_PATH | unix.O_DIRECTORY
	readFolder = unix.O_RDONLY | unix.O_DIRECTORY
)

// identity is what an entry is, whatever its name.
type identity struct{ dev, ino uint64 }

func identityOf(s *unix.Stat_t) identity { return identity{uint64(s.Dev), s.Ino} }

// stat is fstat, also of what is only held.
func stat(fd int) (s unix.Stat_t, err error) {
	err = unix.Fstat(fd, &s)
	return s, err
}

func kindOf(mode uint32) kind {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return folder
	case unix.S_IFREG:
		return file
	case unix.S_IFLNK:
		return link
	}
	return other
}

// kernel is a tree whose every path begins at a descriptor of the root.
type kernel struct {
	path string // for the list of mounts only
	root int
	dev  uint64
	open opener
}

// openTree is the tree of Linux.
func openTree(root string) (tree, error) { return openKernel(root, openIn) }

// openKernel uses the opener given, or the stepwise one where the kernel does
// not know openat2, or a container's filter forbids it.
func openKernel(root string, open opener) (tree, error) {
	fd, err := unix.Open(root, holdFolder|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	k := &kernel{path: root, root: fd, open: open}
	s, err := stat(fd)
	if err != nil {
		k.close()
		return nil, err
	}
	k.dev = uint64(s.Dev)
	probe, err := open(fd, ".", holdFolder)
	if err != nil {
		k.open = openStepwise
		return k, nil
	}
	unix.Close(probe)
	return k, nil
}

func (k *kernel) close() { unix.Close(k.root) }

func (k *kernel) free() (int64, error) {
	var s unix.Statfs_t
	if err := unix.Fstatfs(k.root, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// held is a target: its folder and itself are open, so that no name needs to
// be believed a second time.
type held struct {
	k      *kernel
	parent int
	fd     int
	name   string // in parent
	stat   unix.Stat_t
	repo   bool
}

func (k *kernel) find(whole string) (found, error) {
	parent, err := k.open(k.root, path.Dir(whole), holdFolder)
	if err != nil {
		return nil, onTheWay(err)
	}
	h := &held{k: k, parent: parent, fd: -1, name: path.Base(whole)}
	if h.fd, err = k.open(parent, h.name, unix.O_PATH); err == nil {
		h.stat, err = stat(h.fd)
	}
	if err == nil && kindOf(h.stat.Mode) == folder {
		h.repo, err = exists(h.fd, ".git")
	}
	if err != nil {
		h.close()
		return nil, onTheWay(err)
	}
	return h, nil
}

// onTheWay says why the kernel did not walk a path.
func onTheWay(err error) error {
	switch {
	case errors.Is(err, unix.ELOOP):
		return refusal("a part of its path is a link, and links are not followed")
	case errors.Is(err, unix.EXDEV):
		return refusal("another file system is mounted on it or on the way to it")
	case errors.Is(err, unix.ENOTDIR):
		return refusal("a part of its path is a link or a file, where a folder should be")
	case errors.Is(err, unix.EAGAIN):
		return refusal("its path keeps changing while it is looked at")
	}
	return err
}

func exists(dir int, name string) (bool, error) {
	var s unix.Stat_t
	err := unix.Fstatat(dir, name, &s, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case errors.Is(err, unix.EACCES): // a folder that may not be searched; so git can't either
		return false, nil
	}
	return err == nil, err
}

func (h *held) facts() facts {
	return facts{kind: kindOf(h.stat.Mode), owner: int(h.stat.Uid), elsewhere: uint64(h.stat.Dev) != h.k.dev, repo: h.repo}
}

func (h *held) close() {
	unix.Close(h.parent)
	if h.fd >= 0 {
		unix.Close(h.fd)
	}
}

func (h *held) count(ctx context.Context) (tally, error) {
	w := walker{open: h.k.open}
	err := w.entry(ctx, h.parent, h.name, identityOf(&h.stat))
	return w.met, err
}

func (h *held) move(ctx context.Context) (string, tally, error) {
	trash, err := h.k.trash(true)
	if noRoom(err) {
		return h.inPlace(ctx)
	}
	if err != nil {
		return "", tally{}, err
	}
	defer unix.Close(trash)
	name := newTrash(h.stat.Ino)
	if err := h.openUp(); err != nil {
		return "", tally{}, err
	}
	err = rename(h.parent, h.name, trash, name)
	switch {
	case noRoom(err), errors.Is(err, unix.EXDEV):
		return h.inPlace(ctx)
	case err != nil:
		return "", tally{}, err
	}
	if err := h.compare(trash, name); err != nil {
		return "", tally{}, err
	}
	return name, tally{}, nil
}

// openUp makes a folder movable that its owner may not write to: moving it
// changes its "..". What could not be seen in it before is looked at now.
func (h *held) openUp() error {
	if kindOf(h.stat.Mode) != folder || h.stat.Mode&0o700 == 0o700 {
		return nil
	}
	if err := openUp(h.fd); err != nil {
		return err
	}
	var err error
	if h.repo, err = exists(h.fd, ".git"); err != nil {
		return err
	}
	return judge(h.facts(), os.Geteuid())
}

// noRoom reports whether a name could not be added to a folder.
func noRoom(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// compare makes sure that what was moved is what was looked at. If somebody
// put something else in its place in between, that goes back.
func (h *held) compare(trash int, name string) error {
	var s unix.Stat_t
	err := unix.Fstatat(trash, name, &s, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && identityOf(&s) == identityOf(&h.stat) {
		return nil
	}
	if err := rename(trash, name, h.parent, h.name); err != nil {
		return refusal(fmt.Sprintf("something else took its place while it was moved, and lies unharmed in %s/%s/%s: %s", homeName, trashName, name, err))
	}
	return refusal("something else took its place while it was moved, and was put back")
}

// rename never replaces anything. A file system that can't promise that
// (EINVAL) gets a plain rename: the name in the trash is random, and on the way
// back the place is looked at first.
func rename(fromDir int, from string, toDir int, to string) error {
	err := unix.Renameat2(fromDir, from, toDir, to, unix.RENAME_NOREPLACE)
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	if there, err := exists(toDir, to); err != nil || there {
		return errors.Join(err, unix.EEXIST)
	}
	return unix.Renameat(fromDir, from, toDir, to)
}

// inPlace removes a target where it is: for a disk so full that there is no
// room for a name in the trash, and for file systems that can't move a folder
// (overlayfs, whose lower layers are another device).
func (h *held) inPlace(ctx context.Context) (string, tally, error) {
	w := walker{open: h.k.open, remove: true}
	if err := w.entry(ctx, h.parent, h.name, identityOf(&h.stat)); err != nil {
		return "", w.met, refusal("it can't be moved away, and not all of it could be removed where it is: " + err.Error())
	}
	return "", w.met, nil
}

// trash opens the folder where things lie until they are removed.
func (k *kernel) trash(create bool) (int, error) {
	home, err := k.own(k.root, homeName, create)
	if err != nil {
		return -1, err
	}
	defer unix.Close(home)
	if create {
		ignoreForGit(home)
	}
	return k.own(home, trashName, create)
}

// own opens a folder that is devside's, and nobody else's to look into.
func (k *kernel) own(dir int, name string, create bool) (int, error) {
	if create {
		if err := unix.Mkdirat(dir, name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
			return -1, err
		}
	}
	fd, err := k.open(dir, name, readFolder)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EXDEV) {
		return -1, refusal(fmt.Sprintf("a link, a file or a mount is where devside's own folder %s should be; remove it", name))
	}
	if err != nil {
		return -1, err
	}
	s, err := stat(fd)
	switch uid := os.Geteuid(); {
	case err != nil:
	case uid != 0 && int(s.Uid) != uid:
		err = refusal(fmt.Sprintf("devside's own folder %s belongs to another user (uid %d)", name, s.Uid))
	case uint64(s.Dev) != k.dev:
		err = refusal(fmt.Sprintf("devside's own folder %s is on another file system", name))
	case s.Mode&0o777 != 0o700:
		err = unix.Fchmod(fd, 0o700)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// ignoreForGit keeps the folder out of git. A file that is there stays as it
// is; one that can't be written (a full disk) is made the next time.
func ignoreForGit(home int) {
	fd, err := unix.Openat(home, ".gitignore", unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if n, err := unix.Write(fd, []byte(ignoreAll)); err != nil || n != len(ignoreAll) {
		_ = unix.Unlinkat(home, ".gitignore", 0)
	}
}

func (k *kernel) leftovers() ([]string, error) {
	trash, err := k.trash(false)
	if err != nil {
		return nil, err
	}
	defer unix.Close(trash)
	return readNames(trash)
}

func (k *kernel) discard(ctx context.Context, name string) (tally, error) {
	trash, err := k.trash(false)
	if err != nil {
		return tally{}, err
	}
	defer unix.Close(trash)
	// The opener stops at mounts itself, but for those that the stepwise one
	// can't see.
	mounts, err := mountPoints()
	if err != nil || mounted(mounts, k.path, filepath.Join(k.path, homeName, trashName, name)) {
		return tally{}, errors.Join(err, errMounted)
	}
	w := walker{open: k.open, remove: true}
	err = w.entry(ctx, trash, name, identity{k.dev, inodeOf(name)})
	return w.met, err
}
