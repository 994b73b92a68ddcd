package supervisor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/devside/devside/supervisor/probe"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/spec"
)

// listenNotify makes the socket of the run that starts, if its readiness is to
// be told there, and adds its address to the environment.
func (s *Server) listenNotify(env []string) ([]string, error) {
	if s.conf.Ready.Kind != spec.ProbeNotify {
		return env, nil
	}
	if s.host.Notify == nil {
		return nil, probe.ErrUnsupported
	}
	n, err := s.host.Notify(s.conf.Name)
	if err != nil {
		return nil, err
	}
	s.notify = n
	env = slices.DeleteFunc(slices.Clone(env), func(kv string) bool { return strings.HasPrefix(kv, probe.NotifyVariable+"=") })
	return append(env, probe.NotifyVariable+"="+n.Address), nil
}

func (s *Server) closeNotify() {
	if s.notify == nil {
		return
	}
	if err := s.notify.Close(); err != nil {
		s.host.Log.Warn().Err(err).Str("server", s.conf.Name).Msg("close the socket for sd_notify")
	}
	s.notify = nil
}

// hear listens to what the run says of itself until its socket is closed, so
// also while it is being stopped: who waits to be heard would not end.
func (s *Server) hear(ctx context.Context, run int) {
	n, process := s.notify, s.process
	s.background.Go(func() {
		n.Serve(ctx, func(pid int) error { return belongs(process, pid) }, func(why string) {
			s.log.Say(run, time.Now(), why)
			s.host.Log.Warn().Str("server", s.conf.Name).Int("run", run).Msg(why)
		})
	})
}

var errStranger = errors.New("it is no process of this server's")

// belongs returns nil if a process is of a run's tree now. The leader is not
// reaped while notices of its run are heard, so that its session is its own; a
// process that has ended and is not reaped yet is known by it, or by its parent.
func belongs(p Process, pid int) error {
	info, err := proc.Inspect(pid)
	if err != nil {
		return err
	}
	if info.Session == p.Identity().PID {
		return nil
	}
	for _, member := range p.Tree() {
		if member == info.Identity || info.Zombie() && member.PID == info.Parent {
			return nil
		}
	}
	return errStranger
}
