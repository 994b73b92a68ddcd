package cache

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
)

// The format of git's index: Documentation/gitformat-index.txt of git. Only
// the names are wanted. go-git's decoder reads the same (and is the oracle of
// the tests), but needs 300 to 600 ms and 37 MB for 100,000 entries, which a
// restart would wait for, and no bound holds what a hostile index of version 4
// makes of it: each entry of a few bytes may repeat all of a name of megabytes.

const (
	entryStat     = 40     // times, device, inode, mode, owner, size
	flagExtended  = 0x4000 // two more bytes of flags follow
	flagName      = 0x0fff // length of the name, or this value if it is longer
	longestName   = 4096   // PATH_MAX: git can't have checked out a longer one
	entryPadding  = 8      // an entry of versions 2 and 3 is filled up to a multiple
	extensionHead = 8      // four letters and a length
)

var errIndex = errors.New("the index is damaged, or of a kind that devside can't read")

// scanIndex calls visit with the name of every entry of an index of size bytes
// whose hashes are newHash's. The name is valid during the call only. What is
// not understood wholly is an error: split and sparse indexes, too, whose
// entries are not all in this file.
func scanIndex(r io.Reader, size int64, newHash func() hash.Hash, visit func(name []byte)) error {
	sum := newHash()
	body := size - int64(sum.Size())
	if body < 12 {
		return errIndex
	}
	in := bufio.NewReaderSize(io.TeeReader(io.LimitReader(r, body), sum), 64<<10)
	var head [12]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return err
	}
	version := binary.BigEndian.Uint32(head[4:])
	if !bytes.Equal(head[:4], []byte("DIRC")) || version < 2 || version > 4 {
		return fmt.Errorf("%w (version %d)", errIndex, version)
	}
	if err := scanEntries(in, version, binary.BigEndian.Uint32(head[8:]), sum.Size(), visit); err != nil {
		return err
	}
	if err := skipExtensions(in); err != nil {
		return err
	}
	return compareSum(r, sum)
}

func scanEntries(in *bufio.Reader, version, count uint32, hashSize int, visit func([]byte)) error {
	fixed := make([]byte, entryStat+hashSize+2)
	name := make([]byte, 0, longestName)
	for range count {
		if _, err := io.ReadFull(in, fixed); err != nil {
			return damaged(err)
		}
		flags := binary.BigEndian.Uint16(fixed[len(fixed)-2:])
		length := len(fixed)
		if flags&flagExtended != 0 {
			if version == 2 {
				return errIndex
			}
			if _, err := in.Discard(2); err != nil {
				return damaged(err)
			}
			length += 2
		}
		shared := 0 // version 4: what the name has in common with the one before
		if version == 4 {
			strip, err := readVarint(in)
			if err != nil || strip > len(name) {
				return errIndex
			}
			shared = len(name) - strip
		}
		var err error
		if name, err = readName(in, name[:shared]); err != nil {
			return err
		}
		if len(name) == 0 || min(len(name), flagName) != int(flags&flagName) {
			return errIndex
		}
		if version < 4 {
			length += len(name)
			if _, err := in.Discard(entryPadding - length%entryPadding - 1); err != nil { // one NUL was read
				return damaged(err)
			}
		}
		visit(name)
	}
	return nil
}

// readName appends what comes before the next NUL.
func readName(in *bufio.Reader, name []byte) ([]byte, error) {
	more, err := in.ReadSlice(0)
	if err != nil {
		return name, damaged(err)
	}
	if len(name)+len(more)-1 > longestName {
		return name, errIndex
	}
	return append(name, more[:len(more)-1]...), nil
}

// readVarint reads a number as git's decode_varint does: each further byte
// adds one before it shifts, so that no number has two forms.
func readVarint(in *bufio.Reader) (int, error) {
	n := 0
	for i := 0; ; i++ {
		c, err := in.ReadByte()
		if err != nil {
			return 0, damaged(err)
		}
		n = n<<7 | int(c&0x7f)
		if c&0x80 == 0 {
			return n, nil
		}
		n++
		if n > longestName {
			return 0, errIndex
		}
	}
}

// skipExtensions passes over what follows the entries. An extension whose
// letters begin with a capital may be ignored; any other changes what the
// entries mean.
func skipExtensions(in *bufio.Reader) error {
	var head [extensionHead]byte
	for {
		_, err := io.ReadFull(in, head[:])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return damaged(err)
		}
		if head[0] < 'A' || head[0] > 'Z' {
			return fmt.Errorf("%w (extension %q)", errIndex, head[:4])
		}
		length := int64(binary.BigEndian.Uint32(head[4:]))
		if n, err := io.CopyN(io.Discard, in, length); err != nil || n != length {
			return errIndex
		}
	}
}

// compareSum reads the checksum at the end. Zeros mean that git was told to
// write none (index.skipHash).
func compareSum(r io.Reader, sum hash.Hash) error {
	want := make([]byte, sum.Size())
	if _, err := io.ReadFull(r, want); err != nil {
		return damaged(err)
	}
	if !bytes.Equal(want, sum.Sum(nil)) && !bytes.Equal(want, make([]byte, len(want))) {
		return fmt.Errorf("%w (checksum)", errIndex)
	}
	return nil
}

// damaged makes an early end, or a name without one, a fault of the index.
func damaged(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, bufio.ErrBufferFull) {
		return errIndex
	}
	return err
}
