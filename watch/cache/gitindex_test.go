package cache

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/index"
	"github.com/google/go-cmp/cmp"
)

// encodeIndex writes an index with go-git's encoder.
func encodeIndex(t testing.TB, version uint32, names ...string) []byte {
	t.Helper()
	idx := &index.Index{Version: version}
	for _, name := range names {
		e := idx.Add(name)
		e.Mode = filemode.Regular
	}
	var b bytes.Buffer
	if err := index.NewEncoder(&b).Encode(idx); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// withSum replaces the checksum at the end by the right one.
func withSum(data []byte) []byte {
	body := data[:max(0, len(data)-sha1.Size)]
	sum := sha1.Sum(body)
	return append(slices.Clone(body), sum[:]...)
}

// withExtension puts an extension before the checksum.
func withExtension(data []byte, name string, content string) []byte {
	body := slices.Clone(data[:len(data)-sha1.Size])
	body = append(body, name...)
	body = append(body, 0, 0, 0, byte(len(content)))
	body = append(body, content...)
	return withSum(append(body, make([]byte, sha1.Size)...))
}

func namesOf(data []byte) ([]string, error) {
	var names []string
	err := scanIndex(bytes.NewReader(data), int64(len(data)), sha1.New, func(name []byte) { names = append(names, string(name)) })
	return names, err
}

func TestAnIndexIsReadAsGoGitReadsIt(t *testing.T) {
	long := strings.Repeat("directory/", 300) + "file" // its length has no room in the flags of versions 2 to 4? it has: 3004
	longer := strings.Repeat("n", longestName-1)       // this one's has not: 4095 is the value that says so
	names := []string{".gitignore", "a", "ab", "abc/d", "abcdefg", "abcdefgh", "dist/main.js", long, "src/ü/a b.ts", longer}
	slices.Sort(names)
	for _, version := range []uint32{2, 3, 4} {
		t.Run(fmt.Sprint("version ", version), func(t *testing.T) {
			got, err := namesOf(encodeIndex(t, version, names...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(names, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got, err := namesOf(encodeIndex(t, 2)); err != nil || len(got) != 0 {
		t.Errorf("an empty index: %v, %v", got, err)
	}
}

func TestAnIndexThatIsNotUnderstoodIsAnError(t *testing.T) {
	good := encodeIndex(t, 2, "a", "dist/main.js")
	cut := func(n int) []byte { return withSum(append(slices.Clone(good[:n]), make([]byte, sha1.Size)...)) }
	change := func(at int, to byte) []byte {
		out := slices.Clone(good)
		out[at] = to
		return withSum(out)
	}
	for name, data := range map[string][]byte{
		"empty":                     {},
		"not an index":              []byte(strings.Repeat("hello, world", 10)),
		"version 1":                 change(7, 1),
		"version 5":                 change(7, 5),
		"one entry more than there": change(11, 3),
		"one entry less than there": change(11, 1),
		"cut in an entry":           cut(40),
		"cut in a name":             cut(12 + 62),
		"a name of another length":  change(12+61, 2),
		"extended in version 2":     change(12+60, 0x40),
		"a flipped bit":             append(slices.Clone(good[:80]), append([]byte{good[80] ^ 1}, good[81:]...)...),
		"split index":               withExtension(good, "link", strings.Repeat("x", 20)),
		"sparse index":              withExtension(good, "sdir", ""),
		"an extension cut short":    withSum(append(slices.Clone(good[:len(good)-sha1.Size]), append([]byte("TREE\x00\x00\x01\x00"), make([]byte, sha1.Size)...)...)),
	} {
		if names, err := namesOf(data); err == nil {
			t.Errorf("%s: read as %q", name, names)
		} else if !errors.Is(err, errIndex) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnIndexMayHaveExtensionsAndNoChecksum(t *testing.T) {
	good := encodeIndex(t, 3, "a", "dist/main.js")
	unsummed := slices.Clone(good)
	clear(unsummed[len(unsummed)-sha1.Size:])
	for name, data := range map[string][]byte{
		"untracked cache": withExtension(good, "UNTR", "anything"),
		"fsmonitor":       withExtension(good, "FSMN", ""),
		"skipHash":        unsummed,
	} {
		if names, err := namesOf(data); err != nil || !slices.Equal(names, []string{"a", "dist/main.js"}) {
			t.Errorf("%s: %q, %v", name, names, err)
		}
	}
}

// A hostile index of version 4 can repeat a long name in few bytes.
func TestANameOfAnIndexIsBounded(t *testing.T) {
	data := encodeIndex(t, 4, strings.Repeat("n", longestName+1))
	if _, err := namesOf(data); !errors.Is(err, errIndex) {
		t.Errorf("a name of %d bytes: %v", longestName+1, err)
	}
}

func FuzzGitIndex(f *testing.F) {
	for _, version := range []uint32{2, 3, 4} {
		f.Add(encodeIndex(f, version, "a", "abc/d", "abc/e", "dist/main.js"))
	}
	f.Add(withExtension(encodeIndex(f, 2, "a"), "UNTR", "x"))
	f.Add([]byte("DIRC"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		data = withSum(data)
		names, err := namesOf(data)
		if err != nil {
			return
		}
		var theirs index.Index
		if index.NewDecoder(bytes.NewReader(data)).Decode(&theirs) != nil {
			return // go-git also reads what the extensions mean
		}
		if len(theirs.Entries) != len(names) {
			t.Fatalf("%d names, go-git reads %d", len(names), len(theirs.Entries))
		}
		for i, e := range theirs.Entries {
			if e.Name != names[i] {
				t.Errorf("entry %d is %q, go-git reads %q", i, names[i], e.Name)
			}
		}
	})
}

func BenchmarkGitIndex(b *testing.B) {
	names := make([]string, 100_000)
	for i := range names {
		names[i] = fmt.Sprintf("packages/some/folder-%04d/src/components/file%06d.tsx", i/100, i)
	}
	path := b.TempDir() + "/index"
	if err := os.WriteFile(path, encodeIndex(b, 2, names...), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		info, _ := f.Stat()
		if yes, err := lookUp(f, info.Size(), "dist"); yes || err != nil {
			b.Fatal(yes, err)
		}
		f.Close()
	}
}

// sha256Index writes an index of version 2 with one entry.
func sha256Index(name string) []byte {
	out := append([]byte("DIRC\x00\x00\x00\x02\x00\x00\x00\x01"), make([]byte, entryStat+sha256.Size)...)
	out = append(out, 0, byte(len(name)))
	out = append(out, name...)
	length := entryStat + sha256.Size + 2 + len(name)
	out = append(out, make([]byte, entryPadding-length%entryPadding)...)
	sum := sha256.Sum256(out)
	return append(out, sum[:]...)
}
