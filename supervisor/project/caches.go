package project

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
	"github.com/devside/devside/watch/cache"
)

// caches has the caches of servers removed: right before a start, when the
// process before has gone and the next one has not been started (Next.js holds
// .next/dev/lock while it runs), or at once where nothing runs.
type caches struct {
	p       *Project
	remover *cache.Remover
	failed  error // why there is no remover

	mu   sync.Mutex
	owed map[string]owed // by server: to be removed before its next start
}

// owed is one removal that waits for a start.
type owed struct {
	because status.Because
	done    []chan cache.Result // of those who wait for it; buffered
}

func openCaches(p *Project) *caches {
	c := &caches{p: p, owed: map[string]owed{}}
	if c.remover, c.failed = cache.Open(p.o.Root, p.o.Log); c.failed != nil {
		p.o.Log.Error().Err(c.failed).Msg("caches can't be removed")
	}
	return c
}

func (c *caches) close() {
	if c.remover != nil {
		c.remover.Close()
	}
}

// owe has the caches of a server removed before its next start, once.
func (c *caches) owe(server string, because status.Because, done ...chan cache.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, already := c.owed[server]
	if !already {
		o.because = because
	}
	o.done = append(o.done, done...)
	c.owed[server] = o
}

// prepare removes what is owed to a server that is about to be started. It is
// called from the server's actor, and takes as long as a rename for each cache.
func (c *caches) prepare(server string) {
	c.mu.Lock()
	o, is := c.owed[server]
	delete(c.owed, server)
	c.mu.Unlock()
	if !is {
		return
	}
	res := c.remove(c.p.run, server, o.because, len(o.done) == 0)
	for i, done := range o.done {
		if i > 0 {
			res.Freed = nil // one reader has the counts
		}
		done <- res
	}
}

// targets are the caches of a server, by the configuration that runs.
func (c *caches) targets(server string) []cache.Target {
	servers := c.p.view.Load().loaded.Project.Servers
	i := slices.IndexFunc(servers, func(s spec.Server) bool { return s.Name == server })
	if i < 0 {
		return nil
	}
	return targetsOf(servers[i])
}

func targetsOf(s spec.Server) []cache.Target {
	var out []cache.Target
	for _, name := range s.Caches {
		out = append(out, cache.Target{Dir: s.Dir, Path: name, Declared: s.Caches})
	}
	return out
}

// remove removes the caches of one server now and says so. count: nobody else
// reads how much it was.
func (c *caches) remove(ctx context.Context, server string, because status.Because, count bool) cache.Result {
	targets := c.targets(server)
	at := time.Now()
	if c.remover == nil {
		res := cache.Result{}
		for _, t := range targets {
			res.Refused = append(res.Refused, cache.Refused{Path: t.Where(), Why: fmt.Sprintf("caches can't be removed: %v", c.failed)})
		}
		c.told(server, at, res)
		return res
	}
	res := c.remover.Remove(ctx, targets, false)
	c.told(server, at, res)
	if len(res.Removed) == 0 {
		return res
	}
	out := make(chan cache.Removed, len(res.Removed))
	freed := res.Freed
	c.p.joined.Go(func() {
		defer close(out)
		c.freed(server, at, because, res.Removed, freed, out)
	})
	res.Freed = out
	return res
}

// freed waits until the space of what was removed has come back, and tells.
func (c *caches) freed(server string, at time.Time, because status.Because, removed []cache.Removed, freed <-chan cache.Removed, out chan<- cache.Removed) {
	e := status.Event{Kind: status.HappenedInvalidation, Server: server, At: at, Because: &because}
	for _, r := range removed {
		e.Removed = append(e.Removed, r.Path)
	}
	for r := range freed {
		e.RemovedBytes += r.Bytes
		out <- r
	}
	e.Message = fmt.Sprintf("%s: %s removed (%s) because %s", server, strings.Join(e.Removed, ", "), bytesText(e.RemovedBytes), because)
	if log, err := c.p.group.Log(server); err == nil {
		log.Say(log.LastRun(), at, e.Message)
	}
	c.p.happened(e)
}

// told shows what was refused, in the place of what was before, and whether the
// disk is nearly full.
func (c *caches) told(server string, at time.Time, res cache.Result) {
	var problems []status.Problem
	for _, r := range res.Refused {
		n := refusedProblem(server, r, at)
		n.Field = "caches"
		c.p.happened(status.Event{Kind: status.HappenedSecurity, Act: status.ActDeletionRefused, Server: server, At: at, Message: n.Message})
		problems = append(problems, n)
	}
	disk := diskProblem(server, res.FreeBytes, res.DiskLow, at)
	c.p.update(func(v *view) {
		refused := map[string][]status.Problem{}
		for name, list := range v.refused {
			refused[name] = list
		}
		refused[server] = problems
		v.refused = refused
		v.diskLow = kept(v.diskLow, disk)
	})
}

// look asks again whether the disk is nearly full.
func (c *caches) look() {
	if c.remover == nil {
		return
	}
	free, low := c.remover.Space()
	c.p.update(func(v *view) {
		if v.diskLow != nil {
			v.diskLow = kept(v.diskLow, diskProblem(v.diskLow.Server, free, low, time.Now()))
		}
	})
}

// kept is the newer of two of the same kind, which began with the older.
func kept(old, now *status.Problem) *status.Problem {
	if old != nil && now != nil {
		now.Since = old.Since
	}
	return now
}

func diskProblem(server string, free int64, low bool, at time.Time) *status.Problem {
	if !low {
		return nil
	}
	n := status.NewProblem(status.DiskLow, server, fmt.Sprintf("only %s are free on the project's disk", bytesText(free)), at)
	n.Hint = "make room: caches that are rebuilt, logs and databases need it"
	return &n
}

func refusedProblem(server string, r cache.Refused, at time.Time) status.Problem {
	n := status.NewProblem(status.CacheRefused, server, fmt.Sprintf("%s is not removed as a cache of %s: %s", r.Path, server, r.Why), at)
	n.File, n.Hint = r.Path, "take it out of `caches:`, or remove it yourself"
	return n
}

// refusedByName are the declared caches that would be refused whatever they
// are: to be told before anybody counts on them.
func refusedByName(servers []spec.Server, at time.Time) []status.Problem {
	var out []status.Problem
	for _, s := range servers {
		for i, t := range targetsOf(s) {
			if err := cache.Check(t); err != nil {
				n := refusedProblem(s.Name, cache.Refused{Path: t.Path, Why: err.Error()}, at)
				n.Field = fmt.Sprintf("caches[%d]", i)
				out = append(out, n)
			}
		}
	}
	return out
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}

// Cleared is what became of caches: of each server's, those removed, complete
// with their counts, and those refused.
type Cleared struct {
	Removed []cache.Removed
	Refused []cache.Refused
}

// clearPatience is how long the answer waits for a server to come to its start,
// beyond its grace.
const clearPatience = 10 * time.Second

// ClearCaches removes the caches of the named servers (nil: all). A server that
// runs is stopped, and started again when they are out of the way. dryRun only
// counts. The counts of a removal are complete when its space is free, or ctx
// has ended.
func (p *Project) ClearCaches(ctx context.Context, names []string, dryRun bool) (Cleared, error) {
	names, err := p.group.Names(names)
	if err != nil {
		return Cleared{}, err
	}
	if v := p.view.Load(); !dryRun && !v.trusted() {
		return Cleared{}, &UntrustedError{Hash: v.trust.Hash}
	}
	var out Cleared
	if dryRun {
		if p.caches.remover == nil {
			return out, p.caches.failed
		}
		for _, name := range names {
			res := p.caches.remover.Remove(ctx, p.caches.targets(name), true)
			out.Removed, out.Refused = append(out.Removed, res.Removed...), append(out.Refused, res.Refused...)
		}
		return out, nil
	}
	because := status.Because{Rule: status.RuleAsked}
	waiting := map[string]chan cache.Result{}
	for _, name := range names {
		if len(p.caches.targets(name)) == 0 {
			continue
		}
		if s, ok := p.group.Snapshot(name); ok && s.State.Active() {
			waiting[name] = make(chan cache.Result, 1)
			p.caches.owe(name, because, waiting[name])
			p.group.FileChanged(name, because)
			continue
		}
		out.add(ctx, p.caches.remove(p.run, name, because, false))
	}
	for _, name := range names {
		if done, is := waiting[name]; is {
			p.awaitCleared(ctx, name, done, &out)
		}
	}
	return out, nil
}

// awaitCleared waits until a server that was up has come to its next start.
func (p *Project) awaitCleared(ctx context.Context, name string, done chan cache.Result, out *Cleared) {
	s, _ := p.group.Snapshot(name)
	patience := time.NewTimer(s.Stop.Grace + clearPatience)
	defer patience.Stop()
	select {
	case res := <-done:
		out.add(ctx, res)
		return
	case <-ctx.Done():
	case <-patience.C:
	}
	for _, t := range p.caches.targets(name) {
		out.Refused = append(out.Refused, cache.Refused{Path: t.Where(), Why: fmt.Sprintf("%s has not come to its next start yet: it is removed right before that", name)})
	}
}

// add takes a result, and waits for its counts.
func (c *Cleared) add(ctx context.Context, res cache.Result) {
	c.Refused = append(c.Refused, res.Refused...)
	if res.Freed == nil {
		c.Removed = append(c.Removed, res.Removed...)
		return
	}
	counted := map[string]cache.Removed{}
	for range res.Removed {
		select {
		case r, ok := <-res.Freed:
			if ok {
				counted[r.Path] = r
			}
		case <-ctx.Done():
		}
	}
	for _, r := range res.Removed {
		if full, ok := counted[r.Path]; ok {
			r = full
		}
		c.Removed = append(c.Removed, r)
	}
}
