package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/devside/devside/supervisor/spec"
)

// someProgram stands for devside where it is not run.
func someProgram(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

func TestOptions(t *testing.T) {
	exe := someProgram(t)
	o, err := readOptions([]string{"--devside", exe, "--quick", "--only", "start10, stop,", "--runs", "3", "--json", "x"}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if o.devside != exe || !o.quick || o.runs != 3 || o.json != "x" || !slices.Equal(o.only, []string{"start10", "stop"}) {
		t.Errorf("read %+v", o)
	}
	t.Chdir(filepath.Dir(exe))
	if o, err = readOptions([]string{"--devside", "./" + filepath.Base(exe)}, &bytes.Buffer{}); err != nil || o.devside != exe {
		t.Errorf("a relative path became %q (%v), want %s", o.devside, err, exe)
	}
}

func TestUsage(t *testing.T) {
	exe := someProgram(t)
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"help":           {[]string{"--help"}, exitDone, "--only takes names"},
		"unknown flag":   {[]string{"--fast"}, exitUsage, "-fast"},
		"a word":         {[]string{"--devside", exe, "start10"}, exitUsage, `"start10" is not a flag`},
		"too many runs":  {[]string{"--devside", exe, "--runs", "21"}, exitUsage, "--runs takes 1 to 20"},
		"no devside":     {[]string{"--devside", filepath.Join(t.TempDir(), "devside")}, exitUsage, "make build"},
		"no such row":    {[]string{"--devside", exe, "--only", "stort"}, exitUsage, "start10, stop10"},
		"negative count": {[]string{"--devside", exe, "--runs", "-1"}, exitUsage, "--runs takes 1 to 20"},
	} {
		var out, errOut bytes.Buffer
		if code := run(t.Context(), c.args, &out, &errOut); code != c.code || !strings.Contains(errOut.String(), c.says) {
			t.Errorf("%s: exit %d, said %q; want %d and %q", name, code, errOut.String(), c.code, c.says)
		}
		if out.Len() > 0 {
			t.Errorf("%s: wrote %q to standard output", name, out.String())
		}
	}
}

func TestRowsHaveNamesOfTheirOwn(t *testing.T) {
	names := allRows(measurements)
	slices.Sort(names)
	if unique := slices.Compact(slices.Clone(names)); len(unique) != len(names) {
		t.Errorf("two rows have one name: %v", names)
	}
	for only, want := range map[string]int{"start10": 1, "start": 3, "left": 5, "start10,lag50": 2, "": len(measurements)} {
		var list []string
		if only != "" {
			list = strings.Split(only, ",")
		}
		if got := len(choose(measurements, list)); got != want {
			t.Errorf("--only %q chooses %d measurements, want %d", only, got, want)
		}
	}
}

// TestDevsideUnderstandsTheProjects: what the bench writes is what devside reads.
func TestDevsideUnderstandsTheProjects(t *testing.T) {
	servers := newSide("d", []server{
		{port: 4001, after: 100 * time.Millisecond}, {port: 4002, http: true, family: true, stubborn: true},
	}).servers
	for name, set := range map[string]settings{
		"a crowd":     {extra: patient},
		"a chain":     {chain: true, extra: patient},
		"crashes":     {extra: atOnce},
		"HTTP probes": {extra: "ready: {http: /, every: 1s, within: 60s}\n"},
		"grace":       {extra: patient + "stop: {grace: 500ms}\n"},
	} {
		text := configText("/a folder/bench", servers, set)
		files := fstest.MapFS{"devside.yaml": &fstest.MapFile{Data: []byte(text), Mode: fs.FileMode(0o600)}}
		l := spec.Load(files, "x", func(string) string { return "" })
		if len(l.Issues) > 0 {
			t.Errorf("%s: %+v\n%s", name, l.Issues, text)
			continue
		}
		got := l.Project.Servers
		if len(got) != 2 || got[0].Name != "d0" || got[1].Ports[0].Number != 4002 {
			t.Errorf("%s: read %+v", name, got)
			continue
		}
		for i, s := range got {
			if want := append([]string{"/a folder/bench"}, servers[i].argv()...); !slices.Equal(s.Command, want) {
				t.Errorf("%s: command %q, want %q", name, s.Command, want)
			}
		}
		if deps := got[1].DependsOn; slices.Equal(deps, []string{"d0"}) != set.chain {
			t.Errorf("%s: d1 depends on %v", name, deps)
		}
		if set.extra == atOnce && (!got[0].Restart.DelayIsZero || got[0].Restart.MaxPerHour < 2*(mostRuns+1)) {
			t.Errorf("%s: the restarts are %+v", name, got[0].Restart)
		}
	}
}

func TestServersReadTheWordsTheyAreStartedWith(t *testing.T) {
	for _, want := range []server{
		{name: "b0", port: 4000},
		{name: "b1", port: 4001, after: 250 * time.Millisecond, http: true},
		{name: "b2", port: 4002, family: true, stubborn: true},
		{name: "b3", port: 4003, flood: 1000},
	} {
		if got, err := readServer(want.argv()[1:]); err != nil || got != want {
			t.Errorf("read %+v (%v), want %+v", got, err, want)
		}
	}
	for _, bad := range [][]string{nil, {"b0"}, {"b0", "x"}, {"b0", "1", "after=soon"}, {"b0", "1", "fast"}, {"b0", "1", "flood=much"}} {
		if _, err := readServer(bad); err == nil {
			t.Errorf("%q was understood", bad)
		}
	}
}

func TestNews(t *testing.T) {
	want := event{Kind: failed, Name: "d7", PID: 4711, At: time.Unix(1, 2), Why: "bind: address already in use"}
	got, err := readEvent(want.String())
	if err != nil || !got.At.Equal(want.At) || got.Why != want.Why || got.Name != want.Name || got.PID != want.PID || got.Kind != want.Kind {
		t.Errorf("read %+v (%v), want %+v", got, err, want)
	}
	for _, bad := range []string{"", "opened", "opened d7 x 1 ", "opened d7 1 x "} {
		if _, err := readEvent(bad); err == nil {
			t.Errorf("%q was understood", bad)
		}
	}
	if at := last(map[string]event{"a": {At: time.Unix(5, 0)}, "b": {At: time.Unix(7, 0)}, "c": {At: time.Unix(6, 0)}}); !at.Equal(time.Unix(7, 0)) {
		t.Errorf("the last of them is %v", at)
	}
}

func TestResults(t *testing.T) {
	ready := serverResult{Name: "d0", OK: true, State: "ready"}
	if err := (startResult{[]serverResult{ready}}).all("ready", 1); err != nil {
		t.Error(err)
	}
	if err := (startResult{[]serverResult{ready}}).all("ready", 2); err == nil {
		t.Error("one of two is enough")
	}
	if err := (startResult{[]serverResult{{Name: "d0", State: "blocked"}}}).all("ready", 1); err == nil || !strings.Contains(err.Error(), "d0 is blocked") {
		t.Errorf("error %v", err)
	}
}

func TestLinesAreCountedByTheirProcess(t *testing.T) {
	line := func(pid, i int) string {
		s := fmt.Sprintf("%d %d ", pid, i)
		return s + strings.Repeat("x", floodLine-1-len(s)) + "\n"
	}
	p := &project{home: t.TempDir()}
	dir := filepath.Join(p.home, "state", "p-1", "servers")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	fmt.Fprint(z, line(7, 1), line(8, 1), "7 devside says something\n")
	if err := errors.Join(z.Close(), os.MkdirAll(dir, 0o700),
		os.WriteFile(filepath.Join(dir, "d0@000001.log.gz"), packed.Bytes(), 0o600),
		os.WriteFile(filepath.Join(dir, "d0.log"), []byte(line(7, 2)+line(7, 3)[:50]), 0o600)); err != nil {
		t.Fatal(err)
	}
	if n, err := p.linesKept("d0", 7); n != 2 || err != nil {
		t.Errorf("%d lines (%v), want 2", n, err)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var tl tail
	for range 100 {
		tl.Write(bytes.Repeat([]byte("x"), 100))
	}
	tl.Write([]byte("the end"))
	if got := tl.String(); len(got) != tailBytes || !strings.HasSuffix(got, "xthe end") {
		t.Errorf("kept %d bytes, ending in %q", len(got), got[max(0, len(got)-20):])
	}
}

func TestRemoveTreeRemovesLinksAndNotWhatTheyNameIsOutside(t *testing.T) {
	outside := t.TempDir()
	kept := filepath.Join(outside, "kept")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "run")
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "a", "link")); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("what a link named is gone: %v", err)
	}
	if removeTree(dir) == nil {
		t.Error("a folder that does not exist is no error")
	}
}

func TestPause(t *testing.T) {
	if err := pause(t.Context(), time.Microsecond); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if pause(ctx, time.Hour) == nil {
		t.Error("it did not end with the context")
	}
}
