package estimate

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// BinaryMetrics are the metrics of a binary classifier, in the order of estimates.
var BinaryMetrics = []Metric{ROCAUC, F1, Precision, Recall, Specificity, Accuracy}

// Binary is what a binary classifier said, one row an entry.
type Binary struct {
	Scores    []float64 // of class 1, from 0 to 1
	Predicted []int     // 0 or 1; nil: only ROC AUC is estimated
	Targets   []int     // 0, 1 or Unknown; nil: none are known
}

func (b Binary) check() error {
	if err := checkScores(b.Scores); err != nil {
		return err
	}
	if b.Predicted != nil {
		if err := checkLabels("prediction", b.Predicted, len(b.Scores), 2, false); err != nil {
			return err
		}
	}
	if b.Targets != nil {
		return checkLabels("target", b.Targets, len(b.Scores), 2, true)
	}
	return nil
}

func (b Binary) slice(c Chunk) Binary {
	out := Binary{Scores: b.Scores[c.Start:c.End]}
	if b.Predicted != nil {
		out.Predicted = b.Predicted[c.Start:c.End]
	}
	if b.Targets != nil {
		out.Targets = b.Targets[c.Start:c.End]
	}
	return out
}

func (b Binary) clone() Binary {
	return Binary{Scores: slices.Clone(b.Scores), Predicted: slices.Clone(b.Predicted), Targets: slices.Clone(b.Targets)}
}

// BinaryCBPE estimates the quality of a binary classifier from its scores.
type BinaryCBPE struct {
	Calibration *Calibration

	metrics  []Metric
	sampling []sampling // of metrics
	lower    []*float64 // thresholds of metrics
	upper    []*float64
	refitted *refitted // nil: estimates have no intervals
}

// FitBinaryCBPE learns calibration, sampling errors and thresholds from a reference whose
// targets are all known; chunks are those of the reference, from which the thresholds come.
func FitBinaryCBPE(reference Binary, chunks []Chunk) (*BinaryCBPE, error) {
	if err := reference.check(); err != nil {
		return nil, fmt.Errorf("fit binary cbpe: %w", err)
	}
	if err := checkLabels("target", reference.Targets, len(reference.Scores), 2, false); err != nil {
		return nil, fmt.Errorf("fit binary cbpe: %w", err)
	}
	if err := checkChunks(chunks, len(reference.Scores)); err != nil {
		return nil, fmt.Errorf("fit binary cbpe: %w", err)
	}
	c := &BinaryCBPE{metrics: BinaryMetrics}
	if reference.Predicted == nil {
		c.metrics = BinaryMetrics[:1]
	}
	realized := make([][]*float64, len(c.metrics))
	for _, chunk := range chunks {
		for k, v := range realizedBinary(reference.slice(chunk), c.metrics) {
			realized[k] = append(realized[k], v)
		}
	}
	for k, m := range c.metrics {
		c.sampling = append(c.sampling, binarySampling(m, reference))
		lower, upper := Thresholds(realized[k], 0, 1)
		c.lower, c.upper = append(c.lower, lower), append(c.upper, upper)
	}
	var err error
	if c.Calibration, err = calibrate(reference.Scores, reference.Targets); err != nil {
		return nil, fmt.Errorf("fit binary cbpe: %w", err)
	}
	return c, nil
}

// Estimate estimates each chunk of data. Realized values are those of the rows with a target.
func (c *BinaryCBPE) Estimate(data Binary, chunks []Chunk) ([]ChunkEstimates, error) {
	if err := data.check(); err != nil {
		return nil, fmt.Errorf("binary cbpe: %w", err)
	}
	if data.Predicted == nil && len(c.metrics) > 1 {
		return nil, errors.New("binary cbpe: the reference has predictions and the data has none")
	}
	if err := checkChunks(chunks, len(data.Scores)); err != nil {
		return nil, fmt.Errorf("binary cbpe: %w", err)
	}
	out := make([]ChunkEstimates, len(chunks))
	for i, chunk := range chunks {
		part := data.slice(chunk)
		p := make([]float64, chunk.Len())
		for j, s := range part.Scores {
			p[j] = c.Calibration.At(s)
		}
		intervals := noIntervals(c.metrics, fmt.Errorf("%w: LearnIntervals has not been called", ErrNoInterval))
		if c.refitted != nil {
			intervals.of, intervals.missing = c.intervals(part)
		}
		out[i] = c.estimates(part, chunk, c.expected(p, part), intervals)
	}
	return out, nil
}

// intervals are those of the metrics, or why there is none.
type intervals struct {
	of      []*Interval
	missing []error
}

func noIntervals(metrics []Metric, why error) intervals {
	none := intervals{of: make([]*Interval, len(metrics)), missing: make([]error, len(metrics))}
	for k, m := range metrics {
		none.missing[k] = fmt.Errorf("%s: %w", m, why)
	}
	return none
}

// estimates completes the values of a chunk.
func (c *BinaryCBPE) estimates(part Binary, chunk Chunk, values []*float64, intervals intervals) ChunkEstimates {
	out := ChunkEstimates{Chunk: chunk}
	realized := realizedBinary(part, c.metrics)
	for k, m := range c.metrics {
		e := Estimate{
			Metric: m, Value: values[k], SamplingError: c.sampling[k].of(chunk.Len()), Realized: realized[k],
			Interval: intervals.of[k], NoInterval: intervals.missing[k],
		}
		out.Estimates = append(out.Estimates, e.bound(c.lower[k], c.upper[k], 0, 1))
	}
	return out
}

// confusion is a confusion matrix: of rows, or of what is expected of them.
type confusion struct{ tp, fp, fn, tn float64 }

// expectedCounts returns the matrix expected when p are the probabilities of class 1.
func expectedCounts(p []float64, predicted []int) confusion {
	var c confusion
	for i, y := range predicted {
		if y == 1 {
			c.tp += p[i]
			c.fp += 1 - p[i]
		} else {
			c.fn += p[i]
			c.tn += 1 - p[i]
		}
	}
	return c
}

// counts returns the matrix of the rows with a target, class against the rest.
func counts(predicted, targets []int, class int) confusion {
	var c confusion
	for i, t := range targets {
		if t == Unknown {
			continue
		}
		switch p := predicted[i] == class; {
		case p && t == class:
			c.tp++
		case p:
			c.fp++
		case t == class:
			c.fn++
		default:
			c.tn++
		}
	}
	return c
}

// value returns a metric, 0 for 0/0 as NannyML and scikit-learn have it.
func (c confusion) value(m Metric) float64 {
	var part, whole float64
	switch m {
	case F1:
		part, whole = c.tp, c.tp+(c.fp+c.fn)/2
	case Precision:
		part, whole = c.tp, c.tp+c.fp
	case Recall:
		part, whole = c.tp, c.tp+c.fn
	case Specificity:
		part, whole = c.tn, c.tn+c.fp
	default:
		part, whole = c.tp+c.tn, c.tp+c.fp+c.fn+c.tn
	}
	if whole == 0 {
		return 0
	}
	return part / whole
}

// realizedBinary returns the metrics by the targets. As in NannyML, ROC AUC needs both
// classes among the targets; F1, precision and recall among the targets and the predictions;
// specificity a negative target; accuracy any row.
func realizedBinary(b Binary, metrics []Metric) []*float64 {
	out := make([]*float64, len(metrics))
	if b.Targets == nil {
		return out
	}
	var c confusion
	if b.Predicted != nil {
		c = counts(b.Predicted, b.Targets, 1)
	}
	for k, m := range metrics {
		switch m {
		case ROCAUC:
			if v, ok := rocAUC(b.Scores, b.Targets, 1); ok {
				out[k] = &v
			}
			continue
		case Accuracy:
			if c.tp+c.fp+c.fn+c.tn == 0 {
				continue
			}
		case Specificity:
			if c.tn+c.fp == 0 {
				continue
			}
		default:
			if c.tp+c.fn == 0 || c.tn+c.fp == 0 || c.tp+c.fp == 0 || c.tn+c.fn == 0 {
				continue
			}
		}
		out[k] = exists(c.value(m))
	}
	return out
}

// expectedROCAUC returns the area under the curve of expected true over expected false
// positives, p the probabilities of class 1 and scores the order. Both sums are rounded to 5
// decimals, as NannyML does. nil when no positive or no negative is expected.
func expectedROCAUC(p, scores []float64) *float64 {
	order := ascending(scores)
	slices.Reverse(order)
	round := func(v float64) float64 { return math.RoundToEven(v*1e5) / 1e5 }
	var sum, area, tpBefore, fpBefore float64
	for k, i := range order {
		sum += p[i]
		tp, fp := round(sum), round(float64(k+1)-sum)
		area += (fp - fpBefore) * (tp + tpBefore) / 2
		tpBefore, fpBefore = tp, fp
	}
	return exists(area / tpBefore / fpBefore)
}

// rocAUC returns the area under the ROC curve of a class against the rest (Mann–Whitney with
// midranks), rows of unknown target left out; false when one of both is empty.
func rocAUC(scores []float64, targets []int, class int) (float64, bool) {
	order := ascending(scores)
	var below, area, positives float64 // negatives below the run; pairs in order
	for at := 0; at < len(order); {
		var pos, neg float64
		s := scores[order[at]]
		for ; at < len(order) && scores[order[at]] == s; at++ {
			switch targets[order[at]] {
			case class:
				pos++
			case Unknown:
			default:
				neg++
			}
		}
		area += pos * (below + neg/2)
		below += neg
		positives += pos
	}
	if below == 0 || positives == 0 {
		return 0, false
	}
	return area / positives / below, true
}
