package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/devside/devside/supervisor/spec"
)

// initResult is what `init` says of the file that it wrote.
type initResult struct {
	Path    string       `json:"path"`
	Servers []string     `json:"servers"`
	Issues  []checkIssue `json:"issues"` // that the written file has, such as two servers with one port
}

func (a *app) initCommand() *cobra.Command {
	var show bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a devside.yaml of what is found in the folder",
		Long: `Write a devside.yaml of what is found in the folder: the servers that devside
starts without one, each with a comment that says where it was found and what it
could have. A devside.yaml that is there is left alone, and the exit code is 3.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.init(show) },
	}
	cmd.Flags().BoolVar(&show, "print", false, "write it to standard output, and no file")
	return cmd
}

func (a *app) init(show bool) error {
	root, err := a.findRoot()
	if err != nil {
		return err
	}
	r, err := os.OpenRoot(root)
	if err != nil {
		return unreadable(root, err)
	}
	defer r.Close() //nolint:errcheck // what was written is synced before
	path := filepath.Join(root, spec.FileName)
	if _, err := r.Lstat(spec.FileName); !errors.Is(err, fs.ErrNotExist) && !show {
		return alreadyThere(path)
	}
	// Without the environment: a port that is set for today is not written down.
	found := spec.Detect(r.FS(), filepath.Base(root), nil)
	if len(found.Project.Servers) == 0 {
		return &failure{code: exitConfig, what: fmt.Sprintf("nothing to run was found in %s", root), also: issueLines(found.Issues),
			hint: "the README has an example of a devside.yaml; --root names another folder"}
	}
	text := spec.Init(found)
	if show {
		return a.say("%s", text)
	}
	if err := writeNew(r, spec.FileName, []byte(text)); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return alreadyThere(path)
		}
		return &failure{code: exitConfig, what: fmt.Sprintf("write %s: %v", path, err), hint: `"devside init --print" shows what it would be`}
	}
	p := readProject(root, r.FS(), nil)
	if a.json() {
		return a.print(initResult{Path: path, Servers: p.names(), Issues: checked(p).Issues})
	}
	for _, line := range issueLines(p.loaded.Issues) {
		if err := a.say("%s\n", visible(line)); err != nil {
			return err
		}
	}
	return a.say("wrote %s: %s (%s)\n", visible(path), count(len(p.names()), "server"), strings.Join(p.names(), ", "))
}

func alreadyThere(path string) *failure {
	return &failure{code: exitConfig, what: path + " is there already",
		hint: `"devside check" reads it; "devside init --print" shows what is found in the folder`}
}

// writeNew makes a file that nobody has: whole, or not at all, and never in the
// place of another one (fs.ErrExist).
func writeNew(root *os.Root, name string, data []byte) (err error) {
	var unique [8]byte
	rand.Read(unique[:]) //nolint:errcheck // never fails since Go 1.24
	tmp := "." + name + "." + hex.EncodeToString(unique[:])
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil {
		// A link refuses where a rename would replace.
		if err = root.Link(tmp, name); err != nil && !errors.Is(err, fs.ErrExist) {
			err = renameNew(root, tmp, name) // some file systems have no links
		}
	}
	if gone := root.Remove(tmp); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

func renameNew(root *os.Root, from, to string) error {
	if _, err := root.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return fs.ErrExist
	}
	return root.Rename(from, to)
}
