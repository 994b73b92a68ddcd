package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

func someReport() report {
	return report{
		Machine: machineInfo{OS: "linux", Kernel: "6.1", CPU: "a processor", Cores: 2, Go: "go1.26", Load: "0.10"},
		Devside: "1.2", Runs: 5,
		Rows: []row{
			{Name: "start10", What: "start → 10 ports open", Unit: "ms", Bare: []float64{12.11, 12}, Devside: []float64{13.4}, Goal: goal{timesBare, 1.15}, Note: "a note"},
			{Name: "left", What: "processes left", Devside: []float64{0}, Goal: goal{atMost, 0}, Worst: true},
			{Name: "pipeline", What: "requests", Unit: "per s", Devside: []float64{12345.6}, Goal: goal{atLeast, 20000}},
			{Name: "free", What: "no goal"},
		},
	}
}

func TestTable(t *testing.T) {
	rep := someReport()
	rep.Failed = []string{"measure x: it was late"}
	var out bytes.Buffer
	if err := writeTable(&out, rep); err != nil {
		t.Fatal(err)
	}
	want := `devside 1.2 on linux 6.1, 2 cores (a processor), go1.26; medians of 5 rounds; load 0.10

| what                      | bare | devside | ratio or difference |          goal | met? |
| ------------------------- | ---: | ------: | ------------------: | ------------: | ---: |
| start → 10 ports open, ms | 12.1 |    13.4 |              × 1.11 | ≤ 1.15 × bare |  yes |
| processes left            |    – |       0 |                   – |           ≤ 0 |  yes |
| requests, per s           |    – |   12346 |                   – |       ≥ 20000 |   no |
| no goal                   |    – |       – |                   – |             – |    – |

start10: a note

failed: measure x: it was late
`
	if got := out.String(); got != want {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}
	width := 0
	for _, line := range strings.Split(out.String(), "\n") {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		if n := utf8.RuneCountInString(line); width == 0 {
			width = n
		} else if n != width {
			t.Errorf("a line of %d columns among ones of %d: %s", n, width, line)
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestATableThatCannotBeWritten(t *testing.T) {
	if err := writeTable(fullDisk{}, someReport()); err == nil {
		t.Error("no error")
	}
}

func TestNumbersHaveTheDigitsTheyAreWorth(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.04: "0.0", 1.26: "1.3", 99.94: "99.9", 550: "550", 550.4: "550", 12345.6: "12346", math.NaN(): "–"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestJSONHoldsEverySample(t *testing.T) {
	path := filepath.Join(t.TempDir(), "figures.json")
	if err := writeJSON(path, someReport()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var rep report
	if err := json.Unmarshal(data, &rep); err != nil {
		t.Fatal(err)
	}
	if len(rep.Rows) != 4 || len(rep.Rows[0].Bare) != 2 || rep.Rows[0].Goal != (goal{timesBare, 1.15}) || !rep.Rows[1].Worst {
		t.Errorf("read back: %+v", rep.Rows)
	}
	if bytes.Contains(data, []byte(`"goal": {
        "kind": ""`)) {
		t.Error("a row without a goal has one in JSON")
	}
	if err := writeJSON(filepath.Join(path, "no-folder"), someReport()); err == nil {
		t.Error("a file that can't be written is no error")
	}
}
