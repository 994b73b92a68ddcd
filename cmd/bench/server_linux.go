package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// serve is the tiny server. What it does before its port accepts is part of
// every figure of both sides, and makes the difference between them look
// smaller: it makes its system calls itself, and tells its news afterwards.
func serve(args []string) int {
	s, err := readServer(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench server: %v\n", err)
		return exitUsage
	}
	if s.stubborn {
		signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	}
	if s.after > 0 {
		time.Sleep(s.after)
	}
	fd, err := listen(s.port)
	open := time.Now()
	ear := os.Getenv(earVariable)
	if err != nil {
		tell(ear, event{Kind: failed, Name: s.name, PID: os.Getpid(), At: open, Why: err.Error()})
		return exitFailed
	}
	if s.family {
		if err := startFamily(); err != nil {
			tell(ear, event{Kind: failed, Name: s.name, PID: os.Getpid(), At: open, Why: err.Error()})
			return exitFailed
		}
	}
	tell(ear, event{Kind: opened, Name: s.name, PID: os.Getpid(), At: open})
	time.AfterFunc(longestLife, func() { os.Exit(exitFailed) })
	if s.flood > 0 {
		if err := pourLines(s.flood); err != nil {
			tell(ear, event{Kind: failed, Name: s.name, PID: os.Getpid(), At: time.Now(), Why: err.Error()})
			return exitFailed
		}
		tell(ear, event{Kind: opened, Name: s.name, PID: os.Getpid(), At: time.Now()})
	}
	if s.http {
		return serveHTTP(fd)
	}
	for {
		conn, _, err := syscall.Accept(fd)
		if err == nil {
			syscall.Close(conn) //nolint:errcheck // nothing was sent
		} else if !errors.Is(err, syscall.EINTR) && !errors.Is(err, syscall.ECONNABORTED) {
			return exitFailed
		}
	}
}

// listen opens a port on loopback.
func listen(port int) (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	return fd, os.NewSyscallError("listen", syscall.Listen(fd, 128))
}

// tell sends news to the load program. When that has gone there is nobody to
// tell.
func tell(ear string, e event) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer syscall.Close(fd)                                                     //nolint:errcheck // sent
	syscall.Sendto(fd, []byte(e.String()), 0, &syscall.SockaddrUnix{Name: ear}) //nolint:errcheck // see above
}

// serveHTTP answers every request with 200 and keeps connections open, as
// HTTP/1.1 servers do.
func serveHTTP(fd int) int {
	f := os.NewFile(uintptr(fd), "listener")
	l, err := net.FileListener(f)
	if err != nil {
		return exitFailed
	}
	f.Close() //nolint:errcheck // the listener has its own
	for {
		conn, err := l.Accept()
		if err != nil {
			return exitFailed
		}
		go answerHTTP(conn) // ends with its connection, which ends with us
	}
}

const httpAnswer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n"

func answerHTTP(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // answered, or gone
	r := bufio.NewReader(conn)
	for {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if strings.TrimRight(line, "\r\n") == "" {
				break
			}
		}
		if _, err := conn.Write([]byte(httpAnswer)); err != nil {
			return
		}
	}
}

// startFamily starts the two children, and waits until both ignore what asks
// them to end.
func startFamily() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	for _, own := range []bool{false, true} {
		cmd := exec.Command(exe, childRole)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: own}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			return err
		}
		go cmd.Wait() //nolint:errcheck // reaps it; it ends with us or after us
	}
	return nil
}

// beStubborn is a child that ignores what asks it to end.
func beStubborn([]string) int {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	fmt.Println("ignoring")
	<-time.After(longestLife)
	return exitFailed
}
