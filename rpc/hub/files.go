package hub

import (
	"context"
	"encoding/json"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/wire"
)

// This file serves what concerns files: caches, packages and watch rules.

func (s *session) clearCaches(params json.RawMessage) (rpc.Work, error) {
	var p wire.ClearCachesParams
	if err := rpc.Decode(params, &p); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (any, error) {
		cleared, err := s.h.o.Project.ClearCaches(ctx, p.Servers, p.DryRun)
		if cancelled(ctx) {
			return nil, rpc.ErrCancelled
		}
		if err != nil {
			return nil, toWire(err)
		}
		res := wire.ClearCachesResult{Removed: []wire.RemovedCache{}, Refused: []wire.RefusedCache{}}
		for _, r := range cleared.Removed {
			res.Removed = append(res.Removed, wire.RemovedCache{Path: r.Path, Files: r.Files, Bytes: r.Bytes, Note: r.Failed})
		}
		for _, r := range cleared.Refused {
			res.Refused = append(res.Refused, wire.RefusedCache{Path: r.Path, Why: r.Why})
		}
		return res, nil
	}, nil
}

func (s *session) install(params json.RawMessage) (rpc.Work, error) {
	var p wire.InstallParams
	if err := rpc.Decode(params, &p); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (any, error) {
		in, err := s.h.o.Project.Install(ctx, p.Server, s.hello.Env)
		if cancelled(ctx) {
			return nil, rpc.ErrCancelled
		}
		if err != nil {
			return nil, toWire(err)
		}
		return wire.InstallResult{Argv: list(in.Argv), Dir: in.Dir, OK: in.OK, Message: in.Message, Lines: list(in.Lines)}, nil
	}, nil
}

func (s *session) resume(params json.RawMessage) (rpc.Work, error) {
	var p wire.ResumeParams
	if err := rpc.Decode(params, &p); err != nil {
		return nil, err
	}
	return func(context.Context) (any, error) {
		resumed, err := s.h.o.Project.Resume(p.Servers)
		if err != nil {
			return nil, toWire(err)
		}
		return wire.ResumeResult{Resumed: list(resumed)}, nil
	}, nil
}
