package sidecar

import (
	"context"
	"encoding/json"
	"net"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

// pair is two ends of a loopback connection, which costs what stdio and the
// hub's socket cost, within a few microseconds.
func pair(b *testing.B) (net.Conn, net.Conn) {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	server, err := listener.Accept()
	if err != nil {
		b.Fatal(err)
	}
	return client, server
}

// benchSession is a session between a bare client and a hub that answers from
// memory, each on a connection of its own.
func benchSession(b *testing.B) *rpc.Conn {
	b.Helper()
	root := b.TempDir()
	st := project(root, 1)
	for len(st.Servers) < 10 {
		st.Servers = append(st.Servers, status.Server{Name: "more", Ports: []status.Port{}, Problems: []status.Code{}})
	}
	raw, err := json.Marshal(st)
	if err != nil {
		b.Fatal(err)
	}
	hub := rpc.HandlerFunc(func(m rpc.Message) (rpc.Work, error) {
		if m.Method == wire.Leave {
			return rpc.Answer(wire.LeaveResult{}), nil
		}
		return rpc.Answer(json.RawMessage(raw)), nil
	})
	dial := func(_ context.Context, _ wire.HelloParams, _ bool, h rpc.Handler) (*rpc.Conn, wire.HelloResult, error) {
		ours, theirs := pair(b)
		rpc.New(theirs, hub, rpc.Options{})
		return rpc.New(ours, h, rpc.Options{}), wire.HelloResult{}, nil
	}
	ours, theirs := pair(b)
	done := make(chan int)
	go func() {
		done <- Run(context.Background(), Options{RWC: theirs, Log: zerolog.Nop(), Dial: dial, Dir: root})
	}()
	client := rpc.New(ours, nil, rpc.Options{})
	b.Cleanup(func() {
		if err := client.Close(); err != nil {
			b.Error(err)
		}
		<-done
	})
	for _, method := range []string{"initialize", "devside/status"} {
		if err := client.Call(context.Background(), method, nil, nil); err != nil {
			b.Fatal(err)
		}
	}
	return client
}

func BenchmarkStatusPingPong(b *testing.B) {
	client := benchSession(b)
	for b.Loop() {
		if err := client.Call(context.Background(), "devside/status", nil, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStatusPipelined(b *testing.B) {
	client := benchSession(b)
	slots := make(chan struct{}, 100)
	var waiting sync.WaitGroup
	for b.Loop() {
		slots <- struct{}{}
		waiting.Go(func() {
			defer func() { <-slots }()
			if err := client.Call(context.Background(), "devside/status", nil, nil); err != nil {
				b.Error(err)
			}
		})
	}
	waiting.Wait()
}
