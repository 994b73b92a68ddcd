package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
)

// An action of the chaos test: what is done, to which servers, and a number for
// whatever else is to be chosen. It says nothing of what is there to do it to.
type action struct {
	kind    string
	servers []string
	wait    bool
	n       int

	restarting []string // with "kill hub": what it was told to restart just before
}

func (a action) String() string {
	s := a.kind
	if len(a.servers) > 0 {
		s += " " + strings.Join(a.servers, " ")
	}
	if a.wait {
		s += " (waits)"
	}
	return s
}

// ported is a server that has a port: one of the action's, if there is one.
func (a action) ported() string {
	names := slices.Clone(a.servers)
	for i := range misbehavers {
		names = append(names, misbehavers[(i+a.n)%len(misbehavers)].name)
	}
	at := slices.IndexFunc(names, func(name string) bool {
		return slices.ContainsFunc(misbehavers, func(m misbehaver) bool { return m.name == name && m.port })
	})
	return names[at]
}

// weights is how often each kind of action is among as many steps as the deck
// has cards.
var weights = map[string]int{
	"start": 5, "start everything": 2, "stop": 4, "restart": 5, "reset": 1, "stop everything": 2,
	"two at once": 4, "cancelled start": 3, "hurry": 1,
	"kill leader": 4, "kill descendant": 4, "kill sidecar": 1,
	"kill hub": 1, "kill hub in a restart": 1, "kill guardian": 1, "kill both": 1,
	"pause leader": 2, "pause descendant": 2, "resume": 3,
	"steal port": 2, "steal port in a race": 2, "give ports back": 3,
	"edit": 3, "edit under way": 1, "break config": 1, "mend config": 2, "remove server": 1,
	"leave": 1, "second editor": 1, "slow client": 1, "look": 3, "command line": 3,
}

var (
	// kinds is every kind once: what a short run does.
	kinds = slices.Sorted(maps.Keys(weights))
	// deck is what is shuffled for the steps after that, again and again.
	deck = cards(weights)
)

func cards(counts map[string]int) []string {
	var all []string
	for kind, n := range counts {
		for range n {
			all = append(all, kind)
		}
	}
	slices.Sort(all) // a map has no order
	return all
}

// kindAt is the kind of a step: first everything is started, so that there is
// something to do things to; then comes every kind once, then the deck.
func kindAt(seed uint64, step int) string {
	if step == 0 {
		return "start everything"
	}
	pile, at, cycle := kinds, step-1, 0
	if at >= len(kinds) {
		pile, at, cycle = deck, (at-len(kinds))%len(deck), 1+(at-len(kinds))/len(deck)
	}
	r := rand.New(rand.NewPCG(seed, uint64(cycle)|1<<62))
	return pile[r.Perm(len(pile))[at]]
}

// actionAt is a pure function: the step-th action of a run with this seed.
func actionAt(seed uint64, step int) action {
	r := rand.New(rand.NewPCG(seed, uint64(step)|1<<61))
	names := make([]string, len(misbehavers))
	for i, m := range misbehavers {
		names[i] = m.name
	}
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	few := 1 + r.IntN(3)
	if r.IntN(8) == 0 {
		few = len(names)
	}
	return action{kind: kindAt(seed, step), servers: names[:few], wait: r.IntN(2) == 0, n: r.IntN(1 << 20)}
}

// do carries an action out. It returns what came of it, for the journal.
func (c *chaos) do(a action) string {
	switch a.kind {
	case "start", "restart", "reset":
		return c.ask(a.kind, a.servers, a.wait)
	case "start everything":
		return c.ask("start", nil, a.wait)
	case "stop":
		return c.stop(a.servers, a.wait)
	case "stop everything":
		return c.calm()
	case "two at once":
		return c.twoAtOnce(a)
	case "cancelled start":
		return c.cancelledStart(a)
	case "hurry":
		return c.hurry(a)
	case "kill leader":
		return c.signalOne(a, syscall.SIGKILL, true)
	case "kill descendant":
		return c.signalOne(a, syscall.SIGKILL, false)
	case "pause leader":
		return c.signalOne(a, syscall.SIGSTOP, true)
	case "pause descendant":
		return c.signalOne(a, syscall.SIGSTOP, false)
	case "resume":
		return c.resume()
	case "kill hub", "kill guardian", "kill both":
		return c.killDevside(a)
	case "kill hub in a restart":
		return c.killRestarting(a)
	case "kill sidecar":
		return c.killSidecar()
	case "steal port":
		return c.steal(a.ported())
	case "steal port in a race":
		said := c.ask("start", append(a.servers, a.ported()), false)
		return said + "; " + c.steal(a.ported())
	case "give ports back":
		return c.giveBack()
	case "edit":
		return c.edit(a.servers[0], false)
	case "edit under way":
		said := c.ask("restart", a.servers, false)
		return said + "; " + c.edit(a.servers[0], false)
	case "remove server":
		return c.edit(a.servers[0], true)
	case "break config":
		return c.breakConfig(a.n)
	case "mend config":
		return c.mendConfig()
	case "leave":
		return c.leave()
	case "second editor":
		return c.toggleSecond()
	case "slow client":
		return c.toggleSlow()
	case "look":
		return c.look(a)
	case "command line":
		return c.commandLine(a)
	}
	panic(fmt.Sprintf("no action is called %q", a.kind))
}
