package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
)

const (
	// pacedBound is how much may wait for a peer before a paced sender waits
	// too: what a socket takes at once, about twice.
	pacedBound = 256 << 10

	// writeChunk is the most that one write is given: the time-out is for
	// progress, and a slow peer that reads must not be taken for one that
	// does not because the batch is large.
	writeChunk = 64 << 10

	// keepBuffer is the largest buffer kept for the next batch: one large
	// answer must not stay in the memory of an idle connection.
	keepBuffer = 256 << 10
)

var (
	errOverflow = errors.New("peer does not read: too much is waiting for it")
	errTimeout  = errors.New("peer does not read: write timed out")
)

// outbox is what waits to be written. Putting never waits: bytes go into
// memory, and one goroutine, run, writes them. It owns the writing side: a
// frame that was written in part can't be followed by anything, so the first
// failed write is the last.
type outbox struct {
	rwc     io.ReadWriteCloser
	max     int
	timeout time.Duration
	expire  func() // ends the connection where the writer has no deadlines

	mu      sync.Mutex
	wake    sync.Cond     // something to write, or stopped
	changed chan struct{} // closed at progress or stop, where somebody waits for it
	buf     []byte        // what the writer has not taken yet
	queued  int64         // bytes ever put
	written int64         // bytes ever written
	state   outboxState
	drainBy time.Time // when draining: the end of patience
	writing bool      // the writer has a batch in hand
	direct  *direct   // nil: only the writer writes
}

type outboxState string

const (
	open     outboxState = "open"
	draining outboxState = "draining" // what was put is written, nothing more is taken
	dropped  outboxState = "dropped"  // nothing is written any more
)

func newOutbox(rwc io.ReadWriteCloser, limit int, timeout time.Duration) *outbox {
	o := &outbox{rwc: rwc, max: limit, timeout: timeout, state: open}
	o.wake.L = &o.mu
	return o
}

// put queues one frame, whose body is the parts together.
func (o *outbox) put(parts ...[]byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.putLocked(parts, false)
}

// putNow is put for a frame that somebody waits for and that no other follows
// at once: where nothing else is waiting and the peer's socket has room, it is
// written here and now, which saves waking the writer.
func (o *outbox) putNow(parts ...[]byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.putLocked(parts, true)
}

func (o *outbox) putLocked(parts [][]byte, now bool) error {
	if o.state != open {
		return ErrClosed
	}
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	// A frame larger than the whole outbox is taken when nothing else waits:
	// it is in memory already.
	if waiting := o.queued - o.written; waiting > 0 && waiting+int64(n) > int64(o.max) {
		return errOverflow
	}
	before := len(o.buf)
	o.buf = append(o.buf, "Content-Length: "...)
	o.buf = strconv.AppendInt(o.buf, int64(n), 10)
	o.buf = append(o.buf, "\r\n\r\n"...)
	for _, p := range parts {
		o.buf = append(o.buf, p...)
	}
	o.queued += int64(len(o.buf) - before)
	if before > 0 || o.writing {
		return nil // the writer comes back for it
	}
	if now && o.direct != nil {
		n := o.direct.try(o.buf)
		o.written += int64(n)
		o.buf = o.buf[:copy(o.buf, o.buf[n:])]
		if len(o.buf) == 0 {
			if cap(o.buf) > keepBuffer {
				o.buf = nil
			}
			return nil
		}
	}
	o.wake.Signal()
	return nil
}

// putPaced waits until little is waiting for the peer, and puts.
func (o *outbox) putPaced(ctx context.Context, parts ...[]byte) error {
	for {
		o.mu.Lock()
		if o.state != open || o.queued-o.written <= pacedBound {
			err := o.putLocked(parts, false)
			o.mu.Unlock()
			return err
		}
		changed := o.watchLocked()
		o.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// flush waits until everything put so far is written.
func (o *outbox) flush(ctx context.Context) error {
	o.mu.Lock()
	target := o.queued
	for o.written < target {
		if o.state == dropped {
			o.mu.Unlock()
			return ErrClosed
		}
		changed := o.watchLocked()
		o.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		o.mu.Lock()
	}
	o.mu.Unlock()
	return nil
}

// await waits until at most bound bytes are waiting, at most for patience.
func (o *outbox) await(bound int, patience time.Duration) {
	o.mu.Lock()
	if o.state != open || o.queued-o.written <= int64(bound) {
		o.mu.Unlock()
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for o.state == open && o.queued-o.written > int64(bound) {
		changed := o.watchLocked()
		o.mu.Unlock()
		select {
		case <-changed:
		case <-timer.C:
			return
		}
		o.mu.Lock()
	}
	o.mu.Unlock()
}

func (o *outbox) watchLocked() <-chan struct{} {
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.changed
}

func (o *outbox) tellLocked() {
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
}

// drain lets the writer finish what was put, within the time-out, and takes
// nothing more.
func (o *outbox) drain() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.state != open {
		return
	}
	o.state, o.drainBy = draining, time.Now().Add(o.timeout)
	o.tellLocked()
	o.wake.Signal()
}

// drop ends the writing. The caller closes the connection, which ends a write
// that is under way.
func (o *outbox) drop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.state, o.buf = dropped, nil
	o.tellLocked()
	o.wake.Signal()
}

// run writes until the outbox is drained, dropped, or a write fails.
func (o *outbox) run() error {
	deadline, hasDeadline := o.rwc.(interface{ SetWriteDeadline(time.Time) error })
	if hasDeadline && deadline.SetWriteDeadline(time.Time{}) != nil {
		hasDeadline = false // a terminal, a regular file: it can't be waited for
	}
	if hasDeadline {
		o.mu.Lock()
		o.direct = newDirect(o.rwc)
		o.mu.Unlock()
	}
	var spare []byte
	for {
		o.mu.Lock()
		for len(o.buf) == 0 && o.state == open {
			o.wake.Wait()
		}
		o.writing = true
		batch := o.buf
		o.buf, spare = spare[:0], batch
		if len(batch) == 0 { // draining and empty, or dropped
			o.mu.Unlock()
			return nil
		}
		o.mu.Unlock()

		for len(batch) > 0 {
			by := time.Now().Add(o.timeout)
			o.mu.Lock()
			if o.state == draining {
				by = o.drainBy
			}
			o.mu.Unlock()
			n, err := o.write(batch[:min(len(batch), writeChunk)], by, deadline, hasDeadline)
			o.mu.Lock()
			o.written += int64(n)
			o.tellLocked()
			o.mu.Unlock()
			if err != nil {
				return err
			}
			batch = batch[n:]
		}
		if cap(spare) > keepBuffer {
			spare = nil
		}
		if hasDeadline {
			// One that has passed would fail a direct write.
			if err := deadline.SetWriteDeadline(time.Time{}); err != nil {
				return err
			}
		}
		o.mu.Lock()
		o.writing = false
		o.mu.Unlock()
	}
}

func (o *outbox) write(b []byte, by time.Time, d interface{ SetWriteDeadline(time.Time) error }, hasDeadline bool) (int, error) {
	if hasDeadline {
		if err := d.SetWriteDeadline(by); err != nil {
			return 0, err
		}
	} else {
		defer time.AfterFunc(time.Until(by), o.expire).Stop()
	}
	n, err := o.rwc.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if isTimeout(err) {
		err = fmt.Errorf("%w after %s", errTimeout, o.timeout)
	}
	return n, err
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
