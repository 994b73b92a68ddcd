package cache

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// trashDir is where what is being removed lies, on the project's own file
// system, because a rename can't leave one.
const (
	homeName  = ".devside"
	trashName = "trash"
)

// outputs are the names that tools give to what they can make again. With the
// rule of cacheName they are what a declared path must be, or be below: a
// configuration may choose among caches, and can't make one of "docs".
var outputs = []string{
	".next", ".nuxt", ".output", ".nitro", ".vinxi", ".svelte-kit", ".astro", ".turbo", ".vite", ".vite-temp", ".angular",
	".docusaurus", ".umi", ".swc", ".webpack", ".expo", ".gradle", ".dart_tool", "storybook-static",
	"dist", "build", "out", "target", "coverage", "htmlcov",
}

// cacheName reports whether a tool could have given this name to its cache.
func cacheName(part string) bool {
	part = strings.ToLower(part)
	if slices.Contains(outputs, part) || strings.HasSuffix(part, ".tsbuildinfo") {
		return true
	}
	part = strings.TrimRight(part, "_") // __pycache__
	return strings.HasSuffix(part, "cache") || strings.HasSuffix(part, "caches")
}

// Check reports why a target can never be removed, whatever is there: for a
// configuration that is being written. It opens nothing.
func Check(t Target) error {
	_, err := check(t)
	return err
}

// check decides by the text alone and gives the target's path below the root,
// clean. Every rule is a list of what is allowed, but for the names that are
// protected even when all the others agree.
func check(t Target) (string, error) {
	dir, err := local(t.Dir, true)
	if err != nil {
		return "", err
	}
	below, err := local(t.Path, false)
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(t.Declared, func(d string) bool { return path.Clean(d) == below }) {
		return "", refusal("it is not declared as a cache of this server")
	}
	whole := path.Join(dir, below)
	if err := protected(whole); err != nil {
		return "", err
	}
	if !slices.ContainsFunc(strings.Split(below, "/"), cacheName) {
		return "", refusal("its name is not one that tools give to caches or build output, such as .cache, .next, dist or target")
	}
	return whole, nil
}

// protected refuses names whatever was declared. Letter case is ignored, as
// some file systems do.
func protected(whole string) error {
	parts := strings.Split(whole, "/")
	for _, part := range parts {
		for _, name := range []string{".git", homeName} {
			if strings.EqualFold(part, name) {
				return refusal("it is " + name + " or below it, which is protected")
			}
		}
	}
	for _, name := range []string{"src", "node_modules"} {
		if strings.EqualFold(parts[len(parts)-1], name) {
			return refusal(name + " is protected")
		}
	}
	return nil
}

// local reads a path that must stay below where it begins. A path with .. is
// refused even where it stays inside: what it means depends on links.
func local(text string, selfAllowed bool) (string, error) {
	if selfAllowed && (text == "" || text == ".") {
		return ".", nil
	}
	parts := strings.Split(text, "/")
	switch {
	case text == "":
		return "", refusal("it is empty")
	case len(text) > longestPath:
		return "", refusal("it is too long")
	case path.IsAbs(text) || filepath.IsAbs(text) || strings.HasPrefix(text, "~"):
		return "", refusal("it is not relative to the server's folder")
	case slices.Contains(parts, ".."):
		return "", refusal("it goes through .., so it may be outside of the project")
	case path.Clean(text) == ".":
		return "", refusal("it is the whole folder of the server")
	case strings.Contains(text, `\`) || strings.Contains(text, ":"):
		return "", refusal(`it holds a \ or a :`)
	}
	for _, part := range parts {
		if !plain(part) {
			return "", refusal("it holds characters or names that file systems read in different ways")
		}
	}
	clean := path.Clean(text)
	if !filepath.IsLocal(filepath.FromSlash(clean)) {
		return "", refusal("it is outside of the project")
	}
	return clean, nil
}

// longestPath is PATH_MAX of Linux.
const longestPath = 4095

// plain reports whether every file system reads a name in the same way: no
// controls and no invisible characters (HFS+ ignores them, so that .g\u200cit
// is .git there), no trailing dot or blank (Windows drops them), no short
// name of DOS (GIT~1).
func plain(part string) bool {
	if !utf8.ValidString(part) {
		return false
	}
	for _, r := range part {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	if part != "." && (strings.HasSuffix(part, ".") || strings.HasSuffix(part, " ")) {
		return false
	}
	_, after, short := strings.Cut(part, "~")
	return !short || after == "" || after[0] < '0' || after[0] > '9'
}
