package supervisor

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/devside/devside/supervisor/logs"
	"github.com/devside/devside/supervisor/probe"
	"github.com/devside/devside/supervisor/spec"
)

func TestAProbeThatChangesNothingPublishesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var published atomic.Int64
		r := newRoom()
		g := NewGroup(r.host(), func(string) *logs.Log { return logs.New(0) }, func() { published.Add(1) })
		c := conf("api")
		c.Ready.HTTP = "api"
		g.Apply(t.Context(), []spec.Server{c}, Change{})
		g.Start(t.Context(), []string{"api"}, StartOptions{})
		time.Sleep(17 * time.Second) // past the second sample of its memory
		synctest.Wait()
		before := published.Load()
		time.Sleep(12 * time.Second) // two probes, no sample
		synctest.Wait()
		if n := published.Load() - before; n != 0 {
			t.Errorf("two probes that passed published %d times", n)
		}
		r.set(func() { r.sick["api"] = true })
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if published.Load() == before {
			t.Error("probes that failed published nothing")
		}
		g.StopAll(context.Background(), StopOptions{})
		g.Close()
	})
}

// counting is a probe that counts its looks.
type counting struct {
	looks *atomic.Int64
	open  *atomic.Bool
}

func (c counting) Look(context.Context) error {
	c.looks.Add(1)
	if !c.open.Load() {
		return errors.New("connection refused")
	}
	return nil
}

func TestAStartingServerIsConnectedToWhenSomebodyListens(t *testing.T) {
	for _, known := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var looks, glances atomic.Int64
			var open atomic.Bool
			h := newRoom().host()
			h.NewProbe = func(spec.Probe, probe.Target) (probe.Probe, error) { return counting{&looks, &open}, nil }
			h.Listening = func(int) (bool, bool) {
				glances.Add(1)
				return open.Load(), known
			}
			g := NewGroup(h, func(string) *logs.Log { return logs.New(0) }, func() {})
			c := conf("api", func(s *spec.Server) { s.Ports = []spec.Port{{Number: 4000}} })
			g.Apply(t.Context(), []spec.Server{c}, Change{})
			time.AfterFunc(time.Second, func() { open.Store(true) })
			results, _ := g.Start(t.Context(), []string{"api"}, StartOptions{})
			if !results[0].OK {
				t.Fatalf("%+v", results[0])
			}
			tries := glances.Load()
			if tries < 20 {
				t.Errorf("only %d glances in a second", tries)
			}
			// Now and then it is tried all the same: a port can be answered for
			// without a listener of this system.
			most := tries/(lookAnyway-1) + 2
			if known && (looks.Load() > most || looks.Load() < 2) || !known && looks.Load() < tries {
				t.Errorf("known %v: %d looks at %d glances", known, looks.Load(), tries)
			}
			g.StopAll(context.Background(), StopOptions{})
			g.Close()
		})
	}
}

func TestANotReadyServerThatNeverListenedSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int64
		var open atomic.Bool
		h := newRoom().host()
		h.NewProbe = func(spec.Probe, probe.Target) (probe.Probe, error) { return counting{&looks, &open}, nil }
		h.Listening = func(int) (bool, bool) { return false, true }
		g := NewGroup(h, func(string) *logs.Log { return logs.New(0) }, func() {})
		g.Apply(t.Context(), []spec.Server{conf("api", func(s *spec.Server) { s.Ports = []spec.Port{{Number: 4000}} })}, Change{})
		results, _ := g.Start(t.Context(), []string{"api"}, StartOptions{})
		if results[0].Code != CodeNotReady || !strings.Contains(results[0].Message, "port 4000") && !strings.Contains(results[0].Message, "connection refused") {
			t.Errorf("%+v", results[0])
		}
		g.StopAll(context.Background(), StopOptions{})
		g.Close()
	})
}
