//go:build linux

package project

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"github.com/devside/devside/supervisor"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

// stray is a process in a session of its own, with more words in its command
// line than it understands. It is below the test, and not below a hub of it.
func stray(t *testing.T, dir string, env []string, words ...string) proc.Identity {
	t.Helper()
	cmd := exec.Command(self(), append([]string{child, "silent"}, words...)...)
	cmd.Dir, cmd.Env = dir, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	id, err := proc.Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	reaped := make(chan struct{})
	go func() {
		cmd.Wait() //nolint:errcheck // killed
		close(reaped)
	}()
	t.Cleanup(func() {
		id.Signal(syscall.SIGKILL) //nolint:errcheck // ended already by some
		<-reaped
	})
	return id
}

// straysHub goes one step for each line it reads: it is asked to start while
// nobody trusts the project, then while somebody does, then again.
func straysHub(root, home string) int {
	paths := state.Paths{Run: filepath.Join(home, "run"), Logs: filepath.Join(home, "logs")}
	p, err := Open(context.Background(), Options{Root: root, Paths: paths, Log: zerolog.Nop(), Getenv: noEnv})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	sub := p.Subscribe()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if lines.Text() == "vouch" {
			p.Vouch(1)
		}
		_, _, err := p.Start(context.Background(), nil, supervisor.StartOptions{Env: os.Environ()})
		var untrusted *UntrustedError
		security := []status.Event{}
		for _, e := range sub.Events() {
			if e.Kind == status.HappenedSecurity {
				security = append(security, e)
			}
		}
		text, _ := json.Marshal(map[string]any{"untrusted": errors.As(err, &untrusted), "events": security})
		fmt.Println(string(text))
	}
	p.Close(context.Background(), false)
	return 0
}

func TestStraysAreEndedBeforeTheFirstStartOfATrustedProjectAndNeverAgain(t *testing.T) {
	f := newFixture(t, config(server("api", 0, serving))+"cleanup: {patterns: [stray dev]}\n")
	hub := exec.Command(self(), child, "strays", f.root, f.home)
	hub.Stderr = os.Stderr
	in, err := hub.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := hub.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := hub.Start(); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(out)
	var got struct {
		Untrusted bool
		Events    []status.Event
	}
	ask := func(line string) {
		t.Helper()
		fmt.Fprintln(in, line) //nolint:errcheck // the answer tells
		text, err := answers.ReadString('\n')
		got.Events = nil
		if err != nil || json.Unmarshal([]byte(text), &got) != nil {
			t.Fatalf("%q %v", text, err)
		}
	}
	defer func() {
		in.Close() //nolint:errcheck // its end
		if err := hub.Wait(); err != nil {
			t.Error(err)
		}
	}()

	first := stray(t, f.root, nil, "stray", "dev", "--token=secret")
	elsewhere := stray(t, f.home, nil, "stray", "dev")
	ask("untrusted")
	if !got.Untrusted || !first.Alive() || len(got.Events) > 0 {
		t.Errorf("of a project that nobody trusts: %+v, alive %v", got, first.Alive())
	}
	ask("vouch")
	if first.Alive() || !elsewhere.Alive() || got.Untrusted || len(got.Events) != 1 {
		t.Fatalf("the stray lives: %v, the other: %v; %+v", first.Alive(), elsewhere.Alive(), got)
	}
	e := got.Events[0]
	if e.Act != status.ActKilled || e.Process == nil || e.Process.PID != first.PID || !strings.Contains(e.Message, `"stray dev"`) || strings.Contains(e.Message+e.Process.Command, "secret") {
		t.Errorf("%+v %+v", e, e.Process)
	}
	second := stray(t, f.root, nil, "stray", "dev")
	ask("again")
	if !second.Alive() || len(got.Events) > 0 {
		t.Errorf("a later start ended what a person may have started: %+v", got.Events)
	}
}

func TestALedgerIsNotBelievedBlindly(t *testing.T) {
	f := newFixture(t, "").open()
	l := onDisk[state.Ledger](f, "ledger.json")
	f.end(true)
	unmarked := []string{"PATH=/usr/bin:/bin"}
	for _, tt := range []struct {
		name  string
		env   []string
		entry func(proc.Identity) proc.Identity
		gone  bool
	}{
		{"ours", []string{proc.Marker + "=" + l.Marker + ":api:1"}, nil, true},
		{"of another boot", unmarked, func(id proc.Identity) proc.Identity { id.Boot = "0" + id.Boot; return id }, false},
		{"whose pid was given again", unmarked, func(id proc.Identity) proc.Identity { id.Start = "1" + id.Start; return id }, false},
		{"that was never ours", unmarked, nil, false},
		{"of another hub", []string{proc.Marker + "=fedcba9876543210:api:1"}, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := stray(t, "/", tt.env)
			planted := l
			entry := id
			if tt.entry != nil {
				entry = tt.entry(id)
			}
			planted.Servers = []state.LedgerEntry{{Name: "api", Identity: entry, Stop: &state.Stop{Signal: "SIGKILL"}}}
			text, err := json.Marshal(planted)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(f.paths.Run, "ledger.json"), text, 0o600); err != nil {
				t.Fatal(err)
			}
			f.open()
			defer f.close()
			if id.Alive() == tt.gone {
				t.Errorf("a process %s: alive %v", tt.name, !tt.gone)
			}
		})
	}
}

func TestWithADamagedLedgerNobodyIsEnded(t *testing.T) {
	f := newFixture(t, "").open()
	l := onDisk[state.Ledger](f, "ledger.json")
	f.end(true)
	id := stray(t, "/", []string{proc.Marker + "=" + l.Marker + ":api:1"})
	file := filepath.Join(f.paths.Run, "ledger.json")
	if err := os.WriteFile(file, []byte(`{"schema":1,"marker":"`+l.Marker), 0o600); err != nil {
		t.Fatal(err)
	}
	f.open()
	if !id.Alive() {
		t.Error("somebody was ended on the word of a damaged ledger")
	}
	if _, err := os.Stat(file + ".damaged"); err != nil || !strings.Contains(f.log.String(), "set aside") {
		t.Errorf("%v; %s", err, f.log)
	}
	if new := onDisk[state.Ledger](f, "ledger.json"); new.Marker == "" || new.Marker == l.Marker {
		t.Errorf("%+v", new)
	}
}

func TestLeftoversAreEndedTogether(t *testing.T) {
	f := newFixture(t, "").open()
	l := onDisk[state.Ledger](f, "ledger.json")
	f.end(true)
	var ids []proc.Identity
	for i := range 12 {
		env := []string{fmt.Sprintf("%s=%s:s%d:1", proc.Marker, l.Marker, i)}
		id := stray(t, "/", env)
		ids = append(ids, id)
		l.Servers = append(l.Servers, state.LedgerEntry{Name: fmt.Sprint("s", i), Identity: id})
	}
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.paths.Run, "ledger.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	f.open()
	for _, id := range ids {
		if id.Alive() {
			t.Errorf("%v is still there", id)
		}
	}
	if !strings.Contains(f.log.String(), `"ended":12,"killed":0,"left":0`) {
		t.Errorf("the log does not count them: %s", f.log)
	}
}
