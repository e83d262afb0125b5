package quality

import (
	"fmt"
	"math"
	"slices"
	"sort"
)

// Ranking counts the rows of a binary target by the score that a model gave them: how well
// do positive rows score above negative ones. It holds the distinct scores.
type Ranking struct {
	scores             []float64 // ascending
	positive, negative []float64 // rows of each score
	pending            []scored
}

type scored struct {
	score, weight float64
	positive      bool
}

// minPending bounds the rows that wait to be sorted in; beyond it they may be as many as
// the scores, so that sorting stays O(n log n) over all batches.
const minPending = 1 << 14

// NewRanking returns an empty ranking.
func NewRanking() *Ranking { return &Ranking{} }

// RankingOf returns the ranking of rows counted by score, scores ascending.
func RankingOf(scores, positive, negative []float64) (*Ranking, error) {
	if len(scores) != len(positive) || len(scores) != len(negative) {
		return nil, fmt.Errorf("ranking of %d scores, %d positive and %d negative counts", len(scores), len(positive), len(negative))
	}
	if err := checkFinite("score", len(scores), scores); err != nil {
		return nil, err
	}
	for i := 1; i < len(scores); i++ {
		if scores[i] <= scores[i-1] {
			return nil, fmt.Errorf("ranking: score %d is not above the one before it: sort and merge them", i)
		}
	}
	for _, counts := range [][]float64{positive, negative} {
		if err := checkWeights(len(scores), counts); err != nil {
			return nil, fmt.Errorf("ranking counts: %w", err)
		}
	}
	r := &Ranking{}
	for i := range scores {
		r.append(scores[i], positive[i], negative[i])
	}
	return r, nil
}

// append adds a score that is above all others.
func (r *Ranking) append(score, positive, negative float64) {
	if positive+negative == 0 {
		return
	}
	r.scores = append(r.scores, score)
	r.positive = append(r.positive, positive)
	r.negative = append(r.negative, negative)
}

// Add counts rows. weights is nil for one row each.
func (r *Ranking) Add(positive []bool, scores, weights []float64) error {
	if err := checkFinite("score", len(positive), scores); err != nil {
		return err
	}
	if err := checkWeights(len(positive), weights); err != nil {
		return err
	}
	for i, p := range positive {
		if w := weightOf(weights, i); w > 0 {
			r.pending = append(r.pending, scored{scores[i], w, p})
		}
	}
	if len(r.pending) > max(minPending, len(r.scores)) {
		r.settle()
	}
	return nil
}

// Merge adds the rows of o, which stays as it is.
func (r *Ranking) Merge(o *Ranking) {
	r.settle()
	o.settle()
	*r = *merged(r, o)
}

// settle sorts the pending rows in.
func (r *Ranking) settle() {
	if len(r.pending) == 0 {
		return
	}
	// Equal scores are added up in the order of their weights: whatever the order of rows,
	// the sums are the same to the last bit.
	slices.SortFunc(r.pending, func(a, b scored) int {
		switch {
		case a.score < b.score:
			return -1
		case a.score > b.score:
			return 1
		case a.weight < b.weight:
			return -1
		case a.weight > b.weight:
			return 1
		}
		return 0
	})
	rows := len(r.pending)
	batch := &Ranking{scores: make([]float64, 0, rows), positive: make([]float64, 0, rows), negative: make([]float64, 0, rows)}
	for i := 0; i < len(r.pending); {
		score := r.pending[i].score
		var p, n sum
		for ; i < len(r.pending) && r.pending[i].score == score; i++ {
			if r.pending[i].positive {
				p.add(r.pending[i].weight)
			} else {
				n.add(r.pending[i].weight)
			}
		}
		batch.append(score, p.value(), n.value())
	}
	pending := r.pending[:0]
	*r = *merged(&Ranking{scores: r.scores, positive: r.positive, negative: r.negative}, batch)
	r.pending = pending
}

// merged returns the ranking of both, which are settled.
func merged(a, b *Ranking) *Ranking {
	if len(a.scores) == 0 || len(b.scores) == 0 {
		one := a
		if len(a.scores) == 0 {
			one = b
		}
		return &Ranking{scores: slices.Clone(one.scores), positive: slices.Clone(one.positive), negative: slices.Clone(one.negative)}
	}
	n := len(a.scores) + len(b.scores)
	out := &Ranking{scores: make([]float64, 0, n), positive: make([]float64, 0, n), negative: make([]float64, 0, n)}
	i, j := 0, 0
	for i < len(a.scores) || j < len(b.scores) {
		switch {
		case j == len(b.scores) || i < len(a.scores) && a.scores[i] < b.scores[j]:
			out.append(a.scores[i], a.positive[i], a.negative[i])
			i++
		case i == len(a.scores) || b.scores[j] < a.scores[i]:
			out.append(b.scores[j], b.positive[j], b.negative[j])
			j++
		default:
			out.append(a.scores[i], a.positive[i]+b.positive[j], a.negative[i]+b.negative[j])
			i, j = i+1, j+1
		}
	}
	return out
}

// Distinct returns the number of distinct scores.
func (r *Ranking) Distinct() int {
	r.settle()
	return len(r.scores)
}

// Rows returns the weights of the positive and of the negative rows.
func (r *Ranking) Rows() (positive, negative float64) {
	r.settle()
	return total(r.positive), total(r.negative)
}

func total(values []float64) float64 {
	var s sum
	for _, v := range values {
		s.add(v)
	}
	return s.value()
}

// classes returns the rows of both classes, or why m needs more.
func (r *Ranking) classes(m Metric, both bool) (positive, negative float64, err error) {
	positive, negative = r.Rows()
	switch {
	case math.IsNaN(positive) || math.IsNaN(negative) || math.IsInf(positive+negative, 1):
		return 0, 0, fmt.Errorf("%s: %w", m, ErrOverflow)
	case positive+negative == 0:
		return 0, 0, fmt.Errorf("%s: %w", m, ErrNoRows)
	case positive == 0:
		return 0, 0, undefined(m, "no row is labelled positive")
	case both && negative == 0:
		return 0, 0, undefined(m, "no row is labelled negative")
	}
	return positive, negative, nil
}

// ROCAUC is the area under the ROC curve: the probability that a positive row scores above
// a negative one, ties counted half (Mann–Whitney U over P·N), which is the trapezoidal
// area. It is undefined when a class has no rows.
func (r *Ranking) ROCAUC() (float64, error) {
	p, n, err := r.classes(MetricROCAUC, true)
	if err != nil {
		return 0, err
	}
	var u, below sum
	f := scale(n)
	for i := range r.scores {
		u.addProduct(r.positive[i], below.value()+r.negative[i]*f/2)
		below.add(r.negative[i] * f)
	}
	return finite(MetricROCAUC, u.value()/(p*(n*f)))
}

// TieBound is the share of pairs of a positive and a negative row that have the same score,
// halved. Where scores were binned, ROCAUC is off by no more.
func (r *Ranking) TieBound() (float64, error) {
	p, n, err := r.classes(MetricROCAUC, true)
	if err != nil {
		return 0, err
	}
	var ties sum
	f := scale(n)
	for i := range r.scores {
		ties.addProduct(r.positive[i], r.negative[i]*f)
	}
	return finite(MetricROCAUC, ties.value()/(2*p*(n*f)))
}

// AveragePrecision is the precision at each score, from the highest, weighted by the recall
// that it adds: the area under the precision–recall curve as a step function. It is
// undefined without positive rows, where scikit-learn warns and gives 0.
func (r *Ranking) AveragePrecision() (float64, error) {
	return r.area(MetricAveragePrecision, func(_, at float64) float64 { return at })
}

// AveragePrecisionInterval is the interval of AveragePrecision by the influence of each row
// (delta method): the hull of that on the scale of the logit (Boyd, Eng and Page 2013) and of
// Hall's (1992). Weights count as rows. It is ErrTooFew where ROCAUCInterval is.
func (r *Ranking) AveragePrecisionInterval(confidence float64) (Interval, error) {
	if err := checkConfidence(confidence); err != nil {
		return Interval{}, err
	}
	value, err := r.AveragePrecision()
	if err != nil {
		return Interval{}, err
	}
	auc, parts, err := r.deLong()
	if err != nil {
		return Interval{}, fmt.Errorf("%s: %w", MetricAveragePrecision, err)
	}
	if err := parts.enough(auc, confidence); err != nil {
		return Interval{}, fmt.Errorf("%s: %w", MetricAveragePrecision, err)
	}
	p, n := r.Rows()
	rows := p + n
	precision := make([]float64, len(r.scores))
	reach := make([]float64, len(r.scores)) // rows that score at least as much
	var above, all float64
	for i := range slices.Backward(r.scores) {
		above += r.positive[i]
		all += r.positive[i] + r.negative[i]
		precision[i], reach[i] = above/all, all
	}
	// A positive row adds its own precision and lifts that of those at or below it; a
	// negative one lowers that.
	var lifts, lowers, squares, cubes float64
	for i, at := range precision {
		w := rows / p * r.positive[i] / reach[i]
		lifts += w * (1 - at)
		lowers += w * at
		up, down := rows/p*(at-value)+lifts, -lowers
		squares += r.positive[i]*up*up + r.negative[i]*down*down
		cubes += r.positive[i]*up*up*up + r.negative[i]*down*down*down
	}
	e := estimate{
		value: value, standardError: math.Sqrt(squares / rows / (rows - 1)), freedom: min(p, n) - 1,
		skewness: cubes / squares / math.Sqrt(squares),
	}
	return e.onLogit(confidence), nil
}

// PRAUC is the area under the precision–recall curve by trapezoids, from precision 1 at
// recall 0, as sklearn.metrics.auc(recall, precision). Interpolation flatters a model
// (Davis and Goadrich 2006): prefer AveragePrecision.
func (r *Ranking) PRAUC() (float64, error) {
	return r.area(MetricPRAUC, func(before, at float64) float64 { return (before + at) / 2 })
}

func (r *Ranking) area(m Metric, height func(before, at float64) float64) (float64, error) {
	p, _, err := r.classes(m, false)
	if err != nil {
		return 0, err
	}
	var above, rows, area sum
	before := 1.0
	for i := range slices.Backward(r.scores) {
		above.add(r.positive[i])
		rows.add(r.positive[i])
		rows.add(r.negative[i])
		at := above.value() / rows.value()
		area.addProduct(r.positive[i]/p, height(before, at))
		before = at
	}
	return finite(m, area.value())
}

// ROCPoint is a point of the ROC curve: what part of both classes scores at least Score.
type ROCPoint struct{ Score, FalsePositiveRate, TruePositiveRate float64 }

// ROC returns the curve from (0, 0) at an infinite score to (1, 1), a point a distinct score.
func (r *Ranking) ROC() ([]ROCPoint, error) {
	p, n, err := r.classes(MetricROCAUC, true)
	if err != nil {
		return nil, err
	}
	out := []ROCPoint{{Score: math.Inf(1)}}
	var tp, fp sum
	for i, score := range slices.Backward(r.scores) {
		tp.add(r.positive[i])
		fp.add(r.negative[i])
		out = append(out, ROCPoint{score, fp.value() / n, tp.value() / p})
	}
	return out, nil
}

// GainPoint is a point of the gain and lift curves: of the rows that score at least Score.
type GainPoint struct {
	Score float64
	Share float64 // of all rows
	Gain  float64 // the share of positive rows that are among them: recall
	Lift  float64 // Gain / Share: how many times more positive ones than by chance
}

// Gain returns the curves, a point a distinct score, highest first; the last has gain and
// lift 1.
func (r *Ranking) Gain() ([]GainPoint, error) {
	p, n, err := r.classes(MetricGain, false)
	if err != nil {
		return nil, err
	}
	out := make([]GainPoint, 0, len(r.scores))
	var above, rows sum
	for i, score := range slices.Backward(r.scores) {
		above.add(r.positive[i])
		rows.add(r.positive[i])
		rows.add(r.negative[i])
		g := GainPoint{Score: score, Share: rows.value() / (p + n), Gain: above.value() / p}
		g.Lift = g.Gain / g.Share
		out = append(out, g)
	}
	return out, nil
}

// GainAt returns gain and lift of the given share of rows that score highest. Of rows that
// share a score, every one is as likely to be among them.
func (r *Ranking) GainAt(share float64) (gain, lift float64, err error) {
	if !(share > 0 && share <= 1) {
		return 0, 0, fmt.Errorf("gain at a share of %v, must be above 0 and at most 1", share)
	}
	curve, err := r.Gain()
	if err != nil {
		return 0, 0, err
	}
	i := min(sort.Search(len(curve), func(i int) bool { return curve[i].Share >= share }), len(curve)-1)
	var before GainPoint
	if i > 0 {
		before = curve[i-1]
	}
	at := curve[i]
	gain = before.Gain + (at.Gain-before.Gain)*(share-before.Share)/(at.Share-before.Share)
	return gain, gain / share, nil
}
