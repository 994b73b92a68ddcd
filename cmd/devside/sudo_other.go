//go:build !linux

package main

import "errors"

// becomeUser is for Linux, as starting servers is.
func becomeUser(account, []string, func()) error {
	return errors.New("on this system devside can't become the user who called sudo")
}
