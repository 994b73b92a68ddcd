package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/devside/devside/rpc/sidecar/fakeeditor"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/port"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

// found is a living process of a server.
type found struct {
	id           proc.Identity
	parent       int
	server, part string
}

func (f found) String() string {
	return fmt.Sprintf("%s/%s pid %d (parent %d)", f.server, f.part, f.id.PID, f.parent)
}

// leads: its part has the server's name, and nothing of the server started it.
func (f found) leads() bool { return f.part == f.server && !strings.Contains(f.part, "-") }

// scan finds every living process of the test's servers, whatever has become of
// its environment, session and parent.
func (c *chaos) scan() []found {
	var all []found
	c.eachProcess(func(pid int, args []string) {
		server, part, ok := ownerOf(args, c.mark)
		if !ok {
			return
		}
		// A zombie has no arguments. What ends or is replaced in between is looked
		// at again: both readings must be of the same process.
		info, err := proc.Inspect(pid)
		if err == nil && !info.Zombie() {
			all = append(all, found{info.Identity, info.Parent, server, part})
		}
	})
	return all
}

// devsides lists the hubs and guardians of the project.
func (c *chaos) devsides() []string {
	var all []string
	c.eachProcess(func(_ int, args []string) {
		if len(args) > 3 && strings.HasPrefix(args[1], "__") && args[3] == c.dir {
			all = append(all, args[1])
		}
	})
	slices.Sort(all)
	return all
}

func (c *chaos) eachProcess(f func(pid int, args []string)) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		c.fatal("%v", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		text, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(text) == 0 {
			continue
		}
		f(pid, strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00"))
	}
}

func (c *chaos) status() (*status.Project, error) {
	var st status.Project
	if err := c.call("status", map[string]any{}, &st); err != nil {
		return nil, err
	}
	return &st, nil
}

// agree waits until everything that devside says has been seen to agree with
// /proc since the step was made: each server in a moment when it did not change,
// the ledger, the snapshot, the hub's children. What is wrong for good never
// does.
func (c *chaos) agree() {
	c.t.Helper()
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	agreed := map[string]bool{}
	var late []string
	for {
		open := c.compare(agreed)
		if len(open) > 0 {
			late = open
		}
		if c.t.Failed() {
			return
		}
		if len(open) == 0 {
			break
		}
		if time.Since(began) > chaosPatience {
			c.fatal("after %v there is no agreement:\n%s", chaosPatience, strings.Join(open, "\n"))
		}
		<-tick.C
	}
	c.escaping = false
	took := time.Since(began)
	if took > c.longest {
		c.longest, c.slowest = took, fmt.Sprintf("%v after %q: %s", took.Round(time.Millisecond), c.journal[len(c.journal)-2], strings.Join(late, "; "))
	}
	if took > time.Second {
		c.say("agreed last: %s", strings.Join(late, "; "))
	}
	c.say("%s (%v)", c.states(), took.Round(time.Millisecond))
	c.files(false)
}

func (c *chaos) states() string {
	var all []string
	for _, s := range c.last.Servers {
		all = append(all, fmt.Sprintf("%s=%s#%d", s.Name, s.State, s.Run))
	}
	return fmt.Sprintf("hub %d: %s", c.last.HubPID, strings.Join(all, " "))
}

// compare makes one reading, and returns what has not agreed yet, and why.
func (c *chaos) compare(agreed map[string]bool) []string {
	before, err := c.status()
	if err != nil {
		return []string{err.Error()}
	}
	if c.escaping {
		c.endEscaped(before.HubPID)
	}
	seen := c.scan()
	ledger, snapshot := c.ledger(), c.snapshot()
	listening := c.listening()
	zombies := c.zombies(before.HubPID)
	devsides := c.devsides()
	after, err := c.status()
	if err != nil {
		return []string{err.Error()}
	}
	if before.HubPID != after.HubPID || after.HubPID == c.lost { // a lost guardian's hub may answer once more
		return []string{"the hub is changing"}
	}
	c.last = after
	c.plausible(after)

	var open []string
	check := func(what, wrong string) {
		agreed[what] = agreed[what] || wrong == ""
		if !agreed[what] {
			open = append(open, what+": "+wrong)
		}
	}
	for _, m := range misbehavers {
		var mine []found
		for _, f := range seen {
			if f.server == m.name {
				mine = append(mine, f)
			}
		}
		check(m.name, c.disagreement(m, before, after, mine, listening))
	}
	check("the ledger", ledgerWrong(ledger, before, after))
	check("the snapshot", snapshotWrong(snapshot, before, after))
	check("the hub's zombies", zombiesWrong(zombies, before, after))
	check("devside's processes", devsidesWrong(devsides))
	check("what came back", c.notRestored(after))
	return open
}

// plausible checks what must hold in every status.
func (c *chaos) plausible(st *status.Project) {
	ready := 0
	for _, s := range st.Servers {
		if !slices.Contains(status.States, s.State) {
			c.t.Errorf("%s is %q", s.Name, s.State)
		}
		if s.State == status.Ready {
			ready++
		}
	}
	if st.Summary.Ready != ready || st.Summary.Total != len(st.Servers) {
		c.t.Errorf("the summary %+v of %d servers, %d of them ready", st.Summary, len(st.Servers), ready)
	}
	if st.HubPID == c.hub && st.Sequence < c.sequence {
		c.t.Errorf("the sequence went from %d to %d", c.sequence, st.Sequence)
	}
	c.hub, c.sequence = st.HubPID, st.Sequence
	c.editor.Look(func(s *fakeeditor.State) {
		last := map[int]uint64{}
		for _, m := range s.Messages {
			var p struct {
				Sequence uint64
				HubPID   int
			}
			if m.Method != wire.DidChangeStatus || json.Unmarshal(m.Params, &p) != nil {
				continue
			}
			if p.Sequence < last[p.HubPID] {
				c.t.Errorf("a snapshot %d of hub %d came after %d", p.Sequence, p.HubPID, last[p.HubPID])
			}
			last[p.HubPID] = p.Sequence
		}
	})
}

// disagreement compares one server with its processes and its port.
func (c *chaos) disagreement(m misbehaver, before, after *status.Project, mine []found, listening map[int]bool) string {
	was, known := before.Server(m.name)
	is, stays := after.Server(m.name)
	if known != stays || was.State != is.State || was.Run != is.Run || was.PID != is.PID {
		return fmt.Sprintf("it is changing: %s run %d pid %d, then %s run %d pid %d", was.State, was.Run, was.PID, is.State, is.Run, is.PID)
	}
	says := fmt.Sprintf("%s run %d pid %d", is.State, is.Run, is.PID)
	if is.PID == 0 { // also of a server that is not in the configuration
		if len(mine) > 0 {
			return fmt.Sprintf("it is %q (%s), and there are %v", says, is.Message, mine)
		}
		if is.State == status.Starting || is.State == status.Ready || is.State == status.Unhealthy || is.State == status.Stopping {
			return says
		}
		if m.port && listening[c.ports[m.name]] && c.thieves[m.name] == nil {
			return fmt.Sprintf("it is %q, and somebody listens on port %d", says, c.ports[m.name])
		}
		return ""
	}
	leader := slices.IndexFunc(mine, func(f found) bool { return f.id.PID == is.PID })
	switch {
	case leader < 0:
		return fmt.Sprintf("it is %q, and its leader is not among %v", says, mine)
	case len(mine) > m.most+c.heldUp(mine):
		return fmt.Sprintf("it is %q, and has %d processes, more than %d: %v", says, len(mine), m.most, mine)
	case mine[leader].parent != after.HubPID:
		return fmt.Sprintf("its leader's parent is %d", mine[leader].parent)
	}
	for _, f := range mine {
		marker := markerOf(f.id.PID)
		if marker != "" && !strings.HasSuffix(marker, fmt.Sprintf(":%s:%d", m.name, is.Run)) {
			return fmt.Sprintf("it is %q, and %v has the marker %s", says, f, marker)
		}
		if f.id.PID == is.PID && marker == "" {
			return "its leader has no marker"
		}
	}
	if is.State == status.Ready && m.port {
		if len(is.Ports) != 1 {
			return fmt.Sprintf("it has the ports %v", is.Ports)
		}
		if n := is.Ports[0].Number; n == c.ports[m.name] && !listening[n] {
			return fmt.Sprintf("it is %q, and nobody listens on port %d", says, n)
		}
	}
	return ""
}

// heldUp counts those that would have ended by now, had they not been paused on
// their way: they are more than a run has once it has started them all.
func (c *chaos) heldUp(mine []found) int {
	n := 0
	for _, f := range mine {
		if _, paused := c.paused[f.id]; paused && passing[f.part] {
			n++
		}
	}
	return n
}

// markerOf is the value of the marker variable of a process.
func markerOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return ""
	}
	for _, kv := range strings.Split(string(text), "\x00") {
		if value, ok := strings.CutPrefix(kv, proc.Marker+"="); ok {
			return value
		}
	}
	return ""
}

// listening says on which of the servers' ports somebody listens.
func (c *chaos) listening() map[int]bool {
	ls, err := port.Listeners(slices.Collect(maps.Values(c.ports))...)
	if err != nil {
		c.fatal("%v", err)
	}
	on := map[int]bool{}
	for _, l := range ls {
		on[l.Port] = true
	}
	return on
}

// ledger is what the file says now. It is whole at any moment.
func (c *chaos) ledger() state.Ledger {
	var l state.Ledger
	c.readJSON("ledger.json", &l)
	return l
}

func (c *chaos) snapshot() state.Snapshot {
	var s state.Snapshot
	c.readJSON("snapshot.json", &s)
	return s
}

func (c *chaos) readJSON(name string, v any) {
	text, err := os.ReadFile(filepath.Join(c.paths.Run, name))
	if os.IsNotExist(err) {
		return
	}
	if err != nil {
		c.fatal("%v", err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		c.fatal("%s is corrupt: %v\n%s", name, err, text)
	}
}

// ledgerWrong compares the ledger with the pids that are said to run.
func ledgerWrong(l state.Ledger, before, after *status.Project) string {
	want := pids(before)
	if !maps.Equal(want, pids(after)) {
		return "the pids are changing"
	}
	have := map[string]int{}
	for _, e := range l.Servers {
		have[e.Name] = e.PID
		if _, err := proc.Inspect(e.PID); err != nil {
			return fmt.Sprintf("%s, %v, does not exist", e.Name, e.Identity)
		}
	}
	if !maps.Equal(want, have) {
		return fmt.Sprintf("it has %v, and %v run", have, want)
	}
	if l.Hub.PID != after.HubPID {
		return fmt.Sprintf("it is of hub %d, and hub %d runs", l.Hub.PID, after.HubPID)
	}
	return ""
}

func pids(st *status.Project) map[string]int {
	all := map[string]int{}
	for _, s := range st.Servers {
		if s.PID != 0 {
			all[s.Name] = s.PID
		}
	}
	return all
}

// snapshotWrong compares the snapshot with what is wanted.
func snapshotWrong(s state.Snapshot, before, after *status.Project) string {
	want := wanted(after)
	if !slices.Equal(wanted(before), want) {
		return "the states are changing"
	}
	have := slices.Sorted(slices.Values(s.Running))
	if !slices.Equal(have, want) {
		return fmt.Sprintf("it has %v, and %v are wanted", have, want)
	}
	return ""
}

func wanted(st *status.Project) []string {
	var all []string
	for _, s := range st.Servers {
		if s.State.Active() && s.State != status.Stopping {
			all = append(all, s.Name)
		}
	}
	slices.Sort(all)
	return all
}

// zombies lists the hub's children that have ended and are not reaped.
func (c *chaos) zombies(hub int) []int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", hub))
	if err != nil {
		return nil // it has gone
	}
	var all []int
	for _, field := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			c.fatal("%v", err)
		}
		if info, err := proc.Inspect(pid); err == nil && info.Zombie() {
			all = append(all, pid)
		}
	}
	return all
}

// zombiesWrong: the leader of a server that is being stopped is not reaped
// before its tree is gone.
func zombiesWrong(zombies []int, before, after *status.Project) string {
	for _, st := range []*status.Project{before, after} {
		for _, pid := range pids(st) {
			zombies = slices.DeleteFunc(zombies, func(z int) bool { return z == pid })
		}
	}
	if len(zombies) > 0 {
		return fmt.Sprint(zombies)
	}
	return ""
}

func devsidesWrong(all []string) string {
	if !slices.Equal(all, []string{"__guardian", "__hub"}) {
		return fmt.Sprint(all)
	}
	return ""
}

// notRestored names what ran when the hub was killed and was not started again.
func (c *chaos) notRestored(st *status.Project) string {
	for _, name := range keys(c.restores) {
		if s, ok := st.Server(name); !ok || !begun(s) && s.State == status.Stopped && s.Message == "" {
			return fmt.Sprintf("%s ran and was not started again", name)
		}
	}
	clear(c.restores)
	return ""
}

// begun reports whether the hub that runs now has started the server. Runs are
// counted on from one hub to the next, traces are not.
func begun(s status.Server) bool { return s.TraceID != "" }

// files looks at everything that devside keeps on disk. Nothing may be damaged,
// nothing may pile up, and nothing of a hub's may have gone wrong unseen.
func (c *chaos) files(end bool) {
	c.t.Helper()
	known := []string{"lock", "hub.sock", "hub.stderr", "ledger.json", "snapshot.json", "starts.json", "trust.json"}
	entries, err := os.ReadDir(c.paths.Run)
	if err != nil {
		c.fatal("%v", err)
	}
	strange := 0
	for _, e := range entries {
		switch {
		case strings.HasSuffix(e.Name(), ".damaged"):
			c.fatal("%s was found damaged", e.Name())
		case !slices.Contains(known, e.Name()):
			strange++ // perhaps a file that is being replaced
		}
	}
	if strange > 0 && (end || strange > 2) {
		c.t.Errorf("files of nobody in %s: %v", c.paths.Run, entries)
	}
	if text, err := os.ReadFile(filepath.Join(c.paths.Run, "hub.stderr")); err == nil && len(text) > 0 {
		c.fatal("the hub wrote to its standard error:\n%s", text)
	}
	if text, err := os.ReadFile(c.paths.Log()); err == nil && bytes.Contains(text, []byte("panic")) {
		c.fatal("a panic stands in devside's log:\n%s", lastOf(c.paths.Log(), 40))
	}
	if end { // a dead socket may stay: the next hub removes it
		if l := c.ledger(); len(l.Servers) > 0 {
			c.t.Errorf("the ledger has servers: %+v", l)
		}
		if s := c.snapshot(); len(s.Running) > 0 {
			c.t.Errorf("the snapshot has servers: %+v", s)
		}
	}
}

func lastOf(file string, lines int) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func keys(m map[string]bool) []string { return slices.Sorted(maps.Keys(m)) }

// residentOf is a process's resident memory in bytes.
func residentOf(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return pages * os.Getpagesize()
}

func describeFDs(pid int, fds []os.DirEntry) string {
	var all []string
	for _, fd := range fds {
		to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
		if err == nil {
			all = append(all, fd.Name()+"→"+to)
		}
	}
	return strings.Join(all, " ")
}
