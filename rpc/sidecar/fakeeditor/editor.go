// Package fakeeditor is an editor for tests: it speaks LSP to a sidecar, keeps
// what it was told, and judges every message it gets by LSP's metaModel.json
// and by the rules the model can't express (progress in order, created before
// used, one answer a request, nothing the client did not declare, commands that
// were advertised, places inside the text, nothing published twice, everything
// cleared at the end).
//
// It is no part of devside's binary, shares no code with what it tests (its
// framing is its own), and never sleeps: Await waits for a condition on the
// accumulated state and, at its deadline, prints the last state it saw.
//
// Start reading at Start, then State.
package fakeeditor

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long anything awaited may take on a busy machine, unless
// SetPatience says otherwise.
const patience = 20 * time.Second

// Diagnostic is what the editor keeps of one.
type Diagnostic struct {
	Range              extent
	Severity           int
	Code               string
	Source             string
	Message            string
	Data               json.RawMessage
	RelatedInformation []struct {
		Location struct{ URI string }
		Message  string
	}
}

// String is "line:character-line:character code: message", counted from 0.
func (d Diagnostic) String() string {
	return fmt.Sprintf("%d:%d-%d:%d %s: %s", d.Range.Start.Line, d.Range.Start.Character, d.Range.End.Line, d.Range.End.Character, d.Code, d.Message)
}

// Progress is one value of $/progress.
type Progress struct {
	Kind       string
	Title      string
	Message    string
	Percentage *int
}

// Message is a notification or request as it came.
type Message struct {
	Method string
	Params json.RawMessage
}

// Response answers a request.
type Response struct {
	Result json.RawMessage
	Err    *Error
}

// Error is the error member of a response.
type Error struct {
	Code    int             `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data"`
}

// DataCode is `data.code` of devside's errors.
func (e *Error) DataCode() string {
	var data struct{ Code string }
	if e == nil || json.Unmarshal(e.Data, &data) != nil {
		return ""
	}
	return data.Code
}

// State is everything the editor was told. A condition reads it, and keeps
// nothing of it.
type State struct {
	Diagnostics map[string][]Diagnostic // by URI; an entry with an empty list was cleared
	Published   map[string]int          // how often, by URI
	Progress    map[string][]Progress   // by token as JSON
	Messages    []Message               // every notification, in order
	Requests    []Message               // of the server
	Closed      bool                    // the server closed the connection
}

// Count is how many notifications of a method came.
func (s *State) Count(method string) int {
	n := 0
	for _, m := range s.Messages {
		if m.Method == method {
			n++
		}
	}
	return n
}

// Last is the params of the newest notification of a method, nil without one.
func (s *State) Last(method string) json.RawMessage {
	for _, m := range slices.Backward(s.Messages) {
		if m.Method == method {
			return m.Params
		}
	}
	return nil
}

// String shows a state for the log of a test that failed.
func (s *State) String() string {
	var b strings.Builder
	for _, uri := range slices.Sorted(maps.Keys(s.Diagnostics)) {
		fmt.Fprintf(&b, "diagnostics %s (published %d times): %v\n", uri, s.Published[uri], s.Diagnostics[uri])
	}
	for _, token := range slices.Sorted(maps.Keys(s.Progress)) {
		fmt.Fprintf(&b, "progress %s: %v\n", token, s.Progress[token])
	}
	for _, m := range s.Messages {
		fmt.Fprintf(&b, "<- %s %.300s\n", m.Method, m.Params)
	}
	for _, m := range s.Requests {
		fmt.Fprintf(&b, "<- request %s %.300s\n", m.Method, m.Params)
	}
	fmt.Fprintf(&b, "closed: %v", s.Closed)
	return b.String()
}

// Answerer answers a request of the server. It may wait.
type Answerer func(params json.RawMessage) (result any, err *Error)

// Editor is one client.
type Editor struct {
	t     testing.TB
	model *Model
	rwc   io.ReadWriteCloser
	wmu   sync.Mutex // one frame at a time

	mu        sync.Mutex
	state     State
	changed   chan struct{} // closed and replaced with every message
	next      int
	pending   map[int]*Pending
	answerers map[string]Answerer
	creates   map[string]bool     // progress tokens the client agreed to
	tokens    map[string]bool     // progress tokens the client gave
	gates     gates               // what the client has declared
	texts     map[string][]string // of the files that are open, by URI, newest last
	commands  []string            // that the server has advertised
	published map[string]json.RawMessage
	asking    map[string]bool // ids of the server's requests under way
	replied   bool            // initialize was answered
	shut      int             // id of the shutdown that was answered; 0: none

	patience time.Duration
	running  sync.WaitGroup
}

// SetPatience sets how long anything awaited may take: servers that compile
// need longer than the default. It is called before anything is awaited.
func (e *Editor) SetPatience(d time.Duration) { e.patience = d }

// Start connects an editor. When the test ends the connection is closed, and
// everything of the editor has ended.
func Start(t testing.TB, rwc io.ReadWriteCloser) *Editor {
	t.Helper()
	model, err := LoadModel()
	if err != nil {
		t.Fatal(err)
	}
	e := &Editor{
		t: t, model: model, rwc: rwc, changed: make(chan struct{}), patience: patience,
		state:   State{Diagnostics: map[string][]Diagnostic{}, Published: map[string]int{}, Progress: map[string][]Progress{}},
		pending: map[int]*Pending{}, answerers: map[string]Answerer{}, creates: map[string]bool{}, tokens: map[string]bool{},
		texts: map[string][]string{}, published: map[string]json.RawMessage{}, asking: map[string]bool{},
	}
	e.running.Go(e.read)
	t.Cleanup(e.Close)
	return e
}

// Close ends the connection as an editor that dies does, and waits for what
// runs. It may be called twice.
func (e *Editor) Close() {
	_ = e.rwc.Close() // twice does no harm
	e.running.Wait()
}

// Answer sets what a request of the server gets; nil, the default of every
// method, is -32601.
func (e *Editor) Answer(method string, with Answerer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answerers[method] = with
}

// Pending is a request under way.
type Pending struct {
	ID     int
	e      *Editor
	method string
	params json.RawMessage
	text   *string // of the file it is about, as it was then; nil: not open
	answer chan Response
}

// Wait returns the answer, which must come.
func (p *Pending) Wait() Response {
	p.e.t.Helper()
	timer := time.NewTimer(p.e.patience)
	defer timer.Stop()
	select {
	case r := <-p.answer:
		return r
	case <-timer.C:
		p.e.mu.Lock()
		defer p.e.mu.Unlock()
		p.e.t.Fatalf("%s was not answered; state:\n%s", p.method, &p.e.state)
	}
	return Response{}
}

// Answered reports whether the answer has come.
func (p *Pending) Answered() bool { return len(p.answer) > 0 }

// Cancel sends $/cancelRequest.
func (p *Pending) Cancel() { p.e.Notify("$/cancelRequest", map[string]any{"id": p.ID}) }

// Send makes a request and does not wait.
func (e *Editor) Send(method string, params any) *Pending {
	e.t.Helper()
	e.mu.Lock()
	e.next++
	p := &Pending{ID: e.next, e: e, method: method, params: e.encode(params), answer: make(chan Response, 1)}
	e.pending[p.ID] = p
	e.note(method, params)
	if texts, open := e.texts[aboutFile(p.params)]; open {
		p.text = &texts[len(texts)-1]
	}
	e.mu.Unlock()
	e.write(frame{ID: json.RawMessage(strconv.Itoa(p.ID)), Method: method, Params: p.params})
	return p
}

// Call makes a request and waits.
func (e *Editor) Call(method string, params any) Response {
	e.t.Helper()
	return e.Send(method, params).Wait()
}

// Do makes a request that must succeed, and decodes its result.
func (e *Editor) Do(method string, params, result any) {
	e.t.Helper()
	r := e.Call(method, params)
	if r.Err != nil {
		e.t.Fatalf("%s: error %d %s %s", method, r.Err.Code, r.Err.Message, r.Err.Data)
	}
	if result == nil {
		return
	}
	if err := json.Unmarshal(r.Result, result); err != nil {
		e.t.Fatalf("%s: result %s: %v", method, r.Result, err)
	}
}

// Notify sends a notification.
func (e *Editor) Notify(method string, params any) {
	e.t.Helper()
	raw := e.encode(params)
	e.mu.Lock()
	if uri, text, ok := textOf(method, raw); ok {
		all := append(e.texts[uri], text)
		e.texts[uri] = all[max(0, len(all)-mostTexts):]
	} else if method == "textDocument/didClose" {
		delete(e.texts, aboutFile(raw))
	}
	e.mu.Unlock()
	e.write(frame{Method: method, Params: raw})
}

// mostTexts is how many texts of an open file are remembered: what is published
// may be of one that has been changed since.
const mostTexts = 50

// Initialize sends initialize and initialized. params is LSP's
// InitializeParams; capabilities and processId are filled in where absent.
func (e *Editor) Initialize(params map[string]any) json.RawMessage {
	e.t.Helper()
	all := map[string]any{"processId": nil, "rootUri": nil, "capabilities": map[string]any{}}
	maps.Copy(all, params)
	var result json.RawMessage
	e.Do("initialize", all, &result)
	e.Notify("initialized", map[string]any{})
	return result
}

// Shutdown sends shutdown, waits for its answer, and sends exit.
func (e *Editor) Shutdown() {
	e.t.Helper()
	e.Do("shutdown", nil, nil)
	e.Notify("exit", nil)
}

// Await waits until the condition holds of the state.
func (e *Editor) Await(what string, condition func(s *State) bool) {
	e.t.Helper()
	timer := time.NewTimer(e.patience)
	defer timer.Stop()
	for {
		e.mu.Lock()
		if condition(&e.state) {
			e.mu.Unlock()
			return
		}
		changed := e.changed
		e.mu.Unlock()
		select {
		case <-changed:
		case <-timer.C:
			e.mu.Lock()
			defer e.mu.Unlock()
			e.t.Fatalf("still waiting for: %s; state:\n%s", what, &e.state)
		}
	}
}

// Look reads the state as it is now.
func (e *Editor) Look(at func(s *State)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at(&e.state)
}

// note remembers what the client has declared and given. The caller holds mu.
func (e *Editor) note(method string, params any) {
	raw := e.encode(params)
	var p struct {
		Capabilities  any
		WorkDoneToken json.RawMessage
		Arguments     []struct{ WorkDoneToken json.RawMessage }
	}
	if json.Unmarshal(orNull(raw), &p) != nil {
		return
	}
	if method == "initialize" {
		e.gates = gates{p.Capabilities}
	}
	if p.WorkDoneToken != nil {
		e.tokens[string(p.WorkDoneToken)] = true
	}
	for _, a := range p.Arguments {
		if a.WorkDoneToken != nil {
			e.tokens[string(a.WorkDoneToken)] = true
		}
	}
}

type frame struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *Error          `json:"error,omitempty"`
}

func (e *Editor) encode(v any) json.RawMessage {
	if v == nil {
		return nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		e.t.Fatalf("encode %v: %v", v, err)
	}
	return raw
}

// write sends one frame. That the server has gone is seen by the reader.
func (e *Editor) write(f frame) {
	f.Version = "2.0"
	body := e.encode(f)
	e.wmu.Lock()
	defer e.wmu.Unlock()
	_, _ = fmt.Fprintf(e.rwc, "Content-Length: %d\r\n\r\n%s", len(body), body)
}

func (e *Editor) read() {
	defer e.update(func() {
		e.state.Closed = true
		for id, p := range e.pending {
			if id < e.shut {
				e.fault("%s, id %d, was never answered", p.method, id)
			}
		}
	})
	r := bufio.NewReader(e.rwc)
	for {
		header, err := textproto.NewReader(r).ReadMIMEHeader()
		if err != nil {
			return
		}
		n, err := strconv.Atoi(header.Get("Content-Length"))
		if err != nil || n <= 0 {
			e.t.Errorf("bad frame header %v", header)
			return
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		var f frame
		if err := json.Unmarshal(body, &f); err != nil || f.Version != "2.0" {
			e.t.Errorf("no JSON-RPC 2.0: %s", body)
			return
		}
		switch {
		case f.Method == "":
			e.response(f)
		case f.ID == nil:
			e.update(func() { e.notification(f) })
		default:
			e.request(f)
		}
	}
}

// update changes the state and wakes who awaits something of it.
func (e *Editor) update(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *Editor) fault(format string, args ...any) { e.t.Errorf("protocol: "+format, args...) }

func (e *Editor) judge(faults []string) {
	for _, f := range faults {
		e.fault("%s", f)
	}
}

func (e *Editor) response(f frame) {
	id, err := strconv.Atoi(string(f.ID))
	e.update(func() {
		p := e.pending[id]
		if err != nil || p == nil {
			e.fault("answer to no request, or a second one: id %s", f.ID)
			return
		}
		delete(e.pending, id)
		switch {
		case f.Error == nil:
			e.judge(e.model.Result(p.method, f.Result))
			e.judge(e.gates.result(p.method, f.Result))
			if p.method == "initialize" {
				e.commands = commandsOf(f.Result)
			}
			e.judge(rules(p.method, p.params, f.Result, p.text, e.commands))
			if p.text != nil {
				e.judge(places(p.method, *p.text, f.Result))
			}
		case f.Result != nil || f.Error.Code == 0 || f.Error.Message == "":
			e.fault("%s: bad error %+v", p.method, f.Error)
		}
		if f.Error == nil && p.method == "initialize" {
			e.replied = true
		}
		if f.Error == nil && p.method == "shutdown" {
			e.shut = id
			e.checkEnd()
		}
		p.answer <- Response{f.Result, f.Error}
	})
}

// checkEnd holds what must be true when shutdown is answered.
func (e *Editor) checkEnd() {
	for uri, list := range e.state.Diagnostics {
		if len(list) > 0 {
			e.fault("%s still shows %v after shutdown", uri, list)
		}
	}
	for token, values := range e.state.Progress {
		if values[len(values)-1].Kind != "end" {
			e.fault("progress %s was not ended: %v", token, values)
		}
	}
}

// beforeReply are the messages a server may send before initialize is answered.
var beforeReply = []string{"window/showMessage", "window/logMessage", "telemetry/event", "window/showMessageRequest"}

// afterShutdown is what may still come when shutdown was answered.
var afterShutdown = []string{"window/logMessage"}

func (e *Editor) notification(f frame) {
	e.judge(e.model.Notification(f.Method, f.Params))
	if !e.replied && !slices.Contains(beforeReply, f.Method) {
		e.fault("%s before initialize was answered", f.Method)
	}
	if e.shut > 0 && !slices.Contains(afterShutdown, f.Method) {
		e.fault("%s after shutdown was answered", f.Method)
	}
	e.state.Messages = append(e.state.Messages, Message{f.Method, f.Params})
	switch f.Method {
	case "textDocument/publishDiagnostics":
		var p struct {
			URI         string
			Diagnostics []Diagnostic
		}
		if err := json.Unmarshal(f.Params, &p); err != nil {
			e.fault("%s: %v", f.Method, err)
			return
		}
		e.judge(e.gates.published(f.Params, e.published[p.URI], e.texts[p.URI]))
		e.published[p.URI] = f.Params
		e.state.Diagnostics[p.URI] = p.Diagnostics
		e.state.Published[p.URI]++
	case "$/progress":
		var p struct {
			Token json.RawMessage
			Value Progress
		}
		if err := json.Unmarshal(f.Params, &p); err != nil {
			e.fault("%s: %v", f.Method, err)
			return
		}
		e.progress(string(p.Token), p.Value)
	}
}

// progress checks the order: begin once, reports that never fall, end once.
func (e *Editor) progress(token string, v Progress) {
	values := e.state.Progress[token]
	last := ""
	if len(values) > 0 {
		last = values[len(values)-1].Kind
	}
	switch {
	case !e.creates[token] && !e.tokens[token]:
		e.fault("progress on a token the client did not agree to: %s", token)
	case (v.Kind == "begin") != (last == ""):
		e.fault("progress %s: %s after %q", token, v.Kind, last)
	case last == "end":
		e.fault("progress %s: %s after its end", token, v.Kind)
	}
	if v.Percentage != nil {
		if *v.Percentage > 100 || len(values) > 0 && values[0].Percentage == nil {
			e.fault("progress %s: %d %%, after a begin with %v", token, *v.Percentage, values)
		}
		for _, was := range values {
			if was.Percentage != nil && *was.Percentage > *v.Percentage {
				e.fault("progress %s fell from %d to %d", token, *was.Percentage, *v.Percentage)
			}
		}
	}
	e.state.Progress[token] = append(values, v)
}

func (e *Editor) request(f frame) {
	var answer Answerer
	e.update(func() {
		e.judge(e.model.Request(f.Method, f.Params))
		switch {
		case !e.replied:
			e.fault("request %s before initialize was answered", f.Method)
		case e.shut > 0:
			e.fault("request %s after shutdown was answered", f.Method)
		case e.asking[string(f.ID)]:
			e.fault("request %s with the id %s, which is under way", f.Method, f.ID)
		}
		e.asking[string(f.ID)] = true
		e.judge(e.gates.sent(f.Method))
		e.state.Requests = append(e.state.Requests, Message{f.Method, f.Params})
		answer = e.answerers[f.Method]
	})
	e.running.Go(func() {
		reply := frame{ID: f.ID}
		if answer == nil {
			reply.Error = &Error{Code: -32601, Message: "unknown method " + f.Method}
		} else if result, err := answer(f.Params); err != nil {
			reply.Error = err
		} else if reply.Result = e.encode(result); reply.Result == nil {
			reply.Result = json.RawMessage("null")
		}
		if f.Method == "window/workDoneProgress/create" && reply.Error == nil {
			var p struct{ Token json.RawMessage }
			_ = json.Unmarshal(f.Params, &p) // judged before
			e.update(func() { e.creates[string(p.Token)] = true })
		}
		e.mu.Lock()
		delete(e.asking, string(f.ID))
		e.mu.Unlock()
		e.write(reply)
	})
}

// commandsOf are the commands in an answer to initialize.
func commandsOf(result json.RawMessage) (names []string) {
	var v any
	if json.Unmarshal(result, &v) != nil {
		return nil // the model has said what is wrong
	}
	for _, name := range list(member(v, "capabilities.executeCommandProvider.commands")) {
		names = append(names, fmt.Sprint(name))
	}
	return names
}
