package project

import (
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/devside/devside/supervisor"
	"github.com/devside/devside/supervisor/crash"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
	"github.com/devside/devside/watch"
	"github.com/devside/devside/watch/rule"
)

// This file turns a configuration into what watch and watch/rule take. It
// decides which lockfile is whose; what follows from a change is watch/rule's.

// watched is what one project is watched for.
type watched struct {
	rules   rule.Config
	targets []watch.Target
	// lookouts are lockfiles that are not there, or are not the one that counts:
	// when one of them comes or goes, all of this is made anew.
	lookouts []string
}

// roots are files of the root that decide which servers are detected, beside
// those that were read.
var roots = []string{spec.FileName, "package.json", "pnpm-workspace.yaml", "Procfile", "Procfile.dev"}

// watchedOf is what to watch for. files are those that the configuration was
// read from; held are the servers in blocked or crash-loop. root is the folder
// of the project as a file system, root directory its absolute path.
func watchedOf(loaded *spec.Loaded, files []string, held []supervisor.Snapshot, root fs.FS, absolute string) watched {
	var w watched
	add := func(dir, pattern string, s spec.Watch) {
		w.targets = append(w.targets, watch.Target{Dir: dir, Pattern: pattern, Settle: s.Settle})
	}
	w.rules.Files = slices.Clone(files)
	if loaded.Project.Detected {
		w.rules.Files = append(w.rules.Files, roots...)
	}
	slices.Sort(w.rules.Files)
	w.rules.Files = slices.Compact(w.rules.Files)
	name := func(file string, s spec.Watch) { add(path.Dir(file), path.Base(file), s) }
	for _, file := range w.rules.Files {
		name(file, spec.Watch{})
	}
	locks := map[string]*rule.Lockfile{}
	for _, s := range loaded.Project.Servers {
		r := rule.Server{
			Name: s.Name, Dir: s.Dir, Restart: s.Watch.Restart,
			Caches: s.Watch.LockfileCaches && len(s.Caches) > 0, Lock: s.Watch.LockfileRestart,
		}
		for _, pattern := range s.Watch.Restart {
			add(s.Dir, pattern, s.Watch)
		}
		for _, file := range s.EnvFiles {
			r.Env = append(r.Env, path.Join(s.Dir, file))
			name(path.Join(s.Dir, file), s.Watch)
		}
		if i := slices.IndexFunc(held, func(h supervisor.Snapshot) bool { return h.Name == s.Name }); i >= 0 {
			r.Mends = mends(s, held[i], absolute)
			for _, file := range r.Mends {
				name(file, s.Watch)
			}
		}
		w.rules.Servers = append(w.rules.Servers, r)
		if !r.Caches && !r.Lock {
			continue
		}
		concerns, others := lockfilesOf(root, s)
		for _, file := range concerns {
			if locks[file] == nil {
				kind, _ := rule.KindOf(file)
				locks[file] = &rule.Lockfile{Path: file, Manager: kind.Manager}
				name(file, s.Watch)
				for _, marker := range kind.Markers {
					add(path.Dir(file), marker, s.Watch)
				}
			}
			locks[file].Servers = append(locks[file].Servers, s.Name)
		}
		for _, file := range others {
			name(file, s.Watch)
			w.lookouts = append(w.lookouts, file)
		}
	}
	for _, lock := range locks {
		w.rules.Lockfiles = append(w.rules.Lockfiles, *lock)
		w.lookouts = append(w.lookouts, lock.Path)
	}
	slices.SortFunc(w.rules.Lockfiles, func(a, b rule.Lockfile) int { return strings.Compare(a.Path, b.Path) })
	return w
}

// javascript are the lockfiles of what package.json names.
var javascript = []rule.Manager{rule.NPM, rule.PNPM, rule.Yarn, rule.Bun}

// lockfilesOf finds the lockfiles that concern a server: those in the nearest
// folder, from its own upwards, that has one. Of several of JavaScript's the
// one counts whose packages are installed, since a project that has changed
// its package manager often keeps the lockfile of the old one. others are the
// places where one would be, if it came.
func lockfilesOf(root fs.FS, s spec.Server) (concerns, others []string) {
	is := func(name string) bool {
		info, err := fs.Stat(root, name)
		return err == nil && info.Mode().IsRegular()
	}
	packages := is(path.Join(s.Dir, "package.json"))
	for dir := path.Clean(s.Dir); ; dir = path.Dir(dir) {
		var js []string
		for _, kind := range rule.Kinds {
			file := path.Join(dir, kind.Name)
			isJS := slices.Contains(javascript, kind.Manager)
			switch {
			case s.Watch.Lockfiles != nil && !slices.Contains(s.Watch.Lockfiles, kind.Name):
			case s.Watch.Lockfiles == nil && isJS && !packages && dir != path.Clean(s.Dir):
				// What has no package.json has no packages of a folder above it.
			case len(concerns)+len(js) > 0 && dir != path.Dir(append(js, concerns...)[0]) || !is(file):
				others = append(others, file)
			case isJS:
				js = append(js, file)
			default:
				concerns = append(concerns, file)
			}
		}
		if len(js) > 0 {
			i := max(0, slices.IndexFunc(js, func(file string) bool { return marked(root, file) }))
			concerns = append(concerns, js[i])
			others = append(others, slices.Delete(js, i, i+1)...)
		}
		if len(concerns) > 0 || dir == "." {
			return concerns, others
		}
	}
}

// marked reports whether a lockfile's manager has installed something there.
func marked(root fs.FS, file string) bool {
	kind, _ := rule.KindOf(file)
	for _, marker := range kind.Markers {
		if found, err := fs.Glob(root, path.Join(path.Dir(file), marker)); err == nil && len(found) > 0 {
			return true
		}
	}
	return false
}

// mends are the files that may have been what holds a server, beside those that
// it is restarted for anyway: by why its last run ended, or could not begin.
func mends(s spec.Server, held supervisor.Snapshot, absolute string) []string {
	var out []string
	add := func(name string) {
		if name = inside(absolute, s.Dir, name); name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for _, file := range sitesOf(held) { // from the root
		if name := inside(absolute, ".", file); name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	command := ""
	switch held.Held.Code {
	case crash.SyntaxError, crash.MissingEnvFile:
		add(held.Held.File)
	case crash.ModuleNotFound:
		for _, file := range modules(held.Held.Name) {
			for dir := s.Dir; ; dir = path.Dir(dir) {
				add(path.Join("/", dir, file)[1:])
				if dir == "." || !strings.HasPrefix(file, "node_modules/") {
					break
				}
			}
		}
	case crash.CommandNotFound:
		command = held.Held.Name
	}
	if slices.Contains(held.Problems, status.CommandMissing) && len(s.Command) > 0 {
		command = s.Command[0]
	}
	if command != "" && !strings.Contains(command, "/") {
		for dir := path.Clean(s.Dir); ; dir = path.Dir(dir) {
			out = append(out, path.Join(dir, "node_modules/.bin", command))
			if dir == "." {
				break
			}
		}
	} else if command != "" {
		add(command)
	}
	return out
}

// modules are the files whose coming may mean that a module is there: of a
// package its manifest, of a path every file that Node would look for.
func modules(name string) []string {
	switch {
	case name == "" || strings.ContainsAny(name, "*?[{\\"):
		return nil
	case strings.HasPrefix(name, "/") || strings.HasPrefix(name, "./") || strings.HasPrefix(name, "../"):
		out := []string{name}
		if path.Ext(name) == "" {
			for _, ext := range []string{".js", ".ts", ".mjs", ".cjs", ".json"} {
				out = append(out, name+ext)
			}
		}
		return out
	}
	parts := strings.Split(name, "/")
	depth := 1
	if strings.HasPrefix(name, "@") {
		depth = 2
	}
	return []string{path.Join("node_modules", path.Join(parts[:min(depth, len(parts))]...), "package.json")}
}

// inside is a file, as a server has named it, relative to the root; empty if it
// lies outside.
func inside(absolute, dir, name string) string {
	if name == "" || strings.ContainsAny(name, "*?[{\\\x00") {
		return ""
	}
	if filepath.IsAbs(name) {
		rel, err := filepath.Rel(absolute, name)
		if err != nil {
			return ""
		}
		name = filepath.ToSlash(rel)
	} else {
		name = path.Join(dir, name)
	}
	if !filepath.IsLocal(filepath.FromSlash(name)) || name == "." {
		return ""
	}
	return name
}
