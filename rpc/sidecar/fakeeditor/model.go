package fakeeditor

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Model is LSP's metaModel.json: the specification as data. It judges messages
// independently of the library that made them.
type Model struct {
	requests, notifications map[string]message
	structures              map[string]structure
	enumerations            map[string]enumeration
	aliases                 map[string]typ
}

type message struct {
	Method    string `json:"method"`
	Direction string `json:"messageDirection"` // clientToServer, serverToClient, both
	Params    *typ   `json:"params"`
	Result    *typ   `json:"result"`
}

type structure struct {
	Name       string     `json:"name"`
	Extends    []typ      `json:"extends"`
	Mixins     []typ      `json:"mixins"`
	Properties []property `json:"properties"`
}

type property struct {
	Name     string `json:"name"`
	Optional bool   `json:"optional"`
	Type     typ    `json:"type"`
}

type enumeration struct {
	Name   string `json:"name"`
	Type   typ    `json:"type"`
	Values []struct {
		Value any `json:"value"`
	} `json:"values"`
	Custom bool `json:"supportsCustomValues"`
}

// typ is one type of the model. Value is a type for arrays and maps, a literal
// for literals.
type typ struct {
	Kind    string          `json:"kind"`
	Name    string          `json:"name"`
	Items   []typ           `json:"items"`
	Element *typ            `json:"element"`
	Value   json.RawMessage `json:"value"`
}

// moduleOfModel carries the model among the sources of its generator.
const moduleOfModel = "go.lsp.dev/protocol"

// ModelVariable names a metaModel.json for tests that run where there is no Go:
// compiled ones, as another user.
const ModelVariable = "DEVSIDE_TEST_METAMODEL"

// ModelPath finds the model in the module cache. The tests' working directory
// is inside the module, so the version is the one of go.mod.
func ModelPath() (string, error) {
	if path := os.Getenv(ModelVariable); path != "" {
		return path, nil
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", moduleOfModel).Output()
	if err != nil {
		return "", fmt.Errorf("find module %s: %w", moduleOfModel, err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "internal", "genlsp", "testdata", "metaModel.json"), nil
}

// LoadModel reads the model.
var LoadModel = sync.OnceValues(func() (*Model, error) {
	path, err := ModelPath()
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read metaModel.json: %w", err)
	}
	var file struct {
		Requests      []message     `json:"requests"`
		Notifications []message     `json:"notifications"`
		Structures    []structure   `json:"structures"`
		Enumerations  []enumeration `json:"enumerations"`
		Aliases       []struct {
			Name string `json:"name"`
			Type typ    `json:"type"`
		} `json:"typeAliases"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, fmt.Errorf("read metaModel.json: %w", err)
	}
	m := &Model{requests: map[string]message{}, notifications: map[string]message{},
		structures: map[string]structure{}, enumerations: map[string]enumeration{}, aliases: map[string]typ{}}
	for _, r := range file.Requests {
		m.requests[r.Method] = r
	}
	for _, n := range file.Notifications {
		m.notifications[n.Method] = n
	}
	for _, s := range file.Structures {
		m.structures[s.Name] = s
	}
	for _, e := range file.Enumerations {
		m.enumerations[e.Name] = e
	}
	for _, a := range file.Aliases {
		m.aliases[a.Name] = a.Type
	}
	return m, nil
})

// ours are the methods that LSP does not know.
const ours = "devside/"

// Request judges a request that a server sent.
func (m *Model) Request(method string, params json.RawMessage) []string {
	return m.sent("request", m.requests, method, params)
}

// Notification judges a notification that a server sent.
func (m *Model) Notification(method string, params json.RawMessage) []string {
	return m.sent("notification", m.notifications, method, params)
}

func (m *Model) sent(what string, known map[string]message, method string, params json.RawMessage) []string {
	spec, ok := known[method]
	switch {
	case !ok && what == "notification" && strings.HasPrefix(method, ours):
		return nil
	case !ok:
		return []string{fmt.Sprintf("%s %s: LSP has none", what, method)}
	case spec.Direction == "clientToServer":
		return []string{fmt.Sprintf("%s %s: only clients send it", what, method)}
	case spec.Params == nil:
		return nil
	}
	return m.judge(method, *spec.Params, params)
}

// Result judges the result of a request that a client made.
func (m *Model) Result(method string, result json.RawMessage) []string {
	spec, ok := m.requests[method]
	if !ok || spec.Result == nil {
		return nil
	}
	return m.judge(method+" result", *spec.Result, result)
}

func (m *Model) judge(at string, t typ, raw json.RawMessage) []string {
	var v any
	if err := json.Unmarshal(orNull(raw), &v); err != nil {
		return []string{fmt.Sprintf("%s: %v", at, err)}
	}
	return m.check(at, t, v)
}

func orNull(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}

// check returns what is wrong with v as a t.
func (m *Model) check(at string, t typ, v any) []string {
	wrong := func() []string { return []string{fmt.Sprintf("%s: %s %s expected, got %.80v", at, t.Kind, t.Name, v)} }
	switch t.Kind {
	case "base":
		if !isBase(t.Name, v) {
			return wrong()
		}
	case "reference":
		return m.reference(at, t.Name, v)
	case "array":
		list, ok := v.([]any)
		if !ok {
			return wrong()
		}
		var faults []string
		for i, e := range list {
			faults = append(faults, m.check(fmt.Sprintf("%s[%d]", at, i), *t.Element, e)...)
		}
		return faults
	case "map":
		object, ok := v.(map[string]any)
		if !ok {
			return wrong()
		}
		var value typ
		if err := json.Unmarshal(t.Value, &value); err != nil {
			return []string{fmt.Sprintf("%s: metaModel: %v", at, err)}
		}
		var faults []string
		for key, e := range object {
			faults = append(faults, m.check(at+"."+key, value, e)...)
		}
		return faults
	case "or":
		var first []string
		for _, item := range t.Items {
			faults := m.check(at, item, v)
			if len(faults) == 0 {
				return nil
			}
			if first == nil || len(faults) < len(first) {
				first = faults
			}
		}
		return first
	case "and":
		// Each part would call the others' members unknown.
		return nil
	case "tuple":
		list, ok := v.([]any)
		if !ok || len(list) != len(t.Items) {
			return wrong()
		}
		var faults []string
		for i, e := range list {
			faults = append(faults, m.check(fmt.Sprintf("%s[%d]", at, i), t.Items[i], e)...)
		}
		return faults
	case "literal":
		var s structure
		if err := json.Unmarshal(t.Value, &s); err != nil {
			return []string{fmt.Sprintf("%s: metaModel: %v", at, err)}
		}
		return m.object(at, s.Properties, v)
	case "stringLiteral", "integerLiteral", "booleanLiteral":
		var want any
		if err := json.Unmarshal(t.Value, &want); err != nil || want != v {
			return []string{fmt.Sprintf("%s: %s expected, got %.80v", at, t.Value, v)}
		}
	default:
		return []string{fmt.Sprintf("%s: metaModel has a kind %q", at, t.Kind)}
	}
	return nil
}

func (m *Model) reference(at, name string, v any) []string {
	switch name {
	case "LSPAny":
		return nil
	case "LSPObject", "LSPArray":
		if _, isObject := v.(map[string]any); isObject == (name == "LSPObject") {
			return nil
		}
		return []string{fmt.Sprintf("%s: %s expected, got %.80v", at, name, v)}
	}
	if alias, ok := m.aliases[name]; ok {
		return m.check(at, alias, v)
	}
	if e, ok := m.enumerations[name]; ok {
		if faults := m.check(at, e.Type, v); len(faults) > 0 || e.Custom {
			return faults
		}
		for _, allowed := range e.Values {
			if allowed.Value == v {
				return nil
			}
		}
		return []string{fmt.Sprintf("%s: %v is no %s", at, v, name)}
	}
	s, ok := m.structures[name]
	if !ok {
		return []string{fmt.Sprintf("%s: metaModel has no %s", at, name)}
	}
	return m.object(at, m.properties(s), v)
}

// properties are a structure's own and inherited ones; its own come first and
// win, as in LSP.
func (m *Model) properties(s structure) []property {
	all := slices.Clone(s.Properties)
	for _, parents := range [][]typ{s.Extends, s.Mixins} {
		for _, parent := range parents {
			for _, p := range m.properties(m.structures[parent.Name]) {
				if !slices.ContainsFunc(all, func(own property) bool { return own.Name == p.Name }) {
					all = append(all, p)
				}
			}
		}
	}
	return all
}

func (m *Model) object(at string, properties []property, v any) []string {
	object, ok := v.(map[string]any)
	if !ok {
		return []string{fmt.Sprintf("%s: object expected, got %.80v", at, v)}
	}
	var faults []string
	known := map[string]bool{}
	for _, p := range properties {
		known[p.Name] = true
		value, there := object[p.Name]
		switch {
		case there:
			faults = append(faults, m.check(at+"."+p.Name, p.Type, value)...)
		case !p.Optional:
			faults = append(faults, fmt.Sprintf("%s.%s: missing", at, p.Name))
		}
	}
	for name := range object {
		if !known[name] {
			faults = append(faults, fmt.Sprintf("%s.%s: LSP has no such member", at, name))
		}
	}
	return faults
}

func isBase(name string, v any) bool {
	n, isNumber := v.(float64)
	whole := isNumber && n == math.Trunc(n)
	s, isString := v.(string)
	switch name {
	case "string", "RegExp":
		return isString
	case "URI", "DocumentUri":
		return isString && strings.Contains(s, ":")
	case "integer":
		return whole && math.Abs(n) < 1<<31
	case "uinteger":
		return whole && n >= 0 && n < 1<<31
	case "decimal":
		return isNumber
	case "boolean":
		_, ok := v.(bool)
		return ok
	case "null":
		return v == nil
	}
	return false
}
