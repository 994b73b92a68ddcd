package web

import (
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/devside/devside/supervisor/project"
)

// maxScrapes is how many scrapes are answered at a time; one more gets 503.
const maxScrapes = 8

// handler answers requests to one listener.
type handler struct {
	guard   guard
	meter   *Meter
	glance  func() project.Glance
	metrics http.Handler
	pages   func(host, origin string) // told of a page that was refused, now and then
	told    atomic.Int64              // when that was last, in Unix nanoseconds
}

// tellEvery is the time between two pages that are told of: a page can ask a
// thousand times a second.
const tellEvery = time.Minute

func newHandler(o Options, token string, hosts map[string]bool) *handler {
	return &handler{
		guard: guard{hosts, sha256.Sum256([]byte(token))}, meter: o.Meter, glance: o.Project.Glance, pages: o.Project.RefusedPage,
		metrics: promhttp.HandlerFor(newRegistry(o.Meter, o.Project.Glance, o.Version), promhttp.HandlerOpts{
			ErrorLog: quietLog(o.Log), MaxRequestsInFlight: maxScrapes,
		}),
	}
}

// public are the paths that need no token: what scrapers and scripts ask for. There
// are no others yet.
var public = map[string]func(*handler, http.ResponseWriter, *http.Request){
	"/metrics": (*handler).scrape, "/dev-metrics": (*handler).scrape,
	"/health/liveness": healthBy(liveness), "/health/readiness": healthBy(readiness), "/health/startup": healthBy(startup),
}

// ServeHTTP answers one request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range secure {
		w.Header().Set(name, value)
	}
	if refused := h.guard.look(r); refused != nil {
		h.meter.refused(refused.reason)
		h.tell(refused, r)
		switch refused.status {
		case http.StatusUnauthorized:
			w.Header().Set("WWW-Authenticate", "Bearer")
		case http.StatusMethodNotAllowed:
			w.Header().Set("Allow", "GET, HEAD")
		}
		http.Error(w, refused.text, refused.status)
		return
	}
	serve := public[r.URL.Path]
	if serve == nil {
		http.Error(w, "there is nothing here: /metrics, /health/liveness, /health/readiness and /health/startup are served", http.StatusNotFound)
		return
	}
	serve(h, w, r)
}

// tell takes down that a page of another site wanted something.
func (h *handler) tell(refused *refusal, r *http.Request) {
	if refused.reason != refusedHost && refused.reason != refusedOrigin {
		return
	}
	now := time.Now().UnixNano()
	last := h.told.Load()
	if last != 0 && now-last < int64(tellEvery) || !h.told.CompareAndSwap(last, now) {
		return
	}
	h.pages(r.Host, r.Header.Get("Origin"))
}

func (h *handler) scrape(w http.ResponseWriter, r *http.Request) { h.metrics.ServeHTTP(w, r) }

func healthBy(c check) func(*handler, http.ResponseWriter, *http.Request) {
	return func(h *handler, w http.ResponseWriter, r *http.Request) { h.health(w, r, c) }
}

func (h *handler) health(w http.ResponseWriter, r *http.Request, c check) {
	report := judge(c, h.glance().Status, r.URL.Query()["server"])
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	switch {
	case report.Known != nil:
		w.WriteHeader(http.StatusNotFound)
	case !report.OK:
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	enc.Encode(report) //nolint:errcheck // who has gone need not know
}
