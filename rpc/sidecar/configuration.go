package sidecar

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"go.lsp.dev/protocol"
)

// configureWithin is how long a client may take to say its settings. Without an
// answer what initializationOptions said holds.
const configureWithin = 10 * time.Second

// section is the part of a client's settings that is devside's.
const section = "devside"

// configure asks a client that declared it for its settings: `linger`,
// `autostart` and `problems`, as initializationOptions has them, where those said
// nothing. Trust is never taken from settings, which a repository can bring along.
// first: what starts by itself has not been started yet.
func (s *session) configure(first bool) {
	s.mu.Lock()
	c, folders := s.client, slices.Clone(s.folders)
	s.questions++
	mine := s.questions
	s.mu.Unlock()
	if !c.configuration {
		return
	}
	s.relays.run(func(ctx context.Context) {
		got, ok := s.settings(ctx)
		if !ok {
			return
		}
		for _, note := range got.notes {
			s.tell(protocol.MessageTypeWarning, strings.Replace(note, "initializationOptions", "the setting "+section, 1))
		}
		s.mu.Lock()
		newest, changed := mine == s.questions, false // else there is a later answer, or will be
		if newest && !c.saidLinger && got.saidLinger {
			s.linger.Store(int64(got.linger))
		}
		if newest && !c.saidProblems {
			changed = s.hidden.Swap(got.hidden) != got.hidden
		}
		s.mu.Unlock()
		if changed {
			s.eachFolder(func(f *folder) { f.inbox.put(filesChanged{}) })
		}
		if first && !c.saidAuto && got.auto.on {
			for _, f := range folders {
				s.autostart(f, got.auto.servers)
			}
		}
	})
}

// settings asks once. A client that has none, or does not answer, is one
// without.
func (s *session) settings(ctx context.Context) (got client, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, configureWithin)
	defer cancel()
	name := section
	params, err := encode(&protocol.ConfigurationParams{Items: []protocol.ConfigurationItem{{Section: &name}}})
	var answer []json.RawMessage
	if err == nil {
		err = s.editor.Call(ctx, protocol.MethodWorkspaceConfiguration, params, &answer)
	}
	if err != nil || len(answer) == 0 {
		s.log.Debug().Err(err).Msg("no settings")
		return client{}, false
	}
	got.readOptions(answer[0])
	return got, true
}
