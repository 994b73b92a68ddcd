package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// script is a connection whose peer says what is written, and goes.
type script struct {
	io.Reader
	mu  sync.Mutex
	out bytes.Buffer
}

func (s *script) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(b)
}
func (s *script) Close() error                     { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// FuzzConn sends any bytes to a whole connection. Whatever they are, what it
// writes is well-formed, each message that wants an answer gets one and no
// other does, and the connection ends with its input.
func FuzzConn(f *testing.F) {
	for _, row := range faultRows() {
		if len(row.raw) < 4096 {
			f.Add([]byte(row.raw + frame(good)))
		}
	}
	for _, row := range fatalRows() {
		if len(row.raw) < 4096 {
			f.Add([]byte(frame(good) + row.raw))
		}
	}
	const maxBody = 4096
	h := HandlerFunc(func(m Message) (Work, error) {
		if m.Notification {
			return nil, errors.New("not wanted")
		}
		if strings.HasPrefix(m.Method, "p") {
			return Answer(m.Params), nil
		}
		return nil, errors.New("unknown")
	})
	f.Fuzz(func(t *testing.T, input []byte) {
		want := expected(input, maxBody)
		s := &script{Reader: bytes.NewReader(input)}
		c := New(s, h, Options{MaxBody: maxBody})
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := c.Wait(ctx); err != nil {
			t.Fatalf("the connection does not end: %v", err)
		}
		out := newFrames(&s.out, 1<<20)
		for i := 0; ; i++ {
			body, err := out.next()
			if err == io.EOF {
				if i != len(want) {
					t.Fatalf("%d answers to %q, want those to %q", i, input, want)
				}
				break
			}
			if err != nil {
				t.Fatalf("wrote a bad frame: %v", err)
			}
			var r reply
			if err := json.Unmarshal(body, &r); err != nil || r.JSONRPC != "2.0" || r.ID == nil || (r.Result == nil) == (r.Error == nil) {
				t.Fatalf("wrote %s: %v", body, err)
			}
			if i >= len(want) || !bytes.Equal(r.ID, want[i]) {
				t.Fatalf("answer %d is %s; want ids %q", i, body, want)
			}
		}
	})
}

// expected returns the ids of the answers that an input wants, in order.
func expected(input []byte, maxBody int) [][]byte {
	null := []byte("null")
	var ids [][]byte
	frames := newFrames(bytes.NewReader(input), maxBody)
	for {
		body, err := frames.next()
		var bad *fault
		if err != nil && !errors.As(err, &bad) {
			return ids
		}
		var m message
		if bad == nil {
			m, bad = parse(body)
		}
		switch {
		case bad == nil && m.kind == aRequest:
			ids = append(ids, m.id.raw)
		case bad == nil, bad.silent:
		case bad.id != nil:
			ids = append(ids, bad.id)
		default:
			ids = append(ids, null)
		}
		if bad != nil && bad.fatal {
			return ids
		}
	}
}

// FuzzScan holds the scanner to encoding/json: what is valid, and what the
// members of an object are.
func FuzzScan(f *testing.F) {
	for _, s := range []string{
		`{}`, `[]`, `null`, `true`, `false`, `"a\u00e9\n"`, `-0.5e+10`, `01`, `1.`, `.5`, `1e`, `-`, `"\x"`, `"\u12g4"`, "\"\x01\"",
		`{"a":1,"b":[1,2,{"c":null}],"a":"x"}`, `{"a" : 1 , }`, `{"a"}`, `{1:2}`, `[1,]`, `[1 2]`, `{"a":1}x`, ` {"a":1} `, `"`, `"\`, `nul`, "\"\xff\"",
		`{"\u0061":1}`, strings.Repeat("[", 20000), strings.Repeat("[", 9999) + strings.Repeat("]", 9999),
		strings.Repeat("[", 10001) + strings.Repeat("]", 10001), strings.Repeat(`{"a":`, 10001) + "1" + strings.Repeat("}", 10001),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := scanner{b: b}
		err := s.value(0)
		if err == nil {
			if s.space(); s.i < len(b) {
				err = errors.New("more")
			}
		}
		if valid := json.Valid(b); valid != (err == nil) {
			t.Fatalf("%q: valid is %v, the scanner says %v", b, valid, err)
		}
		if err != nil {
			return
		}
		s = scanner{b: b}
		if s.peek() != '{' {
			return
		}
		got := map[string]json.RawMessage{}
		if err := s.object(1, func(key, value []byte) {
			var k string
			if err := json.Unmarshal(key, &k); err != nil {
				t.Fatal(err)
			}
			if bytes.IndexByte(key, '\\') >= 0 && unquote(key) != k {
				t.Fatalf("key %s unquoted to %q", key, unquote(key))
			}
			got[k] = value
		}); err != nil {
			t.Fatal(err)
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Fatalf("%q: %d members, want %d", b, len(got), len(want))
		}
		for k := range want {
			if !bytes.Equal(got[k], want[k]) {
				t.Fatalf("%q: member %q is %s, want %s", b, k, got[k], want[k])
			}
		}
	})
}
