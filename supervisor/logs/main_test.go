package logs

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// roles are what the test binary does instead of testing, by the value of
// roleVariable.
var roles = map[string]func() error{}

const roleVariable = "LOGS_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := roles[role](); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

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
