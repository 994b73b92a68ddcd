// Command devside supervises a project's development servers for an editor.
//
// It is flags, subcommands and wiring: it reads the words it was given, asks
// the project's hub, writes down what came back, and turns every error into
// what happened, what to do, and an exit code. It never decides anything about
// a server, never starts or signals one itself, and writes nothing to standard
// output but the answer: with --stdio, the protocol.
//
// Start reading at app in app.go; wiring.go is where the real hub, sidecar and
// state come in, and ARCHITECTURE.md describes the whole.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/devside/devside/rpc"
)

// version is set by the Makefile, from git.
var version = "dev"

func main() {
	// First of all: with an editor gone, the first line of the log would
	// otherwise end the process before its servers are stopped.
	rpc.IgnoreSIGPIPE()
	ctx, hurry := interrupts()
	a := &app{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		getenv: os.Getenv, environ: os.Environ,
		getwd: os.Getwd, euid: os.Geteuid, now: time.Now,
		hurry: hurry,
	}
	a.inTTY, a.outTTY, a.errTTY = isTerminal(os.Stdin), isTerminal(os.Stdout), isTerminal(os.Stderr)
	openDoors(a)
	os.Exit(a.run(ctx, os.Args[1:]))
}

// interrupts returns a context that ends with the first signal that asks the
// process to end, and a channel that is closed by the second.
func interrupts() (context.Context, <-chan struct{}) {
	sig := make(chan os.Signal, 4)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		// nohup, and a shell's background job, ignore a signal on purpose.
		if runtime.GOOS == "windows" || !signal.Ignored(s) {
			signal.Notify(sig, s)
		}
	}
	return countSignals(sig)
}

// countSignals is interrupts without the operating system. Its goroutine lives
// as long as the process.
func countSignals(sig <-chan os.Signal) (context.Context, <-chan struct{}) {
	ctx, cancel := context.WithCancelCause(context.Background())
	hurry := make(chan struct{})
	go func() {
		<-sig
		cancel(errInterrupted)
		<-sig
		close(hurry)
	}()
	return ctx, hurry
}
