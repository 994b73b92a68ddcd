package sidecar

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devside/devside/rpc/sidecar/fakeeditor"
	"github.com/devside/devside/rpc/wire"
)

var configurable = map[string]any{"capabilities": map[string]any{"workspace": map[string]any{"configuration": true}}}

// settings answers workspace/configuration with these settings of devside.
func settings(l *lab, text string) {
	l.Answer("workspace/configuration", func(raw json.RawMessage) (any, *fakeeditor.Error) {
		var p struct{ Items []struct{ Section string } }
		if err := json.Unmarshal(raw, &p); err != nil || len(p.Items) != 1 || p.Items[0].Section != "devside" {
			l.t.Errorf("asked for %s", raw)
		}
		return []json.RawMessage{json.RawMessage(text)}, nil
	})
}

func TestSettingsAreHonoured(t *testing.T) {
	for name, c := range map[string]struct {
		settings string
		options  map[string]any
		linger   int64
		started  bool
		trusted  bool
		note     string
	}{
		"none":                      {settings: `null`},
		"linger and autostart":      {settings: `{"linger": "7s", "autostart": ["api"]}`, linger: 7000, started: true},
		"trust is not taken":        {settings: `{"trusted": true}`},
		"what was said holds":       {settings: `{"linger": "7s", "autostart": true}`, options: map[string]any{"linger": 1000, "autostart": false}, linger: 1000},
		"what is wrong is told":     {settings: `{"linger": "soon"}`, note: "the setting devside.linger was ignored"},
		"what is no object is told": {settings: `3`, note: "the setting devside is not an object"},
	} {
		t.Run(name, func(t *testing.T) {
			inSession(t, func(l *lab) {
				settings(l, c.settings)
				l.hub.update(func() { l.hub.alive = c.started })
				l.open(configurable, map[string]any{"initializationOptions": c.options})
				synctest.Wait()
				if n := len(l.hub.called("devside/start")); (n > 0) != c.started {
					t.Errorf("%d starts", n)
				}
				l.hub.update(func() { l.hub.alive = true })
				if !c.started {
					l.Do("devside/status", nil, nil) // has a hub
					last := l.hub.dialsSoFar()
					if d := last[len(last)-1]; d.hello.LingerMs != c.linger || d.hello.Trusted != c.trusted {
						t.Errorf("%+v", d.hello)
					}
				}
				l.Look(func(s *fakeeditor.State) {
					told := string(s.Last("window/logMessage")) + string(s.Last("window/showMessage"))
					if c.note != "" && !strings.Contains(told, c.note) {
						t.Errorf("told %s, want %s", told, c.note)
					}
				})
			})
		})
	}
}

func TestSettingsAreAskedForAgainWhenTheyChangeAndNeverUndeclared(t *testing.T) {
	inSession(t, func(l *lab) {
		settings(l, `null`)
		l.connect(configurable)
		synctest.Wait()
		settings(l, `{"linger": 2000, "autostart": true}`)
		l.Notify("workspace/didChangeConfiguration", map[string]any{"settings": nil})
		l.Await("the second question", func(s *fakeeditor.State) bool { return len(s.Requests) == 2 })
		synctest.Wait()
		if n := len(l.hub.called("devside/start")); n != 0 {
			t.Errorf("%d starts, of a session that is at work", n)
		}
	})
	inSession(t, func(l *lab) {
		l.connect() // which declares nothing
		l.Notify("workspace/didChangeConfiguration", map[string]any{"settings": map[string]any{}})
		l.Do(wire.MethodPrefix+"status", nil, nil)
		l.Look(func(s *fakeeditor.State) {
			if len(s.Requests) != 0 {
				t.Errorf("%v", s.Requests)
			}
		})
	})
}

// TestDiagnosticsCanBeTurnedOff: by a setting, which may change, or for the whole
// session; they are taken back, and come again.
func TestDiagnosticsCanBeTurnedOff(t *testing.T) {
	const broken = "5:4-5:8 config-invalid: "
	shown := func(l *lab, want bool) {
		l.t.Helper()
		l.Await(broken, func(s *fakeeditor.State) bool {
			list := s.Diagnostics[l.uri]
			return want == (len(list) == 1 && strings.HasPrefix(list[0].String(), broken))
		})
	}
	inSession(t, func(l *lab) {
		write(t, filepath.Join(l.root, "devside.yaml"), strings.Replace(config, "port: 4000", "port: 4000\n    prot: 1", 1))
		settings(l, `{"problems": true}`)
		l.open(configurable)
		shown(l, true)
		settings(l, `{"problems": false}`)
		l.Notify("workspace/didChangeConfiguration", map[string]any{"settings": nil})
		shown(l, false)
		settings(l, `{}`)
		l.Notify("workspace/didChangeConfiguration", map[string]any{"settings": nil})
		shown(l, true)
	})
	inSession(t, func(l *lab) {
		write(t, filepath.Join(l.root, "devside.yaml"), strings.Replace(config, "port: 4000", "port: 4000\n    prot: 1", 1))
		settings(l, `{"problems": true}`)
		l.open(configurable, map[string]any{"initializationOptions": map[string]any{"problems": false}})
		l.Await("the question", func(s *fakeeditor.State) bool { return len(s.Requests) == 1 })
		time.Sleep(time.Minute) // of the bubble's time: they would have come
		l.Look(func(s *fakeeditor.State) {
			if n := s.Count("textDocument/publishDiagnostics"); n != 0 {
				t.Errorf("published %d times", n)
			}
		})
	})
}

// TestTheAnswerToAnOlderQuestionDoesNotHold: the client answers the first question
// when it has answered the second.
func TestTheAnswerToAnOlderQuestionDoesNotHold(t *testing.T) {
	inSession(t, func(l *lab) {
		second := make(chan struct{})
		l.Answer("workspace/configuration", func(json.RawMessage) (any, *fakeeditor.Error) {
			<-second
			return []any{map[string]any{"linger": 1000}}, nil
		})
		l.open(configurable)
		l.Await("the question", func(s *fakeeditor.State) bool { return len(s.Requests) == 1 })
		settings(l, `{"linger": 2000}`)
		l.Notify("workspace/didChangeConfiguration", map[string]any{"settings": nil})
		l.Await("the second question", func(s *fakeeditor.State) bool { return len(s.Requests) == 2 })
		synctest.Wait()
		close(second)
		synctest.Wait()
		l.Do("devside/status", nil, nil)
		last := l.hub.dialsSoFar()
		if d := last[len(last)-1]; d.hello.LingerMs != 2000 {
			t.Errorf("linger %d", d.hello.LingerMs)
		}
	})
}
