package fakeeditor

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf16"
)

// What the model has no words for, beside gates and places: how the parts of
// one message go together. Sources are LSP's texts about the types, and what
// clients refuse.

type position struct{ Line, Character int }

func (p position) before(q position) bool {
	return p.Line < q.Line || p.Line == q.Line && p.Character < q.Character
}

type extent struct{ Start, End position }

func (r extent) has(p position) bool      { return !p.before(r.Start) && !r.End.before(p) }
func (r extent) contains(q extent) bool   { return r.has(q.Start) && r.has(q.End) }
func (r extent) meets(q extent) bool      { return r.Start.before(q.End) && q.Start.before(r.End) }
func (r extent) String() string           { return fmt.Sprintf("%v-%v", r.Start, r.End) }
func extentOf(v any) (r extent, ok bool)  { return as[extent](v) }
func placeOf(v any) (p position, ok bool) { return as[position](v) }

// as reads a value that was decoded as JSON as a T; nil is none.
func as[T any](v any) (to T, ok bool) {
	raw, err := json.Marshal(v)
	return to, err == nil && v != nil && json.Unmarshal(raw, &to) == nil
}

// asked is what an answer is held against: the request's params.
type asked struct {
	Position *position
	Range    *extent
}

// within is where a place is that may lie behind its line, or below the file:
// LSP has it at the end then.
func within(lines []string, p position) position {
	if p.Line >= len(lines) {
		p = position{len(lines) - 1, wholeLine}
	}
	p.Character = min(p.Character, len(utf16.Encode([]rune(lines[p.Line]))))
	return p
}

// rules judges the result of a request by its params, by the text that it was
// about (nil: not open) and by the commands that the server has said it has.
func rules(method string, params, result json.RawMessage, text *string, commands []string) []string {
	var v any
	var req asked
	if json.Unmarshal(orNull(result), &v) != nil || json.Unmarshal(orNull(params), &req) != nil {
		return nil // the model has said what is wrong
	}
	if req.Position != nil && text != nil {
		at := within(linesOf(*text), *req.Position)
		req.Position = &at
	}
	faults := backwards(method, v)
	fault := func(format string, args ...any) {
		faults = append(faults, method+": "+fmt.Sprintf(format, args...))
	}
	known := func(command any) {
		if name, ok := command.(string); ok && name != "" && !slices.Contains(commands, name) {
			fault("the command %q was not advertised", name)
		}
	}
	switch method {
	case "textDocument/codeLens":
		for _, lens := range list(v) {
			if r, ok := extentOf(member(lens, "range")); ok && r.Start.Line != r.End.Line {
				fault("a lens over several lines, %v", r)
			}
			known(member(lens, "command.command"))
		}
	case "textDocument/codeAction":
		for _, action := range list(v) {
			known(member(action, "command"))
			known(member(action, "command.command"))
			changes := list(member(action, "edit.documentChanges"))
			if byFile, ok := member(action, "edit.changes").(map[string]any); ok {
				for _, edits := range byFile {
					changes = append(changes, map[string]any{"edits": edits})
				}
			}
			for _, change := range changes {
				if x, y, bad := overlap(list(member(change, "edits"))); bad {
					fault("%v: edits overlap, %v and %v", member(action, "title"), x, y)
				}
			}
		}
	case "textDocument/hover":
		if r, ok := extentOf(member(v, "range")); ok && req.Position != nil && !r.has(*req.Position) {
			fault("about %v, asked for %v", r, *req.Position)
		}
	case "textDocument/inlayHint":
		for _, hint := range list(v) {
			if p, ok := placeOf(member(hint, "position")); ok && req.Range != nil && !req.Range.has(p) {
				fault("a hint at %v, asked for %v", p, *req.Range)
			}
		}
	case "textDocument/completion":
		items := list(v)
		if items == nil {
			items = list(member(v, "items"))
		}
		for _, item := range items {
			r, ok := extentOf(member(item, "textEdit.range"))
			if ok && req.Position != nil && (r.Start.Line != r.End.Line || !r.has(*req.Position)) {
				fault("%v replaces %v, which is not a part of the line around %v", member(item, "label"), r, *req.Position)
			}
		}
	case "textDocument/documentSymbol":
		faults = append(faults, symbols(method, list(v), nil)...)
	}
	return faults
}

// symbols judges an outline: a client refuses one whose name lies outside it.
func symbols(method string, all []any, parent *extent) (faults []string) {
	for _, s := range all {
		r, ok := extentOf(member(s, "range"))
		if !ok {
			continue // a SymbolInformation
		}
		name := member(s, "name")
		if own, ok := extentOf(member(s, "selectionRange")); ok && !r.contains(own) {
			faults = append(faults, fmt.Sprintf("%s: %v is at %v, which is not in its %v", method, name, own, r))
		}
		if parent != nil && !parent.contains(r) {
			faults = append(faults, fmt.Sprintf("%s: %v, %v, is not in its parent's %v", method, name, r, *parent))
		}
		faults = append(faults, symbols(method, list(member(s, "children")), &r)...)
	}
	return faults
}

// overlap finds two edits of one file that touch the same text.
func overlap(edits []any) (x, y extent, bad bool) {
	for i, e := range edits {
		x, ok := extentOf(member(e, "range"))
		for _, other := range edits[:i] {
			if y, also := extentOf(member(other, "range")); ok && also && x.meets(y) {
				return x, y, true
			}
		}
	}
	return extent{}, extent{}, false
}

// backwards finds ranges that end before they start, wherever they are.
func backwards(at string, v any) (faults []string) {
	switch v := v.(type) {
	case []any:
		for i, e := range v {
			faults = append(faults, backwards(fmt.Sprintf("%s[%d]", at, i), e)...)
		}
	case map[string]any:
		if r, ok := extentOf(v); ok && v["start"] != nil && r.End.before(r.Start) {
			return []string{fmt.Sprintf("%s: %v ends before it starts", at, r)}
		}
		for name, e := range v {
			faults = append(faults, backwards(at+"."+name, e)...)
		}
	}
	return faults
}

// published judges what is published of a file: what was declared, and whether
// it says anything new. texts are all that the file has had while it was open:
// what is published may be of an older one.
func (g gates) published(raw, before json.RawMessage, texts []string) []string {
	const method = "textDocument/publishDiagnostics"
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return nil // the model has said what is wrong
	}
	faults := backwards(method, v)
	if string(raw) == string(before) {
		faults = append(faults, method+": nothing has changed: "+string(raw))
	}
	for _, d := range list(member(v, "diagnostics")) {
		for name, path := range map[string]string{"relatedInformation": "relatedInformation",
			"codeDescription": "codeDescriptionSupport", "tags": "tagSupport"} {
			if member(d, name) != nil && !g.has("textDocument.publishDiagnostics."+path) {
				faults = append(faults, method+": "+name+" for a client that did not declare "+path)
			}
		}
	}
	var all struct{ Diagnostics []Diagnostic }
	if json.Unmarshal(raw, &all) != nil || len(texts) == 0 {
		return faults
	}
	var outside []string
	for _, text := range slices.Backward(texts) {
		if outside = Outside(text, all.Diagnostics); len(outside) == 0 {
			return faults
		}
	}
	return append(faults, outside...)
}

// CheckPlaces judges what is shown of a file that is not open by what is on disk.
// It is for tests that have waited until both agree.
func (e *Editor) CheckPlaces(uri string) {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	shown := e.state.Diagnostics[uri]
	if _, open := e.texts[uri]; open || len(shown) == 0 {
		return
	}
	at, err := url.Parse(uri)
	if err != nil {
		e.fault("%s: %v", uri, err)
		return
	}
	text, err := os.ReadFile(filepath.FromSlash(at.Path))
	if err != nil {
		e.fault("%v is shown of a file that is not there: %v", shown, err)
		return
	}
	e.judge(Outside(string(text), shown))
}

// wholeLine is a column behind the end of every line, where LSP has clients put
// a place at the line's end: what names a line of a file that nobody has read.
const wholeLine = 1 << 16

// Outside says of which diagnostics the range is not inside a text.
func Outside(text string, all []Diagnostic) (faults []string) {
	lines := linesOf(text)
	for _, d := range all {
		for _, p := range []position{d.Range.Start, d.Range.End} {
			column := p.Character
			if column >= wholeLine {
				column = 0
			}
			if why := outside(lines, p.Line, column); why != "" {
				faults = append(faults, fmt.Sprintf("%v: %v is %s", d, p, why))
			}
		}
	}
	return faults
}
