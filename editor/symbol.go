package editor

import (
	"slices"

	"go.lsp.dev/protocol"

	"github.com/devside/devside/supervisor/spec"
)

// Symbols is the outline of devside.yaml: servers with their keys, then
// dependencies. A client that takes no tree gets the names alone.
func Symbols(v View, file string) any {
	b := newBuilder(v.Input)
	tree := []protocol.DocumentSymbol{}
	src := b.source(file)
	if src != nil && file == spec.FileName {
		for _, s := range b.serversIn(file) {
			detail := s.Text
			parent := b.symbol(src, s.Origin.Key, s.Name, detail, protocol.SymbolKindModule)
			for _, k := range spec.KeysBelow("servers.*") {
				path := s.Origin.Key + "." + k.Name()
				if _, written := src.Keys[path]; written {
					parent.Children = append(parent.Children, b.symbol(src, path, k.Name(), b.oneLine(src, path), protocol.SymbolKindProperty))
				}
			}
			slices.SortStableFunc(parent.Children, func(x, y protocol.DocumentSymbol) int {
				return comparePlaces(x.SelectionRange.Start, y.SelectionRange.Start)
			})
			parent.Range = covering(parent)
			tree = append(tree, parent)
		}
		for _, d := range b.in.Loaded.Project.Dependencies {
			path := "dependencies." + d.Name
			if _, written := src.Keys[path]; written {
				tree = append(tree, b.symbol(src, path, d.Name, d.Kind, protocol.SymbolKindInterface))
			}
		}
	}
	if v.Client.SymbolTree {
		return tree
	}
	flat := []protocol.SymbolInformation{}
	for _, s := range tree {
		flat = append(flat, protocol.SymbolInformation{
			BaseSymbolInformation: protocol.BaseSymbolInformation{Name: s.Name, Kind: s.Kind},
			Location:              protocol.Location{URI: b.uriOf(file), Range: s.Range},
		})
	}
	return flat
}

func (b *builder) symbol(src *spec.Source, path, name, detail string, kind protocol.SymbolKind) protocol.DocumentSymbol {
	text := b.text(src.Path)
	s := protocol.DocumentSymbol{Name: name, Kind: kind, SelectionRange: text.Exact(src.Keys[path])}
	s.Range = s.SelectionRange
	if r, ok := src.Values[path]; ok {
		// A value that is an alias's stands elsewhere, above.
		if end := text.Exact(r).End; before(s.Range.End, end) {
			s.Range.End = end
		}
	}
	if detail != "" {
		s.Detail = &detail
	}
	return s
}

// covering is the range of a symbol with all its children in it.
func covering(s protocol.DocumentSymbol) protocol.Range {
	r := s.Range
	for _, c := range s.Children {
		if before(r.End, c.Range.End) {
			r.End = c.Range.End
		}
	}
	return r
}

func comparePlaces(x, y protocol.Position) int {
	switch {
	case before(x, y):
		return -1
	case before(y, x):
		return 1
	}
	return 0
}

// oneLine is a value of one line, as it is written; empty where it is longer
// than an outline has room for.
func (b *builder) oneLine(src *spec.Source, path string) string {
	r, ok := src.Values[path]
	if !ok || r.Start.Line != r.End.Line {
		return ""
	}
	text := b.text(src.Path)
	const most = 80
	if line := []rune(text.slice(text.Exact(r))); len(line) <= most {
		return string(line)
	}
	return ""
}
