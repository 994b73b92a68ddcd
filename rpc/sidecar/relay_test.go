package sidecar

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/sidecar/fakeeditor"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

func command(verb string, arguments ...any) map[string]any {
	return map[string]any{"command": "devside.server." + verb, "arguments": append([]any{}, arguments...)}
}

func TestRequestsArePassedOnAsTheyAre(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		l.hub.handle["devside/logs"] = func(_ context.Context, params json.RawMessage) (any, error) {
			return json.RawMessage(`{"lines":[],"later":true}`), nil
		}
		r := l.Call("devside/logs", map[string]any{"server": "api", "lines": 7, "root": l.root})
		if string(r.Result) != `{"lines":[],"later":true}` {
			t.Errorf("result %s %v", r.Result, r.Err)
		}
		if calls := l.hub.called("devside/logs"); calls[0].params != `{"lines":7,"server":"api"}` {
			t.Errorf("the hub got %s", calls[0].params)
		}
		same := l.Call("workspace/executeCommand", command("logs", map[string]any{"server": "api"}))
		if string(same.Result) != string(r.Result) {
			t.Errorf("as a command: %s %v", same.Result, same.Err)
		}
		for _, p := range []map[string]any{command("status"), command("status", nil), {"command": "devside.server.status"}} {
			l.Do("workspace/executeCommand", p, nil)
		}
	})
}

func TestBadParamsNeverReachTheHub(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		before := len(l.hub.calls)
		for _, test := range []struct {
			method string
			params any
			data   string
		}{
			{"devside/status", map[string]any{"x": 1}, "invalid-params"},
			{"devside/status", []any{}, "invalid-params"},
			{"devside/start", map[string]any{"servers": "api"}, "invalid-params"},
			{"devside/start", map[string]any{"workDoneToken": map[string]any{}}, "invalid-params"},
			{"devside/start", map[string]any{"workDoneToken": 1 << 40}, "invalid-params"},
			{"devside/status", map[string]any{"root": "relative"}, "invalid-params"},
			{"devside/status", map[string]any{"root": "/elsewhere"}, "unknown-root"},
			{"workspace/executeCommand", map[string]any{"command": "devside.server.nobody"}, "unknown-command"},
			{"workspace/executeCommand", map[string]any{"command": "status"}, "unknown-command"},
			{"workspace/executeCommand", map[string]any{"command": 1}, "invalid-params"},
			{"workspace/executeCommand", command("status", 1), "invalid-params"},
			{"workspace/executeCommand", command("status", map[string]any{}, map[string]any{}), "invalid-params"},
			{"workspace/executeCommand", command("start", map[string]any{"wait": "yes"}), "invalid-params"},
		} {
			l.wantError(l.Call(test.method, test.params), wire.CodeInvalidParams, test.data)
		}
		if got := l.hub.calls[before:]; len(got) > 0 {
			t.Errorf("the hub got %+v", got)
		}
	})
}

func TestErrorsOfTheHubPassAsTheyAre(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		l.hub.handle["devside/start"] = func(context.Context, json.RawMessage) (any, error) {
			return nil, rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{Code: "unknown-server", Known: []string{"api", "web"}}, "no server pai")
		}
		r := l.Call("devside/start", map[string]any{"servers": []string{"pai"}})
		l.wantError(r, wire.CodeInvalidParams, "unknown-server")
		if r.Err.Message != "no server pai" || string(r.Err.Data) != `{"code":"unknown-server","known":["api","web"]}` {
			t.Errorf("got %+v %s", r.Err, r.Err.Data)
		}
	})
}

// blocked makes the hub answer a method only when the request is cancelled.
func (l *lab) blocked(method string) (cancelled chan struct{}) {
	cancelled = make(chan struct{})
	l.hub.handle[method] = func(ctx context.Context, _ json.RawMessage) (any, error) {
		<-ctx.Done()
		close(cancelled)
		return nil, ctx.Err()
	}
	return cancelled
}

func TestCancelReachesTheHub(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		cancelled := l.blocked("devside/start")
		start := l.Send("devside/start", nil)
		l.hub.await("the start", func() bool { return len(l.hub.called("devside/start")) == 1 })
		start.Cancel()
		l.wantError(start.Wait(), wire.CodeCancelled, "cancelled")
		<-cancelled
	})
}

func TestAHubThatDoesNotAnswerTimesOut(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		cancelled := l.blocked("devside/ports")
		p := l.Send("devside/ports", nil)
		<-cancelled // after answerWithin, longer than the editor's own patience
		l.wantError(p.Wait(), wire.CodeTimeout, "timeout")
	})
}

func TestOneFolderOfSeveralIsNamed(t *testing.T) {
	other := newRoot(t, config)
	linked := filepath.Join(newRoot(t, ""), "link")
	if err := os.Symlink(other, linked); err != nil {
		t.Fatal(err)
	}
	inSession(t, func(l *lab) {
		l.hub.update(func() { l.hub.alive = true })
		l.Initialize(map[string]any{"workspaceFolders": []any{folderParam(l.root), folderParam(linked), folderParam(l.root)}})
		r := l.Call("devside/status", nil)
		l.wantError(r, wire.CodeInvalidParams, "root-needed")
		var data wire.ErrorData
		if err := json.Unmarshal(r.Err.Data, &data); err != nil || !slices.Equal(data.Known, []string{l.root, linked}) {
			t.Errorf("known %v %v", data.Known, err)
		}
		for _, test := range []struct{ root, want string }{
			{l.root, l.root}, {l.root + "/", l.root}, {pathToURI(l.root), l.root}, {pathToURI(l.root) + "/", l.root},
			{linked, other}, {other, other}, {pathToURI(other), other},
		} {
			var st status.Project
			l.Do("devside/status", map[string]any{"root": test.root}, &st)
			if st.Root != test.want {
				t.Errorf("root %s: status of %s, want %s", test.root, st.Root, test.want)
			}
			l.Do("workspace/executeCommand", command("status", map[string]any{"root": test.root}), &st)
			if st.Root != test.want {
				t.Errorf("command with root %s: status of %s, want %s", test.root, st.Root, test.want)
			}
		}
	})
}

func TestFoldersComeAndGo(t *testing.T) {
	other := newRoot(t, config+"tpyo: 1\n")
	inSession(t, func(l *lab) {
		l.connect()
		otherURI := pathToURI(filepath.Join(other, "devside.yaml"))
		change := func(added, removed []any) {
			l.Notify("workspace/didChangeWorkspaceFolders", map[string]any{"event": map[string]any{"added": added, "removed": removed}})
		}
		change([]any{folderParam(other), map[string]any{"uri": "vscode-remote://ssh/x", "name": "x"}}, []any{})
		l.Await("the other folder's problem", func(s *fakeeditor.State) bool { return len(s.Diagnostics[otherURI]) == 1 })
		l.Await("the folder left out", func(s *fakeeditor.State) bool {
			return strings.Contains(string(s.Last("window/logMessage")), "vscode-remote")
		})
		l.wantError(l.Call("devside/status", nil), wire.CodeInvalidParams, "root-needed")
		change([]any{}, []any{folderParam(other), map[string]any{"uri": "vscode-remote://ssh/x", "name": "x"}})
		l.Await("its problem cleared", func(s *fakeeditor.State) bool { return len(s.Diagnostics[otherURI]) == 0 && s.Published[otherURI] == 2 })
		l.hub.await("its hub left", func() bool {
			return slices.ContainsFunc(l.hub.called(wire.Leave), func(c hubCall) bool { return c.root == other })
		})
		l.Do("devside/status", nil, nil)
		change([]any{}, []any{folderParam(l.root)})
		l.wantError(l.Call("devside/status", nil), wire.CodeRequestFailed, "no-folder")
		l.Shutdown()
		l.wantExit(ExitOK)
	})
}

func TestWithRootTheWindowsFoldersDoNotCount(t *testing.T) {
	other := newRoot(t, config)
	inSession(t, func(l *lab) {
		l.open()
		l.Notify("workspace/didChangeWorkspaceFolders", map[string]any{"event": map[string]any{"added": []any{folderParam("/x")}, "removed": []any{}}})
		var st status.Project
		l.Do("devside/status", nil, &st)
		if st.Root != other {
			t.Errorf("status of %s, want %s", st.Root, other)
		}
	}, func(o *Options) { o.Root = other })
}

func TestOnlyRemoteFolders(t *testing.T) {
	inSession(t, func(l *lab) {
		l.Initialize(map[string]any{"workspaceFolders": []any{map[string]any{"uri": "vscode-remote://ssh/x", "name": "x"}}})
		l.wantError(l.Call("devside/status", nil), wire.CodeRequestFailed, "no-folder")
	})
}

func TestALostHubIsHadBack(t *testing.T) {
	inSession(t, func(l *lab) {
		l.hub.status[l.root] = project(l.root, 1, status.NewProblem(status.Crashed, "api", "it ended", time.Time{}))
		l.connect()
		l.shows("2:2-2:5 crashed: it ended")
		l.blocked("devside/start")
		start := l.Send("devside/start", nil)
		l.hub.await("the start", func() bool { return len(l.hub.called("devside/start")) == 1 })
		l.hub.update(func() { l.hub.status[l.root] = project(l.root, 1) })
		l.hub.die()
		l.wantError(start.Wait(), wire.CodeHubLost, "hub-lost")
		l.hub.await("a second attempt", func() bool { return len(l.hub.dials) == 2 })
		if d := l.hub.dials[1]; !d.start || !d.hello.Resume || l.hub.dials[0].hello.Resume {
			t.Errorf("dials %+v", l.hub.dials)
		}
		l.shows()
		l.Do("devside/status", nil, nil)
		l.Shutdown()
		l.wantExit(ExitOK)
	})
}

func TestALostHubIsGivenUpAfterFiveAttempts(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		began := time.Now()
		l.hub.update(func() { l.hub.broken = fmt.Errorf("no memory") })
		l.hub.die()
		l.Await("the user is told", func(s *fakeeditor.State) bool { return s.Count("window/showMessage") == 1 })
		if got := len(l.hub.dials); got != 1+maxAttempts {
			t.Errorf("%d attempts, want %d", got-1, maxAttempts)
		}
		if took := time.Since(began); took < 10*time.Second {
			t.Errorf("all attempts within %s", took)
		}
		l.wantError(l.Call("devside/status", nil), wire.CodeHubLost, "hub-lost")
		l.Look(func(s *fakeeditor.State) {
			if n := s.Count("window/showMessage"); n != 1 {
				t.Errorf("the user was told %d times", n)
			}
		})
		l.hub.update(func() { l.hub.broken = nil })
		l.Do("devside/status", nil, nil) // the next request tries again
		if d := l.hub.dials[len(l.hub.dials)-1]; !d.start || !d.hello.Resume {
			t.Errorf("last dial %+v", d)
		}
	})
}

func TestAHubThatDiesAgainAndAgain(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		for i := range maxAttempts {
			l.hub.die()
			l.hub.await("another attempt", func() bool { return len(l.hub.dials) == i+2 })
			synctest.Wait()
		}
		l.hub.die()
		l.Await("the user is told", func(s *fakeeditor.State) bool { return s.Count("window/showMessage") == 1 })
		if got := len(l.hub.dials); got != 1+maxAttempts {
			t.Errorf("%d dials", got)
		}
	})
}

func TestHappeningsAreForwardedWithTheirRoot(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		l.hub.say(l.root, wire.DidHappen, map[string]any{"kind": "crash", "server": "api", "at": time.Time{}, "message": "m"})
		l.Await("the event", func(s *fakeeditor.State) bool {
			var p wire.DidHappenParams
			return json.Unmarshal(orEmpty(s.Last(wire.DidHappen)), &p) == nil && p.Root == l.root && p.Kind == status.HappenedCrash
		})
		l.hub.say(l.root, wire.DidHappen, 7)
		l.hub.say(l.root, "hub/nonsense", nil)
		l.Do("devside/status", nil, nil)
	})
}

func TestFollowedLinesComeAfterTheAnswerThatNamesTheirToken(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		line := wire.DidLogParams{Token: "t1", Server: "api", Lines: []wire.LogLine{{Text: "hello", Stream: "stdout"}}}
		l.hub.handle["devside/logs"] = func(context.Context, json.RawMessage) (any, error) {
			l.hub.say(l.root, wire.DidLog, line) // before its own answer: the worst a hub can do
			<-time.After(time.Second)
			return wire.LogsResult{Lines: []wire.LogLine{}, Token: "t1"}, nil
		}
		p := l.Send("devside/logs", map[string]any{"server": "api", "follow": true})
		early := false
		l.Await("the line", func(s *fakeeditor.State) bool {
			n := s.Count(wire.DidLog)
			early = early || n > 0 && !p.Answered()
			return n == 1
		})
		if early {
			t.Error("the line came before the answer")
		}
		var got wire.DidLogParams
		l.Look(func(s *fakeeditor.State) {
			if err := json.Unmarshal(s.Last(wire.DidLog), &got); err != nil {
				t.Error(err)
			}
		})
		if got.Root != l.root || got.Token != "t1" || len(got.Lines) != 1 {
			t.Errorf("didLog %+v", got)
		}
	})
}

func TestLogsAreBoundedWhileTheEditorDoesNotRead(t *testing.T) {
	q := logQueue{wake: make(chan struct{}, 1)}
	line := strings.Repeat("x", 1000)
	put := func(token string) {
		raw, err := json.Marshal(wire.DidLogParams{Token: token, Lines: []wire.LogLine{{Text: line}}, Skipped: 5})
		if err != nil {
			t.Fatal(err)
		}
		q.put(raw)
	}
	for range 3000 {
		put("t")
	}
	q.put(json.RawMessage("["))
	kept := len(q.take())
	if kept == 0 || kept*1000 > maxHeldLogs {
		t.Fatalf("%d messages kept", kept)
	}
	put("other")
	put("t")
	got := q.take()
	if want := int64((3000-kept)*(1001+5) + 5); len(got) != 2 || got[0].Skipped != 5 || got[1].Skipped != want {
		t.Errorf("skipped %d and %d, want 5 and %d", got[0].Skipped, got[1].Skipped, want)
	}
}

// TestAnOlderSnapshotNeverFollowsANewerOne: the answer to the first question and
// what the hub sends by itself may be made at the same time.
func TestAnOlderSnapshotNeverFollowsANewerOne(t *testing.T) {
	inSession(t, func(l *lab) {
		l.hub.status[l.root] = project(l.root, 4)
		l.connect()
		got := func(s *fakeeditor.State) (all []uint64) {
			for _, m := range s.Messages {
				var st status.Project
				if m.Method == wire.DidChangeStatus && json.Unmarshal(m.Params, &st) == nil {
					all = append(all, st.Sequence)
				}
			}
			return all
		}
		l.Await("the answer", func(s *fakeeditor.State) bool { return slices.Contains(got(s), 4) })
		l.hub.say(l.root, wire.DidChangeStatus, project(l.root, 3))
		l.hub.say(l.root, wire.DidChangeStatus, project(l.root, 5))
		l.Await("the newest", func(s *fakeeditor.State) bool { return slices.Contains(got(s), 5) })
		l.Look(func(s *fakeeditor.State) {
			if all := got(s); !slices.IsSorted(all) {
				t.Errorf("snapshots came in the order %v", all)
			}
		})
	})
}

// A hub that this editor has asked to end is not missed: nobody is told of a
// loss, and the next hub is one that a request needs.
func TestAHubThatWasAskedToEndIsNotMissed(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		l.hub.handle["devside/quit"] = func(context.Context, json.RawMessage) (any, error) { return wire.QuitResult{Quit: true}, nil }
		l.Do("devside/quit", nil, nil)
		dials := len(l.hub.dialsSoFar())
		l.hub.die()
		time.Sleep(time.Minute) // of the bubble's time: every retry would have come
		l.Look(func(s *fakeeditor.State) {
			if n := s.Count("window/logMessage") + s.Count("window/showMessage"); n > 0 {
				t.Errorf("%d messages", n)
			}
		})
		for _, d := range l.hub.dialsSoFar()[dials:] {
			if d.start {
				t.Errorf("a hub was started: %+v", d)
			}
		}
	})
}
