package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/devside/devside/rpc/socket"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

// Bounds of `logs -n`. The upper one is the protocol's.
const (
	defaultLines = 200
	mostLines    = 10_000
)

// logsFlags are the flags of `logs`.
type logsFlags struct {
	follow bool
	lines  int
	since  string
	grep   string
	run    int
}

func (a *app) logsCommand() *cobra.Command {
	var f logsFlags
	cmd := &cobra.Command{
		Use:   "logs [server...]",
		Short: "Show what servers printed",
		Long: `Show the last lines that servers printed; without names, those of all servers,
in the order of time. Where nothing of the project runs, they come from its log files.`,
		Example: `  devside logs -f
  devside logs --since 10m --grep 'ERROR|WARN' api
  devside logs --run -1 api`,
		ValidArgsFunction: a.completeServers,
		RunE: func(cmd *cobra.Command, servers []string) error {
			since, err := parseSince(f.since, a.now())
			if err != nil {
				return err
			}
			if f.lines < 1 || f.lines > mostLines {
				return usage(fmt.Sprintf("-n takes 1 to %d", mostLines), "%d is no number of lines", f.lines)
			}
			params := wire.LogsParams{Lines: f.lines, Since: since, Grep: f.grep, Run: f.run, Follow: f.follow}
			return explainNil(a.logs(cmd.Context(), servers, params))
		},
	}
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on with what comes, until Ctrl-C")
	cmd.Flags().IntVarP(&f.lines, "lines", "n", defaultLines, "the last `N` lines of each server")
	cmd.Flags().StringVar(&f.since, "since", "", "only lines after this: 10m ago, or 2006-01-02T15:04:05Z")
	cmd.Flags().IntVar(&f.run, "run", 0, "only of the start with this number; -1: of the one before the last")
	cmd.Flags().StringVar(&f.grep, "grep", "", "only lines that match this `expression` (RE2)")
	return cmd
}

// explainNil is explain for an error that may be nil, or need no words.
func explainNil(err error) error {
	var code exitCode
	if err == nil || errors.As(err, &code) {
		return err
	}
	return explain(err)
}

// parseSince reads a moment: how long ago, or when.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, usage("--since takes a duration (10m, 1h30m) or a time (2006-01-02T15:04:05Z)", "%q is no moment", s)
	}
	return t, nil
}

func (a *app) logs(ctx context.Context, servers []string, params wire.LogsParams) error {
	root, err := a.findRoot()
	if err != nil {
		return err
	}
	in := newInbox()
	d := a.dialing(root, wire.Visitor, "logs")
	d.took = in.put
	h, err := a.doors.dial(ctx, d)
	if errors.Is(err, socket.ErrNoHub) && !params.Follow {
		return a.storedLogs(root, servers, params)
	}
	if err != nil {
		return err
	}
	defer leave(h)
	var now status.Project
	if err := ask(ctx, h, "status", wire.StatusParams{}, &now); err != nil {
		return err
	}
	all := serverNames(&now)
	one := len(servers) == 1
	if len(servers) == 0 {
		servers = all
	}
	view := a.newLogView(all, !one)
	results := map[string]wire.LogsResult{}
	for _, s := range servers {
		params.Server = s
		var res wire.LogsResult
		if err := ask(ctx, h, "logs", params, &res); err != nil {
			return err
		}
		results[s] = res
	}
	if !params.Follow {
		return a.printLogs(view, root, servers, one, results)
	}
	if err := view.write(merge(now.Root, results)); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return exitCode(exitInterrupted)
		case <-in.ready():
			if err := view.deliver(in.take()); err != nil {
				return err
			}
		case <-h.Done():
			if err := view.deliver(in.take()); err != nil { // what came before the end
				return err
			}
			return &failure{code: exitHub, what: "the hub has ended: all servers were stopped, or it was lost",
				hint: `"devside status" says what runs now`}
		}
	}
}

// printLogs shows what is not followed.
func (a *app) printLogs(view *logView, root string, servers []string, one bool, results map[string]wire.LogsResult) error {
	switch {
	case a.json() && one:
		return a.print(results[servers[0]])
	case a.json():
		return a.print(results)
	}
	return view.write(merge(root, results))
}

// storedLogs answers from the log files, for when no hub runs.
func (a *app) storedLogs(root string, servers []string, params wire.LogsParams) error {
	known, err := a.doors.logged(root)
	if err != nil {
		return err
	}
	if len(known) == 0 {
		return &failure{code: exitHub, what: "nothing of this project runs",
			hint: `no output of an earlier start is kept; "devside start" starts the servers`}
	}
	one := len(servers) == 1
	if len(servers) == 0 {
		servers = known
	}
	results := map[string]wire.LogsResult{}
	for _, s := range servers {
		if !slices.Contains(known, s) {
			return usage("the servers with log files are "+strings.Join(known, ", "), "no output of a server named %q is kept", s)
		}
		lines, err := a.doors.storedLog(root, s, params)
		if err != nil {
			return err
		}
		results[s] = wire.LogsResult{Lines: lines}
	}
	return a.printLogs(a.newLogView(known, !one), root, servers, one, results)
}

func serverNames(p *status.Project) []string {
	var out []string
	for _, s := range p.Servers {
		out = append(out, s.Name)
	}
	return out
}

// merge puts several servers' lines in the order of time.
func merge(root string, results map[string]wire.LogsResult) []wire.DidLogParams {
	var all []wire.DidLogParams
	for _, server := range slices.Sorted(maps.Keys(results)) {
		res := results[server]
		for _, l := range res.Lines {
			all = append(all, wire.DidLogParams{Root: root, Token: res.Token, Server: server, Lines: []wire.LogLine{l}})
		}
	}
	slices.SortStableFunc(all, func(a, b wire.DidLogParams) int { return a.Lines[0].At.Compare(b.Lines[0].At) })
	return all
}

// logView writes log lines, and what devside says between them.
type logView struct {
	app      *app
	out      io.Writer
	style    style
	prefixes *prefixes
	prefixed bool // more than one server can be meant
}

func (a *app) newLogView(names []string, prefixed bool) *logView {
	st := a.style()
	return &logView{app: a, out: a.out, style: st, prefixes: newPrefixes(st, names), prefixed: prefixed}
}

// deliver writes what a hub sent by itself.
func (v *logView) deliver(d delivery) error {
	if d.skipped > 0 {
		if err := v.note("", fmt.Sprintf("%s skipped: this terminal is slower than they came", count(d.skipped, "line"))); err != nil {
			return err
		}
	}
	return v.write(d.logs)
}

// write writes lines, in one piece.
func (v *logView) write(logs []wire.DidLogParams) error {
	if v.app.json() {
		for _, l := range logs {
			if err := v.app.line(notification{wire.DidLog, l}); err != nil {
				return err
			}
		}
		return nil
	}
	var b strings.Builder
	for _, l := range logs {
		if l.Skipped > 0 {
			b.WriteString(v.dimLine(l.Server, size(l.Skipped)+" of output skipped: this terminal is slower than it came"))
		}
		for _, line := range l.Lines {
			if line.Stream == "devside" {
				b.WriteString(v.dimLine(l.Server, visible(line.Text)))
				continue
			}
			b.WriteString(v.prefix(l.Server) + logText(line.Text, v.style.colour) + "\n")
		}
	}
	if b.Len() == 0 {
		return nil
	}
	_, err := io.WriteString(v.out, b.String())
	return v.app.wrote(err)
}

func (v *logView) prefix(server string) string {
	if !v.prefixed {
		return ""
	}
	v.prefixes.add(server)
	return v.prefixes.of(server)
}

// dimLine is one line that devside says itself. text is visible already.
func (v *logView) dimLine(server, text string) string {
	if server == "" {
		return v.style.dim(text) + "\n"
	}
	return v.prefix(server) + v.style.dim("- "+text) + "\n"
}

// note writes a line of devside's own.
func (v *logView) note(server, text string) error {
	if v.app.json() {
		return nil
	}
	_, err := io.WriteString(v.out, v.dimLine(server, visible(text)))
	return v.app.wrote(err)
}
