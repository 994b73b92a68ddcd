package cache

import (
	"crypto/rand"
	"strconv"
	"strings"
)

// ignoreAll is the .gitignore of devside's folder.
const ignoreAll = "*\n"

// An entry of the trash is named by its own inode and a random part. So one
// rename both hides a cache and says what it was that was verified: what has
// another inode than its name is never removed, also not by the sweep after a
// crash between the rename and the comparison.
func newTrash(inode uint64) string {
	return strconv.FormatUint(inode, 16) + "-" + rand.Text()
}

// leastRandom is the length of rand.Text's 128 bits.
const leastRandom = 26

// isTrash reports whether newTrash could have made a name.
func isTrash(name string) bool {
	hex, random, _ := strings.Cut(name, "-")
	inode, err := strconv.ParseUint(hex, 16, 64)
	return err == nil && strconv.FormatUint(inode, 16) == hex && len(random) >= leastRandom &&
		strings.Trim(random, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// inodeOf reads the inode out of a name that isTrash.
func inodeOf(name string) uint64 {
	hex, _, _ := strings.Cut(name, "-")
	inode, _ := strconv.ParseUint(hex, 16, 64)
	return inode
}
