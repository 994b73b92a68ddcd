package spec

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// known is a framework that a command serves with.
type known struct {
	*Preset
	built bool // it serves what was built before
}

// recognise finds the framework that a command or a script serves with. A
// program that is run is evidence; the mere dependency is not, because a
// project may have Vite for its tests alone.
func recognise(text string, depends map[string]bool) (known, bool) {
	lines := calls(text)
	for i := range Presets {
		p := &Presets[i]
		if len(p.depends) > 0 && !slices.ContainsFunc(p.depends, func(d string) bool { return depends[d] }) {
			continue
		}
		for _, words := range lines {
			for at, w := range words {
				for _, r := range p.runs {
					if r.program == programOf(w) && r.fits(words[at+1:]) {
						return known{p, r.built}, true
					}
				}
			}
		}
	}
	return known{}, false
}

// calls splits the text of a script roughly into commands and their words.
// Quotes end one, too: what stands in them is often a command of its own
// (concurrently "next dev" "tsc -w").
func calls(text string) [][]string {
	var out [][]string
	for call := range strings.FieldsFuncSeq(text, func(c rune) bool { return strings.ContainsRune("\n;&|()'\"#", c) }) {
		if words := strings.Fields(call); len(words) > 0 {
			out = append(out, words)
		}
	}
	return out
}

// programOf is a program's name without folders.
func programOf(word string) string { return word[strings.LastIndexByte(word, '/')+1:] }

// texts are what a server's framework is recognised by: the scripts that its
// command names, and the command itself.
func texts(fsys fs.FS, s Server) []string {
	var out []string
	if c, ok := managerCall(s.Command); !ok || !c.everywhere { // else it runs scripts of packages that it does not name
		out = scriptsOf(fsys, s.Dir, s.Command)
	}
	return append(out, strings.Join(s.Command, " "))
}

// recogniseServer finds the framework of a server and the text that told it.
func recogniseServer(fsys fs.FS, s Server) (k known, text string, ok bool) {
	var depends map[string]bool
	if fsys != nil {
		dir := s.Dir
		if c, ok := managerCall(s.Command); ok {
			dir = path.Join(dir, c.dir)
		}
		if m, _ := readManifest(fsys, dir); m != nil {
			depends = m.depends
		}
	}
	for _, text := range texts(fsys, s) {
		if k, ok := recognise(text, depends); ok {
			return k, text, true
		}
	}
	return known{}, "", false
}

// compiles reports whether a server is known to compile on demand, by its
// command or by a script that this may name.
func compiles(fsys fs.FS, s Server) bool {
	for _, text := range append(scriptsOf(fsys, s.Dir, s.Command), strings.Join(s.Command, " ")) {
		if k, ok := recognise(text, nil); ok && k.Compiles {
			return true
		}
	}
	return false
}

// apply fills in what a preset says and nobody has written. written is asked
// for a path below the server.
func (k known) apply(s *Server, written func(field string) bool) {
	s.Preset = k.Name
	restart, reloads := k.Restart, k.Reloads
	if k.built { // it watches nothing, and its build is no cache
		restart, reloads = slices.Concat(k.Restart, k.Reloads), nil
	} else if !written("caches") {
		s.Caches = slices.Clone(k.Caches)
	}
	if !written("watch.restart") {
		s.Watch.Restart = slices.Clone(restart)
	}
	s.Watch.Reloads = slices.Clone(reloads)
	s.Watch.Lockfiles = slices.Clone(k.Lockfiles)
	if k.Within > 0 && !written("ready.within") {
		s.Ready.Within = k.Within
	}
}

// guess is the port that a framework listens on, as far as it can be told.
type guess struct {
	server  int // by index
	port    int
	movable bool     // it listens where it is told to
	append  []string // words that tell it, behind the server's command
}

// maxSourceBytes bounds a source that is looked into for a port; mostSources
// how many of them.
const (
	maxSourceBytes = 256 << 10
	mostSources    = 8
)

// guessPort says where a server listens whose text names no port.
func (k known) guessPort(fsys fs.FS, s Server, text string) (guess, bool) {
	g := guess{port: k.Port, movable: k.readsPORT || slices.Contains(s.Command, "$PORT")}
	var files []string
	if k.ownSource {
		for _, w := range strings.Fields(text) {
			switch {
			case sourceFile(w):
				files = append(files, w)
			case strings.HasPrefix(w, "./"):
				files = append(files, path.Join(w, "main.go"))
			}
		}
	}
	files = append(files, k.sources...)
	asked, found := false, false
	for i, f := range files {
		if fsys == nil || i == mostSources {
			break
		}
		source, err := readRegular(fsys, path.Join(s.Dir, f), maxSourceBytes)
		if err != nil {
			continue
		}
		asked = asked || k.asks != nil && k.asks.MatchString(source)
		if n := numberIn(k.number, source); n > 0 && !found {
			g.port, found = n, true
		}
		if k.asks != nil && (asked || found) { // this is the file that listens
			g.movable = asked
			break
		}
	}
	if k.sourceOnly && !asked && !found {
		return guess{}, false
	}
	if k.dotenv && g.movable && fsys != nil {
		if n := dotenvPort(fsys, s.Dir); n > 0 {
			g.port = n
		}
	}
	return g, g.port > 0
}

// numberIn is the port in the first match's first group that took part.
func numberIn(re *regexp.Regexp, source string) int {
	if re == nil {
		return 0
	}
	m := re.FindStringSubmatch(source)
	for _, group := range m[min(1, len(m)):] {
		if validPort(group, 1) {
			n, _ := strconv.Atoi(group)
			return n
		}
	}
	return 0
}

// dotenvPort is the PORT of a folder's .env; 0 if it has none.
func dotenvPort(fsys fs.FS, dir string) int {
	text, err := readRegular(fsys, path.Join(dir, ".env"), maxSourceBytes)
	if err != nil {
		return 0
	}
	vars, _ := ParseEnvFile(text)
	for _, v := range slices.Backward(vars) {
		if v.Name == "PORT" && validPort(v.Value, 1) {
			n, _ := strconv.Atoi(v.Value)
			return n
		}
	}
	return 0
}

// wrappers are programs that run the rest of their command line.
var wrappers = []string{"cross-env", "env", "dotenv", "dotenvx", "npx", "pnpm", "yarn", "bunx", "exec", "run", "--"}

// takesArguments reports whether words that are added at the end of a script
// reach the framework's program: it must be what the last command runs.
func (k known) takesArguments(text string) bool {
	file, err := parseShell(text)
	if err != nil || len(file.Stmts) == 0 || len(file.Last) > 0 {
		return false
	}
	st := file.Stmts[len(file.Stmts)-1]
	for {
		if st.Background || st.Coprocess || st.Negated || len(st.Comments) > 0 {
			return false
		}
		b, ok := st.Cmd.(*syntax.BinaryCmd)
		if !ok {
			break
		}
		if b.Op != syntax.AndStmt && b.Op != syntax.OrStmt {
			return false
		}
		st = b.Y
	}
	call, ok := st.Cmd.(*syntax.CallExpr)
	if !ok {
		return false
	}
	var words []string
	for _, w := range call.Args {
		word, _ := plainWord(w)
		words = append(words, word)
	}
	for i, w := range words {
		program := programOf(w)
		if slices.ContainsFunc(k.runs, func(r run) bool { return r.program == program && r.fits(words[i+1:]) }) {
			return true
		}
		if !slices.Contains(wrappers, program) && !strings.HasPrefix(w, "-") && !strings.Contains(w, "=") {
			return false
		}
	}
	return false
}

// pythonOf is the interpreter of a folder: that of a virtual environment in it
// or above it, else what its package manager runs, else python3.
func pythonOf(fsys fs.FS, dir string) []string {
	at, up := dir, ""
	for {
		for _, venv := range []string{".venv", "venv"} {
			if exists(fsys, path.Join(at, venv, "pyvenv.cfg")) { // bin/python itself is a link out of the project
				if exists(fsys, path.Join(at, venv, "Scripts/python.exe")) {
					return []string{up + venv + "/Scripts/python.exe"}
				}
				return []string{up + venv + "/bin/python"}
			}
		}
		for _, m := range []struct{ lock, manager string }{{"uv.lock", "uv"}, {"poetry.lock", "poetry"}, {"Pipfile.lock", "pipenv"}} {
			if exists(fsys, path.Join(at, m.lock)) {
				return []string{m.manager, "run", "python"}
			}
		}
		if at == "." {
			return []string{"python3"}
		}
		at, up = path.Dir(at), up+"../"
	}
}

func exists(fsys fs.FS, name string) bool {
	info, err := fs.Stat(fsys, name)
	return err == nil && info.Mode().IsRegular()
}

// marked is a server that a file in a folder tells of.
type marked struct {
	known
	file, text string
	command    []string
	name       string // what tells it from another one of the folder
}

// mostMarked bounds how many servers one folder's files may tell of.
const mostMarked = 10

// findMarked looks for the files that tell of a framework in a folder.
func findMarked(fsys fs.FS, dir string) []marked {
	var out []marked
	for i := range Presets {
		p := &Presets[i]
		for _, m := range p.marks {
			found := m.find(fsys, dir, p)
			if out = append(out, found...); len(found) > 0 {
				break // the first that fits is how it is started
			}
		}
	}
	return out[:min(len(out), mostMarked)]
}

func (m mark) find(fsys fs.FS, dir string, p *Preset) []marked {
	if m.with != "" && !exists(fsys, path.Join(dir, m.with)) {
		return nil
	}
	before, after, glob := strings.Cut(m.file, "*")
	folders := []string{""}
	if glob {
		folders = foldersBelow(fsys, path.Join(dir, before))
	}
	var out []marked
	for _, folder := range folders {
		file := before + folder + after
		text, err := readRegular(fsys, path.Join(dir, file), maxSourceBytes)
		if err != nil || len(out) == mostMarked {
			continue
		}
		groups := []string{text}
		if m.has != nil {
			groups = m.has.FindStringSubmatch(text)
		}
		if groups == nil {
			continue
		}
		module := strings.ReplaceAll(strings.TrimSuffix(file, path.Ext(file)), "/", ".")
		replace := []string{"{folder}", folder, "{module}", module}
		if len(groups) > 1 {
			replace = append(replace, "{1}", groups[1])
		}
		var command []string
		for _, w := range m.command {
			if w == "{python}" {
				command = append(command, pythonOf(fsys, dir)...)
				continue
			}
			command = append(command, strings.NewReplacer(replace...).Replace(w))
		}
		k := marked{known: known{Preset: p}, file: path.Join(dir, file), text: text, command: command, name: p.Name}
		if folder != "" {
			k.name = folder
		}
		out = append(out, k)
	}
	return out
}
