package crash

import (
	"slices"
	"strings"
)

// A Report is one error as a tool printed it: what it says, and where. Its
// files are as printed; Workspace.Sites finds them.
type Report struct {
	Tool    string // "node", "python", "tsc", …
	Message string // one line, at most maxText bytes
	// Frames are the places it names, the most telling first; never empty.
	Frames []Frame
}

// Frame is one place that a report names.
type Frame struct {
	File string // as printed
	Line int    // from 1
	// Column counts from 1, in whatever unit the tool counts; 0: not printed.
	Column int
	// Package: File is a name below a source folder, not a path; Java prints no more.
	Package bool
}

const (
	// ReportLines is how many of a run's last lines Ended should be given: the
	// errors of a build, or a stack with what npm says after it.
	ReportLines = 300
	// maxReports and maxFrames bound what one look finds.
	maxReports = 20
	maxFrames  = 30
	// maxWidth is as much of a line, without escape sequences, as is looked at:
	// a place and a message fit.
	maxWidth = 1 << 10
	// ahead bounds how far a recogniser looks for what belongs to a line: a
	// message of several lines, an excerpt of the source.
	ahead = 30
)

// Ended finds the error that a run ended with, and what compilers had found
// wrong until then. last are the newest lines that it printed, oldest first.
//
// A stack trace counts if it is in the form in which a tool prints what nobody
// caught, or if nothing but what npm and its like say came after it: a server
// also prints the errors that it has handled. Nothing counts of a run that
// ended well, or that somebody ended by a signal.
func Ended(e Exit, last []string) []Report {
	switch e.SignalName() {
	case "", "SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL", "SIGTRAP", "SIGFPE":
	default:
		return nil
	}
	if e.Signal == "" && e.Code == 0 {
		return nil
	}
	var all []Report
	for _, l := range lanes(plain(last[max(0, len(last)-ReportLines):])) {
		g := gather(l.lines, request{})
		if p := g.pending; p != nil && (p.kind == unhandled || onlyEpilogue(l.lines[p.end:])) {
			g.reports = append(g.reports[:min(len(g.reports), maxReports-1)], p.Report)
		}
		all = append(all, g.reports...)
	}
	return all[:min(len(all), maxReports)]
}

// kind says what a block of lines is.
type kind int

const (
	fault     kind = iota // a compiler's message about a source file
	unhandled             // an error in the form that a tool prints when nobody caught it
	traced                // a stack trace that may be of an error that was handled
	anew                  // a tool says that it begins anew, or that all is well
	died                  // a watcher says that its program has ended, and waits
	answered              // a server says how it answered a request
)

// block is a piece of output that means something.
type block struct {
	Report
	kind       kind
	start, end int    // lines [start, end)
	path       string // answered: of the request
	status     int    // answered: 200
}

// gathered is what counts in some output.
type gathered struct {
	// reports are of compilers, and of programs that died below a watcher.
	reports []Report
	// pending is the last trace after them that is neither.
	pending *block
	// died: a watcher has said that its program ended, and the error is not seen
	// yet. It says so on another stream, which may be read first.
	died bool
	// anew: something before all of that said that it begins anew.
	anew bool
	// used is the line after the last one that any of this, but pending, is of.
	used int
	// met is the request that met the newest of the reports.
	met request
}

// request is one that met an error of a compiler that works when it is asked.
// Some of those say nothing when the source is mended, but that the same request
// is answered well.
type request struct {
	awaited bool   // there is an error, and no answer after it yet
	path    string // that was answered with 500 or more, right after the error; empty: none
}

func gather(lines []string, met request) gathered {
	g := gathered{met: met}
	for _, b := range blocks(lines) {
		switch b.kind {
		case anew:
			g = gathered{anew: true, used: b.end}
		case fault:
			g.reports, g.used, g.met = append(g.reports, b.Report), b.end, request{awaited: true}
		case answered:
			switch {
			case g.met.awaited && b.status >= 500:
				g.met = request{path: b.path}
			case g.met.path == b.path && b.path != "" && b.status < 400:
				g = gathered{anew: true, used: b.end}
			}
		case unhandled, traced:
			if g.pending = &b; g.died && b.kind == unhandled {
				g.reports, g.pending, g.died, g.used = append(g.reports, b.Report), nil, false, b.end
			}
		case died:
			g.died = true
			if p := g.pending; p != nil && onlyEpilogue(lines[p.end:b.start]) {
				g.reports, g.pending, g.died, g.used = append(g.reports, p.Report), nil, false, b.end
			}
		}
	}
	g.reports = g.reports[:min(len(g.reports), maxReports)]
	return g
}

// A recogniser looks at what begins at line i. It looks at most `ahead` lines
// further than the end of what it returns, so that all of them together take
// time linear in the output.
type recogniser struct {
	// near: the line holds one of these, whenever the recogniser would take it.
	near []string
	at   func(lines []string, i int) (block, bool)
}

// blocks cuts output into what means something.
func blocks(lines []string) []block {
	var out []block
	for i := 0; i < len(lines); {
		b, ok := blockAt(lines, i)
		if !ok {
			i++
			continue
		}
		b.start = i
		b.Message = shorten(strings.TrimSpace(b.Message))
		b.Frames = b.Frames[:min(len(b.Frames), maxFrames)]
		out = append(out, b)
		i = max(b.end, i+1)
	}
	return out
}

func blockAt(lines []string, i int) (block, bool) {
	line := lines[i]
	if line == "" {
		return block{}, false
	}
	for _, r := range recognisers {
		if !slices.ContainsFunc(r.near, func(s string) bool { return strings.Contains(line, s) }) {
			continue
		}
		if b, ok := r.at(lines, i); ok {
			return b, true
		}
	}
	return block{}, false
}

// recognisers, compilers first: what a compiler says is often wrapped in an
// error of the program that called it.
var recognisers = slices.Concat(stateLines, compilers, traces)

// one is a recogniser of a single line.
func one(near, pattern string, make func(m []string) block) recogniser {
	re := expr(pattern)
	return recogniser{[]string{near}, func(lines []string, i int) (block, bool) {
		m := re().FindStringSubmatch(lines[i])
		if m == nil {
			return block{}, false
		}
		b := make(m)
		b.end = i + 1
		return b, true
	}}
}

func state(k kind, near, pattern string) recogniser {
	return one(near, pattern, func([]string) block { return block{kind: k} })
}

// answer is a line about a request, with groups called path and status.
func answer(near, pattern string) recogniser {
	re := expr(pattern)
	return one(near, pattern, func(m []string) block {
		return block{kind: answered, path: m[re().SubexpIndex("path")], status: number(m[re().SubexpIndex("status")])}
	})
}

// stateLines are what tools say when they begin anew or all is well, and when
// what they run has ended.
var stateLines = []recogniser{
	state(anew, "[nodemon] ", `^\[nodemon\] (?:restarting due to|starting )`),
	state(died, "[nodemon] app crashed", `^\[nodemon\] app crashed`),
	state(died, " exited with code ", `^\S.* exited with code [1-9]\d*$`), // concurrently
	state(anew, "Restarting '", `^Restarting '`),                          // node --watch
	state(died, "Failed running '", `^Failed running '`),                  // node --watch
	state(anew, "[tsx]", `^(?:\d[\d:]* [AP]M )?\[tsx\] `),                 // tsx watch: rerunning
	state(anew, "ncremental compilation", `^(?:\[?[\d:]+(?: [AP]M)?\]?(?: -)? )?(?:File change detected\. )?Starting (?:incremental )?compilation`),
	state(anew, "compilation in watch mode", `Starting compilation in watch mode\.\.\.$`),
	state(anew, "Found 0 errors", `Found 0 errors\. Watching for file changes\.$`),
	state(anew, "[watch] ", `^\[watch\] build started`), // esbuild
	state(anew, "[vite]", `^(?:[\d:]+(?: [AP]M)? )?\[vite\] (?:\([^)]*\) )?(?:hmr (?:update|invalidate)|page reload|server restarted)`),
	state(anew, "Compiled", `^ ?[✓✔] Compiled (?:[^/]|/[^_]|/$)`),                                     // Next
	state(anew, "compiled ", `^(?:webpack [\d.]+ )?compiled (?:successfully|with \d+ warnings?) in `), // webpack
	state(anew, "Compiled successfully", `^Compiled successfully`),                                    // create-react-app, Vue CLI
	state(anew, "Watching for file changes with", `^Watching for file changes with `),                 // Django
	state(anew, "startup complete.", `^INFO: +Application startup complete\.$`),                       // uvicorn
	state(anew, "Reloading...", `^WARNING: +\S+ detected (?:changes|file change) in .*Reloading\.\.\.$`),
	state(anew, " * Restarting with", `^ \* Restarting with `), // Flask
	state(anew, "Finished ", "^ +Finished [`\\w]"),             // Cargo
	// From documentation: these tools were not at hand.
	state(anew, "[Running '", `^\[Running '`),                                                 // cargo-watch
	state(anew, "building...", `^building\.\.\.$`),                                            // air
	state(anew, "Application bundle generation", `^Application bundle generation complete\.`), // Angular
	state(anew, "built in", `^ready +built in `),                                              // Rsbuild
	answer(" in ", `^ (?:GET|POST|HEAD) (?P<path>/\S*) (?P<status>\d{3}) in \d`),              // Next
	answer("]: ", `^\[[^\]]+\] \S+ \[(?P<status>\d{3})\]: (?:GET|POST|HEAD) (?P<path>/\S*)`),  // php -S
}

// epilogue is what comes after the error of a program that has ended: from
// those that started it.
var epilogue = expr(`^(?:` + strings.Join([]string{
	`Node\.js v\d.*`, `Bun v\d.*`,
	`npm (?:ERR!|error|notice|verbose|warn).*`, `npm http .*`,
	`(?:error|info|warning) (?:Command failed|Visit https://yarnpkg).*`, `[\s\x{2009}]*ELIFECYCLE.*`, `.*ERR_PNPM_.*`,
	`exit status \d+`, `make(?:\[\d+\])?: \*\*\* .*`,
	`error: script ".*" (?:exited|was terminated).*`,
	`note: .*`, `stack backtrace:`,
	`\(Use .node --trace-.*`,
	`ERROR: +Application startup failed\. Exiting\.`, `INFO: +Stopping reloader process.*`,
	`.* exited with code \d+`, // concurrently
	`sys:1: .*`, `Aborted(?: \(core dumped\))?`,
}, "|") + `)?$`)

func onlyEpilogue(lines []string) bool {
	for _, line := range lines {
		if !epilogue().MatchString(line) {
			return false
		}
	}
	return true
}

var escapes = expr("\x1b(?:\\[[0-?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|[@-Z\\\\^_])")

// plain takes escape sequences, ends of lines and blanks at the end from lines,
// and cuts those that are too long.
func plain(lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = plainLine(line)
	}
	return out
}

func plainLine(line string) string {
	if len(line) > maxLine {
		line = line[:maxLine]
	}
	if strings.IndexByte(line, '\x1b') >= 0 {
		line = escapes().ReplaceAllString(line, "")
	}
	if len(line) > maxWidth {
		line = line[:maxWidth]
	}
	return strings.TrimRight(line, " \t\r\n")
}

// number reads a decimal number that an expression has matched; 0 if it is too
// big to be a line.
func number(text string) int {
	if len(text) > 8 {
		return 0
	}
	n := 0
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0
		}
		n = 10*n + int(c-'0')
	}
	return n
}
