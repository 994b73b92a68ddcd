package logs

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// hidden passes blocks through a hider.
func hidden(s *Secrets, blocks ...string) string {
	var b strings.Builder
	emit := func(block []byte) { b.Write(block) }
	h := s.hider()
	for _, block := range blocks {
		h.write([]byte(block), emit)
	}
	h.end(emit)
	return b.String()
}

func TestSecretsAreHidden(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 200) // more than a piece
	s := NewSecrets([]string{"hunter2", "hunter2hunter3", "s3cr3t-value", "-----BEGIN KEY-----\nMIIEvQIBADAN\nshort\n-----END KEY-----\n", long, "tiny", ""})
	for in, want := range map[string]string{
		"":                                "",
		"nothing here\n":                  "nothing here\n",
		"hunter2":                         "[redacted]",
		"a hunter2 b\n":                   "a [redacted] b\n",
		"hunter2hunter2":                  "[redacted][redacted]",
		"hunter2hunter3!":                 "[redacted]!", // the longest
		"hunter2hunter4":                  "[redacted]hunter4",
		"s3cr3t-valu\n":                   "s3cr3t-valu\n",
		"s3cr3t-valu":                     "[redacted]", // cut short
		"s3cr":                            "s3cr",
		"tiny":                            "tiny",
		"it is MIIEvQIBADAN\r\nand short": "it is [redacted]\r\nand short",
		"x" + long + "y":                  "x" + strings.Repeat(mask, 4) + "y",
		"url://u:s3cr3t-value@h":          "url://u:[redacted]@h",
		"\xffhunter2\xff":                 "\xff[redacted]\xff",
	} {
		if got := s.String(in); got != want {
			t.Errorf("%.60q: %.60q, want %.60q", in, got, want)
		}
		// Wherever the blocks end.
		for i := range min(len(in), 100) {
			if got := hidden(s, in[:i], in[i:]); got != want {
				t.Errorf("%.60q | %.60q: %.60q, want %.60q", in[:i], in[i:], got, want)
			}
		}
		if got := hidden(s, strings.Split(in, "")...); got != want {
			t.Errorf("%.60q byte by byte: %.60q, want %.60q", in, got, want)
		}
	}
	if NewSecrets([]string{"true", "3000", ""}) != nil || NewSecrets(nil) != nil {
		t.Error("short values are secrets")
	}
	var none *Secrets
	if none.String("x") != "x" {
		t.Error("no secrets hide something")
	}
}

// TestSecretsAreFoundAsByReplacement in random text, in random blocks.
func TestSecretsAreFoundAsByReplacement(t *testing.T) {
	values := []string{"abcabcabd", "bcabca", "aaaaaaaa"}
	s := NewSecrets(values)
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		var text strings.Builder
		for range random.IntN(2000) {
			if random.IntN(20) == 0 {
				text.WriteString(values[random.IntN(len(values))])
			} else {
				text.WriteByte("abcd\n"[random.IntN(5)])
			}
		}
		text.WriteString("\n")
		want := strings.NewReplacer(values[0], mask, values[2], mask, values[1], mask).Replace(text.String())
		rest := text.String()
		var blocks []string
		for len(rest) > 0 {
			n := min(random.IntN(300)+1, len(rest))
			blocks, rest = append(blocks, rest[:n]), rest[n:]
		}
		if got := hidden(s, blocks...); got != want {
			t.Fatalf("seed %d:\n%q\nwant\n%q", seed, got, want)
		}
	}
}

// TestSECURITY003SecretsReachNeitherMemoryNorFile, also when the pipe brings
// them in parts.
func TestSECURITY003SecretsReachNeitherMemoryNorFile(t *testing.T) {
	s := newShelf(t, DefaultBounds)
	l := s.log("api")
	r, w := pipe(t)
	done := make(chan error, 1)
	go func() { done <- Drain(r, l, Stdout, 1, NewSecrets([]string{"s3cr3t-value"}), time.Now) }()
	f := l.Follow(Oldest)
	defer f.Close()
	for _, part := range []string{"the password is s3c", "r3t-val", "ue, remember\n"} {
		before := l.End()
		if _, err := w.WriteString(part); err != nil {
			t.Fatal(err)
		}
		// The parts come apart: the first has been read before the next is written.
		for over := time.Now().Add(within); strings.HasPrefix(part, "the") && l.End() == before; {
			if time.Now().After(over) {
				t.Fatal("nothing is read")
			}
		}
	}
	w.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	l.file.flush(within)
	const want = "the password is [redacted], remember"
	if got := ask(t, l, Query{}); strings.Join(got, "\n") != want {
		t.Errorf("in memory: %q", got)
	}
	if got := l.Tail(5); strings.Join(got, "\n") != want {
		t.Errorf("in a problem: %q", got)
	}
	for _, name := range s.names() {
		b, err := os.ReadFile(s.dir + "/" + name)
		if err != nil || strings.Contains(string(b), "s3cr") {
			t.Errorf("%s has %q, %v", name, b, err)
		}
	}
}
