package rpc

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// childRole makes the test binary a child that takes its own stdin and stdout.
const childRole = "RPC_TEST_CHILD"

// child is what the test binary does instead of testing.
func child(role string) int {
	switch role {
	case "protocol", "inherit":
		rwc, err := Stdio()
		if err != nil {
			fmt.Fprintln(os.Stderr, "stdio:", err)
			return 3
		}
		fmt.Println("a stray line")        // by the Go runtime's own file
		println("a line of its own, on 2") // by the runtime
		if n, err := os.Stdin.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			fmt.Fprintln(os.Stderr, "stdin can still be read:", err)
			return 4
		}
		if role == "inherit" {
			// A grandchild that lives on must not hold the protocol open.
			grandchild := exec.Command(os.Args[0])
			grandchild.Env = append(os.Environ(), childRole+"=waitForStdin")
			grandchild.Stdout, grandchild.Stderr = os.Stdout, os.Stderr
			in, err := grandchild.StdinPipe()
			if err != nil || grandchild.Start() != nil {
				return 5
			}
			defer grandchild.Wait()
			defer in.Close()
			if err := rwc.Close(); err != nil { // now nobody holds it
				fmt.Fprintln(os.Stderr, "close:", err)
				return 6
			}
			// The parent has seen the end when it says so on file 3.
			io.Copy(io.Discard, os.NewFile(3, "parent"))
			return 0
		}
		c := New(rwc, newLab(), Options{})
		<-c.Done()
		if c.Close() != nil || !errors.Is(c.Err(), io.EOF) {
			fmt.Fprintln(os.Stderr, "ended:", c.Err())
			return 7
		}
		return 0
	case "closeWhileReading":
		rwc, err := Stdio()
		if err != nil {
			return 3
		}
		if err := rwc.(stdio).SetWriteDeadline(time.Time{}); err != nil {
			fmt.Fprintln(os.Stderr, "stdout has no deadlines:", err)
			return 4
		}
		ended := make(chan error)
		go func() {
			fmt.Fprint(rwc, "ready")
			_, err := rwc.Read(make([]byte, 1)) // stdin is open, and nothing comes
			ended <- err
		}()
		io.ReadFull(os.NewFile(3, "parent"), make([]byte, 1)) // the parent has read
		if err := rwc.Close(); err != nil {
			return 5
		}
		if err := <-ended; err == nil || errors.Is(err, io.EOF) {
			return 6
		}
		return 0
	case "waitForStdin":
		io.Copy(io.Discard, os.Stdin)
		return 0
	case "brokenPipe":
		IgnoreSIGPIPE()
		return writeBroken()
	case "brokenPipeUndone":
		IgnoreSIGPIPE()()
		return writeBroken()
	}
	return 2
}

// writeBroken writes to a stdout that nobody reads once stdin has ended.
func writeBroken() int {
	io.Copy(io.Discard, os.Stdin)
	for range 2 {
		if _, err := os.Stdout.WriteString("x"); err == nil {
			return 8
		}
	}
	return 0
}

func command(t *testing.T, role string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, os.Args[0])
	c.Env = append(os.Environ(), childRole+"="+role)
	return c
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func TestStdioKeepsStrayLinesOut(t *testing.T) {
	for _, row := range []struct {
		name   string
		stderr bool // the same pipe as stdout
	}{{"stderr of its own", false}, {"stderr is stdout", true}} {
		t.Run(row.name, func(t *testing.T) {
			c := command(t, "protocol")
			c.Stdin = strings.NewReader(frame(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
			var out, stderr bytes.Buffer
			c.Stdout, c.Stderr = &out, &stderr
			if row.stderr {
				c.Stderr = &out
			}
			err := c.Run()
			if want := frame(`{"jsonrpc":"2.0","id":1,"result":"pong"}`); err != nil || out.String() != want {
				t.Errorf("stdout is %q, want %q (%v, stderr %s)", out.String(), want, err, stderr.String())
			}
			if !row.stderr && !strings.Contains(stderr.String(), "a stray line") {
				t.Errorf("the stray line is not on stderr: %q", stderr.String())
			}
		})
	}
}

// TestStdioOnFiles: a session from a regular file to another, whose open files
// have no deadlines.
func TestStdioOnFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "in"), []byte(frame(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(filepath.Join(dir, "in"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c := command(t, "protocol")
	c.Stdin, c.Stdout = in, out
	if err := c.Run(); err != nil {
		t.Errorf("the child ended with %v", err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "out"))
	if want := frame(`{"jsonrpc":"2.0","id":1,"result":"pong"}`); err != nil || string(got) != want {
		t.Errorf("got %q: %v", got, err)
	}
}

// TestStdioCloseEndsAPendingRead: stdin is an open pipe on which nothing comes.
func TestStdioCloseEndsAPendingRead(t *testing.T) {
	in, inWriter := pipe(t)
	out, outWriter := pipe(t)
	told, tell := pipe(t)
	c := command(t, "closeWhileReading")
	c.Stdin, c.Stdout, c.ExtraFiles = in, outWriter, []*os.File{told}
	var stderr bytes.Buffer
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	outWriter.Close()
	if _, err := io.ReadFull(out, make([]byte, len("ready"))); err != nil {
		t.Error(err)
	}
	tell.Write([]byte{1})
	if err := c.Wait(); err != nil {
		t.Errorf("the child ended with %v: %s", err, stderr.String())
	}
	inWriter.Close() // it was open until the child had ended
}

// TestStdioIsNotInherited: the editor sees the end of stdout although a
// grandchild lives on.
func TestStdioIsNotInherited(t *testing.T) {
	out, outWriter := pipe(t)
	hold, release := pipe(t)
	c := command(t, "inherit")
	c.Stdin = strings.NewReader("")
	c.Stdout, c.ExtraFiles = outWriter, []*os.File{hold}
	var stderr bytes.Buffer
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	outWriter.Close()
	ended := make(chan string, 1)
	go func() {
		b, err := io.ReadAll(bufio.NewReader(out))
		ended <- fmt.Sprintf("%q %v", b, err)
	}()
	got := receive(t, "the end of stdout", ended)
	release.Close()
	if err := c.Wait(); err != nil || got != `"" <nil>` {
		t.Errorf("stdout was %s; child: %v, %s", got, err, stderr.String())
	}
}

func TestBrokenPipe(t *testing.T) {
	for _, row := range []struct {
		role     string
		survives bool
	}{{"brokenPipe", true}, {"brokenPipeUndone", false}} {
		t.Run(row.role, func(t *testing.T) {
			in, inWriter := pipe(t)
			out, outWriter := pipe(t)
			c := command(t, row.role)
			c.Stdin, c.Stdout = in, outWriter
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			outWriter.Close()
			out.Close()
			inWriter.Close()
			in.Close()
			if err := c.Wait(); (err == nil) != row.survives {
				t.Errorf("the child ended with %v", err)
			}
		})
	}
}
