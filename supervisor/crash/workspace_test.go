package crash

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func source(lines int) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(strings.Repeat("x\n", lines))}
}

// Whatever a tool puts around a path, it is the same file; and what is not
// below the root, or not the user's own, is none.
func TestPlaces(t *testing.T) {
	files := fstest.MapFS{
		"web/src/a.ts": source(9), "web/app/page.tsx": source(9), "shared/b.ts": source(9), "web/src/with space.ts": source(9),
		"web/app/(shop)/page.tsx": source(9), "web/app/[id]/page.tsx": source(9),
		"web/node_modules/x/index.js": source(9), "web/.next/server/a.js": source(9), "web/dist/a.js": source(9), "vendor/x.go": source(9),
		"web/src/node_modules.ts": source(9), "jvm/src/main/java/shop/Main.java": source(9),
		"web/picture.ts": {Data: []byte("\x00\x01\n\n\n\n\n")},
	}
	unix := Workspace{Root: "/home/ann/shop", Dir: "web", FS: files}
	windows := Workspace{Root: `C:\Users\Ann\shop`, Dir: "web", FS: files}
	jvm := Workspace{Root: "/home/ann/shop", Dir: "jvm", FS: files}
	for _, test := range []struct {
		w     Workspace
		frame Frame
		want  string // empty: no place
	}{
		{unix, Frame{File: "/home/ann/shop/web/src/a.ts", Line: 3}, "web/src/a.ts"},
		{unix, Frame{File: "file:///home/ann/shop/web/src/a.ts", Line: 3}, "web/src/a.ts"},
		{unix, Frame{File: "file:///home/ann/shop/web/src/with%20space.ts?t=17", Line: 3}, "web/src/with space.ts"},
		{unix, Frame{File: "/home/ann/shop/web/src/a.ts?t=1700", Line: 3}, "web/src/a.ts"},
		{unix, Frame{File: "/@fs/home/ann/shop/web/src/a.ts", Line: 3}, "web/src/a.ts"},
		{unix, Frame{File: "src/a.ts", Line: 3}, "web/src/a.ts"},
		{unix, Frame{File: "./src/a.ts", Line: 3}, "web/src/a.ts"},
		{unix, Frame{File: "../shared/b.ts", Line: 3}, "shared/b.ts"},
		{unix, Frame{File: "shared/b.ts", Line: 3}, "shared/b.ts"}, // as Cargo prints: from its workspace
		{unix, Frame{File: "webpack-internal:///(rsc)/./app/page.tsx", Line: 3}, "web/app/page.tsx"},
		{unix, Frame{File: "webpack-internal:///./app/page.tsx", Line: 3}, "web/app/page.tsx"},
		{unix, Frame{File: "webpack://shop/./app/page.tsx?ab12", Line: 3}, "web/app/page.tsx"},
		{unix, Frame{File: "webpack:///(rsc)/./app/(shop)/page.tsx", Line: 3}, "web/app/(shop)/page.tsx"},
		{unix, Frame{File: "[project]/web/app/[id]/page.tsx [app-rsc] (ecmascript)", Line: 3}, "web/app/[id]/page.tsx"},
		{unix, Frame{File: "turbopack:///[project]/web/app/page.tsx", Line: 3}, "web/app/page.tsx"},
		{unix, Frame{File: "about://React/Server/webpack-internal:///(rsc)/./app/page.tsx?12", Line: 3}, "web/app/page.tsx"},
		{unix, Frame{File: "src/node_modules.ts", Line: 3}, "web/src/node_modules.ts"},
		{windows, Frame{File: `C:\Users\Ann\shop\web\src\a.ts`, Line: 3}, "web/src/a.ts"},
		{windows, Frame{File: `c:/users/ann/shop/web/src/a.ts`, Line: 3}, "web/src/a.ts"},
		{windows, Frame{File: "file:///C:/Users/Ann/shop/web/src/a.ts", Line: 3}, "web/src/a.ts"},
		{windows, Frame{File: `src\a.ts`, Line: 3}, "web/src/a.ts"},
		{jvm, Frame{File: "shop/Main.java", Line: 3, Package: true}, "jvm/src/main/java/shop/Main.java"},

		{unix, Frame{File: "/home/ann/shop/web/src/a.ts", Line: 11}, ""}, // no such line
		{unix, Frame{File: "/home/ann/shop/web/src/a.ts"}, ""},
		{unix, Frame{File: "/home/ann/shop/web/src/gone.ts", Line: 3}, ""},
		{unix, Frame{File: "/home/ann/shop/web/src", Line: 1}, ""}, // a folder
		{unix, Frame{File: "/home/ann/shop/web/picture.ts", Line: 1}, ""},
		{unix, Frame{File: "/home/ann/shop", Line: 1}, ""},
		{unix, Frame{File: "/home/ann/shopping/web/src/a.ts", Line: 3}, ""},
		{unix, Frame{File: "/home/bob/shop/web/src/a.ts", Line: 3}, ""},
		{unix, Frame{File: "/home/ann/shop/web/../../shop2/web/src/a.ts", Line: 3}, ""},
		{unix, Frame{File: "../../shop/web/src/a.ts", Line: 3}, ""},
		{unix, Frame{File: "file://server/home/ann/shop/web/src/a.ts", Line: 3}, ""},
		{unix, Frame{File: "file:///home/ann/shop/web/src/%zz.ts", Line: 3}, ""},
		{unix, Frame{File: "http://localhost:3000/src/a.ts", Line: 3}, ""},
		{unix, Frame{File: "node:internal/modules/cjs/loader", Line: 3}, ""},
		{unix, Frame{File: "webpack://shop", Line: 3}, ""},
		{unix, Frame{File: "<anonymous>", Line: 3}, ""},
		{unix, Frame{File: "", Line: 3}, ""},
		{unix, Frame{File: "node_modules/x/index.js", Line: 3}, ""},
		{unix, Frame{File: ".next/server/a.js", Line: 3}, ""},
		{unix, Frame{File: "dist/a.js", Line: 3}, ""},
		{unix, Frame{File: "vendor/x.go", Line: 3}, ""},
		{jvm, Frame{File: "shop/Other.java", Line: 3, Package: true}, ""},
		{Workspace{Root: "", FS: files}, Frame{File: "/web/src/a.ts", Line: 3}, ""},
		{Workspace{Root: "/home/ann/shop", Dir: "../..", FS: files}, Frame{File: "web/src/a.ts", Line: 3}, "web/src/a.ts"},
	} {
		sites := test.w.Sites([]Report{{Tool: "x", Message: "m", Frames: []Frame{test.frame}}})
		got := ""
		if len(sites) == 1 {
			got = sites[0].File
			if sites[0].Line != test.frame.Line {
				t.Errorf("%+v: %+v", test.frame, sites[0])
			}
		}
		if got != test.want {
			t.Errorf("%s in %s: %q, want %q", test.frame.File, test.w.Root, got, test.want)
		}
	}
}

func TestVLQ(t *testing.T) {
	for _, test := range []struct {
		segment string
		want    []int
	}{
		{"A", []int{0}}, {"C", []int{1}}, {"D", []int{-1}}, {"AAgBC", []int{0, 0, 16, 1}}, {"gB", []int{16}}, {"ggB", []int{512}}, {"AAAAA", []int{0, 0, 0, 0, 0}},
		{"", nil}, {"!", nil}, {"g", nil}, {"AAAAAA", nil}, {"gggggggggggggggA", nil},
	} {
		var fields [5]int
		n, ok := vlq(test.segment, &fields)
		if ok != (test.want != nil) || ok && !slices.Equal(fields[:n], test.want) {
			t.Errorf("%q: %v %v, want %v", test.segment, fields[:n], ok, test.want)
		}
	}
}

// A map is read beside the built file, inside it, or not at all; and what it
// names is confined like everything else.
func TestSourceMaps(t *testing.T) {
	// Line 2, column 5 of the built file is line 3, column 3 of source 0; from
	// column 9 on it is of no source.
	const mappings = ";IAEE,I"
	text := func(sources string) string {
		return `{"version":3,"sources":[` + sources + `],"mappings":"` + mappings + `"}`
	}
	file := func(url string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("x\nabcdefghijkl\n//# sourceMappingURL=" + url + "\n")}
	}
	inline := func(json string) *fstest.MapFile {
		return file("data:application/json;charset=utf-8;base64," + base64.StdEncoding.EncodeToString([]byte(json)))
	}
	files := fstest.MapFS{
		"src/a.ts": source(9), "node_modules/x/a.ts": source(9),
		"dist/file.js": file("maps/file.js.map"), "dist/maps/file.js.map": {Data: []byte(text(`"../../src/a.ts"`))},
		"dist/inline.mjs": inline(text(`"../src/a.ts"`)), "dist/webpack.js": inline(text(`"webpack://shop/./src/a.ts"`)),
		"dist/absolute.js": inline(text(`"/app/src/a.ts"`)), "dist/url.js": inline(text(`"file:///app/src/a.ts"`)),
		"dist/root.js":    inline(`{"version":3,"sourceRoot":"../src/","sources":["a.ts"],"mappings":"` + mappings + `"}`),
		"dist/escape.js":  inline(text(`"../../outside/a.ts"`)),
		"dist/package.js": inline(text(`"../node_modules/x/a.ts"`)),
		"dist/broken.js":  inline(`{"version":3,"sources":["../src/a.ts"],"mappings":";!"}`),
		"dist/version.js": inline(`{"version":2,"sources":["../src/a.ts"],"mappings":";IAEE"}`),
		"dist/index.js":   inline(`{"version":3,"sources":[],"mappings":";IAEE"}`),
		"dist/out.js":     file("../../outside.map"), "dist/gone.js": file("gone.map"), "dist/remote.js": file("https://example.org/a.map"),
		"dist/odd.js": file("data:application/json;base64,%%"), "dist/bundled.js": {Data: []byte("x\nabcdefghijkl\n//# sourceMappingURL=maps/file.js.map\nmore();\nand more();\n")},
		"src/plain.js": {Data: []byte("x\nabcdefghijkl\n")},
	}
	w := Workspace{Root: "/app", FS: files}
	for _, test := range []struct {
		file         string
		line, column int
		want         string
	}{
		{"dist/file.js", 2, 5, "src/a.ts:3:3"}, {"dist/file.js", 2, 8, "src/a.ts:3:3"}, {"dist/file.js", 2, 0, "src/a.ts:3:3"},
		{"dist/file.js", 2, 4, ""}, {"dist/file.js", 2, 9, ""}, {"dist/file.js", 1, 1, ""}, {"dist/file.js", 3, 1, ""},
		{"dist/inline.mjs", 2, 5, "src/a.ts:3:3"}, {"dist/webpack.js", 2, 5, "src/a.ts:3:3"}, {"dist/absolute.js", 2, 5, "src/a.ts:3:3"},
		{"dist/url.js", 2, 5, "src/a.ts:3:3"}, {"dist/root.js", 2, 5, "src/a.ts:3:3"},
		{"dist/escape.js", 2, 5, ""}, {"dist/package.js", 2, 5, ""}, {"dist/broken.js", 2, 5, ""}, {"dist/version.js", 2, 5, ""}, {"dist/index.js", 2, 5, ""},
		{"dist/out.js", 2, 5, ""}, {"dist/gone.js", 2, 5, ""}, {"dist/remote.js", 2, 5, ""}, {"dist/odd.js", 2, 5, ""}, {"dist/bundled.js", 2, 5, ""},
		{"src/plain.js", 2, 5, "src/plain.js:2:5"},
	} {
		got := ""
		for _, s := range w.Sites([]Report{{Frames: []Frame{{File: "/app/" + test.file, Line: test.line, Column: test.column}}}}) {
			got = fmt.Sprintf("%s:%d:%d", s.File, s.Line, s.Column)
		}
		if got != test.want {
			t.Errorf("%s:%d:%d: %q, want %q", test.file, test.line, test.column, got, test.want)
		}
	}
}

// What is related is bounded, each line once; two reports of one line are one.
func TestSitesAreBounded(t *testing.T) {
	w := Workspace{Root: "/app", FS: fstest.MapFS{"a.ts": source(1000)}}
	var frames []Frame
	for i := range 2 * maxFrames {
		frames = append(frames, Frame{File: "/app/a.ts", Line: i/2 + 1})
	}
	var reports []Report
	for i := range 3 * maxReports {
		reports = append(reports, Report{Message: fmt.Sprint(i), Frames: frames})
	}
	sites := w.Sites(reports)
	if len(sites) != 1 || sites[0].Message != "0" || len(sites[0].Related) != maxRelated || sites[0].Related[0].Line != 2 {
		t.Errorf("%+v", sites)
	}
	for i := range reports {
		reports[i].Frames = []Frame{{File: "/app/a.ts", Line: i + 1}}
	}
	if sites := w.Sites(reports); len(sites) != maxReports {
		t.Errorf("%d sites", len(sites))
	}
}
