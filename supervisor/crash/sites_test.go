package crash

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"
)

// header is the value of a key in a case's comment.
func header(archive *txtar.Archive, key string) (string, bool) {
	m := regexp.MustCompile(`(?m)^` + key + `: (.*)$`).FindStringSubmatch(string(archive.Comment))
	if m == nil {
		return "", false
	}
	return m[1], true
}

// describeSites writes sites as the corpus does.
func describeSites(sites []Site) string {
	place := func(p Place) string {
		if p.Column == 0 {
			return fmt.Sprintf("%s:%d", p.File, p.Line)
		}
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
	var b strings.Builder
	for _, s := range sites {
		fmt.Fprintf(&b, "%s %s: %s\n", place(s.Place), s.Tool, s.Message)
		for _, r := range s.Related {
			fmt.Fprintf(&b, "  %s\n", place(r))
		}
	}
	return b.String()
}

// outputLines cuts an output into lines, as supervisor/logs does.
func outputLines(data []byte) []string {
	text := strings.TrimSuffix(string(data), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// TestCorpus finds in each real output the sites that a person has read out of
// it, and no others. How the outputs are made: testdata/corpus/make.go.
func TestCorpus(t *testing.T) {
	names, err := filepath.Glob("testdata/corpus/*.txtar")
	if err != nil || len(names) < 100 {
		t.Fatalf("%d cases, %v", len(names), err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files := fstest.MapFS{}
			want := map[string]string{}
			var outputs []txtar.File
			for _, f := range archive.Files {
				switch {
				case strings.HasPrefix(f.Name, "sites"):
					want[strings.Replace(f.Name, "sites", "output", 1)] = string(f.Data)
				case strings.HasPrefix(f.Name, "output"):
					outputs = append(outputs, f)
				default:
					files[f.Name] = &fstest.MapFile{Data: f.Data}
				}
			}
			if len(outputs) == 0 {
				t.Fatal("no output: run make.go")
			}
			dir, _ := header(archive, "dir")
			w := Workspace{Root: "/app", Dir: dir, FS: files}
			if root, ok := header(archive, "root"); ok {
				w.Root = root
			}
			exit, ended := header(archive, "exit")
			var m Monitor
			for _, out := range outputs {
				for name, file := range files {
					if after, ok := strings.CutPrefix(name, "after/"); ok && out.Name != "output" {
						files[after] = file
					}
				}
				var reports []Report
				if ended {
					code, err := strconv.Atoi(exit)
					if err != nil {
						t.Fatal(err)
					}
					reports = Ended(Exit{Code: code}, outputLines(out.Data))
				} else {
					reports, _ = m.Feed(outputLines(out.Data))
				}
				if got := describeSites(w.Sites(reports)); got != want[out.Name] {
					t.Errorf("%s: got\n%s\nwant\n%s", out.Name, got, want[out.Name])
				}
			}
		})
	}
}

var _ fs.FS = fstest.MapFS{}
