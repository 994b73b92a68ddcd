package editor

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.lsp.dev/protocol"

	"github.com/devside/devside/supervisor/spec"
)

// CompletionTriggers are the characters behind which something may be offered,
// beside those of a word.
var CompletionTriggers = []string{":", " ", "[", "{", ",", "/"}

// mostOffered bounds the entries of a folder that are looked through.
const mostOffered = 200

// Complete offers what can stand at a place of devside.yaml: keys of the map it
// is in, less those that are there already, or values of its key: choices,
// names of servers and dependencies, scripts of the package.json in the
// server's folder, folders, env files, free ports, and examples with units.
func Complete(v View, file string, at protocol.Position) *protocol.CompletionList {
	c := completer{View: v, builder: newBuilder(v.Input), list: &protocol.CompletionList{Items: []protocol.CompletionItem{}}}
	if file != spec.FileName {
		return c.list
	}
	s, ok := c.text(file).spotAt(at)
	if !ok {
		return c.list
	}
	c.spot = s
	key, ok := keyOfPath(s.path)
	if !ok {
		return c.list
	}
	k, _ := spec.LookupKey(key) // the top of the file has no description
	switch {
	case s.value:
		c.values(k)
	case slices.Contains(k.Forms, spec.FormList) && len(spec.KeysBelow(key)) == 0:
		c.spot.dash, c.spot.entry = true, true
		c.values(k)
	default:
		c.keys(key)
	}
	return c.list
}

type completer struct {
	View
	*builder
	spot spot
	list *protocol.CompletionList
}

// keys offers the keys that can stand below a path.
func (c *completer) keys(parent string) {
	for _, k := range spec.KeysBelow(parent) {
		if slices.Contains(c.spot.beside, k.Name()) {
			continue
		}
		text := k.Name()
		if !strings.HasPrefix(strings.TrimLeft(c.spot.follows, wordBytes), ":") {
			text += ":"
			if c.spot.flow || k.Forms[0] != spec.FormMap && k.Forms[0] != spec.FormList {
				text += " "
			}
			if k.Forms[0] == spec.FormNothing {
				text += "true"
			}
		}
		c.add(k.Name(), text, formsText(k), protocol.CompletionItemKindProperty, c.documentation(k))
	}
}

// wordBytes may follow the cursor and belong to the word it is in.
const wordBytes = "abcdefghijklmnopqrstuvwxyz_"

// values offers what a key can have.
func (c *completer) values(k spec.Key) {
	kind := protocol.CompletionItemKindValue
	offered := map[string]bool{}
	for _, b := range c.spot.beside {
		offered[b] = true
	}
	offer := func(text, detail string) {
		if text != "" && !offered[text] {
			offered[text] = true
			c.add(text, text, detail, kind, nil)
		}
	}
	if !c.spot.entry {
		kind = protocol.CompletionItemKindEnumMember
		for _, text := range k.Values {
			detail := ""
			if text == k.Default {
				detail = "default"
			}
			offer(text, detail)
		}
		kind = protocol.CompletionItemKindValue
		if len(k.Values) == 0 {
			offer(k.Default, "default")
		}
		for _, text := range k.Examples {
			if !c.spot.flow || !strings.ContainsAny(text, "{[") {
				offer(text, "")
			}
		}
		for _, f := range k.Forms {
			if k.Name() == "*" {
				break // the name is one's own, and so is what it may be
			}
			for _, text := range usual[f] {
				offer(text, "")
			}
		}
	}
	switch k.Path {
	case "servers.*.depends_on":
		kind = protocol.CompletionItemKindReference
		for _, s := range c.project().Servers {
			if s.Name != c.name() {
				offer(s.Name, "server")
			}
		}
		for _, d := range c.project().Dependencies {
			offer(d.Name, "dependency, "+d.Kind)
		}
	case "servers.*.port", "servers.*.port.number":
		for _, from := range []int{3000, 4000, 5000, 8000} {
			if n := c.unused(from); n != 0 {
				offer(strconv.Itoa(n), "not used by another server")
			}
		}
	case "servers.*.ready.tcp", "servers.*.live.tcp":
		for _, p := range c.typedServer().Ports {
			offer(strconv.Itoa(p.Number), "port of "+c.name())
		}
	case "servers.*.command":
		if c.FS != nil && !c.spot.entry {
			manager, names := spec.Scripts(c.FS, c.dir())
			for _, name := range names {
				offer(manager+" run "+name, "script of package.json")
			}
		}
	case "servers.*.dir":
		kind = protocol.CompletionItemKindFolder
		c.folders(offer)
	case "servers.*.env_file":
		kind = protocol.CompletionItemKindFile
		for _, e := range c.entriesOf(c.dir()) {
			if !e.IsDir() && strings.HasPrefix(e.Name(), ".env") {
				offer(e.Name(), "")
			}
		}
	}
}

// usual are values with their units.
var usual = map[spec.Form][]string{
	spec.FormBoolean:  {"true", "false"},
	spec.FormDuration: {"500ms", "1s", "5s", "10s", "30s", "60s", "5m"},
	spec.FormSize:     {"512MB", "1GB", "1.5GB", "2GB", "4GB"},
	spec.FormPercent:  {"1%", "5%", "10%", "100%"},
}

// name is that of the server whose entry is being typed.
func (c *completer) name() string {
	if len(c.spot.path) > 1 && c.spot.path[0] == "servers" {
		return c.spot.path[1]
	}
	return ""
}

// typedServer is what is known of that server.
func (c *completer) typedServer() spec.Server {
	servers := c.project().Servers
	if i := slices.IndexFunc(servers, func(s spec.Server) bool { return s.Name == c.name() }); i >= 0 {
		return servers[i]
	}
	return spec.Server{}
}

// dir is the folder of that server.
func (c *completer) dir() string {
	if dir := c.typedServer().Dir; dir != "" {
		return dir
	}
	return "."
}

func (c *completer) entriesOf(dir string) []fs.DirEntry {
	if c.FS == nil {
		return nil
	}
	entries, err := fs.ReadDir(c.FS, dir)
	if err != nil {
		return nil // nothing to offer
	}
	return entries[:min(len(entries), mostOffered)]
}

// folders offers those in the folder that has been typed so far.
func (c *completer) folders(offer func(text, detail string)) {
	parent, _, nested := cutLast(c.spot.typed, "/")
	if !nested {
		parent = "."
	}
	if !fs.ValidPath(parent) {
		return
	}
	for _, e := range c.entriesOf(parent) {
		if e.IsDir() && e.Name() != "node_modules" && !strings.HasPrefix(e.Name(), ".") {
			offer(path.Join(parent, e.Name()), "")
		}
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// add offers one item, in the order in which they are added.
func (c *completer) add(label, text, detail string, kind protocol.CompletionItemKind, docs protocol.InlayHintTooltip) {
	if c.spot.dash {
		text = "- " + text
	} else if c.spot.value && c.spot.typed == "" && !c.spot.flow && !c.spot.entry && c.colonBefore() {
		text = " " + text
	}
	item := protocol.CompletionItem{
		Label: label, Kind: kind, SortText: protocol.NewOptional(fmt.Sprintf("%03d", len(c.list.Items))),
		// What was typed may hold blanks and signs, which are no word to a client.
		FilterText: protocol.NewOptional(label),
		TextEdit:   &protocol.TextEdit{Range: c.spot.at, NewText: text}, Documentation: docs,
	}
	if detail != "" {
		item.Detail = protocol.NewOptional(detail)
	}
	c.list.Items = append(c.list.Items, item)
}

// colonBefore reports whether the cursor is right behind a colon, where a value
// needs a blank first.
func (c *completer) colonBefore() bool {
	text := c.text(spec.FileName)
	line, offset := text.offset(c.spot.at.Start)
	return offset > 0 && text.lines[line][offset-1] == ':'
}

// documentation is what a hover over the key says.
func (c *completer) documentation(k spec.Key) *protocol.MarkupContent {
	d := &document{markdown: c.Client.DocsMarkdown}
	describeKey(d, k)
	return d.content()
}
