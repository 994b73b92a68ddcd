package spec

import (
	"reflect"
	"slices"
)

// Diff compares the effective entries of two configurations: what a server
// does, not how or where it is written. What only devside reads while the server
// runs (caches, watch, preset) makes no difference to it. added and changed are
// in the new order, removed in the old one.
func Diff(old, new *Project) (added, changed, removed []string) {
	before := map[string]Server{}
	for _, s := range old.Servers {
		before[s.Name] = s
	}
	now := map[string]bool{}
	for _, s := range new.Servers {
		now[s.Name] = true
		was, ok := before[s.Name]
		switch {
		case !ok:
			added = append(added, s.Name)
		case !reflect.DeepEqual(effective(was), effective(s)) || scriptChanged(was, s):
			changed = append(changed, s.Name)
		}
	}
	for _, s := range old.Servers {
		if !now[s.Name] {
			removed = append(removed, s.Name)
		}
	}
	return added, changed, removed
}

// scriptChanged reports whether a detected server's script has another text:
// it then does something else. A devside.yaml does not tell its scripts.
func scriptChanged(was, now Server) bool {
	return was.Origin.Script != "" && now.Origin.Script != "" && was.Origin.Script != now.Origin.Script
}

// effective is a server without its spelling and place, and without what
// concerns devside alone.
func effective(s Server) Server {
	s.Text, s.Origin = "", Origin{}
	s.Preset, s.Caches, s.Watch = "", nil, Watch{}
	s.DependsOn = slices.Clone(s.DependsOn)
	slices.Sort(s.DependsOn) // all of them are waited for at once
	s.Ready = effectiveProbe(s.Ready)
	if s.Live != nil {
		p := effectiveProbe(*s.Live)
		s.Live = &p
	}
	for _, list := range []*[]string{&s.Command, &s.EnvFiles, &s.DependsOn, &s.Stop.Spare} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	if len(s.Ports) == 0 {
		s.Ports = nil
	}
	if len(s.Env) == 0 {
		s.Env = nil
	}
	return s
}

func effectiveProbe(p Probe) Probe {
	p.Default = false
	if len(p.JSON) == 0 {
		p.JSON = nil
	}
	return p
}
