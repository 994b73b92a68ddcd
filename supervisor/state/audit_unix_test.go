//go:build unix

package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/devside/devside/supervisor/status"
)

func killed(message string) status.Event {
	return status.Event{
		Kind: status.HappenedSecurity, Act: status.ActKilled, At: time.Date(2026, 3, 1, 9, 12, 0, 0, time.UTC), Server: "web", Message: message,
		Process: &status.Holder{PID: 41, StartTime: "s", Name: "node", User: "ann", Command: "node --token hunter2", Server: "api"},
	}
}

func TestTheEndWaitsOnceForAnAuditLogThatIsHeld(t *testing.T) {
	path := auditPath(t)
	held, err := openAudit(path)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if ok, err := tryLockAudit(held); !ok || err != nil {
		t.Fatal(ok, err)
	}
	var reported []error
	a := OpenAudit(path, "/srv/shop", "hub", func(err error) { reported = append(reported, err) })
	for range auditQueue {
		a.Put(killed("held up"))
	}
	a.Close() // at 2 s an event it would take more than 8 minutes
	if n := len(reported); n < 2 || n > 4 || !strings.Contains(reported[n-1].Error(), fmt.Sprint(auditQueue, " events")) {
		t.Errorf("%v", reported)
	}
}

// entries reads every line of the log and of those that were rotated.
func entries(t *testing.T, path string) (out []AuditEntry) {
	t.Helper()
	for i := auditKeep; i >= 0; i-- {
		name := path
		if i > 0 {
			name += "." + strconv.Itoa(i)
		}
		text, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 || info.Size() > auditSize {
			t.Errorf("%s: %v, %d bytes, %v", name, info.Mode(), info.Size(), err)
		}
		for line := range bytes.Lines(text) {
			var e AuditEntry
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatalf("%s: %q: %v", name, line, err)
			}
			out = append(out, e)
		}
	}
	return out
}

// insist writes a line, however long the others take: nobody else writes as
// many, and on a busy machine one may wait for long.
func insist(path string, e AuditEntry) error {
	for {
		if err := appendAudit(path, e); !errors.Is(err, errHeld) {
			return err
		}
	}
}

// nearlyFull writes a log that has room for so many more bytes.
func nearlyFull(t *testing.T, path string, room int) {
	t.Helper()
	line := []byte(`{"server":"` + strings.Repeat("z", auditText) + "\"}\n")
	if err := os.WriteFile(path, bytes.Repeat(line, (auditSize-room)/len(line)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func auditPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), auditFile)
}

func TestSECLISTTheAuditLogSaysWhoDidWhatAndNoCommandLine(t *testing.T) {
	path := auditPath(t)
	a := OpenAudit(path, "/srv/shop", "hub", func(err error) { t.Error(err) })
	a.Put(killed("stopped it"))
	a.Close()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"time":"2026-03-01T09:12:00Z","act":"killed","root":"/srv/shop","by":"hub","pid":%d,"uid":%d,"server":"web","message":"stopped it",`+
		`"process":{"pid":41,"startTime":"s","name":"node","user":"ann"}}`+"\n", os.Getpid(), os.Geteuid())
	if string(text) != want {
		t.Errorf("%s\nwant %s", text, want)
	}
}

func TestSECURITY003TheAuditLogIsPrivateWhateverTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o077, 0o777} {
		path := auditPath(t)
		old := syscall.Umask(umask)
		a := OpenAudit(path, "/srv/shop", "hub", func(err error) { t.Error(err) })
		a.Put(killed("first"))
		a.Close()
		syscall.Umask(old)
		entries(t, path) // looks at the mode
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := appendAudit(path, AuditEntry{}); err != nil {
			t.Fatal(err)
		}
		if n := len(entries(t, path)); n != 2 {
			t.Errorf("%04o: %d lines", umask, n)
		}
	}
}

func TestSECLISTTheAuditLogIsBoundedAndTwoWritersLoseNothing(t *testing.T) {
	path := auditPath(t)
	const writers, each = 3, 60
	long := strings.Repeat("x", auditText)
	nearlyFull(t, path, writers*each/2*auditText) // it is rotated within
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := insist(path, AuditEntry{PID: w, UID: i, Message: long}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	next := map[int]int{}
	for _, e := range entries(t, path) {
		if e.Message == "" {
			continue
		}
		if e.UID != next[e.PID] {
			t.Fatalf("writer %d: line %d comes where %d should", e.PID, e.UID, next[e.PID])
		}
		next[e.PID]++
	}
	if _, err := os.Stat(path + ".1"); err != nil {
		t.Errorf("it was not rotated: %v", err)
	}
	for w := range writers {
		if next[w] != each {
			t.Errorf("writer %d: %d lines", w, next[w])
		}
	}
	for range 2 * auditKeep {
		if err := errors.Join(os.Truncate(path, auditSize), appendAudit(path, AuditEntry{Message: long})); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != auditKeep+1 {
		t.Errorf("%v, %v", files, err)
	}
}

func TestSECLISTALongTextIsCutAndStaysOneLine(t *testing.T) {
	path := auditPath(t)
	a := OpenAudit(path, "/srv/shop", "hub", func(err error) { t.Error(err) })
	e := killed("a\nb\x1b[8m\xff" + strings.Repeat("é", auditText))
	e.Process.Name = strings.Repeat("n", 10_000)
	a.Put(e)
	a.Close()
	got := entries(t, path)
	if len(got) != 1 || !strings.HasPrefix(got[0].Message, "a\nb\x1b[8mé") || len(got[0].Message) > auditText || len(got[0].Process.Name) != auditName {
		t.Errorf("%+v", got)
	}
}

func TestSECLISTWhatIsPlantedInTheAuditLogsPlaceIsLeftAlone(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	for name, plant := range map[string]func(path string) error{
		"link":   func(path string) error { return os.Symlink(victim, path) },
		"pipe":   func(path string) error { return syscall.Mkfifo(path, 0o600) }, // nobody reads it: must not be waited for
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(victim, []byte("mine"), 0o644); err != nil {
				t.Fatal(err)
			}
			path := auditPath(t)
			if err := plant(path); err != nil {
				t.Fatal(err)
			}
			var reported []error
			a := OpenAudit(path, "/srv/shop", "hub", func(err error) { reported = append(reported, err) })
			a.Put(killed("lost"))
			a.Close()
			if len(reported) == 0 {
				t.Error("nothing was reported")
			}
			if info, _ := os.Stat(victim); info.Mode().Perm() != 0o644 || info.Size() != 4 {
				t.Errorf("the link's target is now %v, %d bytes", info.Mode(), info.Size())
			}
		})
	}
}

func TestSECLISTARotationReplacesALinkAndDoesNotFollowIt(t *testing.T) {
	path := auditPath(t)
	victim := filepath.Join(t.TempDir(), "victim")
	if err := errors.Join(os.WriteFile(victim, []byte("mine"), 0o644), os.Symlink(victim, path+".1"), os.WriteFile(path, nil, 0o600), os.Truncate(path, auditSize)); err != nil {
		t.Fatal(err)
	}
	if err := appendAudit(path, AuditEntry{Message: "new"}); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(victim); string(got) != "mine" {
		t.Errorf("the link's target reads %q", got)
	}
	if info, err := os.Lstat(path + ".1"); err != nil || !info.Mode().IsRegular() || info.Size() != auditSize {
		t.Errorf("%v, %v", info, err)
	}
}

func TestALineThatAWriterLeftHalfIsEnded(t *testing.T) {
	path := auditPath(t)
	if err := os.WriteFile(path, []byte(`{"act":"kil`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := appendAudit(path, AuditEntry{Message: "whole"}); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(path)
	if lines := strings.Split(string(text), "\n"); len(lines) != 3 || !strings.Contains(lines[1], "whole") {
		t.Errorf("%q", text)
	}
}

func TestSECLISTAnAuditLogThatIsHeldUpHoldsNobodyUp(t *testing.T) {
	path := auditPath(t)
	held, err := openAudit(path)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := tryLockAudit(held); !ok || err != nil {
		t.Fatal(ok, err)
	}
	reported := make(chan error, 2*auditQueue)
	a := OpenAudit(path, "/srv/shop", "hub", func(err error) { reported <- err })
	const events = 2 * auditQueue
	for range events { // none of them waits; one that did would wait for ever
		a.Put(killed("held up"))
	}
	select {
	case err := <-reported:
		if !strings.Contains(err.Error(), "another process holds its lock") {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("that nothing could be written was not reported")
	}
	held.Close()
	a.Close()
	got := entries(t, path)
	if len(got) == 0 {
		t.Fatal("nothing was written after the lock was free")
	}
	said := 0
	for _, e := range got {
		said += e.Lost
	}
	if len(got)+said != events {
		t.Errorf("%d lines and %d said to be lost are not %d events", len(got), said, events)
	}
}

func TestSECLISTARefusedRootWritesOnlyWhereItIsAtHome(t *testing.T) {
	ours, other := t.TempDir(), t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(ours, link); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(other, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	} else {
		other = "/"
	}
	for _, dir := range []string{other, link, filepath.Join(ours, "missing"), "relative", ""} {
		if filepath.IsAbs(dir) && isOurs(dir) {
			t.Errorf("%s was taken for a folder of our own", dir)
		}
	}
	path, err := RefusedRootLog(env(HomeVariable, ours))
	if err != nil || path != filepath.Join(ours, "state", auditFile) {
		t.Errorf("%s, %v", path, err)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestTheAuditLogsOfTwoProcesses: whole lines, whoever writes them.
func TestTheAuditLogsOfTwoProcesses(t *testing.T) {
	if path := os.Getenv("AUDIT_TEST_WRITER"); path != "" {
		for i := range 50 {
			if err := insist(path, AuditEntry{PID: os.Getpid(), UID: i, Message: strings.Repeat("y", auditText)}); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	path := auditPath(t)
	nearlyFull(t, path, 50*auditText)
	var cmds []*exec.Cmd
	for range 3 {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestTheAuditLogsOfTwoProcesses$")
		cmd.Env = append(os.Environ(), "AUDIT_TEST_WRITER="+path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	next := map[int]int{}
	for _, e := range entries(t, path) {
		if e.PID != 0 {
			if e.UID != next[e.PID] {
				t.Fatalf("process %d: line %d comes where %d should", e.PID, e.UID, next[e.PID])
			}
			next[e.PID]++
		}
	}
	if len(next) != 3 {
		t.Errorf("%v", next)
	}
	for pid, n := range next {
		if n != 50 {
			t.Errorf("process %d: %d lines", pid, n)
		}
	}
	if _, err := os.Stat(path + ".1"); err != nil {
		t.Errorf("it was not rotated: %v", err)
	}
}
