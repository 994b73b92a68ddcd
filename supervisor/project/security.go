package project

import (
	"fmt"
	"time"

	"github.com/devside/devside/supervisor/port"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/status"
)

// This file is what goes into the audit log. What else does comes as an event
// of the kind "security", see happened.

// Client is who asked for something: the process by the kernel's word, the name
// by its own.
type Client struct {
	Name string
	PID  int // 0: not known
}

// VouchedBy takes down that a client vouches for the project's commands, as a
// person's editor or --trust does: nothing is asked while it is connected.
func (p *Project) VouchedBy(c Client) {
	p.audit.Put(status.Event{
		Kind: status.HappenedSecurity, Act: status.ActTrusted, At: time.Now(), Process: processOf(c.PID),
		Message: fmt.Sprintf("%q vouches for the project's commands while it is connected", c.Name),
	})
}

// agreedTo takes down that a person agreed to the commands with this hash.
func (p *Project) agreedTo(hash string) {
	p.audit.Put(status.Event{
		Kind: status.HappenedSecurity, Act: status.ActTrusted, At: time.Now(),
		Message: fmt.Sprintf("a person agreed to the project's commands with the hash %s", hash),
	})
}

// RefusedClient takes down that another user's process wanted to talk to the hub.
func (p *Project) RefusedClient(pid, uid int) {
	h := processOf(pid)
	h.User = port.UserName(uid) // the kernel's word about the connection counts
	p.happened(status.Event{
		Kind: status.HappenedSecurity, Act: status.ActClientRefused, At: time.Now(), Process: h,
		Message: fmt.Sprintf("a process of another user (uid %d, pid %d) was refused", uid, pid),
	})
}

// maxNamed bounds what is taken down of what somebody calls themselves.
const maxNamed = 200

// RefusedPage takes down that a web page of another site, or a program that named
// another host, wanted something of the HTTP side.
func (p *Project) RefusedPage(host, origin string) {
	who := fmt.Sprintf("a request that named the host %q", host[:min(len(host), maxNamed)])
	if origin != "" {
		who += fmt.Sprintf(", from the page %q,", origin[:min(len(origin), maxNamed)])
	}
	p.happened(status.Event{
		Kind: status.HappenedSecurity, Act: status.ActClientRefused, At: time.Now(),
		Message: who + " was refused: pages of other sites are not answered",
	})
}

// processOf names a process without its arguments. One that has gone has no
// name any more.
func processOf(pid int) *status.Holder {
	h := &status.Holder{PID: pid}
	if pid <= 0 {
		return h
	}
	if info, err := proc.Inspect(pid); err == nil {
		h.StartTime, h.Name, h.User = info.Start, info.Name, port.UserName(info.UID)
	}
	return h
}
