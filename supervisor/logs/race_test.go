//go:build race

package logs

// raceFactor is how much more memory the race detector needs.
const raceFactor = 8
