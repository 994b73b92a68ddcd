package supervisor

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/probe"
	"github.com/devside/devside/supervisor/spec"
)

// dir is where the server runs.
func (s *Server) dir() string {
	return filepath.Join(s.host.Root, filepath.FromSlash(s.conf.Dir))
}

// environment reads the env files and builds what the server starts with, and
// which of it must not be seen.
func (s *Server) environment() ([]string, *logs.Secrets, error) {
	var files []spec.EnvVar
	for _, name := range s.conf.EnvFiles {
		file := path.Join(s.conf.Dir, name)
		text, err := s.host.ReadFile(file)
		if err != nil {
			return nil, nil, fmt.Errorf("read the env file %s: %w", file, err)
		}
		vars, _ := spec.ParseEnvFile(string(text))
		files = append(files, vars...)
	}
	return environment(s.env, files, s.conf, s.ports, s.dir(), s.traceID), logs.NewSecrets(secrets(files, s.dir())), nil
}

// environment puts together, later ones overruling earlier ones: the client's
// own, the env files, `env:`, and what devside sets. What devside only
// recommends (colours, no browser) yields to what the project says.
func environment(client []string, files []spec.EnvVar, conf spec.Server, ports []int, dir, traceID string) []string {
	vars := map[string]string{}
	for _, kv := range client {
		if k, v, ok := passing(kv); ok {
			vars[k] = v
		}
	}
	recommend := map[string]string{"FORCE_COLOR": "1", "BROWSER": "none", "PYTHONUNBUFFERED": "1"}
	project := map[string]string{}
	for _, v := range files {
		project[v.Name] = v.Value
	}
	for k, v := range conf.Env {
		project[k] = v
	}
	if _, no := vars["NO_COLOR"]; no {
		delete(recommend, "FORCE_COLOR") // Node warns when both are set
	}
	for k, v := range recommend {
		vars[k] = v
	}
	for k, v := range project {
		vars[k] = v
	}
	vars["PWD"] = dir
	if len(ports) > 0 {
		vars["PORT"] = strconv.Itoa(ports[0])
	}
	vars["X_TRACE_ID"] = traceID
	vars["TRACEPARENT"] = "00-" + traceID + "-" + traceID[:16] + "-01" // W3C Trace Context, level 1
	out := make([]string, 0, len(vars))
	for k, v := range vars {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

// passes reports whether a variable of the client reaches a server. An
// editor's own variables would make Node and Electron programs behave as if
// they were part of it, devside's markers belong to one start, sudo's let npm
// and its like give files to a user that the server is not, and whoever listens
// on NOTIFY_SOCKET waits for the client, not for its servers.
func passes(name string) bool {
	if name == probe.NotifyVariable {
		return false
	}
	for _, prefix := range []string{"VSCODE_", "ELECTRON_", "DEVSIDE_", "SUDO_"} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return true
}

// passing takes one variable of a client's apart; ok: it is passed on.
func passing(kv string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(kv, "=")
	return name, value, ok && name != "" && passes(name)
}

// Passing is what of a client's environment a program may have that is no
// server: an install.
func Passing(client []string) []string {
	return slices.DeleteFunc(slices.Clone(client), func(kv string) bool {
		_, _, ok := passing(kv)
		return !ok
	})
}

// lookup finds a variable in an environment.
func lookup(env []string) func(string) string {
	return func(name string) string {
		for _, kv := range env {
			if k, v, ok := strings.Cut(kv, "="); ok && k == name {
				return v
			}
		}
		return ""
	}
}
