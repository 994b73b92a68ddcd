package main

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

// This file holds the two sides of the VS Code extension equal to ours: its
// protocol.ts to the types of rpc/wire, its commands and settings to what the
// documents and the sidecar say. It reads text: Go is all it needs.

// extensionCommands are the ids that outside programs drive the extension by.
var extensionCommands = []string{
	"devside.startAll", "devside.startServer", "devside.stopAll", "devside.stopServer", "devside.restartAll", "devside.restartServer",
	"devside.resetCrashLoop", "devside.showLogs", "devside.openInBrowser", "devside.freePort", "devside.clearCaches", "devside.createConfig",
	"devside.showStatus", "devside.restartSidecar", "devside.showSidecarLog",
}

func extensionFile(t *testing.T, name string) string {
	t.Helper()
	return sourceOf(t, "extension/"+name)
}

func sourceOf(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// tsInterfaces reads the interfaces of a TypeScript file: name → member → type, an
// optional member's name with its question mark.
func tsInterfaces(source string) map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, m := range regexp.MustCompile(`(?s)export interface (\w+)(?: extends (\w+))? \{(.*?)\}\n`).FindAllStringSubmatch(source, -1) {
		members := map[string]string{}
		for name, typ := range all[m[2]] {
			members[name] = typ
		}
		for _, f := range regexp.MustCompile(`(\w+\??): ([^;}]+)`).FindAllStringSubmatch(m[3], -1) {
			members[f[1]] = strings.TrimSpace(f[2])
		}
		all[m[1]] = members
	}
	return all
}

// inTypeScript is how protocol.ts writes what the page writes otherwise. Enumerations
// that it does not list are strings there.
var inTypeScript = map[string]string{
	"time": "string", "token": "string | number", "integer": "number",
	"Code": "string", "Kind": "string", "Act": "string", "Reason": "string",
}

// tsMembers are the rows of a type's table, as protocol.ts writes them.
func tsMembers(typ reflect.Type) map[string]string {
	all := map[string]string{}
	for _, row := range members(typ) {
		name, written, _ := strings.Cut(row, " ")
		single := strings.TrimRight(written, "[]")
		if ts, ok := inTypeScript[single]; ok {
			written = ts + written[len(single):]
		}
		all[name] = written
	}
	return all
}

func TestTheExtensionSpeaksTheProtocol(t *testing.T) {
	source := extensionFile(t, "src/protocol.ts")
	interfaces := tsInterfaces(source)
	sent := pageTypes()
	for _, name := range []string{"HelloParams", "HelloResult", "LeaveResult"} { // between a hub and its direct clients
		delete(sent, name)
	}
	for name, typ := range sent {
		got, ok := interfaces[name]
		if !ok {
			t.Errorf("protocol.ts has no interface %s", name)
			continue
		}
		want := tsMembers(typ)
		for member, ts := range want {
			if got[member] != ts && (member != "stream" || !strings.Contains(got[member], "'devside'")) {
				t.Errorf("%s.%s is %q, want %q", name, member, got[member], ts)
			}
		}
		for member := range got {
			if _, ok := want[member]; !ok {
				t.Errorf("%s.%s is not in Go", name, member)
			}
		}
	}
	for _, v := range wire.Verbs {
		params, result := reflect.TypeOf(v.Params), reflect.TypeOf(v.Result)
		entry := v.Name + ": { params: " + params.Name() + "; result: " + result.Name() + " };"
		if !strings.Contains(source, entry) {
			t.Errorf("protocol.ts has no %q", entry)
		}
	}
	if n := len(regexp.MustCompile(`\w+: \{ params: \w+; result: \w+ \};`).FindAllString(source, -1)); n != len(wire.Verbs) {
		t.Errorf("protocol.ts has %d requests, want %d", n, len(wire.Verbs))
	}
	for name := range interfaces {
		if _, ok := sent[name]; !ok && name != "Requests" && name != "Root" {
			t.Errorf("protocol.ts has %s, which Go has not", name)
		}
	}
	for _, want := range []string{
		"PROTOCOL = 1;", "METHOD_PREFIX = '" + wire.MethodPrefix + "'", "COMMAND_PREFIX = '" + wire.CommandPrefix + "'",
		"DID_CHANGE_STATUS = '" + wire.DidChangeStatus + "'", "DID_LOG = '" + wire.DidLog + "'", "DID_HAPPEN = '" + wire.DidHappen + "'",
	} {
		if !strings.Contains(source, want) {
			t.Errorf("protocol.ts has no %s", want)
		}
	}
	if wire.Protocol != 1 {
		t.Error("protocol.ts names another version")
	}
	here := regexp.MustCompile(`(?m)^\tCode(\w+) += (-\d+)`).FindAllStringSubmatch(sourceOf(t, "rpc/wire/wire.go"), -1)
	there := regexp.MustCompile(`(?m)^  (\w+): (-\d+),$`).FindAllStringSubmatch(source, -1)
	pairs := func(found [][]string) (all []string) {
		for _, m := range found {
			all = append(all, m[1]+" "+m[2])
		}
		return all
	}
	if !slices.Equal(pairs(here), pairs(there)) || len(here) == 0 {
		t.Errorf("protocol.ts has the codes %v, want %v", pairs(there), pairs(here))
	}
	for _, s := range status.States {
		if !strings.Contains(source, "'"+string(s)+"'") {
			t.Errorf("protocol.ts has no state %s", s)
		}
	}
}

// manifest is what the tests read of the extension's package.json.
type manifest struct {
	Publisher, Name string
	Contributes     struct {
		Commands      []struct{ Command, Category, Title string }
		Configuration struct {
			Properties map[string]struct{ Scope string }
		}
		Menus map[string][]struct{ Command string }
		Views map[string][]struct{ ID, Name string }
	}
	Capabilities struct {
		UntrustedWorkspaces struct {
			Supported                string
			RestrictedConfigurations []string
		}
	}
}

func readManifest(t *testing.T) manifest {
	t.Helper()
	var m manifest
	if err := json.Unmarshal([]byte(extensionFile(t, "package.json")), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestTheExtensionsCommandsAreThoseThatAreNamed(t *testing.T) {
	m := readManifest(t)
	if m.Publisher != "devside" || m.Name != "devside" {
		t.Errorf("it is %s.%s", m.Publisher, m.Name)
	}
	var ids []string
	readme, code := extensionFile(t, "README.md"), extensionFile(t, "src/commands.ts")
	for _, c := range m.Contributes.Commands {
		ids = append(ids, c.Command)
		// The language client registers the sidecar's own under their names: a name
		// that is taken keeps it from starting.
		if strings.HasPrefix(c.Command, wire.CommandPrefix) {
			t.Errorf("%s has a name like the sidecar's", c.Command)
		}
		if c.Category != "devside" {
			t.Errorf("%s has the category %q", c.Command, c.Category)
		}
		if !strings.Contains(readme, c.Title) {
			t.Errorf("its README does not name %q", c.Title)
		}
		if !strings.Contains(code, "'"+c.Command+"':") {
			t.Errorf("%s is not in commands.ts", c.Command)
		}
	}
	if !slices.Equal(ids, extensionCommands) {
		t.Errorf("commands %v, want %v", ids, extensionCommands)
	}
	for place, items := range m.Contributes.Menus {
		for _, item := range items {
			if !slices.Contains(ids, item.Command) {
				t.Errorf("the menu %s has %s, which is no command", place, item.Command)
			}
		}
	}
	if v := m.Contributes.Views["devside"]; len(v) != 1 || v[0].Name != "devside" {
		t.Errorf("views %+v", m.Contributes.Views)
	}
}

func TestTheExtensionsSettingsAreDocumented(t *testing.T) {
	m := readManifest(t)
	readme := extensionFile(t, "README.md")
	for name := range m.Contributes.Configuration.Properties {
		if !strings.Contains(readme, "| `"+name+"` |") {
			t.Errorf("its README has no row for %s", name)
		}
	}
	// What the sidecar takes of its section, but trust, which no settings give.
	options := regexp.MustCompile(`options\["(\w+)"\]`).FindAllStringSubmatch(sourceOf(t, "rpc/sidecar/initialize.go"), -1)
	if len(options) < 4 {
		t.Fatalf("the sidecar's options were not found: %v", options)
	}
	for _, option := range options {
		if _, ok := m.Contributes.Configuration.Properties["devside."+option[1]]; ok == (option[1] == "trusted") {
			t.Errorf("the sidecar takes %s; whether there is such a setting: %v", option[1], ok)
		}
	}
	// A folder can't name a program, or have anything started before it is trusted.
	if scope := m.Contributes.Configuration.Properties["devside.path"].Scope; scope != "machine" {
		t.Errorf("devside.path has the scope %q", scope)
	}
	if u := m.Capabilities.UntrustedWorkspaces; u.Supported != "limited" || !slices.Contains(u.RestrictedConfigurations, "devside.autostart") {
		t.Errorf("untrusted workspaces: %+v", u)
	}
	if strings.Contains(extensionFile(t, "src/session.ts"), "trusted: true") {
		t.Error("the extension vouches for projects by itself")
	}
}
