//go:build e2e && linux

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// realThing is what the test of a preset needs beside the archive of its name.
type realThing struct {
	page string // the page has this text
	// debian are the packages with the framework, module what Python calls it.
	debian, module string
	reloads        []reload
	// restarts is a file that devside restarts it for, because the preset says so.
	restarts string
}

// reload is a change that the framework must act upon by itself, because the
// preset says so: devside leaves the file alone.
type reload struct {
	file, text string
	says       string // a line of its output then matches
}

// realThings is one entry for each preset that counts as tested.
var realThings = map[string]realThing{
	"next": {page: "hello from next", reloads: []reload{
		{".env.local", "SHOP=1\n", `Reload env: \.env\.local`},
		{"next.config.mjs", "export default {poweredByHeader: false};\n", `next\.config\.mjs.*[Rr]estart`},
	}},
	"vite": {page: "hello from vite", reloads: []reload{
		{"vite.config.js", "export default {define: {a: '1'}};\n", `vite\.config\.js changed, restarting`},
		{".env", "VITE_SHOP=1\n", `\.env changed, restarting`},
	}},
	"nuxt": {page: "hello from nuxt", reloads: []reload{
		{"nuxt.config.ts", "export default defineNuxtConfig({telemetry: false, devtools: {enabled: false}, compatibilityDate: '2025-01-02'});\n", `nuxt\.config\.ts.*[Rr]estarting`},
		{".env", "SHOP=1\n", `\.env.*[Rr]estarting`},
	}},
	"astro": {page: "hello from astro", reloads: []reload{
		{".env", "SHOP=1\n", `\.env changed, restarting`},
		{"astro.config.mjs", "export default {compressHTML: false};\n", `[Cc]onfiguration.*[Rr]estarting`},
	}},
	"sveltekit": {page: "hello from sveltekit", reloads: []reload{
		{"vite.config.js", "import {sveltekit} from '@sveltejs/kit/vite';\n\nexport default {plugins: [sveltekit()], define: {a: '1'}};\n", `vite\.config\.js changed, restarting`},
		{"svelte.config.js", "export default {kit: {}};\n", `svelte config changed, restarting`},
		{".env", "SHOP=1\n", `\.env changed, restarting`},
	}},
	"nest":    {page: "hello from nest"},
	"express": {page: "hello from express", restarts: ".env"},
	"fastify": {page: "hello from fastify"},
	"django":  {page: "hello from django", debian: "python3-django", module: "django", restarts: ".env.local"},
	"flask":   {page: "hello from flask", debian: "python3-flask", module: "flask", restarts: ".flaskenv"},
	"fastapi": {page: "hello from fastapi", debian: "python3-fastapi and python3-uvicorn", module: "fastapi, uvicorn"},
	"go":      {page: "hello from go", restarts: "go.mod"},
}

// TestE2EPresets starts the real framework of each preset that counts as tested,
// as it is detected, without a devside.yaml, on a port of the kernel's choice.
func TestE2EPresets(t *testing.T) {
	for name, value := range map[string]string{"NEXT_TELEMETRY_DISABLED": "1", "NUXT_TELEMETRY_DISABLED": "1", "ASTRO_TELEMETRY_DISABLED": "1"} {
		t.Setenv(name, value)
	}
	for _, p := range spec.Presets {
		thing, known := realThings[p.Name]
		if known != p.Tested {
			t.Errorf("%s: tested is %v, and there is a test: %v", p.Name, p.Tested, known)
		}
		if known {
			t.Run(p.Name, func(t *testing.T) { thing.run(t, p) })
		}
	}
}

func (r realThing) run(t *testing.T, p spec.Preset) {
	if r.module != "" {
		t.Setenv("PATH", "/usr/bin:"+os.Getenv("PATH")) // where the distribution's Python is
		if out, err := exec.Command("/usr/bin/python3", "-c", "import "+r.module).CombinedOutput(); err != nil {
			t.Fatalf("%s is missing: install the packages %s: %v\n%s", r.module, r.debian, err, out)
		}
	}
	dir := filepath.Join(realDir(t), "shop")
	unpackPreset(t, p.Name, dir)
	port := servicePort(t)
	t.Setenv(spec.PortVariable("shop"), fmt.Sprint(port))

	l := spec.Load(os.DirFS(dir), "shop", os.Getenv)
	if len(l.Issues) > 0 || len(l.Project.Servers) != 1 {
		t.Fatalf("detected: %+v", l)
	}
	found := l.Project.Servers[0]
	if found.Name != "shop" || found.Preset != p.Name || len(found.Ports) != 1 || found.Ports[0].Number != port {
		t.Fatalf("detected: %+v", found)
	}

	s := startSidecar(t, dir, homeDir(t), realPatience)
	s.initialize(dir, trusted)
	began := time.Now()
	if result := s.start(t); len(result.Servers) != 1 || !result.Servers[0].OK {
		t.Fatalf("start: %s\n%s", result, s.output(t))
	}
	t.Logf("%s is ready after %v", found.Text, time.Since(began).Round(time.Millisecond))
	st := s.status(t)
	server, _ := st.Server("shop")
	if server.State != status.Ready || len(server.Ports) != 1 || server.Ports[0].Number != port || !server.Ports[0].Listening || st.Config != "" {
		t.Errorf("%+v", server)
	}
	url := fmt.Sprintf("http://localhost:%d/", port)
	if body := get(t, url); !strings.Contains(body, r.page) {
		t.Errorf("the page: %.500q", body)
	}
	for _, change := range r.reloads {
		change.isSeen(t, s, dir)
	}
	if len(r.reloads) > 0 {
		await(t, "the page after what was changed", func() (string, bool) {
			body, err := page(url)
			return fmt.Sprintf("%.300q %v", body, err), err == nil && strings.Contains(body, r.page)
		})
		st := s.status(t)
		now, _ := st.Server("shop")
		if now.PID != server.PID || now.Restarts > 0 {
			t.Errorf("it is another process now: %+v", now)
		}
	}
	if r.restarts != "" {
		r.isRestarted(t, s, dir, server.PID)
	}

	ran := servers(t, dir)
	s.Shutdown()
	if code := s.exitCode(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	gone(t, ran)
	portsFree(t, port)
	if left := inside(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// isSeen writes the file and waits until the framework says that it saw it. What
// is written while it still restarts for an earlier change may be missed, so it
// is changed again, by an empty line, until then.
func (c reload) isSeen(t *testing.T, s *sidecarProcess, dir string) {
	t.Helper()
	says, text, again := regexp.MustCompile(c.says), c.text, time.Time{}
	await(t, "the framework to reload "+c.file, func() (string, bool) {
		if time.Since(again) > 2*time.Second {
			if err := os.WriteFile(filepath.Join(dir, c.file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			text, again = text+"\n", time.Now()
		}
		out := s.output(t)
		return out, says.MatchString(out)
	})
}

// isRestarted adds an empty line to the file and waits for another process.
func (r realThing) isRestarted(t *testing.T, s *sidecarProcess, dir string, pid int) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, r.restarts), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	s.awaitStatus("a restart for "+r.restarts, func(p status.Project) bool {
		now, _ := p.Server("shop")
		return allReady(p) && now.PID != pid
	})
}

// output is what the server has printed, without colours.
func (s *sidecarProcess) output(t *testing.T) string {
	t.Helper()
	var answer struct{ Lines []struct{ Text string } }
	s.Do("devside/logs", map[string]any{"server": "shop", "lines": 200}, &answer)
	var b strings.Builder
	for _, line := range answer.Lines {
		b.WriteString(regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(line.Text, "") + "\n")
	}
	return b.String()
}

// unpackPreset writes the archive of a preset's name, which the tests of
// supervisor/spec use, too, and gives it its packages from npm.
func unpackPreset(t *testing.T, name, dir string) {
	t.Helper()
	a, err := txtar.ParseFile(filepath.Join(top(t), "supervisor", "spec", "testdata", "presets", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(dir string, f txtar.File) {
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range a.Files {
		write(dir, f)
		if f.Name != "package.json" {
			continue
		}
		sum := sha256.Sum256(f.Data)
		prepared := filepath.Join(os.Getenv(projectVariable)+"-presets", name+"-"+hex.EncodeToString(sum[:4]))
		if _, err := os.Stat(filepath.Join(prepared, "prepared")); err != nil {
			write(prepared, f)
			began := time.Now()
			npm(t, prepared, "npm", "install", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
			t.Logf("installed in %v", time.Since(began).Round(time.Millisecond))
			if err := os.WriteFile(filepath.Join(prepared, "prepared"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		// A tree of its own, since frameworks write new files below node_modules,
		// of hard links, since there are up to 350 MB; no symbolic link, which some
		// frameworks follow out of the project.
		packages := []string{filepath.Join(prepared, "node_modules"), filepath.Join(prepared, "package-lock.json"), dir}
		if exec.Command("cp", append([]string{"-al"}, packages...)...).Run() == nil {
			continue
		}
		if out, err := exec.Command("cp", append([]string{"-Rf"}, packages...)...).CombinedOutput(); err != nil { // another file system
			t.Fatalf("copy the packages: %v\n%s", err, out)
		}
	}
}
