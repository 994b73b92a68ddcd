package spec

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"testing"
	"testing/fstest"
)

// hostile is texts of up to 256 KiB that cost a careless reader minutes,
// gigabytes or its stack. Each must come back as an error.
func hostile() map[string]string {
	var steps strings.Builder
	for i := range 700 {
		steps.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x]\n")
	for i := 1; i < 60; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%d [*a%d, *a%d]\n", i, i, i-1, i-1)
	}
	var merges strings.Builder
	merges.WriteString("m0: &m0 {k0: 0}\n")
	for i := 1; i < 3000; i++ {
		fmt.Fprintf(&merges, "m%d: &m%d {<<: *m%d, k%d: 0}\n", i, i, i-1, i)
	}
	return map[string]string{
		"brackets":         strings.Repeat("[", 200_000),
		"braces":           strings.Repeat("a: {", 20_000),
		"dashes":           strings.Repeat("- ", 60_000),
		"question marks":   strings.Repeat("? ", 60_000),
		"steps":            steps.String(),
		"anchors":          strings.Repeat("&a ", 30_000),
		"tags":             strings.Repeat("!!str ", 40_000),
		"one long line":    "a: [" + strings.Repeat("1,", 40_000) + "]",
		"many keys":        strings.Repeat("a: b\n", 15_000),
		"just under":       "a: [" + strings.Repeat("'\\',", 19_000) + "]",
		"quotes":           "a: [" + strings.Repeat("\"\\u0041\",", 19_000) + "]",
		"one long text":    "a: \"" + strings.Repeat("x", 250_000),
		"escapes":          "a: \"" + strings.Repeat("\\", 250_000),
		"documents":        strings.Repeat("---\n", 60_000),
		"documents filled": strings.Repeat("---\na: b\n", 4_000),
		"comments":         strings.Repeat("#\n", 60_000),
		"bomb":             bomb.String(),
		"merges":           merges.String(),
		"too long":         strings.Repeat("#", maxConfigBytes+1),
		"percent":          strings.Repeat("%", 60_000),
		"tabs":             strings.Repeat("\t", 250_000) + "a: b",
		"command":          "version: 1\nservers: {a: {command: '" + strings.Repeat("$(", 100_000) + "'}}",
		"braces in sh":     "version: 1\nservers: {a: {command: '" + strings.Repeat("((", 4_000) + "'}}",
		"expression":       "version: 1\nservers: {a: {command: b, ready: {log: '" + strings.Repeat("(a{1,1000}", 90) + strings.Repeat("){1,1000}", 90) + "'}}}",
		"duplicates":       "version: 1\nservers:\n  a:\n    command: b\n    env:\n" + strings.Repeat("      A: b\n", 4_000),
		"unknown": "version: 1\nservers:\n  a:\n    command: b\n" + func() string {
			var b strings.Builder
			for i := range 2000 {
				fmt.Fprintf(&b, "    prot%d: 1\n", i)
			}
			return b.String()
		}(),
		"servers": func() string {
			var b strings.Builder
			b.WriteString("version: 1\nservers:\n")
			for i := range 1500 {
				fmt.Fprintf(&b, "  s%d: {port: 80, depends_on: [s%d]}\n", i, (i+1)%1500)
			}
			return b.String()
		}(),
	}
}

// TestHostileTexts: an error each, within the run's time and memory.
func TestHostileTexts(t *testing.T) {
	for name, text := range hostile() {
		t.Run(name, func(t *testing.T) {
			l := Parse(text, "proj", nil, nil)
			if l.Valid() {
				t.Errorf("accepted: %+v", l.Project)
			}
			checkRanges(t, l)
		})
	}
}

// endless is a project in which every folder has ten more, and each a
// package.json. It counts what is asked of it.
type endless struct{ lists, opens int }

type endlessFile struct {
	*strings.Reader
	fs.FileInfo
}

func (f endlessFile) Stat() (fs.FileInfo, error) { return f.FileInfo, nil }
func (endlessFile) Close() error                 { return nil }

func (e *endless) file(name string) (string, bool) {
	switch path.Base(name) {
	case packageJSON:
		return `{"workspaces": ["**", "*/*/*/*/*/*/*/*"], "scripts": {"dev": "vite"}}`, true
	case pnpmWorkspace:
		return "packages: ['**']\n", true
	case "main.go":
		return `package main; func main() { http.ListenAndServe(":8080", nil) }`, true
	case "go.mod":
		return "module x", true
	}
	return "", false
}

func (e *endless) Stat(name string) (fs.FileInfo, error) {
	text, ok := e.file(name)
	if !ok {
		return nil, fs.ErrNotExist
	}
	return fstest.MapFS{"x": {Data: []byte(text)}}.Stat("x")
}

func (e *endless) Open(name string) (fs.File, error) {
	e.opens++
	text, _ := e.file(name)
	info, err := e.Stat(name)
	return endlessFile{strings.NewReader(text), info}, err
}

func (e *endless) ReadDir(string) ([]fs.DirEntry, error) {
	e.lists++
	return fstest.MapFS{"a/x": {}, "b/x": {}, "c/x": {}, "d/x": {}, "e/x": {}, "f/x": {}, "g/x": {}, "h/x": {}, "i/x": {}, "j/x": {}}.ReadDir(".")
}

// TestDetectionIsBounded: a project without end is looked at in part.
func TestDetectionIsBounded(t *testing.T) {
	e := &endless{}
	l := Detect(e, "p", nil)
	if n := len(l.Project.Servers); n < mostFolders || n > (mostFolders+1)*(1+mostMarked) {
		t.Errorf("%d servers", n)
	}
	if e.lists > mostVisited+2*mostFolders+10 || e.opens > 100*mostFolders {
		t.Errorf("%d folders listed, %d files opened", e.lists, e.opens)
	}
	if again := Parse(Init(l), "p", nil, nil); !again.Valid() {
		t.Errorf("what is written of it: %v", problems(again)[:2])
	}
}
