package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/devside/devside/rpc/wire"
)

// versionInfo is what `version` says.
type versionInfo struct {
	Version  string `json:"version"`
	Protocol int    `json:"protocol"`
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version, and that of the protocol",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if v := thisVersion(); a.json() {
				return a.print(v)
			}
			return a.say("%s\n", thisVersion())
		},
	}
}

func thisVersion() versionInfo {
	return versionInfo{version, wire.Protocol, runtime.Version(), runtime.GOOS, runtime.GOARCH}
}

// String is one line: "devside v1.0.0 (protocol 1, go1.26, linux/amd64)".
func (v versionInfo) String() string {
	return fmt.Sprintf("devside %s (protocol %d, %s, %s/%s)", v.Version, v.Protocol, v.Go, v.OS, v.Arch)
}
