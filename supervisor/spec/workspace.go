package spec

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/bmatcuk/doublestar/v4"
)

// pnpmWorkspace is where pnpm has the globs that others have in package.json.
const pnpmWorkspace = "pnpm-workspace.yaml"

const (
	// mostFolders bounds how many folders are looked into.
	mostFolders = 200
	// mostGlobs bounds the globs of a workspace, mostVisited the folders that
	// they are compared with, deepest how far below the root those are.
	mostGlobs   = 100
	mostVisited = 2000
	deepest     = 5
)

// workspaces are the globs of the root's workspace, those that take folders out
// with a ! in front.
func workspaces(fsys fs.FS, root *manifest) []string {
	var globs []string
	if root != nil {
		globs = slices.Clone(root.workspaces)
	}
	text, err := readRegular(fsys, pnpmWorkspace, maxConfigBytes)
	if err != nil {
		return globs
	}
	if d := newDocument(plainText(text)); d.root != nil && d.root.kind == kindMap {
		for _, f := range d.root.fields {
			if f.name != "packages" || f.val == nil {
				continue
			}
			for _, item := range f.val.items {
				if item != nil && item.scalar() && len(globs) < mostGlobs {
					globs = append(globs, item.text)
				}
			}
		}
	}
	return globs
}

// folders lists the folders, except for the root, that may hold a server:
// those directly below the root, and those of its workspace.
func folders(fsys fs.FS, root *manifest) []string {
	out := foldersBelow(fsys, ".")
	globs := workspaces(fsys, root)
	for i, g := range globs {
		not := strings.HasPrefix(g, "!")
		g = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(g, "!"), "./"), "/")
		if globs[i] = g; not {
			globs[i] = "!" + g
		}
	}
	globs = slices.DeleteFunc(globs, func(g string) bool { return !doublestar.ValidatePattern(strings.TrimPrefix(g, "!")) })
	if len(globs) > 0 {
		for _, dir := range below(fsys, ".", depthOf(globs)) {
			if inWorkspace(globs, dir) && !slices.Contains(out, dir) && exists(fsys, path.Join(dir, packageJSON)) {
				out = append(out, dir)
			}
		}
	}
	slices.Sort(out)
	return out[:min(len(out), mostFolders)]
}

func inWorkspace(globs []string, dir string) bool {
	in := false
	for _, g := range globs {
		pattern, not := strings.CutPrefix(g, "!")
		if ok, err := doublestar.Match(pattern, dir); err == nil && ok {
			in = !not
		}
	}
	return in
}

// depthOf is how many folders down the globs reach.
func depthOf(globs []string) int {
	depth := 1
	for _, g := range globs {
		if strings.Contains(g, "**") {
			return deepest
		}
		depth = max(depth, 1+strings.Count(g, "/"))
	}
	return min(depth, deepest)
}

// below lists folders breadth first, so that a bound cuts off the deepest.
func below(fsys fs.FS, dir string, depth int) []string {
	var out []string
	level := []string{dir}
	for range depth {
		var next []string
		for _, d := range level {
			for _, name := range foldersBelow(fsys, d) {
				if len(out) == mostVisited {
					return out
				}
				out, next = append(out, path.Join(d, name)), append(next, path.Join(d, name))
			}
		}
		level = next
	}
	return out
}

// foldersBelow lists the folders of a folder that may hold a package, in order.
// A name that a `dir` can't have is left out.
func foldersBelow(fsys fs.FS, dir string) []string {
	entries, err := fs.ReadDir(fsys, path.Clean(dir))
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		name := e.Name()
		odd := strings.ContainsAny(name, "\\:") || strings.HasPrefix(name, "~") || strings.ContainsFunc(name, func(c rune) bool { return c == unicode.ReplacementChar || unicode.IsControl(c) })
		if e.IsDir() && name != "node_modules" && name != "vendor" && !strings.HasPrefix(name, ".") && !odd && len(out) < mostFolders {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
