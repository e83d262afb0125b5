package stattest

import (
	"fmt"
	"math"
	"slices"
	"sort"
)

// Marks of the default choice, Evidently's.
const (
	fewDistinct = 5    // up to these, a numeric column is judged by its values as categories
	smallRows   = 1000 // up to these, tests with a p-value; beyond, distances
)

// DefaultTest returns the name of the test that Evidently chooses for a column when none is
// given: distinct is the number of different values of both sides together, rows the number
// of the reference's, missing and infinite values left out of both.
//
//	                      up to 1,000 rows    more rows
//	numeric, distinct > 5       ks            wasserstein
//	else, distinct > 2       chisquare       jensenshannon
//	else                         z           jensenshannon
func DefaultTest(numeric bool, distinct int, rows float64) string {
	few := !numeric || distinct <= fewDistinct
	switch {
	case rows > smallRows && few:
		return "jensenshannon"
	case rows > smallRows:
		return "wasserstein"
	case !few:
		return "ks"
	case distinct > 2:
		return "chisquare"
	default:
		return "z"
	}
}

// DefaultDriftShare is the share of drifted columns from which a data set drifts, Evidently's.
const DefaultDriftShare = 0.5

// DefaultMinRows is the number of values on each side below which a column gets no verdict
// unless another is set. Evidently judges any number. Below it, the tests have little power,
// the asymptotic p-values are coarse, and a distance is mostly the noise of its cells.
const DefaultMinRows = 30

// TooFew says whether a side has fewer rows than minimum, so that there is no verdict.
func TooFew(reference, current, minimum float64) bool { return min(reference, current) < minimum }

// BenjaminiHochberg returns p-values adjusted for the false discovery rate over all of them,
// in the same order (Benjamini and Hochberg 1995; scipy.stats.false_discovery_control):
// comparing these with a threshold limits the expected share of false alarms among the
// alarms. A p-value that is NaN or outside 0 to 1 is an error.
func BenjaminiHochberg(p []float64) ([]float64, error) {
	if err := checkPValues(p); err != nil {
		return nil, err
	}
	order := leastFirst(p)
	out, least := make([]float64, len(p)), 1.0
	for rank := len(p); rank > 0; rank-- {
		i := order[rank-1]
		least = min(least, p[i]*(float64(len(p))/float64(rank)))
		out[i] = least
	}
	return out, nil
}

// Bonferroni returns p-values adjusted for the chance of any false alarm over all of them:
// each times their number, at most 1. A p-value that is NaN or outside 0 to 1 is an error.
func Bonferroni(p []float64) ([]float64, error) {
	if err := checkPValues(p); err != nil {
		return nil, err
	}
	out := make([]float64, len(p))
	for i, v := range p {
		out[i] = min(v*float64(len(p)), 1)
	}
	return out, nil
}

// Holm returns p-values adjusted for the chance of any false alarm over all of them (Holm
// 1979): whatever the columns have to do with each other, and however many of them drifted,
// comparing these with a rate calls none of the others drifted more often than that. A p-value
// that is NaN or outside 0 to 1 is an error.
func Holm(p []float64) ([]float64, error) {
	if err := checkPValues(p); err != nil {
		return nil, err
	}
	order := leastFirst(p)
	out, most := make([]float64, len(p)), 0.0
	for rank, i := range order {
		most = max(most, min(p[i]*float64(len(p)-rank), 1))
		out[i] = most
	}
	return out, nil
}

// leastFirst returns the indices of p-values from the least on, equal ones in their order.
func leastFirst(p []float64) []int {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return p[order[a]] < p[order[b]] })
	return order
}

func checkPValues(p []float64) error {
	for i, v := range p {
		if !(v >= 0 && v <= 1) {
			return fmt.Errorf("adjust p-values: value %d is %v, must be from 0 to 1", i, v)
		}
	}
	return nil
}

// SigmaThresholds returns the limits mean - k·σ and mean + k·σ of the scores that chunks of
// the reference have against the whole of it, with the population's standard deviation
// (NannyML's StandardDeviationThreshold, where k is 3). A chunk without a score is NaN and
// left out; no score at all, or one that is infinite, is an error.
func SigmaThresholds(scores []float64, k float64) (lower, upper float64, err error) {
	s, err := chunkScores(scores)
	if err != nil {
		return 0, 0, err
	}
	if !(k >= 0) || math.IsInf(k, 1) {
		return 0, 0, fmt.Errorf("thresholds of chunks: %v standard deviations, must be at least 0", k)
	}
	n, mean := float64(len(s)), 0.0
	for _, v := range s {
		mean += v / n
	}
	scale, squares := 0.0, 0.0 // scaled, so that squares neither vanish nor overflow
	for _, v := range s {
		scale = max(scale, math.Abs(v-mean))
	}
	if scale > 0 {
		for _, v := range s {
			d := (v - mean) / scale
			squares += d * d
		}
	}
	spread := k * scale * math.Sqrt(squares/n)
	lower, upper = mean-spread, mean+spread
	if math.IsNaN(lower+upper) || math.IsInf(lower, 0) || math.IsInf(upper, 0) {
		return 0, 0, fmt.Errorf("thresholds of chunks: the scores reach %v from their mean, which is too far for float64", scale)
	}
	return lower, upper, nil
}

// QuantileThreshold returns the quantile at level, from 0 to 1, of the scores that chunks of
// the reference have against the whole of it, by linear interpolation (numpy.nanquantile):
// at 0.99, one chunk in a hundred of undrifted data would alarm.
func QuantileThreshold(scores []float64, level float64) (float64, error) {
	s, err := chunkScores(scores)
	if err != nil {
		return 0, err
	}
	if !(level >= 0 && level <= 1) {
		return 0, fmt.Errorf("thresholds of chunks: quantile %v, must be from 0 to 1", level)
	}
	slices.Sort(s)
	q := quantiler{sample: Sample{Values: s}}
	return q.at(level), nil
}

func chunkScores(scores []float64) ([]float64, error) {
	out := make([]float64, 0, len(scores))
	for i, v := range scores {
		switch {
		case math.IsInf(v, 0):
			return nil, fmt.Errorf("thresholds of chunks: the score of chunk %d is %v, must be finite", i, v)
		case !math.IsNaN(v):
			out = append(out, v)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("thresholds of chunks: %w", ErrNoValues)
	}
	return out, nil
}
