package quality

import (
	"fmt"
	"math"
)

// MAEInterval is the interval of the mean absolute error: Student's, widened by the skewness
// of the errors (Hall 1992). Weights count as rows. It is ErrTooFew below 1,000 rows, and where
// the greatest errors are so far apart that no interval holds (1/α above 0.8; Hill 1975).
func (r *Regression) MAEInterval(confidence float64) (Interval, error) {
	return r.errorInterval(MetricMAE, confidence)
}

// BiasInterval is MAEInterval for the mean of prediction less target.
func (r *Regression) BiasInterval(confidence float64) (Interval, error) {
	return r.errorInterval(MetricBias, confidence)
}

// MSEInterval is MAEInterval for the mean of squared errors. It takes 2,000 rows, and a tail
// of the squares of at most 0.7.
func (r *Regression) MSEInterval(confidence float64) (Interval, error) {
	return r.errorInterval(MetricMSE, confidence)
}

// RMSEInterval has the roots of the ends of MSEInterval.
func (r *Regression) RMSEInterval(confidence float64) (Interval, error) {
	i, err := r.errorInterval(MetricRMSE, confidence)
	return Interval{math.Sqrt(i.Low), math.Sqrt(i.High)}, err
}

// MAPEInterval is MAEInterval for the errors as a share of the target. Targets near 0 are what
// puts them far apart.
func (r *Regression) MAPEInterval(confidence float64) (Interval, error) {
	return r.errorInterval(MetricMAPE, confidence)
}

// SMAPEInterval is MAEInterval for the symmetric share, which is at most 2.
func (r *Regression) SMAPEInterval(confidence float64) (Interval, error) {
	i, err := r.errorInterval(MetricSMAPE, confidence)
	i.High = min(i.High, 2)
	return i, err
}

func (r *Regression) errorInterval(m Metric, confidence float64) (Interval, error) {
	e, err := r.meanError(m, confidence)
	if err != nil {
		return Interval{}, err
	}
	var sizes *tail
	switch m {
	case MetricMAPE:
		sizes = &r.relativeTail
	case MetricSMAPE:
		sizes = &r.symmetricTail
	default:
		sizes = &r.tail
	}
	if err := sizes.enough(m, r.rows.value()); err != nil {
		return Interval{}, err
	}
	i := e.interval(confidence)
	if m != MetricBias {
		i.Low = max(i.Low, 0)
	}
	_, err = finite(m, i.High-i.Low)
	return i, err
}

// StudentInterval is Student's of MetricMAE or MetricBias, as scipy.stats.t.interval has it.
// Of 50 skewed errors it covers 79 to 93 %: see MAEInterval.
func (r *Regression) StudentInterval(m Metric, confidence float64) (Interval, error) {
	if m != MetricMAE && m != MetricBias {
		return Interval{}, fmt.Errorf("%s: no interval of a mean error, must be %s or %s", m, MetricMAE, MetricBias)
	}
	e, err := r.meanError(m, confidence)
	if err != nil {
		return Interval{}, err
	}
	return Student(e.value, e.standardError*math.Sqrt(r.rows.value()), r.rows.value(), confidence)
}

// meanError is the mean that m is, or is the root of.
func (r *Regression) meanError(m Metric, confidence float64) (estimate, error) {
	if err := checkConfidence(confidence); err != nil {
		return estimate{}, err
	}
	of := moments{r.over, r.squares, r.cubesOver}
	switch m {
	case MetricMSE, MetricRMSE:
		of = moments{r.squares, r.quads, r.sixths}
	case MetricMAPE:
		of = r.percentage
	case MetricSMAPE:
		of = r.symmetric
	case MetricBias:
		of.sum.merge(sum{-r.under.hi, -r.under.lo})
		of.cubes.merge(sum{-r.cubesUnder.hi, -r.cubesUnder.lo})
	default:
		of.sum.merge(r.under)
		of.cubes.merge(r.cubesUnder)
	}
	return of.estimate(m, r.rows)
}

// R2Interval is the interval of R², from that of the share of the spread that is left, 1 - R²: the
// hull of Student's of its logarithm, whose error is that of the difference of two logarithms of
// means (delta method), of squared errors and of squared deviations from the mean target, and of
// Hall's (1992) with the skewness that squared errors bring in. It is ErrTooFew where MSEInterval
// is, and where a few targets make up the spread (a kurtosis above 10).
func (r *Regression) R2Interval(confidence float64) (Interval, error) {
	if err := checkConfidence(confidence); err != nil {
		return Interval{}, err
	}
	r2, err := r.R2()
	if err != nil {
		return Interval{}, err
	}
	n := r.rows.value()
	if err := r.tail.enough(MetricR2, n); err != nil {
		return Interval{}, err
	}
	mse, spread := r.squares.value()/n, deviations(r.target, r.targetSquare, r.rows)/n
	// Of squared errors e and squared deviations d, means of e², e·d and d².
	mean := meanOf(r.target, r.rows)
	square := mean.square()
	double := sum{2 * mean.hi, 2 * mean.lo}
	ee := r.quads.value() / n
	ed := r.crossedTwo
	ed.subtract(double.times(r.crossed))
	ed.merge(square.times(r.squares))
	ed.hi, ed.lo = ed.hi/n, ed.lo/n
	dd := fourth(r.target, r.targetSquare, r.targetCube, r.targetQuad, r.rows) / n
	if kurtosis := dd / spread / spread; !(kurtosis <= maxKurtosis) {
		return Interval{}, fmt.Errorf("%s: %w: a few targets make up the spread, its kurtosis is %.3g, at most %v", MetricR2, ErrTooFew, kurtosis, maxKurtosis)
	}
	variance := (ee/mse/mse - 2*ed.value()/mse/spread + dd/spread/spread) / (n - 1)
	if !(variance > 0) || math.IsInf(variance, 1) {
		return Interval{}, fmt.Errorf("%s: %w: the targets are too far from 0 for their spread", MetricR2, ErrTooFew)
	}
	left := estimate{value: 1 - r2, standardError: (1 - r2) * math.Sqrt(variance), freedom: n - 1}
	// Cubes that overflow leave the skewness out.
	scale := n * spread * left.standardError
	if k := cubed(r.squares, r.quads, r.sixths, r.rows) / scale / scale / scale; !math.IsNaN(k) && !math.IsInf(k, 0) {
		left.skewness = k
	}
	half, logarithm := student(confidence, n-1)*math.Sqrt(variance), math.Log1p(-r2)
	i := Interval{math.Exp(logarithm - half), math.Exp(logarithm + half)}.hull(left.hall(confidence))
	return Interval{1 - i.High, 1 - max(i.Low, 0)}, nil
}

// fourth is Σw·(x-mean)⁴ = Σw·x⁴ - 4·mean·Σw·x³ + 6·mean²·Σw·x² - 3·mean³·Σw·x.
func fourth(x, squares, cubes, quads, rows sum) float64 {
	mean := meanOf(x, rows)
	square := mean.square()
	cube := square.times(mean)
	out := quads
	for _, term := range []struct {
		by   float64
		of   sum
		with sum
	}{{-4, mean, cubes}, {6, square, squares}, {-3, cube, x}} {
		p := term.of.times(term.with)
		q := p.times(sum{hi: term.by})
		out.merge(q)
	}
	return out.value()
}
