package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/devside/devside/rpc/socket"
	"github.com/devside/devside/rpc/wire"
)

func (a *app) clearCachesCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "clear-caches [SERVER...]",
		Short: "Remove the caches of servers",
		Long: `Remove what the configuration declares as caches of the servers named, or of all. A
server that runs is stopped, and started again when its caches are out of the way.
Nothing is removed that git tracks, that is a link or leads through one, or whose name
is not one that tools give to caches or build output; what is left is said with the reason.`,
		ValidArgsFunction: a.completeServers,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.clearCaches(cmd.Context(), args, dryRun)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only count what would be removed")
	return cmd
}

func (a *app) clearCaches(ctx context.Context, servers []string, dryRun bool) error {
	p, err := a.project()
	if err != nil {
		return err
	}
	if err := p.has(servers); err != nil {
		return err
	}
	d := a.dialing(p.root, wire.Visitor, "clear-caches")
	d.start = true
	conn, err := a.doors.dial(ctx, d)
	if err != nil {
		return explain(err)
	}
	defer leave(conn)
	var res wire.ClearCachesResult
	if err := ask(ctx, conn, "clearCaches", wire.ClearCachesParams{Servers: servers, DryRun: dryRun}, &res); err != nil {
		return explain(err)
	}
	if a.json() {
		if err := a.print(res); err != nil {
			return err
		}
	} else if err := a.sayCleared(res, dryRun); err != nil {
		return err
	}
	if len(res.Refused) > 0 && !dryRun {
		return &failure{code: exitStart} // the output has said it
	}
	return nil
}

func (a *app) sayCleared(res wire.ClearCachesResult, dryRun bool) error {
	does := "removed"
	if dryRun {
		does = "would remove"
	}
	if len(res.Removed)+len(res.Refused) == 0 {
		return a.say("there are no caches\n")
	}
	for _, r := range res.Removed {
		note := ""
		if r.Note != "" {
			note = "; " + visible(r.Note)
		}
		if err := a.say("%s %s: %s, %s%s\n", does, visible(r.Path), count(int(r.Files), "file"), size(r.Bytes), note); err != nil {
			return err
		}
	}
	for _, r := range res.Refused {
		if err := a.say("left %s: %s\n", visible(r.Path), visible(r.Why)); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resume [SERVER...]",
		Short: "Let watch rules act again that restarted a server too often",
		Long: `A rule that has restarted a server more than 10 times within a minute is suspended
(problem watch-loop). This lets the rules of the servers named, or of all, act again.`,
		ValidArgsFunction: a.completeServers,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.resume(cmd.Context(), args)
		},
	}
}

func (a *app) resume(ctx context.Context, servers []string) error {
	p, err := a.project()
	if err != nil {
		return err
	}
	if err := p.has(servers); err != nil {
		return err
	}
	conn, err := a.doors.dial(ctx, a.dialing(p.root, wire.Visitor, "resume"))
	if errors.Is(err, socket.ErrNoHub) {
		return a.say("nothing of this project runs, so no rule is suspended\n")
	}
	if err != nil {
		return explain(err)
	}
	defer leave(conn)
	var res wire.ResumeResult
	if err := ask(ctx, conn, "resume", wire.ResumeParams{Servers: servers}, &res); err != nil {
		return explain(err)
	}
	switch {
	case a.json():
		return a.print(res)
	case len(res.Resumed) == 0:
		return a.say("no rule was suspended\n")
	}
	return a.say("resumed the rules of %s\n", strings.Join(res.Resumed, ", "))
}
