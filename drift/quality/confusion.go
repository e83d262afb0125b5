package quality

import (
	"errors"
	"fmt"
	"math"
)

// MaxClasses bounds a confusion matrix, whose memory grows with the square.
const MaxClasses = 4096

// Confusion is a confusion matrix: the rows of each label (class of the truth) by the class
// that was predicted. Classes are 0 … Classes()-1.
type Confusion struct {
	classes int
	cells   []sum // [label*classes + predicted]
}

// NewConfusion returns an empty matrix.
func NewConfusion(classes int) (*Confusion, error) {
	if classes < 1 || classes > MaxClasses {
		return nil, fmt.Errorf("confusion matrix of %d classes, must have 1 to %d", classes, MaxClasses)
	}
	return &Confusion{classes: classes, cells: make([]sum, classes*classes)}, nil
}

// ConfusionOf returns the matrix of counts, a row a label and a column a prediction.
func ConfusionOf(counts [][]float64) (*Confusion, error) {
	c, err := NewConfusion(len(counts))
	if err != nil {
		return nil, err
	}
	for i, row := range counts {
		if len(row) != c.classes {
			return nil, fmt.Errorf("confusion matrix: row %d has %d cells, must have %d", i, len(row), c.classes)
		}
		for j, n := range row {
			if !(n >= 0) || math.IsInf(n, 1) {
				return nil, fmt.Errorf("confusion matrix: cell (%d, %d) is %v, must be finite and at least 0", i, j, n)
			}
			c.cells[i*c.classes+j].hi = n
		}
	}
	return c, nil
}

// BinaryConfusion returns the matrix of two classes from its cells; class 1 is positive.
// Negative counts are taken for 0.
func BinaryConfusion(truePositive, falsePositive, falseNegative, trueNegative int64) *Confusion {
	c := &Confusion{classes: 2, cells: make([]sum, 4)}
	for i, n := range []int64{trueNegative, falsePositive, falseNegative, truePositive} {
		c.cells[i].hi = float64(max(n, 0))
	}
	return c
}

// Classes returns the number of classes.
func (c *Confusion) Classes() int { return c.classes }

// Add counts rows. weights is nil for one row each.
func (c *Confusion) Add(labels, predictions []int, weights []float64) error {
	if len(labels) != len(predictions) {
		return fmt.Errorf("%d labels and %d predictions: every row needs both", len(labels), len(predictions))
	}
	if err := errors.Join(checkClasses("label", c.classes, labels), checkClasses("prediction", c.classes, predictions),
		checkWeights(len(labels), weights)); err != nil {
		return err
	}
	for i, l := range labels {
		c.cells[l*c.classes+predictions[i]].add(weightOf(weights, i))
	}
	return nil
}

// Merge adds the counts of o, of as many classes.
func (c *Confusion) Merge(o *Confusion) error {
	if c.classes != o.classes {
		return fmt.Errorf("merge confusion matrices of %d and %d classes", c.classes, o.classes)
	}
	for i := range c.cells {
		c.cells[i].merge(o.cells[i])
	}
	return nil
}

// Count returns the rows of a label with a prediction.
func (c *Confusion) Count(label, prediction int) float64 {
	return c.cells[label*c.classes+prediction].value()
}

// Rows returns the weight of all rows.
func (c *Confusion) Rows() float64 {
	var n sum
	for _, x := range c.cells {
		n.merge(x)
	}
	return n.value()
}

// Normalize says by what the cells of a matrix are divided.
type Normalize string

// Normalisations, named as scikit-learn's.
const (
	NormalizeNone Normalize = ""
	NormalizeTrue Normalize = "true" // by the rows of the label
	NormalizePred Normalize = "pred" // by the rows of the prediction
	NormalizeAll  Normalize = "all"
)

// Matrix returns the cells, a row a label; those of an empty denominator are 0.
func (c *Confusion) Matrix(by Normalize) ([][]float64, error) {
	labelled, predicted := c.margins()
	total := c.Rows()
	out := make([][]float64, c.classes)
	for i := range out {
		out[i] = make([]float64, c.classes)
		for j := range out[i] {
			var d float64
			switch by {
			case NormalizeNone:
				d = 1
			case NormalizeTrue:
				d = labelled[i].value()
			case NormalizePred:
				d = predicted[j].value()
			case NormalizeAll:
				d = total
			default:
				return nil, fmt.Errorf("normalise a confusion matrix by %q, must be true, pred, all or empty", by)
			}
			out[i][j] = divide(c.Count(i, j), d, ZeroDivisionZero)
		}
	}
	return out, nil
}

// margins returns the rows of each label and of each prediction.
func (c *Confusion) margins() (labelled, predicted []sum) {
	labelled, predicted = make([]sum, c.classes), make([]sum, c.classes)
	for i := range c.classes {
		for j := range c.classes {
			labelled[i].merge(c.cells[i*c.classes+j])
			predicted[j].merge(c.cells[i*c.classes+j])
		}
	}
	return labelled, predicted
}

// Accuracy is the share of rows that were predicted as labelled.
func (c *Confusion) Accuracy() (float64, error) {
	total := c.Rows()
	if total == 0 {
		return 0, fmt.Errorf("%s: %w", MetricAccuracy, ErrNoRows)
	}
	var right sum
	for i := range c.classes {
		right.merge(c.cells[i*c.classes+i])
	}
	return finite(MetricAccuracy, right.value()/total)
}

// BalancedAccuracy is the mean recall of the classes that labels have.
func (c *Confusion) BalancedAccuracy() (float64, error) {
	labelled, _ := c.margins()
	var s sum
	n := 0.0
	for i, l := range labelled {
		if l.value() > 0 {
			s.add(c.Count(i, i) / l.value())
			n++
		}
	}
	if n == 0 {
		return 0, fmt.Errorf("%s: %w", MetricBalancedAccuracy, ErrNoRows)
	}
	return finite(MetricBalancedAccuracy, s.value()/n)
}

// scaled returns the cells, their margins and their total, divided by a power of two that
// brings the total near 1.
func (c *Confusion) scaled(m Metric) (cells, labelled, predicted []sum, total sum, err error) {
	n := c.Rows()
	if n == 0 {
		return nil, nil, nil, sum{}, fmt.Errorf("%s: %w", m, ErrNoRows)
	}
	if _, err := finite(m, n); err != nil {
		return nil, nil, nil, sum{}, err
	}
	f := scale(n)
	cells = make([]sum, len(c.cells))
	s := Confusion{classes: c.classes, cells: cells}
	for i, x := range c.cells {
		cells[i] = sum{x.hi * f, x.lo * f}
		total.merge(cells[i])
	}
	labelled, predicted = s.margins()
	return cells, labelled, predicted, total, nil
}

// Matthews is the correlation of labels and predictions (Matthews 1975; for several classes
// Gorodkin 2004). It is 0 when all labels or all predictions are of one class.
func (c *Confusion) Matthews() (float64, error) {
	cells, labelled, predicted, total, err := c.scaled(MetricMatthews)
	if err != nil {
		return 0, err
	}
	var right, lp, ll, pp sum
	for i := range c.classes {
		right.merge(cells[i*c.classes+i])
		lp.merge(labelled[i].times(predicted[i]))
		ll.merge(labelled[i].square())
		pp.merge(predicted[i].square())
	}
	rn, nn := right.times(total), total.square()
	l, p := nn.minus(ll), nn.minus(pp)
	if l <= 0 || p <= 0 || occurring(labelled) < 2 || occurring(predicted) < 2 {
		return 0, nil
	}
	return rn.minus(lp) / (math.Sqrt(l) * math.Sqrt(p)), nil
}

// occurring counts the classes that have rows.
func occurring(margin []sum) int {
	n := 0
	for _, s := range margin {
		if s.value() > 0 {
			n++
		}
	}
	return n
}

// KappaWeights says how far apart two classes are for kappa.
type KappaWeights string

// Weights of disagreement between the i-th and the j-th class.
const (
	KappaUnweighted KappaWeights = ""          // 1
	KappaLinear     KappaWeights = "linear"    // |i-j|
	KappaQuadratic  KappaWeights = "quadratic" // (i-j)²
)

// Kappa is Cohen's: the agreement beyond that of chance (Cohen 1960; weighted 1968). The
// order and distance of classes are those of all classes, also of those that do not occur.
// It is undefined when all labels and predictions are of one class.
func (c *Confusion) Kappa(weights KappaWeights) (float64, error) {
	cells, labelled, predicted, total, err := c.scaled(MetricKappa)
	if err != nil {
		return 0, err
	}
	var observed, expected sum
	for i := range c.classes {
		for j := range c.classes {
			d := math.Abs(float64(i - j))
			switch weights {
			case KappaUnweighted:
				d = math.Min(d, 1)
			case KappaLinear:
			case KappaQuadratic:
				d *= d
			default:
				return 0, fmt.Errorf("kappa: weights %q, must be linear, quadratic or empty", weights)
			}
			factor := sum{hi: d}
			o, e := cells[i*c.classes+j].times(total), labelled[i].times(predicted[j])
			observed.merge(o.times(factor))
			expected.merge(e.times(factor))
		}
	}
	if expected.value() == 0 {
		return 0, undefined(MetricKappa, "all labels and predictions are of one class")
	}
	return expected.minus(observed) / expected.value(), nil
}

// tallies returns the counts of the classes that o asks for.
func (c *Confusion) tallies(m Metric, o Options) ([]int, []tally, error) {
	labelled, predicted := c.margins()
	if total := c.Rows(); total == 0 {
		return nil, nil, fmt.Errorf("%s: %w", m, ErrNoRows)
	} else if _, err := finite(m, total); err != nil {
		return nil, nil, err
	}
	labels := o.Labels
	switch {
	case o.Average == AverageBinary:
		// Rows of a third class would silently count as negative.
		positive, occur := positiveOf(o), 0
		for i := range c.classes {
			if labelled[i].value()+predicted[i].value() > 0 {
				occur++
			}
		}
		switch {
		case occur > 2:
			return nil, nil, fmt.Errorf("%s: average binary of %d classes: choose micro, macro or weighted", m, occur)
		case occur == 2 && positive < c.classes && positive >= 0 && labelled[positive].value()+predicted[positive].value() == 0:
			return nil, nil, fmt.Errorf("%s: the positive class %d is none of the two that occur", m, positive)
		}
		labels = []int{positive}
	case labels == nil:
		for i := range c.classes {
			if labelled[i].value()+predicted[i].value() > 0 {
				labels = append(labels, i)
			}
		}
	}
	if err := checkLabels(labels, c.classes); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", m, err)
	}
	out := make([]tally, len(labels))
	for k, l := range labels {
		out[k] = tally{c.Count(l, l), predicted[l].value(), labelled[l].value()}
	}
	return labels, out, nil
}

// positiveOf is the class of the binary average.
func positiveOf(o Options) int {
	if len(o.Labels) > 0 {
		return o.Labels[0]
	}
	return 1
}

// Precision is the share of predictions of a class that were right.
func (c *Confusion) Precision(o Options) (float64, error) {
	return c.averaged(MetricPrecision, precision, o)
}

// Recall is the share of a class's rows that were predicted so.
func (c *Confusion) Recall(o Options) (float64, error) {
	return c.averaged(MetricRecall, recall, o)
}

// FBeta is the harmonic mean of precision and recall, with recall beta times as important.
func (c *Confusion) FBeta(beta float64, o Options) (float64, error) {
	f, err := fBeta(beta)
	if err != nil {
		return 0, err
	}
	m := MetricFBeta
	if beta == 1 {
		m = MetricF1
	}
	return c.averaged(m, f, o)
}

func (c *Confusion) averaged(m Metric, f ratio, o Options) (float64, error) {
	_, classes, err := c.tallies(m, o)
	if err != nil {
		return 0, err
	}
	return average(m, f, classes, o)
}

// PerClass returns precision, recall and F-beta of each class; the average of o does not matter.
func (c *Confusion) PerClass(beta float64, o Options) ([]ClassScores, error) {
	o.Average = AverageMacro
	labels, classes, err := c.tallies(MetricFBeta, o)
	if err != nil {
		return nil, err
	}
	return scoresOf(beta, labels, classes, o.ZeroDivision)
}
