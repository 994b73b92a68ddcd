package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fullDisk is a folder on a disk of its own that has no room left, and a
// function that makes some.
func fullDisk(t *testing.T) (dir string, room func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=0700"); err != nil {
		t.Fatalf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 128<<10), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	return dir, func() {
		if err := os.Remove(ballast); err != nil {
			t.Error(err)
		}
	}
}

func TestAnAuditLogOnAFullDiskLosesWholeLinesAndSaysHowMany(t *testing.T) {
	dir, room := fullDisk(t)
	path := filepath.Join(dir, auditFile)
	var reported []error
	a := OpenAudit(path, "/srv/shop", "hub", func(err error) { reported = append(reported, err) })
	a.Put(killed("lost"))
	a.Put(killed("lost, too"))
	a.Close()
	if len(reported) != 3 || !errors.Is(reported[0], syscall.ENOSPC) {
		t.Errorf("%v", reported)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Errorf("half a line is there: %v, %v", info, err)
	}
	a = OpenAudit(path, "/srv/shop", "hub", func(err error) { reported = append(reported, err) })
	a.Put(killed("lost"))
	for {
		a.mu.Lock()
		done := a.lost == 1
		a.mu.Unlock()
		if done {
			break
		}
		<-time.After(time.Millisecond)
	}
	room()
	a.Put(killed("written"))
	a.Close()
	if got := entries(t, path); len(got) != 1 || got[0].Lost != 1 || got[0].Message != "written" {
		t.Errorf("%+v", got)
	}
}

func TestAStateFileOnAFullDiskIsWrittenWhenThereIsRoom(t *testing.T) {
	dir, room := fullDisk(t)
	reported, mended := make(chan error, 64), make(chan struct{}, 64)
	s := Open(Paths{Run: dir}, func(err error) { reported <- err })
	s.OnMended(func() { mended <- struct{}{} })
	s.PutLedger(Ledger{Marker: "old"})
	if err := s.Flush(); !errors.Is(err, syscall.ENOSPC) || s.Marked() {
		t.Errorf("%v, marked: %v", err, s.Marked())
	}
	s.PutLedger(Ledger{Marker: "new"})
	s.PutTrust(Trust{Hash: "h"})
	if err := s.Flush(); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if err := s.Failing(); err == nil || !strings.Contains(err.Error(), ledgerFile) || !strings.Contains(err.Error(), trustFile) {
		t.Errorf("failing: %v", err)
	}
	if n := len(reported); n != 2 {
		t.Errorf("%d reports of two files", n)
	}
	room()
	select { // by itself
	case <-mended:
	case <-time.After(30 * time.Second):
		t.Fatalf("still not written: %v", s.Failing())
	}
	if err := s.Failing(); err != nil || !s.Marked() {
		t.Errorf("%v, marked: %v", err, s.Marked())
	}
	s.Close()
	again := Open(Paths{Run: dir}, func(err error) { t.Error(err) })
	if l, tr := again.Ledger(), again.Trust(); l.Marker != "new" || tr.Hash != "h" {
		t.Errorf("%+v %+v", l, tr)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v, %v", left, err)
	}
}
