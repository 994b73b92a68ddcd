package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// patience bounds every wait of the tests.
const patience = 20 * time.Second

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// connected is a connection that holds what nobody has read yet, as a pipe does.
func connected(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if ours, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	if theirs, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	return ours, theirs
}

// answering is a server whose answers a test writes: each request's body goes
// in, the frames that come out are sent as they are.
func answering(t *testing.T, respond func(message) []string) *client {
	t.Helper()
	ours, theirs := connected(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r := bufio.NewReader(theirs)
		for {
			body, err := readFrame(r)
			if err != nil {
				return
			}
			var m message
			if err := json.Unmarshal(body, &m); err != nil {
				t.Errorf("the client wrote %q: %v", body, err)
				return
			}
			for _, out := range respond(m) {
				if _, err := io.WriteString(theirs, out); err != nil {
					return
				}
			}
		}
	}()
	c := newClient(ours, ours)
	t.Cleanup(func() {
		ours.Close()
		theirs.Close()
		<-done
		<-c.ended
	})
	return c
}

func framed(body string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body) }

func TestCall(t *testing.T) {
	c := answering(t, func(m message) []string {
		if m.Method != "devside/status" || string(m.Params) != `{"root":"/x"}` || m.Version != "2.0" {
			t.Errorf("the server got %+v", m)
		}
		return []string{
			framed(`{"jsonrpc":"2.0","method":"devside/didChangeStatus","params":{}}`),
			framed(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{"hubPid":7}}`, *m.ID)),
		}
	})
	var st projectStatus
	took, err := c.call(within(t), "devside/status", map[string]string{"root": "/x"}, &st)
	if err != nil || st.HubPID != 7 || took.took() <= 0 {
		t.Errorf("status %+v after %v, error %v", st, took.took(), err)
	}
}

func TestAnswersOfEveryShapeAreUnderstood(t *testing.T) {
	shapes := map[string]string{
		"as devside writes it":    `{"jsonrpc":"2.0","id":%d,"result":{"hubPid":7}}`,
		"the id at the end":       `{"jsonrpc":"2.0","result":{"hubPid":7},"id":%d}`,
		"with blanks":             `{ "jsonrpc": "2.0", "id": %d, "result": {"hubPid": 7} }`,
		"more behind the result":  `{"id":%d,"result":{"hubPid":7},"jsonrpc":"2.0"}`,
		"a notification in front": framedNote + `{"jsonrpc":"2.0","id":%d,"result":{"hubPid":7}}`,
	}
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			c := answering(t, func(m message) []string {
				shape, note := strings.CutPrefix(shape, framedNote)
				out := []string{framed(fmt.Sprintf(shape, *m.ID))}
				if note {
					out = append([]string{framed(`{"method":"x","jsonrpc":"2.0"}`)}, out...)
				}
				return out
			})
			var st projectStatus
			if _, err := c.call(within(t), "devside/status", struct{}{}, &st); err != nil || st.HubPID != 7 {
				t.Errorf("status %+v, error %v", st, err)
			}
		})
	}
}

const framedNote = "note:"

func TestErrorsOfTheServer(t *testing.T) {
	c := answering(t, func(m message) []string {
		return []string{framed(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"error":{"code":-32602,"message":"no such server"}}`, *m.ID))}
	})
	_, err := c.call(within(t), "devside/start", struct{}{}, nil)
	var refused *rpcError
	if !errors.As(err, &refused) || refused.Code != -32602 || !strings.Contains(err.Error(), "ask devside/start: no such server") {
		t.Errorf("error %v", err)
	}
}

func TestWhatIsAskedOfTheClientIsRefused(t *testing.T) {
	refused := make(chan message, 1)
	c := answering(t, func(m message) []string {
		if m.Method == "" {
			refused <- m
			return nil
		}
		return []string{
			framed(`{"id":1,"jsonrpc":"2.0","method":"workspace/configuration","params":{}}`),
			framed(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":null}`, *m.ID)),
		}
	})
	if _, err := c.call(within(t), "shutdown", nil, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case m := <-refused:
		if m.Error == nil || m.Error.Code != -32601 {
			t.Errorf("the answer is %+v", m)
		}
	case <-time.After(patience):
		t.Error("the server's request was not answered")
	}
}

func TestWhatIsNoAnswerEndsTheConnection(t *testing.T) {
	for name, frame := range map[string]string{
		"no JSON":               framed(`{`),
		"no id":                 framed(`{"jsonrpc":"2.0","result":1}`),
		"an id nobody gave":     framed(`{"jsonrpc":"2.0","id":99,"result":1}`),
		"no length":             "Content-Type: x\r\n\r\n",
		"a length of words":     "Content-Length: many\r\n\r\n",
		"a length out of bound": fmt.Sprintf("Content-Length: %d\r\n\r\n", mostBody+1),
	} {
		t.Run(name, func(t *testing.T) {
			c := answering(t, func(message) []string { return []string{frame} })
			if _, err := c.call(within(t), "devside/status", struct{}{}, nil); err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestTheEndOfTheServerIsSaid(t *testing.T) {
	r, w := io.Pipe()
	c := newClient(r, io.Discard)
	p, err := c.ask("devside/status", struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, err := p.wait(within(t), nil); !errors.Is(err, errEnded) {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("enough"))
	silent := answering(t, func(message) []string { return nil })
	if _, err := silent.call(ctx, "devside/status", struct{}{}, nil); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("error %v", err)
	}
}

func TestPipelineKeepsItsWindow(t *testing.T) {
	const count, window = 500, 16
	ours, theirs := connected(t)
	c := newClient(ours, ours)
	result := make(chan error, 1)
	go func() {
		took, err := c.pipeline(within(t), "devside/status", count, window)
		if err == nil && took <= 0 {
			err = fmt.Errorf("it took %v", took)
		}
		result <- err
	}()
	r := bufio.NewReader(theirs)
	var open []int
	for answered := 0; answered < count; answered++ {
		theirs.SetReadDeadline(time.Now().Add(patience))
		for len(open) < min(window, count-answered) {
			body, err := readFrame(r)
			if err != nil {
				t.Fatalf("after %d answers, with %d open: %v", answered, len(open), err)
			}
			id, ok := requestID(body)
			if !ok {
				t.Fatalf("the id of %q was not found", body)
			}
			open = append(open, id)
		}
		if answered == 0 { // nothing was answered yet: there is no room for more
			theirs.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if _, err := r.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("more than %d requests wait for an answer (%v)", window, err)
			}
		}
		select {
		case err := <-result:
			t.Fatalf("it ended after %d answers: %v", answered, err)
		default:
		}
		if _, err := io.WriteString(theirs, framed(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{}}`, open[0]))); err != nil {
			t.Fatal(err)
		}
		open = open[1:]
	}
	select {
	case err := <-result:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("it did not end with the last answer")
	}
	ours.Close()
	<-c.ended
}

func TestPipelineReportsErrors(t *testing.T) {
	c := answering(t, func(m message) []string {
		if *m.ID == 3 {
			return []string{framed(`{"jsonrpc":"2.0","id":3,"error":{"code":-32802,"message":"busy"}}`)}
		}
		return []string{framed(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{}}`, *m.ID))}
	})
	if _, err := c.pipeline(within(t), "devside/status", 10, 4); err == nil || !strings.Contains(err.Error(), "busy") {
		t.Errorf("error %v", err)
	}
	silent := answering(t, func(message) []string { return nil })
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("enough"))
	if _, err := silent.pipeline(ctx, "devside/status", 10, 4); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("error %v", err)
	}
	r, w := io.Pipe()
	ended := newClient(r, io.Discard)
	w.Close()
	<-ended.ended
	if _, err := ended.pipeline(within(t), "devside/status", 10, 4); !errors.Is(err, errEnded) {
		t.Errorf("error %v", err)
	}
}
