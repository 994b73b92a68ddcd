//go:build !linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
)

// Processes are held, measured and waited for through what Linux has for it.
// Elsewhere every measurement says that it could not be made.
var errUnsupported = errors.New("bench measures on Linux only")

type witness struct{ pid int }

func (witness) close()                      {}
func (witness) signal(syscall.Signal) error { return errUnsupported }
func (witness) alive() bool                 { return false }

func describe(pid int) string                                 { return fmt.Sprint("process ", pid) }
func see(int, string) (witness, error)                        { return witness{}, errUnsupported }
func marked(string) ([]witness, error)                        { return nil, errUnsupported }
func cpuTime(int) (time.Duration, error)                      { return 0, errUnsupported }
func pss(int) (int64, error)                                  { return 0, errUnsupported }
func peakRSS(int) (int64, error)                              { return 0, errUnsupported }
func parentOf(int) (int, error)                               { return 0, errUnsupported }
func awaitEnds(context.Context, []witness) (time.Time, error) { return time.Time{}, errUnsupported }

func machine() machineInfo {
	return machineInfo{OS: runtime.GOOS, Cores: runtime.NumCPU(), Go: runtime.Version(), CPU: "unknown", Load: "unknown"}
}

func unsupportedRole() int {
	fmt.Fprintf(os.Stderr, "bench: %v\n", errUnsupported)
	return exitFailed
}

func serve([]string) int      { return unsupportedRole() }
func beStubborn([]string) int { return unsupportedRole() }
func runBare([]string) int    { return unsupportedRole() }
