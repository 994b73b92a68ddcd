package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/sidecar/fakeeditor"
	"github.com/devside/devside/rpc/socket"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/state"
	"github.com/devside/devside/supervisor/status"
)

func TestAPlainClientRunsAProject(t *testing.T) {
	dir, ports := demoProject(t)
	s := startSidecar(t, dir, homeDir(t), time.Minute)
	s.initialize(dir, trusted)
	s.mustStart(t)
	p := s.status(t)
	if !allReady(p) || p.Summary.Worst != status.Ready {
		t.Errorf("status after the start: %+v", p.Servers)
	}
	ran := servers(t, dir)
	if len(ran) != 3 {
		t.Errorf("want the two servers and the child in a session of its own, found %v", ran)
	}
	s.Shutdown()
	for id, command := range ran {
		if id.Alive() {
			t.Errorf("after the answer to shutdown, %v (%s) is alive", id, command)
		}
	}
	if code := s.exitCode(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	portsFree(t, ports[:]...)
}

func TestTwoClientsSeeEachOthersChanges(t *testing.T) {
	dir, _ := demoProject(t)
	home := homeDir(t)
	a, b := startSidecar(t, dir, home, time.Minute), startSidecar(t, dir, home, time.Minute)
	a.initialize(dir, trusted)
	a.status(t) // a hub runs now
	b.initialize(dir, trusted)
	b.status(t)
	a.mustStart(t)
	b.awaitStatus("both servers ready, started by the other", allReady)
	b.Do("devside/stop", map[string]any{"servers": []string{"frontend"}}, nil)
	a.awaitStatus("frontend stopped by the other", func(p status.Project) bool {
		f, _ := p.Server("frontend")
		return f.State == status.Stopped && p.Summary.Ready == 1
	})
	b.Shutdown()
	if p := a.status(t); p.Summary.Ready != 1 {
		t.Errorf("when one of two has gone: %+v", p.Servers)
	}
	ran := servers(t, dir)
	a.Shutdown()
	gone(t, ran)
}

func TestKillingTheSidecarTheHubOrTheGuardian(t *testing.T) {
	for _, victim := range []string{"sidecar", "hub", "guardian"} {
		t.Run(victim, func(t *testing.T) {
			dir, ports := demoProject(t)
			s := startSidecar(t, dir, homeDir(t), time.Minute)
			s.initialize(dir, trusted)
			s.mustStart(t)
			ran := servers(t, dir)
			hub, guardian := hubAndGuardian(t, s)
			target := map[string]proc.Identity{"hub": hub, "guardian": guardian}[victim]
			if victim == "sidecar" {
				if err := s.cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				gone(t, ran)
				gone(t, map[proc.Identity]string{hub: "hub", guardian: "guardian"})
				portsFree(t, ports[:]...)
				return
			}
			kill(t, target)
			gone(t, ran)
			gone(t, map[proc.Identity]string{hub: "hub", guardian: "guardian"})
			restored(t, s, hub)
			s.Shutdown()
			portsFree(t, ports[:]...)
		})
	}
}

func TestKillingHubAndGuardianTogether(t *testing.T) {
	dir, ports := demoProject(t)
	s := startSidecar(t, dir, homeDir(t), time.Minute)
	s.initialize(dir, trusted)
	s.mustStart(t)
	ran := servers(t, dir)
	hub, guardian := hubAndGuardian(t, s)
	// Stopped first, so that neither sees the other go.
	for _, id := range []proc.Identity{guardian, hub} {
		if err := id.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	kill(t, guardian)
	kill(t, hub)
	restored(t, s, hub)
	gone(t, ran)
	s.Shutdown()
	portsFree(t, ports[:]...)
}

func kill(t *testing.T, id proc.Identity) {
	t.Helper()
	if err := id.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// restored waits until another hub runs what the lost one ran.
func restored(t *testing.T, s *sidecarProcess, lost proc.Identity) {
	t.Helper()
	s.awaitStatus("the servers again, by another hub", func(p status.Project) bool {
		return p.HubPID != lost.PID && allReady(p)
	})
	s.Await("the news of it", func(st *fakeeditor.State) bool {
		for _, m := range st.Messages {
			if m.Method == wire.DidHappen && fakeKind(m.Params) == status.HappenedRestore {
				return true
			}
		}
		return false
	})
}

func TestASecondHubNeverExists(t *testing.T) {
	const rounds, clients = 50, 20
	dir := realDir(t)
	if err := os.WriteFile(filepath.Join(dir, "devside.yaml"), []byte("version: 1\nservers: {x: {command: sleep 1}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	home := homeDir(t)
	getenv := func(k string) string { return map[string]string{state.HomeVariable: home}[k] }
	t.Setenv(state.HomeVariable, home)
	paths, err := state.Locate(dir, getenv)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for round := range rounds {
		pids := make([]int, clients)
		conns := make([]*rpc.Conn, clients)
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				conn, res, err := socket.Connect(ctx, socket.Options{
					Root: dir, Start: true, Exe: filepath.Join(binaries(t), "devside"), Args: []string{"--allow-root"}, Getenv: getenv,
					Log: zerolog.Nop(), Hello: wire.HelloParams{Version: version, Role: wire.Holder, Client: fmt.Sprint("client ", i)},
				})
				if err != nil {
					t.Error(err)
					return
				}
				conns[i], pids[i] = conn, res.PID
			})
		}
		wg.Wait()
		for i, pid := range pids {
			if pid != pids[0] {
				t.Errorf("round %d: client %d is at hub %d, client 0 at hub %d", round, i, pid, pids[0])
			}
			if conns[i] != nil {
				conns[i].Close()
			}
		}
		if t.Failed() {
			return
		}
		// Each round begins without a hub.
		await(t, "the end of the hub", func() (string, bool) {
			lock, err := socket.Lock(paths)
			if err != nil {
				return err.Error(), false
			}
			return "", lock.Close() == nil
		})
	}
}

func TestNothingRunsBeforeTrust(t *testing.T) {
	dir, _ := demoProject(t)
	s := startSidecar(t, dir, homeDir(t), time.Minute)
	s.initialize(dir, nil)
	for _, verb := range []string{"start", "restart", "reset"} {
		r := s.Call("devside/"+verb, map[string]any{"servers": []string{"api"}})
		if r.Err == nil || r.Err.Code != wire.CodeUntrusted || r.Err.DataCode() != "untrusted" {
			t.Errorf("%s of an untrusted project: %+v", verb, r.Err)
		}
	}
	if ran := servers(t, dir); len(ran) != 0 {
		t.Fatalf("processes of an untrusted project: %v", ran)
	}
	p := s.status(t)
	if p.Trust.State != status.Untrusted || len(p.Trust.Commands) != 2 {
		t.Errorf("trust: %+v", p.Trust)
	}
	if r := s.Call("devside/trust", map[string]any{"hash": "0000"}); r.Err == nil {
		t.Error("another hash was accepted")
	}
	s.Do("devside/trust", map[string]any{"hash": p.Trust.Hash}, nil)
	s.mustStart(t)
	ran := servers(t, dir)
	s.Shutdown()
	gone(t, ran)
}

// commandsIn makes commands of the real binary in a project.
func commandsIn(t *testing.T, dir, home string) func(args ...string) *exec.Cmd {
	bin := filepath.Join(binaries(t), "devside")
	return func(args ...string) *exec.Cmd {
		cmd := exec.Command(bin, append(args, "--root", dir, "--allow-root")...)
		cmd.Env = append(os.Environ(), "DEVSIDE_HOME="+home)
		return cmd
	}
}

func TestUpComesBackWhenItsHubIsKilledAndCtrlCStopsEverything(t *testing.T) {
	dir, ports := demoProject(t)
	home := homeDir(t)
	devside := commandsIn(t, dir, home)
	up := devside("up", "--trust")
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- up.Wait() }()
	var p status.Project
	ready := func(other int) func() (string, bool) {
		return func() (string, bool) {
			p = status.Project{}
			out, err := devside("status", "--output", "json").Output()
			if err != nil || json.Unmarshal(out, &p) != nil {
				return fmt.Sprintf("%s %v", out, err), false
			}
			return string(out), allReady(p) && p.HubPID != other
		}
	}
	await(t, "both servers", ready(0))
	hub, err := proc.Identify(p.HubPID)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := proc.Inspect(p.HubPID); err != nil || info.Parent != up.Process.Pid {
		t.Errorf("the hub's parent is %d, up is %d, %v", info.Parent, up.Process.Pid, err)
	}
	ran := servers(t, dir)
	kill(t, hub)
	gone(t, ran)
	await(t, "both servers again, by another hub", ready(hub.PID))
	ran = servers(t, dir)
	if err := up.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		up.Process.Kill()
		t.Fatal("up did not end")
	}
	if code := up.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
	for id, command := range ran {
		if id.Alive() {
			t.Errorf("%v (%s) is alive", id, command)
		}
	}
	portsFree(t, ports[:]...)
}
