package crash

import "slices"

// Monitor follows the output of a run that goes on: a compiler's errors appear,
// are replaced by newer ones, and go when the tool says that it begins anew or
// has compiled. The zero value is ready. It keeps at most ReportLines lines.
//
// A stack trace in such output is of an error that the server has survived, and
// counts only where a watcher says that its program has ended.
type Monitor struct {
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
	lines = plain(lines[max(0, len(lines)-ReportLines):])
	m.lines = append(m.lines, lines...)
	m.lines = slices.Clone(m.lines[max(0, len(m.lines)-ReportLines):])
	g := gather(m.lines, m.met)
	m.met = g.met
	m.lines = m.lines[g.used:]
	if news = len(g.reports) > 0 || g.anew; news {
		m.reports = g.reports
	}
	return m.reports, news
}
