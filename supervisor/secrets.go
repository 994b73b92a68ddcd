package supervisor

import (
	neturl "net/url"
	"strings"

	"github.com/devside/devside/supervisor/spec"
)

const (
	// shortestNamed is the length from which a value is a secret whose
	// variable's name says so; shortestUnnamed that of any other.
	shortestNamed   = 6
	shortestUnnamed = 8
)

// secretNames are parts of the names of variables that hold secrets.
var secretNames = []string{"SECRET", "TOKEN", "PASS", "PWD", "KEY", "CREDENTIAL", "AUTH", "PRIVATE", "SALT", "SIGNATURE", "COOKIE", "DSN"}

// secrets chooses, from the variables of the env files, the values that must
// not be seen. Most of what stands in such files is no secret, and a server
// whose output has lost every "development" or "3000" can't be read: see
// harmless. dir is where the server runs.
func secrets(files []spec.EnvVar, dir string) []string {
	var values []string
	for _, v := range files {
		named := hasSecretName(v.Name)
		if len(v.Value) >= shortestUnnamed && !harmless(v.Value, dir) || len(v.Value) >= shortestNamed && named && !number(v.Value) {
			values = append(values, v.Value)
		}
		if u, err := neturl.Parse(v.Value); err == nil && u.User != nil { // a client prints it without the rest
			if password, _ := u.User.Password(); len(password) >= shortestNamed {
				values = append(values, password)
			}
		}
	}
	return values
}

func hasSecretName(name string) bool {
	upper := strings.ToUpper(name)
	for _, part := range secretNames {
		if strings.Contains(upper, part) {
			return true
		}
	}
	return false
}

// harmless values are numbers, single words in small letters, addresses
// without a user, a path or a query, and the folders that the server runs in,
// which are in every stack trace.
func harmless(value, dir string) bool {
	if number(value) || strings.Trim(value, "abcdefghijklmnopqrstuvwxyz-") == "" {
		return true
	}
	if dir == value || strings.HasPrefix(dir, strings.TrimSuffix(value, "/")+"/") {
		return true
	}
	u, err := neturl.Parse(value)
	return err == nil && u.Host != "" && u.User == nil && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" && u.Fragment == ""
}

func number(value string) bool { return strings.Trim(value, "0123456789.,:_-") == "" }
