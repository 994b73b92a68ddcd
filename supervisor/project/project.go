// Package project is one project: its configuration, its servers and
// dependencies, what is wrong with it, and who wants to know. It is what
// rpc/hub talks to.
//
// It never runs anything of a project that is not trusted, nor connects to what
// its configuration names, never changes what runs because of a configuration
// with errors, and never waits for a subscriber: they are told that something is
// new, and look when they can.
//
// One goroutine (loop) owns the configuration, the trust and the dependencies'
// states, and publishes them as a view that is never changed; the servers
// belong to their actors. Start reading at Open, then Status.
package project

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/devside/devside/supervisor"
	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/port"
	"github.com/devside/devside/supervisor/probe"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

// Options say which project.
type Options struct {
	Root     string // real path
	Paths    state.Paths
	Protocol int
	Log      zerolog.Logger
	Getenv   func(string) string // for DEV_PORT_* and DEV_HEALTH_RETRIES

	// unwatched: files are not watched, for tests of what a request finds out.
	unwatched bool

	// Supervises reports whether a command line is that of a hub or guardian,
	// whose servers are not strays. nil: nothing is.
	Supervises func(argv []string) bool

	// Meter is told what is measured; nil: nobody is.
	Meter Meter
}

// Project is one project's supervisor.
type Project struct {
	o       Options
	root    *os.Root
	store   *state.Store
	audit   *state.Audit
	tracker *proc.Tracker
	group   *supervisor.Group
	files   *logs.Files // nil: they could not be opened
	marker  string

	follower *follower
	caches   *caches
	installs installs

	view     atomic.Pointer[view]
	glance   atomic.Pointer[picture] // what loop has seen last
	sequence atomic.Uint64
	changedC chan struct{} // holds one token while something is new
	asks     chan func()
	applying sync.Mutex         // one configuration is applied at a time
	unwatch  context.CancelFunc // ends the checks of dependencies; guarded by applying
	run      context.Context    // ends with the project
	books    sync.Mutex         // held while they are kept, and while they are closed
	closing  atomic.Bool        // the books are closed
	again    atomic.Bool        // the books are to be written whole, whatever has changed
	closed   chan struct{}      // loop has been told to end
	cancel   context.CancelFunc
	joined   sync.WaitGroup

	cleaning sync.Mutex // strays are looked for by one start, and the others wait
	cleaned  bool       // once in a hub's life; guarded by cleaning

	resume    []string // what ran when an earlier hub was lost and is not started again yet; loop's
	restoring bool     // a client has asked for it; loop's

	mu     sync.Mutex
	subs   map[*Subscription]bool
	agreed map[string]string // by server: the fingerprint of what it may run, see mayStart
	// What is wrong with the files of the state: those that were damaged, and
	// what can't be written now.
	damaged   []status.Problem
	unwritten *status.Problem
}

// view is everything about the project that is not a server's. loop builds a
// new one for every change.
type view struct {
	loaded   *spec.Loaded // what runs
	pending  *spec.Loaded // what was read since and may not run yet; nil: nothing
	problems []status.Problem
	trust    status.Trust
	stored   string        // the hash a person agreed to
	vouched  int           // connected clients that vouch for the project
	agreed   chan struct{} // closed once somebody has trusted what runs
	deps     []status.Dependency
	files    []string // that the configuration was read from last, with errors or not
	stamp    string   // of these files
	http     string   // the base URL of the HTTP side; empty: it does not listen

	// What is wrong with files that are watched and caches that are removed; the
	// follower and caches say it, each its own.
	stale    []status.Problem            // lockfiles whose packages are not installed
	loops    []status.Problem            // rules that have restarted too often
	limit    *status.Problem             // the system refuses to watch more
	misnamed []status.Problem            // caches that would be refused whatever they are; of loaded
	refused  map[string][]status.Problem // by server: caches that were not removed
	diskLow  *status.Problem
}

// followed lists what is wrong with files and caches.
func (v *view) followed() []status.Problem {
	out := slices.Concat(v.stale, v.loops)
	for _, n := range []*status.Problem{v.limit, v.diskLow} {
		if n != nil {
			out = append(out, *n)
		}
	}
	servers := v.loaded.Project.Servers
	out = append(out, v.misnamed...)
	for _, s := range servers {
		for _, n := range v.refused[s.Name] {
			// What is refused by its name is said already, at its place.
			if !slices.ContainsFunc(out, func(o status.Problem) bool { return o.Server == n.Server && o.Code == n.Code && o.File == n.File }) {
				out = append(out, n)
			}
		}
	}
	return out
}

// newest is the configuration that a person is asked about.
func (v *view) newest() *spec.Loaded {
	if v.pending != nil {
		return v.pending
	}
	return v.loaded
}

// agree lets go what waits for somebody to trust this configuration. It is not
// held back again when who vouched for it has gone: what was started goes on.
func (v *view) agree() {
	select {
	case <-v.agreed:
	default:
		if v.trusted() {
			close(v.agreed)
		}
	}
}

func (v *view) trusted() bool { return v.vouched > 0 || (v.stored != "" && v.stored == v.trust.Hash) }

// Open ends what an earlier hub left, reads the configuration, and is ready to
// start servers. The caller holds the project's lock.
func Open(ctx context.Context, o Options) (*Project, error) {
	if o.Meter == nil {
		o.Meter = unmeasured{}
	}
	root, err := os.OpenRoot(o.Root)
	if err != nil {
		return nil, fmt.Errorf("open the project: %w", err)
	}
	p := &Project{o: o, root: root, changedC: make(chan struct{}, 1), asks: make(chan func()), closed: make(chan struct{}), subs: map[*Subscription]bool{}, agreed: map[string]string{}}
	p.store = state.Open(o.Paths, p.stateFailed)
	p.store.OnMended(p.stateMended)
	p.audit = state.OpenAudit(o.Paths.Audit(), o.Root, "hub", func(err error) { o.Log.Error().Err(err).Msg("audit") })
	p.tracker, err = proc.NewTracker(o.Log)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the project: %w", err), root.Close())
	}
	p.store.RemoveHalfWritten()
	p.endLeftovers(ctx)
	var b [8]byte
	rand.Read(b[:]) //nolint:errcheck // never fails since Go 1.24
	p.marker = hex.EncodeToString(b[:])
	p.tracker.UseCgroups(p.marker)
	// On disk before anything starts: if we and the guardian die together, the
	// marker is what finds a server that no ledger names yet. Where it can't be
	// written, mayStart refuses.
	p.putLedger(nil)
	p.store.Flush() //nolint:errcheck // stateFailed has told

	p.caches, p.follower = openCaches(p), newFollower(p)
	p.files, err = logs.OpenFiles(o.Paths.ServerLogs(), logs.DefaultBounds, time.Now, p.logFailed)
	if err != nil { // servers are worth more than their logs
		p.logFailed("", err)
	}
	budget := logs.NewBudget(logs.DefaultBudget)
	p.group = supervisor.NewGroup(supervisor.Host{
		Root: o.Root, Marker: p.marker, Log: o.Log,
		Start:    supervisor.Launcher(p.tracker, o.Log),
		MayStart: p.mayStart,
		Taken:    port.Taken,
		NextPort: port.Next, Listening: new(listening).has,
		HolderOf: p.holderOf, Owned: owned,
		NewProbe: probe.New,
		Notify:   func(server string) (*probe.Notify, error) { return probe.ListenNotify(o.Paths.Run, server) },
		ReadFile: p.readFile, Files: p.root.FS(),
		OOMKills: new(oomKills).count, Meter: o.Meter,
		Happened: p.happened,
		Prepare:  p.caches.prepare,
		Starts:   startsBefore(p.store.Starts()),
		Measure:  supervisor.Measurer(p.tracker),
	}, func(server string) *logs.Log {
		if p.files == nil {
			return logs.NewIn(budget)
		}
		return p.files.New(server, budget)
	}, p.changed)

	v := &view{stored: p.store.Trust().Hash, agreed: make(chan struct{})}
	v.loaded, v.files, v.stamp = p.load()
	v.problems = problemsOf(v.loaded, time.Now())
	if read := v.loaded; !read.Valid() {
		v.loaded = &spec.Loaded{Project: &spec.Project{Name: read.Project.Name, Detected: read.Project.Detected}, Sources: read.Sources}
	}
	v.misnamed = refusedByName(v.loaded.Project.Servers, time.Time{})
	v.trust = spec.Commands(root.FS(), v.loaded.Project)
	v.agree()
	p.view.Store(v)
	p.group.Apply(ctx, v.loaded.Project.Servers, supervisor.Change{Asked: true})
	p.see(p.group.Snapshots())
	p.run, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	p.joined.Go(func() { p.loop(p.run) })
	if !o.unwatched {
		p.joined.Go(func() {
			if err := p.follower.watcher.Run(p.run); err != nil {
				p.o.Log.Error().Err(err).Msg("files are not watched")
			}
		})
		p.joined.Go(func() { p.follower.run(p.run) })
	}
	p.joined.Go(func() { p.forgetAfter(p.run, resumePatience) })
	p.applying.Lock()
	defer p.applying.Unlock()
	p.watchDependencies(v.loaded.Project.Dependencies)
	return p, nil
}

// resumePatience is how long what ran before an earlier hub was lost can be
// asked for. A sidecar gives up after five attempts, within a quarter of that.
const resumePatience = time.Minute

// forgetAfter forgets what ran under an earlier hub if nobody who held it comes
// back: a hub lost later must not start what nobody wanted of this one.
func (p *Project) forgetAfter(ctx context.Context, patience time.Duration) {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-t.C:
		p.update(func(*view) {
			if !p.restoring {
				p.resume = nil
			}
		})
	case <-ctx.Done():
	}
}

// logFailed says that output could not be written to its file, or can again.
// The servers go on, and what they print is in memory.
func (p *Project) logFailed(server string, err error) {
	p.o.Log.Warn().Str("server", server).Err(err).Msg("the files of the servers' output")
	p.happened(status.Event{Kind: status.HappenedProblem, Server: server, At: time.Now(), Message: err.Error(), Code: status.StateFailed})
}

// maxEnvFile bounds an env file; real ones have a few KB.
const maxEnvFile = 1 << 20

// readFile reads an env file inside the project.
func (p *Project) readFile(name string) ([]byte, error) { return p.readRegular(name, maxEnvFile) }

// readRegular reads a file inside the project that is no longer than most bytes.
func (p *Project) readRegular(name string, most int64) ([]byte, error) {
	info, err := p.root.Stat(filepath.FromSlash(name))
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	case info.Size() > most:
		return nil, fmt.Errorf("it is %d bytes long, at most %d are read", info.Size(), most)
	}
	file, err := p.root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	defer file.Close()                            //nolint:errcheck // only read from
	return io.ReadAll(io.LimitReader(file, most)) // it may have grown
}

// load reads the configuration, and a stamp that changes when its files do. A
// devside.yaml that changes while it is read has the older stamp, and is read
// again.
func (p *Project) load() (l *spec.Loaded, files []string, stamp string) {
	before := p.stamp([]string{spec.FileName})
	l = spec.Load(p.root.FS(), filepath.Base(p.o.Root), p.o.Getenv)
	for _, s := range l.Sources {
		if s.Path != spec.FileName {
			files = append(files, s.Path)
		}
	}
	return l, append([]string{spec.FileName}, files...), before + p.stamp(files)
}

func (p *Project) stamp(names []string) string {
	var stamp string
	for _, name := range names {
		info, err := p.root.Stat(filepath.FromSlash(name))
		if errors.Is(err, fs.ErrNotExist) {
			stamp += "-;"
			continue
		}
		if err != nil {
			stamp += err.Error() + ";"
			continue
		}
		stamp += fmt.Sprintf("%d,%d,%s;", info.Size(), info.ModTime().UnixNano(), info.Mode())
	}
	return stamp
}

// problemsOf turns the configuration's issues into problems.
func problemsOf(l *spec.Loaded, now time.Time) []status.Problem {
	var out []status.Problem
	for _, i := range l.Issues {
		p := status.NewProblem(status.Code(i.Code), "", fmt.Sprintf("%s:%d:%d: %s", i.File, i.Range.Start.Line, i.Range.Start.Column, i.Message), now)
		if i.Severity == spec.Warning {
			p.Severity = status.Warning
		}
		p.Hint = i.Hint
		out = append(out, p)
	}
	return out
}

// gather is how long changes are gathered before the books are kept and the
// subscribers told: a start of 200 servers is a thousand changes, and each look
// is at all of them. Whatever dies meanwhile is found by the marker.
const gather = 2 * time.Millisecond

// loop owns the view.
func (p *Project) loop(ctx context.Context) {
	visible := time.NewTimer(time.Hour)
	defer visible.Stop()
	keeper := bookkeeper{running: p.resume, startsAt: time.Now()} // what the snapshot says
	var held []holding
	var gathered <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case ask := <-p.asks:
			ask()
			p.sequence.Add(1)
		case <-p.changedC:
			if gathered == nil {
				gathered = time.After(gather)
			}
			continue
		case <-gathered:
			gathered = nil
		case <-visible.C:
			p.sequence.Add(1)
		}
		p.books.Lock()
		all := p.group.Snapshots()
		if !p.closing.Load() {
			p.keepBooks(&keeper, all)
		}
		p.books.Unlock()
		if now := holdings(all); !slices.Equal(now, held) {
			held = now
			p.follower.retarget()
		}
		_, next := status.Visible(p.see(all), time.Now())
		if next > 0 {
			visible.Reset(next)
		}
		p.tell(nil)
	}
}

// changed says that a server has published something. It never waits.
func (p *Project) changed() {
	p.sequence.Add(1)
	select {
	case p.changedC <- struct{}{}:
	default:
	}
}

// update lets loop put a changed copy of the view in place of the current one.
func (p *Project) update(change func(v *view)) {
	done := make(chan struct{})
	ask := func() {
		v := *p.view.Load()
		change(&v)
		v.agree()
		p.view.Store(&v)
		close(done)
	}
	select {
	case p.asks <- ask:
		<-done
	case <-p.closed:
	}
}

// bookkeeper remembers what is on disk.
type bookkeeper struct {
	ledger   []state.LedgerEntry
	running  []string
	starts   map[string][]int64
	startsAt time.Time // when they were looked at last
}

// startsEvery is how often the starts are written at most, beside the end of the
// project: they are for the next hub.
const startsEvery = 5 * time.Second

// startsOf are the starts of all servers.
func startsOf(all []supervisor.Snapshot) map[string][]int64 {
	starts := map[string][]int64{}
	for _, s := range all {
		for _, d := range s.Starts {
			starts[s.Name] = append(starts[s.Name], d.Milliseconds())
		}
	}
	return starts
}

// startsBefore gives each server what an earlier hub has known of it.
func startsBefore(v state.Starts) func(server string) []time.Duration {
	return func(server string) (out []time.Duration) {
		for _, ms := range v.ReadyMs[server] {
			if ms >= 0 && len(out) < mostStarts {
				out = append(out, time.Duration(ms)*time.Millisecond)
			}
		}
		return out
	}
}

// mostStarts bounds what is taken of a file.
const mostStarts = 10

// keepBooks writes the ledger when a pid has changed, and the snapshot when
// the set of servers that are wanted has.
func (p *Project) keepBooks(k *bookkeeper, all []supervisor.Snapshot) {
	var ledger []state.LedgerEntry
	var running []string
	for _, s := range all {
		if s.Identity.PID != 0 {
			ledger = append(ledger, state.LedgerEntry{Name: s.Name, Identity: s.Identity, Stop: &state.Stop{
				Signal: s.Stop.Signal, GraceMs: s.Stop.Grace.Milliseconds(), Spare: s.Stop.Spare,
			}})
		}
		if s.Wanted {
			running = append(running, s.Name)
		}
	}
	for _, name := range p.resume { // to come back, or else they are forgotten if this hub dies, too
		if !slices.Contains(running, name) {
			running = append(running, name)
		}
	}
	if now := time.Now(); now.Sub(k.startsAt) >= startsEvery {
		k.startsAt = now
		if starts := startsOf(all); !reflect.DeepEqual(starts, k.starts) {
			k.starts = starts
			p.store.PutStarts(state.Starts{ReadyMs: starts})
		}
	}
	again := p.again.Swap(false)
	if again || !slices.EqualFunc(ledger, k.ledger, sameEntry) {
		k.ledger = ledger
		p.putLedger(ledger)
	}
	if again || !slices.Equal(running, k.running) {
		k.running = running
		p.store.PutSnapshot(state.Snapshot{At: time.Now(), Running: running})
	}
}

// sameEntry leaves out how a server is stopped: under another configuration it
// is another process.
func sameEntry(a, b state.LedgerEntry) bool { return a.Name == b.Name && a.Identity == b.Identity }

func (p *Project) putLedger(servers []state.LedgerEntry) {
	hub, err := proc.Identify(os.Getpid())
	if err != nil {
		p.o.Log.Error().Err(err).Msg("identify the hub")
	}
	p.store.PutLedger(state.Ledger{Hub: hub, Marker: p.marker, Servers: servers})
}

// allProblems lists what is wrong, visible or not.
func (p *Project) allProblems(v *view, servers []supervisor.Snapshot) []status.Problem {
	all := slices.Concat(v.problems, v.followed())
	if len(v.loaded.Project.Servers) > 0 && !v.trusted() {
		n := status.NewProblem(status.NotTrusted, "", "devside may not run this project's commands yet", time.Time{})
		n.Hint = "look at them with `devside trust`, or in the editor, and agree"
		all = append(all, n)
	}
	p.mu.Lock()
	all = append(all, p.damaged...)
	if p.unwritten != nil {
		all = append(all, *p.unwritten)
	}
	p.mu.Unlock()
	for _, s := range servers {
		all = append(all, s.Details...)
	}
	return all
}

// Look says that somebody looks at what the servers use, so that it is measured
// every second for a while. A subscription is no look.
func (p *Project) Look() { p.group.Look() }

// Status returns the state of the project, as of now.
func (p *Project) Status() *status.Project {
	// The number first: what it stands for may be newer than it says, and then
	// comes again, but never older, which would not be told again.
	sequence := p.sequence.Load()
	v, servers := p.view.Load(), p.group.Snapshots()
	return p.statusOf(picture{sequence, v, servers, p.allProblems(v, servers)}, time.Now())
}

// statusOf makes a status of a picture.
func (p *Project) statusOf(seen picture, now time.Time) *status.Project {
	v := seen.view
	st := &status.Project{
		Root: p.o.Root, Name: v.loaded.Project.Name, Protocol: p.o.Protocol, Sequence: seen.sequence, HTTP: v.http,
		Trust: v.trust, Servers: []status.Server{}, Dependencies: slices.Clone(v.deps), HubPID: os.Getpid(),
	}
	st.Trust.State = status.Untrusted
	if v.trusted() {
		st.Trust.State = status.Trusted
	}
	if st.Dependencies == nil {
		st.Dependencies = []status.Dependency{}
	}
	if !v.loaded.Project.Detected && len(v.loaded.Sources) > 0 {
		st.Config = filepath.Join(p.o.Root, spec.FileName)
	}
	for _, s := range seen.servers {
		if !s.StartedAt.IsZero() {
			s.UptimeMs = max(0, now.Sub(s.StartedAt).Milliseconds())
		}
		st.Servers = append(st.Servers, s.Server)
	}
	st.Summary = status.Summarize(st.Servers)
	st.Problems, _ = status.Visible(seen.problems, now)
	return st
}

// Close stops the servers and ends the project. It returns when they are down,
// whatever happens to ctx: nobody would stop them afterwards. keep: what ran
// stays in the snapshot, for a hub that restores it.
func (p *Project) Close(ctx context.Context, keep bool) {
	if keep {
		// Not in the middle of a look at who is wanted: it would find those that
		// are stopped below, and what ran would be forgotten.
		p.books.Lock()
		p.closing.Store(true)
		p.books.Unlock()
	}
	p.group.StopAll(context.WithoutCancel(ctx), supervisor.StopOptions{Message: "devside ends", Last: true})
	p.closing.Store(true)
	close(p.closed)
	p.cancel()
	p.caches.close()
	p.joined.Wait()
	p.group.Close()
	if p.files != nil {
		p.files.Close()
	}
	p.tracker.Close()
	if !keep {
		p.store.PutSnapshot(state.Snapshot{At: time.Now()})
	}
	p.putLedger(nil)
	if starts := startsOf(p.group.Snapshots()); len(starts) > 0 {
		p.store.PutStarts(state.Starts{ReadyMs: starts})
	}
	p.store.Close()
	p.audit.Close()
	p.root.Close() //nolint:errcheck // only read from
}
