package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	// changeSettle is devside's own default: how long files must be quiet.
	changeSettle = 150 * time.Millisecond
	changedFile  = "changed.txt"
	cacheDir     = ".cache"
)

// oneServer is a project with one server that has been started.
func (b *bench) oneServer(ctx context.Context, extra string) (*project, *session, error) {
	servers, err := someServers(1, server{})
	if err != nil {
		return nil, nil, err
	}
	p, err := b.newProject(servers, settings{extra: patient + extra})
	if err != nil {
		return nil, nil, err
	}
	s, err := p.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	if _, err = s.start(ctx); err != nil {
		return nil, nil, errors.Join(err, s.close())
	}
	return p, s, nil
}

// measureChange measures from the write of a watched file until the server's
// successor accepts, beyond the time that files must be quiet. Its rounds stay
// below the ten restarts a minute at which a rule is suspended.
func measureChange(ctx context.Context, b *bench) (rows []row, err error) {
	r := row{Name: "change", What: "file change → new process accepting, beyond the settle time", Unit: "ms", Goal: goal{atMost, 10}}
	p, s, err := b.oneServer(ctx, fmt.Sprintf("watch: {restart: [%s], settle: %s}\n", changedFile, changeSettle))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	err = rounds(ctx, min(b.plan.runs, 8), func() error {
		written := time.Now()
		if err := os.WriteFile(filepath.Join(p.root, changedFile), []byte(written.String()), 0o600); err != nil {
			return err
		}
		took, err := p.opens(ctx, b, written)
		if err != nil {
			return err
		}
		r.Devside = append(r.Devside, ms(took-changeSettle))
		return s.settled(ctx, p.names[0])
	})
	r.Devside = counted(r.Devside)
	return []row{r}, err
}

// measureCache compares a restart that has a large cache removed with a restart.
// There are three rounds at most: to make 100,000 files takes from 3 s to more
// than a minute, by the disk.
func measureCache(ctx context.Context, b *bench) (rows []row, err error) {
	r := row{Name: "cache", What: fmt.Sprintf("restart with a cache of %d files removed, beside a restart", b.plan.cached), Unit: "ms", Goal: goal{barePlus, 5}}
	p, s, err := b.oneServer(ctx, fmt.Sprintf("caches: [%s]\n", cacheDir))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	again := func(verb string, took *[]float64) error {
		req, err := s.ask(verb, struct{}{})
		if err != nil {
			return err
		}
		open, err := p.opens(ctx, b, req.asked)
		if err != nil {
			return err
		}
		*took = append(*took, ms(open))
		if _, err := req.wait(ctx, nil); err != nil { // a removal's: when its space is free
			return err
		}
		return s.settled(ctx, p.names[0])
	}
	err = rounds(ctx, min(b.plan.runs, 3), func() error {
		return again("devside/restart", &r.Bare)
	}, func() error {
		if err := fill(filepath.Join(p.root, cacheDir), b.plan.cached); err != nil {
			return err
		}
		return again("devside/clearCaches", &r.Devside)
	})
	r.Bare, r.Devside = counted(r.Bare), counted(r.Devside)
	return []row{r}, err
}

// fill makes a folder with so many small files, 1,000 in each folder of it.
func fill(dir string, files int) error {
	for i := range files {
		below := filepath.Join(dir, strconv.Itoa(i/1000))
		if i%1000 == 0 {
			if err := os.MkdirAll(below, 0o700); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(below, strconv.Itoa(i)), []byte("cached"), 0o600); err != nil {
			return err
		}
	}
	return nil
}
