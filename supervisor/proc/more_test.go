//go:build linux

package proc

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseStat(t *testing.T) {
	line := "4121 (a) b (c\n) S 1 4121 4100 0 -1 4194560 1 0 0 0 7 8 9 10 20 0 3 0 123456 1000 55 18446744073709551615 1 1\n"
	got, err := parseStat([]byte(line))
	want := stat{pid: 4121, parent: 1, group: 4121, session: 4100, state: 'S', name: "a) b (c\n", start: 123456, ticks: 34, rss: 55, threads: 3}
	if err != nil || got != want {
		t.Errorf("%+v %v, want %+v", got, err, want)
	}
	for _, bad := range []string{"", "1", "1 (a", "x (a) S 1", "(a) S", "1 (a) S 1 2 3", strings.Replace(line, "123456", "12x", 1), strings.Replace(line, ") S", ") SS", 1)} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("4121 (a) b (c\n) S 1 4121 4100 0 -1 4194560 1 0 0 0 7 8 9 10 20 0 3 0 123456 1000 55 184 1 1\n"))
	f.Add([]byte("1 () Z"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseStat(b)
		if err == nil && s.name != "" && !strings.Contains(string(b), s.name) {
			t.Errorf("name %q is not in %q", s.name, b)
		}
	})
}

func TestZombieNeedsAllThreadsEnded(t *testing.T) {
	if !(stat{state: 'Z', threads: 1}).zombie() || (stat{state: 'Z', threads: 2}).zombie() || (stat{state: 'D', threads: 1}).zombie() {
		t.Error("a process is a zombie when it shows Z and has no other thread")
	}
}

func TestChildListsAgreeWithAScan(t *testing.T) {
	r := newRig(t)
	p, out := r.start("tree")
	out.pids(treeSize)
	eventually(t, "both alike", func() (bool, string) {
		_, byList, err := visit(step{pid: p.PID()})
		byScan := childrenByScan(p.PID())
		slices.Sort(byList)
		return err == nil && len(byList) == 5 && slices.Equal(byList, byScan), fmt.Sprint(byList, byScan)
	})
}

func TestVisitRefusesANewcomer(t *testing.T) {
	me, _, err := visit(step{pid: os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []step{{pid: me.pid, start: me.start + 1}, {pid: me.pid, parent: me.parent + 1}, {pid: 1 << 30}} {
		if _, _, err := visit(s); err != ErrGone {
			t.Errorf("%+v: %v, want ErrGone", s, err)
		}
	}
}

func TestClues(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    clues
		want bool
	}{
		{"session", clues{session: 10}, true},
		{"session, whatever the marker", clues{session: 10, marker: "b", marked: true}, true},
		{"marker", clues{session: 11, marker: "a", marked: true}, true},
		{"fingerprint", clues{session: 11, print: 7}, true},
		{"another's marker beats the fingerprint", clues{session: 11, marker: "b", marked: true, print: 7}, false},
		{"nothing", clues{session: 11}, false},
		{"another fingerprint", clues{session: 11, print: 8}, false},
	} {
		if got := tt.c.of(10, "a", 7); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if (clues{session: 11, marked: true}).of(10, "", 0) || (clues{session: 11}).of(10, "", 0) {
		t.Error("an empty marker or fingerprint means nobody")
	}
}

func TestPrints(t *testing.T) {
	p := prints{own: unix.Rlimit{Cur: 5000, Max: 5000}, top: 5000, span: 1250, at: 1248}
	seen := map[uint64]bool{}
	taken := func(v uint64) bool { return v == 4000 }
	for range 1249 {
		v := p.next(taken)
		if seen[v] || v >= 5000 || v < 3750 || v == 4000 {
			t.Fatalf("value %d", v)
		}
		seen[v] = true
	}
	if v := p.next(func(uint64) bool { return true }); v != 0 {
		t.Errorf("with all taken: %d", v)
	}
	var none prints
	none.set(5)
	if none.next(nil) != 0 || none.foreign(1) {
		t.Error("without room no fingerprints are given")
	}
}

func TestSameStart(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"5", "5", true}, {"5.9", "5.9", true}, {"5.9", "5", true}, {"5", "5.9", true},
		{"5.9", "5.8", false}, {"5", "6", false}, {"5.9", "6.9", false}, {"", "", false},
	} {
		if got := sameStart(tt.a, tt.b); got != tt.want {
			t.Errorf("%q %q: %v", tt.a, tt.b, got)
		}
	}
}

func TestSpared(t *testing.T) {
	for _, tt := range []struct {
		name        string
		names, args []string
		own, want   bool
	}{
		{"browser", []string{"firefox"}, nil, true, true},
		{"by its file", []string{"Web Content", "/usr/lib/firefox/firefox"}, nil, true, true},
		{"replaced by an update", []string{"x", "/opt/google/chrome/chrome (deleted)"}, nil, true, true},
		{"in the server's session", []string{"firefox"}, nil, false, false},
		{"driven by a test", []string{"chrome"}, []string{"chrome", "--remote-debugging-pipe"}, true, false},
		{"asked for", []string{"mine"}, nil, true, true},
		{"a server", []string{"node", "/usr/bin/node"}, nil, true, false},
		{"nameless", []string{""}, nil, true, false},
	} {
		if got := spared(tt.names, tt.args, []string{"mine", ""}, tt.own); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestClaim(t *testing.T) {
	at := func(pid, parent, session int, marker string) suspect {
		return suspect{stat: stat{pid: pid, parent: parent, session: session, start: uint64(pid) * 10, state: 'S'}, ours: true, marker: marker, marked: marker != ""}
	}
	printed := func(s suspect) suspect {
		s.printed = true
		return s
	}
	foreign := at(70, 20, 20, "hub-prefix-1")
	foreign.ours = false
	all := []suspect{
		at(1, 0, 1, ""),
		at(10, 1, 10, "hub-prefix-9"), // our shell, with a dead hub's marker, and ourselves below
		at(11, 10, 10, "hub-prefix-9"),
		at(20, 1, 20, "hub-prefix-1"), // a leader
		at(21, 20, 20, ""),            // in its session
		at(22, 21, 22, ""),            // below, in a session of its own
		at(30, 1, 29, "hub-prefix-2"), // its leader 29 is gone; the session is vouched for
		at(31, 1, 29, ""),
		at(40, 1, 40, "other-hub-1"),
		at(50, 1, 50, ""), // has the pid of a leader that is gone
		at(51, 50, 50, ""),
		at(60, 1, 60, ""),            // seen before
		at(80, 1, 0, "hub-prefix-3"), // from outside the pid namespace, as is 81
		at(81, 1, 0, ""),
		foreign,
		at(90, 1, 90, ""), // named by the ledger with its right start, and never ours
		at(91, 90, 90, ""),
		printed(at(92, 1, 92, "")), // the same, and it has a fingerprint
		printed(at(93, 92, 92, "")),
		printed(at(94, 1, 1, "")),   // … but leads no session
		at(95, 1, 95, "other-hub-"), // … but was started by another hub
	}
	marks := []Mark{
		{Leader: Identity{PID: 90, Start: "900"}, MarkerPrefix: "hub-prefix-"},
		{Leader: Identity{PID: 92, Start: "920"}, MarkerPrefix: "hub-prefix-"},
		{Leader: Identity{PID: 94, Start: "940"}, MarkerPrefix: "hub-prefix-"},
		{Leader: Identity{PID: 95, Start: "950"}, MarkerPrefix: "hub-prefix-"},
		{Leader: Identity{PID: 20, Start: "200"}, MarkerPrefix: "hub-prefix-"},
		{Leader: Identity{PID: 29, Start: "1"}, MarkerPrefix: "hub-prefix-"},
		{Leader: Identity{PID: 50, Start: "499"}, MarkerPrefix: "hub-prefix-"},
		{MarkerPrefix: "hub-prefix-"},
	}
	var got []int
	for _, s := range claim(all, marks, known{60: 600, 40: 1}, 11) {
		got = append(got, s.pid)
	}
	if want := []int{20, 21, 22, 30, 31, 60, 80, 92, 93}; !slices.Equal(got, want) {
		t.Errorf("claimed %v, want %v", got, want)
	}
}

func TestBelievable(t *testing.T) {
	const prefix = "long-enough"
	ok := Identity{PID: 5, Start: "1", Boot: bootID()}
	for _, tt := range []struct {
		name string
		in   Mark
		want []Mark
	}{
		{"whole", Mark{ok, prefix}, []Mark{{ok, prefix}}},
		{"short prefix", Mark{ok, "short"}, []Mark{{ok, ""}}},
		{"another boot", Mark{Identity{5, "1", "old"}, prefix}, nil},
		{"no start", Mark{Identity{5, "", bootID()}, prefix}, nil},
		{"no pid", Mark{Identity{0, "1", bootID()}, prefix}, nil},
		{"any start of a hub", Mark{Identity{}, prefix}, []Mark{{Identity{}, prefix}}},
		{"nothing at all", Mark{}, nil},
		{"short prefix alone", Mark{Identity{}, "short"}, nil},
	} {
		if got := believable([]Mark{tt.in}); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestSignalNames(t *testing.T) {
	for name, want := range map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "term": syscall.SIGTERM, " Int ": syscall.SIGINT, "KILL": syscall.SIGKILL, "SIGUSR2": syscall.SIGUSR2} {
		if got, err := ParseSignal(name); err != nil || got != want {
			t.Errorf("%q: %v %v", name, got, err)
		}
	}
	for _, bad := range []string{"", "15", "SIGNOPE", "SIGSIGTERM"} {
		if _, err := ParseSignal(bad); err == nil {
			t.Errorf("%q was understood", bad)
		}
	}
	if SignalName(syscall.SIGKILL) != "SIGKILL" || SignalName(0) != "" || SignalName(40) != "signal 40" {
		t.Error("names", SignalName(syscall.SIGKILL), SignalName(40))
	}
}

func TestReadable(t *testing.T) {
	if got := readable("a\x1b[31m\nb\xffc\u009bd é"); got != "a?[31m?b?c?d é" {
		t.Errorf("%q", got)
	}
}

func TestMarkedEnv(t *testing.T) {
	in := []string{"A=1", Marker + "=x", Marker + "S=kept"}
	if got := markedEnv(in, ""); !slices.Equal(got, []string{"A=1", Marker + "S=kept"}) {
		t.Errorf("%q", got)
	}
	if in[1] != Marker+"=x" {
		t.Error("the caller's environment was changed")
	}
}
