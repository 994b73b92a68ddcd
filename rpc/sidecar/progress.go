package sidecar

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.lsp.dev/protocol"

	"github.com/devside/devside/editor"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

// createWithin is how long a client may take to answer that it will show a
// progress. Without an answer there is none: the start does not wait for it.
const createWithin = 10 * time.Second

// token is a progress token: a string or a 32-bit integer, as LSP has it. nil:
// none.
type token protocol.ProgressToken

func readToken(raw json.RawMessage) (token, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err == nil {
		return protocol.String(text), nil
	}
	var n int64
	if err := json.Unmarshal(raw, &n); err == nil && math.MinInt32 <= n && n <= math.MaxInt32 {
		return protocol.Integer(n), nil
	}
	return nil, invalidParams("workDoneToken: want a string or an integer of 32 bits")
}

// progressTable is the progresses that the client can cancel.
type progressTable struct {
	mu      sync.Mutex
	last    int
	cancels map[token]context.CancelFunc
}

// add registers a progress, and makes a token where the client gave none. A
// token that is in use keeps its first owner.
func (t *progressTable) add(given token, cancel context.CancelFunc) token {
	t.mu.Lock()
	defer t.mu.Unlock()
	if given == nil {
		t.last++
		given = protocol.String("devside-" + strconv.Itoa(t.last))
	}
	if t.cancels == nil {
		t.cancels = map[token]context.CancelFunc{}
	}
	if _, used := t.cancels[given]; !used {
		t.cancels[given] = cancel
	}
	return given
}

func (t *progressTable) remove(done token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.cancels, done)
}

func (s *session) cancelProgress(params json.RawMessage) error {
	var p struct {
		Token json.RawMessage `json:"token"`
	}
	if err := json.Unmarshal(orEmpty(params), &p); err != nil {
		return fmt.Errorf("read progress token: %w", err)
	}
	which, err := readToken(p.Token)
	if err != nil {
		return err
	}
	s.progress.mu.Lock()
	cancel := s.progress.cancels[which]
	s.progress.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	return nil
}

// withProgress does call and shows the client how far it is: on the client's
// own token, or on one that the client is asked to show if it declared that. A
// progress on the client's token ends before the answer, because the token is
// good only until then.
func (f *folder) withProgress(ctx context.Context, r request, call func(context.Context) (json.RawMessage, error)) (any, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	create := r.token == nil
	if create && (!f.client.progress || !r.start.Waits()) {
		return call(ctx)
	}
	p := &reporter{f: f, token: f.s.progress.add(r.token, cancel), title: titleOf(f, r), create: create,
		snapshots: f.watchers.add(),
		state:     editor.NewProgress(names(r.start.Servers), r.verb == "restart", f.newest.Load()),
		finished:  make(chan string, 1)}
	shown := make(chan struct{})
	showing := f.s.relays.run(func(ctx context.Context) {
		defer close(shown)
		p.run(ctx)
	})
	if !showing {
		return nil, context.Canceled // the session has been shut down
	}
	result, err := call(ctx)
	p.finished <- outcome(result, err)
	if !create {
		<-shown
	}
	return result, err
}

func names(servers []string) []string {
	if len(servers) == 0 {
		return nil
	}
	return servers
}

func titleOf(f *folder, r request) string {
	if r.title != "" {
		return r.title
	}
	what := strings.Join(r.start.Servers, ", ")
	if what == "" {
		what = lastOf(f.path)
	}
	return "devside: " + r.verb + " " + what
}

// lastOf is the last part of a path, whichever way its slashes lean.
func lastOf(path string) string {
	return path[strings.LastIndexAny(strings.TrimRight(path, `/\`), `/\`)+1:]
}

// outcome is the last word of a progress.
func outcome(raw json.RawMessage, err error) string {
	if err != nil {
		return err.Error()
	}
	var result wire.StartResult
	if json.Unmarshal(raw, &result) != nil {
		return ""
	}
	ok := 0
	for _, s := range result.Servers {
		if s.OK {
			ok++
		}
	}
	return fmt.Sprintf("%d of %d ready", ok, len(result.Servers))
}

// reporter shows one progress. It is one goroutine, run; the request only
// writes to finished.
type reporter struct {
	f         *folder
	token     token
	title     string
	create    bool
	snapshots chan *status.Project
	state     editor.Progress
	finished  chan string
}

// run begins the progress, reports, and ends it whatever happens. A start that
// is over before the client has agreed to show it is not shown.
func (p *reporter) run(ctx context.Context) {
	defer p.f.s.progress.remove(p.token)
	defer p.f.watchers.remove(p.snapshots)
	if p.create && !p.agreed(ctx) {
		return
	}
	if p.create && len(p.finished) > 0 {
		return
	}
	p.begin()
	for {
		select {
		case st := <-p.snapshots:
			p.report(st)
		case last := <-p.finished:
			p.end(last)
			return
		case <-ctx.Done():
			p.end("")
			return
		}
	}
}

// agreed asks the client to show a progress.
func (p *reporter) agreed(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, createWithin)
	defer cancel()
	params, err := encode(&protocol.WorkDoneProgressCreateParams{Token: p.token})
	if err == nil {
		err = p.f.s.editor.Call(ctx, protocol.MethodWindowWorkDoneProgressCreate, params, nil)
	}
	if err != nil {
		p.f.s.log.Debug().Err(err).Msg("no progress shown")
	}
	return err == nil
}

func (p *reporter) begin() {
	yes, zero := true, uint32(0)
	p.send(&protocol.WorkDoneProgressBegin{Kind: "begin", Title: p.title, Cancellable: &yes, Percentage: &zero})
}

func (p *reporter) report(st *status.Project) {
	next, message, percent, changed := p.state.Next(st)
	p.state = next
	if !changed {
		return
	}
	value := &protocol.WorkDoneProgressReport{Kind: "report", Percentage: &percent}
	if message != "" {
		value.Message = &message
	}
	p.send(value)
}

func (p *reporter) end(message string) {
	value := &protocol.WorkDoneProgressEnd{Kind: "end"}
	if message != "" {
		value.Message = &message
	}
	p.send(value)
}

func (p *reporter) send(value any) {
	raw, err := encode(value)
	if err != nil {
		p.f.s.log.Error().Err(err).Msg("encode progress")
		return
	}
	p.f.s.notify(protocol.MethodProgress, &protocol.ProgressParams{Token: p.token, Value: protocol.LSPAny(raw)})
}

// autostart starts what initializationOptions asked for. Nobody waits for the
// answer, so what went wrong is told.
func (s *session) autostart(f *folder, servers []string) {
	s.relays.run(func(ctx context.Context) {
		params, err := json.Marshal(wire.StartParams{Servers: servers})
		if err == nil {
			_, err = f.answer(ctx, ctx, request{verb: "start", params: params, start: wire.StartParams{Servers: servers}})
		}
		if err != nil && ctx.Err() == nil {
			s.tell(protocol.MessageTypeWarning, "autostart in "+f.path+": "+err.Error())
		}
	})
}
