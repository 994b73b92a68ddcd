package supervisor

import (
	"fmt"
	"time"

	"github.com/devside/devside/supervisor/policy"
	"github.com/devside/devside/supervisor/status"
)

// This file is what a changed file, or a port that has become free, means to a
// server.

// fileChanged: what runs restarts, what would restart later does now, what is
// held has one attempt. What is stopped, or on its way up with the file as it
// is, needs nothing.
func (s *stepper) fileChanged(because status.Because) {
	switch s.state {
	case status.Starting, status.Ready, status.Unhealthy:
		s.anew()
		s.again, s.why, s.because = true, status.ReasonFile, because
		s.stop("restarting, because " + because.String())
	case status.Backoff:
		if s.alive { // its tree is still being cleaned up: what follows is decided then
			return
		}
		s.why, s.because, s.retryAt = status.ReasonFile, because, time.Time{}
		s.restarts++
		s.sayRestart("restarts")
		s.tryRestart()
	case status.Blocked, status.CrashLoop:
		s.attempt(because)
	}
}

// anew lets whoever waits for the server wait for the run to come.
func (s *stepper) anew() {
	s.request++
	s.spawns, s.overdue, s.timed = 0, false, false
}

// attempt starts what is held, once.
func (s *stepper) attempt(because status.Because) {
	history, allowed := s.history.Attempt(s.conf.Restart, s.now)
	s.history = history
	if !allowed {
		s.message = fmt.Sprintf("%s; %s, and it is not tried again: it was %d times within an hour", s.heldBecause(), because, s.conf.Restart.MaxPerHour)
		s.say(status.HappenedProblem, fmt.Sprintf("%s is not tried again though %s: it was %d times within an hour", s.conf.Name, because, s.conf.Restart.MaxPerHour))
		return
	}
	s.anew()
	clear(s.problems)
	s.why, s.because = status.ReasonMended, because
	s.restarts++
	s.sayRestart("is tried again")
	s.tryRestart()
}

// heldBecause is why the server is held, by the problem that holds it.
func (s *stepper) heldBecause() string {
	for _, e := range status.Catalogue {
		if p, ok := s.problems[e.Code]; ok {
			return p.Message
		}
	}
	return s.message
}

func (s *stepper) sayRestart(does string) {
	e := status.Event{Kind: status.HappenedRestart, Server: s.conf.Name, At: s.now, Message: s.conf.Name + " " + does + " because its configuration changed"}
	if because := s.because; because != (status.Because{}) {
		e.Because, e.Message = &because, fmt.Sprintf("%s %s because %s", s.conf.Name, does, because)
	}
	s.do(happened{e})
}

// portPause is the time between two looks at a port that holds a server: a look
// takes some 50 µs (facts: sock_diag), and a second is no long wait.
const portPause = time.Second

// heldByPort reports the port that the server is blocked for.
func (s *stepper) heldByPort() (number int, held bool) {
	p, taken := s.problems[status.PortTaken]
	return p.Port, s.state == status.Blocked && taken && p.Port != 0
}

// awaitPort begins to look whether the port is free, if that is what holds the
// server.
func (s *stepper) awaitPort() {
	if _, held := s.heldByPort(); held {
		s.do(after{portPause, portElapsed{s.run}})
	}
}

// portIs: the port that held the server was looked at. When it is free the
// server is started, which counts as an automatic restart: somebody who takes
// the port again and again must not have it started for ever.
func (s *stepper) portIs(number int, taken bool) {
	if taken {
		s.awaitPort()
		return
	}
	history, decision := s.history.Mended(s.conf.Restart, s.now, s.rnd)
	s.history = history
	why := fmt.Sprintf("port %d is free", number)
	if decision.Action != policy.Restart {
		p := s.problem(status.CrashLooping, fmt.Sprintf("%s is held though %s now: %s", s.conf.Name, why, decision.Reason), "reset it or start it")
		clear(s.problems)
		s.raise(p)
		s.enter(status.CrashLoop, p.Message, p.Hint)
		return
	}
	s.anew()
	clear(s.problems)
	s.why, s.because = status.ReasonMended, status.Because{}
	if decision.Delay > 0 {
		s.retryAt = s.now.Add(decision.Delay)
		s.enter(status.Backoff, fmt.Sprintf("%s; restart in %s", why, decision.Delay.Round(100*time.Millisecond)), "")
		s.do(after{decision.Delay, backoffElapsed{s.run}})
		return
	}
	s.restarts++
	s.say(status.HappenedRestart, fmt.Sprintf("%s starts: %s", s.conf.Name, why))
	s.tryRestart()
}
