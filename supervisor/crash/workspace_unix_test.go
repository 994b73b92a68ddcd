//go:build unix

package crash

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// A link that leads out of the root is not followed, nor is a pipe opened: that
// would wait for its writer.
func TestNoLinkOutOfTheRootIsFollowed(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "outside")
	root := filepath.Join(dir, "root")
	for _, d := range []string{out, filepath.Join(root, "src")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{filepath.Join(out, "a.ts"): "a\nb\n", filepath.Join(root, "src", "own.ts"): "a\nb\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{"a.ts": "../outside/a.ts", "folder": "../outside", "abs.ts": filepath.Join(out, "a.ts"), "inside.ts": "src/own.ts"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(root, "pipe.ts"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w := Workspace{Root: root, FS: r.FS()}
	var got []string
	for _, name := range []string{"a.ts", "folder/a.ts", "abs.ts", "pipe.ts", "inside.ts", "src/own.ts", "../outside/a.ts", filepath.Join(out, "a.ts"), filepath.Join(root, "a.ts")} {
		for _, s := range w.Sites([]Report{{Frames: []Frame{{File: name, Line: 1}}}}) {
			got = append(got, s.File)
		}
	}
	if want := []string{"inside.ts", "src/own.ts"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
