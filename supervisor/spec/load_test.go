package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func lookup(pairs ...string) func(string) string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

func files(pairs ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1]), Mode: 0o644}
	}
	return m
}

func valid(t *testing.T, l *Loaded) *Loaded {
	t.Helper()
	if len(l.Issues) > 0 {
		t.Fatalf("issues: %s", strings.Join(problems(l), "\n"))
	}
	checkRanges(t, l)
	return l
}

// server returns the one server of a valid file whose entry is given.
func server(t *testing.T, entry string) Server {
	t.Helper()
	l := valid(t, Parse("version: 1\nservers:\n  api: "+entry+"\n", "proj", nil, nil))
	return l.Project.Servers[0]
}

// TestExample: the commented example loads, and says what its comments say.
func TestExample(t *testing.T) {
	text, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	l := valid(t, Load(files(FileName, string(text), "backend/x", "", "frontend/x", ""), "proj", nil))
	p := l.Project
	if p.Name != "shop" || p.HTTP != "127.0.0.1:9000" || p.Detected || len(p.Servers) != 3 || len(p.Dependencies) != 4 {
		t.Errorf("project %+v", p)
	}
	want := Server{
		Name: "api", Command: []string{"npm", "run", "dev"}, Text: "npm run dev", Dir: "backend",
		Ports: []Port{{4000, Ask, OwnerTree}}, Env: map[string]string{"LOG_LEVEL": "debug"}, EnvFiles: []string{".env"},
		Ready: Probe{Kind: ProbeHTTP, HTTP: "/api/health", Status: []int{200, 204}, JSON: map[string]string{"status": "ok"},
			Latency: time.Second, Within: 10 * time.Second, Every: 5 * time.Second, Timeout: 5 * time.Second, Failures: 3, ErrorRate: 0.01},
		Live:      &Probe{Kind: ProbeHTTP, HTTP: "/api/health", Status: []int{200, 204}, Every: 5 * time.Second, Timeout: 5 * time.Second, Failures: 3},
		DependsOn: []string{"postgres"},
		Restart: Restart{On: OnFailure, Delay: 2 * time.Second, MaxDelay: time.Minute, ResetAfter: time.Minute,
			MaxInARow: 5, MaxPerHour: 10},
		Memory: Memory{1 << 30, 3 << 29, 2 << 30},
		Stop:   Stop{"SIGTERM", 5 * time.Second, []string{"gpg-agent"}},
		Watch:  Watch{LockfileCaches: true, LockfileRestart: true, Settle: 150 * time.Millisecond},
		Origin: Origin{File: FileName, Key: "servers.api"},
	}
	if d := cmp.Diff(want, p.Servers[0]); d != "" {
		t.Errorf("api (- expected, + found):\n%s", d)
	}
	web := p.Servers[1]
	if web.Ready.Within != time.Minute || !reflect.DeepEqual(web.Caches, []string{".next", "node_modules/.cache"}) ||
		!reflect.DeepEqual(web.Watch.Restart, []string{"next.config.*", ".env*"}) {
		t.Errorf("web %+v", web)
	}
	worker := p.Servers[2]
	if !reflect.DeepEqual(worker.Command, []string{"bash", "-c", "node worker.js | tee worker.log"}) || worker.Ready.Kind != ProbeNone || worker.Ready.Default {
		t.Errorf("worker %+v", worker)
	}
	if d := p.Dependencies[0]; d != (Dependency{"postgres", "postgres", "postgres://app:secret@localhost:5432/app", "localhost:5432", 5 * time.Second}) {
		t.Errorf("dependency %+v", d)
	}
}

// TestKeysDefaults: each default of the table, written out, changes nothing.
func TestKeysDefaults(t *testing.T) {
	for _, k := range Keys {
		if k.Doc == "" || len(k.Forms) == 0 {
			t.Errorf("%s has no doc or no form", k.Path)
		}
		if k.Default == "" || k.Path == "version" {
			continue
		}
		path := strings.Split(k.Path, ".")
		with := fmt.Sprintf("{%s: %s}", path[len(path)-1], k.Default)
		without := "{}"
		switch parent := path[len(path)-2]; {
		case parent == "port":
			with, without = fmt.Sprintf("{number: 80, %s: %s}", path[len(path)-1], k.Default), "{number: 80}"
		case parent == "ready" || parent == "live":
			with, without = fmt.Sprintf("{http: /, %s: %s}", path[len(path)-1], k.Default), "{http: /}"
		}
		text := func(entry string) string {
			if path[0] == "dependencies" {
				return "version: 1\nservers: {a: {command: b}}\ndependencies: {d: {tcp: 1, " + strings.Trim(entry, "{}") + "}}\n"
			}
			for i := len(path) - 2; i > 1; i-- {
				entry = fmt.Sprintf("{%s: %s}", path[i], entry)
			}
			extra := ""
			if path[2] != "port" {
				extra = "port: 80, "
			}
			return "version: 1\nservers: {a: {command: b, " + extra + strings.TrimPrefix(strings.TrimSuffix(entry, "}"), "{") + "}}\n"
		}
		a, b := Parse(text(with), "p", nil, nil), Parse(text(without), "p", nil, nil)
		valid(t, a)
		valid(t, b)
		_, changed, _ := Diff(a.Project, b.Project)
		if len(changed) > 0 || !reflect.DeepEqual(a.Project.Dependencies, b.Project.Dependencies) {
			t.Errorf("%s: the default is not %s:\n%s", k.Path, k.Default, cmp.Diff(a.Project, b.Project))
		}
	}
}

// TestKeysRead: a value of a form that no key takes is refused at every key of
// the table, so every key of the table is read by something.
func TestKeysRead(t *testing.T) {
	for _, k := range Keys {
		wrong := "[[x]]"
		if k.Name() == "*" || hasForm(k, FormMap) {
			continue
		}
		entry := fmt.Sprintf("{%s: %s}", k.Name(), wrong)
		path := strings.Split(strings.ReplaceAll(k.Path, "*", "x"), ".")
		for i := len(path) - 2; i >= 0; i-- {
			entry = fmt.Sprintf("{%s: %s}", path[i], entry)
		}
		l := Parse(entry, "p", nil, nil)
		found := false
		for _, i := range l.Issues {
			found = found || strings.HasPrefix(i.Key, strings.Join(path, ".")) && !strings.Contains(i.Message, "unknown key") && i.Message != "the key version is missing"
		}
		if !found {
			t.Errorf("%s: %s was not looked at: %v", k.Path, entry, problems(l))
		}
	}
}

func TestLoadUnreadable(t *testing.T) {
	denied := denyFS{files(FileName, "version: 1\n", "package.json", `{"scripts":{"dev":"x"}}`)}
	tests := []struct {
		name    string
		fsys    fs.FS
		message string
	}{
		{"directory", files(FileName+"/x", ""), "devside.yaml can't be read: it is not a regular file"},
		{"pipe", fstest.MapFS{FileName: {Mode: fs.ModeNamedPipe}}, "devside.yaml can't be read: it is not a regular file"},
		{"too large", files(FileName, strings.Repeat("#", maxConfigBytes+1)), "devside.yaml can't be read: it is too large: more than 256 KiB"},
		{"no permission", denied, "devside.yaml can't be read: permission denied"},
	}
	for _, tt := range tests {
		l := Load(tt.fsys, "proj", nil)
		if l.Valid() || len(l.Issues) != 1 || l.Issues[0].Message != tt.message || l.Project.Name != "proj" || l.Project.Detected || len(l.Project.Servers) > 0 {
			t.Errorf("%s: %v %+v", tt.name, problems(l), l.Project)
		}
	}
	l := Load(files("package.json/x", "", "web/package.json", strings.Repeat(" ", maxPackageBytes+1)), "proj", nil)
	if !l.Valid() || len(l.Issues) != 2 || l.Issues[0].File != "package.json" || l.Issues[1].File != "web/package.json" {
		t.Errorf("package.json: %v", problems(l))
	}
	if l := Load(files(), "proj", nil); len(l.Issues) > 0 || len(l.Project.Servers) > 0 || !l.Valid() {
		t.Errorf("an empty folder: %v", problems(l))
	}
}

// denyFS lets files be seen and not opened, which root could not be shown on disk.
type denyFS struct{ fstest.MapFS }

func (d denyFS) Open(name string) (fs.File, error) {
	f, err := d.MapFS.Open(name)
	if err == nil && strings.HasSuffix(name, ".yaml") {
		return nil, errors.Join(f.Close(), &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission})
	}
	return f, err
}

// TestLoadFromDisk: a real directory, by os.DirFS.
func TestLoadFromDisk(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), []byte("version: 1\nservers: {a: {command: b}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := valid(t, Load(os.DirFS(dir), "proj", nil))
	if len(l.Project.Servers) != 1 {
		t.Errorf("%+v", l.Project)
	}
}

func TestLinesAndMarks(t *testing.T) {
	body := "version: 1\nservers:\n  api:\n    command: a\n    prot: 1 # 😀\n"
	want := problems(Parse(body, "p", nil, nil))
	if len(want) != 2 || !strings.HasPrefix(want[0], "5:5 ") {
		t.Fatalf("problems %q", want)
	}
	for name, text := range map[string]string{
		"BOM":  "\ufeff" + body,
		"CRLF": strings.ReplaceAll(body, "\n", "\r\n"),
		"CR":   strings.ReplaceAll(body, "\n", "\r"),
		"both": "\ufeff" + strings.ReplaceAll(body, "\n", "\r\n"),
	} {
		l := Parse(text, "p", nil, nil)
		checkRanges(t, l)
		if d := cmp.Diff(want, problems(l)); d != "" {
			t.Errorf("%s (- plain, + so):\n%s", name, d)
		}
		if strings.HasPrefix(l.Sources[0].Text, "\ufeff") {
			t.Errorf("%s: the byte order mark is in the text", name)
		}
	}
	for text, want := range map[string]string{
		"version: \xff\n":       "1:10 error the file is not valid UTF-8 text",
		"a: é\x01\n":            "1:5 error the file holds a control character (U+0001)",
		"version: 1\n\x00\n":    "2:1 error the file holds a control character (U+0000)",
		"# \uFFFD is allowed\n": "1:1 error the file is empty",
	} {
		if got := problems(Parse(text, "p", nil, nil)); len(got) == 0 || got[0] != want {
			t.Errorf("%q: %q, expected %q", text, got, want)
		}
	}
}

func TestOverrides(t *testing.T) {
	text := "version: 1\nservers:\n  my-api.v2: {command: a, port: [3000, 3001], ready: {tcp: }}\n  web: {command: a}\n  off: {command: a, ready: {none: , within: 3s}}\n"
	l := valid(t, Parse(text, "p", nil, lookup("DEV_PORT_MY_API_V2", "5000", "DEV_PORT_WEB", "5001", "DEV_HEALTH_RETRIES", "30")))
	api, web := l.Project.Servers[0], l.Project.Servers[1]
	if api.Ports[0].Number != 5000 || api.Ports[1].Number != 3001 {
		t.Errorf("ports %+v", api.Ports)
	}
	if len(web.Ports) != 1 || web.Ports[0] != (Port{5001, Ask, OwnerTree}) || web.Ready.Kind != ProbeTCP || !web.Ready.Default {
		t.Errorf("web %+v", web)
	}
	for _, s := range l.Project.Servers {
		if s.Ready.Within != 30*time.Second {
			t.Errorf("%s within %s", s.Name, s.Ready.Within)
		}
	}
	l = Parse("version: 1\nservers: {a: {command: a, port: [1, 2]}}\n", "p", nil, lookup("DEV_PORT_A", "2"))
	if got := problems(l); len(got) != 2 || got[0] != "2:37 error port-clash: port 2 stands twice" {
		t.Errorf("an override that repeats a port: %q", got)
	}
}

// TestSECURITY004ConfigIsValidated: values out of bounds never reach a Project,
// from the file or from the environment.
func TestSECURITY004ConfigIsValidated(t *testing.T) {
	for _, port := range []string{"0", "-1", "65536", "1e3", "0x50", "3000; rm -rf /", "$(id)"} {
		l := Parse("version: 1\nservers: {a: {command: b, port: '"+port+"'}}\n", "p", nil, nil)
		if l.Valid() || len(l.Project.Servers[0].Ports) > 0 {
			t.Errorf("port %q was taken: %+v", port, l.Project.Servers[0].Ports)
		}
		l = Parse("version: 1\nservers: {a: {command: b, port: 80}}\n", "p", nil, lookup("DEV_PORT_A", port))
		if l.Valid() || l.Project.Servers[0].Ports[0].Number != 80 {
			t.Errorf("DEV_PORT_A=%q was taken: %+v", port, l.Project.Servers[0].Ports)
		}
	}
}

// TestSECURITY005NoShell: nothing that only a shell understands gets into an
// argv, unless the file names a shell.
func TestSECURITY005NoShell(t *testing.T) {
	payloads := []string{"a; rm -rf /", "a && b", "a | b", "a `id`", "a $(id)", "a > /etc/passwd", "a & b", "a\nb", "LD_PRELOAD=x a", "a ${IFS}b${x:-y}"}
	for _, p := range payloads {
		entry := fmt.Sprintf("version: 1\nservers: {a: {command: %q%%s}}\n", p)
		l := Parse(fmt.Sprintf(entry, ""), "p", nil, nil)
		if l.Valid() || l.Project.Servers[0].Command != nil {
			t.Errorf("%q became %q", p, l.Project.Servers[0].Command)
		}
		if len(l.Issues) == 0 || !strings.Contains(l.Issues[0].Hint, "shell: bash") {
			t.Errorf("%q: no hint to name a shell: %v", p, problems(l))
		}
		l = valid(t, Parse(fmt.Sprintf(entry, ", shell: bash"), "p", nil, nil))
		if got := l.Project.Servers[0].Command; !reflect.DeepEqual(got, []string{"bash", "-c", p}) {
			t.Errorf("with a shell: %q", got)
		}
	}
}

// TestNoSecretsInMessages: what may hold a password is never quoted.
func TestNoSecretsInMessages(t *testing.T) {
	for _, url := range []string{"mysql://u:hunter2@h/", "postgres://u:hunter2@:5432", "postgres://u:hunter2@h:99999/", "postgres://u:hunter2@%zz", "hunter2"} {
		l := Parse(fmt.Sprintf("version: 1\nservers: {a: {command: b}}\ndependencies: {d: {postgres: %q}}\n", url), "p", nil, nil)
		if l.Valid() {
			t.Errorf("%q is accepted", url)
		}
		if strings.Contains(strings.Join(problems(l), "\n"), "hunter2") {
			t.Errorf("%q: a message holds the password: %q", url, problems(l))
		}
	}
	_, issues := ParseEnvFile("hunter2\nA B=hunter2\nC='hunter2\nD=\"hunter2")
	if len(issues) == 0 || strings.Contains(fmt.Sprint(issues), "hunter2") {
		t.Errorf("env file: %v", issues)
	}
}

// TestRELIABILITY003DefaultStatus: only 200 and 204 count unless configured.
func TestRELIABILITY003DefaultStatus(t *testing.T) {
	s := server(t, "{command: a, port: 80, ready: {http: /}, live: {http: /, status: 301}}")
	if !reflect.DeepEqual(s.Ready.Status, []int{200, 204}) || !reflect.DeepEqual(s.Live.Status, []int{301}) {
		t.Errorf("ready %v, live %v", s.Ready.Status, s.Live.Status)
	}
}

func TestProbes(t *testing.T) {
	tests := []struct {
		entry string
		want  Probe
	}{
		{"{command: a}", Probe{Kind: ProbeNone, Default: true}},
		{"{command: a, port: 80}", Probe{Kind: ProbeTCP, Default: true}},
		{"{command: a, port: 80, ready: {within: 10s}}", Probe{Kind: ProbeTCP, Default: true}},
		{"{command: a, port: 80, ready: none}", Probe{Kind: ProbeNone}},
		{"{command: a, port: 80, ready: tcp}", Probe{Kind: ProbeTCP}},
		{"{command: a, ready: notify}", Probe{Kind: ProbeNotify}},
		{"{command: a, ready: {notify: }}", Probe{Kind: ProbeNotify}},
		{"{command: a, port: 80, ready: {tcp: true}}", Probe{Kind: ProbeTCP}},
		{"{command: a, port: 80, ready: {tcp: 81}}", Probe{Kind: ProbeTCP, TCP: "localhost:81"}},
		{`{command: a, ready: {tcp: "[::1]:81"}}`, Probe{Kind: ProbeTCP, TCP: "[::1]:81"}},
		{"{command: a, ready: {exec: pg_isready -h $HOST}}", Probe{Kind: ProbeExec, Exec: []string{"pg_isready", "-h", "$HOST"}}},
		{"{command: a, ready: {exec: [a, 'b c']}}", Probe{Kind: ProbeExec, Exec: []string{"a", "b c"}}},
		{"{command: a, ready: {log: 'ready in \\d+'}}", Probe{Kind: ProbeLog, Log: `ready in \d+`}},
		{`{command: a, ready: {http: "http://localhost:80/x"}}`, Probe{Kind: ProbeHTTP, HTTP: "http://localhost:80/x", Status: []int{200, 204}, Latency: time.Second}},
		{"{command: a, port: 80, ready: {http: /, status: 200, json: {a: 1, b: true}, latency: 500ms}}",
			Probe{Kind: ProbeHTTP, HTTP: "/", Status: []int{200}, JSON: map[string]string{"a": "1", "b": "true"}, Latency: 500 * time.Millisecond}},
	}
	for _, tt := range tests {
		want := tt.want
		want.Within, want.Every, want.Timeout, want.Failures, want.ErrorRate = DefaultWithin, DefaultReadyEvery, DefaultTimeout, DefaultFailures, DefaultErrorRate
		if d := cmp.Diff(want, server(t, tt.entry).Ready); d != "" {
			t.Errorf("%s (- expected, + found):\n%s", tt.entry, d)
		}
	}
}

// TestTCPProbeFollowsOverride: a probe that names the first port's number in
// the file means that port, also when the environment moves it.
// HEALTH-3: each bound has a default and can be set; a server that compiles on
// demand has none of latency.
func TestHEALTH3BoundsOfReadiness(t *testing.T) {
	const manifest = `{"scripts": {"dev": "next dev --turbo", "api": "node api.js"}}`
	for _, tt := range []struct {
		entry   string
		latency time.Duration
		rate    float64
	}{
		{"{command: node a.js, port: 80, ready: {http: /}}", time.Second, 0.01},
		{"{command: npm run api, port: 80, ready: {http: /}}", time.Second, 0.01},
		{"{command: npm run dev, port: 80, ready: {http: /}}", 0, 0.01},
		{"{command: npm run dev, port: 80, ready: {http: /, latency: 3s}}", 3 * time.Second, 0.01},
		{"{command: vite dev, port: 80, ready: {http: /}}", 0, 0.01},
		{"{command: next dev | cat, shell: sh, port: 80, ready: {http: /}}", 0, 0.01},
		{"{command: a, port: 80, ready: {http: /, latency: 0}}", 0, 0.01},
		{"{command: a, port: 80, ready: {http: /, latency: 0s, error_rate: 2.5%}}", 0, 0.025},
		{"{command: a, port: 80, ready: {error_rate: 100%}}", 0, 1},
		{"{command: a, port: 80}", 0, 0.01},
	} {
		l := valid(t, Load(files(FileName, "version: 1\nservers:\n  a: "+tt.entry+"\n", "package.json", manifest), "p", nil))
		if ready := l.Project.Servers[0].Ready; ready.Latency != tt.latency || ready.ErrorRate != tt.rate {
			t.Errorf("%s: latency %v, error rate %v", tt.entry, ready.Latency, ready.ErrorRate)
		}
	}
}

func TestTCPProbeFollowsOverride(t *testing.T) {
	l := valid(t, Parse("version: 1\nservers: {web: {command: a, port: 3000, ready: {tcp: 3000}}}\n", "p", nil, lookup("DEV_PORT_WEB", "5000")))
	if p := l.Project.Servers[0].Ready; p.TCP != "" || p.Kind != ProbeTCP {
		t.Errorf("probe %+v", p)
	}
}

func TestValues(t *testing.T) {
	s := server(t, `{command: [a, "", 5, true], dir: ./x/../y/, port: [{number: 80, on_conflict: next, owner: any}, "81"], env: {A: 1, B: true, C: 1.50, D: "", E: 0x10},
    env_file: [../.env, a/./b], restart: {on: always, delay: 0, dependents: true}, memory: {warn: 0, restart: 512MB, kill: 0}, stop: {signal: SIGINT, grace: 0, spare: a b}, caches: x//y, watch: {lockfile: {restart: false}}}`)
	want := newServer("api")
	want.Command, want.Text = []string{"a", "", "5", "true"}, `a '' 5 true`
	want.Dir, want.Ports = "y", []Port{{80, Next, OwnerAny}, {81, Ask, OwnerTree}}
	want.Env = map[string]string{"A": "1", "B": "true", "C": "1.50", "D": "", "E": "0x10"}
	want.EnvFiles = []string{"../.env", "a/b"}
	want.Restart.On, want.Restart.Delay, want.Restart.DelayIsZero, want.Restart.Dependents = OnAlways, 0, true, true
	want.Memory = Memory{0, 512 << 20, 0}
	want.Stop = Stop{"SIGINT", 0, []string{"a b"}}
	want.Caches = []string{"x/y"}
	want.Watch.LockfileRestart = false
	want.Ready.Kind, want.Ready.Default = ProbeTCP, true
	want.Origin = Origin{File: FileName, Key: "servers.api"}
	if d := cmp.Diff(want, s); d != "" {
		t.Errorf("- expected, + found:\n%s", d)
	}
}

func TestHTTPAddress(t *testing.T) {
	for in, want := range map[string]string{"9000": "127.0.0.1:9000", "127.0.0.1:0": "127.0.0.1:0", "localhost:80": "localhost:80", `"[::1]:80"`: "[::1]:80"} {
		l := valid(t, Parse("version: 1\nhttp: "+in+"\nservers: {a: {command: b}}\n", "p", nil, nil))
		if l.Project.HTTP != want {
			t.Errorf("%s: %q, expected %q", in, l.Project.HTTP, want)
		}
	}
	for _, in := range []string{"0.0.0.0:80", `"[::]:80"`, "example.com:80", "localhost.evil.com:80", "192.168.0.1:80", "host", "127.0.0.1:70000", `"[::1%eth0]:80"`, "[a]", "0177.0.0.1:80"} {
		if l := Parse("version: 1\nhttp: "+in+"\nservers: {a: {command: b}}\n", "p", nil, nil); l.Valid() || l.Project.HTTP != "" {
			t.Errorf("%s is accepted as %q", in, l.Project.HTTP)
		}
	}
}

func TestAliases(t *testing.T) {
	l := valid(t, Parse(`version: 1
servers:
  api: &base
    command: npm run dev
    env: &env {A: b}
    restart: {max_in_a_row: 3}
  web:
    <<: *base
    command: next dev
    port: 3000
  doc: {<<: [*base, {dir: docs, command: x}], env: *env}
`, "p", nil, nil))
	api, web, doc := l.Project.Servers[0], l.Project.Servers[1], l.Project.Servers[2]
	if web.Command[0] != "next" || web.Env["A"] != "b" || web.Restart.MaxInARow != 3 || len(web.Ports) != 1 || len(api.Ports) != 0 {
		t.Errorf("web %+v", web)
	}
	if doc.Command[0] != "npm" || doc.Dir != "docs" || doc.Env["A"] != "b" {
		t.Errorf("doc %+v", doc)
	}
}

// TestMarked: the text that a problem is shown at.
func TestMarked(t *testing.T) {
	tests := []struct{ yaml, server, field, want string }{
		{"  api:\n    port: 4000 # x\n", "api", "", "api"},
		{"  api:\n    port: 4000 # x\n", "api", "port", "4000"},
		{"  api:\n    port: '4000'\n", "api", "port", "'4000'"},
		{"  api:\n    port: [4000, 4001]\n", "api", "port", "[4000, 4001]"},
		{"  api:\n    port: [4000, 4001]\n", "api", "port[1]", "4001"},
		{"  api:\n    port:\n      - 4000\n      - 4001\n", "api", "port", "port"},
		{"  api:\n    port: {number: 4000}\n", "api", "port.number", "4000"},
		{"  api:\n    command: npm run dev\n", "api", "ready", "api"},
		{"  api:\n    command:   \"npm \\\" run\"   # c\n", "api", "command", `"npm \" run"`},
		{"  api:\n    command: 'it''s'\n", "api", "command", "'it''s'"},
		{"  api:\n    command: |\n      x\n", "api", "command", "|"},
		{"  api:\n    command: a b\n      c\n", "api", "command", "a b"},
		{"  api:\n    command: \"a\n      b\"\n", "api", "command", "command"},
		{"  api:\n    depends_on: [x, \"y\"]\n", "api", "depends_on[1]", `"y"`},
		{"  api:\n    depends_on: [x, \"y\"]\n", "api", "depends_on[7]", `[x, "y"]`},
		{"  api:\n    ready: {http: /a, within: 5s}\n", "api", "ready.within", "5s"},
		{"  api:\n    ready: {http: /a, within: 5s}\n", "api", "ready.every", "{http: /a, within: 5s}"},
		{"  a.b:\n    port: 1\n", "a.b", "port", "1"},
		{"  \"a.b\":\n    port:\t1\n", "a.b", "port", "1"},
		{"  \"a.b\": {command: x}\n", "a.b", "", `"a.b"`},
		{"  api: {command: 😀😀, port: 80}\n", "api", "port", "80"},
		{"  api: {command: x}\n", "nobody", "port", "version: 1"},
		{"  api: {command: x}\n", "api", "-", "version: 1"},
	}
	for _, tt := range tests {
		l := Parse("version: 1\nservers:\n"+tt.yaml, "p", nil, nil)
		checkRanges(t, l)
		file, r := l.Locate(tt.server, tt.field)
		if got := l.Sources[0].slice(r); got != tt.want || file != FileName {
			t.Errorf("%q %s %s: marks %q at %v in %s, expected %q", tt.yaml, tt.server, tt.field, got, r, file, tt.want)
		}
	}
	empty := &Loaded{Project: &Project{}}
	if file, r := empty.Locate("api", "port"); file != FileName || r.Start != (Position{1, 1}) {
		t.Errorf("nothing loaded: %s %v", file, r)
	}
}

func TestIssuesAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("version: 1\nservers:\n  a:\n    command: b\n    env:\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "      A-%d: x\n", i)
	}
	l := Parse(b.String(), "p", nil, nil)
	if len(l.Issues) != maxIssues || l.Valid() || !strings.Contains(l.Issues[maxIssues-1].Message, "801 more") {
		t.Errorf("%d issues, the last %+v", len(l.Issues), l.Issues[len(l.Issues)-1])
	}
}

// TestRELIABILITY004LimitIsReachable: with every setting that is accepted, a
// server that crashes each time its delay has fallen back is held, or restarts
// no more often than the default allows.
func TestRELIABILITY004LimitIsReachable(t *testing.T) {
	durations := []time.Duration{0, time.Second, 2 * time.Second, 10 * time.Second, time.Minute, 5 * time.Minute, time.Hour, 24 * time.Hour}
	accepted := 0
	for _, delay := range durations {
		for _, reset := range durations {
			for _, perHour := range []int{1, 10, 11, 59, 60, 100, 3600} {
				r := Restart{On: OnFailure, Delay: delay, MaxDelay: 24 * time.Hour, ResetAfter: reset, MaxInARow: 5, MaxPerHour: perHour}
				if message, _ := unreachable(r); message != "" {
					continue
				}
				accepted++
				if n := restartsAnHour(r); n <= r.MaxPerHour && n > DefaultMaxPerHour {
					t.Errorf("%+v: a server restarts %d times in an hour and is never held", r, n)
				}
			}
		}
	}
	if accepted == 0 {
		t.Error("nothing was accepted")
	}
	if message, _ := unreachable(newServer("x").Restart); message != "" {
		t.Errorf("the defaults: %s", message)
	}
}

// restartsAnHour runs a server that crashes the moment its delay has fallen
// back, by the words of the design: ready for the longer of reset_after and
// twice the last delay; after 10 s of ready the first restart is immediate.
func restartsAnHour(r Restart) int {
	const most = 100_000
	n := 0
	for now := time.Duration(0); now < time.Hour && n < most; n++ {
		ready := max(r.ResetAfter, 2*r.Delay)
		if ready < 10*time.Second {
			now += r.Delay
		}
		now += ready
		if r.ResetAfter >= 10*time.Second {
			now += r.ResetAfter - ready // the last delay was none
		}
	}
	return n
}
