package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/devside/devside/rpc/socket"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/spec"
)

// httpFlag is the address of --http, on loopback.
type httpFlag string

func (f *httpFlag) String() string { return string(*f) }

// Type is the word for the value in --help.
func (f *httpFlag) Type() string { return "ADDRESS" }

// Set reads the address.
func (f *httpFlag) Set(s string) error {
	address, fault := spec.HTTPAddress(s)
	if fault != "" {
		return errors.New(fault)
	}
	*f = httpFlag(address)
	return nil
}

// addHTTPFlag gives a command --http.
func (a *app) addHTTPFlag(flags *pflag.FlagSet) {
	flags.Var(&a.http, "http", "serve metrics and health at this loopback address, as 127.0.0.1:9000 or 9000")
}

func (a *app) httpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "http [address]",
		Short: "Serve metrics and health over HTTP, and say where",
		Long: `Have the project's hub serve metrics for Prometheus and health for scripts over
HTTP, until it ends, and say where. Without an address: where it listens already,
or where devside.yaml says, or 127.0.0.1:9000. When the port is taken, the next
free one is used. Only loopback addresses are taken.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if err := a.http.Set(args[0]); err != nil {
					return usage("127.0.0.1:9000, or the number of a port", "%v", err)
				}
			}
			return explainNil(a.serveHTTP(cmd.Context()))
		},
	}
}

func (a *app) serveHTTP(ctx context.Context) error {
	root, err := a.findRoot()
	if err != nil {
		return err
	}
	d := a.dialing(root, wire.Visitor, "http")
	d.http = "" // asked for below, where a failure is told
	h, err := a.doors.dial(ctx, d)
	if errors.Is(err, socket.ErrNoHub) {
		return &failure{code: exitHub, what: "nothing of this project runs, so there is nobody to serve it",
			hint: `start it with "devside up --http 9000", or "devside start --http 9000"`}
	}
	if err != nil {
		return err
	}
	defer leave(h)
	var res wire.DashboardResult
	if err := ask(ctx, h, "dashboard", wire.DashboardParams{Address: string(a.http)}, &res); err != nil {
		return err
	}
	if a.json() {
		return a.print(map[string]string{"url": res.URL}) // the token is no text for a terminal
	}
	return a.say("%s/metrics\n%s/health/readiness\n", res.URL, res.URL)
}
