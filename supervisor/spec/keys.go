package spec

import (
	"strings"
	"unicode/utf8"
)

// Form is a way to write a value.
type Form string

const (
	FormText     Form = "text"
	FormInteger  Form = "integer"
	FormNumber   Form = "number" // with or without a fraction
	FormBoolean  Form = "boolean"
	FormDuration Form = "duration"   // 10s, 1m30s; see parseDuration
	FormSize     Form = "size"       // 512MB, 1.5GB; see parseSize
	FormPercent  Form = "percentage" // 1%, 0.5%
	FormList     Form = "list"
	FormMap      Form = "map"
	FormNothing  Form = "nothing" // the key alone says it
)

// Key describes one key of devside.yaml.
type Key struct {
	Path     string // "servers.*.port": * stands for a name of the user's choice
	Forms    []Form // the ways to write it, the usual one first
	Default  string // as it would be written; empty: none, or as Doc says
	Doc      string // one line
	Values   []string
	Required bool
	Also     []string // what other tools call it, for did-you-mean
	Examples []string // values that are often meant
	// Least and Most bound a whole number; both 0: nothing does.
	Least, Most int
	// Ways are those keys below it of which one says how: exactly one, or none
	// where that is a way, too (NoWay).
	Ways  []string
	NoWay bool
}

// Name is the key itself: the last part of its path.
func (k Key) Name() string { return k.Path[strings.LastIndexByte(k.Path, '.')+1:] }

func forms(f ...Form) []Form { return f }

// Keys is every key of devside.yaml. Validation, did-you-mean and whatever
// explains the configuration are made from this table; a test holds the
// defaults written here against those that apply.
var Keys = []Key{
	{Path: "version", Forms: forms(FormInteger), Default: "1", Values: []string{"1"}, Doc: "the version of this format", Least: 1, Most: 1},
	{Path: "name", Forms: forms(FormText), Doc: "the project's name; the root's folder name unless given", Also: []string{"project"}},
	{Path: "http", Forms: forms(FormText, FormInteger), Doc: "loopback address where metrics and health are served; without it nothing listens", Also: []string{"dashboard", "listen", "metrics"}, Examples: []string{"127.0.0.1:9000"}},
	{Path: "servers", Forms: forms(FormMap), Required: true, Doc: "what is started, one entry a server", Also: []string{"services", "processes", "apps"}},
	{Path: "servers.*", Forms: forms(FormMap), Doc: "one server, by its name"},
	{Path: "servers.*.command", Forms: forms(FormText, FormList), Required: true, Doc: "the program and its arguments, as plain words or a list; $NAME expands, no shell is involved", Also: []string{"cmd", "run", "script", "exec", "start"}},
	{Path: "servers.*.shell", Forms: forms(FormText), Values: []string{"bash", "sh", "zsh"}, Doc: "the shell that is given the command's text; none unless named"},
	{Path: "servers.*.dir", Forms: forms(FormText), Default: ".", Doc: "the working directory, relative to the root", Also: []string{"cwd", "working_dir", "directory", "path", "root"}},
	{Path: "servers.*.port", Forms: forms(FormInteger, FormList, FormMap), Doc: "the ports the server listens on; the first is also set as PORT", Least: 1, Most: 65535},
	{Path: "servers.*.port.number", Forms: forms(FormInteger), Required: true, Doc: "the port, 1-65535", Least: 1, Most: 65535},
	{Path: "servers.*.port.on_conflict", Forms: forms(FormText), Default: "ask", Values: []string{"ask", "next", "fail"}, Doc: "when the port is taken: ask what to do, take the next free one, or fail"},
	{Path: "servers.*.port.owner", Forms: forms(FormText), Default: "tree", Values: []string{"tree", "any"}, Doc: "whose process must listen: one of the server's own, or any"},
	{Path: "servers.*.env", Forms: forms(FormMap), Doc: "environment variables", Also: []string{"environment", "vars"}},
	{Path: "servers.*.env.*", Forms: forms(FormText, FormInteger, FormNumber, FormBoolean), Doc: "the value of one variable"},
	{Path: "servers.*.env_file", Forms: forms(FormText, FormList), Doc: "files of KEY=value lines, relative to dir; the last one wins", Also: []string{"dotenv"}},
	{Path: "servers.*.ready", Forms: forms(FormMap, FormText), Doc: "when the server is ready: a probe, or none; without it, when its first port accepts", Also: []string{"healthcheck", "readiness", "health", "readiness_probe", "wait_for"}, Values: []string{"none", "notify", "tcp"}, Examples: []string{"{http: /health}"}, Ways: []string{"http", "tcp", "exec", "log", "notify", "none"}, NoWay: true},
	{Path: "servers.*.ready.http", Forms: forms(FormText), Doc: "a path on the first port, or an http:// URL on loopback, that must answer", Also: []string{"url", "path"}, Examples: []string{"/", "/health"}},
	{Path: "servers.*.ready.tcp", Forms: forms(FormText, FormInteger, FormNothing), Doc: "a port or host:port that must accept connections", Also: []string{"port"}, Least: 1, Most: 65535},
	{Path: "servers.*.ready.exec", Forms: forms(FormText, FormList), Doc: "a command that must exit with 0", Also: []string{"command", "test"}, Examples: []string{"pg_isready -q"}},
	{Path: "servers.*.ready.log", Forms: forms(FormText), Doc: "a regular expression (RE2) that a line of output must match"},
	{Path: "servers.*.ready.notify", Forms: forms(FormNothing, FormBoolean), Doc: "the server says it itself, by sd_notify"},
	{Path: "servers.*.ready.none", Forms: forms(FormNothing, FormBoolean), Doc: "ready once the command was executed"},
	{Path: "servers.*.ready.status", Forms: forms(FormInteger, FormList), Default: "[200, 204]", Doc: "http: the accepted statuses", Least: 100, Most: 599},
	{Path: "servers.*.ready.json", Forms: forms(FormMap), Doc: "http: members that the JSON body must have"},
	{Path: "servers.*.ready.json.*", Forms: forms(FormText, FormInteger, FormNumber, FormBoolean), Doc: "the value one member must have"},
	{Path: "servers.*.ready.latency", Forms: forms(FormDuration), Doc: "http: an answer that takes longer makes a ready server unhealthy; 1s, 0 for no bound; none for servers known to compile on demand"},
	{Path: "servers.*.ready.within", Forms: forms(FormDuration), Default: "10s", Doc: "how long a start may take; longer by default for frameworks that compile first", Also: []string{"start_period", "initial_delay"}},
	{Path: "servers.*.ready.every", Forms: forms(FormDuration), Default: "5s", Doc: "the pause between probes once ready", Also: []string{"interval", "period"}},
	{Path: "servers.*.ready.timeout", Forms: forms(FormDuration), Default: "5s", Doc: "how long one probe may take"},
	{Path: "servers.*.ready.failures", Forms: forms(FormInteger), Default: "3", Doc: "failed probes in a row that make the server unhealthy", Also: []string{"retries", "threshold"}, Least: 1, Most: mostFailures},
	{Path: "servers.*.ready.error_rate", Forms: forms(FormPercent), Default: "1%", Doc: "more of its probes failing, though never enough in a row, makes the server unhealthy; 100% allows any", Also: []string{"errors", "error_percent"}},
	{Path: "servers.*.live", Forms: forms(FormMap), Doc: "a probe whose failures restart the server; none unless given", Also: []string{"liveness", "liveness_probe"}, Examples: []string{"{http: /health}"}, Ways: []string{"http", "tcp", "exec"}},
	{Path: "servers.*.live.http", Forms: forms(FormText), Doc: "a path on the first port, or an http:// URL on loopback, that must answer", Also: []string{"url", "path"}, Examples: []string{"/", "/health"}},
	{Path: "servers.*.live.tcp", Forms: forms(FormText, FormInteger, FormNothing), Doc: "a port or host:port that must accept connections", Also: []string{"port"}, Least: 1, Most: 65535},
	{Path: "servers.*.live.exec", Forms: forms(FormText, FormList), Doc: "a command that must exit with 0", Also: []string{"command", "test"}},
	{Path: "servers.*.live.status", Forms: forms(FormInteger, FormList), Default: "[200, 204]", Doc: "http: the accepted statuses", Least: 100, Most: 599},
	{Path: "servers.*.live.json", Forms: forms(FormMap), Doc: "http: members that the JSON body must have"},
	{Path: "servers.*.live.json.*", Forms: forms(FormText, FormInteger, FormNumber, FormBoolean), Doc: "the value one member must have"},
	{Path: "servers.*.live.latency", Forms: forms(FormDuration), Doc: "http: the bound of latency; a slower answer is still an answer, and restarts nothing"},
	{Path: "servers.*.live.every", Forms: forms(FormDuration), Default: "5s", Doc: "the pause between probes", Also: []string{"interval", "period"}},
	{Path: "servers.*.live.timeout", Forms: forms(FormDuration), Default: "5s", Doc: "how long one probe may take"},
	{Path: "servers.*.live.failures", Forms: forms(FormInteger), Default: "3", Doc: "failed probes in a row that restart the server", Also: []string{"retries", "threshold"}, Least: 1, Most: mostFailures},
	{Path: "servers.*.depends_on", Forms: forms(FormList, FormText), Doc: "servers and dependencies that must be ready first", Also: []string{"dependencies", "needs", "requires", "after"}},
	{Path: "servers.*.restart", Forms: forms(FormMap), Doc: "what happens when the server ends by itself"},
	{Path: "servers.*.restart.on", Forms: forms(FormText), Default: "failure", Values: []string{"failure", "always", "never"}, Doc: "after which exits it is started again", Also: []string{"policy", "when"}},
	{Path: "servers.*.restart.delay", Forms: forms(FormDuration), Default: "2s", Doc: "the first delay; it doubles with each restart in a row", Also: []string{"backoff"}},
	{Path: "servers.*.restart.max_delay", Forms: forms(FormDuration), Default: "60s", Doc: "the longest delay"},
	{Path: "servers.*.restart.reset_after", Forms: forms(FormDuration), Default: "60s", Doc: "how long it must be ready before the delay falls back"},
	{Path: "servers.*.restart.max_in_a_row", Forms: forms(FormInteger), Default: "5", Doc: "automatic restarts in a row before it is held", Also: []string{"max_retries", "max_attempts", "max_restarts"}, Least: 1, Most: mostInARow},
	{Path: "servers.*.restart.max_per_hour", Forms: forms(FormInteger), Default: "10", Doc: "automatic restarts in any hour before it is held", Least: 1, Most: mostPerHour},
	{Path: "servers.*.restart.dependents", Forms: forms(FormBoolean), Default: "false", Doc: "restart what depends on it, too"},
	{Path: "servers.*.memory", Forms: forms(FormMap), Doc: "limits of the whole process tree; 0 turns one off", Also: []string{"mem", "mem_limit"}},
	{Path: "servers.*.memory.warn", Forms: forms(FormSize), Default: "1GB", Doc: "show a warning"},
	{Path: "servers.*.memory.restart", Forms: forms(FormSize), Default: "1.5GB", Doc: "restart with grace"},
	{Path: "servers.*.memory.kill", Forms: forms(FormSize), Default: "2GB", Doc: "restart at once", Also: []string{"limit", "max"}},
	{Path: "servers.*.stop", Forms: forms(FormMap), Doc: "how the server is stopped"},
	{Path: "servers.*.stop.signal", Forms: forms(FormText), Default: "SIGTERM", Values: []string{"SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP"}, Doc: "what its processes are sent first"},
	{Path: "servers.*.stop.grace", Forms: forms(FormDuration), Default: "5s", Doc: "how long they may take before they are killed", Also: []string{"timeout"}},
	{Path: "servers.*.stop.spare", Forms: forms(FormList, FormText), Doc: "names of processes that are left alive"},
	{Path: "servers.*.preset", Forms: forms(FormText), Values: presetNames(), Doc: "the framework whose caches, port, time to start and watched files apply where none are written; the one that the command shows unless given", Also: []string{"framework", "type", "kind"}},
	{Path: "servers.*.caches", Forms: forms(FormList, FormText), Doc: "directories that may be removed, relative to dir; those of the preset unless given, [] for none"},
	{Path: "servers.*.watch", Forms: forms(FormMap), Doc: "which files restart the server"},
	{Path: "servers.*.watch.restart", Forms: forms(FormList, FormText), Doc: "globs below dir; those of the preset unless given, [] for none", Also: []string{"files", "paths"}},
	{Path: "servers.*.watch.lockfile", Forms: forms(FormMap), Doc: "what a changed lockfile does"},
	{Path: "servers.*.watch.lockfile.caches", Forms: forms(FormBoolean), Default: "true", Doc: "remove the caches"},
	{Path: "servers.*.watch.lockfile.restart", Forms: forms(FormBoolean), Default: "true", Doc: "restart the server"},
	{Path: "servers.*.watch.settle", Forms: forms(FormDuration), Default: "150ms", Doc: "how long files must be quiet", Also: []string{"debounce", "delay"}},
	{Path: "dependencies", Forms: forms(FormMap), Doc: "what the servers need and devside only checks"},
	{Path: "dependencies.*", Forms: forms(FormMap), Doc: "one dependency, by its name", Ways: []string{"postgres", "redis", "tcp", "http"}},
	{Path: "dependencies.*.postgres", Forms: forms(FormText), Doc: "a postgres:// URL", Also: []string{"postgresql", "pg"}, Examples: []string{"postgres://localhost:5432/app"}},
	{Path: "dependencies.*.redis", Forms: forms(FormText), Doc: "a redis:// URL", Examples: []string{"redis://localhost:6379"}},
	{Path: "dependencies.*.tcp", Forms: forms(FormText, FormInteger), Doc: "a port or host:port", Also: []string{"port"}, Examples: []string{"localhost:5432"}, Least: 1, Most: 65535},
	{Path: "dependencies.*.http", Forms: forms(FormText), Doc: "an http:// or https:// URL", Also: []string{"url"}, Examples: []string{"http://localhost:8080/health"}},
	{Path: "dependencies.*.every", Forms: forms(FormDuration), Default: "5s", Doc: "the pause between checks", Also: []string{"interval"}},
	{Path: "cleanup", Forms: forms(FormMap), Doc: "which strays of earlier sessions are ended before the first start", Also: []string{"kill", "strays"}},
	{Path: "cleanup.patterns", Forms: forms(FormList, FormText), Doc: "whole words of the command lines of strays, such as \"next dev\"; only your own processes that work in the project's folder", Also: []string{"processes", "names", "commands"}},
}

// LookupKey returns the description of a path as it stands in Keys.
func LookupKey(path string) (Key, bool) {
	for _, k := range Keys {
		if k.Path == path {
			return k, true
		}
	}
	return Key{}, false
}

// KeysBelow returns the keys that can stand directly below a path of Keys; ""
// is the top of the file.
func KeysBelow(path string) []Key {
	var out []Key
	for _, k := range Keys {
		parent, name := "", k.Path
		if i := strings.LastIndexByte(k.Path, '.'); i >= 0 {
			parent, name = k.Path[:i], k.Path[i+1:]
		}
		if parent == path && name != "*" {
			out = append(out, k)
		}
	}
	return out
}

// nearestKey finds the known key that was most likely meant.
func nearestKey(typed string, known []Key) string {
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = k.Name()
		for _, also := range k.Also {
			if strings.EqualFold(also, typed) {
				return k.Name()
			}
		}
	}
	return nearest(typed, names)
}

// nearest returns the name that typed most likely stands for, or "": at most
// two edits away and not mostly different, or one the beginning of the other.
func nearest(typed string, names []string) string {
	const (
		mostEdits   = 2  // a slip of the finger or two
		leastForTwo = 5  // letters: with two edits, short words all look alike
		leastPrefix = 3  // one or two letters begin too many words
		longest     = 64 // bounds the quadratic comparison; no name is longer
	)
	if len(typed) > longest {
		return ""
	}
	lower := strings.ToLower(typed)
	best, edits := "", mostEdits+1
	for _, n := range names {
		if len(n) > longest || len(n)-len(lower) > mostEdits || utf8.RuneCountInString(lower)-len(n) > mostEdits {
			continue
		}
		if e := distance(lower, strings.ToLower(n)); e < edits && e < len(n) && (e < 2 || min(len(lower), len(n)) >= leastForTwo) {
			best, edits = n, e
		}
	}
	if best != "" || len(lower) < leastPrefix {
		return best
	}
	for _, n := range names {
		l := strings.ToLower(n)
		if strings.HasPrefix(l, lower) || len(l) >= leastPrefix && strings.HasPrefix(lower, l) {
			return n
		}
	}
	return ""
}

// distance is the Damerau-Levenshtein distance (optimal string alignment): how
// many insertions, deletions, replacements and swaps of neighbours lie between.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, last := make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row := make([]int, len(y)+1)
		row[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(y)]
}
