package proc

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// handle is a pidfd: it means one process for ever, also after that has ended.
type handle struct{ fd int }

// openHandle opens the process that the identity means, or fails with ErrGone.
// The comparison is made with the pidfd in hand. Were the process replaced
// between the two, the pidfd would mean the dead one and a signal reach nobody.
func openHandle(id Identity) (handle, error) {
	if id.PID <= 0 || id.Start == "" || id.Boot == "" || id.Boot != bootID() {
		return handle{-1}, ErrGone
	}
	fd, err := unix.PidfdOpen(id.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		return handle{-1}, openError(err)
	}
	now, err := identityOf(fd, id.PID)
	if err == nil && !sameStart(now.Start, id.Start) {
		err = ErrGone
	}
	if err != nil {
		_ = unix.Close(fd)
		return handle{-1}, err
	}
	return handle{fd}, nil
}

// openError: EINVAL is pidfd_open's answer to the id of a thread.
func openError(err error) error {
	if errors.Is(err, unix.EINVAL) {
		return ErrGone
	}
	return goneOr(err)
}

func (h handle) signal(sig syscall.Signal) error {
	return goneOr(unix.PidfdSendSignal(h.fd, sig, nil, 0))
}

// ended reports whether every thread of the process has ended.
func (h handle) ended() bool { return fdReadable(h.fd) }

func (h handle) close() { _ = unix.Close(h.fd) }

func fdReadable(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 0)
		if err == unix.EINTR {
			continue
		}
		return n > 0 && err == nil
	}
}

// obituary tells that one of many processes has ended. All their pidfds are in
// one epoll set, and the set's own descriptor is in Go's poller: one goroutine
// and no thread, however many are watched.
type obituary struct {
	c    chan struct{} // holds one: "look again"
	set  *os.File
	fd   int
	done chan struct{}
}

func newObituary() (*obituary, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("watch processes: %w", err)
	}
	// os.NewFile gives only non-blocking descriptors to the poller.
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("watch processes: %w", err)
	}
	o := &obituary{c: make(chan struct{}, 1), set: os.NewFile(uintptr(fd), "pidfds"), fd: fd, done: make(chan struct{})}
	conn, err := o.set.SyscallConn()
	if err != nil {
		_ = o.set.Close()
		return nil, fmt.Errorf("watch processes: %w", err)
	}
	go o.run(conn)
	return o, nil
}

func (o *obituary) run(conn syscall.RawConn) {
	defer close(o.done)
	events := make([]unix.EpollEvent, 64)
	for {
		err := conn.Read(func(fd uintptr) bool {
			n, err := unix.EpollWait(int(fd), events, 0)
			return n > 0 || (err != nil && err != unix.EINTR)
		})
		if err != nil {
			return // closed
		}
		select {
		case o.c <- struct{}{}:
		default:
		}
	}
}

// add watches one more process, for one event.
func (o *obituary) add(h handle) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: int32(h.fd)}
	if err := unix.EpollCtl(o.fd, unix.EPOLL_CTL_ADD, h.fd, &ev); err != nil {
		return fmt.Errorf("watch process: %w", err)
	}
	return nil
}

func (o *obituary) close() {
	_ = o.set.Close()
	<-o.done
}
