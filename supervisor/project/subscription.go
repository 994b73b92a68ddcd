package project

import (
	"slices"

	"github.com/devside/devside/supervisor/status"
)

// maxEvents bounds what a subscriber that does not look can pile up; what is
// older is dropped, since a status tells the state anyway.
const maxEvents = 256

// Subscription tells one client what is new. Its owner waits on News, then
// looks at Status and Events.
type Subscription struct {
	News   <-chan struct{}
	p      *Project
	news   chan struct{}
	events []status.Event // guarded by Project.mu
}

// Subscribe returns a subscription. Its owner must Close it.
func (p *Project) Subscribe() *Subscription {
	s := &Subscription{p: p, news: make(chan struct{}, 1)}
	s.News = s.news
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subs[s] = true
	return s
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	delete(s.p.subs, s)
}

// Events returns what has happened since the last call, in order.
func (s *Subscription) Events() []status.Event {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	e := s.events
	s.events = nil
	return e
}

// happened keeps an event for every subscriber, and one that concerns security
// for the audit log, too. It never waits.
func (p *Project) happened(e status.Event) {
	if e.Kind == status.HappenedSecurity {
		p.audit.Put(e)
		if e.Act == status.ActKilled {
			p.o.Meter.Killed()
		}
	}
	p.o.Log.Info().Str("server", e.Server).Str("kind", string(e.Kind)).Str("trace", e.TraceID).Msg(e.Message)
	p.tell(&e)
}

// tell wakes the subscribers, with an event or because the status is new.
func (p *Project) tell(e *status.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.subs {
		if e != nil {
			if len(s.events) >= maxEvents {
				s.events = slices.Delete(s.events, 0, len(s.events)-maxEvents+1)
			}
			s.events = append(s.events, *e)
		}
		select {
		case s.news <- struct{}{}:
		default:
		}
	}
}
