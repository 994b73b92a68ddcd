package spec

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// finish applies the environment, fills in what depends on several keys, and
// checks what concerns more than one server.
func (l *Loaded) finish(getenv func(string) string) {
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	l.override(getenv)
	for i := range l.Project.Servers {
		l.finishProbes(&l.Project.Servers[i])
	}
	l.checkPorts()
	l.checkDependencies()
	l.checkCaches()
}

// problem adds an issue shown at a field of a server.
func (l *Loaded) problem(server, field string, i Issue) *Issue {
	if i.Code == "" {
		i.Code = codeInvalid
	}
	if i.Severity == "" {
		i.Severity = Error
	}
	i.File, i.Range = l.Locate(server, field)
	if i.Key == "" {
		i.Key = "servers." + server
		if field != "" {
			i.Key += "." + field
		}
	}
	l.Issues = append(l.Issues, i)
	return &l.Issues[len(l.Issues)-1]
}

// PortVariable is the name of the variable that overrides a server's first port.
func PortVariable(server string) string {
	return "DEV_PORT_" + strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToUpper(server))
}

// retriesVariable sets how long starts may take, in seconds: the audit's name
// for it comes from a probe each second.
const retriesVariable = "DEV_HEALTH_RETRIES"

// mostRetries is an hour.
const mostRetries = 3600

func (l *Loaded) override(getenv func(string) string) {
	users := map[string]string{} // variable -> the server that took it
	for i := range l.Project.Servers {
		s := &l.Project.Servers[i]
		name := PortVariable(s.Name)
		text := getenv(name)
		if text == "" {
			continue
		}
		if other, ok := users[name]; ok {
			l.problem(s.Name, "port", Issue{Message: fmt.Sprintf("the variable %s stands for both %s and %s", name, other, s.Name),
				Hint: "unset it, or rename one of the servers"})
			continue
		}
		users[name] = s.Name
		n, err := strconv.Atoi(text)
		if err != nil || !validPort(text, 1) {
			l.problem(s.Name, "port", Issue{Message: fmt.Sprintf("the variable %s is %s, not a port", name, quote(text)),
				Hint: "set it to a number from 1 to 65535, or unset it"})
			continue
		}
		if len(s.Ports) == 0 {
			s.Ports = []Port{{OnConflict: Ask, Owner: OwnerTree}}
		}
		s.Ports[0].Number = n
	}
	text := getenv(retriesVariable)
	if text == "" {
		return
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > mostRetries {
		l.Issues = append(l.Issues, Issue{Code: codeInvalid, Severity: Error, File: l.mainFile(), Range: l.firstLine(l.mainFile()),
			Message: fmt.Sprintf("the variable %s is %s, not a number of seconds", retriesVariable, quote(text)),
			Hint:    fmt.Sprintf("set it to a number from 1 to %d, or unset it", mostRetries)})
		return
	}
	for i := range l.Project.Servers {
		l.Project.Servers[i].Ready.Within = time.Duration(n) * time.Second
	}
}

// finishProbes gives a readiness probe without a kind its default, and refuses
// probes of a port that the server doesn't have.
func (l *Loaded) finishProbes(s *Server) {
	if s.Ready.Kind == "" {
		s.Ready.Default = true
		s.Ready.Kind = ProbeNone
		if len(s.Ports) > 0 {
			s.Ready.Kind = ProbeTCP
		}
	}
	check := func(p *Probe, field string) {
		onPort := p.Kind == ProbeHTTP && strings.HasPrefix(p.HTTP, "/") || p.Kind == ProbeTCP && p.TCP == ""
		if onPort && len(s.Ports) == 0 && !l.has("servers."+s.Name+".port") {
			l.problem(s.Name, field, Issue{Message: fmt.Sprintf("the probe asks the server's port, and %s has none", s.Name),
				Hint: "add `port:` to the server, or write host and port into the probe"})
		}
	}
	check(&s.Ready, "ready")
	if s.Live != nil {
		check(s.Live, "live")
	}
}

// has reports whether the path is written in any source.
func (l *Loaded) has(path string) bool {
	return slices.ContainsFunc(l.Sources, func(s Source) bool { _, ok := s.Keys[path]; return ok })
}

// portField is the path, below the server, of its i-th port.
func (l *Loaded) portField(s *Server, i int) string {
	for _, f := range []string{fmt.Sprintf("port[%d].number", i), fmt.Sprintf("port[%d]", i), "port.number"} {
		if l.has("servers." + s.Name + "." + f) {
			return f
		}
	}
	return "port"
}

// checkPorts reports each port that two servers want, on both of them. Among
// detected servers it is a warning: nobody wrote it down, and they may never
// be meant to run together.
func (l *Loaded) checkPorts() {
	type use struct {
		server, field string
	}
	severity := Error
	if l.Project.Detected {
		severity = Warning
	}
	first := map[int]use{}
	clash := func(u, other use, port int, with string) {
		file, r := l.Locate(other.server, other.field)
		hint := "give one of them another port"
		if l.Project.Detected {
			hint = "give one of them another port, or write a devside.yaml"
		}
		is := l.problem(u.server, u.field, Issue{Code: codeClash, Severity: severity,
			Message: fmt.Sprintf("port %d is also the port of %s", port, with), Hint: hint})
		is.Related = &Related{File: file, Range: r, Message: fmt.Sprintf("port %d of %s", port, with)}
	}
	if _, port, ok := splitHostPort(l.Project.HTTP, 1); ok {
		first[port] = use{}
	}
	told := map[int]bool{}
	for i := range l.Project.Servers {
		s := &l.Project.Servers[i]
		for j, p := range s.Ports {
			u := use{s.Name, l.portField(s, j)}
			other, taken := first[p.Number]
			switch {
			case !taken:
				first[p.Number] = u
			case other.server == "":
				file, r := l.place("http")
				is := l.problem(u.server, u.field, Issue{Code: codeClash, Severity: severity,
					Message: fmt.Sprintf("port %d is also devside's own, by the key http", p.Number), Hint: "give one of them another port"})
				is.Related = &Related{File: file, Range: r, Message: "devside's own port"}
			case other.server == s.Name: // an override made two ports of one server the same
				l.problem(u.server, u.field, Issue{Code: codeClash, Severity: severity,
					Message: fmt.Sprintf("port %d stands twice", p.Number), Hint: "unset " + PortVariable(s.Name)})
			default:
				clash(u, other, p.Number, other.server)
				if !told[p.Number] {
					clash(other, u, p.Number, s.Name)
					told[p.Number] = true
				}
			}
		}
	}
}

// checkDependencies reports names that mean nothing and servers that wait for
// each other.
func (l *Loaded) checkDependencies() {
	var all []string
	known := map[string]bool{}
	servers := map[string]*Server{}
	for i := range l.Project.Servers {
		s := &l.Project.Servers[i]
		all, known[s.Name], servers[s.Name] = append(all, s.Name), true, s
	}
	for _, d := range l.Project.Dependencies {
		if known[d.Name] {
			file, r := l.place("dependencies." + d.Name)
			l.Issues = append(l.Issues, Issue{Code: codeInvalid, Severity: Error, File: file, Range: r, Key: "dependencies." + d.Name,
				Message: fmt.Sprintf("%s is the name of a server, too", d.Name), Hint: "rename one of them"})
		}
		all, known[d.Name] = append(all, d.Name), true
	}
	for i := range l.Project.Servers {
		s := &l.Project.Servers[i]
		for _, d := range s.DependsOn {
			switch {
			case d == s.Name:
				l.problem(s.Name, l.dependsField(s, d), Issue{Message: s.Name + " depends on itself", Hint: "remove the entry"})
			case !known[d]:
				is := l.problem(s.Name, l.dependsField(s, d), Issue{Message: fmt.Sprintf("nothing is called %s", quote(d)),
					Hint: "known names: " + some(without(all, s.Name))})
				if len(all) < 2 {
					is.Hint = "add it below servers or dependencies, or remove the entry"
				}
				if is.Suggestion = nearest(d, without(all, s.Name)); is.Suggestion != "" {
					is.Message += fmt.Sprintf(", did you mean %q?", is.Suggestion)
				}
			}
		}
	}
	for _, cycle := range cycles(l.Project.Servers) {
		s := servers[cycle[0]]
		l.problem(s.Name, l.dependsField(s, cycle[1]), Issue{Message: "servers wait for each other: " + chain(append(cycle, cycle[0])),
			Hint: "remove one of these entries"})
	}
}

// some lists names, up to a number that a person looks through.
func some(names []string) string {
	const most = 20
	if len(names) > most {
		return strings.Join(names[:most], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

// chain writes a cycle in full, up to a length that a person can follow.
func chain(cycle []string) string {
	const most = 30
	if n := len(cycle); n > most {
		cycle = slices.Concat(cycle[:most-2], []string{fmt.Sprintf("… %d more …", n-most+1)}, cycle[n-1:])
	}
	return strings.Join(cycle, " → ")
}

func without(names []string, one string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == one })
}

// dependsField is the path, below the server, of the entry that names d.
func (l *Loaded) dependsField(s *Server, d string) string {
	for _, src := range l.Sources {
		prefix := "servers." + s.Name + ".depends_on"
		for i := 0; ; i++ {
			field := fmt.Sprintf("%s[%d]", prefix, i)
			r, ok := src.Keys[field]
			if !ok {
				break
			}
			if strings.Trim(src.slice(r), `"'`) == d {
				return fmt.Sprintf("depends_on[%d]", i)
			}
		}
	}
	return "depends_on"
}

// cycles returns one cycle for each group of servers that wait for each other,
// beginning with the group's first server in the file.
func cycles(servers []Server) [][]string {
	depends := map[string][]string{}
	for _, s := range servers {
		depends[s.Name] = s.DependsOn
	}
	var out [][]string
	reported := map[string]bool{}
	for _, s := range servers {
		if reported[s.Name] {
			continue
		}
		cycle := wayBack(s.Name, depends)
		if len(cycle) < 2 { // none, or a self-dependency, which has its own words
			continue
		}
		out = append(out, cycle)
		for _, n := range cycle {
			reported[n] = true
		}
	}
	return out
}

// wayBack is the shortest way from a server over its dependencies back to it,
// without the last step; nil when there is none.
func wayBack(start string, depends map[string][]string) []string {
	from := map[string]string{}
	queue := []string{start}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, next := range depends[at] {
			if next == at {
				continue
			}
			if next == start {
				way := []string{at}
				for at != start {
					at = from[at]
					way = append(way, at)
				}
				slices.Reverse(way)
				return way
			}
			if _, seen := from[next]; !seen {
				from[next] = at
				queue = append(queue, next)
			}
		}
	}
	return nil
}

// checkCaches refuses a cache that is, or holds, a server's directory. A
// preset's is left out in silence: nobody has written it.
func (l *Loaded) checkCaches() {
	for i := range l.Project.Servers {
		s := &l.Project.Servers[i]
		if !l.has("servers." + s.Name + ".caches") {
			s.Caches = slices.DeleteFunc(s.Caches, func(c string) bool { return l.holdsServer(path.Join(s.Dir, c)) })
			continue
		}
		for _, c := range s.Caches {
			whole := path.Join(s.Dir, c)
			for _, other := range l.Project.Servers {
				if other.Dir == whole || strings.HasPrefix(other.Dir, whole+"/") {
					l.problem(s.Name, l.cacheField(s, c), Issue{Message: fmt.Sprintf("the cache %s holds the directory of %s", quote(c), other.Name),
						Hint: "remove the entry"})
					break
				}
			}
		}
	}
}

// holdsServer reports whether a directory is, or holds, a server's.
func (l *Loaded) holdsServer(dir string) bool {
	return slices.ContainsFunc(l.Project.Servers, func(s Server) bool { return s.Dir == dir || strings.HasPrefix(s.Dir, dir+"/") })
}

func (l *Loaded) cacheField(s *Server, c string) string {
	for _, src := range l.Sources {
		for i := 0; ; i++ {
			r, ok := src.Keys[fmt.Sprintf("servers.%s.caches[%d]", s.Name, i)]
			if !ok {
				break
			}
			if path.Clean(strings.Trim(src.slice(r), `"'`)) == c {
				return fmt.Sprintf("caches[%d]", i)
			}
		}
	}
	return "caches"
}

// The policy that restarts servers holds one that keeps crashing in two ways:
// by restarts in a row, and by restarts in an hour. The first sees a server
// that crashes before its delay has fallen back, the second one that stays up
// just long enough (RELIABILITY-004: a crash every 61 s restarts forever).
// Settings can switch either off without saying so. unreachable finds out:
//
//   - A server that crashes at once must be held within a day. Its delays
//     double up to max_delay; the day is simulated.
//   - A server that crashes as soon as its delay has fallen back must come to
//     more than max_per_hour restarts in an hour, or else to no more than the
//     default, which is what devside promises to bear (SECURITY-006). Its
//     shortest cycle is reset_after; below the 10 s of ready after which the
//     first restart is immediate, it is the longer of reset_after and twice
//     the delay, plus the delay.
func unreachable(r Restart) (message, hint string) {
	const (
		day          = 24 * time.Hour
		immediate    = 10 * time.Second // DESIGN §4
		perHourBound = DefaultMaxPerHour
	)
	if !held(r, day) {
		return fmt.Sprintf("with delays up to %s, a server that crashes at once would be restarted for more than a day", durationText(r.MaxDelay)),
			"lower max_in_a_row or max_delay"
	}
	cycle := r.ResetAfter
	if cycle < immediate {
		cycle = max(r.ResetAfter, 2*r.Delay)
		if cycle < immediate {
			cycle += r.Delay
		}
	}
	if cycle <= 0 {
		return "", "" // restarts without pause reach any number
	}
	restarts := int(time.Hour / cycle)
	if restarts > r.MaxPerHour || restarts <= perHourBound {
		return "", ""
	}
	return fmt.Sprintf("max_per_hour (%d) can't be reached: a server that crashes every %s restarts %d times an hour, forever",
			r.MaxPerHour, durationText(cycle), restarts),
		fmt.Sprintf("set max_per_hour below %d, or reset_after to %s or more", restarts, durationText(time.Hour/perHourBound))
}

// held simulates a server that crashes the moment it was started.
func held(r Restart, within time.Duration) bool {
	var (
		now   time.Duration
		times []time.Duration // of the restarts
		delay = r.Delay
	)
	for len(times) <= r.MaxInARow {
		times = append(times, now)
		recent := 0
		for i := len(times) - 1; i >= 0 && now-times[i] < time.Hour; i-- {
			recent++
		}
		if recent > r.MaxPerHour {
			return true
		}
		now += delay
		delay = min(2*delay, r.MaxDelay)
		if now > within {
			return false
		}
	}
	return true
}
