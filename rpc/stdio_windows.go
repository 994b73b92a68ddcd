package rpc

import (
	"io"
	"os"
)

// Stdio takes stdin and stdout for the protocol. What is printed to os.Stdout
// by mistake goes to stderr. Handles have no deadlines here: a peer that does
// not read is found by a timer.
func Stdio() (io.ReadWriteCloser, error) {
	s := stdio{os.Stdin, os.Stdout}
	os.Stdout = os.Stderr
	return s, nil
}
