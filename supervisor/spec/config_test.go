package spec

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the expected problems of testdata/config")

// TestConfig reads each archive of testdata/config as a project. The comment
// holds, after free text, `env NAME=value` lines and the expected problems, one
// `line:column severity message` each and below it `hint` and `related` where
// there are any; a problem of another file begins with its name.
func TestConfig(t *testing.T) {
	files, err := filepath.Glob("testdata/config/*.txtar")
	if err != nil || len(files) < 60 {
		t.Fatalf("found %d archives, expected 60 or more: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var free, want []string
			env := map[string]string{}
			for line := range strings.Lines(string(a.Comment)) {
				line = strings.TrimRight(line, "\n")
				if set, ok := strings.CutPrefix(line, "env "); ok {
					name, val, _ := strings.Cut(set, "=")
					env[name] = val
				}
				if problem.MatchString(line) {
					want = append(want, line)
				} else {
					free = append(free, line)
				}
			}
			l := Load(archive(a), "proj", func(n string) string { return env[n] })
			got := problems(l)
			if *update {
				a.Comment = []byte(strings.Join(append(free, got...), "\n") + "\n")
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("problems differ (- expected, + found):\n%s", d)
			}
			checkRanges(t, l)
		})
	}
}

var problem = regexp.MustCompile(`^(\S+ )?\d+:\d+ (error|warning) |^  (hint|related): `)

func problems(l *Loaded) []string {
	var out []string
	for _, i := range l.Issues {
		s := fmt.Sprintf("%d:%d %s %s", i.Range.Start.Line, i.Range.Start.Column, i.Severity, i.Message)
		if i.Code != codeInvalid {
			s = fmt.Sprintf("%d:%d %s %s: %s", i.Range.Start.Line, i.Range.Start.Column, i.Severity, i.Code, i.Message)
		}
		if i.File != FileName {
			s = i.File + " " + s
		}
		out = append(out, s)
		if i.Hint != "" {
			out = append(out, "  hint: "+i.Hint)
		}
		if i.Related != nil {
			out = append(out, fmt.Sprintf("  related: %s %d:%d %s", i.Related.File, i.Related.Range.Start.Line, i.Related.Range.Start.Column, i.Related.Message))
		}
	}
	return out
}

// archive makes a file system of an archive; a name that ends in / is a directory.
func archive(a *txtar.Archive) fs.FS {
	m := fstest.MapFS{}
	for _, f := range a.Files {
		if dir, ok := strings.CutSuffix(f.Name, "/"); ok {
			m[dir] = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
			continue
		}
		m[f.Name] = &fstest.MapFile{Data: f.Data, Mode: 0o644}
	}
	return m
}

// checkRanges holds every position against the text it points into.
func checkRanges(t *testing.T, l *Loaded) {
	t.Helper()
	texts := map[string][]string{}
	for _, s := range l.Sources {
		text := strings.ReplaceAll(strings.ReplaceAll(s.Text, "\r\n", "\n"), "\r", "\n")
		texts[s.Path] = strings.Split(text, "\n")
	}
	check := func(what, file string, r Range) {
		lines, ok := texts[file]
		if !ok {
			return // a file that could not be read
		}
		for _, p := range []Position{r.Start, r.End} {
			if p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > len([]rune(lines[p.Line-1]))+1 {
				t.Errorf("%s: position %v of range %v is not in %s", what, p, r, file)
				return
			}
		}
		if before(r.End, r.Start) {
			t.Errorf("%s: range %v of %s ends before it begins", what, r, file)
		}
	}
	for _, i := range l.Issues {
		check(i.Message, i.File, i.Range)
		if i.Related != nil {
			check(i.Message, i.Related.File, i.Related.Range)
		}
	}
	for _, s := range l.Sources {
		for k, r := range s.Keys {
			check("key "+k, s.Path, r)
		}
		for k, r := range s.Values {
			check("value "+k, s.Path, r)
		}
	}
}
