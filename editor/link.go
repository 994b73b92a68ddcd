package editor

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"

	"github.com/devside/devside/supervisor/spec"
)

// Links lead from devside.yaml to what it names: a port to its address, a path
// of an http probe to that address, a folder and env files to themselves.
func Links(v View, file string) []protocol.DocumentLink {
	b := newBuilder(v.Input)
	links := []protocol.DocumentLink{}
	if file != spec.FileName {
		return links
	}
	text := b.text(file)
	for _, s := range b.serversIn(file) {
		link := func(r spec.Range, target, tooltip string) {
			at := uri.URI(target)
			l := protocol.DocumentLink{Range: text.Exact(r), Target: &at}
			if v.Client.LinkTooltips {
				l.Tooltip = &tooltip
			}
			if !slices.ContainsFunc(links, func(o protocol.DocumentLink) bool { return o.Range == l.Range }) {
				links = append(links, l)
			}
		}
		add := func(fields []string, target, tooltip string) {
			for _, f := range fields {
				r, ok := s.src.Values[s.Origin.Key+"."+f]
				if !ok || r.IsZero() || r.Start.Line != r.End.Line {
					continue
				}
				link(r, target, tooltip)
				return
			}
		}
		if v.Log != nil && !s.key.IsZero() {
			if log := v.Log(s.Name); log != "" {
				link(s.key, log, "Open the log of "+s.Name)
			}
		}
		for i, p := range s.Ports {
			fields := []string{fmt.Sprintf("port[%d].number", i), fmt.Sprintf("port[%d]", i)}
			if i == 0 {
				fields = append(fields, "port.number", "port")
			}
			fields = slices.DeleteFunc(fields, func(f string) bool { return b.written(s, f) == "" || strings.ContainsAny(b.written(s, f), "[{") })
			number := p.Number
			if s.up && i < len(s.now.Ports) {
				number = s.now.Ports[i].Number
			}
			add(fields, "http://localhost:"+strconv.Itoa(number), "Open "+s.Name)
		}
		if len(s.Ports) > 0 {
			base := "http://localhost:" + strconv.Itoa(s.Ports[0].Number)
			if s.up && s.now.URL != "" {
				base = strings.TrimSuffix(s.now.URL, "/")
			}
			for field, p := range map[string]*spec.Probe{"ready.http": &s.Ready, "live.http": s.Live} {
				if p != nil && strings.HasPrefix(p.HTTP, "/") {
					add([]string{field}, base+p.HTTP, "Open what the probe asks for")
				}
			}
		}
		if s.Dir != "." {
			add([]string{"dir"}, b.uri(s.Dir), "Open the folder")
		}
		for i, f := range s.EnvFiles {
			fields := []string{fmt.Sprintf("env_file[%d]", i)}
			if len(s.EnvFiles) == 1 {
				fields = append(fields, "env_file")
			}
			// An entry that can't be used is not in EnvFiles, and shifts the rest.
			fields = slices.DeleteFunc(fields, func(field string) bool { return path.Clean(b.written(s, field)) != f })
			add(fields, b.uri(path.Join(s.Dir, f)), "Open the env file")
		}
	}
	slices.SortStableFunc(links, func(x, y protocol.DocumentLink) int { return comparePlaces(x.Range.Start, y.Range.Start) })
	return links
}
