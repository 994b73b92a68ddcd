package editor

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"go.lsp.dev/protocol"

	"github.com/devside/devside/supervisor/spec"
)

var shopFiles = fstest.MapFS{
	"package.json":          {Data: []byte(`{"scripts": {"dev": "next dev", "build": "next build", "dev": "again"}}`)},
	"backend/package.json":  {Data: []byte(`{"packageManager": "pnpm@9", "scripts": {"serve": "x"}}`)},
	"backend/.env":          {},
	"backend/.env.local":    {},
	"backend/api/main.go":   {},
	"frontend/index.html":   {},
	"node_modules/x/y.js":   {},
	".git/config":           {},
	"backend/notes.env.txt": {},
}

// items lists what is offered, as the text that stands there afterwards around
// the cursor: from the beginning of what was typed.
func items(t *testing.T, text string, at protocol.Position, list *protocol.CompletionList) []string {
	t.Helper()
	out := []string{}
	for _, i := range list.Items {
		e := i.TextEdit.(*protocol.TextEdit)
		if e.Range.End != at || e.Range.Start.Line != at.Line {
			t.Errorf("%s replaces %v, the cursor is at %v", i.Label, e.Range, at)
		}
		out = append(out, e.NewText)
	}
	return out
}

func TestComplete(t *testing.T) {
	const two = "servers:\n  api: {command: x, dir: backend, port: 4000}\n  web:\n    command: y\n    "
	for _, test := range []struct {
		name, marked string
		want         string // all of them; or, ending in …, the first ones
		not          string
		known        string // the configuration a moment before; empty: one with api, web and db
	}{
		{"an empty file", "¦", "version: |name: |http: |servers:|dependencies:|cleanup:", "", ""},
		{"the top, less what is there", "version: 1\nser¦\ndependencies:\n", "name: |http: |servers:|cleanup:", "", ""},
		{"names of one's own choice", "servers:\n  ¦\n", "", "", ""},
		{"keys of a server", two + "¦\n", "shell: |dir: |port: |env:|…", "command", ""},
		{"keys of a server, above others", "servers:\n  web:\n    ¦\n    command: y\n    port: 1\n  api:\n    dir: x\n", "shell: |dir: |env:|…", "command|port", ""},
		{"behind emoji and CRLF", "# 🚀\r\nservers:\r\n  web: # 🚀\r\n    command: y\r\n    st¦", "shell: |dir: |…", "", ""},
		{"a key that has its colon", "servers:\n  web:\n    command: y\n    sto¦p: {grace: 1s}\n", "shell|dir|…", "", ""},
		{"keys of a map in lines", two + "restart:\n      on: always\n      ¦", "delay: |max_delay: |reset_after: |max_in_a_row: |max_per_hour: |dependents: ", "", ""},
		{"keys in brackets", two + "memory: {warn: 1GB, ¦", "restart: |kill: ", "", ""},
		{"keys in brackets, before others", two + "memory: {¦, kill: 2GB} # x", "warn: |restart: ", "", ""},
		{"keys in brackets in brackets", "servers: {web: {command: \"a } b\", stop: {gr¦", "signal: |grace: |spare: ", "", ""},
		{"a probe", two + "ready: {¦}", "http: |tcp: |exec: |log: |notify: true|none: true|…", "", ""},
		{"choices", two + "restart: {on: ¦}", "failure|always|never", "", ""},
		{"choices, typed", two + "restart:\n      on: al¦", "failure|always|never", "", ""},
		{"right behind the colon", two + "shell:¦", " bash| sh| zsh", "", ""},
		{"yes or no", two + "restart: {dependents: ¦", "false|true", "", ""},
		{"durations", two + "stop: {grace: ¦", "5s|500ms|1s|10s|30s|60s|5m", "", ""},
		{"sizes", two + "memory:\n      kill: ¦ # hm", "2GB|512MB|1GB|1.5GB|4GB", "", ""},
		{"percentages", two + "ready: {http: /, error_rate: ¦", "1%|5%|10%|100%", "", ""},
		{"names in brackets", two + "depends_on: [¦", "api|db", "", ""},
		{"names in brackets, less those there", two + "depends_on: [a¦, db]", "api", "", ""},
		{"names in lines", two + "depends_on:\n      - db\n      - ¦", "api", "", ""},
		{"names in lines, at the key's indentation", two + "depends_on:\n    - db\n    - a¦", "api", "", ""},
		{"names in lines, the dash to come", two + "depends_on:\n      ¦", "- api", "", ""},
		{"one name alone", two + "depends_on: ¦", "api", "", ""},
		{"scripts of the root", "servers:\n  web:\n    command: npm r¦", "npm run dev|npm run build", "", ""},
		{"scripts of the server's folder", "servers:\n  web:\n    dir: backend\n    command: ¦", "pnpm run serve", "", "servers: {web: {command: y, dir: backend}}"},
		{"a command in brackets", "servers:\n  web:\n    command: [npm, ¦", "", "", ""},
		{"folders", two + "dir: ¦", ".|backend|frontend", "", ""},
		{"folders in a folder", two + "dir: backend/¦", ".|backend/api", "", ""},
		{"env files", "servers:\n  web:\n    dir: backend\n    command: y\n    env_file: [.env, ¦", ".env.local", "", "servers: {web: {command: y, dir: backend}}"},
		{"ports", two + "port: ¦", "3000|4001|5000|8001", "", ""},
		{"ports in a list", two + "port: [¦", "3000|4001|5000|8001", "", ""},
		{"a port in a map in a list", two + "port:\n      - number: ¦", "3000|4001|5000|8001", "", ""},
		{"the rest of a map in a list", two + "port:\n      - number: 3000\n        ¦", "on_conflict: |owner: ", "", ""},
		{"the server's own port", "servers:\n  web:\n    command: y\n    port: 3005\n    ready: {tcp: ¦", "3005", "", "servers: {web: {command: y, port: 3005}}"},
		{"a dependency", two + "x: 1\ndependencies:\n  db:\n    ¦", "postgres: |redis: |tcp: |http: |every: ", "", ""},
		{"a URL", two + "x: 1\ndependencies:\n  db: {redis: ¦", "redis://localhost:6379", "", ""},
		{"an unknown key", two + "nope: ¦", "", "", ""},
		{"a comment", two + "shell: # ¦", "", "", ""},
		{"a comment alone", "# ¦", "", "", ""},
		{"a # that is no comment", two + "restart: {on: \"a # b¦", "failure|always|never", "", ""},
		{"behind the brackets", two + "memory: {warn: 1GB} ¦", "", "", ""},
		{"between key and colon", two + "shell ¦: bash", "", "", ""},
		{"before the key", two[:len(two)-4] + "  ¦  shell: bash", "", "", ""},
		{"a variable", two + "env: {NODE_ENV: ¦", "", "", ""},
		{"a name in quotes", "servers:\n  \"web\":\n    \"stop\":\n      ¦", "signal: |grace: |spare:", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			text, position := pointed(t, test.marked)
			v := viewOf(text, nil)
			v.Known = spec.Parse("servers:\n  api: {command: x, dir: backend, port: 4000}\n  web: {command: y}\ndependencies: {db: {tcp: 5432}}\n", "", nil, nil).Project
			if test.known != "" {
				v.Known = spec.Parse(test.known, "", nil, nil).Project
			}
			v.Open = func(string) (string, bool) { return text, true }
			v.FS = shopFiles
			v.Taken = func(port int) bool { return port == 8000 || port == 4000 }
			got := items(t, text, position, Complete(v, spec.FileName, position))
			want := strings.Split(test.want, "|")
			if test.want == "" {
				want = []string{}
			}
			if last := len(want) - 1; last >= 0 && want[last] == "…" {
				if want = want[:last]; len(got) > last {
					for _, not := range strings.Split(test.not, "|") {
						if not != "" && slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, not+":") }) {
							t.Errorf("%s is there already, and offered", not)
						}
					}
					got = got[:last]
				}
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestEveryKeyIsOfferedWhereItCanStand goes by the table of keys: each is
// offered in brackets and in lines, with what it means.
func TestEveryKeyIsOfferedWhereItCanStand(t *testing.T) {
	for _, k := range spec.Keys {
		if k.Name() == "*" {
			continue
		}
		parents := strings.Split(strings.ReplaceAll(k.Path, "*", "some"), ".")
		parents = parents[:len(parents)-1]
		inLines, inBrackets := "", ""
		for depth, p := range parents {
			inLines += strings.Repeat("  ", depth) + p + ":\n"
			if depth == 0 {
				inBrackets = p + ": {"
			} else {
				inBrackets += p + ": {"
			}
		}
		for _, text := range []string{inLines + strings.Repeat("  ", len(parents)), inBrackets} {
			v := viewOf(text, nil)
			v.Client = full
			lines := splitLikeLSP(text)
			at := protocol.Position{Line: uint32(len(lines) - 1), Character: uint32(len(lines[len(lines)-1]))}
			list := Complete(v, spec.FileName, at)
			i := slices.IndexFunc(list.Items, func(i protocol.CompletionItem) bool { return i.Label == k.Name() })
			if i < 0 {
				t.Errorf("%s is not offered in %q", k.Path, text)
				continue
			}
			doc := list.Items[i].Documentation.(*protocol.MarkupContent)
			if doc.Kind != protocol.MarkupKindMarkdown || !strings.Contains(doc.Value, escapeMarkdown(sentence(k.Doc))) {
				t.Errorf("%s is documented as %q", k.Path, doc.Value)
			}
		}
	}
}

func TestNothingIsOfferedElsewhere(t *testing.T) {
	if list := Complete(viewOf(shop, nil), "package.json", protocol.Position{}); list.Items == nil || len(list.Items) != 0 {
		t.Errorf("%+v", list)
	}
}

// FuzzComplete holds that whatever stands in the file, what is offered replaces
// a part of the cursor's line that ends at the cursor.
func FuzzComplete(f *testing.F) {
	f.Add(shop, uint32(5), uint32(12))
	f.Add("servers: {web: [{\"a\\", uint32(0), uint32(20))
	f.Add("a:\n- - b: {c: }\n-\n", uint32(1), uint32(9))
	f.Fuzz(func(t *testing.T, text string, line, character uint32) {
		if !utf8.ValidString(text) || len(text) > 4000 {
			return
		}
		v := View{Input: Input{Open: func(string) (string, bool) { return text, true }}}
		at := NewText(text).Position(protocol.Position{Line: line, Character: character})
		there := NewText(text).Exact(spec.Range{Start: at, End: at}).Start
		for _, i := range Complete(v, spec.FileName, there).Items {
			e := i.TextEdit.(*protocol.TextEdit)
			if e.Range.End != there || before(there, e.Range.Start) || e.Range.Start.Line != there.Line {
				t.Fatalf("%s replaces %v, the cursor is at %v of %q", i.Label, e.Range, there, text)
			}
		}
	})
}

func TestSymbols(t *testing.T) {
	v := viewOf(shop, nil)
	v.Client = full
	tree := Symbols(v, spec.FileName).([]protocol.DocumentSymbol)
	var lines []string
	var walk func(depth int, list []protocol.DocumentSymbol, within protocol.Range)
	walk = func(depth int, list []protocol.DocumentSymbol, within protocol.Range) {
		for _, s := range list {
			detail := ""
			if s.Detail != nil {
				detail = " " + *s.Detail
			}
			lines = append(lines, strings.Repeat("  ", depth)+s.Name+detail)
			if before(s.SelectionRange.Start, s.Range.Start) || before(s.Range.End, s.SelectionRange.End) || before(s.Range.Start, within.Start) || before(within.End, s.Range.End) {
				t.Errorf("%s: %v in %v in %v", s.Name, s.SelectionRange, s.Range, within)
			}
			walk(depth+1, s.Children, s.Range)
		}
	}
	walk(0, tree, at(0, 0, 100, 0))
	want := []string{"api npm run dev", "  command npm run dev", "  port 4000", "  ready {http: /health, within: 20s}", "web npm start", "  command npm start", "  port [3000, 3001]", "  depends_on [api, db]", "db tcp"}
	if d := cmp.Diff(want, lines); d != "" {
		t.Error(d)
	}
	v.Client = Client{}
	flat := Symbols(v, spec.FileName).([]protocol.SymbolInformation)
	if len(flat) != 3 || flat[1].Name != "web" || flat[1].Location.URI != "file:///shop/devside.yaml" {
		t.Errorf("%+v", flat)
	}
	if got, _ := json.Marshal(Symbols(v, "package.json")); string(got) != "[]" {
		t.Errorf("of another file: %s", got)
	}
}

func TestLinks(t *testing.T) {
	text := "servers:\n  api: {command: x, port: 4000, dir: backend, env_file: [.env, ../up.env], ready: {http: /health}}\n  web:\n    command: y\n    port: [3000, {number: 3001}]\n    env_file: .env\n    live: {http: \"http://localhost:9/x\"}\n"
	show := func(v View) (out []string) {
		for _, l := range Links(v, spec.FileName) {
			out = append(out, NewText(text).slice(l.Range)+" "+string(*l.Target))
			if (l.Tooltip != nil) != v.Client.LinkTooltips {
				t.Errorf("a tooltip: %v", l.Tooltip)
			}
		}
		return out
	}
	v := viewOf(text, nil)
	want := []string{"4000 http://localhost:4000", "backend file:///shop/backend", ".env file:///shop/backend/.env", "../up.env file:///shop/up.env", "/health http://localhost:4000/health",
		"3000 http://localhost:3000", "3001 http://localhost:3001", ".env file:///shop/.env"}
	if d := cmp.Diff(want, show(v)); d != "" {
		t.Error(d)
	}
	v = viewOf(text, live())
	v.Client = full
	want[4], want[5] = "/health http://localhost:4000/health", "3000 http://localhost:3005"
	if d := cmp.Diff(want, show(v)); d != "" {
		t.Errorf("with a hub: %s", d)
	}
	v.Log = func(server string) string {
		if server == "web" {
			return "file:///logs/web.log"
		}
		return "" // it has printed nothing
	}
	if got := show(v); !slices.Contains(got, "web file:///logs/web.log") || len(got) != len(want)+1 {
		t.Errorf("with a log: %q", got)
	}
	if got := Links(v, "package.json"); got == nil || len(got) != 0 {
		t.Errorf("of another file: %v", got)
	}
}
