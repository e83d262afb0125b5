package quality

import (
	"errors"
	"fmt"
	"math"
)

var (
	// ErrNoRows is returned when there is no row of a weight above 0.
	ErrNoRows = errors.New("no labelled rows")

	// ErrUndefined is returned for a figure that the rows give no value.
	ErrUndefined = errors.New("undefined")

	// ErrOverflow is returned for a figure beyond the range of float64.
	ErrOverflow = errors.New("overflow: divide the values by a common factor")
)

// checkWeights returns an error unless weights is nil or holds rows finite weights of at least 0.
func checkWeights(rows int, weights []float64) error {
	if weights == nil {
		return nil
	}
	if len(weights) != rows {
		return fmt.Errorf("%d rows and %d weights: every row needs one", rows, len(weights))
	}
	for i, w := range weights {
		if !(w >= 0) || math.IsInf(w, 1) {
			return fmt.Errorf("row %d: weight %v, must be finite and at least 0", i, w)
		}
	}
	return nil
}

// checkFinite returns an error unless values holds rows finite values.
func checkFinite(what string, rows int, values []float64) error {
	if len(values) != rows {
		return fmt.Errorf("%d labels and %d values of %s: every row needs both", rows, len(values), what)
	}
	for i, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("row %d: %s is %v, must be finite: leave the row out", i, what, v)
		}
	}
	return nil
}

// checkProbabilities is checkFinite with the range [0, 1].
func checkProbabilities(what string, rows int, values []float64) error {
	if err := checkFinite(what, rows, values); err != nil {
		return err
	}
	for i, v := range values {
		if v < 0 || v > 1 {
			return fmt.Errorf("row %d: %s is %v, a probability lies in [0, 1]", i, what, v)
		}
	}
	return nil
}

// checkClasses returns an error unless all values are classes from 0.
func checkClasses(what string, classes int, values []int) error {
	for i, v := range values {
		if v < 0 || v >= classes {
			return fmt.Errorf("row %d: %s is class %d, must be in [0, %d)", i, what, v, classes)
		}
	}
	return nil
}

// weightOf is the weight of row i.
func weightOf(weights []float64, i int) float64 {
	if weights == nil {
		return 1
	}
	return weights[i]
}

// finite returns v, or ErrOverflow when it is not a finite number.
func finite(m Metric, v float64) (float64, error) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("%s: %w", m, ErrOverflow)
	}
	return v, nil
}

func undefined(m Metric, why string) error { return fmt.Errorf("%s: %w: %s", m, ErrUndefined, why) }
