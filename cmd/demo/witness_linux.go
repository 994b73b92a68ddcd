package main

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// stat returns the fields of /proc/PID/stat after the name, which may hold
// anything.
func stat(pid int) []string {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil
	}
	return strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
}

// startOf says when a process was started (field 22, in ticks since the boot),
// and whether it runs.
func startOf(pid int) (start string, running bool) {
	f := stat(pid)
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return "", false
	}
	return f[19], true
}

// parentOf returns the pid of a process's parent; 0: unknown.
func parentOf(pid int) int {
	f := stat(pid)
	if len(f) < 2 {
		return 0
	}
	n, err := strconv.Atoi(f[1])
	if err != nil {
		return 0
	}
	return n
}

// runs reports whether a process runs this program.
func runs(pid int, program string) bool {
	a, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/exe")
	if err != nil {
		return false
	}
	b, err := os.Stat(program)
	return err == nil && os.SameFile(a, b)
}
