package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/spec"
)

// maxReply is the longest line of a Redis that is read; the answers to what we
// ask have a few dozen bytes.
const maxReply = 4 << 10

const redisName = "Redis"

// redisProbe passes when a Redis answers PING, after AUTH and SELECT where the
// URL has a password and a database. Three commands of RESP2 are fewer lines
// than the settings that a client library would need in order to keep no pool,
// retry nothing and read no more than maxReply.
type redisProbe struct {
	where    string // host:port
	server   string // host name, for TLS; empty: plain
	addrs    addresses
	commands [][]string
}

func newRedis(d spec.Dependency) (Probe, error) {
	u, err := url.Parse(d.Target)
	if err != nil {
		return nil, errors.New("the URL can't be read") // err would quote it
	}
	p := &redisProbe{where: d.Addr, addrs: split(d.Addr)}
	if u.Scheme == "rediss" {
		p.server = u.Hostname()
	}
	if password, ok := u.User.Password(); ok {
		auth := []string{"AUTH"}
		if user := u.User.Username(); user != "" {
			auth = append(auth, user)
		}
		p.commands = append(p.commands, append(auth, password))
	}
	if database := strings.Trim(u.Path, "/"); database != "" {
		if _, err := strconv.ParseUint(database, 10, 31); err != nil {
			return nil, errors.New("the path of its URL is not the number of a database")
		}
		p.commands = append(p.commands, []string{"SELECT", database})
	}
	p.commands = append(p.commands, []string{"PING"})
	return p, nil
}

func (p *redisProbe) Look(ctx context.Context) error {
	conn, err := p.addrs.dial(ctx)
	if err != nil {
		return dialError(err, p.where)
	}
	defer conn.Close()
	stop, err := bind(ctx, conn)
	if err != nil {
		return err
	}
	defer stop()
	if p.server != "" {
		conn = tls.Client(conn, tlsFor(p.server))
	}
	r := bufio.NewReaderSize(conn, maxReply)
	for _, c := range p.commands {
		reply, err := ask(conn, r, c)
		switch {
		case errors.Is(ctx.Err(), context.Canceled):
			return context.Canceled
		case err != nil:
			return unanswered(err, redisName, p.where)
		}
		if problem := p.inWords(c[0], reply); problem != "" {
			return fmt.Errorf("%s on %s %s", redisName, p.where, problem)
		}
	}
	return nil
}

// bind gives a connection the look's deadline. A cancelled look ends at once.
func bind(ctx context.Context, conn net.Conn) (stop func() bool, err error) {
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	return context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }), nil //nolint:errcheck // the connection is closed then
}

var errNotRESP = errors.New("that is no RESP")

// ask sends one command and reads one line of answer, its type's sign included.
func ask(w io.Writer, r *bufio.Reader, words []string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return "", err
	}
	line, err := r.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	reply := strings.TrimRight(string(line), "\r\n")
	if reply == "" || reply[0] != '+' && reply[0] != '-' {
		return "", errNotRESP
	}
	return reply, nil
}

// inWords says what is wrong with an answer: empty, if nothing is.
func (p *redisProbe) inWords(command, reply string) string {
	if reply[0] == '+' {
		return ""
	}
	switch code, _, _ := strings.Cut(reply[1:], " "); {
	case code == "LOADING":
		return "is loading its data into memory"
	case code == "WRONGPASS", command == "AUTH" && code == "ERR" && !strings.Contains(reply, "without any password"):
		return "refused the password: authentication failed"
	case command == "AUTH" && code == "ERR":
		return "has no password set, and the URL has one"
	case code == "NOAUTH":
		return "asks for a password, and the URL has none"
	case code == "NOPERM":
		return "does not permit the user " + command
	case code == "MASTERDOWN", code == "BUSY":
		return "is not available: " + strings.ToLower(code)
	case command == "SELECT":
		return "has no such database"
	case strings.HasPrefix(reply, "-ERR max number of clients"):
		return "has no connection left"
	case strings.HasPrefix(reply, "-DENIED"):
		return "is in protected mode and refuses this address"
	default:
		return fmt.Sprintf("answered %s with the error %.20s", command, logs.StripANSI(code))
	}
}
