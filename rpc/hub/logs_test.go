package hub

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

func texts(lines []wire.LogLine) []string {
	var out []string
	for _, l := range lines {
		out = append(out, l.Text)
	}
	return out
}

// logged asks for lines until they are as wanted: a server's output takes a
// moment to arrive.
func (c *client) logged(p wire.LogsParams, want ...string) []wire.LogLine {
	c.t.Helper()
	over := time.After(deadline)
	for {
		var res wire.LogsResult
		c.must("devside/logs", p, &res)
		if res.Lines == nil {
			c.t.Fatal("no lines are null")
		}
		if slices.Equal(texts(res.Lines), want) {
			return res.Lines
		}
		select {
		case <-over:
			c.t.Fatalf("logs %+v: %q, want %q", p, texts(res.Lines), want)
		default:
		}
	}
}

func TestLogs(t *testing.T) {
	port := freePort(t)
	l := open(t, config(server("api", "serve", on(port))))
	c := l.join(wire.Holder)
	c.logged(wire.LogsParams{Server: "api"})
	c.start()
	printLines(t, port, "one", "two \x1b[31mred\x1b[0m", "three")
	lines := c.logged(wire.LogsParams{Server: "api", Grep: "^(up|one|two|three)"}, "up", "one", "two \x1b[31mred\x1b[0m", "three")
	if lines[1].Stream != "stdout" || lines[1].Run != 1 || lines[1].At.IsZero() {
		t.Errorf("a line: %+v", lines[1])
	}
	c.logged(wire.LogsParams{Server: "api", Lines: 1}, "three")
	c.logged(wire.LogsParams{Server: "api", Grep: "^two red$"}, "two \x1b[31mred\x1b[0m")
	c.logged(wire.LogsParams{Server: "api", Since: time.Now().Add(time.Hour)})
	c.logged(wire.LogsParams{Server: "api", Since: lines[3].At, Grep: "three"}, "three")

	c.allOK("devside/restart", wire.StartParams{})
	printLines(t, port, "four")
	c.logged(wire.LogsParams{Server: "api", Grep: "^(up|one|four)$", Run: 2}, "up", "four")
	c.logged(wire.LogsParams{Server: "api", Grep: "^(up|one|four)$", Run: -1}, "up", "one")
	c.refused("devside/logs", wire.LogsParams{Server: "api", Run: -9}, wire.CodeInvalidParams, "unknown-run")
	c.refused("devside/logs", wire.LogsParams{Server: "api", Run: -9, Follow: true}, wire.CodeInvalidParams, "unknown-run")
	e, _ := c.refused("devside/logs", wire.LogsParams{Server: "api", Grep: "(open"}, wire.CodeInvalidParams, "invalid-grep")
	if !strings.Contains(e.Message, "missing closing") {
		t.Errorf("a bad expression: %v", e)
	}
	c.refused("devside/logs", wire.LogsParams{Server: "api", Grep: strings.Repeat("(", maxGrep+1)}, wire.CodeInvalidParams, "invalid-grep")
}

func (c *client) follow(p wire.LogsParams) wire.LogsResult {
	c.t.Helper()
	p.Follow = true
	var res wire.LogsResult
	c.must("devside/logs", p, &res)
	if res.Token == "" {
		c.t.Fatal("no token")
	}
	return res
}

func (c *client) awaitLine(token, text string) wire.DidLogParams {
	c.t.Helper()
	return await(c, "the line "+text, wire.DidLog, func(p wire.DidLogParams) bool {
		return p.Token == token && slices.Contains(texts(p.Lines), text)
	})
}

// TestFollowedLogs: nothing is missing between the answer and what follows,
// the expression counts for both, and unfollow ends it.
func TestFollowedLogs(t *testing.T) {
	port := freePort(t)
	l := open(t, config(server("api", "serve", on(port))))
	c := l.join(wire.Holder)
	c.start()
	printLines(t, port, "before")
	c.logged(wire.LogsParams{Server: "api", Grep: "^before$"}, "before")
	all, some := c.follow(wire.LogsParams{Server: "api"}), c.follow(wire.LogsParams{Server: "api", Grep: "^keep red"})
	if !slices.Contains(texts(all.Lines), "before") || len(some.Lines) != 0 || all.Token == some.Token {
		t.Errorf("the answers: %+v %+v", all, some)
	}
	printLines(t, port, "drop 1", "keep \x1b[31mred\x1b[0m 2", "last")
	got := c.awaitLine(all.Token, "last")
	if got.Root != l.root || got.Server != "api" {
		t.Errorf("didLog: %+v", got)
	}
	if got := c.awaitLine(some.Token, "keep \x1b[31mred\x1b[0m 2"); len(got.Lines) != 1 {
		t.Errorf("the expression let through %q", texts(got.Lines))
	}
	c.must("devside/unfollow", wire.UnfollowParams{Token: all.Token}, nil)
	c.forget()
	c.refused("devside/unfollow", wire.UnfollowParams{Token: all.Token}, wire.CodeInvalidParams, "unknown-token")
	printLines(t, port, "unheard", "keep red 3")
	c.awaitLine(some.Token, "keep red 3")
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.told {
		if strings.Contains(string(n.params), all.Token) {
			t.Errorf("after unfollow: %s", n.params)
		}
	}
}

// TestNothingIsLoggedBeforeTheAnswerThatNamesTheToken, however fast the lines
// come.
func TestNothingIsLoggedBeforeTheAnswerThatNamesTheToken(t *testing.T) {
	l := open(t, config(server("loud", "chatter")))
	l.join(wire.Holder).start()
	p := l.peer()
	p.write(frame(1, wire.Hello, l.hello(wire.Visitor)))
	p.answer(1)
	for id := 2; id < 12; id++ {
		p.write(frame(id, "devside/logs", wire.LogsParams{Server: "loud", Lines: 3, Follow: true}))
		var token string
		seen := map[string]bool{}
		r := p.until("the answer or a line", func(r reply) bool {
			var d wire.DidLogParams
			if r.Method == wire.DidLog && json.Unmarshal(r.Params, &d) == nil {
				seen[d.Token] = true
			}
			return r.Method == "" && r.ID == id
		})
		var res wire.LogsResult
		if err := json.Unmarshal(r.Result, &res); err != nil {
			t.Fatalf("%v in %+v", err, r)
		}
		if token = res.Token; token == "" || seen[token] {
			t.Fatalf("lines of %q came before its answer", token)
		}
		p.until("a line", func(r reply) bool { return r.Method == wire.DidLog && strings.Contains(string(r.Params), token) })
		p.write(frame(1000+id, "devside/unfollow", wire.UnfollowParams{Token: token}))
		p.answer(1000 + id)
	}
}

func TestTooManyFollows(t *testing.T) {
	l := open(t, config(server("api", "serve")))
	c := l.join(wire.Holder)
	var first string
	for i := range maxFollows {
		if token := c.follow(wire.LogsParams{Server: "api"}).Token; i == 0 {
			first = token
		}
	}
	c.refused("devside/logs", wire.LogsParams{Server: "api", Follow: true}, wire.CodeRequestFailed, "too-many-follows")
	other := l.join(wire.Visitor)
	other.follow(wire.LogsParams{Server: "api"}) // counted for each client
	c.must("devside/unfollow", wire.UnfollowParams{Token: first}, nil)
	c.follow(wire.LogsParams{Server: "api"})
	other.refused("devside/unfollow", wire.UnfollowParams{Token: "log-1-2"}, wire.CodeInvalidParams, "unknown-token") // not its own
	// What is followed ends with the connection: the hub would not end else.
	c.close()
	if err := l.awaitEnd(); err != nil {
		t.Error(err)
	}
}

// TestAClientThatStopsReadingSlowsNobody: it follows a flood and reads none of
// it, is dropped, and holds no more; the answers to the other stay in order
// and complete all the while.
func TestAClientThatStopsReadingSlowsNobody(t *testing.T) {
	l := open(t, config(server("loud", "chatter"), server("api", "serve")), func(o *Options) { o.patience.write = 300 * time.Millisecond })
	c := l.join(wire.Holder)
	c.start()
	silent := l.peer()
	silent.write(frame(1, wire.Hello, l.hello(wire.Holder)))
	silent.answer(1)
	for id := 2; id < 6; id++ {
		silent.write(frame(id, "devside/logs", wire.LogsParams{Server: "loud", Follow: true}))
	}
	c.follow(wire.LogsParams{Server: "api"})
	dropped := make(chan struct{})
	go func() {
		defer close(dropped)
		l.log.await(t, "peer does not read")
	}()
	var last uint64
	for i := 0; ; i++ {
		p := c.status()
		if p.Sequence < last {
			t.Fatalf("status %d after %d", p.Sequence, last)
		}
		last = p.Sequence
		c.must("devside/reload", nil, nil) // something new for everybody
		select {
		case <-dropped:
		default:
			continue
		}
		break
	}
	final := c.status().Sequence
	await(c, "the last status", wire.DidChangeStatus, func(p status.Project) bool { return p.Sequence >= final })
	var res wire.LeaveResult
	c.must(wire.Leave, nil, &res)
	if !res.Last {
		t.Error("a client that was dropped still holds")
	}
	if err := l.awaitEnd(); err != nil {
		t.Error(err)
	}
}

// TestASlowFollowerIsToldWhatItMissed.
func TestASlowFollowerIsToldWhatItMissed(t *testing.T) {
	l := open(t, config(server("loud", "chatter")), func(o *Options) { o.patience.write = time.Minute })
	c := l.join(wire.Holder)
	c.start()
	p := l.peer()
	p.write(frame(1, wire.Hello, l.hello(wire.Visitor)))
	p.answer(1)
	p.write(frame(2, "devside/logs", wire.LogsParams{Server: "loud", Follow: true}))
	p.answer(2)
	// It reads nothing while the server prints more than is kept of its output.
	first := func() (n int) {
		var res wire.LogsResult
		c.must("devside/logs", wire.LogsParams{Server: "loud", Lines: 1, Grep: "^up [0-9]+ "}, &res)
		fmt.Sscanf(res.Lines[0].Text, "up %d", &n)
		return n
	}
	began := first()
	for over := time.After(deadline); first() < began+60_000; {
		select {
		case <-over:
			t.Fatal("the server prints too little")
		default:
		}
	}
	r := p.until("a gap", func(r reply) bool {
		var d wire.DidLogParams
		return r.Method == wire.DidLog && json.Unmarshal(r.Params, &d) == nil && d.Skipped > 0
	})
	if r.Method != wire.DidLog {
		t.Errorf("%+v", r)
	}
}
