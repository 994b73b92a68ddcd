package web

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/devside/devside/supervisor/status"
)

// check is one of the three questions that Kubernetes' probes ask, too.
type check string

const (
	// liveness: nothing has ended that should run.
	liveness check = "liveness"
	// readiness: what should run can be used.
	readiness check = "readiness"
	// startup: what should run has been ready since it was started.
	startup check = "startup"
)

// Report is the answer to a check.
type Report struct {
	Check   check          `json:"check"`
	OK      bool           `json:"ok"`
	Reason  string         `json:"reason"` // in plain words; of the first server that fails
	Servers []ServerReport `json:"servers"`
	Known   []string       `json:"known,omitempty"` // when a server was asked for that there is not: those that there are
}

// ServerReport is the answer for one server.
type ServerReport struct {
	Name   string       `json:"name"`
	State  status.State `json:"state"`
	OK     bool         `json:"ok"`
	Counts bool         `json:"counts"` // for the whole: a server that somebody stopped, or never started, does not
	Reason string       `json:"reason"`
	Since  time.Time    `json:"since"`
}

// judge answers a check for the named servers; none: for the whole project.
// Asked by its name a server counts whatever its state.
func judge(c check, st *status.Project, names []string) Report {
	r := Report{Check: c, Servers: []ServerReport{}}
	for _, name := range names {
		if _, ok := st.Server(name); ok {
			continue
		}
		r.Reason, r.Known = fmt.Sprintf("there is no server named %q", name), []string{}
		for _, s := range st.Servers {
			r.Known = append(r.Known, s.Name)
		}
		return r
	}
	counted, good, left := 0, 0, []string{}
	for _, s := range st.Servers {
		if names != nil && !slices.Contains(names, s.Name) {
			continue
		}
		one := ServerReport{Name: s.Name, State: s.State, OK: passes(c, s), Counts: names != nil || counts(s), Reason: reason(s), Since: s.Since}
		r.Servers = append(r.Servers, one)
		switch {
		case !one.Counts:
			left = append(left, s.Name)
		case one.OK:
			counted, good = counted+1, good+1
		default:
			counted++
			r.Reason = cmp.Or(r.Reason, one.Reason)
		}
	}
	r.OK = good == counted && (counted > 0 || c == liveness)
	if r.Reason == "" {
		r.Reason = whole(c, counted, left)
	}
	return r
}

// counts reports whether a server is one of those that should run. One that has
// ended with an error, and is not restarted, should.
func counts(s status.Server) bool {
	return s.State != status.Stopped || slices.Contains(s.Problems, status.Crashed)
}

// passes is the table of the checks.
func passes(c check, s status.Server) bool {
	switch s.State {
	case status.Ready:
		return true
	case status.Unhealthy, status.Stopping:
		return c == liveness || c == startup && s.ReadyMs != nil
	case status.Starting, status.Waiting:
		return c == liveness
	}
	return false // stopped, backoff, blocked, crash-loop
}

// words are the states in a sentence.
var words = map[status.State]string{
	status.Stopped: "is stopped", status.Waiting: "is not started yet", status.Starting: "is starting",
	status.Ready: "is ready", status.Unhealthy: "is unhealthy", status.Backoff: "has ended and is to be restarted",
	status.CrashLoop: "has crashed too often and is held", status.Blocked: "can't be started", status.Stopping: "is being stopped",
}

// reason says how a server is, in plain words.
func reason(s status.Server) string {
	text := s.Name + " " + cmp.Or(words[s.State], string(s.State))
	if s.Message != "" {
		text += ": " + s.Message
	}
	return text
}

// whole says how it is when no server fails.
func whole(c check, counted int, left []string) string {
	var text string
	switch {
	case counted == 0 && c == liveness:
		text = "devside runs"
	case counted == 0:
		text = "no server has been started"
	case counted == 1:
		text = "the server passes"
	default:
		text = fmt.Sprintf("all %d servers pass", counted)
	}
	if len(left) > 0 && counted > 0 {
		text += "; not started: " + strings.Join(left, ", ")
	}
	return text
}
