package logs

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// disk stands between a writer and its file.
type disk struct {
	io.WriteCloser
	write func(b []byte) (int, error)
}

func (d *disk) Write(b []byte) (int, error) { return d.write(b) }

// put replaces what a log writes to.
func (d *disk) put(l *Log) {
	l.file.mu.Lock()
	defer l.file.mu.Unlock()
	d.WriteCloser, l.file.w.data = l.file.w.data, d
}

// TestAHangingDiskStopsNobody: its server is read on, its lines are in memory,
// the next hub's question waits a second at most, and when the disk takes
// something again the file says what is missing.
func TestAHangingDiskStopsNobody(t *testing.T) {
	s := newShelf(t, DefaultBounds)
	l := s.log("api")
	r, w := pipe(t)
	done := make(chan error, 1)
	go func() { done <- Drain(r, l, Stdout, 1, nil, time.Now) }()
	f := l.Follow(Oldest)
	defer f.Close()
	say := func(text string) {
		t.Helper()
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(want string) {
		t.Helper()
		for got := []string(nil); !slices.Contains(got, want); {
			got, _ = next(t, f)
		}
	}
	say("before\n")
	hear("before")
	l.file.flush(within)
	hung, release := make(chan struct{}), make(chan struct{})
	d := &disk{}
	d.write = func(b []byte) (int, error) {
		if hung != nil {
			close(hung)
			hung = nil
			<-release
		}
		return d.WriteCloser.Write(b)
	}
	d.put(l)
	waits := hung
	say("into the hang\n")
	<-waits
	// More than may wait for the disk, while it hangs.
	for range 2 * mostWaiting / 1000 {
		say(strings.Repeat("x", 999) + "\n")
	}
	say("still read\n")
	hear("still read")
	if got := ask(t, l, Query{Lines: 1}); got[0] != "still read" {
		t.Errorf("asked meanwhile: %q", got)
	}
	close(release)
	l.file.flush(within)
	say("after\n")
	hear("after")
	w.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	l.file.flush(within)
	text := s.read("api.log")
	for _, want := range []string{"before\ninto the hang\nxxx", " bytes of output are missing here: " + errSlowDisk.Error() + "\n", "after\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("the file lacks %q", want)
		}
	}
	if r := s.reports(); len(r) != 2 || !strings.Contains(r[0], errSlowDisk.Error()) || !strings.Contains(r[1], "works again") {
		t.Errorf("reported: %q", r)
	}
	// What is missing, and what the file has, is all that was printed.
	var lost int64
	h, err := openHistory(s.files.rooted(), "api")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var kept int64
	h.records(h.segments[0], func(r record, _, _ int64) bool {
		lost += r.lost
		if !r.aside {
			kept += r.n
		}
		return true
	})
	if printed := int64(l.End()); lost == 0 || kept+lost != printed {
		t.Errorf("%d bytes kept and %d lost, of %d", kept, lost, printed)
	}
}

// TestAFailingDiskIsTriedAgain, without anything new being printed.
func TestAFailingDiskIsTriedAgain(t *testing.T) {
	s := newShelf(t, DefaultBounds)
	l := s.log("api")
	write(l, Stdout, 1, "before\n")
	l.file.flush(within)
	broken := errors.New("input/output error")
	fails := 3
	d := &disk{}
	d.write = func(b []byte) (int, error) {
		if fails--; fails >= 0 {
			return 0, broken
		}
		return d.WriteCloser.Write(b)
	}
	d.put(l)
	write(l, Stdout, 1, "lost\n")
	l.file.flush(within)
	s.pass(retryDisk)
	write(l, Stdout, 1, "lost, too\n")
	l.file.flush(within)
	for over := time.Now().Add(within); !strings.Contains(s.read("api.log"), "missing"); s.pass(retryDisk) {
		if time.Now().After(over) {
			t.Fatalf("the file has %q", s.read("api.log"))
		}
	}
	l.file.flush(within)
	want := "before\n15 bytes of output are missing here: input/output error\n"
	if got := s.read("api.log"); got != want {
		t.Errorf("the file has %q, want %q", got, want)
	}
	if _, lost := l.Totals(); lost != 15 {
		t.Errorf("%d bytes are said to be lost, want 15", lost)
	}
	wantLines(t, "the next hub", ask(t, s.again("api"), Query{}), []string{"before", strings.TrimSuffix(strings.TrimPrefix(want, "before\n"), "\n")})
}

// TestAFileThatCantBeOpened is no reason to stop, and is opened later.
func TestAFileThatCantBeOpened(t *testing.T) {
	s := newShelf(t, DefaultBounds)
	if err := os.Mkdir(s.dir+"/api.log", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.dir+"/api.log/x", nil, 0o600); err != nil { // what has something in it is not removed
		t.Fatal(err)
	}
	l := s.log("api")
	write(l, Stdout, 1, "lost\n")
	l.file.flush(within)
	if err := os.RemoveAll(s.dir + "/api.log"); err != nil {
		t.Fatal(err)
	}
	s.pass(retryDisk)
	write(l, Stdout, 1, "kept\n")
	l.file.flush(within)
	if got := s.read("api.log"); !strings.HasPrefix(got, "5 bytes of output are missing here: ") || !strings.HasSuffix(got, "\nkept\n") {
		t.Errorf("the file has %q", got)
	}
	wantLines(t, "in memory", ask(t, l, Query{}), []string{"lost", "kept"})
}
