package hub

import (
	"context"
	"errors"
	"fmt"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/logs"
)

// maxFollows bounds the logs that one client follows at once: each costs a
// goroutine and a place in the log.
const maxFollows = 256

// readLog answers a logs request, and follows the log when it was asked to.
func (s *session) readLog(l *logs.Log, p wire.LogsParams, q logs.Query) (any, error) {
	if !p.Follow {
		lines, err := l.Lines(q)
		if err != nil {
			return nil, logError(err)
		}
		return wire.LogsResult{Lines: toLines(lines)}, nil
	}
	lines, follower, err := l.LinesThenFollow(q)
	if err != nil {
		return nil, logError(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := following{cancel: cancel, ended: make(chan struct{})}
	token, ok := s.remember(f)
	if !ok {
		cancel()
		follower.Close()
		return nil, rpc.Errorf(wire.CodeRequestFailed, wire.ErrorData{Code: "too-many-follows", Hint: "end some with devside/unfollow"}, "this client follows %d logs already", maxFollows)
	}
	return rpc.Reply{Result: wire.LogsResult{Lines: toLines(lines), Token: token}, Sent: func() {
		s.h.background.Go(func() {
			defer close(f.ended)
			defer s.forget(token)
			defer cancel()
			defer follower.Close()
			s.follow(ctx, follower, token, p, q)
		})
	}}, nil
}

// following is a log that a client follows.
type following struct {
	cancel context.CancelFunc
	ended  chan struct{} // closed when nothing is sent any more
}

// remember keeps what is followed under a new token, unless that is too much or
// the connection has ended.
func (s *session) remember(f following) (token string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.follows == nil || len(s.follows) >= maxFollows {
		return "", false
	}
	s.tokens++
	token = fmt.Sprintf("log-%d-%d", s.id, s.tokens)
	s.follows[token] = f
	return token, true
}

func (s *session) forget(token string) (following, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.follows[token]
	delete(s.follows, token)
	return f, ok
}

// endFollows ends what is followed, when the connection has ended.
func (s *session) endFollows() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.follows {
		f.cancel()
	}
	s.follows = nil
}

// follow sends what comes, until ctx or the connection ends. It goes at the
// client's pace: what a slow one misses is said, and nobody waits for it.
func (s *session) follow(ctx context.Context, f *logs.Follower, token string, p wire.LogsParams, q logs.Query) {
	for {
		lines, skipped, err := f.Next(ctx)
		if err != nil {
			return
		}
		kept := lines[:0]
		for _, line := range lines {
			if q.Grep == nil || q.Grep.MatchString(logs.StripANSI(line.Text)) {
				kept = append(kept, line)
			}
		}
		if len(kept) == 0 && skipped == 0 {
			continue
		}
		params := wire.DidLogParams{Root: s.h.o.Root, Token: token, Server: p.Server, Lines: toLines(kept), Skipped: skipped}
		if s.conn.NotifyPaced(ctx, wire.DidLog, params) != nil {
			return
		}
	}
}

func logError(err error) error {
	var none *logs.NoRunError
	if errors.As(err, &none) {
		return rpc.Errorf(wire.CodeInvalidParams, wire.ErrorData{Code: "unknown-run"}, "%v", err)
	}
	return fmt.Errorf("read the log: %w", err)
}
