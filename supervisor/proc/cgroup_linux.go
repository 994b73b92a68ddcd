package proc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// cgroupPrefix begins the name of the cgroup that holds a hub's servers; the
// hub's marker is the rest of it.
const cgroupPrefix = "devside-"

// cgroups are version 2 cgroups of our own: one for this process's servers, and
// in it one for each start. No controller is turned on in them: they serve to
// find and to kill, nothing else.
type cgroups struct {
	dir    string // in the file system
	starts int
	free   []string // of starts that are over: making and removing one costs more than a look whether it is empty
}

// UseCgroups puts every start from now on into a cgroup of its own, where the
// system lets us make one below ours. It removes those that dead hubs left
// empty. Without cgroups everything works the same: what has left session,
// marker, ancestry and fingerprint at once is then not found.
//
// It stands back where our own cgroup has limits: a program that asks for its
// memory limit looks at its own cgroup, and would no longer find it.
func (t *Tracker) UseCgroups(marker string) {
	own, err := ownCgroup()
	if err != nil {
		t.log.Debug().Err(err).Msg("no cgroups for the servers")
		return
	}
	removeEmpty(own)
	dir := filepath.Join(own, cgroupPrefix+marker)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.log.Debug().Err(err).Msg("no cgroups for the servers")
		return
	}
	if err := tryCgroup(dir); err != nil {
		t.log.Info().Err(err).Msg("no cgroups for the servers")
		removeCgroup(dir)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cgroups = &cgroups{dir: dir}
}

// tryCgroup forks into a cgroup, to execute what does not exist. Some kernels
// (6.18 is one) kill such a child at birth where the parent's own cgroup has
// been killed before, since they count the kills of the wrong one; the same goes
// for a child that is forked into a cgroup that has been killed.
func tryCgroup(dir string) error {
	fd, err := openCgroup(dir)
	if err != nil {
		return fmt.Errorf("try a cgroup: %w", err)
	}
	defer unix.Close(fd)
	const nothing = "/proc/self/none"
	pid, err := syscall.ForkExec(nothing, []string{nothing}, &syscall.ProcAttr{Dir: "/", Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}})
	if err == nil {
		_, _ = unix.Wait4(pid, nil, 0, nil)
		return errors.New("try a cgroup: what is started in it is killed at once")
	}
	if !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("try a cgroup: %w", err)
	}
	return nil
}

// ownCgroup finds our version 2 cgroup in the file system.
func ownCgroup() (string, error) {
	path, err := cgroupPath("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("find the cgroups: %w", err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(mounts)); lines.Scan(); {
		// proc_pid_mountinfo(5): the fourth field is the root of the mount, the
		// fifth where it is, and the kind stands behind a lone dash.
		mount, kind, _ := strings.Cut(lines.Text(), " - ")
		f := strings.Fields(mount)
		if len(f) < 5 || !strings.HasPrefix(kind, "cgroup2 ") {
			continue
		}
		below, err := filepath.Rel(f[3], path)
		if err != nil || below == ".." || strings.HasPrefix(below, "../") {
			continue
		}
		dir := filepath.Join(f[4], below)
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
			continue
		}
		if name := limit(dir); name != "" {
			return "", fmt.Errorf("our own cgroup has a limit, %s", name)
		}
		return dir, nil
	}
	return "", errors.New("find the cgroups: no version 2 hierarchy with us in it is mounted")
}

// cgroupPath reads a process's place in the version 2 hierarchy.
func cgroupPath(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("find the cgroup: %w", err)
	}
	return parseCgroup(b)
}

func parseCgroup(b []byte) (string, error) {
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(path, "\n"), nil
		}
	}
	return "", errors.New("find the cgroup: there is no version 2 hierarchy")
}

// limit names a limit of a cgroup; empty: it has none.
func limit(dir string) string {
	for _, name := range []string{"memory.max", "memory.high", "cpu.max", "pids.max"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil && !strings.HasPrefix(string(b), "max") {
			return name
		}
	}
	return ""
}

// removeEmpty removes what dead hubs left. A live hub without a server may lose
// its own, and makes it again.
func removeEmpty(own string) {
	dirs, _ := filepath.Glob(filepath.Join(own, cgroupPrefix+"*"))
	for _, dir := range dirs {
		removeCgroup(dir)
	}
}

// removeCgroup removes a cgroup with those in it, which only works while no
// process is in them: the kernel sees to that.
func removeCgroup(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeCgroup(filepath.Join(dir, e.Name()))
		}
	}
	_ = unix.Rmdir(dir)
}

// newCgroup makes the cgroup of one start and opens it for the fork; empty and
// -1: there is none. t.mu is held.
func (t *Tracker) newCgroup() (dir string, fd int) {
	if t.cgroups == nil {
		return "", -1
	}
	c := t.cgroups
	if n := len(c.free); n > 0 {
		dir, c.free = c.free[n-1], c.free[:n-1]
		if fd, err := openCgroup(dir); err == nil {
			return dir, fd
		}
	}
	c.starts++
	dir = filepath.Join(c.dir, strconv.Itoa(c.starts))
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, os.ErrNotExist) { // see removeEmpty
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		fd, err = openCgroup(dir)
	}
	if err != nil {
		t.withoutCgroups(err)
		return "", -1
	}
	return dir, fd
}

func openCgroup(dir string) (int, error) {
	return unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// giveBack keeps the cgroup of a start that is over for another one, if nothing
// is left in it, and if it has not been killed: see tryCgroup. t.mu is held.
func (t *Tracker) giveBack(dir string, killed bool) {
	if t.cgroups != nil && !killed && filepath.Dir(dir) == t.cgroups.dir && !populated(dir) && childless(dir) {
		t.cgroups.free = append(t.cgroups.free, dir)
		return
	}
	removeCgroup(dir)
}

// withoutCgroups gives them up for good: what failed once fails again, and the
// rest of the union does without. t.mu is held.
func (t *Tracker) withoutCgroups(err error) {
	t.log.Warn().Err(err).Msg("servers are started without cgroups from now on")
	removeCgroup(t.cgroups.dir)
	t.cgroups = nil
}

// forkExec forks, into a cgroup of the start's own where there is one. t.mu is
// held.
func (t *Tracker) forkExec(p *Process, path string, argv []string, attr *syscall.ProcAttr) (int, error) {
	dir, fd := t.newCgroup()
	if fd < 0 {
		return syscall.ForkExec(path, argv, attr)
	}
	defer unix.Close(fd)
	attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, fd
	pid, err := syscall.ForkExec(path, argv, attr)
	if err == nil {
		p.cgroup = dir
		return pid, nil
	}
	removeCgroup(dir)
	// The kernel gives one error for what the cgroup, the directory and the
	// program are at fault for. Nothing ran, so that it can be tried again.
	attr.Sys.UseCgroupFD = false
	pid, again := syscall.ForkExec(path, argv, attr)
	if again == nil {
		t.withoutCgroups(fmt.Errorf("start in a cgroup: %w", err))
	}
	return pid, again
}

// caged returns those members of the start's cgroup that were not found in
// another way. It is asked when nobody else lives any more: what hides from all
// the rest is rare, and every stop would pay for the question.
func (p *Process) caged(found []stat) []step {
	living := func(s stat) bool { return !s.zombie() }
	if p.cgroup == "" || slices.ContainsFunc(found, living) || !populated(p.cgroup) {
		return nil
	}
	seen := make(map[int]bool, len(found))
	for _, s := range found {
		seen[s.pid] = true
	}
	var steps []step
	more := map[int]bool{}
	for _, pid := range cgroupProcs(p.cgroup) {
		if seen[pid] {
			continue
		}
		if s, ok := inCgroup(pid, filepath.Base(filepath.Dir(p.cgroup))+"/"+filepath.Base(p.cgroup)); ok {
			steps, more[pid] = append(steps, step{pid: pid, start: s.start, parent: s.parent}), true
		}
	}
	// Parents stand before their children.
	var roots, rest []step
	for _, s := range steps {
		if more[s.parent] {
			rest = append(rest, s)
		} else {
			roots = append(roots, s)
		}
	}
	return append(roots, rest...)
}

// populated reports whether a process that has not ended is in a cgroup or
// below. It is the cheapest question, and "no" the answer that a stop waits for.
func populated(dir string) bool {
	return !bytes.Contains(readCgroup(dir, "cgroup.events"), []byte("populated 0"))
}

func readCgroup(dir, name string) []byte {
	fd, err := unix.Open(dir+"/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	b, _ := readAll(fd, make([]byte, 1024), 1<<20)
	return b
}

// cgroupProcs lists the processes of a cgroup and of those in it.
func cgroupProcs(dir string) []int {
	var pids []int
	for _, f := range strings.Fields(string(readCgroup(dir, "cgroup.procs"))) {
		if pid, err := strconv.Atoi(f); err == nil && pid > 0 { // 0: of another pid namespace
			pids = append(pids, pid)
		}
	}
	if childless(dir) {
		return pids
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			pids = append(pids, cgroupProcs(filepath.Join(dir, e.Name()))...)
		}
	}
	return pids
}

// childless reports whether no other cgroup is in a cgroup.
func childless(dir string) bool {
	return bytes.HasPrefix(readCgroup(dir, "cgroup.stat"), []byte("nr_descendants 0\n"))
}

// inCgroup reads a process and verifies that it is in a cgroup with this name,
// or in one below: the pid was another's when the list was read, perhaps.
func inCgroup(pid int, name string) (stat, bool) {
	d, err := openDir(pid)
	if err != nil {
		return stat{}, false
	}
	defer d.close()
	s, err := d.stat()
	return s, err == nil && d.caged(name)
}

// caged reports whether the process is in a cgroup with this name, or below.
func (d dir) caged(name string) bool {
	b, err := d.read("cgroup", make([]byte, 4096), 64<<10)
	if err != nil {
		return false
	}
	path, err := parseCgroup(b)
	return err == nil && strings.Contains(path+"/", "/"+name+"/")
}

// killCgroup kills everything in the start's cgroup at once.
func (p *Process) killCgroup() error {
	if p.cgroup == "" {
		return nil
	}
	p.slain = true
	return os.WriteFile(filepath.Join(p.cgroup, "cgroup.kill"), []byte("1"), 0)
}
