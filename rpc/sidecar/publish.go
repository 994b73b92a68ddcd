package sidecar

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"github.com/devside/devside/editor"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// digest tells one list of diagnostics from another.
type digest [sha256.Size]byte

// publishSoon has the diagnostics published when what belongs together has come.
func (k *keeper) publishSoon() {
	if !k.publishes && !k.leaving {
		k.publishes = true
		k.publish.Reset(publishAfter)
	}
}

// statusCame takes a snapshot. An older one than the last is late, and ignored.
func (k *keeper) statusCame(e statusCame) {
	var st status.Project
	if err := json.Unmarshal(e.raw, &st); err != nil {
		k.s.log.Warn().Err(err).Msg("read status")
		return
	}
	if k.status != nil && st.Sequence < k.status.Sequence {
		return
	}
	k.status = &st
	k.memory = k.memory.Next(&st)
	k.newest.Store(&st)
	k.watchers.tell(&st)
	k.publishSoon()
}

// publishNow publishes, of every file, what has changed since the last time.
func (k *keeper) publishNow() {
	k.load()
	k.refresh()
	var found map[string][]protocol.Diagnostic
	if !k.s.hidden.Load() {
		found = editor.Diagnostics(k.input(k.buffers))
	}
	next := make(map[string][]protocol.Diagnostic, len(found))
	for file, list := range found {
		next[k.uriOf(file)] = list
	}
	for _, gone := range slices.Sorted(maps.Keys(k.published)) {
		if _, still := next[gone]; !still {
			k.unpublish(gone)
		}
	}
	for _, at := range slices.Sorted(maps.Keys(next)) {
		raw, err := encode(diagnosticsOf(at, next[at]))
		if err != nil {
			k.s.log.Error().Err(err).Msg("encode diagnostics")
			continue
		}
		sum := digest(sha256.Sum256(raw))
		if old, shown := k.published[at]; shown && old == sum {
			continue
		}
		k.published[at] = sum
		k.s.send(protocol.MethodTextDocumentPublishDiagnostics, raw)
	}
	k.remember()
}

// recall takes what the session before this one left on the client's screen for
// published, so that what is not known any more is taken back.
func (k *keeper) recall() {
	if k.s.o.Shown == nil {
		return
	}
	k.keep = k.s.o.Shown(k.real, k.client.pid)
	uris, err := k.keep.Load()
	if err != nil {
		k.s.log.Warn().Err(err).Msg("what was shown before")
	}
	for _, at := range uris {
		k.published[at] = digest{}
	}
	k.kept = uris
}

// remember keeps what the client shows now.
func (k *keeper) remember() {
	now := slices.Sorted(maps.Keys(k.published))
	if k.keep == nil || slices.Equal(now, k.kept) {
		return
	}
	k.kept = now
	if err := k.keep.Save(now); err != nil {
		k.s.log.Warn().Err(err).Msg("what is shown")
	}
}

// clear takes back everything that the client shows of this folder.
func (k *keeper) clear() {
	for _, at := range slices.Sorted(maps.Keys(k.published)) {
		k.unpublish(at)
	}
	k.remember()
}

func (k *keeper) unpublish(at string) {
	k.s.notify(protocol.MethodTextDocumentPublishDiagnostics, diagnosticsOf(at, []protocol.Diagnostic{}))
	delete(k.published, at)
}

func diagnosticsOf(at string, list []protocol.Diagnostic) *protocol.PublishDiagnosticsParams {
	return &protocol.PublishDiagnosticsParams{URI: uri.URI(at), Diagnostics: list}
}

// uriOf names a file as the client does: an open one by the very URI it was
// opened with.
func (k *keeper) uriOf(file string) string { return uriIn(k.uri, k.buffers, file) }

func uriIn(folder string, open map[string]buffer, file string) string {
	if b, open := open[file]; open {
		return b.uri
	}
	return folder + "/" + escapePath(file)
}

// load reads the configuration again if it may have changed, and reports
// whether it did. It is read through os.Root, so that no link leads out of the
// folder.
func (k *keeper) load() (again bool) {
	root, err := os.OpenRoot(k.path)
	if err != nil {
		k.s.log.Debug().Err(err).Msg("read folder")
		again = k.loaded != nil
		k.loaded, k.stale = nil, true
		return again
	}
	defer root.Close()
	stamp := k.stampOf(root)
	if !k.stale && stamp == k.stamp {
		return false
	}
	k.loaded = spec.Load(overlay{base: root.FS(), open: k.buffers}, filepath.Base(k.real), k.s.o.Getenv)
	k.stale, k.stamp = false, k.stampOf(root)
	if len(k.loaded.Project.Servers) > 0 {
		k.known = k.loaded.Project
	}
	return true
}

// stampOf says which files the configuration comes from and when they changed:
// a file that is new, gone or rewritten gives another one.
func (k *keeper) stampOf(root *os.Root) string {
	files := []string{spec.FileName}
	if k.loaded != nil {
		for _, s := range k.loaded.Sources {
			files = append(files, s.Path)
		}
	}
	var b strings.Builder
	for _, file := range files {
		info, err := root.Stat(filepath.FromSlash(file))
		if err != nil {
			fmt.Fprintf(&b, "%s: none\n", file)
			continue
		}
		fmt.Fprintf(&b, "%s: %d %d\n", file, info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}
