package spec

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Init writes the devside.yaml that says what was detected: read again, it gives
// the same servers. Each has a comment that says where it was found, what its
// preset brings, and which keys it could have. Without servers the text is an
// example in comments, which is no valid configuration yet.
func Init(l *Loaded) string {
	var b strings.Builder
	b.WriteString(`# What devside starts for this project, as it was found by "devside init". A line
# behind a # is not in force. "devside check" shows every error in this file.
version: 1

servers:
`)
	if len(l.Project.Servers) == 0 {
		b.WriteString(`  # web:
  #   command: npm run dev    # plain words, never given to a shell
  #   port: 3000              # also set as PORT
`)
	}
	for i := range l.Project.Servers {
		if i > 0 {
			b.WriteByte('\n')
		}
		l.initServer(&b, &l.Project.Servers[i])
	}
	b.WriteString(`
# dependencies:               # not started, only checked
#   postgres: {postgres: "postgres://localhost:5432/app"}
`)
	return b.String()
}

func (l *Loaded) initServer(b *strings.Builder, s *Server) {
	key := func(format string, args ...any) { fmt.Fprintf(b, "    "+format+"\n", args...) }
	p, known := LookupPreset(s.Preset)
	for _, line := range l.foundIn(s, p) {
		fmt.Fprintf(b, "  # %s\n", line)
	}
	fmt.Fprintf(b, "  %s:\n", yamlText(s.Name))
	if s.Shell != "" {
		key("command: %s", yamlText(s.Text))
		key("shell: %s", s.Shell)
	} else if words, problem, _ := splitWords(s.Text, ""); problem == "" && slices.Equal(words, s.Command) {
		key("command: %s", yamlText(s.Text))
	} else {
		key("command: %s", yamlList(s.Command))
	}
	if s.Dir != "." {
		key("dir: %s", yamlText(s.Dir))
	}
	if len(s.Ports) > 0 {
		key("port: %d", s.Ports[0].Number)
	}
	if len(s.EnvFiles) > 0 {
		key("env_file: %s", yamlList(s.EnvFiles))
	}
	if known {
		key("preset: %s", s.Preset)
	}

	if len(s.Ports) == 0 {
		key("# port: 3000                # none was found; with one devside sets PORT and waits until it is listened on")
	}
	key("# depends_on: [postgres]    # started, or checked, first")
	if len(s.EnvFiles) == 0 {
		key("# env_file: [.env]")
	}
	if len(s.Ports) > 0 {
		key("# ready: {http: /, within: %s}", durationText(s.Ready.Within))
	}
	if len(s.Caches) > 0 {
		key("# caches: %s", yamlList(s.Caches))
	}
	if len(s.Watch.Restart) > 0 {
		key("# watch: {restart: %s}", yamlList(s.Watch.Restart))
	}
}

// foundIn says where a server comes from, and what its preset brings.
func (l *Loaded) foundIn(s *Server, p *Preset) []string {
	o := s.Origin
	place := o.File
	for _, src := range l.Sources {
		if r, ok := src.Keys[o.Key]; ok && src.Path == o.File {
			place += ":" + strconv.Itoa(r.Start.Line)
		}
	}
	found := "Found in " + place
	if name, ok := strings.CutPrefix(o.Key, "scripts."); ok {
		found += ", script " + name + ": " + o.Script
	}
	out := []string{oneLine(found)}
	if p == nil {
		return out
	}
	brings := []string{}
	add := func(what string, list []string) {
		if len(list) > 0 {
			brings = append(brings, what+" "+strings.Join(list, ", "))
		}
	}
	if p.Within > 0 {
		brings = append(brings, "up to "+durationText(s.Ready.Within)+" to become ready")
	}
	add("caches", s.Caches)
	add("a restart when these change:", s.Watch.Restart)
	add("no restart when these change, since it sees to them itself:", s.Watch.Reloads)
	add("lockfiles", s.Watch.Lockfiles)
	out = append(out, fmt.Sprintf("The preset %s (%s) brings, where no key says otherwise:", p.Name, p.Title))
	for _, line := range brings {
		out = append(out, "- "+line)
	}
	return out
}

// oneLine makes a comment of any text: nothing in it ends the line.
func oneLine(s string) string {
	const most = 160
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c == 0x85 || c == 0x2028 || c == 0x2029 || c == 0xfeff || c == 0xfffd {
			return ' '
		}
		return c
	}, s)
	if c := []rune(s); len(c) > most {
		return string(c[:most]) + "…"
	}
	return s
}

// plainYAML is text that YAML reads as text without quotes, wherever it stands:
// words that begin with a letter, but for the names of other values.
var plainYAML = regexp.MustCompile(`^[A-Za-z./][A-Za-z0-9_./$@+=-]*(?: [A-Za-z0-9_./$@+=-]+)*$`)

// yamlWords are texts that some reader takes for something else.
var yamlWords = []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", ".nan", ".inf"}

// yamlText writes a text as a YAML scalar.
func yamlText(s string) string {
	if plainYAML.MatchString(s) && !slices.Contains(yamlWords, strings.ToLower(s)) && strings.Trim(s, ".0123456789eE+-xob_") != "" {
		return s
	}
	var b strings.Builder
	enc := json.NewEncoder(&b) // a JSON string is a YAML scalar
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return strconv.Quote(s)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// yamlList writes texts as a flow list.
func yamlList(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = yamlText(s)
	}
	return "[" + strings.Join(out, ", ") + "]"
}
