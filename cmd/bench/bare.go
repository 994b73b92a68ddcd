package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// baseline is a bare parent at work, as the load program drives it.
type baseline struct {
	side
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr tail
}

// newBaseline starts a bare parent. It runs nothing before it is told to.
func (b *bench) newBaseline(servers []server) (*baseline, error) {
	l := &baseline{side: newSide("b", servers)}
	l.mark = b.mark + "bare."
	return l, l.spawn(b, nil)
}

// startedBaseline starts a bare parent that starts its servers at once.
func (b *bench) startedBaseline(servers []server) (*baseline, error) {
	l := &baseline{side: newSide("b", servers)}
	l.mark = b.mark + "bare."
	return l, l.spawn(b, []string{"start"})
}

func (l *baseline) spawn(b *bench, orders []string) error {
	l.cmd = exec.Command(b.exe, bareRole)
	l.cmd.Env = b.environment(l.mark)
	l.cmd.Stderr = &l.stderr
	in, err := l.cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	l.in, l.out = in, bufio.NewReader(out)
	argvs := make([][]string, 0, len(l.servers))
	for _, s := range l.servers {
		argvs = append(argvs, s.argv())
	}
	first, err := json.Marshal(argvs)
	if err != nil {
		return err
	}
	if err := l.cmd.Start(); err != nil {
		return fmt.Errorf("start the bare parent: %w", err)
	}
	return l.order(strings.Join(append([]string{string(first)}, orders...), "\n"))
}

func (l *baseline) order(line string) error {
	if _, err := io.WriteString(l.in, line+"\n"); err != nil {
		return fmt.Errorf("tell the bare parent: %w; it said: %s", err, l.stderr.String())
	}
	return nil
}

// start makes it start all its servers, and measures until all ports accept.
func (l *baseline) start(ctx context.Context, b *bench) (time.Duration, error) {
	asked := time.Now()
	if err := l.order("start"); err != nil {
		return 0, err
	}
	return l.opens(ctx, b, asked)
}

// chain starts the servers one after the other, each once the one before has
// opened its port.
func (l *baseline) chain(ctx context.Context, b *bench) (time.Duration, error) {
	asked := time.Now()
	var end time.Time
	for i, name := range l.names {
		if err := l.order(fmt.Sprint("start ", i)); err != nil {
			return 0, err
		}
		heard, err := b.ear.hear(ctx, []string{name})
		if err != nil {
			return 0, err
		}
		l.heard(heard)
		end = last(heard)
	}
	return end.Sub(asked), nil
}

// stop makes it stop all its servers, and measures until all ports are free.
func (l *baseline) stop(ctx context.Context) (time.Duration, error) {
	all, err := l.hold()
	if err != nil {
		return 0, err
	}
	defer closeAll(all)
	asked := time.Now()
	if err := l.order("stop"); err != nil {
		return 0, err
	}
	end, err := l.free(ctx, all)
	if err != nil {
		return 0, err
	}
	if line, err := l.out.ReadString('\n'); err != nil || line != "stopped\n" {
		return 0, fmt.Errorf("stop the bare parent's servers: it said %q (%w); %s", line, err, l.stderr.String())
	}
	return end.Sub(asked), nil
}

// close ends it with its servers.
func (l *baseline) close() error {
	if l.cmd.Process == nil {
		return nil
	}
	err := errors.Join(ignoreClosed(l.in.Close()), l.cmd.Wait())
	if err != nil {
		return fmt.Errorf("end the bare parent: %w; it said: %s", err, l.stderr.String())
	}
	return nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}
