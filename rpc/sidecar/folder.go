package sidecar

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.lsp.dev/protocol"

	"github.com/devside/devside/editor"
	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// publishAfter gathers changes before diagnostics are published: a hub sends up
// to ten snapshots a second, a typist as many texts, and clients redraw on each.
const publishAfter = 100 * time.Millisecond

// lookEvery is how often a folder without a hub looks whether another editor, or
// a terminal, has started one: a connection to a socket that is not there takes
// some 50 µs.
const lookEvery = 2 * time.Second

// folder is what others know of a workspace folder. Whatever changes about it
// belongs to its keeper, which others send events to; the three values that
// they may read are written by the keeper alone.
type folder struct {
	place
	s      *session
	client client
	inbox  *inbox
	done   chan struct{} // closed when the keeper has ended

	resolved chan struct{} // closed once real is set
	real     string        // path without symlinks: the hub's root
	link     atomic.Pointer[link]
	newest   atomic.Pointer[status.Project]
	watchers watchers
}

func newFolder(s *session, at place, c client) *folder {
	return &folder{place: at, s: s, client: c, inbox: newInbox(), done: make(chan struct{}), resolved: make(chan struct{})}
}

// contains says where in the folder a path is. Until the folder's real path is
// known only the path the client gave counts.
func (f *folder) contains(path string) (file string, ok bool) {
	if file, ok = below(f.path, path); ok {
		return file, true
	}
	select {
	case <-f.resolved:
		return below(f.real, path)
	default:
		return "", false
	}
}

// is reports whether the folder was meant by a root that a client gave. It may
// wait for the file system.
func (f *folder) is(path string) bool {
	if path == f.path {
		return true
	}
	<-f.resolved
	if path == f.real {
		return true
	}
	real, err := filepath.EvalSymlinks(path)
	return err == nil && real == f.real
}

// hub returns the folder's connection, and has one made, with a new hub if need
// be, when there is none.
func (f *folder) hub(ctx context.Context) (*link, error) {
	if l := f.link.Load(); l != nil && !l.ended() {
		return l, nil
	}
	answer := make(chan hubAnswer, 1) // the keeper never waits
	f.inbox.put(hubWanted{answer: answer})
	select {
	case a := <-answer:
		return a.link, a.err
	case <-f.done:
		return nil, hubError(errors.New("the folder was closed"))
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// hubError is what a request gets that needs a hub and has none.
func hubError(err error) error {
	var known *rpc.Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, context.Canceled):
		return err
	}
	return rpc.Errorf(wire.CodeHubLost, wire.ErrorData{Code: "hub-lost",
		Hint: "ask again: the next request starts the hub"}, "reach the hub: %v", err)
}

// keeper owns everything mutable about one folder. It is one goroutine, run.
type keeper struct {
	*folder
	links *tasks // attempts to reach a hub, and the connection that came of one

	buffers map[string]buffer // open files, by their path in the folder
	loaded  *spec.Loaded
	known   *spec.Project // the newest that had servers
	stamp   string        // of the files that loaded came from
	stale   bool          // loaded is to be read again whatever the stamp says
	status  *status.Project
	memory  editor.Memory // of the snapshots of this session
	shown   shown         // as the client was last told to ask for it

	published map[string]digest // what the client shows, by URI
	keep      Shown             // where these URIs are kept for the next session; nil: nowhere
	kept      []string          // those that are
	publish   *time.Timer
	publishes bool // publish is running

	current  *link
	dialing  bool
	starting bool               // that attempt may start a hub
	wanted   []chan<- hubAnswer // requests that wait for it
	held     bool               // a hub was held, so its servers are to come back with the next
	attempts []time.Time        // to have the lost hub back
	retry    *time.Timer
	gaveUp   bool // and the user was told
	leaving  bool
}

// run keeps the folder until it has been left, or ctx ends.
func (f *folder) run(ctx context.Context) {
	defer close(f.done)
	f.resolve()
	k := &keeper{folder: f, links: newTasks(ctx), buffers: map[string]buffer{}, published: map[string]digest{}, stale: true,
		publish: stoppedTimer(), retry: stoppedTimer()}
	defer k.links.stop()
	defer k.publish.Stop()
	defer k.retry.Stop()
	k.recall()
	k.publishSoon()
	k.dial(false)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-f.inbox.wake:
			for _, e := range f.inbox.take() {
				if k.handle(e) {
					return
				}
			}
		case <-look.C:
			k.lookForHub()
		case <-k.publish.C:
			k.publishes = false
			k.publishNow()
		case <-k.retry.C:
			if k.current == nil && !k.dialing {
				k.attempts = append(k.attempts, time.Now())
				k.dial(true)
			}
		case <-ctx.Done():
			return
		}
	}
}

// resolve finds the real path, on the folder's goroutine because a file system
// can take its time.
func (f *folder) resolve() {
	f.real = f.path
	if real, err := filepath.EvalSymlinks(f.path); err == nil {
		f.real = real
	}
	close(f.resolved)
	if f.real != f.path {
		f.s.mu.Lock()
		f.s.docs.rehome(f.s.folders)
		f.s.mu.Unlock()
	}
}

func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// handle takes one event. It returns true when the folder has been left.
func (k *keeper) handle(e event) bool {
	switch e := e.(type) {
	case bufferChanged:
		was, open := k.buffers[e.file]
		saved := was.saved
		if !open {
			saved = e.text
		}
		k.buffers[e.file] = buffer{uri: e.uri, text: e.text, saved: saved, version: e.version}
		if !open || was.text != e.text || was.uri != e.uri {
			k.configChanged()
		}
		if !open {
			k.lookForHub()
		}
	case bufferClosed:
		if _, open := k.buffers[e.file]; open {
			delete(k.buffers, e.file)
			k.configChanged()
		}
	case fileSaved:
		if b, open := k.buffers[e.file]; open {
			b.saved = b.text
			k.buffers[e.file] = b
		}
		k.configChanged()
		k.reload(e.file)
		k.lookForHub()
	case filesChanged:
		k.publishSoon()
	case viewWanted:
		if k.load() {
			k.publishSoon()
		}
		e.answer <- k.moment()
	case hubWanted:
		k.want(e.answer)
	case dialed:
		return k.dialed(e)
	case statusCame:
		if e.link == k.current {
			k.statusCame(e)
		} // else late, ignored
	case reloaded:
		if e.link == k.current {
			k.configChanged()
		} // else late, ignored
	case hubLost:
		if e.link == k.current {
			return k.hubLost()
		} // else late, ignored
	case leaveAsked:
		return k.leave(e.by)
	case left:
		return true
	}
	return false
}

// lookForHub finds a hub that somebody else has started since we looked.
func (k *keeper) lookForHub() {
	if k.current == nil && !k.dialing && !k.held && !k.leaving {
		k.dial(false)
	}
}

func (k *keeper) configChanged() {
	k.stale = true
	k.publishSoon()
}

// want answers a request that needs a hub, now or when there is one.
func (k *keeper) want(answer chan<- hubAnswer) {
	if k.current != nil && k.current.ended() {
		k.hubLost() // its own word for it is still on the way
	}
	switch {
	case k.leaving:
		answer <- hubAnswer{err: hubError(errors.New("the folder is being left"))}
	case k.current != nil:
		answer <- hubAnswer{link: k.current}
	default:
		k.wanted = append(k.wanted, answer)
		if !k.dialing {
			k.retry.Stop()
			k.dial(true)
		}
	}
}

func (k *keeper) answerWanted(a hubAnswer) {
	for _, answer := range k.wanted {
		answer <- a
	}
	k.wanted = nil
}

// dial begins an attempt to reach the hub.
func (k *keeper) dial(start bool) {
	k.dialing, k.starting = true, start
	hello := k.hello()
	hello.Resume = k.held
	l := newLink(k.folder)
	k.links.run(func(ctx context.Context) { l.run(ctx, hello, start) })
}

func (k *keeper) dialed(e dialed) bool {
	k.dialing = false
	switch {
	case k.leaving:
		return k.current == nil
	case e.err == nil:
		k.current, k.held, k.gaveUp = e.link, true, false
		k.folder.link.Store(e.link)
		k.answerWanted(hubAnswer{link: e.link})
		return false
	case len(k.wanted) > 0 && !k.starting:
		k.dial(true) // the request came while we only looked for a hub
		return false
	}
	k.s.log.Debug().Err(e.err).Str("root", k.real).Bool("start", k.starting).Msg("no hub")
	var told *rpc.Error
	if len(k.wanted) == 0 && errors.As(e.err, &told) {
		k.s.tell(protocol.MessageTypeWarning, told.Message) // such as a hub of another version
	}
	k.answerWanted(hubAnswer{err: hubError(e.err)})
	if k.held {
		k.retryLater()
	}
	return false
}

func (k *keeper) hubLost() bool {
	asked := k.current.quit.Load()
	k.current = nil
	k.folder.link.Store(nil)
	k.status = nil
	k.newest.Store(nil)
	if k.leaving {
		return true
	}
	if asked { // by this client: the next request that needs a hub starts one
		k.held = false
		k.publishSoon()
		return false
	}
	k.s.tell(protocol.MessageTypeWarning, "devside: the hub of "+k.path+" ended without being asked; starting it again")
	k.publishSoon()
	k.retryLater()
	return false
}

// retryLater has the hub back after a while, or gives up until the next request.
func (k *keeper) retryLater() {
	var delay time.Duration
	var again bool
	k.attempts, delay, again = nextAttempt(k.attempts, time.Now())
	if !again {
		if k.gaveUp {
			return
		}
		k.gaveUp = true
		k.s.show(protocol.MessageTypeError, "devside: the hub of "+k.path+" ended again and again. The next command tries once more; its log says why it ended.")
		return
	}
	k.retry.Reset(delay)
}

// Bounds of having a lost hub back: the same numbers as VS Code's for a
// language server, and delays that let a short fault pass.
const (
	maxAttempts   = 5
	attemptWindow = 3 * time.Minute
)

var attemptDelays = [maxAttempts]time.Duration{0, 250 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second}

// nextAttempt decides when to try again, given when it was tried before. recent
// is what of that still counts; again is false when it was tried often enough.
func nextAttempt(before []time.Time, now time.Time) (recent []time.Time, delay time.Duration, again bool) {
	for _, at := range before {
		if now.Sub(at) < attemptWindow {
			recent = append(recent, at)
		}
	}
	if len(recent) >= maxAttempts {
		return recent, 0, false
	}
	return recent, attemptDelays[len(recent)], true
}

// leave clears what the client shows and gives up the hub.
func (k *keeper) leave(by time.Time) bool {
	if k.leaving {
		return false
	}
	k.leaving = true
	k.publish.Stop()
	k.retry.Stop()
	k.clear()
	k.answerWanted(hubAnswer{err: hubError(errors.New("the folder is being left"))})
	if k.current == nil {
		return true
	}
	conn := k.current.conn
	k.links.run(func(ctx context.Context) {
		ctx, cancel := context.WithDeadline(ctx, by)
		defer cancel()
		var result wire.LeaveResult
		if err := conn.Call(ctx, wire.Leave, nil, &result); err != nil {
			k.s.log.Warn().Err(err).Str("root", k.real).Msg("leave the hub")
		}
		k.inbox.put(left{})
	})
	return false
}

// reload asks a connected hub to read the configuration that was saved.
func (k *keeper) reload(file string) {
	detected := k.loaded != nil && k.loaded.Project.Detected
	if k.current == nil || file != spec.FileName && !detected {
		return
	}
	conn := k.current.conn
	k.links.run(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, answerWithin)
		defer cancel()
		if err := conn.Call(ctx, wire.MethodPrefix+"reload", nil, nil); err != nil {
			k.s.log.Warn().Err(err).Str("root", k.real).Msg("reload")
		}
	})
}

// watchers are the progress reports that follow a folder's snapshots.
type watchers struct {
	mu  sync.Mutex
	set map[chan *status.Project]struct{}
}

// add returns a channel that always holds the newest snapshot not yet read.
func (w *watchers) add() chan *status.Project {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.set == nil {
		w.set = map[chan *status.Project]struct{}{}
	}
	c := make(chan *status.Project, 1)
	w.set[c] = struct{}{}
	return c
}

func (w *watchers) remove(c chan *status.Project) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.set, c)
}

// tell is called by the keeper only, so nothing can fill a channel between the
// two selects.
func (w *watchers) tell(st *status.Project) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.set {
		select {
		case <-c:
		default:
		}
		select {
		case c <- st:
		default:
		}
	}
}
