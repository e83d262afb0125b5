package estimate

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"

	"gonum.org/v1/gonum/mat"
)

// Interval is a two-sided interval.
type Interval struct{ Low, High float64 }

// ErrTooFew is returned where rows are too few for an interval that holds what it says.
var ErrTooFew = errors.New("too few for an interval")

// ErrNoInterval is of estimates that have no interval, whatever the rows.
var ErrNoInterval = errors.New("no interval")

const (
	// refits is how often the calibration is fitted again. Of 199 errors, the fifth from
	// either side is an end of an interval of 95 %.
	refits = 199
	fifth  = 5

	minReference = 500 // rows from which intervals are given
	minAlike     = 400 // rows of the reference that are worth what a chunk's scores ask of it
	minChunk     = 100
	minOutcomes  = 15 // expected rows of either kind that a metric counts

	intervalSeed = 20261130
)

// refitted is a calibration with what it might have been: the isotonic fits of the reference,
// and of targets drawn for its rows from a smooth curve.
type refitted struct {
	whole  *Isotonic
	smooth betaCurve
	drawn  []*Isotonic
	rows   float64   // of the reference, or what its weighted ones are worth
	edges  []float64 // inner ones of tenths
}

// tenths is into how many parts of as many rows the reference's scores are cut.
const tenths = 10

// alike returns the rows of the reference that, weighted to be distributed over its tenths as
// scores are, say as much as so many rows without weights (Kish 1965).
func (r *refitted) alike(scores []float64) float64 {
	var in [tenths]float64
	for _, s := range scores {
		// Scores that are an edge belong to the parts on both sides alike: to those that hold it.
		first, last := sort.SearchFloat64s(r.edges, s), sort.Search(len(r.edges), func(i int) bool { return r.edges[i] > s })
		for k := first; k <= last; k++ {
			in[k] += 1 / float64(last-first+1) / float64(len(scores))
		}
	}
	squares := 0.0
	for _, share := range in {
		squares += share * share
	}
	return r.rows / tenths / squares
}

// refit fits the reference, and targets that are the same for the same seed and rows. The
// curve that they are drawn from is smooth, since an isotonic fit errs towards 0 and 1 at its
// ends, which draws from a curve that already does would not repeat. nil weights are 1 each;
// rows is how many without weights are worth as much.
func refit(scores []float64, targets []int, weights []float64, rows float64) (*refitted, error) {
	y, order := make([]float64, len(targets)), ascending(scores)
	for i, t := range targets {
		y[i] = float64(t)
	}
	whole, err := fitOrdered(scores, y, weights, order, nil)
	if err != nil {
		return nil, err
	}
	r := &refitted{whole: whole, smooth: fitBeta(scores, y, weights), drawn: make([]*Isotonic, refits), rows: rows}
	before := 0.0 // the weight of the rows before, which adds up to their number
	for _, i := range order {
		for k := len(r.edges) + 1; k < tenths && before+weightAt(weights, i) > float64(k*len(scores)/tenths); k++ {
			r.edges = append(r.edges, scores[i])
		}
		before += weightAt(weights, i)
	}
	rng := seeded(scores)
	p := r.smooth.all(scores)
	for b := range r.drawn {
		for i, q := range p {
			y[i] = 0
			if rng.Float64() < q {
				y[i] = 1
			}
		}
		if r.drawn[b], err = fitOrdered(scores, y, weights, order, nil); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// LearnIntervals fits the calibration 199 times more, to the reference that c was fitted to:
// from then on, estimates have intervals. Each takes about 200 times as long as the estimate.
// A reference of fewer than 500 rows is ErrTooFew, and estimates stay without.
func (c *BinaryCBPE) LearnIntervals(reference Binary) error {
	err := reference.check()
	if err == nil {
		err = checkLabels("target", reference.Targets, len(reference.Scores), 2, false)
	}
	if n := len(reference.Scores); err == nil && n < minReference {
		err = fmt.Errorf("%w: a reference of %d rows, at least %d are needed", ErrTooFew, n, minReference)
	}
	if err == nil {
		c.refitted, err = refit(reference.Scores, reference.Targets, nil, float64(len(reference.Scores)))
	}
	if err != nil {
		return fmt.Errorf("intervals of binary cbpe: %w", err)
	}
	return nil
}

// seeded returns a generator that the same scores, in any order, give the same draws and other
// scores others: so that what 199 draws miss of an interval's ends is not the same each time.
func seeded(scores []float64) *rand.Rand {
	seed := uint64(0)
	for _, s := range scores {
		seed += math.Float64bits(s)
	}
	return rand.New(rand.NewPCG(intervalSeed, seed)) //nolint:gosec // the same rows must give the same interval
}

// betaCurve is a calibration by three parameters, the logit of the probability that a score s
// stands for: c[0] + c[1]·log s - c[2]·log(1-s) (beta calibration, Kull, Silva Filho and
// Flach 2017).
type betaCurve [3]float64

// leastScore bounds scores away from 0 and 1, where their logarithms end.
const leastScore = 1e-6

func betaTerms(score float64) [3]float64 {
	s := min(max(score, leastScore), 1-leastScore)
	return [3]float64{1, math.Log(s), -math.Log1p(-s)}
}

// all returns the probabilities that scores stand for.
func (c betaCurve) all(scores []float64) []float64 {
	out := make([]float64, len(scores))
	for i, s := range scores {
		z := 0.0
		for k, x := range betaTerms(s) {
			z += c[k] * x
		}
		out[i] = 1 / (1 + math.Exp(-z))
	}
	return out
}

// fitBeta fits the curve to targets of 0 and 1 by Newton's method. A penalty of half the
// square of what the slopes are from 1 keeps them finite where scores separate the targets.
// nil weights are 1 each.
func fitBeta(scores, targets, weights []float64) betaCurve {
	c := betaCurve{0, 1, 1}
	for range 25 {
		gradient, curvature := mat.NewVecDense(3, nil), mat.NewSymDense(3, []float64{1e-9, 0, 0, 0, 1, 0, 0, 0, 1})
		for k := 1; k < 3; k++ {
			gradient.SetVec(k, 1-c[k])
		}
		for i, p := range c.all(scores) {
			terms, w := betaTerms(scores[i]), weightAt(weights, i)
			for k, x := range terms {
				gradient.SetVec(k, gradient.AtVec(k)+w*(targets[i]-p)*x)
				for l := k; l < 3; l++ {
					curvature.SetSym(k, l, curvature.At(k, l)+w*p*(1-p)*x*terms[l])
				}
			}
		}
		var factor mat.Cholesky
		var step mat.VecDense
		if !factor.Factorize(curvature) || factor.SolveVecTo(&step, gradient) != nil {
			return c
		}
		most := 0.0
		for k := range c {
			d := min(max(step.AtVec(k), -2), 2) // far from the maximum, Newton's step overshoots
			c[k] += d
			most = max(most, math.Abs(d))
		}
		if most < 1e-8 {
			break
		}
	}
	return c
}

// span returns the interval of what a metric will be, estimated as value: the errors of
// estimates, realized less estimated, are its ends. NaN errors are of draws without a value.
func span(m Metric, value float64, errs []float64) (*Interval, error) {
	errs = slices.DeleteFunc(slices.Clone(errs), func(e float64) bool { return !finite(e) })
	if len(errs) < refits {
		return nil, fmt.Errorf("%s: %w: targets that may come give it no value", m, ErrTooFew)
	}
	slices.Sort(errs)
	return &Interval{max(value+errs[fifth-1], 0), min(value+errs[len(errs)-fifth], 1)}, nil
}

// intervals returns the intervals of the metrics over a chunk, or why there is none.
//
// They are of the value that targets will show, and hold two errors (parametric bootstrap,
// basic intervals; Davison and Hinkley 1997, 5.2): that the calibration was learnt from a
// sample, and that the chunk is one. Targets of both are drawn from a smooth calibration curve
// and the estimate is made again. That takes it that scores stand for the same probabilities
// as in the reference: where that changes, no interval made without targets can know.
func (c *BinaryCBPE) intervals(data Binary) ([]*Interval, []error) {
	out, errs := make([]*Interval, len(c.metrics)), make([]error, len(c.metrics))
	none := func(err error) ([]*Interval, []error) {
		for k, m := range c.metrics {
			errs[k] = fmt.Errorf("%s: %w", m, err)
		}
		return out, errs
	}
	n := len(data.Scores)
	if n < minChunk {
		return none(fmt.Errorf("%w: %d rows, at least %d are needed", ErrTooFew, n, minChunk))
	}
	if alike := c.refitted.alike(data.Scores); alike < minAlike {
		return none(fmt.Errorf("%w: the scores drifted to where only %.3g rows of the reference say what they stand for, at least %d are needed", ErrTooFew, alike, minAlike))
	}
	// In the order of the scores, which need not be sorted again then.
	sorted := Binary{Scores: make([]float64, n), Targets: make([]int, n)}
	if data.Predicted != nil {
		sorted.Predicted = make([]int, n)
	}
	for k, i := range ascending(data.Scores) {
		sorted.Scores[k] = data.Scores[i]
		if data.Predicted != nil {
			sorted.Predicted[k] = data.Predicted[i]
		}
	}
	p := c.refitted.smooth.all(sorted.Scores)
	value, expected := c.expected(c.refitted.whole.all(sorted.Scores), sorted), expectedCounts(p, sorted.Predicted)
	differences := make([][]float64, len(c.metrics))
	rng := seeded(sorted.Scores)
	for _, f := range c.refitted.drawn {
		for i, q := range p {
			sorted.Targets[i] = 0
			if rng.Float64() < q {
				sorted.Targets[i] = 1
			}
		}
		estimated, realized := c.expected(f.all(sorted.Scores), sorted), realizedBinary(sorted, c.metrics)
		for k := range c.metrics {
			if estimated[k] != nil && realized[k] != nil {
				differences[k] = append(differences[k], *realized[k]-*estimated[k])
			}
		}
	}
	for k, m := range c.metrics {
		if few := expected.few(m, p); few < minOutcomes || value[k] == nil {
			errs[k] = fmt.Errorf("%s: %w: %.3g rows of one outcome are expected, at least %d are needed", m, ErrTooFew, few, minOutcomes)
			continue
		}
		out[k], errs[k] = span(m, *value[k], differences[k])
	}
	return out, errs
}

// expected returns the metrics expected when p are the probabilities of class 1.
func (c *BinaryCBPE) expected(p []float64, b Binary) []*float64 {
	counts := expectedCounts(p, b.Predicted)
	out := make([]*float64, len(c.metrics))
	for k, m := range c.metrics {
		if m == ROCAUC {
			out[k] = expectedROCAUC(p, b.Scores)
		} else {
			out[k] = exists(counts.value(m))
		}
	}
	return out
}

// few returns the expected rows of the rarer outcome that a metric counts; p are the
// probabilities of class 1.
func (c confusion) few(m Metric, p []float64) float64 {
	switch m {
	case ROCAUC:
		positive := 0.0
		for _, q := range p {
			positive += q
		}
		return min(positive, float64(len(p))-positive)
	case F1:
		return min(c.tp, c.fp+c.fn)
	case Precision:
		return min(c.tp, c.fp)
	case Recall:
		return min(c.tp, c.fn)
	case Specificity:
		return min(c.tn, c.fp)
	default:
		return min(c.tp+c.tn, c.fp+c.fn)
	}
}

// all returns the values at ascending x.
func (f *Isotonic) all(x []float64) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = f.At(v)
	}
	return out
}
