package crash

import "slices"

// Monitor follows the output of a run that goes on: a compiler's errors appear,
// are replaced by newer ones, and go when the tool says that it begins anew or
// has compiled. The zero value is ready. It keeps at most ReportLines lines of
// each of maxLanes programs.
//
// A stack trace in such output is of an error that the server has survived, and
// counts only where a watcher says that its program has ended.
type Monitor struct {
	lanes []*followed
}

// followed is what is known of the output of one program.
type followed struct {
	prefix  string
	lines   []string // since the last that meant something
	reports []Report
	met     request
}

// Feed takes the lines that came since the last call, oldest first, and returns
// what is wrong now and whether these lines say so: an error that comes again is
// news, too. It is to be called when output has been quiet for a moment: a
// message that is cut in two may be missed. Of more lines than ReportLines only
// the newest count.
func (m *Monitor) Feed(lines []string) (now []Report, news bool) {
	var known []string
	for _, f := range m.lanes {
		known = append(known, f.prefix)
	}
	for _, l := range lanes(plain(lines[max(0, len(lines)-ReportLines):]), known...) {
		i := slices.IndexFunc(m.lanes, func(f *followed) bool { return f.prefix == l.prefix })
		if i < 0 {
			if i = len(m.lanes); i == maxLanes {
				continue
			}
			m.lanes = append(m.lanes, &followed{prefix: l.prefix})
		}
		news = m.lanes[i].feed(l.lines) || news
	}
	for _, f := range m.lanes {
		now = append(now, f.reports...)
	}
	return now[:min(len(now), maxReports)], news
}

func (f *followed) feed(lines []string) (news bool) {
	f.lines = append(f.lines, lines...)
	f.lines = slices.Clone(f.lines[max(0, len(f.lines)-ReportLines):])
	g := gather(f.lines, f.met)
	f.met = g.met
	f.lines = f.lines[g.used:]
	if news = len(g.reports) > 0 || g.anew; news {
		f.reports = g.reports
	}
	return news
}
