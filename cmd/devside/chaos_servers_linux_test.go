package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The servers of the chaos test: this test binary, run again with a word, the
// mark of the test, the server's name and the part it plays. What they start is
// mostly `sleep`, which is cheap, with the mark and the server's number as the
// seconds to sleep: whatever happens to environment, session and parents, every
// process of the test has the mark among its arguments.

// misbehaveWord makes a server of this test binary.
const misbehaveWord = "misbehave"

// misbehaver is one kind of server.
type misbehaver struct {
	name   string
	port   bool
	most   int    // processes of one run, once it has started them all
	extra  string // more of its entry in devside.yaml
	steady bool   // it becomes ready, with all its processes, if nobody interferes
}

// misbehavers is every server of the project, in the order of its configuration.
var misbehavers = []misbehaver{
	{name: "polite", port: true, most: 1, steady: true},
	{name: "stubborn", port: true, most: 3, steady: true},
	{name: "double", most: 2, steady: true},
	{name: "stray", most: 2, steady: true},
	{name: "wrapper", port: true, most: 2, steady: true},
	{name: "crasher", most: 1, extra: "ready: none"},
	{name: "flood", most: 1, extra: "ready: {log: flooding, within: 3s}"},
	{name: "mute", port: true, most: 1, steady: true},
	{name: "slow", port: true, most: 1, extra: "ready: {tcp: PORT, within: 300ms}", steady: true},
	{name: "deep", port: true, most: 3, steady: true},
	{name: "bomb", most: 1 + bombSize, steady: true},
	{name: "dependent", port: true, most: 1, extra: "depends_on: [slow, polite]", steady: true},
	{name: "moving", port: true, most: 1},
}

// bombSize is how many processes the fork bomb starts.
const bombSize = 50

func init() {
	if len(os.Args) == 5 && os.Args[1] == misbehaveWord {
		misbehave(os.Args[2], os.Args[3], os.Args[4])
		os.Exit(0)
	}
}

// parts is what a process of a server can do, by its name.
var parts = map[string]func(p *part){
	"polite": (*part).listen, "moving": (*part).listen, "dependent": (*part).listen,
	// The leader ends at TERM, and what it started does not.
	"stubborn": func(p *part) {
		p.deaf(func() { p.sleeper(false, true); p.sleeper(true, true) })
		p.listen()
	},
	// A daemon of the old school.
	"double":        func(p *part) { p.again("double-middle", true, true).Wait(); p.idle() },
	"double-middle": func(p *part) { p.sleeper(true, true) },
	// The same, and nothing of the environment is left.
	"stray":        func(p *part) { p.again("stray-middle", true, false).Wait(); p.idle() },
	"stray-middle": func(p *part) { p.sleeper(true, false) },
	// A wrapper that tells its child nothing.
	"wrapper": func(p *part) { p.again("polite", false, true).Wait() },
	"crasher": func(*part) {
		<-time.After(time.Duration(50+rand.IntN(1500)) * time.Millisecond)
		os.Exit(1)
	},
	"flood": (*part).flood,
	"mute": func(p *part) {
		syscall.Close(1)
		syscall.Close(2)
		p.listen()
	},
	"slow": func(p *part) {
		<-time.After(600 * time.Millisecond)
		p.listen()
	},
	// The port is held by a grandchild, and the leader does not hear TERM.
	"deep": func(p *part) {
		signal.Ignore(syscall.SIGTERM)
		p.again("deep-middle", true, true).Wait()
	},
	"deep-middle": func(p *part) { p.again("polite", true, true).Wait() },
	"bomb": func(p *part) {
		for range bombSize / 2 {
			p.sleeper(false, true)
		}
		p.deaf(func() {
			for range bombSize / 2 {
				p.sleeper(true, true)
			}
		})
		p.idle()
	},
}

// passing is the parts that end by themselves, once they have started another.
var passing = map[string]bool{"double-middle": true, "stray-middle": true}

// part is one process of a server.
type part struct{ mark, server string }

func misbehave(mark, server, name string) {
	p := &part{mark, server}
	parts[name](p)
}

// listen holds $PORT and answers whoever comes, until it is told to end.
func (p *part) listen() {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		c.Close()
	}
}

// idle waits for its end. A channel that nobody knows would be a deadlock to
// Go's runtime.
func (p *part) idle() {
	<-time.After(24 * time.Hour)
}

// flood prints as fast as it can, in bursts, never a line end.
func (p *part) flood() {
	burst := []byte(strings.Repeat("flooding ", 1<<13))
	for range time.Tick(50 * time.Millisecond) {
		if _, err := os.Stdout.Write(burst); err != nil {
			os.Exit(1)
		}
	}
}

// deaf runs f while TERM and INT are ignored: what it starts inherits that.
func (p *part) deaf(f func()) {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
	f()
	signal.Reset(syscall.SIGTERM, syscall.SIGINT)
}

// again starts this program in another part.
func (p *part) again(part string, session, environment bool) *exec.Cmd {
	return p.start(exec.Command("/proc/self/exe", misbehaveWord, p.mark, p.server, part), session, environment)
}

// sleeper starts a process that does nothing for ever.
func (p *part) sleeper(session, environment bool) {
	p.start(exec.Command("sleep", p.mark+serverNumber(p.server)), session, environment)
}

func (p *part) start(cmd *exec.Cmd, session, environment bool) *exec.Cmd {
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: session}
	if !environment {
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return cmd
}

// serverNumber is how a sleeper says whose it is: two digits.
func serverNumber(name string) string {
	at := slices.IndexFunc(misbehavers, func(m misbehaver) bool { return m.name == name })
	return fmt.Sprintf("%02d", at)
}

// ownerOf returns the server and the part of a process, by its arguments.
func ownerOf(args []string, mark string) (server, part string, ok bool) {
	switch {
	case len(args) == 5 && args[1] == misbehaveWord && args[2] == mark:
		return args[3], args[4], true
	case len(args) == 2 && strings.HasPrefix(args[1], mark):
		n, err := strconv.Atoi(strings.TrimPrefix(args[1], mark))
		if err != nil || n < 0 || n >= len(misbehavers) {
			return "", "", false
		}
		return misbehavers[n].name, "sleep", true
	}
	return "", "", false
}
