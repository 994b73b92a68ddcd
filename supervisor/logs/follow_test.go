package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// within is how long a test waits for something that should come.
const within = 10 * time.Second

func next(t *testing.T, f *Follower) ([]string, int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	lines, skipped, err := f.Next(ctx)
	if err != nil {
		t.Fatalf("Next: %v", err)
	}
	return texts(lines), skipped
}

func TestFollow(t *testing.T) {
	l := New(0)
	write(l, Stdout, 1, "before\n")
	now, oldest := l.Follow(l.End()), l.Follow(Oldest)
	defer now.Close()
	defer oldest.Close()
	if got, _ := next(t, oldest); !slices.Equal(got, []string{"before"}) {
		t.Errorf("from the oldest: %q", got)
	}
	write(l, Stderr, 1, "after\n")
	for _, f := range []*Follower{now, oldest} {
		if got, skipped := next(t, f); !slices.Equal(got, []string{"after"}) || skipped != 0 {
			t.Errorf("%q, %d skipped", got, skipped)
		}
	}
	if lines, skipped := now.Poll(); len(lines) != 0 || skipped != 0 {
		t.Errorf("Poll: %v, %d", lines, skipped)
	}
	write(l, Stderr, 1, "more\n")
	if lines, _ := now.Poll(); !slices.Equal(texts(lines), []string{"more"}) {
		t.Errorf("Poll: %v", lines)
	}
	if len(l.waiting) != 0 {
		t.Errorf("%d followers are registered that do not wait", len(l.waiting))
	}
}

func TestNextEnds(t *testing.T) {
	for name, end := range map[string]struct {
		by   func(*Log, *Follower, context.CancelFunc)
		want error
	}{
		"context":         {func(_ *Log, _ *Follower, cancel context.CancelFunc) { cancel() }, context.Canceled},
		"follower closed": {func(_ *Log, f *Follower, _ context.CancelFunc) { f.Close(); f.Close() }, io.EOF},
		"log closed":      {func(l *Log, _ *Follower, _ context.CancelFunc) { l.Close(); l.Close() }, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := New(0)
				f := l.Follow(l.End())
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				got := make(chan error, 1)
				go func() {
					_, _, err := f.Next(ctx)
					got <- err
				}()
				synctest.Wait()
				end.by(l, f, cancel)
				if err := <-got; !errors.Is(err, end.want) {
					t.Errorf("%v, want %v", err, end.want)
				}
				if _, _, err := f.Next(ctx); !errors.Is(err, end.want) {
					t.Errorf("then %v, want %v", err, end.want)
				}
				write(l, Stdout, 1, "nobody waits\n")
				if len(l.waiting) != 0 {
					t.Error("it is still registered")
				}
			})
		})
	}
}

func TestClosedLogForgets(t *testing.T) {
	l := New(0)
	write(l, Stdout, 1, "x\n", "open")
	f := l.Follow(Oldest)
	l.Close()
	write(l, Stdout, 1, "too late\n")
	if got := all(t, l); len(got) != 0 || l.budget.Used() != 0 {
		t.Errorf("%v is kept, %d bytes are used", got, l.budget.Used())
	}
	if _, skipped := next(t, f); skipped != 6 {
		t.Errorf("%d bytes skipped", skipped)
	}
	if _, _, err := f.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("then %v", err)
	}
}

func TestPartialLinesAreShownAfter200ms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(0)
		f := l.Follow(l.End())
		defer f.Close()
		expect := func(after time.Duration, want string) {
			t.Helper()
			began := time.Now()
			got, _ := next(t, f)
			if took := time.Since(began); !slices.Equal(got, []string{want}) || took != after {
				t.Errorf("%q after %v, want %q after %v", got, took, want, after)
			}
		}
		later := func(d time.Duration, text string) {
			time.AfterFunc(d, func() { l.Write(Stdout, 1, time.Now(), []byte(text)) })
		}
		later(0, "Name: ")
		expect(200*time.Millisecond, "Name: ")
		// What ends it is no line of its own.
		later(time.Second, "\nok\n")
		expect(time.Second, "ok")
		// Dots that keep coming are shown together.
		later(0, ".")
		later(150*time.Millisecond, ".")
		expect(200*time.Millisecond, "..")
		// A progress bar that is drawn every 100 ms is shown, too.
		later(0, "\r10%")
		later(100*time.Millisecond, "\r20%")
		later(200*time.Millisecond-1, "\r30%")
		expect(200*time.Millisecond, "30%")
		// The rest of a line that was shown in part.
		later(0, "half")
		expect(200*time.Millisecond, "half")
		later(0, " done\n")
		expect(0, " done")
		// A line that ends in time is not cut.
		later(0, "who")
		later(199*time.Millisecond, "le\n")
		expect(199*time.Millisecond, "whole")
		// Other lines do not hold it up.
		later(0, "prompt> ")
		for i := range 3 {
			time.AfterFunc(time.Duration(i*90+50)*time.Millisecond, func() { l.Write(Stderr, 1, time.Now(), []byte("noise\n")) })
		}
		expect(50*time.Millisecond, "noise")
		expect(90*time.Millisecond, "noise")
		expect(60*time.Millisecond, "prompt> ")
		expect(30*time.Millisecond, "noise")
	})
}

func TestASlowFollowerGetsAGap(t *testing.T) {
	l := New(minRing)
	f := l.Follow(l.End())
	defer f.Close()
	write(l, Stdout, 1, "read\nopen")
	if got, skipped := next(t, f); !slices.Equal(got, []string{"read"}) || skipped != 0 {
		t.Fatalf("%q, %d", got, skipped)
	}
	const n = 1000
	for range n {
		write(l, Stdout, 1, "0123456789\n")
	}
	// What was open stood before the gap.
	if got, skipped := next(t, f); !slices.Equal(got, []string{"open"}) || skipped != 0 {
		t.Fatalf("%q, %d", got, skipped)
	}
	got, skipped := next(t, f)
	if want := int64(n*11 - minRing); skipped != want {
		t.Errorf("%d bytes skipped, want %d", skipped, want)
	}
	if last := got[len(got)-1]; last != "0123456789" {
		t.Errorf("after the gap: %q", last)
	}
}

// Between what was asked for and what is followed, nothing is missing and
// nothing comes twice, while the server goes on printing.
func TestLinesThenFollow(t *testing.T) {
	l := New(0)
	const total = 20_000
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range total {
			// Lines end in the middle of blocks.
			l.Write(Stdout, 1, time.Now(), fmt.Appendf(nil, "%d\nline ", i))
			if i%100 == 0 {
				runtime.Gosched()
			}
		}
		l.Write(Stdout, 1, time.Now(), []byte("end\n"))
	})
	defer writer.Wait()
	lines, f, err := l.LinesThenFollow(Query{Lines: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := texts(lines)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for len(got) == 0 || got[len(got)-1] != "line end" {
		more, skipped, err := f.Next(ctx)
		if err != nil || skipped != 0 {
			t.Fatalf("after %d lines: %d skipped, %v", len(got), skipped, err)
		}
		got = append(got, texts(more)...)
	}
	first := total - len(got) + 1
	for i, text := range got[:len(got)-1] {
		if !strings.HasSuffix(text, fmt.Sprint(first+i)) {
			t.Fatalf("line %d is %q, want …%d", i, text, first+i)
		}
	}
}

// A follower that starts where a line is open shows it in time, and whole.
func TestLinesThenFollowLeavesTheOpenLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(0)
		write(l, Stdout, 1, "done\nhalf a ")
		lines, f, err := l.LinesThenFollow(Query{})
		if err != nil || !slices.Equal(texts(lines), []string{"done"}) {
			t.Fatalf("%v, %v", lines, err)
		}
		defer f.Close()
		time.AfterFunc(100*time.Millisecond, func() { write(l, Stdout, 1, "line\n") })
		if got, _ := next(t, f); !slices.Equal(got, []string{"half a line"}) {
			t.Errorf("%q", got)
		}
	})
}

// 1 GB without a newline: memory stays bounded, the writer is never held up by
// a follower that does not read, and the follower is told what it missed.
func TestFloodWithoutNewline(t *testing.T) {
	const total = 1 << 30
	l := New(0)
	f := l.Follow(Oldest)
	defer f.Close()
	block := []byte(strings.Repeat("x", 64<<10))
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, peak := m.HeapInuse, uint64(0)
	var followed int64
	for i := range total / len(block) {
		l.Write(Stdout, 1, epoch.Add(time.Duration(i)*100*time.Microsecond), block)
		if i%4096 == 0 {
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapInuse)
			lines, skipped := f.Poll()
			followed += skipped
			for _, line := range lines {
				followed += int64(len(line.Text))
			}
		}
	}
	for {
		lines, skipped, err := f.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		followed += skipped
		for _, line := range lines {
			if len(line.Text) > MaxLine {
				t.Fatalf("a line of %d bytes", len(line.Text))
			}
			followed += int64(len(line.Text))
		}
		if followed >= total {
			break
		}
	}
	if followed != total {
		t.Errorf("%d bytes were followed or skipped, %d written", followed, total)
	}
	if grown := int64(peak) - int64(before); grown > 8<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if used := l.budget.Used(); used > DefaultLimit+DefaultLimit/2 {
		t.Errorf("the log holds %d bytes", used)
	}
	if lines := all(t, l); len(lines) == 0 || len(lines) > DefaultLimit/MaxLine {
		t.Errorf("%d lines of what is kept", len(lines))
	}
}

// Readers of every kind beside two writers, under the race detector.
func TestConcurrentUse(t *testing.T) {
	b := NewBudget(256 << 10)
	logs := []*Log{b.New(0), b.New(0), b.New(0)}
	ctx, cancel := context.WithCancel(t.Context())
	var writers, readers sync.WaitGroup
	for i, l := range logs {
		for _, stream := range []string{Stdout, Stderr} {
			writers.Go(func() {
				for n := range 300 {
					l.Write(stream, 1, time.Now(), []byte(strings.Repeat(fmt.Sprintln(i, n), 100)))
				}
			})
		}
		readers.Go(func() {
			f := l.Follow(Oldest)
			defer f.Close()
			for {
				if _, _, err := f.Next(ctx); err != nil {
					return
				}
			}
		})
		readers.Go(func() {
			for ctx.Err() == nil {
				l.Tail(20)
				if _, err := l.Lines(Query{}); err != nil {
					t.Error(err)
				}
				runtime.Gosched()
			}
		})
	}
	writers.Wait()
	cancel()
	readers.Wait()
	if used := b.Used(); used > 256<<10 {
		t.Errorf("%d bytes are used", used)
	}
}
