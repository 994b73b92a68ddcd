package crash

import (
	"slices"
	"strings"
)

// compilers recognise messages about source files: those hold until the tool
// says that it has compiled again, also while the server goes on running.
var compilers = []recogniser{
	placed("tsc", "error TS", `^(?:Error: |ERROR in )?(\S.*?)[:(](\d+)[:,](\d+)\)?(?: -|:) error (TS\d+: .+)$`, 0),
	// esbuild as a library, in tsx and Vite. Its columns count from 0.
	placed("esbuild", ": ERROR: ", `^\s*(\S.*\.\w{1,10}):(\d+):(\d+): ERROR: (.+)$`, 1),
	{[]string{"[ERROR] "}, esbuildCLI},
	{[]string{"[vite] ", "error during build:", "Build failed with "}, vite},
	{[]string{"─[", ",-["}, boxed},
	{[]string{"ERROR in "}, webpack},
	{[]string{"./", "⨯ "}, turbopack},
	{[]string{"error"}, rustc},
	{[]string{": error: "}, javac},
	placed("maven", "[ERROR] ", `^\[ERROR\] (\S.*\.(?:java|kt)):\[(\d+),(\d+)\] (.+)$`, 0),
	placed("kotlin", "e: ", `^e: (?:file://)?(\S.*\.kts?):(\d+):(\d+) (.+)$`, 0),
	{[]string{"# "}, goBuild},
	{[]string{".go:"}, goLine},
	one("syntax error", rubyParsePattern, func(m []string) block {
		return block{Report: Report{Tool: "ruby", Message: m[3], Frames: []Frame{{File: m[1], Line: number(m[2])}}}}
	}),
	one("Parse error: ", `^(?:\[[^\]]+\] )?(?:PHP )?Parse error: +(.+) in (\S.*) on line (\d+)$`, func(m []string) block {
		return block{Report: Report{Tool: "php", Message: m[1], Frames: []Frame{{File: m[2], Line: number(m[3])}}}}
	}),
	{[]string{"SyntaxError: "}, babel},
}

// rubyParsePattern is what `ruby` says of its first file, which is no exception.
const rubyParsePattern = `^(?:\S*ruby\S*: )?((?:[A-Za-z]:)?[^\s:]+):(\d+): (syntax errors?\b.+)$`

// placed is a line with file, line, column and message, in this order.
func placed(tool, near, pattern string, addColumn int) recogniser {
	return one(near, pattern, func(m []string) block {
		return block{Report: Report{Tool: tool, Message: m[4], Frames: []Frame{{File: m[1], Line: number(m[2]), Column: number(m[3]) + addColumn}}}}
	})
}

var babelError = expr(`^(?:.*?: )?SyntaxError: (\S.*\.\w{1,10}): (.+?)\.? \((\d+):(\d+)\)$`)

// babel is Babel's error, behind many loaders. Its columns count from 0.
func babel(lines []string, i int) (block, bool) {
	if !strings.HasSuffix(lines[i], ")") { // the expression is slow to find that out
		return block{}, false
	}
	m := babelError().FindStringSubmatch(lines[i])
	if m == nil {
		return block{}, false
	}
	return block{Report: Report{Tool: "babel", Message: m[2], Frames: []Frame{{File: m[1], Line: number(m[3]), Column: number(m[4]) + 1}}}, end: i + 1}, true
}

// compilerAt reports whether a compiler's message begins at line i: one inside
// the message of another error counts for itself.
func compilerAt(lines []string, i int) bool {
	return slices.ContainsFunc(compilers, func(r recogniser) bool {
		if !slices.ContainsFunc(r.near, func(s string) bool { return strings.Contains(lines[i], s) }) {
			return false
		}
		_, ok := r.at(lines, i)
		return ok
	})
}

var (
	esbuildHead  = expr(`^[✘X] \[ERROR\] (.+)$`)
	esbuildPlace = expr(`^    (\S.*):(\d+):(\d+):$`)
)

// esbuildCLI is esbuild's own form: the message, an empty line, the place.
func esbuildCLI(lines []string, i int) (block, bool) {
	m := esbuildHead().FindStringSubmatch(lines[i])
	if m == nil {
		return block{}, false
	}
	for j := i + 1; j < len(lines) && j < i+8; j++ {
		if p := esbuildPlace().FindStringSubmatch(lines[j]); p != nil {
			return block{Report: Report{Tool: "esbuild", Message: m[1], Frames: []Frame{{File: p[1], Line: number(p[2]), Column: number(p[3]) + 1}}}, end: j + 1}, true
		}
	}
	return block{}, false
}

var (
	viteHead = expr(`^(?:[\d:]+(?: [AP]M)? )?(?:\[vite\] (?:\([^)]*\) )?(?:Internal server error|Pre-transform error): (.+)|error during build:|Build failed with \d+ errors?:)$`)
	viteFile = expr(`^\s*[Ff]ile: (\S.*):(\d+):(\d+)$`)
	viteOf   = expr(`^\[[\w:.-]+\] (?:\w*Error: )?(.+)$`)
)

// vite is an error of Vite or Rollup whose place comes some lines later, after
// "File:". Its columns count from 0. What esbuild and Rolldown say in it, with
// places of their own, is left to them.
func vite(lines []string, i int) (block, bool) {
	m := viteHead().FindStringSubmatch(lines[i])
	if m == nil {
		return block{}, false
	}
	message := m[1]
	for j := i + 1; j < len(lines) && j < i+ahead; j++ {
		if viteHead().MatchString(lines[j]) {
			return block{}, false
		}
		if f := viteFile().FindStringSubmatch(lines[j]); f != nil {
			return block{Report: Report{Tool: "vite", Message: message, Frames: []Frame{{File: f[1], Line: number(f[2]), Column: number(f[3]) + 1}}}, end: j + 1}, true
		}
		if strings.Contains(lines[j], ": ERROR: ") || strings.Contains(lines[j], "─[") || jsAt().MatchString(lines[j]) {
			return block{}, false
		}
		if of := viteOf().FindStringSubmatch(lines[j]); of != nil && message == "" {
			message = of[1]
		}
	}
	return block{}, false
}

var (
	boxPlace = expr(`^\s*(?:╭─*|,-)\[ ?(\S.*?):(\d+):(\d+) ?\]$`)
	boxUnder = expr(`^\s*: +\^`)
	boxMark  = expr(`^\s*(?:\[[\w:.-]+\] )?(?:(?:Error|Caused by): *)?(?:[x×⨯] +)?(?:Error: +)?`)
)

// boxOwners are in a line above a box that is an error.
var boxOwners = []string{"Build failed with ", "Internal server error", "Pre-transform error", "error during build", "⨯", "> Build error", "Failed to compile", "Module build failed"}

// boxed is a place at the top of a box around the source, as Rolldown, oxc and
// SWC draw it; the line above has the message. They draw warnings, too, so one
// of the lines before must say that something failed.
func boxed(lines []string, i int) (block, bool) {
	m := boxPlace().FindStringSubmatch(lines[i])
	if m == nil || i == 0 {
		return block{}, false
	}
	message := lines[i-1][len(boxMark().FindString(lines[i-1])):]
	if message == "" || strings.HasPrefix(message, "Warning") || strings.ContainsAny(lines[i-1], "⚠") {
		return block{}, false
	}
	column := number(m[3])
	for j := i + 1; j < len(lines) && j < i+12 && column == 1; j++ { // SWC points below the line
		if under := boxUnder().FindString(lines[j]); under != "" {
			column = len(under) - strings.IndexByte(under, ':') - 2
		}
	}
	for j := i - 1; j >= 0 && j > i-ahead; j-- {
		if slices.ContainsFunc(boxOwners, func(s string) bool { return strings.Contains(lines[j], s) }) {
			return block{Report: Report{Tool: "bundler", Message: message, Frames: []Frame{{File: m[1], Line: number(m[2]), Column: column}}}, end: i + 1}, true
		}
	}
	return block{}, false
}

var webpackHead = expr(`^ERROR in (\S.*?)(?: |:)(\d+):(\d+)(?:-\d+(?::\d+)?)?$`)

// webpack is an error of webpack's with a place in the module; the next line
// has the message. Its columns count from 0.
func webpack(lines []string, i int) (block, bool) {
	m := webpackHead().FindStringSubmatch(lines[i])
	if m == nil || i+1 == len(lines) || lines[i+1] == "" {
		return block{}, false
	}
	return block{Report: Report{Tool: "webpack", Message: lines[i+1], Frames: []Frame{{File: m[1], Line: number(m[2]), Column: number(m[3]) + 1}}}, end: i + 2}, true
}

var (
	turbopackHead = expr(`^(?:⨯ )?(\.{1,2}/\S.*|\[project\]/\S.*):(\d+):(\d+)$`)
	turbopackLine = expr(`^> *(\d+) \|`)
	excerptLine   = expr(`^ *(?:> *)?\d* \|`)
)

// turbopack is a place, a message, and an excerpt that marks the line. Older
// versions say only that parsing failed, and after the excerpt why.
func turbopack(lines []string, i int) (block, bool) {
	m := turbopackHead().FindStringSubmatch(strings.TrimPrefix(lines[i], " "))
	if m == nil || i+2 >= len(lines) {
		return block{}, false
	}
	message := strings.TrimPrefix(lines[i+1], "Error: ")
	for j := i + 2; j < len(lines) && j < i+10; j++ {
		mark := turbopackLine().FindStringSubmatch(lines[j])
		if mark == nil || mark[1] != m[2] {
			continue
		}
		end := j + 1
		for end < len(lines) && end < j+8 && excerptLine().MatchString(lines[end]) {
			end++
		}
		if strings.HasPrefix(message, "Parsing ") {
			for k := end; k < len(lines) && k < end+3; k++ {
				if lines[k] != "" {
					message, end = lines[k], k+1
					break
				}
			}
		}
		return block{Report: Report{Tool: "turbopack", Message: message, Frames: []Frame{{File: m[1], Line: number(m[2]), Column: number(m[3])}}}, end: end}, true
	}
	return block{}, false
}

var (
	rustcHead  = expr(`^error(?:\[E\d+\])?: (.+)$`)
	rustcPlace = expr(`^ +--> (\S.*):(\d+):(\d+)$`)
)

// rustc is an error of the Rust compiler: the message, then an arrow.
func rustc(lines []string, i int) (block, bool) {
	m := rustcHead().FindStringSubmatch(lines[i])
	if m == nil {
		return block{}, false
	}
	for j := i + 1; j < len(lines) && j < i+6; j++ {
		if p := rustcPlace().FindStringSubmatch(lines[j]); p != nil {
			return block{Report: Report{Tool: "rustc", Message: m[1], Frames: []Frame{{File: p[1], Line: number(p[2]), Column: number(p[3])}}}, end: j + 1}, true
		}
	}
	return block{}, false
}

var javacHead = expr(`^(\S.*\.(?:java|groovy|scala)):(\d+): error: (.+)$`)

// javac prints the column as a caret below the line.
func javac(lines []string, i int) (block, bool) {
	m := javacHead().FindStringSubmatch(lines[i])
	if m == nil {
		return block{}, false
	}
	f := Frame{File: m[1], Line: number(m[2])}
	end := i + 1
	for j := i + 1; j < len(lines) && j < i+4; j++ {
		if carets().MatchString(lines[j]) {
			f.Column = strings.IndexByte(lines[j], '^') + 1
			end = j + 1
			break
		}
	}
	return block{Report: Report{Tool: "javac", Message: m[3], Frames: []Frame{f}}, end: end}, true
}

var (
	goPackage = expr(`^# \S+(?: \[\S+\])?$`)
	goError   = expr(`^(?:vet: )?((?:\.{1,2}[/\\])?[^\s:]+\.go|[A-Za-z]:\\[^:]+\.go):(\d+):(?:(\d+):)? (.+)$`)
)

// goBuild is the first error below the name of a package, as go build and vet
// print it; the ones after it follow by themselves, see goLine.
func goBuild(lines []string, i int) (block, bool) {
	if !goPackage().MatchString(lines[i]) {
		return block{}, false
	}
	j := i + 1
	for j < len(lines) && j < i+3 && strings.HasPrefix(lines[j], "# ") {
		j++
	}
	if j == len(lines) {
		return block{}, false
	}
	m := goError().FindStringSubmatch(lines[j])
	if m == nil {
		return block{}, false
	}
	b := goReport(m)
	b.end = j + 1
	return b, true
}

// goLine is an error below another of the same package; or one of a package
// that could not be loaded, which stands alone: a program may log such lines
// too, so that it counts only at the end.
func goLine(lines []string, i int) (block, bool) {
	m := goError().FindStringSubmatch(lines[i])
	if m == nil || m[3] == "" {
		return block{}, false
	}
	b := goReport(m)
	b.end = i + 1
	for j := i - 1; j >= 0 && j > i-12; j-- {
		if goPackage().MatchString(lines[j]) {
			return b, true
		}
		if !goError().MatchString(lines[j]) && !strings.HasPrefix(lines[j], "\t") {
			break
		}
	}
	b.kind = traced
	for b.end < len(lines) {
		more := goError().FindStringSubmatch(lines[b.end])
		if more == nil && !strings.HasPrefix(lines[b.end], "\t") {
			break
		}
		if more != nil {
			b.Frames = append(b.Frames, goReport(more).Frames...)
		}
		b.end++
	}
	return b, true
}

func goReport(m []string) block {
	return block{Report: Report{Tool: "go", Message: m[4], Frames: []Frame{{File: m[1], Line: number(m[2]), Column: number(m[3])}}}}
}
