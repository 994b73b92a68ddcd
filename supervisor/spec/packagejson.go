package spec

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	packageJSON = "package.json"
	// maxPackageBytes bounds a package.json; the longest on npm have some 200 KiB.
	maxPackageBytes = 1 << 20
)

// manifest is what devside reads of a package.json.
type manifest struct {
	path    string // of the file
	text    string
	name    string
	manager string // of packageManager: "pnpm@9.1.0"
	scripts []script
	depends map[string]bool
	// workspaces are globs of folders with packages of their own; with ! in
	// front they take some out.
	workspaces []string
}

// script is one entry of scripts, with its place.
type script struct {
	name, text string
	key, value Range
}

func (m *manifest) script(name string) (script, bool) {
	var found script
	ok := false
	for _, s := range m.scripts { // the last of two wins, as npm has it
		if s.name == name {
			found, ok = s, true
		}
	}
	return found, ok
}

// readManifest reads the package.json of a directory. A file that is not there
// is no error and no manifest. With a syntax error, what stands before it is
// returned beside the issue.
func readManifest(fsys fs.FS, dir string) (*manifest, *Issue) {
	m := &manifest{path: path.Join(dir, packageJSON), depends: map[string]bool{}}
	text, err := readRegular(fsys, m.path, maxPackageBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	warning := Issue{Code: codeInvalid, Severity: Warning, File: m.path, Range: lineRange([]string{""}, 1)}
	if err != nil {
		warning.Message, warning.Hint = "the file can't be read: "+cause(err), "check its permissions"
		return nil, &warning
	}
	m.text = plainText(text)
	if r, message := m.parse(); message != "" {
		warning.Range, warning.Message, warning.Hint = r, message, "correct it: npm can't read it either"
		return m, &warning
	}
	return m, nil
}

// parse walks the tokens of the file, which keep their offsets.
func (m *manifest) parse() (at Range, problem string) {
	places := newPlaces(m.text)
	d := json.NewDecoder(strings.NewReader(m.text))
	type level struct {
		object bool
		key    string // of the entry that is being read
		keyAt  Range
		inKey  bool // the next token is a key
	}
	var stack []level
	// maxLevels is far below the decoder's own bound, and far above any real file.
	const maxLevels = 64
	for {
		start := skipJSON(m.text, int(d.InputOffset()))
		tok, err := d.Token()
		if errors.Is(err, io.EOF) && len(stack) == 0 {
			return Range{}, ""
		}
		if err != nil || len(stack) >= maxLevels {
			var se *json.SyntaxError
			if errors.As(err, &se) {
				start = max(0, int(se.Offset)-1)
			}
			start = min(start, len(m.text))
			return Range{places.at(start), places.at(lineEnd(m.text, start))}, "the file is not valid JSON"
		}
		r := Range{places.at(start), places.at(int(d.InputOffset()))}
		var top *level
		if len(stack) > 0 {
			top = &stack[len(stack)-1]
		}
		if delim, ok := tok.(json.Delim); ok {
			switch delim {
			case '{', '[':
				stack = append(stack, level{object: delim == '{', inKey: true})
				continue
			}
			stack = stack[:len(stack)-1]
			if len(stack) > 0 {
				stack[len(stack)-1].inKey = true
			}
			continue
		}
		text, isText := tok.(string)
		if top == nil || !top.object {
			inPackages := len(stack) == 2 || len(stack) == 3 && stack[1].object && stack[1].key == "packages"
			if top != nil && isText && stack[0].object && stack[0].key == "workspaces" && inPackages && len(m.workspaces) < mostGlobs {
				m.workspaces = append(m.workspaces, text)
			}
			continue
		}
		if top.inKey {
			top.key, top.keyAt, top.inKey = text, r, false
			continue
		}
		top.inKey = true
		switch {
		case len(stack) == 1 && top.key == "name" && isText:
			m.name = text
		case len(stack) == 1 && top.key == "packageManager" && isText:
			m.manager = text
		case len(stack) == 2 && stack[0].key == "scripts" && isText:
			m.scripts = append(m.scripts, script{top.key, text, top.keyAt, r})
		case len(stack) == 2 && (stack[0].key == "dependencies" || stack[0].key == "devDependencies"):
			m.depends[top.key] = true
		}
	}
}

// skipJSON is the offset of the next token: after blanks, commas and colons.
func skipJSON(text string, off int) int {
	for off < len(text) && strings.IndexByte(" \t\r\n,:", text[off]) >= 0 {
		off++
	}
	return off
}

// lineEnd is the offset of the end of the line.
func lineEnd(text string, off int) int {
	if n := strings.IndexAny(text[off:], "\r\n"); n >= 0 {
		return off + n
	}
	return len(text)
}

// places turns byte offsets, asked for in rising order, into positions.
type places struct {
	text string
	off  int
	pos  Position
}

func newPlaces(text string) *places { return &places{text: text, pos: Position{1, 1}} }

func (p *places) at(off int) Position {
	if off < p.off {
		p.off, p.pos = 0, Position{1, 1}
	}
	for p.off < off && p.off < len(p.text) {
		c, n := utf8.DecodeRuneInString(p.text[p.off:])
		crlf := c == '\r' && p.off+1 < len(p.text) && p.text[p.off+1] == '\n'
		if c == '\n' || c == '\r' && !crlf {
			p.pos = Position{p.pos.Line + 1, 1}
		} else {
			p.pos.Column++
		}
		p.off += n
	}
	return p.pos
}

// managers is the lockfile by which a package manager is known, in the order
// in which they are looked for.
var managers = []struct{ lockfile, name string }{
	{"pnpm-lock.yaml", "pnpm"},
	{"yarn.lock", "yarn"},
	{"bun.lock", "bun"},
	{"bun.lockb", "bun"},
	{"package-lock.json", "npm"},
	{"npm-shrinkwrap.json", "npm"},
}

// managerOf tells the package manager of a directory: by its manifest, by a
// lockfile beside it, or by those of the root; npm if nothing says.
func managerOf(fsys fs.FS, dir string, m, root *manifest) string {
	for _, at := range []struct {
		dir string
		m   *manifest
	}{{dir, m}, {".", root}} {
		if at.m != nil {
			name, _, _ := strings.Cut(at.m.manager, "@")
			switch name {
			case "npm", "pnpm", "yarn", "bun":
				return name
			}
		}
		for _, k := range managers {
			if info, err := fs.Stat(fsys, path.Join(at.dir, k.lockfile)); err == nil && info.Mode().IsRegular() {
				return k.name
			}
		}
	}
	return "npm"
}

// portFlag is a port written into a script.
var portFlag = regexp.MustCompile(`(?:^|[\s;&|'"(])(?:(?:--port|-p|-P)(?:=|\s+)|-p|PORT=)["']?(\d{1,5})(?:["']?(?:$|[\s;&|'")]))`)

// portOf reads the port that a script's text asks for; 0 if it asks for none.
func portOf(text string) int {
	for _, m := range portFlag.FindAllStringSubmatch(text, -1) {
		if validPort(m[1], 1) {
			n := 0
			for _, c := range m[1] {
				n = 10*n + int(c-'0')
			}
			return n
		}
	}
	return 0
}
