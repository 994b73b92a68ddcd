package editor

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// DiagnosticSource is the `source` of every diagnostic of devside.
const DiagnosticSource = "devside"

// MaxPerFile bounds what one file can show: a configuration that is wrong on
// every line tells nobody more with its hundred and first error, and clients
// redraw the whole list on each publish.
const MaxPerFile = 100

// problemsPage describes every code, in the project's own documentation.
const problemsPage = "https://github.com/devside/devside/blob/main/README.md#problems"

// maxRelatedText bounds the output shown beside a crash: a hover, not a log.
const maxRelatedText = 2000

// Input is what Diagnostics looks at.
type Input struct {
	// Loaded is the configuration as the editor shows it: open buffers in
	// place of the files. nil when it could not be read at all.
	Loaded *spec.Loaded
	// Status is the hub's newest snapshot; nil without a hub.
	Status *status.Project
	// Open returns the text of a file that is open in the editor.
	Open func(file string) (text string, ok bool)
	// URI names a file to the client. Files are slash-separated and relative
	// to the root, as in spec.Source.
	URI func(file string) string
	// Related is whether the client declared relatedInformation.
	Related bool
	// Described is whether the client shows a link behind a diagnostic's code.
	Described bool
}

// Data is the `data` of a diagnostic: what a quick-fix needs to know of it.
type Data struct {
	Code       string         `json:"code"`
	Server     string         `json:"server,omitempty"`
	Port       int            `json:"port,omitempty"`
	Holder     *status.Holder `json:"holder,omitempty"`
	Suggestion string         `json:"suggestion,omitempty"`
	Key        string         `json:"key,omitempty"`
	Run        string         `json:"run,omitempty"` // dependencies-stale: what installs, in Dir
	Dir        string         `json:"dir,omitempty"`
}

// Diagnostics places every issue of the configuration and every problem of the
// running project. The keys of the result are files as in spec.Source; a file
// without diagnostics has no entry.
//
// Of what the hub says about the configuration itself (config-invalid,
// port-clash) nothing is taken once the caller has parsed it: the hub speaks
// of the file on disk and has no positions, the caller's parse is of what the
// user is looking at.
func Diagnostics(in Input) map[string][]protocol.Diagnostic {
	b := newBuilder(in)
	parsed := in.Loaded != nil && len(in.Loaded.Sources)+len(in.Loaded.Issues) > 0
	for _, issue := range b.in.Loaded.Issues {
		b.issue(issue)
	}
	if in.Status != nil {
		for _, p := range in.Status.Problems {
			if parsed && (p.Code == status.ConfigInvalid || p.Code == status.PortClash) {
				continue
			}
			b.problem(p)
		}
	}
	return b.finish()
}

// builder gathers the diagnostics of one call.
type builder struct {
	in    Input
	texts map[string]Text // of files already split
	out   map[string][]protocol.Diagnostic
}

// found is one diagnostic before it is put into the protocol's shape.
type found struct {
	file     string
	at       protocol.Range
	severity protocol.DiagnosticSeverity
	message  string
	hint     string
	data     Data
	related  []protocol.DiagnosticRelatedInformation
}

func (b *builder) issue(i spec.Issue) {
	f := found{
		file:     i.File,
		at:       b.text(i.File).Range(i.Range),
		severity: protocol.DiagnosticSeverityError,
		message:  i.Message,
		hint:     i.Hint,
		data:     Data{Code: i.Code, Server: b.serverOfKey(i.Key), Suggestion: i.Suggestion, Key: i.Key},
	}
	if i.Severity == spec.Warning {
		f.severity = protocol.DiagnosticSeverityWarning
	}
	if f.data.Code == string(status.PortClash) {
		f.data.Port = b.portOf(f.data.Server)
	}
	if r := i.Related; r != nil {
		f.related = append(f.related, b.related(r.File, b.text(r.File).Range(r.Range), r.Message))
	}
	b.add(f)
}

func (b *builder) problem(p status.Problem) {
	entry, known := status.Lookup(p.Code)
	field := b.fieldOf(p, cmp.Or(p.Field, entry.Field))
	if field == "-" && b.servers() == 0 {
		return
	}
	severity := cmp.Or(p.Severity, entry.Severity)
	f := found{
		severity: severityOf(severity),
		message:  p.Message,
		hint:     p.Hint,
		data:     Data{Code: string(p.Code), Server: p.Server, Port: p.Port, Holder: p.Holder, Run: spec.Join(p.Argv), Dir: p.Dir},
	}
	if f.message == "" && known {
		f.message = entry.Title
	}
	f.file, f.at = b.place(p, field)
	if s, ok := b.server(p.Server); ok && p.Code == status.CacheRefused {
		f.data.Key = s.Origin.Key + "." + field
	}
	if lines := lastLines(p.Lines); lines != "" {
		file, at := b.locate(p.Server, "")
		f.related = append(f.related, b.related(file, at, lines))
	}
	for _, r := range p.Related {
		f.related = append(f.related, b.related(r.File, b.at(r), "this leads there"))
	}
	if p.Code == status.DependencyDown && p.Other != "" {
		if file, r, ok := b.key("dependencies." + p.Other); ok {
			f.related = append(f.related, b.related(file, b.text(file).Range(r), p.Other+" is declared here"))
		}
	}
	if p.Code == status.NotTrusted && b.in.Status != nil {
		for _, c := range b.in.Status.Trust.Commands {
			file, at := b.locate(c.Server, "")
			f.related = append(f.related, b.related(file, at, trustText(c)))
		}
	}
	b.add(f)
}

// trustText is what a person agrees to, of one server.
func trustText(c status.TrustCommand) string {
	text := c.Server + " would run " + spec.Join(c.Argv)
	if c.Dir != "" && c.Dir != "." {
		text += " in " + c.Dir
	}
	if c.Script != "" {
		text += ", which is " + c.Script
	}
	for _, more := range []struct {
		what string
		list []string
	}{{"env files", c.EnvFiles}, {"variables", c.Env}, {"probes", c.Probes}} {
		if len(more.list) > 0 {
			text += "; " + more.what + " " + strings.Join(more.list, ", ")
		}
	}
	return stripEscapes(text)
}

// place finds where a problem is shown: the line that it names, else the field,
// else the server's key, else the first line.
func (b *builder) place(p status.Problem, field string) (string, protocol.Range) {
	if field == status.Site && p.File != "" {
		return p.File, b.at(status.Place{File: p.File, Line: p.Line, Column: p.Column})
	}
	if field == "-" || p.Server == "" {
		return b.firstLine()
	}
	return b.locate(p.Server, field)
}

// lineEnd is behind the end of any line: clients put such a place at its end.
const lineEnd = 1 << 16

// at is a place in a source file: the word there, or the line where no column is
// known. The text is known only of a file that is open; in another a range that
// is empty is shown at the word by clients.
func (b *builder) at(p status.Place) protocol.Range {
	if b.read(p.File) != "" {
		if p.Column == 0 {
			return b.text(p.File).Line(p.Line - 1)
		}
		position := spec.Position{Line: p.Line, Column: p.Column}
		return b.text(p.File).Range(spec.Range{Start: position, End: position})
	}
	start := protocol.Position{Line: uint32(max(p.Line-1, 0)), Character: uint32(max(p.Column-1, 0))}
	end := start
	if p.Column == 0 {
		end.Character = lineEnd
	}
	return protocol.Range{Start: start, End: end}
}

// fieldOf is the entry of a list that a problem is about, else the field.
func (b *builder) fieldOf(p status.Problem, field string) string {
	s, ok := b.server(p.Server)
	if !ok {
		return field
	}
	entry := -1
	switch {
	case field == "port" && p.Port != 0:
		entry = slices.IndexFunc(s.Ports, func(port spec.Port) bool { return port.Number == p.Port })
	case field == "depends_on" && p.Other != "":
		entry = slices.Index(s.DependsOn, p.Other)
	case field == "caches" && p.File != "":
		entry = slices.IndexFunc(s.Caches, func(c string) bool { return path.Join(s.Dir, c) == path.Clean(p.File) })
	}
	if entry < 0 {
		return field
	}
	return fmt.Sprintf("%s[%d]", field, entry)
}

func (b *builder) locate(server, field string) (string, protocol.Range) {
	if server == "" {
		return b.firstLine()
	}
	file, r := b.in.Loaded.Locate(server, field)
	if file == "" || r.IsZero() {
		return b.firstLine()
	}
	return file, b.text(file).Range(r)
}

// firstLine is the place of what has no place of its own: the first line of
// the file the project comes from.
func (b *builder) firstLine() (string, protocol.Range) {
	file := spec.FileName
	if len(b.in.Loaded.Sources) > 0 {
		file = b.in.Loaded.Sources[0].Path
	} else if b.in.Status != nil && b.in.Status.Config != "" {
		file = path.Base(strings.ReplaceAll(b.in.Status.Config, `\`, "/"))
	}
	return file, b.text(file).Line(0)
}

// key looks a config path up in every source.
func (b *builder) key(key string) (string, spec.Range, bool) {
	for _, s := range b.in.Loaded.Sources {
		if r, ok := s.Values[key]; ok && !r.IsZero() {
			return s.Path, r, true
		}
		if r, ok := s.Keys[key]; ok && !r.IsZero() {
			return s.Path, r, true
		}
	}
	return "", spec.Range{}, false
}

func (b *builder) server(name string) (spec.Server, bool) {
	i := slices.IndexFunc(b.in.Loaded.Project.Servers, func(s spec.Server) bool { return s.Name == name })
	if i < 0 {
		return spec.Server{}, false
	}
	return b.in.Loaded.Project.Servers[i], true
}

func (b *builder) servers() int {
	if b.in.Status != nil && len(b.in.Status.Servers) > 0 {
		return len(b.in.Status.Servers)
	}
	return len(b.in.Loaded.Project.Servers)
}

// serverOfKey finds the server a config path belongs to. Server names may hold
// dots, so the path is compared with the names instead of being split.
func (b *builder) serverOfKey(key string) string {
	rest, ok := strings.CutPrefix(key, "servers.")
	if !ok {
		return ""
	}
	best := ""
	for _, s := range b.in.Loaded.Project.Servers {
		if len(s.Name) > len(best) && (rest == s.Name || strings.HasPrefix(rest, s.Name+".")) {
			best = s.Name
		}
	}
	return best
}

func (b *builder) portOf(server string) int {
	if s, ok := b.server(server); ok && len(s.Ports) > 0 {
		return s.Ports[0].Number
	}
	return 0
}

// text is the text of a file as the editor shows it.
func (b *builder) text(file string) Text {
	if t, ok := b.texts[file]; ok {
		return t
	}
	t := NewText(b.read(file))
	b.texts[file] = t
	return t
}

func (b *builder) read(file string) string {
	if b.in.Open != nil {
		if text, ok := b.in.Open(file); ok {
			return text
		}
	}
	for _, s := range b.in.Loaded.Sources {
		if s.Path == file {
			return s.Text
		}
	}
	return ""
}

func (b *builder) related(file string, at protocol.Range, message string) protocol.DiagnosticRelatedInformation {
	return protocol.DiagnosticRelatedInformation{
		Location: protocol.Location{URI: uri.URI(b.uri(file)), Range: at},
		Message:  message,
	}
}

func (b *builder) uri(file string) string {
	if b.in.URI == nil {
		return file
	}
	return b.in.URI(file)
}

func (b *builder) add(f found) {
	text := f.message
	if f.hint != "" {
		text += "\n" + f.hint
	}
	data, err := json.Marshal(f.data)
	if err != nil {
		data = []byte("{}") // strings and numbers always encode; a quick-fix can live without
	}
	d := protocol.Diagnostic{
		Range:    f.at,
		Severity: f.severity,
		Code:     protocol.String(f.data.Code),
		Source:   protocol.NewOptional(DiagnosticSource),
		Message:  protocol.String(text),
		Data:     protocol.LSPAny(data),
	}
	if b.in.Described {
		d.CodeDescription = protocol.CodeDescription{Href: uri.URI(problemsPage)}
	}
	if b.in.Related {
		d.RelatedInformation = f.related
	}
	same := func(o protocol.Diagnostic) bool {
		return o.Range == d.Range && o.Code == d.Code && o.Message == d.Message
	}
	if !slices.ContainsFunc(b.out[f.file], same) {
		b.out[f.file] = append(b.out[f.file], d)
	}
}

func (b *builder) finish() map[string][]protocol.Diagnostic {
	for file, list := range b.out {
		slices.SortStableFunc(list, compare)
		if len(list) > MaxPerFile {
			list = keepWorst(list)
		}
		b.out[file] = list
	}
	return b.out
}

// keepWorst drops what matters least from a list that is too long, and keeps
// the order of the rest.
func keepWorst(list []protocol.Diagnostic) []protocol.Diagnostic {
	slices.SortStableFunc(list, func(x, y protocol.Diagnostic) int { return cmp.Compare(x.Severity, y.Severity) })
	list = list[:MaxPerFile]
	slices.SortStableFunc(list, compare)
	return list
}

// compare orders diagnostics by place, then severity (1 is an error), then text.
func compare(x, y protocol.Diagnostic) int {
	return cmp.Or(
		cmp.Compare(x.Range.Start.Line, y.Range.Start.Line),
		cmp.Compare(x.Range.Start.Character, y.Range.Start.Character),
		cmp.Compare(x.Severity, y.Severity),
		cmp.Compare(fmt.Sprint(x.Code), fmt.Sprint(y.Code)),
		cmp.Compare(fmt.Sprint(x.Message), fmt.Sprint(y.Message)),
	)
}

func severityOf(s status.Severity) protocol.DiagnosticSeverity {
	switch s {
	case status.Warning:
		return protocol.DiagnosticSeverityWarning
	case status.Information:
		return protocol.DiagnosticSeverityInformation
	}
	return protocol.DiagnosticSeverityError
}

// lastLines joins the last lines of output that fit into a hover, without
// escape sequences: a client shows them as text.
func lastLines(lines []string) string {
	size, first := 0, len(lines)
	clean := make([]string, len(lines))
	for i := len(lines) - 1; i >= 0; i-- {
		clean[i] = strings.TrimRight(stripEscapes(lines[i]), " \t\r")
		if size += len(clean[i]) + 1; size > maxRelatedText && first < len(lines) {
			break
		}
		first = i
	}
	text := strings.Trim(strings.Join(clean[first:], "\n"), "\n")
	if over := len(text) - maxRelatedText; over > 0 {
		text = "…" + strings.ToValidUTF8(text[over:], "")
	}
	return text
}

// stripEscapes removes ANSI control sequences and the other control characters
// but tab.
func stripEscapes(s string) string {
	const escape, bell = 0x1b, 0x07
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != escape {
			if c >= ' ' && c != 0x7f || c == '\t' {
				b.WriteByte(c)
			}
			continue
		}
		i++
		switch {
		case i < len(s) && s[i] == '[': // CSI: parameters, then one final byte from @ to ~
			for i++; i < len(s) && (s[i] < '@' || s[i] > '~'); i++ {
			}
		case i < len(s) && s[i] == ']': // OSC: ends with BEL or ESC \
			for i++; i < len(s) && s[i] != bell && s[i] != escape; i++ {
			}
			if i+1 < len(s) && s[i] == escape && s[i+1] == '\\' {
				i++
			}
		}
	}
	return b.String()
}
