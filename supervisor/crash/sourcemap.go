package crash

import (
	"encoding/base64"
	"encoding/json"
	"path"
	"strings"
)

// maxMap bounds a source map, and a built file that may have one inside.
const maxMap = 16 << 20

// sourceMap is what is used of a source map, version 3. Maps of sections are
// not read: bundlers that write them map their stacks themselves.
//
// It is read here because a frame needs one lookup: the libraries for it decode
// a whole map into memory, whatever its size.
type sourceMap struct {
	Version    int      `json:"version"`
	SourceRoot string   `json:"sourceRoot"`
	Sources    []string `json:"sources"`
	Mappings   string   `json:"mappings"`
	// dir is the folder that sources are relative to, below the root.
	dir string
}

// mapURL is the address in a built file's last lines that says where its map
// is; empty if none does. One in the middle belongs to a file that was bundled.
func mapURL(text string) string {
	const mark = "//# sourceMappingURL="
	i := strings.LastIndex(text, mark)
	if i < 0 {
		return ""
	}
	url, rest, _ := strings.Cut(text[i+len(mark):], "\n")
	if strings.TrimSpace(rest) != "" {
		return ""
	}
	return strings.TrimSpace(url)
}

// inlineMap decodes a map that is a data URL; false if it is none.
func inlineMap(url string) ([]byte, bool) {
	rest, ok := strings.CutPrefix(url, "data:application/json;")
	if !ok {
		return nil, false
	}
	_, data, ok := strings.Cut(rest, "base64,")
	if !ok {
		return nil, false
	}
	text, err := base64.StdEncoding.DecodeString(data)
	return text, err == nil
}

// parseMap reads a map that stands in the folder dir. nil if it is none.
func parseMap(data []byte, dir string) *sourceMap {
	if len(data) > maxMap {
		return nil
	}
	var m sourceMap
	if json.Unmarshal(data, &m) != nil || m.Version != 3 || m.Mappings == "" {
		return nil
	}
	m.dir = dir
	return &m
}

// lookup finds where a place of the built file came from: the last segment at
// or before the column. line and column count from 1; column 0 takes the first
// segment of the line. false where nothing of the sources is at that place.
func (m *sourceMap) lookup(line, column int) (Frame, bool) {
	text := m.Mappings
	source, sourceLine, sourceColumn := 0, 0, 0
	found := -1
	var at Frame
	for n := 1; n <= line; n++ {
		row, rest, more := strings.Cut(text, ";")
		generated := 0
		for row != "" {
			var segment string
			segment, row, _ = strings.Cut(row, ",")
			var fields [5]int
			count, ok := vlq(segment, &fields)
			if !ok {
				return Frame{}, false
			}
			generated += fields[0]
			if count >= 4 {
				source += fields[1]
				sourceLine += fields[2]
				sourceColumn += fields[3]
			}
			if n != line || column > 0 && generated > column-1 || column == 0 && found >= 0 {
				continue
			}
			found = -1
			if count >= 4 {
				found, at = source, Frame{Line: sourceLine + 1, Column: sourceColumn + 1}
			}
		}
		if !more {
			break
		}
		text = rest
	}
	if found < 0 || found >= len(m.Sources) || at.Line < 1 || at.Column < 1 {
		return Frame{}, false
	}
	at.File = m.Sources[found]
	if m.SourceRoot != "" {
		at.File = strings.TrimSuffix(m.SourceRoot, "/") + "/" + at.File
	}
	if !strings.HasPrefix(at.File, "/") && !strings.Contains(at.File, ":") {
		at.File = path.Join(m.dir, at.File)
	}
	return at, true
}

const base64Digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// vlq decodes the numbers of one segment; false if they are none.
func vlq(segment string, fields *[5]int) (count int, ok bool) {
	value, shift := 0, 0
	for i := range len(segment) {
		digit := strings.IndexByte(base64Digits, segment[i])
		if digit < 0 || shift > 30 || count == len(fields) {
			return 0, false
		}
		value |= (digit & 31) << shift
		shift += 5
		if digit&32 != 0 {
			continue
		}
		if value&1 != 0 {
			fields[count] = -(value >> 1)
		} else {
			fields[count] = value >> 1
		}
		count++
		value, shift = 0, 0
	}
	return count, shift == 0 && count > 0
}
