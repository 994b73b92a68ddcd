package sidecar

import (
	"encoding/json"
	"sync"
	"time"
)

// event is a fact that a folder's keeper is told.
type event interface{ isEvent() }

type (
	// bufferChanged: a file of the folder is open in the editor, with this text.
	bufferChanged struct {
		file, uri, text string
		version         *int32
	}
	// bufferClosed: it is not open any more.
	bufferClosed struct{ file string }
	// fileSaved: the editor wrote a file.
	fileSaved struct{ file string }
	// filesChanged: files may have changed on disk.
	filesChanged struct{}
	// viewWanted: a request about a file needs the folder as it is now.
	viewWanted struct{ answer chan<- moment }
	// hubWanted: a request needs a hub, started if there is none.
	hubWanted struct{ answer chan<- hubAnswer }
	// dialed: an attempt to reach a hub has ended.
	dialed struct {
		link *link
		err  error
	}
	// statusCame: the hub of this link sent a snapshot.
	statusCame struct {
		link *link
		raw  json.RawMessage
	}
	// reloaded: the hub of this link has read the configuration again.
	reloaded struct{ link *link }
	// hubLost: the connection of this link has ended.
	hubLost struct{ link *link }
	// leaveAsked: the folder goes, or the session ends; by is when to be done.
	leaveAsked struct{ by time.Time }
	// left: the hub has been told.
	left struct{}
)

func (bufferChanged) isEvent() {}
func (bufferClosed) isEvent()  {}
func (fileSaved) isEvent()     {}
func (filesChanged) isEvent()  {}
func (viewWanted) isEvent()    {}
func (hubWanted) isEvent()     {}
func (dialed) isEvent()        {}
func (statusCame) isEvent()    {}
func (reloaded) isEvent()      {}
func (hubLost) isEvent()       {}
func (leaveAsked) isEvent()    {}
func (left) isEvent()          {}

// hubAnswer answers hubWanted.
type hubAnswer struct {
	link *link
	err  error
}

// inbox holds the events that a keeper has not taken yet. Putting never waits,
// so that a read loop can. It stays small because an event that makes the one
// before it worthless takes its place.
type inbox struct {
	wake chan struct{} // holds one token while there is something to take

	mu     sync.Mutex
	events []event
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

func (b *inbox) put(e event) {
	b.mu.Lock()
	if last := len(b.events) - 1; last >= 0 && replaces(e, b.events[last]) {
		b.events[last] = e
	} else {
		b.events = append(b.events, e)
	}
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take returns what has come since the last take, oldest first.
func (b *inbox) take() []event {
	b.mu.Lock()
	defer b.mu.Unlock()
	events := b.events
	b.events = nil
	return events
}

// replaces reports whether nothing is lost when only next is seen.
func replaces(next, last event) bool {
	switch next := next.(type) {
	case bufferChanged:
		was, ok := last.(bufferChanged)
		return ok && was.file == next.file
	case statusCame:
		was, ok := last.(statusCame)
		return ok && was.link == next.link
	case filesChanged:
		_, ok := last.(filesChanged)
		return ok
	}
	return false
}
