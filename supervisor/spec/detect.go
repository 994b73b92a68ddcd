package spec

import (
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Detect finds servers where there is no devside.yaml. They are, without any
// of it being an issue where it is missing:
//
//   - the lines of a Procfile.dev, or of a Procfile where the root's
//     package.json has no script `dev`. Then nothing else is looked for;
//   - in the root, in each folder of it and in each package of its workspace
//     (npm, yarn, pnpm, bun), the script `dev`, else `start:dev`, else `start`;
//   - in the same folders, what the files of a framework tell: manage.py of
//     Django, artisan of Laravel, a main.go that listens.
//
// A script of the root that only runs those of the packages is left out where
// the packages have servers. A server is named after its folder, that of the
// root after the package or the root.
//
// A port in the command's text is taken as it is. What a framework's default or
// a source says is a guess: it never clashes. If it is taken by another
// detected server, the framework is given the next number where it can be told
// one, and else no port is assumed. Where it does not listen to PORT it is told
// by arguments behind the script's.
func Detect(fsys fs.FS, name string, getenv func(string) string) *Loaded {
	l := &Loaded{Project: &Project{Name: name, Detected: true}}
	root, issue := readManifest(fsys, ".")
	l.take(issue)
	found := procfile(l, fsys, root)
	if found == nil {
		found = l.search(fsys, name, root)
	}
	given := map[string]bool{}
	var guesses []guess
	for _, c := range found {
		c.s.Name = unique(c.s.Name, given)
		l.source(c)
		if c.stated > 0 {
			c.s.Ports = []Port{{Number: c.stated, OnConflict: Ask, Owner: OwnerTree}}
		}
		if c.Preset != nil {
			c.apply(&c.s, func(string) bool { return false })
			if g, ok := c.guessPort(fsys, c.s, c.text); ok && c.stated == 0 {
				g.server = len(l.Project.Servers)
				if !g.movable && !c.closed && c.portArgs != nil && c.takesArguments(c.text) {
					g.movable, g.append = true, slices.Concat(c.separator, c.portArgs)
				}
				guesses = append(guesses, g)
			}
		}
		l.Project.Servers = append(l.Project.Servers, c.s)
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

// candidate is a server as it was found.
type candidate struct {
	known
	s          Server
	file       string // of the source
	source     string // its text
	key, value Range  // of s.Origin.Key there; zero: the file as a whole
	text       string // what the framework is recognised by
	stated     int    // the port that the text names; 0: none
	separator  []string
	closed     bool   // words behind the command do not reach the framework
	script     string // the name of a package.json script
	own        string // its name among several of a folder; empty: the folder's
}

// source keeps the text that a server was found in, and its place there.
func (l *Loaded) source(c candidate) {
	i := slices.IndexFunc(l.Sources, func(s Source) bool { return s.Path == c.file })
	if i < 0 {
		i = len(l.Sources)
		l.Sources = append(l.Sources, newSource(c.file, c.source))
	}
	if c.s.Origin.Key != "" {
		l.Sources[i].Keys[c.s.Origin.Key], l.Sources[i].Values[c.s.Origin.Key] = c.key, c.value
	}
}

// search looks through the folders of a project.
func (l *Loaded) search(fsys fs.FS, name string, root *manifest) []candidate {
	dirs := folders(fsys, root)
	found := inFolder(fsys, ".", root, root)
	packages := map[string]bool{} // folders whose script starts a server
	for _, dir := range dirs {
		m, issue := readManifest(fsys, dir)
		l.take(issue)
		here := inFolder(fsys, dir, m, root)
		for i := range here {
			if here[i].script != "" {
				packages[dir] = true
			}
			base := serverName(dir)
			if here[i].s.Name = base; len(here) > 1 && here[i].own != "" {
				here[i].s.Name += "-" + here[i].own
			}
		}
		found = append(found, here...)
	}
	found = slices.DeleteFunc(found, func(c candidate) bool { return c.s.Dir == "." && c.script != "" && runsPackages(c.text, packages) })
	used := map[string]bool{} // a folder's name is what its server is known by
	for _, c := range found {
		used[c.s.Name] = true
	}
	base := ""
	if root != nil {
		base = serverName(root.name[strings.LastIndexByte(root.name, '/')+1:])
	} else if name != "" && name != "." && name != "/" {
		base = serverName(name)
	}
	if base == "" || used[base] {
		base = "app"
	}
	for used[base] {
		base += "-root"
	}
	atRoot := 0
	for _, c := range found {
		if c.s.Dir == "." {
			atRoot++
		}
	}
	for i := range found {
		if c := &found[i]; c.s.Dir == "." {
			if c.s.Name = base; atRoot > 1 && c.own != "" {
				c.s.Name = c.own
			}
		}
	}
	return found
}

// inFolder finds the servers of one folder: that of the script that starts its
// package, and those that files tell of.
func inFolder(fsys fs.FS, dir string, m, root *manifest) []candidate {
	var out []candidate
	if sc, ok := startScript(m); ok {
		s := newServer("")
		s.Dir = dir
		manager := managerOf(fsys, dir, m, root)
		s.Command = []string{manager, "run", sc.name}
		s.Text = commandText(s.Command)
		s.Origin = Origin{File: m.path, Key: "scripts." + sc.name, Script: sc.text}
		c := candidate{s: s, file: m.path, source: m.text, key: sc.key, value: sc.value, stated: portOf(sc.text), script: sc.name}
		if manager == "npm" { // the others hand on what follows the script's name
			c.separator = []string{"--"}
		}
		c.text = sc.text
		c.known, _ = recognise(sc.text, m.depends)
		out = append(out, c)
	}
	for _, k := range findMarked(fsys, dir) {
		s := newServer("")
		s.Dir, s.Command, s.Text = dir, k.command, commandText(k.command)
		s.Origin = Origin{File: k.file}
		out = append(out, candidate{known: k.known, s: s, file: k.file, source: k.text, text: s.Text, own: serverName(k.name)})
	}
	return out
}

// startScripts are the scripts that start a package for development, the first
// that there is. (Nest's templates call it start:dev.)
var startScripts = []string{"dev", "start:dev", "start"}

func startScript(m *manifest) (script, bool) {
	if m == nil {
		return script{}, false
	}
	for _, name := range startScripts {
		if sc, ok := m.script(name); ok && strings.TrimSpace(sc.text) != "" {
			return sc, true
		}
	}
	return script{}, false
}

// runsPackages reports whether a script of a workspace's root only runs those
// of its packages, which would then run twice.
func runsPackages(text string, packages map[string]bool) bool {
	if len(packages) == 0 {
		return false
	}
	for _, words := range calls(text) {
		for i, w := range words {
			switch programOf(w) {
			case "turbo", "lerna", "nx":
				return true
			case "npm", "pnpm", "yarn", "bun":
				if c, ok := managerCall(words[i:]); ok && (c.everywhere || packages[path.Clean(c.dir)]) {
					return true
				}
			}
		}
	}
	return false
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
	if len(clean) > 40 { // leaves room for a framework and a number
		clean = clean[:40]
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

// guessPorts gives servers without a port one, if it can be told which.
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
		port := g.port
		for g.movable && used[port] && port < 65535 {
			port++
		}
		if used[port] {
			continue
		}
		used[port] = true
		s := &l.Project.Servers[g.server]
		s.Ports = []Port{{Number: port, OnConflict: Ask, Owner: OwnerTree}}
		if g.append != nil {
			s.Command = append(s.Command[:len(s.Command):len(s.Command)], g.append...)
			s.Text = commandText(s.Command)
		}
	}
}

// commandText writes an argv as `command:` takes it, with $NAME as it stands.
func commandText(argv []string) string {
	text := strings.Join(argv, " ")
	if words, problem, _ := splitWords(text, ""); problem == "" && slices.Equal(words, argv) {
		return text
	}
	return Join(argv)
}
