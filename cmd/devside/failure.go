package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/socket"
	"github.com/devside/devside/rpc/wire"
)

// Exit codes. They are part of the protocol: scripts and CI read them.
const (
	exitOK          = 0
	exitStart       = 1   // a server did not start
	exitHealth      = 2   // all started, but one did not become ready in its time
	exitConfig      = 3   // devside.yaml, or there is nothing to run
	exitUntrusted   = 4   // nobody has said yet that the project's commands may run
	exitRoot        = 5   // refused as root
	exitHub         = 6   // no hub, the hub was lost, or it speaks another protocol
	exitUsage       = 64  // EX_USAGE of sysexits.h
	exitInterrupted = 130 // 128 + SIGINT, as shells report it
)

// errInterrupted is the cause of a context that a signal ended.
var errInterrupted = errors.New("interrupted")

// failure is how a command ends that did not succeed.
type failure struct {
	code int
	what string // empty: the output has said it already
	hint string
	also []string // lines between the two, as they are
}

func (f *failure) Error() string { return f.what }

func usage(hint, format string, args ...any) *failure {
	return &failure{code: exitUsage, what: fmt.Sprintf(format, args...), hint: hint}
}

// explain turns an error into what a person reads and a script tests. It is the
// one place where errors become exit codes.
func explain(err error) *failure {
	var f *failure
	var refused *rpc.Error
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return &failure{code: exitInterrupted, what: "interrupted"}
	case errors.As(err, &refused):
		return explainRefusal(refused)
	case errors.Is(err, socket.ErrNoHub):
		return &failure{code: exitHub, what: "nothing of this project runs",
			hint: `"devside up" or "devside start" starts its servers`}
	case errors.Is(err, rpc.ErrClosed):
		return &failure{code: exitHub, what: "the hub has ended, or was lost",
			hint: `"devside status" says what runs now`}
	case errors.Is(err, socket.ErrStranger):
		return &failure{code: exitHub, what: err.Error(),
			hint: "somebody else made devside's socket: look at who owns it before going on"}
	}
	out := &failure{code: exitHub, what: err.Error()}
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		out.hint = hinted.Hint()
	}
	return out
}

// refusals are the exit codes of the hub's own error codes.
var refusals = map[int64]int{
	wire.CodeUntrusted:        exitUntrusted,
	wire.CodeRootRefused:      exitRoot,
	wire.CodeConfigInvalid:    exitConfig,
	wire.CodeInvalidParams:    exitUsage,
	wire.CodeCancelled:        exitInterrupted,
	wire.CodeProtocolMismatch: exitHub,
	wire.CodeHubLost:          exitHub,
	wire.CodeTimeout:          exitHub,
}

func explainRefusal(e *rpc.Error) *failure {
	f := &failure{code: exitHub, what: e.Message}
	if code, ok := refusals[e.Code]; ok {
		f.code = code
	}
	data, _ := socket.ErrorData(e)
	f.hint = data.Hint
	switch {
	case data.Code == "unknown-server":
		f.hint = knownServers(data.Known)
	case f.code == exitUntrusted:
		f.hint = untrustedHint
	case f.hint == "" && f.code == exitConfig:
		f.hint = `"devside check" shows every error with its line`
	}
	return f
}

const untrustedHint = `"devside trust" shows what would run and asks; --trust agrees for this time only`

// knownServers is the hint about a name that is not one.
func knownServers(known []string) string {
	if len(known) == 0 {
		return "the configuration has no servers"
	}
	return "the servers are " + strings.Join(known, ", ")
}

// unreadable is about a root that can't be used.
func unreadable(path string, err error) *failure {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return usage("--root takes the folder that holds devside.yaml", "use %s as the root: %v", path, err)
}

// report writes a failure the way every command does. Text from a hub or a
// project may hold anything: it is made visible first.
func (f *failure) report(w io.Writer) {
	if f.what != "" {
		fmt.Fprintf(w, "devside: %s\n", visible(f.what))
	}
	for _, line := range f.also {
		fmt.Fprintln(w, visible(line))
	}
	if f.hint != "" {
		fmt.Fprintf(w, "hint: %s\n", visible(f.hint))
	}
}
