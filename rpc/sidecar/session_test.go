package sidecar

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.lsp.dev/protocol"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/sidecar/fakeeditor"
	"github.com/devside/devside/rpc/wire"
)

func TestLifeCycle(t *testing.T) {
	inSession(t, func(l *lab) {
		l.wantError(l.Call("devside/status", map[string]any{}), wire.CodeNotInitialized, "not-initialized")
		l.wantError(l.Call("shutdown", nil), wire.CodeNotInitialized, "not-initialized")
		l.wantError(l.Call("nobody/knows", nil), wire.CodeNotInitialized, "not-initialized")
		l.document("didOpen", "bad") // dropped
		l.wantError(l.Call("initialize", []any{1}), wire.CodeInvalidParams, "invalid-params")
		l.open()
		l.wantError(l.Call("initialize", map[string]any{}), wire.CodeInvalidRequest, "initialized-already")
		l.wantError(l.Call("nobody/knows", nil), wire.CodeMethodNotFound, "unknown-method")
		l.wantError(l.Call("$/nobody", nil), wire.CodeMethodNotFound, "unknown-method")
		l.wantError(l.Call("devside/nobody", nil), wire.CodeMethodNotFound, "unknown-method")
		l.wantError(l.Call(wire.Hello, nil), wire.CodeMethodNotFound, "unknown-method")
		l.wantError(l.Call(wire.Leave, nil), wire.CodeMethodNotFound, "unknown-method")
		l.Notify("nobody/knows", map[string]any{"x": 1})
		l.Notify("$/nobody", nil)
		l.Notify("textDocument/didOpen", []any{1})
		l.Notify("textDocument/didOpen", map[string]any{"textDocument": map[string]any{"uri": "untitled:x", "text": ""}})
		l.Notify("workspace/didChangeWorkspaceFolders", "x")
		l.Notify("window/workDoneProgress/cancel", map[string]any{"token": 1.5})
		l.Do("devside/status", nil, nil) // it lives
		l.Do("shutdown", nil, nil)
		l.wantError(l.Call("devside/status", nil), wire.CodeInvalidRequest, "shut-down")
		l.wantError(l.Call("initialize", map[string]any{}), wire.CodeInvalidRequest, "initialized-already")
		l.wantError(l.Call("shutdown", nil), wire.CodeInvalidRequest, "shut-down")
		l.document("didOpen", "bad") // dropped
		l.Notify("exit", nil)
		l.wantExit(ExitOK)
	})
}

func TestExitCodes(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(l *lab)
		want int
	}{
		"exit before initialize": {func(l *lab) { l.Notify("exit", nil) }, ExitAbrupt},
		"end of input at once":   {func(l *lab) { l.Close() }, ExitAbrupt},
		"exit without shutdown":  {func(l *lab) { l.connect(); l.Notify("exit", nil) }, ExitAbrupt},
		"end of input":           {func(l *lab) { l.connect(); l.Close() }, ExitAbrupt},
		"SIGTERM":                {func(l *lab) { l.connect(); l.stop() }, ExitAbrupt},
		"shutdown and exit":      {func(l *lab) { l.connect(); l.Shutdown() }, ExitOK},
		"shutdown, end of input": {func(l *lab) { l.connect(); l.Do("shutdown", nil, nil); l.Close() }, ExitOK},
		"shutdown and nothing":   {func(l *lab) { l.connect(); l.Do("shutdown", nil, nil) }, ExitOK},
		"exit does not wait for the answer": {func(l *lab) {
			l.connect()
			l.Send("shutdown", nil)
			l.Notify("exit", nil)
		}, ExitOK},
	} {
		t.Run(name, func(t *testing.T) {
			inSession(t, func(l *lab) {
				test.end(l)
				l.wantExit(test.want)
				connected := false
				l.hub.await("what the hub was told", func() bool { connected = len(l.hub.conns) > 0; return true })
				if connected {
					l.hub.await("the hub was left", func() bool { return len(l.hub.called(wire.Leave)) == 1 })
				}
			})
		})
	}
}

func TestAClientThatNeverSendsExitIsLeftAfterThreeSeconds(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		l.Do("shutdown", nil, nil)
		began := time.Now()
		l.wantExit(ExitOK)
		if took := time.Since(began); took != exitWithin {
			t.Errorf("ended after %s, want %s", took, exitWithin)
		}
	})
}

func TestRefusedSession(t *testing.T) {
	refuse := func(o *Options) { o.Refused = errors.New("devside does not run as root") }
	t.Run("until the client goes", func(t *testing.T) {
		inSession(t, func(l *lab) {
			r := l.Call("initialize", map[string]any{})
			l.wantError(r, wire.CodeRootRefused, "root-refused")
			if !strings.Contains(string(r.Err.Data), "--allow-root") {
				t.Errorf("data %s has no hint", r.Err.Data)
			}
			l.wantError(l.Call("devside/status", nil), wire.CodeNotInitialized, "not-initialized")
			l.wantExit(ExitRefused)
		}, refuse)
	})
	t.Run("exit", func(t *testing.T) {
		inSession(t, func(l *lab) {
			l.Call("initialize", map[string]any{})
			l.Notify("exit", nil)
			l.wantExit(ExitRefused)
		}, refuse)
	})
	t.Run("end of input", func(t *testing.T) {
		inSession(t, func(l *lab) {
			l.Call("initialize", map[string]any{})
			l.Close()
			l.wantExit(ExitRefused)
		}, refuse)
	})
	t.Run("with a code of its own", func(t *testing.T) {
		own := rpc.Errorf(wire.CodeRootRefused, wire.ErrorData{Code: "root-refused", Hint: "do this"}, "no")
		inSession(t, func(l *lab) {
			r := l.Call("initialize", map[string]any{})
			if r.Err == nil || r.Err.Message != "no" {
				t.Errorf("got %+v", r.Err)
			}
		}, func(o *Options) { o.Refused = own })
	})
}

func TestGarbageIsAProtocolFailure(t *testing.T) {
	root := newRoot(t, config)
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		code := make(chan int, 1)
		go func() {
			code <- Run(t.Context(), Options{RWC: theirs, Dial: newFakeHub(t).dial, Dir: root, Getenv: func(string) string { return "" }})
		}()
		go func() {
			buffer := make([]byte, 4096)
			for {
				if _, err := ours.Read(buffer); err != nil {
					return
				}
			}
		}()
		if _, err := ours.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			t.Error(err)
		}
		if got := <-code; got != ExitProtocol {
			t.Errorf("exit code %d, want %d", got, ExitProtocol)
		}
		_ = ours.Close()
	})
}

func TestInitializeAnswersWhatTheSessionCan(t *testing.T) {
	inSession(t, func(l *lab) {
		var result struct {
			Capabilities struct {
				TextDocumentSync struct {
					OpenClose bool
					Change    int
					Save      any
				}
				ExecuteCommandProvider struct{ Commands []string }
				Workspace              struct {
					WorkspaceFolders struct{ Supported, ChangeNotifications bool }
				}
				PositionEncoding string
				Experimental     struct {
					Devside struct {
						Protocol int
						Version  string
						Methods  []string
					}
				}
			}
			ServerInfo struct{ Name, Version string }
		}
		if err := json.Unmarshal(l.Initialize(nil), &result); err != nil {
			t.Fatal(err)
		}
		c := result.Capabilities
		if !c.TextDocumentSync.OpenClose || c.TextDocumentSync.Change != 1 || c.TextDocumentSync.Save == nil {
			t.Errorf("textDocumentSync %+v", c.TextDocumentSync)
		}
		for _, v := range wire.Verbs {
			if !slices.Contains(c.ExecuteCommandProvider.Commands, "devside.server."+v.Name) || !slices.Contains(c.Experimental.Devside.Methods, "devside/"+v.Name) {
				t.Errorf("%s is not announced", v.Name)
			}
		}
		if !c.Workspace.WorkspaceFolders.Supported || !c.Workspace.WorkspaceFolders.ChangeNotifications || c.PositionEncoding != "" {
			t.Errorf("capabilities %+v", c)
		}
		if c.Experimental.Devside.Protocol != wire.Protocol || result.ServerInfo.Name != "devside" || result.ServerInfo.Version != "1.2.3" {
			t.Errorf("experimental %+v, serverInfo %+v", c.Experimental, result.ServerInfo)
		}
	})
}

func TestASlowHubDelaysNeitherInitializeNorShutdown(t *testing.T) {
	inSession(t, func(l *lab) {
		l.hub.update(func() { l.hub.stuck = true })
		began := time.Now()
		l.open()
		l.wantError(l.Call("nobody/knows", nil), wire.CodeMethodNotFound, "unknown-method")
		start := l.Send("devside/start", nil)
		l.hub.await("the hub is dialled", func() bool { return len(l.hub.dials) > 0 })
		if took := time.Since(began); took != 0 {
			t.Errorf("initialize took %s of the hub's time", took)
		}
		l.Do("shutdown", nil, nil)
		if r := start.Wait(); r.Err == nil {
			t.Errorf("start answered %s", r.Result)
		}
		if took := time.Since(began); took > stopWithin {
			t.Errorf("shutdown took %s", took)
		}
	})
}

func TestShutdownIsAnsweredInTimeWhenTheHubIsNot(t *testing.T) {
	inSession(t, func(l *lab) {
		l.hub.handle[wire.Leave] = func(ctx context.Context, _ json.RawMessage) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		l.connect()
		began := time.Now()
		l.Do("shutdown", nil, nil)
		if took := time.Since(began); took != stopWithin {
			t.Errorf("shutdown took %s, want %s", took, stopWithin)
		}
		l.Notify("exit", nil)
		l.wantExit(ExitOK)
	})
}

// TestNothingIsSentOnceShutdownIsAnswered: a hub that could not be left in time
// may still talk.
func TestNothingIsSentOnceShutdownIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		var got []string
		client := rpc.New(ours, rpc.HandlerFunc(func(m rpc.Message) (rpc.Work, error) {
			got = append(got, m.Method)
			return nil, nil
		}), rpc.Options{})
		s := newSession(t.Context(), Options{})
		s.editor = rpc.New(theirs, nil, rpc.Options{})
		s.send("before", nil)
		s.hush()
		s.send("after", nil)
		s.tell(protocol.MessageTypeError, "after")
		synctest.Wait()
		if !slices.Equal(got, []string{"before"}) {
			t.Errorf("sent %q", got)
		}
		if err := errors.Join(s.editor.Close(), client.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestHubIsToldWhoHoldsIt(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect(map[string]any{"clientInfo": map[string]any{"name": "vscode"},
			"initializationOptions": map[string]any{"trusted": true, "linger": "10s"}})
		l.hub.await("hello", func() bool { return len(l.hub.dials) == 1 })
		got := l.hub.dials[0]
		want := wire.HelloParams{Protocol: wire.Protocol, Version: "1.2.3", Root: l.root, Role: wire.Holder, Client: "vscode",
			PID: got.hello.PID, Env: []string{"PATH=/bin"}, Trusted: true, LingerMs: 10_000}
		a, _ := json.Marshal(got.hello)
		b, _ := json.Marshal(want)
		if string(a) != string(b) || got.start || got.hello.PID == 0 {
			t.Errorf("hello %s (start %v), want %s", a, got.start, b)
		}
	})
}

func TestNoHubIsStartedUntilARequestNeedsOne(t *testing.T) {
	inSession(t, func(l *lab) {
		l.open()
		l.hub.await("a look for a hub", func() bool { return len(l.hub.dials) == 1 })
		synctest.Wait()
		if len(l.hub.dials) != 1 || l.hub.dials[0].start {
			t.Fatalf("dials %+v", l.hub.dials)
		}
		l.Do("devside/status", nil, nil)
		if n := len(l.hub.dials); n != 2 || !l.hub.dials[1].start {
			t.Fatalf("dials %+v", l.hub.dials)
		}
		l.Do("devside/status", nil, nil)
		if len(l.hub.dials) != 2 {
			t.Fatalf("a second request dialled again: %+v", l.hub.dials)
		}
	})
}

func TestARequestBeforeTheFirstLookHasEndedStartsOneHub(t *testing.T) {
	inSession(t, func(l *lab) {
		l.open()
		a, b := l.Send("devside/status", nil), l.Send("devside/status", nil)
		if r := a.Wait(); r.Err != nil {
			t.Error(r.Err)
		}
		if r := b.Wait(); r.Err != nil {
			t.Error(r.Err)
		}
		started := 0
		for _, d := range l.hub.dials {
			if d.start {
				started++
			}
		}
		if started != 1 {
			t.Errorf("dials %+v", l.hub.dials)
		}
	})
}

func TestAnOpenedFileLooksForAHubAgain(t *testing.T) {
	inSession(t, func(l *lab) {
		l.open()
		l.hub.await("a look for a hub", func() bool { return len(l.hub.dials) == 1 })
		synctest.Wait()
		l.hub.update(func() { l.hub.alive = true }) // from a terminal
		l.document("didOpen", config)
		l.Await("its status", func(s *fakeeditor.State) bool { return s.Count(wire.DidChangeStatus) == 1 })
	})
}

func TestAHubThatCannotBeReachedIsSaid(t *testing.T) {
	inSession(t, func(l *lab) {
		l.hub.broken = rpc.Errorf(wire.CodeProtocolMismatch, wire.ErrorData{Code: "protocol-mismatch"}, "a hub of version 0 runs")
		l.open()
		l.Await("the reason in the log", func(s *fakeeditor.State) bool {
			return strings.Contains(string(s.Last("window/logMessage")), "a hub of version 0 runs")
		})
		l.wantError(l.Call("devside/status", nil), wire.CodeProtocolMismatch, "protocol-mismatch")
		l.hub.update(func() { l.hub.broken = errors.New("permission denied") })
		l.wantError(l.Call("devside/status", nil), wire.CodeHubLost, "hub-lost")
	})
}

func TestTheEditorsProcessIsWatched(t *testing.T) {
	inSession(t, func(l *lab) {
		l.Initialize(map[string]any{"processId": 4242})
		began := time.Now()
		l.wantExit(ExitAbrupt)
		if took := time.Since(began); took != 2*parentEvery {
			t.Errorf("ended after %s, want %s", took, 2*parentEvery)
		}
	}, func(o *Options) {
		looks := 0
		o.Identify = func(pid int) (string, bool) {
			if looks++; pid != 4242 || looks < 3 {
				return "4242@1", pid == 4242
			}
			return "4242@2", true // another process has the number now
		}
	})
}

func TestAProcessThatIsNotVisibleIsNotWatched(t *testing.T) {
	for _, pid := range []any{nil, 0, -1, 1.5, "x", 4242} {
		inSession(t, func(l *lab) {
			l.Initialize(map[string]any{"processId": pid})
			<-time.After(10 * parentEvery) // of the bubble's clock
			l.Do("devside/status", nil, nil)
		})
	}
}

func TestAutostart(t *testing.T) {
	for _, test := range []struct {
		option any
		want   string // params of the start, empty: none
	}{
		{true, `{}`}, {[]string{"api"}, `{"servers":["api"]}`}, {false, ""}, {[]string{}, ""}, {"yes", ""}, {nil, ""},
	} {
		inSession(t, func(l *lab) {
			l.open(map[string]any{"initializationOptions": map[string]any{"autostart": test.option}})
			l.hub.await("a look for a hub", func() bool { return len(l.hub.dials) > 0 })
			synctest.Wait()
			var got string
			if calls := l.hub.called("devside/start"); len(calls) > 0 {
				got = calls[0].params
			}
			if got != test.want {
				t.Errorf("autostart %v: started %q, want %q", test.option, got, test.want)
			}
		})
	}
}

func TestAnAutostartThatFailsIsSaid(t *testing.T) {
	inSession(t, func(l *lab) {
		l.hub.handle["devside/start"] = func(context.Context, json.RawMessage) (any, error) {
			return nil, rpc.Errorf(wire.CodeUntrusted, wire.ErrorData{Code: "untrusted"}, "not trusted yet")
		}
		l.open(map[string]any{"initializationOptions": map[string]any{"autostart": true}})
		l.Await("the reason in the log", func(s *fakeeditor.State) bool {
			return strings.Contains(string(s.Last("window/logMessage")), "not trusted yet")
		})
	})
}

func TestWrongOptionsAreSaidAndTheRestHolds(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect(map[string]any{"initializationOptions": map[string]any{"trusted": "true", "linger": 2500, "autostart": 3}})
		l.Await("two notes", func(s *fakeeditor.State) bool { return s.Count("window/logMessage") == 2 })
		if hello := l.hub.dials[0].hello; hello.Trusted || hello.LingerMs != 2500 {
			t.Errorf("hello %+v", hello)
		}
	})
}
