package spec

import (
	"strings"
	"testing"
)

func TestSetPortChangesTheDigitsAndNothingElse(t *testing.T) {
	const head = "version: 1\nservers:\n"
	for _, c := range []struct{ name, text, want string }{
		{"block", head + "  web:\n    command: a # run\n    port: 3000   # the port\n", head + "  web:\n    command: a # run\n    port: 3017   # the port\n"},
		{"flow", head + "  web: {command: a, port: 3000, ready: none}\n", head + "  web: {command: a, port: 3017, ready: none}\n"},
		{"list", head + "  web: {command: a, port: [3000, 3001]}\n", head + "  web: {command: a, port: [3017, 3001]}\n"},
		{"block list", head + "  web:\n    command: a\n    port:\n      - 3000 # first\n      - 3001\n", head + "  web:\n    command: a\n    port:\n      - 3017 # first\n      - 3001\n"},
		{"map", head + "  web: {command: a, port: {number: 3000, on_conflict: next}}\n", head + "  web: {command: a, port: {number: 3017, on_conflict: next}}\n"},
		{"list of maps", head + "  web: {command: a, port: [{owner: any, number: 3000}, 3001]}\n", head + "  web: {command: a, port: [{owner: any, number: 3017}, 3001]}\n"},
		{"shorter", head + "  web: {command: a, port: 30000}\n", head + "  web: {command: a, port: 3017}\n"},
		{"Windows line ends", strings.ReplaceAll(head+"  web:\n    command: a\n    port: 3000\n", "\n", "\r\n"), strings.ReplaceAll(head+"  web:\n    command: a\n    port: 3017\n", "\n", "\r\n")},
		{"emoji before it", head + "  web: {command: \"echo 😀 é\", port: 3000} # 😀\n", head + "  web: {command: \"echo 😀 é\", port: 3017} # 😀\n"},
		{"byte order mark", "\ufeff" + head + "  web: {command: a, port: 3000}\n", "\ufeff" + head + "  web: {command: a, port: 3017}\n"},
		{"the other server has the number, too, in a comment", head + "  api: {command: a, port: 4000} # not 3000\n  web: {command: a, port: 3000}\n",
			head + "  api: {command: a, port: 4000} # not 3000\n  web: {command: a, port: 3017}\n"},
		{"without an end of line", head + "  web: {command: a, port: 3000}", head + "  web: {command: a, port: 3017}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := SetPort(c.text, "web", 3017)
			if err != nil || got != c.want {
				t.Errorf("%v\n%q\nwant\n%q", err, got, c.want)
			}
		})
	}
}

func TestSetPortRefusesWhatItCantDoAlone(t *testing.T) {
	const head = "version: 1\nservers:\n"
	for _, c := range []struct {
		name, text, server string
		port               int
		want               string
	}{
		{"no such server", head + "  web: {command: a, port: 3000}\n", "api", 1, "no server named"},
		{"no port", head + "  web: {command: a}\n", "web", 3017, "has no port"},
		{"out of range", head + "  web: {command: a, port: 3000}\n", "web", 70000, "no port 70000"},
		{"errors", head + "  web: {command: a, port: 3000, prot: 1}\n", "web", 3017, "errors"},
		{"taken by another server", head + "  web: {command: a, port: 3000}\n  api: {command: a, port: 3017}\n", "web", 3017, "3017"},
		{"shared by an anchor", head + "  web: {command: a, port: &p 3000}\n  api: {command: a, port: {number: 4000}}\n  db: {command: a, env: {P: *p}}\n", "web", 3017, "web"},
		{"an alias", "version: 1\nname: &n web\nservers:\n  web: &w {command: a, port: 3000}\n", "web", 3000, ""},
		{"another base", head + "  web: {command: a, port: 0xBB8}\n", "web", 3017, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := SetPort(c.text, c.server, c.port)
			if c.want == "" { // refused or right, never wrong
				if err == nil && !Parse(got, "", nil, nil).Valid() {
					t.Errorf("%q", got)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q, %v; want an error with %q", got, err, c.want)
			}
		})
	}
}

// Whatever the text, an edit leaves all but one run of digits as it was, and
// the result says what was asked for.
func FuzzSetPort(f *testing.F) {
	f.Add("version: 1\nservers:\n  web: {command: a, port: [3000, {number: 3001}]} # c\n", "web", 4000)
	f.Add("version: 1\r\nservers:\r\n  web:\r\n    port: '3000'\r\n    command: a\r\n", "web", 1)
	f.Fuzz(func(t *testing.T, text, server string, port int) {
		got, err := SetPort(text, server, port)
		if err != nil {
			return
		}
		l := Parse(got, "", nil, nil)
		i := indexOf(l.Project.Servers, server)
		if !l.Valid() || i < 0 || l.Project.Servers[i].Ports[0].Number != port {
			t.Fatalf("%q", got)
		}
		a, b := 0, 0
		for a < len(text) && a < len(got) && text[a] == got[a] {
			a++
		}
		for b < len(text)-a && b < len(got)-a && text[len(text)-1-b] == got[len(got)-1-b] {
			b++
		}
		if changed := text[a:len(text)-b] + got[a:len(got)-b]; strings.Trim(changed, "0123456789") != "" {
			t.Fatalf("changed %q", changed)
		}
	})
}
