package crash

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"
)

const nodeCrash = "/app/a.js:1\nx()\n^\n\nError: boom\n    at /app/a.js:1:1\n\nNode.js v20.1.0"

// Of what a run printed only that counts which it ended with.
func TestEnded(t *testing.T) {
	traceOnly := "Error: boom\n    at f (/app/a.js:1:1)"
	for _, test := range []struct {
		name string
		exit Exit
		out  string
		want []string
	}{
		{"a crash", Exit{Code: 1}, nodeCrash, []string{"Error: boom"}},
		{"… through npm", Exit{Code: 1}, nodeCrash + "\nnpm error code 1\nnpm error path /app", []string{"Error: boom"}},
		{"… with other output after it", Exit{Code: 1}, nodeCrash + "\n[web] bye", []string{"Error: boom"}},
		{"a run that ended well", Exit{}, nodeCrash, nil},
		{"one that somebody ended", Exit{Signal: "SIGTERM"}, nodeCrash, nil},
		{"… behind a shell", Exit{Code: 143}, nodeCrash, nil},
		{"… or the kernel", Exit{Signal: "SIGKILL"}, nodeCrash, nil},
		{"one that aborted itself", Exit{Signal: "SIGABRT"}, nodeCrash, []string{"Error: boom"}},
		{"a trace at the end", Exit{Code: 1}, traceOnly, []string{"Error: boom"}},
		{"a trace, then something else", Exit{Code: 1}, traceOnly + "\nGET / 500", nil},
		{"a crash before the program ran again", Exit{Code: 1}, nodeCrash + "\n[nodemon] app crashed - waiting for file changes before starting...\n[nodemon] restarting due to changes...\n[nodemon] starting `node a.js`\nno database", nil},
		{"two errors: the last", Exit{Code: 1}, strings.Replace(nodeCrash, "boom", "first", 1) + "\n" + nodeCrash, []string{"Error: boom"}},
		{"a compiler's errors stay", Exit{Code: 2}, "src/a.ts(1,2): error TS1: one\nFound 1 error.", []string{"TS1: one"}},
		{"deno", Exit{Code: 1}, "error: Uncaught (in promise) TypeError: boom\n    at f (file:///app/a.ts:3:9)\nbye", []string{"TypeError: boom"}},
		{"a thread's panic, then more", Exit{Code: 101}, "thread 'w' panicked at src/a.rs:1:2:\nboom\nnote: run with `RUST_BACKTRACE=1`\nbye", nil},
		{"an old panic", Exit{Code: 101}, "thread 'main' panicked at 'boom', src/main.rs:3:5\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace", []string{"panicked: boom"}},
		{"a thread's exception in Java", Exit{Code: 1}, "Exception in thread \"pool-1\" java.lang.Error: x\n\tat a.B.c(B.java:3)", nil},
		{"nothing", Exit{Code: 1}, "", nil},
	} {
		if got := messages(Ended(test.exit, strings.Split(test.out, "\n"))); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// Lines that name files and lines without being an error of the server.
func TestWhatOnlyLooksLikeAnError(t *testing.T) {
	for _, line := range []string{
		`127.0.0.1 - - [27/Nov/2026 17:12:47] "GET /src/a.ts:3:5 HTTP/1.1" 500 -`,
		`see src/a.ts:3:5 for an example`, `at src/a.ts:3:5`, `    at src/a.ts:3:5`, `look at error TS2322 in src/a.ts`,
		`src/a.ts:3:5 - warning TS6133: 'x' is declared but never used.`,
		`src/a.ts:3:5`, `/app/a.js:1`, `a.go:3: starting`, `2026/11/27 10:00:00 main.go:3: starting`, `main.go:3:5`,
		`warning: unused variable`, ` --> src/a.rs:1:2`, `Main.java:3: warning: [deprecation] x`, `Note: Main.java uses unchecked operations.`,
		`PHP Warning:  Undefined variable $a in /app/a.php on line 3`, `PHP Deprecated:  x in /app/a.php on line 3`,
		`a.rb:3: warning: assigned but unused variable - x`, `  File "/app/a.py", line 3, in f`, `/app/a.py:3: DeprecationWarning: x`,
		`(node:1) DeprecationWarning: x`, `INFO: Error: boom`, `[Error: boom]`, `{"stack":"Error: boom\n    at /app/a.js:1:1"}`,
		`panic: not really`, `ERROR in the cache of a.ts`, `✘ [ERROR] nothing said where`, `[vite] hmr update /src/a.ts`,
		`Traceback (most recent call last):`, `goroutine 1 [running]:`, `error: it did not work`, `# shop`, `2026-11-27 10:00:00: ERROR: it did not work`, `SyntaxError: no JSON: unexpected end (1:18)`,
		`[0] listening`, `web | Error: boom`, `npm run server exited with code 1`, ` ✓ Compiled / in 12ms`, ` GET / 500 in 12ms`,
	} {
		for _, around := range []string{"%s", "before\n%s\nafter", "%[1]s\n%[1]s"} {
			lines := strings.Split(fmt.Sprintf(around, line), "\n")
			if got := Ended(Exit{Code: 1}, lines); got != nil {
				t.Errorf("%q at the end: %+v", lines, got)
			}
			var m Monitor
			if got, _ := m.Feed(lines); got != nil {
				t.Errorf("%q while running: %+v", lines, got)
			}
		}
	}
}

// Every pattern compiles, and every recogniser says what to look for first.
func TestEveryRecogniserCompiles(t *testing.T) {
	for _, r := range recognisers {
		if len(r.near) == 0 || slices.Contains(r.near, "") {
			t.Errorf("%+v", r.near)
		}
		r.at([]string{"x", "x"}, 0)
	}
}

// FuzzSites holds, whatever is printed: nothing panics, what is found is
// bounded, and it names only files that were printed and that exist.
func FuzzSites(f *testing.F) {
	names, err := filepath.Glob("testdata/corpus/*.txtar")
	if err != nil || len(names) == 0 {
		f.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, name := range names {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if strings.HasPrefix(file.Name, "output") {
				f.Add(1, string(file.Data))
			} else if !strings.HasPrefix(file.Name, "sites") {
				files[file.Name] = &fstest.MapFile{Data: file.Data}
			}
		}
	}
	w := Workspace{Root: "/app", FS: files}
	f.Fuzz(func(t *testing.T, code int, output string) {
		lines := strings.Split(output, "\n")
		printed := strings.Join(plain(lines[max(0, len(lines)-ReportLines):]), "\n")
		var m Monitor
		running, _ := m.Feed(lines)
		for _, reports := range [][]Report{Ended(Exit{Code: code}, lines), running} {
			if len(reports) > maxReports {
				t.Fatalf("%d reports", len(reports))
			}
			for _, r := range reports {
				if len(r.Frames) == 0 || len(r.Frames) > maxFrames || len(r.Message) > maxText || r.Tool == "" {
					t.Fatalf("%+v", r)
				}
				for _, frame := range r.Frames {
					if !frame.Package && !strings.Contains(printed, frame.File) || frame.Line < 0 || frame.Column < 0 {
						t.Fatalf("%+v was not printed", frame)
					}
				}
			}
			for _, s := range w.Sites(reports) {
				if _, exists := files[s.File]; !exists || s.Line < 1 || len(s.Related) > maxRelated {
					t.Fatalf("%+v", s)
				}
			}
		}
	})
}

// hard are lines that begin an error each, which none of the next ends.
var hard = []string{
	"Error: boom", "/app/a.js:1", "Traceback (most recent call last):", "panic: x", "# shop", "error: x", "[vite] Internal server error: x",
	"  File \"/app/a.py\", line 3", "✘ [ERROR] x", "./a.jsx:1:1", "   ╭─[ src/a.ts:3:22 ]", "a.go:1:1: x", "a.rb:1:in `f': x (E)", "java.lang.Error: x",
	"    at f (/app/a.js:1:1)", "thread 'main' panicked at a.rs:1:2:", "PHP Fatal error:  Uncaught x in /a.php:3",
}

// What is looked at is bounded, whatever was printed: lines before the last
// ReportLines change nothing, nor does what of a line is beyond maxLine.
func TestWhatIsLookedAtIsBounded(t *testing.T) {
	for _, line := range hard {
		last := slices.Repeat([]string{line}, ReportLines)
		longer := slices.Concat(slices.Repeat([]string{line}, 3*ReportLines), last)
		if got, want := Ended(Exit{Code: 1}, longer), Ended(Exit{Code: 1}, last); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %d reports of the longer output, %d of its end", line, len(got), len(want))
		}
		if got := len(Ended(Exit{Code: 1}, last)); got > ReportLines {
			t.Errorf("%q: %d reports", line, got)
		}
	}
}

// BenchmarkHardLines shows that the work grows with the output and not with its
// square: four times the lines should take about four times as long.
func BenchmarkHardLines(b *testing.B) {
	for _, n := range []int{ReportLines / 4, ReportLines} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			for b.Loop() {
				for _, line := range hard {
					blocks(plain(slices.Repeat([]string{line}, n)))
				}
			}
		})
	}
}

// BenchmarkTheWorst is as much as is ever looked at, of lines that are hard.
func BenchmarkTheWorst(b *testing.B) {
	pad := strings.Repeat("x: y ", maxLine/5)
	for _, line := range []string{"Error: ", "[vite] Internal server error: ", "/app/a.js:1", "java.lang.Error: ", "  File \"", "a.go:1:1: "} {
		b.Run(line, func(b *testing.B) {
			lines := slices.Repeat([]string{line + pad}, ReportLines)
			for b.Loop() {
				Ended(Exit{Code: 1}, lines)
			}
		})
	}
}

func BenchmarkEnded(b *testing.B) {
	lines := slices.Repeat(strings.Split(nodeCrash, "\n"), ReportLines/8)
	for b.Loop() {
		Ended(Exit{Code: 1}, lines)
	}
}

func BenchmarkMonitorOfOrdinaryOutput(b *testing.B) {
	lines := slices.Repeat([]string{"\x1b[32mGET\x1b[39m /api/items/17 200 in 12 ms, 1042 bytes"}, ReportLines)
	var m Monitor
	for b.Loop() {
		m.Feed(lines)
	}
}
