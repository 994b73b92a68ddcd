package cache

import (
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// declared is a target that its server declares.
func declared(dir, path string) Target { return Target{Dir: dir, Path: path, Declared: []string{path}} }

// The caches that DESIGN §3, the audit's configuration and the table of lock
// files in facts §4 name.
func TestWhatToolsCallTheirCachesMayBeDeclared(t *testing.T) {
	for _, p := range []string{
		".next", "node_modules/.cache", ".next/cache", ".next/dev/cache", "node_modules/.cache/babel-loader", "node_modules/.cache/terser-webpack-plugin",
		".parcel-cache", "node_modules/.vite", ".turbo", "tsconfig.tsbuildinfo", "target", "__pycache__", "tmp/cache/bootsnap",
		"bootstrap/cache/packages.php", "var/cache/dev", ".nuxt", ".output", ".astro", ".svelte-kit", "dist", "build", ".eslintcache",
		".pytest_cache", ".mypy_cache", ".ruff_cache", ".angular/cache", "storybook-static", "packages/a/dist", "./.next/",
	} {
		for _, dir := range []string{"", ".", "frontend", "apps/web", "src"} {
			whole, err := check(declared(dir, p))
			if err != nil {
				t.Errorf("%q in %q: %v", p, dir, err)
			}
			if want := path.Join(dir, p); whole != want {
				t.Errorf("%q in %q is %q, want %q", p, dir, whole, want)
			}
		}
	}
}

func TestSECURITY002WhatIsRefusedByItsTextAlone(t *testing.T) {
	for _, c := range []struct{ dir, path, why string }{
		{".", "", "it is empty"},
		{".", ".", "the whole folder"},
		{".", "./", "the whole folder"},
		{"frontend", "././.", "the whole folder"},
		{".", "/etc", "not relative"},
		{".", "//dist", "not relative"},
		{".", "~/cache", "not relative"},
		{".", "..", "through .."},
		{".", "../cache", "through .."},
		{".", "dist/..", "through .."},
		{".", "dist/../dist", "through .."},
		{"..", "dist", "through .."},
		{"../other", "dist", "through .."},
		{"/srv", "dist", "not relative"},
		{".", `..\cache`, `holds a \`},
		{".", `dist\..\..\cache`, `holds a \`},
		{".", "C:cache", "holds a"},
		{".", "dist:cache", "holds a"},
		{".", "dist\x00", "characters or names"},
		{".", "dist\n", "characters or names"},
		{".", "\xff/cache", "characters or names"},
		{".", ".g\u200cit/cache", "characters or names"}, // .git on HFS+
		{".", "GIT~1/cache", "characters or names"},      // .git on NTFS
		{".", ".git./cache", "characters or names"},
		{".", ".git /cache", "characters or names"},
		{".", "cache/...", "characters or names"},
		{".", ".git", "protected"},
		{".", ".GIT", "protected"},
		{".", ".git/cache", "protected"},
		{"frontend", ".git/modules/cache", "protected"},
		{".git", "cache", "protected"},
		{".", ".devside", "protected"},
		{".", ".devside/trash", "protected"},
		{".devside", "trash/cache", "protected"},
		{".", "src", "src is protected"},
		{".", "SRC", "src is protected"},
		{"frontend", "src", "src is protected"},
		{".", "dist/src/", "src is protected"},
		{".", "node_modules", "node_modules is protected"},
		{"apps/web", "node_modules", "node_modules is protected"},
		{".", "docs", "not one that tools give"},
		{".", "lib/code", "not one that tools give"},
		{".", "cached-designs", "not one that tools give"},
		{"dist", "code", "not one that tools give"}, // the server's folder says nothing of what is in it
		{".", strings.Repeat("cache/", 700) + "c", "too long"},
	} {
		_, err := check(declared(c.dir, c.path))
		switch {
		case err == nil:
			t.Errorf("%q in %q is allowed", c.path, c.dir)
		case !strings.Contains(err.Error(), c.why):
			t.Errorf("%q in %q: %v, want something of %q", c.path, c.dir, err, c.why)
		}
	}
}

func TestSECURITY002WhatIsNotDeclaredIsRefused(t *testing.T) {
	for _, list := range [][]string{nil, {}, {".nuxt"}, {".next/cache"}, {"frontend/.next"}, {".nex*"}, {"*"}, {"."}, {""}} {
		if err := Check(Target{Dir: "frontend", Path: ".next", Declared: list}); err == nil || !strings.Contains(err.Error(), "not declared") {
			t.Errorf("declared are %q: %v", list, err)
		}
	}
	if err := Check(Target{Path: ".next", Declared: []string{"dist", "./.next/"}}); err != nil {
		t.Error(err)
	}
}

func FuzzSECURITY002Path(f *testing.F) {
	for _, s := range []string{".next", "../x/cache", "a/./cache", "/cache", ".git/cache", "ca\x00che", `c:\cache`, "~", "cache~1", "src/cache"} {
		f.Add("frontend", s)
		f.Add(s, "cache")
	}
	f.Fuzz(func(t *testing.T, dir, p string) {
		whole, err := check(declared(dir, p))
		if err != nil {
			return
		}
		parts := strings.Split(whole, "/")
		switch {
		case !filepath.IsLocal(whole), path.Clean(whole) != whole, whole == ".":
			t.Errorf("%q in %q gives %q, which is not clean and inside", p, dir, whole)
		case slices.ContainsFunc(parts, func(s string) bool {
			return s == ".." || strings.EqualFold(s, ".git") || strings.EqualFold(s, ".devside")
		}):
			t.Errorf("%q in %q gives %q, which is protected", p, dir, whole)
		case strings.ContainsAny(whole, "\x00\\:"):
			t.Errorf("%q in %q gives %q", p, dir, whole)
		case strings.EqualFold(path.Base(whole), "src"), strings.EqualFold(path.Base(whole), "node_modules"):
			t.Errorf("%q in %q gives %q, whose name is protected", p, dir, whole)
		case !slices.ContainsFunc(parts, cacheName):
			t.Errorf("%q in %q gives %q, which is no cache", p, dir, whole)
		}
	})
}

func TestMountPointsAreRead(t *testing.T) {
	points, err := parseMounts("22 1 254:0 / / rw,relatime - ext4 /dev/root rw\n" +
		`40 22 0:35 / /home/me/my\040project/a\134b rw shared:1 - tmpfs tmpfs rw` + "\n")
	if err != nil || !slices.Equal(points, []string{"/", `/home/me/my project/a\b`}) {
		t.Fatalf("%q, %v", points, err)
	}
	for whole, want := range map[string]bool{"/home/me/my project": true, `/home/me/my project/a\b`: true, "/home/me/my": false, `/home/me/my project/a\b/c`: true,
		"/home/me/my project/dist": false} {
		if got := mounted(points, "/home/me", whole); got != want {
			t.Errorf("mounted below %q: %v", whole, got)
		}
	}
	if _, err := parseMounts("22 1 254:0\n"); err == nil {
		t.Error("a line without a mount point was read")
	}
}

func TestANameInTheTrashSaysItsInode(t *testing.T) {
	for _, inode := range []uint64{0, 1, 1<<64 - 1} {
		name := newTrash(inode)
		if !isTrash(name) || inodeOf(name) != inode {
			t.Errorf("%d is named %q, which says %d", inode, name, inodeOf(name))
		}
	}
	for _, name := range []string{"", "x", "12-", "12-" + strings.Repeat("A", 25), "zz-" + strings.Repeat("A", 26), "12-" + strings.Repeat("A", 26) + "/x", "012-" + strings.Repeat("A", 26), "docs"} {
		if isTrash(name) {
			t.Errorf("%q could be devside's", name)
		}
	}
}

func TestWhatWasFoundIsJudged(t *testing.T) {
	for _, c := range []struct {
		facts facts
		uid   int
		why   string
	}{
		{facts{kind: folder, owner: 1000}, 1000, ""},
		{facts{kind: file, owner: 1000}, 1000, ""},
		{facts{kind: folder, owner: 1000}, 0, ""},
		{facts{kind: folder, owner: -1}, -1, ""}, // Windows
		{facts{kind: folder, owner: 0}, 1000, "another user"},
		{facts{kind: link}, 0, "a link"},
		{facts{}, 0, "neither a folder nor a file"},
		{facts{kind: folder, elsewhere: true}, 0, "another file system"},
		{facts{kind: folder, repo: true}, 0, "a repository of its own"},
	} {
		err := judge(c.facts, c.uid)
		if c.why == "" && err != nil || c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%+v as %d: %v, want %q", c.facts, c.uid, err, c.why)
		}
	}
}
