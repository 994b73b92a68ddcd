package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
)

// mostBody bounds a message: devside's own bound.
const mostBody = 16 << 20

// answer is the answer to one request. At is when its last byte was read.
type answer struct {
	at     time.Time
	result json.RawMessage
	err    error
}

// client is a JSON-RPC client with LSP framing whose own cost is small: an
// answer is recognised by how it begins and is decoded only where its content
// is wanted.
type client struct {
	ended chan struct{} // closed when reading has ended

	out sync.Mutex // held while a message is written
	w   io.Writer

	mu      sync.Mutex // guards what follows
	lastID  int
	waiting map[int]chan answer
	flood   *flood
	err     error // why reading ended
}

// newClient starts to read. The goroutine ends with r; ended says so.
func newClient(r io.Reader, w io.Writer) *client {
	c := &client{w: w, waiting: map[int]chan answer{}, ended: make(chan struct{})}
	go func() {
		err := c.read(bufio.NewReaderSize(r, 64<<10))
		c.mu.Lock()
		c.err = err
		c.mu.Unlock()
		close(c.ended)
	}()
	return c
}

func (c *client) read(r *bufio.Reader) error {
	for {
		body, err := readFrame(r)
		if err != nil {
			return err
		}
		if err := c.take(body, time.Now()); err != nil {
			return err
		}
	}
}

var lengthHeader = []byte("Content-Length: ")

// readFrame reads one message's body.
func readFrame(r *bufio.Reader) ([]byte, error) {
	size := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, lengthHeader); ok {
			if size, err = strconv.Atoi(string(value)); err != nil {
				return nil, fmt.Errorf("read a message: this is no length: %q", value)
			}
		}
	}
	if size < 0 || size > mostBody {
		return nil, fmt.Errorf("read a message: %d bytes long", size)
	}
	body := make([]byte, size)
	_, err := io.ReadFull(r, body)
	return body, err
}

// answerPrefix is how an answer begins on the wire. One that begins otherwise
// is still read, only more slowly.
var (
	answerPrefix = []byte(`{"jsonrpc":"2.0","id":`)
	notePrefix   = []byte(`{"jsonrpc":"2.0","method":`)
	resultPrefix = []byte(`,"result":`)
)

// quick reads an answer that begins as answerPrefix and is no error.
func quick(body []byte) (id int, result []byte, ok bool) {
	rest, ok := bytes.CutPrefix(body, answerPrefix)
	if !ok {
		return 0, nil, false
	}
	n := 0
	for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
		id = id*10 + int(rest[n]-'0')
		n++
	}
	rest, ok = bytes.CutPrefix(rest[n:], resultPrefix)
	if n == 0 || !ok || len(rest) == 0 {
		return 0, nil, false
	}
	return id, rest[:len(rest)-1], true
}

// message is one JSON-RPC message of any kind.
type message struct {
	Version string          `json:"jsonrpc"`
	ID      *int            `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *rpcError       `json:"error,omitempty"`
}

type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *rpcError) Error() string { return fmt.Sprintf("%s (%d)", e.Message, e.Code) }

// take deals with one message.
func (c *client) take(body []byte, at time.Time) error {
	if id, result, ok := quick(body); ok {
		return c.deliver(id, answer{at: at, result: result})
	}
	// Notifications are not for us, and some are long. One that is a request
	// has its id where this does not see it: devside writes it in front.
	if bytes.HasPrefix(body, notePrefix) {
		return nil
	}
	var m message
	if err := json.Unmarshal(body, &m); err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	switch {
	case m.Method != "" && m.ID != nil: // nothing was declared, so nothing may be asked
		return c.send(message{ID: m.ID, Error: &rpcError{Code: -32601, Message: "this client has no " + m.Method}})
	case m.Method != "":
		return nil
	case m.ID == nil:
		return fmt.Errorf("read a message: an answer without an id: %.200s", body)
	case m.Error != nil:
		return c.deliver(*m.ID, answer{at: at, err: m.Error})
	}
	return c.deliver(*m.ID, answer{at: at, result: m.Result})
}

// deliver hands an answer to whoever asked.
func (c *client) deliver(id int, a answer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flood; f != nil && id >= f.first && id < f.first+f.count {
		f.take(a)
		return nil
	}
	wait, ok := c.waiting[id]
	if !ok {
		return fmt.Errorf("read a message: an answer to %d, which was not asked, or answered already", id)
	}
	delete(c.waiting, id)
	wait <- a // has room: it is answered once
	return nil
}

func encode(m message) ([]byte, error) {
	m.Version = "2.0"
	body, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return append(fmt.Appendf(nil, "Content-Length: %d\r\n\r\n", len(body)), body...), nil
}

func (c *client) send(m message) error {
	frame, err := encode(m)
	if err != nil {
		return err
	}
	return c.write(frame)
}

func (c *client) write(frame []byte) error {
	c.out.Lock()
	defer c.out.Unlock()
	_, err := c.w.Write(frame)
	return err
}

// notify sends a notification.
func (c *client) notify(method string, params any) error {
	raw, err := json.Marshal(params)
	if err != nil {
		return err
	}
	return c.send(message{Method: method, Params: raw})
}

// timing is when a request was written and when its answer had been read.
type timing struct{ asked, answered time.Time }

func (t timing) took() time.Duration { return t.answered.Sub(t.asked) }

// call sends a request and waits for its answer. A nil result is not decoded.
func (c *client) call(ctx context.Context, method string, params, result any) (timing, error) {
	p, err := c.ask(method, params)
	if err != nil {
		return timing{}, err
	}
	return p.wait(ctx, result)
}

// pending is a request that was sent.
type pending struct {
	c      *client
	method string
	asked  time.Time
	answer chan answer
}

// ask sends a request.
func (c *client) ask(method string, params any) (pending, error) {
	raw, err := json.Marshal(params)
	if err != nil {
		return pending{}, err
	}
	p := pending{c: c, method: method, answer: make(chan answer, 1)}
	c.mu.Lock()
	c.lastID++
	id := c.lastID
	c.waiting[id] = p.answer
	c.mu.Unlock()
	frame, err := encode(message{ID: &id, Method: method, Params: raw})
	if err != nil {
		return p, err
	}
	p.asked = time.Now()
	if err := c.write(frame); err != nil {
		return p, fmt.Errorf("ask %s: %w", method, err)
	}
	return p, nil
}

// wait waits for the answer.
func (p pending) wait(ctx context.Context, result any) (timing, error) {
	var a answer
	select {
	case a = <-p.answer:
	case <-ctx.Done():
		return timing{}, fmt.Errorf("ask %s: no answer: %w", p.method, context.Cause(ctx))
	case <-p.c.ended:
		select { // it may have come just before the end
		case a = <-p.answer:
		default:
			return timing{}, fmt.Errorf("ask %s: %w", p.method, p.c.why())
		}
	}
	t := timing{p.asked, a.at}
	if a.err != nil {
		return t, fmt.Errorf("ask %s: %w", p.method, a.err)
	}
	if result == nil {
		return t, nil
	}
	if err := json.Unmarshal(a.result, result); err != nil {
		return t, fmt.Errorf("read the answer to %s: %w", p.method, err)
	}
	return t, nil
}

var errEnded = errors.New("devside has ended")

// why says why reading ended.
func (c *client) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(c.err, io.EOF) {
		return errEnded
	}
	return c.err
}

// flood is a number of equal requests on their way, with a bound on how many
// wait for their answer at once. It is guarded by the client's mu.
type flood struct {
	first, count int // ids
	left         int // unanswered
	err          error
	last         time.Time // of the last answer
	room         chan struct{}
	done         chan struct{}
}

func (f *flood) take(a answer) {
	if a.err != nil && f.err == nil {
		f.err = a.err
	}
	f.last = a.at
	f.left--
	if f.left == 0 {
		close(f.done)
	}
	f.room <- struct{}{} // has room for all that may wait
}

// pipeline sends count equal requests, at most window of them unanswered, and
// returns how long it took from the first request to the last answer.
func (c *client) pipeline(ctx context.Context, method string, count, window int) (time.Duration, error) {
	f := &flood{count: count, left: count, room: make(chan struct{}, count+window), done: make(chan struct{})}
	for range window {
		f.room <- struct{}{}
	}
	c.mu.Lock()
	f.first = c.lastID + 1
	c.lastID += count
	c.flood = f
	c.mu.Unlock()
	start := time.Now()
	err := c.pour(ctx, f, method)
	if err == nil {
		select {
		case <-f.done:
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-c.ended:
			err = c.why()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flood = nil
	if err = errors.Join(err, f.err); err != nil {
		return 0, fmt.Errorf("ask %s %d times: %w", method, count, err)
	}
	return f.last.Sub(start), nil
}

// pour writes a flood's requests as there is room for them.
func (c *client) pour(ctx context.Context, f *flood, method string) error {
	var batch []byte
	for id := f.first; id < f.first+f.count; {
		select {
		case <-f.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.ended:
			return c.why()
		}
		batch = batch[:0]
		for more := true; more && id < f.first+f.count; {
			body := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":%q,"params":{}}`, id, method)
			batch = fmt.Appendf(batch, "Content-Length: %d\r\n\r\n%s", len(body), body)
			id++
			select {
			case <-f.room:
			default:
				more = false
			}
		}
		if err := c.write(batch); err != nil {
			return err
		}
	}
	return nil
}
