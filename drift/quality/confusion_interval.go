package quality

import (
	"fmt"
	"math"
)

const minAgreement = 15 // right and wrong rows of each class for a figure of all cells

// F1Interval is the interval of a class's F1, which is a growing function, 2·q/(1+q), of the
// share q of the rows labelled or predicted so that are both: MidP's of it. It is undefined
// where there are no such rows, and ErrTooFew below 30, or 5 right or wrong ones.
func (c *Confusion) F1Interval(class int, confidence float64) (Interval, error) {
	if err := checkLabels([]int{class}, c.classes); err != nil {
		return Interval{}, fmt.Errorf("%s: %w", MetricF1, err)
	}
	labelled, predicted := c.margins()
	right := c.Count(class, class)
	n := labelled[class]
	n.merge(predicted[class])
	rows := n.value() - right
	if rows <= 0 {
		return Interval{}, undefined(MetricF1, fmt.Sprintf("class %d has no rows", class))
	}
	i, err := shareInterval(MetricF1, min(right, rows), rows, confidence, "right", "wrong")
	if err != nil {
		return Interval{}, err
	}
	return Interval{2 * i.Low / (1 + i.Low), 2 * i.High / (1 + i.High)}, nil
}

// BalancedAccuracyInterval is the interval of the mean recall, from those of the classes' own:
// the distances of their ends, squared and summed (Newcombe 1998; MOVER, Zou and Donner 2008),
// as recalls are independent. It is ErrTooFew where a class is, see RecallInterval.
func (c *Confusion) BalancedAccuracyInterval(confidence float64) (Interval, error) {
	labelled, _ := c.margins()
	return c.meanShare(MetricBalancedAccuracy, labelled, confidence)
}

// MacroRecallInterval is BalancedAccuracyInterval: of classes that all occur among the labels
// the figures are the same.
func (c *Confusion) MacroRecallInterval(confidence float64) (Interval, error) {
	labelled, _ := c.margins()
	return c.meanShare(MetricRecall, labelled, confidence)
}

// MacroPrecisionInterval is BalancedAccuracyInterval for the mean precision.
func (c *Confusion) MacroPrecisionInterval(confidence float64) (Interval, error) {
	_, predicted := c.margins()
	return c.meanShare(MetricPrecision, predicted, confidence)
}

// meanShare is the interval of the mean over classes of the share of rows that are right.
func (c *Confusion) meanShare(m Metric, of []sum, confidence float64) (Interval, error) {
	var value, below, above float64
	classes := float64(c.classes)
	for k := range c.classes {
		if of[k].value() == 0 { // the figure leaves it out, or takes it for 0, and is of other classes than that of other samples
			return Interval{}, fmt.Errorf("%s: %w: no row of class %d", m, ErrTooFew, k)
		}
		i, err := c.classInterval(m, k, of, confidence)
		if err != nil {
			return Interval{}, fmt.Errorf("class %d: %w", k, err)
		}
		share := c.Count(k, k) / of[k].value()
		value += share
		below += (share - i.Low) * (share - i.Low)
		above += (i.High - share) * (i.High - share)
	}
	return Interval{(value - math.Sqrt(below)) / classes, (value + math.Sqrt(above)) / classes}, nil
}

// MatthewsInterval is the interval of Matthews by the influence of each cell (delta method):
// the hull of that on Fisher's scale, artanh, and of Hall's (1992), which takes skewness off.
// It is ErrTooFew where a class has fewer than 15 rows that are rightly predicted so, that are
// so labelled and are not, or that are predicted so and are not.
func (c *Confusion) MatthewsInterval(confidence float64) (Interval, error) {
	v, err := c.Matthews()
	if err != nil {
		return Interval{}, err
	}
	s := c.shares()
	a, b := 1-s.squares(s.predicted), 1-s.squares(s.labelled)
	root := math.Sqrt(a * b)
	e, err := c.byCells(MetricMatthews, v, func(i, j int, right float64) float64 {
		return (right-s.predicted[i]-s.labelled[j])/root + v*(s.predicted[j]/a+s.labelled[i]/b)
	}, confidence)
	if err != nil {
		return Interval{}, err
	}
	return e.onFisher(confidence), nil
}

// KappaInterval is MatthewsInterval for Cohen's kappa, unweighted.
func (c *Confusion) KappaInterval(confidence float64) (Interval, error) {
	v, err := c.Kappa(KappaUnweighted)
	if err != nil {
		return Interval{}, err
	}
	s := c.shares()
	chance := 0.0
	for k, p := range s.predicted {
		chance += p * s.labelled[k]
	}
	e, err := c.byCells(MetricKappa, v, func(i, j int, right float64) float64 {
		return (right - (s.predicted[i]+s.labelled[j])*(1-v)) / (1 - chance)
	}, confidence)
	if err != nil {
		return Interval{}, err
	}
	return e.onFisher(confidence), nil
}

// MacroF1Interval is MatthewsInterval for the mean F1 of the classes that occur.
func (c *Confusion) MacroF1Interval(confidence float64) (Interval, error) {
	v, err := c.FBeta(1, Options{})
	if err != nil {
		return Interval{}, err
	}
	s := c.shares()
	classes := 0.0
	both, f1 := make([]float64, c.classes), make([]float64, c.classes)
	for k := range both {
		if both[k] = s.labelled[k] + s.predicted[k]; both[k] > 0 {
			f1[k] = 2 * c.Count(k, k) / s.rows / both[k]
			classes++
		}
	}
	e, err := c.byCells(MetricF1, v, func(i, j int, right float64) float64 {
		return (2*right/both[i] - f1[i]/both[i] - f1[j]/both[j]) / classes
	}, confidence)
	if err != nil {
		return Interval{}, err
	}
	return e.onLogit(confidence), nil
}

// shares are the margins of a matrix as parts of its rows.
type shares struct {
	labelled, predicted []float64
	rows                float64
}

func (c *Confusion) shares() shares {
	labelled, predicted := c.margins()
	out := shares{make([]float64, c.classes), make([]float64, c.classes), c.Rows()}
	for k := range labelled {
		out.labelled[k], out.predicted[k] = labelled[k].value()/out.rows, predicted[k].value()/out.rows
	}
	return out
}

func (shares) squares(of []float64) float64 {
	out := 0.0
	for _, x := range of {
		out += x * x
	}
	return out
}

// byCells is the estimate of a figure of all cells, from the influence that a row of label i
// and prediction j has; right is 1 where both are one class, and else 0.
func (c *Confusion) byCells(m Metric, value float64, influence func(i, j int, right float64) float64, confidence float64) (estimate, error) {
	if err := checkConfidence(confidence); err != nil {
		return estimate{}, err
	}
	labelled, predicted := c.margins()
	for k := range labelled {
		l, p, right := labelled[k].value(), predicted[k].value(), c.Count(k, k)
		if few := min(right, l-right, p-right); few < minAgreement {
			return estimate{}, fmt.Errorf("%s: %w: of class %d, %v rows are right, %v are missed and %v are wrongly predicted so; at least %d of each are needed",
				m, ErrTooFew, k, right, l-right, p-right, minAgreement)
		}
	}
	n, mean := c.Rows(), 0.0
	each := func(f func(w, u float64)) {
		for i := range c.classes {
			for j := range c.classes {
				right := 0.0
				if i == j {
					right = 1
				}
				if w := c.Count(i, j); w > 0 {
					f(w, influence(i, j, right))
				}
			}
		}
	}
	each(func(w, u float64) { mean += w / n * u })
	var squares, cubes float64
	each(func(w, u float64) {
		d := u - mean
		squares += w * d * d
		cubes += w * d * d * d
	})
	return estimate{
		value: value, standardError: math.Sqrt(squares / n / (n - 1)), freedom: n - 1,
		skewness: cubes / squares / math.Sqrt(squares),
	}, nil
}

// onFisher is the hull of Student's interval of artanh and of Hall's, for what lies from -1 to 1.
func (e estimate) onFisher(confidence float64) Interval {
	half, at := student(confidence, e.freedom)*e.standardError/(1-e.value*e.value), math.Atanh(e.value)
	i := Interval{math.Tanh(at - half), math.Tanh(at + half)}.hull(e.hall(confidence))
	return Interval{max(i.Low, -1), min(i.High, 1)}
}

// onLogit is onFisher for what lies from 0 to 1, by the logit.
func (e estimate) onLogit(confidence float64) Interval {
	half, odds := student(confidence, e.freedom)*e.standardError/(e.value*(1-e.value)), math.Log(e.value/(1-e.value))
	i := Interval{1 / (1 + math.Exp(half-odds)), 1 / (1 + math.Exp(-half-odds))}.hull(e.hall(confidence))
	return Interval{max(i.Low, 0), min(i.High, 1)}
}
