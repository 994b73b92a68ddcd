package supervisor

import (
	"testing"
	"time"

	"github.com/devside/devside/supervisor/crash"
	"github.com/devside/devside/supervisor/status"
)

// siteLines are the lines of the problems crash-site.
func (p *play) siteLines() (lines []int) {
	for _, d := range p.m.snapshot().Details {
		if d.Code == status.CrashSite {
			lines = append(lines, d.Line)
		}
	}
	return lines
}

func (p *play) wantSites(t *testing.T, what string, want ...int) {
	t.Helper()
	got := p.siteLines()
	if len(got) != len(want) || len(got) > 0 && got[0] != want[0] {
		t.Errorf("%s: crash-site at lines %v, want %v", what, got, want)
	}
}

func sitesAt(lines ...int) (sites []crash.Site) {
	for _, line := range lines {
		sites = append(sites, crash.Site{Place: crash.Place{File: "a.ts", Line: line}, Tool: "tsc", Message: "m", Related: []crash.Place{{File: "b.ts", Line: 1}}})
	}
	return sites
}

func TestSitesOfARunningServerComeAndGo(t *testing.T) {
	p := newPlay(conf("api")).up()
	p.feed(sitesAre{p.m.run, sitesAt(3, 4)}).wantSites(t, "a compiler's errors", 3, 4)
	first := p.m.sites[0]
	if first.Hint != "at a.ts:3, from the output of api (tsc)" || len(first.Related) != 1 || first.Severity != status.Error || first.Field != status.Site {
		t.Errorf("%+v", first)
	}
	p.feed(sitesAre{p.m.run, sitesAt(3, 5)})
	if p.m.sites[0].Since != first.Since || p.m.sites[1].Since == first.Since {
		t.Errorf("an error that goes on is as old as it was: %+v", p.m.sites)
	}
	p.feed(sitesAre{p.m.run - 1, sitesAt(9)}).wantSites(t, "of an older run", 3, 5)
	p.feed(sitesAre{p.m.run, nil}).wantSites(t, "compiled")
	p.feed(sitesAre{p.m.run, sitesAt(3)}, stopAsked{}, gone{run: p.m.run}).wantSites(t, "stopped")
	p.feed(sitesAre{p.m.run, sitesAt(3)}).wantSites(t, "told after the stop")
}

func TestSitesOfACrashStayUntilTheServerIsReady(t *testing.T) {
	p := newPlay(conf("api")).up()
	p.dies(1).want(t, status.Backoff)
	p.feed(crashSites{p.m.run, sitesAt(7)}).wantSites(t, "a crash", 7)
	p.feed(backoffElapsed{p.m.run}, spawned{run: p.m.run + 1, pid: 9}).want(t, status.Starting)
	p.wantSites(t, "the next run starts", 7)
	p.feed(probed{run: p.m.run}).want(t, status.Ready)
	p.wantSites(t, "it is ready")
	p.feed(crashSites{p.m.run - 1, sitesAt(7)}).wantSites(t, "told too late")

	// A restart at once is not waited for: the news may come after the spawn.
	p.now = p.now.Add(time.Minute)
	p.dies(1).want(t, status.Starting)
	p.feed(crashSites{p.m.run - 1, sitesAt(8)}).wantSites(t, "told after the spawn", 8)
	p.dies(1)
	p.feed(crashSites{p.m.run, nil}).wantSites(t, "another crash that names nothing")
	p.feed(stopAsked{}, crashSites{p.m.run, sitesAt(8)}).wantSites(t, "stopped meanwhile")
}

func TestARunThatEndsWellHasNoSites(t *testing.T) {
	p := newPlay(conf("api")).up()
	p.feed(sitesAre{p.m.run, sitesAt(3)})
	p.dies(0).want(t, status.Stopped)
	p.feed(crashSites{p.m.run, sitesAt(3)}).wantSites(t, "ended with exit status 0")
}
