package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// bareParent is the bare baseline: it forks, execs and waits, and starts again
// what ends by itself. It holds nothing, reads no output and asks nobody.
type bareParent struct {
	exe   string
	argvs [][]string
	env   []string
	null  uintptr

	mu       sync.Mutex
	running  map[int]int // pid to the server's place
	stopping bool
	none     *sync.Cond // running has become empty
}

func newBareParent(exe string, null *os.File) *bareParent {
	p := &bareParent{exe: exe, env: os.Environ(), null: null.Fd(), running: map[int]int{}}
	p.none = sync.NewCond(&p.mu)
	return p
}

// runBare reads its servers from the first line of standard input, and then
// one order a line: "start", "start 3", "stop". Its input's end ends it and its
// servers.
func runBare([]string) int {
	if err := bare(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "bench bare: %v\n", err)
		return exitFailed
	}
	return exitDone
}

func bare(in io.Reader, out io.Writer) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close() //nolint:errcheck // ends with us
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	p := newBareParent(exe, null)
	defer p.stop()
	if !lines.Scan() {
		return lines.Err()
	}
	if err := json.Unmarshal(lines.Bytes(), &p.argvs); err != nil {
		return fmt.Errorf("read the servers: %w", err)
	}
	for lines.Scan() {
		if err := p.order(lines.Text(), out); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (p *bareParent) order(line string, out io.Writer) error {
	word, which, _ := strings.Cut(line, " ")
	switch {
	case word == "stop":
		p.stop()
		_, err := fmt.Fprintln(out, "stopped")
		return err
	case word == "start" && which == "":
		for i := range p.argvs {
			if err := p.start(i); err != nil {
				return err
			}
		}
		return nil
	case word == "start":
		i, err := strconv.Atoi(which)
		if err != nil || i < 0 || i >= len(p.argvs) {
			return fmt.Errorf("start %q: there is no such server", which)
		}
		return p.start(i)
	}
	return fmt.Errorf("%q is no order", line)
}

// start starts one server. The first one starts the reaping.
func (p *bareParent) start(i int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopping = false
	first := len(p.running) == 0
	err := p.spawn(i)
	if err == nil && first {
		go p.reap() // ends when nothing runs any more
	}
	return err
}

// spawn is called with mu held, so that the reaper knows every pid it reaps.
func (p *bareParent) spawn(i int) error {
	argv := append([]string{p.exe}, p.argvs[i]...)
	pid, err := syscall.ForkExec(p.exe, argv, &syscall.ProcAttr{Env: p.env, Files: []uintptr{p.null, p.null, p.null}})
	if err != nil {
		return fmt.Errorf("start %v: %w", p.argvs[i], err)
	}
	p.running[pid] = i
	return nil
}

// reap waits for servers as long as there are any.
func (p *bareParent) reap() {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, 0, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		p.mu.Lock()
		i, ours := p.running[pid]
		delete(p.running, pid)
		if err == nil && ours && !p.stopping {
			if err := p.spawn(i); err != nil {
				fmt.Fprintf(os.Stderr, "bench bare: %v\n", err)
			}
		}
		if err != nil || len(p.running) == 0 {
			clear(p.running)
			p.none.Broadcast()
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
	}
}

// stop asks all servers to end and waits until they have. They are children
// that were not reaped yet, so their pids are theirs.
func (p *bareParent) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopping = true
	for pid := range p.running {
		syscall.Kill(pid, syscall.SIGTERM) //nolint:errcheck // one that has ended need not be asked
	}
	for len(p.running) > 0 {
		p.none.Wait()
	}
}
