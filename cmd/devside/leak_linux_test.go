package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/devside/devside/rpc/sidecar/fakeeditor"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/status"
)

// The programs of these tests are shell scripts: what a shell ignores, what it
// executes ignores, too.
var leaky = map[string]string{
	// says who it is, and ignores every polite signal
	"stubborn.sh": `trap '' TERM INT HUP
echo $$ > $1.new && mv $1.new $1
exec sleep 600
`,
	// the leader of the leak table: it ends when it is asked to, with one child in
	// its group and one in a session of its own that do not
	"leader.sh": `trap 'exit 0' TERM INT
sh stubborn.sh A &
setsid sh stubborn.sh B &
wait
`,
	// leaves a process that has left session, ancestry and environment
	"orphan.sh": `env -i PATH="$PATH" setsid -f sh stubborn.sh $1
exec sleep 600
`,
	// two hundred sleepers, in every way there is to leave
	"bomb.sh": `i=0
while [ $i -lt 50 ]; do
	sleep 600 &
	setsid sleep 600 &
	env -i PATH="$PATH" setsid -f sleep 600
	setsid -f sh -c 'sleep 600 & exec sleep 600'
	i=$((i+1))
done
echo $$ > armed.new && mv armed.new armed
exec sleep 600
`,
}

// leakyProject is a folder with the scripts and servers that run them.
func leakyProject(t *testing.T, servers string) string {
	t.Helper()
	dir := realDir(t)
	files := maps.Clone(leaky)
	files["devside.yaml"] = "version: 1\nservers:\n" + servers
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// said waits for the pid that a script has written.
func said(t *testing.T, dir, name string) proc.Identity {
	t.Helper()
	var id proc.Identity
	await(t, name+" to say who it is", func() (string, bool) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err.Error(), false
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		id, err = proc.Identify(pid)
		return fmt.Sprint(err), err == nil
	})
	return id
}

func fate(id proc.Identity) string {
	if id.Alive() {
		return "ALIVE"
	}
	return "dead"
}

// TestTheLeakTable is the test that other supervisors of development servers
// were measured with: a leader that ends when it is asked to, its child A in the
// same group and its child B in a session of its own, which both ignore SIGTERM
// and SIGINT.
func TestTheLeakTable(t *testing.T) {
	const leader = "  leader: {command: sh leader.sh, ready: none, stop: {grace: 300ms}}\n"
	var table []string
	for _, row := range []struct {
		name    string
		end     func(t *testing.T, s *sidecarProcess, hub, guardian proc.Identity)
		replace bool // another hub takes the place of the one that is lost
	}{
		{"graceful stop", func(t *testing.T, s *sidecarProcess, _, _ proc.Identity) {
			s.Do("devside/stop", map[string]any{}, nil)
		}, false},
		{"hub SIGKILLed", func(t *testing.T, _ *sidecarProcess, hub, _ proc.Identity) { kill(t, hub) }, true},
		{"guardian SIGKILLed", func(t *testing.T, _ *sidecarProcess, _, guardian proc.Identity) { kill(t, guardian) }, true},
		{"hub SIGKILLed while it stops", func(t *testing.T, s *sidecarProcess, hub, _ proc.Identity) {
			s.Do("devside/stop", map[string]any{"wait": false}, nil)
			kill(t, hub)
		}, true},
		{"both SIGKILLed, next start", func(t *testing.T, s *sidecarProcess, hub, guardian proc.Identity) {
			for _, id := range []proc.Identity{guardian, hub} { // stopped first, so that neither sees the other go
				if err := id.Signal(syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
			}
			kill(t, guardian)
			kill(t, hub)
		}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := leakyProject(t, leader)
			s := startSidecar(t, dir, homeDir(t), time.Minute)
			s.initialize(dir, trusted)
			s.mustStart(t)
			a, b := said(t, dir, "A"), said(t, dir, "B")
			ran := servers(t, dir)
			if _, ok := ran[a]; !ok || len(ran) < 3 {
				t.Fatalf("ran: %v", ran)
			}
			hub, guardian := hubAndGuardian(t, s)
			row.end(t, s, hub, guardian)
			if row.replace {
				s.awaitStatus("another hub", func(p status.Project) bool { return p.HubPID != hub.PID })
				gone(t, map[proc.Identity]string{hub: "hub", guardian: "guardian"})
			}
			// A stop that was answered is over, and a hub that answers has cleaned up
			// what an earlier one left.
			table = append(table, fmt.Sprintf("%-30s A %-6s B %s", row.name, fate(a), fate(b)))
			for id, command := range ran {
				if id.Alive() {
					t.Errorf("%v (%s) is alive", id, command)
				}
			}
			s.Shutdown()
		})
	}
	t.Logf("the leak table:\n%s", strings.Join(table, "\n"))
}

func TestTwoServersWhoseOrphansLookAlikeAreToldApart(t *testing.T) {
	dir := leakyProject(t, `  one: {command: sh orphan.sh ONE, ready: none, stop: {grace: 200ms}}
  two: {command: sh orphan.sh TWO, ready: none, stop: {grace: 200ms}}
`)
	s := startSidecar(t, dir, homeDir(t), time.Minute)
	s.initialize(dir, trusted)
	s.mustStart(t)
	one, two := said(t, dir, "ONE"), said(t, dir, "TWO")
	hub, _ := hubAndGuardian(t, s)
	for _, id := range []proc.Identity{one, two} {
		await(t, "the hub to be the orphan's parent", func() (string, bool) {
			info, err := proc.Inspect(id.PID)
			return fmt.Sprint(info, err), err == nil && info.Parent == hub.PID && info.Session != info.Parent
		})
		if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", id.PID)); err != nil || strings.Contains(string(env), proc.Marker) {
			t.Fatalf("the orphan has the environment %q, %v", env, err)
		}
	}
	s.Do("devside/stop", map[string]any{"servers": []string{"one"}}, nil)
	if one.Alive() || !two.Alive() {
		t.Errorf("when one has stopped, its orphan is %s and the other's %s", fate(one), fate(two))
	}
	s.Do("devside/stop", map[string]any{"servers": []string{"two"}}, nil)
	if two.Alive() {
		t.Error("when two has stopped, its orphan lives")
	}
	s.Shutdown()
}

func TestAForkBombOfTwoHundredIsGoneWithinTheGrace(t *testing.T) {
	const grace = 20 * time.Second // on a machine that is as busy as it gets
	dir := leakyProject(t, "  bomb: {command: sh bomb.sh, ready: none, stop: {grace: 20s}}\n")
	s := startSidecar(t, dir, homeDir(t), time.Minute)
	s.initialize(dir, trusted)
	s.mustStart(t)
	said(t, dir, "armed")
	var ran map[proc.Identity]string
	await(t, "all of them", func() (string, bool) {
		ran = servers(t, dir)
		return fmt.Sprint(len(ran)), len(ran) >= 250
	})
	began := time.Now()
	s.Do("devside/stop", map[string]any{}, nil)
	took := time.Since(began)
	t.Logf("%d processes were gone after %v", len(ran), took.Round(time.Millisecond))
	if took >= grace {
		t.Errorf("it took %v, and the grace is %v", took, grace)
	}
	if left := servers(t, dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	s.Shutdown()
}

func TestWhatAStopSparesIsNamedInItsAnswer(t *testing.T) {
	dir := leakyProject(t, "  api: {command: sh opener.sh, ready: none, stop: {spare: [picture-viewer]}}\n")
	if err := os.WriteFile(filepath.Join(dir, "opener.sh"), []byte("setsid -f ./picture-viewer stubborn.sh VIEWER\nexec sleep 600\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	shell, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(shell, filepath.Join(dir, "picture-viewer")); err != nil {
		t.Fatal(err)
	}
	// It goes on as what it was started as.
	if err := os.WriteFile(filepath.Join(dir, "stubborn.sh"), []byte("echo $$ > VIEWER.new && mv VIEWER.new VIEWER\nread forever < wait\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "wait"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startSidecar(t, dir, homeDir(t), time.Minute)
	s.initialize(dir, trusted)
	s.mustStart(t)
	viewer := said(t, dir, "VIEWER")
	var answer struct {
		Servers []struct {
			OK   bool
			Note string
		}
	}
	s.Do("devside/stop", map[string]any{}, &answer)
	want := fmt.Sprintf("picture-viewer (pid %d) was left: opened for the person", viewer.PID)
	if len(answer.Servers) != 1 || !answer.Servers[0].OK || answer.Servers[0].Note != want {
		t.Errorf("the answer is %+v, want the note %q", answer, want)
	}
	if p := s.status(t); p.Servers[0].Message != want || p.Servers[0].State != status.Stopped {
		t.Errorf("the status says %+v", p.Servers[0])
	}
	if !viewer.Alive() {
		t.Error("what is spared was ended")
	}
	s.Shutdown()
	if err := viewer.Signal(syscall.SIGKILL); err != nil { // the hub was its parent and has left it
		t.Error(err)
	}
}

func TestOurOwnProcessesAreKnownByTheirCommandLines(t *testing.T) {
	for _, tt := range []struct {
		argv []string
		want bool
	}{
		{[]string{"/usr/bin/devside", "up"}, true},
		{[]string{"/opt/renamed", "__hub", "--root", "/p"}, true},
		{[]string{"/opt/renamed", "__guardian"}, true},
		{[]string{"node", "devside"}, false},
		{[]string{"node"}, false},
		{nil, false},
	} {
		if got := supervises(tt.argv); got != tt.want {
			t.Errorf("%q: %v", tt.argv, got)
		}
	}
}

// TestStraysAreShownAndEnded is cleanup.patterns as a person meets them: asked,
// told, done, by the real binary.
func TestStraysAreShownAndEnded(t *testing.T) {
	dir := leakyProject(t, "  api: {command: sleep 600, ready: none}\ncleanup: {patterns: [stubborn.sh STRAY]}\n")
	if err := os.WriteFile(filepath.Join(dir, "stubborn.sh"), []byte("trap '' TERM INT HUP\necho $$ > $1.new && mv $1.new $1\nread forever < wait\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "wait"), 0o600); err != nil {
		t.Fatal(err)
	}
	stray := exec.Command("setsid", "-f", "sh", "stubborn.sh", "STRAY")
	stray.Dir = dir
	if err := stray.Run(); err != nil {
		t.Fatal(err)
	}
	id := said(t, dir, "STRAY")
	defer id.Signal(syscall.SIGKILL) //nolint:errcheck // gone already
	s := startSidecar(t, dir, homeDir(t), time.Minute)
	s.initialize(dir, nil)
	p := s.status(t)
	if !slices.Equal(p.Trust.Cleanup, []string{"stubborn.sh STRAY"}) || !strings.Contains(trustText(style{}, &p), "end your processes in this folder that run\n    stubborn.sh STRAY\n") {
		t.Errorf("a person is shown %s", trustText(style{}, &p))
	}
	if r := s.Call("devside/start", map[string]any{}); !id.Alive() || r.Err == nil || r.Err.Code != wire.CodeUntrusted {
		t.Errorf("before the agreement: alive %v, %+v", id.Alive(), r.Err)
	}
	s.Do("devside/trust", map[string]any{"hash": p.Trust.Hash}, nil)
	s.mustStart(t)
	if id.Alive() {
		t.Error("the stray lives")
	}
	s.Await("the news of it", func(st *fakeeditor.State) bool {
		for _, m := range st.Messages {
			if m.Method == wire.DidHappen && fakeKind(m.Params) == status.HappenedSecurity && strings.Contains(string(m.Params), fmt.Sprintf(`"pid":%d`, id.PID)) {
				return true
			}
		}
		return false
	})
	s.Shutdown()
}
