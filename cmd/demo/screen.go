package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// screen is what a person sees of the demo.
type screen struct {
	out    io.Writer
	colour bool
	step   int
	title  string // of the step
}

func newScreen(out io.Writer) *screen {
	s := &screen{out: out}
	if f, ok := out.(*os.File); ok && os.Getenv("NO_COLOR") == "" {
		info, err := f.Stat()
		s.colour = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return s
}

func (s *screen) paint(sgr, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

func (s *screen) line(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// begin starts a numbered step.
func (s *screen) begin(title string) {
	s.step++
	s.title = title
	s.line("\n%s", s.paint("1", fmt.Sprintf("%d. %s", s.step, title)))
}

// asked is what was sent, got what came back, came what came by itself, saw
// what the demo found out for itself.
func (s *screen) asked(format string, args ...any) { s.marked("36", "->", format, args) }
func (s *screen) got(format string, args ...any)   { s.marked("32", "<-", format, args) }
func (s *screen) came(format string, args ...any)  { s.marked("33", " *", format, args) }
func (s *screen) saw(format string, args ...any)   { s.marked("2", "  ", format, args) }

func (s *screen) marked(sgr, mark, format string, args []any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "\n      ")
	s.line("   %s %s", s.paint(sgr, mark), text)
}
