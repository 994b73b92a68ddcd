// Package logs keeps what a server prints: the newest output of each server in
// memory, as raw blocks in a bounded ring, and two weeks of it in files, from
// both of which lines are cut when somebody asks for them; and the goroutine
// body that reads a server's pipe into them.
//
// A writer never waits for a reader: a follower that is too slow loses output
// and is told how much. It waits for a disk for a second at most: then the file
// has a gap that says how much is missing, and why. Memory is bounded whatever a
// server prints, per server by the ring's limit and for all servers together by
// a Budget; so are the files, by Bounds. What a Secrets knows reaches neither.
// Escape sequences are left in lines; StripANSI makes them harmless where they
// are shown. A link in the place of a file is never followed. Nothing here knows
// of JSON.
//
// Start reading at Log.Write, then the cutter in lines.go, Follower.Next in
// follow.go, and for the files at file.add in file.go and history.recall in
// history.go.
package logs

import (
	"math"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// Streams of a line.
const (
	Stdout  = "stdout"
	Stderr  = "stderr"
	Devside = "devside" // what devside says itself; see Log.Say
)

const (
	// DefaultLimit is how much output of one server is kept: some 10,000 lines
	// of 100 bytes, the most that one question may ask for.
	DefaultLimit = 1 << 20
	// maxLimit keeps lengths of blocks within 32 bits.
	maxLimit = 1 << 30
	// minRing is what a ring begins with, so that 200 silent servers cost
	// nothing and 200 that said hello under 1 MiB.
	minRing   = 4 << 10
	minBlocks = minRing / bytesPerBlock
	// blockSize is the size of one entry of the index in memory (block).
	blockSize = 32
	// bytesPerBlock bounds the index by the ring's limit: at most half as much
	// again, for a server that prints lines of 64 bytes, each by itself.
	bytesPerBlock = 64
	// mergeWithin is how far apart two writes of one stream may be to share an
	// entry, and so a time: a byte at a time would otherwise fill the index.
	mergeWithin = time.Millisecond
)

// block says of a span of the ring whence it came. The span ends where the next
// one begins.
type block struct {
	off    int64
	at     int64 // Unix nanoseconds
	n      int32
	run    int32
	stream uint8 // index in Log.streams
	head   bool  // begins a line of its stream
}

// source is one stream of output.
type source struct {
	name string
	run  int
	open bool // its last byte was not a newline
}

// Log is the newest output of one server, over all its runs. Its methods may be
// called from several goroutines.
type Log struct {
	limit  int
	budget *Budget
	file   *file // nil: in memory only

	printed atomic.Int64 // bytes, over all runs of this hub

	mu      sync.Mutex
	closed  bool
	ring    []byte // the byte at absolute offset o is ring[o%len(ring)]
	start   int64  // offset of the oldest byte kept
	end     int64  // offset after the newest
	blocks  []block
	first   int // index in blocks of the oldest
	count   int // of blocks in use
	streams []source
	lastRun int
	// retryAt is the offset before which the budget, having refused, is not
	// asked again.
	retryAt int64
	waiting map[*Follower]struct{}
}

// New returns an empty log that keeps up to limit bytes of output
// (DefaultLimit if limit is not positive), with no budget but that.
func New(limit int) *Log {
	limit = clampLimit(limit)
	return NewBudget(limit + limit/bytesPerBlock*blockSize).New(limit)
}

// NewIn returns an empty log of DefaultLimit within a budget.
func NewIn(b *Budget) *Log { return b.New(DefaultLimit) }

func clampLimit(limit int) int {
	if limit <= 0 {
		return DefaultLimit
	}
	return min(max(limit, minRing), maxLimit)
}

// Write adds a block of output as it was read; the log copies it. It never
// waits for a reader, and for the disk a second at most. A block may end
// anywhere, also within a line or a rune.
func (l *Log) Write(stream string, run int, at time.Time, block []byte) {
	if l.file != nil {
		l.file.room()
	}
	l.put(stream, run, at, block)
	if l.file != nil {
		l.file.writeSoon()
	}
}

// put is Write without the waiting, and without the writing of the file.
func (l *Log) put(stream string, run int, at time.Time, block []byte) {
	if len(block) == 0 {
		return
	}
	l.mu.Lock()
	if l.wantsRoom(len(block)) {
		l.mu.Unlock()
		l.budget.grow(l, len(block))
		l.mu.Lock()
	}
	if l.closed {
		l.mu.Unlock()
		return
	}
	pos := l.end
	head := l.store(l.streamIndex(stream), run, at.UnixNano(), block)
	if l.file != nil {
		l.file.add(pos, stream, run, at.UnixNano(), head, block) // here, so that the file has the ring's order
	}
	l.printed.Add(int64(len(block)))
	l.lastRun = max(l.lastRun, run)
	for f := range l.waiting {
		f.wake()
	}
	l.mu.Unlock()
}

// LastRun is the greatest number of a run that the log knows of: of this hub's,
// or of one before it.
func (l *Log) LastRun() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lastRun
}

// Totals says how many bytes of output were added since the hub started, with
// devside's own lines, and how many of these are in no file because they could
// not be written. It waits for nobody.
func (l *Log) Totals() (printed, lost int64) {
	if l.file != nil {
		lost = l.file.missing.Load()
	}
	return l.printed.Load(), lost
}

// Say adds a line of devside's own. It waits for nobody.
func (l *Log) Say(run int, at time.Time, text string) {
	l.put(Devside, run, at, []byte(text+"\n"))
	if l.file != nil {
		l.file.writeSoon()
	}
}

// Close frees the memory, for good: what was kept is gone, what is written
// later is dropped, and followers end.
func (l *Log) Close() { l.budget.leave(l) }

// Cursor is a place in a log's output.
type Cursor int64

// Oldest is the place of the oldest output kept, wherever that is.
const Oldest Cursor = -1

// End is the place after the newest output.
func (l *Log) End() Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Cursor(l.end)
}

func (l *Log) streamIndex(name string) uint8 {
	i := slices.IndexFunc(l.streams, func(s source) bool { return s.name == name })
	if i < 0 {
		if len(l.streams) > math.MaxUint8 {
			return 0
		}
		i = len(l.streams)
		l.streams = append(l.streams, source{name: name})
	}
	return uint8(i)
}

func (l *Log) block(i int) *block { return &l.blocks[(l.first+i)%len(l.blocks)] }

// store appends, dropping the oldest output as needed. begins: the data begin a
// line of their stream.
func (l *Log) store(stream uint8, run int, at int64, data []byte) (begins bool) {
	src := &l.streams[stream]
	head := !src.open || src.run != run
	begins = head
	src.open, src.run = data[len(data)-1] != '\n', run
	if over := len(data) - len(l.ring); over > 0 {
		head = data[over-1] == '\n'
		l.end += int64(over)
		data = data[over:]
	}
	l.dropBefore(l.end + int64(len(data)) - int64(len(l.ring)))
	var last *block
	if l.count > 0 {
		last = l.block(l.count - 1)
	}
	if last != nil && last.stream == stream && last.run == int32(run) &&
		at >= last.at && at-last.at < int64(mergeWithin) {
		last.n += int32(len(data))
	} else {
		if l.count == len(l.blocks) {
			oldest := l.block(0)
			l.dropBefore(oldest.off + int64(oldest.n))
		}
		l.count++
		*l.block(l.count - 1) = block{off: l.end, at: at, n: int32(len(data)), run: int32(run), stream: stream, head: head}
	}
	l.copyIn(l.end, data)
	l.end += int64(len(data))
	return begins
}

// copyIn copies data to where offset off stands in the ring.
func (l *Log) copyIn(off int64, data []byte) {
	at := int(off % int64(len(l.ring)))
	n := copy(l.ring[at:], data)
	copy(l.ring, data[n:])
}

// dropBefore forgets what lies before off.
func (l *Log) dropBefore(off int64) {
	off = min(off, l.end)
	if off <= l.start {
		return
	}
	for l.count > 0 {
		b := l.block(0)
		if bEnd := b.off + int64(b.n); bEnd > off {
			if cut := off - b.off; cut > 0 {
				b.off, b.n, b.head = off, b.n-int32(cut), l.ring[(off-1)%int64(len(l.ring))] == '\n'
			}
			break
		}
		l.first = (l.first + 1) % len(l.blocks)
		l.count--
	}
	l.start = off
}

// appendTo appends the bytes from offset from to offset to, which must be kept.
func (l *Log) appendTo(buf []byte, from, to int64) []byte {
	for from < to {
		at := int(from % int64(len(l.ring)))
		n := min(int64(len(l.ring)-at), to-from)
		buf = append(buf, l.ring[at:at+int(n)]...)
		from += n
	}
	return buf
}

// piece is a copy of (a part of) a block.
type piece struct {
	at     int64
	run    int
	stream string
	head   bool // begins a line of its stream
	data   []byte
}

// copyOut copies at most limit bytes from offset from on. The pieces point into
// the returned buffer. The caller holds l.mu, and from is kept.
func (l *Log) copyOut(buf []byte, from int64, limit int) (pieces []piece, _ []byte, next int64) {
	to := min(l.end, from+int64(limit))
	if from >= to {
		return nil, buf, from
	}
	buf = l.appendTo(slices.Grow(buf[:0], int(to-from)), from, to)
	i := sort.Search(l.count, func(i int) bool { b := l.block(i); return b.off+int64(b.n) > from })
	for off := from; off < to; i++ {
		b := l.block(i)
		bEnd := min(b.off+int64(b.n), to)
		head := b.head
		if off > b.off {
			head = l.ring[(off-1)%int64(len(l.ring))] == '\n'
		}
		pieces = append(pieces, piece{
			at: b.at, run: int(b.run), stream: l.streams[b.stream].name, head: head, data: buf[off-from : bEnd-from],
		})
		off = bEnd
	}
	return pieces, buf, to
}
