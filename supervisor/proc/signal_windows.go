package proc

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
)

// signals are those that Windows has names for in Go.
var signals = map[string]syscall.Signal{
	"SIGHUP": syscall.SIGHUP, "SIGINT": syscall.SIGINT, "SIGQUIT": syscall.SIGQUIT, "SIGABRT": syscall.SIGABRT,
	"SIGKILL": syscall.SIGKILL, "SIGSEGV": syscall.SIGSEGV, "SIGPIPE": syscall.SIGPIPE, "SIGTERM": syscall.SIGTERM,
}

// SignalName returns "SIGTERM" for 15, "signal 40" for one without a name, and
// nothing for 0.
func SignalName(s syscall.Signal) string {
	if s == 0 {
		return ""
	}
	for name, n := range signals {
		if n == s {
			return name
		}
	}
	return "signal " + strconv.Itoa(int(s))
}

// ParseSignal understands "SIGTERM", "TERM" and "term".
func ParseSignal(name string) (syscall.Signal, error) {
	upper := strings.ToUpper(strings.TrimSpace(name))
	if !strings.HasPrefix(upper, "SIG") {
		upper = "SIG" + upper
	}
	if s, ok := signals[upper]; ok {
		return s, nil
	}
	return 0, fmt.Errorf("parse signal %q: no such signal", name)
}
