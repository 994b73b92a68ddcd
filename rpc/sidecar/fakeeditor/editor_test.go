package fakeeditor

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// recorder is a test that fails without failing this one.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	faults   []string
	cleanups []func()
}

func (r *recorder) Helper() {}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// server is a peer that says exactly what a test wants said.
type server struct {
	conn net.Conn
	r    *bufio.Reader
}

func (s *server) read(t *testing.T) map[string]any {
	t.Helper()
	header, err := textproto.NewReader(s.r).ReadMIMEHeader()
	if err != nil {
		t.Error(err)
		return nil
	}
	n, _ := strconv.Atoi(header.Get("Content-Length"))
	body := make([]byte, n)
	if _, err := io.ReadFull(s.r, body); err != nil {
		t.Error(err)
	}
	var message map[string]any
	if err := json.Unmarshal(body, &message); err != nil {
		t.Error(err)
	}
	return message
}

func (s *server) say(body string) {
	_, _ = fmt.Fprintf(s.conn, "Content-Length: %d\r\n\r\n%s", len(body), body) // a closed editor is part of some tests
}

// play runs a client's script against a server's, and returns the faults found.
func play(t *testing.T, client func(e *Editor), script func(s *server)) []string {
	t.Helper()
	rec := &recorder{TB: t}
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		e := Start(rec, ours)
		var both sync.WaitGroup
		both.Go(func() { client(e) })
		both.Go(func() { script(&server{theirs, bufio.NewReader(theirs)}) })
		both.Wait()
		synctest.Wait()
		_ = theirs.Close()
		for _, f := range rec.cleanups {
			f()
		}
	})
	return rec.faults
}

const (
	initialized = `{"jsonrpc":"2.0","id":1,"result":{"capabilities":{}}}`
	logged      = `{"jsonrpc":"2.0","method":"window/logMessage","params":{"type":3,"message":"m"}}`
	published   = `{"jsonrpc":"2.0","method":"textDocument/publishDiagnostics","params":{"uri":"file:///x","diagnostics":[{"range":{"start":{"line":0,"character":0},"end":{"line":0,"character":1}},"message":"m","code":"c"}]}}`
	cleared     = `{"jsonrpc":"2.0","method":"textDocument/publishDiagnostics","params":{"uri":"file:///x","diagnostics":[]}}`
	ended       = `{"jsonrpc":"2.0","id":2,"result":null}`
)

func progress(kind string, percent int) string {
	switch kind {
	case "begin":
		return fmt.Sprintf(`{"jsonrpc":"2.0","method":"$/progress","params":{"token":"t","value":{"kind":"begin","title":"x","percentage":%d}}}`, percent)
	case "report":
		return fmt.Sprintf(`{"jsonrpc":"2.0","method":"$/progress","params":{"token":"t","value":{"kind":"report","percentage":%d}}}`, percent)
	}
	return `{"jsonrpc":"2.0","method":"$/progress","params":{"token":"t","value":{"kind":"end"}}}`
}

func TestTheEditorSeesWhatAServerDoesWrong(t *testing.T) {
	create := `{"jsonrpc":"2.0","id":"s1","method":"window/workDoneProgress/create","params":{"token":"t"}}`
	for _, test := range []struct {
		name     string
		declared bool
		says     []string // after initialize was read, before shutdown
		last     []string // in place of the answer to shutdown; nil: the answer
		want     string   // part of the fault; empty: none
	}{
		{"nothing", false, []string{initialized, logged, published, cleared}, nil, ""},
		{"a log line before the answer", false, []string{logged, initialized}, nil, ""},
		{"diagnostics before the answer", false, []string{published, initialized, cleared}, nil, "before initialize was answered"},
		{"a second answer", false, []string{initialized, initialized}, nil, "a second one"},
		{"an invalid notification", false, []string{initialized, strings.Replace(cleared, "[]", "null", 1)}, nil, "array"},
		{"an undeclared request", false, []string{initialized, create}, nil, "did not declare"},
		{"an error without a code", false, []string{initialized}, []string{`{"jsonrpc":"2.0","id":2,"error":{"code":0,"message":""}}`}, "bad error"},
		{"diagnostics left", false, []string{initialized, published}, nil, "still shows"},
		{"diagnostics after shutdown", false, []string{initialized}, []string{ended, cleared}, "after shutdown was answered"},
		{"a log line after shutdown", false, []string{initialized}, []string{ended, logged}, ""},
		{"the same diagnostics twice", false, []string{initialized, published, published, cleared}, nil, "nothing has changed"},
		{"a request after shutdown", false, []string{initialized}, []string{ended, strings.Replace(create, "s1", "s9", 1)}, "after shutdown was answered"},
		{"progress in order", true, []string{initialized, create, progress("begin", 0), progress("report", 50), progress("report", 50), progress("end", 0)}, nil, ""},
		{"progress that was not created", false, []string{initialized, progress("begin", 0), progress("end", 0)}, nil, "did not agree"},
		{"a report first", true, []string{initialized, create, progress("report", 0), progress("end", 0)}, nil, `report after ""`},
		{"two begins", true, []string{initialized, create, progress("begin", 0), progress("begin", 0), progress("end", 0)}, nil, "begin after"},
		{"a report after the end", true, []string{initialized, create, progress("begin", 0), progress("end", 0), progress("report", 0), progress("end", 0)}, nil, "after its end"},
		{"progress that falls", true, []string{initialized, create, progress("begin", 60), progress("report", 50), progress("end", 0)}, nil, "fell from 60 to 50"},
		{"progress beyond its end", true, []string{initialized, create, progress("begin", 0), progress("report", 101), progress("end", 0)}, nil, "101 %"},
		{"percents that were not announced", true, []string{initialized, create, strings.Replace(progress("begin", 0), `,"percentage":0`, "", 1), progress("report", 50), progress("end", 0)}, nil, "50 %"},
		{"progress left", true, []string{initialized, create, progress("begin", 0)}, nil, "was not ended"},
	} {
		t.Run(test.name, func(t *testing.T) {
			faults := play(t, func(e *Editor) {
				e.Answer("window/workDoneProgress/create", func(json.RawMessage) (any, *Error) { return nil, nil })
				e.Initialize(map[string]any{"capabilities": map[string]any{"window": map[string]any{"workDoneProgress": test.declared}}})
				e.Call("shutdown", nil)
				e.Notify("exit", nil)
			}, func(s *server) {
				s.read(t) // initialize
				answers := 0
				for _, line := range test.says {
					s.say(line)
					if line == initialized {
						if answers++; answers == 1 {
							s.read(t) // initialized
							s.read(t) // shutdown
						}
					}
					if strings.Contains(line, `"s1"`) {
						s.read(t) // its answer
					}
				}
				if test.last == nil {
					test.last = []string{ended}
				}
				s.say(test.last[0])
				s.read(t) // exit
				for _, line := range test.last[1:] {
					s.say(line)
				}
			})
			found := slices.ContainsFunc(faults, func(f string) bool { return strings.Contains(f, test.want) })
			if test.want == "" && len(faults) > 0 || test.want != "" && !found {
				t.Errorf("faults %q, want one with %q", faults, test.want)
			}
		})
	}
}

func TestTheEditorSeesIdsThatAreUsedTwiceAndRequestsThatAreNotAnswered(t *testing.T) {
	create := `{"jsonrpc":"2.0","id":"s1","method":"window/workDoneProgress/create","params":{"token":%d}}`
	faults := play(t, func(e *Editor) {
		twice := make(chan struct{})
		e.Answer("window/workDoneProgress/create", func(json.RawMessage) (any, *Error) { <-twice; return nil, nil })
		e.Initialize(map[string]any{"capabilities": map[string]any{"window": map[string]any{"workDoneProgress": true}}})
		e.Send("devside/status", nil)
		e.Await("both requests", func(s *State) bool { return len(s.Requests) == 2 })
		close(twice)
		e.Call("shutdown", nil)
	}, func(s *server) {
		s.read(t) // initialize
		s.say(initialized)
		s.read(t) // initialized
		s.read(t) // devside/status, which is never answered
		s.say(fmt.Sprintf(create, 1))
		s.say(fmt.Sprintf(create, 2))
		for range 3 {
			s.read(t) // two answers and shutdown
		}
		s.say(strings.Replace(ended, `"id":2`, `"id":3`, 1))
	})
	for _, want := range []string{"which is under way", "devside/status, id 2, was never answered"} {
		if !strings.Contains(strings.Join(faults, "\n"), want) {
			t.Errorf("faults %q, want one with %q", faults, want)
		}
	}
}

func TestTheEditorSaysWhatItWaitedFor(t *testing.T) {
	faults := play(t, func(e *Editor) {
		e.Await("a miracle", func(*State) bool { return false })
	}, func(s *server) { s.say(published); s.say(progress("begin", 0)) })
	if all := strings.Join(faults, "\n"); !strings.Contains(all, "a miracle") || !strings.Contains(all, "0:0-0:1 c: m") {
		t.Errorf("faults %q", faults)
	}
	faults = play(t, func(e *Editor) { e.Call("devside/status", map[string]any{"workDoneToken": 1}) }, func(s *server) { s.read(t) })
	if !strings.Contains(strings.Join(faults, "\n"), "devside/status was not answered") {
		t.Errorf("faults %q", faults)
	}
}

func TestTheEditorSeesBrokenFrames(t *testing.T) {
	for name, raw := range map[string]string{
		"no length": "X: 1\r\n\r\n", "no JSON": "Content-Length: 1\r\n\r\nx", "no JSON-RPC": "Content-Length: 2\r\n\r\n{}",
	} {
		faults := play(t, func(e *Editor) {
			e.Await("the end", func(s *State) bool { return s.Closed })
		}, func(s *server) { _, _ = io.WriteString(s.conn, raw) })
		if len(faults) == 0 {
			t.Errorf("%s: no fault", name)
		}
	}
}

func TestAnswersAndState(t *testing.T) {
	faults := play(t, func(e *Editor) {
		p := e.Send("devside/status", nil)
		p.Cancel()
		r := p.Wait()
		if r.Err.DataCode() != "x" || p.Answered() || (*Error)(nil).DataCode() != "" {
			t.Errorf("answer %+v", r.Err)
		}
		var n int
		e.Do("devside/ports", nil, &n)
		e.Await("two messages", func(s *State) bool { return s.Count("devside/didLog") == 2 })
		e.Look(func(s *State) {
			if n != 7 || string(s.Last("devside/didLog")) != "[2]" || s.Last("x") != nil {
				t.Errorf("%d, state:\n%s", n, s)
			}
		})
		e.Await("an unknown request", func(s *State) bool { return len(s.Requests) == 1 })
		e.Do("devside/ports", nil, &n)
	}, func(s *server) {
		s.read(t)
		if cancel := s.read(t); cancel["method"] != "$/cancelRequest" {
			t.Errorf("read %v", cancel)
		}
		s.say(`{"jsonrpc":"2.0","id":1,"error":{"code":-32803,"message":"m","data":{"code":"x"}}}`)
		s.read(t)
		s.say(`{"jsonrpc":"2.0","id":2,"result":7}`)
		s.say(`{"jsonrpc":"2.0","method":"devside/didLog","params":[1]}`)
		s.say(`{"jsonrpc":"2.0","method":"devside/didLog","params":[2]}`)
		s.say(`{"jsonrpc":"2.0","id":5,"method":"workspace/codeLens/refresh"}`)
		var answer map[string]any
		for range 2 { // the answer and the next request, in either order
			if m := s.read(t); m["method"] == nil {
				answer = m
			}
		}
		if answer == nil || answer["error"] == nil {
			t.Errorf("answer to an unknown request: %v", answer)
		}
		s.say(`{"jsonrpc":"2.0","id":3,"error":{"code":-1,"message":"m"}}`)
	})
	// Before initialize nothing of this was in order, and the last Do failed.
	if !slices.ContainsFunc(faults, func(f string) bool { return strings.Contains(f, "devside/ports: error -1") }) {
		t.Errorf("faults %q", faults)
	}
}
