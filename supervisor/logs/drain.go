package logs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const (
	// quietRead is what a stream keeps for reading while its server prints
	// little, so that 400 pipes of 200 idle servers hold 400 KiB, not 25 MiB.
	quietRead = 1 << 10
	// floodRead is what it borrows while a read fills that: the size of a pipe.
	floodRead = 64 << 10
)

var floodBuffers = sync.Pool{New: func() any { return new([floodRead]byte) }}

// Drain reads a server's pipe into the log until its end, and closes it. It
// never waits for anybody but the pipe, the log's sink and onBlock, which may be
// nil and gets each block after the log, valid during the call only.
//
// The pipe ends when all that hold its write end have closed it, which may be
// long after the server's exit. A caller that will not wait for that sets a read
// deadline on r, or closes it: both count as the end.
func Drain(r *os.File, l *Log, stream string, run int, now func() time.Time, onBlock func([]byte)) error {
	defer r.Close()
	quiet := make([]byte, quietRead)
	var flood *[floodRead]byte
	defer func() {
		if flood != nil {
			floodBuffers.Put(flood)
		}
	}()
	for {
		buf := quiet
		if flood != nil {
			buf = flood[:]
		}
		n, err := r.Read(buf)
		if n > 0 {
			l.Write(stream, run, now(), buf[:n])
			if onBlock != nil {
				onBlock(buf[:n])
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, os.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		default:
			return fmt.Errorf("read %s: %w", stream, err)
		}
		switch {
		case flood == nil && n == len(quiet):
			flood = floodBuffers.Get().(*[floodRead]byte)
		case flood != nil && n < len(quiet):
			floodBuffers.Put(flood)
			flood = nil
		}
	}
}
