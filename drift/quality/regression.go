package quality

import (
	"fmt"
	"math"
	"sort"
)

// Regression compares predicted numbers with true ones. All sums that it holds are of
// constant size; the median needs the values, see MedianAbsoluteError.
type Regression struct {
	count                int64 // rows of a weight above 0
	rows                 sum
	under, over          sum // of the errors of predictions that are too low and too high, both positive
	squares              sum // of errors
	cubesUnder           sum // of the errors in under, positive
	cubesOver            sum
	quads, sixths        sum // of errors to the fourth and the sixth
	percentage           moments
	symmetric            moments
	target, targetSquare sum
	targetCube           sum
	targetQuad           sum
	crossed, crossedTwo  sum     // of squared errors times the target, and its square
	tail                 tail    // of the errors
	relativeTail         tail    // of the errors as a share of the target
	symmetricTail        tail    // of the errors as a share of the mean of target and prediction
	low, high            float64 // of the target
}

// NewRegression returns an empty comparison.
func NewRegression() *Regression {
	return &Regression{low: math.Inf(1), high: math.Inf(-1)}
}

// Add counts rows. weights is nil for one row each.
func (r *Regression) Add(target, prediction, weights []float64) error {
	if err := checkRegression(target, prediction, weights); err != nil {
		return err
	}
	for i, y := range target {
		w, p := weightOf(weights, i), prediction[i]
		if w == 0 {
			continue
		}
		e := y - p
		a := math.Abs(e)
		r.count++
		r.rows.add(w)
		if e >= 0 {
			r.under.addProduct(w, a)
			r.cubesUnder.addSquare(w*a, a)
		} else {
			r.over.addProduct(w, a)
			r.cubesOver.addSquare(w*a, a)
		}
		square := e * e
		r.squares.addSquare(w, e)
		r.quads.addSquare(w, square)
		r.sixths.addSquare(w*square, square)
		relative := a / max(math.Abs(y), epsilon)
		r.percentage.add(w, relative)
		symmetric := 0.0
		if d := math.Abs(y)/2 + math.Abs(p)/2; d > 0 {
			symmetric = a / d
		}
		r.symmetric.add(w, symmetric)
		r.target.addProduct(w, y)
		r.targetSquare.addSquare(w, y)
		r.targetCube.addSquare(w*y, y)
		r.targetQuad.addSquare(w, y*y)
		r.crossed.addProduct(w*square, y)
		r.crossedTwo.addSquare(w*square, y)
		r.tail.add(w, a)
		r.relativeTail.add(w, relative)
		r.symmetricTail.add(w, symmetric)
		r.low, r.high = min(r.low, y), max(r.high, y)
	}
	return nil
}

func checkRegression(target, prediction, weights []float64) error {
	if err := checkFinite("target", len(target), target); err != nil {
		return err
	}
	if err := checkFinite("prediction", len(target), prediction); err != nil {
		return err
	}
	return checkWeights(len(target), weights)
}

// Merge adds the rows of o.
func (r *Regression) Merge(o *Regression) {
	r.count += o.count
	for _, s := range []struct {
		to   *sum
		from sum
	}{
		{&r.rows, o.rows},
		{&r.under, o.under},
		{&r.over, o.over},
		{&r.squares, o.squares},
		{&r.cubesUnder, o.cubesUnder},
		{&r.cubesOver, o.cubesOver},
		{&r.quads, o.quads},
		{&r.sixths, o.sixths},
		{&r.target, o.target},
		{&r.targetSquare, o.targetSquare},
		{&r.targetCube, o.targetCube},
		{&r.targetQuad, o.targetQuad},
		{&r.crossed, o.crossed},
		{&r.crossedTwo, o.crossedTwo},
	} {
		s.to.merge(s.from)
	}
	r.percentage.merge(o.percentage)
	r.symmetric.merge(o.symmetric)
	r.tail.merge(&o.tail)
	r.relativeTail.merge(&o.relativeTail)
	r.symmetricTail.merge(&o.symmetricTail)
	r.low, r.high = min(r.low, o.low), max(r.high, o.high)
}

// Rows returns the weight of all rows.
func (r *Regression) Rows() float64 { return r.rows.value() }

func (r *Regression) mean(m Metric, s float64) (float64, error) {
	if r.rows.value() == 0 {
		return 0, fmt.Errorf("%s: %w", m, ErrNoRows)
	}
	return finite(m, s/r.rows.value())
}

// MAE is the mean absolute error.
func (r *Regression) MAE() (float64, error) {
	s := r.under
	s.merge(r.over)
	return r.mean(MetricMAE, s.value())
}

// Bias is the mean of prediction less target: above 0, predictions are too high.
func (r *Regression) Bias() (float64, error) { return r.mean(MetricBias, r.over.minus(r.under)) }

// MSE is the mean squared error.
func (r *Regression) MSE() (float64, error) { return r.mean(MetricMSE, r.squares.value()) }

// RMSE is the square root of MSE.
func (r *Regression) RMSE() (float64, error) {
	v, err := r.mean(MetricRMSE, r.squares.value())
	return math.Sqrt(v), err
}

// MAPE is the mean absolute error as a share of the absolute target (1 is 100 %), which
// counts as at least 2^-52: a target of 0 makes it huge, as in scikit-learn.
func (r *Regression) MAPE() (float64, error) { return r.mean(MetricMAPE, r.percentage.sum.value()) }

// SMAPE is the mean of 2·|error| / (|target|+|prediction|), from 0 to 2; a row where both
// are 0 counts 0 (River's SMAPE / 100).
func (r *Regression) SMAPE() (float64, error) { return r.mean(MetricSMAPE, r.symmetric.sum.value()) }

// QuantileLoss is the mean pinball loss of predictions of the given quantile, 0 to 1
// (Koenker and Bassett 1978): quantile·error where the prediction is too low, (1-quantile)·
// |error| where it is too high. At 0.5 it is half of MAE.
func (r *Regression) QuantileLoss(quantile float64) (float64, error) {
	if !(quantile >= 0 && quantile <= 1) {
		return 0, fmt.Errorf("%s of quantile %v, must be in [0, 1]", MetricQuantileLoss, quantile)
	}
	var s sum
	s.addProduct(quantile, r.under.value())
	s.addProduct(1-quantile, r.over.value())
	return r.mean(MetricQuantileLoss, s.value())
}

// R2 is the coefficient of determination, 1 - Σ(error²) / Σ(deviation from the mean target²).
// Of a constant target it is 1 when all predictions are right and else 0 (scikit-learn's
// force_finite). It is undefined below two rows.
func (r *Regression) R2() (float64, error) {
	if r.count == 0 {
		return 0, fmt.Errorf("%s: %w", MetricR2, ErrNoRows)
	}
	if r.count < 2 {
		return 0, undefined(MetricR2, "one row has no spread")
	}
	if _, err := finite(MetricR2, r.squares.value()+r.targetSquare.value()); err != nil {
		return 0, err
	}
	spread := deviations(r.target, r.targetSquare, r.rows)
	switch {
	case r.squares.value() == 0:
		return 1, nil
	case r.low == r.high || spread <= 0:
		return 0, nil
	}
	return finite(MetricR2, 1-r.squares.value()/spread)
}

// MedianAbsoluteError is the median of |error|. With weights it is the value below and above
// which lies half of the weight, the mean of two where both qualify: the median of the rows
// repeated (Hyndman and Fan 1996, definition 2).
func MedianAbsoluteError(target, prediction, weights []float64) (float64, error) {
	if err := checkRegression(target, prediction, weights); err != nil {
		return 0, err
	}
	type deviation struct{ value, weight float64 }
	var d []deviation
	for i, y := range target {
		if w := weightOf(weights, i); w > 0 {
			d = append(d, deviation{math.Abs(y - prediction[i]), w})
		}
	}
	if len(d) == 0 {
		return 0, fmt.Errorf("%s: %w", MetricMedianAbsoluteError, ErrNoRows)
	}
	sort.Slice(d, func(a, b int) bool {
		return d[a].value < d[b].value || d[a].value == d[b].value && d[a].weight < d[b].weight
	})
	var rows sum
	cumulative := make([]float64, len(d))
	for i := range d {
		rows.add(d[i].weight)
		cumulative[i] = rows.value()
	}
	half := rows.value() / 2
	i := min(sort.SearchFloat64s(cumulative, half), len(d)-1)
	v := d[i].value
	if cumulative[i]-half <= epsilon*rows.value() && i+1 < len(d) {
		v = v/2 + d[i+1].value/2
	}
	return finite(MetricMedianAbsoluteError, v)
}
