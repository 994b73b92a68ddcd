package rule

import (
	"errors"
	"strings"
)

// pnpmNames reads what a lockfile of pnpm's says, versions 5 to 9: as
// "importer <folder> <dependency>" with the version, and as "package <name>" and
// "snapshot <name>"; optional are those that may be missing.
//
// It reads lines: pnpm writes one key a line, two blanks for each level. A YAML
// parser takes a second for the two files of a project with 2,000 packages, in
// which its servers start.
func pnpmNames(text []byte) (all map[string]string, optional map[string]bool, err error) {
	all, optional = map[string]string{}, map[string]bool{}
	var keys []string
	known := false
	for line := range strings.Lines(string(text)) {
		body := strings.TrimLeft(line, " ")
		level := (len(line) - len(body)) / 2
		key, value, ok := pnpmLine(strings.TrimRight(body, " \r\n"))
		if !ok || (len(line)-len(body))%2 != 0 || level > len(keys) {
			continue // empty, a comment, or the rest of a long text
		}
		keys = append(keys[:level], key)
		known = known || level == 0 && key == "lockfileVersion"
		pnpmKey(keys, value, all, optional)
	}
	if !known {
		return nil, nil, errors.New("it has no lockfileVersion")
	}
	return all, optional, nil
}

// pnpmKey takes one line, by the keys above it and its own.
func pnpmKey(keys []string, value string, all map[string]string, optional map[string]bool) {
	switch {
	case keys[0] == "importers" && len(keys) > 3:
		pnpmDependency(keys[1], keys[2:], value, all, optional)
	case len(keys) > 1 && strings.HasSuffix(strings.ToLower(keys[0]), "dependencies"): // of what is no workspace, before version 9
		pnpmDependency(".", keys, value, all, optional)
	case keys[0] == "packages" && len(keys) == 2:
		all["package "+keys[1]] = ""
	case keys[0] == "snapshots" && len(keys) == 2:
		all["snapshot "+keys[1]] = ""
	case len(keys) == 3 && keys[2] == "optional" && value == "true":
		base, _, _ := strings.Cut(keys[1], "(")
		optional["package "+keys[1]] = true
		optional["snapshot "+keys[1]] = true
		// Since version 9 only the snapshot says that its package is optional.
		optional["package "+base] = true
	}
}

// pnpmDependency takes a dependency: keys are its section, its name, and maybe
// "version".
func pnpmDependency(folder string, keys []string, value string, all map[string]string, optional map[string]bool) {
	section := strings.ToLower(keys[0])
	if section != "dependencies" && section != "devdependencies" && section != "optionaldependencies" {
		return // specifiers, dependenciesMeta
	}
	name := "importer " + folder + " " + keys[1]
	if len(keys) == 2 && value != "" && value != "{}" || len(keys) == 3 && keys[2] == "version" {
		all[name] = value
		optional[name] = section == "optionaldependencies"
	}
}

// pnpmLine splits a line into its key and what stands behind it.
func pnpmLine(body string) (key, value string, ok bool) {
	if body == "" || body[0] == '#' {
		return "", "", false
	}
	if quote := body[0]; quote == '\'' || quote == '"' {
		end := strings.IndexByte(body[1:], quote)
		if end < 0 || !strings.HasPrefix(body[end+2:], ":") {
			return "", "", false
		}
		return body[1 : end+1], unquoted(body[end+3:]), true
	}
	if key, ok = strings.CutSuffix(body, ":"); ok && !strings.Contains(key, ": ") {
		return key, "", true
	}
	key, value, ok = strings.Cut(body, ": ")
	return key, unquoted(value), ok
}

func unquoted(value string) string {
	value = strings.TrimSpace(value)
	if len(value) > 1 && (value[0] == '\'' || value[0] == '"') && value[len(value)-1] == value[0] {
		return value[1 : len(value)-1]
	}
	return value
}
