package fakeeditor

import (
	"encoding/json"
	"testing"
)

// TestTheJudgeFindsWhatWasNotDeclared: each message is good for a client that
// declared what it needs, and a fault for one that did not.
func TestTheJudgeFindsWhatWasNotDeclared(t *testing.T) {
	const place = `"range":{"start":{"line":0,"character":0},"end":{"line":0,"character":1}}`
	for _, test := range []struct {
		method, raw, declared string
	}{
		{"workspace/codeLens/refresh", ``, `{"workspace":{"codeLens":{"refreshSupport":true}}}`},
		{"workspace/inlayHint/refresh", ``, `{"workspace":{"inlayHint":{"refreshSupport":true}}}`},
		{"window/workDoneProgress/create", `{"token":1}`, `{"window":{"workDoneProgress":true}}`},
		{"window/showMessageRequest", `{"type":3,"message":"m"}`, `{"window":{"showMessage":{"messageActionItem":{}}}}`},
		{"initialize", `{"capabilities":{"codeLensProvider":{}}}`, `{"textDocument":{"codeLens":{}}}`},
		{"initialize", `{"capabilities":{"hoverProvider":true}}`, `{"textDocument":{"hover":{}}}`},
		{"initialize", `{"capabilities":{"codeActionProvider":{"codeActionKinds":["quickfix"]}}}`, `{"textDocument":{"codeAction":{"codeActionLiteralSupport":{}}}}`},
		{"textDocument/hover", `{"contents":{"kind":"markdown","value":"x"}}`, `{"textDocument":{"hover":{"contentFormat":["plaintext","markdown"]}}}`},
		{"textDocument/codeAction", `[{"title":"x","kind":"quickfix","isPreferred":true}]`, `{"textDocument":{"codeAction":{"codeActionLiteralSupport":{},"isPreferredSupport":true}}}`},
		{"textDocument/codeAction", `[{"title":"x","edit":{"documentChanges":[{"kind":"create","uri":"file:///x"}]}}]`, `{"workspace":{"workspaceEdit":{"documentChanges":true,"resourceOperations":["create"]}}}`},
		{"textDocument/documentSymbol", `[{"name":"x","kind":2,` + place + `,"selectionRange":{}}]`, `{"textDocument":{"documentSymbol":{"hierarchicalDocumentSymbolSupport":true}}}`},
		{"textDocument/documentLink", `[{` + place + `,"tooltip":"x"}]`, `{"textDocument":{"documentLink":{"tooltipSupport":true}}}`},
		{"textDocument/completion", `{"items":[{"label":"x","insertTextFormat":2}]}`, `{"textDocument":{"completion":{"completionItem":{"snippetSupport":true}}}}`},
		{"textDocument/completion", `{"items":[{"label":"x","documentation":{"kind":"markdown","value":"x"}}]}`, `{"textDocument":{"completion":{"completionItem":{"documentationFormat":["markdown"]}}}}`},
	} {
		judge := func(declared string) []string {
			var g gates
			if err := json.Unmarshal([]byte(declared), &g.declared); err != nil {
				t.Fatal(err)
			}
			return append(g.sent(test.method), g.result(test.method, json.RawMessage(test.raw))...)
		}
		if faults := judge(test.declared); len(faults) != 0 {
			t.Errorf("%s %s to a client that declared it: %q", test.method, test.raw, faults)
		}
		if faults := judge(`{}`); len(faults) == 0 {
			t.Errorf("%s %s to a client that declared nothing: no fault", test.method, test.raw)
		}
	}
}

func TestTheJudgeFindsPlacesOutsideTheText(t *testing.T) {
	for _, test := range []struct {
		text, raw string
		good      bool
	}{
		{"a\r\n🚀b", `[{"range":{"start":{"line":1,"character":2},"end":{"line":1,"character":3}}}]`, true},
		{"a\r\n🚀b", `[{"range":{"start":{"line":1,"character":0},"end":{"line":1,"character":4}}}]`, false},
		{"a\r\n🚀b", `{"range":{"start":{"line":1,"character":1},"end":{"line":1,"character":2}}}`, false},
		{"a\r\n🚀b", `{"position":{"line":2,"character":0}}`, false},
		{"a", `{"arguments":[{"line":9,"character":9}],"data":{"line":9,"character":9}}`, true},
		{"a", `null`, true},
	} {
		if faults := places("m", test.text, json.RawMessage(test.raw)); (len(faults) == 0) != test.good {
			t.Errorf("%s in %q: %q, want good %v", test.raw, test.text, faults, test.good)
		}
	}
	for _, test := range []struct{ method, raw, uri, text string }{
		{"textDocument/didOpen", `{"textDocument":{"uri":"u","text":"t"}}`, "u", "t"},
		{"textDocument/didChange", `{"textDocument":{"uri":"u"},"contentChanges":[{"text":"x"},{"text":"y"}]}`, "u", "y"},
		{"textDocument/didSave", `{"textDocument":{"uri":"u"}}`, "", ""},
		{"textDocument/didOpen", `7`, "", ""},
	} {
		if uri, text, _ := textOf(test.method, json.RawMessage(test.raw)); uri != test.uri || text != test.text {
			t.Errorf("%s %s: %q %q", test.method, test.raw, uri, text)
		}
	}
}
