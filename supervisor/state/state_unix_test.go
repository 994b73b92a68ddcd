//go:build unix

package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/devside/devside/supervisor/proc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func env(kv ...string) func(string) string {
	vars := map[string]string{}
	for i := 0; i+1 < len(kv); i += 2 {
		vars[kv[i]] = kv[i+1]
	}
	return func(k string) string { return vars[k] }
}

func testPaths(t *testing.T) Paths {
	t.Helper()
	p, err := Locate("/srv/shop", env(HomeVariable, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEveryClientFindsTheSameRunFolderWhateverItsEnvironment(t *testing.T) {
	plain, err := Locate("/srv/shop", env())
	if err != nil {
		t.Fatal(err)
	}
	other, err := Locate("/srv/shop", env("HOME", "/elsewhere", "XDG_STATE_HOME", "/xdg", "XDG_RUNTIME_DIR", "/run/x", "TMPDIR", "/t"))
	if err != nil {
		t.Fatal(err)
	}
	if plain.Run != other.Run {
		t.Errorf("run folders differ: %s and %s", plain.Run, other.Run)
	}
	if !strings.Contains(plain.Run, filepath.Join(".local", "state", "devside", "run")) {
		t.Errorf("run folder is %s, not below ~/.local/state/devside/run", plain.Run)
	}
	if want := filepath.Join("/xdg", "devside"); !strings.HasPrefix(other.Logs, want) {
		t.Errorf("logs are in %s, not below %s", other.Logs, want)
	}
	if !strings.Contains(filepath.Base(plain.Logs), "shop-") {
		t.Errorf("the log folder %s does not name the project", plain.Logs)
	}
}

func TestProjectsHaveFoldersOfTheirOwn(t *testing.T) {
	home := t.TempDir()
	a, _ := Locate("/srv/shop", env(HomeVariable, home))
	b, _ := Locate("/home/me/shop", env(HomeVariable, home))
	if a.Run == b.Run || a.Logs == b.Logs {
		t.Errorf("two projects share %s or %s", a.Run, a.Logs)
	}
	for _, p := range []Paths{a, b} {
		if !strings.HasPrefix(p.Run, home) || !strings.HasPrefix(p.Logs, home) {
			t.Errorf("%+v is not below %s", p, home)
		}
	}
}

func TestLocateRefusesARelativeHome(t *testing.T) {
	if _, err := Locate("/srv/shop", env(HomeVariable, "state")); err == nil {
		t.Error("a relative DEVSIDE_HOME was accepted")
	}
}

func TestLogFolderNamesAreSafe(t *testing.T) {
	for name, want := range map[string]string{
		"shop": "shop", "my shop": "my-shop", "日本": "project", "..": "project",
		strings.Repeat("x", 90): strings.Repeat("x", 40), "a/b": "a-b",
	} {
		if got := safeName(name); got != want {
			t.Errorf("safeName(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestSECURITY003FoldersAndFilesArePrivateWhateverTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o077, 0o777} {
		t.Run(fmt.Sprintf("%04o", umask), func(t *testing.T) {
			p := testPaths(t)
			old := syscall.Umask(umask)
			err := p.Make()
			s := Open(p, func(err error) { t.Error(err) })
			s.PutLedger(Ledger{Marker: "m"})
			s.PutSnapshot(Snapshot{Running: []string{"api"}})
			s.PutTrust(Trust{Hash: "h"})
			s.Close()
			syscall.Umask(old)
			if umask == 0o777 && os.Geteuid() != 0 {
				// Nobody but root can make a folder inside one of mode 0000.
				if err == nil {
					t.Fatal("folders of mode 0000 were made and not noticed")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for path, want := range map[string]fs.FileMode{
				p.Run: 0o700, p.Logs: 0o700, filepath.Join(p.Run, ledgerFile): 0o600,
				filepath.Join(p.Run, snapshotFile): 0o600, filepath.Join(p.Run, trustFile): 0o600,
			} {
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				if info.Mode().Perm() != want {
					t.Errorf("%s has mode %04o, want %04o", path, info.Mode().Perm(), want)
				}
			}
		})
	}
}

func TestSECURITY003RightsOfOthersAreTakenFromAnOldFolder(t *testing.T) {
	p := testPaths(t)
	if err := os.MkdirAll(p.Run, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p.Run, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := p.Make(); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(p.Run); info.Mode().Perm() != 0o700 {
		t.Errorf("mode %04o", info.Mode().Perm())
	}
}

func TestMakeRefusesALinkAndAFile(t *testing.T) {
	for name, plant := range map[string]func(path string) error{
		"link": func(path string) error { return os.Symlink(t.TempDir(), path) },
		"file": func(path string) error { return os.WriteFile(path, nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			p := testPaths(t)
			if err := os.MkdirAll(filepath.Dir(p.Run), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := plant(p.Run); err != nil {
				t.Fatal(err)
			}
			if err := p.Make(); err == nil {
				t.Errorf("a %s in place of the folder was used", name)
			}
		})
	}
}

func TestOwnedByUsRefusesAnotherUsersFolder(t *testing.T) {
	path := "/" // root's; another user's where the tests run as an ordinary one
	if os.Geteuid() == 0 {
		path = t.TempDir()
		if err := os.Chown(path, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := ownedByUs(info); !errors.Is(err, ErrUnsafe) {
		t.Errorf("ownedByUs(%s) = %v, want %v", path, err, ErrUnsafe)
	}
}

func opened(t *testing.T, report func(error)) (*Store, Paths) {
	t.Helper()
	p := testPaths(t)
	if err := p.Make(); err != nil {
		t.Fatal(err)
	}
	return Open(p, report), p
}

func TestStoreReadsBackWhatItWrote(t *testing.T) {
	s, p := opened(t, func(err error) { t.Error(err) })
	s.PutLedger(Ledger{Marker: "abc", Servers: []LedgerEntry{{Name: "api", Identity: proc.Identity{PID: 7, Start: "s", Boot: "b"}}}})
	s.PutSnapshot(Snapshot{Running: []string{"api", "web"}})
	s.PutTrust(Trust{Hash: "h"})
	s.Close()
	again := Open(p, func(err error) { t.Error(err) })
	if l := again.Ledger(); l.Marker != "abc" || len(l.Servers) != 1 || l.Servers[0].PID != 7 || l.Servers[0].Name != "api" {
		t.Errorf("ledger: %+v", l)
	}
	if v := again.Snapshot(); len(v.Running) != 2 || v.Running[1] != "web" {
		t.Errorf("snapshot: %+v", v)
	}
	if v := again.Trust(); v.Hash != "h" {
		t.Errorf("trust: %+v", v)
	}
}

func TestNothingOnDiskIsZeroAndNoError(t *testing.T) {
	s, _ := opened(t, func(err error) { t.Error(err) })
	if l, v, tr := s.Ledger(), s.Snapshot(), s.Trust(); l.Marker != "" || v.Running != nil || tr.Hash != "" {
		t.Errorf("%+v %+v %+v", l, v, tr)
	}
}

func TestADamagedFileIsSetAsideAndReported(t *testing.T) {
	for name, content := range map[string]string{
		"garbage": "\x00\x01garbage", "half": `{"schema":1,"hub":{`, "empty": "", "wrong type": `{"schema":1,"servers":7}`,
		"other schema": `{"schema":99,"hub":{"pid":0,"start":"","boot":""},"marker":"","servers":[]}`, "unknown member": `{"schema":1,"extra":true}`,
	} {
		t.Run(name, func(t *testing.T) {
			var reported []error
			s, p := opened(t, func(err error) { reported = append(reported, err) })
			file := filepath.Join(p.Run, ledgerFile)
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if l := s.Ledger(); l.Marker != "" || l.Servers != nil {
				t.Errorf("read %+v", l)
			}
			if len(reported) != 1 {
				t.Errorf("reported %v", reported)
			}
			aside, err := os.ReadFile(file + ".damaged")
			if err != nil || string(aside) != content {
				t.Errorf("set aside %q, %v", aside, err)
			}
			if l := s.Ledger(); l.Marker != "" || len(reported) != 1 {
				t.Errorf("the second look was not clean: %+v %v", l, reported)
			}
		})
	}
}

func TestAPlantedLinkIsReplacedAndNotFollowed(t *testing.T) {
	s, p := opened(t, func(err error) { t.Error(err) })
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(p.Run, trustFile)); err != nil {
		t.Fatal(err)
	}
	s.PutTrust(Trust{Hash: "h"})
	s.Close()
	if got, _ := os.ReadFile(victim); string(got) != "mine" {
		t.Errorf("the link's target now reads %q", got)
	}
	if info, _ := os.Lstat(filepath.Join(p.Run, trustFile)); !info.Mode().IsRegular() {
		t.Errorf("the file is %v", info.Mode())
	}
}

func TestALinkOrAGiantIsNotReadBack(t *testing.T) {
	for name, plant := range map[string]func(path string) error{
		"link":   func(path string) error { return os.Symlink("/dev/zero", path) },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"giant": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, maxFile+1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			var reported []error
			s, p := opened(t, func(err error) { reported = append(reported, err) })
			if err := plant(filepath.Join(p.Run, snapshotFile)); err != nil {
				t.Fatal(err)
			}
			if v := s.Snapshot(); v.Running != nil || len(reported) != 1 {
				t.Errorf("%+v, reported %v", v, reported)
			}
		})
	}
}

func TestPERF006ABurstOfChangesIsFewWrites(t *testing.T) {
	s, p := opened(t, func(err error) { t.Error(err) })
	const changes = 5000
	for i := range changes {
		s.PutLedger(Ledger{Marker: fmt.Sprint(i)})
	}
	s.Flush()
	if n := s.Writes(); n >= changes/2 {
		t.Errorf("%d changes were %d writes", changes, n)
	}
	if l := Open(p, func(err error) { t.Error(err) }).Ledger(); l.Marker != fmt.Sprint(changes-1) {
		t.Errorf("the last change is not on disk, but %q", l.Marker)
	}
	s.Close()
}

func TestAFailedWriteIsReportedAndNotFatal(t *testing.T) {
	reported := make(chan error, 8)
	s := Open(Paths{Run: filepath.Join(t.TempDir(), "missing")}, func(err error) { reported <- err })
	s.PutTrust(Trust{Hash: "h"})
	s.Close()
	select {
	case err := <-reported:
		if !strings.Contains(err.Error(), trustFile) {
			t.Errorf("the report does not name the file: %v", err)
		}
	default:
		t.Error("nothing was reported")
	}
	s.PutTrust(Trust{Hash: "late"})
	if len(reported) != 0 {
		t.Error("a closed store wrote")
	}
}
