package logs

import (
	"context"
	"io"
	"sync"
	"time"
)

const (
	// partialAfter is how long a line may stay open before followers see it: a
	// prompt, or a progress bar, which has no newline for minutes.
	partialAfter = 200 * time.Millisecond
	// followChunk bounds what one Next returns: 32 KiB of newlines are 32,768
	// lines, some 3 MiB.
	followChunk = 32 << 10
)

// Follower reads a log as it grows. One goroutine at a time uses it; Close may
// come from any. A follower that is not read costs nothing but its place.
type Follower struct {
	log *Log
	cut *cutter
	off int64
	buf []byte

	signal chan struct{} // one slot: there is more
	closed chan struct{}
	once   sync.Once
}

// Follow reads from a place on: Oldest, End(), or one noted earlier.
func (l *Log) Follow(from Cursor) *Follower {
	f := &Follower{
		log: l, cut: &cutter{}, off: int64(from),
		signal: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	if from < 0 {
		l.mu.Lock()
		f.off = l.start
		l.mu.Unlock()
	}
	return f
}

// Close ends the follower; a Next that waits returns io.EOF.
func (f *Follower) Close() { f.once.Do(func() { close(f.closed) }) }

// Next waits for lines and returns them, at most a few thousand at once.
// skipped is how many bytes were lost before these lines because the follower
// was too slow; lines may then be empty. The error is the context's, or io.EOF
// when the follower or its log was closed.
func (f *Follower) Next(ctx context.Context) (lines []Line, skipped int64, err error) {
	for {
		if err := f.ended(ctx); err != nil {
			return nil, 0, err
		}
		lines, skipped, more, open := f.read(true)
		switch {
		case len(lines) > 0 || skipped > 0:
			f.forget()
			return lines, skipped, nil
		case more:
			continue
		case !open:
			f.forget()
			return nil, 0, io.EOF
		}
		f.wait(ctx)
	}
}

// Poll is Next without the waiting: what there is now.
func (f *Follower) Poll() (lines []Line, skipped int64) {
	lines, skipped, _, _ = f.read(false)
	return lines, skipped
}

// read cuts a chunk of what has come, and shows what has been open for long
// enough. more: there is another chunk. Without, if wait is set, the log will
// signal what comes next. open: the log was not closed.
func (f *Follower) read(wait bool) (lines []Line, skipped int64, more, open bool) {
	l := f.log
	emit := func(line Line) { lines = append(lines, line) }
	l.mu.Lock()
	delete(l.waiting, f)
	if f.off < l.start {
		if f.cut.oldest() != nil {
			// What was open belongs before the gap.
			l.mu.Unlock()
			f.cut.show(time.Time{}, emit)
			return lines, 0, true, true
		}
		skipped = l.start - f.off
		f.off = l.start
		f.cut = &cutter{}
	}
	var pieces []piece
	pieces, f.buf, f.off = l.copyOut(f.buf, f.off, followChunk)
	more, open = f.off < l.end, !l.closed
	if wait && !more && open {
		l.waiting[f] = struct{}{}
	}
	l.mu.Unlock()

	f.cut.now = time.Now()
	for _, p := range pieces {
		f.cut.feed(p, emit)
	}
	switch {
	case !open:
		f.cut.show(time.Time{}, emit)
	case !more:
		f.cut.show(f.cut.now.Add(-partialAfter), emit)
	}
	return lines, skipped, more, open
}

// wait returns when there may be something to do.
func (f *Follower) wait(ctx context.Context) {
	defer f.forget()
	var partial <-chan time.Time
	if o := f.cut.oldest(); o != nil {
		t := time.NewTimer(time.Until(o.since.Add(partialAfter)))
		defer t.Stop()
		partial = t.C
	}
	select {
	case <-f.signal:
	case <-partial:
	case <-f.closed:
	case <-ctx.Done():
	}
}

func (f *Follower) ended(ctx context.Context) error {
	select {
	case <-f.closed:
		return io.EOF
	default:
		return ctx.Err()
	}
}

func (f *Follower) forget() {
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	delete(f.log.waiting, f)
}

// wake never blocks: one signal in the slot is enough.
func (f *Follower) wake() {
	select {
	case f.signal <- struct{}{}:
	default:
	}
}
