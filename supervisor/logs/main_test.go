package logs

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

// write puts each text as a block of its own, a second after the one before.
func write(l *Log, stream string, run int, texts ...string) {
	for i, text := range texts {
		l.Write(stream, run, epoch.Add(time.Duration(i)*time.Second), []byte(text))
	}
}

func texts(lines []Line) []string {
	out := []string{}
	for _, l := range lines {
		out = append(out, l.Text)
	}
	return out
}

func all(t *testing.T, l *Log) []Line {
	t.Helper()
	lines, err := l.Lines(Query{Lines: MaxLines})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}
