// Package hub serves one project to many clients on a socket: editors'
// sidecars, the command line, agents. It speaks devside/* and knows nothing of
// LSP.
//
// It never lets a client that is slow, or silent, or gone, hold up another or
// the servers; it never runs longer than somebody holds it; and a client is
// told nothing before it has said hello and been accepted.
//
// One goroutine (Run) owns who is connected and who holds. How long the hub
// lives is decided in holds.go. Start reading at Run, then session.go.
package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/socket"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor"
	"github.com/devside/devside/supervisor/project"
)

const (
	// firstPatience is how long a new hub waits for its first holder: the
	// client that started it says hello within milliseconds.
	firstPatience = 10 * time.Second
	// helloPatience is how long a connection may stay without a hello.
	helloPatience = 5 * time.Second
	// leavePatience bounds the answer to leave: editors kill a language server
	// 1.5 to 2 s after shutdown.
	leavePatience = 1200 * time.Millisecond
	// lastPatience bounds the wait for answers that are due when the hub ends:
	// its servers are down by then, so that nothing takes long.
	lastPatience = time.Second
	// acceptPause is how long accept rests after a failure: it lasts, when
	// there are no descriptors left, until somebody gives some back.
	acceptPause = 100 * time.Millisecond
	// maxClients bounds the connections; a person has a handful.
	maxClients = 256
)

// patience is how long the hub waits for what; tests have less of it.
type patience struct{ first, hello, leave, write time.Duration }

func (p patience) orDefault() patience {
	return patience{cmp.Or(p.first, firstPatience), cmp.Or(p.hello, helloPatience), cmp.Or(p.leave, leavePatience), cmp.Or(p.write, rpc.DefaultWriteTimeout)}
}

// ErrGuardianLost: the guardian has died, so that nobody would end the servers
// if this hub died, too.
var ErrGuardianLost = errors.New("the guardian has died")

// Options of a hub.
type Options struct {
	Root     string // real path
	Version  string
	Project  *project.Project
	Listener net.Listener
	Life     <-chan struct{} // closed when the guardian has died
	Log      zerolog.Logger
	HTTP     HTTP  // nil: there is none
	Meter    Meter // nil: nobody is told

	patience patience
}

// HTTP is the hub's HTTP side.
type HTTP interface {
	// Serve has it listen and returns its base URL and the token; an empty address
	// is where it listens already, or a default.
	Serve(ctx context.Context, address string) (url, token string, err error)
}

// Meter is told what is measured. Its methods must not wait.
type Meter interface {
	// Answered: a client's request was answered.
	Answered(method string, took time.Duration, failed bool)
	// Clients: so many are connected now.
	Clients(n int)
}

// unmeasured is the Meter of a hub without one.
type unmeasured struct{}

func (unmeasured) Answered(string, time.Duration, bool) {}
func (unmeasured) Clients(int)                          {}

// Hub is the server side of one project.
type Hub struct {
	o          Options
	asks       chan func() // run by Run's goroutine
	done       chan struct{}
	background sync.WaitGroup

	// Only Run's goroutine touches what follows.
	sessions map[int]*session
	nextID   int
	holds    holds
	stopped  chan struct{} // not nil: all servers are being stopped because nobody holds; closed when they are down
	quitting bool          // a client asked for the end, and nobody has come since who holds
}

// Run serves until nobody holds the hub, ctx ends or the guardian dies. The
// servers are stopped in the first case; the caller closes the project in
// every case. Everything that used the project has ended when Run returns.
func Run(ctx context.Context, o Options) error {
	o.patience = o.patience.orDefault()
	if o.Meter == nil {
		o.Meter = unmeasured{}
	}
	h := &Hub{o: o, asks: make(chan func()), done: make(chan struct{}), sessions: map[int]*session{}, holds: newHolds(time.Now().Add(o.patience.first))}
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		h.accept()
	}()
	err := h.loop(ctx)
	close(h.done)
	wait := lastPatience
	if err != nil {
		wait = 0 // nobody is owed an answer: the servers wait to be stopped
	}
	err = errors.Join(err, o.Listener.Close())
	<-accepting
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait)
	defer cancel()
	h.closeSessions(ctx, last)
	return err
}

// closeSessions ends the connections, once what is due on them is answered or
// ctx has ended, and joins what served them. What can't be written before last
// ends is not written: a client that does not read holds up nobody's end.
func (h *Hub) closeSessions(ctx, last context.Context) {
	for _, s := range h.sessions {
		stop := context.AfterFunc(last, func() { s.raw.Close() }) //nolint:errcheck // it may have gone before us
		defer stop()
		h.background.Go(func() { s.conn.Finish(ctx) }) //nolint:errcheck // as above
	}
	h.background.Wait()
}

func (h *Hub) loop(ctx context.Context) error {
	sub := h.o.Project.Subscribe()
	defer sub.Close()
	timer := time.NewTimer(h.o.patience.first)
	defer timer.Stop()
	for {
		select {
		case ask := <-h.asks:
			ask()
		case <-sub.News:
			sub.Events() // not ours to keep
			h.holds.rest(h.o.Project.AllStopped(), time.Now())
		case <-timer.C:
		case <-h.stopped:
			h.stopped = nil
			if h.ending() {
				return nil
			}
		case <-h.o.Life:
			return ErrGuardianLost
		case <-ctx.Done():
			return nil
		}
		switch {
		case h.stopped != nil: // looked at again when all is stopped
		case h.ending():
			h.stopServers(ctx)
		default:
			timer.Reset(h.holds.expires(time.Now()))
		}
	}
}

// ending reports that the hub's time is over.
func (h *Hub) ending() bool {
	return h.quitting || h.holds.expires(time.Now()) == 0
}

// stopServers stops everything; a holder that comes meanwhile keeps the hub.
func (h *Hub) stopServers(ctx context.Context) {
	h.o.Log.Info().Msg("nobody holds the project any more: its servers are stopped")
	stopped := make(chan struct{})
	h.stopped = stopped
	h.background.Go(func() {
		defer close(stopped)
		if _, err := h.o.Project.Stop(context.WithoutCancel(ctx), nil, supervisor.StopOptions{Message: "nobody needs it any more"}); err != nil {
			h.o.Log.Error().Err(err).Msg("stop the servers")
		}
	})
}

// ask runs f on Run's goroutine and waits for it; false: the hub has ended.
func (h *Hub) ask(f func()) bool {
	ran := make(chan struct{})
	select {
	case h.asks <- func() { f(); close(ran) }:
		<-ran
		return true
	case <-h.done:
		return false
	}
}

// accept takes clients until the listener is closed.
func (h *Hub) accept() {
	for {
		c, err := socket.Accept(h.o.Listener, h.refused)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			h.o.Log.Error().Err(err).Msg("accept a client")
			if !h.pause(acceptPause) {
				return
			}
		case !h.ask(func() { h.welcome(c) }):
			c.Close() //nolint:errcheck // nobody serves it any more
			return
		}
	}
}

// refused takes note of a connection that was closed before a word was said.
func (h *Hub) refused(err error) {
	h.o.Log.Warn().Err(err).Msg("refused a client")
	var stranger *socket.StrangerError
	if errors.As(err, &stranger) {
		h.o.Project.RefusedClient(stranger.PID, stranger.UID)
	}
}

// pause waits; false: the hub has ended.
func (h *Hub) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-h.done:
		return false
	}
}

// welcome makes a session of a connection.
func (h *Hub) welcome(c net.Conn) {
	if len(h.sessions) >= maxClients {
		h.o.Log.Warn().Int("clients", len(h.sessions)).Msg("refused a client: too many")
		c.Close() //nolint:errcheck // refused
		return
	}
	h.nextID++
	s := newSession(h, h.nextID, c)
	h.sessions[s.id] = s
	h.o.Meter.Clients(len(h.sessions))
	s.conn = rpc.New(c, s, rpc.Options{
		Name: fmt.Sprintf("client %d", s.id), Log: h.o.Log, WriteTimeout: h.o.patience.write, Answered: h.o.Meter.Answered,
	})
	h.background.Go(s.run)
}

// join takes note of a client whose hello was accepted.
func (h *Hub) join(s *session) {
	if _, here := h.sessions[s.id]; here && s.hello.Role == wire.Holder {
		h.holds.join(s.id, lingerOf(s.hello.LingerMs), time.Now())
		h.quitting = false
	}
}

// beginStart takes note of a start that holds the hub.
func (h *Hub) beginStart() {
	h.holds.beginStart(time.Now())
	h.quitting = false
}

// left takes note of a client that has gone.
func (h *Hub) left(s *session) {
	h.ask(func() {
		delete(h.sessions, s.id)
		h.o.Meter.Clients(len(h.sessions))
		h.holds.leave(s.id, time.Now())
	})
}
