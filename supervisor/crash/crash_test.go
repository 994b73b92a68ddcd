package crash

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/txtar"
)

// describe writes a cause as testdata/outputs.txtar does.
func describe(e string, c Cause) string {
	text := fmt.Sprintf("%s => %s", e, c.Code)
	if c.Code == Unknown {
		text += "unknown"
	}
	if c.Port != 0 {
		text += fmt.Sprintf(" port=%d", c.Port)
	}
	if c.Name != "" {
		text += " name=" + c.Name
	}
	if c.File != "" {
		text += " file=" + c.File
	}
	if c.Line != 0 {
		text += fmt.Sprintf(" line=%d", c.Line)
	}
	if !c.Mendable {
		text += " blocked"
	}
	return text + "\n" + c.Text
}

func TestClassify(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/outputs.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(archive.Files) < 60 {
		t.Fatalf("only %d outputs", len(archive.Files))
	}
	for _, f := range archive.Files {
		t.Run(f.Name, func(t *testing.T) {
			lines := strings.Split(strings.TrimSuffix(string(f.Data), "\n"), "\n")
			exit, _, _ := strings.Cut(lines[0], " => ")
			var e Exit
			if _, err := fmt.Sscanf(exit, "exit %d", &e.Code); err != nil {
				e = Exit{Signal: exit}
			}
			want := lines[0] + "\n" + lines[1]
			if got := describe(exit, Classify(e, lines[2:])); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestExitInWords(t *testing.T) {
	for _, test := range []struct {
		exit         Exit
		text, signal string
	}{
		{Exit{}, "exit status 0", ""},
		{Exit{Code: 1}, "exit status 1", ""},
		{Exit{Signal: "SIGKILL"}, "killed by SIGKILL", "SIGKILL"},
		{Exit{Code: -1, Signal: "SIGSEGV"}, "killed by SIGSEGV", "SIGSEGV"},
		{Exit{Code: 137}, "exit status 137 (killed by SIGKILL)", "SIGKILL"},
		{Exit{Code: 143}, "exit status 143 (killed by SIGTERM)", "SIGTERM"},
		{Exit{Code: 128}, "exit status 128", ""},
		{Exit{Code: 255}, "exit status 255", ""},
	} {
		if got := test.exit.String(); got != test.text {
			t.Errorf("%#v: %q, want %q", test.exit, got, test.text)
		}
		if got := test.exit.SignalName(); got != test.signal {
			t.Errorf("%#v: signal %q, want %q", test.exit, got, test.signal)
		}
	}
}

// What is further back than Lines is not the cause any more.
func TestOnlyTheLastLinesCount(t *testing.T) {
	lines := []string{"Error: listen EADDRINUSE: address already in use :::3000"}
	for range Lines - 1 {
		lines = append(lines, "GET / 200")
	}
	if c := Classify(Exit{Code: 1}, lines); c.Code != AddressInUse {
		t.Errorf("within: %+v", c)
	}
	if c := Classify(Exit{Code: 1}, append(lines, "GET / 200")); c.Code != Unknown || !c.Mendable {
		t.Errorf("further back: %+v", c)
	}
	if c := Classify(Exit{Code: 1}, nil); c != (Cause{Mendable: true}) {
		t.Errorf("without output: %+v", c)
	}
}

func TestTextIsShortAndPlain(t *testing.T) {
	c := Classify(Exit{Code: 1}, []string{"Error: a\x1b[31m\x00b\x9b " + strings.Repeat("é", 10_000)})
	if len(c.Text) > maxText || !utf8.ValidString(c.Text) || !strings.HasSuffix(c.Text, "é…") {
		t.Errorf("%d bytes: %q", len(c.Text), c.Text)
	}
	if strings.ContainsAny(c.Text, "\x1b\x00") {
		t.Errorf("control characters: %q", c.Text)
	}
}

func TestAnOOMKillIsACauseOfItsOwn(t *testing.T) {
	for _, test := range []struct {
		exit Exit
		last []string
		want Code
	}{
		{Exit{Signal: "SIGKILL", OOM: true}, nil, OutOfMemory},
		{Exit{Code: 137, OOM: true}, []string{"Killed"}, OutOfMemory}, // behind a shell
		{Exit{Signal: "SIGKILL"}, nil, Unknown},                       // somebody else's doing
		{Exit{Signal: "SIGTERM", OOM: true}, nil, Unknown},            // the kernel sends nothing else
		{Exit{Code: 1, OOM: true}, []string{"panic: boom"}, Unknown},
		{Exit{Code: 1, OOM: true}, []string{"Error: listen EADDRINUSE: address already in use :::3000"}, AddressInUse},
		{Exit{OOM: true}, nil, Unknown},
	} {
		c := Classify(test.exit, test.last)
		if c.Code != test.want || c.Code == OutOfMemory && (!c.Mendable || c.Text == "") {
			t.Errorf("%+v, %q: %+v, want %q", test.exit, test.last, c, test.want)
		}
	}
}

// Patterns are compiled when first used, so a broken one would show in a crash.
func TestEveryPatternCompiles(t *testing.T) {
	for _, r := range rules {
		if r.pattern() == nil || r.near == "" {
			t.Errorf("%+v", r)
		}
	}
}

// A cause that blocks says why: policy takes an empty text for a mendable one.
// Nothing panics, whatever is printed.
func FuzzClassify(f *testing.F) {
	data, err := os.ReadFile("testdata/outputs.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range txtar.Parse(data).Files {
		f.Add(1, string(file.Data))
	}
	f.Add(127, "sh: 1: x: not found")
	f.Fuzz(func(t *testing.T, code int, output string) {
		c := Classify(Exit{Code: code}, strings.Split(output, "\n"))
		if !c.Mendable && (c.Text == "" || c.Code == Unknown) {
			t.Fatalf("%+v", c)
		}
		if len(c.Text) > maxText || c.Port < 0 || c.Port > 65535 || c.Line < 0 {
			t.Fatalf("%+v", c)
		}
		if code == 0 && c.Code != Unknown {
			t.Fatalf("exit 0: %+v", c)
		}
	})
}

func BenchmarkClassify(b *testing.B) {
	var lines []string
	for range Lines {
		lines = append(lines, "Error: something that was logged, at 10:00:00, request 200 in 12 ms")
	}
	for b.Loop() {
		Classify(Exit{Code: 1}, lines)
	}
}
