package main

import (
	"math"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 3, 2}, 2.5},
		{[]float64{100, 1, 1, 1, 100}, 1},
	} {
		if got := median(c.in); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.in, got, c.want)
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("the median of nothing is a number")
	}
	in := []float64{3, 1, 2}
	median(in)
	if in[0] != 3 {
		t.Errorf("median has sorted its argument: %v", in)
	}
}

func TestPercentile(t *testing.T) {
	var hundred []float64
	for i := 100; i >= 1; i-- {
		hundred = append(hundred, float64(i))
	}
	for _, c := range []struct {
		in      []float64
		p, want float64
	}{
		{hundred, 50, 50}, {hundred, 99, 99}, {hundred, 100, 100}, {hundred, 0, 1},
		{[]float64{7}, 99, 7}, {[]float64{1, 2}, 50, 1}, {[]float64{1, 2}, 51, 2},
	} {
		if got := percentile(c.in, c.p); got != c.want {
			t.Errorf("percentile %v of %d samples = %v, want %v", c.p, len(c.in), got, c.want)
		}
	}
	if !math.IsNaN(percentile(nil, 50)) {
		t.Error("a percentile of nothing is a number")
	}
}

func TestGoals(t *testing.T) {
	for _, c := range []struct {
		name          string
		goal          goal
		bare, devside []float64
		met, ok       bool
		limit, shown  string
	}{
		{"within the ratio", goal{timesBare, 1.15}, []float64{100}, []float64{114}, true, true, "≤ 1.15 × bare", "× 1.14"},
		{"over the ratio", goal{timesBare, 1.15}, []float64{100}, []float64{116}, false, true, "≤ 1.15 × bare", "× 1.16"},
		{"a share", goal{shareBare, 0.66}, []float64{600}, []float64{400}, true, true, "≥ 0.66 × bare or 1000", "× 0.67"},
		{"less than a share", goal{shareBare, 0.66}, []float64{600}, []float64{390}, false, true, "≥ 0.66 × bare or 1000", "× 0.65"},
		{"enough, whatever the share", goal{shareBare, 0.66}, []float64{4000}, []float64{1001}, true, true, "≥ 0.66 × bare or 1000", "× 0.25"},
		{"a ratio without bare", goal{timesBare, 1.15}, nil, []float64{116}, false, false, "≤ 1.15 × bare", "–"},
		{"within the difference", goal{barePlus, 2}, []float64{3}, []float64{5}, true, true, "≤ bare + 2", "+2.0"},
		{"over the difference", goal{barePlus, 2}, []float64{3}, []float64{5.5}, false, true, "≤ bare + 2", "+2.5"},
		{"faster than bare", goal{barePlus, 2}, []float64{3}, []float64{2.5}, true, true, "≤ bare + 2", "-0.5"},
		{"at most", goal{atMost, 10}, nil, []float64{10}, true, true, "≤ 10", "–"},
		{"more than that", goal{atMost, 10}, nil, []float64{10.1}, false, true, "≤ 10", "–"},
		{"at least", goal{atLeast, 20000}, []float64{40000}, []float64{20000}, true, true, "≥ 20000", "× 0.50"},
		{"less than that", goal{atLeast, 20000}, []float64{40000}, []float64{19999}, false, true, "≥ 20000", "× 0.50"},
		{"no goal", goal{}, []float64{1}, []float64{2}, false, false, "–", "× 2.00"},
		{"not measured", goal{atMost, 10}, nil, nil, false, false, "≤ 10", "–"},
		{"nothing to divide by", goal{atMost, 0}, []float64{0}, []float64{0}, true, true, "≤ 0", "–"},
	} {
		r := row{Bare: c.bare, Devside: c.devside, Goal: c.goal}
		if met, ok := r.met(); met != c.met || ok != c.ok {
			t.Errorf("%s: met %v, ok %v; want %v, %v", c.name, met, ok, c.met, c.ok)
		}
		if got := c.goal.String(); got != c.limit {
			t.Errorf("%s: the goal reads %q, want %q", c.name, got, c.limit)
		}
		if got := r.compared(); got != c.shown {
			t.Errorf("%s: compared %q, want %q", c.name, got, c.shown)
		}
	}
}

func TestTheWorstSampleCountsWhereOneIsTooMany(t *testing.T) {
	r := row{Devside: []float64{0, 0, 1, 0, 0}, Goal: goal{atMost, 0}, Worst: true}
	if met, ok := r.met(); met || !ok {
		t.Errorf("a process left in one round of five: met %v, ok %v", met, ok)
	}
	r.Worst = false
	if met, _ := r.met(); !met {
		t.Error("the median of mostly 0 is not 0")
	}
}
