package web

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/devside/devside/rpc/wire"
)

// Meter keeps what is measured where it happens, for the next scrape. It is the
// supervisor's, the project's and the hub's. Its methods wait for nothing: they
// count atomically, and a scrape only reads.
type Meter struct {
	started  prometheus.Histogram
	killed   prometheus.Counter
	changed  prometheus.Counter
	batches  prometheus.Counter
	probes   sync.Map                 // by server: *timing
	answers  map[string]*timing       // by verb; never changed
	refusals map[string]*atomic.Int64 // by reason; never changed
	clients  atomic.Int64
}

// timing is how long something took each time, and how often it failed.
type timing struct {
	took   prometheus.Histogram
	failed prometheus.Counter
}

var (
	// startBuckets: PERF-005's deadlines and a cold framework's first compile.
	startBuckets = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120}
	probeBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	// answerBuckets: from a status out of memory to a start that is waited for.
	answerBuckets = []float64{.00005, .0001, .0005, .001, .005, .01, .05, .1, .5, 1, 5, 10, 60}
)

// otherVerb is the label of every method that is no verb: what a client makes up
// is no label.
const otherVerb = "other"

// NewMeter returns a meter that has measured nothing.
func NewMeter() *Meter {
	m := &Meter{
		started: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "dev_manager_startup_duration_seconds", Buckets: startBuckets,
			Help: "From the start of a server's process to the first pass of its readiness probe.",
		}),
		killed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dev_manager_processes_killed_total",
			Help: "Processes that devside ended and had not started: holders of a port that a person asked it to end, and leftovers named by cleanup.patterns.",
		}),
		changed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "devside_watch_changes_total", Help: "Changes of files that are watched for, after settling.",
		}),
		batches: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "devside_watch_batches_total", Help: "Batches that these changes came in: one for each save, install or checkout.",
		}),
		answers: map[string]*timing{}, refusals: map[string]*atomic.Int64{},
	}
	for _, v := range wire.Verbs {
		m.answers[v.Name] = answers.of(v.Name)
	}
	m.answers[otherVerb] = answers.of(otherVerb)
	for _, reason := range refusals {
		m.refusals[reason] = new(atomic.Int64)
	}
	return m
}

// timed is what timings of one kind have in common.
type timed struct {
	took, failed         string // names
	tookHelp, failedHelp string
	label                string
	buckets              []float64
}

var (
	answers = timed{
		took: "devside_rpc_duration_seconds", tookHelp: "From reading a client's request to the hub's answer, waiting for servers included.",
		failed: "devside_rpc_errors_total", failedHelp: "Requests of clients that were answered with an error.",
		label: "verb", buckets: answerBuckets,
	}
	probes = timed{
		took: "devside_probe_duration_seconds", tookHelp: "How long readiness and liveness probes took, failed ones included.",
		failed: "devside_probe_failures_total", failedHelp: "Readiness and liveness probes that did not pass.",
		label: "server", buckets: probeBuckets,
	}
)

func (d timed) of(value string) *timing {
	labels := prometheus.Labels{d.label: value}
	return &timing{
		took:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: d.took, Help: d.tookHelp, ConstLabels: labels, Buckets: d.buckets}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{Name: d.failed, Help: d.failedHelp, ConstLabels: labels}),
	}
}

func (t *timing) observe(took time.Duration, ok bool) {
	t.took.Observe(took.Seconds())
	if !ok {
		t.failed.Inc()
	}
}

// Started is project.Meter's.
func (m *Meter) Started(took time.Duration) { m.started.Observe(took.Seconds()) }

// Probed is project.Meter's.
func (m *Meter) Probed(server string, took time.Duration, ok bool) {
	t, known := m.probes.Load(server)
	if !known {
		t, _ = m.probes.LoadOrStore(server, probes.of(server))
	}
	t.(*timing).observe(took, ok)
}

// Killed is project.Meter's.
func (m *Meter) Killed() { m.killed.Inc() }

// Changed is project.Meter's.
func (m *Meter) Changed(files int) {
	m.batches.Inc()
	m.changed.Add(float64(files))
}

// Answered is the hub's: a request of a client was answered.
func (m *Meter) Answered(method string, took time.Duration, failed bool) {
	verb, _ := strings.CutPrefix(method, wire.MethodPrefix)
	t, known := m.answers[verb]
	if !known {
		t = m.answers[otherVerb]
	}
	t.observe(took, !failed)
}

// Clients is the hub's: so many are connected.
func (m *Meter) Clients(n int) { m.clients.Store(int64(n)) }

func (m *Meter) refused(reason string) { m.refusals[reason].Add(1) }
