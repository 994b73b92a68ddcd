package spec

import (
	"io/fs"
)

// MostIssues is how many issues a configuration is reported with at most; the
// last one then stands for the rest.
const MostIssues = maxIssues

// Size writes a number of bytes as devside.yaml has it: "512MB", "1.5GB".
func Size(n int64) string { return sizeText(n) }

// Scripts lists the scripts of the package.json in a directory, in the order of
// the file, and the package manager that runs them. Without a package.json
// there are none.
func Scripts(fsys fs.FS, dir string) (manager string, names []string) {
	m, _ := readManifest(fsys, dir) // a broken one: what stands before the fault
	if m == nil {
		return "", nil
	}
	root, _ := readManifest(fsys, ".")
	seen := map[string]bool{}
	for _, s := range m.scripts {
		if !seen[s.name] {
			seen[s.name] = true
			names = append(names, s.name)
		}
	}
	return managerOf(fsys, dir, m, root), names
}
