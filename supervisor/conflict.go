package supervisor

import (
	"fmt"
	"time"

	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// portTaken says who has the port and what to do.
func portTaken(server string, number int, h *status.Holder) *status.Problem {
	who := "a process that can't be seen"
	hint := fmt.Sprintf("something is bound to port %d without listening; `devside next-port %s` takes another port", number, server)
	if h != nil {
		who = describe(*h)
		hint = fmt.Sprintf("`devside free %d` stops it, `devside next-port %s` takes another port", number, server)
		if h.PID == 0 {
			hint = fmt.Sprintf("it belongs to %s and is not ours to stop; `devside next-port %s` takes another port", h.User, server)
		}
	}
	p := status.NewProblem(status.PortTaken, server, fmt.Sprintf("port %d is taken by %s", number, who), time.Now())
	p.Hint, p.Port, p.Holder = hint, number, h
	return &p
}

// describe names a holder: "node (pid 4121, user ann, started 09:12)".
func describe(h status.Holder) string {
	switch {
	case h.Server != "":
		return fmt.Sprintf("server %s (pid %d)", h.Server, h.PID)
	case h.PID == 0:
		return "a process of user " + h.User
	}
	text := fmt.Sprintf("%s (pid %d", h.Name, h.PID)
	if h.User != "" {
		text += ", user " + h.User
	}
	if !h.Started.IsZero() {
		text += ", started " + started(h.Started, time.Now())
	}
	return text + ")"
}

// started writes a time as people say it: the hour of today, else the day, too.
func started(at, now time.Time) string {
	at = at.In(now.Location())
	if y, m, d := at.Date(); y == now.Year() && m == now.Month() && d == now.Day() {
		return at.Format("15:04")
	}
	return at.Format("Jan 2 15:04")
}

// ForeignError says that a port of the server is answered by somebody else.
type ForeignError struct{ Problem status.Problem }

func (e *ForeignError) Error() string { return e.Problem.Message }

// foreign reports that the first port of a run is answered, but not by the
// run's own tree: somebody took it between the look before the start and the
// server's own attempt. `owner: any` asks for no look; where listeners can't be
// listed there is none.
func (s *Server) foreign(process Process, ports []int) error {
	if len(ports) == 0 || process == nil || s.host.Owned == nil || s.conf.Ports[0].Owner == spec.OwnerAny {
		return nil
	}
	taken, listeners, err := s.host.Taken(ports[0])
	if err != nil || !taken || len(listeners) == 0 {
		return nil
	}
	var pids []int
	for _, id := range process.Tree() {
		pids = append(pids, id.PID)
	}
	if s.host.Owned(listeners, pids) {
		return nil
	}
	p := portTaken(s.conf.Name, ports[0], s.host.HolderOf(listeners))
	p.Message += ", not by " + s.conf.Name + " itself"
	if p.Holder != nil && p.Holder.Server == "" {
		p.Hint += "; if that is meant, say `port: {number: " + fmt.Sprint(s.conf.Ports[0].Number) + ", owner: any}`"
	}
	return &ForeignError{*p}
}

// stillHeld says who listens on a port after its server has gone. A socket that
// only uses the number for an outgoing connection is none of ours.
func (s *Server) stillHeld(number int) *status.Problem {
	taken, listeners, err := s.host.Taken(number)
	if err != nil || !taken || len(listeners) == 0 {
		return nil
	}
	return portTaken(s.conf.Name, number, s.host.HolderOf(listeners))
}
