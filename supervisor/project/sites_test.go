//go:build linux

package project

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/devside/devside/supervisor/status"
)

// say lets a server print a text.
func say(t *testing.T, port int, text string) {
	t.Helper()
	if _, err := get(t, port, "/say?text="+url.QueryEscape(text)); err != nil {
		t.Fatal(err)
	}
}

// sites are the problems crash-site, as file:line:column message.
func sites(st *status.Project) string {
	var all []string
	for _, p := range st.Problems {
		if p.Code == status.CrashSite {
			all = append(all, fmt.Sprintf("%s:%d:%d %s", p.File, p.Line, p.Column, p.Message))
		}
	}
	return strings.Join(all, ", ")
}

// A compiler's error appears while the server runs, and goes when the compiler
// says so; what a server breaks with is at the user's line until it is ready.
func TestAnErrorInTheOutputIsAtTheUsersLine(t *testing.T) {
	port := freePort(t)
	f := newFixture(t, config(server("api", port, serving, "dir: backend", "ready: {http: /health}", "restart: {delay: 3s}")))
	f.write("backend/src/a.ts", "one\ntwo\n")
	f.write("backend/src/b.js", "one\ntwo\n")
	f.write("backend/node_modules/x/index.js", "one\ntwo\n")
	f.open()
	f.Vouch(1)
	f.start("api")
	shows := func(want string) *status.Project {
		t.Helper()
		return f.await("crash-site "+want, func(st *status.Project) bool { return sites(st) == want })
	}

	say(t, port, "node_modules/x/index.js(1,1): error TS1: not the user's\nsrc/a.ts(2,3): \x1b[31merror\x1b[0m TS2: two is wrong")
	st := shows("backend/src/a.ts:2:3 TS2: two is wrong")
	if s, _ := st.Server("api"); s.State != status.Ready || len(s.Problems) != 1 {
		t.Errorf("%+v", s)
	}
	say(t, port, "src/a.ts(1,2): error TS1: one is wrong\nsrc/b.js(2,2): error TS2: and two")
	st = shows("backend/src/a.ts:1:2 TS1: one is wrong, backend/src/b.js:2:2 TS2: and two")
	if s, _ := st.Server("api"); len(s.Problems) != 1 {
		t.Errorf("the server's codes are %q", s.Problems)
	}
	say(t, port, "10:00:00 AM - Found 0 errors. Watching for file changes.")
	shows("")

	say(t, port, fmt.Sprintf("%[1]s/backend/src/b.js:2\ntwo\n^\n\nTypeError: no\n    at f (%[1]s/backend/node_modules/x/index.js:1:1)\n    at g (%[1]s/backend/src/b.js:2:1)\n    at h (%[1]s/backend/src/a.ts:1:2)\n\nNode.js v20.0.0", f.root))
	crashIt(t, port)
	st = shows("backend/src/b.js:2:1 TypeError: no")
	for _, p := range st.Problems {
		if p.Code == status.CrashSite && (len(p.Related) != 1 || p.Related[0] != (status.Place{File: "backend/src/a.ts", Line: 1, Column: 2})) {
			t.Errorf("%+v", p)
		}
	}
	f.await("ready again", func(st *status.Project) bool { s, _ := st.Server("api"); return s.State == status.Ready && s.Run == 2 })
	shows("")
}
