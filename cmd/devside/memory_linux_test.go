package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/devside/devside/rpc/sidecar/fakeeditor"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/status"
)

// growing is a server that holds 100 MB more with each SIGUSR2.
const growing = `const kept = []
process.on('SIGUSR2', () => kept.push(Buffer.alloc(100 << 20, 1)))
setInterval(() => {}, 1000)
console.log('up')
`

func TestRELIABILITY006AnEditorSeesAServerOutgrowItsLimits(t *testing.T) {
	dir := realDir(t)
	yaml := `version: 1
servers:
  api:
    command: [node, server.js]
    ready: {log: up, within: 60s}
    memory:
      warn: 100MB
      restart: 200MB
      kill: 2GB
`
	for name, text := range map[string]string{"devside.yaml": yaml, "server.js": growing} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := startSidecar(t, dir, homeDir(t), time.Minute)
	s.initialize(dir, trusted)
	s.mustStart(t)
	grow := func() {
		t.Helper()
		p := s.status(t)
		api, _ := p.Server("api")
		id, err := proc.Identify(api.PID)
		if err == nil {
			err = id.Signal(syscall.SIGUSR2)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// Each look at the status is what has the tree measured every second.
	until := func(what string, is func(status.Server) bool) status.Server {
		t.Helper()
		var api status.Server
		await(t, what, func() (string, bool) {
			p := s.status(t)
			api, _ = p.Server("api")
			return fmt.Sprintf("%+v", api), is(api)
		})
		return api
	}
	grow()
	api := until("the warning", func(s status.Server) bool { return slices.Contains(s.Problems, status.MemoryWarning) })
	if api.State != status.Ready || api.PSSBytes < 100<<20 || api.MemoryBytes < 100<<20 {
		t.Errorf("%+v", api)
	}
	s.Await("the diagnostic at the limit", func(st *fakeeditor.State) bool {
		raw := string(st.Last("textDocument/publishDiagnostics"))
		return strings.Contains(raw, `"memory-warning"`) && strings.Contains(raw, `"line":6`) && strings.Contains(raw, "more than its limit of 100 MB; over 200 MB it is restarted")
	})
	grow()
	api = until("the restart", func(s status.Server) bool { return s.Run == 2 && s.State == status.Ready })
	if api.RestartReason != status.ReasonMemory || api.Crashes != 0 || api.Restarts != 1 || len(api.Problems) != 0 {
		t.Errorf("%+v", api)
	}
	s.Await("the event", func(st *fakeeditor.State) bool {
		return slices.ContainsFunc(st.Messages, func(m fakeeditor.Message) bool {
			var e status.Event
			return m.Method == "devside/didHappen" && json.Unmarshal(m.Params, &e) == nil && e.Kind == status.HappenedProblem &&
				e.Code == status.MemoryLimit && strings.HasSuffix(e.Message, "more than its limit of 200 MB: it is restarted")
		})
	})
	s.Shutdown()
}
