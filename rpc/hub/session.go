package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/socket"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor"
	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/project"
	"github.com/devside/devside/supervisor/status"
)

// session is one client. The read loop of its connection owns greeted and
// hello; what the works need of them is read-only afterwards.
type session struct {
	h        *Hub
	id       int
	raw      net.Conn
	conn     *rpc.Conn // of raw; set before Run does anything that the client asks for
	hello    wire.HelloParams
	greeted  bool
	sub      *project.Subscription // set before welcomed is closed
	welcomed chan struct{}         // closed when the hub has taken note of the hello

	mu      sync.Mutex
	follows map[string]following // nil: the connection has ended
	tokens  int
}

func newSession(h *Hub, id int, raw net.Conn) *session {
	return &session{h: h, id: id, raw: raw, welcomed: make(chan struct{}), follows: map[string]following{}}
}

// run lives as long as the connection and its works: it waits for the hello,
// then tells the client what is new.
func (s *session) run() {
	patience := time.NewTimer(s.h.o.patience.hello)
	defer patience.Stop()
	select {
	case <-s.welcomed:
		s.push()
	case <-patience.C:
		s.h.o.Log.Warn().Int("client", s.id).Msg("closed a connection that did not say hello")
		s.conn.Close() //nolint:errcheck // refused
	case <-s.conn.Done():
	}
	<-s.conn.Done()
	s.h.left(s)
	s.endFollows()
	s.conn.Wait(context.Background()) //nolint:errcheck // can't be: its context does not end
	// Only now is it sure whether a hello that was under way has vouched.
	select {
	case <-s.welcomed:
		s.vouch(-1)
		s.sub.Close()
	default:
	}
}

// vouch counts the client among those that vouch for the project, if it does.
func (s *session) vouch(n int) {
	if s.hello.Trusted {
		s.h.o.Project.Vouch(n)
	}
}

// over ends the connection because the hub has ended: its client then sees a
// hub that has gone, which says more than an error would.
func (s *session) over() (any, error) {
	s.conn.Close() //nolint:errcheck // it may have ended
	return nil, rpc.ErrClosed
}

// statusEvery is the shortest time between two statuses (DESIGN §5: at most 10
// a second).
const statusEvery = 100 * time.Millisecond

// push sends events as they come and the newest status, until the connection
// ends. A client that reads slowly gets fewer statuses, and slows only this
// goroutine.
func (s *session) push() {
	sub := s.sub
	send := func(method string, params any) bool {
		// A wait for the client ends with the connection.
		return s.conn.NotifyPaced(context.Background(), method, params) == nil
	}
	var sent uint64
	var next time.Time // when a status may be sent again
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		select {
		case <-s.conn.Done():
			return
		case <-sub.News:
			due.Reset(time.Until(next))
		case <-due.C:
			st := s.h.o.Project.Status()
			if st.Sequence == sent {
				break
			}
			sent, next = st.Sequence, time.Now().Add(statusEvery)
			if !send(wire.DidChangeStatus, st) {
				return
			}
		}
		for _, e := range sub.Events() {
			if !send(wire.DidHappen, wire.DidHappenParams{Root: s.h.o.Root, Event: e}) {
				return
			}
		}
	}
}

// Accept takes one message of the client, on the connection's read loop.
func (s *session) Accept(m rpc.Message) (rpc.Work, error) {
	switch {
	case m.Notification:
		return nil, nil // a hub takes none
	case m.Method == wire.Hello:
		return s.greet(m)
	case m.Method == wire.Quit:
		return s.quit(m)
	case !s.greeted:
		return nil, rpc.Errorf(wire.CodeNotInitialized, wire.ErrorData{Code: "hello-first"}, "say %s first", wire.Hello)
	case m.Method == wire.Leave:
		return s.onceWelcomed(s.leave), nil
	case m.Method == wire.Hurry:
		// A work, and no Answer: the end that it brings about waits for works.
		return func(context.Context) (any, error) {
			s.h.o.Project.Hurry()
			return nil, nil
		}, nil
	}
	verb, ok := strings.CutPrefix(m.Method, wire.MethodPrefix)
	serve, known := verbs[verb]
	if !ok || !known {
		return nil, rpc.Errorf(wire.CodeMethodNotFound, wire.ErrorData{Code: "unknown-method"}, "unknown method %s", m.Method)
	}
	work, err := serve(s, m.Params)
	if err != nil {
		return nil, err
	}
	return s.onceWelcomed(work), nil
}

// onceWelcomed lets work wait for the hello before it: a client that does not
// wait for the answers must not leave before it has joined, nor be distrusted
// before it has vouched.
func (s *session) onceWelcomed(work rpc.Work) rpc.Work {
	select {
	case <-s.welcomed:
		return work
	default:
	}
	return func(ctx context.Context) (any, error) {
		select {
		case <-s.welcomed:
			return work(ctx)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// verbs serves every entry of wire.Verbs; a test holds the two equal.
var verbs = map[string]func(*session, json.RawMessage) (rpc.Work, error){
	"status":   (*session).status,
	"start":    (*session).start,
	"stop":     (*session).stop,
	"restart":  (*session).restart,
	"reset":    (*session).reset,
	"logs":     (*session).logs,
	"unfollow": (*session).unfollow,
	"ports":    (*session).ports,
	"freePort": (*session).freePort,
	"nextPort": (*session).nextPort,
	"trust":    (*session).trust,

	"clearCaches": (*session).clearCaches,
	"install":     (*session).install,
	"resume":      (*session).resume,
	"reload":      (*session).reload,
	"dashboard":   (*session).dashboard,
	"quit":        func(s *session, p json.RawMessage) (rpc.Work, error) { return s.quit(rpc.Message{Params: p}) },
}

func (s *session) greet(m rpc.Message) (rpc.Work, error) {
	var p wire.HelloParams
	// Not strict: a client of another version may say more, and is told so.
	if err := json.Unmarshal(m.Params, &p); err != nil {
		return nil, rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{Code: "invalid-params"}, "read %s: %v", m.Method, err)
	}
	switch {
	case p.Protocol != wire.Protocol:
		return nil, socket.Mismatch(s.h.o.Version, p.Protocol)
	case s.greeted:
		return nil, rpc.Errorf(wire.CodeInvalidRequest, wire.ErrorData{Code: "hello-twice"}, "%s was said already", wire.Hello)
	case p.Root != s.h.o.Root:
		return nil, rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{Code: "wrong-root"}, "this hub serves %s, not %s", s.h.o.Root, p.Root)
	case p.Role != wire.Holder && p.Role != wire.Visitor && p.Role != wire.Starter:
		return nil, rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{
			Code: "invalid-params", Known: []string{string(wire.Holder), string(wire.Visitor), string(wire.Starter)},
		}, "params.role: there is no role %q", p.Role)
	}
	s.greeted, s.hello = true, p
	return func(ctx context.Context) (any, error) {
		if !s.h.ask(func() { s.h.join(s) }) {
			return s.over()
		}
		s.h.o.Log.Info().Int("client", s.id).Str("name", p.Client).Str("role", string(p.Role)).Int("pid", p.PID).Msg("a client came")
		// Before the answer: what the client asks next may need it, and what it
		// asks now is among the news.
		s.vouch(1)
		if p.Trusted {
			s.h.o.Project.VouchedBy(project.Client{Name: p.Client, PID: socket.PeerPID(s.raw)})
		}
		s.wantHTTP(context.WithoutCancel(ctx), p.HTTP)
		s.sub = s.h.o.Project.Subscribe()
		close(s.welcomed)
		if p.Resume && p.Role == wire.Holder {
			s.h.o.Project.Restore(context.WithoutCancel(ctx), p.Env)
		}
		return wire.HelloResult{Protocol: wire.Protocol, Version: s.h.o.Version, Root: s.h.o.Root, PID: os.Getpid()}, nil
	}, nil
}

// leave gives up the hold. When that was the last one and it asked for no
// linger, the answer waits until the servers are down, for a while.
func (s *session) leave(ctx context.Context) (any, error) {
	var res wire.LeaveResult
	var stopped chan struct{}
	if !s.h.ask(func() {
		s.h.holds.leave(s.id, time.Now())
		res.Last = s.h.holds.others(s.id) == 0
		if res.Last && s.h.ending() {
			if s.h.stopped == nil {
				s.h.stopServers(ctx)
			}
			stopped = s.h.stopped
		}
	}) {
		return s.over()
	}
	if stopped == nil {
		return res, nil
	}
	t := time.NewTimer(s.h.o.patience.leave)
	defer t.Stop()
	select {
	case <-stopped:
		res.Stopped = true
	case <-t.C:
	case <-ctx.Done():
	}
	return res, nil
}

func (s *session) quit(rpc.Message) (rpc.Work, error) {
	return func(context.Context) (any, error) {
		var res wire.QuitResult
		if !s.h.ask(func() {
			if s.h.holds.others(s.id) > 0 {
				res.Why = "editors or terminals still use this project"
				return
			}
			res.Quit, s.h.quitting = true, true
		}) {
			return s.over()
		}
		return res, nil
	}, nil
}

func (s *session) status(params json.RawMessage) (rpc.Work, error) {
	var p wire.StatusParams
	if err := rpc.Decode(params, &p); err != nil {
		return nil, err
	}
	s.h.o.Project.Look()
	return rpc.Answer(s.h.o.Project.Status()), nil
}

// starter is Project.Start or Project.Reset.
type starter func(context.Context, []string, supervisor.StartOptions) ([]supervisor.Result, []string, error)

func (s *session) start(params json.RawMessage) (rpc.Work, error) {
	return s.starting(params, false, s.h.o.Project.Start)
}

func (s *session) restart(params json.RawMessage) (rpc.Work, error) {
	return s.starting(params, true, s.h.o.Project.Start)
}

func (s *session) reset(params json.RawMessage) (rpc.Work, error) {
	return s.starting(params, false, s.h.o.Project.Reset)
}

func (s *session) starting(params json.RawMessage, force bool, do starter) (rpc.Work, error) {
	var p wire.StartParams
	if err := rpc.Decode(params, &p); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (any, error) {
		if s.hello.Role == wire.Starter {
			if !s.h.ask(s.h.beginStart) {
				return s.over()
			}
			defer s.h.ask(func() { s.h.holds.endStart(s.h.o.Project.AllStopped(), time.Now()) })
		}
		if err := s.awaitStop(ctx); err != nil {
			return nil, err
		}
		results, begun, err := do(ctx, p.Servers, supervisor.StartOptions{Env: s.hello.Env, Force: force, NoWait: !p.Waits()})
		if cancelled(ctx) {
			s.abandon(begun)
			return nil, rpc.ErrCancelled
		}
		if err != nil {
			return nil, toWire(err)
		}
		return resultOf(results), nil
	}, nil
}

// awaitStop waits until all is stopped where that is under way because nobody
// held the hub: the stop would reach what is started meanwhile.
func (s *session) awaitStop(ctx context.Context) error {
	for {
		var stopped chan struct{}
		if !s.h.ask(func() { stopped = s.h.stopped }) {
			_, err := s.over()
			return err
		}
		if stopped == nil {
			return nil
		}
		select {
		case <-stopped: // Run is about to see it, too
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// cancelled reports whether the client has cancelled its request.
func cancelled(ctx context.Context) bool { return errors.Is(context.Cause(ctx), rpc.ErrCancelled) }

// abandon stops what a start that was cancelled had begun. Nobody waits for it.
func (s *session) abandon(begun []string) {
	if len(begun) == 0 {
		return
	}
	s.h.background.Go(func() {
		if _, err := s.h.o.Project.Stop(context.Background(), begun, supervisor.StopOptions{Message: "its start was cancelled"}); err != nil {
			s.h.o.Log.Warn().Err(err).Msg("stop what a cancelled start had begun")
		}
	})
}

func (s *session) stop(params json.RawMessage) (rpc.Work, error) {
	var p wire.StartParams
	if err := rpc.Decode(params, &p); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (any, error) {
		wait := ctx
		if !p.Waits() {
			var cancel context.CancelFunc
			wait, cancel = context.WithCancel(ctx)
			cancel()
		}
		results, err := s.h.o.Project.Stop(wait, p.Servers, supervisor.StopOptions{Message: "asked to stop"})
		if err != nil {
			return nil, toWire(err)
		}
		if cancelled(ctx) { // the answer is; the stopping goes on
			return nil, rpc.ErrCancelled
		}
		res := resultOf(results)
		if !p.Waits() { // it is under way, as was asked for
			for i := range res.Servers {
				res.Servers[i].OK, res.Servers[i].Error = true, nil
			}
		}
		return res, nil
	}, nil
}

func resultOf(results []supervisor.Result) wire.StartResult {
	res := wire.StartResult{Servers: []wire.ServerResult{}}
	for _, r := range results {
		w := wire.ServerResult{Name: r.Name, OK: r.OK, State: r.State, PID: r.PID, ReadyMs: r.ReadyMs}
		if r.OK {
			w.Note = r.Message
		} else {
			w.Error = &wire.ServerError{Code: r.Code, Message: r.Message, Hint: r.Hint}
		}
		res.Servers = append(res.Servers, w)
	}
	return res
}

// maxGrep bounds an expression that a client asks for.
const maxGrep = 1000

func (s *session) logs(params json.RawMessage) (rpc.Work, error) {
	var p wire.LogsParams
	if err := rpc.Decode(params, &p); err != nil {
		return nil, err
	}
	if len(p.Grep) > maxGrep {
		return nil, badGrep("grep has %d bytes", len(p.Grep))
	}
	return func(context.Context) (any, error) {
		q := logs.Query{Lines: p.Lines, Since: p.Since, Run: p.Run}
		if p.Grep != "" {
			re, err := regexp.Compile(p.Grep) // can take a while, so not on the read loop
			if err != nil {
				return nil, badGrep("grep: %v", err)
			}
			q.Grep = re
		}
		l, err := s.h.o.Project.Log(p.Server)
		if err != nil {
			return nil, toWire(err)
		}
		return s.readLog(l, p, q)
	}, nil
}

func badGrep(format string, args ...any) error {
	return rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{Code: "invalid-grep", Hint: "RE2 syntax, at most 1,000 bytes"}, format, args...)
}

func toLines(in []logs.Line) []wire.LogLine {
	out := make([]wire.LogLine, len(in))
	for i, l := range in {
		out[i] = wire.LogLine{At: l.At, Stream: l.Stream, Text: l.Text, Run: l.Run}
	}
	return out
}

func (s *session) unfollow(params json.RawMessage) (rpc.Work, error) {
	var p wire.UnfollowParams
	if err := rpc.Decode(params, &p); err != nil {
		return nil, err
	}
	return func(context.Context) (any, error) {
		f, ok := s.forget(p.Token)
		if !ok {
			return nil, rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{Code: "unknown-token"}, "no log is followed under the token %q", p.Token)
		}
		f.cancel()
		<-f.ended // so that nothing comes after the answer
		return wire.UnfollowResult{}, nil
	}, nil
}

func (s *session) ports(params json.RawMessage) (rpc.Work, error) {
	var p wire.PortsParams
	if err := rpc.Decode(params, &p); err != nil {
		return nil, err
	}
	return func(context.Context) (any, error) {
		uses, err := s.h.o.Project.Ports()
		if err != nil {
			return nil, err
		}
		res := wire.PortsResult{}
		for _, u := range uses {
			res = append(res, wire.PortEntry{Port: u.Port, Server: u.Server, Holder: u.Holder})
		}
		return res, nil
	}, nil
}

func (s *session) freePort(params json.RawMessage) (rpc.Work, error) {
	var p wire.FreePortParams
	if err := rpc.Decode(params, &p); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (any, error) {
		freed, why, err := s.h.o.Project.FreePort(ctx, p.Port, p.Holder.PID, p.Holder.StartTime)
		if cancelled(ctx) {
			return nil, rpc.ErrCancelled
		}
		if err != nil {
			return nil, toWire(err)
		}
		return wire.FreePortResult{Freed: freed, Why: why}, nil
	}, nil
}

func (s *session) nextPort(params json.RawMessage) (rpc.Work, error) {
	var p wire.NextPortParams
	if err := rpc.Decode(params, &p); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (any, error) {
		number, err := s.h.o.Project.NextPort(context.WithoutCancel(ctx), p.Server, p.Write)
		if err != nil {
			return nil, toWire(err)
		}
		return wire.NextPortResult{Port: number}, nil
	}, nil
}

func (s *session) trust(params json.RawMessage) (rpc.Work, error) {
	var p wire.TrustParams
	if err := rpc.Decode(params, &p); err != nil {
		return nil, err
	}
	return func(context.Context) (any, error) {
		if !s.h.o.Project.Trust(p.Hash) {
			return nil, rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{
				Code: "hash-changed", Hint: "look at the commands again: they are not what was shown",
				Hash: s.h.o.Project.Status().Trust.Hash,
			}, "the commands have another hash than %q", p.Hash)
		}
		return wire.TrustResult{Trusted: true}, nil
	}, nil
}

func (s *session) reload(params json.RawMessage) (rpc.Work, error) {
	var p wire.ReloadParams
	if err := rpc.Decode(params, &p); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (any, error) {
		r := s.h.o.Project.Reload(context.WithoutCancel(ctx))
		return wire.ReloadResult{Valid: r.Valid, Added: list(r.Added), Changed: list(r.Changed), Removed: list(r.Removed), Restarted: list(r.Restarted)}, nil
	}, nil
}

func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// toWire maps the project's errors to codes.
func toWire(err error) error {
	var unknown *supervisor.UnknownError
	var untrusted *project.UntrustedError
	var config *project.ConfigError
	var noPort *supervisor.NoPortError
	var refused *project.RefusedError
	var nothing *project.NothingToInstallError
	switch {
	case errors.As(err, &nothing):
		return rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{Code: "nothing-to-install"}, "%v", err)
	case errors.As(err, &noPort):
		return rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{Code: "no-port", Hint: "give it one, such as `port: 3000`"}, "%v", err)
	case errors.As(err, &refused):
		return rpc.Errorf(wire.CodeRequestFailed, wire.ErrorData{Code: "not-written", Hint: refused.Hint}, "%v", err)
	case errors.As(err, &unknown):
		return rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{
			Code: "unknown-server", Known: list(unknown.Known), Hint: "one of: " + strings.Join(unknown.Known, ", "),
		}, "%v", err)
	case errors.As(err, &untrusted):
		return rpc.Errorf(wire.CodeUntrusted, wire.ErrorData{
			Code: "untrusted", Hash: untrusted.Hash, Hint: "look at the commands in status.trust, then send devside/trust with the hash (`devside trust` in a terminal)",
		}, "%v", err)
	case errors.As(err, &config):
		return rpc.Errorf(wire.CodeConfigInvalid, wire.ErrorData{Code: string(status.ConfigInvalid), Hint: "`devside check` lists everything that is wrong"}, "%v", err)
	}
	return fmt.Errorf("serve: %w", err)
}
