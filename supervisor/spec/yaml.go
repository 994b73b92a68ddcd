package spec

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of a devside.yaml. A real one has some hundred nodes at depth five;
// these keep what a hostile one costs below a tenth of a second.
const (
	// maxConfigBytes bounds the text. The lexer is linear: 256 KiB of its worst
	// input takes it 140 ms.
	maxConfigBytes = 256 << 10
	// maxNodes bounds the values, counted as if every alias were written out.
	maxNodes = 10_000
	// maxTokens bounds what the parser is given: a node has at most four tokens
	// (dash, key, colon, value or comma).
	maxTokens = 4 * maxNodes
	// maxDepth bounds nesting, before the parser sees it: the parser's time is
	// quadratic in it (200,000 brackets keep it busy for minutes). The deepest
	// key of devside.yaml is at 5.
	maxDepth = 32
)

// kind is what a YAML value is, in words a user reads.
type kind string

const (
	kindNull    kind = "nothing"
	kindText    kind = "text"
	kindInteger kind = "a number"
	kindFloat   kind = "a number with a fraction"
	kindBoolean kind = "true or false"
	kindMap     kind = "a map"
	kindList    kind = "a list"
)

// node is one value of the file. Aliases are already followed: two nodes may
// share children, but size counts them each time.
type node struct {
	kind   kind
	text   string // of a scalar, unquoted
	rng    Range  // zero for a value that is not written, as in `port:`
	fields []field
	items  []*node
	size   int // nodes below and including this one
}

// field is one `key: value` of a map.
type field struct {
	name string
	key  Range
	val  *node
}

func (n *node) scalar() bool {
	switch n.kind {
	case kindText, kindInteger, kindFloat, kindBoolean:
		return true
	}
	return false
}

// document is the tree of one text, and what is wrong with it as YAML.
type document struct {
	lines   []string
	wide    [][]rune // lines as code points, made when first asked for
	root    *node    // nil when there is none
	issues  []Issue
	anchors map[string]*node
	size    int // nodes so far, aliases written out
	full    bool
}

// plainText takes the byte order mark off: editors don't show it, so no
// position counts it.
func plainText(text string) string { return strings.TrimPrefix(text, "\ufeff") }

// newDocument reads a text without byte order mark. It never panics and is
// bounded in time and memory whatever the text.
func newDocument(text string) *document {
	// A line ends where an editor says so: at \n, \r\n and \r.
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	d := &document{lines: strings.Split(text, "\n"), anchors: map[string]*node{}}
	d.wide = make([][]rune, len(d.lines))
	if len(text) > maxConfigBytes {
		d.add(d.line(1), "the file has more than 256 KiB", "move what is not configuration out of it", nil)
		return d
	}
	if !d.readable() {
		return d
	}
	tokens := lexer.Tokenize(text)
	if !d.bounded(tokens) {
		return d
	}
	file := d.parse(tokens)
	if file == nil {
		return d
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if _, ok := doc.Body.(*ast.DirectiveNode); ok {
			continue
		}
		bodies = append(bodies, doc.Body)
	}
	if len(bodies) == 0 {
		return d
	}
	d.root = d.convert(bodies[0])
	if d.root.rng.IsZero() {
		d.root.rng = d.line(1)
	}
	if len(bodies) > 1 {
		second := d.convert(bodies[1]).rng
		if second.IsZero() {
			second = d.token(bodies[1].GetToken())
		}
		d.add(second, "a second YAML document begins here", "keep one document, without lines of ---", nil)
	}
	if d.full {
		d.root = nil
	}
	return d
}

func (d *document) add(r Range, message, hint string, rel *Related) {
	d.issues = append(d.issues, Issue{Code: codeInvalid, Severity: Error, File: FileName, Range: r, Message: message, Hint: hint, Related: rel})
}

// line is the range of a whole line, without the blanks around its text.
func (d *document) line(n int) Range { return lineRange(d.lines, n) }

func lineRange(lines []string, n int) Range {
	if n < 1 || n > len(lines) {
		return Range{Position{1, 1}, Position{1, 1}}
	}
	s := lines[n-1]
	indent := len(s) - len(strings.TrimLeft(s, " \t"))
	width := utf8.RuneCountInString(strings.TrimRight(s, " \t"))
	return Range{Position{n, indent + 1}, Position{n, max(indent, width) + 1}}
}

// readable refuses what is not text: the parser would show bytes of it in
// places where no editor has them.
func (d *document) readable() bool {
	for i, s := range d.lines {
		col := 0
		for off, c := range s {
			col++
			at := Range{Position{i + 1, col}, Position{i + 1, col + 1}}
			if c == utf8.RuneError {
				if _, width := utf8.DecodeRuneInString(s[off:]); width == 1 {
					d.add(at, "the file is not valid UTF-8 text", "save it as UTF-8", nil)
					return false
				}
			}
			if c < ' ' && c != '\t' || c == 0x7f {
				d.add(at, fmt.Sprintf("the file holds a control character (%U)", c), "remove it", nil)
				return false
			}
		}
	}
	return true
}

// bounded counts tokens and nesting before the parser recurses into them.
func (d *document) bounded(tokens token.Tokens) bool {
	var (
		flow, chain int   // open brackets; anchors, tags, dashes and question marks in a row
		columns     []int // of the open block collections
		count       int
	)
	for _, t := range tokens {
		if t.Type == token.CommentType {
			continue
		}
		count++
		chained := false
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow = max(0, flow-1)
		case token.AnchorType, token.TagType:
			chained = true
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType:
			col := t.Position.Column
			if t.Type == token.MappingValueType && t.Prev != nil && t.Prev.Position.Line == t.Position.Line {
				col = t.Prev.Position.Column
			}
			if flow == 0 {
				for len(columns) > 0 && columns[len(columns)-1] >= col {
					columns = columns[:len(columns)-1]
				}
				columns = append(columns, col)
			}
		}
		if chained {
			chain++
		} else if t.Type != token.StringType {
			chain = 0
		}
		switch {
		case count > maxTokens:
			d.add(d.token(t), fmt.Sprintf("the file has more than %d values", maxNodes), "split the project, or remove what is not needed", nil)
			return false
		case flow+len(columns)+chain > maxDepth:
			d.add(d.token(t), fmt.Sprintf("the file nests deeper than %d levels", maxDepth), "devside.yaml needs five", nil)
			return false
		}
	}
	return true
}

// parse runs the third-party parser. It is written for trusted input and has
// panicked on malformed texts before, so a panic is one more syntax error here.
func (d *document) parse(tokens token.Tokens) (file *ast.File) {
	defer func() {
		if recover() != nil {
			file = nil
			d.add(d.line(1), "the file is not valid YAML", "check brackets, quotes and indentation", nil)
		}
	}()
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err == nil {
		return file
	}
	file = nil
	var syntax *yaml.SyntaxError
	if !errors.As(err, &syntax) || syntax.Token == nil {
		d.add(d.line(1), "the file is not valid YAML", "check brackets, quotes and indentation", nil)
		return nil
	}
	r := d.token(syntax.Token)
	message, hint := explain(syntax.Message)
	d.add(r, message, hint, nil)
	return nil
}

// explanations turns the parser's messages into what a person should do. The
// first entry whose text occurs in the message is used.
var explanations = []struct{ has, message, hint string }{
	{"character '\t' that cannot start", "a tab is used for indentation", "indent with spaces"},
	{"double-quoted text", `a double quote (") is opened and not closed`, "close it"},
	{"single-quoted text", "a single quote (') is opened and not closed", "close it; an apostrophe inside single quotes is written twice"},
	{"unknown escape character", "a backslash in double quotes is followed by a character it can't escape", `write \\ for a backslash, or use single quotes`},
	{"is a reserved character", "a value can't begin with @ or a backquote", "put the value in quotes"},
	{"unexpected directive value", "a value can't begin with %", "put the value in quotes"},
	{"mapping value is not allowed", "a second `key: value` stands where one value is expected", "indent both keys alike, or put the value in quotes if it holds a colon"},
	{"mapping key-value is pre-defined", "this line does not continue the value above it", "indent it like the lines before, or write `key: value`"},
	{"map key-value is pre-defined", "this line does not continue the value above it", "indent it like the lines before, or write `key: value`"},
	{"value is not allowed in this context", "this line's indentation fits no line above it", "indent the keys of one map alike"},
	{"',' or ']' must be specified", "a list opened with [ is not closed, or a comma is missing", "add , or ]"},
	{"sequence end token ']'", "a list opened with [ is not closed", "add ]"},
	{"',' or '}' must be specified", "a map opened with { is not closed, or a comma is missing", "add , or }"},
	{"flow mapping end token '}'", "a map opened with { is not closed", "add }"},
	{"could not find '['", "] closes a list that was not opened", "remove it, or add ["},
	{"could not find '{'", "} closes a map that was not opened", "remove it, or add {"},
	{"block sequence entries are not allowed", "a list entry (-) can't stand on its key's line", "put each - on a line of its own, or write [a, b]"},
	{"unexpected key name", "this is not a `key: value` line", "add a colon and a space after the key"},
	{"non-map value", "this is not a `key: value` line", "add a colon and a space after the key"},
	{"implicit line break", "this is not a `key: value` line", "add a colon and a space after the key"},
	{"invalid key", "a key must be plain text", "put the key in quotes"},
	{"unexpected map key", "a key must be plain text", "put the key in quotes"},
	{"anchor", "an anchor (&) stands where none can", "remove it"},
	{"alias", "an alias (*) has no name", "put the value in quotes if it begins with *"},
	{"tag", "a tag (!) stands where none can", "put the value in quotes if it begins with !"},
}

func explain(parser string) (message, hint string) {
	for _, e := range explanations {
		if strings.Contains(parser, e.has) {
			return e.message, e.hint
		}
	}
	return "the file is not valid YAML here", "check brackets, quotes and indentation"
}

// token is the range of a token: what it spans on its first line.
func (d *document) token(t *token.Token) Range {
	if t == nil || t.Position == nil {
		return d.line(1)
	}
	return d.span(t, t.Value)
}

// span is the range of a scalar. The source is looked at instead of trusting
// the token's own text, which folds lines and drops quotes.
func (d *document) span(t *token.Token, value string) Range {
	start := d.find(d.clamp(Position{t.Position.Line, t.Position.Column}), t, value)
	rest := d.runes(start.Line)[start.Column-1:]
	end := start
	switch {
	case t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType:
		end = d.closing(start, len(value))
	case value != "" && begins(rest, value):
		end.Column += utf8.RuneCountInString(value)
	default: // a value over several lines, or a token that stands for none
		rest = rest[:min(len(rest), maxSpan)]
		end.Column += utf8.RuneCountInString(strings.TrimRight(string(rest), " \t"))
	}
	return Range{start, end}
}

// find corrects the parser's position of a value. It is off where a tab stands
// before the value, and by some columns behind escapes; the value is looked for
// on its line, nearest first.
func (d *document) find(at Position, t *token.Token, value string) Position {
	switch t.Type {
	case token.InvalidType, token.TagType: // hold more than stands there
		return at
	case token.SingleQuoteType:
		value = "'"
	case token.DoubleQuoteType:
		value = `"`
	}
	line := d.runes(at.Line)
	if value == "" || begins(line[at.Column-1:], value) {
		return at
	}
	for off := 1; off < maxSpan; off++ {
		for _, i := range []int{at.Column - 1 + off, at.Column - 1 - off} {
			if i >= 0 && i < len(line) && begins(line[i:], value) {
				return Position{at.Line, i + 1}
			}
		}
	}
	return at
}

// maxSpan bounds what is marked of a line when a value's end is not known:
// without a bound, one long line with many tokens costs quadratic time.
const maxSpan = 200

func begins(rest []rune, value string) bool {
	i := 0
	for _, c := range value {
		if i >= len(rest) || rest[i] != c {
			return false
		}
		i++
	}
	return true
}

// runes is line n (from 1) as code points.
func (d *document) runes(n int) []rune {
	if d.wide[n-1] == nil {
		d.wide[n-1] = []rune(d.lines[n-1])
	}
	return d.wide[n-1]
}

// closing finds the end of a quoted scalar that begins at start and whose
// value has so many bytes. Each of them takes at most ten characters to write
// (\U00000041); what lies beyond, blank space that folding took, is not marked.
func (d *document) closing(start Position, bytes int) Position {
	first := d.runes(start.Line)
	unknown := Position{start.Line, min(len(first), start.Column-1+maxSpan) + 1}
	i := start.Column - 1
	if i >= len(first) || first[i] != '"' && first[i] != '\'' {
		return unknown
	}
	line, n, quote := first, start.Line, first[i]
	for left := 10*bytes + maxSpan; left > 0; left-- {
		for i++; i >= len(line); i = 0 {
			if n++; n > len(d.lines) {
				return unknown
			}
			line = d.runes(n)
			if len(line) == 0 {
				left--
			}
		}
		switch {
		case quote == '"' && line[i] == '\\':
			i++
		case quote == '\'' && line[i] == quote && i+1 < len(line) && line[i+1] == quote:
			i++
		case line[i] == quote:
			return Position{n, i + 2}
		}
	}
	return unknown
}

// clamp keeps a position inside the text.
func (d *document) clamp(p Position) Position {
	p.Line = min(max(p.Line, 1), len(d.lines))
	p.Column = min(max(p.Column, 1), len(d.runes(p.Line))+1)
	return p
}

// convert turns the parser's tree into ours, following aliases. Depth is
// bounded by what bounded let through.
func (d *document) convert(n ast.Node) *node {
	out := &node{kind: kindNull, size: 1}
	if d.full || n == nil {
		return out
	}
	switch n := n.(type) {
	case *ast.NullNode:
		if tk := n.GetToken(); tk.Type == token.NullType { // written as ~ or null
			out.rng = d.token(tk)
		}
	case *ast.StringNode:
		*out = node{kind: kindText, text: n.Value, rng: d.span(n.Token, n.Token.Value), size: 1}
	case *ast.LiteralNode:
		*out = node{kind: kindText, text: n.Value.Value, rng: d.token(n.Start), size: 1}
	case *ast.IntegerNode:
		*out = node{kind: kindInteger, text: n.Token.Value, rng: d.token(n.Token), size: 1}
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		*out = node{kind: kindFloat, text: n.GetToken().Value, rng: d.token(n.GetToken()), size: 1}
	case *ast.BoolNode:
		*out = node{kind: kindBoolean, text: n.Token.Value, rng: d.token(n.Token), size: 1}
	case *ast.MappingNode:
		d.convertMap(out, n.Values, n.Start, n.End, n.IsFlowStyle)
	case *ast.MappingValueNode:
		d.convertMap(out, []*ast.MappingValueNode{n}, n.Start, nil, false)
	case *ast.SequenceNode:
		d.convertList(out, n)
	case *ast.AnchorNode:
		*out = *d.convert(n.Value)
		if !d.full && n.Name != nil {
			d.anchors[n.Name.GetToken().Value] = out
		}
		return out // counted already
	case *ast.AliasNode:
		d.follow(out, n)
	case *ast.TagNode:
		d.add(d.token(n.Start), fmt.Sprintf("tags such as %s are not supported", n.Start.Value), "remove the tag; put a value in quotes to make it text", nil)
		return d.convert(n.Value)
	default:
		out.rng = d.token(n.GetToken())
	}
	d.count(out)
	return out
}

// count adds a node that is now complete. Its children have been counted
// already, unless it is an alias.
func (d *document) count(n *node) {
	d.size++
	if d.size > maxNodes && !d.full {
		d.full = true
		d.add(n.rng, fmt.Sprintf("the file has more than %d values", maxNodes), "split the project, or remove what is not needed", nil)
	}
}

// follow replaces an alias by what its anchor holds. An anchor is known only
// once its value is complete, so that a value can't hold itself.
func (d *document) follow(out *node, n *ast.AliasNode) {
	at := d.token(n.Start)
	name := ""
	if n.Value != nil {
		name = n.Value.GetToken().Value
		if r := d.token(n.Value.GetToken()); r.Start.Line == at.Start.Line {
			at.End = r.End
		}
	}
	out.rng = at
	target, ok := d.anchors[name]
	if !ok {
		d.add(at, fmt.Sprintf("no anchor &%s stands before this", name), "define it above, or put the value in quotes if it begins with *", nil)
		return
	}
	*out = *target
	out.rng = at
	if d.size += out.size - 1; d.size > maxNodes {
		d.full = true
		d.add(at, fmt.Sprintf("with its aliases written out, the file has more than %d values", maxNodes), "use fewer aliases", nil)
	}
}

func (d *document) convertMap(out *node, values []*ast.MappingValueNode, start, end *token.Token, flow bool) {
	out.kind = kindMap
	seen := make(map[string]Range, len(values))
	var merged []*node
	for _, v := range values {
		if v == nil || v.Key == nil {
			continue
		}
		var keyNode ast.Node = v.Key
		if q, ok := keyNode.(*ast.MappingKeyNode); ok && q.Value != nil { // `? key`
			keyNode = q.Value
		}
		if a, ok := keyNode.(*ast.AnchorNode); ok && a.Value != nil {
			keyNode = a.Value
		}
		key := d.token(keyNode.GetToken())
		if s, ok := keyNode.(*ast.StringNode); ok {
			key = d.span(s.Token, s.Token.Value)
		}
		val := d.convert(v.Value)
		out.size += val.size
		if _, ok := keyNode.(*ast.MergeKeyNode); ok {
			merged = append(merged, d.mergeable(val, key)...)
			continue
		}
		name := keyNode.GetToken().Value
		if other, ok := seen[name]; ok {
			d.add(key, fmt.Sprintf("the key %q stands twice in one map", name), "remove one of the two",
				&Related{File: FileName, Range: other, Message: "the other one"})
			continue
		}
		seen[name] = key
		out.fields = append(out.fields, field{name: name, key: key, val: val})
	}
	for _, f := range out.fields {
		out.rng = cover(cover(out.rng, f.key), f.val.rng)
	}
	if flow {
		out.rng = cover(out.rng, d.token(start))
		if end != nil {
			out.rng = cover(out.rng, d.token(end))
		}
	}
	// Merge keys come last: what the map says itself wins, then the first merged.
	for _, m := range merged {
		for _, f := range m.fields {
			if _, ok := seen[f.name]; !ok {
				seen[f.name] = f.key
				out.fields = append(out.fields, f)
			}
		}
	}
}

// mergeable returns the maps that `<<:` names.
func (d *document) mergeable(val *node, key Range) []*node {
	switch val.kind {
	case kindMap:
		return []*node{val}
	case kindList:
		for _, item := range val.items {
			if item.kind != kindMap {
				d.add(item.rng, "<< can only merge maps", "write <<: [*a, *b] with anchors of maps", nil)
				return nil
			}
		}
		return val.items
	case kindNull: // an unknown alias, already reported
		return nil
	}
	d.add(key, "<< can only merge maps", "write <<: *name with the anchor of a map", nil)
	return nil
}

func (d *document) convertList(out *node, n *ast.SequenceNode) {
	out.kind = kindList
	for _, v := range n.Values {
		item := d.convert(v)
		out.size += item.size
		out.items = append(out.items, item)
		out.rng = cover(out.rng, item.rng)
	}
	out.rng = cover(out.rng, d.token(n.Start))
	if n.IsFlowStyle && n.End != nil {
		out.rng = cover(out.rng, d.token(n.End))
	}
}

// cover is the smallest range that holds both; a zero range is ignored.
func cover(a, b Range) Range {
	if a.IsZero() {
		return b
	}
	if b.IsZero() {
		return a
	}
	if before(b.Start, a.Start) {
		a.Start = b.Start
	}
	if before(a.End, b.End) {
		a.End = b.End
	}
	return a
}

func before(a, b Position) bool {
	return a.Line < b.Line || a.Line == b.Line && a.Column < b.Column
}
