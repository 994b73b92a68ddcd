//go:build e2e && linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/devside/devside/supervisor/probe"
	"github.com/devside/devside/supervisor/spec"
	"github.com/devside/devside/supervisor/status"
)

// The real services, from the distribution's packages (.ci/run installs them):
// started here on ports of the kernel's choice, with data of their own, as an
// ordinary user, and ended by the handle that they were started with.

const servicePassword = "open-s3same"

// serviceUser is whom services run as: PostgreSQL refuses root.
func serviceUser() *syscall.SysProcAttr {
	if os.Geteuid() != 0 {
		return nil
	}
	const nobody = 65534
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
}

// serviceDir is a folder that belongs to that user.
func serviceDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "devside-e2e-service-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if as := serviceUser(); as != nil {
		if err := os.Chown(dir, int(as.Credential.Uid), int(as.Credential.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// program finds a service's program, and says what is missing where it is not.
func program(t *testing.T, name, debian string) string {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/" + name, "/usr/bin/" + name, "/usr/sbin/" + name} {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			return found[len(found)-1]
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: install the package %s", name, debian)
	}
	return path
}

// service is one that runs until it is ended.
type service struct {
	cmd *exec.Cmd
	out *bytes.Buffer
}

func serve(t *testing.T, dir, path string, args ...string) *service {
	t.Helper()
	s := &service{cmd: exec.Command(path, args...), out: &bytes.Buffer{}}
	s.cmd.Dir, s.cmd.SysProcAttr = dir, serviceUser()
	s.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.end(t, syscall.SIGKILL) })
	return s
}

// end ends it, once: SIGINT is PostgreSQL's fast shutdown, SIGTERM Redis's.
func (s *service) end(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if s.cmd.ProcessState != nil {
		return
	}
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	s.cmd.Wait() //nolint:errcheck // how it ended says nothing here
	if t.Failed() {
		t.Logf("%s:\n%s", s.cmd.Path, s.out)
	}
}

// sees looks until the probe says what it should: empty, that all is well.
func sees(t *testing.T, kind, target string, port int, want string) {
	t.Helper()
	p := probe.NewDependency(spec.Dependency{Name: "db", Kind: kind, Target: target, Addr: fmt.Sprintf("localhost:%d", port)})
	await(t, fmt.Sprintf("%q from %s", want, kind), func() (string, bool) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err := p.Look(ctx)
		if err == nil {
			return "it is up", want == ""
		}
		for _, secret := range []string{servicePassword, "wrong-s3same"} {
			if strings.Contains(err.Error(), secret) {
				t.Fatalf("the error tells the password: %v", err)
			}
		}
		return err.Error(), want != "" && strings.HasSuffix(err.Error(), want)
	})
}

func servicePort(t *testing.T) int {
	t.Helper()
	n, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// postgres is a cluster with one user, app, and one database, app.
type postgres struct {
	t         *testing.T
	data, dir string
	port      int
}

func newPostgres(t *testing.T) *postgres {
	t.Helper()
	dir := serviceDir(t)
	p := &postgres{t: t, dir: dir, data: filepath.Join(dir, "data"), port: servicePort(t)}
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(servicePassword), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program(t, "initdb", "postgresql"), "-D", p.data, "-U", "app", "--auth=scram-sha-256", "--pwfile="+password, "--no-sync", "--locale=C", "-E", "UTF8")
	cmd.Dir, cmd.SysProcAttr = dir, serviceUser()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	return p
}

func (p *postgres) start(more ...string) *service {
	args := []string{"-D", p.data, "-p", fmt.Sprint(p.port), "-k", p.dir, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"}
	return serve(p.t, p.dir, program(p.t, "postgres", "postgresql"), append(args, more...)...)
}

func (p *postgres) url(password, database string) string {
	return fmt.Sprintf("postgres://app:%s@localhost:%d/%s", password, p.port, database)
}

// createDatabase makes the database app in a running cluster.
func (p *postgres) createDatabase() {
	p.t.Helper()
	sees(p.t, "postgres", p.url(servicePassword, "postgres"), p.port, "")
	conn, err := pgconn.Connect(p.t.Context(), p.url(servicePassword, "postgres"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(p.t.Context(), "CREATE DATABASE app").ReadAll(); err != nil {
		p.t.Fatal(err)
	}
}

func TestE2EPostgresIsProbed(t *testing.T) {
	p := newPostgres(t)
	on := fmt.Sprintf("PostgreSQL on localhost:%d ", p.port)
	sees(t, "postgres", p.url(servicePassword, "app"), p.port, fmt.Sprintf("connection refused on localhost:%d", p.port))
	s := p.start()
	sees(t, "postgres", p.url(servicePassword, "postgres"), p.port, "")
	sees(t, "postgres", p.url(servicePassword, "app"), p.port, on+`has no database "app"`)
	p.createDatabase()
	sees(t, "postgres", p.url(servicePassword, "app"), p.port, "")
	sees(t, "postgres", p.url(servicePassword, "app")+"?sslmode=disable", p.port, "")
	sees(t, "postgres", p.url("wrong-s3same", "app"), p.port, on+"refused the password: authentication failed")
	s.end(t, syscall.SIGINT)
	sees(t, "postgres", p.url(servicePassword, "app"), p.port, fmt.Sprintf("connection refused on localhost:%d", p.port))

	// A standby that lets nobody in listens, and answers 57P03 for ever.
	if err := os.WriteFile(filepath.Join(p.data, "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p.start("-c", "hot_standby=off")
	sees(t, "postgres", p.url(servicePassword, "app"), p.port, on+"does not accept connections yet")
}

func redisArgs(dir string, port int, more ...string) []string {
	return append([]string{"--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no", "--daemonize", "no"}, more...)
}

func TestE2ERedisIsProbed(t *testing.T) {
	dir, port, path := serviceDir(t), servicePort(t), program(t, "redis-server", "redis-server")
	plain, with := fmt.Sprintf("redis://localhost:%d", port), func(password string) string { return fmt.Sprintf("redis://:%s@localhost:%d/1", password, port) }
	on := fmt.Sprintf("Redis on localhost:%d ", port)
	sees(t, "redis", plain, port, fmt.Sprintf("connection refused on localhost:%d", port))
	open := serve(t, dir, path, redisArgs(dir, port)...)
	sees(t, "redis", plain, port, "")
	sees(t, "redis", plain+"/99", port, on+"has no such database")
	sees(t, "redis", with(servicePassword), port, on+"has no password set, and the URL has one")
	fillRedis(t, port)
	open.end(t, syscall.SIGTERM)
	locked := serve(t, dir, path, redisArgs(dir, port, "--requirepass", servicePassword, "--dbfilename", "none.rdb")...)
	sees(t, "redis", with(servicePassword), port, "")
	sees(t, "redis", with("wrong-s3same"), port, on+"refused the password: authentication failed")
	sees(t, "redis", plain, port, on+"asks for a password, and the URL has none")
	locked.end(t, syscall.SIGTERM)
	// It takes its time to load what was saved, and answers meanwhile.
	serve(t, dir, path, redisArgs(dir, port, "--key-load-delay", "200000", "--loading-process-events-interval-bytes", "1024")...)
	sees(t, "redis", plain, port, on+"is loading its data into memory")
	sees(t, "redis", plain, port, "")
}

// fillRedis saves some keys.
func fillRedis(t *testing.T, port int) {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var b strings.Builder
	const keys = 20
	for i := range keys {
		value := fmt.Sprintf("%04d", i) + strings.Repeat(fmt.Sprintf("%x", i*i+7), 2000)
		fmt.Fprintf(&b, "*3\r\n$3\r\nSET\r\n$4\r\nk%03d\r\n$%d\r\n%s\r\n", i, len(value), value)
	}
	b.WriteString("*1\r\n$4\r\nSAVE\r\n")
	if _, err := conn.Write([]byte(b.String())); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for buf := make([]byte, 1024); bytes.Count(got, []byte("+OK\r\n")) < keys+1; {
		n, err := conn.Read(buf)
		if got = append(got, buf[:n]...); err != nil {
			t.Fatalf("%v after %q", err, got)
		}
	}
}

// TestE2EPostgresAndRedisHoldUpAProject: a database that is stopped while all
// runs is the cause that every server names which waits for it.
func TestE2EPostgresAndRedisHoldUpAProject(t *testing.T) {
	p, redisDir, redisPort := newPostgres(t), serviceDir(t), servicePort(t)
	database := p.start()
	p.createDatabase()
	serve(t, redisDir, program(t, "redis-server", "redis-server"), redisArgs(redisDir, redisPort)...)

	dir, _ := demoProject(t)
	file := filepath.Join(dir, "devside.yaml")
	yaml, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(yaml), "    ready: {http: /api/health}\n", "    ready: {http: /api/health}\n    depends_on: [postgres, cache]\n", 1) +
		fmt.Sprintf("dependencies:\n  postgres: {postgres: %q, every: 200ms}\n  cache: {redis: \"redis://localhost:%d\", every: 200ms}\n", p.url(servicePassword, "app"), redisPort)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s := startSidecar(t, dir, homeDir(t), realPatience)
	s.initialize(dir, trusted)
	s.mustStart(t)

	database.end(t, syscall.SIGINT)
	refused := fmt.Sprintf("connection refused on localhost:%d", p.port)
	s.awaitStatus("the database is down", func(st status.Project) bool {
		return slices.ContainsFunc(st.Dependencies, func(d status.Dependency) bool { return d.Name == "postgres" && !d.Up && d.Message == refused })
	})
	s.Do("devside/stop", map[string]any{}, nil)
	s.Do("devside/start", map[string]any{"wait": false}, nil)
	s.awaitStatus("both servers name the database", func(st status.Project) bool {
		for _, server := range []string{"api", "frontend"} {
			named := slices.ContainsFunc(st.Problems, func(p status.Problem) bool {
				return p.Server == server && p.Code == status.DependencyDown && p.Other == "postgres" && strings.Contains(p.Message, refused)
			})
			if is, _ := st.Server(server); is.State != status.Waiting || !named {
				return false
			}
		}
		return true
	})
	if st := s.status(t); strings.Contains(fmt.Sprintf("%+v", st), servicePassword) {
		t.Errorf("the status tells the password: %+v", st)
	}
	p.start()
	s.awaitStatus("all ready again", allReady)
	s.Shutdown()
	if code := s.exitCode(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
