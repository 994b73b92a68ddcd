package socket

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/state"
)

// The commands of devside's own binary that make a hub, and what they say to
// whoever waits, as one line on descriptor 3.
const (
	LaunchCommand   = "__launch"   // starts the guardian in a session of its own, and ends: nobody's child
	GuardianCommand = "__guardian" // takes the lock, starts the hub, outlives it
	HubCommand      = "__hub"

	SaidReady  = "ready"  // the hub listens
	SaidLocked = "locked" // another guardian has the lock
	SaidError  = "error " // and the reason
)

// startPatience bounds how long a hub may take to come up, an old one's end
// included: it may have to wait for servers that use up their grace.
const startPatience = 30 * time.Second

// Options say which hub is meant and how to behave to it.
type Options struct {
	Root    string           // real path
	Hello   wire.HelloParams // Protocol, Root and PID are filled in
	Start   bool             // start a hub where there is none
	Exe     string           // devside's own binary; with Start
	Args    []string         // flags for the started processes, such as --allow-root
	Handler rpc.Handler      // takes what the hub sends
	Log     zerolog.Logger
	Getenv  func(string) string
}

// Connect returns a connection to the project's hub that has been greeted.
// Without Start and without a hub the error is ErrNoHub.
func Connect(ctx context.Context, o Options) (*rpc.Conn, wire.HelloResult, error) {
	paths, err := state.Locate(o.Root, o.Getenv)
	if err != nil {
		return nil, wire.HelloResult{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience,
		fmt.Errorf("no hub answered within %v; its log is %s", startPatience, paths.Log()))
	defer cancel()
	o.Hello.Protocol, o.Hello.Root, o.Hello.PID = wire.Protocol, o.Root, os.Getpid()
	var wait time.Duration
	for {
		conn, res, err := greet(ctx, paths, o)
		if err == nil {
			return conn, res, nil
		}
		again, err := o.mend(ctx, paths, err)
		if err != nil {
			return nil, wire.HelloResult{}, err
		}
		if again == atOnce {
			continue
		}
		if err := pause(ctx, &wait); err != nil {
			return nil, wire.HelloResult{}, fmt.Errorf("start a hub: %w", err)
		}
	}
}

// greet dials and says hello.
func greet(ctx context.Context, paths state.Paths, o Options) (*rpc.Conn, wire.HelloResult, error) {
	var res wire.HelloResult
	c, err := dial(ctx, paths)
	if err != nil {
		return nil, res, err
	}
	conn := rpc.New(c, o.Handler, rpc.Options{Name: "hub", Log: o.Log})
	if err := conn.Call(ctx, wire.Hello, o.Hello, &res); err != nil {
		return nil, res, errors.Join(err, ignoreClosed(conn.Close()))
	}
	return conn, res, nil
}

type retry int

const (
	atOnce retry = iota
	later
)

// mend decides what a failed greeting means, and does what may make the next
// one succeed.
func (o Options) mend(ctx context.Context, paths state.Paths, err error) (retry, error) {
	var refused *rpc.Error
	switch {
	case ctx.Err() != nil:
		return 0, fmt.Errorf("start a hub: %w", context.Cause(ctx))
	case errors.Is(err, ErrNoHub) && o.Start && owned(paths):
		return later, nil // a hub is coming up or going down
	case errors.Is(err, ErrNoHub) && o.Start:
		return o.launch(ctx, paths)
	case errors.Is(err, rpc.ErrClosed):
		// The hub was on its way out and closed the door on us.
		return later, nil
	case errors.As(err, &refused) && refused.Code == wire.CodeProtocolMismatch && o.Start:
		return later, quitOld(ctx, paths, o, refused)
	}
	return 0, err
}

// quitOld asks a hub of another protocol version to end. It does when nobody
// holds it.
func quitOld(ctx context.Context, paths state.Paths, o Options, mismatch *rpc.Error) error {
	c, err := dial(ctx, paths)
	if err != nil {
		return nil // it has just gone
	}
	conn := rpc.New(c, o.Handler, rpc.Options{Name: "hub", Log: o.Log})
	defer conn.Close() //nolint:errcheck // whatever it says, we are done with it
	var res wire.QuitResult
	if err := conn.Call(ctx, wire.Quit, wire.QuitParams{}, &res); err != nil {
		return mismatch
	}
	if !res.Quit {
		return mismatch
	}
	return nil
}

// Mismatch builds the answer to a client of another protocol version.
func Mismatch(version string, theirs int) *rpc.Error {
	return rpc.Errorf(wire.CodeProtocolMismatch, wire.ErrorData{
		Code:    "protocol-mismatch",
		Hint:    "close the editors and terminals that use it, or use the same version of devside everywhere",
		Version: version,
		PID:     os.Getpid(),
	}, "a hub of devside %s (protocol %d, pid %d) serves this project; this client speaks protocol %d",
		version, wire.Protocol, os.Getpid(), theirs)
}

// launch starts a guardian with its hub and waits for its word.
func (o Options) launch(ctx context.Context, paths state.Paths) (retry, error) {
	if err := paths.Make(); err != nil {
		return 0, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, fmt.Errorf("start a hub: %w", err)
	}
	defer r.Close() //nolint:errcheck // only read from
	cmd := exec.CommandContext(ctx, o.Exe, append([]string{LaunchCommand, "--root", o.Root}, o.Args...)...)
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{w}
	err = errors.Join(cmd.Run(), w.Close())
	switch {
	case ctx.Err() != nil:
		return 0, fmt.Errorf("start a hub: %w", context.Cause(ctx))
	case err != nil:
		return 0, fmt.Errorf("start a hub: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Now()) }) //nolint:errcheck // ends the read below
	defer stop()
	line, err := bufio.NewReader(r).ReadString('\n')
	line = strings.TrimSpace(line)
	switch {
	case ctx.Err() != nil:
		return 0, fmt.Errorf("start a hub: %w", context.Cause(ctx))
	case line == SaidReady:
		return atOnce, nil
	case line == SaidLocked:
		return later, nil
	case strings.HasPrefix(line, SaidError):
		return 0, fmt.Errorf("start a hub: %s", strings.TrimPrefix(line, SaidError))
	}
	return 0, fmt.Errorf("start a hub: it ended before it listened (%w); its log is %s", err, paths.Log())
}

// ignoreClosed drops the news that a connection is closed already.
func ignoreClosed(err error) error {
	if errors.Is(err, rpc.ErrClosed) {
		return nil
	}
	return err
}

// ErrorData reads the data of a peer's error.
func ErrorData(err error) (wire.ErrorData, bool) {
	var e *rpc.Error
	var d wire.ErrorData
	if !errors.As(err, &e) {
		return d, false
	}
	switch data := e.Data.(type) {
	case wire.ErrorData:
		return data, true
	case json.RawMessage:
		return d, json.Unmarshal(data, &d) == nil
	}
	return d, false
}
