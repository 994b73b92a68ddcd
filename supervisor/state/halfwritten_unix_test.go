//go:build unix

package state

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/renameio/v2"
)

// TestWhatAKilledHubWasWritingIsRemoved and nothing else.
func TestWhatAKilledHubWasWritingIsRemoved(t *testing.T) {
	s, p := opened(t, func(err error) { t.Error(err) })
	s.PutLedger(Ledger{Marker: "m"})
	s.PutSnapshot(Snapshot{Running: []string{"api"}})
	s.PutTrust(Trust{Hash: "h"})
	s.Flush()
	before := names(t, p.Run)
	for _, file := range []string{ledgerFile, ledgerFile, snapshotFile, trustFile} {
		// As replaceFile does it, up to the moment of the kill.
		half, err := renameio.TempFile(p.Run, filepath.Join(p.Run, file))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := half.WriteString(`{"schema":1,`); err != nil {
			t.Fatal(err)
		}
		half.File.Close() //nolint:errcheck // the kill would
	}
	kept := []string{ledgerFile + ".damaged", ".ledger.json", ".ledger.json12x", ".other.json12"}
	for _, file := range kept {
		if err := os.WriteFile(filepath.Join(p.Run, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(names(t, p.Run)); n != len(before)+4+len(kept) {
		t.Fatalf("there are %v", names(t, p.Run))
	}
	s.RemoveHalfWritten()
	want := slices.Sorted(slices.Values(append(before, kept...)))
	if got := names(t, p.Run); !slices.Equal(got, want) {
		t.Errorf("left: %v\nwant: %v", got, want)
	}
	if s.Ledger().Marker != "m" || s.Trust().Hash != "h" {
		t.Error("a whole file is not what it was")
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}
