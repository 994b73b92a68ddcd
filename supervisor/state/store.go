package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/devside/devside/supervisor/proc"
)

// schema is the version of every file here. A file of another schema is
// treated as damaged: set aside, reported, started afresh.
const schema = 1

// maxFile bounds what is read back: a ledger of 1,000 servers is 200 KB.
const maxFile = 4 << 20

// Ledger says which processes belong to this project, so that the next hub can
// find them if this one and its guardian die together.
type Ledger struct {
	Schema  int           `json:"schema"`
	Hub     proc.Identity `json:"hub"`
	Marker  string        `json:"marker"` // what the marker variable of every server of this hub begins with
	Servers []LedgerEntry `json:"servers"`
}

// LedgerEntry is one running server, and how it is stopped by whoever has to
// when its hub has died.
type LedgerEntry struct {
	Name string `json:"name"`
	proc.Identity
	Stop *Stop `json:"stop,omitempty"`
}

// Stop is a server's own way to be stopped.
type Stop struct {
	Signal  string   `json:"signal"`
	GraceMs int64    `json:"graceMs"`
	Spare   []string `json:"spare,omitempty"`
}

// Bequest reads the ledger for a guardian whose hub has died. A server without
// a usable way to be stopped is left out, and stopped by the default.
func (s *Store) Bequest() []proc.Bequest { return s.Ledger().bequest() }

func (l Ledger) bequest() []proc.Bequest {
	var out []proc.Bequest
	for _, s := range l.Servers {
		if s.Stop == nil || s.Stop.GraceMs < 0 || s.Stop.GraceMs > mostGrace.Milliseconds() {
			continue
		}
		signal, err := proc.ParseSignal(s.Stop.Signal)
		if err != nil {
			continue
		}
		b := proc.Bequest{Leader: s.Identity, Plan: proc.StopPlan{
			Signal: signal, Grace: time.Duration(s.Stop.GraceMs) * time.Millisecond, Spare: s.Stop.Spare,
		}}
		if l.Marker != "" {
			b.MarkerPrefix = l.Marker + ":" + s.Name + ":"
		}
		out = append(out, b)
	}
	return out
}

// mostGrace is the longest grace that a configuration may give: what is longer
// in a ledger is damage, and a guardian that waits for hours keeps the lock.
const mostGrace = 10 * time.Minute

// Spared lists the programs that the servers' stops leave alone.
func (l Ledger) Spared() []string {
	var out []string
	for _, s := range l.Servers {
		if s.Stop != nil {
			out = append(out, s.Stop.Spare...)
		}
	}
	return out
}

// Snapshot says what ran, so that a hub that takes the place of a lost one can
// start it again.
type Snapshot struct {
	Schema  int       `json:"schema"`
	At      time.Time `json:"at"`
	Running []string  `json:"running"` // in start order; empty after an orderly end
}

// Trust is the hash a person agreed to.
type Trust struct {
	Schema int       `json:"schema"`
	Hash   string    `json:"hash"`
	At     time.Time `json:"at"`
}

// Starts is how long servers took to become ready, so that one that takes longer
// than usual can be told from one that always does.
type Starts struct {
	Schema  int                `json:"schema"`
	ReadyMs map[string][]int64 `json:"readyMs"` // by server, newest last
}

const (
	ledgerFile   = "ledger.json"
	snapshotFile = "snapshot.json"
	trustFile    = "trust.json"
	startsFile   = "starts.json"
)

// retryEvery is how soon a write that failed is tried again: a full disk is
// emptied by a person. It is also how long a person who did is told otherwise.
const retryEvery = 2 * time.Second

// WriteError says that a state file is not on disk as it should be. It is
// tried again until the store is closed.
type WriteError struct {
	File string
	Err  error
}

func (e *WriteError) Error() string { return fmt.Sprintf("write %s: %v", e.File, e.Err) }
func (e *WriteError) Unwrap() error { return e.Err }

// DamagedError says that a state file could not be read and was set aside.
type DamagedError struct {
	File, Aside string // names in the run folder
	Err         error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("read %s: set aside as %s: %v", e.File, e.Aside, e.Err)
}
func (e *DamagedError) Unwrap() error { return e.Err }

// Store reads and writes the files of one project. A write is handed over and
// done by a goroutine of the store's own, newest value first: the caller never
// waits for a disk, and a burst of changes is one write. A write that failed
// is tried again until it is done or something newer has taken its place.
type Store struct {
	dir    string
	report func(error) // *WriteError, once for as long as it fails the same way, and *DamagedError; called from any goroutine

	mu       sync.Mutex
	pending  map[string][]byte // newest content by file name
	failed   map[string]failure
	writing  bool          // the goroutine lives
	inFlight bool          // it is writing what was pending
	closed   bool          // no more is taken, and nothing tried again
	wake     chan struct{} // something is pending, or the store is closed
	idle     *sync.Cond    // writing or inFlight became false
	writes   map[string]int
	mended   func() // called when nothing fails any more
}

// failure is a content that could not be written.
type failure struct {
	data []byte
	err  *WriteError
}

// Open returns the store of a run folder that Paths.Make has made.
func Open(p Paths, report func(error)) *Store {
	s := &Store{
		dir: p.Run, report: report, mended: func() {}, wake: make(chan struct{}, 1),
		pending: map[string][]byte{}, failed: map[string]failure{}, writes: map[string]int{},
	}
	s.idle = sync.NewCond(&s.mu)
	return s
}

// OnMended sets what is called, on the store's goroutine, when everything that
// had failed is on disk. It is set before the first Put.
func (s *Store) OnMended(f func()) { s.mended = f }

// PutLedger writes the ledger soon, without waiting.
func (s *Store) PutLedger(l Ledger) {
	l.Schema = schema
	if l.Servers == nil {
		l.Servers = []LedgerEntry{}
	}
	s.put(ledgerFile, l)
}

// PutSnapshot writes the snapshot soon, without waiting.
func (s *Store) PutSnapshot(v Snapshot) {
	v.Schema = schema
	if v.Running == nil {
		v.Running = []string{}
	}
	s.put(snapshotFile, v)
}

// PutTrust writes the trust soon, without waiting.
func (s *Store) PutTrust(v Trust) {
	v.Schema = schema
	s.put(trustFile, v)
}

// PutStarts writes the starts soon, without waiting.
func (s *Store) PutStarts(v Starts) {
	v.Schema = schema
	s.put(startsFile, v)
}

func (s *Store) put(name string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		s.report(fmt.Errorf("encode %s: %w", name, err))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.pending[name] = append(data, '\n')
	s.awake()
}

// awake lets the goroutine look at what is pending. mu is held.
func (s *Store) awake() {
	if !s.writing {
		s.writing = true
		go s.write()
		return
	}
	select {
	case s.wake <- struct{}{}:
	default: // it is about to look
	}
}

// gather is the shortest time between two writes: the first change is written at
// once, and the start of 50 servers is a handful of ledgers and not 50. A
// process that is started and orphaned within it is found by its marker.
const gather = 10 * time.Millisecond

// write empties pending, then ends, unless something has failed and is to be
// tried again. Flush waits for what is written, Close for its end.
func (s *Store) write() {
	for {
		s.mu.Lock()
		todo := s.pending
		if len(todo) == 0 {
			again := len(s.failed) > 0 && !s.closed
			if !again {
				s.writing = false
				s.idle.Broadcast()
			}
			s.mu.Unlock()
			if !again {
				return
			}
			select {
			case <-s.wake:
			case <-time.After(retryEvery):
				s.retry()
			}
			continue
		}
		s.pending, s.inFlight = map[string][]byte{}, true
		s.mu.Unlock()
		mended := s.writeAll(todo)
		s.mu.Lock()
		s.inFlight = false
		s.idle.Broadcast()
		s.mu.Unlock()
		if mended {
			s.mended()
		}
		<-time.After(gather)
	}
}

// writeAll writes contents, and reports whether with them everything is on
// disk that was not.
func (s *Store) writeAll(todo map[string][]byte) (mended bool) {
	for name, data := range todo {
		err := replaceFile(filepath.Join(s.dir, name), data)
		s.mu.Lock()
		before, failing := s.failed[name]
		var failed *WriteError
		if err != nil {
			failed = &WriteError{File: name, Err: err}
			s.failed[name] = failure{data, failed}
		} else {
			s.writes[name]++
			delete(s.failed, name)
			mended = failing && len(s.failed) == 0 || mended
		}
		s.mu.Unlock()
		if failed != nil && (!failing || !sameCause(before.err, failed)) {
			s.report(failed)
		}
	}
	return mended
}

// sameCause reports whether two writes failed for one reason. A temporary
// file's name, which is in the text, differs each time.
func sameCause(a, b *WriteError) bool {
	var x, y syscall.Errno
	return errors.As(a, &x) && errors.As(b, &y) && x == y
}

// retry makes pending again what failed and has nothing newer in its place.
func (s *Store) retry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.again()
}

func (s *Store) again() {
	for name, f := range s.failed {
		if _, newer := s.pending[name]; !newer {
			s.pending[name] = f.data
		}
	}
}

// Flush waits until everything handed over is written, or could not be, which
// is the error. What had failed before is tried again.
func (s *Store) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.again()
		if len(s.pending) > 0 {
			s.awake()
		}
	}
	for s.inFlight || len(s.pending) > 0 {
		s.idle.Wait()
	}
	return s.failing()
}

// Failing says what is not on disk as it should be; nil: nothing.
func (s *Store) Failing() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failing()
}

func (s *Store) failing() error {
	var all []error
	for _, name := range slices.Sorted(maps.Keys(s.failed)) {
		all = append(all, s.failed[name].err)
	}
	return errors.Join(all...)
}

// Marked reports whether a ledger of this store is on disk, and with it the
// marker that finds whatever the hub starts.
func (s *Store) Marked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes[ledgerFile] > 0
}

// Close flushes and takes nothing more.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.again() // once more
		s.closed = true
		if len(s.pending) > 0 || s.writing {
			s.awake()
		}
	}
	for s.writing {
		s.idle.Wait()
	}
}

// Writes counts the files written so far.
func (s *Store) Writes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, of := range s.writes {
		n += of
	}
	return n
}

// Ledger returns the ledger, or a zero one.
func (s *Store) Ledger() Ledger { return read(s, ledgerFile, func(l Ledger) int { return l.Schema }) }

// Snapshot returns the snapshot, or a zero one.
func (s *Store) Snapshot() Snapshot {
	return read(s, snapshotFile, func(v Snapshot) int { return v.Schema })
}

// Trust returns the trust, or a zero one.
func (s *Store) Trust() Trust { return read(s, trustFile, func(v Trust) int { return v.Schema }) }

// Starts returns the starts, or zero ones.
func (s *Store) Starts() Starts { return read(s, startsFile, func(v Starts) int { return v.Schema }) }

// read returns a file's value. A missing file is a zero value; a damaged one
// is set aside and reported.
func read[T any](s *Store, name string, schemaOf func(T) int) T {
	var zero T
	path := filepath.Join(s.dir, name)
	data, err := readBounded(path)
	if errors.Is(err, fs.ErrNotExist) {
		return zero
	}
	var v T
	if err == nil {
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		err = dec.Decode(&v)
	}
	if err == nil && schemaOf(v) != schema {
		err = fmt.Errorf("schema %d, not %d", schemaOf(v), schema)
	}
	if err == nil {
		return v
	}
	aside := path + ".damaged"
	if mv := os.Rename(path, aside); mv != nil {
		err = errors.Join(err, mv)
	}
	s.report(&DamagedError{File: name, Aside: filepath.Base(aside), Err: err})
	return zero
}

// readBounded reads a regular file; anything else in its place is an error.
func readBounded(path string) (_ []byte, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%d bytes long, at most %d are read", info.Size(), maxFile)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, maxFile))
}
