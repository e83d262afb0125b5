package stattest

import (
	"errors"
	"fmt"
	"math"
)

// ErrInfinite is returned by tests of moments and distances for infinite values, which have
// no mean and no distance. Tests of ranks take infinities as what they are: the ends of the
// order.
var ErrInfinite = errors.New("infinite values, which this test cannot use")

// needValues returns the error of an empty side. test names the caller.
func needValues(test string, reference, current Sample) error {
	switch {
	case len(reference.Values) == 0 && len(current.Values) == 0:
		return fmt.Errorf("%s: both sides: %w", test, ErrNoValues)
	case len(reference.Values) == 0:
		return fmt.Errorf("%s: reference: %w", test, ErrNoValues)
	case len(current.Values) == 0:
		return fmt.Errorf("%s: current: %w", test, ErrNoValues)
	}
	// Beyond 2^53 rows cannot be counted; products of the least weights must not vanish.
	if n, m := reference.Rows(), current.Rows(); !(max(n, m) <= 1<<53 && min(n, m) >= leastRows) {
		return fmt.Errorf("%s: the weights add up to %v and %v rows, must be from %v to 2^53 on each side", test, n, m, leastRows)
	}
	return nil
}

// leastRows is the least sum of the weights of a side.
const leastRows = 1e-100

// needFinite returns the error of an empty side or of infinite values.
func needFinite(test string, reference, current Sample) error {
	if err := needValues(test, reference, current); err != nil {
		return err
	}
	for _, side := range []struct {
		name   string
		values []float64
	}{{"reference", reference.Values}, {"current", current.Values}} {
		if v := side.values; math.IsInf(v[0], 0) || math.IsInf(v[len(v)-1], 0) { // ascending
			return fmt.Errorf("%s: %s: %w", test, side.name, ErrInfinite)
		}
	}
	return nil
}

// needRows returns the error of a side with fewer rows than the test needs.
func needRows(test string, reference, current, least float64) error {
	if min(reference, current) < least {
		return fmt.Errorf("%s: %v and %v rows, at least %v are needed on each side", test, reference, current, least)
	}
	return nil
}

// finite returns the error of a statistic that float64 cannot hold.
func finite(test string, statistic float64) error {
	if math.IsNaN(statistic) || math.IsInf(statistic, 0) {
		return fmt.Errorf("%s: the statistic is %v: the values are too large for float64", test, statistic)
	}
	return nil
}

// integral says whether all weights are whole numbers.
func integral(s Sample) bool {
	for _, w := range s.Weights {
		if w != math.Trunc(w) {
			return false
		}
	}
	return true
}

// weight returns the weight of the values from i on that equal the one at i, and the index
// after them.
func (s Sample) weight(i int) (w float64, next int) {
	z, j := s.Values[i], i+1
	for j < len(s.Values) && s.Values[j] == z {
		j++
	}
	if s.Weights == nil {
		return float64(j - i), j
	}
	for _, x := range s.Weights[i:j] {
		w += x
	}
	return w, j
}

// distinct calls yield with each distinct value of both samples in ascending order, and with
// the weights that it has in each.
func distinct(a, b Sample, yield func(z, wa, wb float64)) {
	i, j := 0, 0
	for i < len(a.Values) || j < len(b.Values) {
		inA := i < len(a.Values) && (j == len(b.Values) || a.Values[i] <= b.Values[j])
		inB := j < len(b.Values) && (i == len(a.Values) || b.Values[j] <= a.Values[i])
		var z, wa, wb float64
		if inA {
			z = a.Values[i]
			wa, i = a.weight(i)
		}
		if inB {
			z = b.Values[j]
			wb, j = b.weight(j)
		}
		yield(z, wa, wb)
	}
}
