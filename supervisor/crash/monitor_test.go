package crash

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func messages(reports []Report) []string {
	var all []string
	for _, r := range reports {
		all = append(all, r.Message)
	}
	return all
}

// An error appears, is replaced by a newer one, and goes when the tool begins
// anew. What says nothing of errors is no news.
func TestAMonitorFollowsARun(t *testing.T) {
	var m Monitor
	for i, step := range []struct {
		lines string
		want  []string
		news  bool
	}{
		{"listening on 3000", nil, false},
		{"src/a.ts(1,2): error TS1: one\nsrc/b.ts(1,2): error TS2: two", []string{"TS1: one", "TS2: two"}, true},
		{" ✓ Compiled /_error in 289ms", []string{"TS1: one", "TS2: two"}, false}, // Next's page about the error
		{"GET / 200", []string{"TS1: one", "TS2: two"}, false},
		{"", []string{"TS1: one", "TS2: two"}, false},
		{"src/a.ts(1,2): error TS1: one\nsrc/b.ts(1,2): error TS2: two", []string{"TS1: one", "TS2: two"}, true},
		{"src/c.ts(1,2): error TS3: three", []string{"TS3: three"}, true},
		{"File change detected. Starting incremental compilation...", nil, true},
		{"error[E1]: four", nil, false}, // a message that comes in two parts
		{" --> src/a.rs:1:2", []string{"four"}, true},
		{"File change detected. Starting incremental compilation...\nsrc/a.ts(1,2): error TS5: five\nFound 1 error. Watching for file changes.", []string{"TS5: five"}, true},
		{"[nodemon] starting `node a.js`\n/app/a.js:1\nx()\n^\n\nError: six\n    at /app/a.js:1:1\n\nNode.js v20.1.0", nil, true},
		{"[nodemon] app crashed - waiting for file changes before starting...", []string{"Error: six"}, true},
		{"Error: seven\n    at /app/a.js:1:1", []string{"Error: six"}, false}, // one that was survived
		{"[nodemon] starting `node a.js`", nil, true},
		{"[nodemon] app crashed - waiting for file changes before starting...", nil, false}, // two streams have no order
		{nodeCrash, []string{"Error: boom"}, true},
		{strings.Replace(nodeCrash, "boom", "another", 1), []string{"Error: boom"}, false},
		{"src/a.ts(1,2): error TS8: eight\n GET / 500 in 12ms", []string{"TS8: eight"}, true},
		{" GET /b 500 in 12ms\n GET /b 200 in 12ms\n GET / 404 in 3ms", []string{"TS8: eight"}, false}, // not the request that met it
		{" GET / 200 in 12ms", nil, true},
		{" GET / 500 in 12ms\n GET / 200 in 12ms", nil, false}, // an error of no compiler
	} {
		var lines []string
		if step.lines != "" {
			lines = strings.Split(step.lines, "\n")
		}
		got, news := m.Feed(lines)
		if !slices.Equal(messages(got), step.want) || news != step.news {
			t.Errorf("step %d: %q %v, want %q %v", i, messages(got), news, step.want, step.news)
		}
	}
}

// Programs that share an output are told apart: an error goes when its own
// program says so, and lines in between do not part it.
func TestProgramsThatShareAnOutputAreToldApart(t *testing.T) {
	for _, prefixes := range [][2]string{{"[0] ", "[1] "}, {"api:dev: ", "web:dev: "}, {"10:00:00 api.1  | ", "10:00:01 web.1  | "}, {"@shop/api#dev: ", ""}, {"[api] ", "[web] "}} {
		var m Monitor
		a, b := prefixes[0], prefixes[1]
		m.Feed([]string{strings.TrimSpace(a), strings.TrimSpace(b)})
		feed := func(want []string, lines ...string) {
			t.Helper()
			if got, _ := m.Feed(lines); !slices.Equal(messages(got), want) {
				t.Errorf("%q: %q, want %q", lines, messages(got), want)
			}
		}
		feed(nil, a+"error[E1]: one", b+"GET / 200")
		feed([]string{"one"}, b+"GET / 200", a+" --> src/a.rs:1:2")
		feed([]string{"one"}, b+"Compiled successfully")
		feed(nil, a+"Compiled successfully")
		crash := []string{b + "GET / 200"}
		for _, line := range strings.Split(nodeCrash, "\n") {
			crash = append(crash, a+line, b+"GET / 200")
		}
		if got := messages(Ended(Exit{Code: 1}, crash)); !slices.Equal(got, []string{"Error: boom"}) {
			t.Errorf("%q: %q", a, got)
		}
	}
}

// However much is printed, what is kept is bounded, and an error that is
// further back than ReportLines does not come up again.
func TestAMonitorIsBounded(t *testing.T) {
	var m Monitor
	var flood []string
	for i := range 10 * ReportLines {
		flood = append(flood, fmt.Sprintf("src/a.ts(%d,1): error TS1: m%d", i+1, i))
	}
	got, _ := m.Feed(flood)
	if len(got) != maxReports {
		t.Errorf("%d reports", len(got))
	}
	for range 20 {
		m.Feed(slices.Repeat([]string{strings.Repeat("x", 1<<16)}, ReportLines/3))
	}
	size := 0
	for i := range 3 * maxLanes {
		m.Feed([]string{fmt.Sprintf("[%d] src/a.ts(1,1): error TS1: m", i)})
	}
	if len(m.lanes) != maxLanes {
		t.Errorf("%d programs are told apart", len(m.lanes))
	}
	for _, f := range m.lanes {
		for _, line := range f.lines {
			size += len(line)
		}
		if len(f.lines) > ReportLines || size > ReportLines*maxWidth {
			t.Errorf("%d lines of %d bytes are kept", len(f.lines), size)
		}
	}
	many := slices.Repeat([]string{"GET / 200"}, 100_000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m.Feed(many)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
		t.Errorf("100,000 lines cost %d bytes, though only %d are looked at", used, ReportLines)
	}
}
