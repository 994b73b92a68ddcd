package web

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/devside/devside/supervisor/project"
	"github.com/devside/devside/supervisor/status"
)

// collector makes metrics of the project's last picture and of what the meter
// has counted. Label values are names that the configuration has now, and words
// of devside's own.
type collector struct {
	meter   *Meter
	glance  func() project.Glance
	version string
}

func newRegistry(m *Meter, glance func() project.Glance, version string) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(&collector{m, glance, version}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	buildInfo = desc("devside_build_info", "1, with the version of the devside that runs.", "version")
	clients   = desc("devside_clients", "Clients that are connected to the hub: editors, terminals, this request's none.")
	problems  = desc("devside_problems", "Problems that are shown now, by severity.", "severity")
	refused   = desc("devside_http_refused_total", "HTTP requests that were refused, by why.", "reason")

	serverRestarts = desc("dev_manager_server_restarts_total", "Restarts that nobody asked for.", "server")
	serverMemory   = desc("dev_manager_memory_usage_bytes", "Resident memory of a server's processes.", "server")
	serverPSS      = desc("devside_server_pss_bytes", "What a server's processes cost the machine: each shared page in part, and what is swapped out. Memory limits are held against it.", "server")
	serverCPU      = desc("devside_server_cpu_ratio", "Cores that a server's processes used between the last two samples: 1 is one core.", "server")
	serverUp       = desc("devside_server_up", "1 while a server is ready.", "server")
	serverState    = desc("devside_server_state", "1 for the state that a server is in, 0 for the others.", "server", "state")
	serverStart    = desc("devside_server_start_time_seconds", "When a server's process was started, in seconds since 1970; none while it does not run.", "server")
	serverReady    = desc("devside_server_startup_seconds", "How long the current run took to be ready; none before.", "server")
	restarts       = desc("devside_server_restarts_total", "Starts that were restarts, by why, those that somebody asked for included.", "server", "reason")
	crashes        = desc("devside_server_crashes_total", "Runs that ended by themselves with an error, and those that devside ended because they were not alive, by cause.", "server", "cause")
	logBytes       = desc("devside_log_bytes_total", "Bytes of a server's output, with devside's own lines.", "server")
	logDropped     = desc("devside_log_dropped_bytes_total", "Bytes of a server's output that are in no file because they could not be written.", "server")
	dependencyUp   = desc("devside_dependency_up", "1 while a dependency that devside only checks is up.", "dependency")
)

// Describe sends nothing: the histograms of servers come as these do, so that
// the registry checks what it gets and not what was promised.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect is called by a scrape.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	m := c.meter
	gauge(buildInfo, 1, c.version)
	gauge(clients, float64(m.clients.Load()))
	for reason, n := range m.refusals {
		counter(refused, float64(n.Load()), reason)
	}
	out <- m.started
	out <- m.killed
	out <- m.changed
	out <- m.batches
	for _, t := range m.answers {
		out <- t.took
		out <- t.failed
	}
	g := c.glance()
	by := map[status.Severity]int{status.Error: 0, status.Warning: 0, status.Information: 0}
	for _, p := range g.Status.Problems {
		by[p.Severity]++
	}
	for severity, n := range by {
		gauge(problems, float64(n), string(severity))
	}
	for _, d := range g.Status.Dependencies {
		gauge(dependencyUp, one(d.Up), d.Name)
	}
	for _, s := range g.Servers {
		gauge(serverUp, one(s.State == status.Ready), s.Name)
		for _, state := range status.States {
			gauge(serverState, one(s.State == state), s.Name, string(state))
		}
		gauge(serverMemory, float64(s.MemoryBytes), s.Name)
		gauge(serverPSS, float64(s.PSSBytes), s.Name)
		gauge(serverCPU, s.CPUPercent/100, s.Name)
		if !s.StartedAt.IsZero() {
			gauge(serverStart, float64(s.StartedAt.UnixMilli())/1000, s.Name)
		}
		if s.ReadyMs != nil {
			gauge(serverReady, float64(*s.ReadyMs)/1000, s.Name)
		}
		counter(serverRestarts, float64(s.Restarts), s.Name)
		for reason, n := range s.RestartsBy {
			counter(restarts, float64(n), s.Name, string(reason))
		}
		for cause, n := range s.CrashesBy {
			counter(crashes, float64(n), s.Name, cause)
		}
		if s.Log != nil {
			printed, lost := s.Log.Totals()
			counter(logBytes, float64(printed), s.Name)
			counter(logDropped, float64(lost), s.Name)
		}
		if t, ok := m.probes.Load(s.Name); ok {
			out <- t.(*timing).took
			out <- t.(*timing).failed
		}
	}
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
