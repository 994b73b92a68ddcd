package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/devside/devside/rpc/socket"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the state of every server, and what is wrong",
		Long: `Show the state of every server, and what is wrong. Nothing is started: when
nothing runs, the servers are those of the configuration, all stopped.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			st, err := a.status(cmd.Context())
			if err != nil {
				return explain(err)
			}
			if a.json() {
				return a.print(st)
			}
			return a.say("%s", statusText(a.style(), st))
		},
	}
}

// status asks the hub, or, where there is none, reads the configuration.
func (a *app) status(ctx context.Context) (*status.Project, error) {
	root, err := a.findRoot()
	if err != nil {
		return nil, err
	}
	h, err := a.doors.dial(ctx, a.dialing(root, wire.Visitor, "status"))
	if errors.Is(err, socket.ErrNoHub) {
		p, err := a.project()
		if err != nil {
			return nil, err
		}
		return a.atRest(p), nil
	}
	if err != nil {
		return nil, err
	}
	defer leave(h)
	st := &status.Project{}
	return st, ask(ctx, h, "status", wire.StatusParams{}, st)
}

// atRest is the status of a project that no hub serves.
func (a *app) atRest(p *project) *status.Project {
	c := p.loaded.Project
	st := &status.Project{
		Root: p.root, Name: c.Name, Protocol: wire.Protocol,
		Trust: p.trust, Servers: []status.Server{}, Dependencies: []status.Dependency{}, Problems: []status.Problem{},
	}
	st.Trust.State = status.Untrusted
	if h, err := a.doors.trustedHash(p.root); err == nil && h != "" && h == p.trust.Hash {
		st.Trust.State = status.Trusted
	}
	if st.Trust.Commands == nil {
		st.Trust.Commands = []status.TrustCommand{}
	}
	for _, s := range c.Servers {
		out := status.Server{Name: s.Name, State: status.Stopped, Ports: []status.Port{}, Problems: []status.Code{}, DependsOn: s.DependsOn}
		for _, port := range s.Ports {
			out.Ports = append(out.Ports, status.Port{Number: port.Number})
		}
		st.Servers = append(st.Servers, out)
	}
	for _, d := range c.Dependencies {
		st.Dependencies = append(st.Dependencies, status.Dependency{Name: d.Name, Target: d.Addr})
	}
	for _, i := range p.loaded.Issues {
		pr := status.NewProblem(status.Code(i.Code), "", place(i)+i.Message, a.now())
		pr.Hint, pr.Field, pr.Severity = i.Hint, i.Key, status.Severity(i.Severity)
		st.Problems = append(st.Problems, pr)
	}
	st.Summary = status.Summarize(st.Servers)
	return st
}

// statusText is the table, and beneath it the problems with what to do.
func statusText(st style, p *status.Project) string {
	var b strings.Builder
	if len(p.Servers) == 0 {
		f := nothingToRun(p.Root)
		fmt.Fprintf(&b, "%s\nhint: %s\n", visible(f.what), f.hint)
	} else {
		b.WriteString(table(statusRows(st, p.Servers)))
	}
	for _, d := range p.Dependencies {
		fmt.Fprintf(&b, "%s %s\n", st.dim("depends on"), dependencyText(d))
	}
	if p.HTTP != "" {
		fmt.Fprintf(&b, "%s %s\n", st.dim("metrics and health"), p.HTTP)
	}
	if len(p.Problems) > 0 {
		b.WriteByte('\n')
	}
	for _, pr := range p.Problems {
		b.WriteString(problemText(st, pr))
	}
	// Said once, and only when agreeing would help.
	said := hasProblem(p, status.NotTrusted) || hasProblem(p, status.ConfigInvalid) || hasProblem(p, status.PortClash)
	if p.Trust.State == status.Untrusted && len(p.Servers) > 0 && !said {
		fmt.Fprintf(&b, "\n%s\nhint: %s\n", st.dim("the project's commands are not trusted yet"), untrustedHint)
	}
	return b.String()
}

func hasProblem(p *status.Project, code status.Code) bool {
	for _, pr := range p.Problems {
		if pr.Code == code {
			return true
		}
	}
	return false
}

func statusRows(st style, servers []status.Server) [][]cell {
	head := []string{"NAME", "STATE", "PORT", "PID", "UPTIME", "MEMORY", "RESTARTS"}
	rows := [][]cell{nil}
	for _, h := range head {
		rows[0] = append(rows[0], cell{h, st.dim(h)})
	}
	for _, s := range servers {
		pid, up := "-", "-"
		if s.PID != 0 {
			pid, up = strconv.Itoa(s.PID), age(s.UptimeMs)
		}
		rows = append(rows, []cell{
			plain(s.Name), {string(s.State), st.state(s.State)}, plain(portsText(s.Ports)),
			plain(pid), plain(up), plain(size(s.MemoryBytes)), plain(strconv.Itoa(s.Restarts)),
		})
	}
	return rows
}

func portsText(ports []status.Port) string {
	if len(ports) == 0 {
		return "-"
	}
	var out []string
	for _, p := range ports {
		out = append(out, strconv.Itoa(p.Number))
	}
	return strings.Join(out, ",")
}

func dependencyText(d status.Dependency) string {
	state := "down"
	switch {
	case d.Up:
		state = "up"
	case d.Checked.IsZero():
		state = "not checked"
	}
	text := fmt.Sprintf("%s (%s): %s", d.Name, visible(d.Target), state)
	if d.Message != "" {
		text += ", " + visible(d.Message)
	}
	return text
}

// problemText is one problem, with its hint.
func problemText(st style, p status.Problem) string {
	who := ""
	if p.Server != "" {
		who = st.bold(p.Server) + ": "
	}
	text := fmt.Sprintf("%s%s %s: %s\n", who, st.severity(p.Severity), p.Code, visible(p.Message))
	if p.Hint != "" {
		text += "  hint: " + visible(p.Hint) + "\n"
	}
	return text
}
