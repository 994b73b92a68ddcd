package fakeeditor

import (
	"encoding/json"
	"slices"
	"strings"
)

// gates is what the client has declared, as the JSON that it was. A path leads
// through objects; what is not there is false.
type gates struct{ declared any }

// has reports whether a member is there and is not false.
func (g gates) has(path string) bool {
	v := g.at(path)
	return v != nil && v != false
}

// lists reports whether a member is a list that has a text.
func (g gates) lists(path, text string) bool {
	list, _ := g.at(path).([]any)
	return slices.Contains(list, any(text))
}

func (g gates) at(path string) any { return member(g.declared, path) }

// member follows a path through objects.
func member(v any, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[name]
	}
	return v
}

// providers are the server's capabilities that answer to one of the client's:
// advertised only where that was declared.
var providers = map[string]string{
	"codeLensProvider":       "textDocument.codeLens",
	"inlayHintProvider":      "textDocument.inlayHint",
	"hoverProvider":          "textDocument.hover",
	"completionProvider":     "textDocument.completion",
	"codeActionProvider":     "textDocument.codeAction",
	"documentSymbolProvider": "textDocument.documentSymbol",
	"documentLinkProvider":   "textDocument.documentLink",
}

// requestGates are the server's requests that need a declaration.
var requestGates = map[string]string{
	"window/workDoneProgress/create": "window.workDoneProgress",
	"window/showDocument":            "window.showDocument.support",
	"window/showMessageRequest":      "window.showMessage.messageActionItem",
	"workspace/codeLens/refresh":     "workspace.codeLens.refreshSupport",
	"workspace/inlayHint/refresh":    "workspace.inlayHint.refreshSupport",
	"workspace/applyEdit":            "workspace.applyEdit",
	"workspace/configuration":        "workspace.configuration",
	"workspace/workspaceFolders":     "workspace.workspaceFolders",
}

// sent judges a request of the server.
func (g gates) sent(method string) []string {
	if need, gated := requestGates[method]; gated && !g.has(need) {
		return []string{method + " to a client that did not declare " + need}
	}
	return nil
}

// result judges an answer: that nothing in it goes beyond what was declared.
func (g gates) result(method string, raw json.RawMessage) []string {
	var v any
	if json.Unmarshal(orNull(raw), &v) != nil || v == nil {
		return nil // the model has said what is wrong
	}
	var faults []string
	need := func(what string, there bool, path string) {
		if there && !g.has(path) {
			faults = append(faults, method+": "+what+" for a client that did not declare "+path)
		}
	}
	switch method {
	case "initialize":
		for provider, path := range providers {
			need(provider, member(v, "capabilities."+provider) != nil, path)
		}
		_, options := member(v, "capabilities.codeActionProvider").(map[string]any)
		need("options of codeActionProvider", options, "textDocument.codeAction.codeActionLiteralSupport")
	case "textDocument/hover":
		if member(v, "contents.kind") == "markdown" && !g.lists("textDocument.hover.contentFormat", "markdown") {
			faults = append(faults, "hover in Markdown for a client that did not declare it")
		}
	case "textDocument/codeAction":
		for _, action := range list(v) {
			_, literal := member(action, "kind").(string)
			need("more than a command", literal, "textDocument.codeAction.codeActionLiteralSupport")
			need("isPreferred", member(action, "isPreferred") != nil, "textDocument.codeAction.isPreferredSupport")
			need("documentChanges", member(action, "edit.documentChanges") != nil, "workspace.workspaceEdit.documentChanges")
			for _, change := range list(member(action, "edit.documentChanges")) {
				if kind, ok := member(change, "kind").(string); ok && !g.lists("workspace.workspaceEdit.resourceOperations", kind) {
					faults = append(faults, method+": "+kind+" of a file for a client that did not declare it")
				}
			}
		}
	case "textDocument/documentSymbol":
		for _, symbol := range list(v) {
			need("a tree", member(symbol, "selectionRange") != nil, "textDocument.documentSymbol.hierarchicalDocumentSymbolSupport")
		}
	case "textDocument/documentLink":
		for _, link := range list(v) {
			need("a tooltip", member(link, "tooltip") != nil, "textDocument.documentLink.tooltipSupport")
		}
	case "textDocument/completion":
		for _, item := range list(member(v, "items")) {
			need("a snippet", member(item, "insertTextFormat") == 2.0, "textDocument.completion.completionItem.snippetSupport")
			if member(item, "documentation.kind") == "markdown" && !g.lists("textDocument.completion.completionItem.documentationFormat", "markdown") {
				faults = append(faults, "documentation in Markdown for a client that did not declare it")
			}
		}
	}
	return faults
}

func list(v any) []any {
	all, _ := v.([]any)
	return all
}
