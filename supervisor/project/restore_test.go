//go:build linux

package project

import (
	"os"
	"slices"
	"testing"

	"github.com/devside/devside/supervisor"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

// runningOnDisk is what the snapshot says once the books are kept of everything
// that has happened: they are kept after each change of the view.
func (f *fixture) runningOnDisk() []string {
	f.t.Helper()
	f.update(func(*view) {})
	f.update(func(*view) {}) // the books of the first one are kept by now
	return onDisk[state.Snapshot](f, "snapshot.json").Running
}

// TestWhatIsBeingRestartedIsStillWanted: a hub that is lost in the middle of a
// restart leaves word that the server is to run.
func TestWhatIsBeingRestartedIsStillWanted(t *testing.T) {
	port := freePort(t)
	entry := func(more ...string) string {
		return config(server("api", port, []string{"stubborn"}, append(more, "stop: {grace: 60s}")...))
	}
	stopping := func(st *status.Project) bool { return st.Servers[0].State == status.Stopping }
	for name, restart := range map[string]func(f *fixture){
		"asked for": func(f *fixture) {
			if _, _, err := f.Start(t.Context(), nil, supervisor.StartOptions{Env: os.Environ(), Force: true}); err != nil {
				t.Error(err)
			}
		},
		"of its configuration": func(f *fixture) {
			f.write("devside.yaml", entry("env: {A: b}"))
			f.Reload(t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := opened(t, entry("env: {A: a}"))
			f.start("api")
			done := make(chan struct{})
			go func() {
				defer close(done)
				restart(f)
			}()
			f.await("it is being stopped", stopping)
			if on := f.runningOnDisk(); !slices.Equal(on, []string{"api"}) {
				t.Errorf("in the middle of its restart the snapshot has %v", on)
			}
			f.Hurry()
			<-done
			f.await("it runs again", func(st *status.Project) bool { return st.Servers[0].State == status.Ready })
			go f.Stop(t.Context(), nil, supervisor.StopOptions{}) //nolint:errcheck // known names
			f.await("it is being stopped for good", stopping)
			if on := f.runningOnDisk(); len(on) != 0 {
				t.Errorf("being stopped, the snapshot has %v", on)
			}
			f.Hurry()
			f.await("it is stopped", func(st *status.Project) bool { return st.Servers[0].State == status.Stopped })
		})
	}
}

// TestWhatIsToComeBackOutlivesASecondLoss: until somebody who held the lost hub
// has come back, and not for ever.
func TestWhatIsToComeBackOutlivesASecondLoss(t *testing.T) {
	f := newFixture(t, config(server("api", freePort(t), serving))).open()
	f.store.PutSnapshot(state.Snapshot{Running: []string{"api"}})
	f.end(true)
	f.open()
	f.Vouch(1)
	if on := f.runningOnDisk(); !slices.Equal(on, []string{"api"}) {
		t.Errorf("before anybody came back the snapshot has %v", on)
	}
	f.end(true)

	f.open()
	f.Vouch(1)
	f.Restore(t.Context(), os.Environ())
	f.await("it runs again", func(st *status.Project) bool { return st.Servers[0].State == status.Ready })
	f.end(true)

	f.open()
	f.Vouch(1)
	f.forgetAfter(t.Context(), 0)
	if on := f.runningOnDisk(); len(on) != 0 {
		t.Errorf("nobody came back, and the snapshot has %v", on)
	}
	f.Restore(t.Context(), os.Environ())
	if f.Active() {
		t.Error("what was forgotten was started")
	}
}
