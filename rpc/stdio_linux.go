package rpc

import "golang.org/x/sys/unix"

// redirect makes descriptor to the same open file as from. (dup2 does not
// exist on every Linux.)
func redirect(from, to int) error { return unix.Dup3(from, to, 0) }
