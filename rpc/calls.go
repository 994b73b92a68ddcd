package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
)

// maxCalls bounds the calls that wait for an answer. It is far above what any
// caller here has in flight: reaching it means a peer that answers nothing.
const maxCalls = 4096

var errTooManyCalls = errors.New("too many calls wait for the peer")

// calls are our requests that wait for the peer's answer. The library's own
// table is not used: it keeps a call that was given up for ever.
type calls struct {
	mu      sync.Mutex
	last    int64
	waiting map[int64]chan<- message
}

// add returns the id of a new call, where its answer will come, and whether no
// other call is waiting.
func (c *calls) add() (id int64, answer <-chan message, alone bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.waiting) >= maxCalls {
		return 0, nil, false, errTooManyCalls
	}
	if c.last == math.MaxInt32 {
		c.last = 0 // LSP's integers have 31 bits
	}
	c.last++
	for c.waiting[c.last] != nil {
		c.last++
	}
	one := make(chan message, 1) // deliver never waits
	c.waiting[c.last] = one
	return c.last, one, len(c.waiting) == 1, nil
}

// forget gives a call up. It reports false when the answer has come.
func (c *calls) forget(id int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, waiting := c.waiting[id]
	delete(c.waiting, id)
	return waiting
}

// deliver gives a response to its call. It reports false when nobody waits.
func (c *calls) deliver(m message) bool {
	if m.id.key.isText {
		return false
	}
	c.mu.Lock()
	answer := c.waiting[m.id.key.number]
	delete(c.waiting, m.id.key.number)
	c.mu.Unlock()
	if answer == nil {
		return false
	}
	answer <- m
	return true
}

// Call sends a request and waits for its answer, which it decodes into result:
// a pointer, or nil. A *json.RawMessage gets the bytes as they came. When ctx
// ends first, the peer is sent $/cancelRequest, and ctx's error is returned.
// An error that the peer answered is an *Error; a lost connection is ErrClosed.
// It must not be called in a handler's Accept: the answer is read by the same
// loop.
func (c *Conn) Call(ctx context.Context, method string, params, result any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	buffer := buffers.Get().(*bytes.Buffer)
	raw, err := encodeParams(buffer, params)
	if err != nil {
		release(buffer)
		return fmt.Errorf("call %s: %w", method, err)
	}
	id, answer, alone, err := c.calls.add()
	if err != nil {
		release(buffer)
		return fmt.Errorf("call %s: %w", method, err)
	}
	defer c.calls.forget(id)
	var digits [20]byte
	send := c.send
	if alone {
		send = c.sendNow
	}
	err = c.sendCall(send, strconv.AppendInt(digits[:0], id, 10), method, raw)
	release(buffer)
	if err != nil {
		return err
	}

	var m message
	select {
	case m = <-answer:
	case <-ctx.Done():
		if c.calls.forget(id) {
			// The peer may be gone; then there is nothing to cancel.
			_ = c.Notify(cancelMethod, struct {
				ID int64 `json:"id"`
			}{id})
		}
		return ctx.Err()
	case <-c.done:
		select {
		case m = <-answer: // came before the end
		default:
			return ErrClosed
		}
	}
	if m.err != nil {
		return peerError(m.err)
	}
	switch result := result.(type) {
	case nil:
		return nil
	case *json.RawMessage:
		*result = m.result
		return nil
	}
	if err := json.Unmarshal(m.result, result); err != nil {
		return fmt.Errorf("call %s: decode the answer: %w", method, err)
	}
	return nil
}

// Notify sends a notification. It never waits; a peer that has too much
// waiting for it is dropped.
func (c *Conn) Notify(method string, params any) error { return c.notify(c.send, method, params) }

// NotifyPaced sends a notification, and first waits until the peer has read
// most of what was sent before: for a stream of any length.
func (c *Conn) NotifyPaced(ctx context.Context, method string, params any) error {
	paced := func(parts ...[]byte) error { return c.sent(c.out.putPaced(ctx, parts...)) }
	return c.notify(paced, method, params)
}

func (c *Conn) notify(send sender, method string, params any) error {
	buffer := buffers.Get().(*bytes.Buffer)
	defer release(buffer)
	raw, err := encodeParams(buffer, params)
	if err != nil {
		return fmt.Errorf("notify %s: %w", method, err)
	}
	return c.sendCall(send, nil, method, raw)
}

// sender puts one frame, whose body is the parts together.
type sender func(parts ...[]byte) error

// sendCall sends a request, or a notification where id is nil.
func (c *Conn) sendCall(send sender, id []byte, method string, params json.RawMessage) error {
	if len(params) > c.opts.MaxBody {
		return fmt.Errorf("send %s: the params have %d bytes, at most %d are sent", method, len(params), c.opts.MaxBody)
	}
	name, err := json.Marshal(method)
	if err != nil {
		return fmt.Errorf("send %s: %w", method, err)
	}
	var idKey, paramsKey []byte
	if id != nil {
		idKey = []byte(`,"id":`)
	}
	if params != nil {
		paramsKey = []byte(`,"params":`)
	}
	return send([]byte(`{"jsonrpc":"2.0","method":`), name, idKey, id, paramsKey, params, closeBrace)
}

// encodeParams is encode, with nil for params that say nothing: LSP has no
// null params.
func encodeParams(b *bytes.Buffer, v any) (json.RawMessage, error) {
	raw, err := encode(b, v)
	if err != nil || isNull(raw) {
		return nil, err
	}
	return raw, nil
}
