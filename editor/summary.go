package editor

import (
	"fmt"

	"github.com/devside/devside/supervisor/status"
)

// Summary is the project in a few words, for a status bar: "devside 2/2", or
// what is worst in it: "devside 1/2: api crash-loop".
func Summary(st *status.Project) string {
	if st == nil {
		return "devside"
	}
	if len(st.Servers) == 0 {
		return "devside: no servers"
	}
	sum := status.Summarize(st.Servers)
	text := fmt.Sprintf("devside %d/%d", sum.Ready, sum.Total)
	if st.Trust.State == status.Untrusted {
		return text + ": not trusted"
	}
	switch sum.Worst {
	case status.Stopped, status.Ready:
		return text
	}
	for _, s := range st.Servers {
		if s.State == sum.Worst {
			return text + ": " + s.Name + " " + string(s.State)
		}
	}
	return text
}
