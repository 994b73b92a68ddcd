package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/sidecar/fakeeditor"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

// protocolPage is PROTOCOL.md, read.
type protocolPage struct {
	text     string
	tables   map[string][][]string // by the first cell of the header: the rows, without code marks
	examples []exampleMessage
}

// exampleMessage is one message of an example.
type exampleMessage struct {
	ours    bool   // from devside
	section string // heading above it
	raw     string
	ID      json.RawMessage `json:"id"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
	Result  json.RawMessage `json:"result"`
	Error   *struct {
		Code    int64           `json:"code"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	} `json:"error"`
	asked string // method of the request that this is the answer to
	asks  json.RawMessage
}

func readProtocol(t *testing.T) protocolPage {
	t.Helper()
	b, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	p := protocolPage{text: string(b), tables: map[string][][]string{}}
	section, table, inExample := "", "", false
	var pending []string // messages of the example, as written
	for _, line := range strings.Split(p.text, "\n") {
		switch {
		case line == "```jsonrpc":
			inExample = true
		case inExample && line == "```":
			p.examples = append(p.examples, readExample(t, section, pending)...)
			inExample, pending = false, nil
		case inExample && strings.HasPrefix(line, " ") && len(pending) > 0:
			pending[len(pending)-1] += strings.TrimSpace(line)
		case inExample:
			pending = append(pending, line)
		case strings.HasPrefix(line, "#"):
			section = strings.TrimSpace(strings.TrimLeft(line, "#"))
		case !strings.HasPrefix(line, "|"):
			table = ""
		default:
			cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "|"), "|"), "|")
			for i := range cells {
				cells[i] = strings.ReplaceAll(strings.TrimSpace(cells[i]), "`", "")
			}
			switch {
			case table == "":
				if table = cells[0]; table == "method" {
					table = "method of " + section
				}
				if p.tables[table] != nil {
					t.Fatalf("there are two tables of %s", table)
				}
				p.tables[table] = [][]string{}
			case !strings.HasPrefix(cells[0], "---"):
				p.tables[table] = append(p.tables[table], cells)
			}
		}
	}
	return p
}

func readExample(t *testing.T, section string, lines []string) []exampleMessage {
	t.Helper()
	var all []exampleMessage
	requests := map[string]exampleMessage{}
	for _, line := range lines {
		arrow, raw, _ := strings.Cut(line, " ")
		m := exampleMessage{ours: arrow == "<-", section: section, raw: raw}
		if arrow != "<-" && arrow != "->" {
			t.Fatalf("%s: a message begins with -> or <-: %s", section, line)
		}
		strictly := json.NewDecoder(strings.NewReader(raw))
		strictly.DisallowUnknownFields()
		var whole struct {
			Version string `json:"jsonrpc"`
			*exampleMessage
		}
		whole.exampleMessage = &m
		if err := strictly.Decode(&whole); err != nil || whole.Version != "2.0" {
			t.Fatalf("%s: %v in %s", section, err, raw)
		}
		switch {
		case m.Method != "" && m.ID != nil:
			requests[string(m.ID)] = m
		case m.Method == "":
			asked, ok := requests[string(m.ID)]
			if !ok || asked.ours == m.ours {
				t.Errorf("%s: nothing was asked that this answers: %s", section, raw)
			}
			m.asked, m.asks = asked.Method, asked.Params
			delete(requests, string(m.ID))
		}
		all = append(all, m)
	}
	for _, m := range requests {
		t.Errorf("%s: this is not answered: %s", section, m.raw)
	}
	return all
}

// exact decodes strictly, and wants what the value encodes to: so that nothing is
// missing that is always there.
func exact(raw json.RawMessage, into reflect.Type) error {
	v := reflect.New(into)
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v.Interface()); err != nil {
		return err
	}
	back, err := json.Marshal(v.Interface())
	if err != nil {
		return err
	}
	var got, want any
	if err := json.Unmarshal(raw, &got); err != nil {
		return err
	}
	if err := json.Unmarshal(back, &want); err != nil {
		return err
	}
	if diff := cmp.Diff(got, want); diff != "" {
		return fmt.Errorf("an example (-) is not what is sent (+):\n%s", diff)
	}
	return nil
}

// pageTypes are the types that the page has a table of: everything that is sent
// under a method, and all that it is made of.
func pageTypes() map[string]reflect.Type {
	found := map[string]reflect.Type{}
	var add func(t reflect.Type)
	add = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice:
			add(t.Elem())
		case reflect.Struct:
			if t == reflect.TypeFor[time.Time]() || found[t.Name()] == t {
				return
			}
			if t.NumField() > 0 {
				found[t.Name()] = t
			}
			for i := range t.NumField() {
				if f := t.Field(i); f.Anonymous {
					for j := range f.Type.NumField() {
						add(f.Type.Field(j).Type)
					}
				} else {
					add(f.Type)
				}
			}
		}
	}
	for _, v := range wire.Verbs {
		add(reflect.TypeOf(v.Params))
		add(reflect.TypeOf(v.Result))
	}
	for _, v := range []any{wire.DidLogParams{}, wire.DidHappenParams{}, wire.HelloParams{}, wire.HelloResult{}, wire.LeaveResult{}, wire.ErrorData{}} {
		add(reflect.TypeOf(v))
	}
	return found
}

// pageType is how the page writes a type.
func pageType(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Time]():
		return "time"
	case reflect.TypeFor[json.RawMessage]():
		return "token"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return pageType(t.Elem())
	case reflect.Slice:
		return pageType(t.Elem()) + "[]"
	case reflect.Struct:
		return t.Name()
	case reflect.Bool:
		return "boolean"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.String:
		return t.Name() // an enumeration's, or "string"
	}
	return "integer"
}

// members are the rows of a type's table: name and type.
func members(t reflect.Type) []string {
	var rows []string
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			rows = append(rows, members(f.Type)...)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if options != "" { // omitempty, omitzero
			name += "?"
		}
		rows = append(rows, name+" "+pageType(f.Type))
	}
	return rows
}

func TestTheProtocolPageHasEveryMember(t *testing.T) {
	page := readProtocol(t)
	for name, typ := range pageTypes() {
		rows, ok := page.tables[name]
		if !ok {
			t.Errorf("there is no table of %s", name)
			continue
		}
		var have []string
		for _, cells := range rows {
			if len(cells) != 3 || cells[2] == "" {
				t.Errorf("%s: a row has a name, a type and what it means: %q", name, cells)
			}
			have = append(have, cells[0]+" "+cells[1])
		}
		if diff := cmp.Diff(members(typ), have); diff != "" {
			t.Errorf("%s (-code +page):\n%s", name, diff)
		}
	}
}

// methodType is a type as the page's tables of methods write it.
func methodType(t reflect.Type) string {
	if t.Kind() == reflect.Slice {
		return t.Elem().Name() + "[]"
	}
	return t.Name()
}

func TestTheProtocolPageHasEveryMethod(t *testing.T) {
	page, all := readProtocol(t), sources(t)
	var want [][]string
	for _, v := range wire.Verbs {
		want = append(want, []string{wire.MethodPrefix + v.Name, methodType(reflect.TypeOf(v.Params)), methodType(reflect.TypeOf(v.Result)), v.Doc})
	}
	if diff := cmp.Diff(want, page.tables["method of Requests"]); diff != "" {
		t.Errorf("requests (-code +page):\n%s", diff)
	}
	// Every method that wire names by a constant has a section, or is one of those
	// between devside's own processes.
	private := map[string]bool{}
	for _, cells := range page.tables["method of Between devside's own processes"] {
		private[cells[0]] = true
	}
	for name, method := range constants(t, all, "rpc/wire", "") {
		if s, err := strconv.Unquote(method); err == nil && strings.HasPrefix(s, wire.MethodPrefix) && s != wire.MethodPrefix &&
			!private[s] && !strings.Contains(page.text, "\n### "+s+"\n") {
			t.Errorf("the page has no %s (wire.%s)", s, name)
		}
	}
	for _, v := range wire.Verbs {
		if !strings.Contains(page.text, "\n### "+wire.MethodPrefix+v.Name+"\n") {
			t.Errorf("there is no section %s", wire.MethodPrefix+v.Name)
		}
	}
	if want := fmt.Sprintf("The protocol's number is %d:", wire.Protocol); !strings.Contains(page.text, want) {
		t.Errorf("the page does not say %q", want)
	}
}

// constants are the constants of a package, of the named type or of none: what
// stands in the source, by name.
func constants(t *testing.T, all []source, pkg, typ string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, s := range all {
		if s.pkg != pkg || s.test {
			continue
		}
		for _, d := range s.file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, spec := range g.Specs {
				v, ok := spec.(*ast.ValueSpec)
				if !ok || len(v.Values) != 1 {
					continue
				}
				if id, ok := v.Type.(*ast.Ident); (typ == "") != (v.Type == nil) || ok && id.Name != typ {
					continue
				}
				found[v.Names[0].Name] = literal(v.Values[0])
			}
		}
	}
	if len(found) == 0 {
		t.Fatalf("%s has no constants of the type %q", pkg, typ)
	}
	return found
}

// literal is a literal as it is written, with its sign; empty: it is something else.
func literal(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Value
	case *ast.UnaryExpr:
		return e.Op.String() + literal(e.X)
	}
	return ""
}

func TestTheProtocolPageHasEveryValue(t *testing.T) {
	page, all := readProtocol(t), sources(t)
	for _, c := range []struct{ pkg, typ string }{
		{"supervisor/status", "State"}, {"supervisor/status", "Reason"}, {"supervisor/status", "TrustState"}, {"supervisor/status", "Severity"},
		{"supervisor/status", "Kind"}, {"supervisor/status", "Act"}, {"supervisor/status", "Code"}, {"rpc/wire", "Role"},
	} {
		var want, have []string
		for _, v := range constants(t, all, c.pkg, c.typ) {
			text, err := strconv.Unquote(v)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, text)
		}
		for _, cells := range page.tables[c.typ] {
			if len(cells) != 2 || cells[1] == "" {
				t.Errorf("%s: a row has a value and what it means: %q", c.typ, cells)
			}
			have = append(have, cells[0])
		}
		slices.Sort(want)
		slices.Sort(have)
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s (-code +page):\n%s", c.typ, diff)
		}
	}
	for _, e := range status.Catalogue {
		if !strings.Contains(page.text, fmt.Sprintf("| `%s` | %s |", e.Code, e.Title)) {
			t.Errorf("the page does not say that %s means: %s", e.Code, e.Title)
		}
	}
}

// errorsInTheSource are the pairs of a code and data.code that devside answers
// with, as "number name": every wire.ErrorData beside a wire.Code….
func errorsInTheSource(t *testing.T, all []source, numbers map[string]string) map[string]bool {
	t.Helper()
	problems := constants(t, all, "supervisor/status", "Code")
	found := map[string]bool{}
	for _, s := range all {
		if s.test || !strings.HasPrefix(s.pkg, "rpc") && s.pkg != "cmd/devside" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) < 2 {
				return true
			}
			code, ok := call.Args[0].(*ast.SelectorExpr)
			if !ok || numbers[code.Sel.Name] == "" {
				return true
			}
			data, ok := call.Args[1].(*ast.CompositeLit)
			if !ok {
				return true // without data, or with a variable: there is none of those, see below
			}
			for _, e := range data.Elts {
				kv, ok := e.(*ast.KeyValueExpr)
				if !ok || kv.Key.(*ast.Ident).Name != "Code" {
					continue
				}
				value := literal(kv.Value)
				if conversion, ok := kv.Value.(*ast.CallExpr); ok && len(conversion.Args) == 1 { // string(status.ConfigInvalid)
					if sel, ok := conversion.Args[0].(*ast.SelectorExpr); ok {
						value = problems[sel.Sel.Name]
					}
				}
				name, err := strconv.Unquote(value)
				if err != nil {
					t.Errorf("%s: the data.code of a %s is no literal", s.path, code.Sel.Name)
				}
				found[numbers[code.Sel.Name]+" "+name] = true
			}
			return true
		})
	}
	return found
}

func TestTheProtocolPageHasEveryError(t *testing.T) {
	page, all := readProtocol(t), sources(t)
	numbers := map[string]string{}
	for name, value := range constants(t, all, "rpc/wire", "") {
		if strings.HasPrefix(name, "Code") {
			numbers[name] = value
		}
	}
	want := errorsInTheSource(t, all, numbers)
	have, codes, names := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, cells := range page.tables["code"] {
		if len(cells) != 3 || cells[2] == "" {
			t.Fatalf("a row has a code, data.code and what it means: %q", cells)
		}
		codes[cells[0]], names[cells[1]] = true, true
		if cells[1] != "" {
			have[cells[0]+" "+cells[1]] = true
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(have))); diff != "" {
		t.Errorf("errors (-code +page):\n%s", diff)
	}
	for name, n := range numbers {
		if !codes[n] {
			t.Errorf("the page has no %s (wire.%s)", n, name)
		}
		delete(codes, n)
	}
	for n := range codes {
		t.Errorf("the page has the error %s, which wire has not", n)
	}
	for _, line := range regexp.MustCompile("(?m)^Errors:.*$").FindAllString(page.text, -1) {
		for _, m := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(line, -1) {
			if !names[m[1]] {
				t.Errorf("%q names %s, which the table has not", line, m[1])
			}
		}
	}
}

// TestTheProtocolPagesExamplesAreRight: what a client sends is decoded as the
// sidecar does, what devside sends must be what the type encodes to, or, where it
// is LSP's, pass the judge of that. What clients send of LSP is sent to the real
// binary by TestTheProtocolPagesSession.
func TestTheProtocolPagesExamplesAreRight(t *testing.T) {
	model, err := fakeeditor.LoadModel()
	if err != nil {
		t.Fatal(err)
	}
	verbs := map[string]wire.Verb{}
	for _, v := range wire.Verbs {
		verbs[wire.MethodPrefix+v.Name] = v
		verbs[wire.CommandPrefix+v.Name] = v
	}
	notifications := map[string]any{wire.DidChangeStatus: status.Project{}, wire.DidLog: wire.DidLogParams{}, wire.DidHappen: wire.DidHappenParams{}}
	page, shown, answered := readProtocol(t), map[string]bool{}, map[string]bool{}
	for _, m := range page.examples {
		fault := func(format string, args ...any) {
			t.Helper()
			t.Errorf("%s: %s\nin %s", m.section, fmt.Sprintf(format, args...), m.raw)
		}
		name := m.Method
		if name == "" {
			name = m.asked
		} else {
			shown[name] = true
		}
		verb, isVerb := verbs[name]
		if name == "workspace/executeCommand" {
			var p struct {
				Command   string
				Arguments []json.RawMessage
			}
			params := m.Params
			if m.Method == "" {
				params = m.asks
			}
			if err := json.Unmarshal(params, &p); err != nil || len(p.Arguments) != 1 {
				fault("%v, %d arguments", err, len(p.Arguments))
				continue
			}
			if verb, isVerb = verbs[p.Command]; !isVerb {
				fault("unknown command %s", p.Command)
				continue
			}
			if m.Method != "" {
				shown[name] = true
				m.Params = p.Arguments[0]
			}
		}
		switch {
		case m.Error != nil:
			var data wire.ErrorData
			if err := exact(m.Error.Data, reflect.TypeOf(data)); err != nil {
				fault("%v", err)
			}
			if err := json.Unmarshal(m.Error.Data, &data); err != nil || !slices.ContainsFunc(page.tables["code"], func(cells []string) bool {
				return cells[0] == fmt.Sprint(m.Error.Code) && cells[1] == data.Code
			}) {
				fault("the error %d %s is not in the table", m.Error.Code, data.Code)
			}
		case m.Method == "" && isVerb:
			answered[name] = true
			if err := exact(m.Result, reflect.TypeOf(verb.Result)); err != nil {
				fault("%v", err)
			}
		case isVerb:
			if err := rpc.Decode(m.Params, reflect.New(reflect.TypeOf(verb.Params)).Interface()); err != nil {
				fault("%v", err)
			}
			if m.ours || m.ID == nil {
				fault("a request is the client's")
			}
		case notifications[name] != nil:
			if err := exact(m.Params, reflect.TypeOf(notifications[name])); err != nil {
				fault("%v", err)
			}
			if !m.ours || m.ID != nil {
				fault("a notification is devside's")
			}
		case m.Method == "":
			answered[name] = true
			for _, f := range model.Result(name, m.Result) {
				fault("%s", f)
			}
		case m.ours:
			for _, f := range model.Notification(name, m.Params) {
				fault("%s", f)
			}
		}
	}
	frame := regexp.MustCompile(`(?m)Content-Length: (\d+)\\r\\n\n +\\r\\n\n +(\{.*\})$`).FindStringSubmatch(page.text)
	if frame == nil || frame[1] != strconv.Itoa(len(frame[2])) {
		t.Errorf("the frame that is shown has not the length of its body: %q", frame)
	}
	for _, v := range wire.Verbs {
		if name := wire.MethodPrefix + v.Name; !shown[name] || !answered[name] {
			t.Errorf("there is no example of %s with a result", name)
		}
	}
	for name := range notifications {
		if !shown[name] {
			t.Errorf("there is no example of %s", name)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^### ((?:textDocument|workspace)/\w+)$`).FindAllStringSubmatch(page.text, -1) {
		if !shown[m[1]] {
			t.Errorf("there is no example of %s", m[1])
		}
	}
}
