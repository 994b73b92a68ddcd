package sidecar

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"

	"go.lsp.dev/protocol"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/supervisor/spec"
)

// configFiles are the names of the files that configuration can come from, and
// that are looked at as the editor has them. Of the rest (a main.go that listens)
// what is on disk counts.
var configFiles = []string{spec.FileName, "package.json", "Procfile", "Procfile.dev", "pnpm-workspace.yaml"}

// maxDocument is the largest buffer that is looked at; spec reads no larger
// package.json from disk either.
const maxDocument = 1 << 20

// documents are the open buffers that configuration can come from, by path.
// They belong to the session, and each folder is told of its own. The session
// guards them.
type documents map[string]*document

type document struct {
	path string
	uri  string // as the client writes it
	text string
	// version is the client's, nil if it gave none: edits name the one they are for.
	version *int32
	home    *folder // whose it is; nil: nobody's
}

// rehome gives every document to the folder that it is in now: the innermost
// one, where folders lie in each other.
func (d documents) rehome(folders []*folder) {
	for _, doc := range d {
		d.settle(doc, folders)
	}
}

// settle tells the folders concerned what became of a document.
func (documents) settle(doc *document, folders []*folder) {
	home, file := homeOf(doc.path, folders)
	if doc.home != nil && doc.home != home {
		if old, ok := doc.home.contains(doc.path); ok {
			doc.home.inbox.put(bufferClosed{file: old})
		}
	}
	if home != nil {
		home.inbox.put(bufferChanged{file: file, uri: doc.uri, text: doc.text, version: doc.version})
	}
	doc.home = home
}

// homeOf finds the folder that a path is in, the innermost one where folders lie
// in each other, and where in it.
func homeOf(path string, folders []*folder) (home *folder, file string) {
	for _, f := range folders {
		if rest, ok := f.contains(path); ok && rest != "" && (file == "" || len(rest) < len(file)) {
			home, file = f, rest
		}
	}
	return home, file
}

// document takes didOpen, didChange, didClose and didSave.
func (s *session) document(m rpc.Message) error {
	var p struct {
		TextDocument struct {
			URI     string `json:"uri"`
			Text    string `json:"text"`
			Version *int32 `json:"version"`
		} `json:"textDocument"`
		ContentChanges []struct {
			Range json.RawMessage `json:"range"`
			Text  string          `json:"text"`
		} `json:"contentChanges"`
	}
	if err := json.Unmarshal(m.Params, &p); err != nil {
		return fmt.Errorf("read %s: %w", m.Method, err)
	}
	path, err := uriToPath(p.TextDocument.URI)
	if err != nil {
		return err
	}
	if !slices.Contains(configFiles, filepath.Base(path)) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch m.Method {
	case protocol.MethodTextDocumentDidOpen:
		s.setDocument(path, p.TextDocument.URI, p.TextDocument.Text, p.TextDocument.Version)
	case protocol.MethodTextDocumentDidChange:
		if _, open := s.docs[path]; !open || len(p.ContentChanges) == 0 {
			return nil
		}
		last := p.ContentChanges[len(p.ContentChanges)-1]
		if len(last.Range) > 0 && string(last.Range) != "null" {
			// We ask for whole texts. A part of one can't be understood, and
			// the file on disk is nearer to the truth than an old buffer.
			s.dropDocument(path)
			return fmt.Errorf("read %s: a part of the text came where the whole was asked for", m.Method)
		}
		s.setDocument(path, p.TextDocument.URI, last.Text, p.TextDocument.Version)
	case protocol.MethodTextDocumentDidClose:
		s.dropDocument(path)
	case protocol.MethodTextDocumentDidSave:
		for _, f := range s.folders {
			if file, ok := f.contains(path); ok {
				f.inbox.put(fileSaved{file: file})
			}
		}
	}
	return nil
}

func (s *session) setDocument(path, uri, text string, version *int32) {
	if len(text) > maxDocument {
		s.dropDocument(path)
		return
	}
	doc := s.docs[path]
	if doc == nil {
		doc = &document{path: path}
		s.docs[path] = doc
	}
	doc.uri, doc.text, doc.version = uri, text, version
	s.docs.settle(doc, s.folders)
}

func (s *session) dropDocument(path string) {
	doc := s.docs[path]
	if doc == nil {
		return
	}
	delete(s.docs, path)
	if doc.home != nil {
		if file, ok := doc.home.contains(path); ok {
			doc.home.inbox.put(bufferClosed{file: file})
		}
	}
}
