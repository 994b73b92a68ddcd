package watch

import (
	"slices"
	"testing"
	"time"
)

func TestWhatConcernsATarget(t *testing.T) {
	p, err := newPlan([]Target{
		{Dir: ".", Pattern: "devside.yaml"},
		{Dir: "web", Pattern: "next.config.*", Settle: time.Second},
		{Dir: "web", Pattern: ".env*"},
		{Dir: "web", Pattern: "node_modules/.package-lock.json"},
		{Dir: "api", Pattern: "src/**/*.go"},
		{Dir: "packages", Pattern: "*/package.json"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path  string
		dir   string // to look at; empty: it concerns nothing
		quiet time.Duration
	}{
		{"devside.yaml", ".", DefaultSettle},
		{"README.md", "", 0},
		{"web/next.config.ts", "web", time.Second},
		{"web/.env.local", "web", DefaultSettle},
		{"web/page.tsx", "", 0},
		{"web/node_modules", "web/node_modules", time.Second},
		{"web/node_modules/.package-lock.json", "web/node_modules", DefaultSettle},
		{"web/node_modules/react", "", 0},
		{"web", "web", time.Second}, // replaced, perhaps
		{"api/src/a/b/main.go", "api/src/a/b", DefaultSettle},
		{"api/src/a", "api/src", DefaultSettle}, // a directory, perhaps
		{"api/go.mod", "", 0},
		{"packages/ui/package.json", "packages/ui", DefaultSettle},
		{"packages/ui", "packages", DefaultSettle},
		{"packages/ui/src/deep", "", 0},
	} {
		dir, quiet, ok := p.concerns(c.path)
		if ok != (c.dir != "") || ok && (dir != c.dir || quiet != c.quiet) {
			t.Errorf("%s: %q, %v, %v; want %q, %v", c.path, dir, quiet, ok, c.dir, c.quiet)
		}
	}
	for _, dir := range []string{".", "web", "web/node_modules", "api", "api/src", "packages", ".git"} {
		if !p.dirs[dir] {
			t.Errorf("%s is not watched", dir)
		}
	}
	for path, want := range map[string]bool{
		"devside.yaml": true, "web/next.config.mjs": true, "web/.env": true, "api/src/x.go": true, "api/src/a/b/x.go": true,
		"api/x.go": false, "web/src/next.config.js": false, "packages/ui/package.json": true, "packages/package.json": false,
	} {
		if p.matches(path) != want {
			t.Errorf("%s matches: %v", path, !want)
		}
	}
}

func TestTargetsOutsideTheProjectAreRefused(t *testing.T) {
	for _, target := range []Target{
		{Dir: "..", Pattern: "x"}, {Dir: ".", Pattern: "../x"}, {Dir: "a", Pattern: "../../x"}, {Dir: "a", Pattern: "../../*.go"},
		{Dir: "/etc", Pattern: "passwd"}, {Dir: ".", Pattern: "[a"}, {Dir: ".", Pattern: ""},
	} {
		if _, err := newPlan([]Target{target}); err == nil {
			t.Errorf("%+v was taken", target)
		}
	}
}

func TestEditorsPassingFilesAreJunk(t *testing.T) {
	for _, name := range []string{"4913", ".env~", ".#.env", "#.env#", ".env.swp", ".env.swx", ".tmp-1", "x.tmp", "sedAbc123"} {
		if !junk(name) {
			t.Errorf("%s is not junk", name)
		}
	}
	for _, name := range []string{".env", ".env.local", "next.config.ts", "go.sum", "sedan.yaml", "a.swift"} {
		if junk(name) {
			t.Errorf("%s is junk", name)
		}
	}
}

func FuzzPlan(f *testing.F) {
	f.Add("web", "next.config.*", "web/next.config.ts")
	f.Add(".", "**/*.go", "a/b.go")
	f.Add("a", "{x,y}/../[!z]*", "a/x")
	f.Fuzz(func(t *testing.T, dir, pattern, path string) {
		p, err := newPlan([]Target{{Dir: dir, Pattern: pattern}})
		if err != nil {
			return
		}
		for d := range p.dirs {
			if !local(d) {
				t.Fatalf("%q is watched", d)
			}
		}
		if p.matches(path) && !local(path) && !slices.Contains([]string{"", "."}, path) {
			if _, _, ok := p.concerns(path); ok && len(p.names) > 0 {
				t.Fatalf("%q concerns %q in %q", path, pattern, dir)
			}
		}
	})
}
