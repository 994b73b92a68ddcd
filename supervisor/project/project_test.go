//go:build linux

package project

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/devside/devside/supervisor"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

func TestServersStartRestartAndStop(t *testing.T) {
	api, web := freePort(t), freePort(t)
	f := opened(t, config(
		server("web", web, serving, "depends_on: [api]", "ready: {http: /health}"),
		server("api", api, serving, "env: {LOG_LEVEL: debug}", "env_file: [.env]"),
	))
	f.write(".env", "SECRET=s3cret\n")
	f.start("web")
	st := f.Status()
	if st.Summary != (status.Summary{Ready: 2, Total: 2, Worst: status.Ready}) || len(st.Problems) != 0 {
		t.Errorf("%+v, %+v", st.Summary, st.Problems)
	}
	if st.Root != f.root || st.Config != filepath.Join(f.root, "devside.yaml") || st.HubPID != os.Getpid() || st.Protocol != 1 || st.Name == "" {
		t.Errorf("%+v", st)
	}
	s := f.server("api")
	if s.URL != fmt.Sprintf("http://localhost:%d", api) || s.PID == 0 || s.UptimeMs < 0 || s.StartedAt.IsZero() || s.TraceID == "" {
		t.Errorf("%+v", s)
	}
	text, err := get(t, api, "/env")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{fmt.Sprintf("PORT=%d", api), "LOG_LEVEL=debug", "SECRET=s3cret", "X_TRACE_ID=" + s.TraceID} {
		if !strings.Contains(text, `"`+want+`"`) {
			t.Errorf("%s is not in %s", want, text)
		}
	}

	results, begun, err := f.Start(t.Context(), []string{"api"}, supervisor.StartOptions{Env: os.Environ(), Force: true})
	if err != nil || !results[0].OK || len(begun) != 0 {
		t.Fatalf("%+v, %v, %v", results, begun, err)
	}
	if again := f.server("api"); again.PID == s.PID || again.Run != 2 || f.server("web").Run != 1 || again.Restarts != 0 {
		t.Errorf("restarted: %+v", again)
	}

	all, err := f.Stop(t.Context(), nil, supervisor.StopOptions{})
	if err != nil || len(all) != 2 || !all[0].OK || !all[1].OK || f.Active() {
		t.Errorf("%+v, %v", all, err)
	}
	for _, port := range []int{api, web} {
		if _, err := get(t, port, "/health"); err == nil {
			t.Errorf("somebody still answers on %d", port)
		}
	}
	log, err := f.Log("api")
	if err != nil || log == nil {
		t.Errorf("%v", err)
	}
	var unknown *supervisor.UnknownError
	for _, call := range []func() error{
		func() error { _, err := f.Log("nope"); return err },
		func() error { _, err := f.Stop(t.Context(), []string{"nope"}, supervisor.StopOptions{}); return err },
		func() error { _, _, err := f.Start(t.Context(), []string{"nope"}, f.asks()); return err },
	} {
		if err := call(); !errors.As(err, &unknown) || !slices.Equal(unknown.Known, []string{"web", "api"}) {
			t.Errorf("%v", err)
		}
	}
}

func TestACrashIsSeenSaidAndMended(t *testing.T) {
	api := freePort(t)
	f := opened(t, config(server("api", api, serving, "restart: {delay: 500ms}")))
	sub := f.Subscribe()
	defer sub.Close()
	f.start("api")
	crashIt(t, api)
	f.await("the crash in the problems", func(st *status.Project) bool { return has(st.Problems, status.Crashed, "api") })
	st := f.await("its restart", func(st *status.Project) bool { return st.Summary.Ready == 1 && st.Servers[0].Run == 2 })
	if s := st.Servers[0]; s.Crashes != 1 || s.Restarts != 1 || *s.LastExit.Code != 3 {
		t.Errorf("%+v", s)
	}
	f.await("no more problem", func(st *status.Project) bool { return len(st.Problems) == 0 })
	var kinds []string
	for _, e := range sub.Events() {
		kinds = append(kinds, string(e.Kind))
	}
	if got := strings.Join(kinds, " "); got != "start ready crash restart start ready" {
		t.Errorf("events: %s", got)
	}
}

func TestResetLeavesCrashLoopAndBlocked(t *testing.T) {
	held, port := listener(t)
	f := opened(t, config(
		server("loop", 0, []string{"exit", "1"}, "restart: {delay: 0s, max_in_a_row: 2}", "ready: none"),
		server("api", port, serving),
		server("idle", freePort(t), serving),
	))
	f.Start(t.Context(), []string{"loop", "api"}, f.asks()) //nolint:errcheck // the states are what counts
	f.await("a crash loop and a block", func(st *status.Project) bool {
		return st.Servers[0].State == status.CrashLoop && st.Servers[1].State == status.Blocked
	})
	runs := f.server("loop").Run
	held.Close() //nolint:errcheck // freed
	results, _, err := f.Reset(t.Context(), nil, f.asks())
	if err != nil || len(results) != 2 {
		t.Fatalf("%+v, %v", results, err)
	}
	if f.server("loop").Run <= runs || f.server("api").State != status.Ready || f.server("idle").State != status.Stopped {
		t.Errorf("%+v", f.Status().Servers)
	}
	if results, _, err := f.Reset(t.Context(), []string{"idle"}, f.asks()); err != nil || len(results) != 1 || !results[0].OK {
		t.Errorf("a reset by name: %+v, %v", results, err)
	}
}

func TestATakenPortNamesItsHolderAndIsHadOnceFree(t *testing.T) {
	held, port := listener(t)
	other := freePort(t)
	f := opened(t, config(server("api", port, serving), server("web", other, serving)))
	results, _, err := f.Start(t.Context(), []string{"api"}, f.asks())
	if err != nil || results[0].Code != "port-taken" || results[0].State != status.Blocked {
		t.Fatalf("%+v, %v", results, err)
	}
	st := f.Status()
	if len(st.Problems) != 1 || st.Problems[0].Holder == nil || st.Problems[0].Holder.PID != os.Getpid() || st.Problems[0].Port != port {
		t.Errorf("%+v", st.Problems)
	}
	f.start("web")
	uses, err := f.Ports()
	if err != nil || len(uses) != 2 {
		t.Fatalf("%+v, %v", uses, err)
	}
	if h := uses[0].Holder; h == nil || h.PID != os.Getpid() || h.Server != "" {
		t.Errorf("%+v", h)
	}
	if h := uses[1].Holder; h == nil || h.PID != f.server("web").PID || h.Server != "web" {
		t.Errorf("%+v", h)
	}
	held.Close() //nolint:errcheck // freed
	f.start("api")
	f.Stop(t.Context(), nil, supervisor.StopOptions{}) //nolint:errcheck // known names
	if uses, err := f.Ports(); err != nil || uses[0].Holder != nil || uses[1].Holder != nil {
		t.Errorf("%+v, %v", uses, err)
	}
}

func TestTheNextFreePortIsTakenWhereTheConfigurationSaysSo(t *testing.T) {
	_, port := listener(t)
	f := opened(t, config(server("api", 0, serving, fmt.Sprintf("port: {number: %d, on_conflict: next}", port))))
	f.start("api")
	s := f.server("api")
	if len(s.Ports) != 1 || s.Ports[0].Number == port || s.URL != fmt.Sprintf("http://localhost:%d", s.Ports[0].Number) {
		t.Fatalf("%+v", s)
	}
	text, err := get(t, s.Ports[0].Number, "/env")
	if err != nil || !strings.Contains(text, fmt.Sprintf(`"PORT=%d"`, s.Ports[0].Number)) {
		t.Errorf("%s, %v", text, err)
	}
	uses, err := f.Ports()
	if err != nil || uses[0].Port != s.Ports[0].Number || uses[0].Holder == nil || uses[0].Holder.Server != "api" {
		t.Errorf("%+v, %v", uses, err)
	}
}

func TestTheWholeTreeEnds(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	f := opened(t, config(server("api", freePort(t), []string{"family", pidFile}, "stop: {grace: 200ms}")))
	f.start("api")
	grandchild := awaitPID(t, pidFile)
	f.close()
	if grandchild.Alive() {
		t.Errorf("%v is still there", grandchild)
	}
}

// awaitPID waits until a process has written its pid. A child says nothing of
// it but by the file, so this is a poll.
func awaitPID(t *testing.T, file string) proc.Identity {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		text, _ := os.ReadFile(file)
		if pid, err := strconv.Atoi(string(text)); err == nil {
			id, err := proc.Identify(pid)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("nobody has written %s; last: %q", file, text)
		}
	}
}

func TestMemoryIsInTheStatus(t *testing.T) {
	f := opened(t, config(server("api", freePort(t), serving)))
	f.start("api")
	st := f.await("memory", func(st *status.Project) bool { return st.Servers[0].MemoryBytes > 0 })
	if st.Servers[0].MemoryBytes < 1<<20 {
		t.Errorf("%d bytes", st.Servers[0].MemoryBytes)
	}
}

func TestDependenciesAreCheckedAndWaitedFor(t *testing.T) {
	l, db := listener(t)
	f := opened(t, config(server("api", freePort(t), serving, "depends_on: [db]", "ready: {within: 60s}"))+
		fmt.Sprintf("dependencies:\n  db: {tcp: \"127.0.0.1:%d\", every: 100ms}\n", db))
	st := f.await("db is up", func(st *status.Project) bool { return len(st.Dependencies) == 1 && st.Dependencies[0].Up })
	if d := st.Dependencies[0]; d.Name != "db" || d.Target != fmt.Sprintf("127.0.0.1:%d", db) || d.Checked.IsZero() {
		t.Errorf("%+v", d)
	}
	l.Close() //nolint:errcheck // the database goes
	st = f.await("db is down", func(st *status.Project) bool { return !st.Dependencies[0].Up })
	if !strings.Contains(st.Dependencies[0].Message, strconv.Itoa(db)) {
		t.Errorf("%+v", st.Dependencies)
	}
	if _, _, err := f.Start(t.Context(), nil, supervisor.StartOptions{Env: os.Environ(), NoWait: true}); err != nil {
		t.Fatal(err)
	}
	f.await("it waits", func(st *status.Project) bool { return st.Servers[0].State == status.Waiting })
	again, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", db))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close() //nolint:errcheck // the test's
	f.await("it goes on", func(st *status.Project) bool { return st.Servers[0].State == status.Ready })
}

func TestAMissingConfigurationSaysSo(t *testing.T) {
	f := opened(t, "")
	var config *ConfigError
	if _, _, err := f.Start(t.Context(), nil, f.asks()); !errors.As(err, &config) || !strings.Contains(err.Error(), "no devside.yaml") {
		t.Errorf("%v", err)
	}
	if st := f.Status(); st.Config != "" || len(st.Servers) != 0 || st.Dependencies == nil || has(st.Problems, status.NotTrusted, "") {
		t.Errorf("%+v", st)
	}
}

func TestTheRootMustBeThere(t *testing.T) {
	f := newFixture(t, "")
	if _, err := Open(t.Context(), Options{Root: filepath.Join(f.root, "nope"), Paths: f.paths, Getenv: noEnv}); err == nil {
		t.Error("a folder that is not there was opened")
	}
}

func TestEnvFilesAreReadInsideTheProjectOnly(t *testing.T) {
	f := opened(t, config(server("api", freePort(t), serving)))
	outside := filepath.Join(f.home, "secret")
	if err := os.WriteFile(outside, []byte("A=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(f.root, "link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(f.root, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	big, err := os.Create(filepath.Join(f.root, "big"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(big.Truncate(maxEnvFile+1), big.Close()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "pipe", "big", "nope", "../secret"} {
		if text, err := f.readFile(name); err == nil {
			t.Errorf("%s was read: %q", name, text)
		}
	}
}

// onDisk reads a state file.
func onDisk[T any](f *fixture, name string) T {
	f.t.Helper()
	f.store.Flush()
	return readState[T](f, name)
}

func readState[T any](f *fixture, name string) (v T) {
	f.t.Helper()
	text, err := os.ReadFile(filepath.Join(f.paths.Run, name))
	if err != nil {
		f.t.Fatal(err)
	}
	if err := json.Unmarshal(text, &v); err != nil {
		f.t.Fatal(err)
	}
	return v
}

// awaitDisk waits until a state file is as wanted: it is written after the
// status says so, and nothing tells when.
func awaitDisk[T any](f *fixture, name string, is func(T) bool) T {
	f.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		v := onDisk[T](f, name)
		if is(v) {
			return v
		}
		select {
		case <-tick.C:
		case <-deadline:
			f.t.Fatalf("%s is %+v", name, v)
		}
	}
}

func TestLedgerAndSnapshotFollowWhatRuns(t *testing.T) {
	f := opened(t, config(server("api", freePort(t), serving), server("web", freePort(t), serving)))
	empty := onDisk[state.Ledger](f, "ledger.json")
	if len(empty.Servers) != 0 || empty.Hub.PID != os.Getpid() || len(empty.Marker) < 16 {
		t.Errorf("%+v", empty)
	}
	f.start()
	s, _ := f.group.Snapshot("api")
	l := awaitDisk(f, "ledger.json", func(l state.Ledger) bool { return len(l.Servers) == 2 })
	want := state.LedgerEntry{Name: "api", Identity: s.Identity, Stop: &state.Stop{Signal: "SIGTERM", GraceMs: s.Stop.Grace.Milliseconds()}}
	if l.Marker != empty.Marker || !reflect.DeepEqual(l.Servers[0], want) || want.Stop.GraceMs == 0 {
		t.Errorf("%+v, %+v", l, want)
	}
	awaitDisk(f, "snapshot.json", func(s state.Snapshot) bool { return slices.Equal(s.Running, []string{"api", "web"}) })
	f.Stop(t.Context(), []string{"web"}, supervisor.StopOptions{}) //nolint:errcheck // a known name
	awaitDisk(f, "ledger.json", func(l state.Ledger) bool { return len(l.Servers) == 1 })
	awaitDisk(f, "snapshot.json", func(s state.Snapshot) bool { return slices.Equal(s.Running, []string{"api"}) })

	f.end(true)
	if l := readState[state.Ledger](f, "ledger.json"); len(l.Servers) != 0 {
		t.Errorf("closed, the ledger has %+v", l.Servers)
	}
	if s := readState[state.Snapshot](f, "snapshot.json"); !slices.Equal(s.Running, []string{"api"}) {
		t.Errorf("closed by an accident, the snapshot has %v", s.Running)
	}

	f.open()
	f.Vouch(1)
	if f.Active() {
		t.Error("something was started that nobody asked for")
	}
	f.Restore(t.Context(), os.Environ())
	f.await("what ran runs again", func(st *status.Project) bool { return st.Servers[0].State == status.Ready })
	if f.server("web").State != status.Stopped {
		t.Error("what did not run was started")
	}
	f.Stop(t.Context(), nil, supervisor.StopOptions{}) //nolint:errcheck // known names
	f.Restore(t.Context(), os.Environ())
	if f.Active() {
		t.Error("it was restored twice")
	}
	f.close()
	if s := readState[state.Snapshot](f, "snapshot.json"); len(s.Running) != 0 {
		t.Errorf("closed in order, the snapshot has %v", s.Running)
	}
}

func TestARestoreThatIsNotTrustedSaysSo(t *testing.T) {
	f := newFixture(t, config(server("api", freePort(t), serving))).open()
	f.store.PutSnapshot(state.Snapshot{Running: []string{"api", "removed"}})
	f.end(true)
	f.open()
	sub := f.Subscribe()
	defer sub.Close()
	f.Restore(t.Context(), os.Environ())
	events := sub.Events()
	if f.Active() || len(events) != 2 || !strings.Contains(events[1].Message, "not trusted") {
		t.Errorf("%+v", events)
	}
}

func TestWhatAKilledHubLeftIsEndedAndStartedAgain(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	f := newFixture(t, config(server("api", freePort(t), []string{"family", pidFile}), server("web", freePort(t), serving)))
	hub := exec.Command(self(), child, "hub", f.root, f.home)
	hub.Stderr = os.Stderr
	out, err := hub.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := hub.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 100)
	n, err := out.Read(line)
	if got := string(line[:n]); err != nil || got != "started 2 <nil>\n" {
		t.Errorf("the hub says %q, %v", got, err)
	}
	grandchild := awaitPID(t, pidFile)
	l := readState[state.Ledger](f, "ledger.json")
	hub.Process.Kill() //nolint:errcheck // it lives, we have not waited for it
	hub.Wait()         //nolint:errcheck // killed
	old := []proc.Identity{grandchild}
	for _, s := range l.Servers {
		old = append(old, s.Identity)
	}
	if len(old) != 3 {
		t.Fatalf("the ledger has %+v", l)
	}

	f.open()
	for _, id := range old {
		if id.Alive() {
			t.Errorf("%v is still there", id)
		}
	}
	f.Vouch(1)
	f.Restore(t.Context(), os.Environ())
	f.await("all is ready again", func(st *status.Project) bool { return st.Summary.Ready == 2 })
}

func TestWhatWasStartedBeforeTheLedgerHadItIsEndedToo(t *testing.T) {
	f := newFixture(t, "").open()
	l := onDisk[state.Ledger](f, "ledger.json")
	f.end(true)
	for name, marker := range map[string]string{"ours": l.Marker + ":api:1", "another's": "fedcba9876543210:api:1"} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(self(), child, "silent")
			cmd.Env = append(os.Environ(), proc.Marker+"="+marker)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() {
				cmd.Wait() //nolint:errcheck // killed
				close(ended)
			}()
			id, err := proc.Identify(cmd.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			// The ledger of a hub that was killed right after its first start.
			text, err := json.Marshal(l)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(f.paths.Run, "ledger.json"), text, 0o600); err != nil {
				t.Fatal(err)
			}
			f.open()
			if alive := id.Alive(); alive != (name != "ours") {
				t.Errorf("alive: %v", alive)
			}
			f.close()
			cmd.Process.Kill() //nolint:errcheck // it may be gone already
			<-ended
		})
	}
}

func TestASubscriberGetsEventsInOrderAndNobodyWaitsForIt(t *testing.T) {
	f := opened(t, "")
	sub, other := f.Subscribe(), f.Subscribe()
	defer sub.Close()
	other.Close()
	for i := range maxEvents + 50 {
		f.happened(status.Event{Kind: status.HappenedStart, Message: strconv.Itoa(i)})
	}
	select {
	case <-sub.News:
	default:
		t.Error("it is not told that there is something new")
	}
	events := sub.Events()
	if len(events) != maxEvents || events[0].Message != "50" || events[maxEvents-1].Message != strconv.Itoa(maxEvents+49) {
		t.Errorf("%d events, from %s to %s", len(events), events[0].Message, events[len(events)-1].Message)
	}
	if again := sub.Events(); len(again) != 0 {
		t.Errorf("told twice: %+v", again)
	}
	if len(other.Events()) != 0 {
		t.Error("a closed subscription is told")
	}
}

func TestTheSequenceGrowsAndIsNeverAheadOfWhatItStandsFor(t *testing.T) {
	f := newFixture(t, config(server("api", freePort(t), serving))).open()
	last := f.Status().Sequence
	for range 300 {
		var during *status.Project
		var looked sync.WaitGroup
		begin := make(chan struct{})
		looked.Go(func() {
			close(begin)
			during = f.Status()
		})
		<-begin
		f.Vouch(1)
		looked.Wait()
		after := f.await("a new number", func(st *status.Project) bool { return st.Sequence > last })
		if during.Sequence == after.Sequence && during.Trust.State != after.Trust.State {
			t.Fatalf("two statuses of number %d say %s and %s", after.Sequence, during.Trust.State, after.Trust.State)
		}
		f.Vouch(-1)
		f.await("distrust", func(st *status.Project) bool {
			return st.Trust.State == status.Untrusted && st.Sequence > after.Sequence
		})
		last = f.Status().Sequence
	}
}

func TestNothingIsLeftOpenAfterClose(t *testing.T) {
	port := freePort(t)
	f := newFixture(t, config(server("api", port, serving), server("web", freePort(t), serving, "depends_on: [db]"))+
		"dependencies:\n  db: {tcp: \"127.0.0.1:1\"}\n")
	once := func() {
		f.open()
		f.Vouch(1)
		sub := f.Subscribe()
		f.start("api")
		run := f.server("api").Run // it goes on from the last hub's
		crashIt(t, port)
		f.await("its restart", func(st *status.Project) bool {
			return st.Servers[0].State == status.Ready && st.Servers[0].Run == run+1
		})
		sub.Close()
		f.close()
	}
	once() // what the runtime opens for itself is open now
	before := descriptors(t)
	once()
	if after := descriptors(t); len(after) > len(before) {
		t.Errorf("before: %v\nafter: %v", before, after)
	}
}

func descriptors(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		to, _ := os.Readlink("/proc/self/fd/" + e.Name())
		out = append(out, e.Name()+" "+to)
	}
	return out
}

func TestCloseWaitsAlthoughNobodyElseDoes(t *testing.T) {
	f := opened(t, config(
		server("web", freePort(t), []string{"stubborn"}, "depends_on: [api]", "stop: {grace: 300ms}"), server("api", freePort(t), serving)))
	f.start()
	var ids []proc.Identity
	for _, s := range f.group.Snapshots() {
		ids = append(ids, s.Identity)
	}
	p := f.Project
	f.Project = nil
	ctx, cancel := contextEnded(t)
	defer cancel()
	p.Close(ctx, false)
	for _, id := range ids {
		if id.Alive() {
			t.Errorf("%v is still there", id)
		}
	}
	// What comes too late is refused, and waits for nobody.
	if results, _, _ := p.Start(t.Context(), nil, f.asks()); len(results) != 0 {
		t.Errorf("%+v", results)
	}
	p.Vouch(1)
}

func TestTheMarkerIsOnDiskBeforeAnythingStarts(t *testing.T) {
	f := opened(t, config(server("api", 0, serving)))
	if l := readState[state.Ledger](f, "ledger.json"); l.Marker == "" || l.Marker != f.marker {
		t.Errorf("when the project is open, the ledger has the marker %q, not %q", l.Marker, f.marker)
	}
}
