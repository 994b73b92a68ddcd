//go:build linux

package project

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/devside/devside/supervisor/status"
)

// replaceCommand puts plain words in the place of an entry's command.
func replaceCommand(entry, command string) string {
	lines := strings.Split(entry, "\n")
	for i, l := range lines {
		if strings.HasPrefix(strings.TrimSpace(l), "command:") {
			lines[i] = "    command: " + command
		}
	}
	return strings.Join(lines, "\n")
}

func TestReloadRestartsOnlyWhatChanged(t *testing.T) {
	api, web, old := freePort(t), freePort(t), freePort(t)
	f := opened(t, config(server("web", web, serving), server("api", api, serving), server("old", old, serving)))
	f.start()
	f.write("devside.yaml", config(server("web", web, serving, "# a comment"), server("api", api, serving, "env: {A: \"1\"}"), server("new", freePort(t), serving)))
	r := f.Reload(t.Context())
	want := "{true {[new] [api] [old] [api]}}"
	if got := fmt.Sprint(r); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	st := f.await("api in its second run", func(st *status.Project) bool {
		s, _ := st.Server("api")
		return s.State == status.Ready && s.Run == 2
	})
	if _, still := st.Server("old"); still || f.server("web").Run != 1 || f.server("web").State != status.Ready || f.server("new").State != status.Stopped {
		t.Errorf("%+v", st.Servers)
	}
	if _, err := get(t, old, "/health"); err == nil {
		t.Error("what was removed still answers")
	}
	text, err := get(t, api, "/env")
	if err != nil || !strings.Contains(text, `"A=1"`) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestABrokenConfigurationChangesNothingThatRuns(t *testing.T) {
	api := freePort(t)
	f := opened(t, config(server("api", api, serving)))
	f.start()
	pid := f.server("api").PID
	sub := f.Subscribe()
	defer sub.Close()
	for _, broken := range []string{"version: 1\nservers: [", config(server("api", api, serving, "prot: 1")), "\x00\xff", ""} {
		f.write("devside.yaml", broken)
		if r := f.Reload(t.Context()); r.Valid || len(r.Changed)+len(r.Removed)+len(r.Added) != 0 {
			t.Errorf("%q: %+v", broken, r)
		}
		st := f.Status()
		if s := st.Servers; len(s) != 1 || s[0].State != status.Ready || s[0].PID != pid || s[0].Run != 1 {
			t.Errorf("%q: %+v", broken, s)
		}
		if !slices.ContainsFunc(st.Problems, func(p status.Problem) bool {
			return p.Code == status.ConfigInvalid && strings.HasPrefix(p.Message, "devside.yaml:")
		}) {
			t.Errorf("%q: problems %+v", broken, st.Problems)
		}
	}
	events := len(sub.Events())
	f.start("api") // goes on with what it has
	f.start("api")
	if n := len(sub.Events()); n != 0 || events != 4 {
		t.Errorf("%d events of 4 reloads, and %d of starts that had nothing to read again", events, n)
	}
	f.write("devside.yaml", config(server("api", api, serving)))
	if r := f.Reload(t.Context()); !r.Valid || len(r.Changed) != 0 || len(f.Status().Problems) != 0 || f.server("api").PID != pid {
		t.Errorf("mended: %+v, %+v", r, f.Status().Problems)
	}
}

func TestAProjectThatIsOpenedBrokenRunsOnceMended(t *testing.T) {
	f := opened(t, "version: 1\nservers:\n  api:\n    comand: serve\n")
	_, _, err := f.Start(t.Context(), nil, f.asks())
	var config1 *ConfigError
	if !errors.As(err, &config1) || !strings.Contains(err.Error(), "devside.yaml:") {
		t.Errorf("%v", err)
	}
	f.write("devside.yaml", config(server("api", freePort(t), serving)))
	f.start() // the change is seen without a reload
	if st := f.Status(); len(st.Problems) != 0 || st.Summary.Ready != 1 {
		t.Errorf("%+v", st)
	}
}

func TestAChangedConfigurationIsSeenBeforeAStart(t *testing.T) {
	api := freePort(t)
	f := newFixture(t, "")
	f.write("package.json", `{"name": "shop", "scripts": {"dev": "serve"}}`)
	f.open()
	f.Vouch(1)
	if st := f.Status(); len(st.Servers) != 1 || st.Config != "" {
		t.Fatalf("%+v", st)
	}
	f.write("devside.yaml", "version: 1\nservers: [")
	if _, _, err := f.Start(t.Context(), []string{"nope"}, f.asks()); err == nil {
		t.Error("a name that is none was started")
	}
	sub := f.Subscribe()
	defer sub.Close()
	f.Start(t.Context(), []string{"nope"}, f.asks()) //nolint:errcheck // only what it reads counts
	if n := len(sub.Events()); n != 0 {
		t.Errorf("the same file was read again: %d events", n)
	}
	f.write("devside.yaml", config(server("api", api, serving)))
	f.start("api")
	f.write("devside.yaml", config(server("api", api, serving), server("web", freePort(t), serving)))
	f.start("web")
	if f.server("api").Run != 1 || !strings.HasSuffix(f.Status().Config, "devside.yaml") {
		t.Errorf("%+v", f.Status())
	}
}

func TestTwoServersOfOnePortAreAProblemOfTheConfiguration(t *testing.T) {
	port := freePort(t)
	f := opened(t, config(server("api", port, serving), server("web", port, serving)))
	st := f.Status()
	if !slices.ContainsFunc(st.Problems, func(p status.Problem) bool { return p.Code == status.PortClash }) {
		t.Errorf("%+v", st.Problems)
	}
}

func TestChangedDependenciesAreCheckedInsteadOfTheOldOnes(t *testing.T) {
	_, one := listener(t)
	_, two := listener(t)
	text := func(deps string) string {
		return config(server("api", freePort(t), serving)) + "dependencies:\n" + deps
	}
	dep := func(name string, port int) string {
		return fmt.Sprintf("  %s: {tcp: \"127.0.0.1:%d\"}\n", name, port)
	}
	f := opened(t, text(dep("db", one)+dep("cache", one)))
	f.await("both", func(st *status.Project) bool { return len(st.Dependencies) == 2 })
	f.write("devside.yaml", text(dep("db", two)))
	f.Reload(t.Context())
	f.await("the new target", func(st *status.Project) bool {
		return len(st.Dependencies) == 1 && st.Dependencies[0].Up && strings.HasSuffix(st.Dependencies[0].Target, fmt.Sprint(two))
	})
}
