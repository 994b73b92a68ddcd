package supervisor

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/devside/devside/supervisor/policy"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/status"
)

// ownStop is why devside itself stops a server that is to run. It is never a
// crash, however the server ends meanwhile.
type ownStop string

const (
	ownRestart ownStop = "restart"
	// ownHold: it went over its last limit and has been restarted too often. To
	// leave it running would risk the machine; to start it again would do what
	// the budget is there against. So it is ended, and held like a crash loop.
	ownHold ownStop = "hold"
)

// costs: what the tree costs the machine was read.
func (s *stepper) costs(f costs) {
	switch s.state {
	case status.Starting, status.Ready, status.Unhealthy:
	case status.Stopping:
		if limit := s.conf.Memory.Kill; limit > 0 && f.share > limit {
			s.do(hurry{s.run}) // the machine can't wait for its grace
		}
		return
	default: // what a crash left is being ended
		return
	}
	memory, action := s.memory.Observe(s.conf.Memory, f.share)
	s.memory = memory
	switch action {
	case policy.MemoryKill:
		s.overLimit(f, s.conf.Memory.Kill, "memory.kill", true)
	case policy.MemoryRestart:
		s.overLimit(f, s.conf.Memory.Restart, "memory.restart", false)
	default:
		delete(s.problems, status.MemoryLimit)
	}
	if s.state == status.Stopping {
		return
	}
	s.warn(f)
	switch {
	case s.memory.High && s.state == status.Ready:
		s.tooHigh()
	case !s.memory.High && s.state == status.Unhealthy && s.health.Passing():
		if s.health.Well() {
			s.healthyAgain()
		} else if s.sick.field != "" {
			s.unsteady() // what is left to tell
		}
	}
}

// warn shows the warning, or takes it back. Its text stays as it was first
// said: the newest number stands in the status.
func (s *stepper) warn(f costs) {
	_, shown := s.problems[status.MemoryWarning]
	switch {
	case !s.memory.Warned:
		delete(s.problems, status.MemoryWarning)
	case !shown:
		text := s.uses(f, s.conf.Memory.Warn)
		if limit := s.conf.Memory.Restart; limit > 0 {
			text += fmt.Sprintf("; over %s it is restarted", sizeText(limit))
		}
		s.tell(status.MemoryWarning, "memory.warn", text, "find what it keeps in memory, or raise `memory: {warn: …}`")
	}
}

// tooHigh: over 80 % of the last limit is unhealthy, and no reason to restart.
func (s *stepper) tooHigh() {
	s.unhealthy(sickness{why: fmt.Sprintf("its memory is over 80 %% of %s, at which it is ended", sizeText(s.conf.Memory.Kill)),
		hint: "find what it keeps in memory, or raise `memory: {kill: …}`", field: "memory.kill"})
}

// overLimit: the tree is over a limit at which it is restarted, with grace or
// (force) without. The budget may say no.
func (s *stepper) overLimit(f costs, limit int64, field string, force bool) {
	text := s.uses(f, limit)
	hint := "find what it keeps in memory, or raise `memory: {" + field[len("memory."):] + ": …}`"
	history, d := s.history.MemoryRestarted(s.now, force)
	s.history = history
	switch {
	case d.Allowed && force:
		s.own, text = ownRestart, text+": it is ended at once and started again"
	case d.Allowed:
		s.own, text = ownRestart, text+": it is restarted"
	case force:
		s.own, text = ownHold, text+fmt.Sprintf(": it is ended and held, since %s already", d.Reason)
		hint += ", then reset it or start it"
	default:
		if _, said := s.problems[status.MemoryLimit]; said {
			return
		}
		text += fmt.Sprintf("; it is not restarted before %s, since %s", s.now.Add(d.Retry).Format(time.TimeOnly), d.Reason)
	}
	delete(s.problems, status.MemoryLimit) // said anew, with what is done now
	s.tell(status.MemoryLimit, field, text, hint)
	if s.own == "" {
		return
	}
	s.enter(status.Stopping, text, hint)
	s.do(endTree{run: s.run, force: force})
}

// ownStopEnded: the tree is gone that devside has stopped by itself.
func (s *stepper) ownStopEnded() {
	if s.own == ownHold {
		p := s.problems[status.MemoryLimit]
		s.spawnedAt = time.Time{}
		s.enter(status.CrashLoop, p.Message, p.Hint)
		return
	}
	s.own, s.why, s.because = "", status.ReasonMemory, status.Because{}
	s.restarts++
	s.say(status.HappenedRestart, s.conf.Name+" restarts because it used too much memory")
	s.tryRestart()
}

// tell raises a problem and says that it has come up.
func (s *stepper) tell(code status.Code, field, message, hint string) {
	p := s.problem(code, message, hint)
	p.Field = field
	s.raise(p)
	s.do(happened{status.Event{Kind: status.HappenedProblem, Server: s.conf.Name, At: s.now, Message: message, Code: code}})
}

// uses says what the tree costs, and what is exceeded.
func (s *stepper) uses(f costs, limit int64) string {
	guess := ""
	switch {
	case f.guessed == 1:
		guess = " (about: the memory of one of its processes can't be read exactly)"
	case f.guessed > 1:
		guess = fmt.Sprintf(" (about: the memory of %d of its processes can't be read exactly)", f.guessed)
	}
	return fmt.Sprintf("%s uses %s%s, more than its limit of %s", s.conf.Name, sizeText(f.share), guess, sizeText(limit))
}

// configured starts a server again whose configuration has changed, when the
// budget allows it: a file that a tool writes again and again must not restart
// it for ever. A start by a person does not wait for that.
func (s *stepper) configured() {
	history, allowed, retry := s.history.OwnRestart(s.now)
	s.history = history
	if allowed {
		s.why, s.retryAt = status.ReasonConfiguration, time.Time{}
		s.sayRestart("restarts")
		s.tryStart()
		return
	}
	s.retryAt = s.now.Add(retry)
	s.enter(status.Backoff, fmt.Sprintf("its configuration changed again, and devside has restarted it often enough for now; restart in %s", retry.Round(time.Second)), "start it to have it now")
	s.do(after{retry, budgetElapsed{s.run}})
}

// inherit takes over from the actor of the same server under an older
// configuration what a change of that must not undo.
func (m *machine) inherit(old Snapshot) {
	m.history, m.starts = old.history, old.Starts
	m.restarts, m.crashes, m.lastExit = old.Restarts, old.Crashes, old.LastExit
	m.restartsBy, m.crashesBy = old.RestartsBy, old.CrashesBy
}

// shown is what the status says that a tree uses.
type shown struct {
	rss, share int64
	cpu        float64
}

const (
	// What changes by less is not told: the memory of an idle server moves by
	// some pages all the time, and whoever is told looks at the whole project.
	leastPart = 0.01 // of memory
	leastCPU  = 0.5  // percent of a core
)

// next is what to show after a measurement; share stays as it was where that
// has not read it.
func (s shown) next(u proc.Usage, cpu float64) shown {
	s.rss = moved(s.rss, u.RSS)
	if u.Exact {
		s.share = moved(s.share, u.Share)
	}
	if math.Abs(cpu-s.cpu) >= leastCPU {
		s.cpu = cpu
	}
	return s
}

func moved(from, to int64) int64 {
	if math.Abs(float64(to-from)) < leastPart*float64(from) {
		return from
	}
	return to
}

// sizeText writes a size as the configuration would: "1.5 GB" for 1.5 * 2^30.
func sizeText(n int64) string {
	unit, name := int64(1<<20), "MB"
	if n >= 1<<30 {
		unit, name = 1<<30, "GB"
	}
	return strconv.FormatFloat(float64(n*100/unit)/100, 'f', -1, 64) + " " + name
}
