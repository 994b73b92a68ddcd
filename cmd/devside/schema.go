package main

import (
	"github.com/spf13/cobra"

	"github.com/devside/devside/supervisor/spec"
)

// schemaFile is where the tree has the JSON Schema of devside.yaml, for tools
// that take a file. `make schema` writes it.
const schemaFile = "devside.schema.json"

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of devside.yaml",
		Long: `Print the JSON Schema of devside.yaml, for editors and tools that check YAML by one.
An editor that runs "devside --stdio" does not need it.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.say("%s", spec.Schema()) },
	}
}
