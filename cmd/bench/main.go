// Command bench measures devside from outside, next to a bare baseline that
// forks, execs and waits for the same servers and does no more.
//
// It is one program in four roles: the load program, which is what a person
// runs; and, run by that one, the tiny server, the bare baseline, and a process
// that only answers. Both sides get the same servers and are timed in the same
// way, their rounds take turns, and a figure is the median of its rounds. It
// never judges a run by its speed: the exit code says whether every measurement
// could be made and whether a process was left behind, and nothing else. It
// never signals a process that does not carry this run's mark in its
// environment, and touches no state of devside but its own (DEVSIDE_HOME).
//
// Start reading at measurements in measurements.go, then project in project.go
// and bare in bare.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const usage = `bench measures devside and prints one table.

  bench [--devside bin/devside] [--runs 5] [--quick] [--json FILE] [--only name,...]

  --only takes names of the table's rows (start10, stop50, ...), or the
  beginning of several (start).
`

func main() {
	if role, ok := roleOf(os.Args); ok {
		os.Exit(role(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// roleOf finds out whether this process was started by another bench.
func roleOf(args []string) (func([]string) int, bool) {
	if len(args) < 2 {
		return nil, false
	}
	role, ok := map[string]func([]string) int{
		serverRole: serve, childRole: beStubborn, bareRole: runBare, echoRole: runEcho,
	}[args[1]]
	return role, ok
}

// options are the flags.
type options struct {
	devside string
	json    string
	only    []string
	quick   bool
	runs    int
}

func readOptions(args []string, errOut io.Writer) (options, error) {
	var o options
	var only string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(errOut)
	f.Usage = func() { fmt.Fprint(errOut, usage) }
	f.StringVar(&o.devside, "devside", "bin/devside", "")
	f.StringVar(&o.json, "json", "", "")
	f.StringVar(&only, "only", "", "")
	f.BoolVar(&o.quick, "quick", false, "")
	f.IntVar(&o.runs, "runs", 0, "")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("read the command line: %q is not a flag", f.Arg(0))
	}
	if o.runs < 0 || o.runs > mostRuns {
		return o, fmt.Errorf("read the command line: --runs takes 1 to %d", mostRuns)
	}
	for _, name := range strings.Split(only, ",") {
		if name = strings.TrimSpace(name); name != "" {
			o.only = append(o.only, name)
		}
	}
	path, err := exec.LookPath(o.devside)
	if err != nil {
		return o, fmt.Errorf("find devside: %w (make build makes bin/devside)", err)
	}
	o.devside, err = filepath.Abs(path)
	return o, err
}

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1  // a measurement could not be made, or a process was left
	exitUsage  = 64 // EX_USAGE
)

// run is the load program.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	o, err := readOptions(args, errOut)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitDone
	case err != nil:
		fmt.Fprintf(errOut, "bench: %v\n", err)
		return exitUsage
	}
	plan := fullPlan
	if o.quick {
		plan = quickPlan
	}
	if o.runs > 0 {
		plan.runs = o.runs
	}
	exe, err := os.Executable()
	if err != nil {
		fmt.Fprintf(errOut, "bench: find its own binary: %v\n", err)
		return exitFailed
	}
	chosen := choose(measurements, o.only)
	if len(chosen) == 0 {
		fmt.Fprintf(errOut, "bench: no row is called %s; the rows are %s\n", strings.Join(o.only, ", "), strings.Join(allRows(measurements), ", "))
		return exitUsage
	}
	return measure(ctx, setting{devside: o.devside, exe: exe, plan: plan, log: errOut}, chosen, o, out)
}

// measure makes the measurements and reports them.
func measure(ctx context.Context, s setting, chosen []measurement, o options, out io.Writer) int {
	b, err := newBench(s)
	if err != nil {
		fmt.Fprintf(s.log, "bench: %v\n", err)
		return exitFailed
	}
	rows, failed := b.all(ctx, chosen)
	if err := b.close(); err != nil {
		failed = append(failed, err)
	}
	rows = slices.DeleteFunc(rows, func(r row) bool { return !wanted(r.Name, o.only) })
	rep := report{Machine: machine(), Devside: versionOf(ctx, s.devside), Runs: s.plan.runs, Quick: o.quick, Rows: rows}
	for _, err := range failed {
		rep.Failed = append(rep.Failed, err.Error())
	}
	if err := writeTable(out, rep); err != nil {
		failed = append(failed, err)
	}
	if o.json != "" {
		if err := writeJSON(o.json, rep); err != nil {
			failed = append(failed, err)
		}
	}
	for _, err := range failed {
		fmt.Fprintf(s.log, "bench: %v\n", err)
	}
	if len(failed) > 0 {
		return exitFailed
	}
	return exitDone
}

// wanted reports whether --only asks for a row.
func wanted(name string, only []string) bool {
	return len(only) == 0 || slices.ContainsFunc(only, func(o string) bool { return strings.HasPrefix(name, o) })
}

// choose returns the measurements that make a wanted row.
func choose(all []measurement, only []string) []measurement {
	var out []measurement
	for _, m := range all {
		if slices.ContainsFunc(m.rows, func(name string) bool { return wanted(name, only) }) {
			out = append(out, m)
		}
	}
	return out
}

func allRows(all []measurement) []string {
	var out []string
	for _, m := range all {
		out = append(out, m.rows...)
	}
	return out
}
