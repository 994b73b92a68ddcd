package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// childMode is the word that makes this program the API's child.
const childMode = "stubborn-child"

// childLife ends a child that nobody ended: the demo is to show that devside
// does, and not to leave one where it doesn't.
const childLife = 3 * time.Minute

// health is what the API says of itself. Run is the value that the driver put
// into the environment: it proves that a pid is the demo's own process.
type health struct {
	Status string `json:"status"`
	PID    int    `json:"pid"`
	Child  int    `json:"child"`
	Run    string `json:"run"`
}

// greeting is what the frontend shows.
const greeting = "Hello from the API"

// serve runs one of the two servers on $PORT until ctx ends.
func serve(ctx context.Context, out io.Writer, getenv func(string) string, build func(io.Writer, func(string) string) (http.Handler, error)) error {
	handler, err := build(out, getenv)
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", getenv("PORT")))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "listening on http://%s (pid %d)\n", l.Addr(), os.Getpid())
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() {
		<-ctx.Done()
		fmt.Fprintln(out, "asked to end")
		ended <- s.Close()
	}()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-ended
}

// newAPI is the API: a health check, a greeting, and a child in a session of
// its own that ignores SIGTERM, as watchers and daemons of real projects do.
func newAPI(out io.Writer, getenv func(string) string) (http.Handler, error) {
	child, err := startChild()
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "child pid %d: a session of its own, ignores SIGTERM\n", child)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/health", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, health{Status: "ok", PID: os.Getpid(), Child: child, Run: getenv(runVariable)})
	})
	mux.HandleFunc("GET /api/greeting", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]string{"text": fmt.Sprintf("%s, pid %d", greeting, os.Getpid())})
	})
	return mux, nil
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) //nolint:errcheck // a client that has gone needs no answer
}

func startChild() (int, error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("find the demo's own binary: %w", err)
	}
	cmd := exec.Command(exe, childMode)
	cmd.SysProcAttr = ownSession()
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start the child: %w", err)
	}
	go cmd.Wait() //nolint:errcheck // reaps it; it ends with the demo, one way or another
	return cmd.Process.Pid, nil
}

// beStubborn is the API's child: it ignores what asks politely.
func beStubborn() {
	signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	<-time.After(childLife)
}

// newFrontend serves a page with the API's words on it. The page comes whether
// the API answers or not, as a real frontend's does.
func newFrontend(_ io.Writer, getenv func(string) string) (http.Handler, error) {
	client := &http.Client{Timeout: 2 * time.Second}
	api := getenv("API_URL")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		text, err := fetchGreeting(r.Context(), client, api)
		if err != nil {
			text = "the API does not answer"
		}
		fmt.Fprintf(w, "<!doctype html><title>demo</title><h1>The API says: %s</h1>\n", html.EscapeString(text))
	}), nil
}

func fetchGreeting(ctx context.Context, client *http.Client, api string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, api+"/api/greeting", nil)
	if err != nil {
		return "", err
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close() //nolint:errcheck // only read from
	var v struct{ Text string }
	err = json.NewDecoder(io.LimitReader(res.Body, 1<<16)).Decode(&v)
	return v.Text, err
}
