package editor

import (
	"fmt"
	"strconv"
	"strings"

	"go.lsp.dev/protocol"

	"github.com/devside/devside/supervisor/status"
)

// Lenses are what stands over each server's entry in a file: its state and
// address, which is a label, then start, stop, restart and logs. Every server
// has all of them whatever its state, so that no line of the editor moves when
// a state changes: only the first title does.
func Lenses(v View, file string) []protocol.CodeLens {
	b := newBuilder(v.Input)
	lenses := []protocol.CodeLens{}
	for _, s := range b.serversIn(file) {
		at := b.text(file).Range(s.key)
		add := func(c protocol.Command) { lenses = append(lenses, protocol.CodeLens{Range: at, Command: c}) }
		add(protocol.Command{Title: b.stateTitle(s)})
		add(v.command("start", "start", servers(s.Name)))
		add(v.command("stop", "stop", servers(s.Name)))
		add(v.command("restart", "restart", servers(s.Name)))
		add(v.command("logs", "logs", map[string]any{"server": s.Name}))
	}
	return lenses
}

// stateTitle is a server's state and address: "ready http://localhost:4000".
func (b *builder) stateTitle(s placed) string {
	title := string(status.Stopped)
	if s.up {
		title = string(s.now.State)
	}
	if st := b.in.Status; st != nil && st.Trust.State == status.Untrusted && !s.now.State.Active() {
		title += ", not trusted"
	}
	if s.now.URL != "" && (s.now.State == status.Ready || s.now.State == status.Unhealthy) {
		title += " " + s.now.URL
	}
	return title
}

// Hints are what a file's lines are annotated with: the port that a server has
// where it is not the one that is written there, and how long the start of a
// ready server took.
func Hints(v View, file string, within protocol.Range) []protocol.InlayHint {
	b := newBuilder(v.Input)
	hints := []protocol.InlayHint{}
	for _, s := range b.serversIn(file) {
		if !s.up {
			continue
		}
		text := b.text(file)
		end := func(field string) protocol.Position {
			if field != "" {
				field = s.Origin.Key + "." + field
				if r, ok := s.src.Values[field]; ok && r.Start.Line == r.End.Line {
					return text.Exact(r).End
				}
			}
			// Behind the colon of the key's line, whatever follows it.
			key := text.Exact(s.key)
			if r, ok := s.src.Values[s.Origin.Key]; ok && r.Start.Line == s.key.End.Line && r.Start.Line == r.End.Line {
				return text.Exact(r).End
			}
			if rest := text.lines[key.End.Line][text.byteOf(key.End):]; strings.HasPrefix(rest, ":") {
				key.End.Character++
			}
			return key.End
		}
		add := func(at protocol.Position, label string) {
			if before(at, within.Start) || before(within.End, at) {
				return
			}
			pad := true
			hints = append(hints, protocol.InlayHint{Position: at, Label: protocol.String(label), PaddingLeft: &pad})
		}
		if label := b.portLabel(s); label != "" {
			add(end("port"), label)
		}
		if s.now.State == status.Ready && s.now.ReadyMs != nil {
			add(end("ready"), "ready in "+Milliseconds(*s.now.ReadyMs))
		}
	}
	return hints
}

// portLabel says which ports a server has that are not written at its entry.
func (b *builder) portLabel(s placed) string {
	var real []string
	same := len(s.now.Ports) > 0
	for i, p := range s.now.Ports {
		real = append(real, strconv.Itoa(p.Number))
		field := []string{fmt.Sprintf("port[%d]", i), fmt.Sprintf("port[%d].number", i)}
		if i == 0 {
			field = append(field, "port", "port.number")
		}
		written := false
		for _, f := range field {
			written = written || b.written(s, f) == strconv.Itoa(p.Number)
		}
		same = same && written
	}
	if same || len(real) == 0 {
		return ""
	}
	return "→ " + strings.Join(real, ", ")
}

// written is the text of a value of one line, without quotes; empty: none.
func (b *builder) written(s placed, field string) string {
	r, ok := s.src.Values[s.Origin.Key+"."+field]
	if !ok || r.IsZero() || r.Start.Line != r.End.Line {
		return ""
	}
	return strings.Trim(b.text(s.src.Path).slice(b.text(s.src.Path).Exact(r)), `"'`)
}

func before(x, y protocol.Position) bool {
	return x.Line < y.Line || x.Line == y.Line && x.Character < y.Character
}

// byteOf is the byte offset of a position in its line.
func (t Text) byteOf(p protocol.Position) int {
	_, offset := t.offset(p)
	return offset
}

// slice is the text of a range within one line.
func (t Text) slice(r protocol.Range) string {
	line, from := t.offset(r.Start)
	last, to := t.offset(r.End)
	if last != line || to < from {
		return ""
	}
	return t.lines[line][from:to]
}
