//go:build linux

package project

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/devside/devside/supervisor"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
	"github.com/devside/devside/watch"
	"github.com/devside/devside/watch/cache"
)

// watching is an open project whose files are watched and that a client
// vouches for. files are written before it is opened, in pairs of name and
// text.
func watching(t *testing.T, config string, files ...string) *fixture {
	t.Helper()
	f := newFixture(t, config)
	for i := 0; i < len(files); i += 2 {
		f.write(files[i], files[i+1])
	}
	f.watched = true
	f.open()
	f.Vouch(1)
	return f
}

// events gathers what happens until the wanted one has, and returns it all.
func (f *fixture) events(sub *Subscription, what string, is func(status.Event) bool) []status.Event {
	f.t.Helper()
	var all []status.Event
	deadline := time.After(patience)
	for {
		all = append(all, sub.Events()...)
		if slices.ContainsFunc(all, is) {
			return all
		}
		select {
		case <-sub.News:
		case <-deadline:
			f.t.Fatalf("%s: not within %v; %+v\n%s", what, patience, all, f.log)
		}
	}
}

// prints waits until the newest run of a server has printed a line: it is read
// beside everything else.
func (f *fixture) prints(server, line string) {
	f.t.Helper()
	log, err := f.Log(server)
	if err != nil {
		f.t.Fatal(err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !slices.Contains(log.Tail(20), line) {
		select {
		case <-tick.C:
		case <-deadline:
			f.t.Fatalf("%s has not printed %q: %q", server, line, log.Tail(20))
		}
	}
}

// inRun waits until a server is ready in its n-th run.
func (f *fixture) inRun(name string, n int) *status.Project {
	f.t.Helper()
	return f.await(fmt.Sprintf("%s in run %d", name, n), func(st *status.Project) bool {
		s, _ := st.Server(name)
		return s.State == status.Ready && s.Run == n
	})
}

// settled waits until the follower watches for what it should by now.
func (f *follower) settled(t *testing.T) {
	t.Helper()
	f.p.update(func(*view) {})
	f.p.update(func(*view) {}) // the loop has looked who is held after the first
	told := make(chan struct{})
	f.leave(func(n *news) { n.told = append(n.told, told) })
	select {
	case <-told:
	case <-time.After(patience):
		t.Fatal("the follower does not answer")
	}
}

func restartsOf(events []status.Event, server string) (out []status.Event) {
	for _, e := range events {
		if e.Kind == status.HappenedRestart && e.Server == server {
			out = append(out, e)
		}
	}
	return out
}

func TestAnEnvFileRestartsTheServersThatNameItAndNoOther(t *testing.T) {
	f := watching(t, config(
		server("api", freePort(t), serving, "dir: backend", "env_file: [.env]"),
		server("web", freePort(t), serving)), "backend/.env", "A=1\n")
	f.start()
	sub := f.Subscribe()
	defer sub.Close()
	f.write("backend/.env", "A=2\n")
	st := f.inRun("api", 2)
	if s, _ := st.Server("api"); s.RestartReason != status.ReasonFile || s.Restarts != 1 || s.Crashes != 0 {
		t.Errorf("%+v", s)
	}
	if s := f.server("web"); s.Run != 1 {
		t.Errorf("%+v", s)
	}
	all := restartsOf(sub.Events(), "api")
	if len(all) != 1 || all[0].Because == nil || *all[0].Because != (status.Because{File: "backend/.env", Rule: "env file"}) ||
		all[0].Message != "api restarts because backend/.env changed" {
		t.Errorf("%+v", all)
	}
	port := st.Servers[slices.IndexFunc(st.Servers, func(s status.Server) bool { return s.Name == "api" })].Ports[0].Number
	if text, err := get(t, port, "/env"); err != nil || !strings.Contains(text, `"A=2"`) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestWatchRestartIsActedUponBelowItsFolder(t *testing.T) {
	f := watching(t, config(
		server("api", freePort(t), serving, "dir: backend", `watch: {restart: ["src/**/*.go", "conf.json"]}`),
		server("web", freePort(t), serving, "dir: frontend")), "backend/src/a/main.go", "package a\n", "frontend/conf.json", "{}")
	f.start()
	f.write("frontend/conf.json", `{"a": 1}`) // nobody asked for that one
	f.write("backend/src/a/b/new.go", "package b\n")
	f.inRun("api", 2)
	f.write("backend/conf.json", "{}")
	st := f.inRun("api", 3)
	if s, _ := st.Server("web"); s.Run != 1 || s.Restarts != 0 {
		t.Errorf("%+v", s)
	}
}

func TestASavedConfigurationIsAppliedByItself(t *testing.T) {
	api, web := server("api", freePort(t), serving), server("web", freePort(t), serving)
	f := watching(t, config(api, web))
	f.start()
	sub := f.Subscribe()
	defer sub.Close()
	changed := strings.Replace(api, "    port:", "    env: {A: \"1\"}\n    port:", 1)
	f.write("devside.yaml", config(changed, web))
	f.inRun("api", 2)
	all := restartsOf(f.events(sub, "the reload", func(e status.Event) bool { return e.Kind == status.HappenedReload }), "api")
	if len(all) != 1 || all[0].Because == nil || all[0].Because.File != "devside.yaml" || all[0].Message != "api restarts because devside.yaml changed" {
		t.Errorf("%+v", all)
	}
	pids := []int{f.server("api").PID, f.server("web").PID}
	f.write("devside.yaml", "version: 1\nservers: [")
	f.await("the error", func(st *status.Project) bool { return has(st.Problems, status.ConfigInvalid, "") })
	f.write("devside.yaml", config(changed, web, server("old", freePort(t), serving)))
	st := f.await("the third server", func(st *status.Project) bool { return len(st.Servers) == 3 })
	if has(st.Problems, status.ConfigInvalid, "") || f.server("api").PID != pids[0] || f.server("web").PID != pids[1] {
		t.Errorf("%+v", st)
	}
}

// lockfile and marker name one package in a version.
func lockfile(version string) string {
	return `{"name": "web", "lockfileVersion": 3, "packages": {"": {"name": "web"}, "node_modules/left": {"version": "` + version + `"}}}`
}

func marker(version string) string {
	return `{"name": "web", "lockfileVersion": 3, "packages": {"node_modules/left": {"version": "` + version + `"}}}`
}

const markerName = "web/node_modules/.package-lock.json"

func TestALockfileActsWhenItsPackagesAreInstalled(t *testing.T) {
	cached := "web/.next"
	f := newFixture(t, "")
	f.write("devside.yaml", config(
		server("web", freePort(t), []string{"sees", filepath.Join(f.root, cached)}, "dir: web", "caches: [.next]"),
		server("api", freePort(t), serving, "dir: api")))
	f.write("web/package.json", "{}")
	f.write("web/package-lock.json", lockfile("1.0.0"))
	f.write(markerName, marker("1.0.0"))
	f.write(cached+"/big", strings.Repeat("x", 5000))
	f.write("api/package.json", "{}")
	f.watched = true
	f.open()
	f.Vouch(1)
	f.start()
	sub := f.Subscribe()
	defer sub.Close()
	f.prints("web", "it is there")

	f.write("web/package-lock.json", lockfile("2.0.0"))
	st := f.await("stale", func(st *status.Project) bool { return has(st.Problems, status.DependenciesStale, "web") })
	n := st.Problems[slices.IndexFunc(st.Problems, func(p status.Problem) bool { return p.Code == status.DependenciesStale })]
	if n.File != "web/package-lock.json" || !slices.Equal(n.Argv, []string{"npm", "install"}) || n.Dir != "web" || !strings.Contains(n.Hint, "`npm install` in web") {
		t.Errorf("%+v", n)
	}
	if s, _ := st.Server("web"); s.Run != 1 {
		t.Errorf("it was restarted before its packages were there: %+v", s)
	}
	f.write(markerName, marker("2.0.0"))
	st = f.inRun("web", 2)
	if has(st.Problems, status.DependenciesStale, "web") {
		t.Errorf("%+v", st.Problems)
	}
	f.prints("web", "it is not there")
	all := f.events(sub, "the invalidation", func(e status.Event) bool { return e.Kind == status.HappenedInvalidation })
	i := slices.IndexFunc(all, func(e status.Event) bool { return e.Kind == status.HappenedInvalidation })
	because := status.Because{File: "web/package-lock.json", Rule: "lockfile"}
	if e := all[i]; e.Server != "web" || *e.Because != because || !slices.Equal(e.Removed, []string{cached}) || e.RemovedBytes != 5000 {
		t.Errorf("%+v", e)
	}
	if r := restartsOf(all, "web"); len(r) != 1 || *r[0].Because != because {
		t.Errorf("%+v", r)
	}
	if s := f.server("api"); s.Run != 1 {
		t.Errorf("%+v", s)
	}
	if _, err := os.Stat(filepath.Join(f.root, cached)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestWhatIsStoppedLosesItsCachesBeforeItsNextStart(t *testing.T) {
	cached := "web/.next"
	f := newFixture(t, "")
	f.write("devside.yaml", config(server("web", freePort(t), []string{"sees", filepath.Join(f.root, cached)}, "dir: web", "caches: [.next]")))
	f.write("web/package.json", "{}")
	f.write("web/package-lock.json", lockfile("1.0.0"))
	f.write(markerName, marker("1.0.0"))
	f.write(cached+"/big", "x")
	f.watched = true
	f.open()
	f.Vouch(1)
	f.write("web/package-lock.json", lockfile("2.0.0"))
	f.await("stale", func(st *status.Project) bool { return has(st.Problems, status.DependenciesStale, "web") })
	f.write(markerName, marker("2.0.0"))
	f.await("installed", func(st *status.Project) bool { return !has(st.Problems, status.DependenciesStale, "web") })
	if _, err := os.Stat(filepath.Join(f.root, cached)); err != nil || f.server("web").State != status.Stopped {
		t.Errorf("%v, %+v", err, f.server("web"))
	}
	f.start()
	f.prints("web", "it is not there")
}

func TestAServerThatWaitsForAFileHasOneAttemptForEachChange(t *testing.T) {
	f := newFixture(t, "")
	source := filepath.Join(f.root, "main.js")
	f.write("devside.yaml", config(server("api", freePort(t), []string{"parses", source})))
	f.write("main.js", "bad")
	f.watched = true
	f.open()
	f.Vouch(1)
	f.Start(t.Context(), nil, f.asks()) //nolint:errcheck // it is to be held
	blocked := func(run int) {
		f.await(fmt.Sprintf("blocked in run %d", run), func(st *status.Project) bool {
			s, _ := st.Server("api")
			return s.State == status.Blocked && s.Run == run
		})
	}
	blocked(1)
	f.follower.settled(t)
	f.write("main.js", "")
	f.write("main.js", "good")
	st := f.inRun("api", 2)
	if s, _ := st.Server("api"); s.RestartReason != status.ReasonMended {
		t.Errorf("%+v", s)
	}
}

func TestWhatTheOutputBlamesMendsACrashLoop(t *testing.T) {
	f := newFixture(t, "")
	source := filepath.Join(f.root, "src", "main.py")
	f.write("devside.yaml", config(server("api", freePort(t), []string{"raises", source}, "restart: {max_in_a_row: 1, delay: 10ms}")))
	f.write("src/main.py", "bad")
	f.watched = true
	f.open()
	f.Vouch(1)
	f.Start(t.Context(), nil, f.asks()) //nolint:errcheck // it is to be held
	f.await("crash-loop and its place", func(st *status.Project) bool {
		return st.Servers[0].State == status.CrashLoop && has(st.Problems, status.CrashSite, "api")
	})
	f.follower.settled(t)
	f.write("src/main.py", "good")
	st := f.await("ready", func(st *status.Project) bool { return st.Servers[0].State == status.Ready })
	if has(st.Problems, status.CrashSite, "api") {
		t.Errorf("%+v", st.Problems)
	}
}

func TestAMissingEnvFileIsWaitedFor(t *testing.T) {
	f := watching(t, config(server("api", freePort(t), serving, "env_file: [.env]")))
	f.Start(t.Context(), nil, f.asks()) //nolint:errcheck // it is to be held
	f.await("blocked", func(st *status.Project) bool { return st.Servers[0].State == status.Blocked })
	f.follower.settled(t)
	f.write(".env", "A=1\n")
	f.await("ready", func(st *status.Project) bool { return st.Servers[0].State == status.Ready })
}

func TestAPortThatIsFreeAgainIsTaken(t *testing.T) {
	l, port := listener(t)
	f := watching(t, config(server("api", port, serving)))
	f.Start(t.Context(), nil, f.asks()) //nolint:errcheck // it is to be held
	f.await("blocked", func(st *status.Project) bool { return st.Servers[0].State == status.Blocked })
	l.Close() //nolint:errcheck // a test's
	st := f.await("ready", func(st *status.Project) bool { return st.Servers[0].State == status.Ready })
	if s := st.Servers[0]; s.RestartReason != status.ReasonMended || len(st.Problems) != 0 {
		t.Errorf("%+v, %+v", s, st.Problems)
	}
}

func TestARuleThatGoesRoundIsSuspendedUntilItIsResumed(t *testing.T) {
	f := newFixture(t, "")
	looped := filepath.Join(f.root, "looped.txt")
	f.write("devside.yaml", config(server("api", freePort(t), []string{"toucher", looped}, "watch: {restart: [looped.txt], settle: 10ms}")))
	f.watched = true
	f.open()
	f.Vouch(1)
	f.start()
	st := f.await("watch-loop", func(st *status.Project) bool { return has(st.Problems, status.WatchLoop, "api") })
	run := f.server("api").Run
	if run > 11 {
		t.Errorf("run %d", run)
	}
	n := st.Problems[slices.IndexFunc(st.Problems, func(p status.Problem) bool { return p.Code == status.WatchLoop })]
	if n.File != "looped.txt" || !strings.Contains(n.Hint, "devside resume api") {
		t.Errorf("%+v", n)
	}
	f.await("ready", func(st *status.Project) bool { return st.Servers[0].State == status.Ready })
	if run = f.server("api").Run; run != 11 {
		t.Errorf("run %d", run)
	}
	resumed, err := f.Resume(nil)
	if err != nil || !slices.Equal(resumed, []string{"api"}) {
		t.Errorf("%v, %v", resumed, err)
	}
	f.await("another run", func(st *status.Project) bool { return st.Servers[0].Run > run })
	f.await("watch-loop again", func(st *status.Project) bool { return has(st.Problems, status.WatchLoop, "api") })
}

func TestCachesAreClearedOnRequest(t *testing.T) {
	f := newFixture(t, "")
	f.write("devside.yaml", config(
		server("web", freePort(t), []string{"sees", filepath.Join(f.root, "web/.next")}, "dir: web", "caches: [.next, docs]"),
		server("api", freePort(t), serving, "caches: [.cache]")))
	f.write("web/.next/a", strings.Repeat("x", 1000))
	f.write("web/docs/precious.js", "x")
	f.write(".cache/b", "xx")
	f.watched = true
	f.open()
	if _, err := f.ClearCaches(t.Context(), nil, false); err == nil {
		t.Error("caches of a project that nobody trusts were cleared")
	}
	f.Vouch(1)
	st := f.Status()
	i := slices.IndexFunc(st.Problems, func(p status.Problem) bool { return p.Code == status.CacheRefused })
	if i < 0 || st.Problems[i].Field != "caches[1]" || st.Problems[i].Server != "web" {
		t.Errorf("%+v", st.Problems)
	}
	f.start("web")
	dry, err := f.ClearCaches(t.Context(), nil, true)
	if err != nil || len(dry.Removed) != 2 || dry.Removed[0].Bytes != 1000 || len(dry.Refused) != 1 {
		t.Errorf("%+v, %v", dry, err)
	}
	sub := f.Subscribe()
	defer sub.Close()
	got, err := f.ClearCaches(t.Context(), nil, false)
	if err != nil || len(got.Removed) != 2 || len(got.Refused) != 1 || got.Refused[0].Path != "web/docs" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, r := range got.Removed {
		if r.Files != 1 || r.Bytes == 0 {
			t.Errorf("%+v", r)
		}
	}
	f.inRun("web", 2)
	f.prints("web", "it is not there")
	if _, err := os.Stat(filepath.Join(f.root, "web/docs/precious.js")); err != nil || f.server("api").State != status.Stopped {
		t.Errorf("%v, %+v", err, f.server("api"))
	}
	f.end(false)
	if all := audited(f); !slices.ContainsFunc(all, func(e state.AuditEntry) bool {
		return e.Act == status.ActDeletionRefused && strings.Contains(e.Message, "web/docs")
	}) {
		t.Errorf("%+v", all)
	}
}

func TestAnInstallRunsWhatWasShownAndTheServerFollowsIt(t *testing.T) {
	f := newFixture(t, "")
	f.write("devside.yaml", config(server("web", freePort(t), serving, "dir: web")))
	f.write("web/package.json", "{}")
	f.write("web/package-lock.json", lockfile("2.0.0"))
	f.write(markerName, marker("1.0.0"))
	f.watched = true
	f.open()
	if _, err := f.Install(t.Context(), "web", os.Environ()); !errors.As(err, new(*UntrustedError)) {
		t.Errorf("%v", err)
	}
	f.Vouch(1)
	f.await("stale", func(st *status.Project) bool { return has(st.Problems, status.DependenciesStale, "web") })
	f.start()
	bin := t.TempDir()
	if err := os.Symlink(self(), filepath.Join(bin, "npm")); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "DEVSIDE_X=1")
	failed, err := f.Install(t.Context(), "web", append(slices.Clone(env), "INSTALL=fail"))
	if err != nil || failed.OK || failed.Message != "it ended with exit status 9" || !slices.Contains(failed.Lines, "npm error no") {
		t.Errorf("%+v, %v", failed, err)
	}
	if s := f.server("web"); s.Run != 1 || s.State != status.Ready {
		t.Errorf("a failed install has touched what runs: %+v", s)
	}
	done, err := f.Install(t.Context(), "web", append(slices.Clone(env), "INSTALL="+marker("2.0.0")))
	if err != nil || !done.OK || !slices.Equal(done.Argv, []string{"npm", "install"}) || done.Dir != "web" {
		t.Errorf("%+v, %v", done, err)
	}
	f.inRun("web", 2)
	var nothing *NothingToInstallError
	if _, err := f.Install(t.Context(), "web", env); !errors.As(err, &nothing) {
		t.Errorf("%v", err)
	}
}

func TestWhatTheSystemRefusesToWatchIsToldUntilItIsWatched(t *testing.T) {
	f := opened(t, config(server("api", freePort(t), serving)))
	f.watchLimited(&watch.Limit{Err: syscall.ENOSPC, Hint: "raise fs.inotify.max_user_watches"})
	st := f.Status()
	i := slices.IndexFunc(st.Problems, func(p status.Problem) bool { return p.Code == status.WatchLimit })
	if i < 0 || st.Problems[i].Hint != "raise fs.inotify.max_user_watches" || !strings.Contains(st.Problems[i].Message, "looked at every 2s") {
		t.Errorf("%+v", st.Problems)
	}
	f.watchLimited(nil)
	if st := f.Status(); has(st.Problems, status.WatchLimit, "") {
		t.Errorf("%+v", st.Problems)
	}
}

func TestEDGE2ADiskThatIsNearlyFullIsToldUntilThereIsRoom(t *testing.T) {
	f := opened(t, config(server("api", freePort(t), serving)))
	began := time.Now().Add(-time.Hour)
	f.caches.told("api", began, cache.Result{FreeBytes: 3 << 30, DiskLow: true})
	f.caches.told("api", time.Now(), cache.Result{FreeBytes: 2 << 30, DiskLow: true})
	st := f.Status()
	i := slices.IndexFunc(st.Problems, func(p status.Problem) bool { return p.Code == status.DiskLow })
	if i < 0 || !strings.Contains(st.Problems[i].Message, "2.0 GB") || !st.Problems[i].Since.Equal(began) || st.Problems[i].Server != "api" {
		t.Errorf("%+v", st.Problems)
	}
	f.caches.told("api", time.Now(), cache.Result{FreeBytes: 9 << 30})
	if st := f.Status(); has(st.Problems, status.DiskLow, "api") {
		t.Errorf("%+v", st.Problems)
	}
}

func TestASlowStartIsToldBesideThoseOfEarlierHubs(t *testing.T) {
	port := freePort(t)
	f := opened(t, config(server("api", port, serving)))
	for range 3 {
		f.start()
		f.Stop(t.Context(), nil, supervisor.StopOptions{}) //nolint:errcheck // what it ends with is looked at by others
	}
	f.end(false)
	store := state.Open(f.paths, func(err error) { t.Error(err) })
	v := store.Starts()
	store.Close()
	if len(v.ReadyMs["api"]) != 3 {
		t.Fatalf("%+v", v)
	}
	// The next start takes 4 s: its readiness file comes so late.
	f.write("devside.yaml", config(server("api", port, []string{"late", filepath.Join(f.root, "now")}, "ready: {exec: [test, -e, now], every: 100ms}")))
	f.open()
	f.Vouch(1)
	f.start()
	st := f.Status()
	i := slices.IndexFunc(st.Problems, func(p status.Problem) bool { return p.Code == status.SlowStart })
	if i < 0 || st.Problems[i].Severity != status.Information || !strings.Contains(st.Problems[i].Message, "usually it takes") {
		t.Errorf("%+v", st.Problems)
	}
	f.Stop(t.Context(), nil, supervisor.StopOptions{}) //nolint:errcheck // as above
	if st := f.Status(); has(st.Problems, status.SlowStart, "api") {
		t.Errorf("%+v", st.Problems)
	}
}
