package stattest

import (
	"errors"
	"fmt"
	"math"
	"sort"
)

// ErrNoValues is returned for a side without values: there is nothing to compare, which is
// neither "equal" nor "drifted".
var ErrNoValues = errors.New("no values to compare")

// Sample is one side of a numeric comparison: values in ascending order, each standing for
// as many rows as its weight says. Values may repeat and may be infinite, but are never NaN.
// Tests read a Sample and keep nothing of it.
type Sample struct {
	Values  []float64 // ascending
	Weights []float64 // of Values, above 0; nil: one row each
	Missing float64   // rows without a value (NULL or NaN), left out of Values
}

// NewSample returns the sample of values in any order; NaN is missing. values is not changed.
func NewSample(values []float64) Sample {
	s := Sample{Values: make([]float64, 0, len(values))}
	for _, v := range values {
		if math.IsNaN(v) {
			s.Missing++
			continue
		}
		s.Values = append(s.Values, v)
	}
	SortFloats(s.Values, nil)
	return s
}

// NewWeightedSample returns the sample of values that stand for weights rows each. A weight
// of 0 leaves its value out; a negative, infinite or NaN weight is an error, as are lengths
// that differ. Neither slice is changed.
func NewWeightedSample(values, weights []float64) (Sample, error) {
	if len(values) != len(weights) {
		return Sample{}, fmt.Errorf("weighted sample: %d values and %d weights", len(values), len(weights))
	}
	var s Sample
	order := make([]int, 0, len(values))
	for i, w := range weights {
		switch {
		case !(w >= 0) || math.IsInf(w, 0):
			return Sample{}, fmt.Errorf("weighted sample: weight %d is %v, must be finite and at least 0", i, w)
		case w == 0:
		case math.IsNaN(values[i]):
			s.Missing += w
		default:
			order = append(order, i)
		}
	}
	sort.SliceStable(order, func(a, b int) bool { return values[order[a]] < values[order[b]] })
	s.Values, s.Weights = make([]float64, len(order)), make([]float64, len(order))
	for k, i := range order {
		s.Values[k], s.Weights[k] = values[i], weights[i]
	}
	return s, nil
}

// Rows returns the rows that the values stand for, the missing not counted.
func (s Sample) Rows() float64 {
	if s.Weights == nil {
		return float64(len(s.Values))
	}
	n := 0.0
	for _, w := range s.Weights {
		n += w
	}
	return n
}

// Result is what a test says of two sides.
type Result struct {
	Score      float64  // the statistic or distance, finite
	PValue     *float64 // nil for a distance
	EffectSize *float64 // nil where the score itself is one
	Method     string   // how the p-value was found: exact, asymptotic, permutation, moments with ties; empty for a distance

	// SciPyPValue is that of SciPy's method, where PValue is another's because SciPy's does not
	// hold for these sides; else nil.
	SciPyPValue *float64
}
