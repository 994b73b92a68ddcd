package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/spec"
)

const (
	// keptOutput is as much of a command's output as is kept, for its last line.
	keptOutput = 4 << 10
	// outputPatience is how long output is waited for after the command and its
	// group have ended: something that left the group may hold the pipe.
	outputPatience = 100 * time.Millisecond
)

// execProbe passes when a command exits with status 0. It runs in a process
// group of its own, without input, and that group is killed when the command
// has ended or the time is over.
type execProbe struct {
	argv []string
	path string // of argv[0]
	dir  string
	env  []string
}

func newExec(p spec.Probe, t Target) (Probe, error) {
	if len(p.Exec) == 0 || p.Exec[0] == "" {
		return nil, errors.New("the command is empty")
	}
	e := &execProbe{argv: p.Exec, dir: t.Dir, env: t.Env}
	var err error
	if e.path, err = lookPath(p.Exec[0], t.Dir, t.Env); err != nil {
		return nil, err
	}
	return e, canExec()
}

// lookPath finds a command by the rules of the server: its PATH, its directory
// for a name with a slash. The working directory of this process plays no part,
// and a relative entry of PATH is not used.
func lookPath(name, dir string, env []string) (string, error) {
	if strings.ContainsRune(name, filepath.Separator) || strings.ContainsRune(name, '/') {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, nil // whether it can be executed is said by executing it
	}
	var path string
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, "PATH="); ok {
			path = value
		}
	}
	for _, entry := range filepath.SplitList(path) {
		if !filepath.IsAbs(entry) {
			continue
		}
		file := filepath.Join(entry, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s is not in the server's PATH", name)
}

func (e *execProbe) Look(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	output := make(chan []byte, 1)
	go func() { output <- keepLast(r) }()

	ended, err := e.run(ctx, w)
	// With its group gone nobody writes any more, or somebody who left it.
	if deadlineErr := r.SetReadDeadline(time.Now().Add(outputPatience)); deadlineErr != nil {
		r.Close() //nolint:errcheck // either ends the reader
	}
	last := lastLine(<-output)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Canceled
	case ctx.Err() != nil && err == nil && ended != "":
		return fmt.Errorf("%s did not end in time", e.argv[0])
	case err != nil:
		return fmt.Errorf("run %s: %w", e.argv[0], err)
	case ended == "":
		return nil
	case last == "":
		return fmt.Errorf("%s: %s", e.argv[0], ended)
	}
	return fmt.Errorf("%s: %s: %s", e.argv[0], ended, last)
}

// keepLast reads to the end and returns the last of it.
func keepLast(r *os.File) []byte {
	buf := make([]byte, 2*keptOutput)
	n := 0
	for {
		got, err := r.Read(buf[n:])
		if n += got; n > keptOutput {
			n = copy(buf, buf[n-keptOutput:n])
		}
		if err != nil {
			return buf[:n]
		}
	}
}

// maxLastLine is as much of the command's last line as an error shows.
const maxLastLine = 200

func lastLine(output []byte) string {
	output = bytes.TrimSpace(output)
	output = output[bytes.LastIndexByte(output, '\n')+1:]
	if len(output) > maxLastLine {
		output = output[:maxLastLine]
	}
	return strings.TrimSpace(logs.StripANSI(string(output)))
}
