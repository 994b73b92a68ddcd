package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/devside/devside/rpc/wire"
)

// ErrClosed says that the connection has ended. It is what Call and Notify
// return then, and the cause of a Work's context.
var ErrClosed = errors.New("connection closed")

// ErrCancelled is the cause of a Work's context when the peer has cancelled
// the request.
var ErrCancelled = errors.New("request cancelled")

// Error is an error with a code of the protocol. A handler answers with it; a
// Call that the peer answered with an error returns it, Data then being a
// json.RawMessage, or nil if there was none.
type Error struct {
	Code    int64
	Message string
	Data    any
}

func (e *Error) Error() string { return e.Message }

// Errorf makes an Error. data is usually a wire.ErrorData.
func Errorf(code int64, data any, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Data: data}
}

// toError maps what a handler or its work returned to what the peer is told.
func toError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e) && e != nil:
		return e
	case errors.Is(err, context.Canceled), errors.Is(err, ErrCancelled):
		return Errorf(wire.CodeCancelled, wire.ErrorData{Code: "cancelled"}, "request cancelled")
	case errors.Is(err, context.DeadlineExceeded):
		return Errorf(wire.CodeTimeout, wire.ErrorData{Code: "timeout"}, "%s", err)
	}
	return Errorf(wire.CodeInternal, wire.ErrorData{Code: "internal"}, "%s", err)
}

// errorObject is Error as it stands in JSON.
type errorObject struct {
	Code    int64           `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// object encodes e. Data that can't be encoded is left out: the code and the
// message are worth more than nothing.
func (e *Error) object() errorObject {
	o := errorObject{Code: e.Code, Message: e.Message}
	if e.Data != nil {
		if data, err := json.Marshal(e.Data); err == nil {
			o.Data = data
		}
	}
	return o
}

// peerError reads the error member of a response.
func peerError(raw json.RawMessage) *Error {
	var o errorObject
	if err := json.Unmarshal(raw, &o); err != nil {
		return Errorf(wire.CodeInternal, nil, "the peer answered with an error that can't be read")
	}
	e := &Error{Code: o.Code, Message: o.Message}
	if o.Data != nil {
		e.Data = o.Data
	}
	return e
}

// Decode reads the params of a request into v, a pointer to a struct. It is
// strict: a member that v does not have, a wrong type, a list or a scalar in
// place of the object are an *Error with code -32602 that names the member.
// Absent params are an empty object.
func Decode(params json.RawMessage, v any) error {
	if len(params) == 0 {
		return nil
	}
	s := scanner{b: params}
	if s.peek() != '{' {
		return invalidParams("params: want an object")
	}
	err := decodeStrict(params, v)
	if err == nil {
		return nil
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return invalidParams("params.%s: want %s, got %s", wrong.Field, wrong.Type, wrong.Value)
	}
	return invalidParams("params%s: %s", culprit(params, v), strings.TrimPrefix(err.Error(), "json: "))
}

func invalidParams(format string, args ...any) *Error {
	return Errorf(wire.CodeInvalidParams, wire.ErrorData{Code: "invalid-params"}, format, args...)
}

func decodeStrict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data after the object")
	}
	return nil
}

// culprit names the member that can't be decoded, as ".name". The decoder's
// own errors do not all say: a time that is none, for one. So each member is
// tried alone, which costs something only where the answer is an error anyway.
func culprit(params json.RawMessage, v any) string {
	s := scanner{b: params}
	s.space()
	name := ""
	s.object(1, func(key, value []byte) {
		if name != "" {
			return
		}
		alone := append(append(append([]byte{'{'}, key...), ':'), value...)
		if decodeStrict(append(alone, '}'), v) != nil {
			name = "." + unquote(key)
		}
	})
	return name
}
