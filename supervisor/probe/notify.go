package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/devside/devside/supervisor/logs"
)

// NotifyVariable tells a server where it can say that it is ready: the name
// that sd_notify(3) reads.
const NotifyVariable = "NOTIFY_SOCKET"

// Notices is what one run has said of itself by sd_notify(3). Nobody but the
// run's own processes can add to it; see Notify.Serve.
type Notices struct {
	news chan struct{} // holds one token while something is new

	mu   sync.Mutex
	said said
}

// said is what counts of all that was said so far.
type said struct {
	ready, reloading, stopping bool

	status  string // STATUS=, shortened and without control characters
	refused string // why the last notice that was not believed was not
}

func newNotices() *Notices { return &Notices{news: make(chan struct{}, 1)} }

// maxStatus is as much of STATUS= as an error shows.
const maxStatus = 200

// with returns what is known after a datagram: lines of NAME=value, of which
// those that mean nothing to us (WATCHDOG, MAINPID, FDSTORE, BARRIER …) change
// nothing.
func (s said) with(datagram []byte) said {
	for line := range bytes.SplitSeq(datagram, []byte("\n")) {
		switch name, value, _ := strings.Cut(string(line), "="); {
		case name == "READY" && value == "1":
			s = said{ready: true, status: s.status} // also the end of a reload
		case name == "RELOADING" && value == "1":
			s.reloading = true
		case name == "STOPPING" && value == "1":
			s.stopping = true
		case name == "STATUS":
			if len(value) > maxStatus {
				value = value[:maxStatus] + "…"
			}
			s.status = strings.TrimSpace(logs.StripANSI(strings.ToValidUTF8(value, "?")))
		}
	}
	return s
}

// update changes what is known, and tells whoever waits for news.
func (n *Notices) update(change func(said) said) {
	n.mu.Lock()
	was := n.said
	n.said = change(was)
	changed := n.said != was
	n.mu.Unlock()
	if !changed {
		return
	}
	select {
	case n.news <- struct{}{}:
	default:
	}
}

func (n *Notices) now() said {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.said
}

// judge says what is missing for the server to be ready.
func (s said) judge() error {
	var what string
	switch {
	case s.stopping:
		what = "it says that it is stopping"
	case s.reloading:
		what = "it says that it is reloading"
	case s.ready:
		return nil
	default:
		what = "it has not sent READY=1 to " + NotifyVariable + " yet"
	}
	if s.status != "" {
		what += fmt.Sprintf("; its status is %q", s.status)
	}
	if s.refused != "" && !s.ready {
		what += "; " + s.refused
	}
	return errors.New(what)
}

// notifyProbe passes while the last word of the server is that it is ready.
type notifyProbe struct{ notices *Notices }

func newNotify(t Target) (Probe, error) {
	if t.Notices == nil {
		return nil, errors.New("there is no socket for it")
	}
	return notifyProbe{t.Notices}, nil
}

func (p notifyProbe) Look(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return p.notices.now().judge()
}

// News is a channel that gets a value when a look may have a new answer, for
// probes that are told; nil for those that must ask.
func News(p Probe) <-chan struct{} {
	if b, ok := p.(bounded); ok {
		p = b.Probe
	}
	if n, ok := p.(notifyProbe); ok {
		return n.notices.news
	}
	return nil
}
