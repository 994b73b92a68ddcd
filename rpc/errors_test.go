package rpc

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/devside/devside/rpc/wire"
)

func TestDecode(t *testing.T) {
	type inner struct {
		Number int `json:"number"`
	}
	type params struct {
		wire.Root
		Servers []string  `json:"servers"`
		Wait    *bool     `json:"wait"`
		Lines   int       `json:"lines"`
		Since   time.Time `json:"since"`
		Port    inner     `json:"port"`
	}
	for _, row := range []struct{ params, want string }{
		{``, ""},
		{`{}`, ""},
		{` {"servers":["a"],"wait":false,"lines":3,"since":"2026-01-02T03:04:05Z","root":"/x","port":{"number":1}} `, ""},
		{`{"servers":null}`, ""},
		{`[]`, "params: want an object"},
		{`"x"`, "params: want an object"},
		{`{"server":"a"}`, `params.server: unknown field "server"`},
		{`{"lines":1,"port":{"numbr":1}}`, `params.port: unknown field "numbr"`},
		{`{"servers":"a"}`, "params.servers: want []string, got string"},
		{`{"lines":"3"}`, "params.lines: want int, got string"},
		{`{"lines":1.5}`, "params.lines: want int, got number 1.5"},
		{`{"port":{"number":"x"}}`, "params.port.number: want int, got string"},
		{`{"lines":1,"since":"yesterday"}`, `params.since: parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"`},
		{`{"lines":1} {}`, "params: data after the object"},
		{`{"lines":`, "params: unexpected EOF"},
	} {
		var p params
		err := Decode(json.RawMessage(row.params), &p)
		if row.want == "" {
			if err != nil {
				t.Errorf("%s: %v", row.params, err)
			}
			continue
		}
		var e *Error
		if !errors.As(err, &e) || e.Code != wire.CodeInvalidParams || e.Message != row.want {
			t.Errorf("%s: got %v, want %s", row.params, err, row.want)
		}
	}
}
