package supervisor

import (
	"slices"
	"testing"

	"github.com/devside/devside/supervisor/spec"
)

func TestSecretsAreChosenByValueAndName(t *testing.T) {
	for _, test := range []struct {
		name, value string
		want        []string
	}{
		{"FLAG", "true", nil},
		{"PORT", "3000", nil},
		{"STARTED", "2026-11-27", nil},
		{"NODE_ENV", "development", nil},
		{"API_URL", "http://localhost:4000/", nil},
		{"APP_ROOT", "/home/me/shop", nil},
		{"APP_DIR", "/home/me/shop/api", nil},
		{"NAME", "shop-12", nil},
		{"API_KEY", "k-1234", []string{"k-1234"}},
		{"API_KEY", "12345678", nil},
		{"db_password", "secretword", []string{"secretword"}},
		{"SOMETHING", "aB3dE5gH", []string{"aB3dE5gH"}},
		{"HOOK", "https://hooks.example.com/T0/B1", []string{"https://hooks.example.com/T0/B1"}},
		{"DATABASE_URL", "postgres://me:hunter2@localhost/app", []string{"postgres://me:hunter2@localhost/app", "hunter2"}},
		{"HOME_DIR", "/home/you/shop", []string{"/home/you/shop"}},
	} {
		got := secrets([]spec.EnvVar{{Name: test.name, Value: test.value}}, "/home/me/shop/api")
		if !slices.Equal(got, test.want) {
			t.Errorf("%s=%s: %q, want %q", test.name, test.value, got, test.want)
		}
	}
}
