package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// procfiles are where foreman, overmind and Heroku find what to run, the one
// for development first.
var procfiles = []string{"Procfile.dev", "Procfile"}

const (
	// maxProcfileBytes bounds a Procfile, mostProcesses its lines that count.
	maxProcfileBytes = 64 << 10
	mostProcesses    = 100
	// Foreman gives the first process port 5000, and each further one 100 more.
	foremanPort, foremanStep = 5000, 100
	// procfileShell is foreman's.
	procfileShell = "sh"
	// releasePhase is what Heroku runs once for each release: no server.
	releasePhase = "release"
)

// processLine is foreman's own expression for a line.
var processLine = regexp.MustCompile(`^([A-Za-z0-9_-]+):\s*(.+)$`)

// procfile reads the processes of the root's Procfile; nil: there is none that
// counts. A line of plain words is run as such; what only a shell understands is
// given to sh, as foreman does with all of them. Foreman's .env is read, too. A
// server has the port that its command names, that of its framework, or, where
// the command says $PORT, the one that foreman would choose.
func procfile(l *Loaded, fsys fs.FS, root *manifest) []candidate {
	for _, file := range procfiles {
		if file != procfiles[0] && root != nil {
			if dev, ok := root.script("dev"); ok && strings.TrimSpace(dev.text) != "" {
				return nil // a Procfile alone may well be for production only
			}
		}
		text, err := readRegular(fsys, file, maxProcfileBytes)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			l.Issues = append(l.Issues, Issue{Code: codeInvalid, Severity: Warning, File: file, Range: lineRange([]string{""}, 1),
				Message: "the file can't be read: " + cause(err), Hint: "check its permissions, or write a devside.yaml"})
			continue
		}
		if found := processes(l, fsys, file, plainText(text)); len(found) > 0 {
			return found
		}
	}
	return nil
}

func processes(l *Loaded, fsys fs.FS, file, text string) []candidate {
	var out []candidate
	lines := strings.Split(strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n"), "\n")
	names := map[string]bool{}
	for i, line := range lines {
		warn := func(message, hint string) {
			l.Issues = append(l.Issues, Issue{Code: codeInvalid, Severity: Warning, File: file, Range: lineRange(lines, i+1), Message: message, Hint: hint})
		}
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		m := processLine.FindStringSubmatchIndex(line)
		if m == nil {
			warn("this line is not read", "write it as `name: command`")
			continue
		}
		name, command := line[m[2]:m[3]], strings.TrimSpace(line[m[4]:m[5]])
		switch {
		case name == releasePhase:
			continue
		case names[name]:
			warn(fmt.Sprintf("%s stands twice", name), "rename one of the two")
			continue
		case len(out) == mostProcesses:
			warn("the rest of the file is not read", "write a devside.yaml")
			return out
		}
		s := newServer("")
		if problem := s.takeLine(command); problem != "" {
			warn(problem, "put the command into a script and name that")
			continue
		}
		names[name] = true
		s.Name = serverName(name)
		s.Origin = Origin{File: file, Key: "processes." + name}
		if exists(fsys, ".env") {
			s.EnvFiles = []string{".env"}
		}
		at := func(from, to int) Range {
			column := func(off int) int { return 1 + utf8.RuneCountInString(line[:off]) }
			return Range{Position{i + 1, column(from)}, Position{i + 1, column(to)}}
		}
		c := candidate{s: s, file: file, source: text, key: at(m[2], m[3]), value: at(m[4], m[4]+len(command)), stated: portOf(command)}
		if k, t, ok := recogniseServer(fsys, s); ok {
			c.known, c.text = k, t
			if c.stated == 0 {
				c.stated = portOf(t)
			}
		}
		c.closed = s.Shell != "" || c.text != strings.Join(s.Command, " ")
		if c.stated == 0 && asksPort.MatchString(command) {
			c.stated = foremanPort + foremanStep*len(out)
		}
		out = append(out, c)
	}
	return out
}

// asksPort matches a command that says $PORT.
var asksPort = regexp.MustCompile(`\$(?:PORT\b|\{PORT\b)`)

// builtins are commands that only a shell has, or that change it.
var builtins = []string{".", ":", "cd", "eval", "exec", "export", "set", "source", "trap", "ulimit", "umask", "unset", "wait"}

// takeLine makes a command of a line: its words, or, where it needs a shell, sh
// with the line as it is. problem says why neither can be.
func (s *Server) takeLine(command string) (problem string) {
	s.Text = command
	words, problem, _ := splitWords(command, "")
	if problem == "" && !slices.Contains(builtins, words[0]) {
		s.Command = words
		return ""
	}
	if len(command) > maxCommandBytes || strings.ContainsRune(command, 0) {
		return problem
	}
	if _, err := parseShell(command); err != nil {
		return problem
	}
	s.Shell, s.Command = procfileShell, []string{procfileShell, "-c", command}
	return ""
}
