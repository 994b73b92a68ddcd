//go:build linux

package project

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/status"
)

func logLines(t *testing.T, f *fixture, q logs.Query) []string {
	t.Helper()
	l, err := f.Log("api")
	if err != nil {
		t.Fatal(err)
	}
	lines, err := l.Lines(q)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, line := range lines {
		if line.Stream != logs.Devside {
			out = append(out, line.Text)
		}
	}
	return out
}

// TestSECURITY003ValuesOfEnvFilesAreShownNowhere: not in the log, nor in a
// problem's lines, nor in any file of devside's.
func TestSECURITY003ValuesOfEnvFilesAreShownNowhere(t *testing.T) {
	const secret = "s3cr3t-t0ken"
	f := newFixture(t, config(server("api", 0, []string{"tell"}, "env_file: [.env]", "ready: none", "restart: {on: never}")))
	f.write(".env", "API_TOKEN="+secret+"\nMODE=development\n")
	f.open()
	f.Vouch(1)
	f.Start(t.Context(), nil, f.asks()) //nolint:errcheck // it ends by itself
	st := f.await("the crash", func(st *status.Project) bool { return len(st.Problems) > 0 && st.Problems[0].Code == status.Crashed })
	const want = "Error: the token is [redacted] they say"
	if got := logLines(t, f, logs.Query{}); !slices.Equal(got, []string{want}) {
		t.Errorf("the log has %q", got)
	}
	text, err := json.Marshal(st)
	if err != nil || strings.Contains(string(text), secret) || !strings.Contains(string(text), want) {
		t.Errorf("the status is %s, %v", text, err)
	}
	f.close()
	err = filepath.WalkDir(f.home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), secret) {
			t.Errorf("%s has %q", path, text)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(filepath.Join(f.paths.ServerLogs(), "api.log")); err != nil || !strings.Contains(string(text), want+"\n") {
		t.Errorf("the log file has %q, %v", text, err)
	}
}

// TestRunsGoOnInTheNextHub: the run before the last may be an earlier hub's.
func TestRunsGoOnInTheNextHub(t *testing.T) {
	f := newFixture(t, config(server("api", 0, []string{"exit", "0"}, "ready: none", "restart: {on: never}")))
	const line = "Error: something is wrong"
	for hub := range 3 {
		f.open()
		f.Vouch(1)
		f.Start(t.Context(), nil, f.asks()) //nolint:errcheck // it ends by itself
		f.await("its end", func(st *status.Project) bool {
			return st.Servers[0].State == status.Stopped && st.Servers[0].Run == hub+1
		})
		if got := logLines(t, f, logs.Query{}); len(got) != hub+1 {
			t.Errorf("hub %d has %q", hub, got)
		}
		if hub > 0 {
			if got := logLines(t, f, logs.Query{Run: -1}); !slices.Equal(got, []string{line}) {
				t.Errorf("hub %d has of the run before %q", hub, got)
			}
		}
		f.close()
	}
	if got, err := logs.ReadFiles(f.paths.ServerLogs(), "api", logs.Query{Run: 2}); err != nil || len(got) < 2 {
		t.Errorf("without a hub: %+v, %v", got, err)
	}
}
