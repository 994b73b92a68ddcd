package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/rs/zerolog"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/socket"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

// This file is what the command line itself puts into the audit log. The rest
// comes from the hub.

// openAudit opens an audit log for one line. That it can't be written is no
// reason to fail; it is said on standard error.
func openAudit(a *app, path, root string) *state.Audit {
	log := a.logger(zerolog.ErrorLevel)
	return state.OpenAudit(path, root, "command line", func(err error) { log.Error().Err(err).Msg("audit") })
}

// connect is socket.Connect, and takes down who pretends to be a hub.
func connect(ctx context.Context, a *app, o socket.Options) (*rpc.Conn, wire.HelloResult, error) {
	conn, res, err := socket.Connect(ctx, o)
	var stranger *socket.StrangerError
	if errors.As(err, &stranger) {
		auditStranger(a, o.Root, stranger)
	}
	return conn, res, err
}

func auditStranger(a *app, root string, s *socket.StrangerError) {
	paths, err := state.Locate(root, a.getenv)
	if err == nil {
		err = paths.Make()
	}
	if err != nil {
		log := a.logger(zerolog.ErrorLevel)
		log.Error().Err(err).Msg("audit")
		return
	}
	audit := openAudit(a, paths.Audit(), root)
	audit.Put(status.Event{
		Kind: status.HappenedSecurity, Act: status.ActHubRefused, At: a.now(),
		Message: fmt.Sprintf("what listens on the project's socket belongs to another user (uid %d, pid %d) and was not talked to", s.UID, s.PID),
		Process: &status.Holder{PID: s.PID, User: "uid " + strconv.Itoa(s.UID)},
	})
	audit.Close()
}

// auditRoot is doors.auditRoot. The line is in a log of root's own, and in no
// project's: whose project it is, and whose folders the environment names, is
// not known, and a file of root's would be in that person's way.
func auditRoot(a *app, command string) {
	path, err := state.RefusedRootLog(a.getenv)
	if err != nil {
		log := a.logger(zerolog.ErrorLevel)
		log.Error().Err(err).Msg("audit")
		return
	}
	audit := openAudit(a, path, "")
	audit.Put(status.Event{
		Kind: status.HappenedSecurity, Act: status.ActRootRefused, At: a.now(),
		Message: fmt.Sprintf("%q was started as root, and refused", command),
	})
	audit.Close()
}
