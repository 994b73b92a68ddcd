package crash

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// An expression is compiled when it is first used: every start of the binary
// would pay for all of them, the first crash too.
type expression func() *regexp.Regexp

func expr(pattern string) expression {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

// A rule recognises one cause at one line. The rule of the last line that any
// rule recognises wins: what a server printed before another error, it had
// survived. So a plain exception is a rule as well, of an unknown cause.
type rule struct {
	// near is a literal that the line holds whenever the pattern matches it: a
	// cheap test before the expression.
	near    string
	pattern expression
	// exit is the status that the process must have ended with; 0: any. A
	// script goes on after a command that is not there.
	exit int
	// cause makes the cause of a match; false if the lines around say otherwise.
	cause func(m []string, lines []string, i int) (Cause, bool)
}

func (r rule) at(exit int, lines []string, i int) (Cause, bool) {
	if r.exit != 0 && r.exit != exit || !strings.Contains(lines[i], r.near) {
		return Cause{}, false
	}
	m := r.pattern().FindStringSubmatch(lines[i])
	if m == nil {
		return Cause{}, false
	}
	return r.cause(m, lines, i)
}

func on(near, pattern string, cause func(m []string, lines []string, i int) (Cause, bool)) rule {
	return rule{near: near, pattern: expr(pattern), cause: cause}
}

func onExit(code int, near, pattern string, cause func(m []string, lines []string, i int) (Cause, bool)) rule {
	r := on(near, pattern, cause)
	r.exit = code
	return r
}

// exception is the head of an uncaught error as Node, Python, Java and Deno
// print it: a name that ends in Error or Exception, at the start of the line.
const exception = `^(?:Uncaught |error: Uncaught |Exception in thread "[^"]*" )?(?:\(in promise\) )?`

// memoryRules hold for a server that a signal ended, too.
var memoryRules = []rule{
	on("heap", `^FATAL ERROR: .*JavaScript heap out of memory`, text(OutOfMemory, "the JavaScript heap is out of memory (node --max-old-space-size)", true)),
	on("out of memory", `^fatal error: runtime: (?:cannot allocate memory|out of memory)`, text(OutOfMemory, "it is out of memory", true)),
	on("memory", `^runtime: (?:cannot allocate|out of) memory`, text(OutOfMemory, "it is out of memory", true)),
}

// rules, the more special of two that match one line first.
var rules = append([]rule{
	// Address in use. With a port where the tool prints one.
	on("EADDRINUSE", `\bError: listen EADDRINUSE(?:: address already in use)? (?:\S*:)?(\d{1,5})$`, addressInUse),
	on("EADDRINUSE", `\bError: listen EADDRINUSE: address already in use (/\S+)$`, addressInUse),
	on("address already in use", `\blisten (?:tcp[46]?|udp[46]?) \S*:(\d{1,5}): bind: address already in use`, addressInUse),  // Go
	on("Only one usage", `\blisten tcp[46]? \S*:(\d{1,5}): bind: Only one usage of each socket address`, addressInUse),        // Go on Windows
	on("already in use", `^(?:\[\w+\] )?Error: Port (\d{1,5}) is already in use$`, addressInUse),                              // Vite, Storybook
	on("already in use", `^\s*Port (\d{1,5}) is already in use\.?$`, addressInUse),                                            // Angular, Flask's reloader
	on("already running", `^Something is already running on port (\d{1,5})\.`, addressInUse),                                  // create-react-app
	on("already in use", `^(?:Web server failed to start\. )?Port (\d{1,5}) was already in use\.$`, addressInUse),             // Spring
	on("Is port", `^error: Failed to start server\. Is port (\d{1,5}) in use\?$`, addressInUse),                               // Bun
	on("rrno ", `(?i)\[errno (?:98|48|10048)\] error while attempting to bind on address \('[^']*', (\d{1,5})`, addressInUse), // asyncio, uvicorn
	on("in use", `^OSError: \[(?:Errno (?:98|48)|WinError 10048)\]`, addressInUse),                                            // Python
	on("in use", `^(?:\[Errno (?:98|48)\] )?Address already in use$`, addressInUse),                                           // werkzeug
	on("Port", `^Port (\d{1,5}) is in use by another program\.`, addressInUse),                                                // Flask
	on("already in use", `^Error: That port is already in use\.$`, addressInUse),                                              // Django
	on("EADDRINUSE", `Address already in use - bind\(2\) for "?[^" ]*"? port (\d{1,5}) \(Errno::EADDRINUSE\)`, addressInUse),  // Ruby
	on("ddress already in use", `Failed to listen on \S+:(\d{1,5}) \(reason: Address already in use\)`, addressInUse),         // PHP
	on("AddrInUse", `\bkind: AddrInUse, message: "Address already in use"`, addressInUse),                                     // Rust
	on("AddrInUse", `^error: Uncaught (?:\(in promise\) )?AddrInUse: `, addressInUse),                                         // Deno
	on("BindException", exception+`java\.net\.BindException: Address already in use`, addressInUse),

	// A module that is not there.
	on("Cannot find ", `^(?:Uncaught )?Error(?: \[ERR_MODULE_NOT_FOUND\])?: Cannot find (?:module|package) '([^']+)'`, moduleNotFound), // Node
	on("Cannot find ", `^error: Cannot find (?:module|package) "([^"]+)" from "`, moduleNotFound),                                      // Bun
	on("No module", `^(?:ModuleNotFoundError|ImportError): No module named '?([\w.]+)'?`, moduleNotFound),                              // Python
	on("No module", `^\S*python[\d.]*: No module named (\S+)$`, moduleNotFound),
	on("Could not import", `^ERROR:\s+Error loading ASGI app\. Could not import module "([^"]+)"\.$`, moduleNotFound), // uvicorn
	on("Could not import", `^Error: Could not import '([^']+)'\.$`, moduleNotFound),                                   // Flask
	on("import Django", `^ImportError: Couldn't import (Django)\.`, moduleNotFound),
	on("provides package", `^\S+\.go:\d+:\d+: no required module provides package (\S+?)[;:]`, moduleNotFound), // Go
	on("is not in std", `^\S+\.go:\d+:\d+: package (\S+) is not in std`, moduleNotFound),
	on("cannot load such file", `cannot load such file -- (\S+) \(LoadError\)$`, moduleNotFound), // Ruby
	on("Could not find", `^Could not find (?:gem '([^' ]+)|(\S+) in (?:any of the sources|locally installed gems))`, moduleNotFound),

	// Source that can't be read.
	on("SyntaxError", `^(?:Uncaught )?SyntaxError: (.+)$`, syntaxError),
	on("Error: ", `^(?:IndentationError|TabError): (.+)$`, syntaxError),
	on(".go:", `^(\S+\.go):(\d+):(?:\d+): (.+)$`, goCompile),
	on("error TS", `^(\S+\.[cm]?tsx?)[:(](\d+)[:,]\d+\)?(?: -|:) error (TS\d+: .+)$`, compile),                                                 // tsc, ts-node
	on(": ERROR: ", `^(\S+\.[cm]?[jt]sx?):(\d+):\d+: ERROR: (.+)$`, compile),                                                                   // esbuild, tsx, Vite's config
	on("syntax error", `^(?:\S+: )?(\S+\.r[bu]):(\d+): (syntax errors?\b.+)$`, compile),                                                        // Ruby
	on("could not compile", "^error: could not compile `([^`]+)`.*due to .*previous errors?", text(SyntaxError, "it does not compile", false)), // Cargo

	// An env file that is not there.
	on(": not found", `^node: (\S*\.env\S*): not found$`, missingEnvFile), // node --env-file
	on("ENOENT", `^(?:Uncaught )?Error: ENOENT: no such file or directory, open '((?:[^']*[/\\])?\.env(?:\.[\w.-]+)?)'`, missingEnvFile),
	on("No such file", `^FileNotFoundError: \[Errno 2\] No such file or directory: '((?:[^']*[/\\])?\.env(?:\.[\w.-]+)?)'$`, missingEnvFile),
	on("MISSING_ENV_FILE", `^(?:.*\])?\[MISSING_ENV_FILE\] missing (\S+)`, missingEnvFile),                    // dotenvx
	on("Failed to find", `^(?:Error: )?Failed to find (\.env) file at (?:default )?paths?: `, missingEnvFile), // env-cmd

	// A dependency that does not listen.
	on("ECONNREFUSED", `^\s*(?:\[cause\]: |\[errors\]: \[ )?(?:Uncaught )?(?:\w*Error: )+connect ECONNREFUSED (?:\S*:)?(\d{1,5})\b`, connectionRefused),
	on("ECONNREFUSED", `^(?:\[cause\]: )?AggregateError \[ECONNREFUSED\]: ?$`, connectionRefused),
	on("connection refused", `\bdial tcp \S*:(\d{1,5}): connect: connection refused\b`, connectionRefused),                 // Go
	on("Connection refused", `^ConnectionRefusedError: \[Errno (?:111|61)\] Connection refused`, connectionRefused),        // Python
	on("Connection refused", `\bconnection to server at .*, port (\d{1,5}) failed: Connection refused`, connectionRefused), // libpq
	on("Connection refused", `\bError (?:111|61) connecting to \S+:(\d{1,5})\. Connection refused`, connectionRefused),     // redis-py
	on("reach database", "^(?:\\w*Error: )?(?:P1001: )?Can't reach database server at `[^`]*:(\\d{1,5})`", connectionRefused),
	on("ConnectionRefused", `\bkind: ConnectionRefused, message: "Connection refused"`, connectionRefused), // Rust
	on("ConnectException", exception+`java\.net\.ConnectException: Connection refused`, connectionRefused),

	// Permission. A port or a program stays forbidden however often it is tried;
	// of a file one can't be sure.
	on("EACCES", `\bError: listen EACCES: permission denied (?:\S*:)?(\d{1,5})$`, portForbidden),
	on("permission denied", `\blisten (?:tcp|udp)[46]? \S*:(\d{1,5}): bind: permission denied`, portForbidden),
	on("EACCES", `^(?:Uncaught )?Error: (EACCES: permission denied, .+)$`, fileForbidden),
	on("Permission", `^PermissionError: (\[Errno 13\] Permission denied.*)$`, fileForbidden),
	onExit(126, ": Permission denied", `^\S+: (?:line )?(?:\d+: )?([^\s:]+): Permission denied$`, notExecutable),

	// A command behind a shell or env.
	onExit(127, "not found", `^\S+: (?:line )?(?:\d+: )?([^\s:]+): (?:command )?not found$`, commandNotFound),
	onExit(127, "command not found", `^zsh(?::\d+)?: command not found: (\S+)$`, commandNotFound),
	onExit(127, "env: ", `^(?:/usr/bin/)?env: [‘'"]?([^‘’'":]+)[’'"]?: No such file or directory$`, commandNotFound),
	on("not recognized", `^'([^']+)' is not recognized as an internal or external command`, commandNotFound),

	on("emory", `^MemoryError(?::|$)`, text(OutOfMemory, "it is out of memory", true)), // Python
	on("OutOfMemoryError", exception+`java\.lang\.OutOfMemoryError`, text(OutOfMemory, "it is out of memory", true)),
}, append(memoryRules,
	// Any other error: what stood before it is not the cause.
	on("E", exception+`((?:[A-Za-z_]\w*\.)*\w*(?:Error|Exception)(?: \[\w+\])?(?:: .*)?)$`, uncaught),
	on("panic: ", `^(panic: .+)$`, uncaught),
	on("fatal error: ", `^(fatal error: .+)$`, uncaught),
	on("panicked at", `^(thread '[^']*' (?:\(\d+\) )?panicked at .+)$`, uncaught),
)...)

func uncaught(m, _ []string, _ int) (Cause, bool) {
	if strings.HasPrefix(m[1], "Error: Command failed") {
		// What ran the server says that it failed, which is no news.
		return Cause{}, false
	}
	return Cause{Text: m[1], Mendable: true}, true
}

func text(code Code, sentence string, mendable bool) func([]string, []string, int) (Cause, bool) {
	return func([]string, []string, int) (Cause, bool) {
		return Cause{Code: code, Text: sentence, Mendable: mendable}, true
	}
}

// group is the first group of a match that is not empty.
func group(m []string) string {
	for _, g := range m[1:] {
		if g != "" {
			return g
		}
	}
	return ""
}

func portOf(m []string) (int, bool) {
	port, err := strconv.Atoi(group(m))
	if err != nil || port < 1 || port > 65535 {
		return 0, false
	}
	return port, true
}

// nodePort is the port in the dump below a Node error.
var nodePort = expr(`^\s+port: (\d{1,5}),?$`)

func addressInUse(m, lines []string, i int) (Cause, bool) {
	c := Cause{Code: AddressInUse}
	if len(m) > 1 && strings.HasPrefix(m[1], "/") {
		c.Text = fmt.Sprintf("the socket %s is already in use", m[1])
		return c, true
	}
	port, ok := portOf(m)
	for _, line := range lines[i:] {
		if ok {
			break
		}
		if d := nodePort().FindStringSubmatch(line); d != nil {
			port, ok = portOf(d)
		}
	}
	if c.Port = port; ok {
		c.Text = fmt.Sprintf("port %d is already in use", port)
	} else {
		c.Text = "its port is already in use"
	}
	return c, true
}

func moduleNotFound(m, _ []string, _ int) (Cause, bool) {
	name := group(m)
	c := Cause{Code: ModuleNotFound, Name: name, Text: "a module it needs was not found"}
	if name != "" {
		c.Text = fmt.Sprintf("the module %q was not found", name)
	}
	return c, true
}

var (
	nodeFrame   = expr(`^(?:file://)?((?:/|[A-Za-z]:[\\/]).*):(\d+)$`)
	pythonFrame = expr(`^  File "([^"<][^"]*)", line (\d+)$`)
	caret       = expr(`^\s*[\^~]+\s*$`)
)

// sourceAbove is how many lines above an error its source line can stand:
// place, source, caret and blank for Node, place, source, caret for Python, and
// as much again for sources of several lines.
const sourceAbove = 8

// syntaxError takes only errors in a file that has a place above and a caret
// below the source: JSON that does not parse at run time is a SyntaxError, too.
func syntaxError(m, lines []string, i int) (Cause, bool) {
	if strings.Contains(m[1], "JSON") {
		return Cause{Text: lines[i], Mendable: true}, true
	}
	unknown := Cause{Text: lines[i], Mendable: true}
	marked := false
	for j := i - 1; j >= max(0, i-sourceAbove); j-- {
		if f := pythonFrame().FindStringSubmatch(lines[j]); f != nil {
			return inSource(f[1], f[2], m[1]), true
		}
		if strings.HasPrefix(lines[j], "  File ") {
			return unknown, true // of a text that was evaluated, not of a file
		}
		if f := nodeFrame().FindStringSubmatch(lines[j]); f != nil && marked {
			return inSource(f[1], f[2], m[1]), true
		}
		marked = marked || caret().MatchString(lines[j])
	}
	return unknown, true
}

// goCompile takes the compiler's lines only below its "# package" or with a
// syntax error in them: a log line may begin with a place as well. The first
// error is the one that matters; the others often follow from it.
func goCompile(m, lines []string, i int) (Cause, bool) {
	first := m
	for j := i - 1; j >= 0; j-- {
		if strings.HasPrefix(lines[j], "# ") {
			return inSource(first[1], first[2], first[3]), true
		}
		if above := compilerLine().FindStringSubmatch(lines[j]); above != nil {
			first = above
		} else if !strings.HasPrefix(lines[j], "\t") {
			break
		}
	}
	if strings.HasPrefix(m[3], "syntax error: ") {
		return inSource(m[1], m[2], m[3]), true
	}
	return Cause{}, false
}

var compilerLine = expr(`^(\S+\.go):(\d+):\d+: (.+)$`)

func compile(m, _ []string, _ int) (Cause, bool) { return inSource(m[1], m[2], m[3]), true }

func inSource(file, line, what string) Cause {
	n, err := strconv.Atoi(line)
	if err != nil {
		n = 0
	}
	return Cause{Code: SyntaxError, File: file, Line: n, Text: fmt.Sprintf("%s:%s does not compile: %s", file, line, what)}
}

func missingEnvFile(m, _ []string, _ int) (Cause, bool) {
	return Cause{Code: MissingEnvFile, File: group(m), Text: fmt.Sprintf("the env file %s was not found", group(m))}, true
}

func connectionRefused(m, _ []string, _ int) (Cause, bool) {
	c := Cause{Code: ConnectionRefused, Text: "something it needs refused the connection", Mendable: true}
	if port, ok := portOf(m); ok {
		c.Port = port
		c.Text = fmt.Sprintf("nothing accepts connections on port %d, which it needs", port)
	}
	return c, true
}

func portForbidden(m, _ []string, _ int) (Cause, bool) {
	port, _ := portOf(m)
	return Cause{Code: Permission, Port: port, Text: fmt.Sprintf("it may not listen on port %d", port)}, true
}

func fileForbidden(m, _ []string, _ int) (Cause, bool) {
	return Cause{Code: Permission, Text: group(m), Mendable: true}, true
}

func notExecutable(m, _ []string, _ int) (Cause, bool) {
	return Cause{Code: Permission, Name: group(m), Text: fmt.Sprintf("%s can't be executed: permission denied", group(m))}, true
}

func commandNotFound(m, _ []string, _ int) (Cause, bool) {
	return Cause{Code: CommandNotFound, Name: group(m), Text: fmt.Sprintf("the command %q was not found", group(m))}, true
}
