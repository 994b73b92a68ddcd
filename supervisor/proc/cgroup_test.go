//go:build linux

package proc

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// caged is a rig whose starts have cgroups, where this system gives them: as
// root where version 2 is mounted, or where ours is delegated to us. Elsewhere
// every test here asserts that all goes on without.
func caged(t *testing.T) (r *rig, own string) {
	t.Helper()
	r = newRig(t)
	r.UseCgroups(fmt.Sprintf("%016x", time.Now().UnixNano()))
	own, err := ownCgroup()
	if err == nil {
		probe := filepath.Join(own, "probe-"+filepath.Base(t.TempDir())+fmt.Sprint(os.Getpid()))
		if err = os.Mkdir(probe, 0o755); err == nil {
			err = tryCgroup(probe)
			removeCgroup(probe)
		}
	}
	if (err == nil) != (r.cgroups != nil) {
		t.Fatalf("cgroups in use: %v, and they could be: %v", r.cgroups != nil, err)
	}
	t.Logf("cgroups: %v", r.cgroups != nil)
	return r, own
}

func TestACgroupFindsWhatHasLeftEverythingElse(t *testing.T) {
	r, _ := caged(t)
	p, out := r.start("cleared")
	escaped := out.pids(1)
	id, err := Identify(escaped[0])
	if err != nil {
		t.Fatal(err)
	}
	defer id.Signal(syscall.SIGKILL) //nolint:errcheck // gone already where there are cgroups
	eventually(t, "the orphan", func() (bool, string) {
		info, err := Inspect(id.PID)
		return err == nil && info.Parent == os.Getpid(), fmt.Sprint(info, err)
	})
	if slices.Contains(treePIDs(p), id.PID) {
		t.Error("it is found by what it has been cleared of")
	}
	dir := p.cgroup
	rep := p.Stop(context.Background(), StopPlan{Grace: 50 * time.Millisecond})
	if len(rep.Left) != 0 || id.Alive() != (r.cgroups == nil) {
		t.Errorf("alive %v; report %+v", id.Alive(), rep)
	}
	if _, err := os.Stat(dir); dir != "" && !os.IsNotExist(err) {
		t.Errorf("%s was killed, and is kept: %v", dir, err)
	}
}

func TestACgroupIsUsedAgainAndRemovedAtTheEnd(t *testing.T) {
	r, _ := caged(t)
	p, out := r.start("sleep")
	out.next()
	p.Stop(context.Background(), StopPlan{Grace: patience})
	if r.cgroups == nil {
		if p.cgroup != "" {
			t.Errorf("a cgroup %s, without cgroups", p.cgroup)
		}
		return
	}
	if !slices.Equal(r.cgroups.free, []string{p.cgroup}) {
		t.Errorf("%s is not kept for the next start: %v", p.cgroup, r.cgroups.free)
	}
	q, out := r.start("sleep")
	out.next()
	if q.cgroup != p.cgroup || len(r.cgroups.free) != 0 || !slices.Equal(cgroupProcs(q.cgroup), []int{q.PID()}) {
		t.Errorf("the next start is in %s with %v, not in %s", q.cgroup, cgroupProcs(q.cgroup), p.cgroup)
	}
	q.Stop(context.Background(), StopPlan{Grace: patience})
	base := r.cgroups.dir
	r.Close()
	if _, err := os.Stat(base); !os.IsNotExist(err) {
		t.Errorf("closed, %s is still there: %v", base, err)
	}
}

// A start into a cgroup that some kernels kill at birth must be found out
// before a server is started there.
func TestACgroupThatKillsAtBirthIsNotUsed(t *testing.T) {
	r, _ := caged(t)
	if r.cgroups == nil {
		if err := tryCgroup(t.TempDir()); err == nil {
			t.Error("a folder passes for a cgroup")
		}
		return
	}
	dir := filepath.Join(r.cgroups.dir, "tried")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := tryCgroup(dir); err != nil {
		t.Errorf("a new one: %v", err)
	}
	if err := (&Process{cgroup: dir}).killCgroup(); err != nil {
		t.Fatal(err)
	}
	// Whether a killed one kills is the kernel's affair; that it is told right is ours.
	fd, err := openCgroup(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
	ran := cmd.Run()
	if tried := tryCgroup(dir); (tried == nil) != (ran == nil) {
		t.Errorf("tried: %v, and a program in it: %v", tried, ran)
	}
}

func TestACgroupIsNotKilledWhileSomethingSparedIsInIt(t *testing.T) {
	r, _ := caged(t)
	viewer := filepath.Join(t.TempDir(), "picture-viewer")
	if err := os.Symlink(self()[0], viewer); err != nil {
		t.Fatal(err)
	}
	p, out := r.start("opener", viewer)
	out.pids(2)
	dir := p.cgroup
	rep := p.Stop(context.Background(), StopPlan{Grace: 20 * time.Millisecond, Spare: []string{"picture-viewer"}})
	if len(rep.Spared) != 1 || !rep.Spared[0].Alive() || rep.Killed < 1 {
		t.Fatalf("report %+v", rep)
	}
	if err := rep.Spared[0].Signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if dir != "" {
		eventually(t, "an empty cgroup", func() (bool, string) {
			removeCgroup(dir)
			_, err := os.Stat(dir)
			return os.IsNotExist(err), fmt.Sprint(err)
		})
	}
}

func TestCgroupsOfDeadHubsAreRemovedAndTheirProcessesSwept(t *testing.T) {
	marker := fmt.Sprintf("%016x", time.Now().UnixNano())
	dead := newRig(t)
	dead.UseCgroups(marker)
	p, out := dead.start("cleared") // stands for a hub's server, and nobody stops it
	id, err := Identify(out.pids(1)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer id.Signal(syscall.SIGKILL) //nolint:errcheck // gone already where there are cgroups
	if dead.cgroups == nil {
		if p.cgroup != "" {
			t.Error("a cgroup without cgroups")
		}
		return
	}
	base := dead.cgroups.dir
	argv := self("sweeper", marker)
	rep := runSweeper(t, argv)
	if id.Alive() || rep.Killed < 1 || len(rep.Left) != 0 {
		t.Errorf("alive %v; %+v", id.Alive(), rep)
	}
	p.Stop(context.Background(), StopPlan{Signal: syscall.SIGKILL})
	eventually(t, "the removal", func() (bool, string) {
		removeEmpty(filepath.Dir(base))
		_, err := os.Stat(base)
		return os.IsNotExist(err), fmt.Sprint(err)
	})
	// The one whose folder that was goes on all the same.
	q, out := dead.start("sleep")
	out.next()
	if q.cgroup == "" || !slices.Contains(cgroupProcs(q.cgroup), q.PID()) {
		t.Errorf("started in %q", q.cgroup)
	}
	q.Stop(context.Background(), StopPlan{Grace: patience})
}

func TestAStartWhoseCgroupCantBeUsedIsMadeWithout(t *testing.T) {
	for name, dir := range map[string]string{"no cgroup": t.TempDir(), "no folder": "/proc/self/none/x"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.cgroups = &cgroups{dir: dir}
			p, out := r.start("sleep")
			out.next()
			if p.cgroup != "" || r.cgroups != nil || !strings.Contains(r.log.String(), "without cgroups from now on") {
				t.Errorf("cgroup %q, %v; %s", p.cgroup, r.cgroups, r.log)
			}
			if rep := p.Stop(context.Background(), StopPlan{Grace: patience}); rep.Signalled != 1 {
				t.Errorf("%+v", rep)
			}
		})
	}
	r, _ := caged(t)
	if _, err := r.Start(Command{Argv: []string{"./none"}, Dir: t.TempDir()}); err == nil {
		t.Error("a start of nothing")
	}
}

func TestACgroupWithALimitIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"memory.max", "cpu.max"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("max 100000\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := limit(dir); got != "" {
		t.Errorf("without limits: %q", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "memory.max"), []byte("1073741824\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := limit(dir); got != "memory.max" {
		t.Errorf("with one: %q", got)
	}
}

func TestParseCgroup(t *testing.T) {
	for text, want := range map[string]string{"9:name=systemd:/x\n0::/a/b\n": "/a/b", "0::/\n": "/", "0::/x": "/x"} {
		if got, err := parseCgroup([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %q %v", text, got, err)
		}
	}
	if _, err := parseCgroup([]byte("1:cpu:/x\n")); err == nil {
		t.Error("version 1 alone has a version 2 place")
	}
}

func BenchmarkStartAndStopInACgroup(b *testing.B) {
	for _, with := range []bool{false, true} {
		b.Run(fmt.Sprint(with), func(b *testing.B) {
			t, err := NewTracker(zerolog.Nop())
			if err != nil {
				b.Fatal(err)
			}
			defer t.Close()
			if with {
				t.UseCgroups(fmt.Sprintf("%016x", time.Now().UnixNano()))
			}
			for b.Loop() {
				p, err := t.Start(Command{Argv: []string{"/bin/sleep", "60"}, Dir: "/"})
				if err != nil {
					b.Fatal(err)
				}
				p.Stop(context.Background(), StopPlan{Grace: time.Minute})
			}
		})
	}
}
