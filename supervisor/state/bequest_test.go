package state

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/devside/devside/supervisor/proc"
)

func TestTheBequestIsWhatAGuardianCanUseOfALedger(t *testing.T) {
	term, err := proc.ParseSignal("SIGTERM")
	if err != nil {
		t.Fatal(err)
	}
	id := proc.Identity{PID: 7, Start: "s", Boot: "b"}
	entry := func(name string, stop *Stop) LedgerEntry { return LedgerEntry{Name: name, Identity: id, Stop: stop} }
	s := Open(Paths{Run: t.TempDir()}, func(err error) { t.Error(err) })
	s.PutLedger(Ledger{Marker: "m", Servers: []LedgerEntry{
		entry("api", &Stop{Signal: "SIGTERM", GraceMs: 1500, Spare: []string{"viewer"}}),
		entry("old", nil), // a ledger of before
		entry("signal", &Stop{Signal: "SIGNOPE"}),
		entry("forever", &Stop{Signal: "SIGTERM", GraceMs: mostGrace.Milliseconds() + 1}),
		entry("never", &Stop{Signal: "SIGTERM", GraceMs: -1}),
	}})
	s.Flush()
	want := []proc.Bequest{{Leader: id, MarkerPrefix: "m:api:", Plan: proc.StopPlan{Signal: term, Grace: 1500 * time.Millisecond, Spare: []string{"viewer"}}}}
	if d := cmp.Diff(want, s.Bequest()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"viewer"}, s.Ledger().Spared()); d != "" {
		t.Error(d)
	}
	s.PutLedger(Ledger{Servers: []LedgerEntry{entry("api", &Stop{Signal: "SIGTERM"})}})
	s.Close()
	if b := s.Bequest(); len(b) != 1 || b[0].MarkerPrefix != "" {
		t.Errorf("without a marker: %+v", b)
	}
}
