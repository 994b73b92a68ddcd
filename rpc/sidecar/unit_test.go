package sidecar

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/devside/devside/supervisor/status"
)

func TestURIToPath(t *testing.T) {
	for _, test := range []struct{ goos, uri, want string }{
		{"linux", "file:///home/me/x", "/home/me/x"},
		{"linux", "file:///home/me/x/", "/home/me/x"},
		{"linux", "FILE:///home", "/home"},
		{"linux", "file://localhost/home", "/home"},
		{"linux", "file:/home/me", "/home/me"},
		{"linux", "file:///a%20b%23c%3Fd", "/a b#c?d"},
		{"linux", "file:///%F0%9F%9A%80", "/🚀"},
		{"linux", "file:///a/../b", "/b"},
		{"linux", "file:///", "/"},
		{"linux", "file:///a?query#fragment", "/a"},
		{"linux", "file:///c%3A/Users", "/c:/Users"},
		{"linux", "", ""}, {"linux", "untitled:Untitled-1", ""}, {"linux", "vscode-remote://ssh-remote%2Bhost/x", ""},
		{"linux", "file://server/share", ""}, {"linux", "file:///a%zz", ""}, {"linux", "file:///a%00b", ""},
		{"linux", "file:", ""}, {"linux", "file://", ""}, {"linux", "file:relative", ""}, {"linux", "/home", ""},
		{"windows", "file:///c%3A/Users/My%20Name", `C:\Users\My Name`},
		{"windows", "file:///C:/Users", `C:\Users`},
		{"windows", "file:///c:/", `C:\`}, {"windows", "file:///c:", `C:\`},
		{"windows", "file://server/share/x", `\\server\share\x`},
		{"windows", "file://wsl$/Ubuntu/home", `\\wsl$\Ubuntu\home`},
		{"windows", "file:///home", ""}, {"windows", "file:///", ""}, {"windows", "file:///1:/x", ""},
	} {
		got, err := uriToPathOn(test.goos, test.uri)
		if runtime.GOOS == "windows" && test.goos != "windows" {
			got = filepath.ToSlash(got)
		}
		if got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%s: uriToPath(%q) = %q, %v; want %q", test.goos, test.uri, got, err, test.want)
		}
	}
}

func FuzzURIToPath(f *testing.F) {
	for _, seed := range []string{"file:///c%3A/x", "file://h/s", "untitled:", "file:///%", "::", "file:////"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		for _, goos := range []string{"linux", "windows"} {
			path, err := uriToPathOn(goos, raw) // must not panic
			if err == nil && path == "" || strings.ContainsRune(path, 0) {
				t.Errorf("%s: uriToPath(%q) = %q", goos, raw, path)
			}
		}
		if path, err := uriToPath(raw); err == nil && runtime.GOOS != "windows" {
			again, err := uriToPath(pathToURI(path))
			if err != nil || again != path {
				t.Errorf("%q does not come back: %q, %v", path, again, err)
			}
		}
	})
}

func TestPathToURI(t *testing.T) {
	for path, want := range map[string]string{
		"/home/a b#?%:ü": "file:///home/a%20b%23%3F%25%3A%C3%BC",
		"C:/x":           "file:///C%3A/x",
		"//server/share": "file://server/share",
		"/":              "file:///",
	} {
		if got := pathToURI(path); got != want {
			t.Errorf("pathToURI(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestBelow(t *testing.T) {
	sep := string(filepath.Separator)
	for _, test := range []struct {
		dir, path, want string
		ok              bool
	}{
		{sep + "a", sep + "a", "", true}, {sep + "a", filepath.Join(sep+"a", "b", "c"), "b/c", true},
		{sep + "a", sep + "ab", "", false}, {sep, sep + "a", "a", true}, {sep + "a", sep, "", false},
	} {
		if got, ok := below(test.dir, test.path); ok != test.ok || ok && got != test.want {
			t.Errorf("below(%q, %q) = %q %v", test.dir, test.path, got, ok)
		}
	}
}

func TestPlaces(t *testing.T) {
	text := func(s string) *string { return &s }
	for _, test := range []struct {
		name           string
		params         initializeParams
		root, fallback string
		want           []string
		notes          int
	}{
		{"--root wins", initializeParams{RootURI: text("file:///uri"), WorkspaceFolders: []workspaceFolder{{URI: "file:///w"}}}, "/root", "/dir", []string{"/root"}, 0},
		{"workspace folders", initializeParams{RootURI: text("file:///uri"), WorkspaceFolders: []workspaceFolder{{URI: "file:///w/"}, {URI: "file:///v"}}}, "", "/dir", []string{"/w", "/v"}, 0},
		{"rootUri", initializeParams{RootURI: text("file:///uri"), RootPath: text("/path")}, "", "/dir", []string{"/uri"}, 0},
		{"rootPath", initializeParams{RootPath: text("/path/")}, "", "/dir", []string{"/path"}, 0},
		{"rootPath that is relative", initializeParams{RootPath: text("path")}, "", "/dir", []string{"/dir"}, 0},
		{"nothing", initializeParams{}, "", "/dir", []string{"/dir"}, 0},
		{"nothing at all", initializeParams{}, "", "", nil, 0},
		{"a remote folder", initializeParams{WorkspaceFolders: []workspaceFolder{{URI: "vscode-remote://x/y"}, {URI: "file:///w"}}}, "", "/dir", []string{"/w"}, 1},
	} {
		found, notes := places(test.params, test.root, test.fallback)
		var got []string
		for _, at := range found {
			got = append(got, filepath.ToSlash(at.path))
			if strings.HasSuffix(at.uri, "/") || !strings.HasPrefix(at.uri, "file:///") {
				t.Errorf("%s: uri %q", test.name, at.uri)
			}
		}
		if !slices.Equal(got, test.want) || len(notes) != test.notes {
			t.Errorf("%s: %q with notes %q, want %q", test.name, got, notes, test.want)
		}
	}
}

func TestNearestRoot(t *testing.T) {
	root := newRoot(t, config)
	deep := filepath.Join(root, "a", "b")
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(deep, "devside.yaml"), 0o700); err != nil { // a directory is no configuration
		t.Fatal(err)
	}
	if got := nearestRoot(deep); got != root {
		t.Errorf("nearestRoot = %q, want %q", got, root)
	}
	other := newRoot(t, "")
	if got := nearestRoot(other); got != other {
		t.Errorf("without a configuration: %q, want %q", got, other)
	}
	if got := nearestRoot(""); got != "" {
		t.Errorf("without a directory: %q", got)
	}
}

func TestReadOptions(t *testing.T) {
	for _, test := range []struct {
		raw     string
		trusted bool
		linger  time.Duration
		auto    bool
		notes   int
	}{
		{``, false, 0, false, 0}, {`null`, false, 0, false, 0}, {`{}`, false, 0, false, 0}, {`[]`, false, 0, false, 1}, {`{"other": 1}`, false, 0, false, 0},
		{`{"trusted": true, "linger": 1500, "autostart": true}`, true, 1500 * time.Millisecond, true, 0},
		{`{"trusted": 1}`, false, 0, false, 1}, {`{"trusted": "true"}`, false, 0, false, 1}, {`{"trusted": null}`, false, 0, false, 0},
		{`{"linger": "2m"}`, false, 2 * time.Minute, false, 0}, {`{"linger": 1e300}`, false, maxLinger, false, 0}, {`{"linger": "999h"}`, false, maxLinger, false, 0},
		{`{"linger": -1}`, false, 0, false, 1}, {`{"linger": "-1s"}`, false, 0, false, 1}, {`{"linger": "soon"}`, false, 0, false, 1}, {`{"linger": []}`, false, 0, false, 1}, {`{"linger": null}`, false, 0, false, 0},
		{`{"problems": false}`, false, 0, false, 0}, {`{"problems": null}`, false, 0, false, 0}, {`{"problems": "no"}`, false, 0, false, 1},
		{`{"autostart": ["api"]}`, false, 0, true, 0}, {`{"autostart": []}`, false, 0, false, 0}, {`{"autostart": 1}`, false, 0, false, 1}, {`{"autostart": null}`, false, 0, false, 0},
	} {
		var c client
		c.readOptions(json.RawMessage(test.raw))
		if c.trusted != test.trusted || c.linger != test.linger || c.auto.on != test.auto || len(c.notes) != test.notes {
			t.Errorf("%s: %+v", test.raw, c)
		}
	}
	if c := readClient(initializeParams{}, true); !c.trusted || c.name != "editor" {
		t.Errorf("--trust: %+v", c)
	}
}

func TestReadToken(t *testing.T) {
	for raw, ok := range map[string]bool{``: true, `null`: true, `"x"`: true, `7`: true, `-7`: true, `2147483647`: true,
		`2147483648`: false, `1.5`: false, `true`: false, `{}`: false, `[`: false} {
		if _, err := readToken(json.RawMessage(raw)); (err == nil) != ok {
			t.Errorf("readToken(%s): %v", raw, err)
		}
	}
}

// TestNextAttempt holds the rule: five attempts in three minutes, later and
// later, and again when the first of them is three minutes old.
func TestNextAttempt(t *testing.T) {
	now := time.Unix(1000, 0)
	var before []time.Time
	last := time.Duration(-1)
	for i := range maxAttempts {
		recent, delay, again := nextAttempt(before, now)
		if !again || delay <= last || len(recent) != i {
			t.Fatalf("attempt %d: %v %s %v", i, recent, delay, again)
		}
		last = delay
		now = now.Add(delay)
		before = append(recent, now)
	}
	if _, _, again := nextAttempt(before, now); again {
		t.Error("a sixth attempt within three minutes")
	}
	if recent, delay, again := nextAttempt(before, before[0].Add(attemptWindow)); !again || len(recent) != maxAttempts-1 || delay != last {
		t.Errorf("after three minutes: %d recent, %s, %v", len(recent), delay, again)
	}
}

func TestInboxKeepsWhatMatters(t *testing.T) {
	b := newInbox()
	one, two := &link{}, &link{}
	for range 1000 {
		b.put(statusCame{link: one, raw: json.RawMessage("1")})
		b.put(statusCame{link: one, raw: json.RawMessage("2")})
	}
	b.put(statusCame{link: two})
	b.put(bufferChanged{file: "a", text: "1"})
	b.put(bufferChanged{file: "a", text: "2"})
	b.put(bufferChanged{file: "b"})
	b.put(filesChanged{})
	b.put(filesChanged{})
	b.put(bufferClosed{file: "a"})
	b.put(bufferClosed{file: "a"})
	got := b.take()
	if len(got) != 7 {
		t.Fatalf("%d events: %+v", len(got), got)
	}
	if e := got[0].(statusCame); string(e.raw) != "2" {
		t.Errorf("the older snapshot stayed: %s", e.raw)
	}
	if e := got[2].(bufferChanged); e.text != "2" {
		t.Errorf("the older text stayed: %+v", e)
	}
	if len(b.take()) != 0 {
		t.Error("taken twice")
	}
}

func TestOverlay(t *testing.T) {
	base := fstest.MapFS{"devside.yaml": {Data: []byte("disk")}, "web/package.json": {Data: []byte("{}")}}
	o := overlay{base: base, open: map[string]buffer{"devside.yaml": {text: "buffer"}, "new/package.json": {text: "{}"}}}
	for name, want := range map[string]string{"devside.yaml": "buffer", "web/package.json": "{}", "new/package.json": "{}"} {
		raw, err := fs.ReadFile(o, name)
		if err != nil || string(raw) != want {
			t.Errorf("%s: %q %v", name, raw, err)
		}
		info, err := fs.Stat(o, name)
		if err != nil || !info.Mode().IsRegular() || info.Size() != int64(len(want)) || info.Name() == name && strings.Contains(name, "/") || info.IsDir() || info.Sys() != nil && name == "devside.yaml" || name == "devside.yaml" && !info.ModTime().IsZero() {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	if _, err := o.Open("missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	entries, err := fs.ReadDir(o, ".")
	if err != nil || len(entries) != 2 {
		t.Errorf("entries %v %v", entries, err)
	}
}

func TestTasksTakeNothingOnceCancelled(t *testing.T) {
	ts := newTasks(t.Context())
	began := make(chan struct{})
	if !ts.run(func(ctx context.Context) { close(began); <-ctx.Done() }) {
		t.Fatal("not run")
	}
	<-began
	tied, end := ts.tie(t.Context())
	ts.cancel()
	<-tied.Done()
	end()
	ts.stop()
	if ts.run(func(context.Context) { t.Error("run after cancel") }) {
		t.Error("run after cancel was taken")
	}
	late, end := ts.tie(t.Context())
	defer end()
	if late.Err() == nil {
		t.Error("tied after cancel")
	}
}

// TestADocumentBelongsToTheInnermostFolder in whatever order folders came.
func TestADocumentBelongsToTheInnermostFolder(t *testing.T) {
	sep := string(filepath.Separator)
	outer, inner := newFolder(nil, place{path: sep + "a"}, client{}), newFolder(nil, place{path: filepath.Join(sep+"a", "b")}, client{})
	for _, folders := range [][]*folder{{outer, inner}, {inner, outer}} {
		doc := &document{path: filepath.Join(sep+"a", "b", "devside.yaml")}
		documents{}.settle(doc, folders)
		if doc.home != inner {
			t.Errorf("the document belongs to %v", doc.home)
		}
		documents{}.settle(doc, []*folder{outer})
		got := inner.inbox.take()
		if doc.home != outer || len(got) != 2 || got[1] != (bufferClosed{file: "devside.yaml"}) {
			t.Errorf("moved: home %v, the old one was told %+v", doc.home, got)
		}
		if got := outer.inbox.take(); len(got) != 1 || got[0].(bufferChanged).file != "b/devside.yaml" {
			t.Errorf("moved: the new one was told %+v", got)
		}
	}
}

func TestOutcome(t *testing.T) {
	for want, test := range map[string]struct {
		raw string
		err error
	}{
		"1 of 2 ready": {raw: `{"servers":[{"ok":true},{"ok":false}]}`},
		"":             {raw: `7`},
		"no":           {err: errors.New("no")},
	} {
		if got := outcome(json.RawMessage(test.raw), test.err); got != want {
			t.Errorf("outcome(%s, %v) = %q, want %q", test.raw, test.err, got, want)
		}
	}
}

func TestLastOf(t *testing.T) {
	for path, want := range map[string]string{"/a/b": "b", `C:\x\shop`: "shop", "shop": "shop"} {
		if got := lastOf(path); got != want {
			t.Errorf("lastOf(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestWatchersHoldTheNewest(t *testing.T) {
	var w watchers
	slow := w.add()
	for i := range 5 {
		w.tell(&status.Project{Sequence: uint64(i)})
	}
	if got := <-slow; got.Sequence != 4 {
		t.Errorf("sequence %d, want the newest", got.Sequence)
	}
	w.remove(slow)
	w.tell(&status.Project{})
	if len(slow) != 0 {
		t.Error("told after it was removed")
	}
}
