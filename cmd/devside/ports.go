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

func (a *app) portsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ports",
		Short: "Show who listens on the project's ports",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			res, err := a.ports(cmd.Context())
			if err != nil {
				return explain(err)
			}
			if a.json() {
				return a.print(res)
			}
			if len(res) == 0 {
				return a.say("no server of this project has a port\n")
			}
			return a.say("%s", table(portRows(a.style(), res)))
		},
	}
}

func (a *app) ports(ctx context.Context) (wire.PortsResult, error) {
	root, err := a.findRoot()
	if err != nil {
		return nil, err
	}
	h, err := a.doors.dial(ctx, a.dialing(root, wire.Visitor, "ports"))
	if errors.Is(err, socket.ErrNoHub) {
		return a.portsAtRest()
	}
	if err != nil {
		return nil, err
	}
	defer leave(h)
	res := wire.PortsResult{}
	return res, ask(ctx, h, "ports", wire.PortsParams{}, &res)
}

// portsAtRest looks for itself where no hub runs.
func (a *app) portsAtRest() (wire.PortsResult, error) {
	p, err := a.project()
	if err != nil {
		return nil, err
	}
	res := wire.PortsResult{}
	var numbers []int
	for _, s := range p.loaded.Project.Servers {
		for _, port := range s.Ports {
			res = append(res, wire.PortEntry{Port: port.Number, Server: s.Name})
			numbers = append(numbers, port.Number)
		}
	}
	if len(numbers) == 0 {
		return res, nil
	}
	found, err := a.doors.listeners(numbers)
	if err != nil {
		return nil, err
	}
	for i := range res {
		res[i].Holder = found[res[i].Port]
	}
	return res, nil
}

func (a *app) freeCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "free PORT",
		Short: "Stop the process that listens on a port",
		Long: `Show who listens on a port and, after a yes, stop it: SIGTERM, and SIGKILL after
five seconds. Only a process of your own user is stopped, and only the one that was
shown: it is identified once more at the moment of the signal. A server of this
project is stopped as "devside stop" does.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			number, err := strconv.Atoi(args[0])
			if err != nil || number < 1 || number > 65535 {
				return usage(`ports are numbers from 1 to 65535, as in "devside free 3000"`, "%q is no port", args[0])
			}
			return a.free(cmd.Context(), number, yes)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "stop it without being asked")
	return cmd
}

func (a *app) free(ctx context.Context, number int, yes bool) error {
	root, err := a.findRoot()
	if err != nil {
		return err
	}
	found, err := a.doors.listeners([]int{number})
	if err != nil {
		return explain(err)
	}
	h := found[number]
	if h == nil {
		if a.json() {
			return a.print(wire.FreePortResult{Freed: true})
		}
		return a.say("nobody listens on port %d\n", number)
	}
	if !yes {
		if !a.json() {
			if err := a.say("port %d is held by %s\n", number, holderText(h)); err != nil {
				return err
			}
		}
		agreed, err := a.yes(ctx, "stop it?")
		if err != nil {
			return err
		}
		if !agreed {
			return &failure{code: exitStart, what: "nobody said yes, so nothing was stopped", hint: fmt.Sprintf("in a script: devside free %d --yes", number)}
		}
	}
	d := a.dialing(root, wire.Visitor, "free")
	d.start = true // it ends again by itself
	conn, err := a.doors.dial(ctx, d)
	if err != nil {
		return explain(err)
	}
	defer leave(conn)
	var res wire.FreePortResult
	params := wire.FreePortParams{Port: number, Holder: wire.HolderName{PID: h.PID, StartTime: h.StartTime}}
	if err := conn.Call(ctx, wire.MethodPrefix+"freePort", params, &res); err != nil {
		return explain(causeOf(ctx, err))
	}
	switch {
	case a.json():
		if err := a.print(res); err != nil {
			return err
		}
		if !res.Freed {
			return exitCode(exitStart)
		}
		return nil
	case !res.Freed:
		return &failure{code: exitStart, what: visible(res.Why)}
	}
	return a.say("port %d is free\n", number)
}

func (a *app) nextPortCommand() *cobra.Command {
	var write bool
	cmd := &cobra.Command{
		Use:   "next-port SERVER",
		Short: "Give a server the next free port",
		Long: `Find the next free port for a server in the place of its first one. The server uses
it from its next start on, for as long as this project's hub lives; with --write it is
put into devside.yaml, where nothing else changes.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeServers,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.nextPort(cmd.Context(), args[0], write)
		},
	}
	cmd.Flags().BoolVar(&write, "write", false, "write the port into devside.yaml")
	return cmd
}

func (a *app) nextPort(ctx context.Context, server string, write bool) error {
	p, err := a.project()
	if err != nil {
		return err
	}
	if err := p.has([]string{server}); err != nil {
		return err
	}
	d := a.dialing(p.root, wire.Visitor, "next-port")
	d.start = write // without it the port would be forgotten at once
	conn, err := a.doors.dial(ctx, d)
	if errors.Is(err, socket.ErrNoHub) {
		return &failure{code: exitHub, what: "nothing of this project runs, so there is nothing that would remember the port",
			hint: fmt.Sprintf("start the project first, or put the port into devside.yaml: devside next-port %s --write", server)}
	}
	if err != nil {
		return explain(err)
	}
	defer leave(conn)
	var res wire.NextPortResult
	if err := ask(ctx, conn, "nextPort", wire.NextPortParams{Server: server, Write: write}, &res); err != nil {
		return explain(err)
	}
	switch {
	case a.json():
		return a.print(res)
	case write:
		return a.say("devside.yaml: %s has port %d now\n", server, res.Port)
	}
	return a.say("%s gets port %d when it starts next: devside restart %s\n", server, res.Port, server)
}

func portRows(st style, ports wire.PortsResult) [][]cell {
	rows := [][]cell{nil}
	for _, h := range []string{"PORT", "SERVER", "HELD BY"} {
		rows[0] = append(rows[0], cell{h, st.dim(h)})
	}
	for _, p := range ports {
		server := p.Server
		if server == "" {
			server = "-"
		}
		holder := cell{"free", st.dim("free")}
		if p.Holder != nil {
			holder = plain(holderText(p.Holder))
		}
		rows = append(rows, []cell{plain(strconv.Itoa(p.Port)), plain(server), holder})
	}
	return rows
}

// holderText says who listens: "web, node (pid 4121)".
func holderText(h *status.Holder) string {
	name := visible(h.Name)
	if name == "" {
		name = "a process that can't be seen from here"
	}
	var in []string
	if h.PID != 0 {
		in = append(in, fmt.Sprintf("pid %d", h.PID))
	}
	if h.User != "" {
		in = append(in, "user "+visible(h.User))
	}
	if !h.Started.IsZero() {
		in = append(in, "started "+h.Started.Local().Format("Jan 2 15:04"))
	}
	text := name
	if len(in) > 0 {
		text += " (" + strings.Join(in, ", ") + ")"
	}
	if h.Server != "" {
		return h.Server + ": " + text
	}
	if h.Command != "" {
		text += ": " + visible(h.Command)
	}
	return text
}
