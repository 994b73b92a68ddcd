package hub

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/spec"
)

// This file is how clients ask for the HTTP side.

func (s *session) dashboard(params json.RawMessage) (rpc.Work, error) {
	var p wire.DashboardParams
	if err := rpc.Decode(params, &p); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (any, error) {
		url, token, err := s.serveHTTP(ctx, p.Address)
		if cancelled(ctx) {
			return nil, rpc.ErrCancelled
		}
		if err != nil {
			return nil, err
		}
		return wire.DashboardResult{URL: url, Token: token}, nil
	}, nil
}

func (s *session) serveHTTP(ctx context.Context, address string) (url, token string, err error) {
	if address != "" {
		read, fault := spec.HTTPAddress(address)
		if fault != "" {
			return "", "", rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{Code: "invalid-address", Hint: "127.0.0.1:9000, or the number of a port"}, "%s", fault)
		}
		address = read
	}
	if s.h.o.HTTP == nil {
		return "", "", errors.New("this hub has no HTTP side") // in tests only
	}
	url, token, err = s.h.o.HTTP.Serve(ctx, address)
	if err != nil {
		err = rpc.Errorf(wire.CodeRequestFailed, wire.ErrorData{Code: "cannot-listen", Hint: "take another port: 127.0.0.1:0 is any that is free"}, "%v", err)
	}
	return url, token, err
}

// wantHTTP serves a client's hello that asks for HTTP. What fails does not refuse
// the client: servers come first.
func (s *session) wantHTTP(ctx context.Context, address string) {
	if address == "" {
		return
	}
	if _, _, err := s.serveHTTP(ctx, address); err != nil {
		s.h.o.Log.Error().Err(err).Str("address", address).Msg("HTTP for a client")
	}
}
