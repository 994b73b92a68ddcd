package supervisor

import (
	"strings"
	"testing"

	"github.com/devside/devside/supervisor/spec"
)

func TestTheEnvironmentOfAServer(t *testing.T) {
	client := []string{
		"PATH=/usr/bin", "HOME=/home/ann", "A=client", "B=client", "C=client", "PORT=1", "FORCE_COLOR=0", "BROWSER=firefox", "broken", "=odd",
		"VSCODE_PID=1", "ELECTRON_RUN_AS_NODE=1", "DEVSIDE_RUN=old", "DEVSIDE_HOME=/x", "SUDO_UID=1000",
	}
	files := []spec.EnvVar{{Name: "B", Value: "file"}, {Name: "C", Value: "file"}, {Name: "SECRET", Value: "s"}}
	c := spec.Server{Env: map[string]string{"C": "config"}}
	trace := strings.Repeat("ab", 16)
	got := lookup(environment(client, files, c, []int{4000, 4001}, "/srv/shop/backend", trace))
	for name, want := range map[string]string{
		"PATH": "/usr/bin", "HOME": "/home/ann", "A": "client", "B": "file", "C": "config", "SECRET": "s",
		"PORT": "4000", "FORCE_COLOR": "1", "BROWSER": "none", "PYTHONUNBUFFERED": "1", "PWD": "/srv/shop/backend",
		"X_TRACE_ID": trace, "TRACEPARENT": "00-" + trace + "-" + trace[:16] + "-01",
		"VSCODE_PID": "", "ELECTRON_RUN_AS_NODE": "", "DEVSIDE_RUN": "", "DEVSIDE_HOME": "", "SUDO_UID": "", "broken": "",
	} {
		if got(name) != want {
			t.Errorf("%s=%q, want %q", name, got(name), want)
		}
	}
}

func TestWhatIsOnlyRecommendedYieldsToTheProject(t *testing.T) {
	c := spec.Server{Env: map[string]string{"FORCE_COLOR": "3", "BROWSER": "chromium"}}
	got := lookup(environment(nil, nil, c, nil, "/", strings.Repeat("0", 32)))
	if got("FORCE_COLOR") != "3" || got("BROWSER") != "chromium" || got("PORT") != "" {
		t.Errorf("FORCE_COLOR=%s BROWSER=%s PORT=%s", got("FORCE_COLOR"), got("BROWSER"), got("PORT"))
	}
	plain := lookup(environment([]string{"NO_COLOR=1"}, nil, spec.Server{}, nil, "/", strings.Repeat("0", 32)))
	if plain("FORCE_COLOR") != "" {
		t.Error("colours are forced although NO_COLOR is set")
	}
}
