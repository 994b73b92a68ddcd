package spec

import (
	"fmt"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/devside/devside/supervisor/status"
)

func TestDetect(t *testing.T) {
	fsys := files(
		"package.json", "{\n  \"name\": \"@acme/shop\",\n  \"scripts\": {\n    \"dev\": \"node all.js\"\n  }\n}\n",
		"pnpm-lock.yaml", "",
		"frontend/package.json", `{"scripts": {"start": "next start", "dev": "next dev --turbo"}}`,
		"backend/package.json", `{"scripts": {"start": "PORT=4000 node server.js", "dev": ""}}`,
		"backend/yarn.lock", "",
		"lib/package.json", `{"scripts": {"build": "tsc"}}`,
		"node_modules/package.json", `{"scripts": {"dev": "x"}}`,
		".hidden/package.json", `{"scripts": {"dev": "x"}}`,
		"deep/er/package.json", `{"scripts": {"dev": "x"}}`,
		"my app!/package.json", `{"scripts": {"dev": "vite"}, "packageManager": "bun@1.2"}`,
	)
	l := valid(t, Load(fsys, "proj", nil))
	if !l.Project.Detected || l.Project.Name != "proj" {
		t.Errorf("project %+v", l.Project)
	}
	var got []string
	for _, s := range l.Project.Servers {
		got = append(got, fmt.Sprintf("%s in %s: %s, ports %v, %s within %s", s.Name, s.Dir, s.Text, s.Ports, s.Ready.Kind, s.Ready.Within))
	}
	want := []string{
		"shop in .: pnpm run dev, ports [], none within 10s",
		"backend in backend: yarn run start, ports [{4000 ask tree}], tcp within 10s",
		"frontend in frontend: pnpm run dev, ports [{3000 ask tree}], tcp within 1m0s",
		"my-app- in my app!: bun run dev --port $PORT --strictPort, ports [{5173 ask tree}], tcp within 1m0s",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("- expected, + found:\n%s", d)
	}
	s := l.Project.Servers[0]
	if s.Origin != (Origin{File: "package.json", Key: "scripts.dev", Script: "node all.js"}) || !reflect.DeepEqual(s.Command, []string{"pnpm", "run", "dev"}) {
		t.Errorf("root %+v", s)
	}
	for _, field := range []string{"", "port", "command", "ready"} {
		file, r := l.Locate("shop", field)
		if file != "package.json" || r.Start != (Position{4, 5}) || r.End != (Position{4, 10}) {
			t.Errorf("%s is shown at %s %v", field, file, r)
		}
	}
}

func TestDetectNames(t *testing.T) {
	script := `{"scripts": {"dev": "x"}, "name": %q}`
	for _, tt := range []struct {
		root    string
		folders []string
		want    []string
	}{
		{"web", nil, []string{"web"}},
		{"", nil, []string{"app"}},
		{"@acme/web", []string{"web"}, []string{"app", "web"}},
		{"web", []string{"web", "app"}, []string{"app-root", "app", "web"}},
		{"../..", nil, []string{"app"}},
		{"größe", nil, []string{"gr--e"}},
		{"x", []string{"a b", "a-b", "_", strings.Repeat("n", 70)}, []string{"x", "server", "a-b", "a-b-2", strings.Repeat("n", 60)}},
	} {
		fsys := files("package.json", fmt.Sprintf(script, tt.root))
		for _, f := range tt.folders {
			fsys[f+"/package.json"] = &fstest.MapFile{Data: fmt.Appendf(nil, script, "")}
		}
		l := valid(t, Detect(fsys, "proj", nil))
		var got []string
		for _, s := range l.Project.Servers {
			got = append(got, s.Name)
		}
		if len(got) != len(tt.want) {
			t.Errorf("%s, %v: %v, expected %v", tt.root, tt.folders, got, tt.want)
			continue
		}
		for i, n := range got {
			if !names.MatchString(n) {
				t.Errorf("%q is no name", n)
			}
			if tt.root != "x" && n != tt.want[i] {
				t.Errorf("%s, %v: %v, expected %v", tt.root, tt.folders, got, tt.want)
			}
		}
	}
}

func TestDetectManagers(t *testing.T) {
	for _, tt := range []struct {
		files []string
		want  string
	}{
		{nil, "npm"},
		{[]string{"web/package-lock.json"}, "npm"},
		{[]string{"pnpm-lock.yaml"}, "pnpm"},
		{[]string{"yarn.lock"}, "yarn"},
		{[]string{"bun.lock"}, "bun"},
		{[]string{"bun.lockb"}, "bun"},
		{[]string{"pnpm-lock.yaml", "web/package-lock.json"}, "npm"},
		{[]string{"web/yarn.lock", "package-lock.json"}, "yarn"},
	} {
		fsys := files("web/package.json", `{"scripts": {"dev": "x"}}`)
		for _, f := range tt.files {
			fsys[f] = &fstest.MapFile{}
		}
		if s := valid(t, Detect(fsys, "p", nil)).Project.Servers[0]; s.Command[0] != tt.want {
			t.Errorf("%v: %s, expected %s", tt.files, s.Command[0], tt.want)
		}
	}
	l := valid(t, Detect(files("package.json", `{"packageManager": "pnpm@9"}`, "web/package.json", `{"scripts": {"dev": "x"}}`), "p", nil))
	if got := l.Project.Servers[0].Command[0]; got != "pnpm" {
		t.Errorf("by the root's packageManager: %s", got)
	}
}

func TestDetectPorts(t *testing.T) {
	for text, want := range map[string]int{
		"next dev": 3000, "next dev -p 4000": 4000, "next dev -p4000": 4000, "next dev --port 4000": 4000, "vite --port=4000": 4000, "PORT=4000 node x": 4000,
		"cross-env PORT=4000 next dev": 4000, "next dev . ": 3000, "dotenv -- vite": 5173, "vite preview": 4173, "nuxt dev": 3000, "astro dev": 4321,
		"./node_modules/.bin/vite": 5173, "ng serve": 4200, "nest start --watch": 3000, "react-scripts start": 3000, "tsc && next start": 3000,
		"vite build --watch": 0, "next build": 0, "node server.js": 0, "next-sitemap": 0, "node --port-file 4000": 0, "echo -p 99999": 0, "x --port 0": 0,
		"x --inspect=9229": 0, "x -p $PORT": 0, "SUPPORT=4000 x": 0, "x --port '4000'": 4000, "(PORT=4000 x)": 4000, "x --port 40001234": 0,
	} {
		fsys := files("package.json", fmt.Sprintf(`{"scripts": {"dev": %q}}`, text))
		s := valid(t, Detect(fsys, "p", nil)).Project.Servers[0]
		got := 0
		if len(s.Ports) > 0 {
			got = s.Ports[0].Number
		}
		if got != want {
			t.Errorf("%q: %d, expected %d", text, got, want)
		}
		if (s.Ready.Kind == ProbeTCP) != (want > 0) || !s.Ready.Default {
			t.Errorf("%q: ready %+v", text, s.Ready)
		}
	}
}

// TestDetectGuessesNeverClash: a default port that is taken moves on where the
// framework listens to PORT, and is forgotten where it does not.
func TestDetectGuessesNeverClash(t *testing.T) {
	fsys := fstest.MapFS{}
	for i, text := range []string{"next dev", "nuxt dev", "vite", "vite", "astro dev", "next dev", "x --port 3001"} {
		fsys[fmt.Sprintf("s%d/package.json", i)] = &fstest.MapFile{Data: fmt.Appendf(nil, `{"scripts": {"dev": %q}}`, text)}
	}
	l := valid(t, Detect(fsys, "p", lookup("DEV_PORT_S4", "3002")))
	want := []string{"[{3000 ask tree}]", "[{3003 ask tree}]", "[{5173 ask tree}]", "[{5174 ask tree}]", "[{3002 ask tree}]", "[{3004 ask tree}]", "[{3001 ask tree}]"}
	for i, s := range l.Project.Servers {
		if got := fmt.Sprint(s.Ports); got != want[i] {
			t.Errorf("%s: %s, expected %s", s.Name, got, want[i])
		}
	}
}

func TestManifestPositions(t *testing.T) {
	m := &manifest{text: "{\r\n \"x\": [1, {\"scripts\": {\"dev\": \"no\"}}],\r\n\t\"scripts\" : {\"😀\": \"a\", \"dev\"\r\n:\r\n \"b \\\" 😀\", \"n\": 5}\r}", depends: map[string]bool{}}
	if r, problem := m.parse(); problem != "" {
		t.Fatal(r, problem)
	}
	want := []script{
		{"😀", "a", Range{Position{3, 15}, Position{3, 18}}, Range{Position{3, 20}, Position{3, 23}}},
		{"dev", `b " 😀`, Range{Position{3, 25}, Position{3, 30}}, Range{Position{5, 2}, Position{5, 10}}},
	}
	if !reflect.DeepEqual(m.scripts, want) {
		t.Errorf("%+v\nexpected\n%+v", m.scripts, want)
	}
	for _, text := range []string{"", " ", "[", "{", `{"a"`, `{"a":`, `{"a":1,}`, "nul", `{"scripts":{"dev":"x"}`, strings.Repeat("[", 100_000)} {
		m := &manifest{text: text, depends: map[string]bool{}}
		if _, problem := m.parse(); problem == "" && strings.TrimSpace(text) != "" {
			t.Errorf("%.20q is accepted", text)
		}
	}
}

func TestCommands(t *testing.T) {
	fsys := files(
		"package.json", `{"scripts": {"dev": "root dev", "start": "root start", "postdev": "root post"}}`,
		"web/package.json", `{"scripts": {"predev": "web pre", "dev": "web dev", "start": "a\nfake: b", "t:x": "deep"}}`,
		"packages/ui/package.json", `{"scripts": {"dev": "ui dev"}}`,
	)
	p := valid(t, Parse(`version: 1
servers:
  web: {command: npm run dev, dir: web, env_file: [.env], ready: {exec: "curl -f 'http://x y'"}, live: {exec: [npm, start]}}
  api: {command: node x}
`, "p", nil, nil)).Project
	got := Commands(fsys, p)
	want := []status.TrustCommand{
		{Server: "api", Argv: []string{"node", "x"}, Dir: "."},
		{Server: "web", Argv: []string{"npm", "run", "dev"}, Dir: "web", EnvFiles: []string{".env"},
			Probes: []string{"curl -f 'http://x y'", "npm start"}, Script: "predev: web pre\ndev: web dev\n\"start\": \"a\\nfake: b\""},
	}
	if d := cmp.Diff(want, got.Commands); d != "" {
		t.Errorf("- expected, + found:\n%s", d)
	}
	if got.State != status.Untrusted || len(got.Hash) != 64 {
		t.Errorf("trust %+v", got)
	}
	for _, tt := range []struct {
		argv string
		want string
	}{
		{"npm run dev", "predev: web pre\ndev: web dev"},
		{"npm run-script dev -- --x", "predev: web pre\ndev: web dev"},
		{"npm run --silent t:x", "t:x: deep"},
		{"npm start", "\"start\": \"a\\nfake: b\""},
		{"npm test", ""},
		{"npm run", ""},
		{"npm install", ""},
		{"npm", ""},
		{"npm run nope", ""},
		{"pnpm dev", "predev: web pre\ndev: web dev"},
		{"pnpm run dev", "predev: web pre\ndev: web dev"},
		{"yarn dev", "predev: web pre\ndev: web dev"},
		{"bun run dev", "predev: web pre\ndev: web dev"},
		{"/usr/bin/npm run dev", "predev: web pre\ndev: web dev"},
		{"npm.cmd run dev", "predev: web pre\ndev: web dev"},
		{"npm --prefix .. run dev", "dev: root dev\npostdev: root post"},
		{"npm run dev --prefix=..", "dev: root dev\npostdev: root post"},
		{"pnpm -C ../packages/ui dev", "dev: ui dev"},
		{"npm --prefix ../../.. run dev", ""},
		{"yarn --cwd nowhere dev", ""},
		{"npm -- run dev", ""},
		{"node run dev", ""},
		{"npm run dev --workspaces", "package.json dev: root dev\npackage.json start: root start\npackage.json postdev: root post\n" +
			"packages/ui/package.json dev: ui dev\nweb/package.json predev: web pre\nweb/package.json dev: web dev\n" +
			"web/package.json \"start\": \"a\\nfake: b\"\nweb/package.json t:x: deep"},
	} {
		if got := strings.Join(scriptsOf(fsys, "web", strings.Fields(tt.argv)), "\n"); got != tt.want {
			t.Errorf("%s:\n%s\nexpected:\n%s", tt.argv, got, tt.want)
		}
	}
	shell := scriptsOf(fsys, "web", []string{"bash", "-c", "cd x && (npm run dev | tee $LOG) & yarn 't:x'"})
	if want := []string{"predev: web pre", "dev: web dev", "t:x: deep"}; !reflect.DeepEqual(shell, want) {
		t.Errorf("in a shell: %q, expected %q", shell, want)
	}
	if got := scriptsOf(fsys, "web", []string{"bash", "-c", "npm run 'dev"}); got != nil {
		t.Errorf("in a shell's text that can't be read: %q", got)
	}
	for _, argv := range []string{"npm -w ui run dev", "pnpm -r dev", "yarn workspace ui dev", "npm run dev --workspace=ui", "pnpm --filter ui dev"} {
		if got := scriptsOf(fsys, "web", strings.Fields(argv)); len(got) != 8 {
			t.Errorf("%s: %q", argv, got)
		}
	}
}

// TestTrustHash: the hash changes with everything a person was shown, and with
// nothing else.
func TestTrustHash(t *testing.T) {
	const entry = "{command: npm run dev, dir: web, env_file: .env, ready: {exec: a b}, port: 80}"
	hash := func(yaml, script string) string {
		t.Helper()
		l := Parse("version: 1\nservers:\n"+yaml, "p", nil, nil)
		return Commands(files("web/package.json", `{"scripts": {`+script+`}}`), valid(t, l).Project).Hash
	}
	base := hash("  web: "+entry+"\n", `"dev": "x"`)
	for name, other := range map[string]string{
		"argv":       hash("  web: {command: npm run dev --x, dir: web, env_file: .env, ready: {exec: a b}}\n", `"dev": "x"`),
		"words":      hash("  web: {command: npm 'run dev', dir: web, env_file: .env, ready: {exec: a b}}\n", `"dev": "x"`),
		"dir":        hash("  web: {command: npm run dev, dir: ., env_file: .env, ready: {exec: a b}}\n", `"dev": "x"`),
		"env file":   hash("  web: {command: npm run dev, dir: web, env_file: .envrc, ready: {exec: a b}}\n", `"dev": "x"`),
		"probe":      hash("  web: {command: npm run dev, dir: web, env_file: .env, ready: {exec: a c}}\n", `"dev": "x"`),
		"probe word": hash("  web: {command: npm run dev, dir: web, env_file: .env, ready: {exec: 'a\\ b'}}\n", `"dev": "x"`),
		"script":     hash("  web: "+entry+"\n", `"dev": "y"`),
		"pre script": hash("  web: "+entry+"\n", `"dev": "x", "predev": "y"`),
		"variable":   hash("  web: {command: npm run dev, dir: web, env_file: .env, ready: {exec: a b}, env: {NODE_OPTIONS: --import=./x.mjs}}\n", `"dev": "x"`),
		"name":       hash("  api: "+entry+"\n", `"dev": "x"`),
		"server":     hash("  web: "+entry+"\n  api: {command: a}\n", `"dev": "x"`),
	} {
		if other == base {
			t.Errorf("%s: the hash did not change", name)
		}
	}
	for name, same := range map[string]string{
		"spelling":     hash("  web: {dir: ./web/, command: [npm, run, dev], ready: {exec: [a, b]}, env_file: [.env], port: 81, memory: {warn: 0}}\n", `"dev": "x"`),
		"other script": hash("  web: "+entry+"\n", `"dev": "x", "build": "y"`),
	} {
		if same != base {
			t.Errorf("%s: the hash changed", name)
		}
	}
	one, two := "  a: {command: x, env: {A: one}}\n", "  a: {command: x, env: {A: two}}\n"
	if hash(one, "") == hash(two, "") {
		t.Error("another value of a variable: the hash did not change")
	}
	if got := Commands(nil, valid(t, Parse("version: 1\nservers:\n"+one, "p", nil, nil)).Project).Commands[0]; !reflect.DeepEqual(got.Env, []string{"A"}) {
		t.Errorf("shown of the environment: %v, want the names only", got.Env)
	}
	if hash("  a: {command: x}\n  b: {command: y}\n", "") != hash("  b: {command: y}\n  a: {command: x}\n", "") {
		t.Error("the hash depends on the order in the file")
	}
	if got := Commands(nil, &Project{}); got.Commands == nil || got.Hash == "" {
		t.Errorf("an empty project: %+v", got)
	}
}

func TestDiff(t *testing.T) {
	parse := func(yaml string) *Project {
		t.Helper()
		return valid(t, Parse("version: 1\nservers:\n"+yaml, "p", nil, nil)).Project
	}
	old := parse("  a: {command: npm run dev, port: 80}\n  b: {command: x, depends_on: [a, c]}\n  c: {command: y}\n  gone: {command: z}\n")
	now := parse("  # moved\n  new: {command: n}\n  c: {command: y, env: {A: b}}\n  b: {command: [x], depends_on: [c, a], env: {}, caches: [], restart: {delay: 2s}}\n  a: {command: \"npm  run 'dev'\", port: {number: 80}, ready: tcp}\n  new2: {command: n}\n")
	added, changed, removed := Diff(old, now)
	if !reflect.DeepEqual(added, []string{"new", "new2"}) || !reflect.DeepEqual(changed, []string{"c"}) || !reflect.DeepEqual(removed, []string{"gone"}) {
		t.Errorf("added %v, changed %v, removed %v", added, changed, removed)
	}
	base := "{command: x, port: 80, live: {http: /, every: 5s}}"
	for _, entry := range []string{
		"{command: y, port: 80, live: {http: /}}", "{command: x, port: 81, live: {http: /}}", "{command: x, port: 80}",
		"{command: x, port: 80, live: {http: /, every: 6s}}", "{command: x, port: 80, live: {http: /}, stop: {grace: 1s}}",
		"{command: x, port: 80, live: {http: /}, shell: sh}", "{command: x, port: 80, live: {http: /}, ready: none}",
		"{command: x, port: [80, 81], live: {http: /}}", "{command: x, port: {number: 80, on_conflict: next}, live: {http: /}}",
	} {
		if _, changed, _ := Diff(parse("  a: "+base+"\n"), parse("  a: "+entry+"\n")); len(changed) != 1 {
			t.Errorf("%s is not seen as a change", entry)
		}
	}
	script := func(text string) *Project {
		return Detect(files("package.json", fmt.Sprintf(`{"scripts": {"dev": %q}}`, text)), "p", nil).Project
	}
	if _, changed, _ := Diff(script("x"), script("y")); len(changed) != 1 {
		t.Errorf("a changed script: %v", changed)
	}
}

// TestPure: the package reads only what it is given.
func TestPure(t *testing.T) {
	sources, err := filepath.Glob("*.go")
	if err != nil || len(sources) == 0 {
		t.Fatal(sources, err)
	}
	banned := []string{"os", "os/exec", "os/signal", "net", "net/http", "syscall", "io/ioutil", "path/filepath", "log", "math/rand", "golang.org/x/sys/unix"}
	for _, file := range sources {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range banned {
				if name == b {
					t.Errorf("%s imports %s", file, name)
				}
			}
		}
	}
}
