package supervisor

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/devside/devside/supervisor/policy"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/spec"
)

const (
	// firstSample is when a tree is measured first after its start.
	firstSample = time.Second
	// lookedFor is how close two looks at the status are of somebody who goes on
	// looking: a client that shows memory live asks every few seconds. One look
	// alone, as of a person at a terminal, is answered with what there is. A
	// subscription is no look: an idle editor has one all day.
	lookedFor = 5 * time.Second
	// exactEvery is how often a tree's share is read though no limit is near: it
	// is shown, and it knows of what is swapped out, which nothing else does.
	exactEvery = policy.SampleEvery
)

// sampler measures the trees of all servers that run: one timer and one pass
// for all that are due, beside the actors, since 200 trees take a tenth of a
// second. Each actor is told of its own. Only run touches what is not atomic.
type sampler struct {
	log     zerolog.Logger
	measure func([]Process, func(int, proc.Usage) bool) []proc.Measured
	running func() []target // the trees there are now

	wake    chan struct{} // holds one token when there may be something to do
	looked  atomic.Int64  // when somebody looked last, in Unix nanoseconds; 0: never
	looking atomic.Int64  // the same of a look that came soon after another one
	trees   map[Process]*tree
}

// target is a tree to measure.
type target struct {
	process Process
	run     int
	server  string
	limits  spec.Memory
	box     *mailbox
}

// tree is what is known of a target from earlier passes.
type tree struct {
	target
	due     time.Time
	at      time.Time // of the last pass over it; zero: none yet
	exactAt time.Time // when its share was read last, or it was first seen
	rss     int64     // then
	share   int64     // then; -1: never read
	likely  int64     // what the share is by now, as far as can be told
	failed  bool      // the last pass could not read it: said once
	guessed bool      // some of its share is a guess: said once
}

func newSampler(log zerolog.Logger, measure func([]Process, func(int, proc.Usage) bool) []proc.Measured, running func() []target) *sampler {
	return &sampler{log: log, measure: measure, running: running, wake: make(chan struct{}, 1), trees: map[Process]*tree{}}
}

// look says that somebody looks at what the servers use. It never waits.
func (s *sampler) look() {
	now := time.Now()
	if !recent(s.looked.Swap(now.UnixNano()), now) {
		return
	}
	if !recent(s.looking.Swap(now.UnixNano()), now) {
		s.poke()
	}
}

func recent(nano int64, now time.Time) bool {
	return nano != 0 && now.UnixNano()-nano <= int64(lookedFor)
}

// poke says that there may be a new tree. It never waits.
func (s *sampler) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *sampler) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		if next := s.pass(time.Now()); next.IsZero() {
			timer.Stop() // until something is started
		} else {
			timer.Reset(time.Until(next))
		}
	}
}

// pass measures what is due, and returns when something will be; zero: nothing
// runs.
func (s *sampler) pass(now time.Time) (next time.Time) {
	s.notice(now)
	looking := recent(s.looking.Load(), now)
	var due []*tree
	for _, t := range s.trees {
		if looking && !t.at.IsZero() {
			t.due = earlier(t.due, t.at.Add(policy.SampleClosely))
		}
		if !t.due.After(now) {
			due = append(due, t)
		}
	}
	s.take(due, looking, now)
	for _, t := range s.trees {
		next = earlier(next, t.due)
	}
	return next
}

// notice takes up trees that are new, and drops those that have gone.
func (s *sampler) notice(now time.Time) {
	running := s.running()
	there := make(map[Process]bool, len(running))
	for _, t := range running {
		there[t.process] = true
		if s.trees[t.process] == nil {
			s.trees[t.process] = &tree{target: t, due: now.Add(firstSample), exactAt: now, share: -1}
		}
	}
	for p := range s.trees {
		if !there[p] {
			delete(s.trees, p)
		}
	}
}

// take measures these trees and tells their actors.
func (s *sampler) take(due []*tree, looking bool, now time.Time) {
	if len(due) == 0 {
		return
	}
	processes := make([]Process, len(due))
	for i, t := range due {
		processes[i] = t.process
	}
	got := s.measure(processes, func(i int, u proc.Usage) bool { return due[i].wantsShare(u, now) })
	for i, t := range due {
		t.at = now
		s.report(t, got[i])
		if got[i].Err == nil {
			t.learn(got[i].Usage, now)
			t.box.put(measured{run: t.run, usage: got[i].Usage, at: now})
		}
		t.due = policy.NextSample(looking || policy.Near(t.limits, t.likely), now)
	}
}

// wantsShare reports whether the share is to be read: its time has come, or
// resident memory says that it may be over a limit.
func (t *tree) wantsShare(u proc.Usage, now time.Time) bool {
	most, likely := t.bounds(u)
	return now.Sub(t.exactAt) >= exactEvery || policy.NeedsShare(t.limits, max(0, t.share), most, likely)
}

// bounds says what a tree with this resident memory costs at most, and likely:
// what is swapped out is not resident, and what is shared is likely still so.
func (t *tree) bounds(u proc.Usage) (most, likely int64) {
	if t.share < 0 {
		return u.RSS, u.RSS
	}
	return u.RSS + max(0, t.share-t.rss), max(0, t.share+u.RSS-t.rss)
}

func (t *tree) learn(u proc.Usage, now time.Time) {
	if u.Exact {
		t.exactAt, t.rss, t.share, t.likely = now, u.RSS, u.Share, u.Share
		return
	}
	_, t.likely = t.bounds(u)
}

// report says once what can't be read.
func (s *sampler) report(t *tree, m proc.Measured) {
	if m.Err != nil && !t.failed {
		s.log.Warn().Err(m.Err).Str("server", t.server).Msg("the memory could not be measured")
	}
	t.failed = m.Err != nil
	if m.Guessed > 0 && !t.guessed {
		t.guessed = true
		s.log.Warn().Str("server", t.server).Int("processes", m.Guessed).Int("of", m.Processes).
			Msg("the share of memory of some processes can't be read: what they hold that is no file's is taken instead")
	}
}

// earlier returns the earlier of two times; a zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
