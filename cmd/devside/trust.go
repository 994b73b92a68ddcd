package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/socket"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

func (a *app) trustCommand() *cobra.Command {
	var yes bool
	var hash string
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Show what would run, and agree to it",
		Long: `Show exactly what the project would run, and agree to it. Nothing of a project
runs before. The agreement is remembered for these commands: when one of them
changes, devside asks again.

In a script, --hash agrees to what was shown with that hash and to nothing else;
--yes agrees to whatever is there.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.project()
			if err != nil {
				return err
			}
			return a.trustProject(cmd.Context(), p, yes, hash)
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "agree without being asked")
	cmd.Flags().StringVar(&hash, "hash", "", "agree if this is the hash of what would run")
	return cmd
}

func (a *app) trustProject(ctx context.Context, p *project, yes bool, hash string) error {
	if err := p.usable(); err != nil {
		return err
	}
	st := a.atRest(p)
	known := st.Trust.State == status.Trusted
	switch {
	case hash != "" && hash != p.trust.Hash:
		return &failure{code: exitUntrusted,
			what: fmt.Sprintf("what would run has the hash %s, not %s", p.trust.Hash, hash),
			hint: `it has changed since it was shown: look again with "devside trust"`}
	case known && a.json():
		return a.print(wire.TrustResult{Trusted: true})
	case known:
		return a.say("%s is trusted already\n", visible(st.Name))
	}
	agreed := yes || hash != ""
	if a.json() && !agreed {
		if err := a.print(st.Trust); err != nil {
			return err
		}
		return askAgain(p.trust.Hash)
	}
	if !a.json() {
		if err := a.say("%s", trustText(a.style(), st)); err != nil {
			return err
		}
	}
	if !agreed {
		if err := a.confirm(ctx, p.trust.Hash); err != nil {
			return err
		}
	}
	res, err := a.agree(ctx, p)
	if err != nil {
		return explain(err)
	}
	switch {
	case a.json():
		return a.print(res)
	case !res.Trusted:
		return &failure{code: exitUntrusted, what: "the hub sees other commands than these",
			hint: `the configuration has just changed: look again with "devside trust"`}
	}
	return a.say("%s is trusted now; a change of these commands asks again\n", visible(st.Name))
}

func askAgain(hash string) *failure {
	return &failure{code: exitUntrusted, what: "nobody agreed, so nothing is trusted",
		hint: fmt.Sprintf("if that is what should run: devside trust --hash %s", hash)}
}

// confirm asks on the terminal. Only a yes is one.
func (a *app) confirm(ctx context.Context, hash string) error {
	yes, err := a.yes(ctx, "let these run?")
	if err == nil && !yes {
		return askAgain(hash)
	}
	return err
}

// yes asks a question on the terminal; without one, or an answer, it is no.
func (a *app) yes(ctx context.Context, question string) (bool, error) {
	if !a.inTTY {
		return false, nil
	}
	if _, err := fmt.Fprint(a.err, question+" [y/N] "); err != nil {
		return false, nil
	}
	answer := make(chan string, 1)
	go func() { // ends with the process at the latest: a terminal's read can't be cut short
		line, err := bufio.NewReader(io.LimitReader(a.in, 1024)).ReadString('\n')
		if err != nil {
			line = ""
		}
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.err)
		return false, explain(context.Cause(ctx))
	case line := <-answer:
		return line == "y" || line == "yes", nil
	}
}

// agree tells the hub, or, where there is none, the state on disk.
func (a *app) agree(ctx context.Context, p *project) (wire.TrustResult, error) {
	var res wire.TrustResult
	h, err := a.doors.dial(ctx, a.dialing(p.root, wire.Visitor, "trust"))
	if errors.Is(err, socket.ErrNoHub) {
		if err := a.doors.remember(p.root, p.trust.Hash); err != nil {
			return res, err
		}
		return wire.TrustResult{Trusted: true}, nil
	}
	if err != nil {
		return res, err
	}
	defer leave(h)
	params := wire.TrustParams{Hash: p.trust.Hash}
	err = ask(ctx, h, "trust", params, &res)
	var refused *rpc.Error
	if errors.As(err, &refused) && refused.Code == wire.CodeInvalidParams {
		// The hub has not read the file since it changed; the person has.
		var ignored wire.ReloadResult
		if err := ask(ctx, h, "reload", wire.ReloadParams{}, &ignored); err != nil {
			return res, err
		}
		err = ask(ctx, h, "trust", params, &res)
	}
	return res, err
}

// trustText shows what would run, word for word.
func trustText(st style, p *status.Project) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s in %s would run:\n\n", st.bold(visible(p.Name)), visible(p.Root))
	for _, c := range p.Trust.Commands {
		fmt.Fprintf(&b, "  %s\n", st.bold(visible(c.Server)))
		fmt.Fprintf(&b, "    command   %s\n", words(c.Argv))
		if c.Script != "" {
			lines := strings.Split(c.Script, "\n")
			for i := range lines {
				lines[i] = visible(lines[i])
			}
			fmt.Fprintf(&b, "    script    %s\n", strings.Join(lines, "\n              "))
		}
		fmt.Fprintf(&b, "    folder    %s\n", visible(c.Dir))
		if len(c.EnvFiles) > 0 {
			fmt.Fprintf(&b, "    env files %s\n", words(c.EnvFiles))
		}
		for _, probe := range c.Probes {
			fmt.Fprintf(&b, "    probe     %s\n", visible(probe))
		}
	}
	if len(p.Trust.Cleanup) > 0 {
		fmt.Fprintf(&b, "\n  before the first start it would end your processes in this folder that run\n")
		for _, pattern := range p.Trust.Cleanup {
			fmt.Fprintf(&b, "    %s\n", visible(pattern))
		}
	}
	fmt.Fprintf(&b, "\n%s\n", st.dim("hash "+p.Trust.Hash))
	return b.String()
}
