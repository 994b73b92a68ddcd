package web

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/devside/devside/supervisor"
	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/project"
	"github.com/devside/devside/supervisor/status"
)

// fixed is a project whose picture does not change.
type fixed struct{ g project.Glance }

func (f fixed) Glance() project.Glance           { return f.g }
func (f fixed) Subscribe() *project.Subscription { return nil }
func (f fixed) WantsHTTP() (string, bool)        { return "", false }
func (f fixed) ListensHTTP(string)               {}
func (f fixed) PortTaken(int) bool               { return false }
func (f fixed) PortAfter(n int) (int, error)     { return n + 1, nil }
func (f fixed) RefusedPage(_, _ string)          {}

// measured is a meter and a picture with something of everything.
func measured(servers int) (*Meter, project.Glance) {
	m := NewMeter()
	g := project.Glance{Status: &status.Project{
		Problems:     []status.Problem{{Severity: status.Warning}},
		Dependencies: []status.Dependency{{Name: "postgres", Up: true}},
	}}
	ms := int64(1500)
	for i := range servers {
		name := fmt.Sprintf("server-%d", i)
		l := logs.New(0)
		l.Write("stdout", 1, time.Now(), []byte("hello\n"))
		m.Probed(name, 2*time.Millisecond, i%2 == 0)
		g.Servers = append(g.Servers, supervisor.Snapshot{
			Server: status.Server{
				Name: name, State: status.Ready, MemoryBytes: 1 << 20, PSSBytes: 1 << 19, CPUPercent: 50, ReadyMs: &ms,
				StartedAt: time.Unix(1700000000, 5e8), Restarts: 2, Crashes: 3,
			},
			RestartsBy: map[status.Reason]int{status.ReasonCrash: 2, status.ReasonAsked: 1},
			CrashesBy:  map[string]int{supervisor.CauseUnknown: 3},
			Log:        l,
		})
	}
	m.Started(1500 * time.Millisecond)
	m.Killed()
	m.Changed(3)
	m.Answered("devside/status", time.Millisecond, false)
	m.Answered("devside/start", time.Second, true)
	m.Answered("made/up by a client", time.Second, true)
	m.Clients(2)
	m.refused(refusedHost)
	return m, g
}

// gathered returns the families of a scrape by name.
func gathered(t *testing.T, m *Meter, g project.Glance) map[string]*dto.MetricFamily {
	t.Helper()
	all, err := newRegistry(m, func() project.Glance { return g }, "v1.2.3").Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*dto.MetricFamily{}
	for _, f := range all {
		out[f.GetName()] = f
	}
	return out
}

// value finds the one metric of a family with these labels ("name=value").
func value(t *testing.T, families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	t.Helper()
	for _, m := range families[name].GetMetric() {
		var has []string
		for _, l := range m.GetLabel() {
			has = append(has, l.GetName()+"="+l.GetValue())
		}
		slices.Sort(labels)
		if slices.Equal(has, labels) {
			switch {
			case m.Counter != nil:
				return m.Counter.GetValue()
			case m.Gauge != nil:
				return m.Gauge.GetValue()
			default:
				return float64(m.Histogram.GetSampleCount())
			}
		}
	}
	t.Errorf("there is no %s%v", name, labels)
	return -1
}

func TestENTERPRISE003WhatAScrapeSays(t *testing.T) {
	m, g := measured(2)
	all := gathered(t, m, g)
	for _, c := range []struct {
		name   string
		labels string
		want   float64
	}{
		{"dev_manager_startup_duration_seconds", "", 1},
		{"dev_manager_processes_killed_total", "", 1},
		{"dev_manager_server_restarts_total", "server=server-1", 2},
		{"dev_manager_memory_usage_bytes", "server=server-0", 1 << 20},
		{"devside_server_pss_bytes", "server=server-0", 1 << 19},
		{"devside_server_cpu_ratio", "server=server-0", 0.5},
		{"devside_server_up", "server=server-0", 1},
		{"devside_server_state", "server=server-0 state=ready", 1},
		{"devside_server_state", "server=server-0 state=crash-loop", 0},
		{"devside_server_start_time_seconds", "server=server-0", 1700000000.5},
		{"devside_server_startup_seconds", "server=server-0", 1.5},
		{"devside_server_restarts_total", "reason=asked server=server-0", 1},
		{"devside_server_restarts_total", "reason=crash server=server-0", 2},
		{"devside_server_crashes_total", "cause=unknown server=server-0", 3},
		{"devside_log_bytes_total", "server=server-0", 6},
		{"devside_log_dropped_bytes_total", "server=server-0", 0},
		{"devside_probe_duration_seconds", "server=server-1", 1},
		{"devside_probe_failures_total", "server=server-0", 0},
		{"devside_probe_failures_total", "server=server-1", 1},
		{"devside_watch_changes_total", "", 3},
		{"devside_watch_batches_total", "", 1},
		{"devside_rpc_duration_seconds", "verb=status", 1},
		{"devside_rpc_errors_total", "verb=start", 1},
		{"devside_rpc_errors_total", "verb=other", 1},
		{"devside_rpc_errors_total", "verb=status", 0},
		{"devside_clients", "", 2},
		{"devside_problems", "severity=warning", 1},
		{"devside_problems", "severity=error", 0},
		{"devside_dependency_up", "dependency=postgres", 1},
		{"devside_http_refused_total", "reason=host", 1},
		{"devside_http_refused_total", "reason=token", 0},
		{"devside_build_info", "version=v1.2.3", 1},
	} {
		if got := value(t, all, c.name, strings.Fields(c.labels)...); got != c.want {
			t.Errorf("%s{%s} is %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	for _, name := range []string{"go_goroutines", "process_open_fds", "process_resident_memory_bytes"} {
		if all[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
}

// TestNoLabelIsAClientsOrAnOldServers: a name that is not configured has no
// series, and what a client makes up is no label.
func TestNoLabelIsAClientsOrAnOldServers(t *testing.T) {
	m, g := measured(1)
	m.Probed("gone", time.Second, true)
	for name, f := range gathered(t, m, g) {
		for _, metric := range f.GetMetric() {
			for _, l := range metric.GetLabel() {
				if l.GetValue() == "gone" || strings.Contains(l.GetValue(), "client") {
					t.Errorf("%s has the label %s=%q", name, l.GetName(), l.GetValue())
				}
			}
		}
	}
}

// own reports whether a metric is not of the Go and process collectors.
func own(name string) bool {
	return !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_")
}

// TestTheMetricsPageIsWhatIsServed compares METRICS.md's table with a scrape.
func TestTheMetricsPageIsWhatIsServed(t *testing.T) {
	documented := map[string]string{}
	file, err := os.Open(filepath.Join("..", "..", "cmd", "devside", "METRICS.md"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	row := regexp.MustCompile("^\\| `([a-z_]+)` \\| (counter|gauge|histogram) \\| ([a-z0-9, ]*) \\| ([a-z`, ]*) \\|")
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if f := row.FindStringSubmatch(lines.Text()); f != nil {
			labels := strings.Split(strings.ReplaceAll(f[4], "`", ""), ", ")
			slices.Sort(labels)
			documented[f[1]] = f[2] + " " + strings.Join(labels, ", ")
			if unit := unitOf(f[1]); unit != f[3] {
				t.Errorf("%s: the page says its unit is %q, its name says %q", f[1], f[3], unit)
			}
		}
	}
	m, g := measured(1)
	for name, f := range gathered(t, m, g) {
		if !own(name) {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		is := strings.ToLower(f.GetType().String()) + " " + strings.Join(labels, ", ")
		if documented[name] != is {
			t.Errorf("%s is %q, the page says %q", name, is, documented[name])
		}
		delete(documented, name)
		if len(f.GetHelp()) < 10 || !strings.HasSuffix(f.GetHelp(), ".") {
			t.Errorf("%s: its help is %q", name, f.GetHelp())
		}
	}
	for name := range documented {
		t.Errorf("the page has %s, which is not served", name)
	}
}

// unitOf is what a name's last word says, without _total.
func unitOf(name string) string {
	for _, unit := range []string{"seconds", "bytes", "ratio"} {
		if strings.HasSuffix(strings.TrimSuffix(name, "_total"), "_"+unit) {
			return unit
		}
	}
	return "1"
}

// TestTheDashboardAsksForWhatThereIs holds what the examples name equal to what
// is served.
func TestTheDashboardAsksForWhatThereIs(t *testing.T) {
	m, g := measured(1)
	served := gathered(t, m, g)
	metric := regexp.MustCompile(`\b(?:dev_manager|devside)_[a-z_]+`)
	for _, name := range []string{"grafana.json", "METRICS.md"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "cmd", "devside", name))
		if err != nil {
			t.Fatal(err)
		}
		found := metric.FindAllString(string(text), -1)
		if len(found) < 5 {
			t.Errorf("%s names only %v", name, found)
		}
		for _, f := range found {
			base := f
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				base = strings.TrimSuffix(base, suffix)
			}
			if served[f] == nil && served[base] == nil {
				t.Errorf("%s asks for %s, which is not served", name, f)
			}
		}
		if strings.HasSuffix(name, ".json") && !json.Valid(text) {
			t.Errorf("%s is no JSON", name)
		}
	}
}

func scrape(t testing.TB, h http.Handler) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Host = "127.0.0.1:9000"
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
}

// TestScrapesAndCountsAtOnce is for the race detector, and for what is lost.
func TestScrapesAndCountsAtOnce(t *testing.T) {
	m, g := measured(3)
	h := newHandler(Options{Project: fixed{g}, Meter: m}, "token", hostsOf("127.0.0.1", 9000))
	var counting sync.WaitGroup
	for worker := range 4 {
		counting.Go(func() {
			for i := range 200 {
				m.Probed(fmt.Sprintf("server-%d", i%3), time.Millisecond, true)
				m.Started(time.Second)
				m.Answered("devside/status", time.Millisecond, false)
				m.Clients(worker)
			}
		})
	}
	for range 50 {
		scrape(t, h)
	}
	counting.Wait()
	all := gathered(t, m, g)
	if got := value(t, all, "dev_manager_startup_duration_seconds"); got != 801 {
		t.Errorf("%v starts were counted, want 801", got)
	}
	if got := value(t, all, "devside_rpc_duration_seconds", "verb=status"); got != 801 {
		t.Errorf("%v answers were counted, want 801", got)
	}
}

// BenchmarkScrape is a scrape of so many servers, each probed and crashed.
func BenchmarkScrape(b *testing.B) {
	for _, n := range []int{1, 50, 200} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m, g := measured(n)
			h := newHandler(Options{Project: fixed{g}, Meter: m}, "token", hostsOf("127.0.0.1", 9000))
			for b.Loop() {
				scrape(b, h)
			}
		})
	}
}
