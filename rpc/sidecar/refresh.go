package sidecar

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.lsp.dev/protocol"

	"github.com/devside/devside/editor"
)

// refreshEvery is how often a client is told to ask for lenses and hints again:
// it asks for all that are visible, in every file, and draws them anew.
const refreshEvery = time.Second

// maxLine is beyond every file that is looked at.
const maxLine = 1 << 30

// refreshes says what a client is to ask for again, or can be told to.
type refreshes struct{ lenses, hints bool }

// refresher gathers what is to be asked for again until the next refresh.
type refresher struct {
	wake chan struct{} // holds one token while there is something

	mu  sync.Mutex
	set refreshes
}

func newRefresher() *refresher { return &refresher{wake: make(chan struct{}, 1)} }

func (r *refresher) add(more refreshes) {
	r.mu.Lock()
	r.set.lenses = r.set.lenses || more.lenses
	r.set.hints = r.set.hints || more.hints
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *refresher) take() refreshes {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.set
	r.set = refreshes{}
	return all
}

// keepFresh sends refreshes, one at a time and at most one of each a second. A
// client that does not answer is not sent the next one.
func (s *session) keepFresh(ctx context.Context) {
	pause := stoppedTimer()
	defer pause.Stop()
	for {
		select {
		case <-s.stale.wake:
		case <-ctx.Done():
			return
		}
		pause.Reset(refreshEvery)
		due := s.stale.take()
		if due.lenses {
			s.demand(ctx, protocol.MethodWorkspaceCodeLensRefresh)
		}
		if due.hints {
			s.demand(ctx, protocol.MethodWorkspaceInlayHintRefresh)
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *session) demand(ctx context.Context, method string) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if err := s.editor.Call(ctx, method, nil, nil); err != nil {
		s.log.Debug().Err(err).Msg(method)
	}
}

// refresh has the client ask again where a title of an open file has changed
// since it was told last. A client that has none of the files open has nothing
// to ask for.
func (k *keeper) refresh() {
	can := k.client.refresh
	if can == (refreshes{}) || len(k.buffers) == 0 {
		k.shown = shown{}
		return
	}
	now := k.titles()
	due := refreshes{lenses: can.lenses && now.lenses != k.shown.lenses, hints: can.hints && now.hints != k.shown.hints}
	k.shown = now
	if due != (refreshes{}) {
		k.s.stale.add(due)
	}
}

// shown is every title that the open files have, of lenses and of hints.
type shown struct{ lenses, hints string }

func (k *keeper) titles() shown {
	var lenses, hints strings.Builder
	v := k.moment().View
	whole := protocol.Range{End: protocol.Position{Line: maxLine}}
	for _, file := range slices.Sorted(maps.Keys(k.buffers)) {
		for _, l := range editor.Lenses(v, file) {
			lenses.WriteString(l.Command.Title + "\n")
		}
		for _, h := range editor.Hints(v, file, whole) {
			if label, ok := h.Label.(protocol.String); ok {
				hints.WriteString(string(label) + "\n")
			}
		}
	}
	return shown{lenses.String(), hints.String()}
}
