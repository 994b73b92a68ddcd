package sidecar

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"go.lsp.dev/protocol"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/spec"
)

// maxLinger bounds how long a client can keep servers running after it has
// left: longer than a reload of a window, shorter than a forgotten evening.
const maxLinger = time.Hour

// initializeParams is what a session needs of LSP's InitializeParams. It is
// decoded leniently: an editor's newest capability must not keep it out.
type initializeParams struct {
	ProcessID  json.RawMessage `json:"processId"`
	ClientInfo struct {
		Name string `json:"name"`
	} `json:"clientInfo"`
	RootPath         *string           `json:"rootPath"`
	RootURI          *string           `json:"rootUri"`
	WorkspaceFolders []workspaceFolder `json:"workspaceFolders"`
	Capabilities     json.RawMessage   `json:"capabilities"`
	Options          json.RawMessage   `json:"initializationOptions"`
}

type workspaceFolder struct {
	URI  string `json:"uri"`
	Name string `json:"name"`
}

// client is what initialize said, as the session uses it. It does not change.
type client struct {
	capabilities
	name    string
	pid     int // of the editor; 0: unknown
	trusted bool
	linger  time.Duration
	auto    autostart
	hidden  bool     // `problems` is false
	notes   []string // what was wrong with the params, for the client's log

	saidLinger, saidAuto, saidProblems bool // they were given
}

// autostart is initializationOptions.autostart.
type autostart struct {
	on      bool
	servers []string // none: all
}

// readClient takes what concerns the session out of the params.
func readClient(p initializeParams, trust bool) client {
	c := client{
		capabilities: readCapabilities(p.Capabilities),
		name:         p.ClientInfo.Name,
		trusted:      trust,
	}
	if c.name == "" {
		c.name = "editor"
	}
	// A pid that is no whole number is no pid: the watch is only a second signal.
	if err := json.Unmarshal(p.ProcessID, &c.pid); err != nil || c.pid < 0 {
		c.pid = 0
	}
	c.readOptions(p.Options)
	return c
}

// readOptions takes each option by itself, so that one that is wrong is said
// and the others still hold. Only a literal true makes a project trusted.
func (c *client) readOptions(raw json.RawMessage) {
	if len(raw) == 0 || string(raw) == "null" {
		return
	}
	var options map[string]json.RawMessage
	if err := json.Unmarshal(raw, &options); err != nil {
		c.notes = append(c.notes, "initializationOptions is not an object and was ignored")
		return
	}
	if v, ok := options["trusted"]; ok {
		var trusted bool
		if err := json.Unmarshal(v, &trusted); err != nil {
			c.notes = append(c.notes, "initializationOptions.trusted is not true or false and was ignored")
		}
		c.trusted = c.trusted || trusted
	}
	if v, ok := options["linger"]; ok {
		linger, err := readLinger(v)
		if err != nil {
			c.notes = append(c.notes, fmt.Sprintf("initializationOptions.linger was ignored: %v", err))
		}
		c.linger, c.saidLinger = linger, err == nil
	}
	if v, ok := options["autostart"]; ok {
		auto, err := readAutostart(v)
		if err != nil {
			c.notes = append(c.notes, fmt.Sprintf("initializationOptions.autostart was ignored: %v", err))
		}
		c.auto, c.saidAuto = auto, err == nil
	}
	if v, ok := options["problems"]; ok {
		problems := true // which null leaves
		err := json.Unmarshal(v, &problems)
		if err != nil {
			c.notes = append(c.notes, "initializationOptions.problems is not true or false and was ignored")
		}
		c.hidden, c.saidProblems = err == nil && !problems, err == nil && string(v) != "null"
	}
}

// readLinger takes milliseconds or a duration such as "10s".
func readLinger(raw json.RawMessage) (time.Duration, error) {
	var ms float64
	var text string
	var d time.Duration
	switch {
	case string(raw) == "null":
		return 0, nil
	case json.Unmarshal(raw, &ms) == nil:
		if ms < 0 || math.IsNaN(ms) {
			return 0, fmt.Errorf("%v is negative", ms)
		}
		d = time.Duration(min(ms, float64(maxLinger/time.Millisecond))) * time.Millisecond
	case json.Unmarshal(raw, &text) == nil:
		parsed, err := time.ParseDuration(text)
		if err != nil || parsed < 0 {
			return 0, fmt.Errorf("%q is no duration such as 10s", text)
		}
		d = parsed
	default:
		return 0, fmt.Errorf("%s is neither milliseconds nor a duration such as \"10s\"", raw)
	}
	return min(d, maxLinger), nil
}

func readAutostart(raw json.RawMessage) (autostart, error) {
	var on bool
	var servers []string
	switch {
	case string(raw) == "null":
		return autostart{}, nil
	case json.Unmarshal(raw, &on) == nil:
		return autostart{on: on}, nil
	case json.Unmarshal(raw, &servers) == nil:
		return autostart{on: len(servers) > 0, servers: servers}, nil
	}
	return autostart{}, fmt.Errorf("%s is neither true, false nor a list of server names", raw)
}

// place is a folder that the session is about: where it is, and how the client
// writes it.
type place struct {
	path string // absolute and clean, as the client named it
	uri  string // without a slash at the end
}

func placeOfPath(path string) place {
	path = filepath.Clean(path)
	return place{path: path, uri: trimSlash(pathToURI(path))}
}

func placeOfURI(uri string) (place, error) {
	path, err := uriToPath(uri)
	if err != nil {
		return place{}, err
	}
	return place{path: path, uri: trimSlash(uri)}, nil
}

func trimSlash(uri string) string {
	for len(uri) > 0 && uri[len(uri)-1] == '/' {
		uri = uri[:len(uri)-1]
	}
	return uri
}

// places decides which folders a session has: --root, else the client's, else
// the fallback. A folder that is no local file is left out, and said.
func places(p initializeParams, root, fallback string) (found []place, notes []string) {
	if root != "" {
		return []place{placeOfPath(root)}, nil
	}
	var uris []string
	switch {
	case len(p.WorkspaceFolders) > 0:
		for _, f := range p.WorkspaceFolders {
			uris = append(uris, f.URI)
		}
	case p.RootURI != nil && *p.RootURI != "":
		uris = []string{*p.RootURI}
	case p.RootPath != nil && filepath.IsAbs(*p.RootPath):
		return []place{placeOfPath(*p.RootPath)}, nil
	case fallback != "":
		return []place{placeOfPath(fallback)}, nil
	}
	for _, uri := range uris {
		at, err := placeOfURI(uri)
		if err != nil {
			notes = append(notes, fmt.Sprintf("folder left out: %v", err))
			continue
		}
		found = append(found, at)
	}
	return found, notes
}

// nearestRoot is the nearest directory from dir upwards that has a
// devside.yaml, else dir.
func nearestRoot(dir string) string {
	if dir == "" {
		return ""
	}
	for at := dir; ; {
		if info, err := os.Stat(filepath.Join(at, spec.FileName)); err == nil && info.Mode().IsRegular() {
			return at
		}
		up := filepath.Dir(at)
		if up == at {
			return dir
		}
		at = up
	}
}

// initializeResult is the answer to initialize, encoded once.
func initializeResult(version string, c capabilities) (json.RawMessage, error) {
	commands := make([]string, 0, len(wire.Verbs))
	methods := make([]string, 0, len(wire.Verbs))
	for _, v := range wire.Verbs {
		commands = append(commands, wire.CommandPrefix+v.Name)
		methods = append(methods, wire.MethodPrefix+v.Name)
	}
	experimental, err := json.Marshal(map[string]any{"devside": map[string]any{
		"protocol": wire.Protocol, "version": version, "methods": methods,
		"notifications": []string{wire.DidChangeStatus, wire.DidLog, wire.DidHappen},
	}})
	if err != nil {
		return nil, fmt.Errorf("encode capabilities: %w", err)
	}
	yes, no, full := true, false, protocol.TextDocumentSyncKindFull
	all := protocol.ServerCapabilities{
		TextDocumentSync: &protocol.TextDocumentSyncOptions{
			OpenClose: &yes, Change: &full, Save: &protocol.SaveOptions{IncludeText: &no}},
		ExecuteCommandProvider: protocol.ExecuteCommandOptions{
			WorkDoneProgressOptions: protocol.WorkDoneProgressOptions{WorkDoneProgress: &yes}, Commands: commands},
		Workspace: &protocol.WorkspaceOptions{WorkspaceFolders: &protocol.WorkspaceFoldersServerCapabilities{
			Supported: &yes, ChangeNotifications: protocol.Boolean(true)}},
		Experimental: protocol.LSPAny(experimental),
	}
	c.provide(&all)
	return encode(&protocol.InitializeResult{
		Capabilities: all,
		ServerInfo:   protocol.ServerInfo{Name: "devside", Version: protocol.NewOptional(version)},
	})
}

// encode writes a protocol value with the protocol library's own encoder:
// encoding/json gets its unions and lists wrong.
func encode(v any) (json.RawMessage, error) {
	raw, err := protocol.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return raw, nil
}

// refusal is the answer to initialize when nothing is served.
func refusal(err error) error {
	var known *rpc.Error
	if errors.As(err, &known) && known.Code == wire.CodeRootRefused {
		return known
	}
	return rpc.Errorf(wire.CodeRootRefused, wire.ErrorData{Code: "root-refused",
		Hint: "run devside as an ordinary user, or allow it with --allow-root or DEVSIDE_ALLOW_ROOT=1"}, "%v", err)
}
