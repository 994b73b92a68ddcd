package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// eventKind names the news of a server.
type eventKind string

const (
	opened eventKind = "opened" // its port accepts
	failed eventKind = "failed" // it could not
)

// event is one server's news. At is the server's own clock at the moment it
// tells of, so that a datagram that waits to be read is no part of a figure.
type event struct {
	Kind eventKind
	Name string
	PID  int
	At   time.Time
	Why  string
}

func (e event) String() string {
	return fmt.Sprintf("%s %s %d %d %s", e.Kind, e.Name, e.PID, e.At.UnixNano(), e.Why)
}

func readEvent(text string) (event, error) {
	f := strings.SplitN(text, " ", 5)
	if len(f) < 5 {
		return event{}, fmt.Errorf("read a server's news: %q", text)
	}
	pid, err1 := strconv.Atoi(f[2])
	at, err2 := strconv.ParseInt(f[3], 10, 64)
	if err1 != nil || err2 != nil {
		return event{}, fmt.Errorf("read a server's news: %q", text)
	}
	return event{Kind: eventKind(f[0]), Name: f[1], PID: pid, At: time.Unix(0, at), Why: f[4]}, nil
}

// ear hears the servers of both sides.
type ear struct {
	path   string
	conn   net.PacketConn
	events chan event
	ended  chan struct{} // closed when nothing is heard any more
}

// mostUnheard is how many news may wait: more than any measurement has servers.
const mostUnheard = 4096

func newEar(path string) (*ear, error) {
	conn, err := net.ListenPacket("unixgram", path)
	if err != nil {
		return nil, fmt.Errorf("hear the servers: %w", err)
	}
	e := &ear{path: path, conn: conn, events: make(chan event, mostUnheard), ended: make(chan struct{})}
	go func() {
		defer close(e.ended)
		buf := make([]byte, 4096)
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			ev, err := readEvent(string(buf[:n]))
			if err != nil {
				ev = event{Kind: failed, Why: err.Error()}
			}
			select {
			case e.events <- ev:
			default: // nobody listens to so much
			}
		}
	}()
	return e, nil
}

func (e *ear) close() error {
	err := e.conn.Close()
	<-e.ended
	return err
}

// forget drops what was heard: news of servers that nobody waits for.
func (e *ear) forget() {
	for {
		select {
		case <-e.events:
		default:
			return
		}
	}
}

// hear waits until each of the named servers has opened its port, and returns
// their news by name. News of others are dropped.
func (e *ear) hear(ctx context.Context, names []string) (map[string]event, error) {
	missing := make(map[string]bool, len(names))
	for _, n := range names {
		missing[n] = true
	}
	heard := make(map[string]event, len(names))
	for len(missing) > 0 {
		select {
		case ev := <-e.events:
			switch {
			case ev.Kind == failed:
				return nil, fmt.Errorf("await %d servers: %s could not open its port: %s", len(names), ev.Name, ev.Why)
			case missing[ev.Name]:
				delete(missing, ev.Name)
				heard[ev.Name] = ev
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("await %d servers: %d have not opened their port: %w", len(names), len(missing), context.Cause(ctx))
		}
	}
	return heard, nil
}

// last is the latest of some news.
func last(heard map[string]event) time.Time {
	var t time.Time
	for _, ev := range heard {
		if ev.At.After(t) {
			t = ev.At
		}
	}
	return t
}
