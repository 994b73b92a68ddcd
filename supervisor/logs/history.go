package logs

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// mostRead bounds how much output one question reads back from files: some
	// two seconds' work. What is older is found by its run or its time.
	mostRead = 256 << 20
	// mostText bounds the text of one answer: a connection takes 8 MiB.
	mostText = 4 << 20
	// firstRead is how much is read back first.
	firstRead = 1 << 20
	// historyTries is how often the files are listed until none becomes full
	// meanwhile.
	historyTries = 5
)

// history is what the files of one server hold. The current file is open: it
// may become a full one while it is read.
type history struct {
	root     *os.Root
	segments []*segment // oldest first
	seq      int        // greatest number of a full file, with an index or without
	data     *os.File   // the current file, with its index; nil: there is none
	index    *os.File
}

// segment is one file whose index can be read.
type segment struct {
	base    string
	current bool
	start   int64 // position of its first byte
}

// openHistory finds a server's files. One without an index stays for people to
// read; it can't be said where it belongs.
func openHistory(root *os.Root, server string) (*history, error) {
	for range historyTries {
		h, err := tryHistory(root, server)
		if err != nil {
			return nil, err
		}
		_, seq, err := listServer(root, server)
		if err == nil && seq == h.seq {
			return h, nil
		}
		h.Close()
		if err != nil {
			return nil, err
		}
	}
	return tryHistory(root, server) // full files come fast: one may be missing
}

func listServer(root *os.Root, server string) (all []*stored, seq int, err error) {
	every, err := list(root)
	if err != nil {
		return nil, 0, err
	}
	for _, s := range every {
		if s.server == server {
			all, seq = append(all, s), max(seq, s.seq)
		}
	}
	return all, seq, nil
}

func tryHistory(root *os.Root, server string) (*history, error) {
	all, seq, err := listServer(root, server)
	if err != nil {
		return nil, err
	}
	h := &history{root: root, seq: seq}
	for _, s := range all {
		base := stem(s.server, s.seq)
		index, err := openRegular(root, base+indexSuffix)
		if err != nil {
			continue
		}
		d, err := decodeIndex(index)
		if err != nil {
			index.Close() //nolint:errcheck // only read from
			continue
		}
		seg := &segment{base: base, current: s.seq == 0, start: d.start}
		if !seg.current {
			index.Close() //nolint:errcheck // only read from
		} else if h.data, err = openRegular(root, base+logSuffix); err != nil {
			index.Close() //nolint:errcheck // only read from
			continue
		} else {
			h.index = index
		}
		h.segments = append(h.segments, seg)
	}
	return h, nil
}

// openRegular opens a file to read; a link or a pipe is none.
func openRegular(root *os.Root, name string) (*os.File, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: it is not a regular file", name)
	}
	return root.Open(name)
}

// Close lets go of the files.
func (h *history) Close() {
	for _, f := range []*os.File{h.data, h.index} {
		if f != nil {
			f.Close() //nolint:errcheck // only read from
		}
	}
}

// records calls see with each record of a segment, and the position and the
// offset of its first byte, until it returns false.
func (h *history) records(s *segment, see func(r record, pos, off int64) bool) (*indexDecoder, error) {
	var index io.Reader
	if s.current {
		index = io.NewSectionReader(h.index, 0, math.MaxInt64)
	} else {
		f, err := openRegular(h.root, s.base+indexSuffix)
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // only read from
		index = f
	}
	d, err := decodeIndex(index)
	if err != nil {
		return nil, err
	}
	pos, off := d.start, int64(0)
	for {
		r, ok := d.next()
		if !ok {
			return d, nil
		}
		pos += r.lost
		if !see(r, pos, off) {
			return d, nil
		}
		off += r.n
		if !r.aside {
			pos += r.n
		}
	}
}

// end is where whoever writes goes on.
func (h *history) end() resumption {
	end := resumption{seq: h.seq}
	for i, s := range slices.Backward(h.segments) {
		var last record
		pos, indexed := s.start, int64(0)
		d, err := h.records(s, func(r record, at, off int64) bool {
			last, pos, indexed = r, at, off+r.n
			if !r.aside {
				pos += r.n
			}
			end.run = max(end.run, r.run)
			return true
		})
		if i == len(h.segments)-1 {
			end.pos = pos
			if err == nil && s.current {
				h.resume(&end, d, last, indexed)
			}
		}
		if end.run > 0 {
			break
		}
	}
	return end
}

// resume says how the current file is gone on with. What a crash has left
// without a record belongs to the last one's.
func (h *history) resume(end *resumption, d *indexDecoder, last record, indexed int64) {
	info, err := h.data.Stat()
	if err != nil || info.Size() < indexed {
		return
	}
	end.usable, end.size, end.index, end.encoder = true, info.Size(), d.size, d.indexEncoder
	if rest := info.Size() - indexed; rest > 0 {
		end.fix = record{n: rest, at: info.ModTime().UnixNano(), run: last.run, stream: last.stream}
		end.pos += rest
	}
}

// oldest is the position of the first byte that is kept; end where nothing is.
func (h *history) oldest(end int64) int64 {
	if len(h.segments) == 0 {
		return end
	}
	return min(h.segments[0].start, end)
}

// window narrows the positions from lo to hi to where a run, or what is not
// older than a time, can be. oldestRun is the oldest that is kept.
func (h *history) window(q Query, lo, hi int64) (from, to int64, oldestRun int) {
	if q.Run == 0 && q.Since.IsZero() {
		return lo, hi, 0
	}
	from, to = hi, lo
	since := int64(math.MinInt64)
	if !q.Since.IsZero() {
		since = q.Since.UnixNano()
	}
	for _, s := range h.segments {
		if s.start >= hi {
			break
		}
		h.records(s, func(r record, pos, _ int64) bool { //nolint:errcheck // it has just been removed
			if oldestRun == 0 {
				oldestRun = r.run
			}
			if r.at >= since && (q.Run == 0 || r.run == q.Run) {
				from, to = min(from, pos), max(to, pos+r.n)
			}
			return pos < hi
		})
	}
	if q.Run == 0 {
		to = hi
	}
	return max(from, lo), min(max(to, from), hi), oldestRun
}

// read calls feed with what was printed between two positions, as far as it is
// kept. A piece is valid during the call only.
func (h *history) read(from, to int64, feed func(piece)) error {
	for i, s := range h.segments {
		if s.start > to {
			break
		}
		if i+1 < len(h.segments) && h.segments[i+1].start < from {
			continue
		}
		if err := h.readSegment(s, from, to, feed); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read %s: %w", s.base, err)
		}
	}
	return nil
}

func (h *history) readSegment(s *segment, from, to int64, feed func(piece)) error {
	data, err := h.open(s)
	if err != nil {
		return err
	}
	defer data.close()
	buf := make([]byte, 64<<10)
	var failed error
	_, err = h.records(s, func(r record, pos, off int64) bool {
		if r.aside {
			if pos >= from && pos <= to {
				failed = data.pieces(r, off, r.n, r.head, buf, feed)
			}
			return failed == nil && pos <= to
		}
		if pos+r.n <= from {
			return true
		}
		n, head := min(r.n, to-pos), r.head
		if skip := from - pos; skip > 0 {
			// A piece that begins within a record begins a line only behind one.
			off, n = off+skip, n-skip
			head, failed = data.afterNewline(off)
		}
		if n > 0 && failed == nil {
			failed = data.pieces(r, off, n, head, buf, feed)
		}
		return failed == nil && pos+r.n < to
	})
	if errors.Is(failed, io.EOF) || errors.Is(failed, io.ErrUnexpectedEOF) {
		failed = nil // emptied under us, or not yet written: what is there counts
	}
	return errors.Join(err, failed)
}

// segmentData reads a segment's bytes in order.
type segmentData struct {
	r    *bufio.Reader
	off  int64
	file *os.File // nil: not ours to close
}

func (h *history) open(s *segment) (*segmentData, error) {
	if s.current {
		return &segmentData{r: bufio.NewReader(io.NewSectionReader(h.data, 0, math.MaxInt64))}, nil
	}
	f, err := openRegular(h.root, s.base+logSuffix)
	if err == nil {
		return &segmentData{r: bufio.NewReader(f), file: f}, nil
	}
	f, err = openRegular(h.root, s.base+compressedSuffix)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &segmentData{r: bufio.NewReader(z), file: f}, nil
}

func (d *segmentData) close() {
	if d.file != nil {
		d.file.Close() //nolint:errcheck // only read from
	}
}

func (d *segmentData) seek(off int64) error {
	n, err := io.CopyN(io.Discard, d.r, off-d.off)
	d.off += n
	return err
}

// afterNewline reports whether the byte before off ends a line.
func (d *segmentData) afterNewline(off int64) (bool, error) {
	if err := d.seek(off - 1); err != nil {
		return false, err
	}
	b, err := d.r.ReadByte()
	if err != nil {
		return false, err
	}
	d.off++
	return b == '\n', nil
}

// pieces feeds n bytes from off on.
func (d *segmentData) pieces(r record, off, n int64, head bool, buf []byte, feed func(piece)) error {
	if err := d.seek(off); err != nil {
		return err
	}
	for n > 0 {
		part := buf[:min(n, int64(len(buf)))]
		got, err := io.ReadFull(d.r, part)
		d.off += int64(got)
		if got > 0 {
			feed(piece{at: r.at, run: r.run, stream: streams[r.stream], head: head, data: part[:got]})
			n, head = n-int64(got), part[got-1] == '\n'
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// recall cuts as much of the files as a query needs, up to the position where
// what is in memory begins, and feeds that last.
func (h *history) recall(q Query, upTo int64, memory []piece) (*cutter, *chosen, int, error) {
	lo := h.oldest(upTo)
	from, to, oldestRun := h.window(q, lo, upTo)
	for span := int64(firstRead); ; span *= 4 {
		begin := max(from, to-span)
		lines := &chosen{Query: q}
		c := &cutter{whole: true}
		if err := h.read(begin, to, func(p piece) { c.feed(p, lines.add) }); err != nil {
			return nil, nil, 0, err
		}
		if to < upTo { // what lies between is of other runs
			c.show(time.Time{}, lines.add)
			c = &cutter{whole: true}
		}
		for _, p := range memory {
			c.feed(p, lines.add)
		}
		c.whole = false
		if begin == from || len(lines.kept) >= q.Lines || span >= mostRead {
			return c, lines, oldestRun, nil
		}
	}
}

// ReadFiles answers from the files in a folder while no process has it open. A
// server without files is fs.ErrNotExist.
func ReadFiles(dir, server string, q Query) ([]Line, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	defer root.Close() //nolint:errcheck // only read from
	if _, _, _, ok := nameOf(server + logSuffix); !ok {
		return nil, fmt.Errorf("read log: %q is no server's name: %w", server, fs.ErrNotExist)
	}
	h, err := openHistory(root, server)
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	defer h.Close()
	if len(h.segments) == 0 {
		return nil, fmt.Errorf("read log: nothing of %s is kept: %w", server, fs.ErrNotExist)
	}
	if err := q.complete(); err != nil {
		return nil, err
	}
	end := h.end()
	if err := q.countBack(end.run); err != nil {
		return nil, err
	}
	c, lines, oldest, err := h.recall(q, end.pos, nil)
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	if q.Run != 0 && len(c.flush(lines).kept) == 0 && q.Run < end.run {
		return nil, &NoRunError{Run: q.Run, Oldest: oldest, Last: end.run}
	}
	return c.flush(lines).result(), nil
}

// CurrentFile is the path of the file that a server's output goes to now; empty
// if there is none in the folder.
func CurrentFile(dir, server string) string {
	name := server + logSuffix
	if _, _, _, ours := nameOf(name); !ours {
		return ""
	}
	info, err := os.Lstat(filepath.Join(dir, name))
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return filepath.Join(dir, name)
}

// ServersIn lists the servers that have files in a folder.
func ServersIn(dir string) ([]string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	defer root.Close() //nolint:errcheck // only read from
	all, err := list(root)
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", err)
	}
	var names []string
	for _, s := range all {
		if !slices.Contains(names, s.server) {
			names = append(names, s.server)
		}
	}
	return names, nil
}
