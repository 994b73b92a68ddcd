package project

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/devside/devside/supervisor"
	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// installs are the installs under way, by folder: two package managers in one
// would destroy each other's work.
type installs struct {
	mu    sync.Mutex
	going map[string]bool
}

// begin reports whether nobody installs in the folder yet.
func (i *installs) begin(dir string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.going[dir] {
		return false
	}
	if i.going == nil {
		i.going = map[string]bool{}
	}
	i.going[dir] = true
	return true
}

func (i *installs) end(dir string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.going, dir)
}

// Installed is how an install came out.
type Installed struct {
	Argv    []string
	Dir     string // relative to the root
	OK      bool
	Message string   // why it is not ok
	Lines   []string // the last that it printed
}

const (
	// installPatience bounds an install: a first one of a large workspace on a
	// slow line takes minutes.
	installPatience = 30 * time.Minute
	// installGrace is how long a package manager may take to end when it is
	// told to; npm removes what is half written.
	installGrace = 5 * time.Second
	installLines = 40
)

// NothingToInstallError says that a server's packages are those of its lockfile.
type NothingToInstallError struct{ Server string }

func (e *NothingToInstallError) Error() string {
	return "the packages of " + e.Server + " are installed as its lockfile says"
}

// Install runs the package manager that a server's dependencies-stale problem
// names, with the environment env, and waits for its end. The server is left
// alone: it restarts, by the rules, when what is installed has changed. It runs
// only in a trusted project, since packages have scripts.
func (p *Project) Install(ctx context.Context, server string, env []string) (Installed, error) {
	if _, err := p.group.Names([]string{server}); err != nil {
		return Installed{}, err
	}
	v := p.view.Load()
	if !v.trusted() {
		return Installed{}, &UntrustedError{Hash: v.trust.Hash}
	}
	i := slices.IndexFunc(v.stale, func(n status.Problem) bool { return n.Server == server })
	if i < 0 {
		return Installed{}, &NothingToInstallError{server}
	}
	n := v.stale[i]
	out := Installed{Argv: n.Argv, Dir: n.Dir}
	if !p.installs.begin(n.Dir) {
		out.Message = "an install is under way there already"
		return out, nil
	}
	defer p.installs.end(n.Dir)
	p.happened(status.Event{Kind: status.HappenedStart, At: time.Now(), Message: fmt.Sprintf("`%s` runs in %s", spec.Join(n.Argv), folderText(n.Dir))})
	p.install(ctx, &out, env)
	if !out.OK {
		p.happened(status.Event{Kind: status.HappenedProblem, Server: server, At: time.Now(), Code: status.DependenciesStale,
			Message: fmt.Sprintf("`%s` failed in %s: %s; what runs is left as it is", spec.Join(n.Argv), folderText(n.Dir), out.Message)})
	}
	return out, nil
}

// install runs one install to its end, or to that of ctx or the project.
func (p *Project) install(ctx context.Context, out *Installed, env []string) {
	ctx, cancel := context.WithTimeout(ctx, installPatience)
	defer cancel()
	defer context.AfterFunc(p.run, cancel)()
	log := logs.New(logs.DefaultLimit)
	process, err := supervisor.Launcher(p.tracker, p.o.Log)(supervisor.Launch{
		Argv: out.Argv, Dir: filepath.Join(p.o.Root, filepath.FromSlash(out.Dir)), Env: supervisor.Passing(env),
		Marker: p.marker + ":install:0", Log: log, Run: 1,
	})
	if err != nil {
		out.Message = fmt.Sprintf("it can't be started: %v", err)
		return
	}
	select {
	case <-process.Exited():
	case <-ctx.Done():
	}
	stopped := ctx.Err() != nil
	report := process.Stop(context.WithoutCancel(ctx), proc.StopPlan{Signal: syscall.SIGTERM, Grace: installGrace})
	out.Lines = log.Tail(installLines)
	switch {
	case stopped:
		out.Message = "it was stopped before its end"
	case report.Exit.Signal != 0:
		out.Message = "it was killed by " + proc.SignalName(report.Exit.Signal)
	case report.Exit.Code != 0:
		out.Message = fmt.Sprintf("it ended with exit status %d", report.Exit.Code)
	default:
		out.OK = true
	}
}
