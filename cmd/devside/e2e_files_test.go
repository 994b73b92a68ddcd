//go:build e2e && linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/devside/devside/rpc/sidecar/fakeeditor"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

// happened lists the events that a session was told of, in order.
func happenedTo(s *sidecarProcess) (all []status.Event) {
	s.Look(func(st *fakeeditor.State) {
		for _, m := range st.Messages {
			var e status.Event
			if m.Method == wire.DidHappen && json.Unmarshal(m.Params, &e) == nil {
				all = append(all, e)
			}
		}
	})
	return all
}

// awaitRun waits until a server is ready in its n-th run, or fails when it is
// beyond that: restarted more often than it should have been.
func (s *sidecarProcess) awaitRun(t *testing.T, name string, n int) {
	t.Helper()
	run := 0
	s.awaitStatus(fmt.Sprintf("%s ready in run %d", name, n), func(p status.Project) bool {
		server, _ := p.Server(name)
		run = server.Run
		return run > n || run == n && server.State == status.Ready
	})
	if run > n {
		t.Fatalf("%s is in run %d, and should be in run %d", name, run, n)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestE2EFilesOfTheRealProject changes files of the real project, and looks
// that exactly the servers concerned restart.
func TestE2EFilesOfTheRealProject(t *testing.T) {
	dir, apiPort, _ := realProject(t)
	frontend := filepath.Join(dir, "frontend")
	yaml := read(t, filepath.Join(dir, "devside.yaml"))
	yaml = strings.Replace(yaml, "    dir: frontend\n", "    dir: frontend\n    caches: [.next]\n", 1)
	yaml = strings.Replace(yaml, "    dir: api\n", "    dir: api\n    env_file: [.env]\n", 1)
	write(t, filepath.Join(dir, "devside.yaml"), yaml)
	write(t, filepath.Join(dir, "api", ".env"), "GREETING=first\n")
	s := startSidecar(t, dir, homeDir(t), realPatience)
	s.initialize(dir, trusted)
	s.mustStart(t)
	before := [2]string{read(t, filepath.Join(frontend, "package.json")), read(t, filepath.Join(frontend, "package-lock.json"))}

	// A package is added: the frontend restarts once, without its cache.
	npm(t, frontend, "npm", "install", "--no-audit", "--no-fund", "clsx")
	s.awaitRun(t, "web", 2)
	s.Await("the news of the removed cache", func(st *fakeeditor.State) bool {
		return slices.ContainsFunc(st.Messages, func(m fakeeditor.Message) bool {
			return m.Method == wire.DidHappen && fakeKind(m.Params) == status.HappenedInvalidation
		})
	})
	because := status.Because{File: "frontend/package-lock.json", Rule: "lockfile"}
	var gone, began status.Event
	for _, e := range happenedTo(s) {
		switch {
		case e.Kind == status.HappenedInvalidation:
			gone = e
		case e.Kind == status.HappenedStart && e.Server == "web":
			began = e // the last one
		case e.Kind == status.HappenedRestart && (e.Server != "web" || e.Because == nil || *e.Because != because):
			t.Errorf("restarted: %+v", e)
		}
	}
	if gone.Server != "web" || !slices.Equal(gone.Removed, []string{"frontend/.next"}) || gone.RemovedBytes == 0 || *gone.Because != because || gone.At.After(began.At) {
		t.Errorf("removed: %+v, and started at %v", gone, began.At)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, ".devside", "trash")); err != nil || len(entries) > 0 {
		t.Errorf("in the trash: %v, %v", entries, err)
	}

	// An env file of the API: only the API restarts, and has the new value.
	write(t, filepath.Join(dir, "api", ".env"), "GREETING=second\n")
	s.awaitRun(t, "api", 2)
	if body := get(t, fmt.Sprintf("http://localhost:%d/api/greeting", apiPort)); !strings.Contains(body, "hello from express") {
		t.Errorf("the API answers %q", body)
	}

	// Next reloads its own configuration: devside leaves it to it.
	config := filepath.Join(frontend, "next.config.ts")
	write(t, config, read(t, config)+"\n// changed\n")
	s.awaitLog(t, "web", "next.config.ts")

	// An older lockfile, as after a checkout: stale until it is installed.
	write(t, filepath.Join(frontend, "package.json"), before[0])
	write(t, filepath.Join(frontend, "package-lock.json"), before[1])
	s.awaitStatus("dependencies-stale", func(p status.Project) bool {
		return slices.ContainsFunc(p.Problems, func(n status.Problem) bool {
			return n.Code == status.DependenciesStale && n.Server == "web" && strings.Contains(n.Hint, "`npm install` in frontend")
		})
	})
	now := s.status(t)
	for name, run := range map[string]int{"web": 2, "api": 2} {
		if server, _ := now.Server(name); server.Run != run || server.Crashes != 0 {
			t.Errorf("%+v", server)
		}
	}
	var installed wire.InstallResult
	s.Do("devside/install", map[string]any{"server": "web"}, &installed)
	if !installed.OK || installed.Dir != "frontend" || !slices.Equal(installed.Argv, []string{"npm", "install"}) {
		t.Errorf("%+v", installed)
	}
	s.awaitRun(t, "web", 3)
	s.awaitStatus("no problem", func(p status.Project) bool { return len(p.Problems) == 0 })
	now = s.status(t)
	if server, _ := now.Server("api"); server.Run != 2 {
		t.Errorf("%+v", server)
	}
	s.Shutdown()
	if code := s.exitCode(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if left := inside(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// awaitLog waits until a server has printed a line that has the text in it.
func (s *sidecarProcess) awaitLog(t *testing.T, server, text string) {
	t.Helper()
	var first wire.LogsResult
	s.Do("devside/logs", map[string]any{"server": server, "follow": true}, &first)
	has := func(lines []wire.LogLine) bool {
		return slices.ContainsFunc(lines, func(l wire.LogLine) bool { return l.Stream != "devside" && strings.Contains(l.Text, text) })
	}
	if !has(first.Lines) {
		s.Await("a line with "+text, func(st *fakeeditor.State) bool {
			return slices.ContainsFunc(st.Messages, func(m fakeeditor.Message) bool {
				var p wire.DidLogParams
				return m.Method == wire.DidLog && json.Unmarshal(m.Params, &p) == nil && p.Token == first.Token && has(p.Lines)
			})
		})
	}
	s.Do("devside/unfollow", map[string]any{"token": first.Token}, nil)
}

// TestE2EFilesOfAPnpmWorkspace: the lockfile of a workspace's root concerns the
// packages below it, and pnpm's own list of what it has installed is what counts.
func TestE2EFilesOfAPnpmWorkspace(t *testing.T) {
	dir := realDir(t)
	ports := [2]int{}
	for i := range ports {
		var err error
		if ports[i], err = freePort(); err != nil {
			t.Fatal(err)
		}
	}
	const source = "require('http').createServer((q, r) => r.end('ok')).listen(process.env.PORT)\n"
	for name, text := range map[string]string{
		"package.json":           `{"name": "shop", "private": true}`,
		"pnpm-workspace.yaml":    "packages: [apps/*]\n",
		"apps/web/package.json":  `{"name": "web", "private": true, "dependencies": {"ms": "2.1.2"}}`,
		"apps/web/index.js":      source,
		"apps/web/.cache/made":   "of old packages",
		"apps/docs/package.json": `{"name": "docs", "private": true}`,
		"apps/docs/index.js":     source,
		"devside.yaml": fmt.Sprintf(`version: 1
servers:
  web: {command: node index.js, dir: apps/web, port: %d, caches: [.cache]}
  docs: {command: node index.js, dir: apps/docs, port: %d, watch: {lockfile: {restart: false}}}
`, ports[0], ports[1]),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), text)
	}
	pnpm := []string{"npx", "--yes", "pnpm@10"}
	npm(t, dir, append(pnpm, "install", "--no-frozen-lockfile")...)
	s := startSidecar(t, dir, homeDir(t), realPatience)
	s.initialize(dir, trusted)
	s.mustStart(t)
	npm(t, filepath.Join(dir, "apps", "web"), append(pnpm, "add", "ms@2.1.3")...)
	s.awaitRun(t, "web", 2)
	if _, err := os.Stat(filepath.Join(dir, "apps/web/.cache")); !os.IsNotExist(err) {
		t.Errorf("the cache is still there: %v", err)
	}
	restarts := 0
	for _, e := range happenedTo(s) {
		if e.Kind == status.HappenedRestart {
			restarts++
			if e.Server != "web" || e.Because == nil || e.Because.File != "pnpm-lock.yaml" {
				t.Errorf("%+v", e)
			}
		}
	}
	now := s.status(t)
	if docs, _ := now.Server("docs"); docs.Run != 1 || restarts != 1 {
		t.Errorf("%+v, %d restarts", docs, restarts)
	}
	s.Shutdown()
}
