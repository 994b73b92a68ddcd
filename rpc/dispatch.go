package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/sourcegraph/jsonrpc2"

	"github.com/devside/devside/rpc/wire"
)

// Message is one incoming request or notification.
type Message struct {
	Method       string
	Params       json.RawMessage // an object or a list as it came; nil when absent or null
	Notification bool
}

// Work computes the answer to a request, on a goroutine of its own. ctx ends
// when the peer cancels the request (cause ErrCancelled) or the connection
// ends (cause ErrClosed). A json.RawMessage is relayed as it is and must be
// valid JSON; any other result is encoded, nil as null. An *Error is answered
// with its code, any other error with the code that fits.
type Work func(ctx context.Context) (any, error)

// Handler takes incoming messages in order, on the read loop: Accept must only
// touch memory. For a request it returns the Work that answers it, or an error
// that is answered at once. At most Options.MaxInFlight works run. Beyond that
// the read loop waits a moment for one to end, so that a pipelining peer runs
// at the speed of its answers; if none does, the work is not run and the
// request is answered -32802: what must not happen then belongs into the work,
// not into Accept. For a notification the work is nil, and an error is only
// logged.
type Handler interface {
	Accept(m Message) (Work, error)
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(Message) (Work, error)

// Accept calls f.
func (f HandlerFunc) Accept(m Message) (Work, error) { return f(m) }

// Reply is a result with something to do once it is on its way: whatever is
// sent from Sent reaches the peer after the answer. Sent must not wait.
type Reply struct {
	Result any
	Sent   func()
}

// Answer is work whose result is known already. It takes no goroutine and no
// place among the works: it is answered from the read loop, in order.
func Answer(v any) Work { return known{v}.answer }

type known struct{ v any }

func (k known) answer(context.Context) (any, error) { return k.v, nil }

// knownCode is the code behind every work that Answer makes: a method value of
// one method is one wrapper, wherever it is made. Should that ever cease to
// hold, an answer runs as any other work does.
var knownCode = reflect.ValueOf(Answer(nil)).Pointer()

func isAnswer(w Work) bool { return reflect.ValueOf(w).Pointer() == knownCode }

const cancelMethod = "$/cancelRequest"

// asked is one request that is to be answered.
type asked struct {
	*jsonrpc2.Request
	lib  *jsonrpc2.Conn
	came time.Time
}

// dispatcher is the jsonrpc2.Handler. The library calls it on the read loop.
type dispatcher struct {
	c     *Conn
	s     *stream
	stuck bool // no place came free in time; owned by the read loop
}

// Handle deals with one message. Only place, on its way, may wait a moment.
func (d *dispatcher) Handle(_ context.Context, lib *jsonrpc2.Conn, req *jsonrpc2.Request) {
	m := Message{Method: req.Method, Params: d.s.current.params, Notification: req.Notif}
	d.s.current = message{}
	if req.Notif {
		d.notification(m)
		return
	}
	r := asked{req, lib, time.Now()}
	d.guard(r, func() {
		work, err := d.c.handler.Accept(m)
		switch {
		case err != nil:
			d.answer(r, nil, err)
		case work == nil:
			d.answer(r, nil, fmt.Errorf("%s: the handler has no answer", m.Method))
		case isAnswer(work):
			result, err := work(d.c.ctx)
			d.answer(r, result, err)
		default:
			d.start(r, work)
		}
	})
}

func (d *dispatcher) notification(m Message) {
	if m.Method == cancelMethod {
		if key, ok := cancelledID(m.Params); ok {
			d.c.requests.cancel(key)
		}
		return
	}
	defer func() {
		if p := recover(); p != nil {
			_ = d.panicked(m.Method, p) // logged and counted; there is nobody to answer
		}
	}()
	_, err := d.c.handler.Accept(m)
	if err == nil {
		return
	}
	e := toError(err)
	if e.Code == wire.CodeMethodNotFound && strings.HasPrefix(m.Method, "$/") {
		return // LSP: may be ignored by whoever does not know it
	}
	d.c.log.Debug().Str("method", m.Method).Int64("code", e.Code).Msg("notification not taken")
}

// start runs work on a goroutine of its own, if there is a place.
func (d *dispatcher) start(r asked, work Work) {
	ctx, cancel := context.WithCancelCause(d.c.ctx)
	if !d.place(r.ID.Num, cancel) {
		cancel(nil)
		d.answer(r, nil, Errorf(wire.CodeServerCancelled,
			wire.ErrorData{Code: "busy", Hint: "wait for an answer, or cancel a request, and ask again"},
			"busy: %d requests are being worked on", d.c.opts.MaxInFlight))
		return
	}
	go func() {
		defer d.c.requests.finish()
		defer cancel(nil)
		d.guard(r, func() {
			result, err := work(ctx)
			reply, ok := result.(Reply)
			if !ok || err != nil {
				d.answer(r, result, err)
				return
			}
			d.answer(r, reply.Result, nil)
			reply.Sent()
		})
	}()
}

// place takes a place for work. Where all are taken it waits for one, but only
// until that was in vain once: works that take their time, 128 servers being
// started, must not hold up the cancel that would end them.
func (d *dispatcher) place(number uint64, cancel context.CancelCauseFunc) bool {
	var patience <-chan time.Time
	for !d.c.requests.begin(number, d.c.opts.MaxInFlight, cancel) {
		if d.stuck {
			return false
		}
		if patience == nil {
			timer := time.NewTimer(pausePatience)
			defer timer.Stop()
			patience = timer.C
		}
		select {
		case <-d.c.requests.freed:
		case <-patience:
			d.stuck = true
		case <-d.c.done:
			return false
		}
	}
	d.stuck = false
	return true
}

// guard runs f, which answers r. If f panics or ends its goroutine instead,
// r is answered with that. (If it does so after its answer, the second one
// is refused by the stream.)
func (d *dispatcher) guard(r asked, f func()) {
	returned := false
	defer func() {
		if !returned {
			d.answer(r, nil, d.panicked(r.Method, recover()))
		}
	}()
	f()
	returned = true
}

// panicked logs and counts a panic, or a goroutine's end where p is nil, and
// returns what the peer is told: not the panic's text, which can hold anything.
func (d *dispatcher) panicked(method string, p any) error {
	d.c.panics.Add(1)
	d.c.log.Error().Str("method", method).Str("panic", fmt.Sprint(p)).Bytes("stack", debug.Stack()).Msg("handler panicked")
	return Errorf(wire.CodeInternal, wire.ErrorData{Code: "internal"}, "%s: internal error", method)
}

// answer encodes an answer and gives it to the library, which gives it to the
// stream. That fails only where the connection has ended.
func (d *dispatcher) answer(r asked, result any, err error) {
	response := jsonrpc2.Response{ID: r.ID}
	var raw json.RawMessage
	if err == nil {
		buffer := buffers.Get().(*bytes.Buffer)
		defer release(buffer)
		raw, err = encode(buffer, result)
		if err == nil && len(raw) > d.c.opts.MaxBody {
			err = fmt.Errorf("%s: the answer has %d bytes, at most %d are sent", r.Method, len(raw), d.c.opts.MaxBody)
		}
		response.Result = &raw
	}
	if err != nil {
		o := toError(err).object()
		response.Result = nil
		response.Error = &jsonrpc2.Error{Code: o.Code, Message: o.Message}
		if o.Data != nil {
			response.Error.Data = &o.Data
		}
	}
	if err := r.lib.SendResponse(context.Background(), &response); err != nil {
		d.c.log.Debug().Str("method", r.Method).Err(err).Msg("answer not sent")
	}
	if d.c.opts.Answered != nil {
		d.c.opts.Answered(r.Method, time.Since(r.came), response.Error != nil)
	}
}

// buffers are for encoding: what is encoded is copied into the outbox at once.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func release(b *bytes.Buffer) {
	if b.Cap() <= keepBuffer {
		b.Reset()
		buffers.Put(b)
	}
}

// encode returns v as JSON. What it returns may lie in the buffer.
func encode(b *bytes.Buffer, v any) (json.RawMessage, error) {
	switch v := v.(type) {
	case nil:
		return json.RawMessage("null"), nil
	case json.RawMessage:
		if len(v) == 0 {
			return json.RawMessage("null"), nil
		}
		return v, nil
	}
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}
