package editor

import (
	"encoding/json"
	"io/fs"
	"slices"
	"strings"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// CommandPrefix begins the name of every command that an editor is offered;
// what follows is a verb. rpc/wire has the same prefix and the verbs, and a
// test of rpc/sidecar holds the two equal.
const CommandPrefix = "devside.server."

// View is one folder at one moment: what a request about one of its files is
// answered from. It is a value, and nothing of it changes once it was given away.
type View struct {
	Input
	// Root is the folder's absolute path: the `root` of every command offered.
	Root string
	// Known is the newest project that had servers: while somebody types, the
	// text is often no YAML for a moment. nil: there was none.
	Known *spec.Project
	// Memory is what each server used lately.
	Memory Memory
	// Dirty says that a file differs in the editor from what is on disk. nil: none does.
	Dirty func(file string) bool
	// Version is the client's version of an open file; nil: it is not open, or has none.
	Version func(file string) *int32
	// FS is the folder with open buffers in place of files; nil: nothing is
	// looked up.
	FS fs.FS
	// Taken says that a port is taken on this machine; nil: none is known to be.
	Taken func(port int) bool
	// Log is the URI of what a server prints; empty, or nil: it has printed nothing.
	Log func(server string) string
	// Client is what the client declared that it can take.
	Client Client
}

// Client is what a client has declared. What is false here it is not sent.
type Client struct {
	HoverMarkdown   bool // hovers may be Markdown
	DocsMarkdown    bool // documentation of completion items may be Markdown
	Actions         bool // code actions may be more than commands
	Preferred       bool // … and marked as preferred
	DocumentChanges bool // edits may name a version and several files
	CreateFiles     bool // … and make files
	SymbolTree      bool // symbols may have children
	LinkTooltips    bool // links may have tooltips
}

// project is the configuration, or the last one that there was.
func (v View) project() *spec.Project {
	switch {
	case v.Loaded != nil && len(v.Loaded.Project.Servers) > 0, v.Known == nil && v.Loaded != nil:
		return v.Loaded.Project
	case v.Known != nil:
		return v.Known
	}
	return &spec.Project{}
}

// newBuilder makes what places things in the files of a view.
func newBuilder(in Input) *builder {
	if in.Loaded == nil {
		in.Loaded = &spec.Loaded{Project: &spec.Project{}}
	}
	return &builder{in: in, texts: map[string]Text{}, out: map[string][]protocol.Diagnostic{}}
}

// source is the source of a file; nil when no configuration came from it.
func (b *builder) source(file string) *spec.Source {
	i := slices.IndexFunc(b.in.Loaded.Sources, func(s spec.Source) bool { return s.Path == file })
	if i < 0 {
		return nil
	}
	return &b.in.Loaded.Sources[i]
}

// placed is a server with the place of its entry: its key in devside.yaml, the
// name of its script or its line elsewhere.
type placed struct {
	spec.Server
	src *spec.Source
	key spec.Range
	now status.Server // of the newest snapshot
	up  bool          // there is one, and it has the server
}

// serversIn are the servers whose entries stand in a file, in their order there.
func (b *builder) serversIn(file string) []placed {
	src := b.source(file)
	if src == nil {
		return nil
	}
	var found []placed
	for _, s := range b.in.Loaded.Project.Servers {
		key, ok := src.Keys[s.Origin.Key]
		if s.Origin.File != file || !ok || key.IsZero() {
			continue
		}
		p := placed{Server: s, src: src, key: key}
		p.now, p.up = serverOf(b.in.Status, s.Name)
		found = append(found, p)
	}
	slices.SortStableFunc(found, func(x, y placed) int { return comparePositions(x.key.Start, y.key.Start) })
	return found
}

func comparePositions(x, y spec.Position) int {
	if x.Line != y.Line {
		return x.Line - y.Line
	}
	return x.Column - y.Column
}

// command is a verb as an editor offers it, with one argument object. The
// members are encoded in the order of their names.
func (v View) command(title, verb string, argument map[string]any) protocol.Command {
	all := map[string]any{}
	if v.Root != "" {
		all["root"] = v.Root
	}
	for name, value := range argument {
		all[name] = value
	}
	raw, err := json.Marshal(all)
	if err != nil {
		raw = []byte("{}") // texts and numbers always encode; the verb says what it lacks
	}
	return protocol.Command{Title: title, Command: CommandPrefix + verb, Arguments: []protocol.LSPAny{raw}}
}

func servers(names ...string) map[string]any { return map[string]any{"servers": names} }

// locus is a config path, where it stands and what it belongs to.
type locus struct {
	path   string // "servers.api.port[0]"
	server string // "api"; empty: none
	key    string // its description's path in spec.Keys: "servers.*.port"; empty: none
	at     spec.Range
	isKey  bool // the key was pointed at, and not the value
}

// find finds the smallest key or value that holds a position.
func (b *builder) find(src *spec.Source, at spec.Position) (locus, bool) {
	var best locus
	found := false
	look := func(all map[string]spec.Range, isKey bool) {
		for path, r := range all {
			if r.IsZero() || !holds(r, at) {
				continue
			}
			closer := !found || smaller(r, best.at)
			same := found && r == best.at && (len(path) > len(best.path) || len(path) == len(best.path) && path < best.path)
			if closer || same {
				best, found = locus{path: path, at: r, isKey: isKey}, true
			}
		}
	}
	look(src.Values, false)
	look(src.Keys, true)
	if !found {
		return locus{}, false
	}
	best.server = b.serverOfKey(best.path)
	best.key = keyOf(best.path, best.server)
	return best, true
}

// holds reports whether a position is in a range, or at its very end, where the
// cursor is after the last character was typed.
func holds(r spec.Range, at spec.Position) bool {
	return comparePositions(r.Start, at) <= 0 && comparePositions(at, r.End) <= 0
}

func smaller(x, y spec.Range) bool {
	return holds(y, x.Start) && holds(y, x.End) && x != y
}

// keyOf finds the description of a config path. Names of the user's choice may
// hold dots, so the path is walked along spec.Keys instead of being split.
func keyOf(path, server string) string {
	at, rest := "", path
	if server != "" {
		at, rest = "servers.*", strings.TrimPrefix(strings.TrimPrefix(path, "servers."+server), ".")
	}
	for rest != "" {
		name, after, _ := strings.Cut(rest, ".")
		name, _, _ = strings.Cut(name, "[")
		switch {
		case known(join(at, name)):
			at, rest = join(at, name), after
		case known(join(at, "*")):
			at = join(at, "*")
			// A dependency's name may hold dots, too: the known key is at the end.
			rest = ""
			if i := strings.LastIndexByte(after, '.'); i >= 0 {
				after = after[i+1:]
			}
			if after != "" && known(join(at, after)) {
				rest = after
			}
		default:
			return ""
		}
	}
	return at
}

func known(path string) bool {
	_, ok := spec.LookupKey(path)
	return ok
}

func join(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "." + name
}

// uriOf is the client's name of a file.
func (b *builder) uriOf(file string) uri.URI { return uri.URI(b.uri(file)) }
