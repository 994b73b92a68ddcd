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
	// growAfter is how much must come at full speed before the pipe is made
	// larger: the system lends a user 64 MiB for pipes, and who has more gets
	// only small ones from then on.
	growAfter = 1 << 20
	grownPipe = 1 << 20
	// grownRead is what a stream with a large pipe borrows: a fifth of the
	// processor time goes.
	grownRead = 256 << 10
	// mostGrown bounds the pipes that are large at once, far below what the
	// system lends.
	mostGrown = 8
)

var (
	floodBuffers = sync.Pool{New: func() any { return new([floodRead]byte) }}
	grownBuffers = sync.Pool{New: func() any { return new([grownRead]byte) }}
	grownPipes   = make(chan struct{}, mostGrown)
)

// Drain reads a server's pipe into the log until its end, and closes it. It
// never waits for anybody but the pipe and, a second at most, the disk. secrets
// may be nil.
//
// The pipe ends when all that hold its write end have closed it, which may be
// long after the server's exit. A caller that will not wait for that sets a read
// deadline on r, or closes it: both count as the end.
func Drain(r *os.File, l *Log, stream string, run int, secrets *Secrets, now func() time.Time) error {
	d := &drain{pace: pace{pipe: r, quiet: make([]byte, quietRead)}, log: l, ended: make(chan error, 1)}
	d.put = func(b []byte) {
		if l.file != nil {
			l.file.room()
		}
		l.put(stream, run, now(), b)
	}
	if secrets != nil {
		d.hide = secrets.hider()
	}
	d.read()
	if err := <-d.ended; err != nil {
		return fmt.Errorf("read %s: %w", stream, err)
	}
	return nil
}

// drain is one pipe on its way into a log. One goroutine at a time has it: the
// one that reads also writes the file, since handing blocks to another costs
// more than all the rest. When the disk does not take a block in time, another
// goroutine reads on, and the one that hangs in the write ends after it.
type drain struct {
	pace
	log   *Log
	put   func([]byte)
	hide  *hider // nil: there are no secrets
	ended chan error
}

// read reads until the end, or until somebody else does.
func (d *drain) read() {
	for {
		n, err := d.pipe.Read(d.buffer())
		if n > 0 {
			if d.hide == nil {
				d.put(d.buffer()[:n])
			} else {
				d.hide.write(d.buffer()[:n], d.put)
			}
			d.was(n)
			if d.log.file != nil && !d.log.file.write(func() { go d.read() }) { // ends with the pipe; Drain waits for ended
				return
			}
		}
		if err != nil {
			d.end(err)
			return
		}
	}
}

func (d *drain) end(err error) {
	if d.hide != nil {
		d.hide.end(d.put)
	}
	d.pace.end()
	d.pipe.Close() //nolint:errcheck // read to its end
	if d.log.file != nil {
		d.log.file.writeSoon()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	d.ended <- err
}

// pace gives a stream the memory that its speed is worth.
type pace struct {
	pipe  *os.File
	quiet []byte
	flood *[floodRead]byte
	huge  *[grownRead]byte // while the pipe is large
	full  int              // bytes that came in reads that filled the buffer, one after the other
	grown bool             // the pipe is large
	tried bool             // it could not be made so
}

func (p *pace) buffer() []byte {
	switch {
	case p.huge != nil:
		return p.huge[:]
	case p.flood != nil:
		return p.flood[:]
	}
	return p.quiet
}

// was takes note of how much a read brought.
func (p *pace) was(n int) {
	switch {
	case n < len(p.quiet):
		p.calm()
	case p.flood == nil:
		p.flood = floodBuffers.Get().(*[floodRead]byte)
	case !p.grown && !p.tried:
		if p.full += n; p.full >= growAfter {
			p.grow()
		}
	}
}

func (p *pace) grow() {
	select {
	case grownPipes <- struct{}{}:
	default:
		p.full = 0 // others have them; again later
		return
	}
	if p.grown = resizePipe(p.pipe, grownPipe); !p.grown {
		p.tried = true
		<-grownPipes
		return
	}
	p.huge = grownBuffers.Get().(*[grownRead]byte)
}

// calm gives back what a flood needed. A pipe that holds more than would fit
// stays large until the next quiet read.
func (p *pace) calm() {
	if p.flood != nil {
		floodBuffers.Put(p.flood)
		p.flood = nil
	}
	if p.huge != nil {
		grownBuffers.Put(p.huge)
		p.huge = nil
	}
	p.full = 0
	if p.grown && resizePipe(p.pipe, floodRead) {
		p.grown = false
		<-grownPipes
	}
}

// end is calm for a pipe that is about to be closed.
func (p *pace) end() {
	p.calm()
	if p.grown {
		p.grown = false
		<-grownPipes
	}
}
