package sidecar

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devside/devside/rpc/sidecar/fakeeditor"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

func crashed(server, message string) status.Problem {
	return status.NewProblem(status.Crashed, server, message, time.Time{})
}

// codes waits until the file shows exactly one diagnostic of each code.
func (l *lab) codes(uri string, want ...string) {
	l.t.Helper()
	l.Await("codes "+strings.Join(want, " ")+" in "+uri, func(s *fakeeditor.State) bool {
		var got []string
		for _, d := range s.Diagnostics[uri] {
			got = append(got, d.Code)
		}
		return strings.Join(got, " ") == strings.Join(want, " ") && s.Published[uri] > 0
	})
}

func TestConfigDiagnosticsNeedNoHub(t *testing.T) {
	inSession(t, func(l *lab) {
		write(t, filepath.Join(l.root, "devside.yaml"), "version: 1\n# 🚀🚀 ünïcode\nservers:\n  api: {command: x, \"🚀prot\": 1}\n")
		l.open()
		l.codes(l.uri, "config-invalid")
		l.Look(func(s *fakeeditor.State) {
			d := s.Diagnostics[l.uri][0]
			if d.Range.Start.Line != 3 || d.Range.End.Character <= d.Range.Start.Character || d.Source != "devside" || d.Severity != 1 {
				t.Errorf("diagnostic %+v", d)
			}
		})
	})
}

func TestAnUnsavedBufferIsWhatIsJudged(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		reloads := func() int { return len(l.hub.called("devside/reload")) }
		l.document("didOpen", config)
		l.document("didChange", config+"tpyo: 1\n")
		l.codes(l.uri, "config-invalid")
		l.document("didChange", config)
		l.codes(l.uri)
		l.document("didChange", config+"tpyo: 1\n")
		l.codes(l.uri, "config-invalid")
		l.document("didClose", "") // without saving: the file on disk counts again
		l.codes(l.uri)
		if n := reloads(); n != 0 {
			t.Errorf("the hub was asked to reload %d times by an unsaved buffer", n)
		}
	})
}

func TestTheClientsSpellingOfAFileIsKept(t *testing.T) {
	inSession(t, func(l *lab) {
		l.open()
		odd := strings.Replace(l.uri, "devside.yaml", "devside%2Eyaml", 1)
		l.Notify("textDocument/didOpen", map[string]any{"textDocument": map[string]any{"uri": odd, "languageId": "yaml", "version": 0, "text": "tpyo: 1\n"}})
		l.Await("diagnostics under the client's URI", func(s *fakeeditor.State) bool { return len(s.Diagnostics[odd]) > 0 })
		l.Notify("textDocument/didClose", map[string]any{"textDocument": map[string]any{"uri": odd}})
		l.Await("cleared there", func(s *fakeeditor.State) bool { return len(s.Diagnostics[odd]) == 0 })
	})
}

func TestDocumentsThatConcernNobody(t *testing.T) {
	inSession(t, func(l *lab) {
		l.open()
		open := func(uri, text string) {
			l.Notify("textDocument/didOpen", map[string]any{"textDocument": map[string]any{"uri": uri, "languageId": "yaml", "version": 1, "text": text}})
		}
		open("file:///elsewhere/devside.yaml", "tpyo: 1\n")
		open(pathToURI(filepath.Join(l.root, "main.go")), "tpyo: 1\n")
		open(l.uri, strings.Repeat("# x\n", maxDocument/4)+"tpyo: 1\n") // larger than any configuration
		l.Notify("textDocument/didChange", map[string]any{"textDocument": map[string]any{"uri": l.uri, "version": 2}, "contentChanges": []any{map[string]any{"text": "tpyo: 1\n"}}})
		<-time.After(10 * publishAfter) // of the bubble's clock
		l.Look(func(s *fakeeditor.State) {
			if len(s.Diagnostics) != 0 {
				t.Errorf("diagnostics %v", s.Diagnostics)
			}
		})
	})
}

func TestAPartialChangeFallsBackToTheFile(t *testing.T) {
	inSession(t, func(l *lab) {
		l.open()
		l.document("didOpen", "tpyo: 1\n")
		l.Await("a problem", func(s *fakeeditor.State) bool { return len(s.Diagnostics[l.uri]) > 0 })
		zero := map[string]any{"line": 0, "character": 0}
		l.Notify("textDocument/didChange", map[string]any{"textDocument": map[string]any{"uri": l.uri, "version": 2},
			"contentChanges": []any{map[string]any{"range": map[string]any{"start": zero, "end": zero}, "text": "x"}}})
		l.codes(l.uri)
	})
}

func TestSavingReloadsTheHub(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		l.document("didOpen", config)
		write(t, filepath.Join(l.root, "devside.yaml"), config+"tpyo: 1\n")
		l.document("didSave", "")
		l.hub.await("reload", func() bool { return len(l.hub.called("devside/reload")) == 1 })
		l.Notify("textDocument/didSave", map[string]any{"textDocument": map[string]any{"uri": pathToURI(filepath.Join(l.root, "package.json"))}})
		l.document("didClose", "")
		l.codes(l.uri, "config-invalid") // of the file as it was saved
		if n := len(l.hub.called("devside/reload")); n != 1 {
			t.Errorf("%d reloads: package.json is not this project's configuration", n)
		}
	})
}

func TestChangesOnDiskAreSeen(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		write(t, filepath.Join(l.root, "devside.yaml"), config+"tpyo: 1\n")
		l.hub.say(l.root, wire.DidHappen, wire.DidHappenParams{Root: l.root, Event: status.Event{Kind: status.HappenedReload}})
		l.codes(l.uri, "config-invalid")
		write(t, filepath.Join(l.root, "devside.yaml"), config)
		l.Notify("workspace/didChangeWatchedFiles", map[string]any{"changes": []any{map[string]any{"uri": l.uri, "type": 2}}})
		l.codes(l.uri)
		if err := os.RemoveAll(l.root); err != nil { // in a test's own directory
			t.Fatal(err)
		}
		l.hub.publish(project(l.root, 5, crashed("api", "m")))
		l.codes(l.uri, "crashed") // on the first line: there is no file any more
	})
}

func TestProblemsOfTheHubAppearAndGo(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		l.hub.publish(project(l.root, 2, crashed("api", "it ended with status 1")))
		l.shows("2:2-2:5 crashed: it ended with status 1")
		taken := status.NewProblem(status.PortTaken, "web", "port 3000 is taken by node (pid 7)", time.Time{})
		taken.Hint, taken.Port = "stop it", 3000
		l.hub.publish(project(l.root, 3, taken))
		l.shows("7:10-7:14 port-taken: port 3000 is taken by node (pid 7)\nstop it")
		l.hub.publish(project(l.root, 4))
		l.shows()
		l.Look(func(s *fakeeditor.State) {
			var sequences int
			for _, m := range s.Messages {
				if m.Method == wire.DidChangeStatus {
					sequences++
				}
			}
			if sequences != 4 {
				t.Errorf("%d snapshots forwarded, want 4", sequences)
			}
		})
	})
}

func TestOnlyWhatChangedIsPublished(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		for sequence := uint64(2); sequence < 20; sequence++ {
			l.hub.publish(project(l.root, sequence, crashed("api", "m")))
			<-time.After(2 * publishAfter)
		}
		synctest.Wait()
		l.Look(func(s *fakeeditor.State) {
			if n := s.Published[l.uri]; n != 1 {
				t.Errorf("published %d times, want once", n)
			}
		})
	})
}

func TestABurstIsPublishedOnce(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		<-time.After(10 * publishAfter)
		for sequence := uint64(2); sequence < 20; sequence++ {
			l.hub.publish(project(l.root, sequence, crashed("api", strings.Repeat("m", int(sequence)))))
		}
		l.shows("2:2-2:5 crashed: " + strings.Repeat("m", 19))
		l.Look(func(s *fakeeditor.State) {
			if n := s.Published[l.uri]; n != 1 {
				t.Errorf("published %d times, want once", n)
			}
		})
	})
}

func TestALateSnapshotIsIgnored(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		l.hub.publish(project(l.root, 9, crashed("api", "new")))
		l.shows("2:2-2:5 crashed: new")
		l.hub.say(l.root, wire.DidChangeStatus, project(l.root, 8, crashed("api", "old")))
		l.hub.say(l.root, wire.DidChangeStatus, "nonsense")
		<-time.After(10 * publishAfter)
		l.shows("2:2-2:5 crashed: new")
	})
}

func TestOneProblemIsShownOnce(t *testing.T) {
	inSession(t, func(l *lab) {
		write(t, filepath.Join(l.root, "devside.yaml"), config+"tpyo: 1\n")
		l.connect()
		l.hub.publish(project(l.root, 2, status.NewProblem(status.ConfigInvalid, "", "unknown key tpyo", time.Time{})))
		l.codes(l.uri, "config-invalid")
		<-time.After(10 * publishAfter)
		l.codes(l.uri, "config-invalid")
	})
}

func TestShutdownClearsWhatIsShown(t *testing.T) {
	inSession(t, func(l *lab) {
		l.connect()
		l.hub.publish(project(l.root, 2, crashed("api", "m")))
		l.shows("2:2-2:5 crashed: m")
		l.Do("shutdown", nil, nil) // the editor's judge holds that nothing is left
		l.Look(func(s *fakeeditor.State) {
			if len(s.Diagnostics[l.uri]) != 0 || s.Published[l.uri] != 2 {
				t.Errorf("after shutdown:\n%s", s)
			}
		})
	})
}

func TestRelatedInformationOnlyWhereDeclared(t *testing.T) {
	for _, wanted := range []bool{true, false} {
		inSession(t, func(l *lab) {
			l.connect(map[string]any{"capabilities": map[string]any{"textDocument": map[string]any{"publishDiagnostics": map[string]any{"relatedInformation": wanted}}}})
			p := crashed("api", "m")
			p.Lines = []string{"boom"}
			l.hub.publish(project(l.root, 2, p))
			l.shows("2:2-2:5 crashed: m")
			l.Look(func(s *fakeeditor.State) {
				related := s.Diagnostics[l.uri][0].RelatedInformation
				if wanted && (len(related) != 1 || related[0].Message != "boom" || related[0].Location.URI != l.uri) || !wanted && related != nil {
					t.Errorf("declared %v: related %+v", wanted, related)
				}
			})
		})
	}
}

// TestSECURITY002LinksOutOfTheFolderAreNotFollowed: a project's configuration
// can't make the sidecar read, and show, a file outside.
func TestSECURITY002LinksOutOfTheFolderAreNotFollowed(t *testing.T) {
	outside := filepath.Join(newRoot(t, ""), "secret.yaml")
	write(t, outside, "tpyo: secret\n")
	inSession(t, func(l *lab) {
		if err := os.Remove(filepath.Join(l.root, "devside.yaml")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, filepath.Join(l.root, "devside.yaml")); err != nil {
			t.Fatal(err)
		}
		l.open()
		<-time.After(10 * publishAfter)
		l.Look(func(s *fakeeditor.State) {
			for _, d := range s.Diagnostics[l.uri] {
				if strings.Contains(d.Message, "tpyo") {
					t.Errorf("the file outside was read: %s", d)
				}
			}
		})
	})
}

func TestFoldersInsideEachOtherOwnTheirFiles(t *testing.T) {
	inSession(t, func(l *lab) {
		inner := filepath.Join(l.root, "inner")
		if err := os.Mkdir(inner, 0o700); err != nil {
			t.Fatal(err)
		}
		innerURI := pathToURI(filepath.Join(inner, "devside.yaml"))
		l.open()
		l.Notify("textDocument/didOpen", map[string]any{"textDocument": map[string]any{"uri": innerURI, "languageId": "yaml", "version": 1, "text": "tpyo: 1\n"}})
		l.Notify("workspace/didChangeWorkspaceFolders", map[string]any{"event": map[string]any{"added": []any{folderParam(inner)}, "removed": []any{}}})
		l.Await("the buffer judged by its own folder", func(s *fakeeditor.State) bool { return len(s.Diagnostics[innerURI]) > 0 })
		l.Notify("workspace/didChangeWorkspaceFolders", map[string]any{"event": map[string]any{"added": []any{}, "removed": []any{folderParam(inner)}}})
		l.Await("cleared with the folder", func(s *fakeeditor.State) bool { return len(s.Diagnostics[innerURI]) == 0 })
	})
}
