package logs

import (
	"bytes"
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

type sink struct{ blocks []string }

func (s *sink) Block(stream string, run int, at time.Time, block []byte) {
	s.blocks = append(s.blocks, stream+":"+string(block))
}

func TestDrain(t *testing.T) {
	r, w := pipe(t)
	l, to := New(0), &sink{}
	l.SetSink(to)
	var seen bytes.Buffer
	done := make(chan error, 1)
	go func() {
		done <- Drain(r, l, Stderr, 7, func() time.Time { return epoch }, func(b []byte) { seen.Write(b) })
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
	if seen.String() != want {
		t.Errorf("onBlock saw %d bytes of %d", seen.Len(), len(want))
	}
	var sunk strings.Builder
	for _, b := range to.blocks {
		sunk.WriteString(strings.TrimPrefix(b, "stderr:"))
	}
	if sunk.String() != want {
		t.Errorf("the sink got %d bytes of %d", sunk.Len(), len(want))
	}
	lines := all(t, l)
	if last := lines[len(lines)-1]; last != (Line{At: last.At, Stream: Stderr, Text: "bye", Run: 7}) || !last.At.Equal(epoch) {
		t.Errorf("the last line is %+v", last)
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
			go func() { done <- Drain(r, l, Stdout, 1, time.Now, nil) }()
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
	err = Drain(dir, New(0), Stdout, 1, time.Now, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "read stdout: ") {
		t.Errorf("reading a directory: %v", err)
	}
}

// BenchmarkDrain pours the same bytes through a pipe into Drain and into a bare
// loop that reads and discards, in turns, and reports both in MB/s.
func BenchmarkDrain(b *testing.B) {
	const total = 256 << 20
	line := strings.Repeat("\x1b[32minfo\x1b[0m request 200 in 12 ms, path /api/things?page=7, user agent of the usual length\n", 1)
	block := []byte(strings.Repeat(line, 64<<10/len(line)))
	pour := func(read func(*os.File)) time.Duration {
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
		return time.Since(began)
	}
	l := New(0)
	var drained, discarded time.Duration
	for b.Loop() {
		drained += pour(func(r *os.File) {
			if err := Drain(r, l, Stdout, 1, time.Now, nil); err != nil {
				b.Error(err)
			}
		})
		discarded += pour(func(r *os.File) {
			defer r.Close()
			buf := make([]byte, 64<<10)
			for {
				if _, err := r.Read(buf); err != nil {
					return
				}
			}
		})
	}
	mb := float64(total) * float64(b.N) / 1e6
	b.ReportMetric(mb/drained.Seconds(), "drain-MB/s")
	b.ReportMetric(mb/discarded.Seconds(), "bare-MB/s")
	b.ReportMetric(discarded.Seconds()/drained.Seconds(), "x-bare")
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
