// Package status holds what devside says about a project: the states a server
// can be in, the snapshot of one server and of the whole project, the events
// that happen to them, and the catalogue of problems.
//
// It decides nothing and does no I/O: it imports nothing of devside and
// nothing that opens a file, a socket or a clock. Its values are immutable once
// published; whoever builds one gives it away and builds a new one next time.
//
// Start reading at Project, then Server, then Catalogue in problems.go.
package status

import "time"

// State is the state of one server. The names are those of the protocol.
type State string

const (
	Stopped   State = "stopped"    // not running, nothing planned
	Waiting   State = "waiting"    // to be started once its dependencies are ready
	Starting  State = "starting"   // the process runs, its readiness probe has not passed yet
	Ready     State = "ready"      // the readiness probe passed
	Unhealthy State = "unhealthy"  // runs, but the probe fails or did not pass within its time
	Backoff   State = "backoff"    // ended by itself; a restart is scheduled
	CrashLoop State = "crash-loop" // ended too often; held until reset, or a start by a person
	Blocked   State = "blocked"    // can't be started: port taken, command missing, untrusted
	Stopping  State = "stopping"   // being stopped
)

// States lists every state, in the order of a server's life.
var States = []State{Stopped, Waiting, Starting, Ready, Unhealthy, Backoff, CrashLoop, Blocked, Stopping}

// Active reports whether a server in this state runs, or will by itself.
func (s State) Active() bool {
	switch s {
	case Waiting, Starting, Ready, Unhealthy, Backoff, Stopping:
		return true
	}
	return false
}

// Settled reports whether a start that is being waited for ends here.
func (s State) Settled() bool {
	switch s {
	case Ready, Blocked, CrashLoop, Stopped:
		return true
	}
	return false
}

// badness orders states by how much a user wants to know of them, worst last.
var badness = map[State]int{
	Stopped: 0, Ready: 1, Waiting: 2, Starting: 3, Stopping: 4,
	Backoff: 5, Unhealthy: 6, Blocked: 7, CrashLoop: 8,
}

// Worse returns whichever of the two states a user should be shown first.
func Worse(a, b State) State {
	if badness[b] > badness[a] {
		return b
	}
	return a
}

// Server is the snapshot of one server. Times are RFC 3339 in JSON; durations
// are whole milliseconds in fields whose names end in Ms.
type Server struct {
	Name          string    `json:"name"`
	State         State     `json:"state"`
	Since         time.Time `json:"since"` // when the state was entered
	PID           int       `json:"pid,omitempty"`
	Ports         []Port    `json:"ports"`
	URL           string    `json:"url,omitempty"`
	UptimeMs      int64     `json:"uptimeMs"`           // since the process was started; 0 when none runs
	WaitedMs      int64     `json:"waitedMs,omitempty"` // for its dependencies, before the process was started
	ReadyMs       *int64    `json:"readyMs,omitempty"`  // from spawn to the first pass of the readiness probe
	Restarts      int       `json:"restarts"`           // automatic restarts since the hub started
	Crashes       int       `json:"crashes"`
	MemoryBytes   int64     `json:"memoryBytes"`        // resident memory of the whole tree at the last sample, to a hundredth
	PSSBytes      int64     `json:"pssBytes,omitempty"` // what the tree costs the machine: each shared page in part, and what is swapped out; limits are held against it
	CPUPercent    float64   `json:"cpuPercent"`         // of one core, between the last two samples, to half a percent
	LastExit      *Exit     `json:"lastExit,omitempty"`
	Message       string    `json:"message,omitempty"` // why the server is in this state, in plain words
	TraceID       string    `json:"traceId"`           // of the current or last start; empty before the first
	Run           int       `json:"run"`               // number of the current or last start; 0 before the first
	DependsOn     []string  `json:"dependsOn,omitempty"`
	RestartInMs   int64     `json:"restartInMs,omitempty"`   // in backoff: how long until the restart, when the snapshot was made
	StartedAt     time.Time `json:"startedAt,omitzero"`      // of the running process
	RestartReason Reason    `json:"restartReason,omitempty"` // why the current or last start was a restart; empty: it was none
	Problems      []Code    `json:"problems"`
}

// Reason says why a server was restarted.
type Reason string

const (
	ReasonAsked         Reason = "asked" // by a person
	ReasonCrash         Reason = "crash"
	ReasonLiveness      Reason = "liveness"
	ReasonMemory        Reason = "memory"
	ReasonConfiguration Reason = "configuration"
	ReasonDependency    Reason = "dependency" // one it depends on was restarted, whose configuration says so
	ReasonFile          Reason = "file"       // one that the server can't pick up by itself has changed
	ReasonMended        Reason = "mended"     // what held it may be gone: a file has changed, or the port is free
)

// Port is one configured port of a server.
type Port struct {
	Number    int  `json:"number"`
	Listening bool `json:"listening"` // when the snapshot was made, by what the probes saw
}

// Exit says how a server's process ended.
type Exit struct {
	Code   *int      `json:"code,omitempty"`   // exit status; absent when a signal ended it
	Signal string    `json:"signal,omitempty"` // "SIGKILL"; also for 128+n through a shell
	At     time.Time `json:"at"`
	Cause  string    `json:"cause,omitempty"` // "address-in-use", "module-not-found", …; empty when unknown
}

// Dependency is something the project needs and devside only checks.
type Dependency struct {
	Name    string    `json:"name"`
	Up      bool      `json:"up"`
	Checked time.Time `json:"checked,omitzero"` // zero: not checked yet
	Target  string    `json:"target"`           // host:port, never credentials
	Message string    `json:"message,omitempty"`
}

// Holder is the process that listens on a port.
type Holder struct {
	PID       int    `json:"pid,omitempty"`       // 0: not visible to us
	StartTime string `json:"startTime,omitempty"` // opaque; sent back as it came
	Name      string `json:"name,omitempty"`
	Command   string `json:"command,omitempty"` // arguments, shortened; never another user's
	User      string `json:"user,omitempty"`
	// Started is when the process was started, for people; StartTime is its
	// identity.
	Started time.Time `json:"started,omitzero"`
	Server  string    `json:"server,omitempty"` // when it is one of ours
}

// TrustState says whether the project's commands may run.
type TrustState string

const (
	Trusted   TrustState = "trusted"
	Untrusted TrustState = "untrusted"
)

// Trust is what a person is shown before anything of a project runs.
type Trust struct {
	State    TrustState     `json:"state"`
	Hash     string         `json:"hash"` // of Commands and Cleanup: what devside/trust takes
	Commands []TrustCommand `json:"commands"`
	Cleanup  []string       `json:"cleanup,omitempty"` // patterns of processes that are ended before the first start
}

// TrustCommand is one server's command as it would run.
type TrustCommand struct {
	Server   string   `json:"server"`
	Argv     []string `json:"argv"`
	Dir      string   `json:"dir"` // relative to the root
	EnvFiles []string `json:"envFiles,omitempty"`
	Env      []string `json:"env,omitempty"`    // names of variables the configuration sets; the hash covers their values, too
	Probes   []string `json:"probes,omitempty"` // exec probes, as written
	Script   string   `json:"script,omitempty"` // text of the package.json script that argv names
}

// Summary is the project in one line.
type Summary struct {
	Ready int   `json:"ready"`
	Total int   `json:"total"`
	Worst State `json:"worst"`
}

// Project is the snapshot of a project. Sequence grows by one with every
// snapshot a hub publishes, and starts again with a new hub.
type Project struct {
	Root         string       `json:"root"` // real path
	Name         string       `json:"name"`
	Protocol     int          `json:"protocol"`
	Sequence     uint64       `json:"sequence"`
	Trust        Trust        `json:"trust"`
	Servers      []Server     `json:"servers"`
	Dependencies []Dependency `json:"dependencies"`
	Summary      Summary      `json:"summary"`
	Problems     []Problem    `json:"problems"`         // all that are visible now, worst first
	Config       string       `json:"config,omitempty"` // absolute path of devside.yaml; empty when servers were detected
	HubPID       int          `json:"hubPid"`
	HTTP         string       `json:"http,omitempty"` // where metrics and health are served: "http://127.0.0.1:9000"; empty: nowhere
}

// Server returns the named server's snapshot.
func (p *Project) Server(name string) (Server, bool) {
	for _, s := range p.Servers {
		if s.Name == name {
			return s, true
		}
	}
	return Server{}, false
}

// Summarize counts the servers and finds the worst state among them.
func Summarize(servers []Server) Summary {
	sum := Summary{Total: len(servers), Worst: Stopped}
	for _, s := range servers {
		if s.State == Ready {
			sum.Ready++
		}
		sum.Worst = Worse(sum.Worst, s.State)
	}
	return sum
}

// Kind names what happened.
type Kind string

const (
	HappenedStart   Kind = "start"
	HappenedReady   Kind = "ready"
	HappenedCrash   Kind = "crash"
	HappenedRestart Kind = "restart"
	HappenedStop    Kind = "stop"
	HappenedProblem Kind = "problem"
	HappenedReload  Kind = "reload"
	HappenedTrust   Kind = "trust"
	HappenedRestore Kind = "restore"
	// HappenedInvalidation: caches of a server are gone. It is told when their
	// space is free again; At is when they were out of the way.
	HappenedInvalidation Kind = "invalidation"
	// HappenedSecurity is what the audit log keeps; Event.Act says which.
	HappenedSecurity Kind = "security"
)

// Act names a security event.
type Act string

const (
	ActKilled          Act = "killed"           // a process that devside did not start was ended
	ActKillRefused     Act = "kill-refused"     // … was asked to be ended, and was not
	ActClientRefused   Act = "client-refused"   // another user's process, or a page of another site, wanted to talk to a hub
	ActHubRefused      Act = "hub-refused"      // … listened where a hub was expected
	ActRootRefused     Act = "root-refused"     // devside was started as root and not told that it may
	ActDeletionRefused Act = "deletion-refused" // something that is no cache was asked to be deleted
	ActTrusted         Act = "trusted"          // a person agreed to the project's commands
)

// Event is one thing that happened to a project, as a fact.
type Event struct {
	Kind    Kind      `json:"kind"`
	Server  string    `json:"server,omitempty"`
	At      time.Time `json:"at"`
	Message string    `json:"message"`
	TraceID string    `json:"traceId,omitempty"`
	Code    Code      `json:"code,omitempty"`    // with kind "problem"
	Exit    *Exit     `json:"exit,omitempty"`    // with kind "crash"
	Act     Act       `json:"act,omitempty"`     // with kind "security"
	Process *Holder   `json:"process,omitempty"` // with kind "security": the process concerned
	// Because is the file that led to it, with the kinds "restart" and "invalidation".
	Because *Because `json:"because,omitempty"`
	// Removed lists, with the kind "invalidation", what was removed, relative to
	// the root; RemovedBytes is the size of it all.
	Removed      []string `json:"removed,omitempty"`
	RemovedBytes int64    `json:"removedBytes,omitempty"`
}

// Because says which changed file something was done for, and by which rule.
type Because struct {
	File string `json:"file"` // relative to the root; empty: a person asked
	Rule string `json:"rule"` // "configuration", "env file", "lockfile", "restart next.config.*", "it may be mended", "asked"
}

// Rules after which the caches of a server are gone. Others name their file or
// pattern.
const (
	RuleLockfile = "lockfile" // also watch/rule's word
	RuleAsked    = "asked"
)

// String is how a sentence goes on: "frontend/.env changed".
func (b Because) String() string {
	if b.File == "" {
		return "it was asked for"
	}
	return b.File + " changed"
}
