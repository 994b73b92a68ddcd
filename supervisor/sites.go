package supervisor

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"time"

	"github.com/devside/devside/supervisor/crash"
	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/status"
)

// This file takes errors from a server's output to the user's own lines: the
// problems crash-site. They are of the last run that said something of errors,
// and gone when the server is next ready, or is stopped.

// place makes the sites the server's. One that was there stays as old as it is.
func (s *stepper) place(sites []crash.Site) {
	var all []status.Problem
	for _, site := range sites {
		where := fmt.Sprintf("%s:%d", site.File, site.Line)
		if site.Column > 0 {
			where += fmt.Sprintf(":%d", site.Column)
		}
		p := s.problem(status.CrashSite, site.Message, fmt.Sprintf("at %s, from the output of %s (%s)", where, s.conf.Name, site.Tool))
		p.File, p.Line, p.Column = site.File, site.Line, site.Column
		for _, r := range site.Related {
			p.Related = append(p.Related, status.Place(r))
		}
		for _, old := range s.sites {
			if old.File == p.File && old.Line == p.Line && old.Message == p.Message {
				p.Since = old.Since
			}
		}
		all = append(all, p)
	}
	s.sites = all
}

// mended forgets where the last run broke.
func (s *stepper) mended() { s.sites, s.broke = nil, 0 }

const (
	// outputPause is how long a server prints nothing before what it printed is read:
	// an error is printed in one go, and is not to be read in two parts.
	outputPause = 200 * time.Millisecond
	// outputPatience is how long a server that never pauses is not read.
	outputPatience = 2 * time.Second
	// pollsPerLook bounds what is read of a flood between two pauses; a poll
	// returns some 32 KiB. Of more only the newest lines are looked at.
	pollsPerLook = 2
)

// workspace is where the files are that an error of the server's names.
func (s *Server) workspace() crash.Workspace {
	return crash.Workspace{Root: s.host.Root, Dir: path.Clean(cmp.Or(s.conf.Dir, ".")), FS: s.host.Files}
}

// readErrors follows the output of a run, from a place in the log on, until ctx
// ends, and tells what is wrong in the sources as often as the output says
// something of that. It waits without a timer while nothing is printed.
func (s *Server) readErrors(ctx context.Context, run int, from logs.Cursor) {
	if s.host.Files == nil {
		return
	}
	w := s.workspace()
	s.background.Go(func() {
		var m crash.Monitor
		o := &output{run: run, f: s.log.Follow(from)}
		defer func() { o.f.Close() }()
		for {
			lines, ok := o.untilPause(ctx)
			if !ok {
				return
			}
			if reports, news := m.Feed(lines); news {
				s.box.put(sitesAre{run, w.Sites(reports)})
			}
			if o.behind && !o.catchUp(s.log) {
				return
			}
		}
	})
}

// output is the output of one run, read in pieces that end with a pause.
type output struct {
	run     int
	f       *logs.Follower
	printed []string // read and not handed on
	behind  bool     // there was more than is read of a flood
}

// untilPause waits for a piece of output. false: there will be none.
func (o *output) untilPause(ctx context.Context) (piece []string, ok bool) {
	for len(o.printed) == 0 {
		lines, _, err := o.f.Next(ctx)
		if err != nil {
			return nil, false
		}
		o.printed = textsOf(lines, o.run)
	}
	for began := time.Now(); !o.behind && time.Since(began) < outputPatience; {
		if !sleep(ctx, outputPause, nil) {
			return nil, false
		}
		if !o.poll() {
			break
		}
	}
	piece, o.printed = o.printed, nil
	return piece, true
}

// poll reads what has come, and reports whether anything has.
func (o *output) poll() (more bool) {
	for range pollsPerLook {
		lines, skipped := o.f.Poll()
		if len(lines) == 0 && skipped == 0 {
			return more
		}
		more = true
		o.printed = append(o.printed, textsOf(lines, o.run)...)
		o.printed = o.printed[max(0, len(o.printed)-crash.ReportLines):]
	}
	o.behind = true
	return true
}

// catchUp leaves a flood's lines out, but for the newest.
func (o *output) catchUp(log *logs.Log) bool {
	lines, f, err := log.LinesThenFollow(logs.Query{Run: o.run, Lines: crash.ReportLines})
	if err != nil {
		return false // nothing is kept of the run any more
	}
	o.f.Close()
	o.f, o.printed, o.behind = f, textsOf(lines, o.run), false
	return true
}

// textsOf are a run's own lines.
func textsOf(lines []logs.Line, run int) []string {
	var texts []string
	for _, line := range lines {
		if line.Run == run && line.Stream != logs.Devside {
			texts = append(texts, line.Text)
		}
	}
	return texts
}

// tellWhereItBroke reads what a run printed before it ended by itself. Nothing
// waits for it: the next run is started meanwhile.
func (s *Server) tellWhereItBroke(run int, exit crash.Exit) {
	if s.host.Files == nil {
		return
	}
	lines, err := s.log.Lines(logs.Query{Run: run, Lines: crash.ReportLines})
	if err != nil {
		lines = nil // nothing of it is kept: then nothing is known
	}
	s.box.put(crashSites{run, s.workspace().Sites(crash.Ended(exit, textsOf(lines, run)))})
}
