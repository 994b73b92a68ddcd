package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// row is one line of the table: what was measured, in both ways where there is
// a bare one, and what it should be. Samples are one a round, in order.
type row struct {
	Name    string    `json:"name"`
	What    string    `json:"what"`
	Unit    string    `json:"unit"`
	Bare    []float64 `json:"bare,omitempty"`
	Devside []float64 `json:"devside"`
	Goal    goal      `json:"goal,omitzero"`
	Worst   bool      `json:"worst,omitempty"` // the figure is the greatest sample, not the median
	Note    string    `json:"note,omitempty"`
}

// bare and devside are the row's two figures; NaN where there is none.
func (r row) bare() float64    { return r.figure(r.Bare) }
func (r row) devside() float64 { return r.figure(r.Devside) }

func (r row) figure(samples []float64) float64 {
	if r.Worst && len(samples) > 0 {
		return slices.Max(samples)
	}
	return median(samples)
}

// met reports whether the goal is met; without a goal, or without figures, it
// says so by ok.
func (r row) met() (met, ok bool) {
	limit := r.Goal.limit(r.bare())
	d := r.devside()
	if math.IsNaN(limit) || math.IsNaN(d) {
		return false, false
	}
	if r.Goal.Kind == atLeast || r.Goal.Kind == shareBare {
		return d >= limit, true
	}
	return d <= limit, true
}

// compared is the row's ratio, or difference where the goal is one.
func (r row) compared() string {
	b, d := r.bare(), r.devside()
	switch {
	case math.IsNaN(b) || math.IsNaN(d):
		return "–"
	case r.Goal.Kind == barePlus:
		return fmt.Sprintf("%+.1f", d-b)
	case b == 0:
		return "–"
	}
	return fmt.Sprintf("× %.2f", d/b)
}

// goalKind says what a goal's value is compared with.
type goalKind string

const (
	atMost    goalKind = "at most"
	atLeast   goalKind = "at least"
	timesBare goalKind = "times bare" // at most value × bare
	shareBare goalKind = "share bare" // at least value × bare, or 1,000
	barePlus  goalKind = "bare plus"  // at most bare + value
)

// enoughMBs a second of output are enough, whatever a bare pipe carries.
const enoughMBs = 1000

// goal is a bound that a figure is to keep. The zero goal is none.
type goal struct {
	Kind  goalKind `json:"kind"`
	Value float64  `json:"value"`
}

// limit is the bound as a number; NaN where there is none.
func (g goal) limit(bare float64) float64 {
	switch g.Kind {
	case atMost, atLeast:
		return g.Value
	case timesBare:
		return g.Value * bare
	case shareBare:
		return min(g.Value*bare, enoughMBs)
	case barePlus:
		return bare + g.Value
	}
	return math.NaN()
}

func (g goal) String() string {
	v := strconv.FormatFloat(g.Value, 'f', -1, 64)
	switch g.Kind {
	case atMost:
		return "≤ " + v
	case atLeast:
		return "≥ " + v
	case timesBare:
		return "≤ " + v + " × bare"
	case shareBare:
		return "≥ " + v + " × bare or " + strconv.Itoa(enoughMBs)
	case barePlus:
		return "≤ bare + " + v
	}
	return "–"
}

// median is the middle of the samples; of an even number, the mean of the two
// in the middle; NaN of none.
func median(samples []float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(samples))
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

// percentile is the smallest sample that p percent of the samples do not
// exceed (nearest rank); NaN of none.
func percentile(samples []float64, p float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(samples))
	rank := int(math.Ceil(p / 100 * float64(len(s))))
	return s[min(max(rank, 1), len(s))-1]
}
