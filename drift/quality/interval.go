package quality

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/integrate/quad"
	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat/distuv"
)

// Interval is a two-sided confidence interval.
type Interval struct{ Low, High float64 }

func checkConfidence(confidence float64) error {
	if !(confidence > 0 && confidence < 1) {
		return fmt.Errorf("confidence %v, must be between 0 and 1, such as 0.95", confidence)
	}
	return nil
}

// normal returns the two-sided quantile of the standard normal distribution.
func normal(confidence float64) float64 { return -mathext.NormalQuantile((1 - confidence) / 2) }

// Wilson is the score interval of a share (Wilson 1927): of successes among rows.
func Wilson(successes, rows, confidence float64) (Interval, error) {
	if err := checkConfidence(confidence); err != nil {
		return Interval{}, err
	}
	if !(successes >= 0 && successes <= rows) || math.IsInf(rows, 1) {
		return Interval{}, fmt.Errorf("wilson: %v successes of %v rows", successes, rows)
	}
	if rows == 0 {
		return Interval{}, fmt.Errorf("wilson: %w", ErrNoRows)
	}
	z := normal(confidence)
	high := func(p float64) float64 {
		zz := z * z / rows
		return min((p+zz/2+z*math.Sqrt(p*(1-p)/rows+zz/rows/4))/(1+zz), 1)
	}
	// The other end of the complement: a difference would lose digits near 0.
	p := successes / rows
	top := high(p)
	if p == 0 {
		return Interval{High: top}, nil
	}
	return Interval{Low: p / top * p / (1 + z*z/rows), High: top}, nil
}

// Student is the interval of the mean of rows of the given mean and sample standard
// deviation (Student 1908). It needs at least two rows.
func Student(mean, deviation, rows, confidence float64) (Interval, error) {
	if err := checkConfidence(confidence); err != nil {
		return Interval{}, err
	}
	if math.IsNaN(mean) || math.IsInf(mean, 0) || !(deviation >= 0) || math.IsInf(deviation, 1) || math.IsNaN(rows) || math.IsInf(rows, 0) {
		return Interval{}, fmt.Errorf("student: mean %v, deviation %v of %v rows, must be finite", mean, deviation, rows)
	}
	if rows < 2 {
		return Interval{}, fmt.Errorf("student: %w: %v rows, needs at least 2", ErrUndefined, rows)
	}
	half := student(confidence, rows-1) * deviation / math.Sqrt(rows)
	if math.IsInf(half, 0) || math.IsNaN(half) {
		return Interval{}, fmt.Errorf("student: %w", ErrOverflow)
	}
	return Interval{mean - half, mean + half}, nil
}

// student returns the two-sided quantile of Student's distribution of nu degrees of freedom.
func student(confidence, nu float64) float64 {
	// gonum's quantile loses digits with nu, all of them from 100,000, and near 0.
	if nu <= 32 && confidence >= 0.5 {
		return -distuv.StudentsT{Sigma: 1, Nu: nu}.Quantile((1 - confidence) / 2)
	}
	x := nu / 2
	scale := math.Exp(x*math.Log1p(0.5/x)-0.5+stirling(x+0.5)-stirling(x)) / math.Sqrt(2*math.Pi)
	density := func(t float64) float64 { return scale * math.Exp(-(nu+1)/2*math.Log1p(t*t/nu)) }
	// By Newton's method, which does not overshoot from below: the density falls. Above the
	// median, from the Cornish–Fisher expansion (Abramowitz and Stegun 26.7.5).
	t := confidence / 2 / scale
	if confidence >= 0.5 {
		z := normal(confidence)
		t = z + z*(z*z+1)/4/nu
	}
	for range 8 {
		step := (quad.Fixed(density, 0, t, 64, quad.Legendre{}, 0) - confidence/2) / density(t)
		if !(math.Abs(step) < t/2) {
			break // a confidence so near 1 that the area knows no more digits: the expansion does
		}
		t -= step
	}
	return t
}

// AccuracyInterval is Wilson's of the accuracy. Weights count as rows.
func (c *Confusion) AccuracyInterval(confidence float64) (Interval, error) {
	var right sum
	for i := range c.classes {
		right.merge(c.cells[i*c.classes+i])
	}
	n := c.Rows()
	return Wilson(min(right.value(), n), n, confidence)
}

// PrecisionInterval is Wilson's of the precision of a class; it is undefined when the class
// was never predicted.
func (c *Confusion) PrecisionInterval(class int, confidence float64) (Interval, error) {
	_, predicted := c.margins()
	return c.shareInterval(MetricPrecision, class, predicted, confidence)
}

// RecallInterval is Wilson's of the recall of a class; it is undefined when no row is
// labelled so.
func (c *Confusion) RecallInterval(class int, confidence float64) (Interval, error) {
	labelled, _ := c.margins()
	return c.shareInterval(MetricRecall, class, labelled, confidence)
}

func (c *Confusion) shareInterval(m Metric, class int, of []sum, confidence float64) (Interval, error) {
	if err := checkLabels([]int{class}, c.classes); err != nil {
		return Interval{}, fmt.Errorf("%s: %w", m, err)
	}
	n := of[class].value()
	if n == 0 {
		return Interval{}, undefined(m, fmt.Sprintf("class %d has no rows", class))
	}
	return Wilson(min(c.Count(class, class), n), n, confidence)
}

// MAEInterval is Student's of the mean absolute error. Weights count as rows.
func (r *Regression) MAEInterval(confidence float64) (Interval, error) {
	s := r.under
	s.merge(r.over)
	return r.errorInterval(MetricMAE, s, confidence)
}

// BiasInterval is Student's of the mean of prediction less target. Weights count as rows.
func (r *Regression) BiasInterval(confidence float64) (Interval, error) {
	s := r.over
	s.merge(sum{-r.under.hi, -r.under.lo})
	return r.errorInterval(MetricBias, s, confidence)
}

// errorInterval is that of the mean of s, errors or their sizes, whose squares are the same.
func (r *Regression) errorInterval(m Metric, s sum, confidence float64) (Interval, error) {
	mean, err := r.mean(m, s.value())
	if err != nil {
		return Interval{}, err
	}
	n := r.rows.value()
	if n < 2 {
		return Interval{}, undefined(m, "the interval needs at least two rows")
	}
	square, err := finite(m, max(deviations(s, r.squares, r.rows), 0)/(n-1))
	if err != nil {
		return Interval{}, err
	}
	return Student(mean, math.Sqrt(square), n, confidence)
}

// deviations is Σw·(x-mean)² = Σw·x² - mean·Σw·x, which double-double sums can subtract.
func deviations(x, squares, rows sum) float64 {
	mean := sum{hi: x.value() / rows.value()}
	rest := x
	mean.add(rest.minus(mean.times(rows)) / rows.value())
	return squares.minus(mean.times(x))
}
