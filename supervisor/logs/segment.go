package logs

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
)

// The files of a server "api": api.log is what it prints now, api.index says
// whence each part of it came. When it is full it becomes api@000001.log with
// api@000001.index, and later api@000001.log.gz. No server's name has an @.
const (
	logSuffix        = ".log"
	indexSuffix      = ".index"
	compressedSuffix = ".log.gz"
	temporarySuffix  = ".log.gz.tmp"
)

var fileNames = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9_.-]{0,63})(?:@(\d{6,12}))?(\.log|\.index|\.log\.gz|\.log\.gz\.tmp)$`)

// nameOf takes a file's name apart; seq 0 is the current file. What is not
// ours is not ok.
func nameOf(file string) (server string, seq int, suffix string, ok bool) {
	m := fileNames.FindStringSubmatch(file)
	if m == nil {
		return "", 0, "", false
	}
	if m[2] != "" {
		n, err := strconv.Atoi(m[2])
		if err != nil || n == 0 {
			return "", 0, "", false
		}
		seq = n
	}
	return m[1], seq, m[3], true
}

// stem is a file's name without its suffix.
func stem(server string, seq int) string {
	if seq == 0 {
		return server
	}
	return fmt.Sprintf("%s@%06d", server, seq)
}

// The index is a header (magic, and the position of the file's first byte in
// all that the server has printed, little-endian) and one record after the
// other:
//
//	flags   1 byte: stream (2 bits), then the bits below
//	length  uvarint: bytes in the file
//	time    varint: nanoseconds since the record before (the first: since 1970)
//	run     uvarint, with runFlag: otherwise that of the record before
//	lost    uvarint, with lostFlag: bytes printed before it that are in no file
//
// A record is some 8 bytes, and most stand for more than one line.
const (
	indexMagic       = "DSLOGIX1"
	indexHeader      = len(indexMagic) + 8
	headFlag    byte = 1 << 2 // begins a line of its stream
	runFlag     byte = 1 << 3
	lostFlag    byte = 1 << 4
	// asideFlag marks what devside wrote into the file only. It takes no place
	// in the server's output.
	asideFlag byte = 1 << 5
)

// streams are what a record's stream stands for.
var streams = [...]string{Stdout, Stderr, Devside}

func streamNumber(name string) uint8 { return uint8(max(slices.Index(streams[:], name), 0)) }

// record says of a part of a file whence it came.
type record struct {
	n      int64
	at     int64 // Unix nanoseconds
	run    int
	lost   int64
	stream uint8
	head   bool
	aside  bool
}

// indexEncoder writes the records of one index.
type indexEncoder struct {
	at  int64
	run int
}

func appendHeader(buf []byte, start int64) []byte {
	return binary.LittleEndian.AppendUint64(append(buf, indexMagic...), uint64(start))
}

func (e *indexEncoder) append(buf []byte, r record) []byte {
	flags := r.stream & 3
	if r.head {
		flags |= headFlag
	}
	if r.aside {
		flags |= asideFlag
	}
	if r.run != e.run {
		flags |= runFlag
	}
	if r.lost > 0 {
		flags |= lostFlag
	}
	buf = append(buf, flags)
	buf = binary.AppendUvarint(buf, uint64(r.n))
	buf = binary.AppendVarint(buf, r.at-e.at)
	if flags&runFlag != 0 {
		buf = binary.AppendUvarint(buf, uint64(r.run))
	}
	if flags&lostFlag != 0 {
		buf = binary.AppendUvarint(buf, uint64(r.lost))
	}
	e.at, e.run = r.at, r.run
	return buf
}

var errNoIndex = errors.New("it is no index")

// indexDecoder reads an index. A torn end, as a crash leaves it, is the end.
type indexDecoder struct {
	indexEncoder       // as whoever goes on writing needs it
	start        int64 // position of the file's first byte
	size         int64 // bytes of whole records read, with the header
	r            *bufio.Reader
	read         int64
}

func decodeIndex(r io.Reader) (*indexDecoder, error) {
	d := &indexDecoder{r: bufio.NewReader(r)}
	header := make([]byte, indexHeader)
	if _, err := io.ReadFull(d.r, header); err != nil || string(header[:len(indexMagic)]) != indexMagic {
		return nil, errNoIndex
	}
	d.start = int64(binary.LittleEndian.Uint64(header[len(indexMagic):]))
	d.size, d.read = int64(indexHeader), int64(indexHeader)
	if d.start < 0 {
		return nil, errNoIndex
	}
	return d, nil
}

// ReadByte counts.
func (d *indexDecoder) ReadByte() (byte, error) {
	b, err := d.r.ReadByte()
	if err == nil {
		d.read++
	}
	return b, err
}

// next returns the next record; not ok at the end, or where the index is
// damaged.
func (d *indexDecoder) next() (r record, ok bool) {
	flags, err := d.ReadByte()
	if err != nil {
		return r, false
	}
	n, err := binary.ReadUvarint(d)
	if err != nil {
		return r, false
	}
	delta, err := binary.ReadVarint(d)
	if err != nil {
		return r, false
	}
	run, lost := uint64(d.run), uint64(0)
	if flags&runFlag != 0 {
		if run, err = binary.ReadUvarint(d); err != nil {
			return r, false
		}
	}
	if flags&lostFlag != 0 {
		if lost, err = binary.ReadUvarint(d); err != nil {
			return r, false
		}
	}
	const most = 1 << 50 // what no honest record has
	stream := flags & 3
	if n > most || run > 1<<31 || lost > most || int(stream) >= len(streams) {
		return r, false
	}
	d.at, d.run, d.size = d.at+delta, int(run), d.read
	return record{
		n: int64(n), at: d.at, run: d.run, lost: int64(lost), stream: stream,
		head: flags&headFlag != 0, aside: flags&asideFlag != 0,
	}, true
}
