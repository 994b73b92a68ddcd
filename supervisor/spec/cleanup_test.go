package spec

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

const audited = `^[A-Za-z0-9_./ -]+$`

func cleanup(pattern string) *Loaded {
	return Parse("version: 1\nservers: {a: {command: b}}\ncleanup:\n  patterns:\n    - "+yamlQuote(pattern)+"\n", "proj", nil, nil)
}

// yamlQuote writes a text as YAML's double-quoted form.
func yamlQuote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == 0:
			b.WriteString(`\0`)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func TestSECURITY001AShellsPayloadIsNoPattern(t *testing.T) {
	for _, payload := range []string{
		`next dev"; rm -rf ~; echo "`, "node; rm -rf /", "$(rm -rf ~)", "`rm -rf ~`", "next|sh", "next&", "next>x", "next\nrm", "next\x00",
		"'; cat /etc/passwd #", "a*b.c", "^next$", "next\\ dev", "{next,dev}", "~/next", "nexté", "next\u00a0dev",
	} {
		l := cleanup(payload)
		if l.Valid() || len(l.Project.Cleanup.Patterns) > 0 {
			t.Errorf("%q was taken: %q", payload, l.Project.Cleanup.Patterns)
			continue
		}
		if i := l.Issues[0]; i.Range.Start != (Position{5, 7}) || i.Key != "cleanup.patterns[0]" {
			t.Errorf("%q: the issue stands at %+v, %s", payload, i.Range.Start, i.Key)
		}
	}
	for _, good := range []string{"next dev", "node_modules/.bin/vite", "./server.sh", "api-server_2"} {
		if l := cleanup(good); !l.Valid() || !slices.Equal(l.Project.Cleanup.Patterns, []string{good}) {
			t.Errorf("%q: %+v", good, l.Issues)
		}
	}
}

// FuzzSECURITY001Patterns: whatever stands in the file, only the audit's
// letters come through.
func FuzzSECURITY001Patterns(f *testing.F) {
	for _, s := range []string{"next dev", "node; rm -rf /", "a\nb", "é", "   ", "../..", "--", "\u202enext"} {
		f.Add(s)
	}
	allowed := regexp.MustCompile(audited)
	f.Fuzz(func(t *testing.T, s string) {
		for _, p := range cleanup(s).Project.Cleanup.Patterns {
			if !allowed.MatchString(p) || strings.TrimSpace(p) != p || len(p) < leastPattern {
				t.Errorf("%q came through as %q", s, p)
			}
		}
	})
}

func TestPatternsArePartOfWhatAPersonAgreesTo(t *testing.T) {
	one, two := cleanup("next dev"), cleanup("next start")
	none := Parse("version: 1\nservers: {a: {command: b}}\n", "proj", nil, nil)
	a, b, c := Commands(nil, one.Project), Commands(nil, two.Project), Commands(nil, none.Project)
	if a.Hash == b.Hash || a.Hash == c.Hash || !slices.Equal(a.Cleanup, []string{"next dev"}) || c.Cleanup != nil {
		t.Errorf("%+v %+v %+v", a, b, c)
	}
	if added, changed, removed := Diff(one.Project, two.Project); len(added)+len(changed)+len(removed) > 0 {
		t.Errorf("other patterns restart servers: %v %v %v", added, changed, removed)
	}
}
