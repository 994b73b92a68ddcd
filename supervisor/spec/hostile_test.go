package spec

import (
	"fmt"
	"strings"
	"testing"
)

// hostile is texts of up to 256 KiB that cost a careless reader minutes,
// gigabytes or its stack. Each must come back as an error.
func hostile() map[string]string {
	var steps strings.Builder
	for i := range 700 {
		steps.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x]\n")
	for i := 1; i < 60; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%d [*a%d, *a%d]\n", i, i, i-1, i-1)
	}
	var merges strings.Builder
	merges.WriteString("m0: &m0 {k0: 0}\n")
	for i := 1; i < 3000; i++ {
		fmt.Fprintf(&merges, "m%d: &m%d {<<: *m%d, k%d: 0}\n", i, i, i-1, i)
	}
	return map[string]string{
		"brackets":         strings.Repeat("[", 200_000),
		"braces":           strings.Repeat("a: {", 20_000),
		"dashes":           strings.Repeat("- ", 60_000),
		"question marks":   strings.Repeat("? ", 60_000),
		"steps":            steps.String(),
		"anchors":          strings.Repeat("&a ", 30_000),
		"tags":             strings.Repeat("!!str ", 40_000),
		"one long line":    "a: [" + strings.Repeat("1,", 40_000) + "]",
		"many keys":        strings.Repeat("a: b\n", 15_000),
		"just under":       "a: [" + strings.Repeat("'\\',", 19_000) + "]",
		"quotes":           "a: [" + strings.Repeat("\"\\u0041\",", 19_000) + "]",
		"one long text":    "a: \"" + strings.Repeat("x", 250_000),
		"escapes":          "a: \"" + strings.Repeat("\\", 250_000),
		"documents":        strings.Repeat("---\n", 60_000),
		"documents filled": strings.Repeat("---\na: b\n", 4_000),
		"comments":         strings.Repeat("#\n", 60_000),
		"bomb":             bomb.String(),
		"merges":           merges.String(),
		"too long":         strings.Repeat("#", maxConfigBytes+1),
		"percent":          strings.Repeat("%", 60_000),
		"tabs":             strings.Repeat("\t", 250_000) + "a: b",
		"command":          "version: 1\nservers: {a: {command: '" + strings.Repeat("$(", 100_000) + "'}}",
		"braces in sh":     "version: 1\nservers: {a: {command: '" + strings.Repeat("((", 4_000) + "'}}",
		"expression":       "version: 1\nservers: {a: {command: b, ready: {log: '" + strings.Repeat("(a{1,1000}", 90) + strings.Repeat("){1,1000}", 90) + "'}}}",
		"duplicates":       "version: 1\nservers:\n  a:\n    command: b\n    env:\n" + strings.Repeat("      A: b\n", 4_000),
		"unknown": "version: 1\nservers:\n  a:\n    command: b\n" + func() string {
			var b strings.Builder
			for i := range 2000 {
				fmt.Fprintf(&b, "    prot%d: 1\n", i)
			}
			return b.String()
		}(),
		"servers": func() string {
			var b strings.Builder
			b.WriteString("version: 1\nservers:\n")
			for i := range 1500 {
				fmt.Fprintf(&b, "  s%d: {port: 80, depends_on: [s%d]}\n", i, (i+1)%1500)
			}
			return b.String()
		}(),
	}
}

// TestHostileTexts: an error each, within the run's time and memory.
func TestHostileTexts(t *testing.T) {
	for name, text := range hostile() {
		t.Run(name, func(t *testing.T) {
			l := Parse(text, "proj", nil, nil)
			if l.Valid() {
				t.Errorf("accepted: %+v", l.Project)
			}
			checkRanges(t, l)
		})
	}
}
