package sidecar

import (
	"context"
	"encoding/json"
	"time"

	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

// restartShown bounds how long a restart that nobody asked for is shown. What
// takes longer is seen in the status.
const restartShown = 5 * time.Minute

// showRestart shows a restart that a changed file has led to, until the server
// has come to its end. It is called on the hub's read loop, and does not wait.
func (f *folder) showRestart(e status.Event) {
	if e.Kind != status.HappenedRestart || e.Because == nil || !f.client.progress {
		return
	}
	snapshots := f.watchers.add()
	showing := f.s.relays.run(func(ctx context.Context) {
		defer f.watchers.remove(snapshots)
		ctx, cancel := context.WithTimeout(ctx, restartShown)
		defer cancel()
		r := request{verb: "restart", start: wire.StartParams{Servers: []string{e.Server}}, title: "devside: " + e.Message}
		f.withProgress(ctx, r, func(ctx context.Context) (json.RawMessage, error) { //nolint:errcheck // it is for show
			return awaitRestart(ctx, snapshots, e)
		})
	})
	if !showing {
		f.watchers.remove(snapshots)
	}
}

// awaitRestart waits until the server has settled after the event.
func awaitRestart(ctx context.Context, snapshots <-chan *status.Project, e status.Event) (json.RawMessage, error) {
	for {
		select {
		case st := <-snapshots:
			s, there := st.Server(e.Server)
			if there && (s.Since.Before(e.At) || !s.State.Settled() && s.State != status.Unhealthy) {
				continue
			}
			return json.Marshal(wire.StartResult{Servers: []wire.ServerResult{{Name: s.Name, OK: s.State == status.Ready, State: s.State}}})
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
