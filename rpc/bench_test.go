package rpc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"testing"

	"github.com/sourcegraph/jsonrpc2"
)

// The bare baseline is the library with its own stream, as its README uses it.

type bareHandler struct{}

func (bareHandler) Handle(ctx context.Context, c *jsonrpc2.Conn, req *jsonrpc2.Request) {
	if !req.Notif {
		c.Reply(ctx, req.ID, json.RawMessage(statusLike))
	}
}

// statusLike has the size of a status of two servers.
var statusLike = func() string {
	servers := make([]map[string]any, 2)
	for i := range servers {
		servers[i] = map[string]any{"name": "api", "state": "ready", "since": "2026-01-02T03:04:05Z", "pid": 12345,
			"ports": []map[string]any{{"number": 4000, "listening": true}}, "url": "http://localhost:4000",
			"uptimeMs": 123456, "restarts": 0, "crashes": 0, "memoryBytes": 123456789, "cpuPercent": 1.5, "problems": []string{}}
	}
	b, err := json.Marshal(map[string]any{"root": "/home/a/project", "name": "project", "servers": servers})
	if err != nil {
		panic(err)
	}
	return string(b)
}()

func answering() Handler {
	return HandlerFunc(func(m Message) (Work, error) { return Answer(json.RawMessage(statusLike)), nil })
}

func working() Handler {
	return HandlerFunc(func(m Message) (Work, error) {
		return func(context.Context) (any, error) { return json.RawMessage(statusLike), nil }, nil
	})
}

func benchConn(b *testing.B, h Handler) (*Conn, *Conn) {
	x, y := pair(b)
	server := New(x, h, Options{})
	client := New(y, nil, Options{})
	b.Cleanup(func() { finish(b, client); finish(b, server) })
	return client, server
}

func pingPong(b *testing.B, c *Conn) {
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		var result json.RawMessage
		if err := c.Call(context.Background(), "devside/status", struct{}{}, &result); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkConnPingPong(b *testing.B) {
	c, _ := benchConn(b, answering())
	pingPong(b, c)
}

func BenchmarkConnPingPongWork(b *testing.B) {
	c, _ := benchConn(b, working())
	pingPong(b, c)
}

func BenchmarkBarePingPong(b *testing.B) {
	x, y := pair(b)
	server := jsonrpc2.NewConn(context.Background(), jsonrpc2.NewBufferedStream(x, jsonrpc2.VSCodeObjectCodec{}), bareHandler{})
	client := jsonrpc2.NewConn(context.Background(), jsonrpc2.NewBufferedStream(y, jsonrpc2.VSCodeObjectCodec{}), bareHandler{})
	defer server.Close()
	defer client.Close()
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		var result json.RawMessage
		if err := client.Call(context.Background(), "devside/status", struct{}{}, &result); err != nil {
			b.Fatal(err)
		}
	}
}

// pipelined writes all requests without waiting, and counts the answers.
func pipelined(b *testing.B, conn io.ReadWriteCloser) {
	request := []byte(frame(`{"jsonrpc":"2.0","id":1000000,"method":"devside/status","params":{}}`))
	batch := bytes.Repeat(request, 64)
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		// Ids count up, as a client's do.
		id := 1000000
		for left := b.N; left > 0; left -= 64 {
			for k := range 64 {
				id++
				at := k*len(request) + bytes.Index(request, []byte("1000000"))
				for d, n := 6, id; d >= 0; d, n = d-1, n/10 {
					batch[at+d] = byte('0' + n%10)
				}
			}
			if _, err := conn.Write(batch[:min(left, 64)*len(request)]); err != nil {
				return
			}
		}
	}()
	r := bufio.NewReaderSize(conn, 64<<10)
	f := &frames{r: r, maxBody: DefaultMaxBody}
	for range b.N {
		body, err := f.next()
		if err != nil {
			b.Fatal(err)
		}
		if bytes.Contains(body, []byte(`"error"`)) {
			b.Fatalf("%s", body)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

func BenchmarkConnPipelined(b *testing.B) {
	x, y := pair(b)
	server := New(x, answering(), Options{})
	b.Cleanup(func() { finish(b, server); y.Close() })
	pipelined(b, y)
}

func BenchmarkConnPipelinedWork(b *testing.B) {
	x, y := pair(b)
	server := New(x, working(), Options{})
	b.Cleanup(func() { finish(b, server); y.Close() })
	pipelined(b, y)
}

func BenchmarkBarePipelined(b *testing.B) {
	x, y := pair(b)
	server := jsonrpc2.NewConn(context.Background(), jsonrpc2.NewBufferedStream(x, jsonrpc2.VSCodeObjectCodec{}), bareHandler{})
	b.Cleanup(func() { server.Close(); y.Close() })
	pipelined(b, y)
}
