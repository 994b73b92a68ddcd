//go:build !race

package logs

const raceFactor = 1
