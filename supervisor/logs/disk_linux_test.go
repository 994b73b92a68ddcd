package logs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func init() { roles["full"] = fillDisk }

// inNamespace runs this binary in another role and in a mount namespace of its
// own, where it may mount. Root makes one as it is; an ordinary user needs a
// user namespace, too, which some systems refuse.
func inNamespace(t *testing.T, role string, env ...string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), append(env, roleVariable+"="+role)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		if os.Geteuid() != 0 {
			t.Skipf("this system gives an ordinary user no namespace to mount in; root needs none: %v", err)
		}
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, out.String())
	}
}

// TestAFullDiskStopsNobody on a real file system of 1 MB.
func TestAFullDiskStopsNobody(t *testing.T) {
	inNamespace(t, "full", "FULL_DIR="+t.TempDir())
}

// fillDisk mounts a file system of 1 MB, lets a server print more than that
// holds, makes room, and looks at what the file says.
func fillDisk() error {
	dir := os.Getenv("FULL_DIR")
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=700"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 512<<10), 0o600); err != nil {
		return err
	}
	var reported []string
	reports := make(chan string, 100)
	files, err := OpenFiles(dir, DefaultBounds, time.Now, func(_ string, err error) { reports <- err.Error() })
	if err != nil {
		return err
	}
	l := files.New("api", NewBudget(0))
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	drained := make(chan error, 1)
	go func() { drained <- Drain(r, l, Stdout, 1, nil, time.Now) }()
	line := strings.Repeat("y", 99) + "\n"
	const lines = 20_000 // 2 MB
	if _, err := io.WriteString(w, strings.Repeat(line, lines)); err != nil {
		return err
	}
	if _, err := io.WriteString(w, "last\n"); err != nil {
		return err
	}
	for over := time.Now().Add(within); l.End() < lines*100+5; {
		if time.Now().After(over) {
			return fmt.Errorf("the server is not read: %d bytes are", l.End())
		}
	}
	l.file.flush(within)
	if got := l.Tail(1); len(got) != 1 || got[0] != "last" {
		return fmt.Errorf("the last line in memory is %q", got)
	}
	if err := os.Remove(filler); err != nil {
		return err
	}
	path := filepath.Join(dir, "api.log")
	for over := time.Now().Add(within); ; { // without another line
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.Contains(string(text), "bytes of output are missing here: no space left on device\n") {
			break
		}
		if time.Now().After(over) {
			return fmt.Errorf("the file says nothing of what is missing; it ends with %q", text[max(0, len(text)-200):])
		}
	}
	if _, err := io.WriteString(w, "works again\n"); err != nil {
		return err
	}
	w.Close()
	if err := <-drained; err != nil {
		return err
	}
	l.file.flush(within)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var lost int64
	i := bytes.Index(text, []byte(" bytes of output"))
	begin := max(bytes.LastIndexByte(text[:i], '\n'), bytes.LastIndexByte(text[:i], 'y')) + 1
	if _, err := fmt.Sscan(string(text[begin:i]), &lost); err != nil {
		return fmt.Errorf("how much is missing: %w in %q", err, text[begin:i])
	}
	kept := int64(begin)
	if kept+lost != lines*100+5 || !bytes.HasSuffix(text, []byte("works again\n")) {
		return fmt.Errorf("%d bytes are in the file and %d missing, of %d", kept, lost, lines*100+5)
	}
	files.Close()
	close(reports)
	for r := range reports {
		reported = append(reported, r)
	}
	if len(reported) != 2 || !strings.Contains(reported[0], "no space left on device") || !strings.Contains(reported[1], "works again") {
		return fmt.Errorf("reported: %q", reported)
	}
	return nil
}
