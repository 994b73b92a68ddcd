package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/devside/devside/supervisor/spec"
)

// sslModes are libpq's.
var sslModes = []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}

// postgresProbe passes when a session of the configured user in the configured
// database could be opened. It asks nothing there.
type postgresProbe struct {
	where    string // host:port
	database string
	conf     *pgconn.Config
}

// newPostgres takes user, password, database and sslmode from the URL, and
// nothing from anywhere else. libpq's variables and its files of passwords,
// services and keys would be our own: the host that they were sent to would be
// the choice of whoever wrote devside.yaml.
func newPostgres(d spec.Dependency) (Probe, error) {
	u, err := url.Parse(d.Target)
	if err != nil {
		return nil, errors.New("the URL can't be read") // err would quote it
	}
	host, port, err := net.SplitHostPort(d.Addr)
	if err != nil {
		return nil, errors.New("the URL names no host and port")
	}
	mode := u.Query().Get("sslmode")
	if mode == "" {
		mode = "prefer"
	}
	if !slices.Contains(sslModes, mode) {
		return nil, fmt.Errorf("its sslmode is none of %s", strings.Join(sslModes, ", "))
	}
	database := strings.TrimPrefix(u.Path, "/")
	password, _ := u.User.Password()
	settings := "passfile=" + os.DevNull + " target_session_attrs=any channel_binding=prefer sslnegotiation=postgres" +
		" sslcertmode=allow sslrootcert='' sslcert='' sslkey='' sslpassword='' require_auth='' min_protocol_version='' max_protocol_version=''"
	for _, kv := range [][2]string{{"host", host}, {"port", port}, {"user", u.User.Username()}, {"password", password}, {"database", database}, {"sslmode", mode}} {
		settings += fmt.Sprintf(" %s='%s'", kv[0], strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(kv[1]))
	}
	conf, err := pgconn.ParseConfig(settings)
	if err != nil {
		return nil, errors.New("the URL can't be used") // err would quote it
	}
	conf.RuntimeParams = map[string]string{"application_name": "devside"}
	conf.KerberosSrvName, conf.KerberosSpn = "", ""
	addrs := split(d.Addr)
	conf.LookupFunc = func(context.Context, string) ([]string, error) { return []string{host}, nil }
	conf.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return addrs.dial(ctx) }
	return &postgresProbe{d.Addr, database, conf}, nil
}

func (p *postgresProbe) Look(ctx context.Context) error {
	conn, err := pgconn.ConnectConfig(ctx, p.conf)
	if err == nil {
		_ = conn.Close(ctx) // says goodbye, so that its log is not full of broken connections
		return nil
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Canceled
	}
	return p.explain(err)
}

// explain says in plain words why there is no session. Nothing of err's own
// text is shown but what is known to hold neither user nor password.
func (p *postgresProbe) explain(err error) error {
	var said *pgconn.PgError
	if errors.As(err, &said) {
		return fmt.Errorf("PostgreSQL on %s %s", p.where, p.inWords(said))
	}
	return unanswered(err, "PostgreSQL", p.where)
}

// inWords says what the server answered: by its code, since its text can be in
// any language, and names the user.
func (p *postgresProbe) inWords(said *pgconn.PgError) string {
	switch said.Code {
	case "57P03": // cannot_connect_now; several states share the code, and differ in the text alone
		switch text := strings.ToLower(said.Message); {
		case strings.Contains(text, "shutting down"):
			return "is shutting down"
		case strings.Contains(text, "starting up"):
			return "is starting up"
		}
		return "does not accept connections yet"
	case "57P01", "57P02":
		return "is shutting down"
	case "28P01":
		return "refused the password: authentication failed"
	case "28000":
		return "refused the user: authentication failed"
	case "3D000":
		return fmt.Sprintf("has no database %q", p.database)
	case "53300":
		return "has no connection left"
	}
	return fmt.Sprintf("refused the connection (SQLSTATE %.5q)", said.Code)
}

// unanswered says why a service did not answer in its own protocol, without the
// text of errors that could quote what was sent.
func unanswered(err error, what, where string) error {
	var op *net.OpError
	var dns *net.DNSError
	switch {
	case refused(err), errors.As(err, &dns), timedOut(err) && errors.As(err, &op) && op.Op == "dial":
		return dialError(err, where)
	case timedOut(err):
		return fmt.Errorf("%s on %s did not answer in time", what, where)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("%s on %s did not answer: the connection was closed", what, where)
	case tlsProblem(err) != "":
		return fmt.Errorf("%s on %s: %s", what, where, tlsProblem(err))
	case errors.As(err, &op):
		return fmt.Errorf("connect to %s: %w", where, op.Err)
	}
	return fmt.Errorf("what listens on %s does not answer as %s does", where, what)
}
