//go:build linux

package project

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/devside/devside/supervisor"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

// audited closes the project and reads what it has put into the audit log.
func audited(f *fixture) (out []state.AuditEntry) {
	f.t.Helper()
	f.close()
	text, err := os.ReadFile(f.paths.Audit())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		f.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var e state.AuditEntry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			f.t.Fatalf("%q: %v", line, err)
		}
		out = append(out, e)
	}
	return out
}

func TestSECLISTWhatConcernsSecurityIsInTheAuditLogAndNothingElse(t *testing.T) {
	f := opened(t, config(server("api", freePort(t), serving)))
	f.start()
	f.happened(status.Event{
		Kind: status.HappenedSecurity, Act: status.ActKilled, Server: "api", At: time.Now(), Message: "ended what held its port",
		Process: &status.Holder{PID: 4121, StartTime: "77", Name: "node", User: "ann", Command: "node server.js --token hunter2"},
	})
	f.happened(status.Event{Kind: status.HappenedCrash, Server: "api", At: time.Now(), Message: "a crash"})
	got := audited(f)
	if len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	e := got[0]
	if e.Act != status.ActKilled || e.Root != f.root || e.By != "hub" || e.PID != os.Getpid() || e.UID != os.Geteuid() || e.Server != "api" || e.At.IsZero() ||
		*e.Process != (state.AuditProcess{PID: 4121, StartTime: "77", Name: "node", User: "ann"}) {
		t.Errorf("%+v", e)
	}
	if text, _ := os.ReadFile(f.paths.Audit()); strings.Contains(string(text), "hunter2") || strings.Contains(string(text), "server.js") {
		t.Errorf("a command line: %s", text)
	}
}

func TestSECLISTTrustGivenIsInTheAuditLog(t *testing.T) {
	f := newFixture(t, config(server("api", 0, serving))).open()
	hash := f.Status().Trust.Hash
	if f.Trust("0000") || !f.Trust(hash) {
		t.Fatal("the wrong one")
	}
	f.VouchedBy(Client{Name: "editor\n", PID: os.Getpid()})
	got := audited(f)
	if len(got) != 2 || got[0].Act != status.ActTrusted || !strings.Contains(got[0].Message, hash) {
		t.Fatalf("%+v", got)
	}
	if e := got[1]; e.Act != status.ActTrusted || !strings.Contains(e.Message, `"editor\n" vouches`) || e.Process.PID != os.Getpid() || e.Process.StartTime == "" || e.Process.Name == "" {
		t.Errorf("%+v", e)
	}
}

func TestAnAuditLogThatCantBeWrittenHoldsNobodyUp(t *testing.T) {
	f := opened(t, config(server("api", freePort(t), serving)))
	if err := os.Mkdir(f.paths.Audit(), 0o700); err != nil {
		t.Fatal(err)
	}
	f.RefusedClient(os.Getpid(), os.Getuid())
	f.start()
	log := f.log
	f.close()
	if !strings.Contains(log.String(), `client-refused\" is lost`) {
		t.Errorf("the log does not say that it was not written: %s", log)
	}
}

func TestADamagedStateFileIsToldToAPerson(t *testing.T) {
	for name, says := range map[string]string{
		"ledger.json": "may still run", "snapshot.json": "nothing is started again", "trust.json": "asks again",
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, config(server("api", freePort(t), serving)))
			if err := os.WriteFile(filepath.Join(f.paths.Run, name), []byte(`{"schema":1,`), 0o600); err != nil {
				t.Fatal(err)
			}
			f.open()
			f.Vouch(1)
			f.start()
			var found []status.Problem
			for _, p := range f.Status().Problems {
				if p.Code == status.StateFailed {
					found = append(found, p)
				}
			}
			if len(found) != 1 || !strings.Contains(found[0].Message, name) || !strings.Contains(found[0].Message, says) || !strings.Contains(found[0].Hint, name+".damaged in "+f.paths.Run) {
				t.Errorf("%+v", found)
			}
		})
	}
}

// fullDisk puts the project's run folder on a disk of its own that has no room
// left; room makes some.
func (f *fixture) fullDisk() (room func()) {
	f.t.Helper()
	if os.Geteuid() != 0 {
		f.t.Skip("only root can mount a small disk")
	}
	if err := syscall.Mount("tmpfs", f.paths.Run, "tmpfs", 0, "size=64k,mode=0700"); err != nil {
		f.t.Fatalf("mount a small disk: %v", err)
	}
	f.t.Cleanup(func() {
		f.close()
		if err := syscall.Unmount(f.paths.Run, syscall.MNT_DETACH); err != nil {
			f.t.Error(err)
		}
	})
	return f.fill()
}

// fill leaves no room on the disk of the run folder.
func (f *fixture) fill() (room func()) {
	f.t.Helper()
	ballast := filepath.Join(f.paths.Run, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 128<<10), 0o600); !errors.Is(err, syscall.ENOSPC) {
		f.t.Fatalf("the disk is not full: %v", err)
	}
	return func() {
		if err := os.Remove(ballast); err != nil {
			f.t.Error(err)
		}
	}
}

func TestNothingStartsWhileItsMarkerCantBeWritten(t *testing.T) {
	f := newFixture(t, config(server("api", freePort(t), serving)))
	room := f.fullDisk()
	f.open()
	f.Vouch(1)
	results, _, err := f.Start(t.Context(), nil, f.asks())
	if err != nil || len(results) != 1 {
		t.Fatalf("%+v, %v", results, err)
	}
	if r := results[0]; r.OK || r.State != status.Blocked || r.Code != string(status.CannotStart) ||
		!strings.Contains(r.Message, "no space left on device") || !strings.Contains(r.Hint, "make room on the disk of "+f.paths.Run) {
		t.Errorf("%+v", r)
	}
	if s := f.server("api"); s.PID != 0 {
		t.Errorf("it runs: %+v", s)
	}
	if !has(f.Status().Problems, status.StateFailed, "") {
		t.Errorf("%+v", f.Status().Problems)
	}
	room()
	f.start() // no restart of the hub is needed, and no wait
	f.await("the end of the problem", func(st *status.Project) bool { return len(st.Problems) == 0 })
	if l := awaitDisk(f, "ledger.json", func(l state.Ledger) bool { return len(l.Servers) == 1 }); l.Marker != f.marker {
		t.Errorf("%+v", l)
	}
}

func TestADiskThatFillsUpStopsNothingAndIsToldOf(t *testing.T) {
	port := freePort(t)
	f := newFixture(t, config(server("api", port, serving), server("web", freePort(t), serving)))
	room := f.fullDisk()
	room()
	f.open()
	f.Vouch(1)
	f.start("api")
	f.store.Flush() //nolint:errcheck // there is room
	room = f.fill()
	before := f.server("api").PID
	f.start("web") // its marker is on disk, with the hub's
	f.await("the problem", func(st *status.Project) bool { return has(st.Problems, status.StateFailed, "") })
	crashIt(t, port)
	f.await("the api again", func(st *status.Project) bool {
		api, _ := st.Server("api")
		return api.State == status.Ready && api.PID != before
	})
	room()
	f.await("the end of the problem", func(st *status.Project) bool { return !has(st.Problems, status.StateFailed, "") })
	api := f.server("api")
	l := awaitDisk(f, "ledger.json", func(l state.Ledger) bool { return len(l.Servers) == 2 })
	if l.Servers[0].PID != api.PID {
		t.Errorf("the ledger has %+v, the api is pid %d", l.Servers, api.PID)
	}
}

// TestPERF006OnlyAChangeOfAPidOrOfWhatIsWantedIsWritten: the audit found a file
// that was written on every event.
func TestPERF006OnlyAChangeOfAPidOrOfWhatIsWantedIsWritten(t *testing.T) {
	port := freePort(t)
	f := opened(t, config(server("api", port, serving, "restart: {delay: 0s}")))
	f.start()
	settle := func() int {
		f.update(func(*view) {}) // the books are kept after it
		f.update(func(*view) {}) // they have been
		f.store.Flush()          //nolint:errcheck // the disk is fine
		return f.store.Writes()
	}
	before := settle()
	for range 200 {
		f.happened(status.Event{Kind: status.HappenedReady, Server: "api", At: time.Now(), Message: "again"})
		f.changed()
		f.update(func(*view) {})
	}
	if n := settle() - before; n != 0 {
		t.Errorf("200 events that change no pid were %d writes", n)
	}
	pid := f.server("api").PID
	crashIt(t, port)
	f.await("the api again", func(st *status.Project) bool { return st.Servers[0].State == status.Ready && st.Servers[0].PID != pid })
	// The pid went and another came: two ledgers at most, and no snapshot.
	if n := settle() - before; n < 1 || n > 2 {
		t.Errorf("a crash and a restart were %d writes", n)
	}
	if _, err := f.Stop(t.Context(), nil, supervisor.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := settle() - before; n < 3 || n > 4 {
		t.Errorf("with a stop they were %d writes", n)
	}
}

// TestAScriptThatCantBeOpenedHasNotChanged: without descriptors the text of a
// script that was agreed to can't be read.
func TestAScriptThatCantBeOpenedHasNotChanged(t *testing.T) {
	f, asks := withNPM(t, freePort(t))
	f.open()
	hash := f.Status().Trust.Hash
	if !f.Trust(hash) {
		t.Fatal("refused")
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	// By the system call itself: Go would give our children the same limit.
	limit := func(cur uint64) {
		if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: cur, Max: was.Max}, nil); err != nil {
			t.Fatal(err)
		}
	}
	limit(0) // what is open stays open
	_, _, err := f.Start(t.Context(), nil, asks)
	p := f.mayStart(f.view.Load().loaded.Project.Servers[0])
	limit(was.Cur)
	if !errors.Is(err, syscall.EMFILE) {
		t.Errorf("a start without descriptors: %v", err)
	}
	if p == nil || p.Code != status.CannotStart || !strings.Contains(p.Message, "too many open files") {
		t.Errorf("%+v", p)
	}
	if st := f.Status(); st.Trust.State != status.Trusted || st.Trust.Hash != hash {
		t.Errorf("afterwards: %+v", st.Trust)
	}
	if results, _, err := f.Start(t.Context(), nil, asks); err != nil || !results[0].OK {
		t.Errorf("%+v, %v", results, err)
	}
}
