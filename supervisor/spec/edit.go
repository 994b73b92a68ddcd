package spec

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// EditError says why a text was not changed.
type EditError struct {
	Why  string
	Hint string
}

func (e *EditError) Error() string { return "edit " + FileName + ": " + e.Why }

// SetPort returns the text of a devside.yaml with another first port for a
// server. Only the digits of that port change: comments, order, line ends and
// everything else stay byte for byte. The result is read again, and refused
// where anything but that port would differ, which is what an anchor that two
// servers share leads to.
func SetPort(text, server string, port int) (string, error) {
	if port < 1 || port > 65535 {
		return "", &EditError{Why: fmt.Sprintf("there is no port %d", port)}
	}
	before := Parse(text, "", nil, nil)
	if !before.Valid() {
		return "", &EditError{Why: "it has errors", Hint: "`devside check` lists them"}
	}
	i := indexOf(before.Project.Servers, server)
	switch {
	case i < 0:
		return "", &EditError{Why: fmt.Sprintf("it has no server named %q", server)}
	case len(before.Project.Servers[i].Ports) == 0:
		return "", &EditError{Why: server + " has no port", Hint: "add one, such as `port: 3000`"}
	}
	src := before.Sources[0]
	start, end, ok := src.digits("servers."+server+".port", before.Project.Servers[i].Ports[0].Number)
	if !ok {
		return "", &EditError{Why: "the port of " + server + " is not written as a number of its own", Hint: "change it by hand"}
	}
	mark := text[:len(text)-len(src.Text)] // a byte order mark, which Text lacks
	if !strings.HasSuffix(text, src.Text) {
		return "", &EditError{Why: "it has characters that devside would not write back", Hint: "change it by hand"}
	}
	edited := mark + src.Text[:start] + strconv.Itoa(port) + src.Text[end:]

	after := Parse(edited, "", nil, nil)
	before.Project.Servers[i].Ports[0].Number = port
	if clash := after.clash(); clash != "" {
		return "", &EditError{Why: clash}
	}
	if !after.Valid() || !reflect.DeepEqual(before.Project.withoutDefaults(), after.Project.withoutDefaults()) {
		return "", &EditError{Why: "the port of " + server + " is shared with something else", Hint: "change it by hand"}
	}
	return edited, nil
}

func indexOf(servers []Server, name string) int {
	for i, s := range servers {
		if s.Name == name {
			return i
		}
	}
	return -1
}

// withoutDefaults takes out what follows from the port and is not written.
func (p *Project) withoutDefaults() Project {
	out := *p
	out.Servers = append([]Server{}, p.Servers...)
	for i := range out.Servers {
		if out.Servers[i].Ready.Default {
			out.Servers[i].Ready = Probe{}
		}
	}
	return out
}

func (l *Loaded) clash() string {
	for _, i := range l.Issues {
		if i.Code == codeClash {
			return i.Message
		}
	}
	return ""
}

// digits finds where the number of a first port stands in the text, in each of
// the ways to write it.
func (s Source) digits(key string, number int) (start, end int, ok bool) {
	for _, path := range []string{key, key + "[0]", key + ".number", key + "[0].number"} {
		r, written := s.Values[path]
		if !written {
			continue
		}
		start, end := s.offset(r.Start), s.offset(r.End)
		if start < 0 || end < start {
			continue
		}
		raw := s.Text[start:end]
		inner := strings.Trim(raw, `"'`)
		if n, err := strconv.Atoi(inner); err != nil || n != number || strconv.Itoa(n) != inner {
			continue
		}
		at := start + strings.Index(raw, inner)
		return at, at + len(inner), true
	}
	return 0, 0, false
}

// offset turns a position into a byte offset; -1 when it lies outside.
func (s Source) offset(p Position) int {
	line, off := 1, 0
	for line < p.Line {
		i := strings.IndexAny(s.Text[off:], "\r\n")
		if i < 0 {
			return -1
		}
		off += i + 1
		if s.Text[off-1] == '\r' && off < len(s.Text) && s.Text[off] == '\n' {
			off++
		}
		line++
	}
	for column := 1; column < p.Column; column++ {
		if off >= len(s.Text) {
			return -1
		}
		_, n := utf8.DecodeRuneInString(s.Text[off:])
		off += n
	}
	return off
}
