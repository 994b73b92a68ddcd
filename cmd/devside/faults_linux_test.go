package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/devside/devside/rpc/sidecar/fakeeditor"
	"github.com/devside/devside/rpc/wire"
)

// rawSession is the built binary with the two ends of its streams, for what no
// client would send.
type rawSession struct {
	t      *testing.T
	in     io.WriteCloser
	out    *bufio.Reader
	cmd    *exec.Cmd
	ended  chan struct{}
	result json.RawMessage // of the last answer that had one
}

func startRaw(t *testing.T) *rawSession {
	t.Helper()
	cmd, in, out, ended := startStdio(t, realDir(t), homeDir(t))
	if err := out.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() }) // closed already by some
	return &rawSession{t: t, in: in, out: bufio.NewReader(out), cmd: cmd, ended: ended}
}

func (s *rawSession) send(raw string) {
	if _, err := io.WriteString(s.in, raw); err != nil {
		s.t.Logf("write: %v", err) // it has ended, which a row may want
	}
}

func framed(body string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body) }

func (s *rawSession) say(format string, args ...any) { s.send(framed(fmt.Sprintf(format, args...))) }

// answer is the next response: "id code" or "id ok". Requests and notifications
// of the server's are judged by LSP's model and passed over; io.EOF is the end.
func (s *rawSession) answer() (string, error) {
	model, err := fakeeditor.LoadModel()
	if err != nil {
		return "", err
	}
	for {
		header, err := textproto.NewReader(s.out).ReadMIMEHeader()
		if err != nil {
			return "", err
		}
		n, err := strconv.Atoi(header.Get("Content-Length"))
		if err != nil {
			return "", err
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(s.out, body); err != nil {
			return "", err
		}
		var m struct {
			JSONRPC string          `json:"jsonrpc"`
			ID      json.RawMessage `json:"id"`
			Method  string          `json:"method"`
			Params  json.RawMessage `json:"params"`
			Result  json.RawMessage `json:"result"`
			Error   *struct {
				Code int64 `json:"code"`
			} `json:"error"`
		}
		if err := json.Unmarshal(body, &m); err != nil || m.JSONRPC != "2.0" {
			return "", fmt.Errorf("%s: %v", body, err)
		}
		var faults []string
		switch {
		case m.Method != "" && m.ID == nil:
			faults = model.Notification(m.Method, m.Params)
		case m.Method != "":
			faults = model.Request(m.Method, m.Params)
		case m.Error != nil:
			return fmt.Sprintf("%s %d", m.ID, m.Error.Code), nil
		default:
			s.result = m.Result
			return string(m.ID) + " ok", nil
		}
		if len(faults) > 0 {
			return "", fmt.Errorf("%s: %q", body, faults)
		}
	}
}

func (s *rawSession) want(want string) {
	s.t.Helper()
	if got, err := s.answer(); got != want {
		s.t.Errorf("answered %q, %v; want %q", got, err, want)
	}
}

// begin initializes the session.
func (s *rawSession) begin() {
	s.t.Helper()
	s.say(`{"jsonrpc":"2.0","id":"begin","method":"initialize","params":{"processId":null,"rootUri":null,"capabilities":{}}}`)
	s.want(`"begin" ok`)
	s.say(`{"jsonrpc":"2.0","method":"initialized","params":{}}`)
}

// TestFaultsOfTheBuiltBinary sends one fault after the other to one living
// session: the rows of the table that was measured of the libraries, and those
// of clangd's protocol tests. Each has its answer, if it is to have one, and
// what comes after it is answered.
func TestFaultsOfTheBuiltBinary(t *testing.T) {
	ask := func(id string) string { return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"no/such"}`, id) }
	unknown := func(id string) string { return fmt.Sprintf("%s %d", id, wire.CodeMethodNotFound) }
	invalid := func(id string) string { return fmt.Sprintf("%s %d", id, wire.CodeInvalidRequest) }
	params := func(id string) string { return fmt.Sprintf("%s %d", id, wire.CodeInvalidParams) }
	const nothing = ""
	parse := fmt.Sprintf("null %d", wire.CodeParse)
	long := strings.Repeat("x", 20<<20)
	one := ask("1")
	s := startRaw(t)
	s.begin()
	for i, row := range []struct{ name, raw, want string }{
		// Framing.
		{"LF-only header endings", fmt.Sprintf("Content-Length: %d\n\n%s", len(one), one), unknown("1")},
		{"header name in lower case", fmt.Sprintf("content-length: %d\r\n\r\n%s", len(one), one), unknown("1")},
		{"no space behind the colon", fmt.Sprintf("Content-Length:%d\r\n\r\n%s", len(one), one), unknown("1")},
		{"Content-Type", fmt.Sprintf("Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s", len(one), one), unknown("1")},
		{"headers around the length", fmt.Sprintf("X-Test: Testing\r\nContent-Type: x\r\nContent-Length: %d\r\nContent-Type: x\r\nX-Testing: Test\r\n\r\n%s", len(one), one), unknown("1")},
		{"the length twice", fmt.Sprintf("Content-Length: %d\r\nContent-Length: %d\r\n\r\n%s", len(one), len(one), one), unknown("1")},
		{"unknown header", fmt.Sprintf("X-Y: z\r\nContent-Length: %d\r\n\r\n%s", len(one), one), unknown("1")},
		{"body over the cap", framed(`{"jsonrpc":"2.0","id":1,"method":"no/such","params":["` + long + `"]}`), invalid("null")},
		{"invalid JSON", framed(`{"jsonrpc":"2.0","id":1,"method":}`), parse},
		{"truncated JSON", framed(`{"jsonrpc":"2.0","id":1,"meth`), parse},
		{"only blanks", framed("   "), parse},
		{"trailing blanks", framed(one + " \n \n"), unknown("1")},
		{"much padding", framed(one + strings.Repeat(" ", 5000)), unknown("1")},
		{"a frame in the padding", framed(one + strings.Repeat(" ", 600) + framed(ask(`"smuggled"`))), invalid("null")},
		{"two values in a frame", framed(one + one), invalid("null")},
		{"UTF-8 BOM", framed("\xef\xbb\xbf" + one), parse},
		{"nested 20,000 deep", framed(`{"jsonrpc":"2.0","id":1,"method":"no/such","params":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`), parse},
		// Messages.
		{"empty object", framed(`{}`), invalid("null")},
		{"number", framed(`42`), invalid("null")},
		{"null", framed(`null`), invalid("null")},
		{"batch", framed(`[` + one + `]`), invalid("null")},
		{"method and result", framed(`{"jsonrpc":"2.0","id":1,"method":"no/such","result":1}`), invalid("1")},
		{"no jsonrpc", framed(`{"id":1,"method":"no/such"}`), unknown("1")},
		{"jsonrpc 1.0", framed(`{"jsonrpc":"1.0","id":1,"method":"no/such"}`), invalid("1")},
		{"id null", framed(ask("null")), invalid("null")},
		{"id -3", framed(ask("-3")), unknown("-3")},
		{"id empty", framed(ask(`""`)), unknown(`""`)},
		{"id 0", framed(ask("0")), unknown("0")},
		{"id 1.5", framed(ask("1.5")), invalid("1.5")},
		{"id 1e3", framed(ask("1e3")), invalid("1e3")},
		{"id 2^63", framed(ask("9223372036854775808")), invalid("9223372036854775808")},
		{"id true", framed(ask("true")), invalid("null")},
		{"id an object", framed(ask("{}")), invalid("null")},
		{"key twice", framed(`{"jsonrpc":"2.0","id":1,"id":2,"method":"no/such"}`), unknown("2")},
		{"invalid UTF-8", framed("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"no/such\",\"params\":{\"a\":\"\xff\"}}"), unknown("1")},
		{"answer that nobody asked for", framed(`{"jsonrpc":"2.0","id":4711,"result":1}`), nothing},
		{"answer with id null", framed(`{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}`), nothing},
		{"answer with an id that is text", framed(`{"jsonrpc":"2.0","id":"invalid","result":{"applied":true}}`), nothing},
		{"answer with a negative id", framed(`{"jsonrpc":"2.0","id":-1,"result":1}`), nothing},
		// Methods.
		{"unknown request", framed(ask("1")), unknown("1")},
		{"unknown notification", framed(`{"jsonrpc":"2.0","method":"no/such"}`), nothing},
		{"unknown $/ request", framed(`{"jsonrpc":"2.0","id":1,"method":"$/no"}`), unknown("1")},
		{"unknown $/ notification", framed(`{"jsonrpc":"2.0","method":"$/no"}`), nothing},
		{"unknown verb", framed(`{"jsonrpc":"2.0","id":1,"method":"devside/no"}`), unknown("1")},
		{"params a number", framed(`{"jsonrpc":"2.0","id":1,"method":"devside/status","params":3}`), params("1")},
		{"unknown member of params", framed(`{"jsonrpc":"2.0","id":1,"method":"devside/stop","params":{"sevrers":[]}}`), params("1")},
		{"params of another type", framed(`{"jsonrpc":"2.0","id":1,"method":"devside/stop","params":{"servers":"all"}}`), params("1")},
		{"unknown command", framed(`{"jsonrpc":"2.0","id":1,"method":"workspace/executeCommand","params":{"command":"no"}}`), params("1")},
		{"command without params", framed(`{"jsonrpc":"2.0","id":1,"method":"workspace/executeCommand"}`), params("1")},
		{"command that is an object", framed(`{"jsonrpc":"2.0","id":1,"method":"workspace/executeCommand","params":{"command":{}}}`), params("1")},
		{"no command", framed(`{"jsonrpc":"2.0","id":1,"method":"workspace/executeCommand","params":{}}`), params("1")},
		{"arguments that are no list", framed(`{"jsonrpc":"2.0","id":1,"method":"workspace/executeCommand","params":{"command":"devside.server.stop","arguments":"foo"}}`), params("1")},
		{"argument that is no object", framed(`{"jsonrpc":"2.0","id":1,"method":"workspace/executeCommand","params":{"command":"devside.server.stop","custom":"foo","arguments":[""]}}`), params("1")},
		{"unknown member of an argument", framed(`{"jsonrpc":"2.0","id":1,"method":"workspace/executeCommand","params":{"arguments":[{"sevrers":[]}],"command":"devside.server.stop"}}`), params("1")},
		{"cancel of nothing", framed(`{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":99}}`), nothing},
		{"cancel without an id", framed(`{"jsonrpc":"2.0","method":"$/cancelRequest"}`), nothing},
		// clangd's protocol tests: what is told of a document that is not open, of
		// one that is no file, and configuration that means nothing.
		{"change of what is not open", framed(`{"jsonrpc":"2.0","method":"textDocument/didChange","params":{"textDocument":{"uri":"file:///no/devside.yaml","version":2},"contentChanges":[{"text":"x"}]}}`), nothing},
		{"close of what is not open", framed(`{"jsonrpc":"2.0","method":"textDocument/didClose","params":{"textDocument":{"uri":"file:///no/devside.yaml"}}}`), nothing},
		{"open without a version", framed(`{"jsonrpc":"2.0","method":"textDocument/didOpen","params":{"textDocument":{"uri":"file:///no/devside.yaml","languageId":"yaml","text":"x"}}}`), nothing},
		{"change without changes", framed(`{"jsonrpc":"2.0","method":"textDocument/didChange","params":{"textDocument":{"uri":"file:///no/devside.yaml"}}}`), nothing},
		{"change of a part", framed(`{"jsonrpc":"2.0","method":"textDocument/didChange","params":{"textDocument":{"uri":"file:///no/devside.yaml","version":3},"contentChanges":[{"range":{"start":{"line":9,"character":9},"end":{"line":1,"character":0}},"text":"x"}]}}`), nothing},
		{"question about what is no file", framed(`{"jsonrpc":"2.0","id":1,"method":"textDocument/completion","params":{"textDocument":{"uri":"test:/main.cpp"},"position":{"line":3,"character":5}}}`), "1 ok"},
		{"question about a file of Windows", framed(`{"jsonrpc":"2.0","id":1,"method":"textDocument/hover","params":{"textDocument":{"uri":"file:///C:/shop/devside.yaml"},"position":{"line":0,"character":0}}}`), "1 ok"},
		{"question about a place before the file", framed(`{"jsonrpc":"2.0","id":1,"method":"textDocument/hover","params":{"textDocument":{"uri":"file:///no/devside.yaml"},"position":{"line":-1,"character":0}}}`), params("1")},
		{"question about nothing", framed(`{"jsonrpc":"2.0","id":1,"method":"textDocument/codeAction"}`), "1 ok"},
		{"open of what is no file", framed(`{"jsonrpc":"2.0","method":"textDocument/didOpen","params":{"textDocument":{"uri":"untitled:1","languageId":"yaml","version":1,"text":"x"}}}`), nothing},
		{"open without a document", framed(`{"jsonrpc":"2.0","method":"textDocument/didOpen","params":{}}`), nothing},
		{"configuration", framed(`{"jsonrpc":"2.0","method":"workspace/didChangeConfiguration","params":{"settings":{}}}`), nothing},
		{"configuration null", framed(`{"jsonrpc":"2.0","method":"workspace/didChangeConfiguration","params":{"settings":null}}`), nothing},
		{"trace", framed(`{"jsonrpc":"2.0","method":"$/setTrace","params":{"value":"verbose"}}`), nothing},
		{"initialize again", framed(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{}}}`), invalid("1")},
	} {
		t.Run(row.name, func(t *testing.T) {
			s.t = t
			s.send(row.raw)
			if row.want != nothing {
				s.want(row.want)
			}
			s.say(`{"jsonrpc":"2.0","id":"after %d","method":"no/such"}`, i)
			s.want(unknown(fmt.Sprintf(`"after %d"`, i)))
		})
	}
	s.t = t
	s.say(`{"jsonrpc":"2.0","id":"end","method":"shutdown","params":null}`) // as eglot says it
	s.want(`"end" ok`)
	s.say(`{"jsonrpc":"2.0","id":"late","method":"devside/status"}`)
	s.want(invalid(`"late"`))
	s.say(`{"jsonrpc":"2.0","method":"exit"}`)
	s.ends(exitOK)
}

// ends waits for the end of the session.
func (s *rawSession) ends(want int) {
	s.t.Helper()
	for {
		if _, err := s.answer(); err != nil {
			if !errors.Is(err, io.EOF) {
				s.t.Errorf("read: %v", err)
			}
			break
		}
	}
	select {
	case <-s.ended:
		if code := s.cmd.ProcessState.ExitCode(); code != want {
			s.t.Errorf("exit code %d, want %d", code, want)
		}
	case <-time.After(20 * time.Second):
		s.t.Error("it did not end")
	}
}

// TestFaultsThatEndTheBuiltBinary: after these the next message can't be found,
// or the session is over by the life cycle.
func TestFaultsThatEndTheBuiltBinary(t *testing.T) {
	parse, over := fmt.Sprintf("null %d", wire.CodeParse), fmt.Sprintf("null %d", wire.CodeInvalidRequest)
	for _, row := range []struct {
		name, raw string
		want      string // the answer before the end; empty: none
		code      int
	}{
		{"negative length", "Content-Length: -5\r\n\r\n", parse, exitHub},
		{"length of 33 bits", "Content-Length: 4294967296\r\n\r\n", parse, exitHub},
		{"length of 32 bits", "Content-Length: 2147483648\r\n\r\n", over, exitHub},
		{"length that ends within the body", "Content-Length: 10\r\n\r\n" + `{"jsonrpc":"2.0","id":4,"method":"x"}` + "\r\n\r\n", parse, exitHub},
		{"length no number", "Content-Length: five\r\n\r\n", parse, exitHub},
		{"no length", "Content-Type: x\r\n\r\n{}", parse, exitHub},
		{"length 0", "Content-Length: 0\r\n\r\n", parse, exitHub},
		{"two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n\r\n123456", parse, exitHub},
		{"JSON without a frame", `{"jsonrpc":"2.0","id":1,"method":"x"}` + "\n\n", parse, exitHub},
		{"header line without an end", "X: " + strings.Repeat("y", 1<<20), parse, exitHub},
		{"header lines without number", strings.Repeat("X: y\r\n", 10_000), parse, exitHub},
		{"length of 4 GB", "Content-Length: 4294967295\r\n\r\n" + strings.Repeat("x", 1000), over, exitHub},
		{"exit without shutdown", framed(`{"jsonrpc":"2.0","method":"exit"}`), "", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := startRaw(t)
			s.begin()
			s.send(row.raw)
			if row.want != "" {
				s.want(row.want)
			}
			s.ends(row.code)
		})
	}
	t.Run("the end of its input", func(t *testing.T) {
		s := startRaw(t)
		s.begin()
		s.in.Close()
		s.ends(1)
	})
	t.Run("the end of its input within a body", func(t *testing.T) {
		s := startRaw(t)
		s.begin()
		s.send("Content-Length: 1024\r\n\r\n{")
		s.in.Close()
		s.ends(1)
	})
	t.Run("an id that is under way", func(t *testing.T) {
		s := startRaw(t)
		s.begin()
		status := framed(`{"jsonrpc":"2.0","id":7,"method":"devside/status"}`) // a hub has to be started for it
		s.send(status + status)
		s.want(fmt.Sprintf("7 %d", wire.CodeInvalidRequest))
		s.want("7 ok")
		s.send(status) // the id is free again
		s.want("7 ok")
		s.say(`{"jsonrpc":"2.0","id":8,"method":"shutdown"}`)
		s.want("8 ok")
		s.say(`{"jsonrpc":"2.0","method":"exit"}`)
		s.ends(0)
	})
	t.Run("before initialize", func(t *testing.T) {
		s := startRaw(t)
		s.say(`{"jsonrpc":"2.0","id":1,"method":"devside/status"}`)
		s.want(fmt.Sprintf("1 %d", wire.CodeNotInitialized))
		s.say(`{"jsonrpc":"2.0","method":"textDocument/didOpen","params":{}}`)
		s.say(`{"jsonrpc":"2.0","id":2,"method":"initialize","params":3}`)
		s.want(fmt.Sprintf("2 %d", wire.CodeInvalidParams))
		s.begin()
		s.say(`{"jsonrpc":"2.0","id":3,"method":"shutdown"}`)
		s.want("3 ok")
		s.say(`{"jsonrpc":"2.0","method":"exit"}`)
		s.ends(0)
	})
}

// TestInitializeOfTheBuiltBinary: whatever an editor says of itself, it is
// answered, with positions in UTF-16.
func TestInitializeOfTheBuiltBinary(t *testing.T) {
	for name, params := range map[string]string{
		"the least":            `{"processId":null,"rootUri":null,"capabilities":{}}`,
		"a folder by its path": `{"processId":123,"rootPath":"clangd","capabilities":{},"trace":"off"}`,
		"no capabilities":      `{"processId":1}`,
		"empty":                `{}`,
		"nulls":                `{"processId":null,"rootPath":null,"rootUri":null,"workspaceFolders":null,"capabilities":null,"initializationOptions":null,"clientInfo":null,"trace":null}`,
		"a pid that is text":   `{"processId":"12","rootUri":"","capabilities":{}}`,
		"another world's root": `{"processId":1,"rootUri":"vscode-remote://x/y","capabilities":{}}`,
		"UTF-8 preferred":      `{"processId":1,"rootUri":null,"capabilities":{"general":{"positionEncodings":["utf-8","utf-16"]}}}`,
		"odd capabilities":     `{"processId":1,"rootUri":null,"capabilities":{"window":7,"workspace":{"codeLens":true},"textDocument":{"hover":[],"completion":{"completionItem":3}}}}`,
		"unknown members":      `{"processId":1,"rootUri":null,"capabilities":{"future":{"a":[1]}},"future":true,"workDoneToken":"t"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startRaw(t)
			s.say(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":%s}`, params)
			s.want("1 ok")
			model, err := fakeeditor.LoadModel()
			if err != nil {
				t.Fatal(err)
			}
			if faults := model.Result("initialize", s.result); len(faults) > 0 {
				t.Errorf("%s: %q", s.result, faults)
			}
			var r struct {
				Capabilities struct{ PositionEncoding string }
			}
			if err := json.Unmarshal(s.result, &r); err != nil || r.Capabilities.PositionEncoding != "" && r.Capabilities.PositionEncoding != "utf-16" {
				t.Errorf("%s: %v", s.result, err)
			}
			s.say(`{"jsonrpc":"2.0","method":"initialized"}`)
			s.say(`{"jsonrpc":"2.0","id":2,"method":"shutdown","params":[]}`)
			s.want("2 ok")
			s.say(`{"jsonrpc":"2.0","method":"exit"}`)
			s.ends(exitOK)
		})
	}
}
