package fakeeditor

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
)

// textOf is the text that a message of the client carries, and of which file.
func textOf(method string, params json.RawMessage) (uri, text string, ok bool) {
	var p struct {
		TextDocument struct {
			URI  string
			Text string
		}
		ContentChanges []struct {
			Range json.RawMessage
			Text  string
		}
	}
	if json.Unmarshal(params, &p) != nil {
		return "", "", false
	}
	n := len(p.ContentChanges)
	switch {
	case method == "textDocument/didOpen":
		return p.TextDocument.URI, p.TextDocument.Text, true
	case method == "textDocument/didChange" && n > 0 && p.ContentChanges[n-1].Range == nil:
		return p.TextDocument.URI, p.ContentChanges[n-1].Text, true
	}
	return "", "", false
}

// aboutFile is the file that a request of the client is about.
func aboutFile(params json.RawMessage) string {
	var p struct{ TextDocument struct{ URI string } }
	if json.Unmarshal(orNull(params), &p) != nil {
		return ""
	}
	return p.TextDocument.URI
}

// places judges every position in an answer about a text: that it lies inside,
// in UTF-16 units, and not within the pair of units of one character.
func places(method, text string, raw json.RawMessage) []string {
	var v any
	if json.Unmarshal(orNull(raw), &v) != nil {
		return nil // the model has said what is wrong
	}
	lines := linesOf(text)
	var faults []string
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case []any:
			for i, e := range v {
				walk(fmt.Sprintf("%s[%d]", at, i), e)
			}
		case map[string]any:
			line, isLine := v["line"].(float64)
			character, isCharacter := v["character"].(float64)
			if isLine && isCharacter {
				if why := outside(lines, int(line), int(character)); why != "" {
					faults = append(faults, fmt.Sprintf("%s%s: %v:%v is %s", method, at, line, character, why))
				}
				return
			}
			for name, e := range v {
				// Diagnostics of files that are not read may end behind their line.
				if !slices.Contains([]string{"arguments", "data", "diagnostics"}, name) {
					walk(at+"."+name, e)
				}
			}
		}
	}
	walk("", v)
	return faults
}

func linesOf(text string) []string {
	return strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n")
}

func outside(lines []string, line, character int) string {
	if line >= len(lines) {
		return "below the file"
	}
	units := utf16.Encode([]rune(lines[line]))
	switch {
	case character > len(units):
		return "behind its line"
	case character > 0 && character < len(units) && utf16.IsSurrogate(rune(units[character])) && utf16.IsSurrogate(rune(units[character-1])) && units[character] >= 0xDC00:
		return "inside a character"
	}
	return ""
}
