package sidecar

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"

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
