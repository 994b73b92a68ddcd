package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/devside/devside/supervisor/proc"
)

const (
	// maxNotice is the longest datagram that counts, systemd's own bound.
	maxNotice = 4096
	// maxPassed is the most descriptors that the kernel passes with a datagram
	// (SCM_MAX_FD). All are closed: sd_notify_barrier(3), with which
	// systemd-notify waits until it was heard, is an answer by closing.
	maxPassed = 253
	// noticesASecond bounds what a flood costs: more wait in the kernel's queue,
	// which is short (net.unix.max_dgram_qlen), and then their senders wait.
	noticesASecond = 100
	// maxSocketPath is what sockaddr_un holds, less its final zero.
	maxSocketPath = 107
)

// Notify is the socket on which one run of a server says how it is, by
// sd_notify(3). Close it.
type Notify struct {
	*Notices
	// Address is the value of NOTIFY_SOCKET.
	Address string

	conn *net.UnixConn
	file string
	dir  int // descriptor that Address leads through; -1: none
}

// ListenNotify makes the socket of one server's next run in dir, a folder that
// is ours alone, in the place of one that a lost hub left.
//
// The server must be able to name the socket, so that a path that is too long
// for an address leads through a descriptor of ours: /proc/<pid>/fd/<n>/…,
// which every process of the same user may follow.
func ListenNotify(dir, server string) (*Notify, error) {
	n := &Notify{Notices: newNotices(), file: filepath.Join(dir, "notify-"+server+".sock"), dir: -1}
	n.Address = n.file
	if err := n.listen(dir); err != nil {
		n.closeDir()
		return nil, fmt.Errorf("listen for sd_notify: %w", err)
	}
	return n, nil
}

func (n *Notify) listen(dir string) error {
	var err error
	if len(n.file) > maxSocketPath {
		if n.dir, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			n.dir = -1
			return &os.PathError{Op: "open", Path: dir, Err: err}
		}
		n.Address = "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(n.dir) + "/" + filepath.Base(n.file)
	}
	if info, err := os.Lstat(n.file); err == nil && info.Mode().Type() == os.ModeSocket {
		if err := os.Remove(n.file); err != nil {
			return err
		}
	}
	conf := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var set error
		err := c.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
		return errors.Join(err, set)
	}}
	conn, err := conf.ListenPacket(context.Background(), "unixgram", n.Address)
	if err != nil {
		return err
	}
	n.conn = conn.(*net.UnixConn)
	return nil
}

// Close takes the socket away. A process that comes later finds nothing.
func (n *Notify) Close() error {
	err := errors.Join(n.conn.Close(), os.Remove(n.file))
	n.closeDir()
	return err
}

func (n *Notify) closeDir() {
	if n.dir >= 0 {
		unix.Close(n.dir) //nolint:errcheck // only a reference to a folder
		n.dir = -1
	}
}

// Serve listens until ctx ends or the socket is closed. A notice counts if
// belongs returns nil for the process that sent it, which it is asked when the
// notice is read: the kernel says who sent it, but not to whom that process
// belongs, and when it has ended and was reaped nobody can say. refused is told
// of notices that did not count, at most once a second.
func (n *Notify) Serve(ctx context.Context, belongs func(pid int) error, refused func(why string)) {
	stop := context.AfterFunc(ctx, func() { n.conn.SetReadDeadline(time.Unix(1, 0)) }) //nolint:errcheck // closed, then
	defer stop()
	buf, oob := make([]byte, maxNotice), make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4*maxPassed))
	began, taken, told := time.Now(), 0, time.Time{}
	for {
		size, oobSize, flags, _, err := n.conn.ReadMsgUnix(buf, oob)
		if err != nil {
			return
		}
		pid := senderOf(oob[:oobSize])
		if taken++; taken == noticesASecond {
			if !pause(ctx, time.Second-time.Since(began)) {
				return
			}
			began, taken = time.Now(), 0
		}
		switch {
		case flags&unix.MSG_TRUNC != 0:
			err = fmt.Errorf("a notice of more than %d bytes was not read", maxNotice)
		case n.now().with(buf[:size]) == n.now():
			continue // nothing that needs to be believed
		case pid == 0:
			err = errors.New("a notice came from a process that is not visible from here, such as one in a container")
		default:
			if err = belongs(pid); err != nil {
				err = notBelieved(pid, err)
			}
		}
		if err == nil {
			n.update(func(s said) said { return s.with(buf[:size]) })
			continue
		}
		n.update(func(s said) said { s.refused = err.Error(); return s })
		if now := time.Now(); now.Sub(told) >= time.Second {
			told = now
			refused(err.Error())
		}
	}
}

func notBelieved(pid int, err error) error {
	if errors.Is(err, proc.ErrGone) {
		return fmt.Errorf("a notice from pid %d did not count: it had ended before it could be seen whose it was; "+
			"send from a process that lives on, or with systemd-notify, which waits", pid)
	}
	return fmt.Errorf("a notice from pid %d did not count: %w", pid, err)
}

// senderOf returns the pid that the kernel attests, 0 without one, and closes
// whatever descriptors came along.
func senderOf(oob []byte) (pid int) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	for _, m := range messages {
		if cred, err := unix.ParseUnixCredentials(&m); err == nil {
			pid = int(cred.Pid)
		}
		if fds, err := unix.ParseUnixRights(&m); err == nil {
			for _, fd := range fds {
				unix.Close(fd) //nolint:errcheck // not ours to know what it is
			}
		}
	}
	return pid
}

// pause waits, and reports whether ctx has not ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
