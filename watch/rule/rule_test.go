package rule

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var t0 = time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)

func shop() Config {
	return Config{
		Files: []string{"devside.yaml"},
		Servers: []Server{
			{Name: "api", Dir: "api", Env: []string{"api/.env"}, Restart: []string{"config/*.json"}, Lock: true, Mends: []string{"api/server.js"}},
			{Name: "web", Dir: "web", Restart: []string{"next.config.*", "theme/**/*.css"}, Caches: true, Lock: true},
			{Name: "docs", Dir: "app/[id]", Restart: []string{"site.yaml"}, Caches: true},
			{Name: "db", Dir: "."},
		},
		Lockfiles: []Lockfile{
			{"package-lock.json", NPM, []string{"api", "web"}},
			{"app/[id]/go.sum", Go, []string{"docs"}},
		},
	}
}

func in(state InstallState, digest string) Install {
	i := Install{State: state, Digest: digest}
	if state == Outdated {
		i.Missing, i.Digest = 3, ""
	}
	return i
}

// words writes a decision in one line.
func (d Decision) words() string {
	var out []string
	if d.Reload != nil {
		out = append(out, "reload because of "+d.Reload.File)
	}
	for _, r := range d.Restarts {
		w := "restart " + r.Server
		if r.Caches {
			w += " without caches"
		}
		out = append(out, w+" because of "+r.File+" ("+r.Rule+")")
	}
	for _, r := range d.Attempts {
		out = append(out, "try "+r.Server+" because of "+r.File)
	}
	for _, s := range d.Stale {
		out = append(out, fmt.Sprintf("stale %s %d", s.Path, s.Missing))
	}
	for _, s := range d.Suspended {
		out = append(out, "suspended "+s.Server+" ("+s.Rule+")")
	}
	return strings.Join(out, "; ")
}

func TestWhatFollows(t *testing.T) {
	was := map[string]Install{"package-lock.json": in(Installed, "one"), "app/[id]/go.sum": in(Unmarked, "sums")}
	for _, c := range []struct {
		name    string
		changed []string
		lock    Install // package-lock.json's now
		sums    string
		held    []string
		want    string
	}{
		{"nothing of ours", []string{"web/page.tsx"}, in(Installed, "one"), "sums", nil, ""},
		{"the configuration", []string{"devside.yaml"}, in(Installed, "one"), "sums", nil, "reload because of devside.yaml"},
		{"an env file", []string{"api/.env"}, in(Installed, "one"), "sums", nil, "restart api because of api/.env (env file)"},
		{"a restart pattern", []string{"web/next.config.ts"}, in(Installed, "one"), "sums", nil, "restart web because of web/next.config.ts (restart next.config.*)"},
		{"a deep one", []string{"web/theme/a/b.css"}, in(Installed, "one"), "sums", nil, "restart web because of web/theme/a/b.css (restart theme/**/*.css)"},
		{"of another folder", []string{"api/next.config.ts"}, in(Installed, "one"), "sums", nil, ""},
		{"a folder whose name is a pattern", []string{"app/[id]/site.yaml"}, in(Installed, "one"), "sums", nil, "restart docs because of app/[id]/site.yaml (restart site.yaml)"},
		{"and no other folder", []string{"app/i/site.yaml"}, in(Installed, "one"), "sums", nil, ""},
		{"several at once restart each once", []string{"api/.env", "api/config/a.json", "web/next.config.ts"}, in(Installed, "one"), "sums", nil,
			"restart api because of api/.env (env file); restart web because of web/next.config.ts (restart next.config.*)"},
		{"a lockfile before the install", []string{"package-lock.json"}, in(Outdated, ""), "sums", nil, "stale package-lock.json 3"},
		{"the install is finished", []string{"node_modules/.package-lock.json"}, in(Installed, "two"), "sums", nil,
			"restart api because of package-lock.json (lockfile); restart web without caches because of package-lock.json (lockfile)"},
		{"an install that changed nothing", []string{"package-lock.json", "node_modules/.package-lock.json"}, in(Installed, "one"), "sums", nil, ""},
		{"a lockfile without marker", []string{"app/[id]/go.sum"}, in(Installed, "one"), "other sums", nil,
			"restart docs without caches because of app/[id]/go.sum (lockfile)"},
		{"lockfile and config at once", []string{"node_modules/.package-lock.json", "web/next.config.ts"}, in(Installed, "two"), "sums", nil,
			"restart api because of package-lock.json (lockfile); restart web without caches because of web/next.config.ts (restart next.config.*)"},
		{"what may mend a server that is held", []string{"api/server.js"}, in(Installed, "one"), "sums", []string{"api"}, "try api because of api/server.js"},
		{"and one that is not", []string{"api/server.js"}, in(Installed, "one"), "sums", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := State{}.Learn(was)
			before := fmt.Sprint(s)
			_, d := s.Next(shop(), c.changed, map[string]Install{"package-lock.json": c.lock, "app/[id]/go.sum": in(Unmarked, c.sums)}, c.held, t0)
			if got := d.words(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if fmt.Sprint(s) != before {
				t.Error("Next changed the state it was called on")
			}
		})
	}
}

// A checkout with another lockfile, an install that fails in the middle, one
// that works, and a checkout back: one restart, when the packages are there.
func TestAnInstallIsActedUponWhenItIsFinished(t *testing.T) {
	c := shop()
	s := State{}.Learn(map[string]Install{"package-lock.json": in(Installed, "one")})
	for _, step := range []struct {
		lock Install
		want string
	}{
		{in(Outdated, ""), "stale package-lock.json 3"},
		{in(Outdated, ""), "stale package-lock.json 3"},
		{in(Installed, "two"), "restart api because of package-lock.json (lockfile); restart web without caches because of package-lock.json (lockfile)"},
		{in(Installed, "two"), ""},
		{in(Outdated, ""), "stale package-lock.json 3"},
		{in(Installed, "two"), ""}, // back again without an install: they run on these
	} {
		var d Decision
		s, d = s.Next(c, []string{"package-lock.json"}, map[string]Install{"package-lock.json": step.lock}, nil, t0)
		if got := d.words(); got != step.want {
			t.Errorf("%+v: %q, want %q", step.lock, got, step.want)
		}
	}
}

// A project that is opened before its first install: what comes then is new.
func TestTheFirstInstallRestartsToo(t *testing.T) {
	s := State{}.Learn(map[string]Install{"package-lock.json": in(Outdated, "")})
	_, d := s.Next(shop(), []string{"node_modules/.package-lock.json"}, map[string]Install{"package-lock.json": in(Installed, "one")}, nil, t0)
	if len(d.Restarts) != 2 {
		t.Errorf("%s", d.words())
	}
}

func TestARuleThatGoesRoundIsSuspended(t *testing.T) {
	c := shop()
	s := State{}.Learn(nil)
	at := t0
	touch := func(files ...string) Decision {
		var d Decision
		s, d = s.Next(c, files, nil, nil, at)
		at = at.Add(5 * time.Second)
		return d
	}
	for n := range 10 {
		if d := touch("web/next.config.ts"); len(d.Restarts) != 1 || len(d.Suspended) != 0 {
			t.Fatalf("change %d: %s", n+1, d.words())
		}
	}
	if d := touch("web/next.config.ts"); d.words() != "suspended web (restart next.config.*)" {
		t.Fatalf("the 11th within a minute: %s", d.words())
	}
	if d := touch("web/next.config.ts"); d.words() != "" {
		t.Errorf("suspended, and said again: %s", d.words())
	}
	if d := touch("api/.env"); len(d.Restarts) != 1 {
		t.Errorf("another server's rule is suspended, too: %s", d.words())
	}
	at = at.Add(time.Hour)
	if d := touch("web/next.config.ts"); d.words() != "" {
		t.Errorf("an hour later, without anybody resuming it: %s", d.words())
	}
	s = s.Resume("web")
	if d := touch("web/next.config.ts"); len(d.Restarts) != 1 {
		t.Errorf("resumed: %s", d.words())
	}
}

func TestSlowChangesAreNeverSuspended(t *testing.T) {
	c := shop()
	s := State{}.Learn(nil)
	for n := range 100 {
		var d Decision
		s, d = s.Next(c, []string{"api/.env"}, nil, nil, t0.Add(time.Duration(n)*6001*time.Millisecond))
		if len(d.Restarts) != 1 {
			t.Fatalf("change %d: %s", n+1, d.words())
		}
	}
}
