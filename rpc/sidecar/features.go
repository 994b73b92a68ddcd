package sidecar

import (
	"context"
	"encoding/json"
	"maps"
	"os"

	"go.lsp.dev/protocol"

	"github.com/devside/devside/editor"
	"github.com/devside/devside/rpc"
)

// feature is one request about a file. It is answered from what the folder's
// keeper knows: no hub is asked, and none is needed.
type feature struct {
	// answer decides, on the request's goroutine. It gets a moment of the folder,
	// and the file's path in it.
	answer func(v editor.View, file string, p fileParams) any
	// nothing is the answer about files that belong to no folder.
	nothing any
	// looksUp is whether the answer reads further files of the folder.
	looksUp bool
}

// fileParams is what requests about a file have in common, and what a few of
// them have.
type fileParams struct {
	TextDocument struct {
		URI string `json:"uri"`
	} `json:"textDocument"`
	Position protocol.Position `json:"position"`
	Range    protocol.Range    `json:"range"`
	Context  struct {
		Only []string `json:"only"`
	} `json:"context"`
}

// features is every request about a file that is answered. Each is advertised
// to clients that declared it; see provide.
var features = map[string]feature{
	protocol.MethodTextDocumentCodeLens: {nothing: []protocol.CodeLens{}, answer: func(v editor.View, file string, _ fileParams) any {
		return editor.Lenses(v, file)
	}},
	protocol.MethodTextDocumentInlayHint: {nothing: []protocol.InlayHint{}, answer: func(v editor.View, file string, p fileParams) any {
		return editor.Hints(v, file, p.Range)
	}},
	protocol.MethodTextDocumentCodeAction: {nothing: []protocol.CommandOrCodeAction{}, looksUp: true, answer: func(v editor.View, file string, p fileParams) any {
		return editor.Actions(v, file, p.Range, p.Context.Only)
	}},
	protocol.MethodTextDocumentCompletion: {nothing: &protocol.CompletionList{Items: []protocol.CompletionItem{}}, looksUp: true,
		answer: func(v editor.View, file string, p fileParams) any {
			return editor.Complete(v, file, p.Position)
		}},
	protocol.MethodTextDocumentDocumentSymbol: {nothing: []protocol.DocumentSymbol{}, answer: func(v editor.View, file string, _ fileParams) any {
		return editor.Symbols(v, file)
	}},
	protocol.MethodTextDocumentDocumentLink: {nothing: []protocol.DocumentLink{}, answer: func(v editor.View, file string, _ fileParams) any {
		return editor.Links(v, file)
	}},
	protocol.MethodTextDocumentHover: {answer: func(v editor.View, file string, p fileParams) any {
		if hover := editor.Hover(v, file, p.Position); hover != nil {
			return hover
		}
		return nil // and not a nil pointer in an interface
	}},
}

// ask takes one request about a file. The view is asked for here, on the read
// loop, so that it holds every change the client sent before the request and
// none that it sends after.
func (s *session) ask(f feature, raw json.RawMessage) (rpc.Work, error) {
	var p fileParams
	if err := json.Unmarshal(orEmpty(raw), &p); err != nil {
		return nil, invalidParams("%v", err)
	}
	path, err := uriToPath(p.TextDocument.URI)
	if err != nil {
		return answerWith(f.nothing) // "untitled:" and its like are no files of ours
	}
	s.mu.Lock()
	home, file := homeOf(path, s.folders)
	s.mu.Unlock()
	if home == nil {
		return answerWith(f.nothing)
	}
	answer := make(chan moment, 1) // the keeper never waits
	home.inbox.put(viewWanted{answer: answer})
	return func(ctx context.Context) (any, error) {
		select {
		case m := <-answer:
			if f.looksUp {
				release := home.lookUp(&m)
				defer release()
			}
			return result(f.answer(m.View, file, p))
		case <-home.done:
			return result(f.nothing)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}, nil
}

func answerWith(v any) (rpc.Work, error) {
	return func(context.Context) (any, error) { return result(v) }, nil
}

// result encodes an answer; nil is null.
func result(v any) (any, error) {
	if v == nil {
		return nil, nil
	}
	return encode(v)
}

// moment is a folder as it was at one time, with the files that were open.
type moment struct {
	editor.View
	open map[string]buffer
}

// lookUp adds the folder's files to a moment, through os.Root, until release is called.
func (f *folder) lookUp(m *moment) (release func()) {
	root, err := os.OpenRoot(f.path)
	if err != nil {
		return func() {} // the folder has gone: there is nothing to look up
	}
	m.FS = overlay{base: root.FS(), open: m.open}
	return func() { _ = root.Close() } // nothing was written
}

// logOf names the file of what a server prints, if there is one.
func (k *keeper) logOf(server string) string {
	if k.s.o.ServerLog == nil {
		return ""
	}
	name := k.s.o.ServerLog(k.real, server)
	if name == "" {
		return ""
	}
	return pathToURI(name)
}

// input is what diagnostics and features look at, with these files open.
func (k *keeper) input(open map[string]buffer) editor.Input {
	return editor.Input{
		Loaded:  k.loaded,
		Status:  k.status,
		Open:    func(file string) (string, bool) { b, ok := open[file]; return b.text, ok },
		URI:     func(file string) string { return uriIn(k.uri, open, file) },
		Related: k.client.related, Described: k.client.described,
	}
}

// moment is the folder as it is now. Nothing in it changes later: the
// configuration and the snapshot are replaced and never edited.
func (k *keeper) moment() moment {
	open := maps.Clone(k.buffers)
	return moment{open: open, View: editor.View{
		Input:   k.input(open),
		Root:    k.path,
		Known:   k.known,
		Memory:  k.memory,
		Dirty:   func(file string) bool { b := open[file]; return b.text != b.saved },
		Version: func(file string) *int32 { return open[file].version },
		Taken:   k.s.o.Taken,
		Log:     k.logOf,
		Client:  k.client.takes,
	}}
}
