package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"unicode/utf8"
)

// report is all of one run, as --json writes it.
type report struct {
	Machine machineInfo `json:"machine"`
	Devside string      `json:"devside"` // what `devside version` said
	Runs    int         `json:"runs"`
	Quick   bool        `json:"quick"`
	Rows    []row       `json:"rows"`
	Failed  []string    `json:"failed,omitempty"`
}

// machineInfo is what figures depend on. Load is the load average of the last
// minute when the run ended: the bench's own load is part of it.
type machineInfo struct {
	OS     string `json:"os"`
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Go     string `json:"go"`
	Load   string `json:"load"`
}

// headings of the table.
var headings = []string{"what", "bare", "devside", "ratio or difference", "goal", "met?"}

// cells are one row's words.
func cells(r row) []string {
	verdict := "–"
	if met, ok := r.met(); ok {
		verdict = "no"
		if met {
			verdict = "yes"
		}
	}
	what := r.What
	if r.Unit != "" {
		what += ", " + r.Unit
	}
	return []string{what, number(r.bare()), number(r.devside()), r.compared(), r.Goal.String(), verdict}
}

// number writes a figure with the digits that it is worth.
func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case v == math.Trunc(v) && math.Abs(v) < 1e6:
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// writeTable writes the rows as a Markdown table whose columns line up.
func writeTable(w io.Writer, rep report) error {
	lines := [][]string{headings}
	for _, r := range rep.Rows {
		lines = append(lines, cells(r))
	}
	width := make([]int, len(headings))
	for _, line := range lines {
		for i, c := range line {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	m := rep.Machine
	fmt.Fprintf(&b, "devside %s on %s %s, %d cores (%s), %s; medians of %d rounds; load %s\n\n",
		rep.Devside, m.OS, m.Kernel, m.Cores, m.CPU, m.Go, rep.Runs, m.Load)
	for i, line := range lines {
		b.WriteString("|")
		for k, c := range line {
			pad := strings.Repeat(" ", width[k]-utf8.RuneCountInString(c))
			if k == 0 {
				b.WriteString(" " + c + pad + " |")
			} else {
				b.WriteString(" " + pad + c + " |")
			}
		}
		b.WriteString("\n")
		if i == 0 {
			b.WriteString("|")
			for k, n := range width {
				rule := strings.Repeat("-", n)
				if k > 0 {
					rule = rule[1:] + ":"
				}
				b.WriteString(" " + rule + " |")
			}
			b.WriteString("\n")
		}
	}
	for _, r := range rep.Rows {
		if r.Note != "" {
			fmt.Fprintf(&b, "\n%s: %s\n", r.Name, r.Note)
		}
	}
	for _, f := range rep.Failed {
		fmt.Fprintf(&b, "\nfailed: %s\n", f)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeJSON writes the whole report to a file.
func writeJSON(path string, rep report) error {
	data, err := json.MarshalIndent(rep, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	return nil
}
