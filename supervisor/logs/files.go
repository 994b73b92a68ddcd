package logs

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds are how much is kept on disk. What is over a bound goes, the oldest
// first; a server's current file stays.
type Bounds struct {
	Segment int64         // bytes of one file
	Age     time.Duration // since its last line
	Server  int64         // bytes of all files of one server
	Project int64         // bytes of all files
}

// DefaultBounds keep two weeks of a server that prints 100 MB a day: text is
// compressed to a tenth.
var DefaultBounds = Bounds{Segment: 20 << 20, Age: 14 * 24 * time.Hour, Server: 256 << 20, Project: 1 << 30}

const (
	// smallestSegment is what a file may hold however many servers share the
	// project's bound.
	smallestSegment = 256 << 10
	// indexShare of a file's bound is its index's: a server that prints single
	// bytes has a longer index than output.
	indexShare = 4
	// compressAfter is how long no file must have become full before one is
	// compressed: under a flood it would be deleted before it is done, the server
	// needs the processor, and putting the compressed one on disk for sure makes
	// everybody's writes wait.
	compressAfter = 30 * time.Second
	// tidyEvery is how often what has become too old is looked for.
	tidyEvery = time.Hour
	// waitingBytes is how much of all servers' output may wait for the disk,
	// mostWaiting of one's, and leastWaiting of one's in any case.
	waitingBytes = 4 << 20
	mostWaiting  = 256 << 10
	leastWaiting = 16 << 10
)

// Files is the folder of a project's server logs. One process has it open.
type Files struct {
	dir    string
	bounds Bounds
	now    func() time.Time
	report func(server string, err error)

	mu   sync.Mutex
	root *os.Root
	open map[string]*file

	waiting atomic.Int64 // bytes that wait for the disk
	full    chan struct{}
	cancel  context.CancelFunc
	joined  sync.WaitGroup
}

// OpenFiles opens a folder that exists and is private. report is told what
// could not be written, and must not wait; server is empty where it concerns
// none.
func OpenFiles(dir string, bounds Bounds, now func() time.Time, report func(server string, err error)) (*Files, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of logs: %w", err)
	}
	f := &Files{dir: dir, bounds: bounds, now: now, report: report, root: root, open: map[string]*file{}, full: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background()) // ends with Close
	f.cancel = cancel
	if err := removeTemporary(root); err != nil {
		report("", fmt.Errorf("tidy the logs: %w", err))
	}
	f.full <- struct{}{} // there may be work from before
	f.joined.Go(func() { f.tidyUp(ctx) })
	return f, nil
}

// New returns a log within a budget of memory that is also written to a file.
// It goes on where the files end: positions and the numbers of runs continue.
// A name is asked for once.
func (f *Files) New(server string, budget *Budget) *Log {
	l := budget.New(DefaultLimit)
	w := newFile(f, server)
	l.file, l.start, l.end, l.lastRun = w, w.resume.pos, w.resume.pos, w.resume.run
	f.mu.Lock()
	f.open[server] = w
	f.mu.Unlock()
	return l
}

// Close writes what waits, as far as the disk takes it, and ends.
func (f *Files) Close() {
	f.mu.Lock()
	open := make([]*file, 0, len(f.open))
	for _, w := range f.open {
		open = append(open, w)
	}
	f.mu.Unlock()
	deadline := time.Now().Add(diskPatience)
	for _, w := range open {
		w.close(time.Until(deadline))
	}
	f.cancel()
	f.joined.Wait()
	f.rooted().Close() //nolint:errcheck // only a handle
}

func (f *Files) rooted() *os.Root {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.root
}

// remake makes the folder anew that somebody has removed.
func (f *Files) remake() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := os.Lstat(f.dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return err
	}
	f.root.Close() //nolint:errcheck // only a handle
	f.root = root
	return nil
}

// segmentLimit is the size of a file: with many servers less than the bound, so
// that their current files together stay within the project's.
func (f *Files) segmentLimit() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	share := f.bounds.Project / 2 / int64(max(len(f.open), 1))
	return min(f.bounds.Segment, max(share, smallestSegment))
}

// rotated says that a file has become full.
func (f *Files) rotated() {
	select {
	case f.full <- struct{}{}:
	default:
	}
}

// tidyUp keeps the bounds, and compresses one file at a time.
func (f *Files) tidyUp(ctx context.Context) {
	quiet := time.NewTimer(compressAfter)
	defer quiet.Stop()
	hourly := time.NewTicker(tidyEvery)
	defer hourly.Stop()
	for {
		select {
		case <-f.full:
			quiet.Reset(compressAfter)
		case <-hourly.C:
		case <-quiet.C:
			more, err := f.compressOne(ctx)
			switch {
			case err == nil && more:
				quiet.Reset(0)
			case err != nil && ctx.Err() == nil:
				f.report("", fmt.Errorf("compress a log: %w", err)) // again after the next file
			}
		case <-ctx.Done():
			return
		}
		if err := f.keepBounds(); err != nil && !errors.Is(err, fs.ErrNotExist) { // removed: made anew by the next line
			f.report("", fmt.Errorf("tidy the logs: %w", err))
		}
	}
}

// stored is one log file with its index.
type stored struct {
	server string
	seq    int // 0: the current one
	names  []string
	size   int64
	at     time.Time // of its last line
}

// list finds all files that are ours, the oldest of each server first.
func list(root *os.Root) (all []*stored, err error) {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	found := map[string]*stored{}
	for _, e := range entries {
		server, seq, suffix, ok := nameOf(e.Name())
		if !ok || suffix == temporarySuffix {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // it has just gone
		}
		s := found[stem(server, seq)]
		if s == nil {
			s = &stored{server: server, seq: seq}
			found[stem(server, seq)] = s
			all = append(all, s)
		}
		s.names = append(s.names, e.Name())
		s.size += info.Size()
		if info.ModTime().After(s.at) {
			s.at = info.ModTime()
		}
	}
	slices.SortFunc(all, func(a, b *stored) int {
		if c := strings.Compare(a.server, b.server); c != 0 {
			return c
		}
		return age(a) - age(b)
	})
	return all, nil
}

// removeTemporary removes what a crash has left half compressed.
func removeTemporary(root *os.Root) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	for _, e := range entries {
		if _, _, suffix, ok := nameOf(e.Name()); ok && suffix == temporarySuffix {
			err = errors.Join(err, root.Remove(e.Name()))
		}
	}
	return err
}

// age orders a server's files: the current one is the newest.
func age(s *stored) int {
	if s.seq == 0 {
		return 1 << 62
	}
	return s.seq
}

// keepBounds removes what is too old or too much.
func (f *Files) keepBounds() error {
	root := f.rooted()
	all, err := list(root)
	if err != nil {
		return err
	}
	f.mu.Lock()
	for _, s := range all {
		if w := f.open[s.server]; s.seq == 0 && w != nil && w.opened.Load() {
			s.at = time.Time{} // it is being written, and stays
		}
	}
	f.mu.Unlock()
	var failed error
	for _, s := range over(all, f.bounds, f.now()) {
		for _, name := range s.names {
			if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				failed = errors.Join(failed, err)
			}
		}
	}
	return failed
}

// over chooses what has to go. A file without a time is being written.
func over(all []*stored, b Bounds, now time.Time) (gone []*stored) {
	perServer := map[string]int64{}
	var total int64
	var kept []*stored
	for _, s := range all {
		if !s.at.IsZero() && now.Sub(s.at) > b.Age {
			gone = append(gone, s)
			continue
		}
		kept = append(kept, s)
		perServer[s.server] += s.size
		total += s.size
	}
	// The oldest first, whosever it is; what is being written never.
	slices.SortStableFunc(kept, func(a, b *stored) int { return a.at.Compare(b.at) })
	for _, s := range kept {
		if s.at.IsZero() || perServer[s.server] <= b.Server && total <= b.Project {
			continue
		}
		gone = append(gone, s)
		perServer[s.server] -= s.size
		total -= s.size
	}
	return gone
}

// compressOne compresses the oldest full file that is not compressed yet. more:
// there may be another.
func (f *Files) compressOne(ctx context.Context) (more bool, err error) {
	root := f.rooted()
	all, err := list(root)
	if err != nil {
		return false, err
	}
	for _, s := range all {
		base := stem(s.server, s.seq)
		if s.seq == 0 || !slices.Contains(s.names, base+logSuffix) {
			continue
		}
		return true, compress(ctx, root, base)
	}
	return false, nil
}

// compress writes the compressed file beside the other, which it then replaces.
func compress(ctx context.Context, root *os.Root, base string) error {
	in, err := root.Open(base + logSuffix)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read from
	info, err := in.Stat()
	if err != nil {
		return err
	}
	temporary := base + temporarySuffix
	if err := root.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := root.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := compressTo(out, &interruptible{ctx, in}); err != nil {
		return errors.Join(err, root.Remove(temporary))
	}
	if err := root.Chtimes(temporary, time.Time{}, info.ModTime()); err != nil { // its age is its last line's
		return err
	}
	if err := root.Rename(temporary, base+compressedSuffix); err != nil {
		return err
	}
	return root.Remove(base + logSuffix)
}

func compressTo(out *os.File, in io.Reader) (err error) {
	defer func() { err = errors.Join(err, out.Close()) }()
	z, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return err
	}
	_, err = io.Copy(z, in)
	// On disk before the original goes, or a crash would take both.
	return errors.Join(err, z.Close(), out.Sync())
}

// interruptible is a reader that fails once ctx has ended.
type interruptible struct {
	ctx context.Context
	io.Reader
}

func (r *interruptible) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}
