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

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func TestDrain(t *testing.T) {
	r, w := pipe(t)
	l := New(0)
	done := make(chan error, 1)
	go func() {
		done <- Drain(r, l, Stderr, 7, nil, func() time.Time { return epoch })
	}()
	// More than the small buffer, then little again.
	want := strings.Repeat("0123456789\n", 40_000) + "bye\n"
	for _, text := range []string{want[:len(want)-4], want[len(want)-4:]} {
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	lines := all(t, l)
	if last := lines[len(lines)-1]; last != (Line{At: last.At, Stream: Stderr, Text: "bye", Run: 7}) || !last.At.Equal(epoch) {
		t.Errorf("the last line is %+v", last)
	}
	if end := int64(l.End()); end != int64(len(want)) || l.LastRun() != 7 {
		t.Errorf("the log ends at %d with run %d, want %d, 7", end, l.LastRun(), len(want))
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the pipe was left open: %v", err)
	}
}

// A grandchild that keeps the pipe open does not keep Drain.
func TestDrainEndsAtADeadline(t *testing.T) {
	for name, end := range map[string]func(*os.File) error{
		"deadline": func(r *os.File) error { return r.SetReadDeadline(time.Now()) },
		"close":    func(r *os.File) error { return r.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			r, w := pipe(t)
			l := New(0)
			f := l.Follow(l.End())
			defer f.Close()
			done := make(chan error, 1)
			go func() { done <- Drain(r, l, Stdout, 1, nil, time.Now) }()
			if _, err := io.WriteString(w, "alive\n"); err != nil {
				t.Fatal(err)
			}
			if got, _ := next(t, f); !slices.Equal(got, []string{"alive"}) {
				t.Fatalf("%q", got)
			}
			if err := end(r); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(within):
				t.Fatal("Drain goes on")
			}
		})
	}
}

func TestDrainTellsOfAnError(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	err = Drain(dir, New(0), Stdout, 1, nil, time.Now)
	if err == nil || !strings.HasPrefix(err.Error(), "read stdout: ") {
		t.Errorf("reading a directory: %v", err)
	}
}

// BenchmarkDrain pours the same bytes through a pipe into Drain, with a file,
// without, and with secrets, and into bare loops that read and discard, or
// write to a file, in turns, and reports all in MB/s.
func BenchmarkDrain(b *testing.B) {
	const total = 192 << 20 // within a server's bound
	line := "\x1b[32minfo\x1b[0m request 200 in 12 ms, path /api/things?page=7, user agent of the usual length\n"
	block := []byte(strings.Repeat(line, 64<<10/len(line)))
	took := map[string]time.Duration{}
	pour := func(name string, read func(*os.File)) {
		r, w, err := os.Pipe()
		if err != nil {
			b.Fatal(err)
		}
		done := make(chan struct{})
		began := time.Now()
		go func() { defer close(done); read(r) }()
		for sent := 0; sent < total; sent += len(block) {
			if _, err := w.Write(block); err != nil {
				b.Fatal(err)
			}
		}
		w.Close()
		<-done
		took[name] += time.Since(began)
	}
	drain := func(l *Log, s *Secrets) func(*os.File) {
		return func(r *os.File) {
			if err := Drain(r, l, Stdout, 1, s, time.Now); err != nil {
				b.Error(err)
			}
			if l.file != nil {
				l.file.flush(time.Minute)
			}
		}
	}
	bare := func(to io.Writer) func(*os.File) {
		return func(r *os.File) {
			defer r.Close()
			buf := make([]byte, 128<<10) // as cat has
			for {
				n, err := r.Read(buf)
				if err != nil {
					return
				}
				if _, err := to.Write(buf[:n]); err != nil {
					b.Error(err)
				}
			}
		}
	}
	var values []string
	for i := range 10 {
		values = append(values, strings.Repeat(string(rune('a'+i)), 6)+"-secret-value")
	}
	secrets := NewSecrets(values)
	for b.Loop() {
		dir := b.TempDir()
		files, err := OpenFiles(dir, DefaultBounds, time.Now, func(_ string, err error) { b.Error(err) })
		if err != nil {
			b.Fatal(err)
		}
		pour("memory", drain(New(0), nil))
		pour("discard", bare(io.Discard))
		pour("file", drain(files.New("api", NewBudget(0)), nil))
		to, err := os.Create(dir + "/bare")
		if err != nil {
			b.Fatal(err)
		}
		pour("bare", bare(to))
		to.Close()
		pour("secrets", drain(New(0), secrets))
		files.Close()
	}
	for name, d := range took {
		b.ReportMetric(float64(total)*float64(b.N)/1e6/d.Seconds(), name+"-MB/s")
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkTail is what a crash waits for: the last lines of a full ring.
func BenchmarkTail(b *testing.B) {
	l := New(0)
	for i := range 20_000 {
		l.Write(Stdout, 1, epoch.Add(time.Duration(i)*time.Millisecond), []byte(strings.Repeat("x", 99)+"\n"))
	}
	for b.Loop() {
		if len(l.Tail(20)) != 20 {
			b.Fatal("no lines")
		}
	}
}
