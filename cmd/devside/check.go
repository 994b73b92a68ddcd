package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/devside/devside/supervisor/spec"
)

// checkResult is what `check` says of a configuration.
type checkResult struct {
	Valid   bool         `json:"valid"`
	Root    string       `json:"root"`
	Files   []string     `json:"files"` // relative to the root
	Servers []string     `json:"servers"`
	Issues  []checkIssue `json:"issues"`
}

// checkIssue is one thing wrong. Lines and columns count from 1; a column is a
// code point. The end is exclusive.
type checkIssue struct {
	Code       string `json:"code"`
	Severity   string `json:"severity"`
	File       string `json:"file"`
	Line       int    `json:"line"`
	Column     int    `json:"column"`
	EndLine    int    `json:"endLine"`
	EndColumn  int    `json:"endColumn"`
	Message    string `json:"message"`
	Hint       string `json:"hint,omitempty"`
	Key        string `json:"key,omitempty"`
	Suggestion string `json:"suggestion,omitempty"`
}

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Read the configuration and show every error in it",
		Long: `Read the configuration and show every error in it, with its line, its column and
what to do. Nothing is started. The exit code is 3 when there is an error.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			p, err := a.project()
			if err != nil {
				return err
			}
			return a.check(p)
		},
	}
}

func (a *app) check(p *project) error {
	l := p.loaded
	var bad *failure
	if n := countErrors(l.Issues); n > 0 {
		bad = &failure{code: exitConfig, what: count(n, "error") + " in the configuration of " + filepath.Base(p.root)}
	}
	if a.json() {
		if err := a.print(checked(p)); err != nil {
			return err
		}
		if bad != nil {
			return exitCode(exitConfig)
		}
		return nil
	}
	for _, line := range issueLines(l.Issues) {
		if err := a.say("%s\n", visible(line)); err != nil {
			return err
		}
	}
	switch {
	case bad != nil:
		return bad
	case len(l.Project.Servers) == 0:
		f := nothingToRun(p.root)
		return a.say("%s\nhint: %s\n", f.what, f.hint)
	}
	return a.say("%s: %s (%s)\n", sourceName(l), count(len(l.Project.Servers), "server"), strings.Join(p.names(), ", "))
}

// sourceName says where the servers come from.
func sourceName(l *spec.Loaded) string {
	var paths []string
	for _, s := range l.Sources {
		paths = append(paths, s.Path)
	}
	switch {
	case l.Project.Detected && len(paths) == 1:
		return "no devside.yaml; found in " + paths[0]
	case l.Project.Detected:
		return fmt.Sprintf("no devside.yaml; found in %d files", len(paths))
	case len(paths) == 0:
		return spec.FileName + " is valid"
	}
	return strings.Join(paths, ", ") + " is valid"
}

func checked(p *project) checkResult {
	res := checkResult{
		Valid: p.loaded.Valid(), Root: p.root,
		Files: []string{}, Servers: p.names(), Issues: []checkIssue{},
	}
	for _, s := range p.loaded.Sources {
		res.Files = append(res.Files, s.Path)
	}
	for _, i := range p.loaded.Issues {
		res.Issues = append(res.Issues, checkIssue{
			Code: i.Code, Severity: string(i.Severity), File: i.File,
			Line: i.Range.Start.Line, Column: i.Range.Start.Column,
			EndLine: i.Range.End.Line, EndColumn: i.Range.End.Column,
			Message: i.Message, Hint: i.Hint, Key: i.Key, Suggestion: i.Suggestion,
		})
	}
	return res
}

func countErrors(issues []spec.Issue) int {
	n := 0
	for _, i := range issues {
		if i.Severity == spec.Error {
			n++
		}
	}
	return n
}

// place writes an issue's place as compilers do, so that editors and terminals
// make a link of it.
func place(i spec.Issue) string {
	switch {
	case i.File == "":
		return ""
	case i.Range.IsZero():
		return i.File + ": "
	}
	return fmt.Sprintf("%s:%d:%d: ", i.File, i.Range.Start.Line, i.Range.Start.Column)
}

// issueLines writes issues out, each with its hint below it.
func issueLines(issues []spec.Issue) []string {
	var out []string
	for _, i := range issues {
		out = append(out, fmt.Sprintf("%s%s: %s", place(i), i.Severity, i.Message))
		if i.Hint != "" {
			out = append(out, "  hint: "+i.Hint)
		}
	}
	return out
}
