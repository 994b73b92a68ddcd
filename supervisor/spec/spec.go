// Package spec is the configuration: what devside.yaml says, typed, with
// defaults filled in and the position of every key, or, where there is no
// devside.yaml, what is detected: package.json scripts, workspaces, a Procfile,
// and the files of well-known frameworks, whose presets it holds.
//
// It is pure: it reads only from an fs.FS and an environment it is given,
// starts nothing, and never panics on any input. A configuration with errors is
// returned as far as it could be understood, beside its issues; the caller
// decides that nothing runs on it.
//
// Start reading at Load in load.go, then Project here.
package spec

import (
	"time"
)

// FileName is the configuration's name in a project's root.
const FileName = "devside.yaml"

// Version is the only value of the key `version`.
const Version = 1

// Position is a place in a source file. Both count from 1; Column counts
// Unicode code points. (editor turns it into LSP's UTF-16 units.)
type Position struct {
	Line, Column int
}

// Range is a half-open span of a source file.
type Range struct {
	Start, End Position
}

// IsZero reports whether the range is unknown.
func (r Range) IsZero() bool { return r.Start.Line == 0 }

// Source is one text that configuration came from. Keys are config paths in
// dotted form: "servers", "servers.api", "servers.api.port",
// "servers.api.depends_on[0]", "dependencies.postgres". A server name with a
// dot in it stands as it is: paths are looked up, never split.
type Source struct {
	Path   string           // slash-separated, relative to the root: "devside.yaml", "frontend/package.json"
	Text   string           // as read
	Keys   map[string]Range // of the key (for a list entry, of the entry)
	Values map[string]Range // of the value
}

// Severity of an Issue.
type Severity string

const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Issue is one thing wrong with the configuration.
type Issue struct {
	Code       string // "config-invalid" or "port-clash"
	Severity   Severity
	File       string // Source.Path
	Range      Range
	Message    string // what is wrong, one sentence, no trailing full stop
	Hint       string // what to do
	Key        string // config path, when one is concerned
	Suggestion string // did-you-mean: the nearest known key or name
	Related    *Related
}

// Related points from an issue to another place, such as the other port of a clash.
type Related struct {
	File    string
	Range   Range
	Message string
}

// Project is a whole configuration with every default filled in.
type Project struct {
	Name         string // base name of the root unless `name:` says otherwise
	Servers      []Server
	Dependencies []Dependency
	HTTP         string // listen address of the HTTP side; empty: off
	Cleanup      Cleanup
	Detected     bool // there is no devside.yaml; see Detect
}

// Cleanup says which strays are ended before the first start of a hub: what an
// earlier session left that no ledger knows.
type Cleanup struct {
	// Patterns are whole words of a command line in a row; the first may lack
	// its leading directories. Each matches Pattern's allow-list.
	Patterns []string
}

// Server is one entry below `servers:`.
type Server struct {
	Name      string
	Command   []string // argv with $NAME still in it; see Expand
	Text      string   // the command as written
	Shell     string   // "bash": Command is then [bash -c TEXT]
	Dir       string   // slash-separated, relative to the root, clean; "." is the root
	Ports     []Port   // the first is PORT
	Env       map[string]string
	EnvFiles  []string // slash-separated, relative to Dir
	Ready     Probe
	Live      *Probe // nil: none
	DependsOn []string
	Restart   Restart
	Memory    Memory
	Stop      Stop
	Caches    []string
	Watch     Watch
	Preset    string // of the framework that was recognised; empty: none
	Origin    Origin
}

// Origin is where a server's entry stands.
type Origin struct {
	File   string // Source.Path
	Key    string // the key in that source: "servers.api", "scripts.dev", "processes.web"; empty: the file as a whole
	Script string // detected servers: the script's text
}

// OnConflict says what to do when a port is taken before the start.
type OnConflict string

const (
	Ask  OnConflict = "ask"  // block, and offer the choices (default)
	Next OnConflict = "next" // use the next free port
	Fail OnConflict = "fail" // block without offering
)

// Owner says whose process must listen on the port after a start.
type Owner string

const (
	OwnerTree Owner = "tree" // the server's own tree (default)
	OwnerAny  Owner = "any"  // anyone: a container's proxy, a daemon
)

// Port is one port of a server.
type Port struct {
	Number     int // 1-65535
	OnConflict OnConflict
	Owner      Owner
}

// ProbeKind is the way a probe looks.
type ProbeKind string

const (
	ProbeHTTP   ProbeKind = "http"
	ProbeTCP    ProbeKind = "tcp"
	ProbeExec   ProbeKind = "exec"
	ProbeLog    ProbeKind = "log"
	ProbeNotify ProbeKind = "notify"
	ProbeNone   ProbeKind = "none" // ready once the command was executed
)

// Probe is one readiness or liveness probe.
type Probe struct {
	Kind     ProbeKind
	HTTP     string            // path ("/api/health") or whole URL on loopback
	Status   []int             // accepted statuses; default 200, 204
	JSON     map[string]string // top-level members the JSON body must have
	Latency  time.Duration     // 0: no bound
	TCP      string            // "host:port"; default 127.0.0.1 and ::1 on the first port
	Exec     []string          // argv
	Log      string            // RE2 expression matched against output lines
	Within   time.Duration     // readiness: how long a start may take
	Every    time.Duration     // pause between probes once ready (and of live)
	Timeout  time.Duration     // of one probe
	Failures int               // in a row, before it counts
	// ErrorRate is the part of the readiness probes that may fail; 1: any.
	ErrorRate float64
	Default   bool // not written in the file
}

// RestartOn says after which exits a server is started again.
type RestartOn string

const (
	OnFailure RestartOn = "failure"
	OnAlways  RestartOn = "always"
	OnNever   RestartOn = "never"
)

// Restart is a server's restart policy.
type Restart struct {
	On          RestartOn
	Delay       time.Duration // first delay; doubles with each restart in a row
	MaxDelay    time.Duration
	ResetAfter  time.Duration // of ready, before the delay falls back
	MaxInARow   int
	MaxPerHour  int
	Dependents  bool // restart what depends on it, too
	DelayIsZero bool // `delay: 0s` was asked for: restart at once, every time
}

// Memory holds a tree's limits in bytes; 0: none.
type Memory struct {
	Warn, Restart, Kill int64
}

// Stop says how a server is stopped.
type Stop struct {
	Signal string // "SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP"
	Grace  time.Duration
	Spare  []string // process names that are left alive
}

// Watch says which files restart a server.
type Watch struct {
	Restart         []string // globs below Dir
	Reloads         []string // globs below Dir of files that the framework itself acts upon
	Lockfiles       []string // names; the nearest from Dir upwards counts. nil: whichever is nearest
	LockfileCaches  bool
	LockfileRestart bool
	Settle          time.Duration
}

// Dependency is one entry below `dependencies:`, checked and never started.
type Dependency struct {
	Name   string
	Kind   string        // "postgres", "redis", "tcp", "http"
	Target string        // as written; may hold credentials, never shown
	Addr   string        // host:port to connect to
	Every  time.Duration // between checks
}

// Defaults, each with its reason.
const (
	// DefaultWithin is how long a server may take to become ready: an API's
	// bound in the audit (PERF-005).
	DefaultWithin = 10 * time.Second
	// CompilingWithin is the same for servers that compile before they answer
	// (Next, Vite and their like on a cold cache, on 2 busy cores).
	CompilingWithin = 60 * time.Second
	// DefaultLiveEvery and DefaultFailures are DESIGN's `live` example.
	DefaultLiveEvery = 5 * time.Second
	DefaultFailures  = 3
	// DefaultReadyEvery is the pace of the readiness probe after its first pass.
	DefaultReadyEvery = 5 * time.Second
	// DefaultLatency and DefaultErrorRate are HEALTH-3's. A server that compiles
	// on demand has no bound of latency: its answers take as long as that does.
	DefaultLatency   = time.Second
	DefaultErrorRate = 0.01
	// DefaultTimeout bounds one probe (kubelet's default is also 1 s, which a
	// dev server that compiles a page on demand misses).
	DefaultTimeout = 5 * time.Second
	// Restart policy, DESIGN §4.
	DefaultDelay      = 2 * time.Second
	DefaultMaxDelay   = 60 * time.Second
	DefaultResetAfter = 60 * time.Second
	DefaultMaxInARow  = 5
	DefaultMaxPerHour = 10
	// DefaultGrace is how long a tree may take to end after the stop signal
	// (OTP's and pebble's default, too).
	DefaultGrace = 5 * time.Second
	// DefaultSettle is how long files must be quiet: the largest gap inside a
	// git checkout of 2,000 files was 17.5 ms.
	DefaultSettle = 150 * time.Millisecond
	// Memory defaults of RELIABILITY-006, per tree.
	DefaultMemoryWarn    = 1 << 30
	DefaultMemoryRestart = 3 << 29
	DefaultMemoryKill    = 2 << 30
	// DefaultDependencyEvery is how often a dependency is checked.
	DefaultDependencyEvery = 5 * time.Second
)
