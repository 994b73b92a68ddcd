package main

import (
	"encoding/json"
	"os"
	"testing"
)

// TestTheSchemaInTheTreeIsCurrent: it is what `devside schema` prints.
func TestTheSchemaInTheTreeIsCurrent(t *testing.T) {
	term := newTerminal(t, "")
	term.run(exitOK, "schema")
	want, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if got := term.out.String(); got != string(want) {
		t.Errorf("%s is not what the command prints: run `make schema`", schemaFile)
	}
	var v map[string]any
	if err := json.Unmarshal(want, &v); err != nil || v["$schema"] == nil {
		t.Errorf("%s: %v, %v", schemaFile, v["$schema"], err)
	}
}
