// Command demo is a small project for devside, and the client that drives it:
// a frontend and an API in this one program, and a scripted editor that starts
// them through the real "devside --stdio", breaks them, and says what devside
// made of it.
//
// It is an outside judge: it shares no code with devside, has a JSON-RPC client
// of its own, and looks at processes, ports and pages itself. It never ends a
// process that it has not recognised as the demo's own, never touches the
// user's devside state (DEVSIDE_HOME points into its temporary folder), and
// leaves nothing behind, whatever fails.
//
// Start reading at script in script.go; servers.go is the project.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

const usageText = `usage: demo [drive] [--devside bin/devside]   run the demonstration
       demo api | frontend                    its two servers, on $PORT
`

// run does what the first word says, and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	mode := "drive"
	if len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		mode, args = args[0], args[1:]
	}
	var err error
	switch mode {
	case "api":
		err = serve(ctx, stdout, os.Getenv, newAPI)
	case "frontend":
		err = serve(ctx, stdout, os.Getenv, newFrontend)
	case childMode:
		beStubborn()
	case "drive":
		return driveCommand(ctx, args, stdout, stderr)
	default:
		fmt.Fprint(stderr, usageText)
		return 64
	}
	if err != nil {
		fmt.Fprintf(stderr, "demo %s: %v\n", mode, err)
		return 1
	}
	return 0
}

func driveCommand(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("demo drive", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usageText) }
	devside := flags.String("devside", filepath.Join("bin", "devside"), "the devside to drive")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil || flags.NArg() > 0:
		return 64
	}
	exe, err := os.Executable()
	if err == nil {
		*devside, err = filepath.Abs(*devside)
	}
	if err == nil {
		_, err = os.Stat(*devside)
	}
	if err != nil {
		fmt.Fprintf(stderr, "demo: find devside: %v\nhint: \"make build\" makes bin/devside; --devside names another\n", err)
		return 64
	}
	return drive(ctx, newScreen(stdout), *devside, exe, patience)
}
