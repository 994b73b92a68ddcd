//go:build e2e && linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/devside/devside/rpc/sidecar/fakeeditor"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/status"
)

// projectVariable names a prepared copy of the real project (see
// preparedProject): npm is asked once, and the test runs as several users.
const projectVariable = "DEVSIDE_E2E_PROJECT"

// realPatience bounds everything awaited of the real project: Next compiles
// its first page on a cold cache, on two cores that others use, too.
const realPatience = 4 * time.Minute

// apiSource is an Express API of the usual shape.
const apiSource = `const express = require('express');
const app = express();
app.get('/api/health', (request, response) => response.json({status: 'ok'}));
app.get('/api/greeting', (request, response) => response.json({greeting: 'hello from express', pid: process.pid}));
app.listen(process.env.PORT, () => console.log('listening on ' + process.env.PORT));
`

// TestE2EPrepare makes the real project where DEVSIDE_E2E_PROJECT says.
func TestE2EPrepare(t *testing.T) { preparedProject(t) }

// preparedProject is the folder with the real project: a frontend by
// create-next-app and an Express API, both from npm. It is made once.
func preparedProject(t *testing.T) string {
	t.Helper()
	dir := os.Getenv(projectVariable)
	if dir == "" {
		t.Fatalf("%s is not set: it names the folder to prepare (`make e2e` does)", projectVariable)
	}
	if _, err := os.Stat(filepath.Join(dir, "prepared")); err == nil {
		return dir
	}
	api := filepath.Join(dir, "api")
	if err := os.MkdirAll(api, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"index.js":     apiSource,
		"package.json": `{"name": "api", "private": true, "scripts": {"dev": "node index.js"}, "dependencies": {"express": "^5"}}`,
	} {
		if err := os.WriteFile(filepath.Join(api, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	npm(t, dir, "npx", "--yes", "create-next-app@latest", "frontend", "--ts", "--app", "--no-eslint", "--no-tailwind", "--no-src-dir",
		"--import-alias", "@/*", "--use-npm", "--disable-git", "--skip-install", "--yes")
	npm(t, filepath.Join(dir, "frontend"), "npm", "install", "--no-audit", "--no-fund")
	npm(t, api, "npm", "install", "--no-audit", "--no-fund")
	if err := os.WriteFile(filepath.Join(dir, "prepared"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func npm(t *testing.T, dir string, argv ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NEXT_TELEMETRY_DISABLED=1", "CI=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
}

// realProject copies the prepared project and gives it ports.
func realProject(t *testing.T) (dir string, api, web int) {
	t.Helper()
	from := preparedProject(t)
	dir = realDir(t)
	if out, err := exec.Command("cp", "-R", from+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("copy the project: %v\n%s", err, out)
	}
	var err error
	if api, err = freePort(); err != nil {
		t.Fatal(err)
	}
	if web, err = freePort(); err != nil {
		t.Fatal(err)
	}
	yaml := fmt.Sprintf(`version: 1
servers:
  web:
    command: npm run dev
    dir: frontend
    port: %d
    env: {NEXT_TELEMETRY_DISABLED: "1"}
    depends_on: [api]
    ready: {http: /, within: 180s, timeout: 120s}
  api:
    command: npm run dev
    dir: api
    port: %d
    ready: {http: /api/health, within: 60s}
`, web, api)
	if err := os.WriteFile(filepath.Join(dir, "devside.yaml"), []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, api, web
}

func get(t *testing.T, url string) string {
	t.Helper()
	body, err := page(url)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// page is what a URL answers with 200.
func page(url string) (string, error) {
	client := http.Client{Timeout: 2 * time.Minute}
	res, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil || res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET %s: %s, %v\n%.500s", url, res.Status, err, body)
	}
	return string(body), nil
}

// TestE2ENextAndExpress drives the real project over stdio as an editor does:
// npm -> sh -> node -> next-server, and npm -> sh -> node.
func TestE2ENextAndExpress(t *testing.T) {
	dir, apiPort, webPort := realProject(t)
	s := startSidecar(t, dir, homeDir(t), realPatience)
	s.initialize(dir, trusted)

	began := time.Now()
	s.mustStart(t)
	t.Logf("both ready after %v", time.Since(began).Round(time.Millisecond))
	p := s.status(t)
	if !allReady(p) {
		t.Fatalf("%+v", p.Servers)
	}
	for _, server := range p.Servers {
		t.Logf("%s: ready after %d ms of its own, %s", server.Name, *server.ReadyMs, server.URL)
	}
	if body := get(t, fmt.Sprintf("http://localhost:%d/api/greeting", apiPort)); !strings.Contains(body, "hello from express") {
		t.Errorf("the API answers %q", body)
	}
	if body := get(t, fmt.Sprintf("http://localhost:%d/", webPort)); !strings.Contains(body, "<html") {
		t.Errorf("the frontend answers %.300q", body)
	}
	ran := servers(t, dir)
	t.Logf("%d processes: %v", len(ran), ran)

	apiIsKilledAndComesBack(t, s, apiPort)
	portIsTakenAndNamed(t, s, dir, webPort)

	for id, command := range servers(t, dir) {
		ran[id] = command
	}
	began = time.Now()
	s.Shutdown()
	t.Logf("shutdown answered after %v", time.Since(began).Round(time.Millisecond))
	if code := s.exitCode(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	gone(t, ran)
	portsFree(t, apiPort, webPort)
	if left := inside(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// apiIsKilledAndComesBack kills the process that listens, deep below npm.
func apiIsKilledAndComesBack(t *testing.T, s *sidecarProcess, port int) {
	var answer struct{ PID int }
	if err := json.Unmarshal([]byte(get(t, fmt.Sprintf("http://localhost:%d/api/greeting", port))), &answer); err != nil {
		t.Fatal(err)
	}
	var entries []struct {
		Port   int
		Server string
		Holder *status.Holder
	}
	s.Do("devside/ports", map[string]any{}, &entries)
	for _, e := range entries {
		if e.Port == port && (e.Holder == nil || e.Holder.PID != answer.PID || e.Holder.Server != "api") {
			t.Errorf("who listens on %d: %+v, want pid %d of api", port, e.Holder, answer.PID)
		}
	}
	id, err := proc.Identify(answer.PID)
	if err != nil {
		t.Fatal(err)
	}
	kill(t, id)
	s.Await("the news of the crash", func(st *fakeeditor.State) bool {
		for _, m := range st.Messages {
			if m.Method == "devside/didHappen" && fakeKind(m.Params) == status.HappenedCrash {
				return true
			}
		}
		return false
	})
	s.awaitStatus("api ready again", func(p status.Project) bool {
		api, _ := p.Server("api")
		return allReady(p) && api.Crashes == 1 && api.Restarts == 1
	})
	var second struct{ PID int }
	if err := json.Unmarshal([]byte(get(t, fmt.Sprintf("http://localhost:%d/api/greeting", port))), &second); err != nil {
		t.Fatal(err)
	}
	if second.PID == answer.PID {
		t.Errorf("the API still answers as pid %d", second.PID)
	}
}

// portIsTakenAndNamed takes the frontend's port before it starts.
func portIsTakenAndNamed(t *testing.T, s *sidecarProcess, dir string, port int) {
	s.Do("devside/stop", map[string]any{"servers": []string{"web"}}, nil)
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := s.start(t, "web")
	web := r.Servers[len(r.Servers)-1]
	if web.Name != "web" || web.OK || web.State != status.Blocked || web.Error == nil || web.Error.Code != "port-taken" {
		t.Fatalf("start with the port taken: %s", r)
	}
	uri := "file://" + filepath.Join(dir, "devside.yaml")
	want := fmt.Sprintf("pid %d", os.Getpid())
	s.Await("a diagnostic on the port's line that names this process", func(st *fakeeditor.State) bool {
		for _, d := range st.Diagnostics[uri] {
			if d.Code == "port-taken" && strings.Contains(d.Message, want) && strings.Contains(d.Message, fmt.Sprint(port)) && d.Range.Start.Line == 5 {
				return true
			}
		}
		return false
	})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.mustStart(t, "web")
	s.Await("no diagnostics", func(st *fakeeditor.State) bool { return len(st.Diagnostics[uri]) == 0 })
	if body := get(t, fmt.Sprintf("http://localhost:%d/", port)); !strings.Contains(body, "<html") {
		t.Errorf("the frontend answers %.300q", body)
	}
}

// TestE2EAsAnOrdinaryUser runs the test above as uid 65534: much hides behind
// root. It needs root to become somebody else.
func TestE2EAsAnOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("this run is an ordinary user's already")
		return
	}
	dir, err := os.MkdirTemp("", "devside-e2e-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	model, err := fakeeditor.ModelPath()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bin")
	for _, d := range []string{bin, filepath.Join(dir, "home"), filepath.Join(dir, "tmp")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for to, from := range map[string]string{
		"bin/devside": filepath.Join(binaries(t), "devside"), "bin/demo": filepath.Join(binaries(t), "demo"), "e2e.test": self, "metaModel.json": model,
	} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const nobody = 65534
	for _, d := range []string{dir, filepath.Join(dir, "home"), filepath.Join(dir, "tmp")} {
		if err := os.Chown(d, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "e2e.test"), "-test.run", "^(TestE2ENextAndExpress|TestAPlainClientRunsAProject|TestKillingTheSidecarTheHubOrTheGuardian)$", "-test.v", "-test.timeout", "15m")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(dir, "home"), "TMPDIR=" + filepath.Join(dir, "tmp"),
		projectVariable + "=" + os.Getenv(projectVariable), binariesVariable + "=" + bin, fakeeditor.ModelVariable + "=" + filepath.Join(dir, "metaModel.json"),
	}
	out, err := cmd.CombinedOutput()
	t.Logf("as uid %d:\n%s", nobody, out)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "--- PASS: TestE2ENextAndExpress") {
		t.Error("the test did not run")
	}
}
