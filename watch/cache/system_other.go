//go:build !linux

package cache

// openTree has one way here; see portable.go.
func openTree(root string) (tree, error) { return openPortable(root) }

// mountPoints knows none: a device number tells where another file system
// begins, where there are device numbers.
func mountPoints() ([]string, error) { return nil, nil }

// giveWay does nothing: there is no priority of a single thread.
func giveWay() {}
