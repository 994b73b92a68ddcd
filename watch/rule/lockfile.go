package rule

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// Manager is a package manager, by what it is called on a command line.
type Manager string

const (
	NPM      Manager = "npm"
	PNPM     Manager = "pnpm"
	Yarn     Manager = "yarn"
	Bun      Manager = "bun"
	Go       Manager = "go"
	Cargo    Manager = "cargo"
	Poetry   Manager = "poetry"
	UV       Manager = "uv"
	Bundler  Manager = "bundle"
	Composer Manager = "composer"
)

// Kind is what is known of one sort of lockfile.
type Kind struct {
	Name    string // of the file
	Manager Manager
	// Markers are patterns of files, relative to the lockfile's folder, that the
	// manager writes when it has installed. Without any, the lockfile itself
	// says that something changed.
	Markers []string
	Install []string // what installs, as argv
	compare func(lock []byte, markers map[string][]byte) (missing int, packages []string, err error)
}

// Kinds is every lockfile that devside knows. pnpm also leaves
// node_modules/.modules.yaml; its lock.yaml is the one that names packages.
// Bun, Go, Cargo and Bundler leave nothing in the project.
var Kinds = []Kind{
	{"package-lock.json", NPM, []string{"node_modules/.package-lock.json"}, []string{"npm", "install"}, npm},
	{"npm-shrinkwrap.json", NPM, []string{"node_modules/.package-lock.json"}, []string{"npm", "install"}, npm},
	{"pnpm-lock.yaml", PNPM, []string{"node_modules/.pnpm/lock.yaml"}, []string{"pnpm", "install"}, pnpm},
	{"yarn.lock", Yarn, []string{"node_modules/.yarn-state.yml", "node_modules/.yarn-integrity"}, []string{"yarn", "install"}, yarn},
	{"bun.lock", Bun, nil, []string{"bun", "install"}, nil},
	{"bun.lockb", Bun, nil, []string{"bun", "install"}, nil},
	{"go.sum", Go, nil, []string{"go", "mod", "download"}, nil},
	{"Cargo.lock", Cargo, nil, []string{"cargo", "fetch"}, nil},
	{"poetry.lock", Poetry, []string{distInfo}, []string{"poetry", "install"}, python},
	{"uv.lock", UV, []string{distInfo}, []string{"uv", "sync"}, python},
	{"Gemfile.lock", Bundler, nil, []string{"bundle", "install"}, nil},
	{"composer.lock", Composer, []string{"vendor/composer/installed.json"}, []string{"composer", "install"}, composer},
}

// distInfo is what every Python installer writes for each distribution
// (PyPA's "Recording installed projects"). Virtual environments elsewhere than
// in .venv are not seen.
const distInfo = ".venv/lib/*/site-packages/*.dist-info/METADATA"

// KindOf finds the kind of a lockfile by its name.
func KindOf(file string) (Kind, bool) {
	i := slices.IndexFunc(Kinds, func(k Kind) bool { return k.Name == path.Base(file) })
	if i < 0 {
		return Kind{}, false
	}
	return Kinds[i], true
}

// InstallState says how lockfile and installed packages stand to each other.
type InstallState string

const (
	Unmarked  InstallState = "unmarked"  // the manager leaves no marker: the lockfile speaks for itself
	Installed InstallState = "installed" // what it names is installed
	Outdated  InstallState = "outdated"  // something else is, or nothing
)

// Install is the state of one lockfile. Two with the same digest name the same
// packages.
type Install struct {
	State   InstallState
	Digest  string
	Missing int // with Outdated: packages that are missing or have another version
}

// Compare holds a lockfile against what its manager left when it installed:
// markers by path relative to the lockfile's folder. Where they can't be read
// the lockfile counts as unmarked: a restart too many is better than none.
func Compare(file string, lock []byte, markers map[string][]byte) Install {
	kind, ok := KindOf(file)
	unmarked := Install{State: Unmarked, Digest: digest([]string{string(lock)})}
	if !ok || kind.compare == nil {
		return unmarked
	}
	missing, packages, err := kind.compare(lock, markers)
	switch {
	case err != nil:
		return unmarked
	case missing > 0:
		return Install{State: Outdated, Missing: missing}
	}
	return Install{State: Installed, Digest: digest(packages)}
}

func digest(lines []string) string {
	h := sha256.New()
	for _, line := range lines {
		fmt.Fprintf(h, "%d:%s\n", len(line), line)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// differ counts the wanted that are not installed in the same version, and the
// installed that nobody wants.
func differ(want, have map[string]string, optional func(name string) bool) (n int) {
	for name, version := range want {
		got, is := have[name]
		if is && got != version || !is && (optional == nil || !optional(name)) {
			n++
		}
	}
	for name := range have {
		if _, is := want[name]; !is {
			n++
		}
	}
	return n
}

// list writes packages as lines, in order.
func list(packages map[string]string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		out = append(out, name+" "+packages[name])
	}
	return out
}

type npmLock struct {
	Packages map[string]struct {
		Version   string `json:"version"`
		Resolved  string `json:"resolved"`
		Integrity string `json:"integrity"`
		Link      bool   `json:"link"`
		Dev       bool   `json:"dev"`
		Optional  bool   `json:"optional"`
		DevOpt    bool   `json:"devOptional"`
		Peer      bool   `json:"peer"`
		Bundled   bool   `json:"inBundle"`
	} `json:"packages"`
}

// npm compares a lockfile with npm's hidden one. That has no entry for the
// project, and none for optional packages of other systems; `npm install
// --omit=dev` leaves out the development ones altogether.
func npm(lock []byte, markers map[string][]byte) (int, []string, error) {
	var l, m npmLock
	if err := json.Unmarshal(lock, &l); err != nil {
		return 0, nil, err
	}
	if l.Packages == nil {
		return 0, nil, fmt.Errorf("lockfileVersion 1 names no packages")
	}
	if marker, is := markers["node_modules/.package-lock.json"]; is {
		if err := json.Unmarshal(marker, &m); err != nil {
			return 0, nil, err
		}
	}
	want, have, optional := map[string]string{}, map[string]string{}, map[string]bool{}
	dev := false
	for name, p := range m.Packages {
		have[name] = p.Version + p.Integrity
		dev = dev || p.Dev
	}
	for name, p := range l.Packages {
		if name == "" || !strings.Contains(name, "node_modules/") && !p.Link && have[name] == "" {
			continue // the project itself, and a workspace's own folder
		}
		want[name] = p.Version + p.Integrity
		optional[name] = p.Optional || p.DevOpt || p.Peer || p.Bundled || p.Dev && !dev
	}
	return differ(want, have, func(name string) bool { return optional[name] }), list(have), nil
}

// pnpm compares a lockfile with the copy of it that pnpm leaves. That keeps
// packages that nobody uses any more, and lacks those that are optional and not
// for this system. So what a workspace's packages depend on must be equal, and
// every package that is named must be there.
func pnpm(lock []byte, markers map[string][]byte) (int, []string, error) {
	want, optional, err := pnpmNames(lock)
	if err != nil {
		return 0, nil, err
	}
	have := map[string]string{}
	if marker, is := markers["node_modules/.pnpm/lock.yaml"]; is {
		if have, _, err = pnpmNames(marker); err != nil {
			return 0, nil, err
		}
	}
	for name := range have {
		if _, is := want[name]; !is && !strings.HasPrefix(name, "importer ") {
			delete(have, name)
		}
	}
	missing := 0 // one package is in each of the three lists
	for _, part := range []string{"importer ", "package ", "snapshot "} {
		missing = max(missing, differ(only(want, part), only(have, part), func(name string) bool { return optional[name] }))
	}
	return missing, list(want), nil
}

func only(all map[string]string, prefix string) map[string]string {
	part := map[string]string{}
	for name, version := range all {
		if strings.HasPrefix(name, prefix) {
			part[name] = version
		}
	}
	return part
}

// yarn compares a lockfile of either generation.
func yarn(lock []byte, markers map[string][]byte) (int, []string, error) {
	if bytes.Contains(lock, []byte("\n__metadata:")) {
		return berry(lock, markers["node_modules/.yarn-state.yml"])
	}
	return classic(lock, markers["node_modules/.yarn-integrity"])
}

type berryEntry struct {
	Resolution   string            `yaml:"resolution"`
	Dependencies map[string]string `yaml:"dependencies"`
	Meta         map[string]struct {
		Optional bool `yaml:"optional"`
	} `yaml:"dependenciesMeta"`
	Conditions string `yaml:"conditions"`
}

// berry compares what can be reached from the workspaces, without what is
// optional or for other systems, with what yarn has put somewhere. With
// Plug'n'Play there is no marker of packages, and the lockfile speaks.
func berry(lock, marker []byte) (int, []string, error) {
	entries := map[string]berryEntry{}
	if err := yaml.Unmarshal(lock, &entries); err != nil {
		return 0, nil, err
	}
	if marker == nil {
		return 0, nil, fmt.Errorf("no packages were put into node_modules")
	}
	state := map[string]any{}
	if err := yaml.Unmarshal(marker, &state); err != nil {
		return 0, nil, err
	}
	byDescriptor, known := map[string]berryEntry{}, map[string]bool{}
	var todo []berryEntry
	for key, e := range entries {
		known[e.Resolution] = true
		for d := range strings.SplitSeq(key, ", ") {
			byDescriptor[d] = e
		}
		if strings.Contains(e.Resolution, "@workspace:") {
			todo = append(todo, e)
		}
	}
	missing, seen := 0, map[string]bool{}
	for len(todo) > 0 {
		e := todo[0]
		todo = todo[1:]
		if seen[e.Resolution] {
			continue
		}
		seen[e.Resolution] = true
		if _, is := state[e.Resolution]; !is {
			missing++
		}
		for name, rng := range e.Dependencies {
			next, is := byDescriptor[name+"@"+rng]
			if is && !e.Meta[name].Optional && next.Conditions == "" {
				todo = append(todo, next)
			}
		}
	}
	have := map[string]string{}
	for locator := range state {
		if locator == "__metadata" {
			continue
		}
		have[locator] = ""
		if !known[locator] {
			missing++
		}
	}
	return missing, list(have), nil
}

// classic compares a lockfile of yarn 1 with its integrity file, which holds
// the same patterns and where they were taken from.
func classic(lock, marker []byte) (int, []string, error) {
	want := map[string]string{}
	var patterns []string
	for line := range strings.Lines(string(lock)) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case line == "" || line[0] == '#':
		case line[0] != ' ':
			patterns = strings.Split(strings.TrimSuffix(line, ":"), ", ")
		case strings.HasPrefix(line, "  resolved "):
			for _, p := range patterns {
				want[strings.Trim(p, `"`)] = strings.Trim(strings.TrimPrefix(line, "  resolved "), `"`)
			}
		}
	}
	var m struct {
		Entries map[string]string `json:"lockfileEntries"`
	}
	if marker != nil {
		if err := json.Unmarshal(marker, &m); err != nil {
			return 0, nil, err
		}
	}
	return differ(want, m.Entries, nil), list(m.Entries), nil
}

// python compares the packages of a poetry.lock or uv.lock with the
// distributions that are installed. Which of a lockfile's are for this system
// is not computed: one that is installed must have the version named, and one
// that is not is taken for another system's as long as most are there.
func python(lock []byte, markers map[string][]byte) (int, []string, error) {
	want := map[string]string{}
	name, inPackage := "", false
	for line := range strings.Lines(string(lock)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			inPackage, name = line == "[[package]]", ""
			continue
		}
		key, value, ok := strings.Cut(line, " = ")
		if !inPackage || !ok {
			continue
		}
		value = strings.Trim(value, `"`)
		switch key {
		case "name":
			name = normal(value)
		case "version":
			if name != "" {
				want[name] = value
			}
		case "source":
			if strings.Contains(value, "virtual") || strings.Contains(value, "editable") {
				delete(want, name) // the project itself
			}
		}
	}
	have := map[string]string{}
	for file := range markers {
		base := strings.TrimSuffix(path.Base(path.Dir(file)), ".dist-info")
		if name, version, ok := strings.Cut(base, "-"); ok {
			have[normal(name)] = version
		}
	}
	missing, absent := 0, 0
	for name, version := range want {
		switch got, is := have[name]; {
		case !is:
			absent++
		case got != version:
			missing++
		}
	}
	if 2*absent > len(want) {
		missing += absent
	}
	return missing, list(have), nil
}

// normal is a distribution's name as PEP 503 compares it.
func normal(name string) string {
	name = strings.ToLower(name)
	return strings.Join(strings.FieldsFunc(name, func(r rune) bool { return r == '-' || r == '_' || r == '.' }), "-")
}

type composerPackages []struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// composer compares composer.lock with vendor/composer/installed.json.
func composer(lock []byte, markers map[string][]byte) (int, []string, error) {
	var l struct {
		Packages composerPackages `json:"packages"`
		Dev      composerPackages `json:"packages-dev"`
	}
	var m struct {
		Packages composerPackages `json:"packages"`
		Dev      bool             `json:"dev"`
	}
	if err := json.Unmarshal(lock, &l); err != nil {
		return 0, nil, err
	}
	if marker, is := markers["vendor/composer/installed.json"]; is {
		if err := json.Unmarshal(marker, &m); err != nil {
			return 0, nil, err
		}
	}
	want, have := map[string]string{}, map[string]string{}
	for _, p := range l.Packages {
		want[p.Name] = p.Version
	}
	if m.Dev || len(m.Packages) == 0 {
		for _, p := range l.Dev {
			want[p.Name] = p.Version
		}
	}
	for _, p := range m.Packages {
		have[p.Name] = p.Version
	}
	return differ(want, have, nil), list(have), nil
}
