package main

import (
	"context"
	"slices"

	"github.com/millrace/millrace/drift/compare"
	"github.com/millrace/millrace/drift/stattest"
)

// part is a list of cells, each measured by the methods that its kind of column takes.
type part struct {
	name    string
	cells   []cell
	measure func(ctx context.Context, seed uint64, c cell, workers int) ([]measured, error)
}

// by measures cells by comparisons.
func by(methods func(c cell) []method) func(context.Context, uint64, cell, int) ([]measured, error) {
	return func(ctx context.Context, seed uint64, c cell, workers int) ([]measured, error) {
		return measure(ctx, seed, c, methods(c), workers)
	}
}

// The parts of the grid, in the order of the tables.
const (
	partDefault      = "default"
	partColumns      = "columns"
	partTests        = "tests"
	partCalibrations = "calibrations"
	partMonitor      = "monitor"
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
		{partDefault, oneColumn(e), by(rules)},
		{partColumns, manyColumns(e), by(rules)},
		{partTests, forTests(e), by(byTest)},
		{partCalibrations, forCalibrations(e), by(calibrated)},
		{partMonitor, monitorCells(e), measureMonitor},
		{partPower, forPower(e), by(powerMethods)},
	}
}

func byDefault() method { return method{name: "default", rate: stated} }

// rules are the default and, beside it, Evidently's published rule.
func rules(cell) []method {
	return []method{byDefault(), {name: "rule evidently", options: compare.Options{Rule: compare.RuleEvidently}, beside: true}}
}

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
	switch e {
	case tiny:
		return max(n/40, 5)
	case quick:
		return n / 4
	default:
		return n
	}
}

// fewer are cells with at most so many runs.
func fewer(cells []cell, runs int) []cell {
	for i := range cells {
		cells[i].runs = min(cells[i].runs, runs)
	}
	return cells
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
			{30, 30},
			{100, 100},
			{100, 1000},
			{1000, 1000},
			{1001, 30},
			{1001, 100},
			{1001, 1001},
			{10_000, 100},
			{10_000, 10_000},
			{30, 100_000},
			{100_000, 30},
			{100_000, 1000},
			{100_000, 100_000},
		})
	}
}

func manyColumns(e extent) []cell {
	columns, sizes, names := []int{20, 100, 500}, pairs{{1001, 100}, {1001, 1001}}, []string{"normal", "10 categories"}
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
				if n > 200 && s[1] > 100 {
					continue // minutes
				}
				for _, correlated := range []bool{false, true} {
					c := cell{kind: k, reference: s[0], current: s[1], columns: n, correlated: correlated}
					c.runs = max(20, min(runsOf(e, 0)/2, runsOf(e, 0)*10/n))
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
		return fewer(cross(e, some("normal", "zero-inflated", "ties", "2 categories", "10 categories", "40 categories", "1000 categories"),
			pairs{{30, 30}, {30, 1000}, {100, 100}, {1000, 100}, {1000, 1000}, {10_000, 1000}}), 200)
	}
}

// byTest are all tests that judge the kind, each by its p-value alone: what its effect must be
// beside it would hide a p-value that is too small.
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
		any := 0.0
		out = append(out, method{name: t.Name, options: compare.Options{Tests: []string{t.Name}, Effect: &any}, rate: stated})
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
		return fewer(cross(e, some("normal", "lognormal", "zero-inflated", "ties", "10 categories", "200 categories"),
			pairs{{1001, 30}, {1001, 100}, {1001, 1001}, {1001, 10_000}, {10_000, 1000}}), 200)
	}
}

// calibrated are the ways to calibrate, each with the rate that it states, by the p-value alone.
func calibrated(cell) []method {
	var out []method
	for _, c := range []struct {
		name string
		compare.Calibration
		rate float64
	}{
		{"--calibrate 8", compare.Calibration{Chunks: 8}, stated},
		{"--calibrate 20", compare.Calibration{Chunks: 20}, stated},
		{"--calibrate 10 --calibrate-sigmas 3", compare.Calibration{Chunks: 10, Sigmas: 3}, 0.00135},
		{"--calibrate 10 --calibrate-quantile 0.9", compare.Calibration{Chunks: 10, Quantile: 0.9}, 0.1},
	} {
		any := 0.0
		out = append(out, method{name: c.name, options: compare.Options{Calibrate: c.Calibration, Effect: &any}, rate: c.rate})
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
	return []method{byDefault(), {name: test, options: compare.Options{Rule: compare.RuleEvidently, Tests: []string{test}}, beside: true}}
}
