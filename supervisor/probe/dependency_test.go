package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/devside/devside/supervisor/spec"
)

// secret must stand in no error, whatever goes wrong.
const secret = "s3cret"

// session answers every connection with a script until the test ends.
func session(t *testing.T, script func(net.Conn)) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over, conns := make(chan struct{}), sync.WaitGroup{}
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				stop := make(chan struct{})
				defer close(stop)
				go func() {
					select {
					case <-over:
						conn.Close()
					case <-stop:
					}
				}()
				script(conn)
			})
		}
	})
	t.Cleanup(func() { l.Close(); close(over); conns.Wait() })
	return l.Addr().(*net.TCPAddr).Port
}

// hold reads until the other side, or the test, has gone.
func hold(conn net.Conn) { io.Copy(io.Discard, conn) } //nolint:errcheck // its end is what counts

func dependency(kind, target string, port int) spec.Dependency {
	if strings.Contains(target, "%d") {
		target = fmt.Sprintf(target, port)
	}
	return spec.Dependency{Name: "db", Kind: kind, Target: target, Addr: fmt.Sprintf("localhost:%d", port)}
}

func lookAt(t *testing.T, d spec.Dependency, timeout time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	err := NewDependency(d).Look(ctx)
	if err != nil && strings.Contains(err.Error(), secret) {
		t.Errorf("the error tells a secret: %v", err)
	}
	return err
}

func TestADependencyThatDoesNotListen(t *testing.T) {
	port, closed := listen(t, "127.0.0.1:0"), closedPort(t)
	wantError(t, lookAt(t, dependency("tcp", "localhost:%d", port), within), "")
	for kind, url := range map[string]string{
		"tcp": "localhost:%d", "http": "http://u:" + secret + "@localhost:%d/", "redis": "redis://u:" + secret + "@localhost:%d", "postgres": "postgres://u:" + secret + "@localhost:%d/app",
	} {
		err := lookAt(t, dependency(kind, url, closed), within)
		if want := fmt.Sprintf("connection refused on localhost:%d", closed); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", kind, err, want)
		}
		if kind != "tcp" {
			silent := session(t, hold)
			wantError(t, lookAt(t, dependency(kind, url, silent), 200*time.Millisecond), "did not answer")
			wantError(t, lookAt(t, dependency(kind, url, session(t, func(net.Conn) {})), within), "the connection was closed")
		}
	}
}

func TestADependencyThatCantBeChecked(t *testing.T) {
	for _, d := range []spec.Dependency{
		{Kind: "postgres", Target: "postgres://u:" + secret + "@localhost:5432/app?sslmode=never", Addr: "localhost:5432"},
		{Kind: "postgres", Target: "postgres://u:" + secret + "@local\x7fhost/app", Addr: "localhost:5432"},
		{Kind: "postgres", Target: "postgres://u:" + secret + "@localhost/app", Addr: "localhost"},
		{Kind: "redis", Target: "redis://:" + secret + "@localhost/cache", Addr: "localhost:6379"},
		{Kind: "redis", Target: "redis://:" + secret + "@local\x7fhost", Addr: "localhost:6379"},
		{Kind: "http", Target: "http://u:" + secret + "@local\x7fhost", Addr: "localhost:80"},
	} {
		d.Name = "db"
		wantError(t, lookAt(t, d, within), "db can't be checked: ")
	}
}

// redisReplies answers each command with the next reply, and records them.
func redisReplies(t *testing.T, asked *[]string, replies ...string) int {
	return session(t, func(conn net.Conn) {
		r := bufio.NewReader(conn)
		for _, reply := range replies {
			var n int
			if _, err := fmt.Fscanf(r, "*%d\r\n", &n); err != nil {
				return
			}
			var words []string
			for range n {
				var size int
				if _, err := fmt.Fscanf(r, "$%d\r\n", &size); err != nil {
					return
				}
				word := make([]byte, size+2)
				if _, err := io.ReadFull(r, word); err != nil {
					return
				}
				words = append(words, string(word[:size]))
			}
			*asked = append(*asked, strings.Join(words, " "))
			io.WriteString(conn, reply) //nolint:errcheck // the probe may have gone
		}
		hold(conn)
	})
}

func TestRedis(t *testing.T) {
	for _, test := range []struct {
		url     string
		replies []string
		asked   string
		want    string
	}{
		{"redis://localhost:%d", []string{"+PONG\r\n"}, "PING", ""},
		{"redis://localhost:%d/", []string{"+PONG\r\n"}, "PING", ""},
		{"redis://:" + secret + "@localhost:%d/2", []string{"+OK\r\n", "+OK\r\n", "+PONG\r\n"}, "AUTH " + secret + ", SELECT 2, PING", ""},
		{"redis://me:" + secret + "@localhost:%d", []string{"+OK\r\n", "+PONG\r\n"}, "AUTH me " + secret + ", PING", ""},
		{"redis://me:s3cret%%40%%20@localhost:%d", []string{"+OK\r\n", "+PONG\r\n"}, "AUTH me s3cret@ , PING", ""},
		{"redis://localhost:%d", []string{"-LOADING Redis is loading the dataset in memory\r\n"}, "PING", "is loading its data into memory"},
		{"redis://localhost:%d", []string{"-NOAUTH Authentication required.\r\n"}, "PING", "asks for a password, and the URL has none"},
		{"redis://:" + secret + "@localhost:%d", []string{"-WRONGPASS invalid username-password pair or user is disabled.\r\n"}, "AUTH " + secret, "refused the password: authentication failed"},
		{"redis://:" + secret + "@localhost:%d", []string{"-ERR invalid password " + secret + "\r\n"}, "AUTH " + secret, "refused the password: authentication failed"},
		{"redis://:" + secret + "@localhost:%d", []string{"-ERR AUTH <password> called without any password configured for the default user.\r\n"}, "AUTH " + secret, "has no password set, and the URL has one"},
		{"redis://localhost:%d/99", []string{"-ERR DB index is out of range\r\n"}, "SELECT 99", "has no such database"},
		{"redis://localhost:%d", []string{"-NOPERM this user has no permissions to run the 'ping' command\r\n"}, "PING", "does not permit the user PING"},
		{"redis://localhost:%d", []string{"-MASTERDOWN Link with MASTER is down\r\n"}, "PING", "is not available: masterdown"},
		{"redis://localhost:%d", []string{"-ERR max number of clients reached\r\n"}, "PING", "has no connection left"},
		{"redis://localhost:%d", []string{"-DENIED Redis is running in protected mode\r\n"}, "PING", "is in protected mode"},
		{"redis://localhost:%d", []string{"-\x1b[31mODD one\r\n"}, "PING", "answered PING with the error ODD"},
		{"redis://localhost:%d", []string{"HTTP/1.1 400 Bad Request\r\n"}, "PING", "does not answer as Redis does"},
		{"redis://localhost:%d", []string{"\r\n"}, "PING", "does not answer as Redis does"},
		{"redis://localhost:%d", []string{"+" + strings.Repeat("x", 2*maxReply)}, "PING", "does not answer as Redis does"},
	} {
		var asked []string
		port := redisReplies(t, &asked, test.replies...)
		wantError(t, lookAt(t, dependency("redis", test.url, port), within), test.want)
		if got := strings.Join(asked, ", "); got != test.asked {
			t.Errorf("asked %q, want %q", got, test.asked)
		}
	}
	wantError(t, lookAt(t, dependency("redis", "rediss://localhost:%d", redisReplies(t, new([]string), "+PONG\r\n")), 300*time.Millisecond), "did not answer")
	plain := session(t, func(conn net.Conn) { io.WriteString(conn, "+PONG\r\n"); hold(conn) }) //nolint:errcheck // as above
	wantError(t, lookAt(t, dependency("redis", "rediss://localhost:%d", plain), within), "does not speak TLS")
}

// postgresServer is as much of one as a probe sees.
func postgresServer(t *testing.T, answer func(b *pgproto3.Backend, startup *pgproto3.StartupMessage)) int {
	return session(t, func(conn net.Conn) {
		b := pgproto3.NewBackend(conn, conn)
		for {
			m, err := b.ReceiveStartupMessage()
			if err != nil {
				return
			}
			if startup, ok := m.(*pgproto3.StartupMessage); ok {
				answer(b, startup)
				b.Flush() //nolint:errcheck // the probe may have gone
				hold(conn)
				return
			}
			conn.Write([]byte("N")) //nolint:errcheck // no TLS here
		}
	})
}

const postgresURL = "postgres://me:" + secret + "@localhost:%d/app"

func TestPostgres(t *testing.T) {
	for _, test := range []struct{ code, message, want string }{
		{"57P03", "the database system is starting up", "is starting up"},
		{"57P03", "das Datenbanksystem startet", "does not accept connections yet"},
		{"57P03", "the database system is shutting down", "is shutting down"},
		{"57P03", "the database system is in recovery mode", "does not accept connections yet"},
		{"57P01", "terminating connection due to administrator command", "is shutting down"},
		{"28P01", "password authentication failed for user \"" + secret + "\"", "refused the password: authentication failed"},
		{"28000", "role \"" + secret + "\" does not exist", "refused the user: authentication failed"},
		{"3D000", "database does not exist", `has no database "app"`},
		{"53300", "sorry, too many clients already", "has no connection left"},
		{"XX000", secret, `refused the connection (SQLSTATE "XX000")`},
	} {
		port := postgresServer(t, func(b *pgproto3.Backend, _ *pgproto3.StartupMessage) {
			b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: test.code, Message: test.message})
		})
		wantError(t, lookAt(t, dependency("postgres", postgresURL, port), within), fmt.Sprintf("PostgreSQL on localhost:%d %s", port, test.want))
	}
	odd := session(t, func(conn net.Conn) {
		io.WriteString(conn, "-ERR unknown command "+secret+"\r\n") //nolint:errcheck // as above
		hold(conn)
	})
	wantError(t, lookAt(t, dependency("postgres", postgresURL, odd), within), fmt.Sprintf("what listens on localhost:%d does not answer as PostgreSQL does", odd))
	silent := session(t, hold)
	wantError(t, lookAt(t, dependency("postgres", postgresURL, silent), 200*time.Millisecond), "did not answer in time")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := NewDependency(dependency("postgres", postgresURL, silent)).Look(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled look says %v", err)
	}
}

// Whoever wrote devside.yaml chose the host; nothing of ours is sent there.
func TestPostgresIsSentNothingButWhatTheURLSays(t *testing.T) {
	for name, value := range map[string]string{
		"PGUSER": "ours", "PGPASSWORD": secret, "PGDATABASE": "ours", "PGHOST": "/nonexistent", "PGPORT": "1", "PGPASSFILE": "/nonexistent",
		"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/nonexistent", "PGSSLKEY": "/nonexistent", "PGSSLCERT": "/nonexistent", "PGOPTIONS": "-c ours=1",
		"PGTZ": "ours", "PGAPPNAME": "ours", "PGTARGETSESSIONATTRS": "ours", "PGREQUIREAUTH": "ours", "PGCHANNELBINDING": "ours", "PGSSLNEGOTIATION": "ours",
		"PGMINPROTOCOLVERSION": "ours", "PGMAXPROTOCOLVERSION": "ours", "PGSSLCERTMODE": "ours", "PGSSLPASSWORD": "ours", "PGCONNECT_TIMEOUT": "1", "PGKRBSRVNAME": "ours",
	} {
		t.Setenv(name, value)
	}
	var mu sync.Mutex
	var sent []string
	port := postgresServer(t, func(b *pgproto3.Backend, startup *pgproto3.StartupMessage) {
		mu.Lock()
		defer mu.Unlock()
		sent = append(sent, fmt.Sprint(startup.Parameters))
		b.Send(&pgproto3.AuthenticationCleartextPassword{})
		if b.Flush() != nil || b.SetAuthType(pgproto3.AuthTypeCleartextPassword) != nil {
			return
		}
		if m, err := b.Receive(); err == nil {
			sent = append(sent, m.(*pgproto3.PasswordMessage).Password)
		}
		b.Send(&pgproto3.AuthenticationOk{})
		b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	})
	wantError(t, lookAt(t, dependency("postgres", "postgres://me@localhost:%d/a%%27p%%5Cp?passfile=/etc/passwd&options=-cx=1&sslrootcert=/etc/passwd", port), within), "")
	mu.Lock()
	defer mu.Unlock()
	if want := `map[application_name:devside database:a'p\p user:me]|`; strings.Join(sent, "|") != want {
		t.Errorf("sent %s, want %s", strings.Join(sent, "|"), want)
	}
}

func TestAnHTTPDependency(t *testing.T) {
	port := serve(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/", http.StatusFound)
		} else if user != "me" || password != secret || r.URL.Query().Get("key") != secret {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	url := "http://me:" + secret + "@localhost:%d/status?key=" + secret
	wantError(t, lookAt(t, dependency("http", url, port), within), "")
	wantError(t, lookAt(t, dependency("http", strings.Replace(url, "me:", "you:", 1), port), within), fmt.Sprintf("GET http://localhost:%d/status answered 401", port))
	wantError(t, lookAt(t, dependency("http", strings.Replace(url, "status", "moved", 1), port), within), "answered 302, a redirect, which is not followed")
}

func TestTheCertificateOfAnotherMachineIsVerified(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	port := s.Listener.Addr().(*net.TCPAddr).Port
	d := dependency("http", "https://localhost:%d/", port)
	wantError(t, lookAt(t, d, within), "")
	made, err := newHTTPDependency(d)
	if err != nil {
		t.Fatal(err)
	}
	made.(*httpProbe).server = "api.test" // as if the name led here
	wantError(t, made.Look(t.Context()), "was not answered: its certificate ")
	plain := dependency("http", "https://localhost:%d/", serve(t, func(http.ResponseWriter, *http.Request) {}))
	wantError(t, lookAt(t, plain, within), "it does not speak TLS")
}
