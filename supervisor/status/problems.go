package status

import (
	"cmp"
	"slices"
	"time"
)

// Code names a problem. The same codes stand in diagnostics, in
// ServerStatus.problems and in the README's table.
type Code string

const (
	ConfigInvalid  Code = "config-invalid"
	PortTaken      Code = "port-taken"
	PortClash      Code = "port-clash"
	CommandMissing Code = "command-missing"
	CannotStart    Code = "cannot-start"
	Crashed        Code = "crashed"
	CrashLooping   Code = "crash-loop"
	CrashSite      Code = "crash-site"
	SlowStart      Code = "slow-start"
	NotHealthy     Code = "unhealthy"
	MemoryLimit    Code = "memory-limit"
	MemoryWarning  Code = "memory-warning"
	DependencyDown Code = "dependency-down"
	NotTrusted     Code = "untrusted"
	StateFailed    Code = "state-failed"

	DependenciesStale Code = "dependencies-stale"
	CacheRefused      Code = "cache-refused"
	DiskLow           Code = "disk-low"
	WatchLimit        Code = "watch-limit"
	WatchLoop         Code = "watch-loop"
)

// Site is the Field of a problem that names a line itself, in Problem.File.
const Site = "site"

// Severity is how much a problem matters. The names are LSP's, in lower case.
type Severity string

const (
	Error       Severity = "error"
	Warning     Severity = "warning"
	Information Severity = "information"
)

// Entry is what the catalogue says about one code.
type Entry struct {
	Code     Code
	Severity Severity
	Title    string
	// Field is the key below servers.<name> that the problem is shown at;
	// empty means the server's own key, "-" the first line of the file, Site
	// the line that the problem names.
	Field string
	// VisibleAfter is how long the problem must hold before it is shown.
	VisibleAfter time.Duration
	// HiddenBy lists problems of the same server that make this one redundant.
	HiddenBy []Code
}

// crashVisible keeps a server that is back at once from flickering in the
// Problems panel: LSP clients redraw on each publish, and a restart after 10 s
// of ready is immediate.
const crashVisible = 200 * time.Millisecond

// Catalogue is every problem devside can report, one row a code.
var Catalogue = []Entry{
	{Code: ConfigInvalid, Severity: Error, Title: "the configuration is invalid"},
	{Code: PortTaken, Severity: Error, Title: "the port is taken", Field: "port"},
	{Code: PortClash, Severity: Error, Title: "two servers want the same port", Field: "port"},
	{Code: CommandMissing, Severity: Error, Title: "the command was not found", Field: "command"},
	{Code: CannotStart, Severity: Error, Title: "the command can't be started", Field: "command"},
	{Code: Crashed, Severity: Warning, Title: "the server ended by itself", VisibleAfter: crashVisible,
		HiddenBy: []Code{CrashLooping, PortTaken, CommandMissing, CannotStart}},
	{Code: CrashLooping, Severity: Error, Title: "the server keeps crashing",
		HiddenBy: []Code{PortTaken, CommandMissing, CannotStart}},
	{Code: CrashSite, Severity: Error, Title: "an error in the source, named in the server's output", Field: Site,
		HiddenBy: []Code{PortTaken}},
	{Code: NotHealthy, Severity: Warning, Title: "the server does not answer its probe", Field: "ready",
		HiddenBy: []Code{CrashLooping, PortTaken}},
	{Code: MemoryLimit, Severity: Error, Title: "the server uses more memory than its limit", Field: "memory"},
	{Code: MemoryWarning, Severity: Warning, Title: "the server uses much memory", Field: "memory",
		HiddenBy: []Code{MemoryLimit}},
	{Code: DependencyDown, Severity: Warning, Title: "a dependency is down", Field: "depends_on"},
	{Code: DependenciesStale, Severity: Warning, Title: "the installed packages are not those of the lockfile"},
	{Code: CacheRefused, Severity: Warning, Title: "a cache is not removed", Field: "caches"},
	{Code: DiskLow, Severity: Warning, Title: "the disk is nearly full", Field: "caches"},
	{Code: WatchLimit, Severity: Warning, Title: "the system refuses to watch more files", Field: "-"},
	{Code: WatchLoop, Severity: Warning, Title: "a rule of watch goes round", Field: "watch"},
	{Code: SlowStart, Severity: Information, Title: "the start took longer than usual"},
	{Code: NotTrusted, Severity: Information, Title: "the project is not trusted yet", Field: "-"},
	{Code: StateFailed, Severity: Warning, Title: "devside can't keep its own files", Field: "-"},
}

// Lookup returns the catalogue's entry of a code.
func Lookup(c Code) (Entry, bool) {
	for _, e := range Catalogue {
		if e.Code == c {
			return e, true
		}
	}
	return Entry{}, false
}

// Problem is one thing that is wrong now, with what a person needs to mend it.
type Problem struct {
	Code     Code      `json:"code"`
	Severity Severity  `json:"severity"`
	Server   string    `json:"server,omitempty"`
	Message  string    `json:"message"`        // what happened and why, one sentence or two
	Hint     string    `json:"hint,omitempty"` // what to do
	Since    time.Time `json:"since"`
	Field    string    `json:"field,omitempty"` // where in the server's entry; see Entry.Field
	Port     int       `json:"port,omitempty"`
	Holder   *Holder   `json:"holder,omitempty"`  // port-taken: who listens
	Other    string    `json:"other,omitempty"`   // port-clash: the other server; dependency-down: the dependency
	File     string    `json:"file,omitempty"`    // dependencies-stale: the lockfile; watch-loop: the file; crash-site: the source; relative to the root, slash-separated
	Line     int       `json:"line,omitempty"`    // crash-site: from 1
	Column   int       `json:"column,omitempty"`  // crash-site: from 1, as the tool counts; absent: not printed
	Related  []Place   `json:"related,omitempty"` // crash-site: the other lines that lead there, nearest first
	Argv     []string  `json:"argv,omitempty"`    // dependencies-stale: what installs, to be run in Dir
	Dir      string    `json:"dir,omitempty"`     // relative to the root
	Lines    []string  `json:"lines,omitempty"`   // the last lines the server printed
}

// Place is a line of a file of the project's.
type Place struct {
	File   string `json:"file"`             // relative to the root, slash-separated
	Line   int    `json:"line"`             // from 1
	Column int    `json:"column,omitempty"` // from 1; absent: not printed
}

// NewProblem fills in what the catalogue knows about the code.
func NewProblem(c Code, server, message string, since time.Time) Problem {
	e, _ := Lookup(c)
	return Problem{Code: c, Severity: e.Severity, Server: server, Message: message, Since: since, Field: e.Field}
}

// Visible returns the problems to show at the given time: those that have held
// long enough and are not hidden by another of the same server, worst first.
// next is how long until one more becomes visible; 0 means none will.
func Visible(all []Problem, now time.Time) (shown []Problem, next time.Duration) {
	has := func(server string, code Code) bool {
		return slices.ContainsFunc(all, func(p Problem) bool { return p.Server == server && p.Code == code })
	}
	shown = []Problem{}
	for _, p := range all {
		e, _ := Lookup(p.Code)
		hidden := slices.ContainsFunc(e.HiddenBy, func(c Code) bool { return has(p.Server, c) })
		if hidden {
			continue
		}
		if wait := p.Since.Add(e.VisibleAfter).Sub(now); wait > 0 {
			if next == 0 || wait < next {
				next = wait
			}
			continue
		}
		shown = append(shown, p)
	}
	rank := map[Severity]int{Error: 0, Warning: 1, Information: 2}
	slices.SortStableFunc(shown, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(rank[a.Severity], rank[b.Severity]), cmp.Compare(a.Server, b.Server))
	})
	return shown, next
}
