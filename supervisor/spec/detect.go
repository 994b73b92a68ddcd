package spec

import (
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// mostFolders bounds how many folders of the root are looked into.
const mostFolders = 200

// Detect finds servers where there is no devside.yaml: the script `dev`, else
// `start`, of the package.json in the root and in each folder of it. A server
// is named after its folder, that of the root after the package. Without such
// a script there are no servers, and that is no issue: most folders an editor
// opens are no web projects.
//
// A port in the script's text is taken as it is. A framework's default port is
// a guess: it never clashes. If it is taken by another detected server, the
// framework is given the next number where it listens to PORT, and else no port
// is assumed.
func Detect(fsys fs.FS, name string, getenv func(string) string) *Loaded {
	l := &Loaded{Project: &Project{Name: name, Detected: true}}
	var found []detected
	root, issue := readManifest(fsys, ".")
	l.take(issue)
	if root != nil {
		found = append(found, detected{dir: ".", m: root})
	}
	for _, dir := range folders(fsys) {
		m, issue := readManifest(fsys, dir)
		l.take(issue)
		if m != nil {
			found = append(found, detected{dir: dir, m: m})
		}
	}
	used := map[string]bool{}
	for _, f := range found { // a folder's name is what its server is known by
		if f.dir != "." {
			used[serverName(f.dir)] = true
		}
	}
	var guesses []guess
	given := map[string]bool{}
	for _, f := range found {
		s, sc, ok := f.server(fsys, root)
		if !ok {
			continue
		}
		if f.dir == "." {
			s.Name = serverName(root.name[strings.LastIndexByte(root.name, '/')+1:])
			if s.Name == "" || used[s.Name] {
				s.Name = "app"
			}
			for used[s.Name] {
				s.Name += "-root"
			}
		} else {
			s.Name = serverName(f.dir)
		}
		s.Name = unique(s.Name, given)
		src := newSource(f.m.path, f.m.text)
		src.Keys[s.Origin.Key], src.Values[s.Origin.Key] = sc.key, sc.value
		l.Sources = append(l.Sources, src)
		if port := portOf(sc.text); port > 0 {
			s.Ports = []Port{{Number: port, OnConflict: Ask, Owner: OwnerTree}}
		}
		if fw, ok := recognise(sc.text); ok {
			if fw.compiles {
				s.Ready.Within = CompilingWithin
			}
			if s.Ports == nil {
				guesses = append(guesses, guess{len(l.Project.Servers), fw})
			}
		}
		l.Project.Servers = append(l.Project.Servers, s)
	}
	l.guessPorts(guesses, getenv)
	l.finish(getenv)
	l.tidy()
	return l
}

func (l *Loaded) take(issue *Issue) {
	if issue != nil {
		l.Issues = append(l.Issues, *issue)
	}
}

// folders lists the root's folders that may hold a package, in order.
func folders(fsys fs.FS) []string {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != "node_modules" && !strings.HasPrefix(e.Name(), ".") && len(out) < mostFolders {
			out = append(out, e.Name())
		}
	}
	slices.Sort(out)
	return out
}

// detected is a package.json and its folder.
type detected struct {
	dir string
	m   *manifest
}

// server makes a server of the script that starts a package.
func (f detected) server(fsys fs.FS, root *manifest) (Server, script, bool) {
	sc, ok := f.m.script("dev")
	if !ok || strings.TrimSpace(sc.text) == "" {
		sc, ok = f.m.script("start")
	}
	if !ok || strings.TrimSpace(sc.text) == "" {
		return Server{}, script{}, false
	}
	s := newServer("")
	s.Dir = f.dir
	s.Command = []string{managerOf(fsys, f.dir, f.m, root), "run", sc.name}
	s.Text = shellJoin(s.Command)
	s.Origin = Origin{File: f.m.path, Key: "scripts." + sc.name, Script: sc.text}
	return s, sc, true
}

// serverName makes a name of a folder's or package's: what can't stand in one
// becomes a dash.
func serverName(s string) string {
	clean := strings.Map(func(c rune) rune {
		if c == '.' || c == '-' || c < 0x80 && isName("_"+string(c)) {
			return c
		}
		return '-'
	}, path.Base(s))
	clean = strings.TrimLeft(clean, "_.-")
	if len(clean) > 60 { // leaves room for a number
		clean = clean[:60]
	}
	return clean
}

// unique numbers a name that is given already.
func unique(name string, given map[string]bool) string {
	if name == "" {
		name = "server"
	}
	out := name
	for n := 2; given[out]; n++ {
		out = name + "-" + strconv.Itoa(n)
	}
	given[out] = true
	return out
}

// guess is a server, by index, that has no port but its framework's default.
type guess struct {
	server int
	fw     framework
}

func (l *Loaded) guessPorts(guesses []guess, getenv func(string) string) {
	used := map[int]bool{}
	for _, s := range l.Project.Servers {
		for _, p := range s.Ports {
			used[p.Number] = true
		}
		if getenv == nil {
			continue
		}
		if text := getenv(PortVariable(s.Name)); validPort(text, 1) {
			n, _ := strconv.Atoi(text)
			used[n] = true
		}
	}
	for _, g := range guesses {
		port := g.fw.port
		for g.fw.readPORT && used[port] && port < 65535 {
			port++
		}
		if used[port] {
			continue
		}
		used[port] = true
		l.Project.Servers[g.server].Ports = []Port{{Number: port, OnConflict: Ask, Owner: OwnerTree}}
	}
}
