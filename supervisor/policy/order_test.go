package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// nodes reads "web:api,postgres api worker:api".
func nodes(text string) []Node {
	var out []Node
	for _, word := range strings.Fields(text) {
		name, deps, found := strings.Cut(word, ":")
		n := Node{Name: name}
		if found {
			n.DependsOn = strings.Split(deps, ",")
		}
		out = append(out, n)
	}
	return out
}

func show(levels [][]string) string {
	var groups []string
	for _, l := range levels {
		groups = append(groups, strings.Join(l, "+"))
	}
	return strings.Join(groups, " ")
}

func TestLevels(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{"", ""},
		{"a", "a"},
		{"web:api api", "api web"},
		{"b a", "b+a"},
		{"web:api,postgres worker:api api:postgres", "api web+worker"}, // postgres is not ours to start
		{"e:d d:c c:b b:a a", "a b c d e"},
		{"d:b,c b:a c:a a", "a b+c d"},
		{"c:a,b b:a a", "a b c"},
		{"a a", "a"},
	} {
		levels, err := Levels(nodes(test.in))
		if err != nil || show(levels) != test.want {
			t.Errorf("%q: %q, %v; want %q", test.in, show(levels), err, test.want)
		}
	}
}

func TestCycle(t *testing.T) {
	for in, want := range map[string]string{
		"a:a":             "a -> a",
		"a:b b:a":         "a -> b -> a",
		"x:a a:b b:c c:a": "a -> b -> c -> a",
	} {
		_, err := Levels(nodes(in))
		var cycle *CycleError
		if !errors.As(err, &cycle) || strings.Join(cycle.Path, " -> ") != want || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want the cycle %s", in, err, want)
		}
		if _, err := StartOrder(nodes(in), nil); err == nil {
			t.Errorf("%q has a start order", in)
		}
		if _, err := StopOrder(nodes(in), nil); err == nil {
			t.Errorf("%q has a stop order", in)
		}
	}
}

func TestStartAndStopOrder(t *testing.T) {
	const project = "web:api docs api:db,cache worker:api db cache"
	for _, test := range []struct{ names, start, stop string }{
		{"", "docs db cache api web worker", "web+worker api docs+db+cache"},
		{"web", "db cache api web", "web"},
		{"docs", "docs", "docs"},
		{"web db", "db cache api web", "web db"}, // api joins them, and stays
		{"db web worker", "db cache api web worker", "web+worker db"},
	} {
		start, err := StartOrder(nodes(project), strings.Fields(test.names))
		if err != nil || strings.Join(start, " ") != test.start {
			t.Errorf("start %q: %q, %v; want %q", test.names, strings.Join(start, " "), err, test.start)
		}
		stop, err := StopOrder(nodes(project), strings.Fields(test.names))
		if err != nil || show(stop) != test.stop {
			t.Errorf("stop %q: %q, %v; want %q", test.names, show(stop), err, test.stop)
		}
	}
}

func TestUnknownName(t *testing.T) {
	_, err := StartOrder(nodes("api web:api"), []string{"wbe"})
	var unknown *UnknownError
	if !errors.As(err, &unknown) || unknown.Name != "wbe" || !slices.Equal(unknown.Known, []string{"api", "web"}) {
		t.Errorf("start: %v", err)
	}
	if !strings.Contains(err.Error(), `"wbe" (known: api, web)`) {
		t.Errorf("start: %v", err)
	}
	if _, err = StopOrder(nodes("api"), []string{"x"}); !errors.As(err, &unknown) {
		t.Errorf("stop: %v", err)
	}
}

func TestDependents(t *testing.T) {
	const project = "web:api e2e:web,docs docs api:db db"
	for name, want := range map[string]string{
		"db": "web e2e api", "api": "web e2e", "docs": "e2e", "e2e": "", "none": "",
	} {
		if got := strings.Join(Dependents(nodes(project), name), " "); got != want {
			t.Errorf("dependents of %s: %q, want %q", name, got, want)
		}
	}
	if got := strings.Join(Dependents(nodes("a:b b:a"), "a"), " "); got != "b" {
		t.Errorf("in a cycle: %q", got)
	}
}

// In any graph without a cycle, everything starts after what it depends on and
// stops before it, and each server once.
func TestOrderHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(t, "servers")
		all := make([]Node, n)
		for i := range all {
			all[i].Name = fmt.Sprint("s", i)
			for range rapid.IntRange(0, 3).Draw(t, "edges") {
				if i > 0 {
					all[i].DependsOn = append(all[i].DependsOn, fmt.Sprint("s", rapid.IntRange(0, i-1).Draw(t, "on")))
				}
			}
		}
		all = rapid.Permutation(all).Draw(t, "order")
		var names []string
		for _, node := range all {
			if rapid.Bool().Draw(t, "named") {
				names = append(names, node.Name)
			}
		}
		start, err := StartOrder(all, names)
		if err != nil {
			t.Fatal(err)
		}
		stop, err := StopOrder(all, nil)
		if err != nil {
			t.Fatal(err)
		}
		place := map[string]int{}
		for i, level := range stop {
			for _, name := range level {
				if _, twice := place[name]; twice {
					t.Fatalf("%s stops twice", name)
				}
				place[name] = i
			}
		}
		if len(place) != n {
			t.Fatalf("%d of %d stop", len(place), n)
		}
		for _, node := range all {
			at := slices.Index(start, node.Name)
			if at < 0 && (len(names) == 0 || slices.Contains(names, node.Name)) {
				t.Fatalf("%s does not start", node.Name)
			}
			for _, dep := range node.DependsOn {
				if on := slices.Index(start, dep); at >= 0 && (on < 0 || on >= at) {
					t.Fatalf("%s at %d starts before %s at %d", node.Name, at, dep, on)
				}
				if place[dep] <= place[node.Name] {
					t.Fatalf("%s stops before %s", dep, node.Name)
				}
			}
		}
	})
}
