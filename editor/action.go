package editor

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// fixes is what is offered for each problem, in this order. A fix looks at what
// holds now, and adds nothing where it would not help.
var fixes = map[status.Code][]fix{
	status.ConfigInvalid:     {didYouMean, removeEntry},
	status.PortTaken:         {stopHolder, nextPort},
	status.PortClash:         {renumber},
	status.Crashed:           {restart, showLog},
	status.CrashSite:         {restart, showLog},
	status.CrashLooping:      {resetAndStart, clearCaches, showLog},
	status.NotHealthy:        {restart, clearCaches, showLog},
	status.MemoryWarning:     {restart, raiseLimits},
	status.MemoryLimit:       {restart, raiseLimits},
	status.DependenciesStale: {install},
	status.CacheRefused:      {removeEntry},
	status.WatchLoop:         {resume},
	status.SlowStart:         {showLog},
	status.NotTrusted:        {trust},
}

type fix func(f *fixer)

// fixer gathers the actions for one diagnostic after the other.
type fixer struct {
	View
	*builder
	file       string
	diagnostic protocol.Diagnostic // that is being mended
	data       Data                // of it
	out        []protocol.CommandOrCodeAction
	told       map[string]bool // titles
	before     *spec.Loaded    // of the file's text alone; nil: not read yet
	tried      int             // bytes of texts that were read to try edits out
}

// Bounds of one answer: an edit is tried out before it is offered, which takes
// as long as reading the file, and a client may ask about the whole of it.
const (
	mostMended = 20        // diagnostics that are looked at
	mostTried  = 256 << 10 // bytes of text that are read; the first edit is always tried
)

// Actions are the quick-fixes for what is wrong in a range of a file, on what
// holds now and not on what the client still shows. Commands name what was
// shown when they were offered (the identity of a process, the hash of a
// project's commands), so that nothing else is done when they are run later. A
// client that takes commands only is offered no edits.
func Actions(v View, file string, within protocol.Range, only []string) []protocol.CommandOrCodeAction {
	f := &fixer{View: v, builder: newBuilder(v.Input), file: file, told: map[string]bool{}, out: []protocol.CommandOrCodeAction{}}
	if !wanted(only) {
		return f.out
	}
	looked := 0
	for _, d := range Diagnostics(v.Input)[file] {
		if before(d.Range.End, within.Start) || before(within.End, d.Range.Start) {
			continue
		}
		if looked++; looked > mostMended {
			break
		}
		f.diagnostic, f.data = d, Data{}
		if err := json.Unmarshal(d.Data, &f.data); err != nil {
			continue // it is our own, encoded a moment ago
		}
		for _, fix := range fixes[status.Code(f.data.Code)] {
			fix(f)
		}
	}
	f.create(within)
	return f.out
}

// create offers to write down what was detected, where one of the servers stands
// or on the first line of such a file. Ports that the environment sets for today
// are not written.
func (f *fixer) create(within protocol.Range) {
	if !f.Client.Actions || !f.Client.CreateFiles || f.FS == nil || !f.in.Loaded.Project.Detected {
		return
	}
	here := within.Start.Line == 0 && f.source(f.file) != nil
	for _, s := range f.serversIn(f.file) {
		line := f.text(f.file).Exact(s.key).Start.Line
		here = here || within.Start.Line <= line && line <= within.End.Line
	}
	if !here {
		return
	}
	found := spec.Detect(f.FS, f.in.Loaded.Project.Name, nil)
	if len(found.Project.Servers) == 0 {
		return
	}
	kind, at := protocol.CodeActionKindQuickFix, f.uriOf(spec.FileName)
	f.out = append(f.out, &protocol.CodeAction{
		Title: "Create " + spec.FileName + " with the servers that were found", Kind: &kind,
		Edit: &protocol.WorkspaceEdit{DocumentChanges: []protocol.DocumentChange{
			&protocol.CreateFile{Kind: string(protocol.ResourceOperationKindCreate), URI: at}, // which fails where there is one
			&protocol.TextDocumentEdit{
				TextDocument: protocol.OptionalVersionedTextDocumentIdentifier{TextDocumentIdentifier: protocol.TextDocumentIdentifier{URI: at}},
				Edits:        []protocol.TextDocumentEditElement{&protocol.TextEdit{NewText: spec.Init(found)}},
			},
		}},
	})
}

// wanted reports whether a client that asks for these kinds wants quick-fixes.
func wanted(only []string) bool {
	kind := string(protocol.CodeActionKindQuickFix)
	return len(only) == 0 || slices.ContainsFunc(only, func(k string) bool { return k == "" || k == kind })
}

// run offers a command.
func (f *fixer) run(title, verb string, argument map[string]any, preferred bool) {
	c := f.command(title, verb, argument)
	if f.told[title] {
		return
	}
	f.told[title] = true
	if !f.Client.Actions {
		f.out = append(f.out, &c)
		return
	}
	a := f.action(title, preferred)
	a.Command = c
	f.out = append(f.out, a)
}

// edit offers a change of devside.yaml.
func (f *fixer) edit(title string, preferred bool, edits ...protocol.TextEdit) {
	if !f.Client.Actions || f.told[title] {
		return
	}
	f.told[title] = true
	a := f.action(title, preferred)
	at := f.uriOf(f.file)
	if !f.Client.DocumentChanges {
		a.Edit = &protocol.WorkspaceEdit{Changes: map[uri.URI][]protocol.TextEdit{at: edits}}
	} else {
		doc := protocol.OptionalVersionedTextDocumentIdentifier{TextDocumentIdentifier: protocol.TextDocumentIdentifier{URI: at}}
		if f.Version != nil {
			doc.Version = f.Version(f.file)
		}
		change := &protocol.TextDocumentEdit{TextDocument: doc}
		for i := range edits {
			change.Edits = append(change.Edits, &edits[i])
		}
		a.Edit = &protocol.WorkspaceEdit{DocumentChanges: []protocol.DocumentChange{change}}
	}
	f.out = append(f.out, a)
}

func (f *fixer) action(title string, preferred bool) *protocol.CodeAction {
	kind := protocol.CodeActionKindQuickFix
	a := &protocol.CodeAction{Title: title, Kind: &kind, Diagnostics: []protocol.Diagnostic{f.diagnostic}}
	if preferred && f.Client.Preferred {
		a.IsPreferred = &preferred
	}
	return a
}

// read parses devside.yaml as it is, and with edits made. Both are looked at
// alone, without the folder around them. ok is false when enough was tried.
func (f *fixer) read(edits ...protocol.TextEdit) (then, now *spec.Loaded, ok bool) {
	text := f.text(f.file)
	if f.before == nil {
		f.before = spec.Parse(text.raw, "", nil, nil)
	} else if f.tried+len(text.raw) > mostTried {
		return nil, nil, false
	}
	f.tried += len(text.raw)
	return f.before, spec.Parse(text.apply(edits...), "", nil, nil), true
}

// mends reports whether edits take the issue away and leave at most so many
// as there are now, less the given number.
func (f *fixer) mends(less int, edits ...protocol.TextEdit) bool {
	then, now, ok := f.read(edits...)
	if !ok {
		return false
	}
	same := func(i spec.Issue) bool {
		return i.Code == f.data.Code && i.Key == f.data.Key && f.text(f.file).Range(i.Range) == f.diagnostic.Range
	}
	if !slices.ContainsFunc(then.Issues, same) {
		return f.data.Code != string(status.ConfigInvalid) && now.Valid()
	}
	gone := !slices.ContainsFunc(now.Issues, func(i spec.Issue) bool {
		return same(i) && slices.ContainsFunc(then.Issues, func(old spec.Issue) bool { return old.Message == i.Message })
	})
	if len(then.Issues) >= spec.MostIssues {
		less = 0 // one that is gone makes room for another
	}
	return gone && len(now.Issues) <= len(then.Issues)-less
}

func didYouMean(f *fixer) {
	if f.data.Suggestion == "" || f.file != spec.FileName {
		return
	}
	e := protocol.TextEdit{Range: f.diagnostic.Range, NewText: f.data.Suggestion}
	if f.mends(0, e) {
		f.edit("Change to "+strconv.Quote(f.data.Suggestion), true, e)
	}
}

// removeEntry takes out the key or the entry of a list that is concerned.
func removeEntry(f *fixer) {
	src := f.source(f.file)
	if src == nil || f.file != spec.FileName || f.data.Key == "" {
		return
	}
	text := f.text(f.file)
	at := f.diagnostic.Range
	name := strings.Trim(text.slice(at), `"'`)
	if r, ok := src.Keys[f.data.Key]; ok {
		at = text.Exact(r)
		name = strings.Trim(text.slice(at), `"'`)
	} else if name == "" || !strings.HasSuffix(f.data.Key, "."+name) && f.data.Key != name {
		return // what is concerned is not written, and is shown at something else
	}
	gone, ok := text.removal(at.Start)
	if !ok {
		return
	}
	e := protocol.TextEdit{Range: gone}
	if f.mends(1, e) {
		f.edit("Remove "+name, false, e)
	}
}

func stopHolder(f *fixer) {
	h := f.data.Holder
	if h == nil || h.PID == 0 || f.data.Port == 0 {
		return
	}
	about := []string{fmt.Sprintf("pid %d", h.PID)}
	if h.User != "" {
		about = append(about, "user "+h.User)
	}
	if !h.Started.IsZero() {
		about = append(about, "started "+h.Started.Format("15:04"))
	}
	who := h.Name
	if h.Server != "" {
		who = "the server " + h.Server
	}
	if who == "" {
		who = "the process"
	}
	f.run(fmt.Sprintf("Stop %s (%s) on port %d", who, strings.Join(about, ", "), f.data.Port), "freePort",
		map[string]any{"port": f.data.Port, "holder": map[string]any{"pid": h.PID, "startTime": h.StartTime}}, false)
}

// nextPort has the hub find a port. It writes it into devside.yaml, unless there
// is none, it has errors, or the editor has changes of it that are not saved.
func nextPort(f *fixer) {
	if f.data.Server == "" {
		return
	}
	loaded := f.in.Loaded
	if loaded.Project.Detected || !loaded.Valid() || f.source(spec.FileName) == nil || f.Dirty != nil && f.Dirty(spec.FileName) {
		f.run("Use the next free port for "+f.data.Server+" in this session", "nextPort", map[string]any{"server": f.data.Server}, false)
		return
	}
	f.run("Use the next free port for "+f.data.Server+", in "+spec.FileName, "nextPort", map[string]any{"server": f.data.Server, "write": true}, false)
}

// renumber gives one of two servers another port. The hub would refuse to: it
// edits no file that has errors.
func renumber(f *fixer) {
	if f.file != spec.FileName {
		return
	}
	text := f.text(f.file)
	digits := text.slice(f.diagnostic.Range)
	bare := strings.Trim(digits, `"'`)
	number, err := strconv.Atoi(bare)
	if err != nil {
		return
	}
	next := f.unused(number + 1)
	if next == 0 {
		return
	}
	e := protocol.TextEdit{Range: f.diagnostic.Range, NewText: strings.Replace(digits, bare, strconv.Itoa(next), 1)}
	if f.mends(1, e) {
		f.edit(fmt.Sprintf("Use port %d for %s", next, f.data.Server), false, e)
	}
}

// unused is the first port from one on that no server of the configuration has
// and nobody listens on; 0: none.
func (v View) unused(from int) int {
	used := map[int]bool{}
	for _, s := range v.project().Servers {
		for _, p := range s.Ports {
			used[p.Number] = true
		}
	}
	if i := strings.LastIndexByte(v.project().HTTP, ':'); i >= 0 {
		n, _ := strconv.Atoi(v.project().HTTP[i+1:]) // no number is no port
		used[n] = true
	}
	// mostLooked bounds how many ports are asked about: each is a question to the system.
	const mostLooked = 200
	for n := from; n < from+mostLooked && n <= 65535; n++ {
		if !used[n] && (v.Taken == nil || !v.Taken(n)) {
			return n
		}
	}
	return 0
}

func restart(f *fixer) {
	if f.data.Server != "" {
		f.run("Restart "+f.data.Server, "restart", servers(f.data.Server), false)
	}
}

func resetAndStart(f *fixer) {
	if f.data.Server != "" {
		f.run("Reset and start "+f.data.Server, "reset", servers(f.data.Server), true)
	}
}

func showLog(f *fixer) {
	if f.data.Server != "" {
		f.run("Show the log of "+f.data.Server, "logs", map[string]any{"server": f.data.Server}, false)
	}
}

// clearCaches is offered for a server that has some declared.
func clearCaches(f *fixer) {
	if s, ok := f.server(f.data.Server); ok && len(s.Caches) > 0 {
		f.run("Clear the caches of "+s.Name, "clearCaches", servers(s.Name), false)
	}
}

func install(f *fixer) {
	if f.data.Server == "" || f.data.Run == "" {
		return
	}
	where := f.data.Dir
	if where == "" || where == "." {
		where = "the project's folder"
	}
	f.run(fmt.Sprintf("Run %s in %s", f.data.Run, where), "install", map[string]any{"server": f.data.Server}, true)
}

func resume(f *fixer) {
	if f.data.Server != "" {
		f.run("Let changed files restart "+f.data.Server+" again", "resume", servers(f.data.Server), false)
	}
}

func trust(f *fixer) {
	if st := f.in.Status; st != nil && st.Trust.State == status.Untrusted && st.Trust.Hash != "" {
		f.run("Trust this project's commands", "trust", map[string]any{"hash": st.Trust.Hash}, false)
	}
}

// raiseLimits makes every limit of a server half as large again: raised alone,
// one would pass the next.
func raiseLimits(f *fixer) {
	s, ok := f.server(f.data.Server)
	src := f.source(f.file)
	if !ok || src == nil || f.file != spec.FileName || s.Origin.File != f.file {
		return
	}
	limits := []struct {
		name string
		now  int64
	}{{"warn", s.Memory.Warn}, {"restart", s.Memory.Restart}, {"kill", s.Memory.Kill}}
	text := f.text(f.file)
	own := s.Origin.Key + ".memory"
	var edits []protocol.TextEdit
	var missing, all []string
	for _, l := range limits {
		if l.now == 0 {
			continue
		}
		more := spec.Size(l.now + l.now/2)
		all = append(all, more)
		if r, written := src.Values[own+"."+l.name]; written {
			edits = append(edits, protocol.TextEdit{Range: text.Exact(r), NewText: more})
		} else {
			missing = append(missing, l.name+": "+more)
		}
	}
	if len(missing) > 0 {
		e, ok := f.insert(s, own, missing, len(edits) > 0)
		if !ok {
			return
		}
		edits = append(edits, e)
	}
	then, now, ok := f.read(edits...)
	if !ok || len(all) == 0 || !then.Valid() || !now.Valid() || !onlyMemory(then.Project, now.Project, s.Name) {
		return
	}
	f.edit(fmt.Sprintf("Raise the memory limits of %s to %s", s.Name, strings.Join(all, ", ")), false, edits...)
}

// insert adds limits to a server: before the first key of its `memory`, or as a
// line below its first key where it has none.
func (f *fixer) insert(s spec.Server, own string, entries []string, some bool) (protocol.TextEdit, bool) {
	src, text := f.source(f.file), f.text(f.file)
	value, there := src.Values[own]
	if there && some {
		at := text.Exact(value).Start
		if rest := text.lines[at.Line][text.byteOf(at):]; strings.HasPrefix(rest, "{") {
			at.Character++
			return protocol.TextEdit{Range: protocol.Range{Start: at, End: at}, NewText: strings.Join(entries, ", ") + ", "}, true
		}
		indent := text.lines[at.Line][:text.byteOf(at)]
		if strings.TrimSpace(indent) != "" {
			return protocol.TextEdit{}, false
		}
		return protocol.TextEdit{Range: protocol.Range{Start: at, End: at}, NewText: strings.Join(entries, f.newline()+indent) + f.newline() + indent}, true
	}
	if _, written := src.Keys[own]; written {
		return protocol.TextEdit{}, false // without a limit below it
	}
	body, ok := src.Values[s.Origin.Key]
	if !ok {
		return protocol.TextEdit{}, false
	}
	at := text.Exact(body).Start
	line := "memory: {" + strings.Join(entries, ", ") + "}"
	if rest := text.lines[at.Line][text.byteOf(at):]; strings.HasPrefix(rest, "{") {
		at.Character++
		return protocol.TextEdit{Range: protocol.Range{Start: at, End: at}, NewText: line + ", "}, true
	}
	indent := text.lines[at.Line][:text.byteOf(at)]
	if strings.TrimSpace(indent) != "" {
		return protocol.TextEdit{}, false
	}
	return protocol.TextEdit{Range: protocol.Range{Start: at, End: at}, NewText: line + f.newline() + indent}, true
}

// newline is the line end that the file has.
func (f *fixer) newline() string {
	if strings.Contains(f.text(f.file).raw, "\r\n") {
		return "\r\n"
	}
	return "\n"
}

// onlyMemory reports whether two configurations differ in nothing but the
// memory limits of one server: an anchor may be shared with another.
func onlyMemory(x, y *spec.Project, server string) bool {
	return slices.EqualFunc(x.Servers, y.Servers, func(a, b spec.Server) bool {
		return a.Name == b.Name && (a.Memory == b.Memory || a.Name == server)
	})
}
