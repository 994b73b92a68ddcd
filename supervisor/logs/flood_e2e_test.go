//go:build e2e && linux

package logs

import "testing"

// TestE2EAFloodOfOneGigabyte is the flood at its full length.
func TestE2EAFloodOfOneGigabyte(t *testing.T) { testFlood(t, 1<<30) }
