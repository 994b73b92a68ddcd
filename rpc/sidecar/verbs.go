package sidecar

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/wire"
)

// answerWithin bounds how long a hub may take for what it can answer from
// memory. A start takes as long as its servers do, and the hub bounds that.
const answerWithin = 30 * time.Second

// verbs is wire.Verbs by name.
var verbs = func() map[string]wire.Verb {
	m := make(map[string]wire.Verb, len(wire.Verbs))
	for _, v := range wire.Verbs {
		m[v.Name] = v
	}
	return m
}()

// starts are the verbs that take as long as the servers they start.
var starts = map[string]bool{"start": true, "stop": true, "restart": true, "reset": true}

// unbounded are the verbs whose time is not the hub's: it stops servers, frees
// space, or runs a package manager, each within bounds of its own.
var unbounded = map[string]bool{"stop": true, "clearCaches": true, "install": true}

// request is one devside/<verb> of the editor, read.
type request struct {
	verb   string
	root   string          // of the folder meant; empty: the only one
	params json.RawMessage // without what only concerns this session
	start  wire.StartParams
	token  token
	follow bool   // begins to follow a log
	title  string // of its progress, where it is not the verb and the servers
}

// executeCommand is the same verbs under another name: devside.server.<verb>
// with at most one argument.
func (s *session) executeCommand(raw json.RawMessage) (rpc.Work, error) {
	var p struct {
		Command   string            `json:"command"`
		Arguments []json.RawMessage `json:"arguments"`
		Token     json.RawMessage   `json:"workDoneToken"`
	}
	if err := json.Unmarshal(orEmpty(raw), &p); err != nil {
		return nil, invalidParams("executeCommand: %v", err)
	}
	name, ours := strings.CutPrefix(p.Command, wire.CommandPrefix)
	v, known := verbs[name]
	if !ours || !known {
		names := make([]string, 0, len(wire.Verbs))
		for _, v := range wire.Verbs {
			names = append(names, wire.CommandPrefix+v.Name)
		}
		return nil, rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{Code: "unknown-command", Known: names}, "unknown command %q", p.Command)
	}
	if len(p.Arguments) > 1 {
		return nil, invalidParams("%s takes one argument, an object; %d came", p.Command, len(p.Arguments))
	}
	var argument json.RawMessage
	if len(p.Arguments) == 1 && string(p.Arguments[0]) != "null" {
		argument = p.Arguments[0]
	}
	return s.verb(v, argument, p.Token)
}

// verb reads one request and returns what answers it. outer is the progress
// token of the executeCommand around it.
func (s *session) verb(v wire.Verb, raw, outer json.RawMessage) (rpc.Work, error) {
	r, err := readRequest(v, raw, outer)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	folders := slices.Clone(s.folders)
	s.mu.Unlock()
	return func(ctx context.Context) (any, error) {
		// ctx ends when the answer is on its way; what is relayed may end before.
		relay, end := s.relays.tie(ctx)
		defer end()
		f, err := choose(folders, r.root)
		if err != nil {
			return nil, err
		}
		return f.answer(relay, ctx, r)
	}, nil
}

// readRequest checks the params against the verb's type, strictly, and takes
// out of them what only concerns this session.
func readRequest(v wire.Verb, raw, outer json.RawMessage) (request, error) {
	r := request{verb: v.Name, params: json.RawMessage("{}")}
	params := reflect.New(reflect.TypeOf(v.Params))
	if err := rpc.Decode(raw, params.Interface()); err != nil {
		return r, err
	}
	if root, ok := params.Elem().FieldByName("Root").Interface().(wire.Root); ok {
		r.root = root.Root
	}
	inner := json.RawMessage(nil)
	switch p := params.Interface().(type) {
	case *wire.StartParams:
		r.start, inner = *p, p.WorkDoneToken
	case *wire.LogsParams:
		r.follow = p.Follow
	}
	if len(inner) == 0 {
		inner = outer
	}
	var err error
	if r.token, err = readToken(inner); err != nil {
		return r, err
	}
	if len(raw) == 0 {
		return r, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return r, invalidParams("%v", err)
	}
	for name := range members {
		if strings.EqualFold(name, "root") || strings.EqualFold(name, "workDoneToken") {
			delete(members, name)
		}
	}
	r.params, err = json.Marshal(members)
	return r, err
}

// choose finds the folder that a request is about.
func choose(folders []*folder, root string) (*folder, error) {
	known := make([]string, 0, len(folders))
	for _, f := range folders {
		known = append(known, f.path)
	}
	switch {
	case len(folders) == 0:
		return nil, rpc.Errorf(wire.CodeRequestFailed, wire.ErrorData{Code: "no-folder", Hint: "open a folder of this machine, or start devside with --root"},
			"this session has no folder")
	case root == "" && len(folders) == 1:
		return folders[0], nil
	case root == "":
		return nil, rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{Code: "root-needed", Hint: "give the root of one of them", Known: known},
			"this session has %d folders: say which with root", len(folders))
	}
	path, err := rootPath(root)
	if err != nil {
		return nil, rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{Code: "invalid-params", Known: known}, "root: %v", err)
	}
	for _, f := range folders {
		if f.path == path {
			return f, nil
		}
	}
	for _, f := range folders {
		if f.is(path) {
			return f, nil
		}
	}
	return nil, rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{Code: "unknown-root", Known: known}, "%s is no folder of this session", root)
}

// rootPath takes a path or a file URI.
func rootPath(root string) (string, error) {
	if filepath.IsAbs(root) {
		return filepath.Clean(root), nil
	}
	if path, err := uriToPath(root); err == nil {
		return path, nil
	}
	return "", fmt.Errorf("%q is neither an absolute path nor a file URI", root)
}

// answer relays a request to the folder's hub, with progress if it is a start.
// whole is the request's own context, which lives until the answer was sent.
func (f *folder) answer(ctx, whole context.Context, r request) (any, error) {
	if !starts[r.verb] && !unbounded[r.verb] {
		timed, cancel := context.WithTimeout(ctx, answerWithin)
		defer cancel()
		return f.relay(timed, whole, r)
	}
	if unbounded[r.verb] {
		return f.relay(ctx, whole, r)
	}
	return f.withProgress(ctx, r, func(ctx context.Context) (json.RawMessage, error) { return f.relay(ctx, whole, r) })
}

// relay sends a request on and returns the hub's answer as it came. A hub that
// is lost meanwhile is an error of its own: the request may have been done.
func (f *folder) relay(ctx, whole context.Context, r request) (json.RawMessage, error) {
	l, err := f.hub(ctx)
	if err != nil {
		return nil, err
	}
	if r.follow {
		l.logs.hold()
		context.AfterFunc(whole, l.logs.release)
	}
	var result json.RawMessage
	if r.verb == "quit" { // before: its end may be seen before the answer is
		l.quit.Store(true)
	}
	err = l.conn.Call(ctx, wire.MethodPrefix+r.verb, r.params, &result)
	if r.verb == "quit" {
		var res wire.QuitResult
		l.quit.Store(err == nil && json.Unmarshal(result, &res) == nil && res.Quit)
	}
	switch {
	case err == nil:
		return result, nil
	case errors.Is(err, rpc.ErrClosed):
		return nil, rpc.Errorf(wire.CodeHubLost, wire.ErrorData{Code: "hub-lost", Hint: "ask again: the hub is being started again, and restores what it ran"},
			"the hub was lost before it answered %s", r.verb)
	case errors.Is(err, context.DeadlineExceeded):
		return nil, rpc.Errorf(wire.CodeTimeout, wire.ErrorData{Code: "timeout"}, "the hub did not answer %s within %s", r.verb, answerWithin)
	}
	return nil, err
}

func invalidParams(format string, args ...any) error {
	return rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{Code: "invalid-params"}, format, args...)
}

func orEmpty(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("{}")
	}
	return raw
}
