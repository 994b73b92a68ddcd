package spec

import (
	"reflect"
	"slices"
)

// Diff compares the effective entries of two configurations: what a server
// does, not how or where it is written. added and changed are in the new
// order, removed in the old one.
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
		case !reflect.DeepEqual(effective(was), effective(s)):
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

// effective is a server without its spelling and place. The script's text
// stays: a detected server whose script changed does something else.
func effective(s Server) Server {
	s.Text = ""
	s.Origin = Origin{Script: s.Origin.Script}
	s.DependsOn = slices.Clone(s.DependsOn)
	slices.Sort(s.DependsOn) // all of them are waited for at once
	s.Ready = effectiveProbe(s.Ready)
	if s.Live != nil {
		p := effectiveProbe(*s.Live)
		s.Live = &p
	}
	for _, list := range []*[]string{&s.Command, &s.EnvFiles, &s.DependsOn, &s.Stop.Spare, &s.Caches, &s.Watch.Restart} {
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
