package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

func logLine(text string, at time.Duration) wire.LogLine {
	return wire.LogLine{At: testNow.Add(at), Stream: "stdout", Text: text, Run: 1}
}

func TestLogsOfOneServerHaveNoPrefix(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.hub = newFakeHub(t, at("api", status.Ready), at("web", status.Ready))
	term.hub.on("logs", wire.LogsResult{Lines: []wire.LogLine{logLine("one", 0), logLine("\x1b[31mtwo\x1b[0m", 1)}}, nil)
	term.run(exitOK, "logs", "-n", "5", "--since", "10m", "--grep", "x", "api")
	if got := term.out.String(); got != "one\ntwo\n" {
		t.Errorf("%q", got)
	}
	want := fmt.Sprintf(`logs {"server":"api","lines":5,"since":%q,"grep":"x"}`, testNow.Add(-10*time.Minute).Format(time.RFC3339))
	if !term.hub.made(want) {
		t.Errorf("calls: %q, want %s", term.hub.calls, want)
	}
	term.run(exitOK, "logs", "-o", "json", "api")
	term.wants(term.out, `"lines": [`, `"text": "one"`)
}

func TestLogsOfSeveralServersAreInTheOrderOfTime(t *testing.T) {
	results := map[string]wire.LogsResult{
		"api":    {Lines: []wire.LogLine{logLine("first", 0), logLine("third", 2)}},
		"worker": {Lines: []wire.LogLine{logLine("second", 1), {At: testNow.Add(3), Stream: "devside", Text: "- run 2"}}},
	}
	term := newTerminal(t, twoServers)
	v := term.app.newLogView([]string{"api", "worker"}, true)
	if err := v.write(merge("/p", results)); err != nil {
		t.Fatal(err)
	}
	want := "api    | first\nworker | second\napi    | third\nworker | - - run 2\n"
	if term.out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", term.out, want)
	}
}

func TestLogsAreInColourOnATerminal(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.app.outTTY, term.app.output = true, outputText
	v := term.app.newLogView([]string{"api", "web"}, true)
	err := v.write([]wire.DidLogParams{
		{Server: "web", Lines: []wire.LogLine{logLine("\x1b[1mhi\x1b]0;title\x07", 0)}, Skipped: 5 << 20},
		{Server: "late", Lines: []wire.LogLine{logLine("x", 0)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "\x1b[33mweb |\x1b[0m \x1b[2m- 5 MB of output skipped: this terminal is slower than it came\x1b[0m\n" +
		"\x1b[33mweb |\x1b[0m \x1b[1mhi\x1b[0m\n\x1b[32mlate |\x1b[0m x\n"
	if got := term.out.String(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestLogsFollow(t *testing.T) {
	for _, output := range []string{outputText, outputJSON} {
		term := newTerminal(t, twoServers)
		term.hub = newFakeHub(t, at("api", status.Ready), at("web", status.Ready))
		term.hub.on("logs", wire.LogsResult{Lines: []wire.LogLine{}, Token: "t1"}, nil)
		code := term.begin("logs", "-f", "-o", output)
		term.hub.awaitCall("logs")
		term.hub.send(wire.DidLog, wire.DidLogParams{Server: "web", Token: "t1", Lines: []wire.LogLine{logLine("news", 0)}})
		if output == outputJSON {
			term.out.await(t, `{"method":"devside/didLog","params":{"root":"","token":"t1","server":"web"`)
		} else {
			term.out.await(t, "web | news\n")
		}
		term.stop(errInterrupted)
		term.awaitExit(code, exitInterrupted)
		if term.err.String() != "" {
			t.Errorf("Ctrl-C is the way to end this: %s", term.err)
		}
	}
}

func TestLogsFollowEndsWithTheHub(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.hub = newFakeHub(t, at("api", status.Ready))
	code := term.begin("logs", "-f", "api")
	term.hub.awaitCall("logs")
	term.hub.send(wire.DidLog, wire.DidLogParams{Server: "api", Lines: []wire.LogLine{logLine("last words", 0)}})
	term.hub.Close() //nolint:errcheck // a fake's
	term.awaitExit(code, exitHub)
	term.wants(term.out, "last words")
	term.wants(term.err, "the hub has ended", "hint: ")
}

func TestLogsRefusals(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.run(exitHub, "logs")
	term.wants(term.err, "nothing of this project runs", "hint: ")
	term.hub = newFakeHub(t, at("api", status.Ready))
	term.hub.on("logs", nil, rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{Code: "unknown-server", Known: []string{"api"}}, `there is no server "x"`))
	term.run(exitUsage, "logs", "x")
	term.wants(term.err, "the servers are api")
}

// TestLogsWithoutAHub come from the files.
func TestLogsWithoutAHub(t *testing.T) {
	term := newTerminal(t, twoServers)
	term.stored = map[string][]wire.LogLine{"api": {logLine("one", 0), logLine("three", 2)}, "web": {logLine("two", 1)}}
	term.run(exitOK, "logs")
	term.wants(term.out, "api | one\nweb | two\napi | three\n")
	term.run(exitOK, "logs", "--run", "-1", "web")
	term.wants(term.out, "two\n")
	term.run(exitUsage, "logs", "nope")
	term.wants(term.err, "api, web")
	term.run(exitHub, "logs", "-f")
	term.wants(term.err, "nothing of this project runs")
}

// TestStoredLogs are read by the real thing.
func TestStoredLogs(t *testing.T) {
	home := t.TempDir()
	getenv := func(name string) string { return map[string]string{state.HomeVariable: home}[name] }
	if names, err := logged("/p", getenv); err != nil || len(names) != 0 {
		t.Errorf("before anything ran: %q, %v", names, err)
	}
	paths, err := state.Locate("/p", getenv)
	if err != nil {
		t.Fatal(err)
	}
	if err := paths.Make(); err != nil {
		t.Fatal(err)
	}
	files, err := logs.OpenFiles(paths.ServerLogs(), logs.DefaultBounds, time.Now, func(_ string, err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	l := files.New("api", logs.NewBudget(0))
	l.Write(logs.Stdout, 1, testNow, []byte("one\n"))
	l.Write(logs.Stderr, 2, testNow.Add(time.Second), []byte("two\nthree\n"))
	files.Close()
	if names, err := logged("/p", getenv); err != nil || len(names) != 1 || names[0] != "api" {
		t.Errorf("%q, %v", names, err)
	}
	got, err := storedLog("/p", "api", wire.LogsParams{Grep: "^t", Run: 2}, getenv)
	if err != nil || len(got) != 2 || got[1].Text != "three" || got[1].Stream != "stderr" || got[1].Run != 2 || !got[0].At.Equal(testNow.Add(time.Second)) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, p := range []wire.LogsParams{{Grep: "("}, {Run: -5}} {
		if _, err := storedLog("/p", "api", p, getenv); err == nil {
			t.Errorf("%+v is answered", p)
		}
	}
}

func TestParseSince(t *testing.T) {
	for _, test := range []struct {
		in   string
		want time.Time
		ok   bool
	}{
		{"", time.Time{}, true},
		{"1h30m", testNow.Add(-90 * time.Minute), true},
		{"2026-01-02T03:04:05Z", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), true},
		{"-5m", time.Time{}, false},
		{"noon", time.Time{}, false},
	} {
		got, err := parseSince(test.in, testNow)
		if !got.Equal(test.want) || (err == nil) != test.ok {
			t.Errorf("%q: %v, %v", test.in, got, err)
		}
	}
}

func TestInboxIsBounded(t *testing.T) {
	in := newInbox()
	put := func(method string, v any) {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		in.put(method, raw)
	}
	lines := make([]wire.LogLine, 1000)
	for range 2 * inboxLines / len(lines) {
		put(wire.DidLog, wire.DidLogParams{Server: "api", Lines: lines, Skipped: 10})
	}
	for i := range uint64(3) {
		put(wire.DidChangeStatus, status.Project{Sequence: i})
	}
	for range 2 * inboxEvents {
		put(wire.DidHappen, wire.DidHappenParams{})
	}
	for _, method := range []string{wire.DidLog, wire.DidChangeStatus, wire.DidHappen, "other"} {
		in.put(method, json.RawMessage(`[1]`)) // not what it should be: dropped
	}
	<-in.ready()
	d := in.take()
	kept, gap := 0, int64(0)
	for _, l := range d.logs {
		kept, gap = kept+len(l.Lines), gap+l.Skipped
	}
	if want := int64(2 * inboxLines / len(lines) * 10); gap != want {
		t.Errorf("gaps of %d bytes, want %d", gap, want)
	}
	if kept != inboxLines || d.skipped != inboxLines || d.status.Sequence != 2 || len(d.events) != inboxEvents {
		t.Errorf("%d lines kept, %d skipped, sequence %d, %d events", kept, d.skipped, d.status.Sequence, len(d.events))
	}
	select {
	case <-in.ready():
		t.Error("says that there is more")
	default:
	}
	term := newTerminal(t, "")
	if err := term.app.newLogView(nil, true).deliver(delivery{skipped: 3}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(term.out.String(), "3 lines skipped") {
		t.Errorf("%q", term.out)
	}
}
