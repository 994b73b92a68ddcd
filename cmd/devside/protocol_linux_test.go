package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestTheProtocolPagesSession sends the real binary what the page's examples of
// LSP send: the answer to initialize must be the page's, and no request is refused.
func TestTheProtocolPagesSession(t *testing.T) {
	dir, _ := demoProject(t)
	s := startSidecar(t, dir, homeDir(t), time.Minute)
	asked := 0
	var got json.RawMessage
	for _, m := range readProtocol(t).examples {
		var params map[string]any
		if m.Method == "initialize" || m.ID != nil && strings.HasPrefix(m.Method, "textDocument/") {
			raw := strings.ReplaceAll(string(m.Params), "/srv/shop", filepath.ToSlash(dir))
			if err := json.Unmarshal([]byte(raw), &params); err != nil {
				t.Fatal(err)
			}
			asked++
		}
		switch {
		case m.Method == "initialize":
			delete(params, "processId") // of nobody
			got = s.Initialize(params)
		case m.asked == "initialize":
			var have, want any
			for raw, to := range map[string]any{strings.ReplaceAll(string(got), "v0.0.0-test", "v1.0.0"): &have, string(m.Result): &want} {
				if err := json.Unmarshal([]byte(raw), to); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("the answer to initialize (-page +binary):\n%s", diff)
			}
		case params != nil:
			if r := s.Call(m.Method, params); r.Err != nil {
				t.Errorf("%s of the page is refused: %v", m.Method, r.Err)
			}
		}
	}
	if asked != 8 {
		t.Errorf("%d requests were sent", asked)
	}
	s.Shutdown()
	if code := s.exitCode(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
