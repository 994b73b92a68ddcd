package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// side is the servers of one of the two that are compared, and what is known
// of their processes.
type side struct {
	mark    string
	servers []server
	names   []string
	pids    map[string]int // of the last start
}

// newSide gives each server a name of its own: news of the two sides must not
// be taken for each other's.
func newSide(prefix string, servers []server) side {
	s := side{pids: map[string]int{}}
	for i, sv := range servers {
		sv.name = prefix + strconv.Itoa(i)
		s.servers = append(s.servers, sv)
		s.names = append(s.names, sv.name)
	}
	return s
}

// opens waits until all servers have opened their port and returns how long
// the last one took.
func (s *side) opens(ctx context.Context, b *bench, asked time.Time) (time.Duration, error) {
	heard, err := b.ear.hear(ctx, s.names)
	if err != nil {
		return 0, err
	}
	s.heard(heard)
	return last(heard).Sub(asked), nil
}

func (s *side) heard(news map[string]event) {
	for name, ev := range news {
		s.pids[name] = ev.PID
	}
}

// hold takes a descriptor of every server's process.
func (s *side) hold() ([]witness, error) {
	var all []witness
	for _, name := range s.names {
		w, err := see(s.pids[name], s.mark)
		if err != nil {
			closeAll(all)
			return nil, fmt.Errorf("hold server %s: %w", name, err)
		}
		all = append(all, w)
	}
	return all, nil
}

func closeAll(all []witness) {
	for _, w := range all {
		w.close()
	}
}

// portPatience bounds how long a port may stay taken when its server's process
// has ended: after that, somebody else has it.
const portPatience = time.Second

// free waits until all processes have ended and every port can be listened on
// again, and returns the moment.
func (s *side) free(ctx context.Context, all []witness) (time.Time, error) {
	end, err := awaitEnds(ctx, all)
	if err != nil {
		return end, err
	}
	ctx, cancel := context.WithTimeout(ctx, portPatience)
	defer cancel()
	for _, sv := range s.servers {
		for {
			err := tryPort(sv.port)
			if err == nil {
				break
			}
			if !errors.Is(err, syscall.EADDRINUSE) || ctx.Err() != nil {
				return end, fmt.Errorf("await port %d to be free: %w", sv.port, err)
			}
			end = time.Now()
			// Rare: the process has ended and its socket has not.
			time.Sleep(100 * time.Microsecond)
		}
	}
	return end, nil
}

// crash kills one server and measures until its successor's port accepts.
func (s *side) crash(ctx context.Context, b *bench, name string) (time.Duration, error) {
	w, err := see(s.pids[name], s.mark)
	if err != nil {
		return 0, fmt.Errorf("hold server %s: %w", name, err)
	}
	defer w.close()
	killed := time.Now()
	if err := w.signal(syscall.SIGKILL); err != nil {
		return 0, fmt.Errorf("kill server %s: %w", name, err)
	}
	heard, err := b.ear.hear(ctx, []string{name})
	if err != nil {
		return 0, err
	}
	s.heard(heard)
	return last(heard).Sub(killed), nil
}

// tryPort listens on a port and lets it go.
func tryPort(port int) error {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return l.Close()
}

// freePorts lets the kernel choose ports, and lets them go right before use.
func freePorts(n int) ([]int, error) {
	var ports []int
	var held []net.Listener
	var err error
	for range n {
		l, e := net.Listen("tcp4", "127.0.0.1:0")
		if e != nil {
			err = e
			break
		}
		held = append(held, l)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	for _, l := range held {
		err = errors.Join(err, l.Close())
	}
	return ports, err
}

// someServers are n servers on ports of their own, each as like.
func someServers(n int, like server) ([]server, error) {
	ports, err := freePorts(n)
	if err != nil {
		return nil, fmt.Errorf("choose %d ports: %w", n, err)
	}
	var out []server
	for _, p := range ports {
		s := like
		s.port = p
		out = append(out, s)
	}
	return out, nil
}

// tail keeps the end of what a process wrote to its standard error.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

// tailBytes is enough for a panic's first frames.
const tailBytes = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	t.buf = t.buf[max(0, len(t.buf)-tailBytes):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}
