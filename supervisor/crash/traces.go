package crash

import (
	"slices"
	"strings"
)

// traces recognise what runtimes print of an error that nobody caught.
var traces = []recogniser{
	{[]string{":"}, nodeUncaught},
	{[]string{"Error", "Exception"}, jsTrace},
	{[]string{"Traceback (most recent call last):"}, pythonTraceback},
	{[]string{`  File "`}, pythonSyntax},
	{[]string{"panic: ", "fatal error: "}, goPanic},
	{[]string{"thread '"}, rustPanic},
	{[]string{":in "}, rubyException},
	{[]string{"atal error: "}, phpException},
	{[]string{"Exception", "Error"}, javaException},
}

// A place as JavaScript engines print it, with what is before it.
const jsPlace = `((?:[A-Za-z]:[\\/]|[a-z][\w+.-]*:/*)?[^\s():][^():]*(?:\([\w-]+\)[^():]*)?):(\d+):(\d+)`

var (
	jsFrame = expr(`^\s+at (?:(?:async |new )*[^\s(][^()]*(?:\[as [^\]]*\] )?\(|async |)` + jsPlace + `\)?(?: \{|,)?$`)
	// jsAt is any line of a stack, also without a place.
	jsAt = expr(`^\s+(?:at \S|\.\.\. \d+ (?:lines matching|more))`)
	// jsMapped is what Node 12 to 16 print below a frame that has a source map.
	jsMapped = expr(`^\s+-> ` + jsPlace + `$`)
	jsHead   = expr(`^(?:(?:Uncaught |error: Uncaught )(?:\(in promise\) )?)?((?:[\w$]+\.)*[\w$]*(?:Error|Exception)\b(?: \[\w+\])?(?:: .*|:)?)$`)
	// jsSource is the head of Node's excerpt: a file and a line, and no more.
	jsSource = expr(`^((?:file://)?(?:[A-Za-z]:[\\/]|/|node:|evalmachine|\w)[^\s:]*(?: [^\s:]+)*):(\d+)$`)
	carets   = expr(`^\s*\^+$`)
)

// nodeUncaught is Node's form: file:line, the source line, a caret, the error
// with its stack, an empty line and Node's version.
func nodeUncaught(lines []string, i int) (block, bool) {
	if c := lines[i][len(lines[i])-1]; c < '0' || c > '9' {
		return block{}, false
	}
	m := jsSource().FindStringSubmatch(lines[i])
	if m == nil || i+2 >= len(lines) {
		return block{}, false
	}
	j := i + 2
	if !carets().MatchString(lines[j]) {
		return block{}, false
	}
	head := Frame{File: m[1], Line: number(m[2]), Column: strings.IndexByte(lines[j], '^') + 1}
	for j++; j < len(lines) && lines[j] == ""; j++ {
		if j > i+6 {
			return block{}, false
		}
	}
	if j == len(lines) {
		return block{}, false
	}
	b := block{Report: Report{Tool: "node", Message: lines[j]}, kind: unhandled}
	if b.Message == "Uncaught:" && j+1 < len(lines) {
		j++
		b.Message = "Uncaught " + lines[j]
	}
	frames, end, ok := jsStack(lines, j+1)
	if !ok {
		return block{}, false // what a compiler says, inside
	}
	// Of source that does not parse only the head tells where; of all else it
	// may be the line that threw an older error again.
	if strings.HasPrefix(b.Message, "SyntaxError") && !strings.Contains(head.File, "node:") {
		frames = append([]Frame{head}, frames...)
	} else {
		frames = append(frames, head)
	}
	b.Frames, b.end = frames, end
	return b, true
}

// jsTrace is an error's name and message with its stack, as console.error,
// Bun and Deno print it.
func jsTrace(lines []string, i int) (block, bool) {
	m := jsHead().FindStringSubmatch(lines[i])
	if m == nil {
		return block{}, false
	}
	frames, end, ok := jsStack(lines, i+1)
	if !ok || len(frames) == 0 {
		return block{}, false
	}
	b := block{Report: Report{Tool: "node", Message: m[1], Frames: frames}, kind: traced, end: end}
	// Node ends with its version only when it ended because of the error.
	for j := end; j < len(lines) && j < end+3; j++ {
		if strings.HasPrefix(lines[j], "Node.js v") {
			b.kind, b.end = unhandled, j+1
		}
	}
	if strings.HasPrefix(lines[i], "error: Uncaught ") { // Deno
		b.kind = unhandled
	}
	return b, true
}

// jsStack reads what comes after the first line of an error: the rest of its
// message, the stack, and the error's other properties, causes among them. It
// is false where the message is a compiler's.
func jsStack(lines []string, i int) (frames []Frame, end int, ok bool) {
	j := i
	for ; j < len(lines) && !jsAt().MatchString(lines[j]); j++ {
		if j >= i+ahead || strings.HasPrefix(lines[j], "Node.js v") || j > i && jsHead().MatchString(lines[j]) {
			return nil, i, true // an error without a stack
		}
		if compilerAt(lines, j) {
			return nil, 0, false
		}
	}
	end = i
	for ; j < len(lines); j++ {
		line := lines[j]
		if m := jsFrame().FindStringSubmatch(line); m != nil {
			frames = append(frames, Frame{File: m[1], Line: number(m[2]), Column: number(m[3])})
		} else if m := jsMapped().FindStringSubmatch(line); m != nil && len(frames) > 0 {
			frames[len(frames)-1] = Frame{File: m[1], Line: number(m[2]), Column: number(m[3])}
		} else if !jsAt().MatchString(line) && line != "Emitted 'error' event on Server instance at:" {
			break
		}
		end = j + 1
	}
	if end == i || !strings.HasSuffix(lines[end-1], "{") {
		return frames, end, true
	}
	// { code: …, [cause]: Error … } up to the brace in the first column.
	for ; j < len(lines) && j < end+3*ahead; j++ {
		if m := jsFrame().FindStringSubmatch(lines[j]); m != nil {
			frames = append(frames, Frame{File: m[1], Line: number(m[2]), Column: number(m[3])})
		}
		if lines[j] == "}" {
			return frames, j + 1, true
		}
	}
	return frames, end, true
}

var (
	pythonFile  = expr(`^  File "([^"]+)", line (\d+)(, in .+)?$`)
	pythonError = expr(`^([A-Za-z_][\w.]*)(?:: (.*))?$`)
	// What may follow the first line of a message: pydantic's names of fields.
	pythonMore = expr(`^(?:\s.*|[\w.]+)?$`)
	unparsable = expr(`^(?:SyntaxError|IndentationError|TabError)(?:: |$)`)
	chained    = expr(`^(?:The above exception was the direct cause of the following exception:|During handling of the above exception, another exception occurred:)$`)
	// threaded is the line before the trace of a thread that died alone.
	threaded = expr(`^Exception in thread |^Exception ignored in: |^Task exception was never retrieved|^future: <`)
	// worker is what reloaders say of the process that they wait for.
	worker = expr(`^(?:Process SpawnProcess-\d+:|Exception in thread django-main-thread:)$`)
)

const pythonStart = "Traceback (most recent call last):"

// pythonTraceback reads a traceback and those it is chained to: the last was
// raised last.
func pythonTraceback(lines []string, i int) (block, bool) {
	if lines[i] != pythonStart {
		return pythonGroup(lines, i)
	}
	var frames []Frame // those of earlier tracebacks in the chain
	for j := i; ; {
		own, message, end, ok := pythonOne(lines, j)
		if !ok {
			return block{}, false
		}
		frames = append(own, frames...)
		next := end
		for next < len(lines) && next < end+4 && (lines[next] == "" || chained().MatchString(lines[next])) {
			next++
		}
		if next > end && next < len(lines) && lines[next] == pythonStart {
			j = next
			continue
		}
		b := block{Report: Report{Tool: "python", Message: message, Frames: frames}, kind: traced, end: end}
		switch {
		case unparsable().MatchString(message):
			b.kind = fault
		case strings.HasPrefix(message, "KeyboardInterrupt"), strings.HasPrefix(message, "SystemExit"):
			return block{}, false
		case i > 0 && worker().MatchString(lines[i-1]):
			b.kind = fault // of no compiler, but it holds until the reloader begins anew
		case i > 0 && threaded().MatchString(lines[i-1]):
			return block{}, false
		}
		if len(b.Frames) == 0 {
			return block{}, false
		}
		return b, true
	}
}

// pythonOne reads one traceback: its frames, innermost first, and the message.
func pythonOne(lines []string, i int) (frames []Frame, message string, end int, ok bool) {
	j := i + 1
	for ; j < len(lines) && strings.HasPrefix(lines[j], "  "); j++ {
		if m := pythonFile().FindStringSubmatch(lines[j]); m != nil {
			frames = append(frames, pythonPlace(m))
		}
	}
	if j == len(lines) || !pythonError().MatchString(lines[j]) {
		return nil, "", 0, false
	}
	message = lines[j]
	slices.Reverse(frames)
	for j++; j < len(lines) && lines[j] != "" && pythonMore().MatchString(lines[j]); j++ {
	}
	return frames, message, j, true
}

// pythonPlace is a frame. Python prints no column, and shows the line without
// its indentation, so that the carets below do not tell it either.
func pythonPlace(m []string) Frame { return Frame{File: m[1], Line: number(m[2])} }

// pythonSyntax is a program whose first file does not parse: no traceback.
func pythonSyntax(lines []string, i int) (block, bool) {
	m := pythonFile().FindStringSubmatch(lines[i])
	if m == nil || m[3] != "" {
		return block{}, false
	}
	for j := i + 1; j < len(lines) && j < i+5; j++ {
		if unparsable().MatchString(lines[j]) {
			return block{Report: Report{Tool: "python", Message: lines[j], Frames: []Frame{pythonPlace(m)}}, kind: fault, end: j + 1}, true
		}
		if !strings.HasPrefix(lines[j], "  ") {
			break
		}
	}
	return block{}, false
}

var groupMargin = expr(`^\s+[|+][ -]?`)

// pythonGroup is a group of exceptions: the first of them is the report.
func pythonGroup(lines []string, i int) (block, bool) {
	if strings.TrimLeft(lines[i], " +") != "Exception Group "+pythonStart {
		return block{}, false
	}
	var frames []Frame
	message := ""
	j := i + 1
	for ; j < len(lines) && groupMargin().MatchString(lines[j]); j++ {
		text := strings.TrimLeft(lines[j], " |")
		if m := pythonFile().FindStringSubmatch("  " + text); m != nil && message == "" {
			frames = append(frames, pythonPlace(m))
		} else if m := pythonError().FindStringSubmatch(text); m != nil && message == "" && m[2] != "" && !strings.HasSuffix(m[1], "ExceptionGroup") && strings.HasPrefix(strings.TrimLeft(lines[j], " "), "| ") {
			if !strings.HasPrefix(strings.TrimLeft(lines[j], " "), "|  ") {
				message = text
			}
		}
	}
	slices.Reverse(frames)
	if message == "" || len(frames) == 0 {
		return block{}, false
	}
	return block{Report: Report{Tool: "python", Message: message, Frames: frames}, kind: traced, end: j}, true
}

var (
	goPanicked  = expr(`^(?:panic: |fatal error: )(.+)$`)
	goGoroutine = expr(`^goroutine \d+ (?:gp=\S+ m=\S+ (?:mp=\S+ )?)?\[.*\]:$`)
	goFrame     = expr(`^\t(.+\.(?:go|s)):(\d+)(?: \+0x[0-9a-f]+)?$`)
	goCall      = expr(`^(?:created by )?[\w./*()\[\]{}·%,-]+(?:\(.*\)|\.\S+)(?: in goroutine \d+)?$`)
)

// goPanic is a panic or an error of the runtime, with the stack of the first
// goroutine: it is the one that panicked.
func goPanic(lines []string, i int) (block, bool) {
	m := goPanicked().FindStringSubmatch(lines[i])
	if m == nil {
		return block{}, false
	}
	b := block{Report: Report{Tool: "go", Message: lines[i]}, kind: unhandled}
	j := i + 1
	for ; j < len(lines) && !goGoroutine().MatchString(lines[j]); j++ {
		if j > i+ahead {
			return block{}, false
		}
		if text, again := strings.CutPrefix(lines[j], "\tpanic: "); again {
			b.Message = "panic: " + text
		}
	}
	for j++; j < len(lines) && lines[j] != ""; j++ {
		if f := goFrame().FindStringSubmatch(lines[j]); f != nil {
			b.Frames = append(b.Frames, Frame{File: f[1], Line: number(f[2])})
		} else if !goCall().MatchString(lines[j]) && !strings.HasPrefix(lines[j], "...") {
			break
		}
	}
	// A panic in a deferred call: the frames before the second panic's are of
	// the deferred call, which is where it panicked last.
	b.end = j
	return b, len(b.Frames) > 0
}

var (
	rustPanicked = expr(`^thread '[^']*' (?:\(\d+\) )?panicked at (.+):(\d+):(\d+):$`)
	rustOld      = expr(`^thread '[^']*' panicked at '(.*)', ([^']+):(\d+):(\d+)$`)
	rustFrame    = expr(`^\s+at (\S.*):(\d+):(\d+)$`)
	rustCall     = expr(`^\s+\d+: `)
)

// rustPanic is a thread's panic. It is the end of the process only where
// nothing came after it.
func rustPanic(lines []string, i int) (block, bool) {
	b := block{Report: Report{Tool: "rust"}, kind: traced}
	j := i + 1
	if m := rustPanicked().FindStringSubmatch(lines[i]); m != nil {
		if j == len(lines) {
			return block{}, false
		}
		b.Message, b.Frames = "panicked: "+lines[j], []Frame{{File: m[1], Line: number(m[2]), Column: number(m[3])}}
		for j++; j < len(lines) && j < i+ahead && !strings.HasPrefix(lines[j], "note: ") && lines[j] != "stack backtrace:"; j++ {
		}
		if j < len(lines) && !strings.HasPrefix(lines[j], "note: ") && lines[j] != "stack backtrace:" {
			j = i + 2
		}
	} else if m := rustOld().FindStringSubmatch(lines[i]); m != nil {
		b.Message, b.Frames = "panicked: "+m[1], []Frame{{File: m[2], Line: number(m[3]), Column: number(m[4])}}
	} else {
		return block{}, false
	}
	if j < len(lines) && lines[j] == "stack backtrace:" {
		for j++; j < len(lines); j++ {
			if m := rustFrame().FindStringSubmatch(lines[j]); m != nil {
				b.Frames = append(b.Frames, Frame{File: m[1], Line: number(m[2]), Column: number(m[3])})
			} else if !rustCall().MatchString(lines[j]) {
				break
			}
		}
	}
	b.end = j
	return b, true
}

var (
	rubyHead   = expr("^(?:\\S*ruby\\S*: )?((?:[A-Za-z]:)?[^\\s:]+):(\\d+):in [`'][^']*': (.*)$")
	rubyFrom   = expr("^\t+(?:\\s*\\d+: )?from ((?:[A-Za-z]:)?[^\\s:]+):(\\d+)(?::in [`'].*')?$")
	rubyClass  = expr(`\((?:[A-Z]\w*::)*[A-Z]\w*\)$`)
	rubySyntax = expr(`^((?:[A-Za-z]:)?[^\s:]+):(\d+): (syntax errors?\b.+)$`)
)

// rubyException is Ruby's form of what nobody rescued: a place, the message
// with its class, an excerpt, and where it was called from. The message's class
// stands at the end of its first line.
func rubyException(lines []string, i int) (block, bool) {
	m := rubyHead().FindStringSubmatch(lines[i])
	if m == nil || !rubyClass().MatchString(m[3]) {
		return block{}, false
	}
	b := block{Report: Report{Tool: "ruby", Message: m[3], Frames: []Frame{{File: m[1], Line: number(m[2])}}}, kind: unhandled, end: i + 1}
	if s := rubySyntax().FindStringSubmatch(m[3]); s != nil {
		b.kind, b.Message = fault, s[3]
		b.Frames = []Frame{{File: s[1], Line: number(s[2])}}
	}
	for j := i + 1; j < len(lines) && j < b.end+ahead; j++ {
		if f := rubyFrom().FindStringSubmatch(lines[j]); f != nil {
			b.Frames = append(b.Frames, Frame{File: f[1], Line: number(f[2])})
			b.end = j + 1
		} else if f := rubyHead().FindStringSubmatch(lines[j]); f != nil { // its cause
			b.Frames = append(b.Frames, Frame{File: f[1], Line: number(f[2])})
			b.end = j + 1
		}
	}
	return b, true
}

var (
	phpHead   = expr(`^(?:PHP )?Fatal error: +Uncaught (.+) in (.+):(\d+)$`)
	phpFrame  = expr(`^#\d+ (.+)\((\d+)\): `)
	phpThrown = expr(`^  thrown in (.+) on line (\d+)$`)
)

// phpException is what PHP prints of an exception that nobody caught. Its web
// server prints that with a time before it: an error of a request.
func phpException(lines []string, i int) (block, bool) {
	if !strings.HasPrefix(lines[i], "PHP Fatal error: ") && !strings.HasPrefix(lines[i], "Fatal error: ") {
		return block{}, false
	}
	m := phpHead().FindStringSubmatch(lines[i])
	if m == nil {
		return block{}, false
	}
	b := block{Report: Report{Tool: "php", Message: m[1], Frames: []Frame{{File: m[2], Line: number(m[3])}}}, kind: unhandled, end: i + 1}
	for j := i + 1; j < len(lines) && j < b.end+ahead; j++ {
		if f := phpFrame().FindStringSubmatch(lines[j]); f != nil {
			b.Frames = append(b.Frames, Frame{File: f[1], Line: number(f[2])})
			b.end = j + 1
		}
		if phpThrown().MatchString(lines[j]) {
			b.end = j + 1
			return b, true
		}
	}
	return block{}, false
}

var (
	javaHead  = expr(`^(?:Exception in thread "([^"]*)" )?((?:[a-z_]\w*\.)+[A-Z][\w$.]*(?:: .*)?)$`)
	javaFrame = expr(`^\tat (?:[\w.-]+(?:@[\w.+-]+)?/+|[\w.]+//)?((?:[\w$]+\.)*)[\w$]+\.[\w$<>-]+\((\w+\.(?:java|kt|scala|groovy)):(\d+)\)`)
	javaCause = expr(`^Caused by: (.+)$`)
	javaOther = expr(`^\t(?:at \S|\.\.\. \d+ (?:more|common frames))|^\tSuppressed: |^\t\t`)
)

// javaException is a throwable with its stack and its causes. Frameworks wrap
// what the program threw, so the last cause comes first.
func javaException(lines []string, i int) (block, bool) {
	m := javaHead().FindStringSubmatch(lines[i])
	if m == nil || i+1 >= len(lines) || !strings.HasPrefix(lines[i+1], "\t") && !javaCause().MatchString(lines[i+1]) {
		return block{}, false
	}
	b := block{Report: Report{Tool: "java", Message: m[2]}, kind: traced}
	switch {
	case m[1] == "main":
		b.kind = unhandled
	case m[1] != "":
		return block{}, false // another thread's: the program goes on
	}
	var own []Frame
	j := i + 1
	for ; j < len(lines); j++ {
		if f := javaFrame().FindStringSubmatch(lines[j]); f != nil {
			own = append(own, Frame{File: strings.ReplaceAll(f[1], ".", "/") + f[2], Line: number(f[3]), Package: true})
		} else if c := javaCause().FindStringSubmatch(lines[j]); c != nil {
			b.Frames, own = append(own, b.Frames...), nil
			b.Message = c[1]
		} else if !javaOther().MatchString(lines[j]) {
			break
		}
	}
	b.Frames = append(own, b.Frames...)
	b.end = j
	return b, len(b.Frames) > 0
}
