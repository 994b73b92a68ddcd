package logs

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestCutting(t *testing.T) {
	long := strings.Repeat("x", MaxLine)
	for _, test := range []struct {
		name string
		in   []string // blocks; one that begins with ! is of stderr
		want []string
	}{
		{"nothing", nil, []string{}},
		{"one line", []string{"hello\n"}, []string{"hello"}},
		{"no newline at the end", []string{"a\nb"}, []string{"a", "b"}},
		{"empty lines", []string{"\n\na\n\n"}, []string{"", "", "a", ""}},
		{"a line in three blocks", []string{"on", "e li", "ne\ntwo\n"}, []string{"one line", "two"}},
		{"stderr in the middle of a line", []string{"out-", "!err\n", "put\n"}, []string{"err", "out-put"}},
		{"both open", []string{"out", "!err"}, []string{"out", "err"}},
		{"CRLF", []string{"a\r\nb\r\n"}, []string{"a", "b"}},
		{"CRLF across blocks", []string{"a\r", "\nb\r", "\n"}, []string{"a", "b"}},
		{"CR CR LF", []string{"a\r\r\n"}, []string{"a"}},
		{"a progress bar", []string{"10%\r20%\r30%\n"}, []string{"30%"}},
		{"a progress bar in blocks", []string{"10%\r", "20%\r", "30%", "\ndone\n"}, []string{"30%", "done"}},
		{"CR before the text", []string{"\r10%", "\r20%", "\r\n"}, []string{"20%"}},
		{"an open progress bar", []string{"10%\r", "20%\r"}, []string{"20%"}},
		{"a CR alone", []string{"\r", "\n"}, []string{""}},
		{"an exact line", []string{long + "\n"}, []string{long}},
		{"a long line", []string{long + "yz\n", "next\n"}, []string{long, "yz", "next"}},
		{"a long line in blocks", []string{long, "y", "z\n"}, []string{long, "yz"}},
		{"two long lines", []string{long + long + "\n"}, []string{long, long}},
		{"a long line is cut between runes", []string{long[1:] + "é\n"}, []string{long[1:], "é"}},
		{"a rune in two blocks", []string{"caf\xc3", "\xa9\n"}, []string{"café"}},
		{"invalid UTF-8", []string{"a\xff\xfeb\n\xc3"}, []string{"a\uFFFDb", "\uFFFD"}},
		{"escape sequences stay", []string{"\x1b[31mred\x1b[0m\n"}, []string{"\x1b[31mred\x1b[0m"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := New(0)
			for i, block := range test.in {
				text, isErr := strings.CutPrefix(block, "!")
				stream := Stdout
				if isErr {
					stream = Stderr
				}
				l.Write(stream, 1, epoch.Add(time.Duration(i)*time.Second), []byte(text))
			}
			got := texts(all(t, l))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLineKnowsWhenceItCame(t *testing.T) {
	l := New(0)
	at := func(s int) time.Time { return epoch.Add(time.Duration(s) * time.Second) }
	l.Say(1, at(0), "starting: npm run dev")
	l.Write(Stdout, 1, at(1), []byte("begun "))
	l.Write(Stdout, 1, at(2), []byte("and ended\nnext"))
	l.Write(Stdout, 2, at(3), []byte("another run\n"))
	want := []Line{
		{at(0), Devside, "starting: npm run dev", 1},
		{at(1), Stdout, "begun and ended", 1},
		{at(2), Stdout, "next", 1},
		{at(3), Stdout, "another run", 2},
	}
	if diff := cmp.Diff(want, all(t, l)); diff != "" {
		t.Error(diff)
	}
}

// Bytes that come within a millisecond share an entry of the index.
func TestSmallWritesAreMerged(t *testing.T) {
	l := New(0)
	for i := range 100_000 {
		l.Write(Stdout, 1, epoch.Add(time.Duration(i)*time.Microsecond), []byte("x"))
	}
	if l.count > 101 {
		t.Errorf("%d entries for 100 ms", l.count)
	}
	if got := all(t, l); len(got) != 7 || len(got[0].Text) != MaxLine {
		t.Errorf("%d lines", len(got))
	}
}

func TestQuery(t *testing.T) {
	l := New(0)
	for run := 1; run <= 3; run++ {
		for i := range 300 {
			at := epoch.Add(time.Duration(run)*time.Hour + time.Duration(i)*time.Second)
			l.Write(Stdout, run, at, fmt.Appendf(nil, "run %d \x1b[1mline\x1b[0m %d\n", run, i))
		}
	}
	for _, test := range []struct {
		name        string
		q           Query
		n           int
		first, last string
	}{
		{"the default", Query{}, 200, "run 3 line 100", "run 3 line 299"},
		{"few", Query{Lines: 2}, 2, "run 3 line 298", "run 3 line 299"},
		{"more than there are", Query{Lines: 5000}, 900, "run 1 line 0", "run 3 line 299"},
		{"more than allowed", Query{Lines: 1 << 40}, 900, "run 1 line 0", "run 3 line 299"},
		{"a run", Query{Run: 2, Lines: 1000}, 300, "run 2 line 0", "run 2 line 299"},
		{"the run before", Query{Run: -1}, 200, "run 2 line 100", "run 2 line 299"},
		{"the one before that", Query{Run: -2, Lines: 1}, 1, "run 1 line 299", "run 1 line 299"},
		{"a run that has printed nothing yet", Query{Run: 4}, 0, "", ""},
		{"since", Query{Since: epoch.Add(3*time.Hour + 290*time.Second)}, 10, "run 3 line 290", "run 3 line 299"},
		{"since before all", Query{Since: epoch, Lines: 1000}, 900, "run 1 line 0", "run 3 line 299"},
		{"since the future", Query{Since: epoch.AddDate(1, 0, 0)}, 0, "", ""},
		{"grep sees no escape sequences", Query{Grep: regexp.MustCompile(`run 1 line 7$`)}, 1, "run 1 line 7", "run 1 line 7"},
		{"grep and run", Query{Grep: regexp.MustCompile(`7$`), Run: -1, Lines: 2}, 2, "run 2 line 287", "run 2 line 297"},
		{"grep finds nothing", Query{Grep: regexp.MustCompile(`absent`)}, 0, "", ""},
	} {
		lines, err := l.Lines(test.q)
		if err != nil || lines == nil || len(lines) != test.n {
			t.Errorf("%s: %d lines (nil: %v), %v; want %d", test.name, len(lines), lines == nil, err, test.n)
			continue
		}
		if test.n > 0 && (StripANSI(lines[0].Text) != test.first || StripANSI(lines[test.n-1].Text) != test.last) {
			t.Errorf("%s: %q … %q, want %q … %q", test.name, lines[0].Text, lines[test.n-1].Text, test.first, test.last)
		}
	}
}

func TestQueryRefused(t *testing.T) {
	empty := New(0)
	if lines, err := empty.Lines(Query{}); err != nil || len(lines) != 0 {
		t.Errorf("an empty log: %v, %v", lines, err)
	}
	small := New(minRing)
	write(small, Stdout, 1, strings.Repeat("old\n", 100))
	write(small, Stdout, 2, strings.Repeat("new\n", minRing))
	write(small, Stdout, 3, "newest\n")
	for _, test := range []struct {
		l    *Log
		q    Query
		want string
	}{
		{empty, Query{Lines: -1}, "read log: the number of lines is negative"},
		{empty, Query{Run: -1}, "read log: there was no such run; the last is run 0"},
		{small, Query{Run: -3}, "read log: there was no such run; the last is run 3"},
		{small, Query{Run: 1}, "read log: no output of run 1 is kept; the oldest is of run 2"},
	} {
		_, err := test.l.Lines(test.q)
		if err == nil || err.Error() != test.want {
			t.Errorf("%+v: %v, want %q", test.q, err, test.want)
		}
		if _, _, followErr := test.l.LinesThenFollow(test.q); fmt.Sprint(followErr) != fmt.Sprint(err) {
			t.Errorf("LinesThenFollow says %v", followErr)
		}
	}
	var none *NoRunError
	if _, err := small.Lines(Query{Run: 1}); !errors.As(err, &none) || none.Oldest != 2 {
		t.Errorf("got %v", err)
	}
}

func TestTail(t *testing.T) {
	l := New(0)
	if got := l.Tail(5); len(got) != 0 || got == nil {
		t.Errorf("of an empty log: %q", got)
	}
	write(l, Stdout, 1, strings.Repeat("the run before\n", 100_000))
	if got := l.Tail(0); len(got) != 0 {
		t.Errorf("of no lines: %q", got)
	}
	l.Say(2, epoch, "starting")
	if got := l.Tail(5); len(got) != 0 {
		t.Errorf("a run that printed nothing: %q", got)
	}
	write(l, Stdout, 2, "one\ntwo\n")
	write(l, Stderr, 2, "\x1b[31mError: \x1b]0;title\x07no\x1b[0m\n", "    at x.js\x00")
	l.Say(2, epoch, "it ended")
	want := []string{"two", "Error: no", "    at x.js"}
	if got := l.Tail(3); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// What is kept is exactly the newest output, whatever the blocks; and what is
// cut from it is what would be cut from all, less the line that lost its head.
func TestRingKeepsTheNewest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(minRing, 4*minRing).Draw(t, "limit")
		l := New(limit)
		var whole strings.Builder
		var open strings.Builder
		var lines []string
		for i := range rapid.IntRange(1, 60).Draw(t, "blocks") {
			block := rapid.StringOfN(rapid.SampledFrom([]rune("abc\n\n")), 1, 3000, -1).Draw(t, "block")
			l.Write(Stdout, 1, epoch.Add(time.Duration(i)*time.Second), []byte(block))
			whole.WriteString(block)
		}
		for _, line := range strings.SplitAfter(whole.String(), "\n") {
			if strings.HasSuffix(line, "\n") {
				lines = append(lines, line[:len(line)-1])
			} else {
				open.WriteString(line)
			}
		}
		if open.Len() > 0 {
			lines = append(lines, open.String())
		}
		kept := string(l.appendTo(nil, l.start, l.end))
		if !strings.HasSuffix(whole.String(), kept) || len(kept) != min(whole.Len(), limit) {
			t.Fatalf("kept %d bytes of %d, limit %d", len(kept), whole.Len(), limit)
		}
		if want := min(len(lines), strings.Count(kept, "\n")); want > 0 {
			got, err := l.Lines(Query{Lines: MaxLines})
			if err != nil {
				t.Fatal(err)
			}
			n := len(got)
			if n < want-1 || !slices.Equal(texts(got), lines[len(lines)-n:]) {
				t.Fatalf("%d lines, want the newest of %d", n, len(lines))
			}
		}
		if got := l.budget.Used(); got != cost(len(l.ring), len(l.blocks)) {
			t.Fatalf("used %d, holds %d", got, cost(len(l.ring), len(l.blocks)))
		}
	})
}

// A stream whose line was not touched by the ring's edge loses none.
func TestOnlyTheCutLineIsLost(t *testing.T) {
	l := New(minRing)
	for i := range 1000 {
		l.Write(Stdout, 1, epoch.Add(time.Duration(i)*time.Second), []byte(strings.Repeat("abcdef\n", 31)))
		if i == 990 {
			l.Write(Stderr, 1, epoch.Add(time.Duration(i)*time.Second), []byte("the only error\n"))
		}
	}
	n := 0
	for _, line := range all(t, l) {
		switch line.Text {
		case "abcdef":
		case "the only error":
			n++
		default:
			t.Fatalf("the rest of a line is shown: %q", line.Text)
		}
	}
	if n != 1 {
		t.Errorf("the line of stderr is there %d times", n)
	}
}
