package crash

import (
	"slices"
	"strings"
)

// maxLanes bounds how many programs are told apart in one output.
const maxLanes = 8

// lane is what one program printed of an output that several share.
type lane struct {
	prefix string // what tells its lines from others; empty: they have none
	lines  []string
}

// laneName shows that a name in brackets is a program's, as concurrently prints
// it: it stands before an empty line, or a line of a stack. Tools put names of
// their own there, "[nodemon] ", "[vite] ", but before words.
var laneName = expr(`^\[([\w:.@/-]{1,40})\](?:$|\s+at )`)

// bracketed is a line that begins with a name in brackets.
var bracketed = expr(`^\[([\w:.@/-]{1,40})\](?: |$)`)

// lanePrefix is what runners of several programs put before each line:
// concurrently "[0] ", Turborepo "web:dev: ", foreman and docker compose
// "web.1  | ".
var lanePrefix = expr(`^(?:\[\d{1,2}\](?: |$)|@?[a-z][\w./@-]*[:#](?:dev|start|serve|watch|build):(?: |$)|(?:\d\d:\d\d:\d\d )?([a-z][\w.-]*) +\|(?: |$))`)

// lanes tells the programs apart whose output is mixed, in the order in which
// they appear, the one without a prefix first. known are names in brackets that
// earlier lines have shown to be programs.
func lanes(lines []string, known ...string) []lane {
	for _, line := range lines {
		if m := laneName().FindStringSubmatch(line); m != nil && len(known) < 2*maxLanes {
			known = append(known, "["+m[1]+"]")
		}
	}
	all := []lane{{}}
	for _, line := range lines {
		prefix, name := "", ""
		if line != "" && (line[0] == '[' || strings.Contains(line, "|") || strings.Contains(line, ":")) {
			if m := lanePrefix().FindStringSubmatch(line); m != nil {
				prefix, name = m[0], strings.TrimRight(m[0], " ")
				if m[1] != "" { // without foreman's time, which differs
					name = m[1]
				}
			} else if m := bracketed().FindString(line); m != "" && slices.Contains(known, strings.TrimRight(m, " ")) {
				prefix, name = m, strings.TrimRight(m, " ")
			}
		}
		line = line[len(prefix):]
		i := 0
		for i < len(all) && all[i].prefix != name {
			i++
		}
		if i == maxLanes {
			continue
		}
		if i == len(all) {
			all = append(all, lane{prefix: name})
		}
		all[i].lines = append(all[i].lines, line)
	}
	return all
}
