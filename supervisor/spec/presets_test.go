package spec

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestPresets: what is detected in each archive of testdata/presets, which is
// named after the preset, and of testdata/detect, and what `devside init` makes
// of it. The comment holds one line for each server and each problem. make e2e
// starts the real frameworks in the same archives (cmd/devside, TestE2EPresets).
func TestPresets(t *testing.T) {
	archives, err := filepath.Glob("testdata/[dp]*e*t*/*.txtar")
	if err != nil || len(archives) < 25 {
		t.Fatal(archives, err)
	}
	seen := map[string]bool{}
	for _, file := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			fsys := archive(a)
			l := Load(fsys, "shop", nil)
			var got []string
			for _, s := range l.Project.Servers {
				seen[s.Preset] = true
				line := fmt.Sprintf("%s in %s: %s (%s) on %s, within %s", s.Name, s.Dir, strings.Join(s.Command, " "), orNone(s.Preset), portsText(s), durationText(s.Ready.Within))
				if len(s.EnvFiles) > 0 {
					line += fmt.Sprint(", with ", s.EnvFiles)
				}
				got = append(got, line)
			}
			got = append(got, problems(l)...)
			if *update {
				a.Comment = []byte(strings.Join(got, "\n") + "\n")
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(a.Comment), strings.Join(got, "\n")+"\n"); d != "" {
				t.Errorf("- expected, + found:\n%s", d)
			}
			holdsAfterInit(t, fsys, l)
		})
	}
	if *update {
		return
	}
	for _, p := range Presets {
		if p.Tested && !seen[p.Name] {
			t.Errorf("no archive for %s", p.Name)
		}
	}
}

func orNone(s string) string {
	if s == "" {
		return NoPreset
	}
	return s
}

func portsText(s Server) string {
	if len(s.Ports) == 0 {
		return "no port"
	}
	return fmt.Sprint(s.Ports[0].Number)
}

// holdsAfterInit: the file that init writes loads without issues, and gives the
// same servers, field by field.
func holdsAfterInit(t *testing.T, fsys fs.FS, l *Loaded) {
	t.Helper()
	text := Init(l)
	if t.Failed() {
		t.Log(text)
	}
	again := Parse(text, "shop", fsys, nil)
	if len(again.Issues) > 0 {
		t.Fatalf("the written file has issues: %s\n%s", strings.Join(problems(again), "\n"), text)
	}
	plain := func(l *Loaded) []Server {
		out := slices.Clone(l.Project.Servers)
		for i := range out {
			out[i].Origin, out[i].Text = Origin{}, ""
		}
		return out
	}
	if d := cmp.Diff(plain(l), plain(again)); d != "" {
		t.Errorf("the written file gives other servers (- detected, + written):\n%s\n%s", d, text)
	}
	if a, c, r := Diff(l.Project, again.Project); len(a)+len(c)+len(r) > 0 {
		t.Errorf("servers would be restarted: %v %v %v", a, c, r)
	}
	if with := Parse(text, "shop", nil, nil); len(with.Issues) > 0 || len(with.Project.Servers) != len(l.Project.Servers) {
		t.Errorf("without the folder: %s", problems(with))
	}
}

// TestPresetsAreUsable: names are names, globs are globs, a preset that is told
// its port on the command line has one.
func TestPresetsAreUsable(t *testing.T) {
	names := map[string]bool{NoPreset: true}
	for _, p := range Presets {
		if names[p.Name] || p.Name != serverName(p.Name) || p.Title == "" || len(p.Name) > 20 {
			t.Errorf("the name %q", p.Name)
		}
		names[p.Name] = true
		for _, g := range append(slices.Clone(p.Restart), p.Reloads...) {
			if !doublestar.ValidatePattern(g) || strings.HasPrefix(g, "/") || hasDotDot(g) {
				t.Errorf("%s: the glob %q", p.Name, g)
			}
		}
		for _, c := range p.Caches {
			if protected(c) || strings.ContainsAny(c, "*?[") {
				t.Errorf("%s: the cache %q", p.Name, c)
			}
		}
		if p.Port == 0 || len(p.runs) == 0 || len(p.Lockfiles) == 0 {
			t.Errorf("%s is incomplete", p.Name)
		}
		if found, ok := LookupPreset(p.Name); !ok || found.Title != p.Title {
			t.Errorf("%s is not found", p.Name)
		}
	}
	if k, _ := LookupKey("servers.*.preset"); len(k.Values) != len(Presets)+1 {
		t.Errorf("values of the key: %v", k.Values)
	}
}

// TestWhatAPresetFillsIn: only what is not written, and nothing in a file that
// names no framework.
func TestWhatAPresetFillsIn(t *testing.T) {
	fsys := files("web/package.json", `{"scripts": {"dev": "next dev", "start": "next start", "all": "npm run dev -w web"}}`,
		"api/package.json", `{"scripts": {"dev": "node x.js"}, "dependencies": {"express": "5"}}`, "api/x.js", "app.listen(process.env.PORT ?? 4100)",
		"api/y.js", "", "web/node_modules/.cache/x", "")
	get := func(entry string) Server {
		t.Helper()
		return valid(t, Parse("version: 1\nservers:\n  s: "+entry+"\n", "p", fsys, nil)).Project.Servers[0]
	}
	next, _ := LookupPreset("next")
	s := get("{command: npm run dev, dir: web}")
	if s.Preset != "next" || !reflect.DeepEqual(s.Caches, next.Caches) || !reflect.DeepEqual(s.Watch.Reloads, next.Reloads) || !reflect.DeepEqual(s.Watch.Lockfiles, nodeLocks) ||
		s.Ready.Within != CompilingWithin || len(s.Ports) != 0 {
		t.Errorf("by its script: %+v", s)
	}
	s.Caches[0], s.Watch.Reloads[0] = "x", "x"
	if next.Caches[0] == "x" || next.Reloads[0] == "x" {
		t.Error("a server shares its lists with the preset")
	}
	s = get("{command: npm run dev, dir: web, caches: [], watch: {restart: [a]}, ready: {tcp: 3000, within: 5s}}")
	if s.Preset != "next" || len(s.Caches) != 0 || !reflect.DeepEqual(s.Watch.Restart, []string{"a"}) || s.Ready.Within.Seconds() != 5 {
		t.Errorf("what is written: %+v", s)
	}
	if s = get("{command: npm run dev, dir: web, preset: none}"); s.Preset != "" || s.Caches != nil || s.Watch.Lockfiles != nil {
		t.Errorf("none: %+v", s)
	}
	if s = get("{command: npm start, dir: web}"); s.Preset != "next" || s.Caches != nil || s.Watch.Reloads != nil || !reflect.DeepEqual(s.Watch.Restart, next.Reloads) {
		t.Errorf("what was built is no cache: %+v", s)
	}
	if s = get("{command: ./serve, preset: next}"); s.Preset != "next" || s.Ports[0].Number != 3000 || len(s.Caches) == 0 {
		t.Errorf("named: %+v", s)
	}
	if s = get("{command: ./serve, port: 80, preset: next}"); s.Ports[0].Number != 80 {
		t.Errorf("named, with a port: %+v", s)
	}
	if s = get("{command: npm run dev, dir: api, preset: express}"); s.Ports[0].Number != 4100 {
		t.Errorf("a port from the source: %+v", s)
	}
	if s = get("{command: node y.js, dir: api, preset: express}"); s.Preset != "express" || len(s.Ports) != 0 {
		t.Errorf("a source without a port: %+v", s)
	}
	if s = get("{command: npm run all, dir: web}"); s.Preset != "" {
		t.Errorf("a script that runs another package's: %+v", s)
	}
	two := valid(t, Parse("version: 1\nservers:\n  a: {command: vite, preset: vite}\n  b: {command: vite, preset: vite}\n  c: {command: x, dir: web, preset: sveltekit}\n", "p", fsys, nil)).Project
	if len(two.Servers[0].Ports) != 1 || len(two.Servers[1].Ports) != 0 {
		t.Errorf("two of one port: %+v", two.Servers)
	}
	holds := valid(t, Parse("version: 1\nservers:\n  a: {command: next dev, dir: web}\n  b: {command: x, dir: web/node_modules/.cache}\n", "p", fsys, nil)).Project
	if !reflect.DeepEqual(holds.Servers[0].Caches, []string{".next"}) {
		t.Errorf("a cache that holds a server: %v", holds.Servers[0].Caches)
	}
	l := Parse("version: 1\nservers:\n  s: {command: x, preset: nxt}\n", "p", nil, nil)
	if len(l.Issues) != 1 || l.Issues[0].Suggestion != "next" && l.Issues[0].Suggestion != "nuxt" {
		t.Errorf("%+v", l.Issues)
	}
}

// TestDiffDoesNotRestartForWhatOnlyDevsideReads.
func TestDiffDoesNotRestartForWhatOnlyDevsideReads(t *testing.T) {
	parse := func(more string) *Project {
		return valid(t, Parse("version: 1\nservers:\n  a: {command: next dev, port: 80, ready: {tcp: 80, within: 9s}"+more+"}\n", "p", nil, nil)).Project
	}
	for _, more := range []string{", caches: [dist]", ", watch: {restart: [a], settle: 1s, lockfile: {restart: false}}", ", preset: none", ", preset: vite"} {
		if _, changed, _ := Diff(parse(""), parse(more)); len(changed) > 0 {
			t.Errorf("%s restarts", more)
		}
	}
}

func TestScriptsThatTakeArguments(t *testing.T) {
	for text, want := range map[string]bool{
		"vite": true, "vite dev": true, "cross-env A=b vite": true, "A=b vite": true, "tsc && vite": true, "npx vite": true, "./node_modules/.bin/vite --host": true,
		"vite & tsc -w": false, "vite && echo done": false, "concurrently vite 'tsc -w'": false, "vite # fast": false, "vite | tee log": false, "tsc -w & vite": true,
		"(vite)": false, "vite &": false, "! vite": false, "node x vite": false, "vite '": false,
	} {
		k, ok := recognise(text, nil)
		if !ok {
			t.Errorf("%s is not recognised", text)
			continue
		}
		if got := k.takesArguments(text); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestRecognise(t *testing.T) {
	express := map[string]bool{"express": true}
	for _, tt := range []struct {
		text    string
		depends map[string]bool
		want    string
	}{
		{"next dev --turbo", nil, "next"}, {"next start", nil, "next built"}, {"next build", nil, ""}, {"nuxi dev", nil, "nuxt"},
		{"vite", map[string]bool{"@sveltejs/kit": true}, "sveltekit"}, {"vite preview", nil, "vite-preview built"}, {"vite build && node x.js", express, "express"},
		{"node index.js", nil, ""}, {"node index.js", express, "express"}, {"node --watch src/index.mjs", express, "express"}, {"nodemon --exec tsx src/a.ts", express, "express"},
		{"tsx watch src/index.ts", map[string]bool{"fastify": true, "express": true}, "fastify"}, {"fastify start -w app.js", map[string]bool{"fastify": true}, "fastify"},
		{"node --version", express, ""}, {"bun run dev", express, ""}, {"nest start --watch", express, "nest"}, {"next dev", express, "next"},
		{"python manage.py runserver 0.0.0.0:80", nil, "django"}, {"python manage.py migrate", nil, ""}, {"flask --app x run", nil, "flask"}, {"flask db upgrade", nil, ""},
		{"uvicorn app.main:app --reload", nil, "fastapi"}, {"uvicorn --help", nil, ""}, {"fastapi dev", nil, "fastapi"}, {"bin/rails s -p 80", nil, "rails"}, {"bundle exec rails server", nil, "rails"},
		{"rails console", nil, ""}, {"php artisan serve", nil, "laravel"}, {"go run ./cmd/x", nil, "go"}, {"go build", nil, ""}, {"cargo run --release", nil, "rust"},
		{"react-router dev", nil, "react-router"}, {"remix vite:dev", nil, "remix"}, {"vim vite.config.ts", nil, ""}, {"", nil, ""},
	} {
		k, ok := recognise(tt.text, tt.depends)
		got := ""
		if ok {
			got = k.Name
			if k.built {
				got += " built"
			}
		}
		if got != tt.want {
			t.Errorf("%s: %q, expected %q", tt.text, got, tt.want)
		}
	}
}

func TestYAMLText(t *testing.T) {
	for _, s := range []string{"a", "true", "No", "null", "~", "1", "1e3", "0x1f", ".5", "a b", "a: b", "a #b", "- a", "[a", "{a", "*a", "&a", "!a", "%a", "@a", "`a", "'a'", `"a"`, "a\tb", "größe",
		"a ", " a", "", "$PORT", "x --y=$PORT", "a, b", "a]", "<b>&", "\u2028", "\U0001F600", "?", "a\\b", "1.2.3", "y", "2026-01-01", "12:30", "_", "=", ".", "..", "0o7", "1_000", "Infinity", ".NaN"} {
		d := newDocument("k: " + yamlText(s) + "\nl: [" + yamlText(s) + ", x]\n" + yamlText(s) + ": 1\n")
		if len(d.issues) > 0 || len(d.root.fields) < 2 || len(d.root.fields) == 3 && d.root.fields[2].name != s {
			t.Errorf("%q is written as %s: %v", s, yamlText(s), d.issues)
			continue
		}
		for _, n := range []*node{d.root.fields[0].val, d.root.fields[1].val.items[0]} {
			if n.kind != kindText || n.text != s {
				t.Errorf("%q is read as %s %q", s, n.kind, n.text)
			}
		}
	}
}

// TestAProcfilesLineIsShownWhereItStands: problems at its name and command, and
// what a shell is given before it is trusted.
func TestAProcfilesLineIsShownWhereItStands(t *testing.T) {
	l := valid(t, Detect(files("Procfile", "# größe\r\nweb:  a\r\n# wörk: x\r\nworker:\tcd x && b\r\n"), "p", nil))
	if file, r := l.Locate("worker", "ready"); file != "Procfile" || r.Start != (Position{4, 1}) || r.End != (Position{4, 7}) {
		t.Errorf("the server is shown at %s %v", file, r)
	}
	src := l.Sources[0]
	if got := src.slice(src.Values["processes.worker"]); got != "cd x && b" || len(l.Sources) != 1 {
		t.Errorf("the command is said to be %q", got)
	}
	shown := Commands(nil, l.Project).Commands
	if len(shown) != 2 || !slices.Equal(shown[1].Argv, []string{"sh", "-c", "cd x && b"}) {
		t.Errorf("shown: %+v", shown)
	}
}
