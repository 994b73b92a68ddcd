package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/devside/devside/rpc/wire"
)

const good = `{"jsonrpc":"2.0","id":"good","method":"ping"}`

// faultBody is the cap of the connection that gets the faults.
const faultBody = 64 << 10

type faultRow struct {
	name string
	raw  string
	want []string // answers: "id code" or "id result"
}

// faultRows are faults that a connection survives.
func faultRows() []faultRow {
	none := []string{}
	refused := func(id string, code int) []string { return []string{fmt.Sprintf("%s %d", id, code)} }
	answered := func(id, result string) []string { return []string{id + " " + result} }
	invalidID := func(id, echo string) (string, []string) {
		return frame(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"ping"}`, id)), refused(echo, wire.CodeInvalidRequest)
	}
	rows := []faultRow{
		{"LF-only header endings", "Content-Length: 37\n\n" + `{"jsonrpc":"2.0","id":1,"method":"x"} `[:37], refused("1", wire.CodeMethodNotFound)},
		{"content-length in lower case", fmt.Sprintf("content-length: %d\r\n\r\n%s", len(good), good), answered(`"good"`, `"pong"`)},
		{"Content-Length without space", fmt.Sprintf("Content-Length:%d\r\n\r\n%s", len(good), good), answered(`"good"`, `"pong"`)},
		{"Content-Type header", fmt.Sprintf("Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s", len(good), good), answered(`"good"`, `"pong"`)},
		{"unknown header line", fmt.Sprintf("Content-Length: %d\r\nX-Unknown: 1\r\nno colon at all\r\n\r\n%s", len(good), good), answered(`"good"`, `"pong"`)},
		{"Content-Length twice, the same", fmt.Sprintf("Content-Length: %d\r\nContent-Length: %d\r\n\r\n%s", len(good), len(good), good), answered(`"good"`, `"pong"`)},
		{"body over the cap is discarded", frame(`{"jsonrpc":"2.0","id":1,"method":"echo","params":["` + strings.Repeat("x", faultBody) + `"]}`), refused("null", wire.CodeInvalidRequest)},
		{"invalid JSON, correct frame", frame(`{"jsonrpc":"2.0","id":1,"method":}`), refused("null", wire.CodeParse)},
		{"truncated JSON", frame(`{"jsonrpc":"2.0","id":1,"method":"pi`), refused("null", wire.CodeParse)},
		{"empty body but for spaces", frame("   "), refused("null", wire.CodeParse)},
		{"body shorter than declared, few trailing spaces", frame(good + "   \n"), answered(`"good"`, `"pong"`)},
		{"trailing padding over 512 B", frame(good + strings.Repeat(" ", 5000)), answered(`"good"`, `"pong"`)},
		{"frame hidden in the padding", frame(good + strings.Repeat(" ", 600) + frame(`{"jsonrpc":"2.0","id":"smuggled","method":"ping"}`)), refused("null", wire.CodeInvalidRequest)},
		{"two JSON values in one frame", frame(good + good), refused("null", wire.CodeInvalidRequest)},
		{"empty object", frame(`{}`), refused("null", wire.CodeInvalidRequest)},
		{"object with an id only", frame(`{"jsonrpc":"2.0","id":5}`), refused("5", wire.CodeInvalidRequest)},
		{"scalar", frame(`42`), refused("null", wire.CodeInvalidRequest)},
		{"string", frame(`"ping"`), refused("null", wire.CodeInvalidRequest)},
		{"null", frame(`null`), refused("null", wire.CodeInvalidRequest)},
		{"method and result both", frame(`{"jsonrpc":"2.0","id":6,"method":"ping","result":1}`), refused("6", wire.CodeInvalidRequest)},
		{"method and error both", frame(`{"jsonrpc":"2.0","id":"m","method":"ping","error":{}}`), refused(`"m"`, wire.CodeInvalidRequest)},
		{"method is no string", frame(`{"jsonrpc":"2.0","id":7,"method":1}`), refused("7", wire.CodeInvalidRequest)},
		{"method too long", frame(`{"jsonrpc":"2.0","id":7,"method":"` + strings.Repeat("m", 2000) + `"}`), refused("7", wire.CodeInvalidRequest)},
		{"batch array", frame(`[` + good + `,` + good + `]`), refused("null", wire.CodeInvalidRequest)},
		{"empty batch", frame(`[]`), refused("null", wire.CodeInvalidRequest)},
		{"broken batch", frame(`[` + good + `,`), refused("null", wire.CodeParse)},
		{"no jsonrpc member", frame(`{"id":8,"method":"ping"}`), answered("8", `"pong"`)},
		{"jsonrpc 1.0", frame(`{"jsonrpc":"1.0","id":9,"method":"ping"}`), refused("9", wire.CodeInvalidRequest)},
		{"jsonrpc is a number", frame(`{"jsonrpc":2.0,"id":9,"method":"ping"}`), refused("9", wire.CodeInvalidRequest)},
		{"id -3", frame(`{"jsonrpc":"2.0","id":-3,"method":"ping"}`), answered("-3", `"pong"`)},
		{"id of 64 bits", frame(`{"jsonrpc":"2.0","id":9223372036854775807,"method":"ping"}`), answered("9223372036854775807", `"pong"`)},
		{"id empty string", frame(`{"jsonrpc":"2.0","id":"","method":"ping"}`), answered(`""`, `"pong"`)},
		{"id 0", frame(`{"jsonrpc":"2.0","id":0,"method":"ping"}`), answered("0", `"pong"`)},
		{"id with escapes is echoed as it came", frame(`{"jsonrpc":"2.0","id":"\u0061\/","method":"ping"}`), answered(`"\u0061\/"`, `"pong"`)},
		{"params null", frame(`{"jsonrpc":"2.0","id":10,"method":"echo","params":null}`), answered("10", "null")},
		{"params scalar", frame(`{"jsonrpc":"2.0","id":11,"method":"echo","params":3}`), refused("11", wire.CodeInvalidParams)},
		{"params scalar in a notification", frame(`{"jsonrpc":"2.0","method":"note","params":3}`), none},
		{"duplicate keys, the last wins", frame(`{"jsonrpc":"2.0","id":1,"id":12,"method":"no","method":"ping"}`), answered("12", `"pong"`)},
		{"key with an escape", frame(`{"jsonrpc":"2.0","id":13,"\u006dethod":"ping"}`), answered("13", `"pong"`)},
		{"unknown member", frame(`{"jsonrpc":"2.0","id":13,"method":"ping","meta":{"a":1}}`), answered("13", `"pong"`)},
		{"response with unknown id", frame(`{"jsonrpc":"2.0","id":77,"result":1}`), none},
		{"response with id null", frame(`{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}`), none},
		{"response without id", frame(`{"jsonrpc":"2.0","result":1}`), none},
		{"response with a text id", frame(`{"jsonrpc":"2.0","id":"1","result":1}`), none},
		{"response with negative id", frame(`{"jsonrpc":"2.0","id":-1,"result":1}`), none},
		{"UTF-8 BOM", frame("\xef\xbb\xbf" + good), refused("null", wire.CodeParse)},
		{"invalid UTF-8 in strings", frame("{\"jsonrpc\":\"2.0\",\"id\":14,\"method\":\"ping\",\"params\":{\"a\":\"\xff\xfe\"}}"), answered("14", `"pong"`)},
		{"nesting 20,000", frame(`{"jsonrpc":"2.0","id":15,"method":"echo","params":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`), refused("null", wire.CodeParse)},
		{"params as they came", frame(`{"jsonrpc":"2.0","id":16,"method":"echo","params":{"z":"<&>","a":123456789012345678901234567890}}`), answered("16", `{"z":"<&>","a":123456789012345678901234567890}`)},
		{"plain Go error", frame(`{"jsonrpc":"2.0","id":17,"method":"fail"}`), refused("17", wire.CodeInternal)},
		{"result that can't be encoded", frame(`{"jsonrpc":"2.0","id":18,"method":"channel"}`), refused("18", wire.CodeInternal)},
		{"result over the cap", frame(`{"jsonrpc":"2.0","id":18,"method":"big","params":[65537]}`), refused("18", wire.CodeInternal)},
		{"unknown request", frame(`{"jsonrpc":"2.0","id":19,"method":"unknown"}`), refused("19", wire.CodeMethodNotFound)},
		{"unknown notification", frame(`{"jsonrpc":"2.0","method":"unknown"}`), none},
		{"unknown $/ request", frame(`{"jsonrpc":"2.0","id":20,"method":"$/unknown"}`), refused("20", wire.CodeMethodNotFound)},
		{"unknown $/ notification", frame(`{"jsonrpc":"2.0","method":"$/unknown"}`), none},
		{"cancel of nothing", frame(`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":99}}`), none},
		{"cancel without an id", frame(`{"jsonrpc":"2.0","method":"$/cancelRequest"}`), none},
		{"cancel of an impossible id", frame(`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":{}}}`), none},
		{"panic in the handler", frame(`{"jsonrpc":"2.0","id":21,"method":"panic"}`), refused("21", wire.CodeInternal)},
		{"panic in the work", frame(`{"jsonrpc":"2.0","id":22,"method":"panicInWork"}`), refused("22", wire.CodeInternal)},
		{"panic in the result's encoder", frame(`{"jsonrpc":"2.0","id":23,"method":"panicInResult"}`), refused("23", wire.CodeInternal)},
		{"panic in the error's encoder", frame(`{"jsonrpc":"2.0","id":23,"method":"panicInError"}`), refused("23", wire.CodeInternal)},
		{"panic in a notification", frame(`{"jsonrpc":"2.0","method":"panic"}`), none},
		{"nil *Error", frame(`{"jsonrpc":"2.0","id":24,"method":"nilError"}`), refused("24", wire.CodeInternal)},
		{"handler without an answer", frame(`{"jsonrpc":"2.0","id":24,"method":"nothing"}`), refused("24", wire.CodeInternal)},
		{"id null", frame(`{"jsonrpc":"2.0","id":null,"method":"ping"}`), refused("null", wire.CodeInvalidRequest)},
	}
	for _, id := range []struct{ id, echo string }{
		{"1.5", "1.5"}, {"1e3", "1e3"}, {"9223372036854775808", "9223372036854775808"},
		{"true", "null"}, {"{}", "null"}, {"[1]", "null"}, {`"` + strings.Repeat("i", 2000) + `"`, "null"},
	} {
		raw, want := invalidID(id.id, id.echo)
		rows = append(rows, faultRow{"id " + id.id[:min(len(id.id), 20)], raw, want})
	}

	return rows
}

// TestBadInputOnOneConnection sends one fault after the other on one living
// connection. Each gets its answer, and a good request after it is answered.
func TestBadInputOnOneConnection(t *testing.T) {
	p, c := serve(t, newLab(), Options{MaxBody: faultBody})
	for i, row := range faultRows() {
		t.Run(row.name, func(t *testing.T) {
			p.t = t
			p.raw(row.raw)
			// Whatever came, the connection lives, and answers in order but
			// for what works on its own goroutine.
			sentinel := fmt.Sprintf(`"sentinel %d"`, i)
			p.send(`{"jsonrpc":"2.0","id":%s,"method":"ping"}`, sentinel)
			var got []string
			for seen := false; !seen || len(got) < len(row.want); {
				r := p.next()
				switch {
				case string(r.ID) == sentinel:
					seen = true
				case r.Error != nil:
					got = append(got, fmt.Sprintf("%s %d", r.ID, r.Error.Code))
				default:
					got = append(got, fmt.Sprintf("%s %s", r.ID, r.Result))
				}
			}
			if strings.Join(got, "; ") != strings.Join(row.want, "; ") {
				t.Errorf("answered %q, want %q", got, row.want)
			}
		})
	}
	p.t = t
	if got, want := c.Panics(), int64(5); got != want {
		t.Errorf("%d panics counted, want %d", got, want)
	}
	select {
	case <-c.Done():
		t.Errorf("the connection has ended: %v", c.Err())
	default:
	}
}

type fatalRow struct {
	name, raw string
	code      int64
}

// fatalRows are faults after which the next message can't be found.
func fatalRows() []fatalRow {
	return []fatalRow{
		{"negative length", "Content-Length: -5\r\n\r\n", wire.CodeParse},
		{"length with a plus", "Content-Length: +5\r\n\r\n12345", wire.CodeParse},
		{"length over 32 bits", "Content-Length: 4294967296\r\n\r\n", wire.CodeParse},
		{"length no number", "Content-Length: five\r\n\r\n", wire.CodeParse},
		{"missing length", "Content-Type: x\r\n\r\n{}", wire.CodeParse},
		{"no header at all", "\r\n", wire.CodeParse},
		{"JSON without a frame", `{"jsonrpc":"2.0","id":1,"method":"ping"}` + "\n\n", wire.CodeParse},
		{"0 length", "Content-Length: 0\r\n\r\n", wire.CodeParse},
		{"two different lengths", "Content-Length: 5\r\nContent-Length: 6\r\n\r\n123456", wire.CodeParse},
		{"header line without end", "X: " + strings.Repeat("y", maxHeaderLine+1), wire.CodeParse},
		{"header line too long", "X: " + strings.Repeat("y", maxHeaderLine) + "\r\nContent-Length: 2\r\n\r\n{}", wire.CodeParse},
		{"header lines without number", strings.Repeat("X: y\r\n", maxHeaders+1), wire.CodeParse},
		{"Content-Length 4294967295", "Content-Length: 4294967295\r\n\r\n" + strings.Repeat("x", 1000), wire.CodeInvalidRequest},
	}
}

// TestUnreadableFramesEndTheConnection: the peer is told why before the end.
func TestUnreadableFramesEndTheConnection(t *testing.T) {
	for _, row := range fatalRows() {
		t.Run(row.name, func(t *testing.T) {
			p, c := serve(t, newLab(), Options{})
			p.send(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)
			p.want("1", 0, `"pong"`)
			p.raw(row.raw)
			p.want("null", row.code, "")
			p.ended()
			receive(t, "the end", c.Done())
			if c.Err() == nil {
				t.Error("no reason given")
			}
		})
	}
}

// TestDeclaredLengthCostsNoMemory: a body's memory grows with what has come.
func TestDeclaredLengthCostsNoMemory(t *testing.T) {
	f := newFrames(strings.NewReader(fmt.Sprintf("Content-Length: %d\r\n\r\nabc", DefaultMaxBody)), DefaultMaxBody)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := f.next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a frame of three bytes: %v", err)
	}
	runtime.ReadMemStats(&after)
	allocated := after.TotalAlloc - before.TotalAlloc
	if allocated > 4<<20 {
		t.Errorf("%d bytes allocated for three bytes", allocated)
	}
}

// TestLargeBody: a body of the full size arrives whole.
func TestLargeBody(t *testing.T) {
	const size = 2 << 20 // many reads and several steps of the body's memory
	p, _ := serve(t, newLab(), Options{MaxBody: size})
	text := strings.Repeat("0123456789", (size-200)/10)
	go p.Write([]byte(frame(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"echo","params":["%s"]}`, text))))
	r := p.next()
	var got []string
	if err := json.Unmarshal(r.Result, &got); err != nil || len(got) != 1 || got[0] != text {
		t.Errorf("%d bytes came back: %v", len(r.Result), err)
	}
}
