package project

import (
	"sync/atomic"
	"time"

	"github.com/devside/devside/supervisor/port"
)

// tableAge is how old the table of listeners may be for a server that starts:
// under the shortest pause between two of its probes.
const tableAge = 3 * time.Millisecond

// listening answers for many servers that start at once with one look at the
// system's listeners.
type listening struct {
	table   atomic.Pointer[table]
	reading atomic.Bool
}

type table struct {
	at    time.Time
	ports map[int]bool
	known bool
}

// has reports whether anybody listens on a port. Whoever comes while another
// reads takes the older table, and never waits.
func (l *listening) has(number int) (is, known bool) {
	t := l.table.Load()
	if (t == nil || time.Since(t.at) > tableAge) && l.reading.CompareAndSwap(false, true) {
		t = read()
		l.table.Store(t)
		l.reading.Store(false)
	}
	if t == nil || !t.known {
		return false, false
	}
	return t.ports[number], true
}

func read() *table {
	found, err := port.Listeners()
	t := &table{at: time.Now(), ports: make(map[int]bool, len(found)), known: err == nil}
	for _, l := range found {
		t.ports[l.Port] = true
	}
	return t
}
