package editor

import (
	"strings"

	"github.com/devside/devside/supervisor/status"
)

// memorySamples is how many samples of a server are kept: as many as a hover
// has room for on one line.
const memorySamples = 40

// Memory is what each server used lately, oldest first, in bytes. It is a
// value: Next returns the one to use next, and changes nothing.
type Memory map[string][]int64

// Next takes a snapshot. A server that uses what it used last adds nothing: the
// hub tells of a change of memory only when it is one. Servers that are gone
// are forgotten.
func (m Memory) Next(st *status.Project) Memory {
	next := make(Memory, len(st.Servers))
	for _, s := range st.Servers {
		samples := m[s.Name]
		if s.PID != 0 && s.MemoryBytes > 0 && (len(samples) == 0 || samples[len(samples)-1] != s.MemoryBytes) {
			samples = append(samples[:len(samples):len(samples)], s.MemoryBytes)
			samples = samples[max(0, len(samples)-memorySamples):]
		}
		if len(samples) > 0 {
			next[s.Name] = samples
		}
	}
	return next
}

// Sparkline draws samples from the least to the most of them. Where they hardly
// differ (by less than a tenth) it is a flat line: noise is no slope.
func Sparkline(samples []int64) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	if len(samples) == 0 {
		return ""
	}
	least, most := samples[0], samples[0]
	for _, n := range samples {
		least, most = min(least, n), max(most, n)
	}
	var b strings.Builder
	for _, n := range samples {
		if most-least <= most/10 {
			b.WriteRune(bars[len(bars)/2])
			continue
		}
		b.WriteRune(bars[int(float64(n-least)/float64(most-least)*float64(len(bars)-1)+0.5)])
	}
	return b.String()
}
