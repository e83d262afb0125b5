package estimate

import (
	"errors"
	"fmt"
	"slices"
)

// ErrApart is of chunks that cannot be compared with the reference: a classifier tells the
// two apart so well that few rows of the reference are like those of the chunk.
var ErrApart = errors.New("the chunk and the reference are too far apart")

const (
	// Bounds of the published ratio: 1 - p at least, and the ratio itself.
	leastRest  = 0.05
	leastRatio = 0.001

	minEffective = 400 // rows that the weighted reference is worth, below which nothing is estimated
	minCovered   = 0.7 // of the chunk, that rows of the reference may stand for
	ratioFolds   = 5
)

// Ratios are the weights that make a reference look like a chunk: density ratios of its rows.
type Ratios struct {
	Weights   []float64 // a row of the reference an entry, above 0
	Effective float64   // rows without weights that are worth as much: (Σw)²/Σw² (Kish 1965)
	Covered   float64   // mean weight: 1 where the reference has all that the chunk has, less where it has not
	AUC       float64   // of the classifier, on the rows that it was asked for: 0.5 where the sides are alike
}

// RatioOptions say how density ratios are estimated. The zero value is the default.
type RatioOptions struct {
	// Train trains the classifier: on features of both sides and 0 for rows of the reference, 1
	// for those of the chunk. What it predicts is the probability of the chunk. nil: boosted
	// trees of 4 leaves, coarse so that ratios are even.
	Train Train
	// Folds is of how many parts each gets its probabilities from a classifier that was trained
	// without it; row i is in part i modulo Folds. 1: from one that was trained on all rows, as
	// published. 0: 5.
	Folds int
}

func (o RatioOptions) withDefaults() (RatioOptions, error) {
	if o.Train == nil {
		o.Train = TrainTrees(TreeOptions{Trees: 40, Leaves: 4, MinRows: 100})
	}
	if o.Folds == 0 {
		o.Folds = ratioFolds
	}
	if o.Folds < 1 {
		return o, fmt.Errorf("folds must be at least 1, got %d", o.Folds)
	}
	return o, nil
}

// NewRatios estimates the density ratios of the rows of a reference: how much more
// frequent rows like them are in the current side. With p the probability that a classifier of
// the two sides gives a row to the current one, of n and m rows of reference and current,
//
//	w = max(0.001, n/m · p / max(0.05, 1-p))
//
// (Białek, Kivimäki, Kuberski and Perrakis 2024, arXiv 2401.08348, with the bounds of their
// code). Out of fold, which they do not ask for, a classifier cannot recognise rows that it was
// trained on, which would take the sides apart where nothing drifted.
func NewRatios(reference, current []Feature, o RatioOptions) (*Ratios, error) {
	r, err := estimateRatios(reference, current, o)
	if err != nil {
		return nil, fmt.Errorf("density ratios: %w", err)
	}
	return r, nil
}

func estimateRatios(reference, current []Feature, o RatioOptions) (*Ratios, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	both, n, err := stack(reference, current)
	if err != nil {
		return nil, err
	}
	side := make([]float64, len(both[0].Values))
	for i := n; i < len(side); i++ {
		side[i] = 1
	}
	p := make([]float64, len(side))
	for fold := range o.Folds {
		if err := predictFold(both, side, p, fold, o); err != nil {
			return nil, err
		}
	}
	m := len(side) - n
	r := &Ratios{Weights: make([]float64, n)}
	sum, squares := 0.0, 0.0
	for i := range r.Weights {
		w := max(leastRatio, float64(n)/float64(m)*p[i]/max(leastRest, 1-p[i]))
		r.Weights[i] = w
		sum += w
		squares += w * w
	}
	r.Effective, r.Covered = sum*(sum/squares), sum/float64(n)
	sides := make([]int, len(side))
	for i := n; i < len(sides); i++ {
		sides[i] = 1
	}
	r.AUC, _ = rocAUC(p, sides, 1)
	return r, nil
}

// stack returns the rows of the reference and then the current ones, and how many the first are.
func stack(reference, current []Feature) ([]Feature, int, error) {
	if len(reference) == 0 || len(reference) != len(current) {
		return nil, 0, fmt.Errorf("%d features of the reference and %d of the chunk, want the same, and at least 1", len(reference), len(current))
	}
	n, m := len(reference[0].Values), len(current[0].Values)
	if n == 0 || m == 0 {
		return nil, 0, ErrEmpty
	}
	both := make([]Feature, len(reference))
	for k, f := range reference {
		c := current[k]
		if f.Name != c.Name || f.Categorical != c.Categorical {
			return nil, 0, fmt.Errorf("feature %d is %q (categorical: %t) of the reference and %q (categorical: %t) of the chunk", k, f.Name, f.Categorical, c.Name, c.Categorical)
		}
		if len(f.Values) != n || len(c.Values) != m {
			return nil, 0, fmt.Errorf("feature %q has %d and %d rows, feature %q %d and %d", f.Name, len(f.Values), len(c.Values), reference[0].Name, n, m)
		}
		both[k] = Feature{Name: f.Name, Categorical: f.Categorical, Values: slices.Concat(f.Values, c.Values)}
	}
	return both, n, nil
}

// predictFold sets the probabilities of the rows of one part.
func predictFold(both []Feature, side, p []float64, fold int, o RatioOptions) error {
	pick := func(v []float64, of bool) []float64 {
		out := make([]float64, 0, len(v))
		for i, x := range v {
			if (i%o.Folds == fold) == of {
				out = append(out, x)
			}
		}
		return out
	}
	train, ask, y := both, both, side
	if o.Folds > 1 {
		y = pick(side, false)
		train, ask = make([]Feature, len(both)), make([]Feature, len(both))
		for k, f := range both {
			train[k] = Feature{Name: f.Name, Categorical: f.Categorical, Values: pick(f.Values, false)}
			ask[k] = Feature{Name: f.Name, Categorical: f.Categorical, Values: pick(f.Values, true)}
		}
	}
	if len(y) == 0 || len(ask[0].Values) == 0 {
		return fmt.Errorf("%d rows of both sides are too few for %d folds", len(side), o.Folds)
	}
	classifier, err := o.Train(train, y)
	if err != nil {
		return err
	}
	got, err := classifier.Predict(ask)
	if err != nil {
		return err
	}
	if len(got) != len(ask[0].Values) {
		return fmt.Errorf("the classifier has %d probabilities for %d rows", len(got), len(ask[0].Values))
	}
	for k, v := range got {
		if !finite(v) {
			return fmt.Errorf("the classifier's probability of row %d is %v", k, v)
		}
		p[fold+k*o.Folds] = min(max(v, 0), 1) // of squared loss it may lie outside
	}
	return nil
}

// apart says why a chunk is not estimated, or returns nil.
func (r *Ratios) apart() error {
	switch {
	case r.Effective < minEffective:
		return fmt.Errorf("%w: weighted to look like the chunk, the reference is worth %.3g rows, at least %d are needed (ROC AUC of the classifier: %.3g)",
			ErrApart, r.Effective, minEffective, r.AUC)
	case r.Covered < minCovered:
		return fmt.Errorf("%w: the reference has rows like %.3g %% of the chunk's, at least %.3g %% are needed (ROC AUC of the classifier: %.3g)",
			ErrApart, 100*r.Covered, 100*minCovered, r.AUC)
	default:
		return nil
	}
}
