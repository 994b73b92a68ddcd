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
}

// Feed takes the lines that came since the last call, oldest first, and returns
// what is wrong now and whether that differs from before. It is to be called
// when output has been quiet for a moment: a message that is cut in two may be
// missed. Of more lines than ReportLines only the newest count.
func (m *Monitor) Feed(lines []string) (now []Report, changed bool) {
	if len(lines) == 0 {
		return m.reports, false
	}
	lines = plain(lines[max(0, len(lines)-ReportLines):])
	m.lines = append(m.lines, lines...)
	m.lines = slices.Clone(m.lines[max(0, len(m.lines)-ReportLines):])
	g := gather(m.lines)
	m.lines = m.lines[g.used:]
	if len(g.reports) == 0 && !g.anew {
		return m.reports, false
	}
	changed = !slices.EqualFunc(m.reports, g.reports, Report.equal)
	m.reports = g.reports
	return m.reports, changed
}

func (r Report) equal(o Report) bool {
	return r.Tool == o.Tool && r.Message == o.Message && slices.Equal(r.Frames, o.Frames)
}
