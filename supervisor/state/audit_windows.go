package state

import "os"

const auditFlags = 0

// tryLockAudit does nothing on Windows, where a lock would keep its own holder
// from writing through another handle, and a file that is open can't be
// renamed: there is no hub there, and the command line writes one line a run.
func tryLockAudit(*os.File) (bool, error) { return true, nil }
