package cache

import (
	"crypto/rand"
	"regexp"
	"strconv"
	"strings"
)

// ignoreAll is the .gitignore of devside's folder.
const ignoreAll = "*\n"

// An entry of the trash is named by its own inode and a random part. So one
// rename both hides a cache and says what it was that was verified: what has
// another inode than its name is never removed, also not by the sweep after a
// crash between the rename and the comparison.
var trashForm = regexp.MustCompile(`^[0-9a-f]{1,16}-[A-Z2-7]{26}$`)

func newTrash(inode uint64) string {
	return strconv.FormatUint(inode, 16) + "-" + rand.Text()
}

func isTrash(name string) bool { return trashForm.MatchString(name) }

// inodeOf reads the inode out of a name that isTrash.
func inodeOf(name string) uint64 {
	hex, _, _ := strings.Cut(name, "-")
	inode, err := strconv.ParseUint(hex, 16, 64)
	if err != nil {
		return 0
	}
	return inode
}
