package editor

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"go.lsp.dev/protocol"

	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// cursor marks the place that a test asks about.
const cursor = "¦"

// pointed takes the cursor out of a text. The line ends and whatever stands
// before it are counted as LSP does.
func pointed(t *testing.T, marked string) (text string, at protocol.Position) {
	t.Helper()
	before, after, found := strings.Cut(marked, cursor)
	if !found || strings.Contains(after, cursor) {
		t.Fatalf("one %s is needed in %q", cursor, marked)
	}
	lines := splitLikeLSP(before)
	last := lines[len(lines)-1]
	return before + after, protocol.Position{Line: uint32(len(lines) - 1), Character: uint32(len(utf16.Encode([]rune(last))))}
}

// viewOf is a folder whose devside.yaml has this text.
func viewOf(text string, st *status.Project) View {
	return View{
		Input: Input{Loaded: spec.Parse(text, "shop", nil, nil), Status: st, URI: func(file string) string { return "file:///shop/" + file }},
		Root:  "/shop",
	}
}

const shop = `version: 1
servers:
  api: # 🚀
    command: npm run dev
    port: 4000
    ready: {http: /health, within: 20s}
  web:
    command: npm start
    port: [3000, 3001]
    depends_on: [api, db]
dependencies:
  db: {tcp: 5432}
`

// live is the shop while it runs: web has been given another first port.
func live() *status.Project {
	ms, code := int64(1240), 1
	at := time.Date(2026, 11, 27, 9, 12, 0, 0, time.UTC)
	return &status.Project{Trust: status.Trust{State: status.Trusted}, Servers: []status.Server{
		{Name: "api", State: status.Ready, Since: at, PID: 77, Ports: []status.Port{{Number: 4000, Listening: true}}, URL: "http://localhost:4000",
			ReadyMs: &ms, WaitedMs: 2000, MemoryBytes: 300 << 20, Restarts: 2, Crashes: 1, RestartReason: status.ReasonCrash,
			LastExit: &status.Exit{Code: &code, At: at, Cause: "module-not-found"}},
		{Name: "web", State: status.Blocked, Message: "port <3000> is *taken*", Ports: []status.Port{{Number: 3005}, {Number: 3001}}, DependsOn: []string{"api", "db"}},
	}, Dependencies: []status.Dependency{{Name: "db", Message: "connection refused", Checked: at}}}
}

func titles(lenses []protocol.CodeLens) []string {
	out := []string{}
	for _, l := range lenses {
		out = append(out, l.Command.Title)
	}
	return out
}

func TestLensesAreConstantInNumberAndOnlyTitlesChange(t *testing.T) {
	down := viewOf(shop, nil)
	up := viewOf(shop, live())
	without, with := Lenses(down, spec.FileName), Lenses(up, spec.FileName)
	if d := cmp.Diff([]string{"stopped", "start", "stop", "restart", "logs", "stopped", "start", "stop", "restart", "logs"}, titles(without)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"ready http://localhost:4000", "start", "stop", "restart", "logs", "blocked", "start", "stop", "restart", "logs"}, titles(with)); d != "" {
		t.Error(d)
	}
	for i := range with {
		if with[i].Range != without[i].Range {
			t.Errorf("lens %d has moved from %v to %v", i, without[i].Range, with[i].Range)
		}
	}
	if c := with[6].Command; c.Command != "devside.server.start" || string(c.Arguments[0]) != `{"root":"/shop","servers":["web"]}` || with[6].Range != at(6, 2, 6, 5) {
		t.Errorf("start of web: %+v", with[6])
	}
	if c := with[0].Command; c.Command != "" || c.Arguments != nil {
		t.Errorf("the state is a label, and has a command: %+v", c)
	}
	up.Status.Trust.State = status.Untrusted
	if got := titles(Lenses(up, spec.FileName))[5]; got != "blocked, not trusted" {
		t.Errorf("untrusted: %q", got)
	}
	for _, file := range []string{"package.json", "nothing"} {
		if got := Lenses(up, file); got == nil || len(got) != 0 {
			t.Errorf("%s: %v", file, got)
		}
	}
}

func TestHints(t *testing.T) {
	all := protocol.Range{End: protocol.Position{Line: 100}}
	show := func(hints []protocol.InlayHint) []string {
		out := []string{}
		for _, h := range hints {
			out = append(out, fmt.Sprintf("%d:%d %s", h.Position.Line, h.Position.Character, h.Label.(protocol.String)))
		}
		return out
	}
	v := viewOf(shop, live())
	want := []string{"5:39 ready in 1.2 s", "8:22 → 3005, 3001"}
	if d := cmp.Diff(want, show(Hints(v, spec.FileName, all))); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(want[:1], show(Hints(v, spec.FileName, at(5, 0, 6, 0)))); d != "" {
		t.Errorf("of a part: %s", d)
	}
	plain := viewOf("version: 1\nservers:\n  api:\n    command: x\n  web: {command: y}\n", live())
	want = []string{"2:6 → 4000", "2:6 ready in 1.2 s", "4:19 → 3005, 3001"}
	if d := cmp.Diff(want, show(Hints(plain, spec.FileName, all))); d != "" {
		t.Errorf("without ports and probes: %s", d)
	}
	if got := Hints(viewOf(shop, nil), spec.FileName, all); got == nil || len(got) != 0 {
		t.Errorf("without a hub: %v", got)
	}
}

func TestHover(t *testing.T) {
	st := live()
	for _, test := range []struct {
		name, marked string
		want         []string // pieces, in order
	}{
		{"a server", strings.Replace(shop, "  api:", "  a¦pi:", 1), []string{"api — ready since 09:12:00", "command npm run dev", "http://localhost:4000", "ports 4000 (listening)", "pid 77",
			"waited 2.0 s for what it depends on, then ready in 1.2 s", "memory 300 MB ▁█", "restarts 2, crashes 1, last for: crash", "last exit with status 1 at 09:12:00: module-not-found", "servers.<name> — map", "One server, by its name."}},
		{"a server that is blocked", strings.Replace(shop, "web:", "web¦:", 1), []string{"web — blocked", "port <3000> is *taken*", "ports 3005, 3001", "depends on api, db"}},
		{"a name in depends_on", strings.Replace(shop, "[api, db]", "[a¦pi, db]", 1), []string{"api — ready", "servers.<name>.depends_on"}},
		{"a dependency's name in depends_on", strings.Replace(shop, "[api, db]", "[api, d¦b]", 1), []string{"db — tcp, only checked", "down: connection refused"}},
		{"the whole of depends_on", strings.Replace(shop, "depends_on", "de¦pends_on", 1), []string{"servers.<name>.depends_on — list or text"}},
		{"a dependency", strings.Replace(shop, "  db:", "  db¦:", 1), []string{"db — tcp, only checked", "down", "One dependency, by its name."}},
		{"a value", strings.Replace(shop, "20s", "2¦0s", 1), []string{"servers.<name>.ready.within — duration", "How long a start may take", "default 10s", "written like 150ms"}},
		{"a key beside an emoji", strings.Replace(shop, "# 🚀\n    command", "# 🚀\n    co¦mmand", 1), []string{"servers.<name>.command — text or list", "must be given"}},
		{"CRLF", strings.ReplaceAll(strings.Replace(shop, "port: 4000", "port: 40¦00", 1), "\n", "\r\n"), []string{"servers.<name>.port — integer"}},
		{"a variable", "servers:\n  a: {command: x, env: {NO¦DE_ENV: test}}", []string{"servers.<name>.env.<name>"}},
		{"choices", "servers:\n  a: {command: x, restart: {on: alw¦ays}}", []string{"one of failure, always, never", "default failure"}},
		{"a server with dots in its name", "servers:\n  a.b: {command: x, stop: {gr¦ace: 1s}}", []string{"servers.<name>.stop.grace"}},
		{"a dependency with dots in its name", "dependencies:\n  a.b: {t¦cp: 1}", []string{"dependencies.<name>.tcp"}},
		{"nothing: a comment", "# a com¦ment\nservers: {}", nil},
		{"nothing: an unknown key", "servers:\n  a: {command: x, no¦pe: 1}", []string{"servers.<name> — map"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			text, position := pointed(t, test.marked)
			v := viewOf(text, st)
			v.Memory = Memory{"api": {100 << 20, 300 << 20}}
			h := Hover(v, spec.FileName, position)
			if test.want == nil {
				if h != nil {
					t.Fatalf("hover %+v", h.Contents)
				}
				return
			}
			if h == nil {
				t.Fatal("no hover")
			}
			content := h.Contents.(*protocol.MarkupContent)
			rest := content.Value
			for _, piece := range test.want {
				i := strings.Index(rest, piece)
				if i < 0 {
					t.Fatalf("no %q in %q", piece, content.Value)
				}
				rest = rest[i+len(piece):]
			}
			if content.Kind != protocol.MarkupKindPlainText {
				t.Errorf("kind %s to a client that did not declare Markdown", content.Kind)
			}
			if r := h.Range; r != nil && (before(position, r.Start) || before(r.End, position)) {
				t.Errorf("the range %v is not where the cursor is, %v", r, position)
			}
		})
	}
}

func TestAHoverInMarkdownTakesTheMeaningFromWhatAServerSays(t *testing.T) {
	text, position := pointed(t, strings.Replace(shop, "web:", "we¦b:", 1))
	v := viewOf(text, live())
	v.Client.HoverMarkdown = true
	v.Status.Servers[1].Message = "![x](http://evil) <b>\n# no \x1b[31mred"
	content := Hover(v, spec.FileName, position).Contents.(*protocol.MarkupContent)
	if want := `**web** — blocked  ` + "\n" + `\!\[x\]\(http://evil\) \<b\> \# no red`; content.Kind != protocol.MarkupKindMarkdown || !strings.HasPrefix(content.Value, want) {
		t.Errorf("%s %q", content.Kind, content.Value)
	}
}

func TestAHoverWithoutAHub(t *testing.T) {
	text, position := pointed(t, strings.Replace(shop, "web:", "we¦b:", 1))
	got := Hover(viewOf(text, nil), spec.FileName, position).Contents.(*protocol.MarkupContent).Value
	if !strings.HasPrefix(got, "web — stopped\ncommand npm start\n") {
		t.Errorf("%q", got)
	}
	if h := Hover(View{}, spec.FileName, position); h != nil {
		t.Errorf("of a folder that could not be read: %+v", h)
	}
}

func TestMemory(t *testing.T) {
	var m Memory
	for i := range 100 {
		m = m.Next(&status.Project{Servers: []status.Server{{Name: "a", PID: 1, MemoryBytes: int64(1+i/2) << 20}, {Name: "down", MemoryBytes: 5}}})
	}
	if got := m["a"]; len(got) != memorySamples || got[len(got)-1] != 50<<20 || got[0] != 11<<20 {
		t.Errorf("%d samples: %v", len(got), got)
	}
	if _, kept := m["down"]; kept {
		t.Error("a server that is down has a sample")
	}
	kept := m
	m = m.Next(&status.Project{Servers: []status.Server{{Name: "a", PID: 1, MemoryBytes: 1}}})
	if n := len(kept["a"]); kept["a"][n-1] != 50<<20 {
		t.Error("an older value has changed")
	}
	if m = m.Next(&status.Project{}); len(m) != 0 {
		t.Errorf("a server that is gone is kept: %v", m)
	}
	for want, samples := range map[string][]int64{"": nil, "▅": {5}, "▁█": {1, 9}, "▁▅█": {0, 50, 100}, "▅▅▅": {100, 105, 109}} {
		if got := Sparkline(samples); got != want {
			t.Errorf("Sparkline(%v) = %s, want %s", samples, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 KB", 2048: "2 KB", 3 << 20: "3 MB", 3 << 29: "1.5 GB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %s, want %s", n, got, want)
		}
	}
}

// TestPositionAndRangeAreInverse also asks beyond both ends.
func TestPositionAndRangeAreInverse(t *testing.T) {
	text := NewText("a🚀b\r\n\rlast é")
	for _, test := range []struct {
		in   protocol.Position
		want spec.Position
	}{
		{protocol.Position{}, spec.Position{Line: 1, Column: 1}},
		{protocol.Position{Character: 1}, spec.Position{Line: 1, Column: 2}},
		{protocol.Position{Character: 2}, spec.Position{Line: 1, Column: 2}}, // inside the pair
		{protocol.Position{Character: 3}, spec.Position{Line: 1, Column: 3}},
		{protocol.Position{Character: 99}, spec.Position{Line: 1, Column: 4}},
		{protocol.Position{Line: 1, Character: 1}, spec.Position{Line: 2, Column: 1}},
		{protocol.Position{Line: 2, Character: 6}, spec.Position{Line: 3, Column: 7}},
		{protocol.Position{Line: 1 << 31}, spec.Position{Line: 3, Column: 7}},
	} {
		if got := text.Position(test.in); got != test.want {
			t.Errorf("Position(%v) = %v, want %v", test.in, got, test.want)
		}
	}
}
