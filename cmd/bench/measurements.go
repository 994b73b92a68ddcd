package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// measurement makes one or several rows of the table.
type measurement struct {
	rows []string
	make func(context.Context, *bench) ([]row, error)
	// slow is how many times the usual patience it may take; 0: once.
	slow int
}

// measurements is the whole table, in its order. The goals are GOALS.md's.
var measurements = []measurement{
	{rows: []string{"start10", "stop10"}, make: crowd(0, goal{timesBare, 1.15}, goal{barePlus, 2})},
	{rows: []string{"start50", "stop50"}, make: crowd(1, goal{timesBare, 1.15}, goal{barePlus, 5})},
	{rows: []string{"start200", "stop200"}, make: crowd(2, goal{timesBare, 1.3}, goal{})},
	{rows: []string{"up10"}, make: measureUp},
	{rows: []string{"lag50"}, make: measureLag},
	{rows: []string{"chain5"}, make: measureChain},
	{rows: []string{"crash1"}, make: crashAmong("crash1", func(plan) int { return 1 })},
	{rows: []string{"crash50"}, make: crashAmong("crash50", func(p plan) int { return p.crowd[1] })},
	{rows: []string{"stubborn"}, make: measureStubborn},
	{rows: []string{"change"}, make: measureChange},
	{rows: []string{"cache"}, make: measureCache, slow: 10},
	{rows: []string{"memory10", "cpu10"}, make: idle(0, goal{atMost, 20}, goal{atMost, 1})},
	{rows: []string{"memory200", "cpu200"}, make: idle(2, goal{atMost, 30}, goal{})},
	{rows: []string{"http10"}, make: probed("http10", 0, 1.5)},
	{rows: []string{"http50"}, make: probed("http50", 1, 8)},
	{rows: []string{"http200"}, make: probed("http200", 2, 25)},
	{rows: []string{"look10"}, make: looked("look10", 0)},
	{rows: []string{"look50"}, make: looked("look50", 1)},
	{rows: []string{"look200"}, make: looked("look200", 2)},
	{rows: []string{"status-p50", "status-p99"}, make: measureStatus},
	{rows: []string{"pipeline"}, make: measurePipeline},
	{rows: []string{"scrape", "status-scraped"}, make: measureScrape},
	{rows: []string{"logs", "logs-lost", "logs-memory"}, make: measureLogs},
	{rows: []string{"initialize", "hub"}, make: measureExec},
	{rows: []string{"left-stop"}, make: leftAfter("left-stop", "a graceful stop", nil)},
	{rows: []string{"left-sidecar"}, make: leftAfter("left-sidecar", "SIGKILL of the sidecar", killSidecar)},
	{rows: []string{"left-hub"}, make: leftAfter("left-hub", "SIGKILL of the hub", killHub)},
	{rows: []string{"left-guardian"}, make: leftAfter("left-guardian", "SIGKILL of the guardian", killGuardian)},
	{rows: []string{"left-both"}, make: leftAfter("left-both", "SIGKILL of hub and guardian, and the next start", killBoth)},
}

// patient gives servers of a crowd on a busy machine the time to become ready.
const patient = "ready: {within: 60s}\n"

// atOnce restarts a crashed server without delay, and allows the crashes of a
// whole run.
const atOnce = patient + "restart: {delay: 0s, max_in_a_row: 50, max_per_hour: 50}\n"

// rounds lets the two sides take turns. A first round of each is not counted:
// it reads both programs into memory, and makes devside's folders.
func rounds(ctx context.Context, n int, turns ...func() error) error {
	for range n + 1 {
		for _, turn := range turns {
			if err := turn(); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// counted drops the first round.
func counted(samples []float64) []float64 { return samples[min(1, len(samples)):] }

// cost is the processor time of devside's parts, in ms a round.
type cost struct{ hub, sidecar []float64 }

func (c cost) String() string {
	return fmt.Sprintf("hub %s ms, sidecar %s ms", number(median(counted(c.hub))), number(median(counted(c.sidecar))))
}

func costOf(pids ...int) (out []time.Duration, err error) {
	for _, pid := range pids {
		cpu, e := cpuTime(pid)
		out, err = append(out, cpu), errors.Join(err, e)
	}
	return out, err
}

// crowd measures a start and a stop of many servers on a running hub.
func crowd(size int, startGoal, stopGoal goal) func(context.Context, *bench) ([]row, error) {
	return func(ctx context.Context, b *bench) (rows []row, err error) {
		n := b.plan.crowd[size]
		// The names are the full plan's, whatever the size: --only must find them.
		name := strconv.Itoa(fullPlan.crowd[size])
		start := row{Name: "start" + name, What: fmt.Sprintf("start → %d ports open", n), Unit: "ms", Goal: startGoal}
		stop := row{Name: "stop" + name, What: fmt.Sprintf("stop %d → ports free", n), Unit: "ms", Goal: stopGoal}
		var startAnswered, stopAnswered []float64
		var startCost, stopCost cost
		servers, err := someServers(2*n, server{})
		if err != nil {
			return nil, err
		}
		bare, err := b.newBaseline(servers[:n])
		defer func() { err = errors.Join(err, bare.close()) }()
		if err != nil {
			return nil, err
		}
		p, err := b.newProject(servers[n:], settings{extra: patient})
		if err != nil {
			return nil, err
		}
		s, err := p.open(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		hub, guardian, err := s.pair(ctx)
		if err != nil {
			return nil, err
		}
		defer closeAll([]witness{hub, guardian})
		// What devside computes is in the way of the servers, which share its cores.
		costs := func(out *cost, do func() error) error {
			before, err := costOf(hub.pid, s.cmd.Process.Pid)
			if err != nil {
				return err
			}
			if err := do(); err != nil {
				return err
			}
			after, err := costOf(hub.pid, s.cmd.Process.Pid)
			out.hub = append(out.hub, ms(after[0]-before[0]))
			out.sidecar = append(out.sidecar, ms(after[1]-before[1]))
			return err
		}
		err = rounds(ctx, b.plan.runs, func() error {
			took, err := bare.start(ctx, b)
			start.Bare = append(start.Bare, ms(took))
			return err
		}, func() error {
			took, err := bare.stop(ctx)
			stop.Bare = append(stop.Bare, ms(took))
			return err
		}, func() error {
			return costs(&startCost, func() error {
				st, err := s.start(ctx)
				start.Devside = append(start.Devside, ms(st.open))
				startAnswered = append(startAnswered, ms(st.answered))
				return err
			})
		}, func() error {
			return costs(&stopCost, func() error {
				free, answered, err := s.stop(ctx)
				stop.Devside = append(stop.Devside, ms(free))
				stopAnswered = append(stopAnswered, ms(answered))
				return err
			})
		})
		if err != nil {
			return nil, err
		}
		start.Bare, start.Devside = counted(start.Bare), counted(start.Devside)
		stop.Bare, stop.Devside = counted(stop.Bare), counted(stop.Devside)
		start.Note = fmt.Sprintf("answered (all ready) after %s ms; processor time until then: %s", number(median(counted(startAnswered))), startCost)
		stop.Note = fmt.Sprintf("answered after %s ms; processor time until then: %s", number(median(counted(stopAnswered))), stopCost)
		return []row{start, stop}, nil
	}
}

// measureUp measures devside up from its exec, and the bare parent from its.
func measureUp(ctx context.Context, b *bench) ([]row, error) {
	n := b.plan.crowd[0]
	r := row{Name: "up10", What: fmt.Sprintf("devside up, exec → %d ports open", n), Unit: "ms", Goal: goal{barePlus, 8}}
	servers, err := someServers(2*n, server{})
	if err != nil {
		return nil, err
	}
	p, err := b.newProject(servers[n:], settings{extra: patient})
	if err != nil {
		return nil, err
	}
	err = rounds(ctx, b.plan.runs, func() error {
		began := time.Now()
		bare, err := b.startedBaseline(servers[:n])
		if err != nil {
			return errors.Join(err, bare.close())
		}
		took, err := bare.opens(ctx, b, began)
		r.Bare = append(r.Bare, ms(took))
		return errors.Join(err, bare.close())
	}, func() error {
		u, err := p.up()
		if err != nil {
			return err
		}
		took, err := p.opens(ctx, b, u.began)
		r.Devside = append(r.Devside, ms(took))
		if err = errors.Join(err, u.interrupt()); err != nil {
			return err
		}
		left, _, err := p.gone(ctx, b.plan.late)
		if left > 0 {
			err = errors.Join(err, fmt.Errorf("devside up has left %d processes", left))
		}
		return err
	})
	r.Bare, r.Devside = counted(r.Bare), counted(r.Devside)
	return []row{r}, err
}

// measureLag measures how long after a server's port accepts the hub knows it.
// The ports open at different times after the start, as those of real servers
// do: one that opens at once would be found by the first probe.
func measureLag(ctx context.Context, b *bench) (rows []row, err error) {
	n := b.plan.crowd[1]
	r := row{Name: "lag50", What: fmt.Sprintf("readiness known after it is true, the latest of %d", n), Unit: "ms", Goal: goal{atMost, 10}}
	servers, err := someServers(n, server{})
	if err != nil {
		return nil, err
	}
	for i := range servers {
		servers[i].after = time.Duration(i*37%300) * time.Millisecond
	}
	p, err := b.newProject(servers, settings{extra: patient})
	if err != nil {
		return nil, err
	}
	s, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var all, answers []float64
	err = rounds(ctx, b.plan.runs, func() error {
		st, err := s.start(ctx)
		if err != nil {
			return err
		}
		now, _, err := s.status(ctx)
		if err != nil {
			return err
		}
		var lags []float64
		for _, sv := range now.Servers {
			lags = append(lags, ms(sv.Since.Sub(st.news[sv.Name].At)))
		}
		// The hub's own word for each, and the answer's arrival for the last.
		answer := ms(st.answer.Sub(last(st.news)))
		answers = append(answers, answer)
		all = append(all, median(lags))
		r.Devside = append(r.Devside, max(percentile(lags, 100), answer))
		_, _, err = s.stop(ctx)
		return err
	})
	r.Devside = counted(r.Devside)
	r.Note = fmt.Sprintf("the middle one of them %s ms; the answer to the start %s ms after the last port accepted",
		number(median(counted(all))), number(median(counted(answers))))
	return []row{r}, err
}

// measureChain measures five servers of which each waits for the one before.
func measureChain(ctx context.Context, b *bench) (rows []row, err error) {
	const n = 5
	r := row{Name: "chain5", What: "chain of 5, each ready 100 ms after its start, all known ready", Unit: "ms", Goal: goal{atMost, 550}}
	servers, err := someServers(2*n, server{after: 100 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	bare, err := b.newBaseline(servers[:n])
	defer func() { err = errors.Join(err, bare.close()) }()
	if err != nil {
		return nil, err
	}
	p, err := b.newProject(servers[n:], settings{chain: true, extra: patient})
	if err != nil {
		return nil, err
	}
	s, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	err = rounds(ctx, b.plan.runs, func() error {
		took, err := bare.chain(ctx, b)
		if err != nil {
			return err
		}
		r.Bare = append(r.Bare, ms(took))
		_, err = bare.stop(ctx)
		return err
	}, func() error {
		st, err := s.start(ctx)
		if err != nil {
			return err
		}
		r.Devside = append(r.Devside, ms(st.answered))
		_, _, err = s.stop(ctx)
		return err
	})
	r.Bare, r.Devside = counted(r.Bare), counted(r.Devside)
	return []row{r}, err
}

// crashAmong measures from the kill of one server to its successor's open
// port, with others beside it.
func crashAmong(name string, count func(plan) int) func(context.Context, *bench) ([]row, error) {
	return func(ctx context.Context, b *bench) (rows []row, err error) {
		n := count(b.plan)
		what := "crash → new process accepting"
		if n > 1 {
			what += fmt.Sprintf(", among %d", n)
		}
		r := row{Name: name, What: what, Unit: "ms", Goal: goal{barePlus, 1.5}}
		servers, err := someServers(2*n, server{})
		if err != nil {
			return nil, err
		}
		bare, err := b.newBaseline(servers[:n])
		defer func() { err = errors.Join(err, bare.close()) }()
		if err != nil {
			return nil, err
		}
		p, err := b.newProject(servers[n:], settings{extra: atOnce})
		if err != nil {
			return nil, err
		}
		s, err := p.open(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		if _, err := bare.start(ctx, b); err != nil {
			return nil, err
		}
		if _, err := s.start(ctx); err != nil {
			return nil, err
		}
		// Twice as many rounds as elsewhere: each is short and says little.
		turn := 0
		err = rounds(ctx, 2*b.plan.runs, func() error {
			took, err := bare.crash(ctx, b, bare.names[turn%n])
			r.Bare = append(r.Bare, ms(took))
			return err
		}, func() error {
			victim := p.names[turn%n]
			turn++
			took, err := p.crash(ctx, b, victim)
			if err != nil {
				return err
			}
			r.Devside = append(r.Devside, ms(took))
			return s.settled(ctx, victim)
		})
		r.Bare, r.Devside = counted(r.Bare), counted(r.Devside)
		return []row{r}, err
	}
}

// stubbornGrace is the grace that the servers of measureStubborn have.
const stubbornGrace = 500 * time.Millisecond

// measureStubborn measures how much longer than its grace a tree lives that
// ignores what asks it to end.
func measureStubborn(ctx context.Context, b *bench) (rows []row, err error) {
	r := row{Name: "stubborn", What: "a tree that ignores TERM, ended after its grace and", Unit: "ms", Goal: goal{atMost, 100}}
	servers, err := someServers(2, server{family: true, stubborn: true})
	if err != nil {
		return nil, err
	}
	p, err := b.newProject(servers, settings{extra: patient + fmt.Sprintf("stop: {grace: %s}\n", stubbornGrace)})
	if err != nil {
		return nil, err
	}
	s, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	hub, guardian, err := s.pair(ctx)
	if err != nil {
		return nil, err
	}
	defer closeAll([]witness{hub, guardian})
	err = rounds(ctx, b.plan.runs, func() error {
		if _, err := s.start(ctx); err != nil {
			return err
		}
		tree, err := p.trees(hub, guardian, s)
		if err != nil {
			return err
		}
		defer closeAll(tree)
		req, err := s.ask("devside/stop", struct{}{})
		if err != nil {
			return err
		}
		end, err := awaitEnds(ctx, tree)
		if err != nil {
			return err
		}
		r.Devside = append(r.Devside, ms(end.Sub(req.asked)-stubbornGrace))
		var res startResult
		if _, err := req.wait(ctx, &res); err != nil {
			return err
		}
		return res.all("stopped", len(p.names))
	})
	r.Devside = counted(r.Devside)
	return []row{r}, err
}

// trees holds every process of the project but devside's own three.
func (p *project) trees(hub, guardian witness, s *session) ([]witness, error) {
	all, err := marked(p.mark)
	if err != nil {
		return nil, err
	}
	var tree []witness
	for _, w := range all {
		switch w.pid {
		case hub.pid, guardian.pid, s.cmd.Process.Pid:
			w.close()
		default:
			tree = append(tree, w)
		}
	}
	if want := 3 * len(p.names); len(tree) != want {
		closeAll(tree)
		return nil, fmt.Errorf("find the servers' trees: %d processes, want %d", len(tree), want)
	}
	return tree, nil
}

// idleness is what hub and guardian cost while nothing, or not much, happens.
type idleness struct {
	memory  float64 // MB
	perSec  float64 // ms of processor time a second
	sidecar float64 // MB
}

// nothing is what happens while devside is idle.
func nothing(ctx context.Context, b *bench, _ *session) error { return pause(ctx, b.plan.idle) }

// watch starts a crowd, and watches devside while something happens.
func watch(ctx context.Context, b *bench, servers []server, extra string, happens func(context.Context, *bench, *session) error) (out idleness, err error) {
	p, err := b.newProject(servers, settings{extra: extra})
	if err != nil {
		return out, err
	}
	s, err := p.open(ctx)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if _, err := s.start(ctx); err != nil {
		return out, err
	}
	hub, guardian, err := s.pair(ctx)
	if err != nil {
		return out, err
	}
	defer closeAll([]witness{hub, guardian})
	if err := pause(ctx, b.plan.settle); err != nil {
		return out, err
	}
	before, err := costOf(hub.pid, guardian.pid)
	if err != nil {
		return out, err
	}
	begin := time.Now()
	if err := happens(ctx, b, s); err != nil {
		return out, err
	}
	after, err := costOf(hub.pid, guardian.pid)
	if err != nil {
		return out, err
	}
	out.perSec = ms(after[0]-before[0]+after[1]-before[1]) / time.Since(begin).Seconds()
	for _, m := range []struct {
		pid int
		sum *float64
	}{{hub.pid, &out.memory}, {guardian.pid, &out.memory}, {s.cmd.Process.Pid, &out.sidecar}} {
		bytes, err := pss(m.pid)
		if err != nil {
			return out, err
		}
		*m.sum += float64(bytes) / (1 << 20)
	}
	return out, nil
}

// idle measures memory and processor time with the default probes.
func idle(size int, memory, cpu goal) func(context.Context, *bench) ([]row, error) {
	return func(ctx context.Context, b *bench) (rows []row, err error) {
		n := b.plan.crowd[size]
		name := strconv.Itoa(fullPlan.crowd[size])
		mem := row{Name: "memory" + name, What: fmt.Sprintf("idle memory at %d servers, hub + guardian", n), Unit: "MB PSS", Goal: memory}
		use := row{Name: "cpu" + name, What: fmt.Sprintf("idle CPU at %d servers, default probes", n), Unit: "ms per s", Goal: cpu}
		servers, err := someServers(2*n, server{})
		if err != nil {
			return nil, err
		}
		bare, err := b.newBaseline(servers[:n])
		defer func() { err = errors.Join(err, bare.close()) }()
		if err != nil {
			return nil, err
		}
		if _, err := bare.start(ctx, b); err != nil {
			return nil, err
		}
		bytes, err := pss(bare.cmd.Process.Pid)
		if err != nil {
			return nil, err
		}
		if _, err := bare.stop(ctx); err != nil {
			return nil, err
		}
		got, err := watch(ctx, b, servers[n:], patient, nothing)
		if err != nil {
			return nil, err
		}
		mem.Bare, mem.Devside = []float64{float64(bytes) / (1 << 20)}, []float64{got.memory}
		mem.Note = fmt.Sprintf("the sidecar beside them %s MB", number(got.sidecar))
		use.Devside = []float64{got.perSec}
		use.Note = fmt.Sprintf("one window of %s", b.plan.idle)
		return []row{mem, use}, nil
	}
}

// probed measures processor time with an HTTP probe a second on each server.
func probed(name string, size int, most float64) func(context.Context, *bench) ([]row, error) {
	return func(ctx context.Context, b *bench) ([]row, error) {
		n := b.plan.crowd[size]
		servers, err := someServers(n, server{http: true})
		if err != nil {
			return nil, err
		}
		got, err := watch(ctx, b, servers, "ready: {http: /, every: 1s, within: 60s}\n", nothing)
		if err != nil {
			return nil, err
		}
		return []row{{Name: name, What: fmt.Sprintf("idle CPU, an HTTP probe a second on each of %d", n), Unit: "ms per s",
			Devside: []float64{got.perSec}, Goal: goal{atMost, most}, Note: fmt.Sprintf("one window of %s", b.plan.idle)}}, nil
	}
}

// looked measures processor time while somebody asks for the status every
// second, which has devside measure the memory of every tree each time. What a
// measurement costs against bare reads is BenchmarkMeasure's in supervisor/proc.
func looked(name string, size int) func(context.Context, *bench) ([]row, error) {
	return func(ctx context.Context, b *bench) ([]row, error) {
		n := b.plan.crowd[size]
		servers, err := someServers(n, server{})
		if err != nil {
			return nil, err
		}
		got, err := watch(ctx, b, servers, patient, askEverySecond)
		if err != nil {
			return nil, err
		}
		return []row{{Name: name, What: fmt.Sprintf("CPU with a status a second, and memory measured each time, %d servers", n), Unit: "ms per s",
			Devside: []float64{got.perSec}, Note: fmt.Sprintf("one window of %s", b.plan.idle)}}, nil
	}
}

func askEverySecond(ctx context.Context, b *bench, s *session) error {
	for end := time.Now().Add(b.plan.idle); time.Now().Before(end); {
		if _, _, err := s.status(ctx); err != nil {
			return err
		}
		if err := pause(ctx, min(time.Second, b.plan.idle)); err != nil {
			return err
		}
	}
	return nil
}

// hop is a bare process that answers requests.
type hop struct {
	*client
	cmd     *exec.Cmd
	toClose func() error
}

// newHop starts one whose answers have a size.
func (b *bench) newHop(size int) (*hop, error) {
	cmd := exec.Command(b.exe, echoRole, strconv.Itoa(size))
	cmd.Env = b.environment(b.mark + "hop.")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the bare hop: %w", err)
	}
	return &hop{client: newClient(out, in), cmd: cmd, toClose: in.Close}, nil
}

func (h *hop) close() error {
	err := h.toClose()
	<-h.ended // Wait closes the pipe under the reader
	return errors.Join(err, h.cmd.Wait())
}

// readyProject is a project of n ready servers, and its session.
func (b *bench) readyProject(ctx context.Context, n int) (*session, error) {
	servers, err := someServers(n, server{})
	if err != nil {
		return nil, err
	}
	p, err := b.newProject(servers, settings{extra: patient})
	if err != nil {
		return nil, err
	}
	s, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// answerSize is how long the answer to a status is.
func answerSize(ctx context.Context, s *session) (int, error) {
	req, err := s.ask("devside/status", struct{}{})
	if err != nil {
		return 0, err
	}
	select {
	case a := <-req.answer:
		return len(a.result), a.err
	case <-s.ended:
		return 0, s.why()
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// repeat does one thing n times, and returns how long each took by its own word.
func repeat(n int, unit time.Duration, one func() (time.Duration, error)) (took []float64, err error) {
	for range n {
		t, err := one()
		if err != nil {
			return took, err
		}
		took = append(took, float64(t)/float64(unit))
	}
	return took, nil
}

// asksStatus is one request for the status, and how long it took.
func (c *client) asksStatus(ctx context.Context) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		t, err := c.call(ctx, "devside/status", struct{}{}, nil)
		return t.took(), err
	}
}

// measureStatus measures how long the state of ten servers takes to be told,
// through sidecar and hub, one request after the other.
func measureStatus(ctx context.Context, b *bench) (rows []row, err error) {
	n := b.plan.crowd[0]
	p50 := row{Name: "status-p50", What: fmt.Sprintf("status of %d servers, p50", n), Unit: "µs", Goal: goal{atMost, 80}}
	p99 := row{Name: "status-p99", What: fmt.Sprintf("status of %d servers, p99", n), Unit: "µs", Goal: goal{atMost, 500}}
	s, err := b.readyProject(ctx, n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	size, err := answerSize(ctx, s)
	if err != nil {
		return nil, err
	}
	h, err := b.newHop(size)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	sequence := func(c *client, p50, p99 *[]float64) error {
		took, err := repeat(b.plan.requests, time.Microsecond, c.asksStatus(ctx))
		*p50, *p99 = append(*p50, percentile(took, 50)), append(*p99, percentile(took, 99))
		return err
	}
	err = rounds(ctx, b.plan.runs,
		func() error { return sequence(h.client, &p50.Bare, &p99.Bare) },
		func() error { return sequence(s.client, &p50.Devside, &p99.Devside) })
	for _, r := range []*row{&p50, &p99} {
		r.Bare, r.Devside = counted(r.Bare), counted(r.Devside)
	}
	p50.Note = fmt.Sprintf("answers of %d bytes; bare is one process that answers as many bytes and looks at nothing", size)
	return []row{p50, p99}, err
}

// pipelineWindow is how many requests are under way at once: fewer than the
// hub takes of one client.
const pipelineWindow = 64

// measurePipeline measures how many requests a second go through sidecar and
// hub when the client does not wait for each answer.
func measurePipeline(ctx context.Context, b *bench) (rows []row, err error) {
	const n = 2 // a frontend and an API
	r := row{Name: "pipeline", What: fmt.Sprintf("pipelined requests (status of %d servers)", n), Unit: "per s", Goal: goal{atLeast, 20_000}}
	s, err := b.readyProject(ctx, n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	size, err := answerSize(ctx, s)
	if err != nil {
		return nil, err
	}
	h, err := b.newHop(size)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	pour := func(c *client, out *[]float64) func() error {
		return func() error {
			took, err := c.pipeline(ctx, "devside/status", b.plan.pipeline, pipelineWindow)
			if err == nil {
				*out = append(*out, float64(b.plan.pipeline)/took.Seconds())
			}
			return err
		}
	}
	err = rounds(ctx, b.plan.runs, pour(h.client, &r.Bare), pour(s.client, &r.Devside))
	r.Bare, r.Devside = counted(r.Bare), counted(r.Devside)
	r.Note = fmt.Sprintf("answers of %d bytes, at most %d under way", size, pipelineWindow)
	return []row{r}, err
}

// measureExec measures from the exec of devside --stdio to its first answer,
// and to the first status of a hub that had to be started.
func measureExec(ctx context.Context, b *bench) ([]row, error) {
	first := row{Name: "initialize", What: "exec → initialize answered", Unit: "ms", Goal: goal{atMost, 25}}
	hub := row{Name: "hub", What: "exec → first status of a hub that had to be started", Unit: "ms", Goal: goal{atMost, 60}}
	servers, err := someServers(2, server{})
	if err != nil {
		return nil, err
	}
	p, err := b.newProject(servers, settings{})
	if err != nil {
		return nil, err
	}
	err = rounds(ctx, b.plan.runs, func() error {
		began := time.Now()
		h, err := b.newHop(1000)
		if err != nil {
			return err
		}
		t, err := h.call(ctx, "initialize", struct{}{}, nil)
		first.Bare = append(first.Bare, ms(t.answered.Sub(began)))
		return errors.Join(err, h.close())
	}, func() error {
		s, err := p.open(ctx)
		if err != nil {
			return err
		}
		_, t, err := s.status(ctx)
		first.Devside = append(first.Devside, ms(s.first.answered.Sub(s.began)))
		hub.Devside = append(hub.Devside, ms(t.answered.Sub(s.began)))
		if err = errors.Join(err, s.close()); err != nil {
			return err
		}
		left, _, err := p.gone(ctx, b.plan.late)
		if left > 0 {
			err = errors.Join(err, fmt.Errorf("%d processes are left after exit", left))
		}
		return err
	})
	first.Bare, first.Devside, hub.Devside = counted(first.Bare), counted(first.Devside), counted(hub.Devside)
	return []row{first, hub}, err
}

// leftAfter counts the processes of servers, with children that ignore what
// asks them to end, that are left after devside has ended in some way. Without
// a kill it ends as its client asks.
func leftAfter(name, what string, kill func(context.Context, *session) error) func(context.Context, *bench) ([]row, error) {
	return func(ctx context.Context, b *bench) (rows []row, err error) {
		r := row{Name: name, What: "processes left after " + what, Goal: goal{atMost, 0}, Worst: true}
		servers, err := someServers(3, server{family: true})
		if err != nil {
			return nil, err
		}
		p, err := b.newProject(servers, settings{extra: patient + "stop: {grace: 500ms}\n"})
		if err != nil {
			return nil, err
		}
		s, err := p.open(ctx)
		if err != nil {
			return nil, err
		}
		closed := false
		defer func() {
			if !closed {
				err = errors.Join(err, s.close())
			}
		}()
		if _, err := s.start(ctx); err != nil {
			return nil, err
		}
		old, err := marked(p.mark)
		if err != nil {
			return nil, err
		}
		defer closeAll(old)
		begin := time.Now()
		if kill == nil {
			closed = true
			err = s.close()
		} else {
			err = kill(ctx, s)
		}
		if err != nil {
			return nil, err
		}
		// A client that still holds gets a new hub and its servers back: those
		// are not the old ones. So the sidecar, where it lives, is not waited for.
		waitFor := old[:0:0]
		for _, w := range old {
			if kill == nil || name == "left-sidecar" || w.pid != s.cmd.Process.Pid {
				waitFor = append(waitFor, w)
			}
		}
		timed, cancel := context.WithTimeout(ctx, b.plan.orphans)
		defer cancel()
		end, endErr := awaitEnds(timed, waitFor)
		left := 0
		for _, w := range waitFor {
			if w.alive() {
				left++
			}
		}
		r.Devside = []float64{float64(left)}
		if endErr == nil {
			r.Note = fmt.Sprintf("%d processes had ended after %s ms", len(waitFor), number(ms(end.Sub(begin))))
		} else {
			err = fmt.Errorf("%d of %d processes are left", left, len(waitFor))
		}
		switch {
		case name == "left-sidecar":
			closed = true
			<-s.exited
			err = errors.Join(err, s.closePipes())
		case kill != nil:
			err = errors.Join(err, s.regained(ctx))
		}
		return []row{r}, err
	}
}

func killSidecar(_ context.Context, s *session) error {
	w, err := see(s.cmd.Process.Pid, s.p.mark)
	if err != nil {
		return err
	}
	defer w.close()
	return w.signal(syscall.SIGKILL)
}

func killHub(ctx context.Context, s *session) error {
	hub, guardian, err := s.pair(ctx)
	if err != nil {
		return err
	}
	defer closeAll([]witness{hub, guardian})
	return hub.signal(syscall.SIGKILL)
}

func killGuardian(ctx context.Context, s *session) error {
	hub, guardian, err := s.pair(ctx)
	if err != nil {
		return err
	}
	defer closeAll([]witness{hub, guardian})
	return guardian.signal(syscall.SIGKILL)
}

func killBoth(ctx context.Context, s *session) error {
	hub, guardian, err := s.pair(ctx)
	if err != nil {
		return err
	}
	defer closeAll([]witness{hub, guardian})
	// The guardian first: it would begin to end the servers.
	return errors.Join(guardian.signal(syscall.SIGKILL), hub.signal(syscall.SIGKILL))
}
