package rpc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/devside/devside/rpc/wire"
)

const (
	// readBuffer is one large read of a socket: a pipelining peer's requests
	// come in by the hundred.
	readBuffer = 64 << 10

	// maxHeaderLine bounds one header line: the two that exist have under 100
	// bytes, and a peer that sends no line end must not fill the memory.
	maxHeaderLine = 8 << 10

	// maxHeaders bounds their number for the same reason.
	maxHeaders = 32

	// discardFactor times MaxBody is the largest body that is read and thrown
	// away to keep the connection; beyond it the peer is not worth the reading.
	discardFactor = 4

	// firstAlloc is what a body gets before its bytes have come: a declared
	// length alone costs no memory.
	firstAlloc = 64 << 10
)

var contentLength = []byte("Content-Length")

// frames reads LSP frames. It never reads past a frame's declared end, and
// never holds more than maxBody of one.
type frames struct {
	r       *bufio.Reader
	maxBody int
}

func newFrames(r io.Reader, maxBody int) *frames {
	return &frames{r: bufio.NewReaderSize(r, readBuffer), maxBody: maxBody}
}

// next returns the body of the next frame. Its error is a *fault where the
// peer is to be told; io.EOF is an end between two frames.
func (f *frames) next() ([]byte, error) {
	n, err := f.header()
	if err != nil {
		return nil, err
	}
	if n > int64(f.maxBody) {
		return nil, f.discard(n)
	}
	body, err := f.body(int(n))
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // the frame was promised
	}
	return body, err
}

// header reads header lines up to the empty one and returns Content-Length.
func (f *frames) header() (int64, error) {
	length := int64(-1)
	for count := 0; ; count++ {
		line, err := f.line(count == 0)
		if err != nil {
			return 0, err
		}
		if len(line) == 0 {
			break
		}
		if count == maxHeaders {
			return 0, unreadable("more than %d header lines", maxHeaders)
		}
		name, value, _ := bytes.Cut(line, []byte{':'})
		if !bytes.EqualFold(bytes.TrimSpace(name), contentLength) {
			continue
		}
		// ParseUint takes no sign. 32 bits is what a length can have anywhere.
		n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 32)
		if err != nil || n == 0 {
			return 0, unreadable("Content-Length: want a number from 1 to 4294967295")
		}
		if length >= 0 && length != int64(n) {
			return 0, unreadable("Content-Length given twice") // two readers would see two different messages
		}
		length = int64(n)
	}
	if length < 0 {
		return 0, unreadable("no Content-Length header")
	}
	return length, nil
}

// line reads one line without its end, which is \r\n or \n. What it returns is
// good until the next read.
func (f *frames) line(first bool) ([]byte, error) {
	for {
		have, _ := f.r.Peek(f.r.Buffered())
		end := bytes.IndexByte(have, '\n')
		if end > maxHeaderLine || end < 0 && len(have) > maxHeaderLine {
			return nil, unreadable("header line over %d bytes", maxHeaderLine)
		}
		if end >= 0 {
			f.r.Discard(end + 1) // can't fail: the bytes are in the buffer
			return bytes.TrimSuffix(have[:end], []byte{'\r'}), nil
		}
		if _, err := f.r.Peek(len(have) + 1); err != nil {
			if errors.Is(err, io.EOF) && (!first || len(have) > 0) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// body reads exactly n bytes. The memory grows with what has come.
func (f *frames) body(n int) ([]byte, error) {
	b := make([]byte, 0, min(n, firstAlloc))
	for {
		part := b[len(b):min(cap(b), n)]
		read, err := io.ReadFull(f.r, part)
		b = b[:len(b)+read]
		if err != nil {
			return nil, err
		}
		if len(b) == n {
			return b, nil
		}
		grown := make([]byte, len(b), min(n, 4*cap(b)))
		copy(grown, b)
		b = grown
	}
}

// discard reads a body that is too large and throws it away, so that the
// messages after it can still be read.
func (f *frames) discard(n int64) error {
	too := &fault{code: wire.CodeInvalidRequest, text: fmt.Sprintf("message of %d bytes: at most %d are taken", n, f.maxBody)}
	if n > discardFactor*int64(f.maxBody) {
		too.fatal = true
		return too
	}
	if _, err := io.CopyN(io.Discard, f.r, n); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return too
}

func unreadable(format string, args ...any) *fault {
	return &fault{code: wire.CodeParse, text: "read frame: " + fmt.Sprintf(format, args...), fatal: true}
}
