package sidecar

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// maxAncestors bounds the walk to an ancestor: an editor is rarely more than
// five processes away.
const maxAncestors = 64

// identify finds pid among our ancestors and tells it from a later process with
// the same number by its start time. A zombie is gone.
func identify(pid int) (string, bool) {
	at := os.Getppid()
	for range maxAncestors {
		parent, started, ok := readStat(at)
		if !ok || at <= 1 && pid != at {
			return "", false
		}
		if at == pid {
			return fmt.Sprintf("%d@%s", pid, started), true
		}
		at = parent
	}
	return "", false
}

// readStat reads /proc/PID/stat. Its second field is the name in brackets,
// which may itself hold brackets and blanks, so the rest is counted from the
// last one.
func readStat(pid int) (parent int, started string, ok bool) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, "", false
	}
	_, rest, found := strings.Cut(string(raw[strings.LastIndexByte(string(raw), ')')+1:]), " ")
	fields := strings.Fields(rest)
	// From here the state is field 0, the parent 1, the start time 19.
	if !found || len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return 0, "", false
	}
	parent, err = strconv.Atoi(fields[1])
	return parent, fields[19], err == nil
}
