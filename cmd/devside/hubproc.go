package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/DeRuina/timberjack"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/devside/devside/rpc"
	hubserver "github.com/devside/devside/rpc/hub"
	"github.com/devside/devside/rpc/socket"
	"github.com/devside/devside/rpc/web"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/guard"
	supervised "github.com/devside/devside/supervisor/project"
	"github.com/devside/devside/supervisor/state"
)

// This file is the hidden side of the binary: the three short commands that
// make a hub (rpc/socket names them), and `up`, which is its own guardian.

// openLog is devside's own log of a project: JSON lines, 0600, rotated.
func openLog(paths state.Paths, process string) (zerolog.Logger, io.Closer) {
	w := &timberjack.Logger{
		Filename: paths.Log(), FileMode: 0o600,
		MaxSize: 20, MaxAge: 14, MaxBackups: 14, Compression: "gzip", // ENTERPRISE-001
	}
	level := zerolog.InfoLevel
	if os.Getenv("DEV_DEBUG") == "1" {
		level = zerolog.DebugLevel
	}
	return zerolog.New(w).Level(level).With().Timestamp().Str("process", process).Int("pid", os.Getpid()).Logger(), w
}

// inherited takes over a descriptor that our parent passed on, and keeps it
// from our children.
func inherited(fd int, name string) (*os.File, error) {
	f := os.NewFile(uintptr(fd), name)
	if f == nil {
		return nil, fmt.Errorf("descriptor %d (%s) was not passed on: this command is not for people", fd, name)
	}
	if _, err := f.Stat(); err != nil {
		return nil, fmt.Errorf("descriptor %d (%s) was not passed on: this command is not for people", fd, name)
	}
	closeOnExec(fd)
	return f, nil
}

// say tells whoever waits for the hub how it went.
func say(ready io.Writer, line string) {
	fmt.Fprintln(ready, line) //nolint:errcheck // who does not wait any more need not know
}

// launch starts the guardian in a session of its own and ends, so that the
// guardian is nobody's child: an editor that kills its sidecar's tree must not
// find it there.
func launch(root string, flags []string) error {
	ready, err := inherited(guard.ReadyFD, "ready")
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, append([]string{socket.GuardianCommand, "--root", root}, flags...)...)
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{ready}
	cmd.SysProcAttr = ownSession()
	if err := cmd.Start(); err != nil {
		say(ready, socket.SaidError+err.Error())
		return err
	}
	return cmd.Process.Release()
}

// guardian takes the lock and runs the hub. It ends when the hub has.
func guardian(ctx context.Context, root string, flags []string) error {
	ready, err := inherited(guard.ReadyFD, "ready")
	if err != nil {
		return err
	}
	debug.SetGCPercent(25) // it waits for hours and does nothing: memory counts, speed does not
	err = guardHub(ctx, root, flags, ready)
	if errors.Is(err, socket.ErrLocked) {
		say(ready, socket.SaidLocked)
		return nil
	}
	return err
}

// guardHub takes the lock, starts a hub and waits for its end. It is the
// guardian's life, and in the foreground that of `up`.
func guardHub(ctx context.Context, root string, flags []string, ready *os.File) error {
	fail := func(err error) error {
		say(ready, socket.SaidError+err.Error())
		return err
	}
	paths, err := state.Locate(root, os.Getenv)
	if err != nil {
		return fail(err)
	}
	if err := paths.Make(); err != nil {
		return fail(err)
	}
	lock, err := socket.Lock(paths)
	if errors.Is(err, socket.ErrLocked) {
		return err
	}
	if err != nil {
		return fail(err)
	}
	defer lock.Close() //nolint:errcheck // ends with us
	log, closeLog := openLog(paths, "guardian")
	defer closeLog.Close() //nolint:errcheck // ends with us
	exe, err := os.Executable()
	if err != nil {
		return fail(err)
	}
	stderr, err := os.OpenFile(filepath.Join(paths.Run, "hub.stderr"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|noFollow, 0o600)
	if err != nil {
		return fail(err)
	}
	defer stderr.Close() //nolint:errcheck // ends with us
	return guard.Run(ctx, guard.Options{
		Exe: exe, Args: append([]string{socket.HubCommand, "--root", root}, flags...),
		Lock: lock, Ready: ready, Stderr: stderr, Log: log,
		Bequest: state.Open(paths, func(err error) { log.Error().Err(err).Msg("state") }).Bequest,
	})
}

// runHub is the hub's whole life.
func runHub(ctx context.Context, root string) error {
	ready, err := inherited(guard.ReadyFD, "ready")
	if err != nil {
		return err
	}
	lock, err := inherited(guard.LockFD, "lock")
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // ends with us
	// The one of libpq's variables that a PostgreSQL probe can't overrule, and
	// would fail for. Servers get the environment of who starts them, not ours.
	if err := os.Unsetenv("PGSERVICE"); err != nil {
		return err
	}
	life, err := inherited(guard.LifeFD, "life")
	if err != nil {
		return err
	}
	paths, err := state.Locate(root, os.Getenv)
	if err != nil {
		say(ready, socket.SaidError+err.Error())
		return err
	}
	log, closeLog := openLog(paths, "hub")
	defer closeLog.Close() //nolint:errcheck // ends with us
	err = serveHub(ctx, root, paths, ready, lock, life, log)
	if err != nil {
		say(ready, socket.SaidError+err.Error())
		log.Error().Err(err).Msg("the hub ends")
	}
	return err
}

func serveHub(ctx context.Context, root string, paths state.Paths, ready, lock, life *os.File, log zerolog.Logger) error {
	lost := make(chan struct{})
	go func() { // ends with the process at the latest: the guardian outlives us
		var b [1]byte
		life.Read(b[:]) //nolint:errcheck // any end is the end
		close(lost)
	}()
	meter := web.NewMeter()
	p, err := supervised.Open(ctx, supervised.Options{Root: root, Paths: paths, Protocol: wire.Protocol, Log: log, Getenv: os.Getenv, Supervises: supervises, Meter: meter})
	if err != nil {
		return err
	}
	listener, err := socket.Keep(paths, lock)
	if err != nil {
		p.Close(ctx, true)
		return err
	}
	say(ready, socket.SaidReady)
	ready.Close() //nolint:errcheck // said
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	http := web.New(web.Options{Project: p, Meter: meter, Version: version, Log: log, KeepToken: paths.KeepHTTPToken})
	var beside sync.WaitGroup
	beside.Go(func() {
		keepFiles(ctx, listener, func() {
			p.Rewrite()
			http.Rewrite(ctx)
		}, log, lose)
	})
	beside.Go(func() { http.Run(ctx) })
	err = hubserver.Run(ctx, hubserver.Options{Root: root, Version: version, Project: p, Listener: listener, Life: lost, Log: log, HTTP: http, Meter: meter})
	if errors.Is(context.Cause(ctx), socket.ErrLocked) {
		err = errors.Join(err, context.Cause(ctx))
	}
	// An end that nobody asked for keeps what ran in the snapshot, for the hub
	// that takes our place.
	p.Close(context.WithoutCancel(ctx), err != nil || ctx.Err() != nil)
	lose(nil)
	beside.Wait()
	return err
}

// supervises reports whether a command line is one of devside's own processes,
// hub and guardian among them.
func supervises(argv []string) bool {
	if len(argv) > 1 && slices.Contains([]string{socket.LaunchCommand, socket.GuardianCommand, socket.HubCommand}, argv[1]) {
		return true
	}
	return len(argv) > 0 && filepath.Base(argv[0]) == "devside"
}

const (
	// filesEvery is how often the hub looks whether it can still be found, and
	// with that how long a second hub could live beside it.
	filesEvery = 2 * time.Second
	// filesPatience is how often in a row somebody else may have the lock then:
	// who remembers a trust, or only looks, has it for a moment.
	filesPatience = 3
)

// keepFiles makes the lock and the socket again when somebody has removed them,
// and by rewrite what else the state holds. When another hub has taken the project
// meanwhile, this one ends.
func keepFiles(ctx context.Context, k *socket.Kept, rewrite func(), log zerolog.Logger, lose context.CancelCauseFunc) {
	tick := time.NewTicker(filesEvery)
	defer tick.Stop()
	locked := 0
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		mended, err := k.Mend()
		switch {
		case errors.Is(err, socket.ErrLocked):
			if locked++; locked >= filesPatience {
				lose(fmt.Errorf("the state folder was removed: %w", err))
				return
			}
			continue
		case err != nil:
			log.Error().Err(err).Msg("make the files again that were removed")
		}
		locked = 0
		if mended {
			rewrite()
		}
	}
}

// foregroundHub is a hub in this process's tree, or, attached, one that ran
// already.
type foregroundHub struct {
	conn     *rpc.Conn
	attached bool
	wait     func() error // until guardian and hub have ended
}

// retryForeground is the pause before another attempt to become the guardian,
// while the one before is going down.
const retryForeground = 50 * time.Millisecond

// foreground makes this process the guardian of a new hub and connects to it,
// or connects to the one that runs already.
func foreground(ctx context.Context, a *app, o socket.Options) (foregroundHub, error) {
	o.Start = false
	for {
		ended, err := guardHere(ctx, o)
		if err != nil && !errors.Is(err, socket.ErrLocked) {
			return foregroundHub{}, err
		}
		conn, _, dialErr := connect(ctx, a, o)
		if dialErr == nil {
			if err != nil { // somebody else's
				return foregroundHub{conn: conn, attached: true, wait: func() error { return nil }}, nil
			}
			return foregroundHub{conn: conn, wait: func() error { return <-ended }}, nil
		}
		if err == nil || !errors.Is(dialErr, socket.ErrNoHub) {
			return foregroundHub{}, dialErr
		}
		t := time.NewTimer(retryForeground)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return foregroundHub{}, context.Cause(ctx)
		}
	}
}

// guardHere starts a hub with this process as its guardian, and returns once
// it listens. ended gets the hub's end.
func guardHere(ctx context.Context, o socket.Options) (ended chan error, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // only read from
	ended = make(chan error, 1)
	// Not ctx: the hub ends when its holders leave, not when we are interrupted.
	go func() {
		err := guardHub(context.WithoutCancel(ctx), o.Root, o.Args, w)
		w.Close() //nolint:errcheck // closed already when the hub has it
		ended <- err
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	line = strings.TrimSpace(line)
	if line == socket.SaidReady {
		return ended, nil
	}
	if why, ok := strings.CutPrefix(line, socket.SaidError); ok {
		return nil, fmt.Errorf("start a hub: %s", why)
	}
	if failed := <-ended; failed != nil {
		return nil, failed
	}
	return nil, fmt.Errorf("start a hub: it ended before it listened: %w", err)
}

// hiddenCommands are what socket.Connect and the guardian run.
func (a *app) hiddenCommands() []*cobra.Command {
	make := func(name string, run func(ctx context.Context, root string, flags []string) error) *cobra.Command {
		return &cobra.Command{Use: name, Hidden: true, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			var flags []string
			if a.allowRoot {
				flags = append(flags, "--allow-root")
			}
			if err := run(cmd.Context(), a.rootFlag, flags); err != nil {
				return &failure{code: exitHub, what: err.Error()}
			}
			return nil
		}}
	}
	return []*cobra.Command{
		make(socket.LaunchCommand, func(_ context.Context, root string, flags []string) error { return launch(root, flags) }),
		make(socket.GuardianCommand, guardian),
		make(socket.HubCommand, func(ctx context.Context, root string, _ []string) error { return runHub(ctx, root) }),
	}
}
