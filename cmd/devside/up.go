package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

// idleHold is how long everything must have been stopped before `up` ends by
// itself: a restart asked for elsewhere passes through stopped.
const idleHold = time.Second

func (a *app) upCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up [server...]",
		Short: "Run the servers here, with their output, until Ctrl-C",
		Long: `Start the servers, or those named and what they depend on, and show what they
print. Ctrl-C stops them all; a second one does not wait for those that are slow.

Where the project runs already, started by an editor or by "devside start", up
shows its output as well, and Ctrl-C leaves it running.`,
		ValidArgsFunction: a.completeServers,
		RunE: func(cmd *cobra.Command, servers []string) error {
			return explainNil(a.up(cmd.Context(), servers))
		},
	}
	a.addHTTPFlag(cmd.Flags())
	return cmd
}

func (a *app) up(ctx context.Context, servers []string) error {
	p, err := a.project()
	if err != nil {
		return err
	}
	if err := p.usable(); err != nil {
		return err
	}
	if err := p.has(servers); err != nil {
		return err
	}
	view := a.newLogView(p.names(), true)
	for lost := 0; ; lost++ {
		in := newInbox()
		d := a.dialing(p.root, wire.Holder, "up")
		d.took = in.put
		fg, err := a.doors.foreground(ctx, d)
		if err != nil {
			return causeOf(ctx, err)
		}
		u := &upRun{app: a, fg: fg, in: in, view: view, wanted: servers, following: map[string]bool{}, said: map[string]string{}}
		err = u.run(ctx)
		if !errors.Is(err, errHubLost) || lost == maxLost {
			return err
		}
		if err := view.note("", "devside's hub was lost: starting again"); err != nil {
			return err
		}
	}
}

// errHubLost: the hub has gone though we held it.
var errHubLost = &failure{code: exitHub, what: "the hub has ended, or was lost", hint: `"devside status" says what runs now`}

// maxLost is how many lost hubs `up` replaces: what kills one now and then is
// bad luck, what kills each is something to look at.
const maxLost = 5

// upRun is one run of `up`. Its loop owns all of it; the calls that take their
// time run beside the loop and report to it.
type upRun struct {
	app       *app
	fg        upHub
	in        *inbox
	view      *logView
	wanted    []string // names that were given; empty: all
	following map[string]bool
	seen      changes
	shown     map[string]bool   // problems that are on the screen
	said      map[string]string // the last of devside's own lines in each server's output
	now       *status.Project
	started   bool // the start was answered
	result    wire.StartResult
}

// answer is what a call beside the loop came to.
type answer struct {
	result wire.StartResult
	err    error
}

func (u *upRun) call(ctx context.Context, verb string, servers []string) <-chan answer {
	out := make(chan answer, 1)
	go func() {
		var a answer
		a.err = causeOf(ctx, u.fg.hub.Call(ctx, wire.MethodPrefix+verb, wire.StartParams{Servers: servers}, &a.result))
		out <- a
	}()
	return out
}

// run is the whole of `up`, from the first look to the hub's end.
func (u *upRun) run(ctx context.Context) error {
	err := u.watch(ctx)
	if errors.Is(err, rpc.ErrClosed) && ctx.Err() == nil {
		err = errHubLost // seen first by a call that was under way
	}
	if err != nil && ctx.Err() != nil && u.fg.attached {
		leave(u.fg.hub)
		if err := u.view.note("", `detached: the servers go on running, "devside stop" stops them`); err != nil {
			return err
		}
		return exitCode(exitInterrupted)
	}
	if u.fg.attached {
		leave(u.fg.hub)
		return err
	}
	if errors.Is(err, errHubLost) {
		u.fg.wait() //nolint:errcheck // how it ended is known; now what it left is gone, too
		return err
	}
	if ctx.Err() != nil {
		if err := u.view.note("", "stopping; once more to wait no longer"); err != nil {
			return err
		}
		err = exitCode(exitInterrupted)
	}
	if ended := u.end(context.WithoutCancel(ctx)); ended != nil {
		return ended
	}
	return err
}

// watch shows everything until there is a reason to end.
func (u *upRun) watch(ctx context.Context) error {
	if err := u.look(ctx); err != nil {
		return err
	}
	if u.fg.attached {
		if err := u.view.note("", "this project runs already: attached, Ctrl-C leaves it running"); err != nil {
			return err
		}
	}
	starting := u.call(ctx, "start", u.wanted)
	idle := time.NewTimer(0)
	if !idle.Stop() {
		<-idle.C
	}
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case got := <-starting:
			starting = nil
			if err := u.startAnswered(ctx, got); err != nil {
				return err
			}
		case <-u.in.ready():
			if err := u.show(ctx, u.in.take()); err != nil {
				return err
			}
			if u.started && u.allStopped() {
				idle.Reset(idleHold)
			} else {
				idle.Stop()
			}
		case <-idle.C:
			return u.view.note("", "all servers are stopped")
		case <-u.fg.hub.Done():
			if err := u.show(ctx, u.in.take()); err != nil {
				return err
			}
			return errHubLost
		}
	}
}

// look takes the first status and follows the servers' output, so that no line
// of a start is missed.
func (u *upRun) look(ctx context.Context) error {
	st := &status.Project{}
	if err := ask(ctx, u.fg.hub, "status", wire.StatusParams{}, st); err != nil {
		return err
	}
	return u.show(ctx, delivery{status: st})
}

// show writes what came in.
func (u *upRun) show(ctx context.Context, d delivery) error {
	if d.status != nil {
		u.now = d.status
		if err := u.follow(ctx); err != nil {
			return err
		}
	}
	if u.app.json() {
		return u.showJSON(d)
	}
	if err := u.view.deliver(d); err != nil {
		return err
	}
	for _, l := range d.logs {
		for _, line := range l.Lines {
			if line.Stream == "devside" {
				said := u.said[l.Server] + line.Text + "\n"
				u.said[l.Server] = said[max(0, len(said)-saidBytes):]
			}
		}
	}
	for _, e := range d.events {
		// What happened to a server stands in its output, where it happened.
		if e.Server == "" {
			if err := u.view.note(e.Server, e.Message); err != nil {
				return err
			}
		}
	}
	if d.status == nil {
		return nil
	}
	for _, s := range u.seen.note(d.status) {
		text := upStateText(s)
		if text == "" {
			continue
		}
		if err := u.view.note(s.Name, text); err != nil {
			return err
		}
	}
	return u.showProblems(d.status.Problems)
}

// saidBytes is how far back a problem looks for its own words in the output: a
// few lines.
const saidBytes = 1 << 10

func (u *upRun) showJSON(d delivery) error {
	if err := u.view.write(d.logs); err != nil {
		return err
	}
	for _, e := range d.events {
		if err := u.app.line(notification{wire.DidHappen, e}); err != nil {
			return err
		}
	}
	if d.status == nil {
		return nil
	}
	return u.app.line(notification{wire.DidChangeStatus, d.status})
}

// upStateText is what the server's output does not say of itself already.
func upStateText(s status.Server) string {
	switch s.State {
	case status.Waiting:
		return stateText(s)
	case status.Ready:
		return s.URL
	}
	return ""
}

// showProblems writes each problem when it appears.
func (u *upRun) showProblems(problems []status.Problem) error {
	now := map[string]bool{}
	for _, p := range problems {
		key := p.Server + "\x00" + string(p.Code) + "\x00" + p.Message
		now[key] = true
		if u.shown[key] {
			continue
		}
		st := u.view.style
		prefix := ""
		if p.Server != "" {
			prefix = u.view.prefix(p.Server)
		}
		text := prefix + st.severity(p.Severity) + " " + string(p.Code)
		if !strings.Contains(u.said[p.Server], p.Message+"\n") { // else it is the line above
			text += ": " + visible(p.Message)
		}
		text += "\n"
		if p.Hint != "" {
			text += prefix + "hint: " + visible(p.Hint) + "\n"
		}
		if err := u.app.say("%s", text); err != nil {
			return err
		}
	}
	u.shown = now
	return nil
}

// follow asks for the output of every server that is not followed yet.
func (u *upRun) follow(ctx context.Context) error {
	for _, s := range u.now.Servers {
		if u.following[s.Name] || !u.concerns(s.Name) {
			continue
		}
		u.following[s.Name] = true
		var res wire.LogsResult
		params := wire.LogsParams{Server: s.Name, Follow: true}
		if u.fg.attached {
			params.Lines = attachedLines
		}
		if err := ask(ctx, u.fg.hub, "logs", params, &res); err != nil {
			return err
		}
		if err := u.view.write(merge(u.now.Root, map[string]wire.LogsResult{s.Name: res})); err != nil {
			return err
		}
	}
	return nil
}

// attachedLines is how much of the past an attached `up` shows of each server:
// enough to see where it is.
const attachedLines = 10

// concerns reports whether a server was named, or is needed by one that was.
func (u *upRun) concerns(name string) bool {
	if len(u.wanted) == 0 {
		return true
	}
	todo := slices.Clone(u.wanted)
	seen := map[string]bool{}
	for len(todo) > 0 {
		next := todo[0]
		todo = todo[1:]
		if next == name {
			return true
		}
		if s, ok := u.now.Server(next); ok && !seen[next] {
			todo = append(todo, s.DependsOn...)
		}
		seen[next] = true
	}
	return false
}

// startAnswered decides nothing but the end: when nothing runs after the start,
// there is nothing to wait for.
func (u *upRun) startAnswered(ctx context.Context, got answer) error {
	if got.err != nil {
		return got.err
	}
	u.started, u.result = true, got.result
	if u.app.json() {
		if err := u.app.line(startAnswer{wire.MethodPrefix + "start", got.result}); err != nil {
			return err
		}
	}
	// The answer may overtake the status it belongs to.
	if err := u.look(ctx); err != nil {
		return err
	}
	f := startFailure(u.result)
	if f == nil || u.anyActive() {
		return nil
	}
	return f
}

// startAnswer is the start's result among the lines of `up --output json`.
type startAnswer struct {
	Method string           `json:"method"`
	Result wire.StartResult `json:"result"`
}

func (u *upRun) anyActive() bool {
	return slices.ContainsFunc(u.now.Servers, func(s status.Server) bool { return s.State.Active() })
}

func (u *upRun) allStopped() bool {
	return u.now != nil && !slices.ContainsFunc(u.now.Servers, func(s status.Server) bool { return s.State != status.Stopped })
}

// end stops everything and waits for the hub. It shows what the servers say
// meanwhile. The second signal ends the grace of whatever is slow.
func (u *upRun) end(ctx context.Context) error {
	stopping := u.call(ctx, "stop", nil)
	hurry := u.app.hurry
	var gone chan error
	leaving := func() {
		leave(u.fg.hub)
		gone = make(chan error, 1)
		go func() { gone <- u.fg.wait() }()
	}
	closed := u.fg.hub.Done()
	for {
		select {
		case got := <-stopping:
			stopping = nil
			if err := u.show(ctx, u.in.take()); err != nil {
				return err
			}
			if got.err == nil {
				if f := startFailure(got.result); f != nil {
					f.report(u.app.err)
				}
			}
			if gone == nil {
				leaving()
			}
		case <-closed:
			closed = nil
			if gone == nil {
				leaving()
			}
		case err := <-gone:
			return explainNil(err)
		case <-u.in.ready():
			if gone != nil {
				continue // nobody answers a follow any more
			}
			if err := u.show(ctx, u.in.take()); err != nil {
				return err
			}
		case <-hurry:
			hurry = nil
			if u.fg.hurry == nil {
				return exitCode(exitInterrupted)
			}
			u.fg.hurry()
		}
	}
}
