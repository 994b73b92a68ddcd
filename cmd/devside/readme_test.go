package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

func readme(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(top(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheReadmesExampleLoads(t *testing.T) {
	_, rest, found := strings.Cut(readme(t), "```yaml\n")
	text, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("the README has no example")
	}
	l := spec.Parse(text, "shop", nil, nil)
	for _, i := range l.Issues {
		t.Errorf("%d:%d: %s", i.Range.Start.Line, i.Range.Start.Column, i.Message)
	}
	if n := len(l.Project.Servers); n != 3 {
		t.Errorf("%d servers", n)
	}
}

func TestTheReadmesSessionLoads(t *testing.T) {
	_, rest, _ := strings.Cut(readme(t), "$ cat devside.yaml\n")
	text, _, _ := strings.Cut(rest, "\n\n")
	l := spec.Parse(strings.ReplaceAll(text, "\n    ", "\n")[4:], "shop", nil, nil)
	if !l.Valid() || len(l.Project.Servers) != 2 {
		t.Errorf("%+v", l.Issues)
	}
}

func TestTheReadmeNamesEveryCommandAndNoOther(t *testing.T) {
	a := &app{}
	have := map[string]bool{}
	for _, c := range a.command().Commands() {
		if !c.Hidden && c.Name() != "help" && c.Name() != "completion" {
			have[c.Name()] = true
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `devside ([a-z][a-z-]*)` \\|").FindAllStringSubmatch(readme(t), -1) {
		if !have[m[1]] {
			t.Errorf("the README names the command %s, which does not exist", m[1])
		}
		delete(have, m[1])
	}
	for name := range have {
		t.Errorf("the README does not name the command %s", name)
	}
}

func TestTheReadmeNamesEveryProblem(t *testing.T) {
	text := readme(t)
	for _, e := range status.Catalogue {
		row := fmt.Sprintf("| `%s` | %s |", e.Code, e.Severity)
		if !strings.Contains(text, row) || !strings.Contains(text, "| "+e.Title+" |") {
			t.Errorf("the README has no row %s … %s |", row, e.Title)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| (?:error|warning|information) \\|").FindAllStringSubmatch(text, -1) {
		if _, ok := status.Lookup(status.Code(m[1])); !ok {
			t.Errorf("the README names the problem %s, which does not exist", m[1])
		}
	}
}

func TestTheReadmeNamesEveryVerbAndState(t *testing.T) {
	text := readme(t)
	for _, v := range wire.Verbs {
		if !strings.Contains(text, "`"+v.Name+"`") && !strings.Contains(text, "`devside/"+v.Name+"`") {
			t.Errorf("the README does not name the request %s", v.Name)
		}
	}
	for _, s := range status.States {
		if !strings.Contains(text, "`"+string(s)+"`") {
			t.Errorf("the README does not name the state %s", s)
		}
	}
}

// TestTheReadmeNamesEveryPreset, and says which of them a test starts for real.
func TestTheReadmeNamesEveryPreset(t *testing.T) {
	_, table, _ := strings.Cut(readme(t), "| preset | framework |")
	rows := 0
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| ([^|]+) \\| (supported|recognised only) \\| (\\d+)").FindAllStringSubmatch(table, -1) {
		rows++
		p, ok := spec.LookupPreset(m[1])
		if want := map[bool]string{true: "supported", false: "recognised only"}; !ok || p.Title != m[2] || want[p.Tested] != m[3] || fmt.Sprint(p.Port) != m[4] {
			t.Errorf("the README's row %s is not what the preset says", m[0])
		}
	}
	if rows != len(spec.Presets) {
		t.Errorf("%d rows, and %d presets", rows, len(spec.Presets))
	}
}

func TestTheReadmesMakeTargetsExist(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(top(t), "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`make ([a-z0-9]+)`).FindAllStringSubmatch(readme(t), -1) {
		if !regexp.MustCompile("(?m)^" + m[1] + ":").Match(b) {
			t.Errorf("the README says make %s, which does not exist", m[1])
		}
	}
}

func TestThePagesNameTestsThatExist(t *testing.T) {
	b, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, readme(t)...)
	have := ""
	for _, s := range sources(t) {
		if s.test {
			for _, d := range s.file.Scope.Objects {
				have += d.Name + " "
			}
		}
	}
	for _, m := range regexp.MustCompile("`(Test[A-Za-z0-9]+)(…?)`").FindAllStringSubmatch(string(b), -1) {
		want := m[1] + " "
		if m[2] != "" {
			want = m[1] // the beginning of a name
		}
		if !strings.Contains(" "+have, " "+want) {
			t.Errorf("ARCHITECTURE.md or README names %s, which does not exist", m[1])
		}
	}
}
