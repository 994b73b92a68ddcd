package sidecar

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

// maxHeldLogs is how much output may wait for an editor that reads slowly. It
// is under the connection's own outbox, which drops such an editor.
const maxHeldLogs = 1 << 20

// link is one connection to a folder's hub, from the attempt to its end. A new
// attempt is a new link, so what an old one still sends is known as late.
type link struct {
	f    *folder
	conn *rpc.Conn // set before the keeper is told
	logs logQueue
	quit atomic.Bool // this client has asked the hub to end, and it does

	mu     sync.Mutex
	told   bool   // the editor has had a snapshot of this link
	newest uint64 // its sequence
}

func newLink(f *folder) *link {
	return &link{f: f, logs: logQueue{wake: make(chan struct{}, 1)}}
}

func (l *link) ended() bool {
	select {
	case <-l.conn.Done():
		return true
	default:
		return false
	}
}

// hello introduces the session to the folder's hub.
func (f *folder) hello() wire.HelloParams {
	return wire.HelloParams{
		Protocol: wire.Protocol,
		Version:  f.s.o.Version,
		Root:     f.real,
		Role:     wire.Holder,
		Client:   f.client.name,
		PID:      os.Getpid(),
		Env:      f.s.o.Environ,
		Trusted:  f.client.trusted,
		HTTP:     f.s.o.HTTP,
		LingerMs: time.Duration(f.s.linger.Load()).Milliseconds(),
	}
}

// run tries to connect, tells the keeper, and stays until the connection or ctx
// ends.
func (l *link) run(ctx context.Context, hello wire.HelloParams, start bool) {
	conn, _, err := l.f.s.o.Dial(ctx, hello, start, l)
	if err != nil {
		l.f.inbox.put(dialed{err: err})
		return
	}
	l.conn = conn
	l.f.inbox.put(dialed{link: l})
	var forwarding sync.WaitGroup
	forwarding.Go(func() { l.forwardLogs(ctx) })
	l.firstStatus(ctx)
	select {
	case <-conn.Done():
	case <-ctx.Done():
		if err := conn.Close(); err != nil {
			l.f.s.log.Debug().Err(err).Msg("close hub connection")
		}
	}
	forwarding.Wait()
	l.f.inbox.put(hubLost{link: l})
}

// firstStatus asks for a snapshot, which a hub otherwise sends at the next
// change only.
func (l *link) firstStatus(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var raw json.RawMessage
	if err := l.conn.Call(ctx, wire.MethodPrefix+"status", nil, &raw); err != nil {
		l.f.s.log.Debug().Err(err).Str("root", l.f.real).Msg("first status")
		return
	}
	l.tell(raw, true)
	// The keeper may not have taken what came by itself: it can have come
	// before the keeper knew of the link.
	l.f.inbox.put(statusCame{link: l, raw: raw})
}

// tell sends a snapshot on, unless the editor has had a newer one: what the hub
// sends by itself and what it answered to firstStatus come from two goroutines.
// The answer is only for an editor that has had none.
func (l *link) tell(raw json.RawMessage, answer bool) {
	var st struct{ Sequence uint64 }
	if err := json.Unmarshal(raw, &st); err != nil {
		l.f.s.log.Warn().Err(err).Msg("read status")
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told && (answer || st.Sequence < l.newest) {
		return
	}
	l.told, l.newest = true, st.Sequence
	l.f.s.send(wire.DidChangeStatus, raw)
}

// Accept takes what the hub sends, on that connection's read loop. A snapshot
// goes on to the editor from here, so that it is there before the answer to the
// request which caused it.
func (l *link) Accept(m rpc.Message) (rpc.Work, error) {
	switch m.Method {
	case wire.DidChangeStatus:
		l.tell(m.Params, false)
		l.f.inbox.put(statusCame{link: l, raw: m.Params})
		return nil, nil
	case wire.DidLog:
		l.logs.put(m.Params)
		return nil, nil
	case wire.DidHappen:
		var p wire.DidHappenParams
		if err := json.Unmarshal(m.Params, &p); err != nil {
			return nil, err
		}
		if p.Root == "" {
			p.Root = l.f.real
		}
		l.f.s.send(m.Method, p)
		l.f.showRestart(p.Event)
		if p.Kind == status.HappenedReload {
			l.f.inbox.put(reloaded{link: l})
		}
		return nil, nil
	}
	return nil, rpc.Errorf(wire.CodeMethodNotFound, wire.ErrorData{Code: "unknown-method"}, "unknown method %s", m.Method)
}

// forwardLogs sends followed output at the pace of the editor.
func (l *link) forwardLogs(ctx context.Context) {
	for {
		select {
		case <-l.logs.wake:
		case <-l.conn.Done():
			return
		case <-ctx.Done():
			return
		}
		for _, p := range l.logs.take() {
			if p.Root == "" {
				p.Root = l.f.real
			}
			if err := l.f.s.editor.NotifyPaced(ctx, wire.DidLog, p); err != nil {
				return
			}
		}
	}
}

// logQueue holds didLog until the editor takes it: at most maxHeldLogs of it,
// what is lost beyond that is counted in Skipped; and none while an answer that
// begins to follow a log is under way, because a client learns the token from it.
type logQueue struct {
	wake chan struct{}

	mu      sync.Mutex
	held    int // answers under way
	size    int
	pending []wire.DidLogParams
	lost    map[string]int64 // bytes not kept, by token
}

func (q *logQueue) put(raw json.RawMessage) {
	var p wire.DidLogParams
	if err := json.Unmarshal(raw, &p); err != nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.size > 0 && q.size+len(raw) > maxHeldLogs {
		if q.lost == nil {
			q.lost = map[string]int64{}
		}
		for _, line := range p.Lines {
			q.lost[p.Token] += int64(len(line.Text)) + 1
		}
		q.lost[p.Token] += p.Skipped
		return
	}
	if lost, ok := q.lost[p.Token]; ok {
		p.Skipped += lost
		delete(q.lost, p.Token)
	}
	q.size += len(raw)
	q.pending = append(q.pending, p)
	q.signal()
}

func (q *logQueue) take() []wire.DidLogParams {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.held > 0 {
		return nil
	}
	pending := q.pending
	q.pending, q.size = nil, 0
	return pending
}

// hold keeps everything back until release was called as often.
func (q *logQueue) hold() {
	q.mu.Lock()
	q.held++
	q.mu.Unlock()
}

func (q *logQueue) release() {
	q.mu.Lock()
	q.held--
	q.signal()
	q.mu.Unlock()
}

func (q *logQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}
