package spec

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemaJudge validates texts by the published schema, with a validator that has
// nothing in common with Load.
func schemaJudge(t *testing.T) func(text string) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("devside.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("devside.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return func(text string) error {
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			return err
		}
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			return err
		}
		return s.Validate(instance)
	}
}

// structural is what Load says of a structure that no key has.
var structural = regexp.MustCompile(`error (unknown key|.* must be (a map|a list|a duration|a size|a whole number|true or false|text)|the key servers is missing|the server .* has no command|.* has no value|the duration .* has no unit|.* is not a duration|.* is not a size|the size .* has no unit)`)

// TestTheSchemaAgreesWithLoad: what Load takes validates, and what it refuses for
// its structure does not.
func TestTheSchemaAgreesWithLoad(t *testing.T) {
	validate := schemaJudge(t)
	files, err := filepath.Glob("testdata/config/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	corpus := map[string]string{}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range a.Files {
			if f.Name == FileName {
				corpus[filepath.Base(file)] = string(f.Data)
			}
		}
	}
	example, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	corpus["example"] = string(example)
	valid, refused := 0, 0
	for name, text := range corpus {
		l := Parse(text, "proj", nil, nil)
		err := validate(text)
		if l.Valid() {
			valid++
			if err != nil {
				t.Errorf("%s: Load takes it, the schema does not: %v", name, err)
			}
		} else if slices.ContainsFunc(problems(l), structural.MatchString) {
			refused++
			if err == nil {
				t.Errorf("%s: the schema takes it, Load does not: %q", name, problems(l))
			}
		}
	}
	if valid < 15 || refused < 20 {
		t.Errorf("the corpus has %d valid texts and %d of a wrong structure", valid, refused)
	}
}

// TestTheSchemaOfEachKey makes a text for each key and each way to write it:
// the schema and Load must both take it; and with a value of a wrong form, both
// must refuse it.
func TestTheSchemaOfEachKey(t *testing.T) {
	validate := schemaJudge(t)
	// What a key takes is more than its form: these fit the other keys of the text.
	fitting := map[string]string{
		"servers.*.ready.tcp": "5432", "servers.*.live.tcp": "5432", "servers.*.depends_on": "up", "servers.*.restart.max_per_hour": "20",
		"servers.*.memory.warn": "512MB", "servers.*.memory.restart": "1.8GB", "servers.*.watch.settle": "1s", "cleanup.patterns": "next dev",
		"version": "1", "http": "9000",
	}
	good := map[Form]string{FormBoolean: "true", FormDuration: "20s", FormSize: "3GB", FormPercent: "5%", FormNothing: "", FormNumber: "1.5"}
	for _, k := range Keys {
		if k.Path == "servers" || k.Path == "dependencies" || strings.HasSuffix(k.Path, "*") {
			continue
		}
		for _, f := range k.Forms {
			value, known := good[f]
			switch {
			case f == FormList || f == FormMap:
				continue
			case f == FormInteger:
				value = "200"
			case f == FormText && len(k.Values) > 0:
				value = k.Values[0]
			case f == FormText && len(k.Examples) > 0:
				value = k.Examples[0]
			case f == FormText:
				value = "x"
			case !known:
				t.Fatalf("%s: no example of a %s", k.Path, f)
			}
			if fits, ok := fitting[k.Path]; ok && f != FormNothing {
				value = fits
			}
			if text := withKey(k.Path, value); validate(text) != nil || !Parse(text, "p", nil, nil).Valid() {
				t.Errorf("%s as %s:\n%s\nschema: %v\nLoad: %q", k.Path, f, text, validate(text), problems(Parse(text, "p", nil, nil)))
			}
		}
		if !hasForm(k, FormMap) {
			if text := withKey(k.Path, "{a: {b: c}}"); validate(text) == nil || Parse(text, "p", nil, nil).Valid() {
				t.Errorf("a map for %s is taken, by the schema: %v", k.Path, validate(text) == nil)
			}
		}
		if k.Most != 0 && k.Forms[0] == FormInteger {
			for n, want := range map[int]bool{k.Least - 1: false, k.Least: true, k.Most: true, k.Most + 1: false} {
				text := withKey(k.Path, json.Number(itoa(n)).String())
				if ok := validate(text) == nil; ok != want || Parse(text, "p", nil, nil).Valid() != want && !strings.Contains(k.Path, "restart.max") {
					t.Errorf("%s: %d: the schema says %v, Load %q, want %v", k.Path, n, ok, problems(Parse(text, "p", nil, nil)), want)
				}
			}
		}
	}
	for _, text := range []string{
		"version: 1\nservers: {}", "servers: []", "servers: {a: x}", "servers: {a: {}}", "servers: {'a b': {command: x}}", "version: 2\nservers: {a: {command: x}}", "[]", "x",
		"servers: {a: {command: x, ready: {http: /, tcp: 1}, port: 1}}", "servers: {a: {command: x, live: {every: 5s}}}", "servers: {a: {command: x, ready: banana}}",
		"servers: {a: {command: x}}\ndependencies: {d: {every: 5s}}", "servers: {a: {command: x}}\ndependencies: {d: {tcp: 1, redis: 'redis://x'}}",
		"servers: {a: {command: x, env: {'A-B': 1}}}", "servers: {a: {command: x, port: {on_conflict: ask}}}", "servers: {a: {command: x, stop: {signal: TERM}}}",
	} {
		if validate(text) == nil || Parse(text, "p", nil, nil).Valid() {
			t.Errorf("%s is taken, by the schema: %v", text, validate(text) == nil)
		}
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

// withKey is a configuration that has a key with a value, and what that needs.
func withKey(path, value string) string {
	parts := strings.Split(strings.TrimSuffix(path, ".*"), ".")
	var b strings.Builder
	if parts[0] != "servers" {
		b.WriteString("servers: {s: {command: x}, up: {command: y}}\n")
	}
	for depth, p := range parts {
		if p == "*" {
			p = map[string]string{"servers": "s", "dependencies": "d"}[parts[0]]
		}
		b.WriteString(strings.Repeat("  ", depth) + p + ":")
		indent := "\n" + strings.Repeat("  ", depth+1)
		switch at := strings.Join(parts[:depth+1], "."); {
		case depth == len(parts)-1:
			b.WriteString(" " + value + "\n")
			return b.String()
		case at == "servers.*":
			b.Reset()
			b.WriteString("servers:\n  up: {command: y}\n  s:")
			for _, need := range [][2]string{{"command", "x"}, {"port", "7"}} {
				if parts[2] != need[0] {
					b.WriteString(indent + need[0] + ": " + need[1])
				}
			}
		case at == "servers.*.ready" || at == "servers.*.live":
			if k, _ := LookupKey(at); !slices.Contains(k.Ways, parts[3]) {
				b.WriteString(indent + "http: /")
			}
		case at == "dependencies.*" && parts[2] == "every":
			b.WriteString(indent + "tcp: 1")
		case at == "servers.*.port" && parts[3] != "number":
			b.WriteString(indent + "number: 7")
		}
		b.WriteString("\n")
	}
	return b.String()
}
