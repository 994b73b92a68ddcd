// Package state is what devside keeps on disk about one project: the ledger of
// processes it started, the snapshot of what ran, the trust a person gave, and
// the audit log of what concerns security.
//
// It never follows a link that somebody planted, never leaves a file or folder
// readable to another user whatever the umask, never leaves a half-written
// file, and never fails because a file is damaged: a damaged one is set aside
// and reported. Nothing secret goes into it: no environment, no command line.
//
// Only the process that holds the project's lock writes the run folder; the
// audit log is appended to by several. See ARCHITECTURE.md. Start reading at
// Locate, then Store, then Audit.
package state

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// HomeVariable moves everything devside keeps below one folder: for tests and
// sandboxes.
const HomeVariable = "DEVSIDE_HOME"

// Paths are the folders of one project.
type Paths struct {
	Run  string // lock, socket, ledger, snapshot, trust
	Logs string // devside's own log, the audit log, and the logs of the servers
}

// Lock is the file whose kernel lock says who owns the project. It is never
// unlinked: a lock on an unlinked file would let a second owner in.
func (p Paths) Lock() string { return filepath.Join(p.Run, "lock") }

// Socket is where the hub listens.
func (p Paths) Socket() string { return filepath.Join(p.Run, "hub.sock") }

// HTTPToken is where the token of the hub's HTTP side is, while it listens.
func (p Paths) HTTPToken() string { return filepath.Join(p.Run, "http.token") }

// KeepHTTPToken writes the token, 0600 and atomically; an empty one removes it.
func (p Paths) KeepHTTPToken(token string) error {
	if token != "" {
		return replaceFile(p.HTTPToken(), []byte(token+"\n"))
	}
	if err := os.Remove(p.HTTPToken()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Log is devside's own log for the project.
func (p Paths) Log() string { return filepath.Join(p.Logs, "devside.log") }

// ServerLogs is the folder of what the servers print.
func (p Paths) ServerLogs() string { return filepath.Join(p.Logs, "servers") }

// NoHomeError says that the user database has no home for this user.
type NoHomeError struct{ Err error }

func (e *NoHomeError) Error() string { return "find the home directory: " + e.Err.Error() }
func (e *NoHomeError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *NoHomeError) Hint() string {
	return "add the user to /etc/passwd, or set " + HomeVariable + " to a folder of your own"
}

// Locate finds the folders of the project with this real root. The home comes
// from the user database and not from $HOME, so that every client of a user
// finds the same hub whatever its environment.
func Locate(root string, getenv func(string) string) (Paths, error) {
	sum := sha256.Sum256([]byte(root))
	hash := hex.EncodeToString(sum[:8])
	label := safeName(filepath.Base(root)) + "-" + hash
	if home := getenv(HomeVariable); home != "" {
		if !filepath.IsAbs(home) {
			return Paths{}, fmt.Errorf("locate the state: %s=%s is not an absolute path", HomeVariable, home)
		}
		return Paths{Run: filepath.Join(home, "run", hash), Logs: filepath.Join(home, "state", label)}, nil
	}
	home, err := userHome()
	if err != nil {
		return Paths{}, err
	}
	base := filepath.Join(home, ".local", "state")
	logs := base
	if x := getenv("XDG_STATE_HOME"); filepath.IsAbs(x) {
		logs = x
	}
	return Paths{
		Run:  filepath.Join(base, "devside", "run", hash),
		Logs: filepath.Join(logs, "devside", label),
	}, nil
}

func userHome() (string, error) {
	u, err := user.LookupId(strconv.Itoa(os.Geteuid()))
	if err != nil && os.Geteuid() < 0 { // Windows has no uid
		u, err = user.Current()
	}
	if err != nil {
		return "", &NoHomeError{Err: err}
	}
	if !filepath.IsAbs(u.HomeDir) {
		return "", &NoHomeError{Err: fmt.Errorf("the home of %s is %q", u.Username, u.HomeDir)}
	}
	return u.HomeDir, nil
}

// safeName keeps a folder's name readable in a path and nothing more.
func safeName(s string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '-'
	}, s)
	if len(clean) > 40 {
		clean = clean[:40]
	}
	if strings.Trim(clean, ".-") == "" {
		return "project"
	}
	return clean
}

// ErrUnsafe is in the error of a folder that another user could change.
var ErrUnsafe = errors.New("the folder is not private")

// Make creates the folders, 0700 whatever the umask, and refuses ones that
// are links, or another user's.
func (p Paths) Make() error {
	for _, dir := range []string{p.Run, p.Logs, p.ServerLogs()} {
		if err := makePrivate(dir); err != nil {
			return err
		}
	}
	return nil
}

// MakeError says that a folder of devside's own can't be made.
type MakeError struct {
	Dir string
	Err error
}

func (e *MakeError) Error() string { return fmt.Sprintf("make %s: %v", e.Dir, e.Err) }
func (e *MakeError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *MakeError) Hint() string {
	return "devside keeps its lock and its socket there: let it write there, or set " + HomeVariable + " to a folder of your own"
}

// makePrivate makes dir, and takes the rights of others from it. Parents that
// are missing are made 0700, too; those that exist are the user's own business.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &MakeError{Dir: dir, Err: err}
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("use %s: %w: it is a link or a file", dir, ErrUnsafe)
	}
	if err := ownedByUs(info); err != nil {
		return fmt.Errorf("use %s: %w", dir, err)
	}
	if info.Mode().Perm()&^fs.FileMode(0o700) != 0 || info.Mode().Perm()&0o700 != 0o700 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return fmt.Errorf("make %s private: %w", dir, err)
		}
	}
	return nil
}
