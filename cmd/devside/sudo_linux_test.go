package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

// rootOnly ends a test that only root can make: one that mounts, or plays
// another user. What it shows is root's business.
func rootOnly(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount, and become others")
	}
}

// openDir is a folder that other users reach, unlike t.TempDir.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "devside-open-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startMounted starts a command that sees other files in the place of some:
// binds maps what it sees to what it is. Nobody else sees it, and it ends with
// the command and its children.
func startMounted(cmd *exec.Cmd, binds map[string]string) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with us, its mounts are nobody else's
		done <- func() error {
			if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
				return fmt.Errorf("unshare: %w", err)
			}
			if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
				return fmt.Errorf("make the mounts private: %w", err)
			}
			for at, what := range binds {
				if err := syscall.Mount(what, at, "", syscall.MS_BIND, ""); err != nil {
					return fmt.Errorf("bind %s: %w", at, err)
				}
			}
			return cmd.Start()
		}()
	}()
	return <-done
}

// sudoer is a user of a made-up user database.
type sudoer struct {
	t        *testing.T
	dir      string
	home     string
	project  string
	port     int
	database map[string]string
}

const sudoerUID, sudoerGID, sudoerGroup = 4242, 4243, 4244

func newSudoer(t *testing.T) *sudoer {
	t.Helper()
	rootOnly(t)
	s := &sudoer{t: t, dir: openDir(t)}
	s.home, s.project = filepath.Join(s.dir, "home"), filepath.Join(s.dir, "shop")
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	s.port = port
	write := func(name, text string) string {
		path := filepath.Join(s.dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	s.database = map[string]string{
		"/etc/passwd": write("passwd", fmt.Sprintf("root:x:0:0::/root:/bin/sh\nann:x:%d:%d::%s:/bin/sh\n", sudoerUID, sudoerGID, s.home)),
		"/etc/group":  write("group", fmt.Sprintf("root:x:0:\nann:x:%d:\ndevs:x:%d:ann\nothers:x:4999:\n", sudoerGID, sudoerGroup)),
	}
	for _, dir := range []string{s.home, s.project} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	yaml := fmt.Sprintf("version: 1\nservers:\n  api: {command: [%q, api], port: %d, ready: {http: /api/health}}\n", filepath.Join(binaries(t), "demo"), port)
	if err := os.WriteFile(filepath.Join(s.project, "devside.yaml"), []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{s.home, s.project, filepath.Join(s.project, "devside.yaml")} {
		if err := os.Chown(path, sudoerUID, sudoerGID); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// command is devside as sudo runs it for ann.
func (s *sudoer) command(vars []string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(binaries(s.t), "devside"), args...)
	cmd.Dir = s.project
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=/root", "USER=root", "LOGNAME=root", "TERM=xterm",
		"XDG_RUNTIME_DIR=/run/user/0", "XDG_STATE_HOME=" + filepath.Join(s.dir, "roots"), "SUDO_COMMAND=devside",
	}, vars...)
	return cmd
}

var asAnn = []string{"SUDO_USER=ann", fmt.Sprint("SUDO_UID=", sudoerUID), fmt.Sprint("SUDO_GID=", sudoerGID)}

// run runs devside to its end.
func (s *sudoer) run(vars []string, args ...string) (code int, out, errOut string) {
	s.t.Helper()
	cmd := s.command(vars, args...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	if err := startMounted(cmd, s.database); err != nil {
		s.t.Fatal(err)
	}
	cmd.Wait() //nolint:errcheck // its exit code says it
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

// dropped checks that a process is ann's wholly.
func (s *sudoer) dropped(what string, pid int) {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		s.t.Error(err)
		return
	}
	for name, want := range map[string]string{
		"Uid": strings.Repeat(fmt.Sprint("\t", sudoerUID), 4), "Gid": strings.Repeat(fmt.Sprint("\t", sudoerGID), 4),
		"Groups": fmt.Sprintf("\t%d %d ", sudoerGID, sudoerGroup), "CapEff": "\t0000000000000000", "CapPrm": "\t0000000000000000",
	} {
		if !strings.Contains(string(text), "\n"+name+":"+want+"\n") {
			s.t.Errorf("%s (pid %d): no %s:%q in\n%s", what, pid, name, want, text)
		}
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		s.t.Error(err)
	}
	vars := "\x00" + string(environ)
	for _, never := range []string{"\x00SUDO_", "\x00XDG_", "=/root\x00", "\x00USER=root"} {
		if strings.Contains(vars, never) {
			s.t.Errorf("%s (pid %d) has %q in its environment: %q", what, pid, never, environ)
		}
	}
	if !strings.Contains(vars, "\x00HOME="+s.home+"\x00") {
		s.t.Errorf("%s (pid %d) has another home: %q", what, pid, environ)
	}
}

// status asks for it as ann.
func (s *sudoer) status() (p status.Project) {
	s.t.Helper()
	code, out, errOut := s.run(asAnn, "status", "--output", "json")
	if err := json.Unmarshal([]byte(out), &p); err != nil || code != exitOK {
		s.t.Fatalf("exit code %d, %v: %s%s", code, err, out, errOut)
	}
	return p
}

// ended stops everything and waits for the end of the hub and its guardian:
// they write their last files after the socket has gone.
func (s *sudoer) ended() {
	s.t.Helper()
	ours := map[proc.Identity]string{}
	if hub, err := proc.Inspect(s.status().HubPID); err == nil {
		for _, pid := range []int{hub.PID, hub.Parent} {
			if id, err := proc.Identify(pid); err == nil {
				ours[id] = "devside"
			}
		}
	}
	defer func() { gone(s.t, ours) }()
	s.run(asAnn, "stop")
	await(s.t, "the end of the hub", func() (string, bool) {
		_, out, errOut := s.run(asAnn, "stop")
		return out + errOut, strings.Contains(out+errOut, "nothing of this project runs")
	})
}

func TestSECURITY004UnderSudoEverythingIsTheCallers(t *testing.T) {
	s := newSudoer(t)
	code, out, errOut := s.run(asAnn, "start", "--trust")
	defer s.ended()
	if code != exitOK {
		t.Fatalf("exit code %d: %s%s", code, out, errOut)
	}
	if n := strings.Count(errOut, fmt.Sprintf("devside: runs as ann (uid %d), who called sudo", sudoerUID)); n != 1 {
		t.Errorf("it says %d times who it is: %s", n, errOut)
	}
	p := s.status()
	api, _ := p.Server("api")
	if api.State != status.Ready {
		t.Fatalf("%+v", p)
	}
	hub, err := proc.Inspect(p.HubPID)
	if err != nil {
		t.Fatal(err)
	}
	s.dropped("the hub", p.HubPID)
	s.dropped("the guardian", hub.Parent)
	s.dropped("the server", api.PID)

	files := 0
	err = filepath.WalkDir(s.home, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files++
		if st := info.Sys().(*syscall.Stat_t); st.Uid != sudoerUID || st.Gid != sudoerGID || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %d:%d's with mode %v", path, st.Uid, st.Gid, info.Mode())
		}
		return nil
	})
	if err != nil || files < 8 {
		t.Errorf("%d files in the caller's home, %v", files, err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "roots")); err == nil {
		t.Error("root's XDG_STATE_HOME was used")
	}
}

func TestSECURITY004UnderSudoUpAndAnEditorsSessionAreTheCallers(t *testing.T) {
	for _, args := range [][]string{{"up", "--trust"}, {"--stdio"}} {
		t.Run(args[0], func(t *testing.T) {
			s := newSudoer(t)
			cmd := s.command(asAnn, args...)
			in, err := cmd.StdinPipe() // --stdio waits for it
			if err != nil {
				t.Fatal(err)
			}
			if err := startMounted(cmd, s.database); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			if args[0] == "up" {
				await(t, "the server", func() (string, bool) {
					_, out, errOut := s.run(asAnn, "status", "--output", "json")
					var p status.Project
					return out + errOut, json.Unmarshal([]byte(out), &p) == nil && allReady(p)
				})
			} else {
				// It gives up its rights, then becomes another image: in between it has
				// the old environment, and for a moment of exec none.
				await(t, "the session as the caller", func() (string, bool) {
					environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", cmd.Process.Pid))
					return fmt.Sprintf("%q %v", environ, err), strings.Contains("\x00"+string(environ), "\x00HOME="+s.home+"\x00")
				})
			}
			s.dropped(args[0], cmd.Process.Pid)
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
			in.Close() //nolint:errcheck // it ends
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				cmd.Process.Kill() //nolint:errcheck // our child, not waited for yet
				t.Error("it does not end")
			}
		})
	}
}

func TestSECURITY004UnderSudoWhoIsNobodyIsRefused(t *testing.T) {
	s := newSudoer(t)
	roots := filepath.Join(s.dir, "rootstate") // where the refusals are written down
	if err := os.Mkdir(roots, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ uid, gid, says string }{
		{"0", "0", "refused to run as root: every server would be root, too\n"},
		{"4711", "4711", "find user 4711"},
		{"ann", "4243", `SUDO_UID: "ann" is no id`},
		{fmt.Sprint(sudoerUID), "0", "ann is not in the group 0"},
		{fmt.Sprint(sudoerUID), "4999", "ann is not in the group 4999"},
	} {
		code, out, errOut := s.run([]string{"SUDO_UID=" + test.uid, "SUDO_GID=" + test.gid, "DEVSIDE_HOME=" + roots}, "start", "--trust")
		if code != exitRoot || out != "" || !strings.Contains(errOut, test.says) || !strings.Contains(errOut, "hint: ") {
			t.Errorf("%s:%s: exit code %d, %s%s", test.uid, test.gid, code, out, errOut)
		}
	}
	if entries, err := os.ReadDir(s.home); err != nil || len(entries) > 0 {
		t.Errorf("the home has %v, %v", entries, err)
	}
	lines := auditLines(t, filepath.Join(roots, "state", "audit.log"))
	if len(lines) != 5 {
		t.Fatalf("%+v", lines)
	}
	if l := lines[1]; l.Act != status.ActRootRefused || l.UID != 0 || l.By != "command line" || l.Root != "" || !strings.Contains(l.Message, `"devside start"`) {
		t.Errorf("%+v", l)
	}
}

// A set-uid binary's caller chooses the variables, and must not become whom
// they name.
func TestSECURITY004OnlyWhoIsWhollyRootBecomesAnother(t *testing.T) {
	s := newSudoer(t)
	setuid := filepath.Join(s.dir, "devside")
	data, err := os.ReadFile(filepath.Join(binaries(t), "devside"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(setuid, data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(setuid, 0o755|fs.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	cmd := s.command(asAnn, "status")
	cmd.Path, cmd.Dir = setuid, s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	roots := filepath.Join(s.dir, "rootstate")
	if err := os.Mkdir(roots, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, "DEVSIDE_HOME="+roots)
	if err := startMounted(cmd, s.database); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() //nolint:errcheck // its exit code says it
	switch {
	case strings.Contains(errOut.String(), "permission denied"):
		t.Skipf("the temporary folder's disk has no set-uid programs: %s", &errOut)
	case cmd.ProcessState.ExitCode() != exitRoot || !strings.Contains(errOut.String(), "not all of this process is root's"):
		t.Errorf("exit code %d: %s", cmd.ProcessState.ExitCode(), &errOut)
	}
}

func TestWhatIsLeftOfRootIsNoticed(t *testing.T) {
	us := account{name: "us", uid: os.Geteuid(), gid: os.Getegid(), groups: []int{os.Getegid()}}
	for name, who := range map[string]account{
		"another uid": {uid: us.uid + 1, gid: us.gid},
		"another gid": {uid: us.uid, gid: us.gid + 1},
	} {
		if err := dropped(who); err == nil {
			t.Errorf("%s was not noticed", name)
		}
	}
}

// auditLines reads an audit log.
func auditLines(t *testing.T, path string) (out []state.AuditEntry) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	for line := range strings.Lines(string(text)) {
		var e state.AuditEntry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, e)
	}
	return out
}
