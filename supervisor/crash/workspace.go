package crash

import (
	"bytes"
	"io"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Workspace is where the files of reports are looked for.
type Workspace struct {
	// Root is the absolute path of the project's root, as tools print it: links
	// resolved, in the form of the system that they run on.
	Root string
	// Dir is the folder that the server runs in, slash-separated, below the root.
	Dir string
	// FS has the root's files. It must not follow a link out of the root; the
	// FS of an os.Root does not.
	FS fs.FS
}

// Place is a line of one of the user's own files.
type Place struct {
	File   string // slash-separated, relative to the root
	Line   int    // from 1
	Column int    // from 1, as the tool counts; 0: unknown
}

// Site is an error at a line of the user's own.
type Site struct {
	Place
	Tool    string
	Message string
	// Related are the other lines of the user's own that lead there, nearest first.
	Related []Place
}

const (
	// maxSource bounds a file that is taken for source.
	maxSource = 4 << 20
	// maxReading bounds what is read of files for one call of Sites.
	maxReading = 64 << 20
	// maxRelated keeps what hangs on a problem within what a panel can show.
	maxRelated = 10
)

// notOwn are folders whose files are not the user's: installed, or built.
var notOwn = []string{
	"node_modules", "bower_components", "jspm_packages", ".yarn", ".pnp", ".pnpm-store",
	".next", ".nuxt", ".output", ".svelte-kit", ".astro", ".turbo", ".parcel-cache", ".vite", ".angular", ".cache", "dist",
	"vendor", "site-packages", "dist-packages", ".venv", "venv", ".tox", "__pycache__",
	"target", ".gradle", ".git", ".devside",
}

// Sites places reports in the user's own files. A report none of whose frames
// is in one has no site; of two at one line the first is kept.
func (w Workspace) Sites(reports []Report) []Site {
	l := look{w: w, left: maxReading, lines: map[string]int{}, maps: map[string]*sourceMap{}}
	var sites []Site
	seen := map[Place]bool{}
	for _, r := range reports[:min(len(reports), maxReports)] {
		var own []Place
		for _, f := range r.Frames[:min(len(r.Frames), maxFrames)] {
			if p, ok := l.place(f); ok && !slices.ContainsFunc(own, func(o Place) bool { return o.File == p.File && o.Line == p.Line }) {
				own = append(own, p)
			}
		}
		if len(own) == 0 {
			continue
		}
		key := Place{File: own[0].File, Line: own[0].Line}
		if seen[key] {
			continue
		}
		seen[key] = true
		s := Site{Place: own[0], Tool: r.Tool, Message: r.Message}
		if rest := own[1:]; len(rest) > 0 {
			s.Related = rest[:min(len(rest), maxRelated)]
		}
		sites = append(sites, s)
	}
	return sites
}

// look is one call of Sites: what it has read.
type look struct {
	w     Workspace
	left  int                   // bytes that it may still read
	lines map[string]int        // lines of a file that was looked at; -1: no source file
	maps  map[string]*sourceMap // of a built file; nil: none
}

// place finds the user's own line that a frame means.
func (l *look) place(f Frame) (Place, bool) {
	if f.Line < 1 {
		return Place{}, false
	}
	for _, name := range l.w.names(f) {
		if built(name) {
			if m := l.mapOf(name); m != nil {
				from, ok := m.lookup(f.Line, f.Column)
				if !ok {
					return Place{}, false
				}
				return l.first(from, true)
			}
		}
		if p, ok := l.own(name, f); ok {
			return p, true
		}
	}
	return Place{}, false
}

// first takes the first of a frame's names that is an own file. fromMap: a
// name without a scheme is relative to the root already.
func (l *look) first(f Frame, fromMap bool) (Place, bool) {
	names := l.w.names(f)
	if fromMap && !strings.HasPrefix(f.File, "/") && !strings.Contains(f.File, ":") {
		names = []string{path.Clean(f.File)}
	}
	for _, name := range names {
		if p, ok := l.own(name, f); ok {
			return p, true
		}
	}
	return Place{}, false
}

// own reports whether a name is a source file of the user's with such a line.
func (l *look) own(name string, f Frame) (Place, bool) {
	if !fs.ValidPath(name) || slices.ContainsFunc(strings.Split(name, "/"), func(s string) bool { return slices.Contains(notOwn, s) }) {
		return Place{}, false
	}
	n, known := l.lines[name]
	if !known {
		n = -1
		if text, ok := l.read(name, maxSource); ok && bytes.IndexByte(text, 0) < 0 {
			n = bytes.Count(text, []byte("\n")) + 1
		}
		l.lines[name] = n
	}
	if f.Line > n {
		return Place{}, false
	}
	return Place{name, f.Line, f.Column}, true
}

// built reports whether a file may have a source map.
func built(name string) bool {
	switch path.Ext(name) {
	case ".js", ".mjs", ".cjs":
		return !slices.Contains(strings.Split(name, "/"), "node_modules")
	}
	return false
}

func (l *look) mapOf(name string) *sourceMap {
	m, known := l.maps[name]
	if known {
		return m
	}
	l.maps[name] = nil
	text, ok := l.read(name, maxMap)
	if !ok {
		return nil
	}
	at := mapURL(string(text))
	if at == "" {
		return nil
	}
	data, ok := inlineMap(at)
	dir := path.Dir(name)
	if !ok {
		at, err := url.PathUnescape(at)
		if err != nil || strings.Contains(at, ":") || strings.HasPrefix(at, "/") {
			return nil
		}
		file := path.Join(dir, at)
		if data, ok = l.read(file, maxMap); !ok {
			return nil
		}
		dir = path.Dir(file)
	}
	l.maps[name] = parseMap(data, dir)
	return l.maps[name]
}

// read reads a regular file below the root.
func (l *look) read(name string, limit int64) ([]byte, bool) {
	if !fs.ValidPath(name) {
		return nil, false
	}
	// Looked at before it is opened: to open a pipe would wait for its writer.
	info, err := fs.Stat(l.w.FS, name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > limit || info.Size() > int64(l.left) {
		return nil, false
	}
	file, err := l.w.FS.Open(name)
	if err != nil {
		return nil, false
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, limit))
	l.left -= len(text)
	return text, err == nil
}

var drive = expr(`^/?[A-Za-z]:[\\/]`)

// names are the paths below the root that a frame may mean, the likeliest first.
func (w Workspace) names(f Frame) []string {
	name, absolute := w.unwrap(f.File)
	if name == "" {
		return nil
	}
	if absolute {
		if rel, ok := w.below(name); ok {
			return []string{rel}
		}
		return nil
	}
	if f.Package {
		var names []string
		for _, dir := range w.upwards() {
			for _, sources := range []string{"src/main/java", "src/main/kotlin", "src/main/scala", "src/main/groovy", "app/src/main/java", "app/src/main/kotlin", "src", "."} {
				names = append(names, path.Join(dir, sources, name))
			}
		}
		return names
	}
	// Relative: to where the server runs, or, with a tool that knows of a
	// workspace, to one of the folders above.
	var names []string
	for _, dir := range w.upwards() {
		names = append(names, path.Join(dir, name))
	}
	return names
}

// upwards are the server's folder and those above it, up to the root.
func (w Workspace) upwards() []string {
	dir := path.Clean(strings.ReplaceAll(w.Dir, `\`, "/"))
	if !fs.ValidPath(dir) {
		dir = "."
	}
	dirs := []string{dir}
	for dir != "." {
		dir = path.Dir(dir)
		dirs = append(dirs, dir)
	}
	return dirs
}

// below makes an absolute slash-separated path relative to the root.
func (w Workspace) below(name string) (string, bool) {
	root := strings.TrimSuffix(strings.ReplaceAll(w.Root, `\`, "/"), "/")
	if w.windows() {
		name = strings.TrimPrefix(name, "/")
		if len(name) < len(root) || !strings.EqualFold(name[:len(root)], root) {
			return "", false
		}
		name = root + name[len(root):]
	}
	rel, ok := strings.CutPrefix(path.Clean(name), root+"/")
	return rel, ok && root != ""
}

func (w Workspace) windows() bool { return drive().MatchString(w.Root) }

var (
	layer  = expr(`^\([\w-]+\)/`)
	query  = expr(`(\.\w+)\?[^/]*$`)
	suffix = expr(` \[[\w -]+\](?: \([\w ,.-]+\))*$`)
)

// unwrap takes from a printed name what bundlers and runtimes put around a
// path; empty if it names no file. The path is slash-separated.
func (w Workspace) unwrap(name string) (plain string, absolute bool) {
	for _, prefix := range []string{"about://React/Server/", "rsc://React/Server/"} {
		name = strings.TrimPrefix(name, prefix)
	}
	name = suffix().ReplaceAllString(name, "")
	name = query().ReplaceAllString(name, "$1")
	switch {
	case strings.HasPrefix(name, "file://"):
		u, err := url.Parse(name)
		if err != nil || u.Host != "" && u.Host != "localhost" {
			return "", false
		}
		return u.Path, true
	case strings.HasPrefix(name, "webpack-internal:///"), strings.HasPrefix(name, "webpack://"), strings.HasPrefix(name, "turbopack://"):
		_, rest, _ := strings.Cut(name, "://")
		if _, rest, _ = strings.Cut(rest, "/"); rest == "" { // the host is the bundle's name
			return "", false
		}
		name = rest
	case strings.Contains(name, "://"), strings.HasPrefix(name, "node:"), strings.HasPrefix(name, "<"):
		return "", false
	}
	name = layer().ReplaceAllString(name, "")
	name = strings.TrimPrefix(name, "[project]/")
	name = strings.TrimPrefix(name, "/@fs")
	if w.windows() || drive().MatchString(name) {
		name = strings.ReplaceAll(name, `\`, "/")
	}
	if strings.HasPrefix(name, "/") || drive().MatchString(name) {
		return name, true
	}
	return name, false
}
