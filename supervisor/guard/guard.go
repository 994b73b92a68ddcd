// Package guard is the guardian: the small process that starts a project's
// hub, outlives it, and ends whatever it leaves behind.
//
// It never ends anything but its own descendants, never restarts the hub (a
// client that needs one does), and knows nothing of configuration or clients,
// and of servers only what the ledger says of how they are stopped. While it
// lives the project's lock is held; it gives the hub a copy, so that the lock is
// free only when both are gone.
//
// Start reading at Run.
package guard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/devside/devside/supervisor/proc"
)

// Descriptors that the hub finds open, in this order.
const (
	ReadyFD = 3 + iota // says one line about how the start went, see rpc/socket
	LockFD             // a copy of the project's lock
	LifeFD             // ends when the guardian ends
)

// orphanGrace is how long what the ledger does not know may take to end: the
// default grace of a server.
const orphanGrace = 5 * time.Second

// Options say what to start.
type Options struct {
	Exe    string
	Args   []string // of the hub
	Lock   *os.File // held; given to the hub, too
	Ready  *os.File // given to the hub
	Stderr *os.File // of the hub: where a panic of it is found
	Log    zerolog.Logger

	// Bequest is asked, when a hub has died, how each of its servers is
	// stopped. nil: nobody knows, and all are by the default.
	Bequest func() []proc.Bequest
}

// Run starts the hub, waits for its end, and ends what it left if it did not end
// in order. When ctx ends
// the hub is told by its closing pipe, and waited for. The error says how the
// hub ended, if it was not by itself and in order.
func Run(ctx context.Context, o Options) error {
	if err := proc.BecomeSubreaper(); err != nil {
		o.Log.Warn().Err(err).Msg("become a subreaper: what escapes the servers can't be found if the hub dies")
	}
	lifeR, lifeW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start the hub: %w", err)
	}
	cmd := exec.Command(o.Exe, o.Args...)
	cmd.Dir = "/"
	cmd.Stderr = o.Stderr
	cmd.ExtraFiles = []*os.File{o.Ready, o.Lock, lifeR}
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start the hub: %w", err), lifeR.Close(), lifeW.Close())
	}
	err = errors.Join(lifeR.Close(), o.Ready.Close())
	stop := context.AfterFunc(ctx, func() { lifeW.Close() }) //nolint:errcheck // the hub sees its end
	err = errors.Join(err, cmd.Wait())
	stop()
	lifeW.Close() //nolint:errcheck // closed already if ctx has ended
	o.Log.Debug().Err(err).Msg("the hub has ended")
	if err == nil {
		return nil // in order: what is still there was spared, or said to be left
	}
	// Not ctx: what the hub left is ended, whoever is in a hurry.
	var bequest []proc.Bequest
	if o.Bequest != nil {
		bequest = o.Bequest()
	}
	report := proc.EndDescendants(context.WithoutCancel(ctx), bequest, proc.StopPlan{Signal: syscall.SIGTERM, Grace: orphanGrace}, o.Log)
	if report.Signalled > 0 || len(report.Left) > 0 || len(report.Spared) > 0 {
		o.Log.Warn().Int("ended", report.Signalled).Int("killed", report.Killed).Int("left", len(report.Left)).Int("spared", len(report.Spared)).
			Msg("ended the servers of a hub that died")
	}
	return fmt.Errorf("the hub ended: %w", err)
}
