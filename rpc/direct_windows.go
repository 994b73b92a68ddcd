package rpc

import "io"

// direct does not exist here: a handle can't be asked whether it has room.
type direct struct{}

func newDirect(io.ReadWriteCloser) *direct { return nil }

func (*direct) try([]byte) int { return 0 }
