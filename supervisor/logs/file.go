package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// diskPatience is how long a server's output waits for a disk that does not
	// take it. Then the server goes on and the file has a gap.
	diskPatience = time.Second
	// retryDisk is the pause after a write that failed.
	retryDisk = time.Second
	// lookEvery is how often a file in use is looked at: somebody may have
	// removed, moved or emptied it.
	lookEvery = time.Second
)

// file is where one server's output is written, by whoever brings some while
// nobody else writes. What comes meanwhile waits in memory, at most so much.
type file struct {
	files  *Files
	server string
	resume resumption // where the files of an earlier hub end

	mu      sync.Mutex
	fill    batch
	writing bool // somebody has the writer
	stalled bool // the disk has not taken anything for diskPatience
	closed  bool
	news    chan struct{} // not nil: closed at the next change
	retry   *time.Timer   // a write that failed is tried again then
	joined  sync.WaitGroup

	opened  atomic.Bool  // the writer has the current file open
	missing atomic.Int64 // bytes that are in no file, in all

	// Only who has set writing touches it.
	w writer
}

// batch is output that waits, and how much was lost after it.
type batch struct {
	data    []byte
	records []record
	pos     int64 // of its first byte
	lost    int64
}

func (b *batch) empty() bool { return len(b.records) == 0 && b.lost == 0 }

// resumption says where a server's files end.
type resumption struct {
	pos     int64 // position after the last byte
	run     int   // greatest number of a run
	seq     int   // greatest number of a full file
	usable  bool  // the current file can be gone on with
	size    int64 // of the current file
	index   int64 // and its index
	fix     record
	encoder indexEncoder
}

func newFile(files *Files, server string) *file {
	f := &file{files: files, server: server}
	h, err := openHistory(files.rooted(), server)
	if err != nil {
		files.report(server, fmt.Errorf("read the logs of %s: %w", server, err))
		return f
	}
	defer h.Close()
	f.resume = h.end()
	f.w.seq = f.resume.seq
	return f
}

// await waits until cond holds, at most so long, and reports whether it does.
// cond is called with f.mu held.
func (f *file) await(patience time.Duration, cond func() bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if cond() {
		return true
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	for !cond() {
		if f.news == nil {
			f.news = make(chan struct{})
		}
		news := f.news
		f.mu.Unlock()
		late := false
		select {
		case <-news:
		case <-t.C:
			late = true
		}
		f.mu.Lock()
		if late {
			return cond()
		}
	}
	return true
}

// changed wakes who awaits something. f.mu is held.
func (f *file) changed() {
	if f.news != nil {
		close(f.news)
		f.news = nil
	}
}

// room waits until there is room for a block. A disk that does not take
// anything is waited for once.
func (f *file) room() {
	f.mu.Lock()
	free := !f.full() || f.stalled
	f.mu.Unlock()
	if !free && !f.await(diskPatience, func() bool { return !f.full() || f.stalled || f.closed }) {
		f.stall()
	}
}

// full reports whether no more may wait. f.mu is held.
func (f *file) full() bool {
	n := len(f.fill.data)
	return n >= mostWaiting || n >= leastWaiting && f.files.waiting.Load() >= waitingBytes
}

func (f *file) stall() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stalled = true
	f.changed()
}

// batchBuffers hold what a flood brings until it is written.
var batchBuffers = sync.Pool{New: func() any { b := make([]byte, 0, grownRead); return &b }}

// add takes a block, which it copies. It never waits; the caller has waited for
// room, calls write or writeSoon afterwards, and blocks come in the order of
// their positions.
func (f *file) add(pos int64, stream string, run int, at int64, head bool, block []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := &f.fill
	switch {
	case f.closed:
	case f.stalled && f.full() || b.lost > 0:
		b.lost += int64(len(block))
	default:
		if len(b.records) == 0 {
			b.pos = pos
		}
		if cap(b.data) == 0 && len(block) > quietRead {
			b.data = (*batchBuffers.Get().(*[]byte))[:0]
		}
		b.data = append(b.data, block...)
		f.files.waiting.Add(int64(len(block)))
		b.add(record{n: int64(len(block)), at: at, run: run, stream: streamNumber(stream), head: head})
	}
}

// mergedBytes bounds a record, so that a place within it is found quickly.
const mergedBytes = 1 << 20

// add joins a record to the last one, if they may share it.
func (b *batch) add(r record) {
	if len(b.records) > 0 {
		last := &b.records[len(b.records)-1]
		if last.stream == r.stream && last.run == r.run && last.n < mergedBytes && r.at >= last.at && r.at-last.at < int64(mergeWithin) {
			last.n += r.n
			return
		}
	}
	b.records = append(b.records, r)
}

// flush waits until what was added is written, or lost, at most so long.
func (f *file) flush(patience time.Duration) {
	f.await(patience, func() bool { return f.fill.empty() && !f.writing })
}

// close writes what waits, waits at most so long for that, and takes no more. A
// write that hangs is left to end with the process.
func (f *file) close(patience time.Duration) {
	f.mu.Lock()
	f.closed = true
	if f.retry != nil {
		f.retry.Stop()
	}
	f.changed()
	f.mu.Unlock()
	if !f.await(patience, func() bool { return !f.writing }) {
		return
	}
	f.joined.Wait()
	f.write(nil)
	f.mu.Lock()
	f.writing = true // for good
	f.mu.Unlock()
	if f.w.lost > 0 {
		f.w.write(f, &batch{}, true) // the last time to say so
	}
	f.w.close(f)
}

// turns is how many batches one caller writes: it has a pipe to read, too.
const turns = 4

// write writes what waits, unless somebody else does. If the disk has not
// taken it after diskPatience, instead is called, once, on another goroutine,
// and write returns false when it returns: the caller has been replaced. Without
// instead it takes what time it takes.
func (f *file) write(instead func()) bool {
	f.mu.Lock()
	if f.writing || f.fill.empty() && f.w.lost == 0 {
		f.mu.Unlock()
		return true
	}
	f.writing = true
	f.mu.Unlock()
	var over atomic.Bool
	watch := time.AfterFunc(diskPatience, func() {
		f.stall()
		if instead != nil && over.CompareAndSwap(false, true) {
			instead()
		}
	})
	for range turns {
		if !f.writeOne() {
			break
		}
	}
	watch.Stop()
	same := over.CompareAndSwap(false, true)
	f.mu.Lock()
	f.writing, f.stalled = false, false
	more := !f.fill.empty()
	f.changed()
	f.mu.Unlock()
	if more {
		f.writeSoon()
	}
	return same
}

// writeOne writes one batch, and reports whether there may be another.
func (f *file) writeOne() bool {
	f.mu.Lock()
	b := f.fill
	f.fill = batch{}
	f.changed() // there is room
	f.mu.Unlock()
	f.w.write(f, &b, false)
	f.files.waiting.Add(-int64(len(b.data)))
	if cap(b.data) == grownRead {
		batchBuffers.Put(&b.data)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.w.lost > 0 && !f.closed {
		if f.retry != nil {
			f.retry.Stop()
		}
		f.retry = time.AfterFunc(retryDisk, f.writeSoon)
	}
	return !f.fill.empty()
}

// writeSoon is write for those who can't wait.
func (f *file) writeSoon() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.writing && !f.closed {
		f.joined.Go(func() { f.write(nil) })
	}
}

// writer is the file's end on disk.
type writer struct {
	seq      int // greatest number of a full file
	started  bool
	data     io.WriteCloser
	index    io.WriteCloser
	info     os.FileInfo // of data
	size     int64       // written to data
	indexed  int64       // written to index, with what is in pending
	limit    int64
	encoder  indexEncoder
	pending  []byte // of the index
	midnight int64  // when the file is full whatever it holds
	lookedAt time.Time
	nextPos  int64 // after everything written or lost
	// lost output since the last write that succeeded, why, and until when
	// nothing is tried.
	lost    int64
	cause   error
	retryAt time.Time
	lastRun int
}

var errSlowDisk = errors.New("the disk did not take them in time")

// write writes a batch, or loses it. last: there is no later time to try.
func (w *writer) write(f *file, b *batch, last bool) {
	now := f.files.now()
	if w.lost > 0 && now.Before(w.retryAt) && !last {
		w.lose(f, int64(len(b.data))+b.lost, nil, now)
		return
	}
	if len(b.records) > 0 {
		w.nextPos, w.lastRun = b.pos, b.records[len(b.records)-1].run
	}
	rest, err := w.tryWrite(f, b, now)
	if err != nil {
		w.lose(f, rest+b.lost, err, now)
	} else if b.lost > 0 {
		w.lose(f, b.lost, errSlowDisk, now)
	}
}

// lose counts what is in no file.
func (w *writer) lose(f *file, n int64, err error, now time.Time) {
	first := w.lost == 0
	w.lost += n
	w.nextPos += n
	f.missing.Add(n)
	if err == nil {
		return
	}
	w.cause = err
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		w.cause = path.Err // whoever reads it has the file before them
	}
	if !errors.Is(err, errSlowDisk) {
		w.retryAt = now.Add(retryDisk)
	}
	if first && w.lost > 0 {
		f.files.report(f.server, fmt.Errorf("write the log of %s: %w", f.server, err))
	}
}

// tryWrite returns how many bytes of the batch could not be written.
func (w *writer) tryWrite(f *file, b *batch, now time.Time) (rest int64, err error) {
	rest = int64(len(b.data))
	if err := w.ready(f, b, now); err != nil {
		return rest, err
	}
	if w.lost > 0 {
		if err := w.sayLost(f, now); err != nil {
			return rest, err
		}
	}
	data, records := b.data, b.records
	for len(data) > 0 {
		room := w.limit - w.size
		if room <= 0 || w.indexed >= w.limit/indexShare {
			if err := w.rotate(f, now); err != nil {
				return rest, err
			}
			continue
		}
		part := data
		if int64(len(part)) > room {
			part = part[:room]
			if cut := bytes.LastIndexByte(part, '\n'); cut >= 0 {
				part = part[:cut+1]
			}
		}
		n, err := w.data.Write(part)
		records = w.wrote(records, int64(n), n > 0 && part[n-1] == '\n')
		rest -= int64(n)
		data = data[n:]
		if err = errors.Join(err, w.flushIndex()); err != nil {
			return rest, err
		}
		if len(data) > 0 { // the file is full, or this would have been all
			if err := w.rotate(f, now); err != nil {
				return rest, err
			}
		}
	}
	return 0, w.flushIndex()
}

// wrote takes note of the records that lie within n bytes and returns the rest.
func (w *writer) wrote(records []record, n int64, lineEnd bool) []record {
	w.size += n
	w.nextPos += n
	for n > 0 && len(records) > 0 {
		r := records[0]
		if r.n > n {
			records[0].n -= n
			records[0].head = lineEnd
			r.n = n
		} else {
			records = records[1:]
		}
		w.note(r)
		n -= r.n
	}
	return records
}

// note puts a record where flushIndex writes it from.
func (w *writer) note(r record) {
	before := len(w.pending)
	w.pending = w.encoder.append(w.pending, r)
	w.indexed += int64(len(w.pending) - before)
}

func (w *writer) flushIndex() error {
	if len(w.pending) == 0 {
		return nil
	}
	n, err := w.index.Write(w.pending)
	w.pending = append(w.pending[:0], w.pending[n:]...)
	return err
}

// sayLost writes into the file what is missing in it, as a line of devside's.
func (w *writer) sayLost(f *file, now time.Time) error {
	text := fmt.Sprintf("%d bytes of output are missing here: %v\n", w.lost, w.cause)
	n, err := io.WriteString(w.data, text)
	if n > 0 {
		r := record{n: int64(n), at: now.UnixNano(), run: w.lastRun, stream: streamNumber(Devside), head: true, aside: true}
		if err == nil {
			r.lost = w.lost
		}
		w.size += r.n
		w.note(r)
	}
	if err = errors.Join(err, w.flushIndex()); err != nil {
		return err
	}
	f.files.report(f.server, fmt.Errorf("write the log of %s: it works again; %d bytes of output are missing in it", f.server, w.lost))
	w.lost, w.cause = 0, nil
	return nil
}

// ready makes sure that there is a current file.
func (w *writer) ready(f *file, b *batch, now time.Time) error {
	if w.data != nil && now.Sub(w.lookedAt) >= lookEvery {
		w.lookedAt = now
		info, err := f.files.rooted().Lstat(f.server + logSuffix)
		if err != nil || !os.SameFile(info, w.info) || info.Size() < w.size {
			// Removed, moved or emptied: what follows begins a new one, and the
			// index says nothing of what stands there.
			w.close(f)
			if err := f.files.rooted().Remove(f.server + indexSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	if w.data == nil {
		err := w.open(f, now)
		if errors.Is(err, fs.ErrNotExist) {
			if err = f.files.remake(); err == nil {
				err = w.open(f, now)
			}
		}
		if err != nil {
			return err
		}
	}
	if len(b.records) > 0 && b.records[0].at >= w.midnight {
		err := w.rotate(f, now)
		w.midnight = max(w.midnight, midnight(time.Unix(0, b.records[0].at)))
		return err
	}
	return w.flushIndex()
}

// open opens the current file: the one of an earlier hub where that can be gone
// on with, else a new one.
func (w *writer) open(f *file, now time.Time) error {
	root := f.files.rooted()
	again := f.resume
	usable := again.usable && !w.started
	w.started = true
	name, index := f.server+logSuffix, f.server+indexSuffix
	for _, n := range []string{name, index} {
		// A link, a pipe or a folder in the place of a file goes; what a link
		// names is not touched.
		if info, err := root.Lstat(n); err == nil && !info.Mode().IsRegular() {
			usable = false
			if err := root.Remove(n); err != nil {
				return err
			}
		}
	}
	if info, err := root.Lstat(name); err != nil || info.Size() != again.size {
		usable = false
	}
	if !usable {
		return w.create(f, now)
	}
	data, err := root.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	log, err := root.OpenFile(index, os.O_WRONLY, 0o600)
	if err == nil {
		// Behind the last whole record: a crash may have torn one.
		err = errors.Join(log.Truncate(again.index), log.Chmod(0o600), data.Chmod(0o600))
	}
	if err == nil {
		_, err = log.Seek(again.index, io.SeekStart)
	}
	if err != nil {
		return errors.Join(err, data.Close(), closeFile(log))
	}
	w.begin(f, data, log, again.size, again.index, now)
	w.encoder = again.encoder
	if again.fix.n > 0 {
		w.note(again.fix)
	}
	// Its day is that of its last line, which may be over.
	w.midnight = midnight(time.Unix(0, again.encoder.at))
	return w.flushIndex()
}

func closeFile(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

// create begins a new current file. What stands in its place is kept, as a full
// file.
func (w *writer) create(f *file, now time.Time) error {
	root := f.files.rooted()
	name, index := f.server+logSuffix, f.server+indexSuffix
	if info, err := root.Lstat(name); err == nil && info.Size() > 0 {
		if err := w.retire(f, root); err != nil {
			return err
		}
	}
	// A new index first: an old one would be taken for the new file's.
	for _, n := range []string{index, name} {
		if err := root.Remove(n); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	log, err := root.OpenFile(index, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	data, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err == nil {
		err = errors.Join(log.Chmod(0o600), data.Chmod(0o600)) // the umask may have taken our own rights
	}
	var n int
	if err == nil {
		// What was lost before is said in the first record, not here.
		n, err = log.Write(appendHeader(nil, w.nextPos-w.lost))
	}
	if err != nil {
		return errors.Join(err, closeFile(data), log.Close())
	}
	w.begin(f, data, log, 0, int64(n), now)
	return nil
}

func (w *writer) begin(f *file, data, index *os.File, size, indexed int64, now time.Time) {
	w.data, w.index, w.size, w.indexed = data, index, size, indexed
	w.info, _ = data.Stat() // without, the file is taken for another at the next look
	w.limit = f.files.segmentLimit()
	w.encoder, w.pending = indexEncoder{}, w.pending[:0]
	w.lookedAt, w.midnight = now, midnight(now)
	f.opened.Store(true)
}

// midnight is the end of a moment's day.
func midnight(t time.Time) int64 {
	if t.Unix() <= 0 {
		return math.MaxInt64
	}
	y, m, d := t.Local().Date()
	return time.Date(y, m, d+1, 0, 0, 0, 0, time.Local).UnixNano()
}

// rotate makes the current file a full one, and begins the next.
func (w *writer) rotate(f *file, now time.Time) error {
	w.close(f)
	return w.create(f, now)
}

// retire gives the current file its number.
func (w *writer) retire(f *file, root *os.Root) error {
	full := stem(f.server, w.seq+1)
	if err := root.Rename(f.server+indexSuffix, full+indexSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := root.Rename(f.server+logSuffix, full+logSuffix); err != nil {
		return err
	}
	w.seq++
	f.files.rotated()
	return nil
}

// close closes the current file.
func (w *writer) close(f *file) {
	if w.data == nil {
		return
	}
	err := errors.Join(w.flushIndex(), w.data.Close(), w.index.Close())
	w.data, w.index, w.pending = nil, nil, w.pending[:0]
	f.opened.Store(false)
	if err != nil {
		f.files.report(f.server, fmt.Errorf("close the log of %s: %w", f.server, err))
	}
}
