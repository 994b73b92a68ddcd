package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
)

// mostBody bounds a message: devside's own bound.
const mostBody = 16 << 20

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
	Data    struct {
		Code string `json:"code"`
		Hint string `json:"hint"`
	} `json:"data"`
}

func (e *rpcError) Error() string {
	text := fmt.Sprintf("%s (%d)", e.Message, e.Code)
	if e.Data.Hint != "" {
		text += "; hint: " + e.Data.Hint
	}
	return text
}

// note is a notification that came.
type note struct {
	method string
	params json.RawMessage
}

// client is the smallest JSON-RPC client with LSP framing that can judge a
// server: it keeps every notification, in order.
type client struct {
	mu      sync.Mutex
	w       io.Writer
	lastID  int
	waiting map[int]chan message
	notes   []note
	came    chan struct{} // closed, and made anew, with each notification
	err     error         // why reading ended

	ended chan struct{}
}

func newClient(r io.Reader, w io.Writer) *client {
	c := &client{w: w, waiting: map[int]chan message{}, came: make(chan struct{}), ended: make(chan struct{})}
	go c.read(bufio.NewReader(r))
	return c
}

func (c *client) read(r *bufio.Reader) {
	var err error
	for err == nil {
		var m message
		if m, err = readMessage(r); err == nil {
			err = c.take(m)
		}
	}
	c.mu.Lock()
	c.err = err
	c.mu.Unlock()
	close(c.ended)
}

// readMessage reads one frame. It is strict: what devside writes is judged.
func readMessage(r *bufio.Reader) (message, error) {
	var m message
	size := -1
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return m, err
		}
		line, ok := strings.CutSuffix(line, "\r\n")
		if !ok {
			return m, fmt.Errorf("a header line ends without CR LF: %q", line)
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ": ")
		if !ok {
			return m, fmt.Errorf("this is no header: %q", line)
		}
		if name == "Content-Length" {
			if size, err = strconv.Atoi(value); err != nil {
				return m, fmt.Errorf("this is no length: %q", value)
			}
		}
	}
	if size < 0 || size > mostBody {
		return m, fmt.Errorf("a message of %d bytes", size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return m, err
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return m, fmt.Errorf("this is no JSON-RPC: %w", err)
	}
	if m.Version != "2.0" {
		return m, fmt.Errorf("jsonrpc is %q", m.Version)
	}
	return m, nil
}

func (c *client) take(m message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case m.Method != "" && m.ID != nil: // we declared nothing, so nothing may be asked
		return c.write(message{ID: m.ID, Error: &rpcError{Code: -32601, Message: "this client has no " + m.Method}})
	case m.Method != "":
		c.notes = append(c.notes, note{m.Method, m.Params})
		close(c.came)
		c.came = make(chan struct{})
		return nil
	case m.ID == nil:
		return fmt.Errorf("an answer without an id: %v", m.Error)
	}
	wait, ok := c.waiting[*m.ID]
	if !ok {
		return fmt.Errorf("an answer to %d, which was not asked, or answered already", *m.ID)
	}
	delete(c.waiting, *m.ID)
	wait <- m
	return nil
}

// write is called with mu held.
func (c *client) write(m message) error {
	m.Version = "2.0"
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.w, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return err
}

// notify sends a notification.
func (c *client) notify(method string, params any) error {
	raw, err := json.Marshal(params)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.write(message{Method: method, Params: raw})
}

// call sends a request and waits for its answer.
func (c *client) call(ctx context.Context, method string, params, result any) error {
	raw, err := json.Marshal(params)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.lastID++
	id := c.lastID
	wait := make(chan message, 1)
	c.waiting[id] = wait
	err = c.write(message{ID: &id, Method: method, Params: raw})
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("ask %s: %w", method, err)
	}
	var m message
	select {
	case m = <-wait:
	case <-ctx.Done():
		return fmt.Errorf("ask %s: no answer: %w", method, context.Cause(ctx))
	case <-c.ended:
		return fmt.Errorf("ask %s: %w", method, c.why())
	}
	if m.Error != nil {
		return fmt.Errorf("ask %s: %w", method, m.Error)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(m.Result, result); err != nil {
		return fmt.Errorf("read the answer to %s: %w", method, err)
	}
	return nil
}

func (c *client) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(c.err, io.EOF) {
		return errors.New("devside has ended")
	}
	return c.err
}

// mark is a place among the notifications: what comes after it is new.
func (c *client) mark() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.notes)
}

// await waits for a notification after mark that ok accepts. When it does not
// come, the error holds the last one of that method.
func (c *client) await(ctx context.Context, mark int, method string, ok func(json.RawMessage) bool) error {
	last := "none came"
	for {
		c.mu.Lock()
		news, came := c.notes[mark:], c.came
		mark = len(c.notes)
		c.mu.Unlock()
		for _, n := range news {
			if n.method != method {
				continue
			}
			if ok(n.params) {
				return nil
			}
			last = "the last was " + string(n.params)
		}
		select {
		case <-came:
		case <-ctx.Done():
			return fmt.Errorf("await %s: %w; %s", method, context.Cause(ctx), last)
		case <-c.ended:
			return fmt.Errorf("await %s: %w; %s", method, c.why(), last)
		}
	}
}
