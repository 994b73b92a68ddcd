package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ticksPerSecond is USER_HZ, the unit of times in /proc/PID/stat: 100 on every
// architecture that Go runs Linux on.
const ticksPerSecond = 100

// maxEnviron bounds what is read of a foreign environment. The kernel's own
// bound for arguments and environment is 2 MiB under the default stack limit.
const maxEnviron = 2 << 20

// stat is /proc/PID/stat as far as it is used here.
type stat struct {
	pid, parent, group, session int
	state                       byte
	name                        string
	start                       uint64 // ticks since boot
	ticks                       uint64 // user and system time, that of waited-for children included
	rss                         int64  // pages
	threads                     int
}

// zombie: a process whose first thread has ended while others run also shows
// Z, but it has more than one thread and is not over.
func (s stat) zombie() bool {
	return (s.state == 'Z' || s.state == 'X') && s.threads <= 1
}

// parseStat reads one line of /proc/PID/stat. The name may hold blanks,
// brackets and line ends, so fields are counted from the last bracket.
func parseStat(b []byte) (stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return stat{}, errors.New("parse stat: no name in brackets")
	}
	var s stat
	var err error
	if s.pid, err = strconv.Atoi(string(bytes.TrimSpace(b[:open]))); err != nil {
		return stat{}, errors.New("parse stat: no pid")
	}
	s.name = string(b[open+1 : end])
	// f[0] is field 3 of proc_pid_stat(5).
	f := strings.Fields(string(b[end+1:]))
	if len(f) < 22 || len(f[0]) != 1 {
		return stat{}, errors.New("parse stat: too few fields")
	}
	s.state = f[0][0]
	number := func(i int) uint64 {
		v, e := strconv.ParseInt(f[i], 10, 64)
		if e != nil && err == nil {
			err = fmt.Errorf("parse stat: field %d: %q", i+3, f[i])
		}
		return uint64(v)
	}
	s.parent, s.group, s.session = int(number(1)), int(number(2)), int(number(3))
	s.ticks = number(11) + number(12) + number(13) + number(14)
	s.threads = int(number(17))
	s.start = number(19)
	s.rss = int64(number(21))
	return s, err
}

// dir is a descriptor of /proc/PID. Everything read through it is of the one
// process it was opened for: once that is reaped, reads fail, and never answer
// for a newcomer with the same pid.
type dir int

// openDir fails with ErrGone when there is no such process.
func openDir(pid int) (dir, error) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, goneOr(err)
	}
	return dir(fd), nil
}

func (d dir) close() { _ = unix.Close(int(d)) }

// read returns at most limit bytes of a file below the directory. The answer is
// a part of buf when it fits.
func (d dir) read(name string, buf []byte, limit int) ([]byte, error) {
	fd, err := unix.Openat(int(d), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, goneOr(err)
	}
	return readAll(fd, buf, limit)
}

// readAll reads a descriptor to its end, or to the limit, and closes it.
func readAll(fd int, buf []byte, limit int) ([]byte, error) {
	defer unix.Close(fd)
	buf = buf[:cap(buf)]
	n := 0
	for n < limit {
		if n == len(buf) {
			buf = append(buf, make([]byte, max(len(buf), 4096))...)
		}
		m, err := unix.Read(fd, buf[n:min(len(buf), limit)])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, goneOr(err)
		}
		if m == 0 {
			break
		}
		n += m
	}
	return buf[:n], nil
}

// goneOr turns the kernel's ways of saying "no such process" into ErrGone.
func goneOr(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return ErrGone
	}
	return err
}

// readStat is for a process that can't be replaced meanwhile: our own child.
func readStat(pid int) (stat, error) {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return stat{}, goneOr(err)
	}
	var buf [512]byte
	b, err := readAll(fd, buf[:], 4096)
	if err != nil {
		return stat{}, err
	}
	return parseStat(b)
}

func (d dir) stat() (stat, error) {
	var buf [512]byte
	b, err := d.read("stat", buf[:], 4096)
	if err != nil {
		return stat{}, err
	}
	return parseStat(b)
}

// children returns the pids whose parent is the process. The kernel keeps a
// list for each thread. The lists are exact only while nobody forks or ends, so
// callers scan again.
func (d dir) children(s stat) ([]int, error) {
	if s.zombie() {
		return nil, nil // what it had belongs to its reaper now
	}
	if s.threads == 1 {
		return d.threadChildren(strconv.Itoa(s.pid), nil)
	}
	fd, err := unix.Openat(int(d), "task", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, goneOr(err)
	}
	task := os.NewFile(uintptr(fd), "task")
	defer task.Close()
	threads, err := task.Readdirnames(-1)
	if err != nil {
		return nil, goneOr(err)
	}
	var pids []int
	for _, tid := range threads {
		more, err := d.threadChildren(tid, pids)
		if errors.Is(err, ErrGone) {
			continue // the thread has ended; its children moved to another one
		}
		if err != nil {
			return pids, err
		}
		pids = more
	}
	return pids, nil
}

func (d dir) threadChildren(tid string, pids []int) ([]int, error) {
	var buf [1024]byte
	b, err := d.read("task/"+tid+"/children", buf[:], 1<<20)
	if err != nil {
		return pids, err
	}
	return parsePIDs(b, pids), nil
}

// parsePIDs appends the numbers of a list with blanks.
func parsePIDs(b []byte, pids []int) []int {
	for len(b) > 0 {
		field, rest, _ := bytes.Cut(b, []byte{' '})
		if pid, err := strconv.Atoi(string(field)); err == nil {
			pids = append(pids, pid)
		}
		b = rest
	}
	return pids
}

// marker returns the value of the marker variable. ok is false when there is
// none or the environment can't be read.
func (d dir) marker() (value string, ok bool) {
	b, err := d.read("environ", make([]byte, 8192), maxEnviron)
	if err != nil {
		return "", false
	}
	key := []byte(Marker + "=")
	for len(b) > 0 {
		kv, rest, _ := bytes.Cut(b, []byte{0})
		if v, found := bytes.CutPrefix(kv, key); found {
			return string(v), true
		}
		b = rest
	}
	return "", false
}

// arguments returns argv as far as it is read; a zombie has none.
func (d dir) arguments() []string {
	b, err := d.read("cmdline", make([]byte, maxCommandLine), maxCommandLine)
	if err != nil || len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
}

// folder returns the working directory as it is called in our own mount
// namespace. Elsewhere the same path can be another folder, so that a process
// there has none. One that was removed keeps its path.
func (d dir) folder() string {
	ours, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil || d.link("ns/mnt") != ours {
		return ""
	}
	return strings.TrimSuffix(d.link("cwd"), " (deleted)")
}

// file returns the path of the file the process runs; empty when that can't be
// read.
func (d dir) file() string { return d.link("exe") }

// link returns where a link leads; empty when it can't be read.
func (d dir) link(name string) string {
	buf := make([]byte, 4096)
	n, err := unix.Readlinkat(int(d), name, buf)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

// uid returns the effective user id. The owner of /proc/PID is not it: for a
// process that can't be dumped that is root.
func (d dir) uid() (int, error) {
	b, err := d.read("status", make([]byte, 4096), 64<<10)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "Uid:"); ok {
			if f := strings.Fields(v); len(f) >= 2 {
				return strconv.Atoi(f[1])
			}
		}
	}
	return 0, errors.New("read status: no user id")
}

// print returns the soft limit that tells starts apart; see fingerprint.
func (d dir) print(pid int) (uint64, bool) {
	var lim unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_MSGQUEUE, nil, &lim); err == nil {
		return lim.Cur, true
	}
	// Another user's process: prlimit refuses, the file is readable.
	b, err := d.read("limits", make([]byte, 4096), 64<<10)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "Max msgqueue size"); ok {
			if f := strings.Fields(v); len(f) > 0 {
				n, err := strconv.ParseUint(f[0], 10, 64)
				return n, err == nil
			}
		}
	}
	return 0, false
}

// bootID names this boot and this pid namespace: two containers that share a
// home directory and a kernel have pids of their own.
var bootID = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "" // no identity matches then, so nothing foreign is signalled
	}
	id := strings.TrimSpace(string(b))
	if ns, err := os.Readlink("/proc/self/ns/pid"); err == nil {
		id += "/" + ns
	}
	return id
})

// pidfs reports whether a pidfd's inode number is unique for the boot, which
// it is since Linux 6.9; before, all of them share one.
var pidfs = sync.OnceValue(func() bool {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && st.Type == unix.PID_FS_MAGIC
})

// startString makes Identity.Start: ticks, and the inode where there is one.
func startString(ticks, inode uint64) string {
	s := strconv.FormatUint(ticks, 10)
	if inode != 0 {
		s += "." + strconv.FormatUint(inode, 10)
	}
	return s
}

// sameStart compares two values of Identity.Start. One written by an older
// kernel has no inode; then the ticks decide.
func sameStart(a, b string) bool {
	at, ai, _ := strings.Cut(a, ".")
	bt, bi, _ := strings.Cut(b, ".")
	return at != "" && at == bt && (ai == bi || ai == "" || bi == "")
}

// pidfdInode returns 0 where inodes say nothing.
func pidfdInode(fd int) uint64 {
	if !pidfs() {
		return 0
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Ino
}

func identify(pid int) (Identity, error) {
	fd, err := unix.PidfdOpen(max(pid, 0), unix.PIDFD_NONBLOCK)
	if err != nil {
		return Identity{}, fmt.Errorf("identify pid %d: %w", pid, openError(err))
	}
	defer unix.Close(fd)
	id, err := identityOf(fd, pid)
	if err != nil {
		return Identity{}, fmt.Errorf("identify pid %d: %w", pid, err)
	}
	return id, nil
}

// identityOf reads the identity of the process behind a pidfd.
func identityOf(fd, pid int) (Identity, error) {
	d, err := openDir(pid)
	if err != nil {
		return Identity{}, err
	}
	defer d.close()
	s, err := d.stat()
	if err != nil {
		return Identity{}, err
	}
	return Identity{PID: pid, Start: startString(s.start, pidfdInode(fd)), Boot: bootID()}, nil
}

// inspect holds the process by a pidfd and by its directory, so that all it
// tells is of one process.
func inspect(pid int) (Info, error) {
	fail := func(err error) (Info, error) { return Info{}, fmt.Errorf("inspect pid %d: %w", pid, err) }
	d, err := openDir(pid)
	if err != nil {
		return fail(err)
	}
	defer d.close()
	fd, err := unix.PidfdOpen(max(pid, 0), unix.PIDFD_NONBLOCK)
	if err != nil {
		return fail(openError(err))
	}
	defer unix.Close(fd)
	s, err := d.stat()
	if err != nil {
		return fail(err)
	}
	uid, err := d.uid()
	if err != nil {
		return fail(err)
	}
	return Info{
		Identity: Identity{PID: pid, Start: startString(s.start, pidfdInode(fd)), Boot: bootID()},
		Parent:   s.parent, Session: s.session, Group: s.group, UID: uid, State: s.state,
		Name: readable(s.name), Started: startedAt(s.start),
	}, nil
}

// startedAt turns ticks since boot into a time of day.
func startedAt(ticks uint64) time.Time {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return time.Time{}
	}
	age := time.Duration(now.Nano()) - time.Duration(ticks)*(time.Second/ticksPerSecond)
	return time.Now().Add(-age).Round(time.Second / ticksPerSecond)
}

func commandLine(pid int) []string {
	d, err := openDir(pid)
	if err != nil {
		return nil
	}
	defer d.close()
	return d.arguments()
}
