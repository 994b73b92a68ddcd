package supervisor

import "sync"

// mailbox hands facts to an actor. Putting one in never waits, so that no two
// actors can wait for each other; an actor's facts are few (exits, probes,
// timers, requests), so the queue is as short as the actor is quick.
type mailbox struct {
	wake chan struct{} // holds one token while facts wait

	mu    sync.Mutex
	facts []fact
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

func (b *mailbox) put(f fact) {
	b.mu.Lock()
	b.facts = append(b.facts, f)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take returns all that wait, in order.
func (b *mailbox) take() []fact {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.facts
	b.facts = nil
	return f
}
