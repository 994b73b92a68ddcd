package hub

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/devside/devside/rpc/wire"
)

// fakeHTTP says where it would listen.
type fakeHTTP struct {
	mu    sync.Mutex
	asked []string
	fails bool
}

func (f *fakeHTTP) Serve(_ context.Context, address string) (url, token string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, address)
	if f.fails {
		return "", "", errors.New("listen on it: permission denied")
	}
	return "http://127.0.0.1:9000", "secret", nil
}

func TestDashboard(t *testing.T) {
	f := &fakeHTTP{}
	l := open(t, config(server("api", "serve")), func(o *Options) { o.HTTP = f })
	c := l.join(wire.Visitor, func(p *wire.HelloParams) { p.HTTP = "9001" })
	var got wire.DashboardResult
	c.must("devside/dashboard", nil, &got)
	c.must("devside/dashboard", wire.DashboardParams{Address: "localhost:0"}, &got)
	if got != (wire.DashboardResult{URL: "http://127.0.0.1:9000", Token: "secret"}) {
		t.Errorf("%+v", got)
	}
	for _, address := range []string{"0.0.0.0:9000", "192.0.2.1:80", "example.com:9000", "127.0.0.1", "127.0.0.1:70000", "http://127.0.0.1:9000", "@"} {
		c.refused("devside/dashboard", wire.DashboardParams{Address: address}, wire.CodeInvalidParams, "invalid-address")
	}
	f.mu.Lock()
	if want := []string{"127.0.0.1:9001", "", "localhost:0"}; len(f.asked) != 3 || f.asked[0] != want[0] || f.asked[1] != want[1] || f.asked[2] != want[2] {
		t.Errorf("asked for %q, want %q", f.asked, want)
	}
	f.fails = true
	f.mu.Unlock()
	c.refused("devside/dashboard", nil, wire.CodeRequestFailed, "cannot-listen")
	// A hello is accepted all the same: servers come first.
	again := l.join(wire.Visitor, func(p *wire.HelloParams) { p.HTTP = "9001" })
	again.status()
	l.log.await(t, "permission denied")
}

func TestAHubWithoutHTTPSaysSo(t *testing.T) {
	l := open(t, config(server("api", "serve")))
	c := l.join(wire.Visitor)
	if err := c.ask("devside/dashboard", nil, nil); err == nil {
		t.Error("it is served")
	}
	c.status()
}

// countingMeter counts what it is told.
type countingMeter struct {
	clients  atomic.Int64
	statuses atomic.Int64
	left     chan struct{}
}

func (m *countingMeter) Answered(method string, _ time.Duration, failed bool) {
	if method == "devside/status" && !failed {
		m.statuses.Add(1)
	}
}

func (m *countingMeter) Clients(n int) {
	if m.clients.Swap(int64(n)) == 2 && n == 1 {
		close(m.left)
	}
}

func TestTheMeterIsToldOfClientsAndAnswers(t *testing.T) {
	m := &countingMeter{left: make(chan struct{})}
	l := open(t, config(server("api", "serve")), func(o *Options) { o.Meter = m })
	first, second := l.join(wire.Holder), l.join(wire.Visitor)
	if n := m.clients.Load(); n != 2 {
		t.Errorf("%d clients, want 2", n)
	}
	before := m.statuses.Load()
	first.status()
	first.status()
	first.must("devside/ports", nil, nil) // answered after them
	if n := m.statuses.Load() - before; n != 2 {
		t.Errorf("%d statuses were counted, want 2", n)
	}
	second.close()
	select {
	case <-m.left:
	case <-time.After(deadline):
		t.Fatal("a client that left is still counted")
	}
}
