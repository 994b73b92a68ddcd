package project

import (
	"sync"
	"time"

	"github.com/devside/devside/supervisor/proc"
)

// oomAge is how old the count of OOM kills may be for a server that starts or
// is sampled: 200 that do so together cost one look.
const oomAge = time.Second

// oomKills counts the system's OOM kills for all servers.
type oomKills struct {
	mu sync.Mutex
	at time.Time // of the last look; zero: none
	n  uint64
}

// count returns the number of kills so far, as of now or of a moment ago.
func (o *oomKills) count(now bool) (uint64, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !now && !o.at.IsZero() && time.Since(o.at) < oomAge {
		return o.n, nil
	}
	n, err := proc.OOMKills()
	if err != nil {
		return 0, err
	}
	o.at, o.n = time.Now(), n
	return n, nil
}
