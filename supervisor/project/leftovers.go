package project

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/status"
)

// leftoverPlan is how the processes of an earlier hub are ended: they have
// lost their supervisor already, and somebody waits for this one to start.
var leftoverPlan = proc.StopPlan{Signal: syscall.SIGTERM, Grace: 2 * time.Second}

// endLeftovers stops what the ledger says still runs, and remembers what ran.
func (p *Project) endLeftovers(ctx context.Context) {
	l := p.store.Ledger()
	p.resume = p.store.Snapshot().Running
	if l.Marker == "" {
		return
	}
	// The first mark finds by the marker alone what was started a moment before
	// the end, when no ledger had it yet.
	marks := []proc.Mark{{MarkerPrefix: l.Marker + ":"}}
	for _, s := range l.Servers {
		marks = append(marks, proc.Mark{Leader: s.Identity, MarkerPrefix: l.Marker + ":"})
	}
	plan := leftoverPlan
	plan.Spare = l.Spared()
	r := proc.Sweep(ctx, marks, plan, p.o.Log)
	if r.Signalled > 0 || len(r.Left) > 0 {
		p.o.Log.Warn().Int("ended", r.Signalled).Int("killed", r.Killed).Int("left", len(r.Left)).Int("spared", len(r.Spared)).Msg("ended what an earlier hub left")
	}
}

// endStrays ends what cleanup.patterns names, before the first start of this
// hub: later, and it could be what a person has just started by hand. The
// caller has made sure that the project is trusted, its patterns included.
func (p *Project) endStrays(ctx context.Context) {
	p.cleaning.Lock()
	defer p.cleaning.Unlock()
	if p.cleaned {
		return
	}
	p.cleaned = true
	// Not ctx: what has been asked to end gets its grace, whoever goes meanwhile.
	strays := proc.EndStrays(context.WithoutCancel(ctx), proc.Strays{
		Root: p.o.Root, Patterns: p.view.Load().loaded.Project.Cleanup.Patterns, Supervises: p.o.Supervises,
	}, leftoverPlan, p.o.Log)
	ended := 0
	for _, s := range strays {
		e := strayEvent(s, time.Now())
		if e.Act == status.ActKilled {
			ended++
		}
		p.happened(e)
	}
	if len(strays) > 0 {
		p.o.Log.Warn().Int("ended", ended).Int("left", len(strays)-ended).Msg("ended strays that cleanup.patterns names")
	}
}

// strayEvent says what became of a stray, without its arguments: they can hold
// anything.
func strayEvent(s proc.Stray, at time.Time) status.Event {
	why := "which the stray above it had started"
	if s.Pattern != "" {
		why = fmt.Sprintf("which the cleanup pattern %q names", s.Pattern)
	}
	e := status.Event{
		Kind: status.HappenedSecurity, Act: status.ActKilled, At: at,
		Message: fmt.Sprintf("ended %s (pid %d), %s", s.Name, s.PID, why),
		Process: &status.Holder{PID: s.PID, StartTime: s.Start, Name: s.Name},
	}
	if s.Left != "" {
		e.Act, e.Message = status.ActKillRefused, fmt.Sprintf("%s (pid %d), %s, is still there: %s", s.Name, s.PID, why, s.Left)
	}
	return e
}
