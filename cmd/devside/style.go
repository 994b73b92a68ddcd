package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/devside/devside/supervisor/status"
)

// style draws, in colour or without.
type style struct{ colour bool }

// SGR codes of the terminal's own sixteen colours: they follow its theme.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

// serverColours are given out by a server's place in the configuration, so
// that a server keeps its own from run to run. Red is left to errors.
var serverColours = []string{"36", "33", "32", "35", "34", "96", "93", "92", "95", "94"}

func (s style) paint(sgr, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

func (s style) dim(text string) string  { return s.paint(dim, text) }
func (s style) bold(text string) string { return s.paint(bold, text) }

// stateColours say how much a state needs a look.
var stateColours = map[status.State]string{
	status.Stopped: dim, status.Waiting: yellow, status.Starting: yellow, status.Ready: green,
	status.Unhealthy: yellow, status.Backoff: yellow, status.CrashLoop: red, status.Blocked: red,
	status.Stopping: yellow,
}

func (s style) state(st status.State) string { return s.paint(stateColours[st], string(st)) }

func (s style) severity(sev status.Severity) string {
	switch sev {
	case status.Error:
		return s.paint(red, string(sev))
	case status.Warning:
		return s.paint(yellow, string(sev))
	}
	return s.dim(string(sev))
}

// prefixes are the names before log lines, padded to one width.
type prefixes struct {
	style  style
	width  int
	colour map[string]string
}

// newPrefixes gives each server its colour. names are in the file's order.
func newPrefixes(st style, names []string) *prefixes {
	p := &prefixes{style: st, colour: map[string]string{}}
	for _, n := range names {
		p.add(n)
	}
	return p
}

func (p *prefixes) add(name string) {
	if _, known := p.colour[name]; known {
		return
	}
	p.colour[name] = serverColours[len(p.colour)%len(serverColours)]
	p.width = max(p.width, utf8.RuneCountInString(name))
}

// of returns "name   | ".
func (p *prefixes) of(name string) string {
	return p.style.paint(p.colour[name], pad(name, p.width)+" |") + " "
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// cell is one field of a table: what is measured, and what is drawn.
type cell struct{ text, drawn string }

func plain(s string) cell { return cell{s, s} }

// table lays cells out in columns two spaces apart. Each row has as many cells
// as the first.
func table(rows [][]cell) string {
	if len(rows) == 0 {
		return ""
	}
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(c.text))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, c := range row {
			b.WriteString(c.drawn)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// visible returns text with everything that would not show, or would move the
// cursor, written as an escape: a command line is about to be agreed to.
func visible(s string) string {
	clean := func(r rune) bool { return r != utf8.RuneError && (unicode.IsPrint(r) || r == '\t') }
	if strings.IndexFunc(s, func(r rune) bool { return !clean(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if clean(r) {
			b.WriteRune(r)
		} else {
			quoted := strconv.Quote(s[:n])
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[n:]
	}
	return b.String()
}

// words shows an argv so that each word's borders can be seen.
func words(argv []string) string {
	out := make([]string, len(argv))
	for i, w := range argv {
		out[i] = visible(w)
		if w == "" || out[i] != w || strings.ContainsAny(w, " \t\"'\\$`;&|<>()*?#~") {
			out[i] = strconv.Quote(w)
		}
	}
	return strings.Join(out, " ")
}

// logText makes one line of a server's output safe to print. Colours stay where
// colours are wanted; what would move the cursor, set the title or fill the
// clipboard goes. Of a line drawn over itself (\r) the last state stays.
func logText(s string, colour bool) string {
	if strings.IndexFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) < 0 {
		return s
	}
	if i := strings.LastIndexByte(strings.TrimRight(s, "\r"), '\r'); i >= 0 {
		s = s[i+1:]
	}
	var b strings.Builder
	coloured := false
	for len(s) > 0 {
		if s[0] == 0x1b {
			n, sgr := escape(s)
			if sgr && colour {
				b.WriteString(s[:n])
				coloured = true
			}
			s = s[n:]
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		if r == '\t' || !unicode.IsControl(r) {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	if coloured {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}

// escape measures the escape sequence that s begins with (ECMA-48), and says
// whether it only sets colours. One that is cut short ends with s.
func escape(s string) (n int, sgr bool) {
	if len(s) < 2 {
		return len(s), false
	}
	switch s[1] {
	case '[':
		i := 2
		for i < len(s) && s[i] >= 0x20 && s[i] <= 0x3f {
			i++
		}
		if i == len(s) {
			return i, false
		}
		if s[i] < 0x40 || s[i] > 0x7e {
			return i, false // not one after all: what follows is text
		}
		// With another parameter byte or an intermediate it is no colour: CSI > m
		// changes what the keyboard sends.
		return i + 1, s[i] == 'm' && strings.Trim(s[2:i], "0123456789;:") == ""
	case ']', 'P', 'X', '^', '_': // strings: until BEL or ST
		for i := 2; i < len(s); i++ {
			if s[i] == 0x07 {
				return i + 1, false
			}
			if s[i] == 0x1b && i+1 < len(s) && s[i+1] == '\\' {
				return i + 2, false
			}
		}
		return len(s), false
	}
	i := 1
	for i < len(s) && s[i] >= 0x20 && s[i] <= 0x2f {
		i++
	}
	if i < len(s) && s[i] >= 0x30 && s[i] <= 0x7e {
		i++
	}
	return i, false
}

// took shows a duration that a person waited for.
func took(ms int64) string {
	switch {
	case ms < 1000:
		return fmt.Sprintf("%d ms", ms)
	case ms < 10_000:
		return fmt.Sprintf("%.1f s", float64(ms)/1000)
	}
	return age(ms)
}

// age shows how long something has lasted, in two units at most.
func age(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// size shows bytes in the units of devside.yaml: 1 GB is 2^30.
func size(n int64) string {
	switch {
	case n <= 0:
		return "-"
	case n < 1<<20:
		return fmt.Sprintf("%d KB", (n+1<<10-1)>>10)
	case n < 1<<30:
		return fmt.Sprintf("%d MB", n>>20)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
}

// count writes "1 server", "2 servers".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
