package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

// This file is about bad days: what devside says and does when the machine
// does not give it what it needs, through the real binary.

// devsideIn runs devside to its end in a project, with a state folder.
func devsideIn(t *testing.T, dir, home string, args ...string) (code int, out, errOut string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // some run while the test is being cleaned up
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(binaries(t), "devside"), append(args, "--root", dir, "--allow-root")...)
	cmd.Env = append(os.Environ(), state.HomeVariable+"="+home)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

// openFiles counts a process's descriptors.
func openFiles(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// limit sets a soft resource limit of another process, and returns a function
// that gives it back. It is that process's user who does it: root may not
// everywhere.
func limit(t *testing.T, pid, resource int, to uint64) (restore func()) {
	t.Helper()
	info, err := proc.Inspect(pid)
	if err != nil {
		t.Fatal(err)
	}
	as := func(f func() error) {
		t.Helper()
		done := make(chan error, 1)
		go func() {
			if info.UID != os.Geteuid() {
				runtime.LockOSThread() // for ever: the thread is the other user's from now on
				id := uintptr(info.UID)
				for _, call := range []uintptr{syscall.SYS_SETRESGID, syscall.SYS_SETRESUID} {
					if _, _, e := syscall.RawSyscall(call, id, id, id); e != 0 {
						done <- e
						return
					}
				}
			}
			done <- f()
		}()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	var was unix.Rlimit
	as(func() error {
		if err := unix.Prlimit(pid, resource, nil, &was); err != nil {
			return err
		}
		return unix.Prlimit(pid, resource, &unix.Rlimit{Cur: to, Max: was.Max}, nil)
	})
	return func() {
		t.Helper()
		as(func() error { return unix.Prlimit(pid, resource, &was, nil) })
	}
}

func TestAHubWithoutDescriptorsSaysSoAndGoesOn(t *testing.T) {
	dir, ports := demoProject(t)
	home := homeDir(t)
	s := startSidecar(t, dir, home, time.Minute)
	s.initialize(dir, trusted)
	s.mustStart(t, "api")
	hub := s.status(t).HubPID
	// A stop and a start first, so that everything that is opened once is open.
	s.mustStart(t, "frontend")
	s.Do("devside/stop", map[string]any{"servers": []string{"frontend"}}, nil)
	await(t, "a quiet hub", func() (string, bool) {
		before := openFiles(t, hub)
		code, out, errOut := devsideIn(t, dir, home, "status")
		return out + errOut, code == exitOK && openFiles(t, hub) == before
	})
	before := openFiles(t, hub)
	restore := limit(t, hub, unix.RLIMIT_NOFILE, uint64(before))

	r := s.start(t, "frontend")
	var refused string
	for _, server := range r.Servers {
		if server.Name == "frontend" && !server.OK && server.Error != nil {
			refused = server.Error.Message
		}
	}
	if !strings.Contains(refused, "too many open files") {
		t.Errorf("a start without descriptors: %s", r)
	}
	// A client that comes now is served once there are some again.
	late := make(chan string, 1)
	go func() {
		cmd := exec.Command(filepath.Join(binaries(t), "devside"), "status", "--root", dir, "--allow-root")
		cmd.Env = append(os.Environ(), state.HomeVariable+"="+home)
		out, err := cmd.CombinedOutput()
		late <- fmt.Sprintf("%v %s", err, out)
	}()
	p := s.status(t) // who is connected is served meanwhile
	if a, _ := p.Server("api"); p.HubPID != hub || a.State != status.Ready {
		t.Errorf("hub %d was %d, the server that ran is %+v", p.HubPID, hub, a)
	}
	restore()
	select {
	case got := <-late:
		if !strings.HasPrefix(got, "<nil>") || !strings.Contains(got, "api") {
			t.Errorf("the client that came meanwhile: %s", got)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the client that came meanwhile was never served")
	}
	await(t, "as many descriptors as before", func() (string, bool) {
		n := openFiles(t, hub)
		return fmt.Sprintf("%d, before %d", n, before), n <= before
	})
	s.mustStart(t, "frontend")
	if p := s.status(t); p.HubPID != hub || !allReady(p) {
		t.Errorf("afterwards: %+v", p)
	}
	s.Shutdown()
	portsFree(t, ports[:]...)
}

func TestAHubThatMayNotForkLosesNothingAndStartsLater(t *testing.T) {
	// Root has no such limit, so that the hub is an ordinary user's: as root, of
	// one with no other processes.
	var as *syscall.Credential
	dir, home := openDir(t), ""
	if os.Geteuid() == 0 {
		as = &syscall.Credential{Uid: 54321, Gid: 54321}
	}
	home = filepath.Join(dir, "home")
	project := filepath.Join(dir, "shop")
	cover := filepath.Join(dir, "cover") // the tests' own folder for it is root's
	for _, d := range []string{home, project, cover} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	yaml := fmt.Sprintf("version: 1\nservers:\n  api: {command: [%q, api], port: %d, ready: {http: /api/health}}\n", filepath.Join(binaries(t), "demo"), port)
	if err := os.WriteFile(filepath.Join(project, "devside.yaml"), []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	if as != nil {
		for _, d := range []string{home, project, cover, filepath.Join(project, "devside.yaml")} {
			if err := os.Chown(d, int(as.Uid), int(as.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(binaries(t), "devside"), append(args, "--root", project)...)
		cmd.Env = append(os.Environ(), state.HomeVariable+"="+home, "GOCOVERDIR="+cover)
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
		return cmd
	}
	up := command("up", "--trust")
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- up.Wait() }()
	defer func() {
		up.Process.Signal(os.Interrupt) //nolint:errcheck // our child, not waited for yet
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			up.Process.Kill() //nolint:errcheck // as above
			t.Error("up did not end")
		}
	}()
	var p status.Project
	await(t, "the server", func() (string, bool) {
		p = status.Project{}
		out, err := command("status", "--output", "json").CombinedOutput()
		return fmt.Sprintf("%s %v", out, err), err == nil && json.Unmarshal(out, &p) == nil && allReady(p)
	})
	hub, err := proc.Identify(p.HubPID)
	if err != nil {
		t.Fatal(err)
	}
	ran := servers(t, project)
	restore := limit(t, hub.PID, unix.RLIMIT_NPROC, 1)
	out, err := command("restart", "--trust").CombinedOutput()
	switch said := string(out); {
	case err == nil:
		t.Errorf("it started a process that it may not have: %s", out)
	case hub.Alive():
		for _, want := range []string{"the system has no room for another process: resource temporarily unavailable", "cannot-start", "end something, then start it again"} {
			if !strings.Contains(said, want) {
				t.Errorf("no %q in what it says: %s", want, said)
			}
		}
		restore()
		if out, err := command("start", "--trust").CombinedOutput(); err != nil {
			t.Errorf("afterwards: %v\n%s", err, out)
		}
	default:
		// The limit is one of threads, too, and Go's runtime ends a program that
		// needs one more and can't have it. Then the guardian cleans up, and `up`
		// comes back with another hub that has no such limit.
		t.Logf("the hub was denied a thread: %s", said)
		for id, command := range ran {
			if id.PID != up.Process.Pid && !strings.Contains(command, " __hub") {
				await(t, "the end of "+command, func() (string, bool) { return id.String(), !id.Alive() })
			}
		}
	}
	await(t, "the server again", func() (string, bool) {
		p = status.Project{}
		out, err := command("status", "--output", "json").CombinedOutput()
		return fmt.Sprintf("%s %v", out, err), err == nil && json.Unmarshal(out, &p) == nil && allReady(p)
	})
}

// smallDisk is a state folder on a disk of its own, of 256 KB.
func smallDisk(t *testing.T) string {
	t.Helper()
	rootOnly(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,mode=0700"); err != nil {
		t.Fatalf("mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill leaves no room on a disk.
func fill(t *testing.T, dir string) (room func()) {
	t.Helper()
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	return func() {
		if err := os.Remove(ballast); err != nil {
			t.Error(err)
		}
	}
}

// hubsEnd waits, when the test ends, until every hub with this state folder has.
func hubsEnd(t *testing.T, dir, home string) {
	t.Cleanup(func() {
		await(t, "the end of the hub", func() (string, bool) {
			_, out, errOut := devsideIn(t, dir, home, "stop")
			return out + errOut, strings.Contains(out+errOut, "nothing of this project runs")
		})
	})
}

func TestAFullDiskIsToldAndStartsAreRefusedUntilThereIsRoom(t *testing.T) {
	home := smallDisk(t)
	dir, ports := demoProject(t)
	room := fill(t, home)
	s := startSidecar(t, dir, home, time.Minute)
	s.initialize(dir, trusted)
	r := s.start(t, "api")
	if len(r.Servers) != 1 || r.Servers[0].OK || r.Servers[0].State != status.Blocked || !strings.Contains(r.Servers[0].Error.Message, "no space left on device") ||
		!strings.Contains(r.Servers[0].Error.Hint, "make room on the disk of "+home) {
		t.Fatalf("%s", r)
	}
	p := s.status(t)
	told := false
	for _, problem := range p.Problems {
		told = told || problem.Code == status.StateFailed && strings.Contains(problem.Message, "no space left")
	}
	if !told || p.Summary.Ready != 0 {
		t.Errorf("%+v", p)
	}
	if code, out, errOut := devsideIn(t, dir, home, "status"); code != exitOK || !strings.Contains(out, "state-failed") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	room()
	s.mustStart(t)
	if now := s.status(t); now.HubPID != p.HubPID || !allReady(now) {
		t.Errorf("%+v", now)
	}
	// It fills up again: what runs goes on, and is found after the worst.
	room = fill(t, home)
	ran := servers(t, dir)
	hub, guardian := hubAndGuardian(t, s)
	for _, id := range []proc.Identity{guardian, hub} {
		if err := id.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	kill(t, guardian)
	kill(t, hub)
	gone(t, ran) // by the next hub, which the session starts at once
	room()
	s.mustStart(t)
	s.Shutdown()
	portsFree(t, ports[:]...)
	hubsEnd(t, dir, home)
}

func TestAStateFolderThatCantBeWrittenIsSaid(t *testing.T) {
	home := smallDisk(t)
	dir, ports := demoProject(t)
	remount := func(flags uintptr) {
		if err := syscall.Mount("", home, "", syscall.MS_REMOUNT|flags, "size=256k"); err != nil {
			t.Fatal(err)
		}
	}
	remount(syscall.MS_RDONLY)
	code, out, errOut := devsideIn(t, dir, home, "start", "--trust")
	if code != exitHub || !strings.Contains(errOut, "read-only file system") || !strings.Contains(errOut, home) {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	if code, out, errOut := devsideIn(t, dir, home, "check"); code != exitOK { // what needs no state works
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	remount(0)
	if code, out, errOut := devsideIn(t, dir, home, "start", "--trust"); code != exitOK {
		t.Errorf("afterwards: exit code %d: %s%s", code, out, errOut)
	}
	hubsEnd(t, dir, home)
	devsideIn(t, dir, home, "stop")
	portsFree(t, ports[:]...)
}

func TestAStateFolderThatVanishesIsMadeAgain(t *testing.T) {
	dir, ports := demoProject(t)
	home := homeDir(t)
	s := startSidecar(t, dir, home, time.Minute)
	s.initialize(dir, trusted)
	s.mustStart(t)
	before := s.status(t)
	ran := servers(t, dir)
	paths, err := state.Locate(dir, func(string) string { return home })
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(paths.Run), os.RemoveAll(paths.Logs)); err != nil {
		t.Fatal(err)
	}
	await(t, "a ledger", func() (string, bool) {
		text, err := os.ReadFile(filepath.Join(paths.Run, "ledger.json"))
		return fmt.Sprintf("%s %v", text, err), strings.Contains(string(text), `"name":"api"`)
	})
	await(t, "a snapshot", func() (string, bool) {
		text, err := os.ReadFile(filepath.Join(paths.Run, "snapshot.json"))
		return fmt.Sprintf("%s %v", text, err), strings.Contains(string(text), `"api"`)
	})
	code, out, errOut := devsideIn(t, dir, home, "status", "--output", "json")
	var p status.Project
	if err := json.Unmarshal([]byte(out), &p); code != exitOK || err != nil || p.HubPID != before.HubPID || !allReady(p) {
		t.Errorf("exit code %d, the hub was %d: %s%s", code, before.HubPID, out, errOut)
	}
	for id, command := range ran {
		if !id.Alive() {
			t.Errorf("%v (%s) has gone", id, command)
		}
	}
	s.Shutdown()
	portsFree(t, ports[:]...)
}

func TestWithoutHOMETheUserDatabaseSaysWhereTheHomeIs(t *testing.T) {
	s := newSudoer(t)
	as := func(uid uint32, args ...string) (code int, out string) {
		cmd := s.command(nil, append(args, "--root", s.project)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // no HOME, no XDG_…, no USER
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: sudoerGID}}
		var b bytes.Buffer
		cmd.Stdout, cmd.Stderr = &b, &b
		if err := startMounted(cmd, s.database); err != nil {
			t.Fatal(err)
		}
		cmd.Wait() //nolint:errcheck // its exit code says it
		return cmd.ProcessState.ExitCode(), b.String()
	}
	if code, out := as(sudoerUID, "trust", "--yes"); code != exitOK {
		t.Errorf("exit code %d: %s", code, out)
	}
	if found, err := filepath.Glob(filepath.Join(s.home, ".local", "state", "devside", "run", "*", "trust.json")); err != nil || len(found) != 1 {
		t.Errorf("%v, %v", found, err)
	}
	lines, err := filepath.Glob(filepath.Join(s.home, ".local", "state", "devside", "*", "audit.log"))
	if err != nil || len(lines) != 1 {
		t.Fatalf("%v, %v", lines, err)
	}
	if got := auditLines(t, lines[0]); len(got) != 1 || got[0].Act != status.ActTrusted || got[0].UID != sudoerUID || got[0].By != "command line" || got[0].Root != s.project {
		t.Errorf("%+v", got)
	}
	// Who is in no user database, and whose home is not there, is told.
	if err := os.Chmod(s.project, 0o755); err != nil {
		t.Fatal(err)
	}
	if code, out := as(4711, "start", "--trust"); code != exitHub || !strings.Contains(out, "find the home directory") || !strings.Contains(out, "set DEVSIDE_HOME to a folder of your own") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if err := os.RemoveAll(s.home); err != nil {
		t.Fatal(err)
	}
	if code, out := as(sudoerUID, "start", "--trust"); code != exitHub || !strings.Contains(out, s.home) || !strings.Contains(out, "permission denied") || !strings.Contains(out, "DEVSIDE_HOME") {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// listenAs listens on a unix socket as another user, with root's rights to files.
func listenAs(path string, uid int) (l net.Listener, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for ever: the thread is another user's from now on
		const same = ^uintptr(0)
		if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, same, uintptr(uid), same); e != 0 {
			err = e
			return
		}
		syscall.RawSyscall(syscall.SYS_SETFSUID, 0, 0, 0)
		l, err = net.Listen("unix", path)
	}()
	<-done
	return l, err
}

func TestSECURITY007WhoPretendsToBeAHubIsNotTalkedToAndInTheAuditLog(t *testing.T) {
	rootOnly(t)
	dir, _ := demoProject(t)
	home := openDir(t) // short: a socket's path is
	paths, err := state.Locate(dir, func(string) string { return home })
	if err != nil {
		t.Fatal(err)
	}
	if err := paths.Make(); err != nil {
		t.Fatal(err)
	}
	l, err := listenAs(paths.Socket(), 65534)
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			heard <- err.Error()
			return
		}
		text, _ := io.ReadAll(c)
		c.Close()
		heard <- string(text)
	}()
	code, out, errOut := devsideIn(t, dir, home, "status")
	if code != exitHub || !strings.Contains(errOut, "belongs to another user") || !strings.Contains(errOut, "hint: ") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	l.Close()
	if got := <-heard; got != "" {
		t.Errorf("it was told %q", got)
	}
	lines := auditLines(t, paths.Audit())
	if len(lines) != 1 || lines[0].Act != status.ActHubRefused || lines[0].Root != dir || lines[0].Process.PID != os.Getpid() || lines[0].Process.User != "uid 65534" {
		t.Errorf("%+v", lines)
	}
}
