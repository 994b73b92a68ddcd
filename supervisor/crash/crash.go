// Package crash reads what a server printed. It says why one ended: from how its
// process ended and its last lines to a cause with a code, a sentence for
// people, and whether a restart can help. And it finds the user's own lines that
// a stack trace or a compiler's message names, also while the server runs on.
//
// It never guesses. Patterns are anchored on the forms in which tools print
// their own fatal errors, an error that is followed by another one is not the
// cause, and what is not recognised is Unknown: a wrong cause would keep a
// server down that a restart would have brought back, and a wrong line costs a
// person more than none. It is pure and starts from text that anybody may have
// written: a site is only a file that exists below the root, reached by no link
// out of it, and the work is bounded and linear in the output.
//
// Start reading at Classify, then the rules in rules.go. For lines: at Ended and
// Monitor, which give Reports, then Workspace.Sites, which places them; traces.go
// and compilers.go have a recogniser for each form, testdata/corpus the outputs.
// Programs that share an output are told apart in lanes.go.
package crash

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Lines is how many of a server's last lines Classify should be given: a Node
// error with its stack and dump takes 25, what npm says after it 10 more.
const Lines = 60

const (
	// maxLine is as much of a line as is looked at.
	maxLine = 4 << 10
	// maxText keeps a sentence within what a status bar and a panel can show.
	maxText = 300
)

// Exit says how a process ended.
type Exit struct {
	Code   int    // ignored when Signal is set
	Signal string // "SIGKILL"; empty when it exited
	// OOM: the kernel ended some process for lack of memory not long before.
	OOM bool
}

// signalOf names the signals that end servers, by number on every system that
// has them. A shell exits with 128 + n when signal n ended its command.
var signalOf = map[int]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT",
	8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
}

// SignalName is the signal that ended the server, also behind a shell; empty
// if none did.
func (e Exit) SignalName() string {
	if e.Signal != "" {
		return e.Signal
	}
	return signalOf[e.Code-128]
}

// String is plain words: "exit status 1", "killed by SIGKILL".
func (e Exit) String() string {
	switch name := e.SignalName(); {
	case e.Signal != "":
		return "killed by " + e.Signal
	case name != "":
		return fmt.Sprintf("exit status %d (killed by %s)", e.Code, name)
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// Code names a cause. The names are those of Exit.cause in the protocol.
type Code string

const (
	Unknown           Code = ""
	AddressInUse      Code = "address-in-use"
	ModuleNotFound    Code = "module-not-found"
	SyntaxError       Code = "syntax-error"
	MissingEnvFile    Code = "missing-env-file"
	ConnectionRefused Code = "connection-refused"
	Permission        Code = "permission"
	CommandNotFound   Code = "command-not-found"
	OutOfMemory       Code = "out-of-memory"
)

// Cause is why a server ended.
type Cause struct {
	Code Code
	// Text is a sentence without its full stop: "port 3000 is already in use".
	// Of an unknown cause it is the error that the server printed last, or empty.
	Text string
	Port int    // address-in-use, connection-refused, permission: when it was printed
	Name string // module-not-found: the module; command-not-found: the command
	File string // syntax-error, missing-env-file: the file, as printed
	Line int    // syntax-error: the line in it; 0 when unknown
	// Mendable: a restart may help. True of an unknown cause.
	Mendable bool
}

// Classify finds the cause. last are the newest lines that the run printed,
// oldest first, without escape sequences.
func Classify(e Exit, last []string) Cause {
	last = last[max(0, len(last)-Lines):]
	lines := make([]string, len(last))
	for i, line := range last {
		if len(line) > maxLine {
			line = line[:maxLine]
		}
		lines[i] = strings.TrimRight(line, " \t\r")
	}
	if e.Signal == "" && e.Code == 0 {
		// Whatever it printed, it says that it did what it was to do.
		return Cause{Mendable: true}
	}
	rules := rules
	if e.SignalName() != "" {
		// Somebody ended it, whatever it had printed; but V8 and Go abort
		// themselves when they run out of memory.
		rules = memoryRules
	}
	cause := find(rules, e.Code, lines)
	if cause.Code == Unknown && e.OOM && e.SignalName() == "SIGKILL" {
		// The kernel does not tell whom it chose to those who are not root. A
		// SIGKILL at such a time that nobody here sent is most likely its own.
		cause = Cause{Code: OutOfMemory, Text: "the system had no memory left, and the kernel most likely ended it for that", Mendable: true}
	}
	if cause.Code == Unknown && e.Signal == "" {
		switch e.Code {
		case 126:
			cause = Cause{Code: Permission, Text: "the command can't be executed"}
		case 127:
			cause = Cause{Code: CommandNotFound, Text: "a command was not found"}
		}
	}
	cause.Text = shorten(cause.Text)
	return cause
}

// find takes the last line that any rule recognises.
func find(rules []rule, exit int, lines []string) Cause {
	for i := len(lines) - 1; i >= 0; i-- {
		for _, r := range rules {
			if c, ok := r.at(exit, lines, i); ok {
				return c
			}
		}
	}
	return Cause{Mendable: true}
}

// shorten cuts a text at a rune, and makes control characters spaces: whoever
// wrote the server's output also wrote this.
func shorten(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r <= 0x9f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	if len(text) <= maxText {
		return text
	}
	n := maxText - len("…")
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "…"
}
