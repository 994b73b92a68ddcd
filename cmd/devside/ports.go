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
