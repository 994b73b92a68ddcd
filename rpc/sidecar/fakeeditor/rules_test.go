package fakeeditor

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// at is a range of one line, as JSON.
func at(line, from, to string) string {
	return `{"start":{"line":` + line + `,"character":` + from + `},"end":{"line":` + line + `,"character":` + to + `}}`
}

func TestTheJudgeFindsAnswersThatDoNotFitTogether(t *testing.T) {
	const text = "abcdef\n🚀b"
	several := `{"start":{"line":0,"character":0},"end":{"line":1,"character":0}}`
	position := `{"position":{"line":0,"character":2}}`
	for _, c := range []struct {
		method, params, result string
		want                   string // part of the fault; empty: none
	}{
		{"textDocument/codeLens", `{}`, `[{"range":` + at("0", "0", "1") + `,"command":{"title":"ready","command":""}}]`, ""},
		{"textDocument/codeLens", `{}`, `[{"range":` + at("0", "0", "1") + `,"command":{"title":"x","command":"have"}}]`, ""},
		{"textDocument/codeLens", `{}`, `[{"range":` + at("0", "0", "1") + `,"command":{"title":"x","command":"have not"}}]`, "not advertised"},
		{"textDocument/codeLens", `{}`, `[{"range":` + several + `}]`, "several lines"},
		{"textDocument/codeLens", `{}`, `[{"range":` + at("0", "3", "1") + `}]`, "ends before"},
		{"textDocument/codeAction", `{}`, `[{"title":"x","command":"have not"}]`, "not advertised"},
		{"textDocument/codeAction", `{}`, `[{"title":"x","command":{"command":"have not"}}]`, "not advertised"},
		{"textDocument/codeAction", `{}`, `[{"title":"x","edit":{"changes":{"u":[{"range":` + at("0", "0", "2") + `},{"range":` + at("0", "2", "4") + `}]}}}]`, ""},
		{"textDocument/codeAction", `{}`, `[{"title":"x","edit":{"changes":{"u":[{"range":` + at("0", "0", "3") + `},{"range":` + at("0", "2", "4") + `}]}}}]`, "overlap"},
		{"textDocument/codeAction", `{}`, `[{"title":"x","edit":{"documentChanges":[{"edits":[{"range":` + at("0", "2", "4") + `},{"range":` + at("0", "0", "3") + `}]}]}}]`, "overlap"},
		{"textDocument/hover", position, `{"contents":"x","range":` + at("0", "0", "2") + `}`, ""},
		{"textDocument/hover", position, `{"contents":"x","range":` + at("0", "3", "4") + `}`, "asked for {0 2}"},
		{"textDocument/hover", `{"position":{"line":0,"character":99}}`, `{"contents":"x","range":` + at("0", "3", "6") + `}`, ""},
		{"textDocument/hover", `{"position":{"line":9,"character":0}}`, `{"contents":"x","range":` + at("1", "0", "3") + `}`, ""},
		{"textDocument/hover", position, `null`, ""},
		{"textDocument/inlayHint", `{"range":` + several + `}`, `[{"position":{"line":0,"character":3}}]`, ""},
		{"textDocument/inlayHint", `{"range":` + several + `}`, `[{"position":{"line":1,"character":1}}]`, "a hint at {1 1}"},
		{"textDocument/completion", position, `{"items":[{"label":"x","textEdit":{"range":` + at("0", "1", "3") + `}}]}`, ""},
		{"textDocument/completion", position, `[{"label":"x","textEdit":{"range":` + at("0", "3", "3") + `}}]`, "not a part of the line"},
		{"textDocument/completion", position, `{"items":[{"label":"x","textEdit":{"range":` + several + `}}]}`, "not a part of the line"},
		{"textDocument/documentSymbol", `{}`, `[{"name":"x","range":` + at("0", "0", "5") + `,"selectionRange":` + at("0", "0", "1") + `,"children":[{"name":"y","range":` + at("0", "2", "5") + `,"selectionRange":` + at("0", "2", "3") + `}]}]`, ""},
		{"textDocument/documentSymbol", `{}`, `[{"name":"x","range":` + at("0", "0", "5") + `,"selectionRange":` + at("0", "4", "6") + `}]`, "not in its {0 0}-{0 5}"},
		{"textDocument/documentSymbol", `{}`, `[{"name":"x","range":` + at("0", "0", "5") + `,"selectionRange":` + at("0", "0", "1") + `,"children":[{"name":"y","range":` + at("0", "2", "6") + `}]}]`, "not in its parent's"},
		{"textDocument/documentSymbol", `{}`, `[{"name":"x","location":{"range":` + at("0", "0", "5") + `}}]`, ""},
	} {
		text := text
		faults := rules(c.method, json.RawMessage(c.params), json.RawMessage(c.result), &text, []string{"have"})
		if all := strings.Join(faults, "\n"); (c.want == "") != (all == "") || !strings.Contains(all, c.want) {
			t.Errorf("%s %s: %q, want %q", c.method, c.result, faults, c.want)
		}
	}
}

func TestTheJudgeFindsDiagnosticsThatAreNotInOrder(t *testing.T) {
	of := func(r, more string) string {
		return `{"uri":"file:///x","diagnostics":[{"range":` + r + `,"message":"m"` + more + `}]}`
	}
	inside := of(at("0", "0", "3"), "")
	for _, c := range []struct {
		raw, before string
		declared    string
		texts       []string
		want        string
	}{
		{inside, "", `{}`, nil, ""},
		{inside, of(at("0", "0", "2"), ""), `{}`, nil, ""},
		{inside, inside, `{}`, nil, "nothing has changed"},
		{inside, "", `{}`, []string{"abc"}, ""},
		{inside, "", `{}`, []string{"abc", "a"}, ""}, // of the older text, on its way
		{inside, "", `{}`, []string{"a", ""}, "behind its line"},
		{of(at("1", "0", "0"), ""), "", `{}`, []string{"abc"}, "below the file"},
		{of(at("0", "0", "65536"), ""), "", `{}`, []string{"abc"}, ""},
		{of(at("0", "2", "1"), ""), "", `{}`, nil, "ends before"},
		{of(at("0", "0", "1"), `,"relatedInformation":[]`), "", `{}`, nil, "did not declare relatedInformation"},
		{of(at("0", "0", "1"), `,"codeDescription":{"href":"x:"}`), "", `{}`, nil, "did not declare codeDescriptionSupport"},
		{of(at("0", "0", "1"), `,"tags":[1]`), "", `{}`, nil, "did not declare tagSupport"},
		{of(at("0", "0", "1"), `,"tags":[1],"relatedInformation":[],"codeDescription":{}`), "",
			`{"textDocument":{"publishDiagnostics":{"relatedInformation":true,"codeDescriptionSupport":true,"tagSupport":{}}}}`, nil, ""},
	} {
		var g gates
		if err := json.Unmarshal([]byte(c.declared), &g.declared); err != nil {
			t.Fatal(err)
		}
		faults := g.published(json.RawMessage(c.raw), json.RawMessage(c.before), c.texts)
		if all := strings.Join(faults, "\n"); (c.want == "") != (all == "") || !strings.Contains(all, c.want) {
			t.Errorf("%s after %q: %q, want %q", c.raw, c.before, faults, c.want)
		}
	}
}

func TestTheJudgeReadsFilesThatAreNotOpen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a b.yaml")
	if err := os.WriteFile(file, []byte("abc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	uri := "file://" + strings.ReplaceAll(filepath.ToSlash(file), " ", "%20")
	for _, c := range []struct {
		uri        string
		line, last int
		want       string
	}{
		{uri, 0, 3, ""}, {uri, 0, 4, "behind its line"}, {uri, 2, 0, "below the file"}, {uri + "x", 0, 0, "not there"}, {"file://%zz", 0, 0, "invalid URL"},
	} {
		rec := &recorder{TB: t}
		d := Diagnostic{Range: extent{position{c.line, 0}, position{c.line, c.last}}}
		e := &Editor{t: rec, state: State{Diagnostics: map[string][]Diagnostic{c.uri: {d}}}}
		e.CheckPlaces(c.uri)
		if all := strings.Join(rec.faults, "\n"); (c.want == "") != (all == "") || !strings.Contains(all, c.want) {
			t.Errorf("%s %v: %q, want %q", c.uri, d, all, c.want)
		}
		e.texts = map[string][]string{c.uri: {""}}
		before := len(rec.faults)
		if e.CheckPlaces(c.uri); len(rec.faults) != before {
			t.Error("a file that is open was read from disk")
		}
	}
}
