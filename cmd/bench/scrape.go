package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// measureScrape measures how long a scrape of /metrics of many servers takes,
// beside an HTTP server of Go's library that answers as many bytes, and how long a
// status takes with ten scrapes a second beside one without.
func measureScrape(ctx context.Context, b *bench) (rows []row, err error) {
	n := b.plan.crowd[1]
	r := row{Name: "scrape", What: fmt.Sprintf("a scrape of /metrics, %d servers, p50", n), Unit: "ms", Goal: goal{atMost, 5}}
	status := row{Name: "status-scraped", What: "… status of them, p50, with 10 scrapes a second, beside one without", Unit: "µs", Goal: goal{timesBare, 1.15}}
	s, err := b.readyProject(ctx, n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var at struct{ URL string }
	if _, err := s.call(ctx, "devside/dashboard", map[string]string{"address": "127.0.0.1:0"}, &at); err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	size, err := scrape(ctx, client, at.URL+"/metrics")
	if err != nil {
		return nil, err
	}
	bare, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	answer := make([]byte, size)
	h := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write(answer) //nolint:errcheck // the client says what it missed
	})}
	served := make(chan error, 1)
	go func() { served <- h.Serve(bare) }()
	defer func() { err = errors.Join(err, h.Close()); <-served }()
	sequence := func(url string, p50 *[]float64) error {
		took, err := repeat(min(b.plan.requests, 200), time.Millisecond, func() (time.Duration, error) {
			began := time.Now()
			_, err := scrape(ctx, client, url)
			return time.Since(began), err
		})
		*p50 = append(*p50, percentile(took, 50))
		return err
	}
	err = rounds(ctx, b.plan.runs,
		func() error { return sequence("http://"+bare.Addr().String(), &r.Bare) },
		func() error { return sequence(at.URL+"/metrics", &r.Devside) })
	r.Bare, r.Devside = counted(r.Bare), counted(r.Devside)
	if err != nil {
		return []row{r}, err
	}
	statuses := func(p50 *[]float64) error {
		took, err := repeat(min(b.plan.requests, 1000), time.Microsecond, s.asksStatus(ctx))
		*p50 = append(*p50, percentile(took, 50))
		return err
	}
	err = rounds(ctx, b.plan.runs,
		func() error { return statuses(&status.Bare) },
		func() error {
			return beside(ctx, func(ctx context.Context) error {
				_, err := scrape(ctx, client, at.URL+"/metrics")
				return err
			}, func() error { return statuses(&status.Devside) })
		})
	status.Bare, status.Devside = counted(status.Bare), counted(status.Devside)
	r.Note = fmt.Sprintf("answers of %d bytes; bare is a server of Go's library that answers as many and looks at nothing", size)
	return []row{r, status}, err
}

// beside does something while another thing is done ten times a second.
func beside(ctx context.Context, often func(context.Context) error, do func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			if err := often(ctx); err != nil && ctx.Err() == nil {
				ended <- err
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				ended <- nil
				return
			}
		}
	}()
	err := do()
	cancel()
	return errors.Join(err, <-ended)
}

// scrape asks once, and returns how long the answer is.
func scrape(ctx context.Context, client *http.Client, url string) (int64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	answer, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close() //nolint:errcheck // only read from
	n, err := io.Copy(io.Discard, answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s was answered %s", url, answer.Status)
	}
	return n, err
}
