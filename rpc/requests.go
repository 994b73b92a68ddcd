package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
)

// requests are the peer's requests that have no answer yet. A request is in
// here from the moment it was read until its answer is put, so that each has
// exactly one answer.
type requests struct {
	mu       sync.Mutex
	byNumber map[uint64]*pendingRequest
	byKey    map[idKey]*pendingRequest
	working  int  // how many of them have work running
	closed   bool // no work begins any more

	works sync.WaitGroup // only added to while not closed
	freed chan struct{}  // a place was given back; holds one
}

func newRequests() requests {
	return requests{
		byNumber: make(map[uint64]*pendingRequest),
		byKey:    make(map[idKey]*pendingRequest),
		freed:    make(chan struct{}, 1),
	}
}

type pendingRequest struct {
	id     requestID
	cancel context.CancelCauseFunc // nil until its work runs
}

// add registers a request. It refuses an id that is in use.
func (r *requests) add(number uint64, id requestID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, taken := r.byKey[id.key]; taken {
		return false
	}
	id.raw = bytes.Clone(id.raw) // else it would hold the whole message in memory
	p := &pendingRequest{id: id}
	r.byNumber[number] = p
	r.byKey[id.key] = p
	return true
}

// take ends a request and returns its id, nil if it has ended before, and
// whether it was the last. The id is free again before the answer is on its way.
func (r *requests) take(number uint64) (id json.RawMessage, last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.byNumber[number]
	if p == nil {
		return nil, false
	}
	delete(r.byNumber, number)
	delete(r.byKey, p.id.key)
	return p.id.raw, len(r.byNumber) == 0
}

// begin takes one of limit places for work.
func (r *requests) begin(number uint64, limit int, cancel context.CancelCauseFunc) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.byNumber[number]
	if p == nil || r.closed || r.working >= limit {
		return false
	}
	r.working++
	r.works.Add(1)
	p.cancel = cancel
	return true
}

// finish gives the place back.
func (r *requests) finish() {
	r.mu.Lock()
	r.working--
	r.mu.Unlock()
	select {
	case r.freed <- struct{}{}:
	default:
	}
	r.works.Done()
}

// close lets no more work begin.
func (r *requests) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
}

// cancel ends the context of a request's work.
func (r *requests) cancel(key idKey) {
	r.mu.Lock()
	var cancel context.CancelCauseFunc
	if p := r.byKey[key]; p != nil {
		cancel = p.cancel
	}
	r.mu.Unlock()
	if cancel != nil {
		cancel(ErrCancelled)
	}
}
