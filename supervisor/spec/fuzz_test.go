package spec

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"
	"mvdan.cc/sh/v3/syntax"
)

func seedTexts(f *testing.F) {
	f.Helper()
	example, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(example))
	files, err := filepath.Glob("testdata/config/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range a.Files {
			if part.Name == FileName {
				f.Add(string(part.Data))
			}
		}
	}
	for _, s := range []string{"\ufeffversion: 1\r\nservers:\r\n  a: {command: b}\r\n", "a: \"\\U0001F600\" # x\n", "a: 'x''y'\n", "\ta: b", "a: |2-\n   x\n", "? \n", "- ? a\n", "&a [*a]", "<<: *a", "%YAML 1.2\n---\na: b"} {
		f.Add(s)
	}
}

// FuzzParse: any text gives a Project, positions inside the text, and the same
// answer twice; a number is found where its range says.
func FuzzParse(f *testing.F) {
	seedTexts(f)
	f.Fuzz(func(t *testing.T, text string) {
		l := Parse(text, "proj", nil, nil)
		if l.Project == nil || len(l.Sources) != 1 {
			t.Fatalf("project %v, %d sources", l.Project, len(l.Sources))
		}
		checkRanges(t, l)
		if !l.Valid() && len(l.Issues) == 0 {
			t.Error("not valid, and no issue says why")
		}
		for _, i := range l.Issues {
			if i.Message == "" || i.Hint == "" || i.Code == "" || i.Range.IsZero() {
				t.Errorf("incomplete issue %+v", i)
			}
		}
		for _, s := range l.Project.Servers {
			if l.Valid() && len(s.Command) == 0 {
				t.Errorf("valid, and %s has no command", s.Name)
			}
			for _, p := range s.Ports {
				if p.Number < 1 || p.Number > 65535 {
					t.Errorf("port %d of %s", p.Number, s.Name)
				}
			}
			l.Locate(s.Name, "port")
		}
		Commands(nil, l.Project)
		if a, c, r := Diff(l.Project, Parse(text, "proj", nil, nil).Project); len(a)+len(c)+len(r) > 0 {
			t.Errorf("the same text twice differs: %v %v %v", a, c, r)
		}
		checkNumbers(t, plainText(text))
	})
}

// checkNumbers holds the parser's positions of whole numbers against the source.
func checkNumbers(t *testing.T, text string) {
	d := newDocument(text)
	if d.root == nil {
		return
	}
	src := newSource(FileName, text)
	var walk func(n *node)
	walk = func(n *node) {
		if n.kind == kindInteger && src.slice(n.rng) != n.text && !strings.HasPrefix(src.slice(n.rng), "*") {
			t.Errorf("the number %q is said to be at %v, where %q stands", n.text, n.rng, src.slice(n.rng))
		}
		for _, f := range n.fields {
			walk(f.val)
		}
		for _, i := range n.items {
			walk(i)
		}
	}
	walk(d.root)
}

// FuzzParseEnvFile: names are names, values hold no NUL, lines are in the text.
func FuzzParseEnvFile(f *testing.F) {
	for _, s := range []string{"A=b\n", "export A='x\ny' # c\n", "A=\"a\\nb\n", "=x\nA B=c\n", "\ufeffA=`b`\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		vars, issues := ParseEnvFile(text)
		lines := 1 + strings.Count(strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n"), "\n")
		for _, v := range vars {
			if !isName(v.Name) || strings.ContainsRune(v.Value, 0) || v.Line < 1 || v.Line > lines {
				t.Errorf("variable %+v", v)
			}
		}
		for _, i := range issues {
			if i.Range.Start.Line < 1 || i.Range.Start.Line > lines || i.Message == "" {
				t.Errorf("issue %+v", i)
			}
		}
	})
}

// FuzzSplitWords: what is accepted has a first word, and is the same after
// being quoted and split once more, so that nothing of a shell is left in it.
func FuzzSplitWords(f *testing.F) {
	for _, s := range []string{"npm run dev", "a 'b c' \"d$E\" \\*", "a|b", "$(x)", "`x`", "a >b", "A=b c", "a\\\nb", "${x:-y}", "((1))", "a {b,c}", "$'x'"} {
		f.Add(s)
	}
	none := func(string) string { return "" }
	f.Fuzz(func(t *testing.T, text string) {
		words, problem, hint := splitWords(text, "use a shell")
		if problem != "" {
			if len(words) > 0 || hint == "" {
				t.Errorf("%q: words %q, hint %q beside the problem %q", text, words, hint, problem)
			}
			return
		}
		if len(words) == 0 || words[0] == "" {
			t.Fatalf("%q: no words, and no problem", text)
		}
		literal := Expand(append([]string{"x"}, words...), none)[1:]
		quoted := make([]string, len(literal))
		for i, w := range literal {
			q, err := syntax.Quote(w, syntax.LangPOSIX)
			if err != nil {
				return // bytes that a POSIX shell can't be given quoted
			}
			quoted[i] = q
		}
		if literal[0] == "" {
			return
		}
		again, problem, _ := splitWords(strings.Join(quoted, " "), "use a shell")
		if problem != "" || !slices.Equal(Expand(append([]string{"x"}, again...), none)[1:], literal) {
			t.Errorf("%q: %q, but quoted and split again %q %s", text, literal, again, problem)
		}
	})
}

// FuzzDetect: no package.json breaks detection, and what it finds has a name,
// a command and no clash by guessing.
func FuzzDetect(f *testing.F) {
	for _, s := range []string{`{"scripts":{"dev":"next dev"}}`, `{"name":"@a/b","scripts":{"start":"PORT=1 x -p 2"}}`, `{"scripts":[]}`, `[`, `{"scripts":{"dev":5,"dev":"vite"}}`, "\ufeff{}"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		fsys := fstest.MapFS{"package.json": {Data: []byte(a)}, "web/package.json": {Data: []byte(b)}}
		l := Detect(fsys, "proj", nil)
		checkRanges(t, l)
		if !l.Valid() {
			t.Errorf("detection made errors: %v", l.Issues)
		}
		seen := map[string]bool{}
		for _, s := range l.Project.Servers {
			if !names.MatchString(s.Name) || seen[s.Name] || len(s.Command) < 3 {
				t.Errorf("server %+v", s)
			}
			seen[s.Name] = true
		}
		Commands(fsys, l.Project)
	})
}

// FuzzInit: whatever is found in package.json, a Procfile and sources, the
// devside.yaml that is written of it has no issue but ports that clash, and
// gives the same servers.
func FuzzInit(f *testing.F) {
	for _, s := range [][4]string{
		{`{"scripts":{"dev":"next dev"}}`, "", `{"scripts":{"start":"node x.js"},"dependencies":{"express":"5"}}`, "app.listen(process.env.PORT ?? 3000)"},
		{`{"workspaces":["web","!x"],"scripts":{"dev":"turbo run dev"}}`, "web: a $PORT\nw: b | c\nrelease: d\n", `{"scripts":{"dev":"vite"}}`, "server: {port: 80}"},
		{`{"name":"true"}`, "1: true\n2: '#' \\\n-: x\n", `{"scripts":{"dev":"ng serve"}}`, ""},
	} {
		f.Add(s[0], s[1], s[2], s[3])
	}
	f.Fuzz(func(t *testing.T, root, procfile, web, source string) {
		fsys := fstest.MapFS{"package.json": {Data: []byte(root)}, "web/package.json": {Data: []byte(web)}, "web/x.js": {Data: []byte(source)},
			"web/vite.config.ts": {Data: []byte(source)}, "web/.env": {Data: []byte(source)}, "web/main.py": {Data: []byte(source)}}
		if procfile != "" {
			fsys["Procfile.dev"] = &fstest.MapFile{Data: []byte(procfile)}
		}
		l := Detect(fsys, "proj", nil)
		checkRanges(t, l)
		if !l.Valid() {
			t.Fatalf("detection made errors: %v", l.Issues)
		}
		text := Init(l)
		if len(l.Project.Servers) == 0 || slices.ContainsFunc(l.Issues, func(i Issue) bool { return i.Code == codeClash }) {
			return
		}
		holdsAfterInit(t, fsys, l)
		if strings.Count(text, "\n  # Found in ") != len(l.Project.Servers) {
			t.Errorf("not every server says where it was found:\n%s", text)
		}
	})
}
