package sidecar

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devside/devside/rpc/sidecar/fakeeditor"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

// stepped is a hub whose start goes on when the test says so.
type stepped struct {
	began, finish chan struct{}
}

func (l *lab) stepped(verb string) stepped {
	s := stepped{make(chan struct{}, 1), make(chan struct{})}
	l.hub.handle["devside/"+verb] = func(ctx context.Context, _ json.RawMessage) (any, error) {
		s.began <- struct{}{}
		select {
		case <-s.finish:
			return wire.StartResult{Servers: []wire.ServerResult{{Name: "api", OK: true, State: status.Ready}, {Name: "web"}}}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return s
}

// withState is the example project with its two servers in these states.
func withState(root string, sequence uint64, api, web status.State) *status.Project {
	st := project(root, sequence)
	st.Servers[0].State, st.Servers[1].State = api, web
	st.Servers[0].Run, st.Servers[1].Run = 1, 1
	return st
}

// progressOf writes the progress of a token as words.
func progressOf(s *fakeeditor.State, token string) []string {
	words := []string{}
	for _, p := range s.Progress[token] {
		percent := ""
		if p.Percentage != nil {
			percent = fmt.Sprintf(" %d%%", *p.Percentage)
		}
		words = append(words, p.Kind+percent+" "+p.Title+p.Message)
	}
	return words
}

func (l *lab) wantProgress(token string, want ...string) {
	l.t.Helper()
	l.Await("progress "+token, func(s *fakeeditor.State) bool { return len(s.Progress[token]) == len(want) })
	l.Look(func(s *fakeeditor.State) {
		if got := progressOf(s, token); !slices.Equal(got, want) {
			l.t.Errorf("progress %q, want %q", got, want)
		}
	})
}

var declared = map[string]any{"capabilities": map[string]any{"window": map[string]any{"workDoneProgress": true}}}

func agree(json.RawMessage) (any, *fakeeditor.Error) { return nil, nil }

func TestProgressOnTheClientsToken(t *testing.T) {
	for name, ask := range map[string]func(l *lab) *fakeeditor.Pending{
		"request": func(l *lab) *fakeeditor.Pending {
			return l.Send("devside/start", map[string]any{"servers": []string{"api", "web"}, "workDoneToken": 7})
		},
		"command's argument": func(l *lab) *fakeeditor.Pending {
			return l.Send("workspace/executeCommand", command("start", map[string]any{"servers": []string{"api", "web"}, "workDoneToken": 7}))
		},
		"command": func(l *lab) *fakeeditor.Pending {
			c := command("start", map[string]any{"servers": []string{"api", "web"}})
			c["workDoneToken"] = 7
			return l.Send("workspace/executeCommand", c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inSession(t, func(l *lab) {
				l.connect()
				hub := l.stepped("start")
				p := ask(l)
				<-hub.began
				l.hub.publish(withState(l.root, 2, status.Starting, status.Waiting))
				l.wantProgress("7", "begin 0% devside: start api, web", "report 0% api: starting, web: waiting")
				l.hub.publish(withState(l.root, 3, status.Ready, status.Starting))
				l.wantProgress("7", "begin 0% devside: start api, web", "report 0% api: starting, web: waiting", "report 50% api: ready, web: starting")
				close(hub.finish)
				if r := p.Wait(); r.Err != nil {
					t.Error(r.Err)
				}
				// The token is good until the answer, so the end has come.
				l.Look(func(s *fakeeditor.State) {
					if got := progressOf(s, "7"); got[len(got)-1] != "end 1 of 2 ready" {
						t.Errorf("progress %q", got)
					}
				})
				if calls := l.hub.called("devside/start"); calls[0].params != `{"servers":["api","web"]}` {
					t.Errorf("the hub got %s", calls[0].params)
				}
			})
		})
	}
}

func TestProgressOnATokenOfOurs(t *testing.T) {
	inSession(t, func(l *lab) {
		asked, agreed := make(chan struct{}), make(chan struct{})
		l.Answer("window/workDoneProgress/create", func(json.RawMessage) (any, *fakeeditor.Error) {
			close(asked)
			<-agreed
			return nil, nil
		})
		l.connect(declared)
		hub := l.stepped("restart")
		p := l.Send("devside/restart", map[string]any{"servers": []string{"api"}})
		<-hub.began // the restart does not wait for the client's consent
		<-asked
		synctest.Wait()
		l.Look(func(s *fakeeditor.State) {
			if len(s.Progress) > 0 {
				t.Errorf("progress before the client agreed: %v", s.Progress)
			}
		})
		close(agreed)
		l.wantProgress(`"devside-1"`, "begin 0% devside: restart api")
		close(hub.finish)
		if r := p.Wait(); r.Err != nil {
			t.Error(r.Err)
		}
		l.wantProgress(`"devside-1"`, "begin 0% devside: restart api", "end 1 of 2 ready")
	})
}

func TestNoProgressForAClientThatDidNotDeclareIt(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		l.Do("devside/start", nil, nil)
		l.Look(func(s *fakeeditor.State) {
			if len(s.Requests)+len(s.Progress) > 0 {
				t.Errorf("requests %v, progress %v", s.Requests, s.Progress)
			}
		})
	})
}

func TestNoProgressWhenTheClientRefusesOrNobodyWaits(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect(declared)
		hub := l.stepped("start")
		p := l.Send("devside/start", nil) // create is answered -32601
		<-hub.began
		l.Await("create", func(s *fakeeditor.State) bool { return len(s.Requests) == 1 })
		close(hub.finish)
		if r := p.Wait(); r.Err != nil {
			t.Error(r.Err)
		}
		l.Do("devside/start", map[string]any{"wait": false}, nil)
		if r := l.Call("devside/stop", nil); r.Err == nil || r.Err.Code != wire.CodeMethodNotFound {
			t.Errorf("stop was not relayed: %s", r.Result)
		}
		synctest.Wait()
		l.Look(func(s *fakeeditor.State) {
			if len(s.Requests) != 1 || len(s.Progress) > 0 {
				t.Errorf("requests %v, progress %v", s.Requests, s.Progress)
			}
		})
	})
}

func TestAStartThatIsOverBeforeTheClientAgreesIsNotShown(t *testing.T) {
	inSession(t, func(l *lab) {
		agreed := make(chan struct{})
		l.Answer("window/workDoneProgress/create", func(json.RawMessage) (any, *fakeeditor.Error) { <-agreed; return nil, nil })
		l.connect(declared)
		l.Do("devside/start", nil, nil) // is answered while the client thinks
		close(agreed)
		synctest.Wait()
		l.Look(func(s *fakeeditor.State) {
			if len(s.Requests) != 1 || len(s.Progress) > 0 {
				t.Errorf("requests %v, progress %v", s.Requests, s.Progress)
			}
		})
	})
}

func TestProgressEndsWhateverHappens(t *testing.T) {
	for name, end := range map[string]func(l *lab, p *fakeeditor.Pending){
		"cancelled by request": func(l *lab, p *fakeeditor.Pending) { p.Cancel() },
		"cancelled by progress": func(l *lab, p *fakeeditor.Pending) {
			l.Notify("window/workDoneProgress/cancel", map[string]any{"token": "mine"})
		},
		"hub lost": func(l *lab, p *fakeeditor.Pending) { l.hub.die() },
		"shutdown": func(l *lab, p *fakeeditor.Pending) { l.Do("shutdown", nil, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			inSession(t, func(l *lab) {
				l.connect()
				hub := l.stepped("reset")
				p := l.Send("devside/reset", map[string]any{"workDoneToken": "mine"})
				<-hub.began
				l.Await("the begin", func(s *fakeeditor.State) bool { return len(s.Progress[`"mine"`]) == 1 })
				end(l, p)
				if r := p.Wait(); r.Err == nil || r.Err.Code != wire.CodeCancelled && r.Err.Code != wire.CodeHubLost {
					t.Errorf("answer %s %+v", r.Result, r.Err)
				}
				l.Look(func(s *fakeeditor.State) {
					if got := s.Progress[`"mine"`]; got[len(got)-1].Kind != "end" {
						t.Errorf("progress %v", got)
					}
				})
			})
		})
	}
}

func TestShutdownEndsAProgressThatTheClientNeverAgreedTo(t *testing.T) {
	inSession(t, func(l *lab) {
		never := make(chan struct{})
		defer close(never)
		l.Answer("window/workDoneProgress/create", func(json.RawMessage) (any, *fakeeditor.Error) { <-never; return nil, nil })
		l.connect(declared)
		hub := l.stepped("start")
		p := l.Send("devside/start", nil)
		<-hub.began
		l.Await("create", func(s *fakeeditor.State) bool { return len(s.Requests) == 1 })
		began := time.Now()
		l.Do("shutdown", nil, nil)
		if took := time.Since(began); took > stopWithin {
			t.Errorf("shutdown took %s", took)
		}
		p.Wait()
	})
}

func TestAutostartShowsProgress(t *testing.T) {
	inSession(t, func(l *lab) {
		l.Answer("window/workDoneProgress/create", agree)
		hub := l.stepped("start")
		l.hub.update(func() { l.hub.alive = true })
		l.open(declared, map[string]any{"initializationOptions": map[string]any{"autostart": true}})
		<-hub.began
		l.Await("the begin", func(s *fakeeditor.State) bool { return len(s.Progress[`"devside-1"`]) >= 1 })
		close(hub.finish)
		l.Await("the end", func(s *fakeeditor.State) bool {
			got := s.Progress[`"devside-1"`]
			return got[len(got)-1].Kind == "end"
		})
	})
}

func TestTwoStartsWithOneToken(t *testing.T) {
	table := progressTable{}
	var first, second bool
	table.add(token(nil), func() {})
	table.add(mustToken(t, `"x"`), func() { first = true })
	table.add(mustToken(t, `"x"`), func() { second = true })
	table.cancels[mustToken(t, `"x"`)]()
	if !first || second {
		t.Errorf("cancelled %v %v, want the first", first, second)
	}
}

func mustToken(t *testing.T, raw string) token {
	t.Helper()
	got, err := readToken(json.RawMessage(raw))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestARestartForAFileIsShown(t *testing.T) {
	inSession(t, func(l *lab) {
		l.Answer("window/workDoneProgress/create", agree)
		l.connect(declared)
		at := time.Now()
		e := status.Event{Kind: status.HappenedRestart, Server: "api", At: at, Message: "api restarts because api/.env changed",
			Because: &status.Because{File: "api/.env", Rule: "env file"}}
		l.hub.say(l.root, wire.DidHappen, wire.DidHappenParams{Root: l.root, Event: e})
		crash := e
		crash.Because = nil // one for a crash is not shown
		l.hub.say(l.root, wire.DidHappen, wire.DidHappenParams{Root: l.root, Event: crash})
		began := "begin 0% devside: api restarts because api/.env changed"

		l.wantProgress(`"devside-1"`, began)
		l.hub.publish(withState(l.root, 2, status.Stopping, status.Ready)) // from before
		l.wantProgress(`"devside-1"`, began, "report 0% api: stopping")
		starting := withState(l.root, 3, status.Starting, status.Ready)
		starting.Servers[0].Run, starting.Servers[0].Since = 2, at.Add(time.Second)
		l.hub.publish(starting)
		l.wantProgress(`"devside-1"`, began, "report 0% api: stopping", "report 0% api: starting")
		ready := withState(l.root, 4, status.Ready, status.Ready)
		ready.Servers[0].Run, ready.Servers[0].Since = 2, at.Add(2*time.Second)
		l.hub.publish(ready)
		l.Await("the end", func(s *fakeeditor.State) bool {
			words := progressOf(s, `"devside-1"`)
			return words[len(words)-1] == "end 1 of 1 ready"
		})
		l.Look(func(s *fakeeditor.State) {
			if len(s.Progress) != 1 {
				t.Errorf("%d progresses", len(s.Progress))
			}
		})
	})
}
