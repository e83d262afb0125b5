package estimate

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
)

// ErrEmpty is returned for data without rows.
var ErrEmpty = errors.New("no rows")

// sameX is the distance below which two x are one: the resolution of float64 as numpy
// states it, which scikit-learn's IsotonicRegression takes at any scale.
const sameX = 1e-15

// Isotonic is a nondecreasing function, linear between its points and constant outside of
// them.
type Isotonic struct {
	X []float64 // ascending
	Y []float64 // of X, nondecreasing
}

// FitIsotonic returns the nondecreasing function with the least weighted squares of y over x,
// found by pool-adjacent-violators (Barlow et al. 1972) as scikit-learn's IsotonicRegression
// with out_of_bounds="clip": values of one x are averaged first (de Leeuw's secondary method),
// and x less than 1e-15 apart are one. nil weights are 1 each; a weight of 0 leaves its row out.
func FitIsotonic(x, y, weights []float64) (*Isotonic, error) {
	if len(x) != len(y) || weights != nil && len(weights) != len(x) {
		return nil, fmt.Errorf("isotonic fit: lengths of x %d, y %d and weights %d differ", len(x), len(y), len(weights))
	}
	order := make([]int, 0, len(x))
	for i := range x {
		if w := weightAt(weights, i); !(w >= 0) || math.IsInf(w, 0) {
			return nil, fmt.Errorf("isotonic fit: weight %d is %v, must be finite and at least 0", i, w)
		} else if w == 0 {
			continue
		}
		if !finite(x[i]) || !finite(y[i]) {
			return nil, fmt.Errorf("isotonic fit: row %d is (%v, %v), must be finite", i, x[i], y[i])
		}
		order = append(order, i)
	}
	sort.Slice(order, func(a, b int) bool {
		i, j := order[a], order[b]
		return x[i] < x[j] || x[i] == x[j] && (y[i] < y[j] || y[i] == y[j] && i < j)
	})
	return fitOrdered(x, y, weights, order, nil)
}

// block is a run of distinct x with one value.
type block struct {
	first, last float64 // x
	sum, weight float64 // of y
}

func (b block) mean() float64 { return b.sum / b.weight }

// fitOrdered fits the rows of order, ascending in x, that keep admits (nil: all).
func fitOrdered(x, y, weights []float64, order []int, keep []bool) (*Isotonic, error) {
	var blocks []block
	pool := func() { // the last block into those before it, while they violate the order
		for n := len(blocks); n > 1 && blocks[n-2].mean() >= blocks[n-1].mean(); n-- {
			last := blocks[n-1]
			b := &blocks[n-2]
			b.last, b.sum, b.weight = last.last, b.sum+last.sum, b.weight+last.weight
			blocks = blocks[:n-1]
		}
	}
	open := block{first: math.NaN()}
	for _, i := range order {
		if keep != nil && !keep[i] {
			continue
		}
		w := weightAt(weights, i)
		if open.weight > 0 && x[i]-open.first < sameX {
			open.sum, open.weight = open.sum+y[i]*w, open.weight+w
			continue
		}
		if open.weight > 0 {
			blocks = append(blocks, open)
			pool()
		}
		open = block{x[i], x[i], y[i] * w, w}
	}
	if open.weight == 0 {
		return nil, fmt.Errorf("isotonic fit: %w", ErrEmpty)
	}
	blocks = append(blocks, open)
	pool()

	f := &Isotonic{}
	for _, b := range blocks {
		m := b.mean()
		if !finite(m) {
			return nil, fmt.Errorf("isotonic fit: the mean of x from %v to %v overflows", b.first, b.last)
		}
		f.X, f.Y = append(f.X, b.first), append(f.Y, m)
		if b.last > b.first {
			f.X, f.Y = append(f.X, b.last), append(f.Y, m)
		}
	}
	return f, nil
}

// At returns the value at x; NaN at NaN. The interpolation is numpy.interp's.
func (f *Isotonic) At(x float64) float64 {
	last := len(f.X) - 1
	switch {
	case math.IsNaN(x):
		return x
	case x <= f.X[0]:
		return f.Y[0]
	case x >= f.X[last]:
		return f.Y[last]
	}
	j, exact := slices.BinarySearch(f.X, x)
	if exact {
		return f.Y[j]
	}
	x0, x1, y0, y1 := f.X[j-1], f.X[j], f.Y[j-1], f.Y[j]
	if y0 == y1 {
		return y0
	}
	v := (y1-y0)/(x1-x0)*(x-x0) + y0
	if !finite(v) { // the slope overflowed
		t := (x - x0) / (x1 - x0)
		v = y0*(1-t) + y1*t
	}
	return min(max(v, y0), y1) // rounding must not leave the step
}

// ascending returns the rows in the order of their values, ties as they come.
func ascending(values []float64) []int {
	type row struct {
		value float64
		index int
	}
	rows := make([]row, len(values))
	for i, v := range values {
		rows[i] = row{v, i}
	}
	slices.SortFunc(rows, func(a, b row) int {
		if c := cmp.Compare(a.value, b.value); c != 0 {
			return c
		}
		return a.index - b.index
	})
	order := make([]int, len(values))
	for i, r := range rows {
		order[i] = r.index
	}
	return order
}

func weightAt(weights []float64, i int) float64 {
	if weights == nil {
		return 1
	}
	return weights[i]
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
