package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"github.com/devside/devside/supervisor/status"
)

// Commands is what a person is shown, and asked to trust, before anything of
// the project runs: each server's argv, directory, names of env files, of
// variables, and exec probes, and the text of the package.json scripts that its
// command names, with their pre and post scripts; and the patterns by which
// strays are ended. The hash is over exactly
// that, and over the variables' values (NODE_OPTIONS and LD_PRELOAD run code,
// but a value may be a secret and is not shown), whatever the order of the
// servers in the file. The state is always untrusted: whether the hash is known
// is for the caller.
func Commands(fsys fs.FS, p *Project) status.Trust {
	t := status.Trust{State: status.Untrusted, Commands: []status.TrustCommand{}}
	values := map[string]map[string]string{}
	for _, s := range p.Servers {
		c := status.TrustCommand{Server: s.Name, Argv: slices.Clone(s.Command), Dir: s.Dir, EnvFiles: slices.Clone(s.EnvFiles)}
		if c.Argv == nil {
			c.Argv = []string{}
		}
		if s.Ready.Kind == ProbeExec {
			c.Probes = append(c.Probes, Join(s.Ready.Exec))
		}
		if s.Live != nil && s.Live.Kind == ProbeExec {
			c.Probes = append(c.Probes, Join(s.Live.Exec))
		}
		c.Env = slices.Sorted(maps.Keys(s.Env))
		values[s.Name] = s.Env
		var named []string
		for _, argv := range [][]string{s.Command, s.Ready.Exec, liveExec(s)} {
			named = append(named, scriptsOf(fsys, s.Dir, argv)...)
		}
		c.Script = strings.Join(named, "\n")
		t.Commands = append(t.Commands, c)
	}
	slices.SortStableFunc(t.Commands, func(a, b status.TrustCommand) int { return strings.Compare(a.Server, b.Server) })
	t.Cleanup = slices.Clone(p.Cleanup.Patterns)
	hashed := []any{t.Commands, values}
	if len(t.Cleanup) > 0 { // else the hash is what it was before there were patterns
		hashed = append(hashed, t.Cleanup)
	}
	b, err := json.Marshal(hashed)
	if err != nil { // strings and lists of strings always marshal
		b = []byte(err.Error())
	}
	sum := sha256.Sum256(b)
	t.Hash = hex.EncodeToString(sum[:])
	return t
}

func liveExec(s Server) []string {
	if s.Live == nil {
		return nil
	}
	return s.Live.Exec
}

// scriptsOf returns the scripts that an argv names, one "name: text" each. A
// shell's text is looked through for calls of a package manager.
func scriptsOf(fsys fs.FS, dir string, argv []string) []string {
	if fsys == nil {
		return nil
	}
	if i := shellText(argv); i >= 0 {
		file, err := parseShell(argv[i])
		if err != nil {
			return nil
		}
		var out []string
		syntax.Walk(file, func(n syntax.Node) bool {
			if call, ok := n.(*syntax.CallExpr); ok {
				var words []string
				for _, w := range call.Args {
					word, _ := plainWord(w)
					words = append(words, word)
				}
				out = append(out, scriptsOf(fsys, dir, words)...)
			}
			return true
		})
		return out
	}
	call, ok := managerCall(argv)
	if !ok {
		return nil
	}
	if call.everywhere {
		return allScripts(fsys, dir)
	}
	m, _ := readManifest(fsys, path.Join(dir, call.dir))
	if m == nil {
		return nil
	}
	var out []string
	for _, name := range []string{"pre" + call.script, call.script, "post" + call.script} {
		if s, ok := m.script(name); ok {
			out = append(out, scriptLine(s))
		}
	}
	return out
}

// scriptLine shows a script in one line, whatever its text holds: two lines
// must not be one script that looks like two.
func scriptLine(s script) string {
	text := s.text
	if strings.ContainsFunc(s.name+text, func(c rune) bool { return c < ' ' }) {
		return strconv.Quote(s.name) + ": " + strconv.Quote(text)
	}
	return s.name + ": " + text
}

// managerCall is what an argv asks of a package manager.
type call struct {
	script     string
	dir        string // relative to the server's
	everywhere bool   // in packages that the argv does not name by a path
}

// managerCall reads the ways to name a script: npm run x, npm start, pnpm x,
// yarn x, bun run x, with the flags that change the directory. What runs in
// workspaces can't be told without knowing them; then every script counts.
func managerCall(argv []string) (call, bool) {
	if len(argv) == 0 {
		return call{}, false
	}
	manager := strings.TrimSuffix(path.Base(strings.ReplaceAll(argv[0], `\`, "/")), ".cmd")
	switch manager {
	case "npm", "pnpm", "yarn", "bun":
	default:
		return call{}, false
	}
	c := call{dir: "."}
	var words []string
	for i := 1; i < len(argv); i++ {
		flag, value, glued := strings.Cut(argv[i], "=")
		switch flag {
		case "--":
			i = len(argv)
			continue
		case "--prefix", "-C", "--dir", "--cwd":
			if !glued && i+1 < len(argv) {
				i++
				value = argv[i]
			}
			c.dir = value
			continue
		case "-w", "--workspace", "-F", "--filter":
			c.everywhere = true
			if !glued {
				i++
			}
			continue
		case "-ws", "--workspaces", "-r", "--recursive", "workspace", "workspaces":
			c.everywhere = true
			continue
		}
		if !strings.HasPrefix(argv[i], "-") {
			words = append(words, argv[i])
		}
	}
	if len(words) == 0 {
		return c, c.everywhere
	}
	verb := words[0]
	switch {
	case verb == "run" || manager == "npm" && slices.Contains([]string{"run-script", "rum", "urn"}, verb):
		if len(words) < 2 {
			return c, c.everywhere
		}
		c.script = words[1]
	case manager == "npm":
		long := map[string]string{"start": "start", "stop": "stop", "restart": "restart", "test": "test", "t": "test", "tst": "test"}
		if c.script = long[verb]; c.script == "" {
			return c, c.everywhere
		}
	default: // pnpm, yarn and bun run a script by its name alone
		c.script = verb
	}
	return c, true
}

// allScripts returns the scripts of every package up to two levels below dir
// and below the root.
func allScripts(fsys fs.FS, dir string) []string {
	const (
		levels   = 2 // packages/web
		packages = 200
	)
	seen := map[string]bool{}
	var out []string
	var visit func(at string, depth int)
	visit = func(at string, depth int) {
		if seen[at] || len(seen) >= packages {
			return
		}
		seen[at] = true
		if m, _ := readManifest(fsys, at); m != nil {
			for _, s := range m.scripts {
				out = append(out, m.path+" "+scriptLine(s))
			}
		}
		if depth == levels {
			return
		}
		entries, _ := fs.ReadDir(fsys, at) // what can't be read has nothing to show
		for _, e := range entries {
			if e.IsDir() && e.Name() != "node_modules" && !strings.HasPrefix(e.Name(), ".") {
				visit(path.Join(at, e.Name()), depth+1)
			}
		}
	}
	visit(".", 0)
	visit(dir, 0)
	return out
}

// Join writes an argv as a shell would have to be given it, so that two
// different ones never look alike.
func Join(argv []string) string {
	words := make([]string, len(argv))
	for i, w := range argv {
		q, err := syntax.Quote(w, syntax.LangBash)
		if err != nil {
			q = strconv.Quote(w)
		}
		words[i] = q
	}
	return strings.Join(words, " ")
}
