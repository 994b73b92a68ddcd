package project

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/devside/devside/supervisor"
	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/port"
	"github.com/devside/devside/supervisor/probe"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

// UntrustedError says that the project's commands may not run yet.
type UntrustedError struct{ Hash string }

func (e *UntrustedError) Error() string {
	return "the project is not trusted: nothing of it runs before a person has seen its commands and agreed"
}

// ConfigError says that there is nothing to run, because of the configuration.
type ConfigError struct{ First string }

func (e *ConfigError) Error() string { return e.First }

// Start starts the named servers (nil: all) and what they depend on. begun
// lists those that were down before.
func (p *Project) Start(ctx context.Context, names []string, o supervisor.StartOptions) (results []supervisor.Result, begun []string, err error) {
	names, err = p.mayRun(ctx, names)
	if err != nil {
		return nil, nil, err
	}
	p.endStrays(ctx)
	results, begun = p.group.Start(ctx, names, o)
	return results, begun, nil
}

// Reset starts the named servers; without names, those that are held in
// crash-loop or blocked.
func (p *Project) Reset(ctx context.Context, names []string, o supervisor.StartOptions) (results []supervisor.Result, begun []string, err error) {
	if names == nil {
		names = []string{}
		for _, s := range p.group.Snapshots() {
			if s.State == status.CrashLoop || s.State == status.Blocked {
				names = append(names, s.Name)
			}
		}
	}
	return p.Start(ctx, names, o)
}

// mayRun takes note of a changed configuration, and refuses what must not run.
func (p *Project) mayRun(ctx context.Context, names []string) ([]string, error) {
	v := p.view.Load()
	if p.stamp(v.files) != v.stamp {
		p.Reload(ctx)
		v = p.view.Load()
	}
	if len(v.loaded.Project.Servers) == 0 {
		return nil, p.nothingToRun(v)
	}
	if _, err := p.group.Names(names); err != nil {
		return nil, err
	}
	if v.vouched == 0 {
		// The text of a script may have changed since it was read.
		var err error
		p.update(func(v *view) {
			var now status.Trust
			if now, err = p.commands(v.newest().Project); err == nil {
				v.trust = now
			}
		})
		if err != nil {
			return nil, fmt.Errorf("look at the project's commands: %w", err)
		}
		v = p.view.Load()
	}
	if !v.trusted() {
		return nil, &UntrustedError{Hash: v.trust.Hash}
	}
	if v.vouched == 0 {
		p.agree(v)
	}
	if v.pending != nil {
		p.applying.Lock()
		defer p.applying.Unlock()
		p.applyPending(ctx, supervisor.Change{Asked: true})
	}
	if !p.store.Marked() {
		p.store.Flush() //nolint:errcheck // tried again, for whoever made room; mayStart says if it did not help
	}
	return p.group.Names(names)
}

// agree remembers what each server may run: what v.trust has of it, whatever
// its files say by now.
func (p *Project) agree(v *view) {
	prints := fingerprints(v.trust, v.newest().Project.Servers)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.agreed = prints
}

// fingerprints returns, by server, what the hash of a project covers of it.
func fingerprints(t status.Trust, servers []spec.Server) map[string]string {
	env := map[string]map[string]string{}
	for _, s := range servers {
		env[s.Name] = s.Env
	}
	prints := make(map[string]string, len(t.Commands))
	for _, c := range t.Commands {
		text, err := json.Marshal([]any{c, env[c.Server]})
		if err != nil { // strings and lists of strings always marshal
			continue // without a fingerprint nothing starts
		}
		sum := sha256.Sum256(text)
		prints[c.Server] = hex.EncodeToString(sum[:])
	}
	return prints
}

// mayStart refuses a server whose commands are not those that were agreed to.
// It is asked right before every start: a server that crashed hours after the
// agreement may find other text in the script that it names, and a
// configuration may have been applied since the request to start was let
// through. A client that vouches agrees for as long as the commands stay.
func (p *Project) mayStart(conf spec.Server) *status.Problem {
	one := []spec.Server{conf}
	commands, err := p.commands(&spec.Project{Servers: one})
	if err != nil {
		n := status.NewProblem(status.CannotStart, conf.Name, fmt.Sprintf("%s is not started: its commands can't be looked at: %v", conf.Name, err), time.Now())
		n.Hint = "end something, then start it again"
		return &n
	}
	now := fingerprints(commands, one)[conf.Name]
	v := p.view.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	if v.vouched > 0 {
		p.agreed[conf.Name] = now
	}
	if now != "" && p.agreed[conf.Name] == now {
		return p.unmarked(conf.Name)
	}
	n := status.NewProblem(status.NotTrusted, conf.Name, fmt.Sprintf("%s is not started: its commands have changed, and nobody has agreed to them yet", conf.Name), time.Now())
	n.Hint = "look at them with `devside trust`, or in the editor, agree, and start it"
	return &n
}

func (p *Project) nothingToRun(v *view) error {
	for _, problem := range v.problems {
		if problem.Severity == status.Error {
			return &ConfigError{problem.Message}
		}
	}
	return &ConfigError{fmt.Sprintf("no servers: there is no %s in %s, no package.json with a dev or start script, no Procfile and no framework that devside knows", spec.FileName, p.o.Root)}
}

// Stop stops the named servers (nil: all).
func (p *Project) Stop(ctx context.Context, names []string, o supervisor.StopOptions) ([]supervisor.Result, error) {
	names, err := p.group.Names(names)
	if err != nil {
		return nil, err
	}
	return p.group.Stop(ctx, names, o), nil
}

// Hurry ends the grace of every stop that is under way.
func (p *Project) Hurry() { p.group.Hurry() }

// AllStopped reports whether every server is stopped.
func (p *Project) AllStopped() bool {
	return !slices.ContainsFunc(p.group.Snapshots(), func(s supervisor.Snapshot) bool { return s.State != status.Stopped })
}

// Active reports whether any server runs or will by itself.
func (p *Project) Active() bool {
	return slices.ContainsFunc(p.group.Snapshots(), func(s supervisor.Snapshot) bool { return s.State.Active() })
}

// Restore starts what ran when an earlier hub was lost, once.
func (p *Project) Restore(ctx context.Context, env []string) {
	var names []string
	p.update(func(v *view) {
		if p.restoring {
			return // somebody else was quicker
		}
		p.restoring = true
		for _, n := range p.resume {
			if _, ok := p.group.Snapshot(n); ok {
				names = append(names, n)
			}
		}
	})
	// They stand in the snapshot until they have been told to start.
	defer p.update(func(*view) { p.resume = nil })
	if len(names) == 0 {
		return
	}
	p.happened(status.Event{Kind: status.HappenedRestore, At: time.Now(), Message: fmt.Sprintf("starting again what ran before devside was lost: %v", names)})
	if _, _, err := p.Start(ctx, names, supervisor.StartOptions{Env: env, NoWait: true}); err != nil {
		p.happened(status.Event{Kind: status.HappenedProblem, At: time.Now(), Message: fmt.Sprintf("what ran before is not started again: %v", err)})
	}
}

// Log returns a server's output.
func (p *Project) Log(server string) (*logs.Log, error) { return p.group.Log(server) }

// Vouch counts the connected clients that vouch for the project. What was told to
// start while they did, and waits for something yet, is agreed to as it is now.
func (p *Project) Vouch(more int) {
	if more < 0 {
		p.agreeToWhatWaits()
	}
	p.update(func(v *view) { v.vouched += more })
}

func (p *Project) agreeToWhatWaits() {
	configured := p.view.Load().loaded.Project.Servers
	for _, s := range p.group.Snapshots() {
		i := slices.IndexFunc(configured, func(c spec.Server) bool { return c.Name == s.Name })
		if s.State == status.Waiting && i >= 0 {
			p.mayStart(configured[i])
		}
	}
}

// Trust agrees to the commands with this hash, and applies the configuration
// that has waited for that. It reports whether they are those of now.
func (p *Project) Trust(hash string) bool {
	p.applying.Lock()
	defer p.applying.Unlock()
	ok := false
	p.update(func(v *view) {
		v.trust = spec.Commands(p.root.FS(), v.newest().Project)
		if ok = v.trust.Hash == hash; ok {
			v.stored = hash
			p.store.PutTrust(state.Trust{Hash: hash, At: time.Now()})
		}
	})
	if ok {
		p.store.Flush() //nolint:errcheck // stateFailed has told; this hub knows
		p.agree(p.view.Load())
		p.agreedTo(hash)
		p.happened(status.Event{Kind: status.HappenedTrust, At: time.Now(), Message: "a person agreed to the project's commands"})
		p.applyPending(p.run, supervisor.Change{Asked: true})
	}
	return ok
}

// Reloaded says what a new configuration changed.
type Reloaded struct {
	Valid bool
	supervisor.Changes
}

// Reload reads the configuration again. One with errors changes nothing but
// the problems; otherwise only servers whose effective entry changed restart.
func (p *Project) Reload(ctx context.Context) Reloaded {
	return p.reload(ctx, supervisor.Change{Asked: true})
}

func (p *Project) reload(ctx context.Context, why supervisor.Change) Reloaded {
	p.applying.Lock()
	defer p.applying.Unlock()
	loaded, files, stamp := p.load()
	problems := problemsOf(loaded, time.Now())
	if !loaded.Valid() {
		p.update(func(v *view) { v.problems, v.files, v.stamp = problems, files, stamp })
		p.follower.retarget()
		p.happened(status.Event{Kind: status.HappenedReload, At: time.Now(), Message: "the configuration has errors; what runs is left as it is", Code: status.ConfigInvalid})
		return Reloaded{}
	}
	trust := spec.Commands(p.root.FS(), loaded.Project)
	apply := false
	p.update(func(v *view) {
		v.pending, v.problems, v.files, v.stamp, v.trust = loaded, problems, files, stamp, trust
		apply = v.trusted()
	})
	if v := p.view.Load(); apply && v.vouched == 0 {
		p.agree(v)
	}
	if !apply && p.Active() {
		p.happened(status.Event{Kind: status.HappenedReload, At: time.Now(), Message: "the configuration changed and is not trusted yet; what runs is left as it is", Code: status.NotTrusted})
		return Reloaded{Valid: true}
	}
	return Reloaded{Valid: true, Changes: p.applyPending(ctx, why)}
}

// applyPending makes the configuration that was read last the one that runs.
// p.applying is held.
func (p *Project) applyPending(ctx context.Context, why supervisor.Change) supervisor.Changes {
	loaded := p.view.Load().pending
	if loaded == nil {
		return supervisor.Changes{}
	}
	p.update(func(v *view) {
		v.loaded, v.pending, v.agreed = loaded, nil, make(chan struct{})
		v.misnamed = refusedByName(loaded.Project.Servers, time.Time{})
		v.deps = slices.DeleteFunc(slices.Clone(v.deps), func(d status.Dependency) bool {
			return !slices.ContainsFunc(loaded.Project.Dependencies, func(n spec.Dependency) bool { return n.Name == d.Name && n.Addr == d.Target })
		})
	})
	changes := p.group.Apply(ctx, loaded.Project.Servers, why)
	p.watchDependencies(loaded.Project.Dependencies)
	p.follower.retarget()
	if why.Because.File != "" && len(changes.Added)+len(changes.Changed)+len(changes.Removed) == 0 {
		return changes // a comment, or another script
	}
	p.happened(status.Event{Kind: status.HappenedReload, At: time.Now(), Message: fmt.Sprintf("the configuration was read again: %d added, %d changed, %d removed", len(changes.Added), len(changes.Changed), len(changes.Removed))})
	return changes
}

// PortUse is one configured port and who listens on it.
type PortUse struct {
	Port   int
	Server string
	Holder *status.Holder // nil: free
}

// Ports looks at every configured port.
func (p *Project) Ports() ([]PortUse, error) {
	out := []PortUse{}
	for _, s := range p.group.Snapshots() {
		for _, n := range s.Ports {
			taken, listeners, err := port.Taken(n.Number)
			if err != nil {
				return nil, fmt.Errorf("look at port %d: %w", n.Number, err)
			}
			use := PortUse{Port: n.Number, Server: s.Name}
			if taken {
				use.Holder = p.holderOf(listeners)
				if use.Holder == nil {
					use.Holder = &status.Holder{}
				}
			}
			out = append(out, use)
		}
	}
	return out, nil
}

// holderOf names who listens, and the server if it is one of ours.
func (p *Project) holderOf(listeners []port.Listener) *status.Holder {
	owner := map[int]string{}
	var hints []int
	for _, tree := range p.group.Trees() {
		for _, id := range tree.Members {
			owner[id.PID] = tree.Server
			hints = append(hints, id.PID)
		}
	}
	h := port.HolderOf(listeners, hints)
	if h != nil {
		h.Server = owner[h.PID]
	}
	return h
}

// dependencyDown is how soon a dependency that is down is looked at again:
// somebody may wait for it.
const dependencyDown = 500 * time.Millisecond

// watchDependencies checks what the project needs and devside does not start,
// instead of what it needed before. p.applying is held.
func (p *Project) watchDependencies(deps []spec.Dependency) {
	if p.unwatch != nil {
		p.unwatch()
	}
	var ctx context.Context
	ctx, p.unwatch = context.WithCancel(p.run)
	for _, d := range deps {
		p.joined.Go(func() { p.watchDependency(ctx, d) })
	}
}

func (p *Project) watchDependency(ctx context.Context, d spec.Dependency) {
	look := probe.NewDependency(d)
	for {
		// A probe sends what the configuration says to where it says: that is
		// not done for whoever only opens a folder.
		select {
		case <-p.view.Load().agreed:
		case <-ctx.Done():
			return
		}
		attempt, cancel := context.WithTimeout(ctx, spec.DefaultTimeout)
		err := look.Look(attempt)
		cancel()
		if ctx.Err() != nil {
			return
		}
		st := status.Dependency{Name: d.Name, Up: err == nil, Checked: time.Now(), Target: d.Addr}
		wait := d.Every
		if err != nil {
			st.Message = err.Error()
			wait = min(wait, dependencyDown)
		}
		p.setDependency(st)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// setDependency takes news of a dependency; the same news again changes
// nothing that anybody is told.
func (p *Project) setDependency(st status.Dependency) {
	i := slices.IndexFunc(p.view.Load().deps, func(d status.Dependency) bool { return d.Name == st.Name })
	if i >= 0 && p.view.Load().deps[i].Up == st.Up && p.view.Load().deps[i].Message == st.Message {
		return
	}
	// The servers first: who starts one because of what the status says finds
	// that it has heard the same.
	p.group.External(st.Name, st.Up, st.Message)
	p.update(func(v *view) {
		v.deps = slices.DeleteFunc(slices.Clone(v.deps), func(d status.Dependency) bool { return d.Name == st.Name })
		v.deps = append(v.deps, st)
		slices.SortFunc(v.deps, func(a, b status.Dependency) int { return cmp.Compare(a.Name, b.Name) })
	})
}
