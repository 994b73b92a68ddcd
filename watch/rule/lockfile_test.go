package rule

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/rogpeppe/go-internal/txtar"
)

// files reads an archive as project reads a folder: the lockfile, and what its
// kind's patterns find.
func files(t testing.TB, a *txtar.Archive) (name string, lock []byte, markers map[string][]byte) {
	t.Helper()
	markers = map[string][]byte{}
	for _, f := range a.Files {
		if kind, ok := KindOf(f.Name); ok && name == "" {
			name, lock = f.Name, f.Data
			_ = kind
			continue
		}
		kind, _ := KindOf(name)
		found := false
		for _, p := range kind.Markers {
			ok, err := doublestar.Match(p, f.Name)
			if err != nil {
				t.Fatal(err)
			}
			found = found || ok
		}
		if !found {
			t.Fatalf("%s is no marker of %s", f.Name, name)
		}
		markers[f.Name] = f.Data
	}
	return name, lock, markers
}

func archives(t testing.TB) map[string]*txtar.Archive {
	t.Helper()
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) < 20 {
		t.Fatalf("%d archives, %v", len(names), err)
	}
	all := map[string]*txtar.Archive{}
	for _, name := range names {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(name), ".txtar")] = a
	}
	return all
}

func TestLockfilesAgainstWhatIsInstalled(t *testing.T) {
	for name, a := range archives(t) {
		t.Run(name, func(t *testing.T) {
			want, _, _ := strings.Cut(string(a.Comment), "\n")
			file, lock, markers := files(t, a)
			in := Compare(file, lock, markers)
			got := string(in.State)
			if in.State == Outdated {
				got = fmt.Sprintf("%s %d", in.State, in.Missing)
			}
			if got != want {
				t.Errorf("%s, want %s", got, want)
			}
			if (in.Digest == "") != (in.State == Outdated) {
				t.Errorf("digest %q of %s", in.Digest, in.State)
			}
		})
	}
}

// What only looks different has the same digest, and other packages another.
func TestADigestIsOfPackages(t *testing.T) {
	all := archives(t)
	of := func(name string) string {
		file, lock, markers := files(t, all[name])
		return Compare(file, lock, markers).Digest
	}
	if of("pnpm") != of("pnpm_reordered") {
		t.Error("other settings of pnpm are other packages")
	}
	if of("npm") == of("npm_omit_dev") != true {
		t.Error("npm: the same packages have two digests")
	}
	if of("composer") == of("composer_no_dev") {
		t.Error("composer: other packages have one digest")
	}
}

func TestEveryKindCanBeInstalled(t *testing.T) {
	for _, k := range Kinds {
		if len(k.Install) < 2 || (k.compare == nil) != (len(k.Markers) == 0) {
			t.Errorf("%+v", k)
		}
		got, ok := KindOf("a/b/" + k.Name)
		if !ok || got.Manager != k.Manager {
			t.Errorf("%s is found as %+v", k.Name, got)
		}
	}
	if _, ok := KindOf("README.md"); ok {
		t.Error("README.md is a lockfile")
	}
}

func FuzzCompare(f *testing.F) {
	for _, a := range archives(f) {
		name, lock, markers := files(f, a)
		for _, m := range markers {
			f.Add(name, lock, m)
		}
	}
	f.Fuzz(func(t *testing.T, name string, lock, marker []byte) {
		kind, ok := KindOf(name)
		markers := map[string][]byte{}
		if ok {
			for _, p := range kind.Markers {
				markers[p] = marker
			}
		}
		in := Compare(name, lock, markers)
		if in.State == Outdated && in.Missing < 1 || in.State != Outdated && in.Digest == "" {
			t.Fatalf("%+v", in)
		}
		if again := Compare(name, lock, markers); again != in {
			t.Fatalf("%+v, then %+v", in, again)
		}
	})
}
