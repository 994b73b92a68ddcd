//go:build !linux

package cache

func runChild(string, []string) int { return 2 }

var trees = map[string]func(string) (tree, error){"portable": openPortable}
