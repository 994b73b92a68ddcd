package logs

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// DefaultLines and MaxLines are what devside/logs promises.
	DefaultLines = 200
	MaxLines     = 10_000
	// MaxLine is the longest line: what is longer goes on in the next one, so
	// that output without a newline is shown in parts, not gathered for ever.
	MaxLine = 16 << 10
	// lineGuess is how long lines are taken to be when the newest output is
	// looked at first. A restart waits for Tail, so that must not cut a whole
	// ring into lines.
	lineGuess = 300
)

// Line is one line of output, without its line end. Invalid UTF-8 is replaced
// by U+FFFD, escape sequences are left in. It has the shape of the protocol's
// LogLine.
type Line struct {
	At     time.Time // when its first byte was read
	Stream string
	Text   string
	Run    int
}

// Query chooses lines. The zero value asks for the newest DefaultLines.
type Query struct {
	// Lines is how many at most, the newest; 0: DefaultLines; more than MaxLines
	// counts as MaxLines. An answer has 4 MiB of text at most.
	Lines int
	Since time.Time      // none older than this
	Grep  *regexp.Regexp // must match the text without escape sequences
	Run   int            // of this run only; 0: of all; -1: of the run before the last, and so on
}

// NoRunError says that a log holds nothing of the run that was asked for, and
// can't.
type NoRunError struct {
	Run, Oldest, Last int // of a negative Run, what it came to
}

func (e *NoRunError) Error() string {
	switch {
	case e.Run < 1:
		return fmt.Sprintf("read log: there was no such run; the last is run %d", e.Last)
	case e.Oldest == 0:
		return fmt.Sprintf("read log: no output of run %d is kept", e.Run)
	}
	return fmt.Sprintf("read log: no output of run %d is kept; the oldest is of run %d", e.Run, e.Oldest)
}

// Lines returns the lines that the query chooses, oldest first. A last line
// without its newline is among them.
func (l *Log) Lines(q Query) ([]Line, error) {
	c, lines, _, err := l.recall(q)
	if err != nil {
		return nil, err
	}
	return c.flush(lines).result(), nil
}

// LinesThenFollow returns the same, and a follower of what comes after them:
// between the two no line is missing, none comes twice. A line without its
// newline is left to the follower.
func (l *Log) LinesThenFollow(q Query) ([]Line, *Follower, error) {
	c, lines, end, err := l.recall(q)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	for i := range c.open {
		c.open[i].since, c.open[i].drop = now, false
	}
	f := l.Follow(Cursor(end))
	f.cut = c
	return lines.result(), f, nil
}

// Tail returns the last n lines that the newest run printed, without escape
// sequences and without what devside said: what a problem shows.
func (l *Log) Tail(n int) []string {
	l.mu.Lock()
	run := l.lastRun
	l.mu.Unlock()
	if n <= 0 || run == 0 {
		return []string{}
	}
	newest, err := l.newest(Query{Lines: n, Run: run}, func(stream string) bool { return stream != Devside })
	if err != nil {
		return []string{}
	}
	texts := []string{}
	for _, line := range newest.cutter.flush(newest.lines).result() {
		texts = append(texts, StripANSI(line.Text))
	}
	return texts
}

// complete fills in what a query leaves open.
func (q *Query) complete() error {
	if q.Lines < 0 {
		return errors.New("read log: the number of lines is negative")
	}
	if q.Lines == 0 {
		q.Lines = DefaultLines
	}
	q.Lines = min(q.Lines, MaxLines)
	return nil
}

// countBack turns a run that counts back into its number.
func (q *Query) countBack(lastRun int) error {
	if q.Run >= 0 {
		return nil
	}
	q.Run += lastRun
	if q.Run < 1 {
		return &NoRunError{Run: q.Run, Last: lastRun}
	}
	return nil
}

// recall answers from memory, and from the files where that is not enough. It
// returns the cutter as it stands at offset end, and the lines found.
func (l *Log) recall(q Query) (*cutter, *chosen, int64, error) {
	if err := q.complete(); err != nil {
		return nil, nil, 0, err
	}
	l.mu.Lock()
	err := q.countBack(l.lastRun)
	l.mu.Unlock()
	if err != nil {
		return nil, nil, 0, err
	}
	n, err := l.newest(q, nil)
	var none *NoRunError
	if err == nil && (n.enough || l.file == nil) || err != nil && (l.file == nil || !errors.As(err, &none)) {
		return n.cutter, n.lines, n.end, err
	}
	l.file.flush(diskPatience)
	h, err := openHistory(l.file.files.rooted(), l.file.server)
	if err != nil {
		return nil, nil, 0, fmt.Errorf("read log: %w", err)
	}
	defer h.Close()
	c, lines, oldest, err := h.recall(q, n.from, n.pieces)
	if err != nil {
		return nil, nil, 0, fmt.Errorf("read log: %w", err)
	}
	if q.Run != 0 && len(lines.kept) == 0 && q.Run < n.lastRun && !c.holds(q.Run) {
		return nil, nil, 0, &NoRunError{Run: q.Run, Oldest: oldest, Last: n.lastRun}
	}
	return c, lines, n.end, nil
}

// newest is what the ring says to a query.
type newest struct {
	cutter  *cutter
	lines   *chosen
	pieces  []piece // what was cut
	from    int64   // offset of the first
	end     int64
	lastRun int
	enough  bool // older output would change nothing
}

// newest cuts as much of the newest output in memory as the query needs. With a
// NoRunError, pieces are all that is in memory.
func (l *Log) newest(q Query, stream func(string) bool) (n newest, err error) {
	var buf []byte
	for span := int64(lineGuess * q.Lines); ; span *= 4 {
		l.mu.Lock()
		err = l.hasRun(q.Run)
		n.from = max(l.start, l.end-span)
		if err != nil {
			n.from = l.start
		}
		whole := n.from == l.start
		n.pieces, buf, n.end = l.copyOut(buf, n.from, int(l.end-n.from))
		n.lastRun = l.lastRun
		l.mu.Unlock()
		if err != nil {
			return n, err
		}
		if len(n.pieces) > 0 {
			oldest := n.pieces[0]
			n.enough = q.Run > oldest.run || oldest.at < q.Since.UnixNano() && !q.Since.IsZero()
		}
		n.lines = &chosen{Query: q, stream: stream}
		n.cutter = &cutter{whole: true}
		for _, p := range n.pieces {
			n.cutter.feed(p, n.lines.add)
		}
		n.cutter.whole = false
		n.enough = n.enough || len(n.lines.kept) >= q.Lines
		if whole || n.enough {
			return n, nil
		}
	}
}

// hasRun says that a run's output is not in memory, and can't come any more.
// The caller holds l.mu.
func (l *Log) hasRun(run int) error {
	oldest := 0
	if l.count > 0 {
		oldest = int(l.block(0).run)
	}
	if run != 0 && (run < oldest || run < l.lastRun && oldest == 0) {
		return &NoRunError{Run: run, Oldest: oldest, Last: l.lastRun}
	}
	return nil
}

// chosen gathers the newest lines that a query chooses.
type chosen struct {
	Query
	stream func(string) bool // nil: all
	kept   []Line
	bytes  int // of text in kept
}

func (c *chosen) add(line Line) {
	switch {
	case c.Run != 0 && line.Run != c.Run,
		!c.Since.IsZero() && line.At.Before(c.Since),
		c.stream != nil && !c.stream(line.Stream),
		c.Grep != nil && !c.Grep.MatchString(StripANSI(line.Text)):
		return
	}
	if len(c.kept) >= 2*c.Query.Lines {
		for _, old := range c.kept[:len(c.kept)-c.Query.Lines] {
			c.bytes -= len(old.Text)
		}
		c.kept = append(c.kept[:0], c.kept[len(c.kept)-c.Query.Lines:]...)
	}
	c.kept = append(c.kept, line)
	for c.bytes += len(line.Text); c.bytes > mostText && len(c.kept) > 1; c.kept = c.kept[1:] {
		c.bytes -= len(c.kept[0].Text)
		c.kept[0] = Line{}
	}
}

func (c *chosen) result() []Line {
	if over := len(c.kept) - c.Query.Lines; over > 0 {
		return slices.Clone(c.kept[over:])
	}
	if c.kept == nil {
		return []Line{}
	}
	return c.kept
}

// cutter cuts lines out of pieces, for each stream apart: a piece of stderr in
// the middle of a line of stdout does not break it. It holds at most MaxLine
// bytes of each stream.
type cutter struct {
	// whole: where the first piece of a stream does not begin a line, the rest
	// of that line is dropped.
	whole bool
	now   time.Time // of the follower, for partial.since
	open  []partial // one a stream
}

// partial is a line that has not ended yet.
type partial struct {
	stream string
	run    int
	at     int64
	text   []byte
	since  time.Time // when a follower saw the line begin
	// cr: a carriage return came last. With a newline it is a line end; with
	// anything else, that overwrites what stood there, as in a terminal.
	cr bool
	// shown: what stood before was shown already, so a newline right here ends
	// nothing.
	shown bool
	drop  bool // the first line: it is the rest of one
}

func (c *cutter) partialOf(p piece, emit func(Line)) *partial {
	for i := range c.open {
		if o := &c.open[i]; o.stream == p.stream {
			if o.run != p.run {
				if len(o.text) > 0 {
					o.emit(o.text, emit)
				}
				*o = partial{stream: p.stream, run: p.run, text: o.text[:0]}
			}
			return o
		}
	}
	c.open = append(c.open, partial{stream: p.stream, run: p.run, drop: c.whole && !p.head})
	return &c.open[len(c.open)-1]
}

func (o *partial) emit(text []byte, emit func(Line)) {
	if o.drop {
		o.drop = false
		return
	}
	emit(Line{At: time.Unix(0, o.at), Stream: o.stream, Run: o.run, Text: toText(text)})
}

// feed cuts one piece.
func (c *cutter) feed(p piece, emit func(Line)) {
	o := c.partialOf(p, emit)
	for data := p.data; len(data) > 0; {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			o.take(data, p.at, c.now, emit)
			return
		}
		o.take(data[:end], p.at, c.now, emit)
		if len(o.text) > 0 || !o.shown {
			if len(o.text) == 0 {
				o.at = p.at
			}
			o.emit(o.text, emit)
		}
		o.text, o.cr, o.shown = o.text[:0], false, false
		data = data[end+1:]
	}
}

// take adds text without a newline to the line.
func (o *partial) take(text []byte, at int64, now time.Time, emit func(Line)) {
	if len(text) == 0 {
		return
	}
	if len(o.text) == 0 {
		// A line that is overwritten again and again is not a new one each time.
		o.since = now
	}
	body := bytes.TrimRight(text, "\r")
	if len(body) == 0 {
		o.cr = true
		return
	}
	if i := bytes.LastIndexByte(body, '\r'); i >= 0 {
		o.text, body = o.text[:0], body[i+1:]
	} else if o.cr {
		o.text = o.text[:0]
	}
	o.cr = len(bytes.TrimRight(text, "\r")) < len(text)
	if len(o.text) == 0 {
		o.at = at
	}
	for len(o.text)+len(body) > MaxLine {
		n := MaxLine - len(o.text)
		o.text = append(o.text, body[:n]...)
		whole := wholeRunes(o.text)
		o.emit(o.text[:whole], emit)
		o.text = append(o.text[:0], o.text[whole:]...)
		o.at, o.since, o.shown = at, now, true
		body = body[n:]
	}
	o.text = append(o.text, body...)
}

// oldest is the open line that began first, or nil.
func (c *cutter) oldest() *partial {
	var oldest *partial
	for i := range c.open {
		o := &c.open[i]
		if len(o.text) > 0 && (oldest == nil || o.before(oldest)) {
			oldest = o
		}
	}
	return oldest
}

// before orders open lines by when they were seen, then by when they were written.
func (o *partial) before(other *partial) bool {
	if !o.since.Equal(other.since) {
		return o.since.Before(other.since)
	}
	return o.at < other.at
}

// show emits the open lines as far as they have come, if they began before a
// time (zero: whenever); what follows will be lines of their own.
func (c *cutter) show(before time.Time, emit func(Line)) {
	for o := c.oldest(); o != nil && (before.IsZero() || !o.since.After(before)); o = c.oldest() {
		o.emit(o.text, emit)
		o.text, o.shown = o.text[:0], true
	}
}

// holds reports whether a line of a run is open.
func (c *cutter) holds(run int) bool {
	return slices.ContainsFunc(c.open, func(o partial) bool { return o.run == run && len(o.text) > 0 })
}

// flush adds the open lines to those chosen.
func (c *cutter) flush(to *chosen) *chosen {
	c.show(time.Time{}, to.add)
	return to
}

// wholeRunes is the length of text without an incomplete rune at its end.
func wholeRunes(text []byte) int {
	for i := 1; i < utf8.UTFMax && i < len(text); i++ {
		b := text[len(text)-i]
		if utf8.RuneStart(b) {
			if b >= utf8.RuneSelf && !utf8.FullRune(text[len(text)-i:]) {
				return len(text) - i
			}
			break
		}
	}
	return len(text)
}

func toText(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}
