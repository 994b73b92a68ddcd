// Package rpc is one JSON-RPC 2.0 connection with LSP framing, used by both of
// its ends: editor and sidecar on stdio, clients and hub on a socket.
//
// It never waits for a peer on the read loop longer than flow control needs,
// never answers a request twice or not at all while the connection lives,
// never ends for a message it can answer, never holds more of a peer's bytes
// than the options allow, and never logs params or results. A peer that does
// not read is dropped, and slows nobody else. No type of the JSON-RPC library
// is part of its interface.
//
// Three things own a connection's state. The read loop (stream.go, run by the
// library) takes frames apart, hands requests to the dispatcher (dispatch.go)
// and responses to the calls that wait for them (calls.go). The outbox
// (outbox.go) owns what is to be written and the one goroutine that writes it.
// Conn.end, which runs once, is the only way a connection ends.
//
// Start reading at New, then stream.ReadObject, then dispatcher.Handle.
package rpc

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"github.com/sourcegraph/jsonrpc2"

	"github.com/devside/devside/rpc/wire"
)

const (
	// DefaultMaxBody is the largest message taken or sent: ten thousand log
	// lines fit, and a hundred peers that all send one do not fill a machine.
	DefaultMaxBody = 16 << 20

	// DefaultMaxInFlight is how many works one peer has running at once: an
	// editor has about ten.
	DefaultMaxInFlight = 128

	// DefaultMaxOutbox is what may wait for a peer that reads slowly.
	DefaultMaxOutbox = 8 << 20

	// DefaultWriteTimeout is how long a peer may read nothing. Editors that
	// are busy for longer have died, as far as their users can see.
	DefaultWriteTimeout = 5 * time.Second
)

// Options of a connection. The zero value of each is its default.
type Options struct {
	Name         string // in the log
	Log          zerolog.Logger
	MaxBody      int           // bytes of one message, in and out
	MaxInFlight  int           // works running at once
	MaxOutbox    int           // bytes waiting to be written
	WriteTimeout time.Duration // without progress

	// Answered is told of every request that was answered: how long after it was
	// read the answer was on its way. failed: it is an error. The method is as the
	// peer wrote it. Called on the read loop and by works: it must not wait. nil:
	// nobody is told.
	Answered func(method string, took time.Duration, failed bool)
}

func (o Options) withDefaults() Options {
	if o.MaxBody <= 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = DefaultMaxInFlight
	}
	if o.MaxOutbox <= 0 {
		o.MaxOutbox = DefaultMaxOutbox
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = DefaultWriteTimeout
	}
	return o
}

// Conn is one connection. All methods may be called from any goroutine.
type Conn struct {
	rwc     io.ReadWriteCloser
	handler Handler
	opts    Options
	log     zerolog.Logger
	out     *outbox
	panics  atomic.Int64

	requests requests // the peer's
	calls    calls    // ours

	ctx    context.Context // of every work; ends with cause ErrClosed
	cancel context.CancelCauseFunc
	done   chan struct{}
	ending sync.Once
	err    error // why it ended; read after done is closed

	writerDone chan struct{}
}

// New makes a connection of rwc, and reads and writes at once. h may be nil:
// then every request is answered -32601. The connection closes rwc.
func New(rwc io.ReadWriteCloser, h Handler, o Options) *Conn {
	o = o.withDefaults()
	if h == nil {
		h = HandlerFunc(func(m Message) (Work, error) {
			return nil, Errorf(wire.CodeMethodNotFound, wire.ErrorData{Code: "unknown-method"}, "unknown method %s", m.Method)
		})
	}
	c := &Conn{
		rwc:        rwc,
		handler:    h,
		opts:       o,
		log:        o.Log,
		out:        newOutbox(rwc, o.MaxOutbox, o.WriteTimeout),
		calls:      calls{waiting: make(map[int64]chan<- message)},
		requests:   newRequests(),
		done:       make(chan struct{}),
		writerDone: make(chan struct{}),
	}
	if o.Name != "" {
		c.log = c.log.With().Str("conn", o.Name).Logger()
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.out.expire = func() { c.lost(errTimeout) }
	go c.write()

	s := &stream{c: c, frames: newFrames(rwc, o.MaxBody)}
	// The library's connection ends with c.ctx. It owns the read loop, which
	// nobody waits for: a read of a terminal can't be interrupted.
	jsonrpc2.NewConn(c.ctx, s, &dispatcher{c: c, s: s},
		jsonrpc2.SetLogger(libraryLog{c.log}),
		jsonrpc2.OnSend(func(_ *jsonrpc2.Request, answer *jsonrpc2.Response) { s.answer = answer }))
	return c
}

// write runs the outbox, and closes rwc when there is nothing more to write.
func (c *Conn) write() {
	defer close(c.writerDone)
	if err := c.out.run(); err != nil {
		c.lost(err)
		return
	}
	c.closeRWC()
}

// lost ends the connection where nothing more can be written, also when it is
// ending already and was to write what is left.
func (c *Conn) lost(cause error) {
	c.end(cause, false)
	c.out.drop()
	c.closeRWC()
}

// end ends the connection: once, from wherever the reason is seen, without
// waiting. With drain, what was put before is still written.
func (c *Conn) end(cause error, drain bool) {
	first := false
	c.ending.Do(func() {
		first = true
		if drain {
			c.out.drain()
		} else {
			c.out.drop()
		}
		c.requests.close()
		c.err = cause
		close(c.done)
		c.cancel(ErrClosed)
		if !drain {
			c.closeRWC()
		}
	})
	if first && cause != ErrClosed && cause != io.EOF {
		c.log.Warn().Err(cause).Msg("connection lost") // out here: a log can be slow
	}
}

// closeRWC may run twice, which does no harm. Its error is no news: either the
// peer has gone, or the connection has ended for a reason that is known.
func (c *Conn) closeRWC() { _ = c.rwc.Close() }

// send puts a frame.
func (c *Conn) send(parts ...[]byte) error { return c.sent(c.out.put(parts...)) }

// sendNow is send for what is best written at once: see putNow.
func (c *Conn) sendNow(parts ...[]byte) error { return c.sent(c.out.putNow(parts...)) }

// sent drops a peer that has too much waiting.
func (c *Conn) sent(err error) error {
	if errors.Is(err, errOverflow) {
		c.end(err, false)
		return ErrClosed
	}
	return err
}

// Close writes what is queued, for at most about twice WriteTimeout, and
// closes the connection. It does not wait for works: see Wait.
func (c *Conn) Close() error {
	c.end(ErrClosed, true)
	select {
	case <-c.writerDone:
		return nil
	case <-time.After(2 * c.opts.WriteTimeout):
		// A file that knows no deadline holds the writer.
		c.closeRWC()
		return errTimeout
	}
}

// Finish is Close for an end that can wait: no more work begins, and what runs
// is answered first, unless ctx ends before.
func (c *Conn) Finish(ctx context.Context) error {
	c.requests.close()
	answered := make(chan struct{})
	go func() { // ends with the last work; see Wait
		c.requests.works.Wait()
		close(answered)
	}()
	select {
	case <-answered:
	case <-ctx.Done():
	case <-c.done:
	}
	return c.Close()
}

// Wait waits until the works and the writer have returned, after the end of
// the connection.
func (c *Conn) Wait(ctx context.Context) error {
	joined := make(chan struct{})
	go func() {
		<-c.done
		<-c.writerDone
		c.requests.works.Wait()
		close(joined)
	}()
	select {
	case <-joined:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Flush waits until what was sent before is written.
func (c *Conn) Flush(ctx context.Context) error { return c.out.flush(ctx) }

// Done is closed when the connection has ended: nothing more is read, nothing
// more can be sent.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err says why the connection has ended: nil while it lives, io.EOF when the
// peer closed it between two messages, ErrClosed after Close.
func (c *Conn) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Panics is how many handlers have panicked.
func (c *Conn) Panics() int64 { return c.panics.Load() }

// libraryLog takes what the library says, which is no news to anybody: the
// connection logs its own end.
type libraryLog struct{ log zerolog.Logger }

func (l libraryLog) Printf(format string, v ...any) { l.log.Debug().Msgf(format, v...) }
