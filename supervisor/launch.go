package supervisor

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/proc"
)

// Launch is one process to start, and where its output goes.
type Launch struct {
	Argv   []string
	Dir    string // absolute
	Env    []string
	Marker string
	Log    *logs.Log
	Run    int
	// Secrets are what its output must not show; nil: nothing.
	Secrets *logs.Secrets
}

// Launcher returns what starts real processes. Each gets pipes of its own: its
// output is read into the log whoever looks at it, and its input stays open and
// silent, since programs that watch files end when their input does.
func Launcher(tracker *proc.Tracker, log zerolog.Logger) func(Launch) (Process, error) {
	return func(l Launch) (Process, error) {
		p := &launched{}
		started := false
		var theirs []*os.File
		defer func() {
			closeAll(theirs)
			if !started {
				closeAll(p.ours)
			}
		}()
		for range 3 {
			r, w, err := os.Pipe()
			if err != nil {
				return nil, &proc.StartError{Kind: proc.Resources, Path: l.Argv[0], Err: err}
			}
			ours, his := r, w
			if len(theirs) == 0 { // its standard input
				ours, his = w, r
			}
			p.ours, theirs = append(p.ours, ours), append(theirs, his)
		}
		process, err := tracker.Start(proc.Command{
			Argv: l.Argv, Dir: l.Dir, Env: l.Env, Marker: l.Marker,
			Stdin: theirs[0], Stdout: theirs[1], Stderr: theirs[2],
		})
		if err != nil {
			return nil, err
		}
		started = true
		p.Process = process
		for i, stream := range []string{"stdout", "stderr"} {
			p.drained.Go(func() {
				err := logs.Drain(p.ours[i+1], l.Log, stream, l.Run, l.Secrets, time.Now)
				if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					log.Warn().Err(err).Str("stream", stream).Msg("read the output")
				}
			})
		}
		return p, nil
	}
}

// Measurer returns what measures processes of the Launcher's with the same
// tracker, in one pass.
func Measurer(tracker *proc.Tracker) func([]Process, func(int, proc.Usage) bool) []proc.Measured {
	return func(processes []Process, exact func(int, proc.Usage) bool) []proc.Measured {
		trees := make([]*proc.Process, len(processes))
		for i, p := range processes {
			trees[i] = p.(*launched).Process
		}
		return tracker.Measure(trees, exact)
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close() //nolint:errcheck // ends of pipes
	}
}

// launched is a process with our ends of its pipes.
type launched struct {
	*proc.Process
	ours    []*os.File // stdin, stdout, stderr; the readers close the last two
	drained sync.WaitGroup
}

// drainPatience is how long the last output of a tree that is gone may take:
// its pipes are closed then, unless something that was spared holds them.
const drainPatience = 100 * time.Millisecond

// Stop ends the tree, and returns when its last output is in the log.
func (p *launched) Stop(ctx context.Context, plan proc.StopPlan) proc.Report {
	report := p.Process.Stop(ctx, plan)
	for _, r := range p.ours[1:] {
		r.SetReadDeadline(time.Now().Add(drainPatience)) //nolint:errcheck // closed already, or read until its end
	}
	p.drained.Wait()
	p.ours[0].Close() //nolint:errcheck // nobody reads it any more
	return report
}
