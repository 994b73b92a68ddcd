package watch

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The real limit, in a user namespace of its own, where it can be lowered for
// nobody else.
func TestTheKernelsOwnLimit(t *testing.T) {
	const inside = "DEVSIDE_WATCH_TEST_ROOT"
	if root := os.Getenv(inside); root != "" {
		withFewWatches(t, root)
		return
	}
	root := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestTheKernelsOwnLimit$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+root)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if err != nil && os.Getenv("CI") == "" && strings.Contains(err.Error(), "operation not permitted") {
		t.Skipf("it needs a user namespace, which .ci/run has: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

func withFewWatches(t *testing.T, root string) {
	if err := os.WriteFile("/proc/sys/user/max_inotify_watches", []byte("10"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := begin(t, root)
	var specs []string
	for i := range 20 {
		dir := fmt.Sprintf("d%d", i)
		write(t, s, dir+"/x.yaml", "1")
		specs = append(specs, dir+":x.yaml")
	}
	s.run(t)
	if err := s.set(specs...); err != nil {
		t.Fatal(err)
	}
	if l := limitOf(t, s); l == nil || !strings.Contains(l.Hint, "max_user_watches") {
		t.Fatalf("%+v", l)
	}
	for _, dir := range []string{"d0", "d19"} {
		write(t, s, dir+"/x.yaml", "2")
		told(t, s, "changed:"+dir+"/x.yaml")
	}
	if n := watches(t); n > 10 {
		t.Errorf("%d watches", n)
	}
}

// watches counts this process's inotify watches as the kernel shows them.
func watches(t *testing.T) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "inotify ") {
				n++
			}
		}
		f.Close() //nolint:errcheck // only read from
	}
	return n
}

// A watcher that is told the same targets again and again, and whose
// directories come and go, keeps as many watches as there are directories.
func TestNoWatchIsLeftBehind(t *testing.T) {
	s := begin(t, t.TempDir())
	write(t, s, "a/x.yaml", "1")
	s.run(t)
	if err := s.set("a:x.yaml"); err != nil {
		t.Fatal(err)
	}
	before := watches(t)
	for range 50 {
		if err := os.Rename(s.path("a"), s.path("old")); err != nil {
			t.Fatal(err)
		}
		told(t, s, "removed:a/x.yaml")
		write(t, s, "a/x.yaml", "2")
		told(t, s, "created:a/x.yaml")
		if err := os.RemoveAll(s.path("old")); err != nil {
			t.Fatal(err)
		}
		if err := s.set("a:x.yaml"); err != nil {
			t.Fatal(err)
		}
	}
	if after := watches(t); after > before {
		t.Errorf("%d watches, %d before", after, before)
	}
}
