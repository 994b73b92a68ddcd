package watch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test. Machines that run these are busy.
const patience = 20 * time.Second

// sentinel is a target of every script: a change of it is told after whatever
// was to be told before.
const sentinel = "sentinel"

// stage is one script's watcher.
type stage struct {
	root    string
	w       *Watcher
	batches chan Batch
	limits  chan *Limit
	beats   int
}

func begin(t testing.TB, root string) *stage {
	t.Helper()
	s := &stage{root: root, batches: make(chan Batch, 10_000), limits: make(chan *Limit, 100)}
	s.w = New(Options{
		Root: root, Log: zerolog.Nop(),
		Changed: func(b Batch) { s.batches <- b }, Limited: func(l *Limit) { s.limits <- l },
	})
	return s
}

func (s *stage) run(t interface{ Cleanup(func()) }) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func (s *stage) set(specs ...string) error {
	targets := []Target{{Dir: ".", Pattern: sentinel, Settle: 50 * time.Millisecond}}
	for _, spec := range specs {
		dir, pattern, _ := strings.Cut(spec, ":")
		targets = append(targets, Target{Dir: dir, Pattern: pattern, Settle: 50 * time.Millisecond})
	}
	return s.w.Set(context.Background(), targets)
}

func (s *stage) path(name string) string { return filepath.Join(s.root, filepath.FromSlash(name)) }

// next waits for a batch and writes it as scripts do: "git? kind:path ...".
func (s *stage) next() (string, error) {
	select {
	case b := <-s.batches:
		var words []string
		if b.Git {
			words = append(words, "git")
		}
		for _, c := range b.Changes {
			words = append(words, string(c.Kind)+":"+c.Path)
		}
		return strings.Join(words, " "), nil
	case <-time.After(patience):
		return "", fmt.Errorf("no batch within %v", patience)
	}
}

// still reports what was told although nothing should have been.
func (s *stage) still() error {
	s.beats++
	if err := os.WriteFile(s.path(sentinel), []byte(strconv.Itoa(s.beats)), 0o600); err != nil {
		return err
	}
	got, err := s.next()
	if err != nil {
		return err
	}
	got = strings.TrimPrefix(got, "git ")
	if got != "changed:"+sentinel && got != "created:"+sentinel {
		return fmt.Errorf("told: %s", got)
	}
	return nil
}

// save writes a file as an editor does: the system calls of vim, emacs, VS Code
// and sed -i, as strace shows them.
func (s *stage) save(style, name, text string) error {
	file := s.path(name)
	dir, base := filepath.Split(file)
	write := func(name string) error { return os.WriteFile(name, []byte(text), 0o600) }
	switch style {
	case "plain":
		return write(file)
	case "atomic": // VS Code with atomic writes, most formatters, renameio
		tmp := dir + base + ".tmp"
		return first(write(tmp), func() error { return os.Rename(tmp, file) })
	case "vim": // backupcopy=no
		probe, backup := dir+"4913", file+"~"
		return first(write(probe), func() error { return os.Remove(probe) },
			func() error { return os.Rename(file, backup) }, func() error { return write(file) },
			func() error { return os.Chmod(file, 0o644) }, func() error { return os.Remove(backup) })
	case "emacs": // a lock link beside it, the backup by renaming
		lock := dir + ".#" + base
		return first(os.Symlink("someone@host.1", lock), func() error { return os.Rename(file, file+"~") },
			func() error { return write(file) }, func() error { return os.Remove(lock) })
	case "sed":
		tmp := dir + "sedAbc123"
		return first(write(tmp), func() error { return os.Chmod(tmp, 0o644) }, func() error { return os.Rename(tmp, file) })
	case "replace":
		return first(os.Remove(file), func() error { return write(file) })
	}
	return fmt.Errorf("no editor is called %q", style)
}

func first(err error, then ...func() error) error {
	for _, f := range then {
		if err == nil {
			err = f()
		}
	}
	return err
}

func TestScripts(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the scripts know Linux's events; .ci/run is there")
	}
	const key = "stage"
	of := func(ts *testscript.TestScript) *stage { return ts.Value(key).(*stage) }
	command := func(args int, f func(ts *testscript.TestScript, s *stage, args []string) error) func(*testscript.TestScript, bool, []string) {
		return func(ts *testscript.TestScript, neg bool, words []string) {
			if neg || len(words) < args {
				ts.Fatalf("want %d words at least, and no !", args)
			}
			ts.Check(f(ts, of(ts), words))
		}
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			root, err := filepath.EvalSymlinks(env.WorkDir)
			if err != nil {
				return err
			}
			s := begin(t, root)
			env.Values[key] = s
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- s.w.Run(ctx) }()
			env.Defer(func() {
				cancel()
				<-done
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// watch DIR:PATTERN ...: these are the targets from now on.
			"watch": command(1, func(_ *testscript.TestScript, s *stage, args []string) error { return s.set(args...) }),
			// expect WORD ...: the next batch is this one.
			"expect": command(1, func(_ *testscript.TestScript, s *stage, args []string) error {
				got, err := s.next()
				if want := strings.Join(args, " "); err == nil && got != want {
					err = fmt.Errorf("told %q, want %q", got, want)
				}
				return err
			}),
			// still: nothing is told.
			"still": command(0, func(_ *testscript.TestScript, s *stage, _ []string) error { return s.still() }),
			// save EDITOR FILE TEXT
			"save": command(3, func(_ *testscript.TestScript, s *stage, args []string) error {
				return s.save(args[0], args[1], args[2])
			}),
			// write FILE TEXT
			"write": command(2, func(_ *testscript.TestScript, s *stage, args []string) error {
				return os.WriteFile(s.path(args[0]), []byte(args[1]), 0o600)
			}),
			// touch FILE: another time, the same content
			"touch": command(1, func(_ *testscript.TestScript, s *stage, args []string) error {
				at := time.Now().Add(time.Hour)
				return os.Chtimes(s.path(args[0]), at, at)
			}),
			// flood N DIR: as many files, one after the other
			"flood": command(2, func(_ *testscript.TestScript, s *stage, args []string) error {
				n, err := strconv.Atoi(args[0])
				for i := 0; i < n && err == nil; i++ {
					err = os.WriteFile(s.path(fmt.Sprintf("%s/f%d", args[1], i)), nil, 0o600)
				}
				return err
			}),
		},
	})
}

// Every behaviour of issue and design has its script.
func TestEveryBehaviourHasAScript(t *testing.T) {
	entries, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, e := range entries {
		have = append(have, strings.TrimSuffix(e.Name(), ".txtar"))
	}
	for _, want := range []string{"save_vim", "save_emacs", "save_atomic", "save_sed", "save_plain", "touch", "mkdir_write", "dir_replaced", "link_retargeted", "git", "flood", "gitignore"} {
		if !slices.Contains(have, want) {
			t.Errorf("no script %s", want)
		}
	}
}
