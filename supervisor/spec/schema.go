package spec

import (
	"encoding/json"
	"strings"
)

// schemaDialect is what the editors' YAML and JSON extensions understand best.
const schemaDialect = "http://json-schema.org/draft-07/schema#"

// Schema is the JSON Schema of devside.yaml for other tools, made from Keys:
// what Load takes validates, and what is not the structure that Keys describes
// does not. What concerns several keys at once (names that mean something,
// ports that clash, limits that rise) only Load finds.
func Schema() []byte {
	top := mapSchema("", Key{Required: true})
	top["$schema"] = schemaDialect
	top["title"] = FileName
	top["description"] = "What devside starts for a project."
	raw, err := json.MarshalIndent(top, "", "  ")
	if err != nil {
		return []byte("{}\n") // maps, lists and texts always encode
	}
	return append(raw, '\n')
}

type schema = map[string]any

// keySchema describes the value of a key.
func keySchema(k Key) schema {
	var ways []any
	for _, f := range k.Forms {
		ways = append(ways, formSchema(k, f)...)
	}
	if empty(k) && !k.Required && !hasForm(k, FormNothing) {
		ways = append(ways, schema{"type": "null"}) // with all below it commented out
	}
	out := schema{}
	if len(ways) == 1 {
		out = ways[0].(schema)
	} else {
		out["anyOf"] = ways
	}
	out["description"] = strings.ToUpper(k.Doc[:1]) + k.Doc[1:] + "."
	if k.Default != "" {
		out["default"] = defaultOf(k)
	}
	return out
}

// defaultOf is a default as JSON has it: it is written as YAML would be.
func defaultOf(k Key) any {
	var v any
	if f := k.Forms[0]; f == FormInteger || f == FormBoolean {
		if json.Unmarshal([]byte(k.Default), &v) == nil {
			return v
		}
	}
	return k.Default
}

// formSchema describes one way to write a value. Quotes around a number or a
// boolean are a habit that Load takes, too.
func formSchema(k Key, f Form) []any {
	text := func(pattern string) schema { return schema{"type": "string", "pattern": pattern} }
	zero := schema{"enum": []any{0, "0"}}
	switch f {
	case FormText:
		if len(k.Values) > 0 {
			return []any{schema{"enum": k.Values}}
		}
		return []any{schema{"type": []string{"string", "number", "boolean"}}}
	case FormInteger:
		n := schema{"type": "integer"}
		if k.Least != 0 || k.Most != 0 {
			n["minimum"], n["maximum"] = k.Least, k.Most
		}
		return []any{n, text(`^(0|[1-9][0-9]*)$`)}
	case FormNumber:
		return []any{schema{"type": "number"}}
	case FormBoolean:
		return []any{schema{"type": "boolean"}, schema{"enum": []string{"true", "false"}}}
	case FormDuration:
		return []any{text(durationForm.String()), zero}
	case FormSize:
		return []any{text(sizeForm.String()), zero}
	case FormPercent:
		return []any{text(`^[0-9]+(\.[0-9]+)?%$`)}
	case FormNothing:
		return []any{schema{"type": "null"}}
	case FormList:
		return []any{schema{"type": "array", "items": entrySchema(k)}}
	}
	return []any{mapSchema(k.Path, k)}
}

// entrySchema describes an entry of a list: whatever the key could have alone.
func entrySchema(k Key) schema {
	var ways []any
	for _, f := range k.Forms {
		if f != FormList {
			ways = append(ways, formSchema(k, f)...)
		}
	}
	switch len(ways) {
	case 0:
		return schema{"type": []string{"string", "number", "boolean"}}
	case 1:
		return ways[0].(schema)
	}
	return schema{"anyOf": ways}
}

// mapSchema describes a map: with the keys that Keys has below a path, or with
// names of the user's choice.
func mapSchema(path string, k Key) schema {
	out := schema{"type": "object"}
	if any, ok := LookupKey(joinPath(path, "*")); ok {
		out["additionalProperties"] = keySchema(any)
		switch any.Path {
		case "servers.*", "dependencies.*":
			out["propertyNames"] = schema{"pattern": names.String()}
		case "servers.*.env.*":
			out["propertyNames"] = schema{"pattern": `^[A-Za-z_][A-Za-z0-9_]*$`}
		}
		if k.Required {
			out["minProperties"] = 1
		}
		return out
	}
	properties := schema{}
	var required []string
	for _, below := range KeysBelow(path) {
		properties[below.Name()] = keySchema(below)
		if below.Required {
			required = append(required, below.Name())
		}
	}
	out["properties"], out["additionalProperties"] = properties, false
	if required != nil {
		out["required"] = required
	}
	if k.Ways != nil {
		var one, some []any
		for _, way := range k.Ways {
			one = append(one, schema{"required": []string{way}})
		}
		if some = one; k.NoWay {
			one = append(one, schema{"not": schema{"anyOf": some}})
		}
		out["oneOf"] = one
	}
	return out
}
