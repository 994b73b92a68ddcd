//go:build unix && !linux

package supervisor

import (
	"os"
	"time"
)

// The tests that use these are Linux's.

func growChild(string, <-chan os.Signal, <-chan os.Signal, <-chan time.Time) int { return 1 }

func shareChild(string, bool, <-chan os.Signal, <-chan time.Time) int { return 1 }
