package sidecar

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devside/devside/editor"
	"github.com/devside/devside/rpc/sidecar/fakeeditor"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

// everything is what an editor of today declares.
var everything = capability(`{
	"window": {"workDoneProgress": true},
	"workspace": {"codeLens": {"refreshSupport": true}, "inlayHint": {"refreshSupport": true},
		"workspaceEdit": {"documentChanges": true, "resourceOperations": ["create", "rename", "delete"]}},
	"textDocument": {
		"publishDiagnostics": {"relatedInformation": true, "dataSupport": true},
		"codeLens": {}, "inlayHint": {}, "hover": {"contentFormat": ["markdown", "plaintext"]},
		"completion": {"completionItem": {"documentationFormat": ["markdown"]}},
		"codeAction": {"codeActionLiteralSupport": {"codeActionKind": {"valueSet": ["quickfix"]}}, "isPreferredSupport": true},
		"documentSymbol": {"hierarchicalDocumentSymbolSupport": true}, "documentLink": {"tooltipSupport": true}}}`)

// little is what an editor declares that has each feature and no extra.
var little = capability(`{"textDocument": {"codeLens": {}, "inlayHint": {}, "hover": {}, "completion": {}, "codeAction": {}, "documentSymbol": {}, "documentLink": {}}}`)

func capability(text string) map[string]any {
	var c map[string]any
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		panic(err)
	}
	return map[string]any{"capabilities": c}
}

func at(line, character int) map[string]any {
	return map[string]any{"line": line, "character": character}
}

// about is the params of a request about a file.
func about(uri string, more map[string]any) map[string]any {
	params := map[string]any{"textDocument": map[string]any{"uri": uri},
		"range": map[string]any{"start": at(0, 0), "end": at(1000, 0)}, "position": at(0, 0),
		"context": map[string]any{"diagnostics": []any{}}}
	for k, v := range more {
		params[k] = v
	}
	return params
}

// titles are those of the lenses of the lab's devside.yaml.
func (l *lab) titles() []string {
	l.t.Helper()
	var lenses []struct {
		Command struct{ Title string }
	}
	l.Do("textDocument/codeLens", about(l.uri, nil), &lenses)
	out := []string{}
	for _, lens := range lenses {
		out = append(out, lens.Command.Title)
	}
	return out
}

func ready(root string, sequence uint64) *status.Project {
	st := project(root, sequence)
	st.Servers[0].State, st.Servers[0].URL, st.Servers[0].PID = status.Ready, "http://localhost:4000", 7
	return st
}

func TestLensesFollowTheServers(t *testing.T) {
	inSession(t, func(l *lab) {
		l.open(everything)
		stopped := []string{"stopped", "start", "stop", "restart", "logs", "stopped", "start", "stop", "restart", "logs"}
		if got := l.titles(); !slices.Equal(got, stopped) {
			t.Errorf("without a hub: %q", got)
		}
		l.hub.update(func() { l.hub.alive = true })
		l.document("didOpen", config) // looks for a hub
		l.hub.await("a connection", func() bool { return len(l.hub.conns) == 1 })
		l.hub.publish(ready(l.root, 2))
		l.Await("the snapshot", func(s *fakeeditor.State) bool {
			return strings.Contains(string(s.Last(wire.DidChangeStatus)), "localhost:4000")
		})
		synctest.Wait()
		if got := l.titles(); got[0] != "ready http://localhost:4000" || len(got) != 10 {
			t.Errorf("ready: %q", got)
		}
	})
}

func TestCommandsOfLensesAreVerbsThatWork(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect(everything)
		var lenses []struct {
			Command struct {
				Command   string
				Arguments []json.RawMessage
			}
		}
		l.Do("textDocument/codeLens", about(l.uri, nil), &lenses)
		l.Do("workspace/executeCommand", map[string]any{"command": lenses[1].Command.Command, "arguments": lenses[1].Command.Arguments}, nil)
		l.hub.await("start", func() bool { return len(l.hub.called("devside/start")) == 1 })
		if got := l.hub.called("devside/start")[0].params; got != `{"servers":["api"]}` {
			t.Errorf("start was sent %s", got)
		}
		if editor.CommandPrefix != wire.CommandPrefix {
			t.Errorf("editor has the prefix %s", editor.CommandPrefix)
		}
		for _, lens := range lenses {
			name := strings.TrimPrefix(lens.Command.Command, wire.CommandPrefix)
			v, known := verbs[name]
			if name == "" {
				continue // a label
			}
			if !known {
				t.Errorf("%s is no verb", lens.Command.Command)
			} else if _, err := readRequest(v, lens.Command.Arguments[0], nil); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// TestRefreshes: a client is told to ask again only when a title of a file it
// has open has changed, and at most once a second.
func TestRefreshes(t *testing.T) {
	count := func(l *lab, method string) (n int) {
		l.Look(func(s *fakeeditor.State) {
			for _, r := range s.Requests {
				if r.Method == method {
					n++
				}
			}
		})
		return n
	}
	const lens, hint = "workspace/codeLens/refresh", "workspace/inlayHint/refresh"
	agree := func(json.RawMessage) (any, *fakeeditor.Error) { return nil, nil }
	inSession(t, func(l *lab) {
		l.Answer(lens, agree)
		l.Answer(hint, agree)
		l.connect(everything)
		<-time.After(5 * time.Second) // of the bubble's clock
		if n := count(l, lens) + count(l, hint); n != 0 {
			t.Errorf("%d refreshes of a client that has no file open", n)
		}
		l.document("didOpen", config)
		<-time.After(5 * time.Second)
		before, hints := count(l, lens), count(l, hint)
		began := time.Now()
		for sequence := uint64(2); sequence < 42; sequence++ { // 5 seconds of changes
			st := ready(l.root, sequence)
			if sequence%2 == 0 {
				st = project(l.root, sequence)
			}
			l.hub.publish(st)
			<-time.After(125 * time.Millisecond)
		}
		<-time.After(2 * time.Second)
		n, most := count(l, lens)-before, int(time.Since(began)/time.Second)
		if n < 3 || n > most {
			t.Errorf("%d refreshes of lenses in %d seconds", n, most)
		}
		if h := count(l, hint) - hints; h != 0 {
			t.Errorf("%d refreshes of hints that did not change", h)
		}
		before = count(l, lens)
		st := ready(l.root, 100)
		for i := range 20 { // nothing that a lens shows
			st.Sequence, st.Servers[0].MemoryBytes = uint64(100+i), int64(i)<<20
			l.hub.publish(st)
			<-time.After(200 * time.Millisecond)
		}
		if n := count(l, lens) - before; n > 1 {
			t.Errorf("%d refreshes though no title changed", n)
		}
		hints = count(l, hint)
		ms := int64(900)
		st.Sequence, st.Servers[0].ReadyMs = 200, &ms
		l.hub.publish(st)
		<-time.After(2 * time.Second)
		if h := count(l, hint) - hints; h != 1 {
			t.Errorf("%d refreshes of hints that changed", h)
		}
	})
	inSession(t, func(l *lab) { // the editor's judge faults on a refresh that was not declared
		l.connect(little)
		l.document("didOpen", config)
		l.hub.publish(ready(l.root, 2))
		<-time.After(3 * time.Second)
		if n := count(l, lens) + count(l, hint); n != 0 {
			t.Errorf("%d refreshes", n)
		}
	})
	inSession(t, func(l *lab) { // a client that never answers is not sent a second one
		hang := make(chan struct{})
		l.Answer(lens, func(json.RawMessage) (any, *fakeeditor.Error) { <-hang; return nil, nil })
		l.Answer(hint, agree)
		defer close(hang)
		l.connect(everything)
		l.document("didOpen", config)
		for sequence := uint64(2); sequence < 12; sequence++ {
			st := ready(l.root, sequence)
			st.Servers[0].URL += strings.Repeat("x", int(sequence))
			l.hub.publish(st)
			<-time.After(time.Second)
		}
		if n := count(l, lens); n != 1 {
			t.Errorf("%d refreshes of a client that answers none", n)
		}
	})
}

func TestHoversAndHints(t *testing.T) {
	for name, declared := range map[string]map[string]any{"everything": everything, "little": little} {
		t.Run(name, func(t *testing.T) {
			inSession(t, func(l *lab) {
				l.connect(declared)
				st := ready(l.root, 2)
				ms := int64(900)
				st.Servers[0].MemoryBytes, st.Servers[0].ReadyMs = 100<<20, &ms
				l.hub.publish(st)
				synctest.Wait() // or the second snapshot takes the place of the first
				st.Sequence, st.Servers[0].MemoryBytes = 3, 400<<20
				l.hub.publish(st)
				l.Await("both", func(s *fakeeditor.State) bool { return s.Count(wire.DidChangeStatus) == 3 })
				synctest.Wait()
				var h struct {
					Contents struct{ Kind, Value string }
				}
				l.Do("textDocument/hover", about(l.uri, map[string]any{"position": at(2, 3)}), &h)
				if h.Contents.Kind != map[string]string{"everything": "markdown", "little": "plaintext"}[name] || !strings.Contains(h.Contents.Value, "400 MB ▁█") {
					t.Errorf("hover %+v", h)
				}
				var hints []struct{ Label string }
				l.Do("textDocument/inlayHint", about(l.uri, nil), &hints)
				if len(hints) != 1 || hints[0].Label != "ready in 900 ms" {
					t.Errorf("hints %+v", hints)
				}
			})
		})
	}
}

// TestWhatAFeatureAnswersIsWhatTheEditorShows: a request that follows a change
// sees it, though nothing was saved, published or told to a hub.
func TestWhatAFeatureAnswersIsWhatTheEditorShows(t *testing.T) {
	inSession(t, func(l *lab) {
		l.open(everything)
		l.document("didOpen", config)
		var sent []*fakeeditor.Pending
		for n := range 20 {
			l.document("didChange", config+strings.Repeat("  more: {command: x}\n", n%2))
			sent = append(sent, l.Send("textDocument/codeLens", about(l.uri, nil)))
		}
		for n, p := range sent {
			var lenses []json.RawMessage
			if r := p.Wait(); json.Unmarshal(r.Result, &lenses) != nil || len(lenses) != 10+5*(n%2) {
				t.Errorf("request %d: %d lenses", n, len(lenses))
			}
		}
		l.document("didClose", "")
		if n := len(l.titles()); n != 10 {
			t.Errorf("%d lenses of the file on disk", n)
		}
		if n := len(l.hub.called("devside/reload")); n != 0 {
			t.Errorf("%d reloads", n)
		}
	})
}

func TestFeaturesAnswerWithNothingAboutWhatIsNotOurs(t *testing.T) {
	inSession(t, func(l *lab) {
		l.open(everything)
		for method, f := range features {
			want := "[]"
			if f.nothing == nil {
				want = "null"
			}
			for _, uri := range []string{"untitled:x", "file:///elsewhere/devside.yaml", pathToURI(filepath.Join(l.root, "main.go")), pathToURI(filepath.Join(l.root, "deep", "devside.yaml"))} {
				r := l.Call(method, about(uri, nil))
				if r.Err != nil || string(r.Result) != want && string(r.Result) != `{"isIncomplete":false,"items":[]}` {
					t.Errorf("%s of %s: %s %+v", method, uri, r.Result, r.Err)
				}
			}
			l.wantError(l.Call(method, []any{1}), wire.CodeInvalidParams, "invalid-params")
		}
	})
}

func TestAFolderThatIsRemovedHasNothingToLookUp(t *testing.T) {
	inSession(t, func(l *lab) {
		l.open(everything)
		l.document("didOpen", "servers:\n  web:\n    dir: ")
		if err := os.RemoveAll(l.root); err != nil { // in a test's own directory
			t.Fatal(err)
		}
		var list struct{ Items []struct{ Label string } }
		l.Do("textDocument/completion", about(l.uri, map[string]any{"position": at(2, 9)}), &list)
		if len(list.Items) != 1 || list.Items[0].Label != "." {
			t.Errorf("items %+v", list.Items)
		}
	})
}

func TestAFeatureOfAFolderThatGoes(t *testing.T) {
	inSession(t, func(l *lab) {
		l.open(everything)
		l.titles()
		l.Notify("workspace/didChangeWorkspaceFolders", map[string]any{"event": map[string]any{"added": []any{}, "removed": []any{folderParam(l.root)}}})
		if got := l.titles(); len(got) != 0 {
			t.Errorf("lenses of a folder that was removed: %q", got)
		}
		l.Do("shutdown", nil, nil)
		l.wantError(l.Call("textDocument/codeLens", about(l.uri, nil)), wire.CodeInvalidRequest, "shut-down")
	})
}

// TestProvidersAreThoseThatWereDeclared: the editor's judge holds that nothing
// more is advertised; here, that nothing less is.
func TestProvidersAreThoseThatWereDeclared(t *testing.T) {
	providers := func(declared map[string]any) (out []string) {
		inSession(t, func(l *lab) {
			var result struct {
				Capabilities map[string]json.RawMessage
			}
			if err := json.Unmarshal(l.Initialize(declared), &result); err != nil {
				t.Fatal(err)
			}
			for name := range result.Capabilities {
				if strings.HasSuffix(name, "Provider") && name != "executeCommandProvider" {
					out = append(out, name)
				}
			}
		})
		slices.Sort(out)
		return out
	}
	if got := providers(nil); len(got) != 0 {
		t.Errorf("nothing declared: %q", got)
	}
	odd := capability(`{"textDocument": {"hover": true, "codeLens": {}, "inlayHint": [], "completion": null}, "workspace": 7, "window": {"workDoneProgress": "yes"}}`)
	if got := providers(odd); !slices.Equal(got, []string{"codeLensProvider", "hoverProvider", "inlayHintProvider"}) {
		t.Errorf("odd shapes: %q", got)
	}
	for name, declared := range map[string]map[string]any{"everything": everything, "little": little} {
		if got := providers(declared); len(got) != len(features) {
			t.Errorf("%s: %d features are answered, advertised are %q", name, len(features), got)
		}
	}
}

// action is a quick-fix as an editor gets it: a command, or more.
type action struct {
	Title   string
	Command json.RawMessage
	Edit    *struct {
		DocumentChanges []struct {
			TextDocument struct {
				URI     string
				Version *int
			}
			Edits []struct{ NewText string }
		}
	}
	Arguments []json.RawMessage
}

// TestAQuickFixActsOnWhatHoldsNow: the holder of a port is named as it was shown
// when the fix was offered, and the fix is gone when the problem is, whatever
// the client still shows.
func TestAQuickFixActsOnWhatHoldsNow(t *testing.T) {
	for name, declared := range map[string]map[string]any{"everything": everything, "little": little} {
		t.Run(name, func(t *testing.T) {
			inSession(t, func(l *lab) {
				l.connect(declared)
				taken := status.NewProblem(status.PortTaken, "web", "port 3000 is taken", time.Time{})
				taken.Port, taken.Holder = 3000, &status.Holder{PID: 41, StartTime: "77", Name: "node"}
				l.hub.publish(project(l.root, 2, taken))
				l.codes(l.uri, "port-taken")
				on := map[string]any{"range": map[string]any{"start": at(7, 12), "end": at(7, 12)}}
				var actions []action
				l.Do("textDocument/codeAction", about(l.uri, on), &actions)
				if len(actions) != 2 || actions[0].Title != "Stop node (pid 41) on port 3000" {
					t.Fatalf("actions %+v", actions)
				}
				var command struct {
					Command   string
					Arguments []json.RawMessage
				}
				if name == "everything" {
					if err := json.Unmarshal(actions[0].Command, &command); err != nil {
						t.Fatal(err)
					}
				} else {
					command.Arguments = actions[0].Arguments
					if err := json.Unmarshal(actions[0].Command, &command.Command); err != nil {
						t.Fatal(err)
					}
				}
				l.Call("workspace/executeCommand", command)
				want := `{"holder":{"pid":41,"startTime":"77"},"port":3000}`
				if calls := l.hub.called("devside/freePort"); len(calls) != 1 || calls[0].params != want {
					t.Errorf("freePort was called with %+v", calls)
				}
				l.hub.publish(project(l.root, 3))
				l.codes(l.uri)
				l.Do("textDocument/codeAction", about(l.uri, on), &actions)
				if len(actions) != 0 {
					t.Errorf("actions for a problem that is gone: %+v", actions)
				}
			})
		})
	}
}

func TestAnEditIsForTheVersionThatWasSeen(t *testing.T) {
	inSession(t, func(l *lab) {
		l.open(everything)
		l.document("didOpen", config)
		l.document("didChange", config+"    prot: 3000\n")
		var actions []action
		l.Do("textDocument/codeAction", about(l.uri, nil), &actions)
		if len(actions) == 0 || actions[0].Title != `Change to "port"` && actions[0].Title != "Remove prot" {
			t.Fatalf("actions %+v", actions)
		}
		doc := actions[0].Edit.DocumentChanges[0].TextDocument
		if doc.URI != l.uri || doc.Version == nil || *doc.Version != 2 {
			t.Errorf("the edit is for %+v", doc)
		}
	})
}

// TestThePortIsWrittenOnlyIntoAFileThatWasSaved: the hub edits the file on disk,
// which would part ways with what the editor has.
func TestThePortIsWrittenOnlyIntoAFileThatWasSaved(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect(everything)
		taken := status.NewProblem(status.PortTaken, "web", "port 3000 is taken", time.Time{})
		taken.Port = 3000
		l.hub.publish(project(l.root, 2, taken))
		l.codes(l.uri, "port-taken")
		offers := func(want string) {
			t.Helper()
			var actions []action
			l.Do("textDocument/codeAction", about(l.uri, nil), &actions)
			if len(actions) != 1 || actions[0].Title != want {
				t.Errorf("actions %+v, want %s", actions, want)
			}
		}
		const write, session = "Use the next free port for web, in devside.yaml", "Use the next free port for web in this session"
		offers(write)
		l.document("didOpen", config)
		offers(write)
		l.document("didChange", config+"# more\n")
		offers(session)
		l.document("didSave", "")
		offers(write)
	})
}

// TestCompletionSymbolsAndLinks: also with an unsaved buffer that is no YAML at
// the moment, and with files of the folder, of which one leads out of it.
func TestCompletionSymbolsAndLinks(t *testing.T) {
	outside := newRoot(t, "")
	write(t, filepath.Join(outside, "package.json"), `{"scripts": {"secret": "x"}}`)
	for name, declared := range map[string]map[string]any{"everything": everything, "little": little} {
		t.Run(name, func(t *testing.T) {
			inSession(t, func(l *lab) {
				write(t, filepath.Join(l.root, "package.json"), `{"scripts": {"dev": "x"}}`)
				if err := os.Symlink(outside, filepath.Join(l.root, "out")); err != nil {
					t.Fatal(err)
				}
				l.open(declared)
				l.document("didOpen", config)
				l.titles() // so that the configuration was read once while it was valid
				labels := func(text string) (out []string) {
					t.Helper()
					l.document("didChange", text)
					lines := strings.Split(text, "\n")
					var list struct{ Items []struct{ Label string } }
					l.Do("textDocument/completion", about(l.uri, map[string]any{"position": at(len(lines)-1, len(lines[len(lines)-1]))}), &list)
					for _, i := range list.Items {
						out = append(out, i.Label)
					}
					return out
				}
				if got := labels(config + "    depends_on: ["); !slices.Equal(got, []string{"api"}) {
					t.Errorf("names %q", got)
				}
				if got := labels("servers:\n  web:\n    command: "); !slices.Equal(got, []string{"npm run dev"}) {
					t.Errorf("scripts %q", got)
				}
				if got := labels("servers:\n  web:\n    command: x\n    dir: out/"); slices.ContainsFunc(got, func(s string) bool { return s != "." }) {
					t.Errorf("folders of a link that leads out: %q", got)
				}
				l.document("didChange", config)
				var symbols []struct{ Name string }
				l.Do("textDocument/documentSymbol", about(l.uri, nil), &symbols)
				var links []struct{ Target string }
				l.Do("textDocument/documentLink", about(l.uri, nil), &links)
				if len(symbols) != 2 || symbols[0].Name != "api" || len(links) != 2 || links[1].Target != "http://localhost:3000" {
					t.Errorf("symbols %+v, links %+v", symbols, links)
				}
			})
		})
	}
}

// TestPlacesAreInsideTheTextWhateverItHolds: emoji, CR LF, CR, tabs, a text that
// breaks off. The editor's judge looks at every position of every answer.
func TestPlacesAreInsideTheTextWhateverItHolds(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect(everything)
		l.hub.publish(ready(l.root, 2))
		l.document("didOpen", config)
		odd := "# 🚀🚀\r\nversion: 1 # 🚀\r\nservers:\r\n  api: {command: \"🚀 x\", port: 4000, \"🚀prot\": 1, depends_on: [wbe]} # 🚀\r\n" +
			"  web:\r\n    command: y\r\n    port: 4000\r\n    env_file: [\"🚀.env\"]\r\n    ready: {http: /é}\r\n    nope: 🚀"
		for _, text := range []string{odd, strings.ReplaceAll(odd, "\r\n", "\r"), strings.ReplaceAll(odd, "\r\n", "\n"), odd[:len(odd)/2], strings.ReplaceAll(odd, "  ", "\t")} {
			l.document("didChange", text)
			for method := range features {
				l.Do(method, about(l.uri, nil), nil)
			}
			for line := range strings.Split(strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n"), "\n") {
				for character := 0; character < 80; character += 7 {
					for _, method := range []string{"textDocument/hover", "textDocument/completion"} {
						l.Do(method, about(l.uri, map[string]any{"position": at(line, character)}), nil)
					}
				}
			}
		}
	})
}

// TestTheReadmeNamesEveryFeatureAndNoOther compares its table with what is answered.
func TestTheReadmeNamesEveryFeatureAndNoOther(t *testing.T) {
	raw, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(textDocument/[a-zA-Z]+)` \\|").FindAllStringSubmatch(string(raw), -1) {
		named[m[1]] = true
		if _, ok := features[m[1]]; !ok && m[1] != "textDocument/publishDiagnostics" {
			t.Errorf("the README names %s, which is not answered", m[1])
		}
	}
	for method := range features {
		if !named[method] {
			t.Errorf("the README does not name %s", method)
		}
	}
}

// TestServersOfOtherFiles: lenses, hints and hovers stand at the script that a
// server comes from, also in a buffer that is not saved.
func TestServersOfOtherFiles(t *testing.T) {
	inSession(t, func(l *lab) {
		if err := os.Remove(filepath.Join(l.root, "devside.yaml")); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(l.root, "web"), 0o700); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(l.root, "web", "package.json")
		write(t, file, "{}")
		l.uri = pathToURI(file)
		l.connect(everything)
		l.document("didOpen", "{\n\t\"name\": \"🚀\", \"scripts\": {\"dev\": \"next dev\"}\n}\n")
		st := ready(l.root, 2)
		st.Servers[0].Name, st.Servers[0].Ports = "web", []status.Port{{Number: 3000}}
		st.Servers = st.Servers[:1]
		l.hub.publish(st)
		synctest.Wait()
		if got := l.titles(); !slices.Equal(got, []string{"ready http://localhost:4000", "start", "stop", "restart", "logs"}) {
			t.Errorf("lenses %q", got)
		}
		var hints []struct {
			Label    string
			Position struct{ Line, Character int }
		}
		l.Do("textDocument/inlayHint", about(l.uri, nil), &hints)
		if len(hints) != 1 || hints[0].Label != "→ 3000" || hints[0].Position.Line != 1 || hints[0].Position.Character != 44 {
			t.Errorf("hints %+v", hints)
		}
		for character, want := range map[int]string{30: "script next dev", 40: "script next dev", 3: ""} {
			var h *struct{ Contents struct{ Value string } }
			l.Do("textDocument/hover", about(l.uri, map[string]any{"position": at(1, character)}), &h)
			if (h != nil) != (want != "") || h != nil && !strings.Contains(h.Contents.Value, want) {
				t.Errorf("hover at %d: %+v", character, h)
			}
		}
		for _, method := range []string{"textDocument/completion", "textDocument/documentSymbol", "textDocument/documentLink"} {
			l.Do(method, about(l.uri, nil), nil)
		}
		var actions []struct {
			Title string
			Edit  struct {
				DocumentChanges []struct {
					URI   string
					Edits []struct{ NewText string }
				}
			}
		}
		l.Do("textDocument/codeAction", about(l.uri, nil), &actions)
		if len(actions) != 1 || actions[0].Edit.DocumentChanges[0].URI != pathToURI(filepath.Join(l.root, "devside.yaml")) ||
			!strings.Contains(actions[0].Edit.DocumentChanges[1].Edits[0].NewText, "dir: web") {
			t.Errorf("actions %+v", actions)
		}
	})
}

// TestEveryCommandOfAQuickFixIsAVerb: whatever is wrong, what is offered can be run.
func TestEveryCommandOfAQuickFixIsAVerb(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect(little)
		var problems []status.Problem
		for _, e := range status.Catalogue {
			p := status.NewProblem(e.Code, "api", "m", time.Time{})
			p.Port, p.Holder, p.Argv = 4000, &status.Holder{PID: 7, StartTime: "1", Name: "x"}, []string{"npm", "ci"}
			problems = append(problems, p)
		}
		st := project(l.root, 2, problems...)
		st.Trust = status.Trust{State: status.Untrusted, Hash: "h", Commands: []status.TrustCommand{}}
		l.hub.publish(st)
		synctest.Wait()
		var actions []struct {
			Title, Command string
			Arguments      []json.RawMessage
		}
		l.Do("textDocument/codeAction", about(l.uri, nil), &actions)
		seen := map[string]bool{}
		for _, a := range actions {
			name := strings.TrimPrefix(a.Command, wire.CommandPrefix)
			seen[name] = true
			v, known := verbs[name]
			if !known || len(a.Arguments) != 1 {
				t.Errorf("%s is no verb", a.Command)
			} else if r, err := readRequest(v, a.Arguments[0], nil); err != nil || r.root != l.root {
				t.Errorf("%s %s: %v", name, a.Arguments[0], err)
			}
		}
		for _, want := range []string{"freePort", "nextPort", "restart", "reset", "logs", "trust", "install", "resume"} {
			if !seen[want] {
				t.Errorf("%s is not offered: %+v", want, actions)
			}
		}
	})
}
