package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The words that make this program something else than the load program.
const (
	serverRole = "__server"
	childRole  = "__child"
	bareRole   = "__bare"
	echoRole   = "__echo"
)

// earVariable names the datagram socket that the servers tell their news to.
// Not DEVSIDE_…: devside keeps those from its servers.
const earVariable = "BENCH_EAR"

// longestLife ends a server or child that nobody ended. A whole run takes less.
const longestLife = 10 * time.Minute

// server is one tiny server, as it is started on either side.
type server struct {
	name  string
	port  int
	after time.Duration // opens its port so long after it was started
	http  bool          // answers HTTP
	// family starts two children that ignore what asks them to end, one of them
	// in a session of its own.
	family   bool
	stubborn bool // ignores what asks it to end, too
	flood    int  // prints so many lines once its port is open, and tells when the last is out
}

// argv is the command line after the program's name.
func (s server) argv() []string {
	out := []string{serverRole, s.name, strconv.Itoa(s.port)}
	if s.after > 0 {
		out = append(out, "after="+s.after.String())
	}
	if s.http {
		out = append(out, "http")
	}
	if s.family {
		out = append(out, "family")
	}
	if s.stubborn {
		out = append(out, "stubborn")
	}
	if s.flood > 0 {
		out = append(out, "flood="+strconv.Itoa(s.flood))
	}
	return out
}

// readServer reads argv without its first word.
func readServer(args []string) (server, error) {
	if len(args) < 2 {
		return server{}, fmt.Errorf("read the server's words: a name and a port are missing in %q", args)
	}
	s := server{name: args[0]}
	var err error
	if s.port, err = strconv.Atoi(args[1]); err != nil {
		return s, fmt.Errorf("read the server's port: %w", err)
	}
	for _, word := range args[2:] {
		if lines, ok := strings.CutPrefix(word, "flood="); ok {
			if s.flood, err = strconv.Atoi(lines); err != nil {
				return s, fmt.Errorf("read how much the server prints: %w", err)
			}
			continue
		}
		switch after, ok := strings.CutPrefix(word, "after="); {
		case ok:
			if s.after, err = time.ParseDuration(after); err != nil {
				return s, fmt.Errorf("read when the server opens its port: %w", err)
			}
		case word == "http":
			s.http = true
		case word == "family":
			s.family = true
		case word == "stubborn":
			s.stubborn = true
		default:
			return s, fmt.Errorf("read the server's words: what is %q?", word)
		}
	}
	return s, nil
}
