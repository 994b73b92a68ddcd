package editor

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.lsp.dev/protocol"

	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// full is a client that takes everything.
var full = Client{HoverMarkdown: true, DocsMarkdown: true, Actions: true, Preferred: true, DocumentChanges: true, CreateFiles: true, SymbolTree: true, LinkTooltips: true}

// offered writes actions down: "title: verb argument", or the title and below
// it the lines that its edit changes.
func offered(t *testing.T, text string, actions []protocol.CommandOrCodeAction) []string {
	t.Helper()
	out := []string{}
	for _, a := range actions {
		switch a := a.(type) {
		case *protocol.Command:
			out = append(out, a.Title+": "+strings.TrimPrefix(a.Command, CommandPrefix)+" "+string(a.Arguments[0]))
		case *protocol.CodeAction:
			if a.Edit == nil {
				out = append(out, a.Title+": "+strings.TrimPrefix(a.Command.Command, CommandPrefix)+" "+string(a.Command.Arguments[0]))
				continue
			}
			out = append(out, a.Title, changed(text, NewText(text).apply(editsOf(t, a.Edit)...)))
		}
	}
	return out
}

func editsOf(t *testing.T, w *protocol.WorkspaceEdit) []protocol.TextEdit {
	t.Helper()
	var edits []protocol.TextEdit
	for _, list := range w.Changes {
		edits = append(edits, list...)
	}
	for _, change := range w.DocumentChanges {
		doc, ok := change.(*protocol.TextDocumentEdit)
		if !ok {
			continue
		}
		for _, e := range doc.Edits {
			edits = append(edits, *e.(*protocol.TextEdit))
		}
	}
	return edits
}

// changed lists the lines that only one of two texts has.
func changed(before, after string) string {
	var b strings.Builder
	x, y := strings.SplitAfter(before, "\n"), strings.SplitAfter(after, "\n")
	for len(x) > 0 && len(y) > 0 && x[0] == y[0] {
		x, y = x[1:], y[1:]
	}
	for len(x) > 0 && len(y) > 0 && x[len(x)-1] == y[len(y)-1] {
		x, y = x[:len(x)-1], y[:len(y)-1]
	}
	for _, l := range x {
		b.WriteString("- " + strings.TrimRight(l, "\n") + "|")
	}
	for _, l := range y {
		b.WriteString("+ " + strings.TrimRight(l, "\n") + "|")
	}
	return b.String()
}

func TestActions(t *testing.T) {
	taken := problem(status.PortTaken, "web", "port 3000 is taken")
	taken.Port, taken.Holder = 3000, &status.Holder{PID: 41, StartTime: "opaque", Name: "node", User: "ann", Started: time.Date(2026, 1, 2, 9, 12, 0, 0, time.UTC)}
	ours := taken
	ours.Holder = &status.Holder{PID: 42, StartTime: "o", Name: "node", Server: "api"}
	unseen := taken
	unseen.Holder = &status.Holder{User: "root"}
	refused := problem(status.CacheRefused, "web", "docs is not removed")
	refused.File = "docs"
	stale := problem(status.DependenciesStale, "web", "3 packages are not installed")
	stale.Argv, stale.Dir = []string{"npm", "ci"}, "frontend"
	const cached = "servers:\n  w¦eb:\n    command: npm start\n    caches: [.next]\n"
	const (
		stop = `Stop node (pid 41, user ann, started 09:12) on port 3000: freePort {"holder":{"pid":41,"startTime":"opaque"},"port":3000,"root":"/shop"}`
		next = `Use the next free port for web, in devside.yaml: nextPort {"root":"/shop","server":"web","write":true}`
	)
	for _, test := range []struct {
		name, marked string
		problems     []status.Problem
		want         []string
	}{
		{"nothing is wrong", "a¦", nil, nil},
		{"an unknown key", "servers:\n  api: {command: x}\n  web:\n    command: y\n    pr¦ot: 3000 # 🚀\n", nil,
			[]string{`Change to "port"`, "-     prot: 3000 # 🚀|+     port: 3000 # 🚀|", `Remove prot`, "-     prot: 3000 # 🚀|"}},
		{"elsewhere in the file", "servers:\n  a¦pi: {command: x}\n  web:\n    command: y\n    prot: 3000\n", nil, nil},
		{"an unknown key with lines below it", "servers:\n  web:\n    nonsen¦se:\n      a: 1\n      # inside\n\n      b: 2\n\n    # of the next\n    command: y\n", nil,
			[]string{"Remove nonsense", "-     nonsense:|-       a: 1|-       # inside|- |-       b: 2|"}},
		{"an unknown key with a list at its own indentation", "servers:\n  web:\n    command: y\n    nonsen¦se:\n    - 1\n    - 2", nil,
			[]string{"Remove nonsense", "-     command: y|-     nonsense:|-     - 1|-     - 2|+     command: y|"}},
		{"the first of a flow map", "servers:\n  web: {pr¦ot: 1, command: \"a, }b\"}\n", nil,
			[]string{`Change to "port"`, `-   web: {prot: 1, command: "a, }b"}|+   web: {port: 1, command: "a, }b"}|`, "Remove prot", `-   web: {prot: 1, command: "a, }b"}|+   web: {command: "a, }b"}|`}},
		{"the last of a flow map", "servers:\n  web: {command: 'it''s', xy¦z: [1, {a: 2}] }\n", nil,
			[]string{"Remove xyz", `-   web: {command: 'it''s', xyz: [1, {a: 2}] }|+   web: {command: 'it''s' }|`}},
		{"what is needed is not removed", "servers:\n  api:\n    comma¦nd: [[x]]\n", nil, nil},
		{"a wrong choice", "servers:\n  api:\n    command: x\n    restart: {on: alwa¦ys2}\n", nil,
			[]string{`Change to "always"`, "-     restart: {on: always2}|+     restart: {on: always}|", "Remove on", "-     restart: {on: always2}|+     restart: {}|"}},
		{"a name that means nothing", "servers:\n  api: {command: x}\n  web:\n    command: y\n    depends_on:\n      - ap¦ii\n      - api\n", nil,
			[]string{`Change to "api"`, "-       - apii|+       - api|", "Remove apii", "-       - apii|"}},
		{"CRLF", "servers:\r\n  web:\r\n    command: y\r\n    pr¦ot: 3000\r\n", nil,
			[]string{`Change to "port"`, "-     prot: 3000\r|+     port: 3000\r|", "Remove prot", "-     prot: 3000\r|"}},
		{"two servers on one port", "servers:\n  api: {command: x, port: 3000}\n  web: {command: y, port: [30¦00, \"3001\"]}\n  more: {command: z, port: 3002}\n", nil,
			[]string{"Use port 3003 for web", `-   web: {command: y, port: [3000, "3001"]}|+   web: {command: y, port: [3003, "3001"]}|`}},
		{"a port that is taken", strings.Replace(shop, "3000", "30¦00", 1), []status.Problem{taken}, []string{stop, next}},
		{"by one of ours", strings.Replace(shop, "3000", "30¦00", 1), []status.Problem{ours}, []string{
			`Stop the server api (pid 42) on port 3000: freePort {"holder":{"pid":42,"startTime":"o"},"port":3000,"root":"/shop"}`, next}},
		{"by one that can't be seen", strings.Replace(shop, "3000", "30¦00", 1), []status.Problem{unseen}, []string{next}},
		{"crashed", strings.Replace(shop, "web:", "web¦:", 1), []status.Problem{problem(status.Crashed, "web", "m")}, []string{
			`Restart web: restart {"root":"/shop","servers":["web"]}`, `Show the log of web: logs {"root":"/shop","server":"web"}`}},
		{"crash loop beside what led to it", strings.Replace(shop, "web:", "web¦:", 1), []status.Problem{problem(status.CrashLooping, "web", "m"), problem(status.CrashSite, "web", "n")}, []string{
			`Reset and start web: reset {"root":"/shop","servers":["web"]}`, `Show the log of web: logs {"root":"/shop","server":"web"}`,
			`Restart web: restart {"root":"/shop","servers":["web"]}`}},
		{"crash loop", strings.Replace(shop, "web:", "web¦:", 1), []status.Problem{problem(status.CrashLooping, "web", "m")}, []string{
			`Reset and start web: reset {"root":"/shop","servers":["web"]}`, `Show the log of web: logs {"root":"/shop","server":"web"}`}},
		{"unhealthy", strings.Replace(shop, "{http", "¦{http", 1), []status.Problem{problem(status.NotHealthy, "api", "m")}, []string{
			`Restart api: restart {"root":"/shop","servers":["api"]}`, `Show the log of api: logs {"root":"/shop","server":"api"}`}},
		{"two problems share an action", strings.Replace(shop, "web:", "web¦:", 1), []status.Problem{problem(status.Crashed, "web", "m"), problem(status.CrashLooping, "web", "n")}, []string{
			`Reset and start web: reset {"root":"/shop","servers":["web"]}`, `Show the log of web: logs {"root":"/shop","server":"web"}`,
			`Restart web: restart {"root":"/shop","servers":["web"]}`}},
		{"untrusted", "¦" + shop, []status.Problem{problem(status.NotTrusted, "", "m")}, []string{`Trust this project's commands: trust {"hash":"h4sh","root":"/shop"}`}},
		{"memory, no limits written", strings.Replace(shop, "api:", "ap¦i:", 1), []status.Problem{problem(status.MemoryWarning, "api", "m")}, []string{
			`Restart api: restart {"root":"/shop","servers":["api"]}`,
			"Raise the memory limits of api to 1.5GB, 2.25GB, 3GB", "+     memory: {warn: 1.5GB, restart: 2.25GB, kill: 3GB}|"}},
		{"memory, in a flow map", "servers:\n  w¦eb: {command: npm start, memory: {kill: 3GB}}\n", []status.Problem{problem(status.MemoryLimit, "web", "m")}, nil},
		{"memory, in a flow map, at the value", "servers:\n  web: {command: npm start, memory: {ki¦ll: 3GB}}\n", []status.Problem{problem(status.MemoryLimit, "web", "m")}, []string{
			`Restart web: restart {"root":"/shop","servers":["web"]}`,
			"Raise the memory limits of web to 1.5GB, 2.25GB, 4.5GB", "-   web: {command: npm start, memory: {kill: 3GB}}|+   web: {command: npm start, memory: {warn: 1.5GB, restart: 2.25GB, kill: 4.5GB}}|"}},
		{"memory, in lines", "servers:\n  web:\n    command: npm start\n    memo¦ry:\n      warn: 600MB # soon\n      restart: 0\n", []status.Problem{problem(status.MemoryLimit, "web", "m")}, []string{
			`Restart web: restart {"root":"/shop","servers":["web"]}`,
			"Raise the memory limits of web to 900MB, 3GB", "-       warn: 600MB # soon|+       kill: 3GB|+       warn: 900MB # soon|"}},
		{"memory, shared by an anchor", "servers:\n  web:\n    command: npm start\n    memory: &m {wa¦rn: 600MB}\n  api:\n    command: x\n    memory: *m\n", []status.Problem{problem(status.MemoryLimit, "web", "m")}, []string{
			`Restart web: restart {"root":"/shop","servers":["web"]}`}},
		{"packages that are not installed", strings.Replace(shop, "web:", "web¦:", 1), []status.Problem{stale}, []string{`Run npm ci in frontend: install {"root":"/shop","server":"web"}`}},
		{"a rule that goes round", strings.Replace(shop, "web:", "web¦:", 1), []status.Problem{problem(status.WatchLoop, "web", "m")}, []string{
			`Let changed files restart web again: resume {"root":"/shop","servers":["web"]}`}},
		{"a slow start", strings.Replace(shop, "web:", "web¦:", 1), []status.Problem{problem(status.SlowStart, "web", "m")}, []string{
			`Show the log of web: logs {"root":"/shop","server":"web"}`}},
		{"crash loop, with caches", cached, []status.Problem{problem(status.CrashLooping, "web", "m")}, []string{
			`Reset and start web: reset {"root":"/shop","servers":["web"]}`, `Clear the caches of web: clearCaches {"root":"/shop","servers":["web"]}`,
			`Show the log of web: logs {"root":"/shop","server":"web"}`}},
		{"a cache that is refused and not written, but a preset's", "servers:\n  w¦eb:\n    command: next dev\n  api: {command: x}\n", []status.Problem{refused}, nil},
		{"a key that is missing", "ser¦vers:\n  web: {command: y}\n", nil, nil},
		{"a server without a command", "servers:\n  a¦pi: {}\n  web: {command: y}\n", nil, []string{"Remove api", "-   api: {}|"}},
		{"a cache that is refused", "servers:\n  web:\n    command: npm start\n    caches: [.next, do¦cs]\n", []status.Problem{refused}, []string{"Remove docs", "-     caches: [.next, docs]|+     caches: [.next]|"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			text, position := pointed(t, test.marked)
			st := running(test.problems...)
			st.Trust = status.Trust{State: status.Untrusted, Hash: "h4sh"}
			v := viewOf(text, st)
			v.Client = full
			if test.want == nil {
				test.want = []string{}
			}
			point := protocol.Range{Start: position, End: position}
			actions := Actions(v, spec.FileName, point, nil)
			if d := cmp.Diff(test.want, offered(t, text, actions)); d != "" {
				t.Error(d)
			}
			v.Client = Client{}
			for _, a := range Actions(v, spec.FileName, point, []string{"quickfix"}) {
				if _, ok := a.(*protocol.Command); !ok {
					t.Errorf("%T for a client that takes commands only", a)
				}
			}
			if got := Actions(v, spec.FileName, point, []string{"refactor", "source.organizeImports"}); got == nil || len(got) != 0 {
				t.Errorf("no quick-fixes were asked for: %v", got)
			}
		})
	}
}

func TestAnEditNamesTheVersionItIsFor(t *testing.T) {
	text, position := pointed(t, "servers:\n  web: {command: y, pr¦ot: 3000}\n")
	v := viewOf(text, nil)
	v.Client = full
	version := int32(7)
	v.Version = func(file string) *int32 { return &version }
	action := Actions(v, spec.FileName, protocol.Range{Start: position, End: position}, nil)[0].(*protocol.CodeAction)
	doc := action.Edit.DocumentChanges[0].(*protocol.TextDocumentEdit).TextDocument
	if *doc.Version != 7 || doc.URI != "file:///shop/devside.yaml" || action.IsPreferred == nil || len(action.Diagnostics) != 1 {
		t.Errorf("%+v %+v", doc, action)
	}
	v.Client = Client{Actions: true}
	action = Actions(v, spec.FileName, protocol.Range{Start: position, End: position}, nil)[0].(*protocol.CodeAction)
	if action.Edit.DocumentChanges != nil || len(action.Edit.Changes["file:///shop/devside.yaml"]) != 1 || action.IsPreferred != nil {
		t.Errorf("a client that takes no versions: %+v", action)
	}
}

func TestAPortIsNotWrittenIntoWhatTheHubCantEdit(t *testing.T) {
	taken := problem(status.PortTaken, "web", "port 3000 is taken")
	taken.Port = 3000
	const session = `Use the next free port for web in this session: nextPort {"root":"/shop","server":"web"}`
	text, position := pointed(t, strings.Replace(shop, "3000", "30¦00", 1))
	point := protocol.Range{Start: position, End: position}
	v := viewOf(text, running(taken))
	v.Dirty = func(string) bool { return true }
	if d := cmp.Diff([]string{session}, offered(t, text, Actions(v, spec.FileName, point, nil))); d != "" {
		t.Errorf("unsaved: %s", d)
	}
	v = viewOf(text+"nonsense: 1\n", running(taken))
	if d := cmp.Diff([]string{session}, offered(t, text, Actions(v, spec.FileName, point, nil))); d != "" {
		t.Errorf("invalid: %s", d)
	}
}

// FuzzRemoval holds that a removal lies inside the text and that what is left
// is the text without it.
func FuzzRemoval(f *testing.F) {
	f.Add("a:\n  b: {c: 1, d: '}'}\n  - x\r\n", uint32(1), uint32(6))
	f.Add("a: [1, 2", uint32(0), uint32(4))
	f.Fuzz(func(t *testing.T, text string, line, character uint32) {
		doc := NewText(text)
		r, ok := doc.removal(protocol.Position{Line: line, Character: character})
		if !ok {
			return
		}
		from, to := doc.index(r.Start), doc.index(r.End)
		if from > to || doc.apply(protocol.TextEdit{Range: r}) != doc.raw[:from]+doc.raw[to:] {
			t.Fatalf("%v of %q", r, text)
		}
	})
}

// TestTheReadmeNamesEveryQuickFix compares its table with the one here.
func TestTheReadmeNamesEveryQuickFix(t *testing.T) {
	raw, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(raw), "| quick-fix for |")
	table, _, _ := strings.Cut(rest, "\n\n")
	if !found {
		t.Fatal("the README has no table of quick-fixes")
	}
	named := map[string]bool{}
	for line := range strings.Lines(table) {
		first, _, _ := strings.Cut(strings.TrimPrefix(line, "|"), "|")
		for _, m := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(first, -1) {
			named[m[1]] = true
		}
	}
	for code := range fixes {
		if !named[string(code)] {
			t.Errorf("the README names no quick-fix for %s", code)
		}
		delete(named, string(code))
		if _, ok := status.Lookup(code); !ok {
			t.Errorf("there is no problem %s", code)
		}
	}
	for code := range named {
		t.Errorf("the README names a quick-fix for %s, which has none", code)
	}
}

// TestWhatWasDetectedCanBeWrittenDown: the file that is created has the servers
// that were found, and is offered where they stand.
func TestWhatWasDetectedCanBeWrittenDown(t *testing.T) {
	files := fstest.MapFS{"package.json": {Data: []byte("{\n  \"name\": \"shop\",\n  \"scripts\": {\n    \"dev\": \"next dev\"\n  }\n}\n")}}
	env := func(name string) string { return map[string]string{"DEV_PORT_SHOP": "3999"}[name] }
	v := View{Input: Input{Loaded: spec.Load(files, "shop", env), URI: func(file string) string { return "file:///shop/" + file }}, FS: files, Client: full}
	line := func(n uint32) protocol.Range { return at(n, 0, n, 0) }
	if got := v.Loaded.Project.Servers[0].Ports[0].Number; got != 3999 {
		t.Fatalf("port %d", got)
	}
	for n, want := range map[uint32]int{0: 1, 1: 0, 3: 1, 5: 0} {
		if got := Actions(v, "package.json", line(n), nil); len(got) != want {
			t.Errorf("line %d: %d actions, want %d", n, len(got), want)
		}
	}
	action := Actions(v, "package.json", line(3), nil)[0].(*protocol.CodeAction)
	file := action.Edit.DocumentChanges[0].(*protocol.CreateFile)
	text := editsOf(t, action.Edit)[0].NewText
	l := spec.Parse(text, "shop", files, nil)
	if file.URI != "file:///shop/devside.yaml" || !l.Valid() || len(l.Project.Servers) != 1 || l.Project.Servers[0].Ports[0].Number != 3000 {
		t.Errorf("%s would be %s", file.URI, text)
	}
	v.Client.CreateFiles = false
	if got := Actions(v, "package.json", line(3), nil); len(got) != 0 {
		t.Errorf("for a client that makes no files: %v", got)
	}
	v.Client.CreateFiles = true
	v.Loaded = spec.Parse(shop, "shop", files, nil)
	if got := Actions(v, "devside.yaml", line(0), nil); len(got) != 0 {
		t.Errorf("where there is one: %v", got)
	}
}

// TestASourceLineThatCrashedHasQuickFixes, too, though nothing of devside's
// stands in that file.
func TestASourceLineThatCrashedHasQuickFixes(t *testing.T) {
	site := problem(status.CrashSite, "web", "boom")
	site.File, site.Line, site.Column = "src/app.ts", 3, 5
	v := viewOf(shop, running(site))
	want := []string{`Restart web: restart {"root":"/shop","servers":["web"]}`, `Show the log of web: logs {"root":"/shop","server":"web"}`}
	if d := cmp.Diff(want, offered(t, "", Actions(v, "src/app.ts", at(2, 4, 2, 4), nil))); d != "" {
		t.Error(d)
	}
	if got := Actions(v, "src/app.ts", at(9, 0, 9, 0), nil); len(got) != 0 {
		t.Errorf("elsewhere in the file: %v", got)
	}
}

// TestEditsOfALargeFileAreTriedWithinBounds: the one under the cursor is offered
// in any file, all at once only in one of ordinary size.
func TestEditsOfALargeFileAreTriedWithinBounds(t *testing.T) {
	offers := func(servers int, within protocol.Range) int {
		var b strings.Builder
		b.WriteString("version: 1\nservers:\n")
		for i := range servers {
			fmt.Fprintf(&b, "  s%d:\n    command: x\n    prot%d: 3000\n", i, i)
		}
		v := viewOf(b.String(), nil)
		v.Client = full
		return len(Actions(v, spec.FileName, within, nil))
	}
	if n := offers(5, at(0, 0, 100, 0)); n != 5 {
		t.Errorf("%d actions in a small file", n)
	}
	if n := offers(500, at(0, 0, 10000, 0)); n < 1 || n > 14 {
		t.Errorf("%d actions in a large file", n)
	}
	if n := offers(500, at(4, 6, 4, 6)); n != 1 {
		t.Errorf("%d actions at one place of a large file", n)
	}
}
