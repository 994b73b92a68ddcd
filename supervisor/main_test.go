//go:build unix

package supervisor

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// child is the first argument that turns the test binary into one of the
// programs below.
const child = "supervisor-test-child"

// lifetime bounds every child, so that a failed test leaves nothing for long.
const lifetime = time.Minute

// self is this binary, by an absolute path.
func self() string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return exe
}

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == child {
		os.Exit(runChild(os.Args[2], os.Args[3:]))
	}
	goleak.VerifyTestMain(m)
}

// children are programs of single systems, by mode; those whose mode ends in
// "stays" do so until they are asked to end.
var children = map[string]func(args []string) error{}

func runChild(mode string, args []string) int {
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	grow := make(chan os.Signal, 1)
	signal.Notify(grow, syscall.SIGUSR1)
	end := time.After(lifetime)
	if run, ok := children[mode]; ok {
		if err := run(args); err != nil {
			fmt.Println(err)
			return 1
		}
		if !strings.HasSuffix(mode, " stays") {
			return 0
		}
		select {
		case <-terminated:
		case <-end:
		}
		return 0
	}
	switch mode {
	case "grow":
		return growChild(args[0], terminated, grow, end)
	case "share", "shared":
		return shareChild(args[0], mode == "share", terminated, end)
	case "print": // and end with a line that is not ended
		fmt.Println("one")
		fmt.Fprintln(os.Stderr, "two")
		fmt.Print("three")
		return 7
	case "reader": // ends when its input does, as programs do that watch files
		ended := make(chan struct{})
		go func() {
			io.Copy(io.Discard, bufio.NewReader(os.Stdin)) //nolint:errcheck // the end is what counts
			close(ended)
		}()
		fmt.Println("up")
		select {
		case <-ended:
			fmt.Println("its input has ended")
			return 9
		case <-terminated:
			fmt.Println("asked to end")
			return 0
		case <-end:
		}
	case "opener": // opens something for the person, in a session of its own
		cmd := exec.Command(args[0], child, "opened")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
			return 1
		}
		select {
		case <-terminated:
		case <-end:
		}
	case "glutton": // joins a memory cgroup, and takes more than that has
		if err := os.WriteFile(args[0]+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
			fmt.Println(err)
			return 1
		}
		for held := [][]byte{}; len(held) < 1024; {
			held = append(held, bytes.Repeat([]byte{1}, 1<<20))
		}
		fmt.Println("it has a gigabyte")
		return 1
	case "opened":
		fmt.Println("up")
		<-end
	}
	return 1
}
