package main

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// floodLine is the length of a line that a flooding server prints: its pid, a
// number, and something to fill it.
const floodLine = 100

// pourLines prints lines as fast as they are taken.
func pourLines(lines int) error {
	const perBlock = 640 // a block fits into a pipe
	pid, filler := strconv.Itoa(os.Getpid()), strings.Repeat("x", floodLine)
	block := make([]byte, 0, perBlock*floodLine)
	for i := 0; i < lines; {
		for block = block[:0]; i < lines && len(block) < perBlock*floodLine; i++ {
			begin := len(block)
			block = append(append(block, pid...), ' ')
			block = strconv.AppendInt(block, int64(i), 10)
			block = append(block, ' ')
			block = append(block, filler[:floodLine-1-(len(block)-begin)]...)
			block = append(block, '\n')
		}
		if _, err := os.Stdout.Write(block); err != nil {
			return err
		}
	}
	return nil
}

// measureLogs measures how fast a server's output goes to its log file, beside
// a pipe into cat. The clock is the server's: from its first line until its
// last has been taken from it.
func measureLogs(ctx context.Context, b *bench) (rows []row, err error) {
	n := b.plan.flood
	speed := row{Name: "logs", What: "logs of one server to its file", Unit: "MB/s", Goal: goal{shareBare, 0.66}}
	lost := row{Name: "logs-lost", What: fmt.Sprintf("… lines lost of %d", n), Goal: goal{atMost, 0}, Worst: true}
	memory := row{Name: "logs-memory", What: "… the hub's memory while it does so, at its peak", Unit: "MB RSS", Goal: goal{atMost, 40}}
	servers, err := someServers(2, server{flood: n})
	if err != nil {
		return nil, err
	}
	bare := newSide("b", servers[:1])
	bare.mark = b.mark + "bare."
	p, err := b.newProject(servers[1:], settings{extra: patient})
	if err != nil {
		return nil, err
	}
	s, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	hub, guardian, err := s.pair(ctx)
	if err != nil {
		return nil, err
	}
	defer closeAll([]witness{hub, guardian})
	err = rounds(ctx, b.plan.runs, func() error {
		took, err := b.throughCat(ctx, bare)
		speed.Bare = append(speed.Bare, mbPerSecond(n, took))
		return err
	}, func() error {
		begun, err := s.start(ctx)
		if err != nil {
			return err
		}
		name := p.names[0]
		ended, err := b.ear.hear(ctx, p.names)
		if err != nil {
			return err
		}
		speed.Devside = append(speed.Devside, mbPerSecond(n, ended[name].At.Sub(begun.news[name].At)))
		if _, _, err := s.stop(ctx); err != nil {
			return err
		}
		kept, err := p.linesKept(name, ended[name].PID)
		lost.Devside = append(lost.Devside, float64(n-kept))
		return err
	})
	if err != nil {
		return nil, err
	}
	peak, err := peakRSS(hub.pid)
	memory.Devside = []float64{float64(peak) / (1 << 20)}
	speed.Bare, speed.Devside, lost.Devside = counted(speed.Bare), counted(speed.Devside), counted(lost.Devside)
	speed.Note = fmt.Sprintf("%d lines of %d bytes", n, floodLine)
	return []row{speed, lost, memory}, err
}

func mbPerSecond(lines int, took time.Duration) float64 {
	return float64(lines) * floodLine / 1e6 / took.Seconds()
}

// throughCat runs a flooding server whose output cat writes to a file.
func (b *bench) throughCat(ctx context.Context, s side) (took time.Duration, err error) {
	to, err := os.Create(filepath.Join(b.dir, "cat"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, to.Close(), os.Remove(to.Name())) }()
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	cat, srv := exec.CommandContext(ctx, "cat"), exec.CommandContext(ctx, b.exe, s.servers[0].argv()...)
	cat.Stdin, cat.Stdout, srv.Stdout = r, to, w
	cat.Env, srv.Env = b.environment(s.mark), b.environment(s.mark)
	err = cat.Start()
	if err == nil {
		if err = srv.Start(); err == nil {
			took, err = b.flooded(ctx, s.names[0])
			err = errors.Join(err, srv.Process.Kill()) // our own child, not reaped
			srv.Wait()                                 //nolint:errcheck // it was killed
		}
	}
	err = errors.Join(err, w.Close(), r.Close())
	if cat.Process != nil {
		err = errors.Join(err, cat.Wait())
	}
	return took, err
}

// flooded waits until a server has opened its port and printed all.
func (b *bench) flooded(ctx context.Context, name string) (time.Duration, error) {
	begun, err := b.ear.hear(ctx, []string{name})
	if err != nil {
		return 0, err
	}
	ended, err := b.ear.hear(ctx, []string{name})
	return ended[name].At.Sub(begun[name].At), err
}

// linesKept counts the lines of a process in the log files of its server.
func (p *project) linesKept(name string, pid int) (n int, err error) {
	found, err := filepath.Glob(filepath.Join(p.home, "state", "*", "servers", name+"*.log*"))
	if err != nil {
		return 0, err
	}
	for _, file := range found {
		got, err := countLines(file, strconv.Itoa(pid)+" ")
		if err != nil {
			return 0, err
		}
		n += got
	}
	return n, nil
}

func countLines(name, prefix string) (n int, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // only read from
	var r io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return 0, err
		}
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if len(lines.Bytes()) == floodLine-1 && strings.HasPrefix(lines.Text(), prefix) {
			n++
		}
	}
	return n, lines.Err()
}
