package rule

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// pnpmByYAML is pnpmNames by a parser of YAML: what it is held against.
func pnpmByYAML(t *testing.T, text []byte) (map[string]string, map[string]bool) {
	t.Helper()
	type importer struct {
		Dependencies map[string]any `yaml:"dependencies"`
		Dev          map[string]any `yaml:"devDependencies"`
		Optional     map[string]any `yaml:"optionalDependencies"`
	}
	type pkg struct {
		Optional bool `yaml:"optional"`
	}
	var l struct {
		Importers map[string]importer `yaml:"importers"`
		Importer  importer            `yaml:",inline"`
		Packages  map[string]pkg      `yaml:"packages"`
		Snapshots map[string]pkg      `yaml:"snapshots"`
	}
	if err := yaml.Unmarshal(text, &l); err != nil {
		t.Fatal(err)
	}
	all, optional := map[string]string{}, map[string]bool{}
	one := func(dir string, i importer) {
		for n, section := range []map[string]any{i.Dependencies, i.Dev, i.Optional} {
			for name, version := range section {
				if object, is := version.(map[string]any); is {
					version = object["version"]
				}
				all["importer "+dir+" "+name] = fmt.Sprint(version)
				if n == 2 {
					optional["importer "+dir+" "+name] = true
				}
			}
		}
	}
	one(".", l.Importer)
	for dir, i := range l.Importers {
		one(dir, i)
	}
	for kind, list := range map[string]map[string]pkg{"package ": l.Packages, "snapshot ": l.Snapshots} {
		for name, p := range list {
			all[kind+name] = ""
			if p.Optional {
				base, _, _ := strings.Cut(name, "(")
				optional["package "+name], optional["snapshot "+name], optional["package "+base] = true, true, true
			}
		}
	}
	return all, optional
}

// older is version 5 and 6 as their documentation and projects have them.
var older = []string{`lockfileVersion: 5.4

specifiers:
  ms: ^2.1.2
  '@types/node': ^18.0.0

dependencies:
  ms: 2.1.3

devDependencies:
  '@types/node': 18.19.1

packages:

  /@types/node/18.19.1:
    resolution: {integrity: sha512-x==}
    dependencies:
      undici-types: 5.26.5
    dev: true

  /fsevents/2.3.3:
    resolution: {integrity: sha512-y==}
    os: [darwin]
    requiresBuild: true
    dev: true
    optional: true

  /ms/2.1.3:
    resolution: {integrity: sha512-z==}
    dev: false
`, `lockfileVersion: '6.0'

settings:
  autoInstallPeers: true

importers:

  .: {}

  'apps/a b':
    dependencies:
      react-dom:
        specifier: ^18.2.0
        version: 18.2.0(react@18.2.0)
      shared:
        specifier: workspace:*
        version: link:../../packages/shared
    optionalDependencies:
      fsevents:
        specifier: '*'
        version: '2.3.3'

packages:

  /react-dom@18.2.0(react@18.2.0):
    resolution: {integrity: sha512-x==}
    peerDependencies:
      react: ^18.2.0
    deprecated: |-
      This is text: of two
      lines
    dev: false
`}

func TestPnpmsLinesAreReadAsYAMLIs(t *testing.T) {
	texts := map[string]string{"5": older[0], "6": older[1]}
	for name, a := range archives(t) {
		if !strings.HasPrefix(name, "pnpm") {
			continue
		}
		for _, f := range a.Files {
			texts[name+" "+f.Name] = string(f.Data)
		}
	}
	if len(texts) < 10 {
		t.Fatalf("%d texts", len(texts))
	}
	for name, text := range texts {
		all, optional, err := pnpmNames([]byte(text))
		wantAll, wantOptional := pnpmByYAML(t, []byte(text))
		maps.DeleteFunc(optional, func(_ string, is bool) bool { return !is })
		if err != nil || !maps.Equal(all, wantAll) || !maps.Equal(optional, wantOptional) {
			t.Errorf("%s: %v\n%v %v\nwant\n%v %v", name, err, all, optional, wantAll, wantOptional)
		}
	}
	for _, text := range []string{"", "packages:\n", "\x00", "- a\n- b\n", "? a\n: b\n"} {
		if _, _, err := pnpmNames([]byte(text)); err == nil {
			t.Errorf("%q was taken for a lockfile", text)
		}
	}
}
