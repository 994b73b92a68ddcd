package probe

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/spec"
)

// lineProbe passes once a line of the run's output matched, and from then on:
// what a server said when it was ready can't be unsaid.
type lineProbe struct {
	pattern *regexp.Regexp
	run     int
	lines   *logs.Follower
	seen    bool
}

func newLine(p spec.Probe, t Target) (Probe, error) {
	if t.Log == nil {
		return nil, errors.New("there is no log")
	}
	pattern, err := regexp.Compile(p.Log)
	if err != nil {
		return nil, err
	}
	// From the oldest line, since the server may have printed it already.
	return &lineProbe{pattern: pattern, run: t.Run, lines: t.Log.Follow(logs.Oldest)}, nil
}

func (p *lineProbe) Look(ctx context.Context) error {
	for !p.seen {
		lines, skipped := p.lines.Poll()
		for _, line := range lines {
			if line.Run == p.run && line.Stream != logs.Devside && p.pattern.MatchString(logs.StripANSI(line.Text)) {
				p.seen = true
				p.lines.Close()
			}
		}
		if !p.seen && len(lines) == 0 && skipped == 0 {
			return fmt.Errorf("no line of the output matches %q yet", p.pattern)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}
