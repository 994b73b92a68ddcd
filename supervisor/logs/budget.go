package logs

import "sync"

// DefaultBudget caps the rings of all servers together, so that 50 noisy ones
// do not cost 50 MiB.
const DefaultBudget = 16 << 20

// Budget is the memory that several logs share. A log that needs more when all
// is given away takes it from one that holds at least twice what it asks for,
// which then forgets the older half: sizes level out, and a silent server keeps
// what it said as long as nobody else is short.
//
// Its lock is taken before any log's; only while it is held do rings change
// their size.
type Budget struct {
	limit int

	mu   sync.Mutex
	used int
	logs []*Log
}

// NewBudget returns a budget of limit bytes (DefaultBudget if it is not
// positive).
func NewBudget(limit int) *Budget {
	if limit <= 0 {
		limit = DefaultBudget
	}
	return &Budget{limit: limit}
}

// New returns an empty log that keeps up to limit bytes (DefaultLimit if limit
// is not positive) and lives within the budget.
func (b *Budget) New(limit int) *Log {
	l := &Log{limit: clampLimit(limit), budget: b, waiting: map[*Follower]struct{}{}}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.logs = append(b.logs, l)
	return l
}

// Used is the memory that the logs hold now, in bytes.
func (b *Budget) Used() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

func cost(ring, blocks int) int { return ring + blocks*blockSize }

// wantsRoom reports whether n more bytes would make the log forget something
// although it has not reached its limit. The caller holds l.mu.
func (l *Log) wantsRoom(n int) bool {
	if l.closed || l.end < l.retryAt {
		return false
	}
	ring, blocks := l.sizeFor(n)
	return ring > len(l.ring) || blocks > len(l.blocks)
}

// sizeFor is the size of ring and index with room for n more bytes, as far as
// the limit allows.
func (l *Log) sizeFor(n int) (ring, blocks int) {
	ring = max(len(l.ring), minRing)
	for need := int(l.end-l.start) + n; ring < need && ring < l.limit; {
		ring = min(2*ring, l.limit)
	}
	blocks = max(len(l.blocks), minBlocks)
	if l.count == len(l.blocks) && l.count > 0 {
		blocks = min(2*blocks, max(l.limit/bytesPerBlock, minBlocks))
	}
	return ring, blocks
}

// resize gives the log a ring and an index of the given sizes, dropping the
// oldest output that does not fit. The caller holds l.mu and the budget's lock.
func (l *Log) resize(ring, blocks int) {
	if ring != len(l.ring) {
		l.dropBefore(l.end - int64(ring))
		kept := l.appendTo(make([]byte, 0, l.end-l.start), l.start, l.end)
		l.ring = make([]byte, ring)
		if ring > 0 {
			l.copyIn(l.start, kept)
		}
	}
	if blocks == len(l.blocks) {
		return
	}
	for l.count > blocks {
		oldest := l.block(0)
		l.dropBefore(oldest.off + int64(oldest.n))
	}
	index := make([]block, blocks)
	for i := range l.count {
		index[i] = *l.block(i)
	}
	l.blocks, l.first = index, 0
}

// grow makes room for n more bytes in l, or leaves it as it is.
func (b *Budget) grow(l *Log, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.wantsRoom(n) {
		return
	}
	ring, blocks := l.sizeFor(n)
	more := cost(ring, blocks) - cost(len(l.ring), len(l.blocks))
	for b.used+more > b.limit {
		if b.takeFrom(l, 2*cost(ring, blocks)) {
			continue
		}
		l.retryAt = l.end + int64(max(len(l.ring), minRing))
		if len(l.ring) > 0 {
			return
		}
		// A log's first few KiB are given even beyond the limit: no server is mute.
		ring, blocks = minRing, minBlocks
		more = cost(ring, blocks)
		break
	}
	b.used += more
	l.resize(ring, blocks)
}

// takeFrom halves the largest log other than l, if it holds at least the given
// number of bytes. The caller holds b.mu, and l.mu: two logs' locks are held at
// once only under b.mu, so they can't be waited for in a circle.
func (b *Budget) takeFrom(l *Log, atLeast int) bool {
	var largest *Log
	size := 0
	for _, other := range b.logs {
		if other == l {
			continue
		}
		// Sizes change only under b.mu, so they can be read under it.
		if c := cost(len(other.ring), len(other.blocks)); c > size {
			largest, size = other, c
		}
	}
	if size < max(atLeast, 2*cost(minRing, minBlocks)) {
		return false
	}
	largest.mu.Lock()
	defer largest.mu.Unlock()
	largest.resize(max(len(largest.ring)/2, minRing), max(len(largest.blocks)/2, minBlocks))
	b.used -= size - cost(len(largest.ring), len(largest.blocks))
	return true
}

// leave takes a log out of the budget, with its memory.
func (b *Budget) leave(l *Log) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	b.used -= cost(len(l.ring), len(l.blocks))
	l.resize(0, 0)
	for i, other := range b.logs {
		if other == l {
			b.logs = append(b.logs[:i], b.logs[i+1:]...)
			break
		}
	}
	for f := range l.waiting {
		f.wake()
	}
}
