package fakeeditor

import (
	"encoding/json"
	"testing"
)

// TestTheJudgeFindsFaults feeds the judge what libraries are known to get
// wrong: a judge that accepts everything proves nothing.
func TestTheJudgeFindsFaults(t *testing.T) {
	m, err := LoadModel()
	if err != nil {
		t.Fatal(err)
	}
	place := `"range":{"start":{"line":0,"character":0},"end":{"line":0,"character":1}}`
	for _, test := range []struct {
		kind, method, raw string
		good              bool
	}{
		{"notification", "textDocument/publishDiagnostics", `{"uri":"file:///x","diagnostics":[]}`, true},
		{"notification", "textDocument/publishDiagnostics", `{"uri":"file:///x","diagnostics":[{` + place + `,"message":"m","severity":1,"code":"c","data":{"x":[1]}}]}`, true},
		{"notification", "textDocument/publishDiagnostics", `{"uri":"file:///x","diagnostics":null}`, false},
		{"notification", "textDocument/publishDiagnostics", `{"uri":"x","diagnostics":[]}`, false},
		{"notification", "textDocument/publishDiagnostics", `{"uri":"file:///x"}`, false},
		{"notification", "textDocument/publishDiagnostics", `{"uri":"file:///x","diagnostics":[],"extra":1}`, false},
		{"notification", "textDocument/publishDiagnostics", `{"uri":"file:///x","diagnostics":[{` + place + `,"message":"m","severity":9}]}`, false},
		{"notification", "textDocument/publishDiagnostics", `{"uri":"file:///x","diagnostics":[{` + place + `}]}`, false},
		{"notification", "textDocument/publishDiagnostics", `{"uri":"file:///x","diagnostics":[{"range":{"start":{"line":-1,"character":0},"end":{"line":0,"character":1.5}},"message":"m"}]}`, false},
		{"notification", "$/progress", `{"token":"t","value":{"kind":"begin"}}`, true},
		{"notification", "$/progress", `{"token":{},"value":null}`, false},
		{"notification", "window/logMessage", `{"type":3,"message":"m"}`, true},
		{"notification", "window/logMessage", `{"type":77,"message":"m"}`, false},
		{"notification", "textDocument/didOpen", `{}`, false},
		{"notification", "no/such", `{}`, false},
		{"notification", "devside/didHappen", `{"anything":1}`, true},
		{"notification", "textDocument/publishDiagnostics", `not JSON`, false},
		{"request", "window/workDoneProgress/create", `{"token":1}`, true},
		{"request", "window/workDoneProgress/create", `{}`, false},
		{"request", "textDocument/hover", `{}`, false},
		{"request", "devside/status", `{}`, false},
		{"request", "workspace/codeLens/refresh", ``, true},
		{"result", "initialize", `{"capabilities":{"textDocumentSync":1,"executeCommandProvider":{"commands":[]}}}`, true},
		{"result", "initialize", `{"capabilities":{"textDocumentSync":{"change":7}}}`, false},
		{"result", "initialize", `{"capabilities":{"executeCommandProvider":{"commands":null}}}`, false},
		{"result", "initialize", `{"capabilities":{"experimental":{"devside":1}},"serverInfo":{"name":"x"}}`, true},
		{"result", "shutdown", `null`, true},
		{"result", "shutdown", `{}`, false},
		{"result", "workspace/executeCommand", `{"servers":[]}`, true},
		{"result", "devside/status", `7`, true},
		{"result", "textDocument/documentColor", `[{` + place + `,"color":{"red":0.5,"green":0,"blue":0,"alpha":1}}]`, true},
		{"result", "textDocument/documentColor", `[{` + place + `,"color":{"red":"x","green":0,"blue":0,"alpha":1}}]`, false},
		{"result", "textDocument/rename", `{"changes":{"file:///x":[{` + place + `,"newText":"y"}]}}`, true},
		{"result", "textDocument/rename", `{"changes":{"file:///x":[{` + place + `}]}}`, false},
		{"result", "textDocument/rename", `{"changes":[]}`, false},
		{"result", "textDocument/signatureHelp", `{"signatures":[{"label":"f","parameters":[{"label":[0,1]}]}]}`, true},
		{"result", "textDocument/signatureHelp", `{"signatures":[{"label":"f","parameters":[{"label":[0]}]}]}`, false},
	} {
		judge := map[string]func(string, json.RawMessage) []string{"request": m.Request, "notification": m.Notification, "result": m.Result}[test.kind]
		if faults := judge(test.method, json.RawMessage(test.raw)); (len(faults) == 0) != test.good {
			t.Errorf("%s %s %s: faults %q, want good %v", test.kind, test.method, test.raw, faults, test.good)
		}
	}
}
