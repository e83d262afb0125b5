package quality

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
)

const (
	minClass    = 50 // rows of each class of a ranking
	minMistakes = 15 // rows that misplaced pairs are worth, see ROCAUCInterval
)

// ROCAUCInterval is the interval of the ROC AUC by its variance as a U-statistic (DeLong,
// DeLong and Clarke-Pearson 1988): the hull of that on the scale of the logit (Pepe 2003,
// 5.2.4) and of Hall's (1992), which takes skewness off, as a few rows that are far out of place
// bring it in. Both have the degrees of freedom of Welch (1947), since the variance is the sum
// of two that come from as many rows as the classes have. It takes O(n log n) for n rows, those to sort them, as Sun
// and Xu (2014) do. Weights count as rows.
//
// It is ErrTooFew below 50 rows of a class, and below 15 mistakes: where the variance of the
// lesser of AUC and 1 - AUC, as a share of its square, is above that of a count of 15.
func (r *Ranking) ROCAUCInterval(confidence float64) (Interval, error) {
	if err := checkConfidence(confidence); err != nil {
		return Interval{}, err
	}
	auc, parts, err := r.deLong()
	if err != nil {
		return Interval{}, err
	}
	if err := parts.enough(auc, confidence); err != nil {
		return Interval{}, fmt.Errorf("%s: %w", MetricROCAUC, err)
	}
	e := estimate{value: auc, standardError: math.Sqrt(parts.variance()), skewness: parts.skewness(), freedom: parts.freedom()}
	return e.onLogit(confidence), nil
}

// DeLongInterval is DeLong's as the reference has it, normal and cut to [0, 1]. Each class
// needs more than one row. Classes that scores separate leave no variance: the interval is a
// point. Near 1 and of 10 positives it covers 67 % at 95 %: see ROCAUCInterval.
func (r *Ranking) DeLongInterval(confidence float64) (Interval, error) {
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
	auc, parts, err := r.deLong()
	if err != nil {
		return 0, 0, err
	}
	variance, err = finite(MetricROCAUC, parts.variance())
	return auc, variance, err
}

// placed are the rows of both classes, and the sums of squares and cubes of what their
// placements, or the differences of their placements, deviate from the mean.
type placed struct {
	positive, negative           float64 // rows
	ofPositive, ofNegative       sum     // squares
	cubesPositive, cubesNegative sum
}

func (p *placed) add(positive, negative, ofPositive, ofNegative float64) {
	p.ofPositive.addSquare(positive, ofPositive)
	p.ofNegative.addSquare(negative, ofNegative)
	p.cubesPositive.addSquare(positive*ofPositive, ofPositive)
	p.cubesNegative.addSquare(negative*ofNegative, ofNegative)
}

// of returns the variances of the mean that both classes add.
func (p *placed) of() (positive, negative float64) {
	return p.ofPositive.value() / (p.positive - 1) / p.positive, p.ofNegative.value() / (p.negative - 1) / p.negative
}

func (p *placed) variance() float64 {
	a, b := p.of()
	return a + b
}

// freedom is Welch and Satterthwaite's.
func (p *placed) freedom() float64 {
	a, b := p.of()
	s := a + b
	a, b = a/s, b/s
	return 1 / (a*a/(p.positive-1) + b*b/(p.negative-1))
}

// skewness is that of the sum of the means of both classes.
func (p *placed) skewness() float64 {
	third := p.cubesPositive.value()/p.positive/p.positive/p.positive + p.cubesNegative.value()/p.negative/p.negative/p.negative
	return third / math.Pow(p.variance(), 1.5)
}

// enough returns why the rows are too few for an interval of the area.
func (p *placed) enough(auc, confidence float64) error {
	few, side, variance := min(p.positive, p.negative), min(auc, 1-auc), p.variance()
	mistakes := side * side / variance
	switch {
	case side <= 4*epsilon && auc < 0.5:
		return fmt.Errorf("%w: the scores separate the classes: %s", ErrTooFew, atMost(1-allRight(few, confidence), confidence))
	case side <= 4*epsilon:
		// Each of so many pairs that share no row is in order as probably as the area says.
		return fmt.Errorf("%w: the scores separate the classes: %s", ErrTooFew, atLeast(allRight(few, confidence), confidence))
	case few < minClass:
		return fmt.Errorf("%w: %v positive and %v negative rows, at least %d of each are needed", ErrTooFew, p.positive, p.negative, minClass)
	case !(variance > 0):
		return fmt.Errorf("%w: all rows have one score", ErrTooFew)
	case mistakes < minMistakes:
		return fmt.Errorf("%w: misplaced pairs are worth %.2g rows, at least %d are needed", ErrTooFew, mistakes, minMistakes)
	}
	return nil
}

func (r *Ranking) deLong() (auc float64, parts placed, err error) {
	if auc, err = r.ROCAUC(); err != nil {
		return 0, placed{}, err
	}
	p, n := r.Rows()
	if err := checkDeLong(p, n); err != nil {
		return 0, placed{}, err
	}
	// A positive row's placement is the share of negative rows below it, a negative row's
	// that of positive rows above it, ties counted half. Both have the mean auc.
	parts = placed{positive: p, negative: n}
	var below, upTo sum
	for i := range r.scores {
		beforeN, beforeP := below.value(), upTo.value()
		below.add(r.negative[i])
		upTo.add(r.positive[i])
		parts.add(r.positive[i], r.negative[i], (beforeN+r.negative[i]/2)/n-auc, 1-(beforeP+r.positive[i]/2)/p-auc)
	}
	return auc, parts, nil
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

	Interval   *Interval // nil: see NoInterval
	NoInterval error     // why there is no interval, such as ErrTooFew
	Reference  Interval  // DeLong's or the bootstrap's, as published
}

// CompareROCAUC compares the ROC AUC of two models that scored the same rows, by the
// variance of the difference (DeLong 1988). Each class needs more than one row. Where the
// difference has no variance, models that rank alike have p-value 1; else it is undefined.
//
// Its interval is Student's with the degrees of freedom of Welch, widened by the skewness of
// the placements' differences (Hall 1992). There is none where one of both areas has none, see
// ROCAUCInterval, or where a few rows make up the difference.
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
	var areas [2]float64
	var placements [2][]float64
	var p, n float64
	var few error // why one of them has no interval
	for k, scores := range [][]float64{a, b} {
		r := NewRanking()
		if err := r.Add(positive, scores, weights); err != nil {
			return Difference{}, err
		}
		auc, parts, err := r.deLong()
		if err != nil {
			return Difference{}, err
		}
		areas[k] = auc
		p, n = parts.positive, parts.negative
		placements[k] = r.placements(positive, scores)
		if err := parts.enough(auc, confidence); err != nil && few == nil {
			few = fmt.Errorf("%s of %s: %w", MetricROCAUC, []string{"a", "b"}[k], err)
		}
	}
	d := Difference{A: areas[0], B: areas[1], Value: areas[0] - areas[1]}
	parts := placed{positive: p, negative: n}
	for i, y := range positive {
		e, w := placements[0][i]-placements[1][i]-d.Value, weightOf(weights, i)
		if y {
			parts.add(w, 0, e, 0)
		} else {
			parts.add(0, w, 0, e)
		}
	}
	variance, err := finite(MetricROCAUC, parts.variance())
	if err != nil {
		return Difference{}, err
	}
	// Equal placements differ by rounding.
	if limit := 8 * epsilon * epsilon; variance <= limit/min(p, n) {
		if math.Abs(d.Value) > 4*epsilon {
			return Difference{}, undefined(MetricROCAUC, "the difference has no variance")
		}
		d.Value, d.PValue = 0, 1
		d.NoInterval = fmt.Errorf("%s: %w: both models rank alike", MetricROCAUC, ErrTooFew)
		return d, nil
	}
	se := math.Sqrt(variance)
	d.Statistic = d.Value / se
	d.PValue = twoSided(d.Statistic)
	half := normal(confidence) * se
	d.Reference = Interval{max(d.Value-half, -1), min(d.Value+half, 1)}
	e := estimate{value: d.Value, standardError: se, skewness: parts.skewness(), freedom: parts.freedom()}
	switch {
	case few != nil:
		d.NoInterval = few
	case !(math.Abs(e.skewness) <= maxSkewness):
		d.NoInterval = tooSkewed(MetricROCAUC, e.skewness)
	default:
		i := e.interval(confidence)
		d.Interval = &Interval{max(i.Low, -1), min(i.High, 1)}
	}
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
