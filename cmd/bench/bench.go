package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// plan is how much of everything is done.
type plan struct {
	runs     int           // rounds of a figure
	crowd    [3]int        // servers of the small, middle and large crowd
	idle     time.Duration // watched while nothing happens
	settle   time.Duration // before that
	requests int           // of a round of sequential ones
	pipeline int           // of a round of pipelined ones
	flood    int           // lines that a server prints
	cached   int           // files of a cache
	patience time.Duration // for one measurement
	late     time.Duration // for the end of what was told to end
	orphans  time.Duration // for the end of what a killed part of devside had started
}

// mostRuns bounds --runs: a server is killed twice a round, and the policy
// holds one that crashed more than 50 times in an hour.
const mostRuns = 20

const (
	// lateEnd: a hub that nobody greets waits 10 s for its first client.
	lateEnd = 12 * time.Second
	// orphanEnd: the guardian gives the servers of a killed hub 5 s.
	orphanEnd = 10 * time.Second
)

// fullPlan is what GOALS asks for; five rounds are the fewest whose median
// stands two disturbed ones. quickPlan is for CI: it shows that everything can
// be measured, and its figures are rough.
var (
	fullPlan = plan{runs: 5, crowd: [3]int{10, 50, 200}, idle: 10 * time.Second, settle: 2 * time.Second,
		requests: 2000, pipeline: 20_000, flood: 2_000_000, cached: 100_000, patience: 90 * time.Second, late: lateEnd, orphans: orphanEnd}
	quickPlan = plan{runs: 2, crowd: [3]int{10, 50, 200}, idle: 2 * time.Second, settle: time.Second,
		requests: 500, pipeline: 5_000, flood: 500_000, cached: 20_000, patience: 60 * time.Second, late: lateEnd, orphans: orphanEnd}
)

// setting is what a run is made with.
type setting struct {
	devside string // absolute
	exe     string // this program
	plan    plan
	log     io.Writer // progress, for whoever watches
}

// markVariable is in the environment of every process that a run starts,
// directly or through devside. Its value is random for each run: a process
// that carries it is the run's.
const markVariable = "BENCH_MARK"

// bench is one run.
type bench struct {
	setting
	dir      string // temporary
	mark     string
	ear      *ear
	projects int
}

func newBench(s setting) (*bench, error) {
	dir, err := os.MkdirTemp("", "dsbench-")
	if err != nil {
		return nil, err
	}
	b := &bench{setting: s, mark: rand.Text() + "."}
	if b.dir, err = filepath.EvalSymlinks(dir); err == nil {
		b.ear, err = newEar(filepath.Join(b.dir, "ear"))
	}
	if err != nil {
		return nil, errors.Join(err, removeTree(dir))
	}
	return b, nil
}

// environment is what both sides' processes start with.
func (b *bench) environment(mark string) []string {
	env := slices.DeleteFunc(os.Environ(), func(e string) bool {
		// They would change devside's ports, waits and places.
		return strings.HasPrefix(e, "DEV_") || strings.HasPrefix(e, "DEVSIDE_") || strings.HasPrefix(e, "BENCH_")
	})
	return append(env, markVariable+"="+mark, earVariable+"="+b.ear.path)
}

// all makes measurements, one after the other. One that fails leaves out its
// rows and does not keep the others from being made.
func (b *bench) all(ctx context.Context, chosen []measurement) (rows []row, failed []error) {
	for _, m := range chosen {
		if ctx.Err() != nil {
			return rows, append(failed, errors.New("interrupted"))
		}
		begin := time.Now()
		fmt.Fprintf(b.log, "%s … ", strings.Join(m.rows, ", "))
		got, err := b.one(ctx, m)
		rows = append(rows, got...)
		word := "done"
		if err != nil {
			failed = append(failed, fmt.Errorf("measure %s: %w", m.rows[0], err))
			word = "failed"
		}
		fmt.Fprintf(b.log, "%s, %.1f s\n", word, time.Since(begin).Seconds())
	}
	return rows, failed
}

// attempts of a measurement: a port that the kernel chose can be taken by
// somebody else before the server opens it.
const attempts = 3

func (b *bench) one(ctx context.Context, m measurement) (rows []row, err error) {
	for i := range attempts {
		b.ear.forget()
		timed, cancel := context.WithTimeout(ctx, b.plan.patience*time.Duration(max(m.slow, 1)))
		rows, err = m.make(timed, b)
		cancel()
		left, sweepErr := b.sweep(ctx)
		if len(left) > 0 {
			sweepErr = errors.Join(sweepErr, fmt.Errorf("%d processes were left, and were ended: %s", len(left), strings.Join(left, "; ")))
		}
		if err == nil || ctx.Err() != nil {
			return rows, errors.Join(err, sweepErr)
		}
		err = errors.Join(err, sweepErr)
		if i < attempts-1 {
			fmt.Fprintf(b.log, "once more, since: %v … ", err)
		}
	}
	return rows, err
}

// sweep ends what the run has left behind, and says what that was. What is
// just ending is waited for.
func (b *bench) sweep(ctx context.Context) (left []string, err error) {
	ctx = context.WithoutCancel(ctx) // whoever interrupts us leaves nothing either
	all := &project{side: side{mark: b.mark}}
	if n, _, err := all.gone(ctx, b.plan.late); err != nil || n == 0 {
		return nil, err
	}
	return b.killLeft(ctx)
}

// killLeft kills every process that carries the run's mark. A killed hub sets
// free what its guardian then ends, and both begin nothing new: two rounds find
// all.
func (b *bench) killLeft(ctx context.Context) (left []string, err error) {
	for range 2 {
		found, err := marked(b.mark)
		for _, w := range found {
			left = append(left, describe(w.pid))
			err = errors.Join(err, w.signal(syscall.SIGKILL))
		}
		timed, cancel := context.WithTimeout(ctx, b.plan.late)
		_, endErr := awaitEnds(timed, found)
		cancel()
		closeAll(found)
		if err = errors.Join(err, endErr); err != nil {
			return left, err
		}
	}
	return left, nil
}

func (b *bench) close() error {
	return errors.Join(b.ear.close(), removeTree(b.dir))
}

// removeTree removes a folder and what is in it, from the leaves up, through a
// handle of the folder: a link in it is removed and never followed.
func removeTree(dir string) error {
	r, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	var paths []string
	err = fs.WalkDir(r.FS(), ".", func(p string, _ fs.DirEntry, err error) error {
		if p != "." && !errors.Is(err, fs.ErrNotExist) {
			paths = append(paths, p)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	for _, p := range slices.Backward(paths) {
		if e := r.Remove(p); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return errors.Join(err, r.Close(), os.Remove(dir))
}

// versionOf is what devside says of itself.
func versionOf(ctx context.Context, path string) string {
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "version").Output()
	if err != nil {
		return "of unknown version"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(strings.TrimSpace(line), "devside ")
}

// pause waits, or returns ctx's end.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
