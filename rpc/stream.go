package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sourcegraph/jsonrpc2"
)

const (
	// pauseBound is how much may wait for a peer before its next request is
	// read later: one that sends a thousand requests and reads the answers at
	// its own speed must not be dropped for it.
	pauseBound = 1 << 20

	// pausePatience is the longest such pause before a request, and the longest
	// wait for a place to work on it. A peer that reads nothing is found by the
	// writer's time-out; meanwhile its notifications, a cancel or an exit, still
	// come through.
	pausePatience = 100 * time.Millisecond

	// loggedFaults is how many bad messages of one connection are logged: a
	// hostile peer must not fill the log.
	loggedFaults = 10
)

// stream is the jsonrpc2.ObjectStream. It stands between the frames and the
// library, because the library closes the connection at the first message it
// does not like, decodes a message three times, takes a negative id for a
// large one, and takes a null id for a notification.
//
// Incoming: what is no request or notification never reaches the library. A
// request reaches it with its method and a number of our own for an id; its
// params wait in current, untouched.
//
// Outgoing: only answers to requests. They come with our number and leave with
// the peer's own id.
type stream struct {
	c      *Conn
	frames *frames

	// Owned by the read loop.
	current message // the message the library is being handed
	number  uint64  // of the last request
	pause   bool    // the last message was a request
	faults  int
	stub    []byte

	more atomic.Bool // the read loop has more messages in its buffer

	// answer is what the library is about to write. Its OnSend hook sets it
	// and WriteObject takes it, both under the library's sending lock: so it
	// is encoded once, and not five times as the library does.
	answer *jsonrpc2.Response
}

// ReadObject hands the library the next request or notification. Everything
// else is dealt with here.
func (s *stream) ReadObject(v any) error {
	if s.pause {
		s.pause = false
		s.c.out.await(pauseBound, pausePatience)
	}
	for {
		select {
		case <-s.c.done:
			return ErrClosed
		default:
		}
		body, err := s.frames.next()
		s.more.Store(s.frames.r.Buffered() > 0)
		var bad *fault
		if err != nil && !errors.As(err, &bad) {
			s.c.end(err, true)
			return err
		}
		var m message
		if bad == nil {
			m, bad = parse(body)
		}
		if bad == nil {
			switch m.kind {
			case aResponse:
				if !s.c.calls.deliver(m) {
					s.c.log.Debug().Msg("response to no call of ours dropped")
				}
				continue
			case aRequest:
				s.pause = true
				s.number++
				if !s.c.requests.add(s.number, m.id) {
					bad = invalid(m.id.raw, "id: a request with this id is being answered")
				}
			}
		}
		if bad == nil {
			return s.hand(m, v)
		}
		if err := s.reject(bad); err != nil {
			return err
		}
	}
}

// hand gives the library a message without its params.
func (s *stream) hand(m message, v any) error {
	s.stub = append(append(s.stub[:0], `{"method":`...), m.method...)
	if m.kind == aRequest {
		s.stub = strconv.AppendUint(append(s.stub, `,"id":`...), s.number, 10)
	}
	s.stub = append(s.stub, '}')
	s.current = m
	var err error
	if u, ok := v.(json.Unmarshaler); ok {
		err = u.UnmarshalJSON(s.stub) // past json.Unmarshal, which would check the stub first
	} else {
		err = json.Unmarshal(s.stub, v)
	}
	if err != nil {
		s.c.end(fmt.Errorf("hand over message: %w", err), true)
	}
	return err
}

// reject answers what is no message. Its error is the connection's end.
func (s *stream) reject(f *fault) error {
	if s.faults++; s.faults <= loggedFaults && !f.fatal { // end logs a fatal one
		s.c.log.Warn().Int64("code", f.code).Msg(f.text)
	}
	if !f.silent {
		id := f.id
		if id == nil {
			id = json.RawMessage("null")
		}
		object, err := json.Marshal(errorObject{Code: f.code, Message: f.text})
		if err != nil {
			object = []byte(`{"code":-32603,"message":"internal error"}`)
		}
		if err := s.c.send([]byte(`{"jsonrpc":"2.0","id":`), id, []byte(`,"error":`), object, closeBrace); err != nil {
			return err
		}
	}
	if f.fatal {
		s.c.end(f, true)
		return f
	}
	return nil
}

var closeBrace = []byte{'}'}

// WriteObject puts the answer that the library's hook has left.
func (s *stream) WriteObject(any) error {
	answer := s.answer
	s.answer = nil
	if answer == nil {
		return errors.New("write message: not an answer") // calls and notifications don't go through the library
	}
	id, last := s.c.requests.take(answer.ID.Num)
	if id == nil {
		return errors.New("answer request: answered already")
	}
	send := s.c.send
	if last && !s.more.Load() {
		send = s.c.sendNow
	}
	if answer.Error == nil {
		return send([]byte(`{"jsonrpc":"2.0","id":`), id, []byte(`,"result":`), *answer.Result, closeBrace)
	}
	object, err := json.Marshal(answer.Error)
	if err != nil {
		return fmt.Errorf("encode error: %w", err)
	}
	return send([]byte(`{"jsonrpc":"2.0","id":`), id, []byte(`,"error":`), object, closeBrace)
}

// Close is called by the library when its read loop ends, which is when the
// connection has ended.
func (s *stream) Close() error {
	s.c.end(ErrClosed, true)
	return nil
}
