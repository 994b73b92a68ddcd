package sidecar

import (
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
)

// overlay is a folder as the editor shows it: open buffers in place of their
// files. The base never leaves its root (os.Root), so neither does it.
type overlay struct {
	base fs.FS
	open map[string]buffer
}

// buffer is the text of an open file, that which was opened or saved last (as
// far as the client has told, what is on disk), and the client's version of it.
type buffer struct {
	uri, text, saved string
	version          *int32 // nil: the client gave none
}

func (o overlay) Open(name string) (fs.File, error) {
	if b, ok := o.open[name]; ok {
		return newBufferFile(name, b), nil
	}
	return o.base.Open(name)
}

// Stat does not open the file: opening a named pipe would wait for its writer.
func (o overlay) Stat(name string) (fs.FileInfo, error) {
	if b, ok := o.open[name]; ok {
		return newBufferFile(name, b), nil
	}
	return fs.Stat(o.base, name)
}

// bufferFile is an open buffer as a regular file.
type bufferFile struct {
	io.Reader
	name string
	size int64
}

func newBufferFile(name string, b buffer) *bufferFile {
	return &bufferFile{name: path.Base(name), size: int64(len(b.text)), Reader: strings.NewReader(b.text)}
}

func (f *bufferFile) Stat() (fs.FileInfo, error) { return f, nil }
func (f *bufferFile) Close() error               { return nil }

func (f *bufferFile) Name() string       { return f.name }
func (f *bufferFile) Size() int64        { return f.size }
func (f *bufferFile) Mode() fs.FileMode  { return 0o600 }
func (f *bufferFile) ModTime() time.Time { return time.Time{} }
func (f *bufferFile) IsDir() bool        { return false }
func (f *bufferFile) Sys() any           { return nil }
