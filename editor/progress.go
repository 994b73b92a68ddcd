package editor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/devside/devside/supervisor/status"
)

// ServerText says in a few words what a server is doing: "api: starting",
// "api: ready in 1.2 s".
func ServerText(s status.Server) string {
	text := string(s.State)
	switch s.State {
	case status.Waiting:
		text = "waiting"
		if len(s.DependsOn) > 0 {
			text = "waiting for " + strings.Join(s.DependsOn, ", ")
		}
	case status.Ready:
		if s.ReadyMs != nil {
			text = "ready in " + Milliseconds(*s.ReadyMs)
		}
	case status.Backoff:
		text = "ended by itself"
		if s.RestartInMs > 0 {
			text += ", starts again in " + Milliseconds(s.RestartInMs)
		}
	case status.Blocked, status.CrashLoop, status.Unhealthy:
		if s.Message != "" {
			text += ": " + s.Message
		}
	}
	return s.Name + ": " + text
}

// Milliseconds writes a duration for people: "340 ms", "1.2 s", "2 min 5 s".
func Milliseconds(ms int64) string {
	const second, minute = 1000, 60_000
	switch {
	case ms < second:
		return strconv.FormatInt(max(ms, 0), 10) + " ms"
	case ms < minute:
		tenths := ms / 100
		return fmt.Sprintf("%d.%d s", tenths/10, tenths%10)
	}
	return fmt.Sprintf("%d min %d s", ms/minute, ms%minute/second)
}

// Progress follows one start, restart or reset through the snapshots that
// arrive while it runs. It is a value: Next returns the one to use next.
type Progress struct {
	names   []string       // of the servers concerned; nil: all
	fresh   bool           // only a run that began after the first snapshot counts as ready
	runs    map[string]int // each server's run in the first snapshot
	last    *status.Project
	percent uint32
}

// NewProgress begins with the newest snapshot before the start, nil when there
// is none. fresh is for restarts: a server that is ready because it has not
// been stopped yet doesn't count.
func NewProgress(names []string, fresh bool, before *status.Project) Progress {
	p := Progress{names: names, fresh: fresh, last: before}
	p.runs = runsOf(before)
	return p
}

// Next takes a snapshot and says what there is to report. The percentage is
// that of the servers concerned which are ready, and never falls. changed is
// false when the snapshot tells nothing new about them.
func (p Progress) Next(now *status.Project) (next Progress, message string, percent uint32, changed bool) {
	next = p
	next.last = now
	if p.runs == nil {
		next.runs = runsOf(now)
	}
	ready, total := 0, 0
	var texts []string
	for _, s := range now.Servers {
		if p.names != nil && !slices.Contains(p.names, s.Name) {
			continue
		}
		total++
		if s.State == status.Ready && (!p.fresh || s.Run != next.runs[s.Name]) {
			ready++
		}
		old, known := serverOf(p.last, s.Name)
		if !known {
			old.State = status.Stopped // what a start begins with
		}
		if old.State != s.State || known && old.Run != s.Run {
			texts = append(texts, ServerText(s))
		}
	}
	if total > 0 {
		next.percent = max(p.percent, uint32(100*ready/total))
	}
	return next, strings.Join(texts, ", "), next.percent, len(texts) > 0 || next.percent != p.percent
}

func serverOf(st *status.Project, name string) (status.Server, bool) {
	if st == nil {
		return status.Server{}, false
	}
	return st.Server(name)
}

func runsOf(st *status.Project) map[string]int {
	if st == nil {
		return nil
	}
	runs := make(map[string]int, len(st.Servers))
	for _, s := range st.Servers {
		runs[s.Name] = s.Run
	}
	return runs
}
