package quality

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
)

// ROCAUCInterval is the interval of the ROC AUC by its variance as a U-statistic (DeLong,
// DeLong and Clarke-Pearson 1988), normal and cut to [0, 1]. It takes O(n log n) for n rows,
// those to sort them, as Sun and Xu (2014) do. Weights count as rows. Each class needs more
// than one row. Classes that scores separate leave no variance: the interval is a point.
func (r *Ranking) ROCAUCInterval(confidence float64) (Interval, error) {
	if err := checkConfidence(confidence); err != nil {
		return Interval{}, err
	}
	auc, variance, err := r.DeLong()
	if err != nil {
		return Interval{}, err
	}
	half := normal(confidence) * math.Sqrt(variance)
	return Interval{max(auc-half, 0), min(auc+half, 1)}, nil
}

// DeLong returns the ROC AUC and its variance.
func (r *Ranking) DeLong() (auc, variance float64, err error) {
	if auc, err = r.ROCAUC(); err != nil {
		return 0, 0, err
	}
	p, n := r.Rows()
	if err := checkDeLong(p, n); err != nil {
		return 0, 0, err
	}
	// A positive row's placement is the share of negative rows below it, a negative row's
	// that of positive rows above it, ties counted half. Both have the mean auc.
	var below, upTo, ofPositive, ofNegative sum
	for i := range r.scores {
		beforeN, beforeP := below.value(), upTo.value()
		below.add(r.negative[i])
		upTo.add(r.positive[i])
		ofPositive.addSquare(r.positive[i], (beforeN+r.negative[i]/2)/n-auc)
		ofNegative.addSquare(r.negative[i], 1-(beforeP+r.positive[i]/2)/p-auc)
	}
	variance, err = finite(MetricROCAUC, ofPositive.value()/(p-1)/p+ofNegative.value()/(n-1)/n)
	return auc, variance, err
}

func checkDeLong(positive, negative float64) error {
	if positive <= 1 || negative <= 1 {
		return undefined(MetricROCAUC, fmt.Sprintf("its variance needs more than one row of each class, here are %v positive and %v negative", positive, negative))
	}
	return nil
}

// Difference is a comparison of two models on the same rows.
type Difference struct {
	A, B      float64 // the figure of both
	Value     float64 // A - B
	Statistic float64 // its size in standard errors; 0 for the bootstrap
	PValue    float64 // two-sided, of no difference
	Interval  Interval
}

// CompareROCAUC compares the ROC AUC of two models that scored the same rows, by the
// variance of the difference (DeLong 1988). Each class needs more than one row. Where the
// difference has no variance, models that rank alike have p-value 1; else it is undefined.
func CompareROCAUC(positive []bool, a, b, weights []float64, confidence float64) (Difference, error) {
	if err := checkConfidence(confidence); err != nil {
		return Difference{}, err
	}
	if err := errors.Join(checkFinite("score of a", len(positive), a), checkFinite("score of b", len(positive), b)); err != nil {
		return Difference{}, err
	}
	if err := checkWeights(len(positive), weights); err != nil {
		return Difference{}, err
	}
	var d Difference
	var err error
	var placements [2][]float64
	var p, n float64
	for k, scores := range [][]float64{a, b} {
		r := NewRanking()
		if err := r.Add(positive, scores, weights); err != nil {
			return Difference{}, err
		}
		auc := &d.A
		if k == 1 {
			auc = &d.B
		}
		if *auc, err = r.ROCAUC(); err != nil {
			return Difference{}, err
		}
		p, n = r.Rows()
		placements[k] = r.placements(positive, scores)
	}
	if err := checkDeLong(p, n); err != nil {
		return Difference{}, err
	}
	d.Value = d.A - d.B
	var ofPositive, ofNegative sum
	for i, y := range positive {
		e := placements[0][i] - placements[1][i] - d.Value
		if y {
			ofPositive.addSquare(weightOf(weights, i), e)
		} else {
			ofNegative.addSquare(weightOf(weights, i), e)
		}
	}
	variance, err := finite(MetricROCAUC, ofPositive.value()/(p-1)/p+ofNegative.value()/(n-1)/n)
	if err != nil {
		return Difference{}, err
	}
	// Equal placements differ by rounding.
	if limit := 8 * epsilon * epsilon; variance <= limit/min(p, n) {
		if math.Abs(d.Value) > 4*epsilon {
			return Difference{}, undefined(MetricROCAUC, "the difference has no variance")
		}
		d.Value, d.PValue = 0, 1
		return d, nil
	}
	se := math.Sqrt(variance)
	d.Statistic = d.Value / se
	d.PValue = twoSided(d.Statistic)
	half := normal(confidence) * se
	d.Interval = Interval{max(d.Value-half, -1), min(d.Value+half, 1)}
	return d, nil
}

// twoSided is the probability of a standard normal value at least as far from 0 as z.
func twoSided(z float64) float64 { return math.Erfc(math.Abs(z) / math.Sqrt2) }

// placements returns those of rows; see DeLong.
func (r *Ranking) placements(positive []bool, scores []float64) []float64 {
	p, n := r.Rows()
	below, upTo := cumulative(r.negative), cumulative(r.positive)
	out := make([]float64, len(scores))
	for i, s := range scores {
		k := sort.SearchFloat64s(r.scores, s)
		switch {
		case k == len(r.scores) || r.scores[k] != s: // of a row of weight 0
		case positive[i]:
			out[i] = (below[k] + r.negative[k]/2) / n
		default:
			out[i] = 1 - (upTo[k]+r.positive[k]/2)/p
		}
	}
	return out
}

// cumulative returns the sums before each value.
func cumulative(values []float64) []float64 {
	var s sum
	out := slices.Clone(values)
	for i, v := range values {
		out[i] = s.value()
		s.add(v)
	}
	return out
}
