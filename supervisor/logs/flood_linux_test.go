package logs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func init() {
	roles["flooder"] = floodOut
	roles["holder"] = holdFlood
}

// flood is how the log of a flood went.
type flood struct {
	Printed, InLines, Skipped, Followed int64
	Gaps                                int
	RSS                                 int64 // of the process that held the log, at its peak
	MBPerSecond                         float64
}

// floodBound is the memory that a process may take whose log is flooded: the
// Go runtime's 10 MB, the ring, and what a reader was given of it.
const floodBound = 40 << 20

// TestAFloodWithoutANewlineFromAProcess: a real process prints at full speed,
// another holds its log and files. The first is never stalled for good, the
// memory of the second stays within its bound, and what a slow follower has
// missed is said to the byte.
func TestAFloodWithoutANewlineFromAProcess(t *testing.T) { testFlood(t, 96<<20) }

func testFlood(t *testing.T, size int64) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), roleVariable+"=holder", "FLOOD_DIR="+t.TempDir(), "FLOOD_SIZE="+strconv.FormatInt(size, 10))
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, errOut.String())
	}
	var got flood
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	t.Logf("%+v", got)
	if got.Printed != size {
		t.Errorf("%d bytes are in the log, %d were printed", got.Printed, size)
	}
	if got.InLines+got.Skipped != size || got.Gaps == 0 || got.Skipped == 0 {
		t.Errorf("a slow follower got %d bytes and was told of %d skipped in %d gaps, of %d", got.InLines, got.Skipped, got.Gaps, size)
	}
	if bound := int64(floodBound * raceFactor); got.RSS > bound {
		t.Errorf("it took %d bytes of memory, at most %d are allowed", got.RSS, bound)
	}
}

// floodOut prints without a newline.
func floodOut() error {
	size, err := strconv.ParseInt(os.Getenv("FLOOD_SIZE"), 10, 64)
	if err != nil {
		return err
	}
	block := bytes.Repeat([]byte("x"), 64<<10)
	for size > 0 {
		n, err := os.Stdout.Write(block[:min(size, int64(len(block)))])
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}

// holdFlood starts a flooder and holds its log, as a hub does.
func holdFlood() error {
	size, err := strconv.ParseInt(os.Getenv("FLOOD_SIZE"), 10, 64)
	if err != nil {
		return err
	}
	failed := make(chan error, 16)
	files, err := OpenFiles(os.Getenv("FLOOD_DIR"), DefaultBounds, time.Now, func(_ string, err error) { failed <- err })
	if err != nil {
		return err
	}
	l := files.New("api", NewBudget(0))
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleVariable+"=flooder")
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	w.Close()
	drained := make(chan error, 1)
	go func() { drained <- Drain(r, l, Stdout, 1, nil, time.Now) }()
	var out flood
	followed := make(chan error, 1)
	go func() { followed <- out.follow(l, size) }()
	if err := errors.Join(cmd.Wait(), <-drained); err != nil {
		return err
	}
	out.MBPerSecond = float64(size) / 1e6 / time.Since(began).Seconds()
	if err := <-followed; err != nil {
		return err
	}
	l.file.flush(time.Minute)
	files.Close()
	select {
	case err := <-failed:
		return err
	default:
	}
	out.Printed = int64(l.End())
	if out.RSS, err = peakRSS(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// peakRSS is this process's own; getrusage's is also that of whoever started
// it, which shared its memory until the exec.
func peakRSS() (int64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	var kb int64
	_, after, _ := strings.Cut(string(text), "VmHWM:")
	_, err = fmt.Sscan(after, &kb)
	return kb << 10, err
}

// follow reads the log, but not before more than the ring holds has come, and
// not again before as much has come anew: a reader that is too slow.
func (f *flood) follow(l *Log, size int64) error {
	follower := l.Follow(Oldest)
	defer follower.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	watch := l.Follow(l.End())
	defer watch.Close()
	for f.InLines+f.Skipped < size {
		for target := min(int64(l.End())+2*DefaultLimit, size); f.Gaps < 8 && int64(l.End()) < target; {
			if _, _, err := watch.Next(ctx); err != nil {
				return fmt.Errorf("watch: %w", err)
			}
		}
		lines, skipped, err := follower.Next(ctx)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("follow, after %+v: %w", *f, err)
		}
		for _, line := range lines {
			f.InLines += int64(len(line.Text))
		}
		if f.Skipped += skipped; skipped > 0 {
			f.Gaps++
		}
		f.Followed++
	}
	return nil
}
