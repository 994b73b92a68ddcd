package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// reapDelay gathers the deaths of a moment into one look at our children: a
// zombie costs a pid and nothing else, so nobody waits for this.
const reapDelay = 20 * time.Millisecond

// Fingerprints are soft limits on POSIX message queues, a resource that
// development servers do not use to its bound. Every descendant inherits the
// limit, with an empty environment and in a session of its own, too.
const (
	// usualQueueBytes is the kernel's default, taken as base when the limit is
	// infinite, so that the numbers stay far from where a queue would fail.
	usualQueueBytes = 819200
	// mostPrints is how many starts pass before a value is used again.
	mostPrints = 1 << 16
	// fewestPrints: with less room below the limit, none are given, and what
	// leaves session, marker and ancestry is not attributed.
	fewestPrints = 1 << 10
)

// Tracker is the one owner, in a process, of the servers it has started: it
// makes this process a child subreaper, so that what a server leaves behind
// becomes our child, and reaps such orphans when they end. It never reaps a
// leader, nor a child that other code of this process started.
type Tracker struct {
	log     zerolog.Logger
	self    int // our pid
	session int // our session
	null    *os.File
	list    *os.File // our main thread's children; nil where the kernel has no lists
	prints  prints

	sigchld chan os.Signal
	stop    chan struct{}
	wg      sync.WaitGroup // the reaper and one watcher for each leader

	// mu is held over a fork and the entry of its pid, and over the reaper's
	// look at a zombie, so that the reaper can't take a leader that is not in
	// the table yet. Nothing that can block is done under it.
	mu      sync.Mutex
	leaders map[int]*Process
	forkers map[int]bool // our threads that have forked one
	closed  bool
	cgroups *cgroups // nil: none
}

// NewTracker makes this process a child subreaper and starts the reaper. One
// per process; Close it.
func NewTracker(log zerolog.Logger) (*Tracker, error) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return nil, fmt.Errorf("track processes: this kernel has no pidfd, which Linux has since 5.4: %w", err)
	}
	_ = unix.Close(fd)
	if bootID() == "" {
		return nil, errors.New("track processes: /proc/sys/kernel/random/boot_id can't be read")
	}
	if self, err := os.Readlink("/proc/self"); err != nil || self != strconv.Itoa(os.Getpid()) {
		return nil, errors.New("track processes: /proc is missing, or shows the processes of another pid namespace")
	}
	session, err := unix.Getsid(0)
	if err != nil {
		return nil, fmt.Errorf("track processes: %w", err)
	}
	if err := BecomeSubreaper(); err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("track processes: %w", err)
	}
	var list *os.File
	if childLists() {
		list, err = os.Open(fmt.Sprintf("/proc/%d/task/%[1]d/children", os.Getpid()))
		if err != nil {
			_ = null.Close()
			return nil, fmt.Errorf("track processes: %w", err)
		}
	}
	t := &Tracker{
		log: log, self: os.Getpid(), session: session, null: null, list: list, prints: newPrints(),
		sigchld: make(chan os.Signal, 1), stop: make(chan struct{}), leaders: map[int]*Process{}, forkers: map[int]bool{},
	}
	if t.prints.span == 0 {
		log.Warn().Msg("the limit on message queues leaves no room for fingerprints: what leaves session, marker and ancestry is not found")
	}
	signal.Notify(t.sigchld, syscall.SIGCHLD)
	t.wg.Go(t.runReaper)
	return t, nil
}

// BecomeSubreaper makes this process the parent of its descendants' orphans.
func BecomeSubreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	return nil
}

// Close stops the reaper and the watchers. It kills nothing: a process that
// still runs goes on, and its Exited channel stays open. Call it when every
// Stop has returned.
func (t *Tracker) Close() {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return
	}
	t.closed = true
	var files []*os.File
	for _, p := range t.leaders {
		files = append(files, p.pidfd)
	}
	t.mu.Unlock()

	signal.Stop(t.sigchld)
	close(t.stop)
	for _, f := range files {
		_ = f.Close()
	}
	t.wg.Wait()
	if t.cgroups != nil {
		removeCgroup(t.cgroups.dir)
	}
	_ = t.null.Close()
	if t.list != nil {
		_ = t.list.Close()
	}
}

// Start starts a leader in a session of its own. The error is a *StartError;
// then there is no process.
func (t *Tracker) Start(c Command) (*Process, error) {
	if len(c.Argv) == 0 {
		return nil, &StartError{Kind: NotFound, Path: `""`, Err: errors.New("the command is empty")}
	}
	if !filepath.IsAbs(c.Dir) {
		return nil, &StartError{Kind: BadDir, Path: strconv.Quote(c.Dir), Err: errors.New("the directory is not absolute")}
	}
	path, err := LookPath(c.Argv[0], c.Dir, c.Env)
	if err != nil {
		return nil, err
	}
	fd := -1
	attr := &syscall.ProcAttr{
		Dir: c.Dir,
		Env: markedEnv(c.Env, c.Marker),
		// Fd puts a descriptor into blocking mode, which is what a program
		// expects of its standard streams.
		Files: []uintptr{t.stream(c.Stdin), t.stream(c.Stdout), t.stream(c.Stderr)},
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &fd},
	}
	p := &Process{tracker: t, marker: c.Marker, exited: make(chan struct{}), stopped: make(chan struct{}), hurry: make(chan struct{})}
	if err := t.fork(p, path, c.Argv, attr); err != nil {
		return nil, startError(path, c.Dir, err)
	}
	runtime.KeepAlive(c.Stdin)
	runtime.KeepAlive(c.Stdout)
	runtime.KeepAlive(c.Stderr)
	return p, nil
}

func (t *Tracker) stream(f *os.File) uintptr {
	if f == nil {
		f = t.null
	}
	return f.Fd()
}

// fork forks, and enters the child into the table before anybody else can see
// it end. The fingerprint is a limit of this whole process while it forks; it is
// taken back at once. Other code may fork in between; its child stays in our
// session, where no server's process can be. So nothing but a Tracker may start
// a process in a session of its own.
func (t *Tracker) fork(p *Process, path string, argv []string, attr *syscall.ProcAttr) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errors.New("the tracker is closed")
	}
	p.print = t.prints.next(func(v uint64) bool {
		for _, other := range t.leaders {
			if other.print == v {
				return true
			}
		}
		return false
	})
	runtime.LockOSThread()
	p.forker = unix.Gettid()
	t.prints.set(p.print)
	pid, err := t.forkExec(p, path, argv, attr)
	t.prints.set(0)
	runtime.UnlockOSThread()
	if err != nil {
		return err
	}
	fd := *attr.Sys.PidFD
	p.id, p.pidfd, err = adopt(pid, fd)
	if err != nil {
		// Without a pidfd in the poller its end would never be seen. It is our
		// un-reaped child, so the pid is certain.
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
		return err
	}
	t.leaders[pid], t.forkers[p.forker] = p, true
	t.wg.Go(p.watch)
	return nil
}

// adopt reads the identity of a new child and gives its pidfd to the poller.
func adopt(pid, fd int) (Identity, *os.File, error) {
	if fd < 0 {
		return Identity{}, nil, errors.New("the kernel gave no pidfd")
	}
	// Nobody but us can reap it, so its pid is its own and one read will do.
	s, err := readStat(pid)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		_ = unix.Close(fd)
		return Identity{}, nil, fmt.Errorf("identify: %w", err)
	}
	id := Identity{PID: pid, Start: startString(s.start, pidfdInode(fd)), Boot: bootID()}
	return id, os.NewFile(uintptr(fd), "pidfd"), nil
}

// startError finds out what an errno of fork, chdir or exec meant. The kernel
// gives one for all three, so the files are looked at, but only now.
func startError(path, dir string, err error) *StartError {
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM),
		errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return &StartError{Kind: Resources, Path: path, Err: err}
	case errors.Is(err, syscall.ENOEXEC):
		return &StartError{Kind: ExecFormat, Path: path, Err: fmt.Errorf("the kernel can't run this file: %w", err)}
	}
	if info, statErr := os.Stat(dir); statErr != nil {
		return &StartError{Kind: BadDir, Path: dir, Err: errors.Unwrap(statErr)}
	} else if !info.IsDir() {
		return &StartError{Kind: BadDir, Path: dir, Err: syscall.ENOTDIR}
	} else if unix.Faccessat(unix.AT_FDCWD, dir, unix.X_OK, unix.AT_EACCESS) != nil {
		return &StartError{Kind: BadDir, Path: dir, Err: syscall.EACCES}
	}
	switch {
	case errors.Is(err, syscall.ENOENT):
		if regular(path) == nil {
			return &StartError{Kind: NotFound, Path: path, Err: errors.New("the interpreter that it names is missing")}
		}
		return &StartError{Kind: NotFound, Path: path, Err: errors.New("no such file")}
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return &StartError{Kind: NotExecutable, Path: path, Err: err}
	}
	return &StartError{Kind: OtherFailure, Path: path, Err: err}
}

// prints gives out fingerprints: values of the soft limit, below the one that
// this process has itself.
type prints struct {
	own  unix.Rlimit
	top  uint64 // values given are top-span .. top-1
	span uint64
	at   uint64
}

func newPrints() prints {
	var p prints
	if unix.Prlimit(0, unix.RLIMIT_MSGQUEUE, nil, &p.own) != nil {
		return prints{}
	}
	p.top = p.own.Cur
	if p.top > 1<<40 { // infinite, or as good as
		p.top = usualQueueBytes
	}
	p.span = min(mostPrints, p.top/4)
	if p.span < fewestPrints {
		return prints{own: p.own}
	}
	// A random beginning: a devside that runs as a server of another one counts
	// in the same range.
	p.at = rand.Uint64N(p.span)
	return p
}

// next returns a value that no running start has; 0 when there are none.
func (p *prints) next(taken func(uint64) bool) uint64 {
	if p.span == 0 {
		return 0
	}
	for range p.span {
		p.at = (p.at + 1) % p.span
		if v := p.top - 1 - p.at; !taken(v) {
			return v
		}
	}
	return 0
}

// set puts the limit of this process to a fingerprint, or (0) back.
func (p *prints) set(v uint64) {
	if p.span == 0 {
		return
	}
	lim := p.own
	if v != 0 {
		lim.Cur = v
	}
	// A soft limit may always be set to what is not above the hard one.
	_ = unix.Prlimit(0, unix.RLIMIT_MSGQUEUE, &lim, nil)
}

// foreign reports whether a value shows that a process was not forked by other
// code of this program: that would have the limit that we have. It need not be
// one of ours: a devside that runs as a server gives values of its own, and its
// orphans are ours when it is gone.
func (p *prints) foreign(v uint64) bool { return p.span != 0 && v != p.own.Cur }

// runReaper reaps adopted orphans after they end.
func (t *Tracker) runReaper() {
	var soon <-chan time.Time // not set anew by more deaths: in a flood of them it would never come
	for {
		select {
		case <-t.stop:
			return
		case <-t.sigchld:
			if soon == nil {
				soon = time.After(reapDelay)
			}
		case <-soon:
			soon = nil
			t.reap()
		}
	}
}

// reap reaps the zombies among our children that we have adopted. Those are
// told from children that other code here started, and waits for, by two marks
// that only servers' processes have: another session than ours, and a
// fingerprint, which a zombie keeps.
func (t *Tracker) reap() (reaped int) {
	pids := t.adopted()
	// Beside those there are siblings of the leaders, see orphans.
	t.mu.Lock()
	forkers := slices.Collect(maps.Keys(t.forkers))
	t.mu.Unlock()
	for _, tid := range forkers {
		pids = append(pids, t.childrenOf(tid)...)
	}
	for _, pid := range pids {
		if t.reapOne(pid) {
			reaped++
		}
	}
	return reaped
}

// reapOne does the looking under mu as well: a pid that was seen before could
// have been freed by a stop and given to a new child since.
func (t *Tracker) reapOne(pid int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.leaders[pid] != nil {
		return false
	}
	d, err := openDir(pid)
	if err != nil {
		return false
	}
	defer d.close()
	s, err := d.stat()
	if err != nil || !s.zombie() || s.parent != t.self || s.session == t.session {
		return false
	}
	if v, ok := d.print(pid); !ok || !t.prints.foreign(v) {
		return false
	}
	got, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
	return err == nil && got == pid
}

// adopted lists our children that may be orphans of servers. A subreaper's
// orphans are given to its first living thread, and the main thread of a Go
// program lives as long as the program, so one list holds them all.
func (t *Tracker) adopted() []int {
	if t.list == nil {
		return childrenByScan(t.self)
	}
	// The file stays open, which saves most of a read, and is always read from
	// its beginning, where the kernel makes its text anew.
	buf := make([]byte, 1024)
	for {
		n, err := t.list.ReadAt(buf, 0)
		if n < len(buf) {
			if err != nil && err != io.EOF {
				t.log.Warn().Err(err).Msg("our children can't be listed")
			}
			return parsePIDs(buf[:n], nil)
		}
		buf = make([]byte, 4*len(buf))
	}
}

// childrenOf lists the children of another thread of ours than the main one.
func (t *Tracker) childrenOf(tid int) []int {
	if t.list == nil || tid == t.self {
		return nil // adopted has them
	}
	d, err := openDir(t.self)
	if err != nil {
		return nil
	}
	defer d.close()
	pids, _ := d.threadChildren(strconv.Itoa(tid), nil) // an ended thread's are the main thread's
	return pids
}

// Process is one started leader and the tree that grows from it.
type Process struct {
	tracker *Tracker
	id      Identity
	marker  string
	print   uint64
	cgroup  string // of this start alone; empty: none
	slain   bool   // it has been killed; of the goroutine that runs the ladder
	forker  int    // our thread that is the leader's parent
	pidfd   *os.File

	exited chan struct{}
	exit   Exit // written before exited is closed

	stopping sync.Once     // the first Stop runs the ladder
	stopped  chan struct{} // closed when report is final
	report   Report
	hurrying sync.Once
	hurry    chan struct{} // closed: no more grace, said by a later Stop
}

// PID returns the leader's pid.
func (p *Process) PID() int { return p.id.PID }

// Identity returns the leader's identity.
func (p *Process) Identity() Identity { return p.id }

// Exited is closed when the leader has ended. It is not reaped then: Stop does
// that, when its tree is gone, too.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// ExitStatus returns how the leader ended; false while it runs. It does not
// wait for the rest of the tree, as Stop does.
func (p *Process) ExitStatus() (Exit, bool) {
	select {
	case <-p.exited:
		return p.exit, true
	default:
		return Exit{Code: -1}, false
	}
}

// watch waits in Go's poller until the leader ends, and takes its status
// without reaping it.
func (p *Process) watch() {
	conn, err := p.pidfd.SyscallConn()
	if err == nil {
		err = conn.Read(fdEnded)
	}
	if err != nil {
		return // closed by Tracker.Close
	}
	p.exit = peekExit(p.id.PID)
	close(p.exited)
}

func fdEnded(fd uintptr) bool { return fdReadable(int(fd)) }

// childInfo is siginfo_t as waitid fills it in for a child.
type childInfo struct {
	signo, errno, code int32
	_                  [unsafe.Sizeof(uintptr(0)) - 4]byte // the union is aligned to a pointer
	pid                int32
	uid                uint32
	status             int32
}

// peekExit returns the status of an ended child and leaves it a zombie.
func peekExit(pid int) Exit {
	var info unix.Siginfo
	var usage unix.Rusage
	for {
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, &usage)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return Exit{Code: -1}
		}
		break
	}
	child := (*childInfo)(unsafe.Pointer(&info))
	const cldExited, cldDumped = 1, 3
	e := Exit{Code: -1, MaxRSS: usage.Maxrss * 1024}
	if child.code == cldExited {
		e.Code = int(child.status)
	} else if child.pid != 0 {
		e.Signal, e.CoreDumped = syscall.Signal(child.status), child.code == cldDumped
	}
	return e
}

// Stop ends the whole tree and returns when it is gone, or when what is left
// can't be ended: the plan's signal to every member, the grace, SIGKILL until
// two scans in a row find nobody, and only then is the leader reaped. It is
// also for the time after the leader has ended by itself, to end what it left.
//
// The first call does the work; others wait for it and return its report. The
// end of any caller's ctx, or any Hurry, ends the grace, and Stop goes on with
// SIGKILL: it never returns early.
func (p *Process) Stop(ctx context.Context, plan StopPlan) Report {
	first := false
	p.stopping.Do(func() { first = true })
	if first {
		p.report = p.runStop(ctx, plan)
		close(p.stopped)
		return p.report
	}
	select {
	case <-p.stopped:
	case <-ctx.Done():
	case <-plan.Hurry:
	}
	p.hurrying.Do(func() { close(p.hurry) })
	<-p.stopped
	return p.report
}

func (p *Process) runStop(ctx context.Context, plan StopPlan) Report {
	t := p.tracker
	l := newLadder(t.log.With().Int("leader", p.id.PID).Logger(), plan, func(known known) sighting { return t.scan(p, known) })
	l.leader, l.exited, l.hold, l.hurry = p.id.PID, p.exited, p.handle, p.hurry
	l.inside, l.slay = func(s stat) bool { return s.session == p.id.PID }, p.killCgroup
	r := l.run(ctx)
	r.Exit = Exit{Code: -1}
	if !l.leaderEnded() {
		// It can't be ended (uninterruptible in the kernel). It stays in the
		// table, so that nobody else reaps it, and stays a zombie if it ends.
		return r
	}
	select {
	case <-p.exited:
		r.Exit = p.exit
	case <-t.stop: // closed before us, against the rules: the status is lost
		return r
	}
	t.release(p)
	delete(l.zombies, p.id.PID)
	if len(l.zombies) > 0 {
		t.reap()
	}
	return r
}

// handle returns a handle of its own for the leader, which is un-reaped: the
// pidfd came with the fork.
func (p *Process) handle() (handle, error) {
	conn, err := p.pidfd.SyscallConn()
	if err != nil {
		return handle{-1}, err
	}
	h := handle{-1}
	if e := conn.Control(func(fd uintptr) {
		h.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	}); e != nil {
		return handle{-1}, e
	}
	return h, err
}

// release reaps a leader. From here on its pid can be anybody's.
func (t *Tracker) release(p *Process) {
	t.mu.Lock()
	_, _ = unix.Wait4(p.id.PID, nil, unix.WNOHANG, nil)
	delete(t.leaders, p.id.PID)
	if p.cgroup != "" {
		t.giveBack(p.cgroup, p.slain)
	}
	t.mu.Unlock()
	_ = p.pidfd.Close()
}
