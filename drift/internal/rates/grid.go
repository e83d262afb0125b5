package main

import (
	"slices"

	"github.com/millrace/millrace/drift/compare"
	"github.com/millrace/millrace/drift/stattest"
)

// part is a list of cells, each measured by the methods that its kind of column takes.
type part struct {
	name    string
	cells   []cell
	methods func(c cell) []method
}

// The parts of the grid, in the order of the tables.
const (
	partDefault      = "default"
	partColumns      = "columns"
	partTests        = "tests"
	partCalibrations = "calibrations"
	partPower        = "power"
)

// stated is the rate of false alarms that the default states, of a data set.
const stated = 0.05

// extent says how much of the grid is measured.
type extent int

const (
	tiny  extent = iota // for the tests
	quick               // minutes
	full
)

// grid returns what is measured. Runs are fewer where a run takes longer: a share of 5 % is
// known to 1.1 % (one standard error) by 400 runs and to 2.2 % by 100.
func grid(e extent) []part {
	return []part{
		{partDefault, oneColumn(e), func(cell) []method { return []method{byDefault()} }},
		{partColumns, manyColumns(e), func(cell) []method { return []method{byDefault()} }},
		{partTests, forTests(e), byTest},
		{partCalibrations, forCalibrations(e), calibrated},
		{partPower, forPower(e), powerMethods},
	}
}

func byDefault() method { return method{name: "default", rate: stated} }

// pairs are rows of the reference and of the current side.
type pairs [][2]int

// runsOf are the runs of a cell of so many values.
func runsOf(e extent, values int) int {
	n := 400
	switch {
	case values > 100_000:
		n = 60
	case values > 20_000:
		n = 100
	case values > 5_000:
		n = 200
	}
	if e != full {
		n /= 4
	}
	return n
}

func cross(e extent, all []kind, sizes pairs) []cell {
	var out []cell
	for _, k := range all {
		for _, s := range sizes {
			out = append(out, cell{kind: k, reference: s[0], current: s[1], columns: 1, runs: runsOf(e, s[0]+s[1])})
		}
	}
	return out
}

// some are the kinds of those names.
func some(names ...string) []kind {
	return slices.DeleteFunc(kinds(), func(k kind) bool { return !slices.Contains(names, k.name) })
}

func oneColumn(e extent) []cell {
	switch e {
	case tiny:
		return cross(e, some("normal", "zero-inflated", "40 categories"), pairs{{100, 100}, {1001, 30}, {1001, 1001}})
	case quick:
		return cross(e, kinds(), pairs{{30, 30}, {100, 1000}, {1001, 30}, {1001, 100}, {1001, 1001}, {10_000, 10_000}})
	default:
		return cross(e, kinds(), pairs{
			{30, 30}, {100, 100}, {100, 1000}, {1000, 1000}, {1001, 30}, {1001, 100}, {1001, 1001}, {10_000, 100},
			{10_000, 10_000}, {30, 100_000}, {100_000, 30}, {100_000, 1000}, {100_000, 100_000},
		})
	}
}

func manyColumns(e extent) []cell {
	columns, sizes, names := []int{20, 100, 500}, pairs{{100, 100}, {1001, 100}, {1001, 1001}}, []string{"normal", "ties", "10 categories"}
	switch e {
	case tiny:
		columns, sizes, names = []int{20}, pairs{{1001, 100}}, names[:1]
	case quick:
		columns, sizes, names = []int{20, 200}, pairs{{1001, 100}}, names[:1]
	case full:
	}
	var out []cell
	for _, k := range some(names...) {
		for _, s := range sizes {
			for _, n := range columns {
				for _, correlated := range []bool{false, true} {
					c := cell{kind: k, reference: s[0], current: s[1], columns: n, correlated: correlated}
					c.runs = max(20, min(runsOf(e, 0), 2*runsOf(e, 0)*20/n))
					out = append(out, c)
				}
			}
		}
	}
	return out
}

func forTests(e extent) []cell {
	switch e {
	case tiny:
		return cross(e, some("normal", "10 categories"), pairs{{100, 300}})
	case quick:
		return cross(e, some("normal", "ties", "2 categories", "40 categories"), pairs{{100, 100}, {1000, 100}})
	default:
		return cross(e, kinds(), pairs{{30, 30}, {30, 1000}, {100, 100}, {1000, 100}, {1000, 1000}, {10_000, 1000}})
	}
}

// byTest are all tests that judge the kind, each at its own threshold.
func byTest(c cell) []method {
	var out []method
	for _, t := range stattest.Tests() {
		numeric, two := c.kind.cumulative == nil, len(c.kind.cumulative) == 2
		switch {
		case numeric && t.Numeric == nil && !t.Binned, !numeric && t.Cells == nil:
			continue
		case (t.Name == "z" || t.Name == "fisher_exact") && !two:
			continue // of two categories
		case t.Name == "empirical_mmd" && c.reference+c.current > 300:
			continue // grows with the square of the rows
		}
		m := method{name: t.Name, options: compare.Options{Tests: []string{t.Name}}, rate: stated}
		if t.PValue {
			m.rate = t.Threshold
		}
		out = append(out, m)
	}
	return out
}

func forCalibrations(e extent) []cell {
	switch e {
	case tiny:
		return cross(e, some("normal"), pairs{{1001, 100}})
	case quick:
		return cross(e, some("normal", "40 categories"), pairs{{1001, 100}, {1001, 1001}})
	default:
		return cross(e, some("normal", "lognormal", "zero-inflated", "ties", "10 categories", "200 categories"),
			pairs{{1001, 30}, {1001, 100}, {1001, 1001}, {1001, 10_000}, {10_000, 1000}})
	}
}

// calibrated are the ways to calibrate, each with the rate that it states: three standard
// deviations (NannyML's) are one of 0.27 %, both sides of them, which a few hundred runs
// cannot tell from 0; held is the rate of the data set.
func calibrated(cell) []method {
	var out []method
	for _, c := range []struct {
		name string
		compare.Calibration
	}{
		{"--calibrate 8", compare.Calibration{Chunks: 8}},
		{"--calibrate 10", compare.Calibration{Chunks: 10}},
		{"--calibrate 20", compare.Calibration{Chunks: 20}},
		{"--calibrate 10 --calibrate-quantile 0.95", compare.Calibration{Chunks: 10, Quantile: 0.95}},
	} {
		out = append(out, method{name: c.name, options: compare.Options{Calibrate: c.Calibration}, rate: stated})
	}
	return out
}

func forPower(e extent) []cell {
	sizes := pairs{{100, 100}, {1001, 100}, {1001, 1001}, {10_000, 10_000}}
	numbers := []shift{{location: 0.1}, {location: 0.2}, {location: 0.5}, {scale: 0.2}, {scale: 0.5}}
	moves := []shift{{moved: 0.05}, {moved: 0.1}, {moved: 0.2}}
	if e != full {
		sizes, numbers, moves = sizes[1:3], numbers[1:3], moves[1:]
	}
	var out []cell
	add := func(all []cell, shifts []shift) {
		for _, s := range shifts {
			for _, c := range all {
				c.shift, c.runs = s, min(c.runs, 200)
				out = append(out, c)
			}
		}
	}
	if e == tiny {
		add(cross(e, some("normal"), pairs{{1001, 1001}}), []shift{{location: 0.5}})
		return out
	}
	add(cross(e, some("normal"), sizes), numbers)
	add(cross(e, some("10 categories"), sizes), moves)
	return out
}

// powerMethods are the default and the test that it is measured against.
func powerMethods(c cell) []method {
	test := "ks"
	if c.kind.cumulative != nil {
		test = "chisquare"
	}
	return []method{byDefault(), {name: test, options: compare.Options{Tests: []string{test}}, rate: stated, beside: true}}
}
