package estimate

import (
	"fmt"
	"math"
	"slices"
)

// MulticlassMetrics are the metrics of a multiclass classifier, in the order of estimates.
var MulticlassMetrics = BinaryMetrics

// aucSamplingScale widens the sampling error of multiclass ROC AUC: NannyML found the sum of
// the classes' variances a fifth too narrow, since the classes' areas depend on each other.
const aucSamplingScale = 1.2

// Multiclass is what a classifier of at least 3 classes said, one row an entry.
type Multiclass struct {
	Scores    [][]float64 // by class, then row; those of a row add up to 1
	Predicted []int       // class, from 0
	Targets   []int       // class or Unknown; nil: none are known
}

func (m Multiclass) rows() int {
	if len(m.Scores) == 0 {
		return 0
	}
	return len(m.Scores[0])
}

func (m Multiclass) check() error {
	if len(m.Scores) < 3 {
		return fmt.Errorf("scores of %d classes, at least 3 are needed", len(m.Scores))
	}
	sum := make([]float64, m.rows())
	for k, scores := range m.Scores {
		if len(scores) != len(sum) {
			return fmt.Errorf("%d scores of class 0 and %d of class %d", len(sum), len(scores), k)
		}
		if err := checkScores(scores); err != nil {
			return fmt.Errorf("class %d: %w", k, err)
		}
		for i, s := range scores {
			sum[i] += s
		}
	}
	for i, s := range sum {
		if math.Abs(s-1) > 1e-8+1e-5*s { // scikit-learn's tolerance
			return fmt.Errorf("scores of row %d add up to %v, must be 1", i, s)
		}
	}
	if err := checkLabels("prediction", m.Predicted, len(sum), len(m.Scores), false); err != nil {
		return err
	}
	if m.Targets != nil {
		return checkLabels("target", m.Targets, len(sum), len(m.Scores), true)
	}
	return nil
}

func (m Multiclass) slice(c Chunk) Multiclass {
	out := Multiclass{Scores: make([][]float64, len(m.Scores)), Predicted: m.Predicted[c.Start:c.End]}
	for k, s := range m.Scores {
		out.Scores[k] = s[c.Start:c.End]
	}
	if m.Targets != nil {
		out.Targets = m.Targets[c.Start:c.End]
	}
	return out
}

func (m Multiclass) clone() Multiclass {
	out := Multiclass{Scores: make([][]float64, len(m.Scores)), Predicted: slices.Clone(m.Predicted), Targets: slices.Clone(m.Targets)}
	for k, s := range m.Scores {
		out.Scores[k] = slices.Clone(s)
	}
	return out
}

// MulticlassCBPE estimates the quality of a multiclass classifier from its scores.
type MulticlassCBPE struct {
	Calibrations []*Calibration // by class, each against the rest

	sampling [][]sampling // by metric, then class; of accuracy one
	lower    []*float64   // thresholds by metric
	upper    []*float64
}

// FitMulticlassCBPE learns calibration, sampling errors and thresholds from a reference whose
// targets are all known and have every class; chunks are those of the reference.
func FitMulticlassCBPE(reference Multiclass, chunks []Chunk) (*MulticlassCBPE, error) {
	if err := reference.check(); err != nil {
		return nil, fmt.Errorf("fit multiclass cbpe: %w", err)
	}
	if err := checkLabels("target", reference.Targets, reference.rows(), len(reference.Scores), false); err != nil {
		return nil, fmt.Errorf("fit multiclass cbpe: %w", err)
	}
	if err := checkChunks(chunks, reference.rows()); err != nil {
		return nil, fmt.Errorf("fit multiclass cbpe: %w", err)
	}
	c := &MulticlassCBPE{}
	for class, scores := range reference.Scores {
		against := make([]int, len(scores))
		n := 0
		for i, t := range reference.Targets {
			if t == class {
				against[i] = 1
				n++
			}
		}
		if n == 0 {
			return nil, fmt.Errorf("fit multiclass cbpe: no row of the reference has target %d", class)
		}
		cal, err := calibrate(scores, against)
		if err != nil {
			return nil, fmt.Errorf("fit multiclass cbpe: class %d against the rest: %w", class, err)
		}
		c.Calibrations = append(c.Calibrations, cal)
	}
	realized := make([][]*float64, len(MulticlassMetrics))
	for _, chunk := range chunks {
		for k, v := range realizedMulticlass(reference.slice(chunk)) {
			realized[k] = append(realized[k], v)
		}
	}
	for k, m := range MulticlassMetrics {
		c.sampling = append(c.sampling, multiclassSampling(m, reference))
		lower, upper := Thresholds(realized[k], 0, 1)
		c.lower, c.upper = append(c.lower, lower), append(c.upper, upper)
	}
	return c, nil
}

// Estimate estimates each chunk of data. Realized values are those of the rows with a target;
// ROC AUC needs every class among them, the others two classes among the targets and two
// among the predictions, as in NannyML.
func (c *MulticlassCBPE) Estimate(data Multiclass, chunks []Chunk) ([]ChunkEstimates, error) {
	if err := data.check(); err != nil {
		return nil, fmt.Errorf("multiclass cbpe: %w", err)
	}
	if len(data.Scores) != len(c.Calibrations) {
		return nil, fmt.Errorf("multiclass cbpe: scores of %d classes, the reference has %d", len(data.Scores), len(c.Calibrations))
	}
	if err := checkChunks(chunks, data.rows()); err != nil {
		return nil, fmt.Errorf("multiclass cbpe: %w", err)
	}
	out := make([]ChunkEstimates, len(chunks))
	for i, chunk := range chunks {
		part := data.slice(chunk)
		out[i] = c.estimates(part, chunk, expectedMulticlass(c.probabilities(part.Scores), part))
	}
	return out, nil
}

// estimates completes the values of a chunk.
func (c *MulticlassCBPE) estimates(part Multiclass, chunk Chunk, values []*float64) ChunkEstimates {
	out := ChunkEstimates{Chunk: chunk}
	realized := realizedMulticlass(part)
	for k, m := range MulticlassMetrics {
		e := Estimate{
			Metric: m, Value: values[k], SamplingError: multiclassError(m, c.sampling[k], chunk.Len()), Realized: realized[k],
			NoInterval: fmt.Errorf("%s: %w: how far the calibrations of several classes err together is not measured", m, ErrNoInterval),
		}
		out.Estimates = append(out.Estimates, e.bound(c.lower[k], c.upper[k], 0, 1))
	}
	return out
}

// probabilities returns the calibrated scores, scaled so that those of a row add up to 1; all
// the same where they are all 0.
func (c *MulticlassCBPE) probabilities(scores [][]float64) [][]float64 {
	out := make([][]float64, len(scores))
	sum := make([]float64, len(scores[0]))
	for k, column := range scores {
		out[k] = make([]float64, len(column))
		for i, s := range column {
			out[k][i] = c.Calibrations[k].At(s)
			sum[i] += out[k][i]
		}
	}
	for _, column := range out {
		for i := range column {
			if sum[i] == 0 {
				column[i] = 1 / float64(len(out))
			} else {
				column[i] /= sum[i]
			}
		}
	}
	return out
}

// expectedMulticlass returns the metrics expected when p are the probabilities by class.
func expectedMulticlass(p [][]float64, m Multiclass) []*float64 {
	sums := make([]float64, len(MulticlassMetrics)) // NaN once a class has none
	is := make([]int, len(m.Predicted))
	for class := range p {
		for i, y := range m.Predicted {
			is[i] = 0
			if y == class {
				is[i] = 1
			}
		}
		expected := expectedCounts(p[class], is)
		for k, metric := range MulticlassMetrics {
			switch metric {
			case ROCAUC:
				if v := expectedROCAUC(p[class], m.Scores[class]); v != nil {
					sums[k] += *v
				} else {
					sums[k] = math.NaN()
				}
			case Accuracy: // the share that this class gets right, of all rows
				sums[k] += expected.tp / float64(len(is)) * float64(len(p))
			default:
				sums[k] += expected.value(metric)
			}
		}
	}
	return means(sums, len(p))
}

// realizedMulticlass returns the metrics by the targets.
func realizedMulticlass(m Multiclass) []*float64 {
	sums := make([]float64, len(MulticlassMetrics))
	if m.Targets == nil {
		return make([]*float64, len(sums))
	}
	targets, predictions := map[int]bool{}, map[int]bool{}
	n, right := 0, 0
	for i, t := range m.Targets {
		if t == Unknown {
			continue
		}
		targets[t], predictions[m.Predicted[i]] = true, true
		n++
		if t == m.Predicted[i] {
			right++
		}
	}
	constant := len(targets) < 2 || len(predictions) < 2
	for class := range m.Scores {
		c := counts(m.Predicted, m.Targets, class)
		for k, metric := range MulticlassMetrics {
			switch {
			case metric == ROCAUC:
				if v, ok := rocAUC(m.Scores[class], m.Targets, class); ok {
					sums[k] += v
				} else {
					sums[k] = math.NaN()
				}
			case constant, metric == Specificity && c.tn+c.fp == 0:
				sums[k] = math.NaN()
			case metric == Accuracy:
				sums[k] += float64(right) / float64(n)
			default:
				sums[k] += c.value(metric)
			}
		}
	}
	return means(sums, len(m.Scores))
}

func means(sums []float64, n int) []*float64 {
	out := make([]*float64, len(sums))
	for k, s := range sums {
		out[k] = exists(s / float64(n))
	}
	return out
}

// multiclassSampling returns the components of NannyML's sampling error
// (nannyml/sampling_error/multiclass_classification.py): one a class, each against the rest.
func multiclassSampling(m Metric, reference Multiclass) []sampling {
	if m == Accuracy {
		var right, wrong float64
		for i, t := range reference.Targets {
			if t == reference.Predicted[i] {
				right++
			} else {
				wrong++
			}
		}
		return []sampling{shareSampling(right, wrong, right+wrong)}
	}
	out := make([]sampling, len(reference.Scores))
	for class := range out {
		if m == ROCAUC {
			out[class] = rocAUCSampling(reference.Scores[class], reference.Targets, class)
		} else {
			out[class] = counts(reference.Predicted, reference.Targets, class).sampling(m)
		}
	}
	return out
}

// multiclassError returns the standard error over n rows of the mean over the classes, taken
// as independent.
func multiclassError(m Metric, classes []sampling, n int) *float64 {
	sum := 0.0
	for _, s := range classes {
		sum += s.std * s.std / (float64(n) * s.share)
	}
	e := math.Sqrt(sum) / float64(len(classes))
	if m == ROCAUC {
		e *= aucSamplingScale
	}
	return exists(e)
}
