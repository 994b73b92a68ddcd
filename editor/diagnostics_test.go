package editor

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.lsp.dev/protocol"

	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

const example = `version: 1
servers:
  api:
    command: npm run dev
    port: [4000, 4001]
    ready: {http: /health}
  web.site:
    command: npm start
    port: 3000
    depends_on: [api, db]
dependencies:
  db: {tcp: 127.0.0.1:5432}
`

// configOf builds what spec would have parsed of a text: every mark is a config
// path and the piece of text that it stands for.
func configOf(text string, marks ...string) *spec.Loaded {
	source := spec.Source{Path: spec.FileName, Text: text, Keys: map[string]spec.Range{}, Values: map[string]spec.Range{}}
	for i := 0; i < len(marks); i += 2 {
		source.Keys[marks[i]] = find(text, marks[i+1])
	}
	return &spec.Loaded{
		Project: &spec.Project{Name: "shop", Servers: []spec.Server{
			{Name: "api", Ports: []spec.Port{{Number: 4000}, {Number: 4001}}, Origin: spec.Origin{File: spec.FileName, Key: "servers.api"}},
			{Name: "web.site", Ports: []spec.Port{{Number: 3000}}, DependsOn: []string{"api", "db"}, Origin: spec.Origin{File: spec.FileName, Key: "servers.web.site"}},
		}},
		Sources: []spec.Source{source},
	}
}

func exampleConfig() *spec.Loaded {
	return configOf(example,
		"servers.api", "api", "servers.api.command", "npm run dev", "servers.api.port", "[4000, 4001]",
		"servers.api.port[1]", "4001", "servers.api.ready", "{http: /health}",
		"servers.web.site", "web.site", "servers.web.site.port", "3000",
		"servers.web.site.depends_on", "[api, db]", "servers.web.site.depends_on[1]", "db",
		"dependencies.db", "db: {")
}

func find(text, piece string) spec.Range {
	i := strings.Index(text, piece)
	line := strings.Count(text[:i], "\n") + 1
	column := i - (strings.LastIndex(text[:i], "\n") + 1) + 1
	return span(line, column, line, column+len([]rune(piece)))
}

// show writes diagnostics as lines a table can hold.
func show(all map[string][]protocol.Diagnostic) []string {
	files := make([]string, 0, len(all))
	for file := range all {
		files = append(files, file)
	}
	slices.Sort(files)
	lines := []string{}
	for _, file := range files {
		for _, d := range all[file] {
			lines = append(lines, fmt.Sprintf("%s:%d:%d-%d:%d %d %v: %v", file, d.Range.Start.Line, d.Range.Start.Character,
				d.Range.End.Line, d.Range.End.Character, d.Severity, d.Code, d.Message))
		}
	}
	return lines
}

func check(t *testing.T, in Input, want ...string) map[string][]protocol.Diagnostic {
	t.Helper()
	got := Diagnostics(in)
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, show(got)); diff != "" {
		t.Errorf("diagnostics (-want +got):\n%s", diff)
	}
	return got
}

func running(problems ...status.Problem) *status.Project {
	return &status.Project{
		Config:   "/p/devside.yaml",
		Servers:  []status.Server{{Name: "api"}, {Name: "web.site"}},
		Problems: problems,
	}
}

func problem(code status.Code, server, message string) status.Problem {
	return status.NewProblem(code, server, message, time.Time{})
}

func TestProblemsArePlacedWhereTheyAreCaused(t *testing.T) {
	taken := problem(status.PortTaken, "api", "port 4001 is taken by node (pid 7)")
	taken.Port, taken.Hint = 4001, "stop it, or use another port"
	first := problem(status.PortTaken, "api", "port 4000 is taken")
	first.Port = 4000
	down := problem(status.DependencyDown, "web.site", "db is down")
	down.Other = "db"
	for _, test := range []struct {
		name string
		in   status.Problem
		want string
	}{
		{"the entry of the port", taken, "devside.yaml:4:17-4:21 1 port-taken: port 4001 is taken by node (pid 7)\nstop it, or use another port"},
		{"the ports when the entry is unknown", first, "devside.yaml:4:10-4:22 1 port-taken: port 4000 is taken"},
		{"the command", problem(status.CommandMissing, "api", "npm: not found"), "devside.yaml:3:13-3:24 1 command-missing: npm: not found"},
		{"cannot start", problem(status.CannotStart, "api", "not executable"), "devside.yaml:3:13-3:24 1 cannot-start: not executable"},
		{"the server's key", problem(status.Crashed, "web.site", "ended with status 1"), "devside.yaml:6:2-6:10 2 crashed: ended with status 1"},
		{"crash loop", problem(status.CrashLooping, "api", "10 crashes"), "devside.yaml:2:2-2:5 1 crash-loop: 10 crashes"},
		{"the probe", problem(status.NotHealthy, "api", "answers 500"), "devside.yaml:5:11-5:26 2 unhealthy: answers 500"},
		{"the key where the field is not written", problem(status.NotHealthy, "web.site", "refused"), "devside.yaml:6:2-6:10 2 unhealthy: refused"},
		{"the dependency", down, "devside.yaml:9:22-9:24 2 dependency-down: db is down"},
		{"the first line", problem(status.NotTrusted, "", "not trusted yet"), "devside.yaml:0:0-0:10 3 untrusted: not trusted yet"},
		{"a server the file does not have", problem(status.Crashed, "gone", "ended"), "devside.yaml:0:0-0:10 2 crashed: ended"},
		{"no text of its own", problem(status.Crashed, "api", ""), "devside.yaml:2:2-2:5 2 crashed: the server ended by itself"},
	} {
		t.Run(test.name, func(t *testing.T) {
			check(t, Input{Loaded: exampleConfig(), Status: running(test.in)}, test.want)
		})
	}
}

// A crash-site is at the source line that it names, whether that is open or not,
// and with it come the lines that lead there.
func TestACrashSiteIsAtTheUsersLine(t *testing.T) {
	site := problem(status.CrashSite, "api", "TypeError: no price")
	site.File, site.Line, site.Column = "src/shop.ts", 2, 10
	site.Related = []status.Place{{File: "src/server.ts", Line: 6, Column: 3}, {File: "src/main.ts", Line: 9}}
	whole := problem(status.CrashSite, "api", "KeyError: 'price'")
	whole.File, whole.Line = "src/shop.py", 3
	beyond := problem(status.CrashSite, "api", "gone")
	beyond.File, beyond.Line, beyond.Column = "src/shop.ts", 99, 1
	open := func(file string) (string, bool) {
		return "export function price(item) {\n  return item.price;\n}", file == "src/shop.ts"
	}
	got := check(t, Input{Loaded: exampleConfig(), Status: running(site, whole), Open: open, Related: true, URI: func(file string) string { return "file:///p/" + file }},
		"src/shop.py:2:0-2:65536 1 crash-site: KeyError: 'price'",
		"src/shop.ts:1:9-1:19 1 crash-site: TypeError: no price")["src/shop.ts"]
	var related []string
	for _, r := range got[0].RelatedInformation {
		related = append(related, fmt.Sprintf("%s %d:%d", r.Location.URI, r.Location.Range.Start.Line, r.Location.Range.Start.Character))
	}
	if want := []string{"file:///p/src/server.ts 5:2", "file:///p/src/main.ts 8:0"}; !slices.Equal(related, want) {
		t.Errorf("related: %q, want %q", related, want)
	}
	check(t, Input{Loaded: exampleConfig(), Status: running(site)}, "src/shop.ts:1:9-1:9 1 crash-site: TypeError: no price")
	check(t, Input{Loaded: exampleConfig(), Status: running(beyond), Open: open}, "src/shop.ts:2:0-2:1 1 crash-site: gone")
}

func TestEveryCodeOfTheCatalogueHasItsSeverity(t *testing.T) {
	want := map[status.Severity]protocol.DiagnosticSeverity{
		status.Error: protocol.DiagnosticSeverityError, status.Warning: protocol.DiagnosticSeverityWarning,
		status.Information: protocol.DiagnosticSeverityInformation,
	}
	for _, entry := range status.Catalogue {
		got := Diagnostics(Input{Status: running(problem(entry.Code, "api", "x"))})["devside.yaml"]
		if len(got) != 1 || got[0].Severity != want[entry.Severity] || got[0].Code != protocol.String(entry.Code) {
			t.Errorf("%s: got %v, want one of severity %s", entry.Code, got, entry.Severity)
		}
	}
}

func TestUntrustedIsShownOnceAndOnlyWhenThereIsSomethingToTrust(t *testing.T) {
	p := problem(status.NotTrusted, "", "not trusted yet")
	check(t, Input{Loaded: exampleConfig(), Status: running(p, p)}, "devside.yaml:0:0-0:10 3 untrusted: not trusted yet")
	empty := &spec.Loaded{Project: &spec.Project{}, Sources: []spec.Source{{Path: spec.FileName, Text: "version: 1\n"}}}
	check(t, Input{Loaded: empty, Status: &status.Project{Problems: []status.Problem{p}}})
}

func TestConfigIssues(t *testing.T) {
	l := exampleConfig()
	l.Issues = []spec.Issue{
		{Code: "port-clash", Severity: spec.Error, File: spec.FileName, Range: find(example, "3000"), Message: "port 3000 is api's, too",
			Hint: "use another", Key: "servers.web.site.port", Related: &spec.Related{File: spec.FileName, Range: find(example, "4001"), Message: "api's port"}},
		{Code: "config-invalid", Severity: spec.Warning, File: spec.FileName, Range: find(example, "version"), Message: "add version: 1", Key: "version"},
		{Code: "config-invalid", Severity: spec.Error, File: spec.FileName, Range: find(example, "ready"), Message: "unknown key redy", Key: "servers.api.redy", Suggestion: "ready"},
		{Code: "config-invalid", Severity: spec.Error, File: spec.FileName, Range: find(example, "ready"), Message: "unknown key redy", Key: "servers.api.redy", Suggestion: "ready"},
	}
	got := check(t, Input{Loaded: l, Related: true, URI: func(file string) string { return "file:///p/" + file }},
		"devside.yaml:0:0-0:7 2 config-invalid: add version: 1",
		"devside.yaml:5:4-5:9 1 config-invalid: unknown key redy",
		"devside.yaml:8:10-8:14 1 port-clash: port 3000 is api's, too\nuse another")[spec.FileName]
	if source, _ := got[0].Source.Get(); source != "devside" {
		t.Errorf("source = %q", source)
	}
	if data := dataOf(t, got[1]); data != (Data{Code: "config-invalid", Server: "api", Suggestion: "ready", Key: "servers.api.redy"}) {
		t.Errorf("data of the unknown key = %+v", data)
	}
	if data := dataOf(t, got[2]); data.Server != "web.site" || data.Port != 3000 {
		t.Errorf("data of the clash = %+v", data)
	}
	want := []protocol.DiagnosticRelatedInformation{{Location: protocol.Location{URI: "file:///p/devside.yaml", Range: at(4, 17, 4, 21)}, Message: "api's port"}}
	if diff := cmp.Diff(want, got[2].RelatedInformation); diff != "" {
		t.Errorf("related (-want +got):\n%s", diff)
	}
}

func dataOf(t *testing.T, d protocol.Diagnostic) Data {
	t.Helper()
	var data Data
	if err := json.Unmarshal(d.Data, &data); err != nil {
		t.Fatal(err)
	}
	return data
}

func TestOwnParseWinsOverTheHubs(t *testing.T) {
	hub := running(problem(status.ConfigInvalid, "", "unknown key prot"), problem(status.PortClash, "api", "clash"))
	// The buffer has mended what the file on disk still has wrong.
	check(t, Input{Loaded: exampleConfig(), Status: hub})
	// Without a parse of our own the hub's word is all there is.
	check(t, Input{Status: hub},
		"devside.yaml:0:0-0:0 1 config-invalid: unknown key prot", "devside.yaml:0:0-0:0 1 port-clash: clash")
	check(t, Input{Loaded: &spec.Loaded{Project: &spec.Project{}}, Status: hub},
		"devside.yaml:0:0-0:0 1 config-invalid: unknown key prot", "devside.yaml:0:0-0:0 1 port-clash: clash")
}

func TestPositionsAreOfTheOpenBuffer(t *testing.T) {
	open := "# 🚀🚀\r\nservers:\r\n"
	l := &spec.Loaded{Project: &spec.Project{}, Issues: []spec.Issue{
		{Code: "config-invalid", File: spec.FileName, Range: span(1, 3, 1, 5), Message: "m"}}}
	check(t, Input{Loaded: l, Open: func(file string) (string, bool) { return open, file == spec.FileName }},
		"devside.yaml:0:2-0:6 1 config-invalid: m")
}

func TestDetectedServersAreShownInPackageJSON(t *testing.T) {
	text := "{\n  \"scripts\": {\n    \"dev\": \"next dev\"\n  }\n}\n"
	l := &spec.Loaded{
		Project: &spec.Project{Detected: true, Servers: []spec.Server{{Name: "web", Origin: spec.Origin{File: "web/package.json", Key: "scripts.dev"}}}},
		Sources: []spec.Source{{Path: "web/package.json", Text: text, Keys: map[string]spec.Range{
			"servers.web": find(text, `"dev"`), "scripts.dev": find(text, `"dev"`)}, Values: map[string]spec.Range{}}},
	}
	st := &status.Project{Servers: []status.Server{{Name: "web"}}, Problems: []status.Problem{
		problem(status.NotTrusted, "", "not trusted yet"), problem(status.Crashed, "web", "ended")}}
	check(t, Input{Loaded: l, Status: st},
		"web/package.json:0:0-0:1 3 untrusted: not trusted yet", "web/package.json:2:4-2:9 2 crashed: ended")
}

func TestLastLinesStandBesideACrash(t *testing.T) {
	p := problem(status.CrashLooping, "api", "it keeps crashing")
	p.Lines = []string{"\x1b[31mError: boom\x1b[0m\r", "\x1b]8;;http://x\x07link\x1b]8;;\x1b\\ \x00at a.js:1", ""}
	in := Input{Loaded: exampleConfig(), Status: running(p), Related: true, URI: func(f string) string { return "file:///p/" + f }}
	want := []protocol.DiagnosticRelatedInformation{{
		Location: protocol.Location{URI: "file:///p/devside.yaml", Range: at(2, 2, 2, 5)}, Message: "Error: boom\nlink at a.js:1"}}
	if diff := cmp.Diff(want, Diagnostics(in)[spec.FileName][0].RelatedInformation); diff != "" {
		t.Errorf("related (-want +got):\n%s", diff)
	}
	in.Related = false // the client did not declare it
	if got := Diagnostics(in)[spec.FileName][0].RelatedInformation; got != nil {
		t.Errorf("related information for a client that did not ask for it: %v", got)
	}
}

func TestLastLinesAreBounded(t *testing.T) {
	for name, lines := range map[string][]string{
		"many":     slices.Repeat([]string{strings.Repeat("x", 99)}, 500),
		"one long": {strings.Repeat("🚀", 5000)},
	} {
		got := lastLines(lines)
		if len(got) > maxRelatedText+len("…") || got == "" || strings.ContainsRune(got, '\uFFFD') {
			t.Errorf("%s: %d bytes: %.40q", name, len(got), got)
		}
	}
}

func TestADependencyNamesItsDeclaration(t *testing.T) {
	p := problem(status.DependencyDown, "web.site", "db is down")
	p.Other = "db"
	got := Diagnostics(Input{Loaded: exampleConfig(), Status: running(p), Related: true})[spec.FileName][0].RelatedInformation
	if len(got) != 1 || got[0].Location.Range != at(11, 2, 11, 7) {
		t.Errorf("related = %v", got)
	}
}

func TestTheHolderReachesTheQuickFix(t *testing.T) {
	p := problem(status.PortTaken, "web.site", "taken")
	p.Port, p.Holder = 3000, &status.Holder{PID: 42, StartTime: "9", Name: "node"}
	data := dataOf(t, Diagnostics(Input{Loaded: exampleConfig(), Status: running(p)})[spec.FileName][0])
	if data.Holder == nil || *data.Holder != *p.Holder || data.Port != 3000 || data.Server != "web.site" {
		t.Errorf("data = %+v", data)
	}
}

func TestAFileShowsAHundredAtMostWorstFirstKept(t *testing.T) {
	l := exampleConfig()
	for i := range 150 {
		severity := spec.Warning
		if i >= 120 {
			severity = spec.Error
		}
		l.Issues = append(l.Issues, spec.Issue{Code: "config-invalid", Severity: severity, File: spec.FileName, Range: span(1, 1, 1, 3), Message: fmt.Sprint(i)})
	}
	got := Diagnostics(Input{Loaded: l})[spec.FileName]
	errors := 0
	for _, d := range got {
		if d.Severity == protocol.DiagnosticSeverityError {
			errors++
		}
	}
	if len(got) != MaxPerFile || errors != 30 {
		t.Errorf("%d diagnostics with %d errors, want %d with 30", len(got), errors, MaxPerFile)
	}
}

func TestNothingIsNothing(t *testing.T) {
	if got := Diagnostics(Input{}); got == nil || len(got) != 0 {
		t.Errorf("Diagnostics of nothing = %v", got)
	}
}

func TestTheSameInputGivesTheSameOutput(t *testing.T) {
	l := exampleConfig()
	for i := range 20 {
		l.Issues = append(l.Issues, spec.Issue{Code: "config-invalid", File: spec.FileName, Range: span(1+i%3, 1, 1+i%3, 2), Message: fmt.Sprint(i * 7 % 20)})
	}
	want := show(Diagnostics(Input{Loaded: l}))
	slices.Reverse(l.Issues)
	if diff := cmp.Diff(want, show(Diagnostics(Input{Loaded: l}))); diff != "" {
		t.Errorf("the order of issues shows (-want +got):\n%s", diff)
	}
}

func TestMemoryIsShownAtItsLimit(t *testing.T) {
	limit := func(code status.Code, server, field string) status.Problem {
		p := problem(code, server, "much")
		p.Field = field
		return p
	}
	const text = `version: 1
servers:
  api:
    command: npm run dev
    memory: {warn: 512MB, kill: 3GB}
  web.site:
    command: npm start
`
	in := Input{Loaded: configOf(text, "servers.api", "api", "servers.api.memory", "memory", "servers.api.memory.warn", "warn", "servers.api.memory.kill", "kill", "servers.web.site", "web.site")}
	// At the limit, else (a default) at its map, else at the server's key.
	in.Status = running(limit(status.MemoryWarning, "api", "memory.warn"), limit(status.MemoryLimit, "api", "memory.restart"), limit(status.MemoryLimit, "web.site", "memory.kill"))
	check(t, in,
		"devside.yaml:4:4-4:10 1 memory-limit: much",
		"devside.yaml:4:13-4:17 2 memory-warning: much",
		"devside.yaml:5:2-5:10 1 memory-limit: much")
}

// TestAnUntrustedProjectShowsWhatWouldRun: each command at its server, so that
// who agrees has seen it.
func TestAnUntrustedProjectShowsWhatWouldRun(t *testing.T) {
	st := running(problem(status.NotTrusted, "", "not trusted yet"))
	st.Trust = status.Trust{State: status.Untrusted, Hash: "h", Commands: []status.TrustCommand{
		{Server: "api", Argv: []string{"npm", "run", "a b"}, Dir: "backend", Script: "next \x1b[31mdev", EnvFiles: []string{".env"}, Env: []string{"A", "B"}, Probes: []string{"pg_isready"}},
		{Server: "web.site", Argv: []string{"x"}, Dir: "."},
	}}
	got := check(t, Input{Loaded: exampleConfig(), Status: st, Related: true}, "devside.yaml:0:0-0:10 3 untrusted: not trusted yet")
	var related []string
	for _, r := range got["devside.yaml"][0].RelatedInformation {
		related = append(related, fmt.Sprintf("%d %s", r.Location.Range.Start.Line, r.Message))
	}
	want := []string{"2 api would run npm run 'a b' in backend, which is next dev; env files .env; variables A, B; probes pg_isready", "6 web.site would run x"}
	if diff := cmp.Diff(want, related); diff != "" {
		t.Error(diff)
	}
}

// The link behind a code goes only to a client that shows it.
func TestACodeLeadsToItsDescription(t *testing.T) {
	for _, described := range []bool{true, false} {
		got := Diagnostics(Input{Loaded: exampleConfig(), Status: running(problem(status.Crashed, "api", "it ended")), Described: described})
		for file, list := range got {
			for _, d := range list {
				if has := d.CodeDescription.Href == problemsPage; has != described {
					t.Errorf("%s, described %t: %+v", file, described, d.CodeDescription)
				}
			}
		}
		if len(got) == 0 {
			t.Error("no diagnostics")
		}
	}
}
