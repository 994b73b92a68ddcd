package port

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/devside/devside/supervisor/proc"
	"github.com/devside/devside/supervisor/status"
)

func holderOf(l []Listener, hints []int) *status.Holder {
	if len(l) == 0 {
		return nil
	}
	us := os.Geteuid()
	for _, pids := range []func() []int{func() []int { return hints }, ourPIDs} {
		for _, pid := range pids() {
			for _, one := range l {
				if h, ok := holder(pid, one.Inode, us); ok {
					return h
				}
			}
		}
		if !slices.ContainsFunc(l, func(one Listener) bool { return one.UID == us }) {
			break // another user's socket: only a hint could have known more
		}
	}
	// Ours first: that its process is out of sight says more than a stranger.
	uid := l[0].UID
	if slices.ContainsFunc(l, func(one Listener) bool { return one.UID == us }) {
		uid = us
	}
	return &status.Holder{User: UserName(uid)}
}

// holder describes a process if it has the socket open. Its identity is read
// before and after the look at its descriptors, so that both are of one
// process.
func holder(pid int, inode uint32, us int) (*status.Holder, bool) {
	if inode == 0 || !opens(pid, inode) {
		return nil, false
	}
	pid = topmost(pid, inode, us)
	before, err := proc.Inspect(pid)
	if err != nil || !opens(pid, inode) {
		return nil, false
	}
	command := proc.CommandLine(pid)
	after, err := proc.Inspect(pid)
	if err != nil || after.Identity != before.Identity {
		return nil, false
	}
	h := &status.Holder{User: UserName(after.UID)}
	if after.UID == us {
		h.PID, h.StartTime, h.Name, h.Command, h.Started = pid, after.Start, after.Name, shorten(command), after.Started
	}
	return h, true
}

// topmost climbs to the process that has handed the socket down: ending a
// worker of it frees nothing.
func topmost(pid int, inode uint32, us int) int {
	for {
		info, err := proc.Inspect(pid)
		if err != nil || info.Parent <= 1 {
			return pid
		}
		parent, err := proc.Inspect(info.Parent)
		if err != nil || parent.UID != us || !opens(info.Parent, inode) {
			return pid
		}
		pid = info.Parent
	}
}

// ourPIDs returns the processes of our user, the newest first: what takes a
// port by surprise was mostly started a moment ago.
func ourPIDs() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	slices.Reverse(pids)
	us := os.Geteuid()
	if us != 0 {
		// Descriptors of others can't be read anyway; this saves the tries.
		pids = slices.DeleteFunc(pids, func(pid int) bool {
			info, err := proc.Inspect(pid)
			return err != nil || info.UID != us
		})
	}
	return pids
}

// opens reports whether a process has the socket open; false when we may not
// look.
func opens(pid int, inode uint32) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	want := "socket:[" + strconv.FormatUint(uint64(inode), 10) + "]"
	return slices.ContainsFunc(names, func(name string) bool {
		link, err := os.Readlink(dir + "/" + name)
		return err == nil && strings.HasPrefix(link, "socket:") && link == want
	})
}
