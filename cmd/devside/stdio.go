package main

import (
	"context"

	"github.com/rs/zerolog"
)

// stdio is one editor session. Its exit code is the session's own.
func (a *app) stdio(ctx context.Context) error {
	s := stdio{trusted: a.trust, http: string(a.http), allowRoot: a.rootAllowed(), log: a.logger(zerolog.InfoLevel)}
	if a.refused != nil {
		a.refused.report(a.err) // and to the client, in the answer to initialize
		s.refused = a.refused
	}
	if a.rootFlag != "" {
		root, err := realFolder(a.rootFlag)
		if err != nil {
			return err
		}
		s.root = root
	}
	if code := a.doors.serve(ctx, s); code != exitOK {
		return exitCode(code)
	}
	return nil
}

// Hint lets the session tell its client what to do.
func (f *failure) Hint() string { return f.hint }
