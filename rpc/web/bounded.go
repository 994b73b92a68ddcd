package web

import (
	"log"
	"net"
	"strings"
	"sync"

	"github.com/rs/zerolog"
)

// bounded is a listener with at most so many connections at a time: one more is
// closed at once. (netutil.LimitListener would let it wait, and with it whoever
// comes next.)
type bounded struct {
	net.Listener
	places chan struct{}
}

func newBounded(l net.Listener, most int) *bounded {
	return &bounded{l, make(chan struct{}, most)}
}

// Accept returns the next connection that there is a place for.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case b.places <- struct{}{}:
			return &placed{Conn: c, leave: sync.OnceFunc(func() { <-b.places })}, nil
		default:
			c.Close() //nolint:errcheck // refused
		}
	}
}

// placed is a connection that gives its place back when it is closed.
type placed struct {
	net.Conn
	leave func()
}

// Close gives the place back first: whoever has seen that the connection is
// closed finds it free.
func (p *placed) Close() error {
	p.leave()
	return p.Conn.Close()
}

// quietLog takes what net/http has to say, which is mostly of peers that are
// none of ours, for the debug log.
func quietLog(to zerolog.Logger) *log.Logger { return log.New(debugWriter{to}, "", 0) }

type debugWriter struct{ to zerolog.Logger }

func (w debugWriter) Write(line []byte) (int, error) {
	w.to.Debug().Str("part", "http").Msg(strings.TrimSpace(string(line)))
	return len(line), nil
}
