package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/devside/devside/rpc/socket"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

// change is one of the verbs that change what runs.
type change struct {
	verb  string
	role  wire.Role
	short string
	long  string
}

func (a *app) startCommand() *cobra.Command {
	cmd := a.changeCommand(change{"start", wire.Starter, "Start servers in the background, with what they depend on",
		`Start servers, and what they depend on, and wait until they are ready. They go on
running when the command ends, until "devside stop".`})
	a.addHTTPFlag(cmd.Flags())
	return cmd
}

func (a *app) restartCommand() *cobra.Command {
	return a.changeCommand(change{"restart", wire.Starter, "Stop servers, then start them again", ""})
}

func (a *app) resetCommand() *cobra.Command {
	return a.changeCommand(change{"reset", wire.Starter, "Start servers that devside gave up on",
		`Forget the crashes of servers that are in crash-loop or blocked, and start them.`})
}

func (a *app) stopCommand() *cobra.Command {
	return a.changeCommand(change{"stop", wire.Visitor, "Stop servers, with everything they started", ""})
}

func (a *app) changeCommand(c change) *cobra.Command {
	var noWait bool
	cmd := &cobra.Command{
		Use:               c.verb + " [server...]",
		Short:             c.short,
		Long:              c.long,
		ValidArgsFunction: a.completeServers,
		RunE: func(cmd *cobra.Command, servers []string) error {
			return a.change(cmd.Context(), c, servers, noWait)
		},
	}
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "don't wait until the servers are ready, or have stopped")
	return cmd
}

// completeServers offers the configured names to the shell.
func (a *app) completeServers(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	p, err := a.project()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.DeleteFunc(p.names(), func(n string) bool { return slices.Contains(given, n) }), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) change(ctx context.Context, c change, servers []string, noWait bool) error {
	root, err := a.findRoot()
	if err != nil {
		return err
	}
	var p *project
	if c.role != wire.Visitor {
		// Said here, with lines and columns, before a hub is started for nothing.
		if p, err = a.project(); err != nil {
			return err
		}
		if err := p.usable(); err != nil {
			return err
		}
		if err := p.has(servers); err != nil {
			return err
		}
	}
	in := newInbox()
	d := a.dialing(root, c.role, c.verb)
	d.took = in.put
	h, err := a.doors.dial(ctx, d)
	if errors.Is(err, socket.ErrNoHub) {
		return a.nothingToStop(servers)
	}
	if err != nil {
		return explain(err)
	}
	defer leave(h)
	var res wire.StartResult
	params := wire.StartParams{Servers: servers}
	if noWait {
		wait := false
		params.Wait = &wait
	}
	if err := a.callShowing(ctx, h, in, c.verb, params, &res); err != nil {
		return explain(err)
	}
	if a.json() {
		if err := a.print(res); err != nil {
			return err
		}
		if f := startFailure(res); f != nil {
			return exitCode(f.code)
		}
		return nil
	}
	var now status.Project
	if c.verb != "stop" {
		// For the URLs only; without them the result is still the result.
		_ = ask(ctx, h, "status", wire.StatusParams{}, &now)
	}
	if err := a.say("%s", resultText(a.style(), res, &now)); err != nil {
		return err
	}
	if f := startFailure(res); f != nil {
		return f
	}
	return nil
}

// has refuses names that the configuration does not have.
func (p *project) has(servers []string) error {
	known := p.names()
	for _, s := range servers {
		if !slices.Contains(known, s) {
			return usage(knownServers(known), "there is no server %q", s)
		}
	}
	return nil
}

// nothingToStop answers a stop where no hub runs: every server is stopped.
func (a *app) nothingToStop(servers []string) error {
	p, err := a.project()
	if err != nil {
		return err
	}
	if err := p.has(servers); err != nil {
		return err
	}
	if len(servers) == 0 {
		servers = p.names()
	}
	res := wire.StartResult{Servers: []wire.ServerResult{}}
	for _, s := range servers {
		res.Servers = append(res.Servers, wire.ServerResult{Name: s, OK: true, State: status.Stopped})
	}
	if a.json() {
		return a.print(res)
	}
	return a.say("nothing of this project runs\n")
}

// callShowing calls a verb that takes its time and, where a person watches,
// shows meanwhile how the servers' states change.
func (a *app) callShowing(ctx context.Context, h hub, in *inbox, verb string, params, result any) error {
	done := make(chan error, 1)
	go func() { done <- h.Call(ctx, wire.MethodPrefix+verb, params, result) }()
	show := a.errTTY && !a.json()
	st := a.style()
	var seen changes
	for {
		select {
		case err := <-done:
			return causeOf(ctx, err)
		case <-in.ready():
			got := in.take()
			if got.status == nil || !show {
				continue
			}
			for _, s := range seen.note(got.status) {
				fmt.Fprintln(a.err, st.dim(visible(s.Name+": "+stateText(s))))
			}
		}
	}
}

// resultText says how each server came out.
func resultText(st style, res wire.StartResult, now *status.Project) string {
	if len(res.Servers) == 0 {
		return "no server was concerned\n"
	}
	rows := [][]cell{}
	for _, s := range res.Servers {
		rows = append(rows, []cell{plain(s.Name), {string(s.State), st.state(s.State)}, plain(outcome(s, now))})
	}
	return table(rows)
}

func outcome(r wire.ServerResult, now *status.Project) string {
	if r.Error != nil {
		return r.Error.Code + ": " + visible(r.Error.Message)
	}
	var parts []string
	if r.ReadyMs != nil && r.State == status.Ready {
		parts = append(parts, "in "+took(*r.ReadyMs))
	}
	if r.PID != 0 {
		parts = append(parts, fmt.Sprintf("pid %d", r.PID))
	}
	if s, ok := now.Server(r.Name); ok && s.URL != "" && r.State == status.Ready {
		parts = append(parts, visible(s.URL))
	}
	if r.Note != "" {
		parts = append(parts, visible(r.Note))
	}
	return strings.Join(parts, "  ")
}

// startFailure is nil if every server is as it was asked to be. Its code is
// that of the worst: a server that started but is not ready yet counts least.
func startFailure(res wire.StartResult) *failure {
	var bad []wire.ServerResult
	for _, s := range res.Servers {
		if !s.OK {
			bad = append(bad, s)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	first := bad[0]
	f := &failure{code: exitHealth, what: fmt.Sprintf("%d of %s", len(bad), count(len(res.Servers), "server"))}
	verb := "did not become ready in time"
	for _, s := range bad {
		switch code := failureCode(s); {
		case code == exitStart:
			f.code, verb, first = exitStart, "did not start", s
		case code != exitHealth && f.code != exitStart:
			f.code, verb, first = code, "did not start", s
		}
		if s.Error != nil && s.Error.Code == "not-stopped" {
			verb = "did not stop"
		}
	}
	f.what += " " + verb
	switch {
	case f.code == exitUntrusted:
		f.hint = untrustedHint
	case first.Error != nil && first.Error.Hint != "":
		f.hint = first.Error.Hint
	default:
		f.hint = fmt.Sprintf(`"devside logs %s" shows its last lines`, first.Name)
	}
	return f
}

func failureCode(s wire.ServerResult) int {
	if s.Error == nil {
		return exitStart
	}
	switch s.Error.Code {
	case "not-ready", string(status.NotHealthy):
		return exitHealth
	case string(status.NotTrusted):
		return exitUntrusted
	case string(status.ConfigInvalid), string(status.PortClash):
		return exitConfig
	case "cancelled":
		return exitInterrupted
	}
	return exitStart
}

// changes remembers each server's state, to tell what changed.
type changes struct {
	last map[string]string
}

// note returns the servers that are not as they were.
func (c *changes) note(p *status.Project) []status.Server {
	if c.last == nil {
		c.last = map[string]string{}
	}
	var out []status.Server
	for _, s := range p.Servers {
		key := fmt.Sprintf("%s %d", s.State, s.Run)
		was, known := c.last[s.Name]
		c.last[s.Name] = key
		if was == key || !known && s.State == status.Stopped {
			continue
		}
		out = append(out, s)
	}
	return out
}

// stateText says in one line what a server does now.
func stateText(s status.Server) string {
	switch {
	case s.State == status.Ready && s.ReadyMs != nil:
		text := "ready in " + took(*s.ReadyMs)
		if s.URL != "" {
			text += ", " + s.URL
		}
		return text
	case s.Message != "":
		return string(s.State) + ": " + s.Message
	}
	return string(s.State)
}

func (a *app) reloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Read the configuration again, and restart what it changed",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.reload(cmd.Context())
		},
	}
}

func (a *app) reload(ctx context.Context) error {
	p, err := a.project()
	if err != nil {
		return err
	}
	h, err := a.doors.dial(ctx, a.dialing(p.root, wire.Visitor, "reload"))
	if errors.Is(err, socket.ErrNoHub) {
		res := wire.ReloadResult{Valid: p.loaded.Valid(), Added: []string{}, Changed: []string{}, Removed: []string{}, Restarted: []string{}}
		return a.reloaded(p, res, "nothing runs, so there is nothing to reload\n")
	}
	if err != nil {
		return explain(err)
	}
	defer leave(h)
	var res wire.ReloadResult
	if err := ask(ctx, h, "reload", wire.ReloadParams{}, &res); err != nil {
		return explain(err)
	}
	return a.reloaded(p, res, reloadText(res))
}

func (a *app) reloaded(p *project, res wire.ReloadResult, text string) error {
	bad := &failure{code: exitConfig, what: "the configuration has errors, so nothing was changed",
		also: issueLines(p.loaded.Issues), hint: "mend them, and reload again"}
	if a.json() {
		if err := a.print(res); err != nil {
			return err
		}
		if !res.Valid {
			return exitCode(exitConfig)
		}
		return nil
	}
	if !res.Valid {
		return bad
	}
	return a.say("%s", text)
}

func reloadText(r wire.ReloadResult) string {
	var parts []string
	for _, x := range []struct {
		what  string
		names []string
	}{{"added", r.Added}, {"changed", r.Changed}, {"removed", r.Removed}, {"restarted", r.Restarted}} {
		if len(x.names) > 0 {
			parts = append(parts, x.what+" "+strings.Join(x.names, ", "))
		}
	}
	if len(parts) == 0 {
		return "nothing has changed\n"
	}
	return strings.Join(parts, "; ") + "\n"
}

// notification is what the hub sends by itself, as it stands on the wire.
type notification struct {
	Method string `json:"method"`
	Params any    `json:"params"`
}

// line writes one value as one line of JSON, for output that goes on.
func (a *app) line(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	return a.wrote(enc.Encode(v))
}
