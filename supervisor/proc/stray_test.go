//go:build linux

package proc

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		argv    []string
		want    bool
	}{
		{"next dev", []string{"node", "/p/node_modules/.bin/next", "dev", "-p", "3000"}, true},
		{"next dev", []string{"next", "dev"}, true},
		{"next dev", []string{"sh", "-c", "next dev"}, true},
		{"next dev", []string{"next", "develop"}, false},
		{"next dev", []string{"next-dev"}, false},
		{"next dev", []string{"annext", "dev"}, false},
		{"next dev", []string{"annext", "dev", "next", "dev"}, true},
		{".bin/next", []string{"node", "/p/node_modules/.bin/next"}, true},
		{"vite", []string{"vim", "vite.config.ts"}, false},
		{"vite", []string{"cat", "src/vite/index.ts"}, false},
		{"vite", []string{"vite"}, true},
		{"a.b", []string{"axb"}, false}, // no letter has a meaning
		{"", []string{"a"}, false},
		{"next", nil, false},
	} {
		if got := matches(tt.argv, tt.pattern); got != tt.want {
			t.Errorf("%q in %q: %v", tt.pattern, tt.argv, got)
		}
	}
}

func TestPersonal(t *testing.T) {
	for _, tt := range []struct {
		name string
		argv []string
		want bool
	}{
		{"vim", []string{"vim", "next dev"}, true},
		{"code", []string{"code", "."}, true},
		{"tmux: server", []string{"tmux", "new", "next dev"}, true},
		{"bash", []string{"-bash"}, true},
		{"bash", []string{"bash", "-i"}, true},
		{"zsh", []string{"zsh", "--login"}, true},
		{"sh", []string{"sh", "-c", "next dev"}, false},
		{"bash", []string{"bash", "dev.sh"}, false},
		{"bash", []string{"bash", "-ec", "next dev"}, false},
		{"node", []string{"node", "next"}, false},
		{"sh", nil, true},
	} {
		if got := personal([]string{tt.name}, tt.argv); got != tt.want {
			t.Errorf("%s %q: %v", tt.name, tt.argv, got)
		}
	}
}

func TestFindStrays(t *testing.T) {
	at := func(pid, parent int, folder string, argv ...string) resident {
		return resident{stat: stat{pid: pid, parent: parent, start: uint64(pid), state: 'S'}, ours: true, argv: argv, names: argv[:1], folder: folder}
	}
	foreign := at(40, 1, "/p", "next", "dev")
	foreign.ours = false
	ended := at(41, 1, "/p", "next", "dev")
	ended.state, ended.threads = 'Z', 1
	of := Strays{Root: "/p", Patterns: []string{"next dev"}, Supervises: func(argv []string) bool { return argv[0] == "devside" }}
	members, strays := of.find([]resident{
		at(1, 0, "/", "init"),
		at(10, 1, "/p", "sh", "-c", "next dev"), // our own shell
		at(11, 10, "/p", "next", "dev"),         // we
		at(12, 11, "/p", "next", "dev"),         // our server
		at(13, 12, "/p", "next", "dev"),
		at(14, 10, "/p", "next", "dev"), // started by our shell before: a stray
		at(20, 1, "/p", "next", "dev"),
		at(21, 20, "/p/sub", "node"),         // started by a stray
		at(22, 20, "/tmp", "node"),           // works elsewhere
		at(23, 22, "/p", "node"),             // whose it is can't be told
		at(24, 21, "/p", "vim", "x"),         // a person's
		at(25, 24, "/p", "node"),             // and what that started
		at(30, 1, "/p-other", "next", "dev"), // another folder
		at(31, 1, "/", "next", "dev"),
		at(32, 1, "", "next", "dev"), // can't be read, or in another mount namespace
		foreign, ended,
		at(50, 1, "/p/nested", "devside", "__hub"),
		at(51, 50, "/p/nested", "next", "dev"), // another hub's, alive
		at(52, 51, "/p/nested", "next", "dev"),
		at(61, 62, "/p", "next", "dev"), // its pid is lower than its parent's
		at(62, 1, "/p", "next", "dev"),
		at(70, 1, "/elsewhere", "other"), // seen before
	}, known{70: 70, 30: 1}, 11)
	var got []int
	for _, s := range members {
		got = append(got, s.pid)
	}
	if want := []int{14, 20, 21, 62, 61, 70}; !slices.Equal(got, want) || len(strays) != len(want) {
		t.Errorf("found %v, want %v", got, want)
	}
	if strays[1].Pattern != "next dev" || strays[2].Pattern != "" {
		t.Errorf("%+v", strays)
	}
}

func TestEndStrays(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	other := root + "-other"
	for _, dir := range []string{root + "/sub", other} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	exe := self()[0]
	vim := filepath.Join(other, "vim")
	for link, to := range map[string]string{vim: exe, other + "/in": root + "/sub"} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	const word = "stray-server dev"
	type running struct {
		name string
		id   Identity
		gone bool
	}
	var all []running
	start := func(name string, gone bool, dir string, cred *syscall.Credential, argv ...string) []int {
		t.Helper()
		out, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir, cmd.Stdout = dir, w
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: cred}
		if err := cmd.Start(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = w.Close()
		id, err := Identify(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, running{name, id, gone})
		t.Cleanup(func() {
			_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // un-reaped, so that the session is its own
			_ = cmd.Wait()
			_ = out.Close()
		})
		buf := make([]byte, 4096)
		n, err := out.Read(buf)
		if err != nil {
			t.Fatalf("%s said nothing: %v", name, err)
		}
		var pid int
		_, _ = fmt.Sscan(string(buf[:n]), &pid)
		return []int{pid}
	}
	start("a stray", true, root, nil, self("sleep", word)...)
	start("one that ignores SIGTERM", true, root, nil, self("stubborn", word)...)
	start("below the root", true, root+"/sub", nil, self("sleep", "/x/"+word)...)
	start("there through a link", true, other+"/in", nil, self("sleep", word)...)
	start("in another folder", false, other, nil, self("sleep", word)...)
	start("another word", false, root, nil, self("sleep", word+"elop")...)
	start("an editor", false, root, nil, vim, child, "sleep", word)
	start("an idle one", false, root, nil, self("sleep")...)
	if os.Geteuid() == 0 {
		if err := os.Chmod(filepath.Dir(root), 0o755); err != nil {
			t.Fatal(err)
		}
		start("another user's", false, root, &syscall.Credential{Uid: 65534, Gid: 65534}, "/bin/sh", "-c", "echo $$; sleep 60; : "+word)
	}
	below := func(what string) Identity {
		t.Helper()
		parent := all[len(all)-1].id.PID
		var id Identity
		eventually(t, what, func() (bool, string) {
			children := childrenByScan(parent)
			if len(children) != 1 {
				return false, fmt.Sprint(children)
			}
			var err error
			id, err = Identify(children[0])
			// Exec has happened when its arguments are its own.
			return err == nil && slices.Contains(commandLine(children[0]), "stubborn"), fmt.Sprint(err)
		})
		return id
	}
	start("one with a child", true, root, nil, self("above", "plain", word)...)
	all = append(all, running{"the child of a stray", below("its child"), true})
	start("a hub of another project", false, root+"/sub", nil, self("above", word, "pretend-hub")...)
	nested := below("the hub's server")
	all = append(all, running{"a live hub's server", nested, false})
	t.Cleanup(func() { _ = nested.Signal(syscall.SIGKILL) })

	argv := self("cleaner", root, word, "never-there")
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	var strays []Stray
	if err != nil || json.Unmarshal(out, &strays) != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ended := 0
	for _, r := range all {
		if r.id.Alive() == r.gone {
			t.Errorf("%s (%v): alive %v", r.name, r.id, !r.gone)
		}
		i := slices.IndexFunc(strays, func(s Stray) bool { return s.PID == r.id.PID })
		if (i >= 0) != r.gone || i >= 0 && strays[i].Left != "" {
			t.Errorf("%s: reported at %d of %+v", r.name, i, strays)
		}
		if r.gone {
			ended++
		}
	}
	if len(strays) != ended {
		t.Errorf("%d strays reported, %d were there: %+v", len(strays), ended, strays)
	}
	if again, err := exec.Command(argv[0], argv[1:]...).Output(); err != nil || string(again) != "null\n" {
		t.Errorf("a second time: %s %v", again, err)
	}
	for _, none := range [][]string{{"/", word}, {"relative", word}, {root}} {
		argv := self(append([]string{"cleaner"}, none...)...)
		if out, err := exec.Command(argv[0], argv[1:]...).Output(); err != nil || string(out) != "null\n" {
			t.Errorf("%q: %s %v", none, out, err)
		}
	}
}
