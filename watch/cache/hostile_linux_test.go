package cache

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestSECURITY002Mounts(t *testing.T) {
	if !inAProcessOfItsOwn(t, ownMounts()) {
		return
	}
	keepMountsIn(t)
	const mountedOn = "is mounted on it"
	for _, c := range []struct {
		name   string
		plant  func(t *testing.T, root, outside string)
		target Target
		why    string
	}{
		{"a bind mount is the cache", func(t *testing.T, root, outside string) { bind(t, outside, root+"/.next") }, declared(".", ".next"), mountedOn},
		{"a folder of the project is mounted as the cache", func(t *testing.T, root, _ string) { bind(t, root+"/src", root+"/.next") }, declared(".", ".next"), mountedOn},
		{"another file system is the cache", func(t *testing.T, root, _ string) {
			mount(t, "tmpfs", root+"/.next", "tmpfs", 0, "size=1m")
			makeFiles(t, root, ".next/a")
		}, declared(".", ".next"), mountedOn},
		{"a bind mount is on the way", func(t *testing.T, root, outside string) { bind(t, outside, root+"/frontend") }, declared("frontend", ".cache"), mountedOn},
		{"a bind mount is below", func(t *testing.T, root, outside string) { bind(t, outside, root+"/.next/deep/in/it") }, declared(".", ".next"), mountedOn},
		{"a file is mounted below", func(t *testing.T, root, outside string) { bind(t, outside+"/victim", root+"/.next/file") }, declared(".", ".next"), mountedOn},
		{"the cache is a mounted file", func(t *testing.T, root, outside string) { bind(t, outside+"/victim", root+"/.eslintcache") }, declared(".", ".eslintcache"), mountedOn},
		{"devside's folder is mounted", func(t *testing.T, root, outside string) {
			makeFiles(t, root, ".devside/")
			bind(t, outside, root+"/.devside")
		}, declared(".", ".next"), "devside's own folder"},
		{"the trash is mounted", func(t *testing.T, root, outside string) {
			makeFiles(t, root, ".devside/trash/")
			bind(t, outside, root+"/.devside/trash")
		}, declared(".", ".next"), "devside's own folder"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ways(t, func(t *testing.T, open func(string) (tree, error)) {
				outside := project(t, ".cache/victim", "victim", "trash/victim")
				root := project(t, ".next/deep/in/it/", ".next/file", "frontend/.cache/a", "src/a", ".eslintcache")
				c.plant(t, root, outside)
				before := append(listing(t, root), listing(t, outside)...)
				why := remove(t, opened(t, root, open), c.target)
				if !strings.Contains(why, c.why) {
					t.Errorf("refused because %q, want something of %q", why, c.why)
				}
				if diff := cmp.Diff(before, append(listing(t, root), listing(t, outside)...)); diff != "" {
					t.Errorf("it changed:\n%s", diff)
				}
			})
		})
	}
}

// A project that is a mount itself (a container's volume) is like any other.
func TestAMountedProjectIsLikeAnyOther(t *testing.T) {
	if !inAProcessOfItsOwn(t, ownMounts()) {
		return
	}
	keepMountsIn(t)
	ways(t, func(t *testing.T, open func(string) (tree, error)) {
		root := project(t)
		mount(t, "tmpfs", root, "tmpfs", 0, "size=1m")
		makeFiles(t, root, ".next/a")
		if why := remove(t, opened(t, root, open), declared(".", ".next")); why != "" {
			t.Error(why)
		}
	})
}

// Whatever is mounted after a cache was looked at: its removal stops there and
// says so, and goes on when the mount is gone.
func TestSECURITY002TheBackgroundNeverEntersAMount(t *testing.T) {
	if !inAProcessOfItsOwn(t, ownMounts()) {
		return
	}
	keepMountsIn(t)
	ways(t, func(t *testing.T, openTree func(string) (tree, error)) {
		outside := project(t, "victim/file", "single")
		root := project(t, ".next/a/b/", ".next/c", ".next/d")
		tr, err := openTree(root)
		must(t, err)
		defer tr.close()
		f, err := tr.find(".next")
		must(t, err)
		name, _, err := f.move(t.Context())
		must(t, err)
		f.close()
		in := filepath.Join(root, homeName, trashName, name)
		bind(t, outside, in+"/a/b")
		bind(t, outside+"/single", in+"/d")
		met, err := tr.discard(t.Context(), name)
		if err == nil {
			t.Errorf("a mount was removed: %+v", met)
		}
		if diff := cmp.Diff([]string{"single", "victim", "victim/file"}, listing(t, outside)); diff != "" {
			t.Fatalf("the victim changed:\n%s", diff)
		}
		must(t, unix.Unmount(in+"/a/b", unix.MNT_DETACH))
		must(t, unix.Unmount(in+"/d", unix.MNT_DETACH))
		awaitEmptyTrash(t, root, opened(t, root, openTree))
	})
}

// The list of mounts is read before anything is opened; what is mounted after
// that is the kernel's to refuse.
func TestSECURITY002TheKernelStopsAtMountsThatNoListNames(t *testing.T) {
	if !inAProcessOfItsOwn(t, ownMounts()) {
		return
	}
	keepMountsIn(t)
	outside := project(t, ".cache/victim", "victim")
	root := project(t, ".next/a/", "frontend/", ".vite/", ".eslintcache")
	for _, dir := range []string{"frontend", ".next/a", ".vite"} {
		bind(t, outside, filepath.Join(root, dir))
	}
	bind(t, outside+"/victim", root+"/.eslintcache")
	tr, err := openTree(root)
	must(t, err)
	defer tr.close()
	for _, path := range []string{"frontend/.cache", ".vite", ".eslintcache"} {
		if _, err := tr.find(path); err == nil || !strings.Contains(err.Error(), "another file system is mounted") {
			t.Errorf("%s: %v", path, err)
		}
	}
	f, err := tr.find(".next")
	must(t, err)
	defer f.close()
	if met, err := f.count(t.Context()); err == nil || met.files != 0 {
		t.Errorf("a mount was counted: %+v, %v", met, err)
	}
	if _, _, err := f.(*held).inPlace(t.Context()); err == nil {
		t.Error("a mount was removed")
	}
	if diff := cmp.Diff([]string{".cache", ".cache/victim", "victim"}, listing(t, outside)); diff != "" {
		t.Errorf("the victim changed:\n%s", diff)
	}
}

// EDGE-2: a full disk. What a rename needs is there even then; where it isn't,
// the cache is removed where it is.
func TestEDGE2AFullDisk(t *testing.T) {
	if !inAProcessOfItsOwn(t, ownMounts()) {
		return
	}
	keepMountsIn(t)
	fill := func(t *testing.T, root string) {
		t.Helper()
		f, err := os.Create(root + "/filler")
		must(t, err)
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	ways(t, func(t *testing.T, open func(string) (tree, error)) {
		for _, c := range []struct{ name, size string }{{"no space", "size=256k"}, {"no more files", "size=1m,nr_inodes=12"}} {
			t.Run(c.name, func(t *testing.T) {
				root := project(t)
				mount(t, "tmpfs", root, "tmpfs", 0, c.size)
				makeFiles(t, root, ".next/a/b/c", ".next/d")
				if strings.Contains(c.size, "nr_inodes") {
					for i := 0; ; i++ {
						if err := os.Mkdir(fmt.Sprint(root, "/dir", i), 0o755); errors.Is(err, unix.ENOSPC) {
							break
						} else if err != nil || i > 100 {
							t.Fatal(i, err)
						}
					}
				} else {
					fill(t, root)
				}
				r := opened(t, root, open)
				res := r.Remove(t.Context(), []Target{declared(".", ".next")}, false)
				freed := drain(t, res)
				if !res.DiskLow || res.FreeBytes >= 1<<20 {
					t.Errorf("%d bytes free, low: %v", res.FreeBytes, res.DiskLow)
				}
				if len(freed) != 1 || freed[0].Files != 2 || freed[0].Failed != "" || len(res.Refused) != 0 {
					t.Errorf("freed %+v, refused %+v", freed, res.Refused)
				}
				if _, err := os.Lstat(root + "/.next"); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf(".next: %v", err)
				}
				if names := trashOf(t, root); len(names) != 0 {
					t.Errorf("in the trash is %q", names)
				}
			})
		}
	})
}

// dropTo becomes an ordinary user for the rest of the process's life.
func dropTo(t *testing.T, uid int) {
	t.Helper()
	must(t, syscall.Setgroups(nil))
	must(t, syscall.Setgid(uid))
	must(t, syscall.Setuid(uid))
}

const nobody = 65534

func TestAnOrdinaryUserRemovesOnlyTheirOwn(t *testing.T) {
	if !inAProcessOfItsOwn(t, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}) {
		return
	}
	above, err := os.MkdirTemp("", "devside-cache-user-") // t.TempDir's is closed to the user that we become
	must(t, err)
	root := above + "/app"
	root2 := above + "/app2"
	makeFiles(t, root, ".vite/.git/HEAD", ".next/deep/a", "dist/a", "dist/theirs/b", "build/a", "out/b/c", "src/a", ".git/HEAD")
	makeFiles(t, root2, ".next/a", ".devside/trash/")
	asRoot := os.Getuid() == 0
	if asRoot {
		for _, p := range []string{above, root, root + "/.vite", root + "/dist", root + "/dist/a", root + "/build", root + "/build/a", root + "/out", root + "/out/b", root + "/out/b/c",
			root + "/.git", root + "/.git/HEAD", root2, root2 + "/.next", root2 + "/.next/a"} {
			must(t, os.Chown(p, nobody, nobody))
		}
		dropTo(t, nobody)
	}
	t.Cleanup(func() { _ = os.RemoveAll(above) })
	must(t, os.Chmod(root+"/out/b", 0))
	must(t, os.Chmod(root+"/out", 0o400))
	must(t, os.Chmod(root+"/build", 0))
	r := opened(t, root, openTree)

	// Folders that their owner may not enter.
	for _, p := range []string{"out", "build"} {
		res := r.Remove(t.Context(), []Target{declared(".", p)}, true)
		if freed := drain(t, res); len(freed) != 1 || freed[0].Failed == "" {
			t.Errorf("a dry run counted what can't be read: %+v", freed)
		}
		if why := remove(t, r, declared(".", p)); why != "" {
			t.Errorf("%s: %s", p, why)
		}
	}
	if names := trashOf(t, root); len(names) != 0 {
		t.Errorf("in the trash is %q", names)
	}
	if asRoot {
		if why := remove(t, r, declared(".", ".next")); !strings.Contains(why, "another user") {
			t.Errorf("another user's cache: %q", why)
		}
		res := r.Remove(t.Context(), []Target{declared(".", "dist")}, false)
		freed := drain(t, res)
		if len(freed) != 1 || freed[0].Files != 1 || !strings.Contains(freed[0].Failed, "could be removed") {
			t.Errorf("a cache with another user's files: %+v", freed)
		}
		if names := trashOf(t, root); len(names) != 1 {
			t.Errorf("in the trash is %q", names)
		}
		if why := remove(t, opened(t, root2, openTree), declared(".", ".next")); !strings.Contains(why, "belongs to another user") {
			t.Errorf("another user's .devside: %q", why)
		}
	}

	// A repository behind rights that hide it.
	for _, mode := range []fs.FileMode{0, 0o600} {
		must(t, os.Chmod(root+"/.vite", mode))
		if why := remove(t, r, declared(".", ".vite")); !strings.Contains(why, "holds a .git") {
			t.Errorf("a hidden repository: %q", why)
		}
	}

	// An index that may not be read.
	makeFiles(t, root, ".git/index", "coverage/a")
	must(t, os.Chmod(root+"/.git/index", 0))
	if why := remove(t, r, declared(".", "coverage")); !strings.Contains(why, "can't be told whether git tracks it") {
		t.Errorf("an index that may not be read: %q", why)
	}
	must(t, os.Remove(root+"/.git/index"))

	// A folder that may not be written to.
	must(t, os.Chmod(root, 0o500))
	why := remove(t, r, declared(".", "coverage"))
	must(t, os.Chmod(root, 0o700))
	if !strings.Contains(why, "permission denied") {
		t.Errorf("a cache in a folder that may not be written to: %q", why)
	}
}

// What a disk without room, or a file system that can't move folders, leads to.
func TestARemovalInPlace(t *testing.T) {
	ways(t, func(t *testing.T, open func(string) (tree, error)) {
		root := project(t, ".next/a/b", ".next/c", "a.tsbuildinfo", "src/x")
		tr, err := open(root)
		must(t, err)
		defer tr.close()
		for path, files := range map[string]int64{".next": 2, "a.tsbuildinfo": 1} {
			f, err := tr.find(path)
			must(t, err)
			name, met, err := f.(interface {
				inPlace(context.Context) (string, tally, error)
			}).inPlace(t.Context())
			if name != "" || met.files != files || err != nil {
				t.Errorf("%s: %q, %+v, %v", path, name, met, err)
			}
			f.close()
		}
		if diff := cmp.Diff([]string{"src", "src/x"}, listing(t, root)); diff != "" {
			t.Error(diff)
		}
	})
}

// Between the look and the removal in place, too, something else may come.
func TestSECURITY002ARemovalInPlaceOfSomethingElse(t *testing.T) {
	ways(t, func(t *testing.T, open func(string) (tree, error)) {
		root := project(t, ".next/a", "victim/b")
		tr, err := open(root)
		must(t, err)
		defer tr.close()
		f, err := tr.find(".next")
		must(t, err)
		defer f.close()
		must(t, unix.Renameat2(unix.AT_FDCWD, root+"/.next", unix.AT_FDCWD, root+"/victim", unix.RENAME_EXCHANGE))
		_, _, err = f.(interface {
			inPlace(context.Context) (string, tally, error)
		}).inPlace(t.Context())
		if err == nil {
			t.Error("something else was removed")
		}
		if _, _, err := f.move(t.Context()); err == nil || !strings.Contains(err.Error(), "was put back") {
			t.Errorf("it was moved: %v", err)
		}
		if diff := cmp.Diff([]string{".next", ".next/b", "victim", "victim/a"}, listing(t, root)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestDevsidesFolderIsPrivateAndIgnored(t *testing.T) {
	ways(t, func(t *testing.T, open func(string) (tree, error)) {
		root := project(t, ".next/a", ".devside/")
		must(t, os.Chmod(root+"/.devside", 0o777))
		old := syscall.Umask(0)
		why := remove(t, opened(t, root, open), declared(".", ".next"))
		syscall.Umask(old)
		if why != "" {
			t.Fatal(why)
		}
		for _, dir := range []string{".devside", ".devside/trash"} {
			if info, err := os.Lstat(filepath.Join(root, dir)); err != nil || info.Mode() != fs.ModeDir|0o700 {
				t.Errorf("%s: %v, %v", dir, info.Mode(), err)
			}
		}
		text, err := os.ReadFile(root + "/.devside/.gitignore")
		if err != nil || string(text) != "*\n" {
			t.Errorf("%q, %v", text, err)
		}
	})
}

// deep makes a chain of folders that no path could name.
func deep(t *testing.T, root string, levels int) {
	t.Helper()
	dir, err := unix.Open(root, holdFolder|unix.O_CLOEXEC, 0)
	must(t, err)
	for range levels {
		must(t, unix.Mkdirat(dir, "directory-1", 0o755))
		next, err := unix.Openat(dir, "directory-1", holdFolder|unix.O_CLOEXEC, 0)
		must(t, err)
		must(t, unix.Close(dir))
		dir = next
	}
	fd, err := unix.Openat(dir, "file", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	must(t, err)
	must(t, unix.Close(fd))
	must(t, unix.Close(dir))
}

func TestADeepTreeCostsNoDescriptors(t *testing.T) {
	if !inAProcessOfItsOwn(t, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}) {
		return
	}
	root := project(t, ".next/")
	deep(t, root+"/.next", 3000)
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 32, Max: 32}))
	r := opened(t, root, openTree)
	res := r.Remove(t.Context(), []Target{declared(".", ".next")}, true)
	if freed := drain(t, res); len(freed) != 1 || freed[0].Files != 1 || freed[0].Failed != "" {
		t.Errorf("counted %+v", freed)
	}
	if why := remove(t, r, declared(".", ".next")); why != "" {
		t.Error(why)
	}
	if names := trashOf(t, root); len(names) != 0 {
		t.Errorf("in the trash is %q", names)
	}
}

func TestADeepTreeIsRemovedInThePortableWay(t *testing.T) {
	root := project(t, ".next/")
	deep(t, root+"/.next", 300)
	if why := remove(t, opened(t, root, openPortable), declared(".", ".next")); why != "" {
		t.Error(why)
	}
	if names := trashOf(t, root); len(names) != 0 {
		t.Errorf("in the trash is %q", names)
	}
}

// A writer that is not stopped may keep a folder from becoming empty: what it
// adds is removed, too.
func TestWhatIsWrittenDuringARemovalIsRemoved(t *testing.T) {
	root := project(t, ".next/a/b")
	tr, err := openTree(root)
	must(t, err)
	defer tr.close()
	dir, err := unix.Open(root, holdFolder|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(dir)
	w := walker{open: openIn, remove: true}
	fd, top, err := w.enter(t.Context(), dir, subfolder{name: ".next"}, nil)
	must(t, err)
	unix.Close(fd)
	makeFiles(t, root, ".next/late", ".next/a/late")
	if again := w.leave(dir, top); !again {
		t.Error("a folder that is not empty was left")
	}
	top.sub.passes = mostPasses
	if again := w.leave(dir, top); again || w.kept != 1 {
		t.Errorf("after %d passes: again %v, kept %d", mostPasses, again, w.kept)
	}
	w = walker{open: openIn, remove: true}
	must(t, w.entry(t.Context(), dir, ".next", top.id))
	if diff := cmp.Diff([]string(nil), listing(t, root)); diff != "" {
		t.Error(diff)
	}
}

// A folder that is moved away under the walker ends the walk: "..", too, is
// compared.
func TestSECURITY002AFolderThatIsMovedUnderTheWalk(t *testing.T) {
	root := project(t, ".next/a/b/c", "victim/docs/a", "victim/docs/b/d")
	before := listing(t, root+"/victim")
	dir, err := unix.Open(root, holdFolder|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(dir)
	w := walker{open: openIn, remove: true}
	a, level, err := w.enter(t.Context(), dir, subfolder{name: ".next"}, nil)
	must(t, err)
	b, _, err := w.enter(t.Context(), a, subfolder{name: "a"}, nil)
	must(t, err)
	unix.Close(a)
	defer unix.Close(b)
	must(t, os.Rename(root+"/.next/a", root+"/victim/docs/here"))
	if fd, err := up(b, level.id); !errors.Is(err, errMoved) {
		t.Errorf("the walk went up to %d, %v", fd, err)
	}
	must(t, os.RemoveAll(root+"/victim/docs/here"))
	if diff := cmp.Diff(before, listing(t, root+"/victim")); diff != "" {
		t.Error(diff)
	}
}

// PERF-004: a crash in the middle of a removal leaves nothing that the next
// start does not remove.
func TestPERF004ACrashInTheMiddleIsSweptByTheNextOpen(t *testing.T) {
	for files := 2000; ; files *= 2 {
		root := project(t)
		bigTree(t, root+"/.next", files, 100)
		left := killInTheMiddle(t, root)
		if left == 0 && files < 200_000 {
			continue // it was done before it could be killed
		}
		if left == 0 {
			t.Fatal("the removal was never caught in the middle")
		}
		t.Logf("killed with %d entries left of %d files", left, files)
		if _, err := os.Lstat(root + "/.next"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf(".next: %v", err)
		}
		awaitEmptyTrash(t, root, opened(t, root, openTree))
		return
	}
}

// killInTheMiddle kills a helper as soon as it has moved the cache, and counts
// what is left.
func killInTheMiddle(t *testing.T, root string) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], childMark, "remove", root, ".next")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	killed := cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil || line != "moved 1\n" {
		t.Fatalf("the helper says %q, %v (%v)", line, err, killed)
	}
	left := 0
	must(t, filepath.WalkDir(root+"/.devside/trash", func(_ string, _ fs.DirEntry, err error) error { left++; return err }))
	return left - 1
}

// bigTree makes files in folders of so many each.
func bigTree(t testing.TB, dir string, files, each int) {
	t.Helper()
	for i := range files {
		folder := fmt.Sprintf("%s/%04d", dir, i/each)
		if i%each == 0 {
			must(t, os.MkdirAll(folder, 0o755))
		}
		fd, err := unix.Open(fmt.Sprintf("%s/%d", folder, i), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		must(t, err)
		must(t, unix.Close(fd))
	}
}

// shortRace is the race of every test run; TestE2ESECURITY002TheLongRace is the
// long one.
const shortRace = 150

func TestSECURITY002AnExchangeDuringTheRemoval(t *testing.T) {
	for name, open := range trees {
		t.Run(name, func(t *testing.T) { raceAll(t, open, shortRace, name == "portable") })
	}
}

// raceAll lets somebody exchange parts of the path during so many removals of
// each case. Where mayMove is set, a victim inside the project may be found
// moved, but not deleted.
func raceAll(t *testing.T, open func(string) (tree, error), removals int, mayMove bool) {
	for _, c := range []struct {
		name    string
		flipped string // what is exchanged, again and again
		decoy   string // for this
		link    string // where the decoy leads; "" makes it a folder
	}{
		{"the cache for a link out of the project", "web/.next", "decoy", "OUTSIDE"},
		{"the cache for a link inside", "web/.next", "web/decoy", "../victim"},
		{"the cache for another folder", "web/.next", "precious", ""},
		{"the folder above for a link out of the project", "web", "decoy", "OUTSIDE"},
		{"the folder above for a link inside", "web", "decoy", "victim"},
		{"devside's folder for a link inside", ".devside", "decoy", "victim"},
		{"the trash for a link out of the project", ".devside/trash", "decoy", "OUTSIDE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			outside, root := raceFolder(t), raceFolder(t)
			makeFiles(t, outside, ".next/victim", "trash/victim", "a/b/c", "victim")
			makeFiles(t, root, "web/", "victim/.next/victim", "victim/trash/victim", "victim/a/b/c", ".devside/trash/")
			if c.link == "" {
				makeFiles(t, root, c.decoy+"/.cache/a", c.decoy+"/b/c")
			} else {
				must(t, os.Symlink(strings.ReplaceAll(c.link, "OUTSIDE", outside), filepath.Join(root, c.decoy)))
			}
			beyond, inside, texts := listing(t, outside), listing(t, root+"/victim"), victims(t, root)
			r := opened(t, root, open)
			stop := exchange(filepath.Join(root, c.flipped), filepath.Join(root, c.decoy))
			moved, refused := 0, 0
			var under []Result
			for range removals {
				freshCache(t, root)
				res := r.Remove(t.Context(), []Target{{Path: "web/.next", Declared: []string{"web/.next"}}}, false)
				under = append(under, res)
				moved, refused = moved+len(res.Removed), refused+len(res.Refused)
			}
			for _, res := range under {
				drain(t, res) // it may fail: the trash may be a link just then
			}
			flips := stop()
			t.Logf("%d exchanges; %d moved and %d refused of %d", flips, moved, refused, removals)
			if flips == 0 {
				t.Error("nothing was ever exchanged")
			}
			if diff := cmp.Diff(beyond, listing(t, outside)); diff != "" {
				t.Errorf("the victim outside changed:\n%s", diff)
			}
			if diff := cmp.Diff(inside, listing(t, root+"/victim")); diff != "" && !mayMove {
				t.Errorf("the victim inside changed:\n%s", diff)
			}
			if diff := cmp.Diff(texts, victims(t, root)); diff != "" && c.link != "" {
				t.Errorf("a file inside was deleted:\n%s", diff)
			}
		})
	}
}

// raceFolder makes a folder in memory where it can: a race is then one of
// processors, and not of a disk's journal.
func raceFolder(t *testing.T) string {
	t.Helper()
	const memory = "/dev/shm"
	dir, err := os.MkdirTemp(memory, "devside-cache-race-")
	if err != nil {
		return project(t)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// victims are the contents of the project's files that no cache holds,
// wherever they are by now.
func victims(t *testing.T, root string) []string {
	t.Helper()
	var texts []string
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.HasPrefix(string(text), "victim/") || strings.HasPrefix(string(text), "precious/") {
			texts = append(texts, string(text))
		}
		return err
	}))
	slices.Sort(texts)
	return texts
}

// freshCache makes sure that there is a web/.next. It is made elsewhere and
// moved there whole: writing by a path would follow the links.
func freshCache(t *testing.T, root string) {
	t.Helper()
	if _, err := os.Lstat(root + "/web/.next"); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	makeFiles(t, root, "fresh/file")
	// It fails where somebody was quicker, or web is a link just now.
	if err := unix.Renameat2(unix.AT_FDCWD, root+"/fresh", unix.AT_FDCWD, root+"/web/.next", unix.RENAME_NOREPLACE); err != nil {
		must(t, os.RemoveAll(root+"/fresh"))
	}
}

// exchange exchanges two names without pause until it is told to stop, and
// counts.
func exchange(a, b string) (stop func() int64) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var flips atomic.Int64
	go func() {
		defer close(done)
		runtime.LockOSThread()
		for ctx.Err() == nil {
			if unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE) == nil {
				flips.Add(1)
			}
		}
	}()
	return func() int64 { cancel(); <-done; return flips.Load() }
}
