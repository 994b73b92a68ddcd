// Package web is the HTTP side of a hub: metrics for Prometheus and health for
// scripts and load balancers, on loopback.
//
// It never listens unless the configuration or a client asks for it, never
// answers a page that is not its own, never changes anything by GET, and serves
// nothing but metrics and health without the hub's token. It takes no lock that
// a server's actor waits for: what it tells is what the project has published.
//
// One goroutine (Run) owns where it listens. Which requests are refused is
// decided in guard.go, what health is in health.go. Start reading at Run, then
// handler.ServeHTTP.
package web

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/devside/devside/supervisor/project"
)

// DefaultAddress is where a client is served that names no address.
const DefaultAddress = "127.0.0.1:9000"

// Project is what the HTTP side needs of one: a *project.Project.
type Project interface {
	Glance() project.Glance
	Subscribe() *project.Subscription
	WantsHTTP() (address string, trusted bool)
	ListensHTTP(url string)
	PortTaken(number int) bool
	PortAfter(number int) (int, error)
	RefusedPage(host, origin string)
}

// Options of a Server.
type Options struct {
	Project Project
	Meter   *Meter
	Version string
	Log     zerolog.Logger
	// KeepToken writes the token where only the user can read it, and removes it
	// when it is empty.
	KeepToken func(token string) error

	headerPatience time.Duration // tests have less of it, and fewer connections
	connections    int
}

// Server listens where it is wanted.
type Server struct {
	o     Options
	token string
	asks  chan func() // run by Run's goroutine
	ended chan struct{}

	// Only Run's goroutine touches what follows.
	asked  string // the address that a client has asked for last; it comes before the configuration's
	wanted string // the address that was tried last for either; empty: none
	open   *listening
}

// listening is one listener and what serves it.
type listening struct {
	url    string
	server *http.Server
	served chan struct{} // closed when Serve has returned
}

// New returns a server that does not listen yet.
func New(o Options) *Server {
	var token [32]byte
	rand.Read(token[:]) //nolint:errcheck // never fails since Go 1.24
	return &Server{o: o, token: hex.EncodeToString(token[:]), asks: make(chan func()), ended: make(chan struct{})}
}

// ErrEnded: the hub ends.
var ErrEnded = errors.New("the hub ends")

// Run listens where the configuration and the clients want it until ctx ends.
func (s *Server) Run(ctx context.Context) {
	defer close(s.ended)
	sub := s.o.Project.Subscribe()
	defer sub.Close()
	defer s.close()
	for {
		s.aim()
		select {
		case <-ctx.Done():
			return
		case <-sub.News:
			sub.Events() // not ours to keep
		case ask := <-s.asks:
			ask()
		}
	}
}

// Serve has the HTTP side listen and returns its base URL and the token. An
// empty address is: where it listens, or else where the configuration wants it,
// or else DefaultAddress. A port that is taken is passed over for the next free
// one.
func (s *Server) Serve(ctx context.Context, address string) (url, token string, err error) {
	if ended := s.ask(ctx, func() { url, err = s.at(address) }); ended != nil {
		return "", "", ended
	}
	if err != nil {
		return "", "", err
	}
	return url, s.token, nil
}

// Rewrite writes the token's file again, if there is one: somebody has removed
// the state.
func (s *Server) Rewrite(ctx context.Context) {
	s.ask(ctx, func() { //nolint:errcheck // then there is nothing to write
		if s.open != nil {
			s.keepToken(s.token)
		}
	})
}

// ask runs f on Run's goroutine and waits for it.
func (s *Server) ask(ctx context.Context, f func()) error {
	ran := make(chan struct{})
	select {
	case s.asks <- func() { f(); close(ran) }:
		<-ran
		return nil
	case <-s.ended:
		return ErrEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// at has it listen at what a client asks for, and returns its base URL.
func (s *Server) at(address string) (url string, err error) {
	switch {
	case s.open == nil && address == "":
		configured, _ := s.o.Project.WantsHTTP()
		err = s.wish(cmp.Or(s.asked, configured, DefaultAddress))
	case s.open == nil, address != "" && address != s.wanted:
		err = s.wish(address)
	case address != "":
		s.asked = address // where it listens already
	}
	if err != nil {
		return "", err
	}
	return s.open.url, nil
}

// aim listens where it is wanted now, if it does not yet.
func (s *Server) aim() {
	want := s.asked
	if configured, trusted := s.o.Project.WantsHTTP(); want == "" && (trusted || configured == s.wanted) {
		want = configured // what is served stays so when who vouched for the project has gone
	}
	if want == s.wanted {
		return
	}
	s.wanted = want // also where it can't be had: it is tried once
	if want == "" {
		s.close()
		s.o.Log.Info().Msg("HTTP: nothing listens any more")
		return
	}
	s.move(want) //nolint:errcheck // it is in the log
}

// wish is aim for a client. What can't be had is not wished for.
func (s *Server) wish(address string) error {
	if err := s.move(address); err != nil {
		return err
	}
	s.asked, s.wanted = address, address
	return nil
}

// move listens at an address, and no longer where it did. If it can't be had,
// that stays as it is.
func (s *Server) move(address string) error {
	var before string // the address that is closed first
	if s.open != nil && strings.HasSuffix(s.open.url, address[strings.LastIndexByte(address, ':'):]) {
		before = strings.TrimPrefix(s.open.url, "http://") // another loopback address, or name: the port is our own
		s.close()
	}
	l, host, err := s.listen(address)
	if err == nil {
		s.close()
		s.serve(l, host)
		return nil
	}
	s.o.Log.Error().Err(err).Str("address", address).Msg("HTTP: can't listen")
	if before != "" {
		if l, host, err := s.listen(before); err == nil {
			s.serve(l, host)
		}
	}
	return fmt.Errorf("listen on %s for HTTP: %w", address, err)
}

// listenTries bounds the ports that are tried after one that was taken: each was
// free a moment before.
const listenTries = 20

// listen opens the address or, where its port is taken, the next free one.
func (s *Server) listen(address string) (l net.Listener, host string, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, "", err
	}
	number, err := strconv.Atoi(text)
	if err != nil {
		return nil, "", err
	}
	if host == "localhost" {
		host = "127.0.0.1" // whatever a name service says
	}
	for range listenTries {
		if number == 0 || !s.o.Project.PortTaken(number) {
			l, err = net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(number)))
			if err == nil {
				return l, host, nil
			}
			if number == 0 || !s.o.Project.PortTaken(number) {
				return nil, "", err
			}
		}
		next, err := s.o.Project.PortAfter(number)
		if err != nil {
			return nil, "", err
		}
		s.o.Log.Warn().Int("port", number).Int("next", next).Msg("HTTP: the port is taken, or a server's of this project: the next free one is used")
		number = next
	}
	return nil, "", fmt.Errorf("no port after %s could be had", text)
}

const (
	headerPatience = 5 * time.Second  // also of a connection that never says a word
	answerPatience = 10 * time.Second // for the whole of one request, and of one answer
	idlePatience   = time.Minute      // Prometheus asks every 15 s by default
	closePatience  = 250 * time.Millisecond
	maxHeader      = 8 << 10
	maxConnections = 64
)

func (s *Server) serve(l net.Listener, host string) {
	port := l.Addr().(*net.TCPAddr).Port
	url := "http://" + net.JoinHostPort(host, strconv.Itoa(port))
	o := &listening{url: url, served: make(chan struct{})}
	o.server = &http.Server{
		Handler:           newHandler(s.o, s.token, hostsOf(host, port)),
		ReadHeaderTimeout: cmp.Or(s.o.headerPatience, headerPatience), ReadTimeout: answerPatience, WriteTimeout: answerPatience, IdleTimeout: idlePatience,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       quietLog(s.o.Log),
	}
	go func() {
		defer close(o.served)
		if err := o.server.Serve(newBounded(l, cmp.Or(s.o.connections, maxConnections))); !errors.Is(err, http.ErrServerClosed) {
			s.o.Log.Error().Err(err).Msg("HTTP")
		}
	}()
	s.open = o
	s.keepToken(s.token)
	s.o.Project.ListensHTTP(url)
	s.o.Log.Info().Str("url", url).Msg("HTTP: listens")
}

func (s *Server) keepToken(token string) {
	if err := s.o.KeepToken(token); err != nil {
		s.o.Log.Error().Err(err).Msg("HTTP: the token's file")
	}
}

// close ends what is open. A request under way has closePatience.
func (s *Server) close() {
	if s.open == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	if s.open.server.Shutdown(ctx) != nil {
		s.open.server.Close() //nolint:errcheck // it is to go in any case
	}
	<-s.open.served
	s.open = nil
	s.keepToken("")
	s.o.Project.ListensHTTP("")
}
