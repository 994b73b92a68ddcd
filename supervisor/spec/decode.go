package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

var (
	// names become parts of file names, variables, metrics labels and URLs.
	names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)
	// processNames is the audit's allow-list for whatever is matched against
	// processes (SECURITY-001).
	processNames = regexp.MustCompile(`^[A-Za-z0-9_./ -]+$`)
)

const namesHint = "use letters, digits, _ . and -, at most 64, beginning with a letter or digit"

// Bounds of single values; each keeps a slip of the finger from becoming a
// busy loop, a hang or a flood.
const (
	// leastPause is the fastest that a ready server may be probed.
	leastPause = 100 * time.Millisecond
	// leastTimeout of a probe: below it even loopback fails at random.
	leastTimeout = 10 * time.Millisecond
	// mostGrace bounds how long a stop may take; the editor is long gone then.
	mostGrace = 10 * time.Minute
	// settle: editors write a file in two steps a few ms apart; beyond 10 s it
	// looks like nothing happens.
	leastSettle, mostSettle = 10 * time.Millisecond, 10 * time.Second
	// mostPorts of one server.
	mostPorts = 32
	// mostLogBytes bounds the expression that is matched against every line.
	mostLogBytes = 1000
	// leastLimit of memory: no process that listens is smaller.
	leastLimit = 1 << 20
	// mostInARow and mostPerHour bound restart counts: one a second is no limit.
	mostInARow, mostPerHour = 1000, 3600
	mostFailures            = 1000
	// leastPattern is letters and digits of a cleanup pattern: two or fewer name
	// half of what runs. The other two bound the comparison with every process.
	leastPattern, mostPattern, mostPatterns = 3, 200, 100
	// leastErrorRate is the smallest that the memory of supervisor/policy can
	// tell from none.
	leastErrorRate = 0.005
)

// newServer is a server with every default that needs no other key.
func newServer(name string) Server {
	return Server{
		Name: name,
		Dir:  ".",
		Env:  map[string]string{},
		Restart: Restart{On: OnFailure, Delay: DefaultDelay, MaxDelay: DefaultMaxDelay, ResetAfter: DefaultResetAfter,
			MaxInARow: DefaultMaxInARow, MaxPerHour: DefaultMaxPerHour},
		Memory: Memory{Warn: DefaultMemoryWarn, Restart: DefaultMemoryRestart, Kill: DefaultMemoryKill},
		Stop:   Stop{Signal: "SIGTERM", Grace: DefaultGrace},
		Watch:  Watch{LockfileCaches: true, LockfileRestart: true, Settle: DefaultSettle},
		Ready:  newProbe(),
	}
}

// newProbe has no kind yet: finish gives it one when the file doesn't.
func newProbe() Probe {
	return Probe{Within: DefaultWithin, Every: DefaultReadyEvery, Timeout: DefaultTimeout, Failures: DefaultFailures, ErrorRate: DefaultErrorRate}
}

// project reads the whole file.
func (r *reader) project(root *node, p *Project) {
	top := value{node: root, name: "the file", key: root.rng}
	if root.kind != kindMap {
		r.bad(top, "begin it with `version: 1` and `servers:`", "the file must be a map of keys and values, not %s", root.kind)
		return
	}
	var sawVersion, sawServers bool
	for _, v := range r.object(top) {
		switch v.pattern {
		case "version":
			sawVersion = true
			r.version(v)
		case "name":
			if s, ok := r.text(v); ok {
				if !names.MatchString(s) {
					r.bad(v, namesHint, "the name %s can't be used", quote(s))
				} else {
					p.Name = s
				}
			}
		case "http":
			p.HTTP = r.http(v)
		case "cleanup":
			for _, e := range r.object(v) {
				if e.name == "patterns" {
					p.Cleanup.Patterns = r.patterns(e)
				}
			}
		case "servers":
			sawServers = true
			r.servers(v, p)
		case "dependencies":
			for _, e := range r.object(v) {
				if !names.MatchString(e.name) {
					r.issue(Issue{Range: e.key, Key: e.path, Message: fmt.Sprintf("the name %s can't be used", quote(e.name)), Hint: namesHint})
					continue
				}
				p.Dependencies = append(p.Dependencies, r.dependency(e))
			}
		}
	}
	first := lineRange([]string{""}, 1)
	if len(root.fields) > 0 {
		first = root.fields[0].key
	}
	if _, written := r.src.Keys["version"]; !sawVersion && !written {
		r.issue(Issue{Severity: Warning, Range: first, Message: "the key version is missing", Hint: "add `version: 1` as the first line", Key: "version"})
	}
	if _, written := r.src.Keys["servers"]; !written {
		r.issue(Issue{Range: first, Message: "the key servers is missing", Hint: "add `servers:` and below it one entry for each server", Key: "servers"})
	} else if !sawServers || len(p.Servers) == 0 && len(r.issues) == 0 {
		r.issue(Issue{Range: r.src.Keys["servers"], Message: "servers has no entries", Hint: "add one, such as `web: {command: npm run dev}`", Key: "servers"})
	}
}

// patterns reads what is matched against processes: by the allow-list, and
// nothing that is so short that it would match by chance, or can't match.
func (r *reader) patterns(v value) []string {
	var out []string
	for _, e := range r.texts(v) {
		letters := 0
		for _, c := range e.text {
			if c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
				letters++
			}
		}
		switch {
		case !processNames.MatchString(e.text):
			r.bad(e, "use letters, digits, spaces and _ . / -; it is compared with command lines and never given to a shell", "%s can't be a pattern", quote(e.text))
		case len(e.text) > mostPattern:
			r.bad(e, fmt.Sprintf("use at most %d bytes", mostPattern), "a pattern of %d bytes is too long", len(e.text))
		case letters < leastPattern:
			r.bad(e, "write more of the command line, such as `next dev`", "%s is too short: it would match by chance", quote(e.text))
		case strings.Join(strings.Fields(e.text), " ") != e.text:
			r.bad(e, "write words with one blank between them", "%s has blanks that no command line has", quote(e.text))
		case len(out) == mostPatterns:
			r.bad(e, "remove some", "%d patterns are the most", mostPatterns)
			return out
		default:
			out = append(out, e.text)
		}
	}
	return out
}

func (r *reader) version(v value) {
	n, ok := r.integer(v, 1, 1<<30)
	if ok && n != Version {
		r.bad(v, "write version: 1, or update devside", "version %d of the format is not known to this devside", n)
	}
}

// http reads the address of the HTTP side, which only ever listens on loopback.
func (r *reader) http(v value) string {
	s, ok := r.text(v)
	if !ok {
		return ""
	}
	const hint = "write http: 127.0.0.1:9000"
	address, fault := HTTPAddress(s)
	if fault != "" {
		r.bad(v, hint, "%s", fault)
	}
	return address
}

// HTTPAddress reads where the HTTP side is to listen: an address on loopback, or
// the number of a port of 127.0.0.1; port 0 is any. fault says what is wrong with
// it.
func HTTPAddress(s string) (address, fault string) {
	if bareNumber.MatchString(s) {
		s = "127.0.0.1:" + s
	}
	host, port, ok := splitHostPort(s, 0)
	switch {
	case !ok:
		return "", quote(s) + " is not an address"
	case !loopback(host):
		return "", "http must be a loopback address, not " + quote(s)
	}
	return joinHostPort(host, port), ""
}

func (r *reader) servers(v value, p *Project) {
	if v.kind == kindList {
		r.wrong(v, "a map of names", "write each server as `name:` with its keys below, without dashes")
		return
	}
	for _, e := range r.object(v) {
		if !names.MatchString(e.name) {
			r.issue(Issue{Range: e.key, Key: e.path, Message: fmt.Sprintf("the name %s can't be used", quote(e.name)), Hint: namesHint})
			continue
		}
		r.count = len(p.Servers)
		p.Servers = append(p.Servers, r.server(e))
	}
}

func (r *reader) server(v value) Server {
	s := newServer(v.name)
	s.Origin = Origin{File: r.src.Path, Key: v.path}
	if v.scalar() {
		r.bad(v, fmt.Sprintf("write %s: {command: %s}", v.name, v.text), "a server must be a map of keys and values, not %s", v.kind)
		return s
	}
	var command, shell *value
	entries := r.object(v)
	for _, e := range entries {
		switch e.name {
		case "command":
			command = &e
		case "shell":
			if text, ok := r.choice(e); ok {
				s.Shell = text
			}
			shell = &e
		case "dir":
			r.dir(e, &s)
		}
	}
	if _, written := r.src.Keys[v.path+".command"]; !written && v.kind == kindMap {
		r.issue(Issue{Range: v.key, Key: v.path, Message: fmt.Sprintf("the server %s has no command", v.name), Hint: "add `command:` below it"})
	}
	if command != nil {
		r.command(*command, shell, &s)
	}
	preset := ""
	for _, e := range entries {
		switch e.name {
		case "port":
			s.Ports = r.ports(e)
		case "env":
			r.env(e, &s)
		case "env_file":
			for _, f := range r.texts(e) {
				if clean, ok := r.inside(f, s.Dir, "a path relative to dir"); ok {
					s.EnvFiles = append(s.EnvFiles, clean)
				}
			}
		case "ready":
			s.Ready = r.probe(e, newProbe())
		case "live":
			p := r.probe(e, Probe{Every: DefaultLiveEvery, Timeout: DefaultTimeout, Failures: DefaultFailures})
			if p.Kind != "" {
				s.Live = &p
			}
		case "depends_on":
			if e.kind == kindMap {
				r.wrong(e, "a list of names", "write depends_on: [a, b]")
				break
			}
			for _, d := range r.texts(e) {
				s.DependsOn = append(s.DependsOn, d.text)
			}
		case "restart":
			r.restart(e, &s.Restart)
		case "memory":
			r.memory(e, &s.Memory)
		case "stop":
			r.stop(e, &s.Stop)
		case "preset":
			preset, _ = r.choice(e)
		case "caches":
			r.caches(e, &s)
		case "watch":
			r.watch(e, &s.Watch)
		}
	}
	written := func(field string) bool { _, ok := r.src.Keys[v.path+"."+field]; return ok }
	k, text, ok := recogniseServer(r.fsys, s)
	if p, named := LookupPreset(preset); named {
		if !ok || k.Preset != p {
			k = known{Preset: p}
		}
		if g, ok := k.guessPort(r.fsys, s, text); ok && !written("port") {
			g.server = r.count
			r.guesses = append(r.guesses, g)
		}
	}
	if preset != NoPreset && k.Preset != nil {
		k.apply(&s, written)
	}
	if s.Ready.Kind == ProbeHTTP && !written("ready.latency") && !compiles(r.fsys, s) && (s.Preset == "" || !k.Compiles) {
		s.Ready.Latency = DefaultLatency
	}
	if len(s.Ports) > 0 { // a probe of the first port follows it when it is moved
		first := joinHostPort("localhost", s.Ports[0].Number)
		for _, p := range []*Probe{&s.Ready, s.Live} {
			if p != nil && p.Kind == ProbeTCP && p.TCP == first {
				p.TCP = ""
			}
		}
	}
	for _, e := range entries {
		if e.name == "env" && len(s.Ports) > 0 {
			if _, set := s.Env["PORT"]; set {
				r.issue(Issue{Severity: Warning, Range: r.src.Keys[e.path+".PORT"], Key: e.path + ".PORT",
					Message: "PORT in env is not used: the server's first port is set as PORT", Hint: "remove it"})
			}
		}
	}
	return s
}

func (r *reader) command(v value, shell *value, s *Server) {
	switch {
	case v.kind == kindList:
		if shell != nil {
			r.bad(*shell, "write the command as one text, or remove shell", "shell is given a command that is a list")
			return
		}
		s.Command = r.argv(v)
		s.Text = Join(s.Command)
	case v.scalar():
		text, ok := r.text(v)
		if !ok {
			return
		}
		s.Text = strings.TrimSpace(text)
		if shell == nil {
			s.Command = r.words(v)
			return
		}
		switch {
		case s.Text == "":
			r.bad(v, "write the command, such as: npm run dev", "the command is empty")
		case len(s.Text) > maxCommandBytes:
			r.bad(v, "put it into a script and name that", "the command has more than 8 KiB")
		case s.Shell != "":
			s.Command = []string{s.Shell, "-c", s.Text}
		}
	default:
		r.wrong(v, "text or a list of words", "write command: npm run dev")
	}
}

// words splits a command written as one text.
func (r *reader) words(v value) []string {
	shell := "add `shell: bash`"
	if v.name != "command" {
		shell = fmt.Sprintf("name the shell in a list, as in %s: [bash, -c, 'a | b']", v.name)
	}
	words, problem, hint := splitWords(v.text, shell)
	if problem != "" {
		r.bad(v, hint, "%s", problem)
		return nil
	}
	return words
}

// argv reads a command written as a list, word by word as it is.
func (r *reader) argv(v value) []string {
	var out []string
	for i, e := range r.list(v) {
		switch {
		case !e.scalar():
			r.wrong(e, "a list of words", "write command: [npm, run, dev]")
			return nil
		case i == 0 && strings.TrimSpace(e.text) == "":
			r.bad(e, "begin with the program's name", "the command's first word is empty")
			return nil
		case strings.ContainsRune(e.text, 0):
			r.bad(e, "remove it", "the command holds a NUL character")
			return nil
		}
		out = append(out, e.text)
	}
	if len(v.items) == 0 {
		r.bad(v, "write the command, such as: [npm, run, dev]", "the command is empty")
	}
	return out
}

func (r *reader) dir(v value, s *Server) {
	clean, ok := r.inside(v, ".", "a path relative to the root")
	if !ok {
		return
	}
	s.Dir = clean
	if r.fsys == nil {
		return
	}
	info, err := fs.Stat(r.fsys, clean)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.bad(v, "create it, or correct the path", "the directory %s does not exist", quote(v.text))
	case err != nil:
		r.bad(v, "check its permissions, and that it is no link out of the root", "the directory %s can't be read", quote(v.text))
	case !info.IsDir():
		r.bad(v, "name a directory", "%s is not a directory", quote(v.text))
	}
}

// inside reads a path that must stay below the root; base is what it is
// relative to. The result is clean and relative to base.
func (r *reader) inside(v value, base, expected string) (string, bool) {
	text, ok := r.text(v)
	if !ok {
		return "", false
	}
	hint := "write " + expected
	switch {
	case text == "":
		r.bad(v, hint, "%s is empty", v.name)
	case strings.Contains(text, `\`):
		r.bad(v, "write / between the parts of a path", "%s holds a backslash", quote(text))
	case path.IsAbs(text) || strings.HasPrefix(text, "~") || len(text) > 1 && text[1] == ':':
		r.bad(v, hint, "%s must be %s, not %s", v.name, expected, quote(text))
	default:
		whole := path.Join(base, text)
		if whole == ".." || strings.HasPrefix(whole, "../") {
			r.bad(v, "name something inside the project's root", "%s leaves the project", quote(text))
			return "", false
		}
		return path.Clean(text), true
	}
	return "", false
}

func (r *reader) ports(v value) []Port {
	var out []Port
	seen := map[int]bool{}
	entries := r.many(v)
	if len(entries) > mostPorts {
		r.bad(v, "remove some", "a server can have %d ports at most", mostPorts)
		return nil
	}
	if v.kind == kindList && len(v.items) == 0 {
		r.bad(v, "add a port, or remove the line", "port has no entries")
	}
	for _, e := range entries {
		p := Port{OnConflict: Ask, Owner: OwnerTree}
		number := e
		if e.kind == kindMap {
			number = value{}
			for _, f := range r.object(e) {
				switch f.name {
				case "number":
					number = f
				case "on_conflict":
					if s, ok := r.choice(f); ok {
						p.OnConflict = OnConflict(s)
					}
				case "owner":
					if s, ok := r.choice(f); ok {
						p.Owner = Owner(s)
					}
				}
			}
			if number.node == nil {
				if _, written := r.src.Keys[e.path+".number"]; !written {
					r.bad(e, "write port: {number: 3000}", "port has no number")
				}
				continue
			}
		}
		n, ok := r.integer(number, 1, 65535)
		if !ok {
			continue
		}
		if seen[n] {
			r.bad(number, "remove one of the two", "port %d stands twice", n)
			continue
		}
		seen[n] = true
		p.Number = n
		out = append(out, p)
	}
	return out
}

func (r *reader) env(v value, s *Server) {
	for _, e := range r.object(v) {
		if !isName(e.name) {
			r.issue(Issue{Range: e.key, Key: e.path, Message: fmt.Sprintf("%s can't be the name of a variable", quote(e.name)),
				Hint: "use letters, digits and _, not beginning with a digit"})
			continue
		}
		if !e.scalar() {
			r.wrong(e, "text", "put the value in quotes")
			continue
		}
		if text, ok := r.text(e); ok {
			s.Env[e.name] = text
		}
	}
}

// probe reads `ready` or `live` on top of its defaults. Without a usable kind
// the result has none.
func (r *reader) probe(v value, p Probe) Probe {
	live := strings.HasSuffix(v.pattern, ".live")
	kinds := []ProbeKind{ProbeHTTP, ProbeTCP, ProbeExec}
	if !live {
		kinds = append(kinds, ProbeLog, ProbeNotify, ProbeNone)
	}
	if v.scalar() {
		return r.plainProbe(v, p, live)
	}
	var given []value
	told := len(r.issues)
	entries := r.object(v)
	told = len(r.issues) - told
	for _, e := range entries {
		switch e.name {
		case "within":
			p.Within = r.pause(e, p.Within, leastPause)
		case "every":
			p.Every = r.pause(e, p.Every, leastPause)
		case "timeout":
			p.Timeout = r.pause(e, p.Timeout, leastTimeout)
		case "latency":
			p.Latency = r.latency(e, p.Latency)
		case "error_rate":
			if rate, ok := r.percentage(e, leastErrorRate); ok {
				p.ErrorRate = rate
			}
		case "failures":
			if n, ok := r.integer(e, 1, mostFailures); ok {
				p.Failures = n
			}
		case "status":
			p.Status = r.statuses(e)
		case "json":
			p.JSON = map[string]string{}
			for _, m := range r.object(e) {
				if text, ok := r.text(m); ok {
					p.JSON[m.name] = text
				}
			}
		default:
			given = append(given, e)
		}
	}
	list := make([]string, len(kinds))
	for i, k := range kinds {
		list[i] = string(k)
	}
	switch {
	case len(given) > 1:
		is := r.issue(Issue{Range: given[1].key, Key: given[1].path, Hint: "keep one of them",
			Message: fmt.Sprintf("%s can have one kind of probe, and has %s and %s", v.name, given[0].name, given[1].name)})
		is.Related = &Related{File: r.src.Path, Range: given[0].key, Message: "the first"}
	case len(given) == 0 && live && told == 0:
		r.issue(Issue{Range: v.key, Key: v.path, Message: "live says no way to probe", Hint: "add one of " + strings.Join(list, ", ")})
	}
	if len(given) > 0 {
		r.probeKind(given[0], &p)
	}
	for _, e := range entries {
		if (e.name == "status" || e.name == "json" || e.name == "latency") && p.Kind != ProbeHTTP && len(given) == 1 {
			r.issue(Issue{Range: e.key, Key: e.path, Message: fmt.Sprintf("%s is for http probes only", e.name), Hint: "remove it, or probe by http"})
		}
	}
	if p.Kind == ProbeHTTP && p.Status == nil {
		p.Status = defaultStatus()
	}
	return p
}

// defaultStatus is RELIABILITY-003: a redirect is not an answer.
func defaultStatus() []int { return []int{200, 204} }

// plainProbe reads `ready: none` and its like.
func (r *reader) plainProbe(v value, p Probe, live bool) Probe {
	switch kind := ProbeKind(v.text); {
	case live && (v.text == "none" || v.text == "false"):
		r.bad(v, "remove the line: without it there is no liveness probe", "live can't be %s", v.text)
	case live:
		r.bad(v, "write live: {http: /health}", "live must be a map of keys and values, not %s", v.kind)
	case kind == ProbeNone, kind == ProbeNotify, kind == ProbeTCP:
		p.Kind = kind
	case strings.HasPrefix(v.text, "/") || strings.HasPrefix(v.text, "http"):
		r.bad(v, fmt.Sprintf("write ready: {http: %s}", v.text), "ready must be a map of keys and values, or none")
	default:
		r.bad(v, "write ready: {http: /health}, {tcp: 3000}, {log: text} or none", "ready can't be %s", quote(v.text))
	}
	return p
}

func (r *reader) pause(v value, otherwise, least time.Duration) time.Duration {
	if d, ok := r.duration(v, least, maxDuration); ok {
		return d
	}
	return otherwise
}

// latency reads a bound; 0 is none.
func (r *reader) latency(v value, otherwise time.Duration) time.Duration {
	if v.text == "0" || v.text == "0s" {
		return 0
	}
	return r.pause(v, otherwise, leastTimeout)
}

func (r *reader) statuses(v value) []int {
	var out []int
	for _, e := range r.many(v) {
		if n, ok := r.integer(e, 100, 599); ok {
			out = append(out, n)
		}
	}
	if v.kind == kindList && len(v.items) == 0 {
		r.bad(v, "name a status, such as 200", "status has no entries")
	}
	return out
}

// probeKind reads the one key that says how to probe.
func (r *reader) probeKind(v value, p *Probe) {
	switch kind := ProbeKind(v.name); kind {
	case ProbeHTTP:
		text, ok := r.text(v)
		if ok && r.probeURL(v, text) {
			p.Kind, p.HTTP = kind, text
		}
	case ProbeTCP:
		if v.kind == kindNull || v.kind == kindBoolean && v.text == "true" {
			p.Kind = kind
			return
		}
		text, ok := r.text(v)
		if !ok {
			return
		}
		if bareNumber.MatchString(text) {
			if n, ok := r.integer(v, 1, 65535); ok {
				p.Kind, p.TCP = kind, joinHostPort("localhost", n)
			}
			return
		}
		host, port, ok := splitHostPort(text, 1)
		if !ok {
			r.bad(v, "write tcp: 5432 or tcp: 127.0.0.1:5432", "%s is not a port or host:port", quote(text))
			return
		}
		p.Kind, p.TCP = kind, joinHostPort(host, port)
	case ProbeExec:
		switch {
		case v.kind == kindList:
			p.Exec = r.argv(v)
		case v.scalar():
			p.Exec = r.words(v)
		default:
			r.wrong(v, "text or a list of words", "write exec: [pg_isready, -q]")
		}
		if len(p.Exec) > 0 {
			p.Kind = kind
		}
	case ProbeLog:
		text, ok := r.text(v)
		if !ok {
			return
		}
		if text == "" {
			r.bad(v, "write a text that the server prints when it is ready", "log is empty")
			return
		}
		if len(text) > mostLogBytes {
			r.bad(v, "shorten it", "the expression has more than %d bytes", mostLogBytes)
			return
		}
		if _, err := regexp.Compile(text); err != nil {
			r.bad(v, `correct it; \ before a character takes it literally`, "the expression is not valid: %s", regexpProblem(err))
			return
		}
		p.Kind, p.Log = kind, text
	case ProbeNotify, ProbeNone:
		if v.kind == kindNull {
			p.Kind = kind
		} else if yes, ok := r.boolean(v); ok && yes {
			p.Kind = kind
		} else if ok {
			r.bad(v, "remove the line", "%s can't be false", v.name)
		}
	}
}

// regexpProblem takes the package's own prefix off.
func regexpProblem(err error) string {
	return strings.TrimPrefix(err.Error(), "error parsing regexp: ")
}

// probeURL checks what an http probe asks: a path on the server's own port, or
// a URL on this machine.
func (r *reader) probeURL(v value, text string) bool {
	const hint = "write a path, such as /health, or http://localhost:3000/health"
	if strings.HasPrefix(text, "//") || strings.ContainsAny(text, " \t\n#") {
		r.bad(v, hint, "%s can't be asked for", quote(text))
		return false
	}
	if strings.HasPrefix(text, "/") {
		if _, err := url.ParseRequestURI(text); err != nil {
			r.bad(v, hint, "%s can't be asked for", quote(text))
			return false
		}
		return true
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" && u.Scheme != "https":
		r.bad(v, hint, "%s is neither a path nor a URL", quote(text))
	case u.Scheme != "http":
		r.bad(v, hint, "http probes speak plain http, not %s", u.Scheme)
	case !loopback(u.Hostname()):
		r.bad(v, "to check another machine, add it below dependencies", "http probes ask this machine only, not %s", quote(u.Hostname()))
	case u.User != nil:
		r.bad(v, "remove the part before @", "an http probe can't hold a password")
	case u.Port() != "" && !validPort(u.Port(), 1):
		r.bad(v, "choose from 1 to 65535", "%s is not a port", quote(u.Port()))
	default:
		return true
	}
	return false
}

func (r *reader) restart(v value, out *Restart) {
	for _, e := range r.object(v) {
		switch e.name {
		case "on":
			if s, ok := r.choice(e); ok {
				out.On = RestartOn(s)
			}
		case "delay":
			if d, ok := r.duration(e, 0, maxDuration); ok {
				out.Delay, out.DelayIsZero = d, d == 0
			}
		case "max_delay":
			if d, ok := r.duration(e, 0, maxDuration); ok {
				out.MaxDelay = d
			}
		case "reset_after":
			if d, ok := r.duration(e, 0, maxDuration); ok {
				out.ResetAfter = d
			}
		case "max_in_a_row":
			if n, ok := r.integer(e, 1, mostInARow); ok {
				out.MaxInARow = n
			}
		case "max_per_hour":
			if n, ok := r.integer(e, 1, mostPerHour); ok {
				out.MaxPerHour = n
			}
		case "dependents":
			out.Dependents, _ = r.boolean(e)
		}
	}
	if out.On == OnNever {
		return
	}
	if out.Delay > out.MaxDelay {
		r.issue(Issue{Range: v.key, Key: v.path, Hint: "raise max_delay, or lower delay",
			Message: fmt.Sprintf("delay (%s) is longer than max_delay (%s)", durationText(out.Delay), durationText(out.MaxDelay))})
		return
	}
	if message, hint := unreachable(*out); message != "" {
		r.issue(Issue{Range: v.key, Key: v.path, Message: message, Hint: hint})
	}
}

func (r *reader) memory(v value, out *Memory) {
	for _, e := range r.object(v) {
		n, ok := r.size(e)
		if !ok {
			continue
		}
		if n != 0 && n < leastLimit {
			r.bad(e, "write it like 512MB or 1.5GB, or 0 for no limit", "%s can't be %s", e.name, e.text)
			continue
		}
		switch e.name {
		case "warn":
			out.Warn = n
		case "restart":
			out.Restart = n
		case "kill":
			out.Kill = n
		}
	}
	limits := []struct {
		name  string
		bytes int64
	}{{"warn", out.Warn}, {"restart", out.Restart}, {"kill", out.Kill}}
	for i := range limits {
		for j := i + 1; j < len(limits); j++ {
			low, high := limits[i], limits[j]
			if low.bytes == 0 || high.bytes == 0 || low.bytes < high.bytes {
				continue
			}
			written := func(name string) string {
				if _, ok := r.src.Keys[v.path+"."+name]; ok {
					return ""
				}
				return ", the default"
			}
			r.issue(Issue{Range: v.key, Key: v.path, Hint: "write all three, rising from warn to restart to kill",
				Message: fmt.Sprintf("memory: %s (%s%s) is not below %s (%s%s)", low.name, sizeText(low.bytes), written(low.name),
					high.name, sizeText(high.bytes), written(high.name))})
			return
		}
	}
}

func (r *reader) stop(v value, out *Stop) {
	for _, e := range r.object(v) {
		switch e.name {
		case "signal":
			if s, ok := r.choice(e); ok {
				out.Signal = s
			}
		case "grace":
			if d, ok := r.duration(e, 0, mostGrace); ok {
				out.Grace = d
			}
		case "spare":
			for _, n := range r.texts(e) {
				if !processNames.MatchString(n.text) {
					r.bad(n, "use letters, digits, spaces and _ . / -", "%s can't be the name of a process", quote(n.text))
					continue
				}
				out.Spare = append(out.Spare, n.text)
			}
		}
	}
}

func (r *reader) caches(v value, s *Server) {
	for _, e := range r.texts(v) {
		clean, ok := r.inside(e, s.Dir, "a path relative to dir")
		if !ok {
			continue
		}
		switch {
		case strings.ContainsAny(clean, "*?[{"):
			r.bad(e, "name each directory", "caches can't be globs")
		case clean == ".." || strings.HasPrefix(clean, "../"):
			r.bad(e, "name something below dir", "%s is not below the server's dir", quote(e.text))
		case protected(clean):
			r.bad(e, "remove the entry", "%s is protected and never removed", quote(e.text))
		default:
			s.Caches = append(s.Caches, clean)
		}
	}
}

// protected reports whether a clean path must not be removed whatever the
// configuration says (SECURITY-002). Letter case is ignored, as some file
// systems do.
func protected(clean string) bool {
	for part := range strings.SplitSeq(clean, "/") {
		if strings.EqualFold(part, ".git") {
			return true
		}
	}
	return clean == "." || strings.EqualFold(clean, "src")
}

func (r *reader) watch(v value, out *Watch) {
	for _, e := range r.object(v) {
		switch e.name {
		case "restart":
			for _, g := range r.texts(e) {
				switch {
				case strings.HasPrefix(g.text, "/") || strings.Contains(g.text, `\`) || hasDotDot(g.text):
					r.bad(g, "write a glob relative to dir, such as config/*.json", "%s is not below the server's dir", quote(g.text))
				case !doublestar.ValidatePattern(g.text):
					r.bad(g, "close its brackets and braces", "%s is not a valid glob", quote(g.text))
				default:
					out.Restart = append(out.Restart, g.text)
				}
			}
		case "lockfile":
			for _, f := range r.object(e) {
				yes, ok := r.boolean(f)
				if !ok {
					continue
				}
				switch f.name {
				case "caches":
					out.LockfileCaches = yes
				case "restart":
					out.LockfileRestart = yes
				}
			}
		case "settle":
			if d, ok := r.duration(e, leastSettle, mostSettle); ok {
				out.Settle = d
			}
		}
	}
}

func hasDotDot(p string) bool {
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

// dependency reads one entry. Its target may hold a password: no message
// quotes it.
func (r *reader) dependency(v value) Dependency {
	d := Dependency{Name: v.name, Every: DefaultDependencyEvery}
	if v.kind != kindMap {
		r.bad(v, fmt.Sprintf("write %s: {postgres: …}, {redis: …}, {tcp: host:port} or {http: …}", v.name), "a dependency must be a map of keys and values, not %s", v.kind)
		return d
	}
	var given []value
	told := len(r.issues)
	entries := r.object(v)
	told = len(r.issues) - told
	for _, e := range entries {
		if e.name == "every" {
			d.Every = r.pause(e, d.Every, leastPause)
			continue
		}
		given = append(given, e)
	}
	switch len(given) {
	case 0:
		if told == 0 {
			r.issue(Issue{Range: v.key, Key: v.path, Message: fmt.Sprintf("the dependency %s says no way to check it", v.name), Hint: "add one of postgres, redis, tcp, http"})
		}
		return d
	case 1:
	default:
		r.issue(Issue{Range: given[1].key, Key: given[1].path, Hint: "keep one of them",
			Message: fmt.Sprintf("a dependency can be checked one way, and has %s and %s", given[0].name, given[1].name)})
	}
	e := given[0]
	target, ok := r.text(e)
	if !ok {
		return d
	}
	if e.name == "tcp" {
		if bareNumber.MatchString(target) {
			target = "localhost:" + target
		}
		host, port, ok := splitHostPort(target, 1)
		if !ok {
			r.bad(e, "write tcp: 5432 or tcp: 127.0.0.1:5432", "the value of tcp is not a port or host:port")
			return d
		}
		d.Kind, d.Target, d.Addr = e.name, target, joinHostPort(host, port)
		return d
	}
	schemes := map[string]map[string]int{
		"postgres": {"postgres": 5432, "postgresql": 5432},
		"redis":    {"redis": 6379, "rediss": 6379},
		"http":     {"http": 80, "https": 443},
	}[e.name]
	example := map[string]string{"postgres": "postgres://localhost:5432/app", "redis": "redis://localhost:6379", "http": "http://localhost:8080/health"}[e.name]
	u, err := url.Parse(target)
	if err != nil || u.Host == "" {
		r.bad(e, "write it like "+example, "the value of %s is not a URL", e.name)
		return d
	}
	port, known := schemes[u.Scheme]
	switch {
	case !known:
		r.bad(e, "write it like "+example, "the URL of %s can't begin with %s://", e.name, u.Scheme)
		return d
	case u.Hostname() == "":
		r.bad(e, "write it like "+example, "the URL of %s names no host", e.name)
		return d
	case u.Port() != "":
		if !validPort(u.Port(), 1) {
			r.bad(e, "write it like "+example, "the port in the URL of %s is not valid", e.name)
			return d
		}
		port, _ = strconv.Atoi(u.Port())
	}
	d.Kind, d.Target, d.Addr = e.name, target, joinHostPort(u.Hostname(), port)
	return d
}
