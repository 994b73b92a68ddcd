package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

var trees = map[string]func(string) (tree, error){
	"openat2":  openTree,
	"stepwise": func(root string) (tree, error) { return openKernel(root, openStepwise) },
	"portable": openPortable,
}

// runChild is the test binary as a helper: it removes a cache and does not
// wait for the space.
func runChild(mode string, args []string) int {
	if mode != "remove" || len(args) != 2 {
		return 2
	}
	r, err := Open(args[0], zerolog.Nop())
	if err != nil {
		fmt.Println(err)
		return 1
	}
	res := r.Remove(context.Background(), []Target{declared(".", args[1])}, false)
	fmt.Printf("moved %d\n", len(res.Removed))
	for range res.Freed {
	}
	r.Close()
	return 0
}

// apart is the variable that tells a test that it runs in a process of its
// own; its value is the test's name.
const apart = "DEVSIDE_CACHE_TEST"

// inAProcessOfItsOwn runs the calling test again, alone, in a new process, and
// reports true there. In the first process it reports false when that is over.
func inAProcessOfItsOwn(t *testing.T, attr *syscall.SysProcAttr) bool {
	t.Helper()
	if os.Getenv(apart) == t.Name() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.count", "1")
	cmd.Env = append(os.Environ(), apart+"="+t.Name())
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EINVAL) {
		t.Skipf("it needs root or user namespaces, which .ci/run has: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in a process of its own: %v\n%s", err, out)
	}
	return false
}

// ownMounts gives a process mounts of its own: as root, or as root of a user
// namespace.
func ownMounts() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

// mount mounts for the rest of this process's life.
func mount(t *testing.T, source, target, kind string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		t.Fatalf("mount %s: %v", target, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
}

func bind(t *testing.T, source, target string) {
	t.Helper()
	mount(t, source, target, "", unix.MS_BIND, "")
}

// keepMountsIn makes sure that nothing mounted here shows outside.
func keepMountsIn(t *testing.T) {
	t.Helper()
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
}
