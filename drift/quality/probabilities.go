package quality

import (
	"fmt"
	"math"
	"sort"
)

// epsilon bounds probabilities away from 0 and 1 for the log loss: 2^-52, scikit-learn's
// for 64-bit floats (the probabilities of a 32-bit model come as 64-bit ones, too).
const epsilon = 0x1p-52

// DefaultBins is the usual number of bins of the expected calibration error.
const DefaultBins = 10

const halfProbability = 0.5

// Probabilities compares predicted probabilities with labels.
type Probabilities struct {
	classes        int
	edges          []float64 // inner ones
	bins           []bin
	rows, mistaken sum // all, and those whose label has less than half of the probability
	logLoss, brier moments
}

type bin struct{ rows, predicted, observed sum }

// NewProbabilities returns an empty comparison. classes is 2 for a binary target, whose
// class 1 is positive. bins are those of calibration, of equal width; 0 stands for
// DefaultBins.
func NewProbabilities(classes, bins int) (*Probabilities, error) {
	if bins == 0 {
		bins = DefaultBins
	}
	if classes < 2 || bins < 1 {
		return nil, fmt.Errorf("probabilities of %d classes in %d bins, must be at least 2 and 1", classes, bins)
	}
	p := &Probabilities{classes: classes, bins: make([]bin, bins)}
	step := 1 / float64(bins)
	for i := 1; i < bins; i++ {
		p.edges = append(p.edges, float64(i)*step) // as numpy.linspace
	}
	return p, nil
}

// AddBinary counts rows by the probability of the positive class.
func (p *Probabilities) AddBinary(positive []bool, probability, weights []float64) error {
	if p.classes != 2 {
		return fmt.Errorf("binary rows for probabilities of %d classes", p.classes)
	}
	if err := checkProbabilities("probability", len(positive), probability); err != nil {
		return err
	}
	if err := checkWeights(len(positive), weights); err != nil {
		return err
	}
	for i, y := range positive {
		w, q := weightOf(weights, i), probability[i]
		if w == 0 {
			continue
		}
		observed, right := 0.0, 1-q
		if y {
			observed, right = 1, q
		}
		p.count(w, right, (observed-q)*(observed-q))
		p.calibrate(w, q, observed)
	}
	return nil
}

// Add counts rows by the probabilities of all classes, a column a class.
func (p *Probabilities) Add(labels []int, probabilities [][]float64, weights []float64) error {
	if len(probabilities) != p.classes {
		return fmt.Errorf("%d columns of probabilities, must have one for each of %d classes", len(probabilities), p.classes)
	}
	if err := checkMulticlass(labels, probabilities, weights); err != nil {
		return err
	}
	for i, l := range labels {
		w := weightOf(weights, i)
		if w == 0 {
			continue
		}
		var brier sum
		half := 1.0
		if p.classes == 2 {
			half = 0.5 // scikit-learn's scale_by_half="auto"
		}
		top, confidence := 0, probabilities[0][i]
		for c, column := range probabilities {
			observed := 0.0
			if c == l {
				observed = 1
			}
			brier.addSquare(half, observed-column[i])
			if column[i] > confidence {
				top, confidence = c, column[i]
			}
		}
		p.count(w, probabilities[l][i], brier.value())
		if p.classes == 2 {
			p.calibrate(w, probabilities[1][i], float64(l))
			continue
		}
		right := 0.0
		if top == l {
			right = 1
		}
		p.calibrate(w, confidence, right)
	}
	return nil
}

// count adds w rows whose label has the probability right.
func (p *Probabilities) count(w, right, brier float64) {
	p.rows.add(w)
	if right < halfProbability {
		p.mistaken.add(w)
	}
	p.logLoss.add(w, -math.Log(clip(right)))
	p.brier.add(w, brier)
}

func (p *Probabilities) calibrate(w, predicted, observed float64) {
	b := &p.bins[sort.SearchFloat64s(p.edges, predicted)] // (edge, edge], the first with 0
	b.rows.add(w)
	b.predicted.addProduct(w, predicted)
	b.observed.addProduct(w, observed)
}

func clip(p float64) float64 { return min(max(p, epsilon), 1-epsilon) }

// Merge adds the rows of o, of as many classes and bins.
func (p *Probabilities) Merge(o *Probabilities) error {
	if p.classes != o.classes || len(p.bins) != len(o.bins) {
		return fmt.Errorf("merge probabilities of %d classes in %d bins with %d in %d", p.classes, len(p.bins), o.classes, len(o.bins))
	}
	p.rows.merge(o.rows)
	p.mistaken.merge(o.mistaken)
	p.logLoss.merge(o.logLoss)
	p.brier.merge(o.brier)
	for i := range p.bins {
		p.bins[i].rows.merge(o.bins[i].rows)
		p.bins[i].predicted.merge(o.bins[i].predicted)
		p.bins[i].observed.merge(o.bins[i].observed)
	}
	return nil
}

// Rows returns the weight of all rows.
func (p *Probabilities) Rows() float64 { return p.rows.value() }

func (p *Probabilities) mean(m Metric, s sum) (float64, error) {
	if p.rows.value() == 0 {
		return 0, fmt.Errorf("%s: %w", m, ErrNoRows)
	}
	return finite(m, s.value()/p.rows.value())
}

// LogLoss is the mean negative logarithm of the probability of the label, which is kept
// 2^-52 away from 0 and 1. Labels of one class are enough.
func (p *Probabilities) LogLoss() (float64, error) { return p.mean(MetricLogLoss, p.logLoss.sum) }

// Brier is the mean squared difference of probabilities and labels (Brier 1950), summed over
// the classes; of two classes halved, so that it lies in [0, 1] as usual.
func (p *Probabilities) Brier() (float64, error) { return p.mean(MetricBrier, p.brier.sum) }

// LogLossInterval is the interval of the mean of rows' losses: Student's, widened by their
// skewness (Hall 1992). Weights count as rows. It is ErrTooFew below 500 rows, below 30 rows
// whose label has less than half of the probability, and below 30 others: a few rows make up
// the loss then.
func (p *Probabilities) LogLossInterval(confidence float64) (Interval, error) {
	return p.lossInterval(MetricLogLoss, &p.logLoss, confidence)
}

// BrierInterval is LogLossInterval for the squared differences.
func (p *Probabilities) BrierInterval(confidence float64) (Interval, error) {
	return p.lossInterval(MetricBrier, &p.brier, confidence)
}

func (p *Probabilities) lossInterval(m Metric, of *moments, confidence float64) (Interval, error) {
	if err := checkConfidence(confidence); err != nil {
		return Interval{}, err
	}
	e, err := of.estimate(m, p.rows)
	if err != nil {
		return Interval{}, err
	}
	n, mistaken := p.rows.value(), p.mistaken.value()
	switch few := min(mistaken, n-mistaken); {
	case n < minLosses:
		return Interval{}, fmt.Errorf("%s: %w: %v rows, at least %d are needed", m, ErrTooFew, n, minLosses)
	case few < minMistaken:
		return Interval{}, fmt.Errorf("%s: %w: of %v of %v rows the label has less than half of the probability, at least %d of either kind are needed",
			m, ErrTooFew, mistaken, n, minMistaken)
	}
	i := e.interval(confidence)
	i.Low = max(i.Low, 0)
	return i, nil
}

// ECE is the expected calibration error: over bins of the predicted probability, the mean
// difference from the observed share, by rows. Of two classes it judges the positive one
// (Naeini 2015), of more the likeliest class and how often it is right (Guo 2017).
func (p *Probabilities) ECE() (float64, error) {
	var s sum
	for _, b := range p.bins {
		s.add(math.Abs(b.observed.minus(b.predicted)))
	}
	return p.mean(MetricECE, s)
}

// CalibrationBin is a point of the calibration curve.
type CalibrationBin struct {
	Rows      float64
	Predicted float64 // mean predicted probability
	Observed  float64 // share of rows where it came true
}

// Calibration returns the bins that have rows, ascending.
func (p *Probabilities) Calibration() []CalibrationBin {
	var out []CalibrationBin
	for _, b := range p.bins {
		if n := b.rows.value(); n > 0 {
			out = append(out, CalibrationBin{n, b.predicted.value() / n, b.observed.value() / n})
		}
	}
	return out
}
