package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/devside/devside/supervisor/status"
)

const (
	// auditFile is the name of the audit log in its folder.
	auditFile = "audit.log"
	// auditSize is where the file is rotated, and auditKeep how many older ones
	// stay: 5 MB together, some ten thousand events. Nobody rotates by time: a
	// project has a handful of them in a year.
	auditSize = 1 << 20
	auditKeep = 4
	// auditQueue bounds what waits for a slow disk. What comes on top is lost,
	// and counted.
	auditQueue = 256
	// auditPatience is how long a write waits for another process that holds
	// the file's lock. It holds it for one write; one that was stopped holds it
	// for ever.
	auditPatience = 2 * time.Second
	// What a project or a peer has a say in is cut, so that a line stays short.
	auditText = 1000
	auditName = 100
)

// AuditEntry is one line of the audit log: who did, or was refused, what.
// There is no room for a command line or an environment.
type AuditEntry struct {
	At      time.Time     `json:"time"`
	Act     status.Act    `json:"act"`
	Root    string        `json:"root,omitempty"` // real path of the project; absent where none was looked at
	By      string        `json:"by"`             // "hub" or the command line's words, such as "devside trust"
	PID     int           `json:"pid"`            // of the devside process that wrote this; the hub's where By is "hub"
	UID     int           `json:"uid"`            // whom that process runs as
	Server  string        `json:"server,omitempty"`
	Message string        `json:"message"`
	Process *AuditProcess `json:"process,omitempty"` // the process concerned
	Lost    int           `json:"lost,omitempty"`    // entries before this one that could not be written
}

// AuditProcess names a process, so that another of the same number is not
// taken for it.
type AuditProcess struct {
	PID       int    `json:"pid,omitempty"`
	StartTime string `json:"startTime,omitempty"`
	Name      string `json:"name,omitempty"` // of the program, without arguments
	User      string `json:"user,omitempty"`
}

// Audit appends security events to the audit log, one JSON line each. Several
// processes may write the same file. An event is handed over and written by a
// goroutine of its own: whoever reports one never waits for the disk, and
// never fails because of it.
type Audit struct {
	path     string
	root, by string
	report   func(error) // what could not be written; called from any goroutine

	mu      sync.Mutex
	queue   []AuditEntry
	lost    int  // since the last line that was written
	writing bool // the goroutine lives
	closed  bool
	idle    *sync.Cond // writing became false
}

// Audit is the project's audit log.
func (p Paths) Audit() string { return filepath.Join(p.Logs, auditFile) }

// OpenAudit returns the audit log at path, whose folder Paths.Make or
// RefusedRootLog has made. by says who writes: "hub" or a command.
func OpenAudit(path, root, by string, report func(error)) *Audit {
	a := &Audit{path: path, root: root, by: by, report: report}
	a.idle = sync.NewCond(&a.mu)
	return a
}

// RefusedRootLog makes the folder of the audit log that is no project's, and
// returns its path. A refused root writes there: below root's own home in the
// user database, whatever the environment says, since that may be another
// user's, who would find files of root's in it. DEVSIDE_HOME counts only where
// it is a folder that exists and is ours, and no link leads there.
func RefusedRootLog(getenv func(string) string) (string, error) {
	dir := ""
	if home := getenv(HomeVariable); filepath.IsAbs(home) && isOurs(home) {
		dir = filepath.Join(home, "state")
	} else {
		home, err := userHome()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(home, ".local", "state", "devside")
	}
	if err := makePrivate(dir); err != nil {
		return "", err
	}
	return filepath.Join(dir, auditFile), nil
}

func isOurs(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() || ownedByUs(info) != nil {
		return false
	}
	real, err := filepath.EvalSymlinks(dir)
	return err == nil && real == filepath.Clean(dir)
}

// Put writes an event soon, without waiting. Of the process it keeps what
// names it, and never its arguments.
func (a *Audit) Put(e status.Event) {
	entry := AuditEntry{
		At: e.At.UTC(), Act: e.Act, Root: a.root, By: a.by, PID: os.Getpid(), UID: os.Geteuid(),
		Server: cut(e.Server, auditName), Message: cut(e.Message, auditText),
	}
	if p := e.Process; p != nil {
		entry.Process = &AuditProcess{PID: p.PID, StartTime: cut(p.StartTime, auditName), Name: cut(p.Name, auditName), User: cut(p.User, auditName)}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || len(a.queue) >= auditQueue {
		a.lost++
		return
	}
	a.queue = append(a.queue, entry)
	if !a.writing {
		a.writing = true
		go a.write()
	}
}

// cut bounds a text that others have a say in, at the end of a character.
func cut(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "")
}

// write empties the queue, then ends. Close waits for it.
func (a *Audit) write() {
	for {
		a.mu.Lock()
		if len(a.queue) == 0 {
			a.writing = false
			a.idle.Broadcast()
			a.mu.Unlock()
			return
		}
		e := a.queue[0]
		a.queue = a.queue[1:]
		e.Lost = a.lost
		a.mu.Unlock()
		err := appendAudit(a.path, e)
		a.mu.Lock()
		if err == nil {
			a.lost -= e.Lost
		} else {
			a.lost++
		}
		if a.closed && errors.Is(err, errHeld) { // the end waits once, and not for each
			a.lost += len(a.queue)
			a.queue = nil
		}
		lost := a.lost
		a.mu.Unlock()
		if err != nil {
			a.report(fmt.Errorf("write the audit log: the event %q is lost (%d in a row): %w", e.Act, lost, err))
		}
	}
}

// Close waits until everything handed over is written or lost, and takes
// nothing more.
func (a *Audit) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	for a.writing {
		a.idle.Wait()
	}
	if a.lost > 0 {
		a.report(fmt.Errorf("write the audit log: %d events are in no line of it", a.lost))
		a.lost = 0
	}
}

// errHeld: the file's lock is somebody else's for longer than a write takes.
var errHeld = errors.New("another process holds its lock")

// appendAudit writes one line, whole or not at all, under the file's lock.
func appendAudit(path string, e AuditEntry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	f, size, err := lockedAudit(path, int64(len(line)))
	if err != nil {
		return err
	}
	if !endsALine(f, size) { // a writer died, or lost its power, within a line
		line = append([]byte{'\n'}, line...)
	}
	if _, err = f.Write(line); err != nil {
		err = errors.Join(err, f.Truncate(size))
	}
	return errors.Join(err, f.Close())
}

// lockedAudit opens the log and takes its lock, which ends with the file. One
// that has no room for more bytes is moved away first: only the holder of the
// lock of the file that bears the name may do that, so that two writers never
// move one file twice.
func lockedAudit(path string, more int64) (f *os.File, size int64, err error) {
	deadline := time.After(auditPatience)
	for {
		f, err = openAudit(path)
		if err != nil {
			return nil, 0, err
		}
		locked, err := tryLockAudit(f)
		if err != nil {
			return nil, 0, errors.Join(err, f.Close())
		}
		current := false
		if locked {
			if current, size, err = isAudit(f, path); err != nil {
				return nil, 0, errors.Join(err, f.Close())
			}
		}
		switch {
		case current && (size == 0 || size+more <= auditSize):
			return f, size, nil
		case current:
			if err := rotateAudit(path); err != nil {
				return nil, 0, errors.Join(err, f.Close())
			}
		}
		if err := f.Close(); err != nil {
			return nil, 0, err
		}
		if !locked {
			select {
			case <-deadline:
				return nil, 0, errHeld
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
}

// openAudit never follows a link, never waits for a pipe's reader, and takes
// the rights of others from the file.
func openAudit(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|auditFlags, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s is not a regular file", path)
	default:
		if err = ownedByUs(info); err == nil && info.Mode().Perm() != 0o600 {
			err = f.Chmod(0o600)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// isAudit reports whether f, which is locked, still bears the log's name, and
// its size.
func isAudit(f *os.File, path string) (bool, int64, error) {
	held, err := f.Stat()
	if err != nil {
		return false, 0, err
	}
	named, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, 0, nil
	}
	return err == nil && os.SameFile(held, named), held.Size(), err
}

// rotateAudit gives the file the name of the first older one. What is in the
// way is replaced, never followed.
func rotateAudit(path string) error {
	for i := auditKeep; i > 0; i-- {
		from := path
		if i > 1 {
			from = path + "." + strconv.Itoa(i-1)
		}
		if err := os.Rename(from, path+"."+strconv.Itoa(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate: %w", err)
		}
	}
	return nil
}

// endsALine reports whether the next line can begin where the file ends.
func endsALine(f *os.File, size int64) bool {
	var last [1]byte
	if size == 0 {
		return true
	}
	n, _ := f.ReadAt(last[:], size-1) //nolint:errcheck // what can't be read is no end of a line
	return n == 1 && last[0] == '\n'
}
