package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

const mb = 1 << 20

// limited is a server with limits of 100, 150 and 200 MB.
func limited(s *spec.Server) {
	s.Memory = spec.Memory{Warn: 100 * mb, Restart: 150 * mb, Kill: 200 * mb}
}

// uses sets what a server's tree uses from now on: resident, and its share.
func (r *room) using(name string, rss, share int64) {
	r.set(func() { r.uses[name] = proc.Usage{RSS: rss * mb, Share: share * mb, Processes: 1} })
}

// said returns the messages so far that name something of memory.
func (r *room) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, m := range r.messages {
		if strings.Contains(m, "uses ") || strings.Contains(m, "memory") {
			out = append(out, m)
		}
	}
	return strings.Join(out, "\n")
}

// passed lets virtual time pass.
func passed(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func snapshotOf(t *testing.T, g *Group, name string) Snapshot {
	t.Helper()
	s, ok := g.Snapshot(name)
	if !ok {
		t.Fatalf("no server %s", name)
	}
	return s
}

// until waits for a state of a server.
func until(t *testing.T, g *Group, name string, is func(Snapshot) bool) {
	t.Helper()
	for range 10 * 60 {
		if is(snapshotOf(t, g, name)) {
			return
		}
		passed(100 * time.Millisecond)
	}
	t.Fatalf("not within a minute: %+v", snapshotOf(t, g, name).Server)
}

func stopping(s Snapshot) bool { return s.State == status.Stopping }

func runs(n int) func(Snapshot) bool { return func(s Snapshot) bool { return s.Run == n } }

// is compares what matters of a snapshot, and its problems.
func is(t *testing.T, s Snapshot, state status.State, run int, codes ...status.Code) {
	t.Helper()
	if s.State != state || s.Run != run || !slices.Equal(s.Problems, append([]status.Code{}, codes...)) {
		t.Fatalf("%s (%s), run %d, problems %v; want %s, run %d, %v", s.State, s.Message, s.Run, s.Problems, state, run, codes)
	}
}

func TestRELIABILITY006WarnThenRestartThenKill(t *testing.T) {
	bubble(t, []spec.Server{conf("api", limited)}, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		r.using("api", 120, 110)
		passed(time.Minute)
		s := snapshotOf(t, g, "api")
		is(t, s, status.Ready, 1, status.MemoryWarning)
		if s.MemoryBytes != 120*mb || s.PSSBytes != 110*mb {
			t.Errorf("%d resident, %d in all", s.MemoryBytes, s.PSSBytes)
		}
		if p := s.Details[0]; p.Message != "api uses 110 MB, more than its limit of 100 MB; over 150 MB it is restarted" || p.Field != "memory.warn" || p.Hint == "" {
			t.Errorf("%+v", p)
		}
		r.using("api", 170, 160)
		until(t, g, "api", runs(2))
		r.using("api", 50, 40)
		passed(20 * time.Second)
		s = snapshotOf(t, g, "api")
		is(t, s, status.Ready, 2) // asked to end, started again, and ready
		if s.RestartReason != status.ReasonMemory || s.Restarts != 1 || s.Crashes != 0 || r.runs["api"][0].plan.Signal != syscall.SIGTERM || r.runs["api"][0].plan.Grace != 5*time.Second {
			t.Errorf("%+v, ended by %+v", s.Server, r.runs["api"][0].plan)
		}
		r.using("api", 210, 205)
		passed(20 * time.Second)
		s = snapshotOf(t, g, "api")
		if s.Run < 3 || r.runs["api"][1].plan.Signal != syscall.SIGKILL || r.runs["api"][1].plan.Grace != 0 {
			t.Fatalf("%+v, ended by %+v", s.Server, r.runs["api"][1].plan)
		}
		for _, want := range []string{
			"api uses 110 MB, more than its limit of 100 MB", "api uses 160 MB, more than its limit of 150 MB: it is restarted",
			"api restarts because it used too much memory", "api uses 205 MB, more than its limit of 200 MB: it is ended at once and started again",
		} {
			if !strings.Contains(r.said(), want) {
				t.Errorf("%q was not said:\n%s", want, r.said())
			}
		}
	})
}

func TestResidentMemoryAloneDecidesNothing(t *testing.T) {
	bubble(t, []spec.Server{conf("api", limited)}, func(t *testing.T, r *room, g *Group) {
		r.using("api", 300, 90)
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		passed(5 * time.Minute)
		s := snapshotOf(t, g, "api")
		is(t, s, status.Ready, 1)
		if s.MemoryBytes != 300*mb || s.PSSBytes != 90*mb {
			t.Errorf("%d resident, %d in all", s.MemoryBytes, s.PSSBytes)
		}
	})
}

func TestOneMomentOverTheLimitIsNoRestart(t *testing.T) {
	bubble(t, []spec.Server{conf("api", limited)}, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		passed(14 * time.Second)
		for range 10 {
			r.using("api", 170, 160)
			passed(2 * time.Second)
			r.using("api", 150, 130)
			passed(28 * time.Second)
		}
		is(t, snapshotOf(t, g, "api"), status.Ready, 1, status.MemoryWarning)
	})
}

func TestASecondMemoryRestartWaitsTenMinutes(t *testing.T) {
	bubble(t, []spec.Server{conf("api", limited)}, func(t *testing.T, r *room, g *Group) {
		r.using("api", 170, 155)
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		passed(time.Minute) // restarted, and over its limit again
		s := snapshotOf(t, g, "api")
		is(t, s, status.Ready, 2, status.MemoryLimit, status.MemoryWarning)
		began := r.last("api").began
		want := "it is not restarted before " + began.Add(10*time.Minute).Format(time.TimeOnly) + ", since it was restarted for that less than 10 minutes ago"
		if !strings.Contains(s.Details[0].Message, want) || s.Details[0].Field != "memory.restart" {
			t.Errorf("%+v, want %q", s.Details[0], want)
		}
		passed(9 * time.Minute)
		if n := strings.Count(r.said(), "it is not restarted before"); n != 1 {
			t.Errorf("said %d times", n)
		}
		passed(time.Minute)
		s = snapshotOf(t, g, "api")
		if s.Run != 3 || s.Crashes != 0 || r.last("api").began.Sub(began) < 10*time.Minute {
			t.Errorf("run %d, after %v", s.Run, r.last("api").began.Sub(began))
		}
	})
}

func TestWhatGoesOverItsLastLimitAgainAndAgainIsHeld(t *testing.T) {
	bubble(t, []spec.Server{conf("api", limited)}, func(t *testing.T, r *room, g *Group) {
		r.using("api", 250, 240)
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		passed(5 * time.Minute)
		s := snapshotOf(t, g, "api")
		is(t, s, status.CrashLoop, 4, status.MemoryLimit)
		if s.PID != 0 || s.Restarts != 3 || s.Crashes != 0 || s.MemoryBytes != 0 ||
			s.Message != "api uses 240 MB, more than its limit of 200 MB: it is ended and held, since it was restarted 3 times within 10 minutes already" {
			t.Errorf("%+v", s.Server)
		}
		passed(time.Hour)
		is(t, snapshotOf(t, g, "api"), status.CrashLoop, 4, status.MemoryLimit)
		// A person can start it, and is told when it ends the same way.
		r.using("api", 50, 40)
		results, _ := g.Start(t.Context(), []string{"api"}, StartOptions{})
		if !results[0].OK {
			t.Errorf("%+v", results[0])
		}
		is(t, snapshotOf(t, g, "api"), status.Ready, 5)
	})
}

func TestAStartThatEndsOverTheLastLimitSaysSo(t *testing.T) {
	bubble(t, []spec.Server{conf("api", limited, func(s *spec.Server) { s.Ready.Within = time.Minute })}, func(t *testing.T, r *room, g *Group) {
		r.healthy["api"] = time.Hour
		r.using("api", 250, 240)
		results, _ := g.Start(t.Context(), []string{"api"}, StartOptions{})
		if results[0].Code != string(status.MemoryLimit) || results[0].State != status.CrashLoop || !strings.Contains(results[0].Message, "240 MB") {
			t.Errorf("%+v", results[0])
		}
	})
}

func TestHEALTH3Over80PercentOfTheLastLimitIsUnhealthyAndNoRestart(t *testing.T) {
	noRestart := func(s *spec.Server) { s.Memory.Restart = 0 }
	bubble(t, []spec.Server{conf("api", limited, noRestart)}, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		r.using("api", 180, 170)
		passed(30 * time.Second)
		s := snapshotOf(t, g, "api")
		is(t, s, status.Unhealthy, 1, status.NotHealthy, status.MemoryWarning)
		if s.Details[0].Field != "memory.kill" || s.Message != "its memory is over 80 % of 200 MB, at which it is ended" {
			t.Errorf("%+v", s.Details[0])
		}
		// Its probe is lost and comes back meanwhile: it is still too large.
		r.set(func() { r.sick["api"] = true })
		passed(30 * time.Second)
		r.set(func() { r.sick["api"] = false })
		passed(30 * time.Second)
		if s := snapshotOf(t, g, "api"); s.State != status.Unhealthy || !strings.Contains(s.Message, "its memory") {
			t.Errorf("%s: %s", s.State, s.Message)
		}
		r.using("api", 160, 150) // not far enough below 160
		passed(30 * time.Second)
		is(t, snapshotOf(t, g, "api"), status.Unhealthy, 1, status.NotHealthy, status.MemoryWarning)
		r.using("api", 90, 80)
		passed(30 * time.Second)
		is(t, snapshotOf(t, g, "api"), status.Ready, 1)
	})
}

func TestMemoryThatFallsDoesNotMendAProbe(t *testing.T) {
	bubble(t, []spec.Server{conf("api", limited, func(s *spec.Server) { s.Memory.Restart = 0 })}, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		r.using("api", 180, 170)
		r.set(func() { r.sick["api"] = true })
		passed(time.Minute)
		r.using("api", 90, 80)
		passed(time.Minute)
		if s := snapshotOf(t, g, "api"); s.State != status.Unhealthy || !strings.Contains(s.Message, "503") {
			t.Errorf("%s: %s", s.State, s.Message)
		}
	})
}

func TestLimitsOfZeroAreOff(t *testing.T) {
	bubble(t, []spec.Server{conf("api")}, func(t *testing.T, r *room, g *Group) {
		r.using("api", 1<<20, 1<<20) // a terabyte
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		passed(5 * time.Minute)
		is(t, snapshotOf(t, g, "api"), status.Ready, 1)
	})
}

func TestAServerThatDiesDuringItsMemoryRestartIsNoCrash(t *testing.T) {
	bubble(t, []spec.Server{conf("api", limited)}, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		first := r.last("api")
		first.slow = 4 * time.Second
		r.using("api", 170, 160)
		until(t, g, "api", stopping)
		first.die(proc.Exit{Code: -1, Signal: syscall.SIGSEGV})
		r.using("api", 50, 40)
		passed(10 * time.Second)
		s := snapshotOf(t, g, "api")
		is(t, s, status.Ready, 2)
		if s.Crashes != 0 || s.RestartReason != status.ReasonMemory {
			t.Errorf("%+v", s.Server)
		}
	})
}

func TestAStopWithGraceThatGoesOverTheLastLimitIsCutShort(t *testing.T) {
	bubble(t, []spec.Server{conf("api", limited, func(s *spec.Server) { s.Stop.Grace = 10 * time.Minute })}, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		r.last("api").slow = time.Hour
		r.using("api", 170, 160)
		until(t, g, "api", stopping)
		passed(10 * time.Second)
		is(t, snapshotOf(t, g, "api"), status.Stopping, 1, status.MemoryLimit, status.MemoryWarning)
		r.using("api", 300, 290)
		until(t, g, "api", runs(2))
		if r.runs["api"][0].exit.Signal != syscall.SIGKILL {
			t.Errorf("%+v", r.runs["api"][0].exit)
		}
		r.using("api", 50, 40)
	})
}

func TestAPersonsStopOrStartDuringAMemoryRestartDecides(t *testing.T) {
	for _, start := range []bool{false, true} {
		bubble(t, []spec.Server{conf("api", limited)}, func(t *testing.T, r *room, g *Group) {
			g.Start(t.Context(), []string{"api"}, StartOptions{})
			r.last("api").slow = 4 * time.Second
			r.using("api", 170, 160)
			until(t, g, "api", stopping)
			r.using("api", 50, 40)
			if start {
				g.Start(t.Context(), []string{"api"}, StartOptions{})
			} else {
				g.Stop(t.Context(), []string{"api"}, StopOptions{})
			}
			passed(time.Minute)
			s := snapshotOf(t, g, "api")
			switch {
			case start && (s.State != status.Ready || s.Run != 2 || s.RestartReason != status.ReasonAsked):
				t.Errorf("started: %+v", s.Server)
			case !start && (s.State != status.Stopped || s.Run != 1 || len(s.Problems) != 0):
				t.Errorf("stopped: %+v", s.Server)
			}
		})
	}
}

func TestAGuessSaysThatItIsOne(t *testing.T) {
	for guessed, want := range map[int]string{1: "the memory of one of its processes can't be read exactly", 3: "the memory of 3 of its processes can't be read exactly"} {
		bubble(t, []spec.Server{conf("api", limited)}, func(t *testing.T, r *room, g *Group) {
			r.set(func() { r.uses["api"] = proc.Usage{RSS: 120 * mb, Share: 110 * mb, Processes: 4, Guessed: guessed} })
			g.Start(t.Context(), []string{"api"}, StartOptions{})
			passed(20 * time.Second)
			if !strings.Contains(r.said(), want) {
				t.Errorf("%q was not said:\n%s", want, r.said())
			}
		})
	}
}

func TestATreeThatCantBeReadIsLeftAlone(t *testing.T) {
	bubble(t, []spec.Server{conf("api", limited), conf("web", limited)}, func(t *testing.T, r *room, g *Group) {
		r.set(func() { r.unread["api"] = errors.New("too many open files") })
		r.using("api", 300, 290)
		r.using("web", 120, 110)
		g.Start(t.Context(), []string{"api", "web"}, StartOptions{})
		passed(time.Minute)
		is(t, snapshotOf(t, g, "api"), status.Ready, 1)
		is(t, snapshotOf(t, g, "web"), status.Ready, 1, status.MemoryWarning)
		r.set(func() { clear(r.unread) })
		r.using("api", 120, 110)
		passed(time.Minute)
		is(t, snapshotOf(t, g, "api"), status.Ready, 1, status.MemoryWarning)
	})
}

func TestPERF003OnePassServesAllServersAndIdleOnesAreLeftInPeace(t *testing.T) {
	var servers []spec.Server
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprintf("s%d", i))
		servers = append(servers, conf(names[i], limited))
	}
	bubble(t, servers, func(t *testing.T, r *room, g *Group) {
		for _, name := range names { // not all at once
			g.Start(t.Context(), []string{name}, StartOptions{})
			passed(300 * time.Millisecond)
		}
		passed(20 * time.Second)
		in := func(d time.Duration) (passes, asked, exact int) {
			r.set(func() { r.passes, r.asked, r.exact = 0, 0, 0 })
			passed(d)
			r.set(func() { passes, asked, exact = r.passes, r.asked, r.exact })
			return passes, asked, exact
		}
		if passes, asked, exact := in(time.Minute); passes != 4 || asked != 80 || exact != 80 {
			t.Errorf("%d passes over %d trees in a minute, %d of them exact; want 4, 80 and 80", passes, asked, exact)
		}
		// Somebody looks: every second, and what is dear not more often for that.
		passes, exact := 0, 0
		g.Look()
		for range 60 {
			g.Look()
			p, _, e := in(time.Second)
			passes, exact = passes+p, exact+e
		}
		if passes < 59 || passes > 62 || exact > 100 {
			t.Errorf("%d passes in a minute of looking, %d trees exact", passes, exact)
		}
		passed(20 * time.Second)
		if passes, _, _ := in(time.Minute); passes > 4 {
			t.Errorf("%d passes in a minute when nobody looks any more", passes)
		}
		// One is near a limit: it is measured every second, and it alone.
		r.using("s3", 95, 92)
		passed(20 * time.Second)
		if passes, asked, _ := in(time.Minute); passes < 59 || asked > 60+4*20 {
			t.Errorf("%d passes over %d trees in a minute beside a limit", passes, asked)
		}
		g.StopAll(t.Context(), StopOptions{})
		passed(20 * time.Second)
		if passes, _, _ := in(time.Hour); passes != 0 {
			t.Errorf("%d passes although nothing runs", passes)
		}
	})
}

func TestWhoGoesOnLookingSeesFreshMeasurements(t *testing.T) {
	bubble(t, []spec.Server{conf("api", limited)}, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		passed(16 * time.Second)
		r.using("api", 70, 60)
		passed(5 * time.Second)
		g.Look() // one look is no looking
		passed(time.Second)
		if s := snapshotOf(t, g, "api"); s.MemoryBytes != 50*mb {
			t.Errorf("%d", s.MemoryBytes)
		}
		g.Look()
		synctest.Wait()
		if s := snapshotOf(t, g, "api"); s.MemoryBytes != 70*mb {
			t.Errorf("%d", s.MemoryBytes)
		}
	})
}

func TestWhyAServerWasRestartedIsSaid(t *testing.T) {
	live := func(s *spec.Server) {
		s.Live = &spec.Probe{Kind: spec.ProbeHTTP, HTTP: "live", Every: time.Second, Timeout: time.Second, Failures: 1}
	}
	servers := []spec.Server{conf("web", dependsOn("api")), conf("api", live, func(s *spec.Server) { s.Restart.Dependents = true })}
	bubble(t, servers, func(t *testing.T, r *room, g *Group) {
		reason := func(name string, want status.Reason) {
			t.Helper()
			passed(15 * time.Second)
			if s := snapshotOf(t, g, name); s.RestartReason != want || s.State != status.Ready {
				t.Errorf("%s is %s, %q; want %q", name, s.State, s.RestartReason, want)
			}
		}
		g.Start(t.Context(), []string{"web"}, StartOptions{})
		reason("api", "")
		g.Start(t.Context(), []string{"api"}, StartOptions{Force: true})
		reason("api", status.ReasonAsked)
		reason("web", status.ReasonDependency)
		r.last("api").die(proc.Exit{Code: 1})
		reason("api", status.ReasonCrash)
		r.set(func() { r.sick["live"] = true })
		passed(2 * time.Second)
		r.set(func() { r.sick["live"] = false })
		reason("api", status.ReasonLiveness)
		next := slices.Clone(servers)
		next[0].Dir = "elsewhere"
		g.Apply(t.Context(), next, Change{})
		reason("web", status.ReasonConfiguration)
		g.StopAll(t.Context(), StopOptions{})
		g.Start(t.Context(), []string{"web"}, StartOptions{})
		reason("web", "")
	})
}

func TestAConfigurationWrittenAgainAndAgainRestartsAServerThreeTimesInTenMinutes(t *testing.T) {
	servers := []spec.Server{conf("api", limited)}
	bubble(t, servers, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{Env: []string{"A=1"}})
		change := func(i int) {
			next := slices.Clone(servers)
			next[0].Env = map[string]string{"N": fmt.Sprint(i)}
			g.Apply(t.Context(), next, Change{})
			passed(time.Minute)
		}
		for i := range 3 {
			change(i)
			is(t, snapshotOf(t, g, "api"), status.Ready, 2+i)
		}
		change(3)
		s := snapshotOf(t, g, "api")
		is(t, s, status.Backoff, 4)
		if !strings.Contains(s.Message, "restart in 7m0s") || s.RestartInMs == 0 || s.Crashes != 0 {
			t.Errorf("%+v", s.Server)
		}
		change(4) // nor does the next one
		is(t, snapshotOf(t, g, "api"), status.Backoff, 4)
		passed(6 * time.Minute)
		s = snapshotOf(t, g, "api")
		is(t, s, status.Ready, 5)
		if p := r.last("api"); !slices.Contains(p.launch.Env, "N=4") || !slices.Contains(p.launch.Env, "A=1") || s.RestartReason != status.ReasonConfiguration {
			t.Errorf("%v, %+v", p.launch.Env, s.Server)
		}
	})
}

// Whoever edits a configuration six times in six minutes wants to see it each
// time.
func TestAConfigurationThatAPersonAppliesHasNoBudget(t *testing.T) {
	servers := []spec.Server{conf("api", limited)}
	bubble(t, servers, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		for i := range 6 {
			next := slices.Clone(servers)
			next[0].Env = map[string]string{"N": fmt.Sprint(i)}
			g.Apply(t.Context(), next, Change{Asked: true})
			passed(time.Minute)
			s := snapshotOf(t, g, "api")
			is(t, s, status.Ready, 2+i)
			if s.RestartReason != status.ReasonConfiguration || s.Crashes != 0 {
				t.Errorf("%+v", s.Server)
			}
		}
	})
}

func TestAPersonNeedNotWaitForTheBudget(t *testing.T) {
	servers := []spec.Server{conf("api", limited)}
	bubble(t, servers, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		for i := range 4 {
			next := slices.Clone(servers)
			next[0].Env = map[string]string{"N": fmt.Sprint(i)}
			g.Apply(t.Context(), next, Change{})
			passed(time.Second)
		}
		is(t, snapshotOf(t, g, "api"), status.Backoff, 4)
		results, _ := g.Start(t.Context(), []string{"api"}, StartOptions{})
		if !results[0].OK {
			t.Errorf("%+v", results[0])
		}
		passed(15 * time.Minute) // and what was planned does not come on top
		is(t, snapshotOf(t, g, "api"), status.Ready, 5)
	})
}

func TestAChangedConfigurationForgetsNoCrash(t *testing.T) {
	servers := []spec.Server{conf("api")}
	bubble(t, servers, func(t *testing.T, r *room, g *Group) {
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		passed(15 * time.Second)
		r.last("api").die(proc.Exit{Code: 1})
		passed(15 * time.Second)
		next := slices.Clone(servers)
		next[0].Env = map[string]string{"N": "1"}
		g.Apply(t.Context(), next, Change{})
		passed(time.Second)
		s := snapshotOf(t, g, "api")
		if s.Crashes != 1 || s.Restarts != 1 || len(s.history.Automatic) != 1 {
			t.Errorf("%+v, %+v", s.Server, s.history)
		}
	})
}

func TestMemoryThatMovesByAFewPagesIsNoNews(t *testing.T) {
	s := shown{}
	for _, step := range []struct {
		rss, share int64
		exact      bool
		cpu        float64
		want       shown
	}{
		{1000, 0, false, 0.2, shown{1000, 0, 0}},
		{1009, 900, true, 0.4, shown{1000, 900, 0}},
		{1010, 908, true, 0.5, shown{1010, 900, 0.5}},
		{1000, 890, true, 0.9, shown{1010, 890, 0.5}}, // less than a hundredth of what is shown
		{999, 0, false, 0, shown{999, 890, 0}},
		{0, 0, false, 0, shown{0, 890, 0}},
	} {
		s = s.next(proc.Usage{RSS: step.rss, Share: step.share, Exact: step.exact}, step.cpu)
		if s != step.want {
			t.Errorf("%+v: shown %+v", step, s)
		}
	}
}
