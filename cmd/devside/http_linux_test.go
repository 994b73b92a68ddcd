package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/status"
)

// body asks for a page and returns its status and text.
func body(t *testing.T, url string) (int, string) {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// configured adds lines to a project's devside.yaml.
func configured(t *testing.T, dir, lines string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "devside.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(lines); err != nil {
		t.Fatal(err)
	}
}

// sample finds a metric in a scrape; empty: there is none.
func sample(scrape, series string) string {
	for lines := bufio.NewScanner(strings.NewReader(scrape)); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), series+" "); ok {
			return v
		}
	}
	return ""
}

func TestMetricsAndHealthOfARunningProject(t *testing.T) {
	dir, _ := demoProject(t)
	configured(t, dir, "http: 127.0.0.1:0\n")
	s := startSidecar(t, dir, homeDir(t), time.Minute)
	s.initialize(dir, trusted)
	s.mustStart(t)
	s.awaitStatus("HTTP", func(p status.Project) bool { return p.HTTP != "" })
	first := s.status(t)
	if code, text := body(t, first.HTTP+"/health/readiness"); code != http.StatusOK {
		t.Errorf("%d %s", code, text)
	}
	api, _ := first.Server("api")
	id, err := proc.Identify(api.PID)
	if err != nil {
		t.Fatal(err)
	}
	kill(t, id)
	await(t, "the crash and the restart in a scrape", func() (string, bool) {
		_, text := body(t, first.HTTP+"/metrics")
		saw := sample(text, `dev_manager_server_restarts_total{server="api"}`) + " " +
			sample(text, `devside_server_crashes_total{cause="unknown",server="api"}`) + " " +
			sample(text, `devside_server_restarts_total{reason="crash",server="api"}`) + " " +
			sample(text, `devside_server_up{server="api"}`) + " " +
			sample(text, `dev_manager_startup_duration_seconds_count`)
		return saw, saw == "1 1 1 1 3"
	})
	// Another hub: another token, and the same address from the configuration.
	hub, err := proc.Identify(first.HubPID)
	if err != nil {
		t.Fatal(err)
	}
	kill(t, hub)
	s.awaitStatus("another hub that listens", func(p status.Project) bool {
		return p.HubPID != first.HubPID && p.HTTP != "" && allReady(p)
	})
	again := s.status(t)
	if code, text := body(t, again.HTTP+"/health/startup?server=api&server=frontend"); code != http.StatusOK {
		t.Errorf("%d %s", code, text)
	}
	s.Shutdown()
}

func TestHTTPIsServedForWhoAsksOnTheCommandLine(t *testing.T) {
	dir, _ := demoProject(t)
	home := homeDir(t)
	devside := commandsIn(t, dir, home)
	answer := func(args ...string) string {
		t.Helper()
		out, err := devside(args...).CombinedOutput()
		if err != nil {
			t.Fatalf("devside %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	answer("start", "--trust", "--http", "0")
	defer answer("stop")
	var p status.Project
	if err := json.Unmarshal([]byte(answer("status", "-o", "json")), &p); err != nil || p.HTTP == "" {
		t.Fatalf("after start --http it listens at %q, %v", p.HTTP, err)
	}
	if !strings.Contains(answer("status"), p.HTTP) {
		t.Error("status does not say where")
	}
	if got := answer("http"); got != p.HTTP+"/metrics\n"+p.HTTP+"/health/readiness\n" {
		t.Errorf("devside http: %q", got)
	}
	if code, text := body(t, p.HTTP+"/dev-metrics"); code != http.StatusOK || sample(text, `devside_server_up{server="api"}`) != "1" {
		t.Errorf("%d %s", code, text)
	}
	// A session that asks for another address moves it.
	session := devside("--stdio", "--http", "[::1]:0")
	in, err := session.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start(); err != nil {
		t.Fatal(err)
	}
	defer session.Wait() //nolint:errcheck // it ends without shutdown
	defer in.Close()
	for _, message := range []string{
		fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"processId":null,"rootUri":"file://%s","capabilities":{},"initializationOptions":{"trusted":true}}}`, dir),
		`{"jsonrpc":"2.0","id":2,"method":"devside/status","params":{}}`,
	} {
		if _, err := fmt.Fprintf(in, "Content-Length: %d\r\n\r\n%s", len(message), message); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "HTTP at ::1", func() (string, bool) {
		var p status.Project
		text := answer("status", "-o", "json")
		return text, json.Unmarshal([]byte(text), &p) == nil && strings.HasPrefix(p.HTTP, "http://[::1]:")
	})
}

// TestAScrapeThatHangsHoldsUpNobody: clients that never speak, that stop in the
// middle of a request and that never read their answer, while servers start and stop.
func TestAScrapeThatHangsHoldsUpNobody(t *testing.T) {
	dir, _ := demoProject(t)
	configured(t, dir, "http: 127.0.0.1:0\n")
	s := startSidecar(t, dir, homeDir(t), time.Minute)
	s.initialize(dir, trusted)
	s.mustStart(t, "api")
	s.awaitStatus("HTTP", func(p status.Project) bool { return p.HTTP != "" })
	address := strings.TrimPrefix(s.status(t).HTTP, "http://")
	for _, say := range []string{"", "GET /met", strings.Repeat("GET /metrics HTTP/1.1\r\nHost: "+address+"\r\n\r\n", 500)} {
		for range 3 {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			c.Write([]byte(say)) //nolint:errcheck // it is not read to its end
		}
	}
	s.Do("devside/restart", map[string]any{}, nil)
	s.awaitStatus("both servers", allReady)
	s.Do("devside/stop", map[string]any{}, nil)
	if code, _ := body(t, "http://"+address+"/health/liveness"); code != http.StatusOK {
		t.Errorf("another client is answered %d", code)
	}
	s.Shutdown()
}
