// Package sidecar is the LSP session on stdio: what an editor talks to. It
// holds the open documents, keeps one connection to the hub of every folder,
// passes devside/* on, publishes what the hubs and the configuration say as
// diagnostics and progress, and answers what is asked about a file from the
// newest of both.
//
// It never starts, stops or signals a process of the project, never waits for
// a hub before it answers initialize, never sends a request that the client
// did not declare, and never blocks on a read loop: what needs I/O or time is
// done by the goroutine of the folder concerned, or by that of the request.
//
// Start reading at Run here, then Accept in session.go (one message of the
// editor), then keeper in folder.go (everything mutable about one folder), then
// features.go (what is asked about a file).
package sidecar

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/wire"
)

// Exit codes of Run; the same numbers as the command line's.
const (
	ExitOK       = 0
	ExitAbrupt   = 1 // the editor went away, or said exit, without shutdown
	ExitRefused  = 5
	ExitProtocol = 6
)

// Time bounds of the end of a session.
const (
	// stopWithin bounds the work of `shutdown`: eglot kills after 1.4 s
	// without an answer, VS Code after 2 s.
	stopWithin = 1200 * time.Millisecond
	// exitWithin is how long a client may take from the answer to `shutdown`
	// to `exit`. Some never send it.
	exitWithin = 3 * time.Second
	// refusedWithin lets a client read why initialize was refused, and close
	// by itself, before the connection is closed under it.
	refusedWithin = 500 * time.Millisecond
	// parentEvery is the pace at which the editor's process is looked at. The
	// end of stdin is the signal; this is for editors whose stdin outlives them.
	parentEvery = 3 * time.Second
)

// maxInFlight is how many requests of the editor may be at hubs at once. They
// cost a goroutine that waits, so a client that pipelines need not be turned
// away; each hub bounds its own work.
const maxInFlight = 1024

// Dial connects to the hub of hello.Root and has introduced the session when it
// returns. Without a hub it starts one if start is set, and fails otherwise.
// h takes what the hub sends, from its first message on. Dial must return when
// ctx ends.
type Dial func(ctx context.Context, hello wire.HelloParams, start bool, h rpc.Handler) (*rpc.Conn, wire.HelloResult, error)

// Options are what a session needs from outside.
type Options struct {
	RWC     io.ReadWriteCloser // the editor
	Version string
	Log     zerolog.Logger
	Trust   bool   // --trust
	Root    string // --root: used in place of the client's folders
	HTTP    string // --http: where the hubs are to serve HTTP
	Refused error  // why nothing is served (devside runs as root); nil: served
	Dial    Dial
	Getenv  func(string) string
	Environ []string // KEY=value: given to the hub for the servers started from here
	Dir     string   // the working directory; empty: os.Getwd
	// Taken reports whether a port is taken on this machine. nil: none is known to be.
	Taken func(port int) bool
	// ServerLog names the file of what a server of a folder prints, by its absolute
	// path; empty, or nil: there is none. It may be called by any goroutine.
	ServerLog func(root, server string) string
	// Shown keeps which files an editor, by its pid, shows diagnostics of, from one
	// session to the next in the same folder. nil: nothing is kept.
	Shown func(root string, editor int) Shown
	// Identify tells processes apart: the same id is the same process, and ok
	// is false when there is none with this pid that is an ancestor of ours.
	// nil: asked of the system.
	Identify func(pid int) (id string, ok bool)
}

// Shown is where a folder's session keeps which files show diagnostics, for the
// session that comes after a crash. Its methods are called by one goroutine.
type Shown interface {
	Load() ([]string, error)
	Save(uris []string) error
}

// Run serves one session and returns its exit code: 0 after shutdown, 1 when
// the editor left or ctx ended without it, 5 when refused, 6 when the bytes
// were no protocol. When it returns, every folder's hub has been left and every
// goroutine has ended.
func Run(ctx context.Context, o Options) int {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Identify == nil {
		o.Identify = identify
	}
	if o.Dir == "" {
		o.Dir, _ = os.Getwd() // none: a client that names its folder needs none
	}
	s := newSession(context.WithoutCancel(ctx), o)
	s.editor = rpc.New(o.RWC, s, rpc.Options{Name: "editor", Log: o.Log, MaxInFlight: maxInFlight})
	close(s.wired)
	code := s.wait(ctx)
	s.beginStop()
	<-s.stopped
	if err := s.editor.Close(); err != nil {
		o.Log.Debug().Err(err).Msg("close editor connection")
	}
	s.tasks.stop()
	// Works end with the connection: this only waits for their goroutines.
	joined, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	if err := s.editor.Wait(joined); err != nil {
		o.Log.Warn().Err(err).Msg("requests still running at the end")
	}
	o.Log.Info().Int("code", code).Msg("session ended")
	return code
}

// wait returns when the session is over, with its exit code.
func (s *session) wait(ctx context.Context) int {
	var patience <-chan time.Time // for the exit that follows a shutdown
	stopped := s.stopped
	for {
		select {
		case code := <-s.over:
			return code
		case <-ctx.Done():
			s.log.Info().Msg("asked to end")
			return ExitAbrupt
		case <-s.editor.Done():
			return s.codeOf(s.editor.Err())
		case <-stopped:
			stopped = nil
			timer := time.NewTimer(exitWithin)
			defer timer.Stop()
			patience = timer.C
		case <-patience:
			s.log.Info().Msg("no exit after shutdown")
			return ExitOK
		}
	}
}

// codeOf is the exit code of a connection that ended with err.
func (s *session) codeOf(err error) int {
	select {
	case code := <-s.over: // exit came just before the end of the input
		return code
	default:
	}
	switch {
	case s.in(down):
		return ExitOK
	case s.in(refused):
		return ExitRefused
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe),
		errors.Is(err, rpc.ErrClosed), errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET):
		s.log.Info().Err(err).Msg("the editor went away")
		return ExitAbrupt
	}
	s.log.Error().Err(err).Msg("editor connection failed")
	return ExitProtocol
}
