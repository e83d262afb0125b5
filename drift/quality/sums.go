package quality

import (
	"fmt"
	"math"
)

// RegressionSums are the sums of a Regression of rows of weight 1, as a database adds them up.
type RegressionSums struct {
	Rows                    int64
	Under, Over             float64 // of |error| where the prediction is too low or right, and where it is too high
	Squares                 float64 // of errors
	Percentage              float64 // of |error| / max(|target|, 2^-52)
	Symmetric               float64 // of |error| / (|target|/2 + |prediction|/2), 0 where both are 0
	Target, TargetSquares   float64 // of the target less any number near its mean, and of the square of that
	LeastTarget, MostTarget float64
}

// RegressionOf returns the comparison with these sums. It is for figures alone: intervals need more
// sums than there are.
func RegressionOf(s RegressionSums) *Regression {
	r := NewRegression()
	r.count, r.rows.hi = s.Rows, float64(s.Rows)
	r.under.hi, r.over.hi = s.Under, s.Over
	r.squares.hi, r.percentage.sum.hi, r.symmetric.sum.hi = s.Squares, s.Percentage, s.Symmetric
	r.target.hi, r.targetSquare.hi = s.Target, s.TargetSquares
	r.low, r.high = s.LeastTarget, s.MostTarget
	return r
}

// ProbabilitySums are the sums of Probabilities of rows of weight 1, as a database adds them up.
type ProbabilitySums struct {
	Rows    int64
	LogLoss float64 // of -log of the label's probability, kept 2^-52 away from 0 and 1
	Brier   float64 // of the squared differences of probabilities and labels; of two classes halved
	// Predicted and Observed are, by bin of calibration, the sums of probabilities and of what
	// came true: see Probabilities.ECE. DefaultBins each.
	Predicted, Observed []float64
}

// ProbabilitiesOf returns the comparison with these sums, of the given number of classes. It is
// for figures alone: intervals need more sums than there are.
func ProbabilitiesOf(classes int, s ProbabilitySums) (*Probabilities, error) {
	p, err := NewProbabilities(classes, len(s.Predicted))
	if err != nil {
		return nil, err
	}
	if len(s.Predicted) != len(s.Observed) {
		return nil, fmt.Errorf("probabilities with %d bins predicted and %d observed", len(s.Predicted), len(s.Observed))
	}
	p.rows.hi, p.logLoss.sum.hi, p.brier.sum.hi = float64(s.Rows), s.LogLoss, s.Brier
	for i := range s.Predicted {
		p.bins[i].predicted.hi, p.bins[i].observed.hi = s.Predicted[i], s.Observed[i]
	}
	return p, nil
}

// Tally counts the rows of one class.
type Tally struct{ Right, Predicted, Labelled int64 } // Right: labelled and predicted so

// Tallies are the margins and the diagonal of a confusion matrix of rows of weight 1: what the
// figures of several classes need, of any number of classes.
type Tallies []Tally

// totals returns the rows, those that are right, the sums of squares of both margins and of
// their product, exact up to 2^53 rows.
func (t Tallies) totals() (rows, right, labels, predictions, both sum) {
	for _, c := range t {
		l, p := sum{hi: float64(c.Labelled)}, sum{hi: float64(c.Predicted)}
		rows.merge(l)
		right.add(float64(c.Right))
		labels.merge(l.square())
		predictions.merge(p.square())
		both.merge(l.times(p))
	}
	return rows, right, labels, predictions, both
}

// Accuracy is Confusion.Accuracy.
func (t Tallies) Accuracy() (float64, error) {
	rows, right, _, _, _ := t.totals()
	if rows.value() == 0 {
		return 0, fmt.Errorf("%s: %w", MetricAccuracy, ErrNoRows)
	}
	return right.value() / rows.value(), nil
}

// Macro returns balanced accuracy, precision, recall or F1 as the mean over classes: of
// balanced accuracy of those that labels have, of the others of those that labels or predictions
// have (scikit-learn's average="macro"). A share of nothing is 0.
func (t Tallies) Macro(m Metric) (float64, error) {
	figure, labelled := ratio(recall), false
	switch m {
	case MetricRecall:
	case MetricBalancedAccuracy:
		labelled = true
	case MetricPrecision:
		figure = precision
	case MetricF1:
		var err error
		if figure, err = fBeta(1); err != nil {
			return 0, err
		}
	default:
		return 0, fmt.Errorf("%s has no macro average of tallies", m)
	}
	var classes []tally
	for _, c := range t {
		if c.Labelled > 0 || (c.Predicted > 0 && !labelled) {
			classes = append(classes, tally{float64(c.Right), float64(c.Predicted), float64(c.Labelled)})
		}
	}
	if len(classes) == 0 {
		return 0, fmt.Errorf("%s: %w", m, ErrNoRows)
	}
	return average(m, figure, classes, Options{})
}

// Matthews is Confusion.Matthews.
func (t Tallies) Matthews() (float64, error) {
	rows, right, ll, pp, lp := t.totals()
	if rows.value() == 0 {
		return 0, fmt.Errorf("%s: %w", MetricMatthews, ErrNoRows)
	}
	rn, nn := right.times(rows), rows.square()
	l, p := nn.minus(ll), nn.minus(pp)
	if l <= 0 || p <= 0 {
		return 0, nil
	}
	return rn.minus(lp) / (math.Sqrt(l) * math.Sqrt(p)), nil
}

// Kappa is Confusion.Kappa without weights.
func (t Tallies) Kappa() (float64, error) {
	rows, right, _, _, lp := t.totals()
	if rows.value() == 0 {
		return 0, fmt.Errorf("%s: %w", MetricKappa, ErrNoRows)
	}
	rn, nn := right.times(rows), rows.square()
	if nn.minus(lp) <= 0 {
		return 0, undefined(MetricKappa, "all labels and predictions are of one class")
	}
	return rn.minus(lp) / nn.minus(lp), nil
}
