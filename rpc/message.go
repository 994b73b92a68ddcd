package rpc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/devside/devside/rpc/wire"
)

// maxName bounds methods and ids, which are kept, copied and logged. Real ones
// have under 100 bytes.
const maxName = 1 << 10

// kind is what a message is.
type kind string

const (
	aRequest      kind = "request"
	aNotification kind = "notification"
	aResponse     kind = "response"
)

// message is one checked message. Its slices point into the frame's body.
type message struct {
	kind   kind
	id     requestID
	method []byte // as it stands in JSON, with its quotes
	params json.RawMessage
	result json.RawMessage
	err    json.RawMessage
}

// requestID is the id of a request: raw is what an answer echoes, byte for
// byte, key is what two ids that mean the same have in common.
type requestID struct {
	raw json.RawMessage
	key idKey
}

type idKey struct {
	number int64
	text   string
	isText bool
}

// fault says what is wrong with a message or a frame, and what the peer is
// told. An answer to an answer could go back and forth for ever, so a bad
// response is dropped.
type fault struct {
	code   int64
	text   string
	id     json.RawMessage // echoed; nil: null
	silent bool            // nothing is answered
	fatal  bool            // what follows can't be read: the connection ends
}

func (f *fault) Error() string { return f.text }

func invalid(id json.RawMessage, format string, args ...any) *fault {
	return &fault{code: wire.CodeInvalidRequest, text: fmt.Sprintf(format, args...), id: id}
}

// parse says what the body of one frame is. It is pure.
func parse(body []byte) (message, *fault) {
	s := scanner{b: body}
	switch s.peek() {
	case '{':
	case '[':
		if err := s.value(0); err != nil {
			return message{}, &fault{code: wire.CodeParse, text: "parse message: " + err.Error()}
		}
		return message{}, invalid(nil, "a batch is not supported: send one message a frame")
	default:
		if err := s.value(0); err != nil {
			return message{}, &fault{code: wire.CodeParse, text: "parse message: " + err.Error()}
		}
		return message{}, invalid(nil, "a message is an object")
	}

	var m message
	var version, id []byte
	err := s.object(1, func(key, value []byte) {
		if bytes.IndexByte(key, '\\') >= 0 {
			key = strconv.AppendQuote(nil, unquote(key))
		}
		switch string(key) {
		case `"jsonrpc"`:
			version = value
		case `"id"`:
			id = value
		case `"method"`:
			m.method = value
		case `"params"`:
			m.params = value
		case `"result"`:
			m.result = value
		case `"error"`:
			m.err = value
		}
	})
	if err != nil {
		return message{}, &fault{code: wire.CodeParse, text: "parse message: " + err.Error()}
	}
	if s.space(); s.i < len(body) {
		return message{}, invalid(nil, "data after the message: one message a frame")
	}
	return classify(m, version, id)
}

// classify tells requests, notifications and responses apart. m holds the raw
// members, of which nothing is known but that they are JSON.
func classify(m message, version, id []byte) (message, *fault) {
	answers := m.result != nil || m.err != nil
	if m.method == nil && answers {
		m.kind = aResponse
		key, err := parseID(id)
		if err != nil {
			return m, &fault{text: "drop response: " + err.Error(), silent: true}
		}
		m.id = requestID{id, key}
		if m.err != nil && isNull(m.err) {
			m.err = nil // some peers always send both members
		}
		if m.err == nil && m.result == nil {
			m.result = json.RawMessage("null")
		}
		return m, nil
	}

	key, idErr := parseID(id)
	echo := json.RawMessage(id)
	if idErr != nil && (len(id) == 0 || id[0] != '-' && (id[0] < '0' || id[0] > '9')) {
		echo = nil // a number is echoed even when it can't be an id, so that its sender finds it
	}
	switch {
	case m.method == nil:
		return m, invalid(echo, "a message has a method, a result or an error")
	case answers:
		return m, invalid(echo, "a message has a method or a result, never both")
	case m.method[0] != '"':
		return m, invalid(echo, "method: want a string")
	case len(m.method) > maxName:
		return m, invalid(echo, "method: at most %d bytes", maxName)
	case version != nil && string(version) != `"2.0"`:
		return m, invalid(echo, `jsonrpc: want "2.0"`)
	case id != nil && idErr != nil:
		return m, invalid(echo, "%s", idErr.Error())
	}
	m.kind, m.id = aNotification, requestID{id, key}
	if id != nil {
		m.kind = aRequest
	}
	if m.params != nil && isNull(m.params) {
		m.params = nil // eglot sends null for shutdown
	}
	if m.params != nil && m.params[0] != '{' && m.params[0] != '[' {
		return m, &fault{code: wire.CodeInvalidParams, text: "params: want an object", id: echo, silent: id == nil}
	}
	return m, nil
}

// parseID takes strings and integers, the two that LSP knows.
func parseID(raw []byte) (idKey, error) {
	if len(raw) == 0 {
		return idKey{}, fmt.Errorf("id: missing")
	}
	if raw[0] == '"' {
		if len(raw) > maxName {
			return idKey{}, fmt.Errorf("id: at most %d bytes", maxName)
		}
		return idKey{text: unquote(raw), isText: true}, nil
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return idKey{}, fmt.Errorf("id: want a string or an integer of 64 bits")
	}
	return idKey{number: n}, nil
}

// cancelledID reads the params of $/cancelRequest.
func cancelledID(params json.RawMessage) (idKey, bool) {
	s := scanner{b: params}
	if s.peek() != '{' {
		return idKey{}, false
	}
	var id []byte
	if err := s.object(1, func(key, value []byte) {
		if string(key) == `"id"` {
			id = value
		}
	}); err != nil {
		return idKey{}, false
	}
	key, err := parseID(id)
	return key, err == nil
}
