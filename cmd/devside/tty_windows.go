package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// isTerminal reports whether a person sees this file. A console is told to
// understand escape sequences on the way: older ones print them as they are.
func isTerminal(f *os.File) bool {
	h := windows.Handle(f.Fd())
	var mode uint32
	if windows.GetConsoleMode(h, &mode) != nil {
		return false
	}
	if f == os.Stdin {
		return true
	}
	return windows.SetConsoleMode(h, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) == nil
}
