package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Node is one server with the names it depends on. A name that is no node is
// one of the project's `dependencies`, which are not started; package spec
// reports names that are neither.
type Node struct {
	Name      string
	DependsOn []string
}

// CycleError says that servers wait for each other. Path begins and ends with
// the same name.
type CycleError struct{ Path []string }

func (e *CycleError) Error() string {
	return "order servers: dependency cycle: " + strings.Join(e.Path, " -> ")
}

// UnknownError says that a name asked for is no server.
type UnknownError struct {
	Name  string
	Known []string
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("order servers: unknown server %q (known: %s)", e.Name, strings.Join(e.Known, ", "))
}

// Levels puts the nodes in start order: what stands in one level depends only
// on earlier levels. Within a level the order is the given one.
func Levels(nodes []Node) ([][]string, error) {
	index := byName(nodes)
	level := make(map[string]int, len(nodes))
	deepest := -1
	for _, n := range nodes {
		l, err := levelOf(n.Name, nodes, index, level, nil)
		if err != nil {
			return nil, err
		}
		deepest = max(deepest, l)
	}
	levels := make([][]string, deepest+1)
	for _, n := range nodes {
		l := level[n.Name]
		if !slices.Contains(levels[l], n.Name) {
			levels[l] = append(levels[l], n.Name)
		}
	}
	return levels, nil
}

// levelOf is one more than the highest level among what name depends on. path
// holds the names being resolved above this one.
func levelOf(name string, nodes []Node, index, level map[string]int, path []string) (int, error) {
	if l, ok := level[name]; ok {
		return l, nil
	}
	if i := slices.Index(path, name); i >= 0 {
		return 0, &CycleError{Path: append(slices.Clone(path[i:]), name)}
	}
	path = append(path, name)
	l := 0
	for _, dep := range nodes[index[name]].DependsOn {
		if _, ok := index[dep]; !ok {
			continue
		}
		below, err := levelOf(dep, nodes, index, level, path)
		if err != nil {
			return 0, err
		}
		l = max(l, below+1)
	}
	level[name] = l
	return l, nil
}

// StartOrder is what a start of the named servers starts: them and all they
// depend on, what is needed first standing first. No names means all.
func StartOrder(nodes []Node, names []string) ([]string, error) {
	levels, err := Levels(nodes)
	if err != nil {
		return nil, err
	}
	index := byName(nodes)
	want := make(map[string]bool, len(nodes))
	var pull func(string)
	pull = func(name string) {
		i, ok := index[name]
		if !ok || want[name] {
			return
		}
		want[name] = true
		for _, dep := range nodes[i].DependsOn {
			pull(dep)
		}
	}
	if err := known(nodes, index, names); err != nil {
		return nil, err
	}
	for _, name := range orAll(nodes, names) {
		pull(name)
	}
	order := make([]string, 0, len(want))
	for _, level := range levels {
		for _, name := range level {
			if want[name] {
				order = append(order, name)
			}
		}
	}
	return order, nil
}

// StopOrder puts the named servers, and no others, in levels: what depends on
// something stands before it, also when what joins them is not named. No names
// means all. The servers of one level can be stopped together.
func StopOrder(nodes []Node, names []string) ([][]string, error) {
	levels, err := Levels(nodes)
	if err != nil {
		return nil, err
	}
	if err := known(nodes, byName(nodes), names); err != nil {
		return nil, err
	}
	named := orAll(nodes, names)
	order := make([][]string, 0, len(levels))
	for _, level := range slices.Backward(levels) {
		var group []string
		for _, name := range level {
			if slices.Contains(named, name) {
				group = append(group, name)
			}
		}
		if len(group) > 0 {
			order = append(order, group)
		}
	}
	return order, nil
}

// Dependents are the servers that depend on the named one, directly or through
// others, in the given order.
func Dependents(nodes []Node, name string) []string {
	found := map[string]bool{name: true}
	for grew := true; grew; {
		grew = false
		for _, n := range nodes {
			if !found[n.Name] && slices.ContainsFunc(n.DependsOn, func(d string) bool { return found[d] }) {
				found[n.Name] = true
				grew = true
			}
		}
	}
	var names []string
	for _, n := range nodes {
		if n.Name != name && found[n.Name] {
			names = append(names, n.Name)
		}
	}
	return names
}

func byName(nodes []Node) map[string]int {
	index := make(map[string]int, len(nodes))
	for i, n := range nodes {
		if _, twice := index[n.Name]; !twice {
			index[n.Name] = i
		}
	}
	return index
}

func known(nodes []Node, index map[string]int, names []string) error {
	for _, name := range names {
		if _, ok := index[name]; !ok {
			return &UnknownError{Name: name, Known: orAll(nodes, nil)}
		}
	}
	return nil
}

func orAll(nodes []Node, names []string) []string {
	if len(names) > 0 {
		return names
	}
	all := make([]string, len(nodes))
	for i, n := range nodes {
		all[i] = n.Name
	}
	return all
}
