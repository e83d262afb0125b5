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
	order, total := make([]int, 0, len(x)), 0.0
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
		total += weightAt(weights, i)
	}
	if math.IsInf(total, 1) { // the mean of pooled rows would be 0
		return nil, errors.New("isotonic fit: the sum of the weights overflows: divide them by a common factor")
	}
	sort.Slice(order, func(a, b int) bool {
		i, j := order[a], order[b]
		return x[i] < x[j] || x[i] == x[j] && (y[i] < y[j] || y[i] == y[j] && i < j)
	})
	return fitOrdered(x, y, weights, order, nil)
}

// block is a run of distinct x with one value.
type block struct {
	first, last  float64 // x
	mean, weight float64 // of y
}

// with returns the block that pools b, whose weighted sum is given, and other, and the sum of
// both. The operations are SciPy's, so that equal
// means come out equal where SciPy's do: calibrated scores then have its ties.
func (b block) with(sum float64, other block) (block, float64) {
	sum += other.mean * other.weight
	w := b.weight + other.weight
	return block{min(b.first, other.first), max(b.last, other.last), sum / w, w}, sum
}

// fitOrdered fits the rows of order, ascending in x, that keep admits (nil: all).
func fitOrdered(x, y, weights []float64, order []int, keep []bool) (*Isotonic, error) {
	var single []block // one a distinct x
	for _, i := range order {
		if keep != nil && !keep[i] {
			continue
		}
		w := weightAt(weights, i)
		if n := len(single); n > 0 && x[i]-single[n-1].first < sameX {
			single[n-1].mean += y[i] * w // the sum, for now
			single[n-1].weight += w
			continue
		}
		single = append(single, block{x[i], x[i], y[i] * w, w})
	}
	if len(single) == 0 {
		return nil, fmt.Errorf("isotonic fit: %w", ErrEmpty)
	}
	for i := range single {
		single[i].mean /= single[i].weight
	}
	blocks := single[:1] // never overtakes the reading of single
	for i := 1; i < len(single); i++ {
		b := single[i]
		if last := blocks[len(blocks)-1]; last.mean >= b.mean {
			blocks = blocks[:len(blocks)-1]
			sum := last.weight * last.mean
			b, sum = last.with(sum, b)
			for ; i+1 < len(single) && b.mean >= single[i+1].mean; i++ {
				b, sum = b.with(sum, single[i+1])
			}
			for len(blocks) > 0 && blocks[len(blocks)-1].mean >= b.mean {
				b, sum = b.with(sum, blocks[len(blocks)-1])
				blocks = blocks[:len(blocks)-1]
			}
		}
		blocks = append(blocks, b)
	}

	f := &Isotonic{}
	for _, b := range blocks {
		if !finite(b.mean) {
			return nil, fmt.Errorf("isotonic fit: the mean of x from %v to %v overflows", b.first, b.last)
		}
		f.X, f.Y = append(f.X, b.first), append(f.Y, b.mean)
		if b.last > b.first {
			f.X, f.Y = append(f.X, b.last), append(f.Y, b.mean)
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
