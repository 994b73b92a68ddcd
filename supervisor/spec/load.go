package spec

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// Loaded is a configuration as far as it could be understood.
type Loaded struct {
	Project *Project // never nil
	Sources []Source
	Issues  []Issue // by file and position
}

// Valid reports whether the configuration can be run: no issue is an error.
func (l *Loaded) Valid() bool {
	return !slices.ContainsFunc(l.Issues, func(i Issue) bool { return i.Severity == Error })
}

// Load reads the configuration of a project: its devside.yaml, or, where there
// is none, what Detect finds. name is the base name of the root. A devside.yaml
// that is there and can't be read is an error, never a reason to guess.
func Load(fsys fs.FS, name string, getenv func(string) string) *Loaded {
	text, err := readRegular(fsys, FileName, maxConfigBytes)
	if errors.Is(err, fs.ErrNotExist) {
		l := Detect(fsys, name, getenv)
		const other = "devside.yml"
		if _, err := fs.Stat(fsys, other); err == nil {
			l.Issues = append(l.Issues, Issue{Code: codeInvalid, Severity: Warning, File: other, Range: lineRange([]string{""}, 1),
				Message: "this file is not read", Hint: "rename it to " + FileName})
		}
		return l
	}
	if err != nil {
		l := &Loaded{Project: &Project{Name: name}, Sources: []Source{newSource(FileName, "")}}
		is := Issue{Code: codeInvalid, Severity: Error, File: FileName, Range: lineRange([]string{""}, 1),
			Message: FileName + " can't be read: " + cause(err), Hint: "check its permissions"}
		switch {
		case errors.Is(err, errNotRegular):
			is.Hint = "put a file in its place"
		case errors.Is(err, errTooLarge):
			is.Hint = "move what is not configuration out of it"
		}
		l.Issues = []Issue{is}
		return l
	}
	return Parse(text, name, fsys, getenv)
}

// Parse reads the text of one devside.yaml, such as an editor's unsaved buffer.
// fsys may be nil; then no directory is looked up.
func Parse(text, name string, fsys fs.FS, getenv func(string) string) *Loaded {
	text = plainText(text)
	l := &Loaded{Project: &Project{Name: name}, Sources: []Source{newSource(FileName, text)}}
	d := newDocument(text)
	r := &reader{src: &l.Sources[0], fsys: fsys}
	switch {
	case d.root != nil:
		r.project(d.root, l.Project)
	case len(d.issues) == 0:
		r.issue(Issue{Range: d.line(1), Message: "the file is empty", Hint: "begin it with `version: 1` and `servers:`"})
	}
	l.Issues = append(d.issues, r.issues...)
	l.guessPorts(r.guesses, getenv)
	l.finish(getenv)
	l.tidy()
	return l
}

func newSource(path, text string) Source {
	return Source{Path: path, Text: text, Keys: map[string]Range{}, Values: map[string]Range{}}
}

// maxIssues bounds what one configuration is reported with: nobody reads more,
// and an editor is sent all of it on every change.
const maxIssues = 200

// tidy puts the issues in order, drops repetitions, which aliases make, and
// bounds their number.
func (l *Loaded) tidy() {
	slices.SortStableFunc(l.Issues, func(a, b Issue) int {
		switch {
		case a.File != b.File:
			return strings.Compare(a.File, b.File)
		case before(a.Range.Start, b.Range.Start):
			return -1
		case before(b.Range.Start, a.Range.Start):
			return 1
		}
		return 0
	})
	l.Issues = slices.CompactFunc(l.Issues, func(a, b Issue) bool {
		return a.File == b.File && a.Range == b.Range && a.Message == b.Message
	})
	if len(l.Issues) > maxIssues {
		rest := l.Issues[maxIssues-1:]
		last := rest[0]
		last = Issue{Code: codeInvalid, Severity: Warning, File: last.File, Range: last.Range,
			Message: fmt.Sprintf("%d more problems follow from here", len(rest)), Hint: "mend the others first"}
		if slices.ContainsFunc(rest, func(i Issue) bool { return i.Severity == Error }) {
			last.Severity = Error
		}
		l.Issues = append(l.Issues[:maxIssues-1], last)
	}
}

// Locate is where a problem of a server's field is shown: the field's value,
// else its key, else the nearest field around it, else the server's key; for a
// detected server the line of its script. field is a path below the server, as
// in status.Entry; "" means the server's key and "-" the first line of the
// file. An unknown server is shown at the first line, too.
func (l *Loaded) Locate(server, field string) (file string, r Range) {
	origin := Origin{File: l.mainFile()}
	for i := range l.Project.Servers { // by index: a Server is large, and this is asked for each issue
		if l.Project.Servers[i].Name == server {
			origin = l.Project.Servers[i].Origin
			break
		}
	}
	i := slices.IndexFunc(l.Sources, func(s Source) bool { return s.Path == origin.File })
	if i < 0 || field == "-" || origin.Key == "" {
		return origin.File, l.firstLine(origin.File)
	}
	src := &l.Sources[i]
	for field != "" {
		key := origin.Key + "." + field
		if r, ok := src.Values[key]; ok && r.Start.Line == r.End.Line {
			return src.Path, r
		}
		if r, ok := src.Keys[key]; ok {
			return src.Path, r
		}
		field = field[:max(strings.LastIndexAny(field, ".["), 0)]
	}
	if r, ok := src.Keys[origin.Key]; ok {
		return src.Path, r
	}
	return src.Path, l.firstLine(src.Path)
}

// place is where a path outside the servers is shown.
func (l *Loaded) place(key string) (file string, r Range) {
	for _, s := range l.Sources {
		if r, ok := s.Keys[key]; ok {
			return s.Path, r
		}
	}
	return l.mainFile(), l.firstLine(l.mainFile())
}

// mainFile is the file that concerns the whole project.
func (l *Loaded) mainFile() string {
	if len(l.Sources) > 0 {
		return l.Sources[0].Path
	}
	return FileName
}

func (l *Loaded) firstLine(file string) Range {
	for _, s := range l.Sources {
		if s.Path == file {
			first, _, _ := strings.Cut(s.Text, "\n")
			return lineRange([]string{strings.TrimRight(first, "\r")}, 1)
		}
	}
	return lineRange([]string{""}, 1)
}

// slice is the text of a range that lies within one line, else "".
func (s *Source) slice(r Range) string {
	if r.IsZero() || r.Start.Line != r.End.Line {
		return ""
	}
	n := 1
	for line := range strings.Lines(strings.ReplaceAll(strings.ReplaceAll(s.Text, "\r\n", "\n"), "\r", "\n")) {
		if n == r.Start.Line {
			c := []rune(line)
			if r.Start.Column < 1 || r.End.Column-1 > len(c) || r.Start.Column > r.End.Column {
				return ""
			}
			return string(c[r.Start.Column-1 : r.End.Column-1])
		}
		n++
	}
	return ""
}

var (
	errNotRegular = errors.New("it is not a regular file")
	errTooLarge   = errors.New("it is too large")
)

// readRegular reads a regular file of at most limit bytes. The kind is checked
// before the file is opened: opening a named pipe would wait for its writer.
func readRegular(fsys fs.FS, name string, limit int64) (string, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", errNotRegular
	}
	f, err := fsys.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return "", err
	}
	if int64(len(b)) > limit {
		return "", fmt.Errorf("%w: more than %d KiB", errTooLarge, limit>>10)
	}
	return string(b), nil
}

// cause is an error without the path that PathError puts in front: the message
// names the file already.
func cause(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
