package status

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

var t0 = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func codes(ps []Problem) string {
	var out []string
	for _, p := range ps {
		out = append(out, p.Server+":"+string(p.Code))
	}
	return strings.Join(out, " ")
}

func TestWhichProblemsAreShown(t *testing.T) {
	at := func(c Code, server string, ago time.Duration) Problem {
		return NewProblem(c, server, "x", t0.Add(-ago))
	}
	for _, c := range []struct {
		name string
		all  []Problem
		want string
		next time.Duration
	}{
		{"none", nil, "", 0},
		{"at once", []Problem{at(PortTaken, "api", 0)}, "api:port-taken", 0},
		{"not yet", []Problem{at(Crashed, "api", 50*time.Millisecond)}, "", 150 * time.Millisecond},
		{"the next of several", []Problem{at(Crashed, "api", 50*time.Millisecond), at(Crashed, "web", 150*time.Millisecond)}, "", 50 * time.Millisecond},
		{"long enough", []Problem{at(Crashed, "api", time.Second)}, "api:crashed", 0},
		{"hidden by its cause", []Problem{at(CrashLooping, "api", time.Second), at(PortTaken, "api", 0)}, "api:port-taken", 0},
		{"hidden is not waited for", []Problem{at(Crashed, "api", 0), at(PortTaken, "api", 0)}, "api:port-taken", 0},
		{"another server's cause hides nothing", []Problem{at(CrashLooping, "api", time.Second), at(PortTaken, "web", 0)}, "api:crash-loop web:port-taken", 0},
		{"worst first, then by server", []Problem{at(NotTrusted, "", 0), at(NotHealthy, "b", 0), at(PortTaken, "c", 0), at(NotHealthy, "a", 0)},
			"c:port-taken a:unhealthy b:unhealthy :untrusted", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			shown, next := Visible(c.all, t0)
			if codes(shown) != c.want || next != c.next {
				t.Errorf("%q, next in %v; want %q, %v", codes(shown), next, c.want, c.next)
			}
		})
	}
}

func TestTheCatalogueIsWhole(t *testing.T) {
	seen := map[Code]bool{}
	for _, e := range Catalogue {
		if seen[e.Code] {
			t.Errorf("%s stands twice", e.Code)
		}
		seen[e.Code] = true
		if e.Title == "" || e.Severity == "" {
			t.Errorf("%s has no title or severity", e.Code)
		}
		for _, h := range e.HiddenBy {
			if _, ok := Lookup(h); !ok {
				t.Errorf("%s is hidden by %s, which is not in the catalogue", e.Code, h)
			}
			if h == e.Code {
				t.Errorf("%s hides itself", h)
			}
		}
		if p := NewProblem(e.Code, "api", "m", t0); p.Severity != e.Severity || p.Field != e.Field {
			t.Errorf("NewProblem(%s) = %+v", e.Code, p)
		}
	}
	if _, ok := Lookup("nope"); ok {
		t.Error("an unknown code was found")
	}
}

func TestSummarize(t *testing.T) {
	server := func(s State) Server { return Server{State: s} }
	for _, c := range []struct {
		servers []Server
		want    Summary
	}{
		{nil, Summary{0, 0, Stopped}},
		{[]Server{server(Ready), server(Ready)}, Summary{2, 2, Ready}},
		{[]Server{server(Ready), server(Stopped)}, Summary{1, 2, Ready}},
		{[]Server{server(Ready), server(Starting), server(Waiting)}, Summary{1, 3, Starting}},
		{[]Server{server(CrashLoop), server(Blocked), server(Ready)}, Summary{1, 3, CrashLoop}},
		{[]Server{server(Unhealthy), server(Backoff)}, Summary{0, 2, Unhealthy}},
	} {
		if got := Summarize(c.servers); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.servers, got, c.want)
		}
	}
}

func TestEveryStateHasItsRankAndItsMeaning(t *testing.T) {
	active := map[State]bool{Waiting: true, Starting: true, Ready: true, Unhealthy: true, Backoff: true, Stopping: true}
	settled := map[State]bool{Ready: true, Blocked: true, CrashLoop: true, Stopped: true}
	ranks := map[int]State{}
	for _, s := range States {
		if s.Active() != active[s] || s.Settled() != settled[s] {
			t.Errorf("%s: active %v, settled %v", s, s.Active(), s.Settled())
		}
		if other, taken := ranks[badness[s]]; taken {
			t.Errorf("%s and %s are equally bad", s, other)
		}
		ranks[badness[s]] = s
		if Worse(s, Stopped) != s || Worse(Stopped, s) != s {
			t.Errorf("stopped is worse than %s", s)
		}
	}
	if len(ranks) != 9 {
		t.Errorf("%d states", len(ranks))
	}
}

func TestTheShapeOnTheWire(t *testing.T) {
	ms := int64(1800)
	code := 1
	p := Project{Root: "/srv/shop", Name: "shop", Protocol: 1, Trust: Trust{State: Trusted, Commands: []TrustCommand{}}, Servers: []Server{{
		Name: "api", State: Ready, Since: t0, PID: 7, Ports: []Port{{4000, true}}, ReadyMs: &ms, LastExit: &Exit{Code: &code, At: t0}, Problems: []Code{},
	}}, Dependencies: []Dependency{}, Problems: []Problem{}}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"sequence":0`, `"trust":{"state":"trusted","hash":"","commands":[]}`, `"dependencies":[]`, `"problems":[]`,
		`"state":"ready"`, `"since":"2026-11-23T09:00:00Z"`, `"ports":[{"number":4000,"listening":true}]`, `"readyMs":1800`,
		`"lastExit":{"code":1,"at":"2026-11-23T09:00:00Z"}`, `"uptimeMs":0`, `"memoryBytes":0`, `"cpuPercent":0`, `"traceId":""`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is not in %s", want, b)
		}
	}
	if strings.Contains(string(b), "null") {
		t.Errorf("a null in %s", b)
	}
	if s, ok := p.Server("api"); !ok || s.PID != 7 {
		t.Errorf("%+v, %v", s, ok)
	}
	if _, ok := p.Server("web"); ok {
		t.Error("an unknown server was found")
	}
}
