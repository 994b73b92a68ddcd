package wire_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/devside/devside/rpc"
	"github.com/devside/devside/rpc/wire"
	"github.com/devside/devside/supervisor/status"
)

func TestVerbsAreUniqueAndComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range wire.Verbs {
		if v.Name == "" || v.Doc == "" || v.Params == nil || v.Result == nil || strings.ContainsAny(v.Name, "/. ") {
			t.Errorf("verb %+v", v)
		}
		if seen[v.Name] {
			t.Errorf("%s is there twice", v.Name)
		}
		seen[v.Name] = true
		if reflect.TypeOf(v.Params).Kind() != reflect.Struct {
			t.Errorf("%s: params are a %T", v.Name, v.Params)
		}
	}
}

// TestParamsAreDecodedStrictly, by what the ends of a connection use.
func TestParamsAreDecodedStrictly(t *testing.T) {
	for _, v := range wire.Verbs {
		fresh := func() any { return reflect.New(reflect.TypeOf(v.Params)).Interface() }
		for _, good := range []string{``, `{}`, `{"root":"/r"}`} {
			if err := rpc.Decode(json.RawMessage(good), fresh()); err != nil {
				t.Errorf("%s: %q is refused: %v", v.Name, good, err)
			}
		}
		for _, bad := range []string{`{"nonsense":1}`, `{"root":7}`, `[]`, `"x"`, `null `, `{"root":"/r"} {}`} {
			var e *rpc.Error
			if err := rpc.Decode(json.RawMessage(bad), fresh()); !errors.As(err, &e) || e.Code != wire.CodeInvalidParams {
				t.Errorf("%s: %q is answered %v", v.Name, bad, err)
			}
		}
	}
}

// TestParamsGoThereAndBack: what a client encodes is what the hub decodes.
func TestParamsGoThereAndBack(t *testing.T) {
	no := false
	at := time.Date(2026, 11, 23, 9, 0, 0, 123_000_000, time.UTC)
	for _, in := range []any{
		wire.StatusParams{Root: wire.Root{Root: "/r"}},
		wire.StartParams{Servers: []string{"a"}, Wait: &no, WorkDoneToken: json.RawMessage(`"t"`)},
		wire.StartParams{},
		wire.LogsParams{Server: "a", Lines: 3, Since: at, Grep: "x", Run: -1, Follow: true},
		wire.UnfollowParams{Token: "t"},
		wire.TrustParams{Hash: "h"},
	} {
		b, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		out := reflect.New(reflect.TypeOf(in))
		if err := rpc.Decode(b, out.Interface()); err != nil {
			t.Errorf("%s: %v", b, err)
		} else if !reflect.DeepEqual(out.Elem().Interface(), in) {
			t.Errorf("%+v became %+v", in, out.Elem())
		}
	}
	if b, err := json.Marshal(wire.LogsParams{Server: "a"}); err != nil || string(b) != `{"server":"a"}` {
		t.Errorf("what was not asked for is there: %s, %v", b, err)
	}
}

func TestAStartWaitsUnlessAskedNotTo(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		wait *bool
		want bool
	}{{nil, true}, {&yes, true}, {&no, false}} {
		if got := (wire.StartParams{Wait: c.wait}).Waits(); got != c.want {
			t.Errorf("wait %v: %v", c.wait, got)
		}
	}
}

// fill makes every list that must be there an empty one, and gives every list
// one element where deep is set, all the way down.
func fill(v reflect.Value, deep bool) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), deep)
		}
	case reflect.Slice:
		n := 0
		if deep {
			n = 1
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(v.Index(i), deep)
		}
	}
}

// nulls lists the places of nulls in decoded JSON.
func nulls(v any, at string) []string {
	var out []string
	switch v := v.(type) {
	case nil:
		out = append(out, at)
	case []any:
		for i, e := range v {
			out = append(out, nulls(e, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case map[string]any:
		for k, e := range v {
			out = append(out, nulls(e, at+"."+k)...)
		}
	}
	return out
}

func results() []any {
	out := []any{wire.HelloResult{}, wire.LeaveResult{}, wire.DidLogParams{}, wire.DidHappenParams{}, wire.ErrorData{}}
	for _, v := range wire.Verbs {
		out = append(out, v.Result)
	}
	return out
}

// TestOnlyListsCanBeNull: whoever makes a result makes its lists (rpc/hub tests
// that it does); everything else that is absent is left out, at every depth.
func TestOnlyListsCanBeNull(t *testing.T) {
	for _, r := range results() {
		for _, deep := range []bool{false, true} {
			v := reflect.New(reflect.TypeOf(r)).Elem()
			fill(v, deep)
			b, err := json.Marshal(v.Interface())
			if err != nil {
				t.Fatalf("%T: %v", r, err)
			}
			var back any
			if err := json.Unmarshal(b, &back); err != nil {
				t.Fatal(err)
			}
			if found := nulls(back, ""); len(found) > 0 {
				t.Errorf("%T: null at %v in %s", r, found, b)
			}
		}
	}
}

// TestAnEmptyListIsThere: a client need not ask whether a list of a result
// exists.
func TestAnEmptyListIsThere(t *testing.T) {
	for want, r := range map[string]any{
		`{"servers":[]}`: wire.StartResult{Servers: []wire.ServerResult{}},
		`{"lines":[]}`:   wire.LogsResult{Lines: []wire.LogLine{}},
		`[]`:             wire.PortsResult{},
		`{"valid":false,"added":[],"changed":[],"removed":[],"restarted":[]}`: wire.ReloadResult{
			Added: []string{}, Changed: []string{}, Removed: []string{}, Restarted: []string{}},
		`{"root":"","token":"","server":"","lines":[]}`: wire.DidLogParams{Lines: []wire.LogLine{}},
		`{}`: wire.UnfollowResult{},
	} {
		if b, err := json.Marshal(r); err != nil || string(b) != want {
			t.Errorf("%T: %s, %v; want %s", r, b, err, want)
		}
	}
}

func TestTimesAreRFC3339(t *testing.T) {
	at := time.Date(2026, 11, 23, 9, 0, 0, 123456789, time.FixedZone("", 3600))
	const want = `"2026-11-23T09:00:00.123456789+01:00"`
	for _, v := range []any{
		wire.LogLine{At: at}, wire.LogsParams{Since: at}, wire.DidHappenParams{Event: status.Event{At: at}},
		status.Server{Since: at}, status.Exit{At: at}, status.Dependency{Checked: at},
	} {
		b, err := json.Marshal(v)
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%T: %s, %v", v, b, err)
		}
	}
}

// TestAnEventLiesFlatInItsParams: the root beside its members.
func TestAnEventLiesFlatInItsParams(t *testing.T) {
	b, err := json.Marshal(wire.DidHappenParams{Root: "/r", Event: status.Event{Kind: status.HappenedReady, Server: "api"}})
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil || m["root"] != "/r" || m["kind"] != "ready" || m["server"] != "api" {
		t.Errorf("%s, %v", b, err)
	}
}

func TestErrorCodesAreDifferent(t *testing.T) {
	seen := map[int]bool{}
	for _, c := range []int{
		wire.CodeParse, wire.CodeInvalidRequest, wire.CodeMethodNotFound, wire.CodeInvalidParams, wire.CodeInternal,
		wire.CodeNotInitialized, wire.CodeCancelled, wire.CodeServerCancelled, wire.CodeRequestFailed,
		wire.CodeUntrusted, wire.CodeRootRefused, wire.CodeHubLost, wire.CodeProtocolMismatch, wire.CodeConfigInvalid, wire.CodeTimeout,
	} {
		if seen[c] {
			t.Errorf("%d stands for two things", c)
		}
		seen[c] = true
	}
}
