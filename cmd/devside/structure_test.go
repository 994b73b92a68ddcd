package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/devside/devside/"

// rooms is the import direction of ARCHITECTURE.md: what of devside each
// package may import. A package that is not listed has no place yet.
var rooms = map[string][]string{
	"cmd/devside": {"rpc", "rpc/wire", "rpc/socket", "rpc/sidecar", "rpc/hub", "rpc/web", "editor", "supervisor/guard", "supervisor/project",
		"supervisor/logs", "supervisor/port", "supervisor/spec", "supervisor/state", "supervisor/status"},
	"cmd/demo":               {},
	"cmd/bench":              {"rpc", "rpc/wire", "supervisor/status"},
	"rpc":                    {"rpc/wire"},
	"rpc/wire":               {"supervisor/status"},
	"rpc/socket":             {"rpc", "rpc/wire", "supervisor/state"},
	"rpc/hub":                {"rpc", "rpc/wire", "rpc/socket", "supervisor", "supervisor/project", "supervisor/logs", "supervisor/spec", "supervisor/status"},
	"rpc/web":                {"rpc/wire", "supervisor", "supervisor/project", "supervisor/status"},
	"rpc/sidecar":            {"rpc", "rpc/wire", "editor", "supervisor/spec", "supervisor/status"},
	"rpc/sidecar/fakeeditor": {"rpc", "rpc/wire", "supervisor/status"},
	"editor":                 {"supervisor/spec", "supervisor/status"},
	"supervisor": {"supervisor/crash", "supervisor/logs", "supervisor/policy", "supervisor/port", "supervisor/probe", "supervisor/proc",
		"supervisor/spec", "supervisor/status"},
	"supervisor/project": {"supervisor", "supervisor/crash", "supervisor/logs", "supervisor/port", "supervisor/probe", "supervisor/proc", "supervisor/spec",
		"supervisor/state", "supervisor/status", "watch", "watch/cache", "watch/rule"},
	"supervisor/guard":  {"supervisor/proc"},
	"supervisor/state":  {"supervisor/proc", "supervisor/status"},
	"supervisor/policy": {"supervisor/spec"},
	"supervisor/crash":  {},
	"supervisor/spec":   {"supervisor/status"},
	"supervisor/status": {},
	"supervisor/proc":   {},
	"supervisor/port":   {"supervisor/proc", "supervisor/status"},
	"supervisor/probe":  {"supervisor/logs", "supervisor/proc", "supervisor/spec"},
	"supervisor/logs":   {},
	"watch":             {},
	"watch/rule":        {},
	"watch/cache":       {},
}

// pure packages decide: they open nothing, start nothing and read no clock.
var pure = []string{"editor", "watch/rule", "supervisor/policy", "supervisor/crash", "supervisor/spec", "supervisor/status", "rpc/wire"}

// impure is what a pure package must not import.
var impure = []string{"os", "os/exec", "os/signal", "net", "net/http", "syscall", "io/ioutil", "runtime", "log", "math/rand", "math/rand/v2", "crypto/rand"}

// homes says which packages may import a third-party library, by the
// beginning of its path. What is not listed is allowed nowhere.
var homes = map[string][]string{
	"github.com/sourcegraph/jsonrpc2":    {"rpc"},
	"go.lsp.dev/":                        {"rpc/sidecar", "rpc/sidecar/fakeeditor", "editor"},
	"github.com/shirou/gopsutil":         {"supervisor/proc", "supervisor/port"},
	"github.com/rs/zerolog":              {"*"},
	"github.com/goccy/go-yaml":           {"supervisor/spec", "watch/rule"},
	"mvdan.cc/sh":                        {"supervisor/spec"},
	"github.com/bmatcuk/doublestar":      {"supervisor/spec", "watch", "watch/rule"},
	"github.com/fsnotify/fsnotify":       {"watch"},
	"github.com/gofrs/flock":             {"rpc/socket"},
	"github.com/google/renameio":         {"supervisor/state"},
	"github.com/jackc/pgx":               {"supervisor/probe"},
	"github.com/prometheus/":             {"rpc/web"},
	"github.com/spf13/":                  {"cmd/devside"},
	"github.com/DeRuina/timberjack":      {"cmd/devside"},
	"golang.org/x/sys":                   {"*"},
	"github.com/google/go-cmp":           {"test"},
	"github.com/santhosh-tekuri":         {"test"},
	"github.com/go-git/go-git":           {"watch", "test"}, // .gitignore files; in tests, the oracle of watch/cache's reader of git's index
	"go.uber.org/goleak":                 {"test"},
	"pgregory.net/rapid":                 {"test"},
	"github.com/rogpeppe/go-internal":    {"test"},
	"golang.org/x/tools/txtar":           {"test"},
	"github.com/go-json-experiment/json": {"rpc/sidecar", "editor"},
}

type source struct {
	path, pkg string // slash-separated, relative to the top
	test      bool
	file      *ast.File
	imports   []string
}

func top(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	root := top(t)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		s := source{path: rel, pkg: filepath.ToSlash(filepath.Dir(rel)), test: strings.HasSuffix(rel, "_test.go"), file: f}
		for _, i := range f.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, p)
		}
		all = append(all, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("only %d Go files were found below %s", len(all), root)
	}
	return all
}

func TestImportsPointDown(t *testing.T) {
	for _, s := range sources(t) {
		allowed, known := rooms[s.pkg]
		if !known {
			t.Errorf("%s: package %s has no place in the structure", s.path, s.pkg)
			continue
		}
		if s.test {
			continue // a test may put real parts together
		}
		for _, i := range s.imports {
			if in, ours := strings.CutPrefix(i, module); ours && !slices.Contains(allowed, in) {
				t.Errorf("%s imports %s, which %s must not know", s.path, in, s.pkg)
			}
		}
	}
}

func TestTheSidecarNeverReachesTheSupervisor(t *testing.T) {
	var reach func(pkg string, path []string)
	seen := map[string]bool{}
	reach = func(pkg string, path []string) {
		switch pkg {
		case "supervisor", "supervisor/project", "supervisor/proc", "watch":
			t.Errorf("the sidecar reaches %s: %s", pkg, strings.Join(path, " -> "))
		}
		if seen[pkg] {
			return
		}
		seen[pkg] = true
		for _, next := range rooms[pkg] {
			reach(next, append(slices.Clone(path), next))
		}
	}
	reach("rpc/sidecar", []string{"rpc/sidecar"})
	if !seen["editor"] || !seen["supervisor/spec"] {
		t.Errorf("the walk saw only %v", seen)
	}
}

func TestPurePackagesImportNothingThatDoesIO(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || !slices.Contains(pure, s.pkg) {
			continue
		}
		for _, i := range s.imports {
			if slices.Contains(impure, i) {
				t.Errorf("%s imports %s, but %s is pure", s.path, i, s.pkg)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine, but %s is pure", s.path, s.pkg)
			case *ast.SelectorExpr:
				if id, ok := n.X.(*ast.Ident); ok && id.Name == "time" {
					switch n.Sel.Name {
					case "Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick":
						t.Errorf("%s uses time.%s, but %s is pure", s.path, n.Sel.Name, s.pkg)
					}
				}
			}
			return true
		})
	}
}

func TestThirdPartyLibrariesStayInTheirRooms(t *testing.T) {
	for _, s := range sources(t) {
		for _, i := range s.imports {
			first, _, _ := strings.Cut(i, "/")
			if !strings.Contains(first, ".") || strings.HasPrefix(i, module) {
				continue
			}
			var allowed []string
			for prefix, pkgs := range homes {
				if strings.HasPrefix(i, prefix) {
					allowed = pkgs
				}
			}
			switch {
			case allowed == nil:
				t.Errorf("%s imports %s, which has no home", s.path, i)
			case slices.Contains(allowed, "*"), slices.Contains(allowed, s.pkg):
			case s.test:
			default:
				t.Errorf("%s imports %s, whose home is %v", s.path, i, allowed)
			}
		}
	}
}

func TestEveryPackageHasADocOfThreeParts(t *testing.T) {
	docs := map[string]string{}
	for _, s := range sources(t) {
		if s.file.Doc != nil && !s.test {
			docs[s.pkg] += s.file.Doc.Text()
		}
	}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		doc := docs[s.pkg]
		docs[s.pkg] = "" // each package once
		switch {
		case doc == "":
			if _, told := docs[s.pkg]; !told {
				t.Errorf("package %s has no doc", s.pkg)
			}
		case !strings.Contains(doc, "never") && !strings.Contains(doc, "nothing") && !strings.Contains(doc, "no "):
			t.Errorf("the doc of %s does not say what it never does", s.pkg)
		case !strings.Contains(doc, "Start reading"):
			t.Errorf("the doc of %s does not say where to start reading", s.pkg)
		}
	}
}

// TestHabits holds what STYLE forbids outside cmd.
func TestHabits(t *testing.T) {
	forbidden := map[string][]string{
		"os":   {"Exit", "Chdir", "RemoveAll"},
		"log":  {"Fatal", "Fatalf", "Fatalln", "Print", "Printf", "Println"},
		"time": {"Sleep"},
		"fmt":  {"Print", "Printf", "Println"},
	}
	for _, s := range sources(t) {
		if s.test || strings.HasPrefix(s.pkg, "cmd/") {
			continue
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init", s.path)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if id, ok := sel.X.(*ast.Ident); ok && slices.Contains(forbidden[id.Name], sel.Sel.Name) {
				t.Errorf("%s uses %s.%s", s.path, id.Name, sel.Sel.Name)
			}
			return true
		})
	}
}

func TestNothingRunsAShellByItself(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || (sel.Sel.Name != "Command" && sel.Sel.Name != "CommandContext") {
				return true
			}
			for _, a := range call.Args {
				if lit, ok := a.(*ast.BasicLit); ok && slices.Contains([]string{`"sh"`, `"bash"`, `"/bin/sh"`, `"/bin/bash"`}, lit.Value) {
					t.Errorf("%s runs a shell", s.path)
				}
			}
			return true
		})
	}
}

func TestTopLevelFolders(t *testing.T) {
	entries, err := os.ReadDir(top(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") || e.Name() == "bin" || e.Name() == "coverage" { // what make writes
			continue
		}
		if !slices.Contains([]string{"cmd", "rpc", "supervisor", "watch", "editor", "extension"}, e.Name()) {
			t.Errorf("folder %s is not in the design", e.Name())
		}
	}
}
