package sidecar

import (
	"encoding/json"
	"slices"

	"go.lsp.dev/protocol"

	"github.com/devside/devside/editor"
)

// capabilities is what a client declared, as far as the session acts on it.
type capabilities struct {
	progress      bool // window/workDoneProgress/create may be asked of it
	related       bool // diagnostics may have relatedInformation
	described     bool // diagnostics may have a codeDescription
	configuration bool // it can be asked for its settings
	lenses        bool
	hints         bool
	hovers        bool
	actions       bool
	completes     bool
	symbols       bool
	links         bool
	refresh       refreshes
	takes         editor.Client
}

// clientCapabilities is LSP's type of that name, as far as it is read. A feature is a
// pointer: what is not there was not declared.
type clientCapabilities struct {
	Window struct {
		WorkDoneProgress bool `json:"workDoneProgress"`
	} `json:"window"`
	Workspace struct {
		Configuration bool `json:"configuration"`
		CodeLens      struct {
			RefreshSupport bool `json:"refreshSupport"`
		} `json:"codeLens"`
		InlayHint struct {
			RefreshSupport bool `json:"refreshSupport"`
		} `json:"inlayHint"`
		WorkspaceEdit struct {
			DocumentChanges    bool     `json:"documentChanges"`
			ResourceOperations []string `json:"resourceOperations"`
		} `json:"workspaceEdit"`
	} `json:"workspace"`
	TextDocument struct {
		PublishDiagnostics struct {
			RelatedInformation     bool `json:"relatedInformation"`
			CodeDescriptionSupport bool `json:"codeDescriptionSupport"`
		} `json:"publishDiagnostics"`
		Hover *struct {
			ContentFormat []string `json:"contentFormat"`
		} `json:"hover"`
		CodeLens   *struct{} `json:"codeLens"`
		InlayHint  *struct{} `json:"inlayHint"`
		Completion *struct {
			CompletionItem struct {
				DocumentationFormat []string `json:"documentationFormat"`
			} `json:"completionItem"`
		} `json:"completion"`
		DocumentSymbol *struct {
			HierarchicalDocumentSymbolSupport bool `json:"hierarchicalDocumentSymbolSupport"`
		} `json:"documentSymbol"`
		DocumentLink *struct {
			TooltipSupport bool `json:"tooltipSupport"`
		} `json:"documentLink"`
		CodeAction *struct {
			CodeActionLiteralSupport *struct{} `json:"codeActionLiteralSupport"`
			IsPreferredSupport       bool      `json:"isPreferredSupport"`
		} `json:"codeAction"`
	} `json:"textDocument"`
}

// readCapabilities takes every declaration by itself: one of a shape that is not
// known counts as one without options, and keeps no client out.
func readCapabilities(raw json.RawMessage) capabilities {
	var d clientCapabilities
	// What does not fit is left at zero, and the rest is decoded all the same.
	_ = json.Unmarshal(orEmpty(raw), &d)
	doc := d.TextDocument
	c := capabilities{
		progress:      d.Window.WorkDoneProgress,
		related:       doc.PublishDiagnostics.RelatedInformation,
		described:     doc.PublishDiagnostics.CodeDescriptionSupport,
		configuration: d.Workspace.Configuration,
		lenses:        doc.CodeLens != nil,
		hints:         doc.InlayHint != nil,
		hovers:        doc.Hover != nil,
		actions:       doc.CodeAction != nil,
		completes:     doc.Completion != nil,
		symbols:       doc.DocumentSymbol != nil,
		links:         doc.DocumentLink != nil,
	}
	c.refresh = refreshes{
		lenses: c.lenses && d.Workspace.CodeLens.RefreshSupport,
		hints:  c.hints && d.Workspace.InlayHint.RefreshSupport,
	}
	if c.hovers {
		c.takes.HoverMarkdown = slices.Contains(doc.Hover.ContentFormat, string(protocol.MarkupKindMarkdown))
	}
	if c.actions {
		c.takes.Actions = doc.CodeAction.CodeActionLiteralSupport != nil
		c.takes.Preferred = doc.CodeAction.IsPreferredSupport
	}
	if c.completes {
		c.takes.DocsMarkdown = slices.Contains(doc.Completion.CompletionItem.DocumentationFormat, string(protocol.MarkupKindMarkdown))
	}
	if c.symbols {
		c.takes.SymbolTree = doc.DocumentSymbol.HierarchicalDocumentSymbolSupport
	}
	if c.links {
		c.takes.LinkTooltips = doc.DocumentLink.TooltipSupport
	}
	c.takes.DocumentChanges = d.Workspace.WorkspaceEdit.DocumentChanges
	c.takes.CreateFiles = c.takes.DocumentChanges &&
		slices.Contains(d.Workspace.WorkspaceEdit.ResourceOperations, string(protocol.ResourceOperationKindCreate))
	return c
}

// provide advertises what the client can take.
func (c capabilities) provide(all *protocol.ServerCapabilities) {
	if c.lenses {
		all.CodeLensProvider = &protocol.CodeLensOptions{}
	}
	if c.hints {
		all.InlayHintProvider = protocol.Boolean(true)
	}
	if c.actions {
		all.CodeActionProvider = protocol.Boolean(true)
		if c.takes.Actions {
			all.CodeActionProvider = &protocol.CodeActionOptions{CodeActionKinds: []protocol.CodeActionKind{protocol.CodeActionKindQuickFix}}
		}
	}
	if c.completes {
		all.CompletionProvider = &protocol.CompletionOptions{TriggerCharacters: editor.CompletionTriggers}
	}
	if c.symbols {
		all.DocumentSymbolProvider = protocol.Boolean(true)
	}
	if c.links {
		all.DocumentLinkProvider = &protocol.DocumentLinkOptions{}
	}
	if c.hovers {
		all.HoverProvider = protocol.Boolean(true)
	}
}
