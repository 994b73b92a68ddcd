package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/sidecar"
	"github.com/devside/devside/rpc/socket"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/port"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

// openDoors gives the command line the real hub, sidecar and state.
func openDoors(a *app) {
	a.hidden = a.hiddenCommands()
	a.doors = doors{
		dial:        func(ctx context.Context, d dialing) (hub, error) { return dialHub(ctx, a, d) },
		foreground:  func(ctx context.Context, d dialing) (upHub, error) { return upForeground(ctx, a, d) },
		serve:       func(ctx context.Context, s stdio) int { return serveStdio(ctx, a, s) },
		trustedHash: func(root string) (string, error) { return trustedHash(root, a.getenv) },
		remember:    func(root, hash string) error { return remember(root, hash, a) },
		account:     lookupAccount,
		become:      becomeUser,
		auditRoot:   func(command string) { auditRoot(a, command) },
		logged:      func(root string) ([]string, error) { return logged(root, a.getenv) },
		storedLog: func(root, server string, p wire.LogsParams) ([]wire.LogLine, error) {
			return storedLog(root, server, p, a.getenv)
		},
		listeners: listeners,
	}
}

// connectOptions are what every connection to a hub is made with.
func connectOptions(a *app, root string, start bool) (socket.Options, error) {
	exe, err := os.Executable()
	if err != nil {
		return socket.Options{}, fmt.Errorf("find devside's own binary: %w", err)
	}
	return socket.Options{Root: root, Start: start, Exe: exe, Getenv: a.getenv}, nil
}

// hubOptions are connectOptions with what a command asked for.
func hubOptions(a *app, d dialing) (socket.Options, error) {
	o, err := connectOptions(a, d.root, d.start)
	o.Args, o.Log = d.args, d.log
	o.Hello = wire.HelloParams{Version: version, Role: d.role, Client: d.client, Env: d.env, Trusted: d.trusted, HTTP: d.http}
	o.Handler = rpc.HandlerFunc(func(m rpc.Message) (rpc.Work, error) {
		if !m.Notification {
			return nil, rpc.Errorf(wire.CodeMethodNotFound, wire.ErrorData{Code: "unknown-method"}, "unknown method %s", m.Method)
		}
		d.took(m.Method, m.Params)
		return nil, nil
	})
	return o, err
}

// dialHub is doors.dial.
func dialHub(ctx context.Context, a *app, d dialing) (hub, error) {
	o, err := hubOptions(a, d)
	if err != nil {
		return nil, err
	}
	conn, _, err := connect(ctx, a, o)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// upForeground is doors.foreground.
func upForeground(ctx context.Context, a *app, d dialing) (upHub, error) {
	o, err := hubOptions(a, d)
	if err != nil {
		return upHub{}, err
	}
	fg, err := foreground(ctx, a, o)
	if err != nil {
		return upHub{}, err
	}
	hurry := func() {
		// Not ctx, which has ended: that is why somebody is in a hurry.
		go fg.conn.Call(context.WithoutCancel(ctx), wire.Hurry, nil, nil) //nolint:errcheck // the stop itself tells how it went
	}
	return upHub{hub: fg.conn, attached: fg.attached, wait: fg.wait, hurry: hurry}, nil
}

// serveStdio is doors.serve.
func serveStdio(ctx context.Context, a *app, s stdio) int {
	rwc, err := rpc.Stdio()
	if err != nil {
		explain(fmt.Errorf("use standard input and output: %w", err)).report(a.err)
		return exitHub
	}
	var args []string
	if s.allowRoot {
		args = []string{"--allow-root"}
	}
	return sidecar.Run(ctx, sidecar.Options{
		RWC: rwc, Version: version, Log: s.log,
		Trust: s.trusted, Root: s.root, Refused: s.refused, HTTP: s.http,
		Getenv: a.getenv, Environ: a.environ(),
		ServerLog: func(root, server string) string { return serverLog(root, server, a.getenv) },
		Shown: func(root string, editor int) sidecar.Shown {
			paths, err := state.Locate(root, a.getenv)
			if err != nil {
				s.log.Warn().Err(err).Msg("what is shown is not kept")
				editor = 0
			}
			return state.NewShown(paths, editor)
		},
		Taken: func(number int) bool {
			taken, _, err := port.Taken(number)
			return err == nil && taken
		},
		Dial: func(ctx context.Context, hello wire.HelloParams, start bool, h rpc.Handler) (*rpc.Conn, wire.HelloResult, error) {
			o, err := connectOptions(a, hello.Root, start)
			if err != nil {
				return nil, wire.HelloResult{}, err
			}
			o.Args, o.Log, o.Hello, o.Handler = args, s.log, hello, h
			return connect(ctx, a, o)
		},
	})
}

// serverLog is the file of what a server prints now; empty: there is none.
func serverLog(root, server string, getenv func(string) string) string {
	paths, err := state.Locate(root, getenv)
	if err != nil {
		return ""
	}
	return logs.CurrentFile(paths.ServerLogs(), server)
}

// trustedHash is doors.trustedHash.
func trustedHash(root string, getenv func(string) string) (string, error) {
	paths, err := state.Locate(root, getenv)
	if err != nil {
		return "", err
	}
	var damaged error
	store := state.Open(paths, func(err error) { damaged = err })
	return store.Trust().Hash, damaged
}

// logged is doors.logged.
func logged(root string, getenv func(string) string) ([]string, error) {
	paths, err := state.Locate(root, getenv)
	if err != nil {
		return nil, err
	}
	names, err := logs.ServersIn(paths.ServerLogs())
	if errors.Is(err, fs.ErrNotExist) { // nothing has run yet
		return nil, nil
	}
	return names, err
}

// storedLog is doors.storedLog.
func storedLog(root, server string, p wire.LogsParams, getenv func(string) string) ([]wire.LogLine, error) {
	paths, err := state.Locate(root, getenv)
	if err != nil {
		return nil, err
	}
	q := logs.Query{Lines: p.Lines, Since: p.Since, Run: p.Run}
	if p.Grep != "" {
		if q.Grep, err = regexp.Compile(p.Grep); err != nil {
			return nil, usage("--grep takes an expression of RE2", "%v", err)
		}
	}
	lines, err := logs.ReadFiles(paths.ServerLogs(), server, q)
	var none *logs.NoRunError
	if errors.As(err, &none) {
		return nil, usage("--run takes the number of a start, or -1 for the one before the last", "%v", err)
	}
	if err != nil {
		return nil, err
	}
	out := make([]wire.LogLine, len(lines))
	for i, l := range lines {
		out[i] = wire.LogLine{At: l.At, Stream: l.Stream, Text: l.Text, Run: l.Run}
	}
	return out, nil
}

// remember is doors.remember. It takes the project's lock, as everybody does
// who writes there.
func remember(root, hash string, a *app) (err error) {
	paths, err := state.Locate(root, a.getenv)
	if err != nil {
		return err
	}
	if err := paths.Make(); err != nil {
		return err
	}
	lock, err := socket.Lock(paths)
	if errors.Is(err, socket.ErrLocked) {
		return &failure{code: exitHub, what: "a hub of this project is just starting or ending",
			hint: "try again in a moment"}
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	failed := make(chan error, 1)
	store := state.Open(paths, func(err error) {
		select {
		case failed <- err:
		default: // the first says why
		}
	})
	store.PutTrust(state.Trust{Hash: hash, At: a.now()})
	store.Close()
	audit := openAudit(a, paths.Audit(), root)
	audit.Put(status.Event{
		Kind: status.HappenedSecurity, Act: status.ActTrusted, At: a.now(),
		Message: fmt.Sprintf("a person agreed to the project's commands with the hash %s", hash),
	})
	audit.Close()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// listeners is doors.listeners.
func listeners(ports []int) (map[int]*status.Holder, error) {
	found, err := port.Listeners(ports...)
	if err != nil {
		return nil, err
	}
	by := map[int][]port.Listener{}
	for _, l := range found {
		by[l.Port] = append(by[l.Port], l)
	}
	out := map[int]*status.Holder{}
	for n, l := range by {
		out[n] = port.HolderOf(l, nil)
	}
	return out, nil
}
