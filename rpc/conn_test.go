package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/devside/devside/rpc/wire"
)

// both returns two connections to each other.
func both(t testing.TB, ha, hb Handler, o Options) (*Conn, *Conn) {
	t.Helper()
	x, y := pair(t)
	a, b := New(x, ha, o), New(y, hb, o)
	t.Cleanup(func() { finish(t, a); finish(t, b) })
	return a, b
}

func TestCancelRequest(t *testing.T) {
	for _, row := range []struct{ name, id, cancel, method, result string }{
		{"number", "1", "1", "block", ""},
		{"negative number", "-7", "-7", "block", ""},
		{"text", `"a"`, `"a"`, "block", ""},
		{"text, escaped otherwise", `"a"`, `"\u0061"`, "block", ""},
		{"the work returns a result all the same", "2", "2", "stubborn", `"done all the same"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLab()
			p, _ := serve(t, l, Options{})
			p.send(`{"jsonrpc":"2.0","id":%s,"method":"%s"}`, row.id, row.method)
			receive(t, "the work", l.started)
			p.send(`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":"other"}}`)
			p.send(`{"jsonrpc":"2.0","id":"between","method":"ping"}`)
			p.want(`"between"`, 0, `"pong"`) // the work blocks no other, and is not cancelled yet
			p.send(`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":%s}}`, row.cancel)
			if cause := receive(t, "the cancel", l.ended); !errors.Is(cause, ErrCancelled) {
				t.Errorf("cause %v", cause)
			}
			if row.result != "" {
				p.want(row.id, 0, row.result)
			} else {
				p.want(row.id, wire.CodeCancelled, "")
			}
			p.send(`{"jsonrpc":"2.0","id":%s,"method":"ping"}`, row.id)
			p.want(row.id, 0, `"pong"`) // the id is free again, and nothing came twice
		})
	}
}

func TestDuplicateIDInFlight(t *testing.T) {
	l := newLab()
	p, _ := serve(t, l, Options{})
	p.send(`{"jsonrpc":"2.0","id":"a","method":"block"}`)
	receive(t, "the work", l.started)
	p.send(`{"jsonrpc":"2.0","id":"\u0061","method":"ping"}`)
	p.want(`"\u0061"`, wire.CodeInvalidRequest, "")
	close(l.release)
	p.want(`"a"`, 0, `"released"`)
	p.send(`{"jsonrpc":"2.0","id":"a","method":"ping"}`)
	p.want(`"a"`, 0, `"pong"`)
}

func TestBusyBeyondMaxInFlight(t *testing.T) {
	l := newLab()
	p, _ := serve(t, l, Options{MaxInFlight: 2})
	for id := 1; id <= 2; id++ {
		p.send(`{"jsonrpc":"2.0","id":%d,"method":"block"}`, id)
		receive(t, "the work", l.started)
	}
	p.send(`{"jsonrpc":"2.0","id":3,"method":"block"}`)
	p.want("3", wire.CodeServerCancelled, "")
	p.send(`{"jsonrpc":"2.0","id":4,"method":"ping"}`) // takes no place
	p.want("4", 0, `"pong"`)
	p.send(`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":1}}`)
	p.want("1", wire.CodeCancelled, "")
	// The place is given back after the answer: ask until it is.
	for id := 5; ; id++ {
		p.send(`{"jsonrpc":"2.0","id":%d,"method":"echo","params":{}}`, id)
		if r := p.next(); r.Error == nil {
			break
		} else if r.Error.Code != wire.CodeServerCancelled {
			t.Fatal(r)
		}
	}
}

// TestPipelinedWorkIsNotRefused: a peer that sends far more requests than may
// be worked on at once has them all answered.
func TestPipelinedWorkIsNotRefused(t *testing.T) {
	const n = 3000
	p, _ := serve(t, newLab(), Options{MaxInFlight: 4})
	go func() {
		for i := range n {
			fmt.Fprint(p.Conn, frame(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"echo","params":{}}`, i)))
		}
	}()
	for range n {
		if r := p.next(); r.Error != nil {
			t.Fatal(r)
		}
	}
}

// TestStuckWorksHoldUpNothingForLong: after one wait in vain, requests beyond
// the limit are refused at once, and the cancel behind them is seen.
func TestStuckWorksHoldUpNothingForLong(t *testing.T) {
	l := newLab()
	p, _ := serve(t, l, Options{MaxInFlight: 1})
	p.send(`{"jsonrpc":"2.0","id":"first","method":"block"}`)
	receive(t, "the work", l.started)
	const n = 1000 // a wait for each would be 100 s
	var all strings.Builder
	for i := range n {
		all.WriteString(frame(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"block"}`, i)))
	}
	p.raw(all.String())
	p.send(`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":"first"}}`)
	for i := range n {
		p.want(fmt.Sprint(i), wire.CodeServerCancelled, "")
	}
	p.want(`"first"`, wire.CodeCancelled, "")
}

// deadlines is a socket that remembers its last write deadline.
type deadlines struct {
	*net.UnixConn
	mu   sync.Mutex
	last time.Time
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = at
	return d.UnixConn.SetWriteDeadline(at)
}

// TestNoDeadlineRemains: one that has passed would fail every direct write.
// TestEveryAnswerIsTold: those of works, those from memory and those that are errors.
func TestEveryAnswerIsTold(t *testing.T) {
	type told struct {
		method string
		failed bool
	}
	heard := make(chan told, 16)
	l := newLab()
	p, c := serve(t, l, Options{Answered: func(method string, took time.Duration, failed bool) {
		if took < 0 {
			t.Errorf("%s took %v", method, took)
		}
		heard <- told{method, failed}
	}})
	defer finish(t, c)
	for i, want := range []told{{"echo", false}, {"ping", false}, {"no such method", true}, {"panic", true}} {
		p.send(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":{}}`, i, want.method)
		p.next()
		if got := receive(t, "the note of an answer", heard); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	p.send(`{"jsonrpc":"2.0","method":"note","params":{}}`)
	p.send(`{"jsonrpc":"2.0","id":9,"method":"ping"}`)
	p.next()
	if got := receive(t, "the note of an answer", heard); got.method != "ping" {
		t.Errorf("a notification was told of: %+v", got)
	}
}

func TestNoDeadlineRemains(t *testing.T) {
	x, y := pair(t)
	rwc := &deadlines{UnixConn: x.(*net.UnixConn)}
	c := New(rwc, nil, Options{})
	defer finish(t, c)
	if err := c.Notify("n", nil); err != nil {
		t.Fatal(err)
	}
	newPeer(t, y).next()
	for stop := time.Now().Add(patience); ; runtime.Gosched() {
		c.out.mu.Lock()
		idle, direct := !c.out.writing, c.out.direct
		c.out.mu.Unlock()
		if !idle && time.Now().Before(stop) {
			continue
		}
		rwc.mu.Lock()
		defer rwc.mu.Unlock()
		if !idle || !rwc.last.IsZero() || direct == nil && runtime.GOOS != "windows" {
			t.Errorf("idle %v, deadline %v, direct %v", idle, rwc.last, direct)
		}
		return
	}
}

func TestNotificationsKeepTheirOrder(t *testing.T) {
	p, _ := serve(t, newLab(), Options{})
	const n = 5000
	var all strings.Builder
	for i := range n {
		all.WriteString(frame(fmt.Sprintf(`{"jsonrpc":"2.0","method":"note","params":[%d]}`, i)))
	}
	p.raw(all.String())
	p.send(`{"jsonrpc":"2.0","id":1,"method":"notes"}`)
	var notes []string
	if err := json.Unmarshal(p.next().Result, &notes); err != nil || len(notes) != n {
		t.Fatalf("%d notifications came: %v", len(notes), err)
	}
	for i, note := range notes {
		if note != fmt.Sprintf("[%d]", i) {
			t.Fatalf("notification %d is %s", i, note)
		}
	}
}

func TestAnswersKeepTheirOrder(t *testing.T) {
	p, _ := serve(t, newLab(), Options{})
	const n = 2000
	go func() {
		for i := range n {
			fmt.Fprint(p.Conn, frame(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"ping"}`, i)))
		}
	}()
	for i := range n {
		p.want(fmt.Sprint(i), 0, `"pong"`)
	}
}

func TestAnswerIsToldFromWork(t *testing.T) {
	if !isAnswer(Answer(1)) || !isAnswer(Answer(nil)) {
		t.Error("an answer is not recognised")
	}
	v := 1
	for _, w := range []Work{
		func(context.Context) (any, error) { return v, nil },
		func(ctx context.Context) (any, error) { return Answer(v)(ctx) },
	} {
		if isAnswer(w) {
			t.Error("work is taken for an answer")
		}
	}
}

func TestEveryRequestAnsweredOnceInAStorm(t *testing.T) {
	const n = 3000
	p, c := serve(t, newLab(), Options{MaxInFlight: n})
	methods := []string{"ping", "echo", "panic", "panicInWork", "fail", "failWork", "unknown", "goexit", "null", "deadline"}
	go func() {
		for i := range n {
			fmt.Fprint(p.Conn, frame(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"%s"}`, i, methods[i%len(methods)])))
			if i%7 == 0 {
				fmt.Fprint(p.Conn, frame(fmt.Sprintf(`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":%d}}`, i)))
			}
		}
		fmt.Fprint(p.Conn, frame(`{"jsonrpc":"2.0","id":"end","method":"ping"}`))
	}()
	seen := map[string]int{}
	for range n + 1 {
		seen[string(p.next().ID)]++
	}
	for i := range n {
		if seen[fmt.Sprint(i)] != 1 {
			t.Fatalf("request %d answered %d times", i, seen[fmt.Sprint(i)])
		}
	}
	p.send(`{"jsonrpc":"2.0","id":"after","method":"ping"}`)
	p.want(`"after"`, 0, `"pong"`)
	if got := c.Panics(); got != 3*n/int64(len(methods)) {
		t.Errorf("%d panics counted", got)
	}
	c.requests.mu.Lock()
	defer c.requests.mu.Unlock()
	if len(c.requests.byNumber)+len(c.requests.byKey) != 0 {
		t.Errorf("%d requests are kept", len(c.requests.byNumber))
	}
}

func TestErrorsToCodes(t *testing.T) {
	p, _ := serve(t, newLab(), Options{})
	p.send(`{"jsonrpc":"2.0","id":1,"method":"failWork"}`)
	r := p.next()
	if r.Error == nil || r.Error.Code != wire.CodeUntrusted || r.Error.Message != "not trusted" || string(r.Error.Data) != `{"code":"untrusted","hash":"h"}` {
		t.Errorf("got %s with data %s", r, r.Error.Data)
	}
	p.send(`{"jsonrpc":"2.0","id":2,"method":"deadline"}`)
	p.want("2", wire.CodeTimeout, "")
	p.send(`{"jsonrpc":"2.0","id":3,"method":"null"}`)
	p.want("3", 0, "null")
	p.send(`{"jsonrpc":"2.0","id":4,"method":"goexit"}`)
	p.want("4", wire.CodeInternal, "")
}

func TestCall(t *testing.T) {
	type answer struct {
		A int `json:"a"`
	}
	h := HandlerFunc(func(m Message) (Work, error) {
		switch m.Method {
		case "fail":
			return nil, Errorf(wire.CodeInvalidParams, wire.ErrorData{Code: "unknown-server", Known: []string{"api"}}, "unknown server %q", "x")
		case "bare":
			return nil, Errorf(1, nil, "bare")
		}
		return Answer(m.Params), nil
	})
	a, _ := both(t, nil, h, Options{})
	ctx := within(t)

	var got answer
	if err := a.Call(ctx, "echo", answer{7}, &got); err != nil || got.A != 7 {
		t.Errorf("got %+v: %v", got, err)
	}
	var raw json.RawMessage
	if err := a.Call(ctx, "echo", json.RawMessage(`{"z": 1}`), &raw); err != nil || string(raw) != `{"z": 1}` {
		t.Errorf("relayed %s: %v", raw, err)
	}
	if err := a.Call(ctx, "echo", nil, &raw); err != nil || string(raw) != "null" {
		t.Errorf("no params, got %s: %v", raw, err)
	}
	if err := a.Call(ctx, "echo", answer{}, nil); err != nil {
		t.Errorf("result not wanted: %v", err)
	}
	var wrong []int
	if err := a.Call(ctx, "echo", answer{}, &wrong); err == nil {
		t.Error("an object was decoded into a list")
	}
	if err := a.Call(ctx, "echo", make(chan int), nil); err == nil {
		t.Error("a channel was sent")
	}
	if err := a.Call(ctx, "echo", json.RawMessage(strings.Repeat(" ", DefaultMaxBody+1)), nil); err == nil || a.Err() != nil {
		t.Errorf("params over the cap: %v, connection %v", err, a.Err())
	}

	var e *Error
	if err := a.Call(ctx, "fail", nil, nil); !errors.As(err, &e) || e.Code != wire.CodeInvalidParams || e.Error() != `unknown server "x"` {
		t.Fatalf("got %v", err)
	}
	data, ok := e.Data.(json.RawMessage)
	if !ok || string(data) != `{"code":"unknown-server","known":["api"]}` {
		t.Errorf("data %T %s", e.Data, data)
	}
	if err := a.Call(ctx, "bare", nil, nil); !errors.As(err, &e) || e.Data != nil {
		t.Errorf("got %v", err)
	}
	if err := a.Notify("note", make(chan int)); err == nil {
		t.Error("a channel was sent")
	}
	if n := len(a.calls.waiting); n != 0 {
		t.Errorf("%d calls are kept", n)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := a.Call(ended, "echo", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestCallWithoutHandler: a connection that only calls refuses what it is asked.
func TestCallWithoutHandler(t *testing.T) {
	a, b := both(t, nil, nil, Options{Name: "test"})
	var e *Error
	if err := a.Call(within(t), "anything", nil, nil); !errors.As(err, &e) || e.Code != wire.CodeMethodNotFound {
		t.Errorf("got %v", err)
	}
	if err := b.Notify("anything", nil); err != nil {
		t.Error(err)
	}
}

// TestWorkCallsBack: a work may call the peer that asked.
func TestWorkCallsBack(t *testing.T) {
	var a, b *Conn
	ready := make(chan struct{})
	depth := func(self **Conn) Handler {
		return HandlerFunc(func(m Message) (Work, error) {
			return func(ctx context.Context) (any, error) {
				<-ready
				var n int
				if err := Decode(m.Params, &struct {
					N *int `json:"n"`
				}{&n}); err != nil {
					return nil, err
				}
				if n == 0 {
					return 0, nil
				}
				var below int
				err := (*self).Call(ctx, "down", map[string]int{"n": n - 1}, &below)
				return below + 1, err
			}, nil
		})
	}
	a, b = both(t, depth(&a), depth(&b), Options{})
	close(ready)
	var n int
	if err := a.Call(within(t), "down", map[string]int{"n": 20}, &n); err != nil || n != 20 {
		t.Errorf("got %d: %v", n, err)
	}
}

// TestCallGivenUp: the peer is told, and nothing is kept, though it never answers.
func TestCallGivenUp(t *testing.T) {
	p, c := serve(t, nil, Options{})
	for i := range 100 {
		ctx, cancel := context.WithCancel(context.Background())
		failed := make(chan error, 1)
		go func() { failed <- c.Call(ctx, "never", nil, nil) }()
		asked := p.next()
		cancel()
		if err := receive(t, "the call's end", failed); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		told := p.next()
		if want := fmt.Sprintf(`{"id":%s}`, asked.ID); told.Method != "$/cancelRequest" || string(told.Params) != want {
			t.Fatalf("call %d: got %s %s, want the cancel of %s", i, told, told.Params, want)
		}
		// A late answer finds nobody.
		p.send(`{"jsonrpc":"2.0","id":%s,"result":1}`, asked.ID)
	}
	c.calls.mu.Lock()
	defer c.calls.mu.Unlock()
	if n := len(c.calls.waiting); n != 0 {
		t.Errorf("%d calls are kept", n)
	}
}

func TestCallsAreBounded(t *testing.T) {
	c := calls{waiting: map[int64]chan<- message{}}
	for range maxCalls {
		if _, _, _, err := c.add(); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, _, err := c.add(); !errors.Is(err, errTooManyCalls) {
		t.Errorf("got %v", err)
	}
	if !c.forget(5) || c.forget(5) {
		t.Error("a call is forgotten once")
	}
	c.last = 1<<31 - 1 // ids begin again, past those that wait
	if id, _, _, err := c.add(); err != nil || id != 5 {
		t.Errorf("got id %d: %v", id, err)
	}
}

func TestCallAnswers(t *testing.T) {
	for _, row := range []struct{ name, members, want string }{
		{"result", `"result":[1]`, "[1]"},
		{"both members, error null", `"result":[1],"error":null`, "[1]"},
		{"error null only", `"error":null`, "null"},
		{"both members", `"result":null,"error":{"code":5,"message":"m"}`, "error 5 m"},
		{"error that is none", `"error":[1]`, "error -32603 the peer answered with an error that can't be read"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, c := serve(t, nil, Options{})
			got := make(chan string, 1)
			go func() {
				var raw json.RawMessage
				err := c.Call(context.Background(), "x", nil, &raw)
				var e *Error
				if errors.As(err, &e) {
					got <- fmt.Sprintf("error %d %s", e.Code, e.Message)
				} else {
					got <- string(raw)
				}
			}()
			p.send(`{"jsonrpc":"2.0","id":%s,%s}`, p.next().ID, row.members)
			if g := receive(t, "the answer", got); g != row.want {
				t.Errorf("got %s, want %s", g, row.want)
			}
		})
	}
}

func TestLostConnection(t *testing.T) {
	for _, row := range []struct {
		name string
		last string // sent before the end
		want error
	}{
		{"between two messages", "", io.EOF},
		{"in a header", "Content-Le", io.ErrUnexpectedEOF},
		{"after a header line", "Content-Length: 5\r\n", io.ErrUnexpectedEOF},
		{"before a body", "Content-Length: 5\r\n\r\n", io.ErrUnexpectedEOF},
		{"in a body", "Content-Length: 5\r\n\r\n12", io.ErrUnexpectedEOF},
		{"in a body that is discarded", "Content-Length: 70000\r\n\r\n12", io.ErrUnexpectedEOF},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newLab()
			p, c := serve(t, l, Options{MaxBody: 64 << 10})
			if c.Err() != nil {
				t.Errorf("ended already: %v", c.Err())
			}
			p.send(`{"jsonrpc":"2.0","id":1,"method":"stubborn"}`)
			receive(t, "the work", l.started)
			called := make(chan error, 1)
			go func() { called <- c.Call(context.Background(), "never", nil, nil) }()
			p.next()
			p.raw(row.last)
			p.Close()
			receive(t, "the end", c.Done())
			if !errors.Is(c.Err(), row.want) {
				t.Errorf("ended with %v, want %v", c.Err(), row.want)
			}
			if err := receive(t, "the call's end", called); err != ErrClosed {
				t.Errorf("call: %v", err)
			}
			if cause := receive(t, "the work's end", l.ended); !errors.Is(cause, ErrClosed) {
				t.Errorf("work: cause %v", cause)
			}
			if err := c.Notify("x", nil); err != ErrClosed {
				t.Errorf("notify: %v", err)
			}
			if err := c.Call(context.Background(), "x", nil, nil); err != ErrClosed {
				t.Errorf("call: %v", err)
			}
		})
	}
}

// TestQueuedAnswersAreWrittenAfterEOF: a peer that closes its writing side
// still reads what was answered before.
func TestQueuedAnswersAreWrittenAfterEOF(t *testing.T) {
	p, c := serve(t, newLab(), Options{})
	p.send(`{"jsonrpc":"2.0","id":1,"method":"big","params":[3000000]}`)
	p.send(`{"jsonrpc":"2.0","id":2,"method":"ping"}`)
	if err := p.Conn.(*net.UnixConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	receive(t, "the end", c.Done())
	if r := p.next(); len(r.Result) != 3000002 {
		t.Errorf("got %d bytes", len(r.Result))
	}
	p.want("2", 0, `"pong"`)
	p.ended()
}

func TestCloseWritesWhatIsQueued(t *testing.T) {
	p, c := serve(t, nil, Options{})
	const n, size = 20, 100_000
	for i := range n {
		if err := c.Notify("n", []string{fmt.Sprint(i), strings.Repeat("x", size)}); err != nil {
			t.Fatal(err)
		}
	}
	closed := make(chan error, 2)
	for range 2 {
		go func() { closed <- c.Close() }()
	}
	for i := range n {
		if r := p.next(); !strings.HasPrefix(string(r.Params), fmt.Sprintf(`["%d","xxx`, i)) || len(r.Params) < size {
			t.Fatalf("message %d is %s", i, r.Params[:20])
		}
	}
	p.ended()
	for range 2 {
		if err := receive(t, "Close", closed); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if c.Err() != ErrClosed {
		t.Errorf("ended with %v", c.Err())
	}
	if err := c.Flush(within(t)); err != nil {
		t.Errorf("flush of what is written: %v", err)
	}
}

// TestCloseWhileWriting: whatever comes together, nothing hangs and nothing
// is written after a frame that was cut.
func TestCloseWhileWriting(t *testing.T) {
	for range 50 {
		a, b := both(t, nil, newLab(), Options{})
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 50 {
					_ = a.Notify("note", []int{1})
					if a.Call(context.Background(), "echo", []int{1}, nil) != nil {
						return
					}
				}
			})
		}
		all.Go(func() { a.Close() })
		all.Go(func() { b.Close() })
		all.Wait()
	}
}

// TestPeerThatStopsReadingIsDropped, without any goroutine that remains, and
// while others go on.
func TestPeerThatStopsReadingIsDropped(t *testing.T) {
	for _, row := range []struct {
		name string
		o    Options
		want error
	}{
		{"within the write time-out", Options{WriteTimeout: 100 * time.Millisecond, MaxOutbox: 1 << 30}, errTimeout},
		{"at the outbox's limit", Options{WriteTimeout: time.Hour, MaxOutbox: 1 << 20}, errOverflow},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, stuck := serve(t, nil, row.o)
			reader, fine := serve(t, newLab(), Options{})
			text := strings.Repeat("x", 10_000)
			deadline := time.Now().Add(patience)
			for i := 0; stuck.Err() == nil; i++ {
				_ = stuck.Notify("n", []string{text})
				if i >= 200 { // two megabytes: more than a socket takes
					if time.Now().After(deadline) {
						t.Fatal("the peer is still there")
					}
					continue
				}
				if err := fine.Notify("n", []int{i}); err != nil {
					t.Fatal(err)
				}
				if r := reader.next(); string(r.Params) != fmt.Sprintf("[%d]", i) {
					t.Fatalf("the other peer got %s", r.Params)
				}
			}
			if !errors.Is(stuck.Err(), row.want) {
				t.Errorf("ended with %v, want %v", stuck.Err(), row.want)
			}
			ctx := within(t)
			if err := stuck.Wait(ctx); err != nil {
				t.Errorf("goroutines remain: %v", err)
			}
			if err := stuck.Flush(ctx); err != ErrClosed {
				t.Errorf("flush: %v", err)
			}
		})
	}
}

// TestPipelinedLargeAnswers: a peer that asks for more than the outbox holds
// and reads at its own speed is not dropped.
func TestPipelinedLargeAnswers(t *testing.T) {
	const n, size = 200, 100_000
	p, c := serve(t, newLab(), Options{MaxOutbox: 2 << 20})
	go func() {
		for i := range n {
			fmt.Fprint(p.Conn, frame(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"big","params":[%d]}`, i, size)))
		}
	}()
	for i := range n {
		r, err := p.read()
		if err != nil {
			t.Fatalf("answer %d: %v; connection: %v", i, err, c.Err())
		}
		if string(r.ID) != fmt.Sprint(i) || len(r.Result) != size+2 {
			t.Fatalf("answer %d is %s with %d bytes", i, r.ID, len(r.Result))
		}
	}
}

func TestNotifyPaced(t *testing.T) {
	p, c := serve(t, nil, Options{MaxOutbox: 1 << 20})
	const n, size = 300, 50_000 // 15 MB through an outbox of 1 MB
	sent := make(chan error, 1)
	ctx := within(t)
	go func() {
		for i := range n {
			if err := c.NotifyPaced(ctx, "n", []string{fmt.Sprint(i), strings.Repeat("x", size)}); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for i := range n {
		if r := p.next(); !strings.HasPrefix(string(r.Params), fmt.Sprintf(`["%d",`, i)) {
			t.Fatalf("message %d is %s", i, r.Params[:20])
		}
	}
	if err := receive(t, "the sender's end", sent); err != nil {
		t.Error(err)
	}
}

// TestWaitsEnd: whoever waits for a peer that does not read is let go by its
// own context, and by the end of the connection.
func TestWaitsEnd(t *testing.T) {
	_, c := serve(t, nil, Options{})
	fill := func() error { return c.Notify("n", []string{strings.Repeat("x", 100_000)}) }
	for range 20 {
		if err := fill(); err != nil {
			t.Fatal(err)
		}
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.NotifyPaced(ended, "n", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("NotifyPaced: %v", err)
	}
	if err := c.Flush(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Flush: %v", err)
	}
	results := make(chan error, 2)
	go func() { results <- c.NotifyPaced(context.Background(), "n", nil) }()
	go func() { results <- c.Flush(context.Background()) }()
	c.end(io.EOF, false)
	for range 2 {
		if err := receive(t, "the wait's end", results); err != ErrClosed {
			t.Errorf("got %v", err)
		}
	}
}

func TestFlush(t *testing.T) {
	p, c := serve(t, nil, Options{})
	if err := c.Flush(within(t)); err != nil {
		t.Errorf("nothing to flush: %v", err)
	}
	if err := c.Notify("n", []string{strings.Repeat("x", 1_000_000)}); err != nil {
		t.Fatal(err)
	}
	flushed := make(chan error, 1)
	go func() { flushed <- c.Flush(within(t)) }()
	p.next()
	if err := receive(t, "the flush", flushed); err != nil {
		t.Error(err)
	}
}

func TestWaitIsBoundedByItsContext(t *testing.T) {
	l := newLab()
	hang := make(chan struct{})
	p, c := serve(t, HandlerFunc(func(m Message) (Work, error) {
		return func(context.Context) (any, error) { l.started <- ""; <-hang; return nil, nil }, nil
	}), Options{})
	p.send(`{"jsonrpc":"2.0","id":1,"method":"x"}`)
	receive(t, "the work", l.started)
	c.Close() // does not wait for the work
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.Wait(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	close(hang)
}

// cut is a connection whose writing fails.
type cut struct {
	*io.PipeReader
	pipe   *io.PipeWriter
	write  func(b []byte) (int, error)
	closed chan struct{}
	once   sync.Once
}

func newCut(write func(b []byte) (int, error)) *cut {
	r, w := io.Pipe()
	return &cut{PipeReader: r, pipe: w, write: write, closed: make(chan struct{})}
}

func (c *cut) Write(b []byte) (int, error) { return c.write(b) }
func (c *cut) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.PipeReader.Close()
}

func TestFailedWriteEndsTheConnection(t *testing.T) {
	broken := errors.New("broken")
	for _, row := range []struct {
		name string
		n    int
		err  error
		want error
	}{
		{"error", 0, broken, broken},
		{"partial write with an error", 5, broken, broken},
		{"partial write without an error", 5, nil, io.ErrShortWrite},
	} {
		t.Run(row.name, func(t *testing.T) {
			writes := 0
			rwc := newCut(func(b []byte) (int, error) { writes++; return min(row.n, len(b)), row.err })
			c := New(rwc, nil, Options{})
			defer finish(t, c)
			if err := c.Notify("n", nil); err != nil {
				t.Fatal(err)
			}
			receive(t, "the end", c.Done())
			receive(t, "the close", rwc.closed)
			if !errors.Is(c.Err(), row.want) {
				t.Errorf("ended with %v", c.Err())
			}
			finish(t, c)
			if writes != 1 {
				t.Errorf("%d writes", writes)
			}
		})
	}
}

// TestWriterWithoutDeadlines: a timer does what the deadline would.
func TestWriterWithoutDeadlines(t *testing.T) {
	for _, name := range []string{"alive", "closing"} {
		t.Run(name, func(t *testing.T) {
			var rwc *cut
			writing := make(chan struct{}, 1)
			rwc = newCut(func(b []byte) (int, error) {
				writing <- struct{}{}
				<-rwc.closed
				return 0, io.ErrClosedPipe
			})
			c := New(rwc, nil, Options{WriteTimeout: 50 * time.Millisecond})
			defer finish(t, c)
			if err := c.Notify("n", nil); err != nil {
				t.Fatal(err)
			}
			receive(t, "the write", writing)
			want := errTimeout
			if name == "closing" {
				want = ErrClosed
				c.end(ErrClosed, true)
			}
			receive(t, "the close", rwc.closed)
			receive(t, "the end", c.Done())
			if !errors.Is(c.Err(), want) {
				t.Errorf("ended with %v", c.Err())
			}
		})
	}
}

// TestCloseDoesNotWaitForAFileForEver: a write to a stopped terminal ends with
// nothing that we can do.
func TestCloseDoesNotWaitForAFileForEver(t *testing.T) {
	released, writing := make(chan struct{}), make(chan struct{}, 1)
	rwc := newCut(func(b []byte) (int, error) { writing <- struct{}{}; <-released; return len(b), nil })
	c := New(rwc, nil, Options{WriteTimeout: 20 * time.Millisecond})
	if err := c.Notify("n", nil); err != nil {
		t.Fatal(err)
	}
	receive(t, "the write", writing)
	if err := c.Close(); !errors.Is(err, errTimeout) {
		t.Errorf("close: %v", err)
	}
	close(released)
	if err := c.Wait(within(t)); err != nil {
		t.Error(err)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestLogHoldsNoParams: params and results hold what people keep in .env files.
func TestLogHoldsNoParams(t *testing.T) {
	var log syncBuffer
	p, c := serve(t, newLab(), Options{Name: "editor", Log: zerolog.New(&log).Level(zerolog.TraceLevel)})
	const params = `{"password":"s3cret","n":"s3cret"}`
	for i, method := range []string{"echo", "ping", "panic", "panicInWork", "fail", "unknown", "big", "channel"} {
		p.send(`{"jsonrpc":"2.0","id":%d,"method":"%s","params":%s}`, i, method, params)
		p.next()
	}
	p.send(`{"jsonrpc":"2.0","method":"unknown","params":%s}`, params)
	p.send(`{"jsonrpc":"2.0","id":true,"method":"x","params":%s}`, params)
	p.next()
	p.send(`{"jsonrpc":"2.0","id":9,"method":"x","params":%s`, params)
	p.next()
	p.send(`{"jsonrpc":"2.0","id":99,"result":%s}`, params)
	_ = c.Notify("note", json.RawMessage(params))
	p.next()
	p.Close()
	receive(t, "the end", c.Done())
	if s := log.String(); strings.Contains(s, "s3cret") {
		t.Errorf("the log holds params:\n%s", s)
	} else if !strings.Contains(s, `"conn":"editor"`) || !strings.Contains(s, "lab).Accept") {
		t.Errorf("no stack of the panic in the log:\n%s", s)
	}
}

// TestFaultsDoNotFillTheLog: a peer that sends nothing but garbage.
func TestFaultsDoNotFillTheLog(t *testing.T) {
	var log syncBuffer
	p, _ := serve(t, newLab(), Options{Log: zerolog.New(&log)})
	for range 1000 {
		p.send(`{`)
		p.want("null", wire.CodeParse, "")
	}
	if n := strings.Count(log.String(), "\n"); n != loggedFaults {
		t.Errorf("%d lines logged, want %d", n, loggedFaults)
	}
}

// TestWhatAReplySendsComesAfterItsAnswer, and a work that fails sends nothing.
func TestWhatAReplySendsComesAfterItsAnswer(t *testing.T) {
	const n = 200
	var c *Conn
	known := make(chan struct{})
	var unwanted atomic.Int64
	h := HandlerFunc(func(m Message) (Work, error) {
		return func(context.Context) (any, error) {
			<-known
			if m.Method == "fail" {
				return Reply{Result: 1, Sent: func() { unwanted.Add(1) }}, errors.New("no")
			}
			return Reply{Result: json.RawMessage(m.Params), Sent: func() {
				if err := c.Notify("sent", json.RawMessage(m.Params)); err != nil {
					t.Errorf("notify: %v", err)
				}
			}}, nil
		}, nil
	})
	p, conn := serve(t, h, Options{})
	c = conn
	close(known)
	for id := range n {
		p.send(`{"jsonrpc":"2.0","id":%d,"method":"ok","params":{"n":%[1]d}}`, id)
	}
	answered := map[string]bool{}
	for range 2 * n {
		r := p.next()
		switch {
		case r.Error != nil:
			t.Fatal(r)
		case r.Method == "":
			answered[string(r.Result)] = true
		case !answered[string(r.Params)]:
			t.Fatalf("%s was sent before its answer", r.Params)
		}
	}
	if len(answered) != n {
		t.Errorf("%d different answers, want %d", len(answered), n)
	}
	p.send(`{"jsonrpc":"2.0","id":"f","method":"fail"}`)
	p.want(`"f"`, wire.CodeInternal, "")
	finish(t, conn)
	if unwanted.Load() != 0 {
		t.Error("a work that failed has sent something")
	}
}

// TestFinishAnswersWhatRuns: the works under way are answered, then the
// connection ends; a work that takes too long does not hold it.
func TestFinishAnswersWhatRuns(t *testing.T) {
	l := newLab()
	p, c := serve(t, l, Options{})
	p.send(`{"jsonrpc":"2.0","id":1,"method":"block"}`)
	receive(t, "the work", l.started)
	finished := make(chan error, 1)
	go func() { finished <- c.Finish(context.Background()) }()
	// Refused, because no more work begins; ask until that is so.
	for id := 2; ; id++ {
		p.send(`{"jsonrpc":"2.0","id":%d,"method":"echo","params":{}}`, id)
		if r := p.next(); r.Error != nil {
			break
		}
	}
	close(l.release)
	p.want("1", 0, `"released"`)
	p.ended()
	if err := receive(t, "the end", finished); err != nil {
		t.Error(err)
	}

	l = newLab()
	p, c = serve(t, l, Options{})
	p.send(`{"jsonrpc":"2.0","id":1,"method":"block"}`)
	receive(t, "the work", l.started)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.Finish(ctx); err != nil {
		t.Error(err)
	}
	if cause := receive(t, "the work's end", l.ended); !errors.Is(cause, ErrClosed) {
		t.Errorf("cause %v", cause)
	}
	if err := c.Finish(context.Background()); err != nil { // again: nothing more to do
		t.Error(err)
	}
}
