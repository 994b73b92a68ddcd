// Package wire is the protocol's vocabulary: method names, params, results and
// error codes of devside/*, as they stand in JSON. extension/src/protocol.ts
// will mirror it.
//
// It has no behaviour: nothing here reads, sends or decides. Every params type
// is decoded strictly (unknown members are errors), every result encodes lists
// as [] and never as null.
//
// Start reading at Verbs: the one table that devside/* requests,
// workspace/executeCommand and the docs are made from.
package wire

import (
	"encoding/json"
	"time"

	"github.com/devside/devside/supervisor/status"
)

// Protocol is the version that a hub and its clients must agree on. It grows
// with every change that an older peer would misread.
const Protocol = 1

// Prefix of the requests, and of the same verbs as workspace/executeCommand.
const (
	MethodPrefix  = "devside/"
	CommandPrefix = "devside.server."
)

// Notifications from devside to its clients.
const (
	DidChangeStatus = "devside/didChangeStatus" // params: status.Project
	DidLog          = "devside/didLog"          // params: DidLogParams
	DidHappen       = "devside/didHappen"       // params: DidHappenParams
)

// Requests between a hub and its direct clients only (sidecar, command line).
const (
	Hello = "devside/hello" // params: HelloParams, result: HelloResult; first on every connection
	Leave = "devside/leave" // params: none, result: LeaveResult; gives up the hold
	Hurry = "devside/hurry" // params: none, result: none; the grace of every stop under way is over
	Quit  = "devside/quit"  // frozen: works before hello and across protocol versions
)

// Verb is one request that every client can make.
type Verb struct {
	Name   string // "status": devside/status and devside.server.status
	Params any    // a zero value of the params type
	Result any    // a zero value of the result type
	Doc    string // one line
}

// Verbs is every verb, in the order of the docs.
var Verbs = []Verb{
	{"status", StatusParams{}, status.Project{}, "the state of the project"},
	{"start", StartParams{}, StartResult{}, "start servers and what they depend on"},
	{"stop", StartParams{}, StartResult{}, "stop servers and everything they started"},
	{"restart", StartParams{}, StartResult{}, "stop, then start, servers"},
	{"reset", StartParams{}, StartResult{}, "leave crash-loop or blocked, and start"},
	{"logs", LogsParams{}, LogsResult{}, "the last lines of a server's output, or follow it"},
	{"unfollow", UnfollowParams{}, UnfollowResult{}, "end a followed log"},
	{"ports", PortsParams{}, PortsResult{}, "who listens on the project's ports"},
	{"freePort", FreePortParams{}, FreePortResult{}, "end the process that was shown to hold a port"},
	{"nextPort", NextPortParams{}, NextPortResult{}, "give a server the next free port"},
	{"clearCaches", ClearCachesParams{}, ClearCachesResult{}, "remove the caches of servers, or count what that would remove"},
	{"install", InstallParams{}, InstallResult{}, "run the package manager of a server whose packages are not those of its lockfile"},
	{"resume", ResumeParams{}, ResumeResult{}, "let watch rules act again that have restarted a server too often"},
	{"trust", TrustParams{}, TrustResult{}, "allow the commands with this hash to run"},
	{"reload", ReloadParams{}, ReloadResult{}, "read the configuration again"},
	{"dashboard", DashboardParams{}, DashboardResult{}, "serve metrics and health over HTTP, and say where"},
	{"quit", QuitParams{}, QuitResult{}, "end the hub when nothing else holds it"},
}

// Root is taken by every params object: path or file URI of the folder meant,
// needed only where a session has several.
type Root struct {
	Root string `json:"root,omitempty"`
}

// StatusParams asks for status.Project.
type StatusParams struct{ Root }

// StartParams is what start, stop, restart and reset take.
type StartParams struct {
	Root
	Servers       []string        `json:"servers,omitempty"` // absent: all
	Wait          *bool           `json:"wait,omitempty"`    // default true
	WorkDoneToken json.RawMessage `json:"workDoneToken,omitempty"`
}

// Waits reports whether the answer waits for the servers to settle.
func (p StartParams) Waits() bool { return p.Wait == nil || *p.Wait }

// StartResult has one entry a server concerned, in the order they were started
// or stopped. A server that fails to start is ok: false, not an error.
type StartResult struct {
	Servers []ServerResult `json:"servers"`
}

// ServerResult is how one server came out.
type ServerResult struct {
	Name    string       `json:"name"`
	OK      bool         `json:"ok"`
	State   status.State `json:"state"`
	PID     int          `json:"pid,omitempty"`
	ReadyMs *int64       `json:"readyMs,omitempty"`
	Error   *ServerError `json:"error,omitempty"`
	Note    string       `json:"note,omitempty"` // beside ok: what a stop left alone on purpose
}

// ServerError says why a server is not ok. Code is one of "not-ready",
// "crashed", "crash-loop", "dependency-failed", "cancelled", "not-stopped", or
// a problem's code ("port-taken", "command-missing", "cannot-start", …).
type ServerError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// LogsParams asks for a server's output.
type LogsParams struct {
	Root
	Server string    `json:"server"`
	Lines  int       `json:"lines,omitempty"` // at most this many, the newest; default 200, at most 10,000
	Since  time.Time `json:"since,omitzero"`
	Grep   string    `json:"grep,omitempty"` // RE2, at most 1,000 bytes
	Run    int       `json:"run,omitempty"`  // only of this start; negative counts back: -1 is the one before the last
	Follow bool      `json:"follow,omitempty"`
}

// LogsResult holds lines, oldest first. With follow, devside/didLog carries
// what comes after them, until unfollow of the token.
type LogsResult struct {
	Lines []LogLine `json:"lines"`
	Token string    `json:"token,omitempty"`
}

// LogLine is one line of output, without its line end. Invalid UTF-8 is
// replaced by U+FFFD; escape sequences are left in.
type LogLine struct {
	At     time.Time `json:"at"`
	Stream string    `json:"stream"` // "stdout", "stderr", or "devside" for what devside says itself
	Text   string    `json:"text"`
	Run    int       `json:"run"`
}

// DidLogParams carries lines of a followed log.
type DidLogParams struct {
	Root    string    `json:"root"`
	Token   string    `json:"token"`
	Server  string    `json:"server"`
	Lines   []LogLine `json:"lines"`
	Skipped int64     `json:"skipped,omitempty"` // bytes lost before these lines because this client was slow
}

// UnfollowParams ends a followed log.
type UnfollowParams struct {
	Root
	Token string `json:"token"`
}

// UnfollowResult is empty.
type UnfollowResult struct{}

// PortsParams asks who listens.
type PortsParams struct{ Root }

// PortsResult has one entry a configured port.
type PortsResult []PortEntry

// PortEntry is one port of the project.
type PortEntry struct {
	Port   int            `json:"port"`
	Server string         `json:"server,omitempty"` // that is configured to use it
	Holder *status.Holder `json:"holder,omitempty"` // absent: free
}

// FreePortParams names a port and the process on it, as it was shown.
type FreePortParams struct {
	Root
	Port   int        `json:"port"`
	Holder HolderName `json:"holder"`
}

// HolderName is what a Holder is known by; both as they came.
type HolderName struct {
	PID       int    `json:"pid"`
	StartTime string `json:"startTime"`
}

// FreePortResult says whether the port is free now, and else why not.
type FreePortResult struct {
	Freed bool   `json:"freed"`
	Why   string `json:"why,omitempty"`
}

// NextPortParams asks for another first port for a server: for as long as the
// hub lives and the server's entry stays, or, with write, in devside.yaml.
type NextPortParams struct {
	Root
	Server string `json:"server"`
	Write  bool   `json:"write,omitempty"`
}

// NextPortResult is the port that the server uses from its next start on.
type NextPortResult struct {
	Port int `json:"port"`
}

// ClearCachesParams asks for the caches of servers to be removed. One that runs
// is stopped, and started again when they are out of the way.
type ClearCachesParams struct {
	Root
	Servers []string `json:"servers,omitempty"` // absent: all
	DryRun  bool     `json:"dryRun,omitempty"`  // only count
}

// ClearCachesResult has one entry a cache that is there. Paths are relative to
// the root.
type ClearCachesResult struct {
	Removed []RemovedCache `json:"removed"`
	Refused []RefusedCache `json:"refused"`
}

// RemovedCache is one cache that is gone, or would be.
type RemovedCache struct {
	Path  string `json:"path"`
	Files int64  `json:"files"` // everything but folders
	Bytes int64  `json:"bytes"`
	Note  string `json:"note,omitempty"` // what could not be removed of it, or counted
}

// RefusedCache is one cache that was left as it is.
type RefusedCache struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

// InstallParams names a server with the problem dependencies-stale.
type InstallParams struct {
	Root
	Server string `json:"server"`
}

// InstallResult is how the package manager ended.
type InstallResult struct {
	Argv    []string `json:"argv"`
	Dir     string   `json:"dir"` // relative to the root
	OK      bool     `json:"ok"`
	Message string   `json:"message,omitempty"` // why it is not ok
	Lines   []string `json:"lines"`             // the last that it printed
}

// ResumeParams names servers with the problem watch-loop.
type ResumeParams struct {
	Root
	Servers []string `json:"servers,omitempty"` // absent: all
}

// ResumeResult names the servers that had a rule suspended.
type ResumeResult struct {
	Resumed []string `json:"resumed"`
}

// TrustParams names what was shown.
type TrustParams struct {
	Root
	Hash string `json:"hash"`
}

// TrustResult says whether the commands may run now.
type TrustResult struct {
	Trusted bool `json:"trusted"`
}

// ReloadParams asks for the configuration to be read again.
type ReloadParams struct{ Root }

// ReloadResult says what the new configuration changed.
type ReloadResult struct {
	Valid     bool     `json:"valid"` // false: nothing was changed, see the config-invalid problems
	Added     []string `json:"added"`
	Changed   []string `json:"changed"`
	Removed   []string `json:"removed"`
	Restarted []string `json:"restarted"`
}

// DashboardParams asks the hub to listen for HTTP.
type DashboardParams struct {
	Root
	Address string `json:"address,omitempty"` // on loopback; absent: where it listens, or the configuration's http, or 127.0.0.1:9000
}

// DashboardResult says where it listens.
type DashboardResult struct {
	URL   string `json:"url"`   // "http://127.0.0.1:9000"
	Token string `json:"token"` // for everything but metrics and health; of this hub only
}

// QuitParams asks the hub to end.
type QuitParams struct{ Root }

// QuitResult: quit is refused while somebody holds the hub.
type QuitResult struct {
	Quit bool   `json:"quit"`
	Why  string `json:"why,omitempty"`
}

// DidHappenParams is an event of a folder.
type DidHappenParams struct {
	Root string `json:"root"`
	status.Event
}

// Role says what a client's connection means to the hub.
type Role string

const (
	// Holder keeps the hub and its servers up while connected: an editor, `up`.
	Holder Role = "holder"
	// Visitor looks, or asks, and keeps nothing up: status, logs, stop.
	Visitor Role = "visitor"
	// Starter is a visitor whose starts hold the hub until all is stopped
	// again: `devside start` from a terminal.
	Starter Role = "starter"
)

// HelloParams introduces a client to a hub.
type HelloParams struct {
	Protocol int      `json:"protocol"`
	Version  string   `json:"version"`
	Root     string   `json:"root"` // real path
	Role     Role     `json:"role"`
	Client   string   `json:"client"` // "vscode", "devside status", … for the hub's log
	PID      int      `json:"pid"`
	Env      []string `json:"env"` // KEY=value; kept in memory only
	Trusted  bool     `json:"trusted,omitempty"`
	LingerMs int64    `json:"lingerMs,omitempty"`
	Resume   bool     `json:"resume,omitempty"` // the client held a hub that died: restore what it ran
	HTTP     string   `json:"http,omitempty"`   // the client wants HTTP served at this address, as by dashboard; a failure is told in the hub's log
}

// HelloResult introduces the hub.
type HelloResult struct {
	Protocol int    `json:"protocol"`
	Version  string `json:"version"`
	Root     string `json:"root"`
	PID      int    `json:"pid"`
}

// LeaveResult: whether the hub has stopped everything because of it.
type LeaveResult struct {
	Stopped bool `json:"stopped"` // all servers are down
	Last    bool `json:"last"`    // nobody holds the hub any more
}

// Error codes beside those of JSON-RPC and LSP.
const (
	CodeParse            = -32700
	CodeInvalidRequest   = -32600
	CodeMethodNotFound   = -32601
	CodeInvalidParams    = -32602
	CodeInternal         = -32603
	CodeNotInitialized   = -32002
	CodeCancelled        = -32800 // LSP RequestCancelled
	CodeServerCancelled  = -32802 // LSP ServerCancelled: too many requests at once
	CodeRequestFailed    = -32803 // LSP RequestFailed
	CodeUntrusted        = -32050
	CodeRootRefused      = -32051
	CodeHubLost          = -32052
	CodeProtocolMismatch = -32053
	CodeConfigInvalid    = -32054
	CodeTimeout          = -32055
)

// ErrorData is the `data` of every error devside answers with.
type ErrorData struct {
	Code    string   `json:"code"` // "unknown-server", "untrusted", …
	Hint    string   `json:"hint,omitempty"`
	Known   []string `json:"known,omitempty"` // the names that would have been right
	Hash    string   `json:"hash,omitempty"`  // untrusted: what devside/trust takes
	Version string   `json:"version,omitempty"`
	PID     int      `json:"pid,omitempty"`
}
