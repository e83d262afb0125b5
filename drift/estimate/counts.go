package estimate

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
)

// ScoreCounts are rows counted by cell of their score and by prediction: all that CBPE needs of
// a window, however many rows it has. Cells are those of BinaryCBPE.Cells. Counts of two windows
// add up to those of both.
type ScoreCounts struct {
	Rows  [2][]int64   // by prediction, 0 or 1, then cell
	Above [2][]float64 // sums, over these rows, of the score less the lower edge of its cell; of the first cell less 0
}

// Merge adds the counts of other rows.
func (s *ScoreCounts) Merge(o *ScoreCounts) error {
	for y := range s.Rows {
		if len(s.Rows[y]) != len(o.Rows[y]) || len(s.Above[y]) != len(o.Above[y]) {
			return fmt.Errorf("score counts of %d and %d cells", len(s.Rows[y]), len(o.Rows[y]))
		}
		for k := range s.Rows[y] {
			s.Rows[y][k] += o.Rows[y][k]
			s.Above[y][k] += o.Above[y][k]
		}
	}
	return nil
}

// Cells returns the ascending edges of the cells that scores are counted in, one more than
// there are edges: cell k holds scores from edge k-1 up to, not including, edge k. They are the
// points of the calibration, between which it is linear, so that the sum over the rows of a
// cell follows from their number and the sum of their scores. Without a calibration they are
// of equal width.
func (c *BinaryCBPE) Cells() []float64 {
	if c.Calibration.Isotonic == nil {
		edges := make([]float64, equalCells-1)
		for k := range edges {
			edges[k] = float64(k+1) / equalCells
		}
		return edges
	}
	return slices.Clone(c.Calibration.Isotonic.X)
}

// Count counts rows, which must have predictions.
func (c *BinaryCBPE) Count(data Binary) (*ScoreCounts, error) {
	if err := data.check(); err != nil {
		return nil, fmt.Errorf("count scores: %w", err)
	}
	if data.Predicted == nil {
		return nil, errors.New("count scores: there are no predictions")
	}
	edges := c.Cells()
	s := &ScoreCounts{}
	for y := range s.Rows {
		s.Rows[y], s.Above[y] = make([]int64, len(edges)+1), make([]float64, len(edges)+1)
	}
	for i, score := range data.Scores {
		k := sort.Search(len(edges), func(k int) bool { return edges[k] > score })
		s.Rows[data.Predicted[i]][k]++
		s.Above[data.Predicted[i]][k] += score - lowerEdge(edges, k)
	}
	return s, nil
}

// equalCells is how many cells scores that need no calibration are counted in: the order of scores
// within a cell is not known, which costs the ROC AUC less the more there are.
const equalCells = 256

func lowerEdge(edges []float64, cell int) float64 {
	if cell == 0 {
		return 0
	}
	return edges[cell-1]
}

// CountEstimates are the estimates of a window from its counts.
type CountEstimates struct {
	Estimates []Estimate // in the order of BinaryMetrics; without realized values
	// Within is how far the ROC AUC may be from that of the rows, whose order within a cell is
	// not counted: 0 where the calibration is constant in every cell that has rows.
	Within float64
}

// EstimateCounts is Estimate for rows that were counted. All figures but the ROC AUC are those of
// the rows, but for rounding. The ROC AUC is between two bounds, of which it is the mean, and
// is not rounded as NannyML's is.
//
// Intervals, where they were learnt, take the rows of a cell for rows of its mean score, and a
// window of more than 20,000 rows for one of so many, which makes them a little wider.
func (c *BinaryCBPE) EstimateCounts(s *ScoreCounts) (*CountEstimates, error) {
	if len(c.metrics) != len(BinaryMetrics) {
		return nil, errors.New("estimate of counts: the reference has no predictions")
	}
	cells, err := c.expectedCells(s)
	if err != nil {
		return nil, fmt.Errorf("estimate of counts: %w", err)
	}
	var expected confusion
	rows, positives, area, missed := 0.0, 0.0, 0.0, 0.0
	for _, x := range slices.Backward(cells) { // from the highest score
		p, n := x.positives[0]+x.positives[1], x.rows[0]+x.rows[1]
		expected.tp += x.positives[1]
		expected.fp += x.rows[1] - x.positives[1]
		expected.fn += x.positives[0]
		expected.tn += x.rows[0] - x.positives[0]
		area += (n - p) * (positives + p/2)
		if width := x.high - x.low; width > 0 && n > 0 {
			// The rows of a cell bend the curve most where they are at both its ends.
			f := min(max((p/n-x.low)/width, 0), 1)
			missed += n * n * f * (1 - f) * width / 2
		}
		rows, positives = rows+n, positives+p
	}
	if rows == 0 {
		return nil, fmt.Errorf("estimate of counts: %w", ErrEmpty)
	}
	pairs := positives * (rows - positives)
	out := &CountEstimates{}
	values := make([]*float64, len(c.metrics))
	for k, m := range c.metrics {
		values[k] = exists(expected.value(m))
		if m == ROCAUC {
			values[k], out.Within = exists((area+missed/2)/pairs), missed/2/pairs
		}
	}
	if values[0] == nil {
		out.Within = 0
	}
	found := noIntervals(c.metrics, fmt.Errorf("%w: LearnIntervals has not been called", ErrNoInterval))
	if c.refitted != nil {
		found.of, found.missing = c.intervals(c.spread(s, rows))
	}
	for k, m := range c.metrics {
		e := Estimate{
			Metric: m, Value: values[k], SamplingError: c.sampling[k].of(int(rows)),
			Interval: found.of[k], NoInterval: found.missing[k],
		}
		out.Estimates = append(out.Estimates, e.bound(c.lower[k], c.upper[k], 0, 1))
	}
	return out, nil
}

// expectedCell is a cell's rows and what is expected of them, by prediction.
type expectedCell struct {
	rows, positives [2]float64
	low, high       float64 // probabilities at its ends
}

func (c *BinaryCBPE) expectedCells(s *ScoreCounts) ([]expectedCell, error) {
	edges := c.Cells()
	out := make([]expectedCell, len(edges)+1)
	for k := range out {
		x := &out[k]
		slope := 1.0 // without a calibration
		x.low, x.high = lowerEdge(edges, k), 1
		if k < len(edges) {
			x.high = edges[k]
		}
		if f := c.Calibration.Isotonic; f != nil {
			x.low, x.high, slope = f.Y[max(k-1, 0)], f.Y[min(k, len(edges)-1)], 0
			if k > 0 && x.high > x.low {
				slope = (x.high - x.low) / (edges[k] - edges[k-1])
			}
		}
		for y := range s.Rows {
			if len(s.Rows[y]) != len(out) || len(s.Above[y]) != len(out) {
				return nil, fmt.Errorf("counts of %d cells, want %d", len(s.Rows[y]), len(out))
			}
			n, above := float64(s.Rows[y][k]), s.Above[y][k]
			if n < 0 || !finite(above) {
				return nil, fmt.Errorf("cell %d has %v rows, whose scores add up to %v above its edge", k, n, above)
			}
			x.rows[y] = n
			x.positives[y] = n * x.low
			if slope > 0 {
				x.positives[y] = min(max(x.positives[y]+slope*above, n*x.low), n*x.high)
			}
		}
	}
	return out, nil
}

// spreadRows is how many rows an interval of counts is made of at most.
const spreadRows = 20_000

// spread returns rows at the mean score of each cell, as many as were counted, or in proportion.
func (c *BinaryCBPE) spread(s *ScoreCounts, rows float64) Binary {
	scale := min(1, spreadRows/rows)
	edges := c.Cells()
	var b Binary
	for k := range s.Rows[0] {
		for y := range s.Rows {
			if s.Rows[y][k] == 0 {
				continue
			}
			mean := min(max(lowerEdge(edges, k)+s.Above[y][k]/float64(s.Rows[y][k]), 0), 1)
			for range int(math.Round(float64(s.Rows[y][k]) * scale)) {
				b.Scores, b.Predicted = append(b.Scores, mean), append(b.Predicted, y)
			}
		}
	}
	return b
}

// RealizedLess returns realized less estimated, and its interval of 95 %, which holds 0 while
// the features lead to the same targets as in the reference: it is what concept drift looks
// like, since a change of the features alone moves both. false where one of both has no value;
// the interval is nil where the estimate has none.
func (e Estimate) RealizedLess(realized *float64) (difference float64, interval *Interval, ok bool) {
	if e.Value == nil || realized == nil {
		return 0, nil, false
	}
	if e.Interval != nil {
		interval = &Interval{*realized - e.Interval.High, *realized - e.Interval.Low}
	}
	return *realized - *e.Value, interval, true
}
