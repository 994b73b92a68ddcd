package logs

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// shelf is a folder of logs with a clock of its own.
type shelf struct {
	t      *testing.T
	dir    string
	bounds Bounds

	mu       sync.Mutex
	at       time.Time
	reported []string
	files    *Files
	budget   *Budget
}

func newShelf(t *testing.T, bounds Bounds) *shelf {
	t.Helper()
	s := &shelf{t: t, dir: t.TempDir(), bounds: bounds, at: epoch}
	s.open()
	t.Cleanup(func() { s.close() })
	return s
}

func (s *shelf) open() {
	s.t.Helper()
	var err error
	s.files, err = OpenFiles(s.dir, s.bounds, s.now, func(server string, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reported = append(s.reported, server+": "+err.Error())
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.budget = NewBudget(0)
}

func (s *shelf) close() {
	if s.files != nil {
		s.files.Close()
		s.files = nil
	}
}

// again is the next hub: what is in memory is gone.
func (s *shelf) again(server string) *Log {
	s.t.Helper()
	s.close()
	s.open()
	return s.log(server)
}

func (s *shelf) log(server string) *Log { return s.files.New(server, s.budget) }

func (s *shelf) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

func (s *shelf) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = s.at.Add(d)
}

func (s *shelf) reports() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.reported)
}

// names lists the folder.
func (s *shelf) names() []string {
	s.t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func (s *shelf) read(name string) string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// small4 keeps 4 KiB a file.
var small4 = Bounds{Segment: 4 << 10, Age: 14 * 24 * time.Hour, Server: 1 << 20, Project: 4 << 20}

func numbered(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf("line %d", i))
	}
	return out
}

func ask(t *testing.T, l *Log, q Query) []string {
	t.Helper()
	lines, err := l.Lines(q)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	return texts(lines)
}

func wantLines(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: %d lines, want %d\n%.300q\n%.300q", what, len(got), len(want), got, want)
	}
}

func TestOutputGoesToAFile(t *testing.T) {
	s := newShelf(t, DefaultBounds)
	l := s.log("api")
	write(l, Stdout, 1, "one\n", "two\n")
	l.Say(1, epoch, "api is ready")
	write(l, Stderr, 1, "three\nfo")
	l.file.flush(within)
	if got, want := s.read("api.log"), "one\ntwo\napi is ready\nthree\nfo"; got != want {
		t.Errorf("the file has %q, want %q", got, want)
	}
	for _, name := range []string{"api.log", "api.index"} {
		info, err := os.Stat(filepath.Join(s.dir, name))
		if err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	// A server that says nothing has no file.
	s.log("web")
	wantLines(t, "the folder", s.names(), []string{"api.index", "api.log"})
}

// TestALogGoesOnInTheNextHub: lines, streams, times and runs are what they
// were, in one order with what comes next.
func TestALogGoesOnInTheNextHub(t *testing.T) {
	s := newShelf(t, DefaultBounds)
	l := s.log("api")
	write(l, Stdout, 1, "one\n", "tw")
	write(l, Stderr, 2, "err\n")
	write(l, Stdout, 2, "three\n", "four is op")
	before, err := l.Lines(Query{})
	if err != nil {
		t.Fatal(err)
	}
	l = s.again("api")
	if l.LastRun() != 2 {
		t.Errorf("the last run is %d, want 2", l.LastRun())
	}
	after, err := l.Lines(Query{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range after {
		if i >= len(before) || !after[i].At.Equal(before[i].At) || after[i].Text != before[i].Text || after[i].Run != before[i].Run || after[i].Stream != before[i].Stream {
			t.Fatalf("was %+v\nis  %+v", before, after)
		}
	}
	if len(after) != len(before) {
		t.Fatalf("was %+v\nis  %+v", before, after)
	}
	l.Write(Stdout, 3, epoch.Add(time.Minute), []byte("five\n"))
	wantLines(t, "all", ask(t, l, Query{}), []string{"one", "err", "tw", "three", "four is op", "five"})
	wantLines(t, "the run before", ask(t, l, Query{Run: -1}), []string{"err", "three", "four is op"})
	wantLines(t, "the one before that", ask(t, l, Query{Run: 1}), []string{"one", "tw"})
	wantLines(t, "since", ask(t, l, Query{Since: epoch.Add(time.Second)}), []string{"tw", "four is op", "five"})
	var none *NoRunError
	if _, err := l.Lines(Query{Run: -7}); !errors.As(err, &none) {
		t.Errorf("a run that never was: %v", err)
	}
	lines, f, err := l.LinesThenFollow(Query{Run: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	wantLines(t, "then follow", texts(lines), []string{"err", "three", "four is op"})
	write(l, Stdout, 3, "six\n")
	if got, _ := next(t, f); !slices.Equal(got, []string{"six"}) {
		t.Errorf("followed %q", got)
	}
	// Without a hub the files say the same.
	s.close()
	got, err := ReadFiles(s.dir, "api", Query{Run: -1})
	if err != nil {
		t.Fatal(err)
	}
	wantLines(t, "without a hub", texts(got), []string{"err", "three", "four is op"})
	if _, err := ReadFiles(s.dir, "api", Query{Run: -7}); !errors.As(err, &none) {
		t.Errorf("a run that never was: %v", err)
	}
	for _, name := range []string{"web", "../api", ""} {
		if _, err := ReadFiles(s.dir, name, Query{}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("files of %q: %v", name, err)
		}
	}
	if names, err := ServersIn(s.dir); err != nil || !slices.Equal(names, []string{"api"}) {
		t.Errorf("servers %q, %v", names, err)
	}
}

// TestWhatMemoryHasForgottenIsInTheFiles, whatever their number, compressed or
// not.
func TestWhatMemoryHasForgottenIsInTheFiles(t *testing.T) {
	s := newShelf(t, small4)
	s.budget = NewBudget(1) // the ring has 4 KiB
	l := s.log("api")
	const lines = 4000 // 40 KB
	for i := range lines {
		l.Write(Stdout, 1+i/1000, epoch.Add(time.Duration(i)*time.Second), []byte(fmt.Sprintf("line %d\n", i)))
	}
	check := func() {
		t.Helper()
		wantLines(t, "all", ask(t, l, Query{Lines: MaxLines}), numbered(0, lines))
		wantLines(t, "some", ask(t, l, Query{Lines: 3000}), numbered(lines-3000, lines))
		wantLines(t, "run 1", ask(t, l, Query{Lines: MaxLines, Run: 1}), numbered(0, 1000))
		wantLines(t, "the run before", ask(t, l, Query{Lines: 10, Run: -1}), numbered(2990, 3000))
		wantLines(t, "since", ask(t, l, Query{Lines: MaxLines, Since: epoch.Add(1234 * time.Second)}), numbered(1234, lines))
	}
	check()
	full := 0
	for _, name := range s.names() {
		_, seq, suffix, _ := nameOf(name)
		if seq > 0 && suffix == compressedSuffix { // this has taken so long
			full++
		}
		if seq > 0 && suffix == logSuffix {
			full++
			text := s.read(name)
			if len(text) > 4<<10 || !strings.HasSuffix(text, "\n") || !strings.HasPrefix(text, "line ") {
				t.Errorf("%s has %d bytes, from %.20q to %.20q", name, len(text), text, text[max(0, len(text)-20):])
			}
		}
	}
	if full < 8 {
		t.Fatalf("%d full files", full)
	}
	s.close() // whoever compresses by itself
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for more := true; more; {
		if more, err = (&Files{root: root}).compressOne(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range s.names() {
		if _, seq, suffix, _ := nameOf(name); seq > 0 && suffix == logSuffix {
			t.Errorf("%s is not compressed", name)
		}
	}
	l = s.again("api")
	check()
}

// TestFilesHoldWhatWasPrinted compares lines from files and memory with what
// was written, in random blocks of two streams.
func TestFilesHoldWhatWasPrinted(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 2))
		s := newShelf(t, small4)
		s.budget = NewBudget(1)
		l := s.log("api")
		want := map[string]string{}
		for i := range 300 {
			stream := []string{Stdout, Stderr}[random.IntN(2)]
			var b strings.Builder
			for range random.IntN(200) + 1 {
				b.WriteByte("abcdefgh\n"[random.IntN(9)])
			}
			want[stream] += b.String()
			l.Write(stream, 1, epoch.Add(time.Duration(i)*time.Second), []byte(b.String()))
			if i%100 == 99 && random.IntN(2) == 0 {
				// The end of a hub ends its lines.
				for stream, text := range want {
					want[stream] = strings.TrimSuffix(text, "\n") + "\n"
				}
				l = s.again("api")
				for stream := range want {
					l.Write(stream, 1, epoch.Add(time.Duration(i)*time.Second), []byte("\n"))
				}
			}
		}
		got := map[string][]string{}
		lines, err := l.Lines(Query{Lines: MaxLines})
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			got[line.Stream] = append(got[line.Stream], line.Text)
		}
		for stream, text := range want {
			joined := strings.Join(got[stream], "")
			if joined != strings.ReplaceAll(text, "\n", "") {
				t.Fatalf("seed %d, %s: %d bytes, want %d", seed, stream, len(joined), len(text))
			}
		}
	}
}

func TestFilesAreRotatedDaily(t *testing.T) {
	s := newShelf(t, DefaultBounds)
	l := s.log("api")
	s.pass(-epoch.Sub(epoch.Local().Truncate(24 * time.Hour)))
	for day := range 3 {
		l.Write(Stdout, 1, s.now(), []byte(fmt.Sprintf("day %d\n", day)))
		l.file.flush(within)
		l.Write(Stdout, 1, s.now(), []byte("more\n"))
		l.file.flush(within)
		s.pass(24 * time.Hour)
	}
	for name, want := range map[string]string{"api@000001.log": "day 0\nmore\n", "api@000002.log": "day 1\nmore\n", "api.log": "day 2\nmore\n"} {
		if got := s.read(name); got != want {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
	// A new hub goes on with today's file, and not with yesterday's.
	l = s.again("api")
	l.Write(Stdout, 2, s.now(), []byte("day 3\n"))
	l.file.flush(within)
	if got := s.read("api.log"); got != "day 3\n" {
		t.Errorf("the current file has %q", got)
	}
	wantLines(t, "all", ask(t, l, Query{}), []string{"day 0", "more", "day 1", "more", "day 2", "more", "day 3"})
}

// TestSECURITY006WhatIsKeptOnDiskIsBounded: by age, for each server and for all
// together, and the oldest goes.
func TestSECURITY006WhatIsKeptOnDiskIsBounded(t *testing.T) {
	hour := func(h int) time.Time { return epoch.Add(time.Duration(h) * time.Hour) }
	file := func(server string, seq int, size int64, at time.Time) *stored {
		return &stored{server: server, seq: seq, size: size, at: at}
	}
	b := Bounds{Age: 24 * time.Hour, Server: 100, Project: 150}
	for name, test := range map[string]struct {
		all  []*stored
		gone []int
	}{
		"nothing":      {nil, nil},
		"within":       {[]*stored{file("a", 1, 50, hour(0)), file("a", 0, 50, time.Time{})}, nil},
		"too old":      {[]*stored{file("a", 1, 1, hour(-25)), file("a", 2, 1, hour(-23))}, []int{0}},
		"a server":     {[]*stored{file("a", 1, 60, hour(-9)), file("a", 2, 60, hour(-8)), file("b", 1, 20, hour(-10))}, []int{0}},
		"all":          {[]*stored{file("a", 1, 90, hour(-9)), file("b", 1, 40, hour(-10)), file("c", 1, 40, hour(-8))}, []int{1}},
		"what is open": {[]*stored{file("a", 0, 200, time.Time{}), file("b", 1, 1, hour(-1))}, []int{1}},
	} {
		var got []int
		for _, g := range over(test.all, b, hour(0)) {
			got = append(got, slices.Index(test.all, g))
		}
		if !slices.Equal(got, test.gone) {
			t.Errorf("%s: %v have to go, want %v", name, got, test.gone)
		}
	}
}

// TestSECURITY006AFloodStaysWithinTheBounds on disk, while it lasts.
func TestSECURITY006AFloodStaysWithinTheBounds(t *testing.T) {
	s := newShelf(t, Bounds{Segment: 256 << 10, Age: time.Hour, Server: 1 << 20, Project: 2 << 20})
	l := s.log("api")
	block := []byte(strings.Repeat("x", 32<<10))
	for range 1024 { // 32 MiB
		l.Write(Stdout, 1, s.now(), block)
	}
	l.file.flush(within)
	size := func() (total int64) {
		for _, name := range s.names() {
			if info, err := os.Stat(filepath.Join(s.dir, name)); err == nil {
				total += info.Size()
			}
		}
		return total
	}
	for over := time.Now().Add(within); size() > 1<<20+300<<10; {
		if time.Now().After(over) {
			t.Fatalf("%d bytes are kept: %q", size(), s.names())
		}
	}
	if size() < 512<<10 {
		t.Errorf("%d bytes are kept", size())
	}
}

// TestAFileThatIsRemovedMovedOrEmptiedUnderUs begins anew, and nothing else is
// lost.
func TestAFileThatIsRemovedMovedOrEmptiedUnderUs(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"removed": os.Remove,
		"moved":   func(path string) error { return os.Rename(path, path+".1") },
		"emptied": func(path string) error { return os.Truncate(path, 0) },
		"folder":  func(path string) error { return os.RemoveAll(filepath.Dir(path)) },
		"another": func(path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, []byte("not ours\n"), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t, DefaultBounds)
			l := s.log("api")
			l.Write(Stdout, 1, s.now(), []byte("before\n"))
			l.file.flush(within)
			if err := harm(filepath.Join(s.dir, "api.log")); err != nil {
				t.Fatal(err)
			}
			s.pass(2 * lookEvery)
			l.Write(Stdout, 1, s.now(), []byte("after\n"))
			l.file.flush(within)
			if got := s.read("api.log"); got != "after\n" {
				t.Errorf("the file has %q", got)
			}
			if r := s.reports(); len(r) > 0 {
				t.Errorf("reported: %q", r)
			}
			wantLines(t, "in memory", ask(t, l, Query{}), []string{"before", "after"})
			l = s.again("api")
			if got := ask(t, l, Query{}); !slices.Contains(got, "after") {
				t.Errorf("the next hub has %q", got)
			}
		})
	}
}

// TestSECURITY003APlantedLinkIsNotFollowed, and no pipe or folder stops a log.
func TestSECURITY003APlantedLinkIsNotFollowed(t *testing.T) {
	for _, name := range []string{"api.log", "api.index"} {
		s := newShelf(t, DefaultBounds)
		victim := filepath.Join(t.TempDir(), "victim")
		if err := os.WriteFile(victim, []byte("mine\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		other := filepath.Join(s.dir, "web.log") // a link within the folder is one, too
		if err := errors.Join(os.WriteFile(other, []byte("web's\n"), 0o600), os.Symlink(victim, filepath.Join(s.dir, name))); err != nil {
			t.Fatal(err)
		}
		l := s.again("api")
		l.Write(Stdout, 1, s.now(), []byte("hello\n"))
		l.file.flush(within)
		if got := s.read("api.log"); got != "hello\n" {
			t.Errorf("the file has %q", got)
		}
		if b, err := os.ReadFile(victim); err != nil || string(b) != "mine\n" {
			t.Errorf("the link's target has %q, %v", b, err)
		}
		if info, err := os.Lstat(filepath.Join(s.dir, name)); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s is %v, %v", name, info.Mode(), err)
		}
	}
	s := newShelf(t, DefaultBounds)
	if err := os.Symlink("web.log", filepath.Join(s.dir, "api.log")); err != nil {
		t.Fatal(err)
	}
	web, api := s.log("web"), s.log("api")
	web.Write(Stdout, 1, s.now(), []byte("web's\n"))
	web.file.flush(within)
	api.Write(Stdout, 1, s.now(), []byte("api's\n"))
	api.file.flush(within)
	if s.read("web.log") != "web's\n" || s.read("api.log") != "api's\n" {
		t.Errorf("web %q, api %q", s.read("web.log"), s.read("api.log"))
	}
}

// TestWhatACrashLeaves: output without its record, a torn record, a torn
// compressed file.
func TestWhatACrashLeaves(t *testing.T) {
	s := newShelf(t, DefaultBounds)
	l := s.log("api")
	write(l, Stdout, 4, "whole\n")
	s.close()
	path := filepath.Join(s.dir, "api")
	appendTo := func(name, text string) {
		t.Helper()
		f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString(text)
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	appendTo(path+".log", "unrecorded\n")
	appendTo(path+".index", "\x08\xff\xff")
	if err := os.WriteFile(path+"@000001.log.gz.tmp", []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	l = s.again("api")
	write(l, Stdout, 5, "new\n")
	wantLines(t, "after a crash", ask(t, l, Query{}), []string{"whole", "unrecorded", "new"})
	wantLines(t, "of the crashed run", ask(t, l, Query{Run: -1}), []string{"whole", "unrecorded"})
	l = s.again("api")
	wantLines(t, "and after that", ask(t, l, Query{}), []string{"whole", "unrecorded", "new"})

	// An index that is none: the file stays for people, and the log begins anew.
	s.close()
	if err := os.WriteFile(path+".index", []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	l = s.again("api")
	write(l, Stdout, 1, "afresh\n")
	wantLines(t, "without an index", ask(t, l, Query{}), []string{"afresh"})
	if got := s.read("api@000001.log"); got != "whole\nunrecorded\nnew\n" {
		t.Errorf("the old file has %q", got)
	}
}

func TestTheCurrentFileIsNamedWhereThereIsOne(t *testing.T) {
	dir := t.TempDir()
	want := filepath.Join(dir, "api.log")
	if err := os.WriteFile(want, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.log"), 0o700); err != nil {
		t.Fatal(err)
	}
	for server, name := range map[string]string{"api": want, "web": "", "folder": "", "../api": "", "": ""} {
		if got := CurrentFile(dir, server); got != name {
			t.Errorf("%q: %q, want %q", server, got, name)
		}
	}
}

// TestTotals: what was printed, over all runs and with devside's own lines, and
// what of it is in no file.
func TestTotals(t *testing.T) {
	l := New(0)
	l.Write("stdout", 1, time.Now(), []byte("one\n"))
	l.Write("stderr", 2, time.Now(), []byte("two"))
	l.Say(2, time.Now(), "said")
	if printed, lost := l.Totals(); printed != 12 || lost != 0 {
		t.Errorf("%d printed, %d lost; want 12 and 0", printed, lost)
	}
}
