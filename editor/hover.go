package editor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.lsp.dev/protocol"

	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// clockTime is how a moment of today is written.
const clockTime = "15:04:05"

// Hover is what is known of the place under the cursor: of a server's name what
// it does now, of a dependency whether it is up, of any other key or value what
// the key means. nil: nothing.
func Hover(v View, file string, at protocol.Position) *protocol.Hover {
	b := newBuilder(v.Input)
	src := b.source(file)
	if src == nil {
		return nil
	}
	where, ok := b.find(src, b.text(file).Position(at))
	if !ok {
		return nil
	}
	d := &document{markdown: v.Client.HoverMarkdown}
	name := strings.Trim(b.text(file).slice(b.text(file).Exact(where.at)), `"'`)
	switch {
	case file != spec.FileName:
		i := slices.IndexFunc(b.serversIn(file), func(s placed) bool { return s.Origin.Key == where.path })
		if i < 0 {
			return nil
		}
		v.describeServer(d, b.serversIn(file)[i].Server)
	case where.key == "servers.*" && where.isKey:
		v.describeName(d, b, where.server)
	case where.key == "dependencies.*" && where.isKey, where.key == "servers.*.depends_on" && !where.isKey && !strings.ContainsAny(name, "[, "):
		v.describeName(d, b, name)
	}
	if key, ok := spec.LookupKey(where.key); ok && file == spec.FileName {
		describeKey(d, key)
	}
	if d.empty() {
		return nil
	}
	r := b.text(file).Exact(where.at)
	if r.Start.Line != r.End.Line {
		return &protocol.Hover{Contents: d.content()}
	}
	return &protocol.Hover{Contents: d.content(), Range: &r}
}

// describeName describes whatever has a name: a server or a dependency.
func (v View) describeName(d *document, b *builder, name string) {
	if s, ok := b.server(name); ok {
		v.describeServer(d, s)
		return
	}
	for _, dep := range b.in.Loaded.Project.Dependencies {
		if dep.Name != name {
			continue
		}
		d.title(name, dep.Kind+", only checked")
		if b.in.Status == nil {
			return
		}
		for _, now := range b.in.Status.Dependencies {
			switch {
			case now.Name != name:
			case now.Checked.IsZero():
				d.line("not checked yet")
			case now.Up:
				d.line("up at " + now.Target + ", checked at " + now.Checked.Format(clockTime))
			default:
				d.line("down: " + now.Message)
			}
		}
	}
}

// describeServer says what a server does now.
func (v View) describeServer(d *document, s spec.Server) {
	now, up := serverOf(v.Status, s.Name)
	if !up {
		d.title(s.Name, string(status.Stopped))
		d.line("command " + s.Text)
		return
	}
	state := string(now.State)
	if !now.Since.IsZero() {
		state += " since " + now.Since.Format(clockTime)
	}
	d.title(s.Name, state)
	if now.Message != "" {
		d.line(now.Message)
	}
	if v.Status.Trust.State == status.Untrusted {
		d.line("not trusted: nothing of this project runs yet")
	}
	if s.Origin.Script != "" {
		d.line("script " + s.Origin.Script)
	} else {
		d.line("command " + s.Text)
	}
	if now.URL != "" {
		d.link(now.URL)
	}
	if len(now.Ports) > 0 {
		d.line("ports " + portsText(now.Ports))
	}
	if now.PID != 0 {
		d.line("pid " + strconv.Itoa(now.PID))
	}
	if now.ReadyMs != nil {
		text := "ready in " + Milliseconds(*now.ReadyMs)
		if now.WaitedMs > 0 {
			text = "waited " + Milliseconds(now.WaitedMs) + " for what it depends on, then " + text
		}
		d.line(text)
	}
	if now.PID != 0 && now.MemoryBytes > 0 {
		text := "memory " + Bytes(now.MemoryBytes)
		if samples := v.Memory[s.Name]; len(samples) > 1 {
			text += " " + Sparkline(samples)
		}
		d.line(text)
	}
	if now.Restarts > 0 || now.Crashes > 0 {
		text := fmt.Sprintf("restarts %d, crashes %d", now.Restarts, now.Crashes)
		if now.RestartReason != "" {
			text += ", last for: " + string(now.RestartReason)
		}
		d.line(text)
	}
	if e := now.LastExit; e != nil {
		d.line("last exit " + exitText(*e))
	}
	if len(now.DependsOn) > 0 {
		d.line("depends on " + strings.Join(now.DependsOn, ", "))
	}
}

func portsText(ports []status.Port) string {
	var out []string
	for _, p := range ports {
		text := strconv.Itoa(p.Number)
		if p.Listening {
			text += " (listening)"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func exitText(e status.Exit) string {
	text := "unknown"
	switch {
	case e.Signal != "":
		text = "by " + e.Signal
	case e.Code != nil:
		text = "with status " + strconv.Itoa(*e.Code)
	}
	if !e.At.Equal(time.Time{}) {
		text += " at " + e.At.Format(clockTime)
	}
	if e.Cause != "" {
		text += ": " + e.Cause
	}
	return text
}

// describeKey says what a key of devside.yaml means.
func describeKey(d *document, k spec.Key) {
	d.title(strings.ReplaceAll(k.Path, ".*", ".<name>"), formsText(k))
	d.line(sentence(k.Doc))
	if len(k.Values) > 0 {
		d.line("one of " + strings.Join(k.Values, ", "))
	}
	if k.Default != "" {
		d.line("default " + k.Default)
	}
	if k.Required {
		d.line("must be given")
	}
	for _, f := range k.Forms {
		if how := writtenLike[f]; how != "" {
			d.line(how)
		}
	}
}

// writtenLike says how values with units are written.
var writtenLike = map[spec.Form]string{
	spec.FormDuration: "written like 150ms, 10s, 1m30s",
	spec.FormSize:     "written like 512MB, 1.5GB; 1GB is 2^30 bytes",
	spec.FormPercent:  "written like 1%, 2.5%",
}

func formsText(k spec.Key) string {
	out := make([]string, len(k.Forms))
	for i, f := range k.Forms {
		out[i] = string(f)
	}
	return strings.Join(out, " or ")
}

// sentence begins with a capital letter and ends with a full stop.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// Bytes writes a number of bytes for people, in binary units: "512 MB", "1.5 GB".
func Bytes(n int64) string {
	const mb, gb = 1 << 20, 1 << 30
	switch {
	case n >= gb:
		return strconv.FormatFloat(float64(n)/gb, 'f', 1, 64) + " GB"
	case n >= mb:
		return strconv.FormatInt(n/mb, 10) + " MB"
	}
	return strconv.FormatInt(n/1024, 10) + " KB"
}

// document is a text that is written once and read as Markdown or as it is,
// whichever the client declared.
type document struct {
	markdown bool
	parts    []string // paragraphs
	lines    []string // of the one that is being written
}

func (d *document) empty() bool { return len(d.parts)+len(d.lines) == 0 }

// title begins a paragraph.
func (d *document) title(name, rest string) {
	d.flush()
	text := name
	if d.markdown {
		text = "**" + escapeMarkdown(name) + "**"
	}
	if rest != "" {
		text += " — " + d.plain(rest)
	}
	d.lines = append(d.lines, text)
}

// line adds what may hold anything, also what a server has printed.
func (d *document) line(text string) {
	if text = stripEscapes(strings.Join(strings.Fields(text), " ")); text != "" {
		d.lines = append(d.lines, d.plain(text))
	}
}

func (d *document) link(url string) {
	if d.markdown {
		url = "<" + strings.NewReplacer("<", "%3C", ">", "%3E", " ", "%20").Replace(url) + ">"
	}
	d.lines = append(d.lines, url)
}

func (d *document) plain(text string) string {
	if d.markdown {
		return escapeMarkdown(text)
	}
	return text
}

func (d *document) flush() {
	if len(d.lines) > 0 {
		end := "\n"
		if d.markdown {
			end = "  \n" // a line end that is kept
		}
		d.parts = append(d.parts, strings.Join(d.lines, end))
		d.lines = nil
	}
}

func (d *document) text() string {
	d.flush()
	return strings.Join(d.parts, "\n\n")
}

func (d *document) content() *protocol.MarkupContent {
	kind := protocol.MarkupKindPlainText
	if d.markdown {
		kind = protocol.MarkupKindMarkdown
	}
	return &protocol.MarkupContent{Kind: kind, Value: d.text()}
}

// escapeMarkdown takes the meaning from everything that Markdown gives one, so
// that a server's words make no image, heading or link with another name in a hover.
func escapeMarkdown(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune("\\`*_{}[]<>()#+!|~&", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
