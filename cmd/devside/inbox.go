package main

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"

	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

// inboxLines bounds what waits for a slow terminal: about 10 MB of ordinary
// lines. Beyond it the oldest go, and the reader is told how many.
const inboxLines = 50_000

// inboxEvents bounds the events that wait; a hub makes a few a second at most.
const inboxEvents = 1_000

// inbox takes what a hub sends by itself, so that the connection's read loop
// never waits for a terminal. Of statuses it keeps the newest.
type inbox struct {
	wake chan struct{} // holds one token while there is something

	mu      sync.Mutex
	status  *status.Project
	logs    []wire.DidLogParams
	lines   int                          // in logs
	skipped int                          // dropped since the last take
	gaps    map[string]wire.DidLogParams // what those said was skipped before them, by server
	events  []wire.DidHappenParams
}

func newInbox() *inbox { return &inbox{wake: make(chan struct{}, 1)} }

// delivery is what had come in.
type delivery struct {
	status  *status.Project // nil: none
	logs    []wire.DidLogParams
	events  []wire.DidHappenParams
	skipped int // lines that the terminal was too slow for
}

// put takes one notification. What can't be read is dropped: it comes from a
// hub of the same version, which the handshake has made sure of.
func (in *inbox) put(method string, params json.RawMessage) {
	switch method {
	case wire.DidChangeStatus:
		p := &status.Project{}
		if json.Unmarshal(params, p) != nil {
			return
		}
		in.mu.Lock()
		in.status = p
		in.mu.Unlock()
	case wire.DidLog:
		var p wire.DidLogParams
		if json.Unmarshal(params, &p) != nil {
			return
		}
		in.addLog(p)
	case wire.DidHappen:
		var p wire.DidHappenParams
		if json.Unmarshal(params, &p) != nil {
			return
		}
		in.mu.Lock()
		if len(in.events) < inboxEvents {
			in.events = append(in.events, p)
		}
		in.mu.Unlock()
	default:
		return
	}
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

func (in *inbox) addLog(p wire.DidLogParams) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.logs = append(in.logs, p)
	in.lines += len(p.Lines)
	for in.lines > inboxLines && len(in.logs) > 1 {
		if first := in.logs[0]; first.Skipped > 0 {
			if in.gaps == nil {
				in.gaps = map[string]wire.DidLogParams{}
			}
			first.Lines, first.Skipped = nil, first.Skipped+in.gaps[first.Server].Skipped
			in.gaps[first.Server] = first
		}
		n := len(in.logs[0].Lines)
		in.lines -= n
		in.skipped += n
		in.logs = in.logs[1:]
	}
}

// ready holds a token while there is something to take.
func (in *inbox) ready() <-chan struct{} { return in.wake }

func (in *inbox) take() delivery {
	in.mu.Lock()
	defer in.mu.Unlock()
	d := delivery{status: in.status, logs: in.logs, events: in.events, skipped: in.skipped}
	for _, server := range slices.Sorted(maps.Keys(in.gaps)) {
		d.logs = slices.Insert(d.logs, 0, in.gaps[server])
	}
	in.status, in.logs, in.events, in.skipped, in.lines, in.gaps = nil, nil, nil, 0, 0, nil
	return d
}
