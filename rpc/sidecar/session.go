package sidecar

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"go.lsp.dev/protocol"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/wire"
)

// phase is where a session is in LSP's life cycle.
type phase string

const (
	fresh       phase = "fresh"       // nothing but initialize is answered
	refused     phase = "refused"     // initialize was answered with an error
	initialized phase = "initialized" // initialize was answered; no folder is open yet
	serving     phase = "serving"     // folders are open
	down        phase = "down"        // shutdown was asked
)

// session is one editor's session. Its messages come in order, on one read
// loop; what they change is guarded by mu, because requests, folders and the
// end of the session look at it from goroutines of their own.
type session struct {
	o        Options
	log      zerolog.Logger
	fallback string        // the folder of a client that names none
	editor   *rpc.Conn     // set before wired is closed
	wired    chan struct{} // closed once editor is set
	over     chan int      // exit code of a session that ended by a message
	tasks    *tasks        // everything that ends with the session
	relays   *tasks        // what ends with shutdown: requests at a hub, progress, autostart
	progress progressTable
	stale    *refresher   // what the client is to ask for again
	linger   atomic.Int64 // of this session, in nanoseconds: what a new connection to a hub says
	hidden   atomic.Bool  // no diagnostics are wanted

	stopping sync.Once
	stopped  chan struct{} // closed when shutdown's work is done

	quietMu sync.Mutex // held while a notification is queued, which takes no time
	quiet   bool       // shutdown is being answered: nothing more is sent but answers

	mu      sync.Mutex
	phase   phase
	client  client
	places  []place // to be opened
	folders []*folder
	docs    documents
	// questions counts those about settings, so that the answer to an older one
	// does not hold.
	questions int
}

func newSession(ctx context.Context, o Options) *session {
	life := newTasks(ctx)
	s := &session{
		o:        o,
		log:      o.Log.With().Str("part", "sidecar").Logger(),
		fallback: nearestRoot(o.Dir),
		wired:    make(chan struct{}),
		over:     make(chan int, 1),
		tasks:    life,
		relays:   newTasks(ctx),
		stopped:  make(chan struct{}),
		phase:    fresh,
		docs:     documents{},
		stale:    newRefresher(),
	}
	return s
}

// Accept takes one message of the editor. It is the whole life cycle: what is
// answered when.
func (s *session) Accept(m rpc.Message) (rpc.Work, error) {
	<-s.wired
	if m.Notification {
		return nil, s.notification(m)
	}
	switch now := s.now(); {
	case m.Method == protocol.MethodInitialize && now == fresh:
		return s.initialize(m.Params)
	case m.Method == protocol.MethodInitialize && now != refused:
		return nil, rpc.Errorf(wire.CodeInvalidRequest, wire.ErrorData{Code: "initialized-already"}, "initialize was asked before")
	case now == fresh || now == refused:
		return nil, rpc.Errorf(wire.CodeNotInitialized, wire.ErrorData{Code: "not-initialized", Hint: "send initialize first"}, "%s before initialize", m.Method)
	case now == down:
		return nil, rpc.Errorf(wire.CodeInvalidRequest, wire.ErrorData{Code: "shut-down"}, "%s after shutdown", m.Method)
	}
	if f, ok := features[m.Method]; ok {
		s.open()
		return s.ask(f, m.Params)
	}
	switch {
	case m.Method == protocol.MethodShutdown:
		return s.shutdown(), nil
	case m.Method == protocol.MethodWorkspaceExecuteCommand:
		s.open()
		return s.executeCommand(m.Params)
	case strings.HasPrefix(m.Method, wire.MethodPrefix):
		if v, ok := verbs[strings.TrimPrefix(m.Method, wire.MethodPrefix)]; ok {
			s.open()
			return s.verb(v, m.Params, nil)
		}
	}
	return nil, rpc.Errorf(wire.CodeMethodNotFound, wire.ErrorData{Code: "unknown-method"}, "unknown method %s", m.Method)
}

// notification takes one notification. Whatever is wrong with it is only
// logged: nobody waits for an answer.
func (s *session) notification(m rpc.Message) error {
	if m.Method == protocol.MethodExit {
		s.exit()
		return nil
	}
	if now := s.now(); now != initialized && now != serving {
		return nil
	}
	switch m.Method {
	case protocol.MethodInitialized:
		s.open()
		return nil
	case protocol.MethodWindowWorkDoneProgressCancel:
		return s.cancelProgress(m.Params)
	case protocol.MethodTextDocumentDidOpen, protocol.MethodTextDocumentDidChange,
		protocol.MethodTextDocumentDidClose, protocol.MethodTextDocumentDidSave:
		s.open()
		return s.document(m)
	case protocol.MethodWorkspaceDidChangeConfiguration:
		s.open()
		s.configure(false)
		return nil
	case protocol.MethodWorkspaceDidChangeWatchedFiles:
		s.eachFolder(func(f *folder) { f.inbox.put(filesChanged{}) })
		return nil
	case protocol.MethodWorkspaceDidChangeWorkspaceFolders:
		s.open()
		return s.changeFolders(m.Params)
	}
	return rpc.Errorf(wire.CodeMethodNotFound, nil, "unknown notification %s", m.Method)
}

func (s *session) now() phase {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase
}

func (s *session) in(p phase) bool { return s.now() == p }

func (s *session) initialize(params json.RawMessage) (rpc.Work, error) {
	if s.o.Refused != nil {
		s.setPhase(refused)
		s.log.Error().Err(s.o.Refused).Msg("refused")
		s.tasks.run(func(ctx context.Context) {
			timer := time.NewTimer(refusedWithin)
			defer timer.Stop()
			select {
			case <-timer.C:
				s.end(ExitRefused)
			case <-s.editor.Done():
			case <-ctx.Done():
			}
		})
		return nil, refusal(s.o.Refused)
	}
	var p initializeParams
	if len(params) > 0 {
		if err := json.Unmarshal(params, &p); err != nil {
			return nil, rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{Code: "invalid-params"}, "initialize: %v", err)
		}
	}
	c := readClient(p, s.o.Trust)
	result, err := initializeResult(s.o.Version, c.capabilities)
	if err != nil {
		return nil, err
	}
	at, notes := places(p, s.o.Root, s.fallback)
	c.notes = append(c.notes, notes...)
	s.mu.Lock()
	s.phase, s.client, s.places = initialized, c, at
	s.mu.Unlock()
	s.linger.Store(int64(c.linger))
	s.hidden.Store(c.hidden)
	s.log.Info().Str("client", c.name).Int("folders", len(at)).Bool("trusted", c.trusted).Msg("initialize")
	if c.pid > 0 {
		s.tasks.run(func(ctx context.Context) { s.watchParent(ctx, c.pid) })
	}
	return rpc.Answer(result), nil
}

func (s *session) setPhase(p phase) {
	s.mu.Lock()
	s.phase = p
	s.mu.Unlock()
}

// open opens the folders, with the first message after initialize: from then
// on a client can take notifications.
func (s *session) open() {
	s.mu.Lock()
	if s.phase != initialized {
		s.mu.Unlock()
		return
	}
	s.phase = serving
	for _, at := range s.places {
		s.addFolder(at)
	}
	c, folders := s.client, slices.Clone(s.folders)
	s.mu.Unlock()
	for _, note := range c.notes {
		s.tell(protocol.MessageTypeWarning, note)
	}
	if c.refresh != (refreshes{}) {
		s.relays.run(s.keepFresh)
	}
	if c.auto.on {
		for _, f := range folders {
			s.autostart(f, c.auto.servers)
		}
	}
	s.configure(true)
}

// addFolder opens a folder unless it is open. The caller holds mu.
func (s *session) addFolder(at place) {
	if slices.ContainsFunc(s.folders, func(f *folder) bool { return f.path == at.path }) {
		return
	}
	f := newFolder(s, at, s.client)
	s.folders = append(s.folders, f)
	s.tasks.run(f.run)
	s.docs.rehome(s.folders)
}

// changeFolders is workspace/didChangeWorkspaceFolders. With --root the
// session is about that folder, whatever the window shows.
func (s *session) changeFolders(params json.RawMessage) error {
	var p struct {
		Event struct {
			Added   []workspaceFolder `json:"added"`
			Removed []workspaceFolder `json:"removed"`
		} `json:"event"`
	}
	if err := json.Unmarshal(params, &p); err != nil {
		return fmt.Errorf("read workspace folders: %w", err)
	}
	if s.o.Root != "" {
		return nil
	}
	var notes []string
	s.mu.Lock()
	for _, w := range p.Event.Removed {
		at, err := placeOfURI(w.URI)
		if err != nil {
			continue // it was left out when it came
		}
		if i := slices.IndexFunc(s.folders, func(f *folder) bool { return f.path == at.path }); i >= 0 {
			f := s.folders[i]
			s.folders = slices.Delete(s.folders, i, i+1)
			f.inbox.put(leaveAsked{by: time.Now().Add(stopWithin)})
		}
	}
	for _, w := range p.Event.Added {
		at, err := placeOfURI(w.URI)
		if err != nil {
			notes = append(notes, fmt.Sprintf("folder left out: %v", err))
			continue
		}
		s.addFolder(at)
	}
	s.docs.rehome(s.folders)
	s.mu.Unlock()
	for _, note := range notes {
		s.tell(protocol.MessageTypeWarning, note)
	}
	return nil
}

func (s *session) eachFolder(do func(f *folder)) {
	s.mu.Lock()
	folders := slices.Clone(s.folders)
	s.mu.Unlock()
	for _, f := range folders {
		do(f)
	}
}

// shutdown begins to stop at once, so that it goes on whatever becomes of the
// request, and is answered when that is done.
func (s *session) shutdown() rpc.Work {
	s.setPhase(down)
	s.beginStop()
	return func(ctx context.Context) (any, error) {
		select {
		case <-s.stopped:
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// beginStop cancels what is under way, leaves every hub and clears every
// diagnostic, all within stopWithin. stopped is closed when that is done.
func (s *session) beginStop() {
	s.stopping.Do(func() {
		s.mu.Lock()
		folders := slices.Clone(s.folders)
		s.mu.Unlock()
		s.relays.cancel()
		by := time.Now().Add(stopWithin)
		for _, f := range folders {
			f.inbox.put(leaveAsked{by: by})
		}
		s.tasks.run(func(ctx context.Context) {
			defer close(s.stopped)
			defer s.hush()
			timer := time.NewTimer(stopWithin)
			defer timer.Stop()
			for _, f := range folders {
				select {
				case <-f.done:
				case <-timer.C:
					s.log.Warn().Msg("hubs not left in time")
					return
				}
			}
			s.relays.wait() // they have been cancelled: nothing of theirs waits for a peer
		})
	})
}

// exit is LSP's exit: 0 after shutdown, else 1.
func (s *session) exit() {
	switch s.now() {
	case down:
		s.end(ExitOK)
	case refused:
		s.end(ExitRefused)
	default:
		s.log.Warn().Msg("exit without shutdown")
		s.end(ExitAbrupt)
	}
}

// end makes Run return. The first reason counts.
func (s *session) end(code int) {
	select {
	case s.over <- code:
	default:
	}
}

// tell writes to the client's log, show into the user's view.
func (s *session) tell(kind protocol.MessageType, text string) {
	s.notify(protocol.MethodWindowLogMessage, &protocol.LogMessageParams{Type: kind, Message: text})
}

func (s *session) show(kind protocol.MessageType, text string) {
	s.notify(protocol.MethodWindowShowMessage, &protocol.ShowMessageParams{Type: kind, Message: text})
}

// notify sends a protocol value to the editor.
func (s *session) notify(method string, params any) {
	raw, err := encode(params)
	if err != nil {
		s.log.Error().Err(err).Str("method", method).Msg("not sent to the editor")
		return
	}
	s.send(method, raw)
}

// send queues a notification for the editor. Once shutdown is being answered
// it sends nothing: a client that is stopping does not expect it any more.
func (s *session) send(method string, params any) {
	s.quietMu.Lock()
	defer s.quietMu.Unlock()
	if s.quiet {
		return
	}
	if err := s.editor.Notify(method, params); err != nil {
		s.log.Debug().Err(err).Str("method", method).Msg("not sent to the editor")
	}
}

func (s *session) hush() {
	s.quietMu.Lock()
	s.quiet = true
	s.quietMu.Unlock()
}

// watchParent ends the session when the editor's process has gone. It watches
// only a process that it can see as an ancestor of this one: in a container the
// pid is that of another world, and may be anybody's here.
func (s *session) watchParent(ctx context.Context, pid int) {
	id, ok := s.o.Identify(pid)
	if !ok {
		s.log.Info().Int("pid", pid).Msg("editor's process not visible from here, so not watched")
		return
	}
	ticker := time.NewTicker(parentEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if now, ok := s.o.Identify(pid); !ok || now != id {
			s.log.Warn().Int("pid", pid).Msg("the editor's process has gone")
			s.end(ExitAbrupt)
			return
		}
	}
}
