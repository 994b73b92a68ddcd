package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// oomKills reads oom_kill of proc(5)'s vmstat, which anybody may read: since
// Linux 4.13 it counts the kills of the whole system and of memory cgroups.
func oomKills() (uint64, error) {
	text, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return 0, fmt.Errorf("count OOM kills: %w", err)
	}
	_, rest, found := bytes.Cut(text, []byte("\noom_kill "))
	if !found {
		return 0, errors.New("count OOM kills: this kernel does not count them")
	}
	number, _, _ := bytes.Cut(rest, []byte("\n"))
	n, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("count OOM kills: %w", err)
	}
	return n, nil
}
