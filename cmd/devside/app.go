package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// app is one run of the command line: what surrounds it, the flags that every
// command takes, and its doors to the rest of devside. Tests put their own
// things in each.
type app struct {
	in                    io.Reader
	out, err              io.Writer
	inTTY, outTTY, errTTY bool
	getenv                func(string) string
	environ               func() []string
	getwd                 func() (string, error)
	euid                  func() int
	hurry                 <-chan struct{} // closed by the second signal
	now                   func() time.Time
	doors                 doors
	hidden                []*cobra.Command // __guardian, __hub and their like

	refused *failure // root is refused; set by admit

	http      httpFlag // --http
	rootFlag  string
	trust     bool
	allowRoot bool
	output    string
	noColor   bool
}

// hub is a connection to the hub of a project: *rpc.Conn, or a test's.
type hub interface {
	Call(ctx context.Context, method string, params, result any) error
	Done() <-chan struct{}
	Close() error
}

// dialing says which hub a command wants and as whom.
type dialing struct {
	root    string // real path
	role    wire.Role
	client  string // "devside status", for the hub's log
	start   bool   // start a hub where there is none
	trusted bool
	http    string // where HTTP is to be served; empty: as the configuration says
	env     []string
	args    []string // flags for a started hub's processes
	// took takes what the hub sends by itself. It is called from the read
	// loop: it only touches memory.
	took func(method string, params json.RawMessage)
	log  zerolog.Logger
}

// upHub is a hub that lives in this process's tree, or, attached, one that
// ran already.
type upHub struct {
	hub      hub
	attached bool
	wait     func() error // until guardian and hub have ended; after the hub's last holder left
	hurry    func()       // cuts the grace of a stop short; nil: can't
}

// stdio is one editor session.
type stdio struct {
	root      string // --root, real path; empty: the client's folder
	trusted   bool
	http      string // --http
	allowRoot bool
	refused   error // root refused: initialize is answered with it
	log       zerolog.Logger
}

// doors are the parts of devside that the command line uses, as functions.
type doors struct {
	dial       func(context.Context, dialing) (hub, error) // socket.ErrNoHub where there is none and start is false
	foreground func(context.Context, dialing) (upHub, error)
	serve      func(context.Context, stdio) int
	// trustedHash and remember are the trust on disk, for when no hub runs.
	trustedHash func(root string) (string, error)
	remember    func(root, hash string) error
	// account reads the user database; become makes this process that user's,
	// calls say and does not return, unless it can't.
	account func(uid string) (account, error)
	become  func(who account, environ []string, say func()) error
	// auditRoot takes down that root was refused.
	auditRoot func(command string)
	// logged lists the servers with log files, and storedLog answers from them,
	// for when no hub runs.
	logged    func(root string) ([]string, error)
	storedLog func(root, server string, p wire.LogsParams) ([]wire.LogLine, error)
	// listeners says who listens on each of these ports, for when no hub runs.
	listeners func(ports []int) (map[int]*status.Holder, error)
}

// The values of --output.
const (
	outputText = "text"
	outputJSON = "json"
)

// allowRootVariable is --allow-root for those who can't pass flags: CI images
// and editors in containers.
const allowRootVariable = "DEVSIDE_ALLOW_ROOT"

// run is main without the process around it. It returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	cmd := a.command()
	cmd.SetArgs(append([]string{}, args...)) // nil would mean os.Args
	cmd.SetIn(a.in)
	cmd.SetOut(a.out)
	cmd.SetErr(a.err)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var code exitCode
	if errors.As(err, &code) {
		return int(code)
	}
	var f *failure
	if !errors.As(err, &f) {
		// Only cobra itself returns another kind: words that it can't place.
		what, _, _ := strings.Cut(err.Error(), ": strconv.") // Go's own words say nothing to others
		f = usage(`"devside --help" lists the commands, "devside COMMAND --help" its flags`, "%s", what)
	}
	f.report(a.err)
	return f.code
}

// exitCode ends the process with a code and no message: the session has told
// its client all there is.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

func (a *app) command() *cobra.Command {
	var useStdio bool
	root := &cobra.Command{
		Use:   "devside",
		Short: "devside supervises a project's development servers",
		Long: `devside starts, watches, restarts and stops the servers named in devside.yaml,
and says what is wrong where you are looking.

An editor runs "devside --stdio". On a terminal, "devside up" runs everything
until Ctrl-C.`,
		SilenceErrors: true,
		SilenceUsage:  true,

		SuggestionsMinimumDistance: 2,
		Args:                       cobra.ArbitraryArgs,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return a.admit(cmd, useStdio)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case useStdio && len(args) == 0:
				return a.stdio(cmd.Context())
			case len(args) > 0:
				return unknownCommand(cmd, args[0])
			}
			return usage(`"devside --help" lists the commands; an editor runs "devside --stdio"`, "no command was given")
		},
	}
	root.Flags().BoolVar(&useStdio, "stdio", false, "speak the language server protocol on standard input and output")
	// Asked of a program before it is taken for a devside, and answered as root, too.
	root.Version = thisVersion().String()
	root.SetVersionTemplate("{{.Version}}\n")
	root.Flags().Bool("version", false, "show the version")
	// vscode-languageclient adds it to every server's command line. The
	// protocol's own processId is the one that counts.
	root.Flags().Int("clientProcessId", 0, "")
	if err := root.Flags().MarkHidden("clientProcessId"); err != nil {
		panic(err) // the flag is defined one line above
	}
	a.addHTTPFlag(root.Flags())
	p := root.PersistentFlags()
	p.StringVar(&a.rootFlag, "root", "", "the project's folder (default: the nearest folder upwards with a devside.yaml)")
	p.BoolVar(&a.trust, "trust", false, "let the project's commands run, for this time only")
	p.BoolVar(&a.allowRoot, "allow-root", false, "run as root all the same (also "+allowRootVariable+"=1)")
	p.StringVarP(&a.output, "output", "o", outputText, "text or json")
	p.BoolVar(&a.noColor, "no-color", false, "no colours (also NO_COLOR=1)")
	root.AddCommand(
		a.upCommand(), a.statusCommand(),
		a.startCommand(), a.stopCommand(), a.restartCommand(), a.resetCommand(),
		a.logsCommand(), a.portsCommand(), a.freeCommand(), a.nextPortCommand(),
		a.clearCachesCommand(), a.resumeCommand(), a.httpCommand(),
		a.initCommand(), a.checkCommand(), a.schemaCommand(), a.trustCommand(), a.reloadCommand(), a.versionCommand(),
	)
	root.AddCommand(a.hidden...)
	return root
}

// unknownCommand names the nearest ones.
func unknownCommand(root *cobra.Command, name string) *failure {
	hint := `"devside --help" lists the commands`
	if near := root.SuggestionsFor(name); len(near) > 0 {
		hint = fmt.Sprintf(`did you mean "devside %s"? `, strings.Join(near, `" or "devside `)) + hint
	}
	return usage(hint, "%q is not a command", name)
}

// admit runs before every command.
func (a *app) admit(cmd *cobra.Command, useStdio bool) error {
	if harmless(cmd) {
		return a.checkOutput()
	}
	if a.refused = a.refuseRoot(); a.refused != nil {
		a.doors.auditRoot(cmd.CommandPath())
		if !useStdio { // with --stdio the client must be told
			return a.refused
		}
	}
	return a.checkOutput()
}

// harmless reports whether a command looks at nothing and runs nothing.
func harmless(cmd *cobra.Command) bool {
	for c := cmd; c != nil; c = c.Parent() {
		switch c.Name() {
		case "version", "schema", "help", "completion", cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
			return true
		}
	}
	return false
}

func (a *app) checkOutput() error {
	if a.output != outputText && a.output != outputJSON {
		return usage("--output takes text or json", "%q is not a form of output", a.output)
	}
	return nil
}

// rootAllowed reports whether --allow-root, or its variable, was given.
func (a *app) rootAllowed() bool { return a.allowRoot || a.getenv(allowRootVariable) == "1" }

// refuseRoot is nil for ordinary users, and where root is allowed. Under sudo
// it does not return: the program goes on as the user who called, before it has
// looked at or made anything.
func (a *app) refuseRoot() *failure {
	if a.euid() != 0 || a.rootAllowed() {
		return nil
	}
	f := &failure{code: exitRoot,
		what: "refused to run as root: every server would be root, too",
		hint: "run it as your own user; in a container, pass --allow-root or set " + allowRootVariable + "=1"}
	if err := a.leaveRoot(); !errors.Is(err, errNotSudo) {
		f.what += fmt.Sprintf("; and it can't become the user who called sudo: %v", err)
	}
	return f
}

// json reports whether the answer is for a program.
func (a *app) json() bool { return a.output == outputJSON }

// print writes a result as JSON.
func (a *app) print(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return a.wrote(enc.Encode(v))
}

// say writes lines of an answer.
func (a *app) say(format string, args ...any) error {
	_, err := fmt.Fprintf(a.out, format, args...)
	return a.wrote(err)
}

// wrote makes a failure of an answer that could not be written. A closed pipe
// (devside logs | head) is the reader's choice and says nothing.
func (a *app) wrote(err error) error {
	switch {
	case err == nil:
		return nil
	case brokenPipe(err):
		return exitCode(exitOK)
	}
	return &failure{code: exitHub, what: fmt.Sprintf("write the answer: %v", err)}
}

// style is how this run's output is drawn.
func (a *app) style() style {
	return style{colour: a.outTTY && !a.noColor && a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb" && !a.json()}
}

// logger is devside's own log on standard error: quiet, unless asked.
func (a *app) logger(level zerolog.Level) zerolog.Logger {
	if a.getenv("DEV_DEBUG") == "1" {
		level = zerolog.DebugLevel
	}
	return zerolog.New(zerolog.SyncWriter(a.err)).Level(level).With().Timestamp().Logger()
}

// findRoot returns the real path of the project's root.
func (a *app) findRoot() (string, error) {
	path := a.rootFlag
	if path == "" {
		wd, err := a.getwd()
		if err != nil {
			return "", usage("change to a folder that exists, or pass --root", "find the working directory: %v", err)
		}
		path = nearest(wd)
	}
	return realFolder(path)
}

// nearest returns the nearest folder from dir upwards that has a devside.yaml,
// else dir.
func nearest(dir string) string {
	for at := dir; ; at = filepath.Dir(at) {
		if info, err := os.Stat(filepath.Join(at, spec.FileName)); err == nil && info.Mode().IsRegular() {
			return at
		}
		if at == filepath.Dir(at) {
			return dir
		}
	}
}

// realFolder resolves every link of path, so that each project has one name.
func realFolder(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", unreadable(path, err)
	}
	real, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return "", unreadable(path, err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", unreadable(path, err)
	}
	if !info.IsDir() {
		return "", unreadable(path, errors.New("it is not a folder"))
	}
	return real, nil
}

// project is the root with its configuration as it is on disk.
type project struct {
	root   string
	loaded *spec.Loaded
	trust  status.Trust // State is not filled in
}

// project finds and reads the configuration. Links that leave the root are not
// followed.
func (a *app) project() (*project, error) {
	root, err := a.findRoot()
	if err != nil {
		return nil, err
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, unreadable(root, err)
	}
	defer r.Close() //nolint:errcheck // only read from
	return readProject(root, r.FS(), a.getenv), nil
}

func readProject(root string, fsys fs.FS, getenv func(string) string) *project {
	l := spec.Load(fsys, filepath.Base(root), getenv)
	return &project{root: root, loaded: l, trust: spec.Commands(fsys, l.Project)}
}

// names returns the configured servers' names, in the file's order.
func (p *project) names() []string {
	out := []string{}
	for _, s := range p.loaded.Project.Servers {
		out = append(out, s.Name)
	}
	return out
}

// usable is nil if the configuration can be run.
func (p *project) usable() error {
	if !p.loaded.Valid() {
		return &failure{code: exitConfig, what: "the configuration has errors, so nothing of it runs",
			also: issueLines(p.loaded.Issues), hint: `mend them; "devside check" looks again`}
	}
	if len(p.loaded.Project.Servers) == 0 {
		return nothingToRun(p.root)
	}
	return nil
}

func nothingToRun(root string) *failure {
	return &failure{code: exitConfig,
		what: fmt.Sprintf("there is nothing to run in %s", root),
		hint: "write a devside.yaml there, or a package.json with a dev script, or a Procfile; --root names another folder"}
}

// dialing is what all connections of one command have in common.
func (a *app) dialing(root string, role wire.Role, client string) dialing {
	d := dialing{
		root: root, role: role, client: "devside " + client,
		start:   role != wire.Visitor,
		trusted: a.trust, http: string(a.http), env: a.environ(),
		took: func(string, json.RawMessage) {},
		log:  a.logger(zerolog.Disabled),
	}
	if a.allowRoot {
		d.args = []string{"--allow-root"}
	}
	return d
}

// leave closes a connection that is done with. Its answers are in: an error
// says nothing any more.
func leave(h hub) { _ = h.Close() }

// callBound is how long an answer may take that waits for no server.
const callBound = 10 * time.Second

// ask calls a verb that answers at once.
func ask(ctx context.Context, h hub, verb string, params, result any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, callBound,
		&failure{code: exitHub, what: fmt.Sprintf("the hub did not answer devside/%s within %v", verb, callBound),
			hint: "its log in the state folder may say why"})
	defer cancel()
	return causeOf(ctx, h.Call(ctx, wire.MethodPrefix+verb, params, result))
}

// causeOf puts a context's cause in the place of its bare end.
func causeOf(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return context.Cause(ctx)
	}
	return err
}
